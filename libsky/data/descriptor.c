#include "data/descriptor.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/paths.h"

#include <stdio.h>
#include <string.h>

enum { DESCRIPTOR_LIMIT = 1 << 20 };

typedef struct {
    sky_dataset *d;
    const char *images, *labels;
    int asked[2]; /* whether a path stands for --images, for --labels */
    char at[512]; /* "FILE: fields.hr" */
    sky_err *e;
} parser;

static const char *at(parser *p, const char *what, const char *name)
{
    snprintf(p->at, sizeof p->at, "%.300s: %s%s%.100s", p->d->file, what, *name ? "." : "", name);
    return p->at;
}

/* ---- fields -------------------------------------------------------------------------------------------------- */

static int add_path(parser *p, sky_dataset_field *f, const char *text)
{
    if (*text == '$') {
        const char *given = !strcmp(text, "$images") ? p->images : !strcmp(text, "$labels") ? p->labels : "";
        if (given && !*given)
            return sky_fail(p->e, SKY_ECORRUPT, "%s: path '%s': only $images and $labels stand for options", p->at, text);
        p->asked[!strcmp(text, "$labels")] = 1;
        if (!given && f->optional)
            return SKY_OK;
        if (!given)
            return sky_fail(p->e, SKY_EUSAGE, "this data set needs --%s PATTERN", text + 1);
        snprintf(p->at, sizeof p->at, "--%.20s", text + 1);
        int rc = sky_pattern_parse(&f->path[f->npaths], given, p->at, p->e);
        f->npaths += !rc;
        f->option = strcmp(text, "$labels") ? "--images" : "--labels";
        return rc ? SKY_EUSAGE : SKY_OK;
    }
    int rc = sky_pattern_parse(&f->path[f->npaths], text, p->at, p->e);
    f->npaths += !rc;
    return rc;
}

static int parse_paths(parser *p, sky_dataset_field *f, const json_t *o)
{
    const json_t *v = json_object_get(o, "path");
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (p->d->layout == SKY_LAYOUT_LIST)
        return v ? sky_fail(p->e, SKY_ECORRUPT, "%s: 'path' has no place in layout skysensepp-list", p->at) : SKY_OK;
    if (!v || !n || n > 64)
        return sky_fail(p->e, SKY_ECORRUPT, "%s: 'path' must be a pattern or a list of 1 to 64", p->at);
    f->path = sky_calloc(n, sizeof *f->path);
    if (!f->path)
        return sky_fail(p->e, SKY_ENOMEM, "%s: out of memory", p->at);
    int rc = SKY_OK;
    for (size_t i = 0; !rc && i < n; i++) {
        const json_t *s = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_string(s))
            return sky_fail(p->e, SKY_ECORRUPT, "%s: 'path' must hold strings", p->at);
        rc = add_path(p, f, json_string_value(s));
    }
    return rc;
}

static int parse_dtypes(parser *p, sky_dataset_field *f, const json_t *o)
{
    const json_t *v = json_object_get(o, "dtype");
    size_t n = !v ? 0 : json_is_array(v) ? json_array_size(v) : 1;
    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_is_array(v) ? json_array_get(v, i) : v);
        sky_dtype t;
        if (!s || sky_dtype_parse(s, &t))
            return sky_fail(p->e, SKY_ECORRUPT, "%s: 'dtype' must name element types such as U8 or F32", p->at);
        f->dtypes |= 1u << t;
    }
    return SKY_OK;
}

static int parse_how(parser *p, sky_dataset_field *f, const json_t *o)
{
    static const char *const names[] = {"auto", "png", "raster", "array", "polygons"};
    const char *s = "auto";
    int rc = sky_json_str(o, "reader", 0, &s, p->at, p->e);
    if (rc)
        return rc;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(s, names[i]))
            return f->how = (sky_read_how)i, SKY_OK;
    return sky_fail(p->e, SKY_ECORRUPT, "%s: 'reader' must be auto, png, raster, array or polygons, not '%.40s'", p->at, s);
}

