/* The original's JSON lists: [{"hr_path":..., "s2_path":..., "s1_path":..., "target_path":..., "type":..., "classes":[...]}].
 * A path is a string or, one file per date, a list of strings; a modality without a path is absent. Other keys are left
 * alone: the lists in circulation carry more than the loaders read. */
#include "data/plan.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { RECORDS = 10000000, DATES = 4096 };

typedef struct {
    sky_plan *p;
    const char *name, *root;
    size_t record;
    sky_err *e;
} list;

static int no_memory(sky_err *e) { return sky_fail(e, SKY_ENOMEM, "reading a list: out of memory"); }

static int bad(list *s, const char *what) { return sky_fail(s->e, SKY_ECORRUPT, "%s: record %zu: %s", s->name, s->record, what); }

/* Paths that climb above the root would let a list read any file of this machine. */
static int safe(const char *path)
{
    if (!*path || *path == '/' || strlen(path) > 4000)
        return 0;
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/");
        if (n == 2 && !memcmp(p, "..", 2))
            return 0;
        p += n + (p[n] == '/');
    }
    return 1;
}

/* A missing file is the item's problem, not the list's. */
static int add_file(list *s, sky_plan_item *it, sky_plan_field *f, const char *path)
{
    struct stat st = {0};
    char *full = sky_asprintf("%s/%s", s->root, path), *match = sky_strdup(path);
    sky_entry *file = full && match ? sky_alloc(sizeof *file) : NULL;
    if (!file) {
        sky_free(full);
        sky_free(match);
        return no_memory(s->e);
    }
    const int there = !stat(full, &st) && S_ISREG(st.st_mode);
    *file = (sky_entry){full, match, (uint64_t)st.st_size, -1, 0};
    f->own = 1;
    f->source[f->n++] = (sky_source){file, match};
    if (!there && !it->problem)
        it->problem = sky_asprintf("%s: record %zu: no file '%s'", s->name, s->record, full);
    return there || it->problem ? SKY_OK : no_memory(s->e);
}

static int add_paths(list *s, sky_plan_item *it, sky_plan_field *f, const json_t *v, const char *key)
{
    char what[96];
    size_t n = json_is_array(v) ? json_array_size(v) : json_is_string(v) && *json_string_value(v) ? 1 : 0;
    snprintf(what, sizeof what, "'%s' must be a path or a list of at most %d paths below the root", key, DATES);
    if (v && !json_is_null(v) && !json_is_string(v) && !json_is_array(v))
        return bad(s, what);
    if (n > DATES)
        return bad(s, what);
    if (n && !(f->source = sky_calloc(n, sizeof *f->source)))
        return no_memory(s->e);
    for (size_t i = 0; i < n; i++) {
        const char *path = json_string_value(json_is_array(v) ? json_array_get(v, i) : v);
        int rc = path && safe(path) ? add_file(s, it, f, path) : bad(s, what);
        if (rc)
            return rc;
    }
    return SKY_OK;
}

/* The id is the path that names the sample in the original, hr_path where there is one, without its suffix. */
static char *make_id(const json_t *o)
{
    static const char *const keys[] = {"hr_path", "s2_path", "s1_path", "target_path"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *v = json_object_get(o, keys[i]);
        const char *s = json_string_value(json_is_array(v) ? json_array_get(v, 0) : v);
        if (!s || !*s)
            continue;
        while (!strncmp(s, "./", 2))
            s += 2;
        const char *slash = strrchr(s, '/'), *dot = strrchr(s, '.');
        return sky_strndup(s, dot && dot > (slash ? slash + 1 : s) ? (size_t)(dot - s) : strlen(s));
    }
    return sky_strdup("");
}

static int valid_id(const char *id)
{
    size_t n = strlen(id);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)id[i] < ' ')
            return 0;
    return n >= 1 && n <= 255;
}

static int set_type(list *s, sky_plan_item *it, const json_t *o)
{
    const char *type = NULL;
    int rc = sky_json_str(o, "type", 0, &type, "type", s->e);
    if (rc)
        return bad(s, "'type' must be a string");
    for (int i = 0; type && i < s->p->d->ntypes; i++)
        if (!strcmp(s->p->d->type[i].name, type))
            it->labels = s->p->d->type[i].labels;
    if (type && s->p->d->ntypes && !it->labels)
        return sky_fail(s->e, SKY_ECORRUPT, "%s: record %zu: type '%.60s' has no class table in %s", s->name, s->record, type, s->p->d->file);
    if (type && json_object_set_new(it->meta, "type", json_string(type)))
        return no_memory(s->e);
    return SKY_OK;
}

static int set_meta(list *s, sky_plan_item *it, const json_t *o)
{
    const json_t *classes = json_object_get(o, "classes"), *location = json_object_get(o, "location"), *centre = json_object_get(o, "s2_cut_points");
    if (classes && !json_is_null(classes) && !json_is_array(classes))
        return bad(s, "'classes' must be a list");
    if (json_is_array(classes) && json_object_set(it->meta, "listed_classes", (json_t *)(uintptr_t)classes))
        return no_memory(s->e);
    if (json_is_array(centre) && json_object_set(it->meta, "centre", (json_t *)(uintptr_t)centre))
        return no_memory(s->e);
    if (location && json_object_set(it->meta, "location", (json_t *)(uintptr_t)location))
        return no_memory(s->e);
    return SKY_OK;
}

static int one_record(list *s, const json_t *o)
{
    static const char *const pairs[][2] = {{"hr_path", "hr"}, {"s2_path", "s2"}, {"s1_path", "s1"}, {"target_path", "label"}};
    if (!json_is_object(o))
        return bad(s, "expected an object");
    char *id = make_id(o);
    if (!id)
        return no_memory(s->e);
    if (!valid_id(id)) {
        sky_free(id);
        return bad(s, "no path that could name the sample (1 to 255 bytes)");
    }
    sky_plan_item *it = sky_plan_add(s->p, id);
    if (!it || !(it->meta = json_object()))
        return no_memory(s->e);
    int rc = set_type(s, it, o);
    for (size_t i = 0; !rc && i < sizeof pairs / sizeof *pairs; i++) {
        const sky_dataset_field *f = sky_dataset_find(s->p->d, pairs[i][1]);
        const json_t *v = json_object_get(o, pairs[i][0]);
        if (f)
            rc = add_paths(s, it, &it->field[f - s->p->d->field], v, pairs[i][0]);
    }
    return rc ? rc : set_meta(s, it, o);
}

int sky_plan_list(sky_plan *p, const char *text, size_t n, const char *name, const char *root, sky_err *e)
{
    json_t *j = NULL;
    list s = {p, name, root, 0, e};
    int rc = sky_json_parse(&j, text, n, name, e);
    if (rc)
        return rc;
    if (!json_is_array(j) || json_array_size(j) > RECORDS)
        rc = sky_fail(e, SKY_ECORRUPT, "%s: expected an array of records, found %s", name, sky_json_type(j));
    for (; !rc && s.record < json_array_size(j); s.record++)
        rc = one_record(&s, json_array_get(j, s.record));
    json_decref(j);
    return rc;
}