static int numbers(parser *p, const json_t *o, const char *key, size_t want)
{
    const json_t *v = json_object_get(o, key);
    if (!v)
        return SKY_OK;
    int ok = json_is_array(v) && (!want || json_array_size(v) == want);
    for (size_t i = 0; ok && i < json_array_size(v); i++)
        ok = json_is_number(json_array_get(v, i));
    if (ok)
        return SKY_OK;
    return want ? sky_fail(p->e, SKY_ECORRUPT, "%s: '%s' must list %zu numbers", p->at, key, want)
                : sky_fail(p->e, SKY_ECORRUPT, "%s: '%s' must list numbers", p->at, key);
}

/* [lo, hi], or one such pair for each of nbands. */
static int display(parser *p, const json_t *o, size_t nbands)
{
    const json_t *v = json_object_get(o, "display"), *first = json_array_get(v, 0);
    if (!json_is_array(first))
        return numbers(p, o, "display", 2);
    int ok = json_array_size(v) == nbands;
    for (size_t i = 0; ok && i < nbands; i++) {
        const json_t *pair = json_array_get(v, i);
        ok = json_array_size(pair) == 2 && json_is_number(json_array_get(pair, 0)) && json_is_number(json_array_get(pair, 1));
    }
    return ok ? SKY_OK : sky_fail(p->e, SKY_ECORRUPT, "%s: 'display' must be [lo, hi] or one such pair for each of the 'bands'", p->at);
}

/* Keys that go to every sample's field as they are. */
static int parse_meta(parser *p, sky_dataset_field *f, const json_t *o)
{
    static const char *const copied[] = {"bands", "unit", "scale", "offset", "nodata", "mean", "std", "display"};
    size_t nbands = json_array_size(f->bands);
    double x;
    const char *s;
    int rc = numbers(p, o, "mean", nbands);
    if (!rc)
        rc = numbers(p, o, "std", nbands);
    if (!rc)
        rc = display(p, o, nbands);
    if (!rc)
        rc = sky_json_f64(o, "scale", 0, &x, p->at, p->e);
    if (!rc)
        rc = sky_json_f64(o, "offset", 0, &x, p->at, p->e);
    if (!rc)
        rc = sky_json_str(o, "unit", 0, &s, p->at, p->e);
    if (!rc && json_object_get(o, "nodata") && !json_is_string(json_object_get(o, "nodata")))
        rc = sky_json_f64(o, "nodata", 0, &x, p->at, p->e);
    for (size_t i = 0; !rc && i < nbands; i++)
        if (!json_is_string(json_array_get(f->bands, i)))
            rc = sky_fail(p->e, SKY_ECORRUPT, "%s: 'bands' must list names", p->at);
    if (rc)
        return rc;
    int bad = json_object_set_new(f->meta, "role", json_string(f->label ? "label" : "image"));
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++)
        if (json_object_get(o, copied[i]))
            bad |= json_object_set(f->meta, copied[i], json_object_get(o, copied[i]));
    return bad ? sky_fail(p->e, SKY_ENOMEM, "%s: out of memory", p->at) : SKY_OK;
}

static int parse_label(parser *p, sky_dataset_field *f, const json_t *o)
{
    int rc = sky_labels_parse(&f->labels, o, p->at, p->e);
    if (rc)
        return rc;
    int bad = 0;
    if (sky_labels_classes(f->labels))
        bad |= json_object_set(f->meta, "classes", (json_t *)(uintptr_t)sky_labels_classes(f->labels));
    if (sky_labels_ignore(f->labels))
        bad |= json_object_set(f->meta, "ignore", (json_t *)(uintptr_t)sky_labels_ignore(f->labels));
    return bad ? sky_fail(p->e, SKY_ENOMEM, "%s: out of memory", p->at) : SKY_OK;
}

static int parse_stack(parser *p, sky_dataset_field *f, const json_t *o)
{
    const json_t *v = json_object_get(o, "stack");
    if (v && !json_is_boolean(v))
        return sky_fail(p->e, SKY_ECORRUPT, "%s: 'stack' must be true or false", p->at);
    f->stack = json_is_true(v);
    if (f->stack && json_array_size(f->bands) != (size_t)f->npaths)
        return sky_fail(p->e, SKY_ECORRUPT, "%s: a stack has one path per band: %d for %zu", p->at, f->npaths, json_array_size(f->bands));
    if (f->stack && f->how != SKY_READ_BY_SUFFIX && f->how != SKY_READ_RASTER)
        return sky_fail(p->e, SKY_ECORRUPT, "%s: a stack is made of rasters", p->at);
    return SKY_OK;
}

static int check_keys(parser *p, const sky_dataset_field *f, const json_t *o)
{
    static const char *const image[] = {"role", "path", "reader", "dtype", "optional", "crs", "member", "bands", "unit", "scale", "offset",
                                        "nodata", "mean", "std", "display", "stack", NULL};
    static const char *const label[] = {"role", "path", "reader", "dtype", "optional", "crs", "member", "grid", "property",
                                        "background", "classes", "ignore", "map", "values", "off_palette", NULL};
    return sky_json_only(o, f->label ? label : image, p->at, p->e);
}

static int parse_optional(parser *p, sky_dataset_field *f, const json_t *o)
{
    const json_t *v = json_object_get(o, "optional");
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!json_is_string(json_array_get(v, i)))
            return sky_fail(p->e, SKY_ECORRUPT, "%s: 'optional' must be true, false or a list of splits", p->at);
    if (v && !json_is_boolean(v) && !json_is_array(v))
        return sky_fail(p->e, SKY_ECORRUPT, "%s: 'optional' must be true, false or a list of splits", p->at);
    f->optional = json_is_false(v) ? NULL : v;
    return SKY_OK;
}

static int valid_name(const char *s)
{
    size_t n = strlen(s);
    return n && n < 64 && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == n;
}

static int parse_field(parser *p, const char *name, const json_t *o)
{
    sky_dataset *d = p->d;
    at(p, "fields", name);
    if (d->nfields == SKY_DATASET_FIELDS)
        return sky_fail(p->e, SKY_ELIMIT, "%s: more than %d fields", p->at, SKY_DATASET_FIELDS);
    if (!json_is_object(o) || !valid_name(name))
        return sky_fail(p->e, SKY_ECORRUPT, "%s: a field is a name of letters and digits and a mapping", p->at);
    sky_dataset_field *f = &d->field[d->nfields++];
    const char *role = NULL;
    f->name = name;
    f->property = "class";
    f->member = "image";
    f->meta = json_object();
    if (!f->meta)
        return sky_fail(p->e, SKY_ENOMEM, "%s: out of memory", p->at);
    int rc = sky_json_str(o, "role", 1, &role, p->at, p->e);
    if (!rc && strcmp(role, "image") && strcmp(role, "label"))
        rc = sky_fail(p->e, SKY_ECORRUPT, "%s: 'role' must be image or label, not '%.40s'", p->at, role);
    f->label = !rc && !strcmp(role, "label");
    if (!rc)
        rc = check_keys(p, f, o);
    if (!rc)
        rc = parse_optional(p, f, o);
    if (!rc)
        rc = parse_paths(p, f, o);
    if (!rc)
        rc = parse_how(p, f, o);
    if (!rc)
        rc = parse_dtypes(p, f, o);
    if (!rc)
        rc = sky_json_str(o, "crs", 0, &f->crs, p->at, p->e);
    if (!rc)
        rc = sky_json_str(o, "member", 0, &f->member, p->at, p->e);
    if (!rc)
        rc = sky_json_str(o, "grid", 0, &f->grid, p->at, p->e);
    if (!rc)
        rc = sky_json_str(o, "property", 0, &f->property, p->at, p->e);
    if (!rc)
        rc = sky_json_i64(o, "background", 0, 0, 65535, &f->background, p->at, p->e);
    if (!rc)
        rc = sky_json_array(o, "bands", 0, &f->bands, p->at, p->e);
    if (!rc)
        rc = parse_stack(p, f, o);
    if (!rc)
        rc = parse_meta(p, f, o);
    return rc || !f->label ? rc : parse_label(p, f, o);
}

/* 'grid' must name an image field that comes before: it is read first. */
static int check_grids(parser *p)
{
    for (int i = 0; i < p->d->nfields; i++) {
        const sky_dataset_field *f = &p->d->field[i], *g = f->grid ? sky_dataset_find(p->d, f->grid) : NULL;
        at(p, "fields", f->name);
        if (f->grid && (!g || g >= f || g->label))
            return sky_fail(p->e, SKY_ECORRUPT, "%s: 'grid' must name an image field above it, not '%.40s'", p->at, f->grid);
        if (f->how == SKY_READ_POLYGONS && !f->grid)
            return sky_fail(p->e, SKY_ECORRUPT, "%s: polygons need a 'grid'", p->at);
    }
    return SKY_OK;
}

/* Every path must carry the id's tokens, or files could not be told apart. */
static int check_ids(parser *p)
{
    const sky_pattern *id = p->d->id;
    if (p->d->layout == SKY_LAYOUT_FILES && (p->d->field[0].label || !p->d->field[0].npaths))
        return sky_fail(p->e, SKY_ECORRUPT, "%s: the first field must be an image with a path: it names the samples", p->d->file);
    for (int i = 0; i < p->d->nfields; i++)
        for (int k = 0; k < p->d->field[i].npaths; k++) {
            const sky_pattern *q = p->d->field[i].path[k];
            const sky_pattern *want = id ? id : p->d->field[0].npaths ? p->d->field[0].path[0] : q;
            for (int t = 0; t < sky_pattern_tokens(want); t++)
                if (sky_pattern_find(q, sky_pattern_token(want, t)) < 0)
                    return sky_fail(p->e, SKY_ECORRUPT, "%s: path '%s' lacks the token '%s' that the sample's id is made of",
                                    at(p, "fields", p->d->field[i].name), sky_pattern_text(q), sky_pattern_token(want, t));
            if (!sky_pattern_tokens(want) && p->d->field[i].option)
                return sky_fail(p->e, SKY_EUSAGE, "%s '%s': no token, such as {id} or *, that the sample's id could be made of",
                                p->d->field[i].option, sky_pattern_text(q));
            if (!sky_pattern_tokens(want))
                return sky_fail(p->e, SKY_ECORRUPT, "%s: no token that the sample's id could be made of",
                                at(p, "fields", p->d->field[i].name));
        }
    return SKY_OK;
}

/* ---- splits and types ---------------------------------------------------------------------------------------- */

static int parse_where(parser *p, const json_t *o)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)o, key, v) {
        int ok = json_is_string(v) || json_array_size(v) > 0;
        for (size_t i = 0; i < json_array_size(v); i++)
            ok = ok && json_is_string(json_array_get(v, i));
        if (!ok)
            return sky_fail(p->e, SKY_ECORRUPT, "%s: where: '%s' must be a string or a list of strings", p->at, key);
    }
    return SKY_OK;
}

static int parse_split(parser *p, const char *name, const json_t *o)
{
    static const char *const keys[] = {"list", "format", "where", "ids", NULL};
    at(p, "splits", name);
    sky_dataset_split *s = &p->d->split[p->d->nsplits++];
    const char *format = "names";
    s->name = name;
    int rc = json_is_object(o) ? sky_json_only(o, keys, p->at, p->e) : sky_fail(p->e, SKY_ECORRUPT, "%s: expected a mapping", p->at);
    if (!rc)
        rc = sky_json_str(o, "list", 0, &s->list, p->at, p->e);
    if (!rc)
        rc = sky_json_str(o, "format", 0, &format, p->at, p->e);
    if (!rc)
        rc = sky_json_object(o, "where", 0, &s->where, p->at, p->e);
    if (!rc)
        rc = sky_json_array(o, "ids", 0, &s->ids, p->at, p->e);
    if (!rc && s->where)
        rc = parse_where(p, s->where);
    if (!rc && !!s->list + !!s->where + !!s->ids != 1)
        rc = sky_fail(p->e, SKY_ECORRUPT, "%s: a split has one of list, where and ids", p->at);
    if (!rc && s->list)
        rc = sky_pattern_parse(&s->list_path, s->list, p->at, p->e);
    s->with_class = !strcmp(format, "name-class");
    if (!rc && !s->with_class && strcmp(format, "names"))
        rc = sky_fail(p->e, SKY_ECORRUPT, "%s: 'format' must be names or name-class, not '%.40s'", p->at, format);
    return rc;
}

static int parse_type(parser *p, const char *name, const json_t *o)
{
    at(p, "types", name);
    sky_dataset_type *t = &p->d->type[p->d->ntypes++];
    t->name = name;
    if (!json_is_object(o))
        return sky_fail(p->e, SKY_ECORRUPT, "%s: expected a mapping", p->at);
    int rc = sky_json_only(o, sky_labels_keys, p->at, p->e);
    return rc ? rc : sky_labels_parse(&t->labels, o, p->at, p->e);
}

static int each(parser *p, const json_t *o, int (*fn)(parser *, const char *, const json_t *))
{
    const char *key;
    json_t *v;
    int rc = SKY_OK;
    json_object_foreach((json_t *)(uintptr_t)o, key, v)
        if (!rc)
            rc = fn(p, key, v);
    return rc;
}

/* ---- the whole ----------------------------------------------------------------------------------------------- */

static int parse_layout(parser *p)
{
    const char *layout = "files";
    int rc = sky_json_str(p->d->tree, "layout", 0, &layout, p->d->file, p->e);
    if (rc)
        return rc;
    p->d->layout = !strcmp(layout, "skysensepp-list") ? SKY_LAYOUT_LIST : SKY_LAYOUT_FILES;
    if (p->d->layout == SKY_LAYOUT_FILES && strcmp(layout, "files"))
        return sky_fail(p->e, SKY_ECORRUPT, "%s: 'layout' must be files or skysensepp-list, not '%.40s'", p->d->file, layout);
    return SKY_OK;
}

static int parse_tree(parser *p)
{
    static const char *const keys[] = {"dataset", "title", "layout", "id", "fields", "splits", "types", NULL};
    sky_dataset *d = p->d;
    const char *id = NULL;
    const json_t *fields = NULL, *splits = NULL, *types = NULL;
    if (!json_is_object(d->tree))
        return sky_fail(p->e, SKY_ECORRUPT, "%s: expected a mapping, found %s", d->file, sky_json_type(d->tree));
    int rc = sky_json_only(d->tree, keys, d->file, p->e);
    if (!rc)
        rc = sky_json_str(d->tree, "dataset", 1, &d->name, d->file, p->e);
    if (!rc)
        rc = sky_json_str(d->tree, "title", 0, &d->title, d->file, p->e);
    if (!rc)
        rc = sky_json_str(d->tree, "id", 0, &id, d->file, p->e);
    if (!rc)
        rc = sky_json_object(d->tree, "fields", 1, &fields, d->file, p->e);
    if (!rc)
        rc = sky_json_object(d->tree, "splits", 0, &splits, d->file, p->e);
    if (!rc)
        rc = sky_json_object(d->tree, "types", 0, &types, d->file, p->e);
    if (!rc)
        rc = parse_layout(p);
    if (!rc && !json_object_size(fields))
        rc = sky_fail(p->e, SKY_ECORRUPT, "%s: 'fields' is empty", d->file);
    if (!rc && id)
        rc = sky_pattern_parse(&d->id, id, d->file, p->e);
    if (rc)
        return rc;
    d->split = sky_calloc(json_object_size(splits) + 1, sizeof *d->split);
    d->type = sky_calloc(json_object_size(types) + 1, sizeof *d->type);
    if (!d->split || !d->type)
        return sky_fail(p->e, SKY_ENOMEM, "%s: out of memory", d->file);
    rc = each(p, fields, parse_field);
    if (!rc)
        rc = each(p, splits, parse_split);
    if (!rc)
        rc = each(p, types, parse_type);
    if (!rc)
        rc = check_grids(p);
    return rc ? rc : check_ids(p);
}

static void hash(sky_dataset *d, const char *text, size_t n)
{
    sky_sha256 s;
    sky_sha256_init(&s);
    sky_sha256_add(&s, text, n);
    sky_sha256_hex(&s, d->sha256);
}

int sky_dataset_parse(sky_dataset **out, const char *text, size_t n, const char *file, const char *images, const char *labels, sky_err *e)
{
    sky_dataset *d = sky_calloc(1, sizeof *d);
    if (!d || !(d->file = sky_strdup(file))) {
        sky_free(d);
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", file);
    }
    hash(d, text, n);
    parser p = {.d = d, .images = images, .labels = labels, .e = e};
    int rc = sky_yaml_parse(&d->tree, text, n, file, e);
    if (!rc)
        rc = parse_tree(&p);
    if (!rc && ((images && !p.asked[0]) || (labels && !p.asked[1])))
        rc = sky_fail(e, SKY_EUSAGE, "this data set takes no --%s: its descriptor says where files are (%s)", images && !p.asked[0] ? "images" : "labels", file);
    if (rc)
        sky_dataset_free(d);
    else
        *out = d;
    return rc;
}

int sky_dataset_load(sky_dataset **out, const char *name, const char *images, const char *labels, sky_err *e)
{
    char *file, *text;
    size_t n;
    int rc = sky_data_file(&file, "datasets", name, ".yaml", e);
    if (rc)
        return rc;
    rc = sky_read_file(&text, &n, file, DESCRIPTOR_LIMIT, e);
    if (!rc) {
        rc = sky_dataset_parse(out, text, n, file, images, labels, e);
        sky_free(text);
    }
    sky_free(file);
    return rc;
}

void sky_dataset_free(sky_dataset *d)
{
    if (!d)
        return;
    for (int i = 0; i < d->nfields; i++) {
        for (int k = 0; k < d->field[i].npaths; k++)
            sky_pattern_free(d->field[i].path[k]);
        sky_free(d->field[i].path);
        sky_labels_free(d->field[i].labels);
        json_decref(d->field[i].meta);
    }
    for (int i = 0; i < d->nsplits; i++)
        sky_pattern_free(d->split[i].list_path);
    for (int i = 0; i < d->ntypes; i++)
        sky_labels_free(d->type[i].labels);
    sky_pattern_free(d->id);
    sky_free(d->split);
    sky_free(d->type);
    json_decref(d->tree);
    sky_free(d->file);
    sky_free(d);
}

const sky_dataset_field *sky_dataset_find(const sky_dataset *d, const char *field)
{
    for (int i = 0; i < d->nfields; i++)
        if (!strcmp(d->field[i].name, field))
            return &d->field[i];
    return NULL;
}

const sky_dataset_split *sky_dataset_find_split(const sky_dataset *d, const char *name)
{
    for (int i = 0; i < d->nsplits; i++)
        if (!strcmp(d->split[i].name, name))
            return &d->split[i];
    return NULL;
}

int sky_dataset_optional(const sky_dataset_field *f, const char *split)
{
    for (size_t i = 0; split && i < json_array_size(f->optional); i++)
        if (!strcmp(json_string_value(json_array_get(f->optional, i)), split))
            return 1;
    return json_is_true(f->optional);
}
