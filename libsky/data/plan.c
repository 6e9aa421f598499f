#include "data/plan.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_LIMIT = 64 << 20, ID_LIMIT = 255 };

/* ---- items --------------------------------------------------------------------------------------------------- */

static int no_memory(sky_err *e) { return sky_fail(e, SKY_ENOMEM, "planning samples: out of memory"); }

sky_plan_item *sky_plan_add(sky_plan *p, char *id)
{
    sky_plan_item *v = id ? sky_grow(p->item, p->n, &p->cap, sizeof *v) : NULL;
    if (v)
        p->item = v;
    sky_plan_field *f = v ? sky_calloc((size_t)p->d->nfields, sizeof *f) : NULL;
    if (!f) {
        sky_free(id);
        return NULL;
    }
    sky_plan_item *it = &v[p->n++];
    *it = (sky_plan_item){.id = id, .field = f};
    return it;
}

static void free_item(const sky_dataset *d, sky_plan_item *it)
{
    for (int i = 0; i < d->nfields; i++) {
        for (int k = 0; it->field[i].own && k < it->field[i].n; k++) {
            sky_entry *f = (sky_entry *)(uintptr_t)it->field[i].source[k].file;
            sky_free(f->path);
            sky_free(f->match);
            sky_free(f);
        }
        sky_free(it->field[i].source);
    }
    sky_free(it->field);
    sky_free(it->id);
    sky_free(it->problem);
    json_decref(it->meta);
}

void sky_plan_close(sky_plan *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n; i++)
        free_item(p->d, &p->item[i]);
    sky_free(p->item);
    sky_free(p);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const sky_plan_item *)a)->id, ((const sky_plan_item *)b)->id);
}

static sky_plan_item *find(const sky_plan *p, const char *id)
{
    sky_plan_item key = {.id = (char *)(uintptr_t)id};
    return p->n ? bsearch(&key, p->item, p->n, sizeof key, by_id) : NULL;
}

/* ---- from files to items ------------------------------------------------------------------------------------- */

typedef struct {
    char *id;
    int field, path; /* which of the field's paths */
    const sky_entry *file;
    const char *tail, *split;
} hit;

typedef struct {
    hit *hit;
    size_t n, cap;
} hits;

static const char *tail_of(const char *path, const char *pattern)
{
    int slashes = 0;
    for (const char *c = pattern; *c; c++)
        slashes += *c == '/';
    const char *p = path + strlen(path);
    while (p > path && !(p[-1] == '/' && slashes-- == 0))
        p--;
    return p;
}

static int token_is(const json_t *want, sky_span v)
{
    if (json_is_string(want))
        return strlen(json_string_value(want)) == v.n && !memcmp(json_string_value(want), v.p, v.n);
    for (size_t i = 0; i < json_array_size(want); i++)
        if (token_is(json_array_get(want, i), v))
            return 1;
    return 0;
}

/* The first split whose `where` all holds. */
static const char *split_where(const sky_dataset *d, const sky_pattern *g, const sky_span *v)
{
    for (int i = 0; i < d->nsplits; i++) {
        int all = d->split[i].where != NULL;
        const char *key;
        json_t *want;
        json_object_foreach((json_t *)(uintptr_t)d->split[i].where, key, want) {
            int t = sky_pattern_find(g, key);
            all = all && t >= 0 && token_is(want, v[t]);
        }
        if (all)
            return d->split[i].name;
    }
    return NULL;
}

static int expand_id(const sky_dataset *d, const sky_pattern *g, const sky_span *v, char **out)
{
    sky_buf b = {0};
    int missing = 0;
    if (d->id)
        missing = sky_pattern_expand(d->id, g, v, &b);
    else
        for (int i = 0; i < sky_pattern_tokens(d->field[0].path[0]); i++) {
            int at = sky_pattern_find(g, sky_pattern_token(d->field[0].path[0], i));
            if (at < 0) {
                missing = 1;
                break;
            }
            sky_buf_puts(&b, i ? "_" : "");
            sky_buf_add(&b, v[at].p, v[at].n);
        }
    *out = b.p;
    if (!missing && !b.bad && b.p)
        return 0;
    sky_buf_free(&b);
    return missing ? -1 : -2;
}

static int add_hit(hits *h, hit x)
{
    hit *v = sky_grow(h->hit, h->n, &h->cap, sizeof *v);
    if (!v)
        return -1;
    h->hit = v;
    v[h->n++] = x;
    return 0;
}

static int match_file(hits *h, const sky_dataset *d, const sky_entry *f, sky_err *e)
{
    sky_span v[SKY_PATTERN_TOKENS];
    for (int i = 0; i < d->nfields; i++)
        for (int k = 0; k < d->field[i].npaths; k++) {
            const sky_pattern *g = d->field[i].path[k];
            if (!sky_pattern_match(g, f->match, v))
                continue;
            hit x = {NULL, i, k, f, tail_of(f->match, sky_pattern_text(g)), split_where(d, g, v)};
            if (expand_id(d, g, v, &x.id) || add_hit(h, x)) {
                sky_free(x.id);
                return no_memory(e);
            }
            break; /* the next alternative is for other spellings */
        }
    return SKY_OK;
}

static int by_id_field(const void *a, const void *b)
{
    const hit *x = a, *y = b;
    int c = strcmp(x->id, y->id);
    if (c || x->field != y->field)
        return c ? c : x->field - y->field;
    return x->path != y->path ? x->path - y->path : strcmp(x->file->path, y->file->path);
}

static int place(sky_plan *p, sky_plan_item *it, const hit *x, sky_err *e)
{
    const sky_dataset_field *d = &p->d->field[x->field];
    sky_plan_field *f = &it->field[x->field];
    if (d->stack && x->path > f->n) /* files come in the order of paths: one is missing, which find_missing() says */
        return SKY_OK;
    if (f->n > (d->stack ? x->path : 0))
        return sky_fail(e, SKY_ECORRUPT, "sample '%s': two files for field '%s': %s and %s", it->id, d->name, f->source[f->n - 1].file->path, x->file->path);
    if (!f->source && !(f->source = sky_alloc((d->stack ? (size_t)d->npaths : 1) * sizeof *f->source)))
        return no_memory(e);
    f->source[f->n++] = (sky_source){x->file, x->tail};
    if (!it->split && !p->d->field[x->field].label)
        it->split = x->split;
    return SKY_OK;
}

static int group(sky_plan *p, hits *h, sky_err *e)
{
    if (h->n)
        qsort(h->hit, h->n, sizeof *h->hit, by_id_field);
    for (size_t i = 0; i < h->n; i++) {
        hit *x = &h->hit[i];
        sky_plan_item *it = p->n ? &p->item[p->n - 1] : NULL;
        if (!it || strcmp(it->id, x->id)) {
            it = sky_plan_add(p, x->id);
            x->id = NULL;
            if (!it)
                return no_memory(e);
            if (strlen(it->id) > ID_LIMIT)
                return sky_fail(e, SKY_ECORRUPT, "%s: its sample id has %zu bytes, the limit is %d", x->file->path, strlen(it->id), ID_LIMIT);
        } else {
            sky_free(x->id);
            x->id = NULL;
        }
        int rc = place(p, it, x, e);
        if (rc)
            return rc;
    }
    return SKY_OK;
}

static int match_all(sky_plan *p, const sky_listing *l, sky_err *e)
{
    hits h = {0};
    int rc = SKY_OK;
    for (size_t i = 0; !rc && i < sky_listing_count(l); i++)
        rc = match_file(&h, p->d, sky_listing_at(l, i), e);
    /* qsort wants every id; group() takes them over one by one. */
    if (!rc)
        rc = group(p, &h, e);
    for (size_t i = 0; i < h.n; i++)
        sky_free(h.hit[i].id);
    sky_free(h.hit);
    return rc;
}

/* ---- splits from lists --------------------------------------------------------------------------------------- */

typedef struct {
    sky_plan *p;
    const sky_dataset_split *split;
    const sky_entry *file;
    sky_pattern *name[2 * 64]; /* the image's file name, with and without its suffix */
    int nnames;
    sky_plan *lost; /* names without a file */
    sky_err *e;
} lister;

static int name_patterns(lister *s)
{
    const sky_dataset_field *f = &s->p->d->field[0];
    for (int k = 0; k < f->npaths; k++) {
        const char *text = sky_pattern_text(f->path[k]), *slash = strrchr(text, '/');
        text = slash ? slash + 1 : text;
        const char *dot = strrchr(text, '.');
        char *bare = dot && dot > text ? sky_strndup(text, (size_t)(dot - text)) : NULL;
        int rc = sky_pattern_parse(&s->name[s->nnames], text, s->p->d->file, s->e);
        s->nnames += !rc;
        if (!rc && bare && !strchr(dot, '}')) {
            rc = sky_pattern_parse(&s->name[s->nnames], bare, s->p->d->file, s->e);
            s->nnames += !rc;
        }
        sky_free(bare);
        if (rc)
            return rc;
    }
    return SKY_OK;
}

static int note_class(sky_plan_item *it, int class, sky_err *e)
{
    if (!it->meta && !(it->meta = json_object()))
        return no_memory(e);
    json_t *a = json_object_get(it->meta, "listed_classes");
    if (!a && (json_object_set_new(it->meta, "listed_classes", json_array()) || !(a = json_object_get(it->meta, "listed_classes"))))
        return no_memory(e);
    size_t i = 0;
    for (; i < json_array_size(a); i++) {
        json_int_t v = json_integer_value(json_array_get(a, i));
        if (v == class)
            return SKY_OK;
        if (v > class)
            break;
    }
    return json_array_insert_new(a, i, json_integer(class)) ? no_memory(e) : SKY_OK;
}

static int lost_name(lister *s, const char *name, size_t line)
{
    sky_plan_item *it = sky_plan_add(s->lost, sky_strdup(name));
    if (!it)
        return no_memory(s->e);
    it->split = s->split->name;
    it->problem = sky_asprintf("%s: line %zu: no image file for '%.200s'", s->file->path, line, name);
    return it->problem ? SKY_OK : no_memory(s->e);
}

static int listed(lister *s, const char *name, int class, size_t line)
{
    sky_span v[SKY_PATTERN_TOKENS];
    sky_plan_item *it = NULL;
    for (int k = 0; !it && k < s->nnames; k++) {
        char *id = NULL;
        if (!sky_pattern_match(s->name[k], name, v))
            continue;
        int bad = expand_id(s->p->d, s->name[k], v, &id);
        if (bad == -2)
            return no_memory(s->e);
        it = bad ? NULL : find(s->p, id);
        sky_free(id);
    }
    if (!it || !it->field[0].n)
        return lost_name(s, name, line);
    it->split = s->split->name;
    return class >= 0 ? note_class(it, class, s->e) : SKY_OK;
}

static int digit(char c) { return c >= '0' && c <= '9'; }
static int letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 128; }

/* "NAME", or "NAME<separators>CC". The separator is not published: whatever is neither letter nor digit counts. */
static int one_line(lister *s, char *text, size_t n, size_t line)
{
    while (n && (unsigned char)text[n - 1] <= ' ')
        n--;
    while (n && (unsigned char)*text <= ' ')
        text++, n--;
    if (!n)
        return SKY_OK;
    int class = -1;
    if (s->split->with_class) {
        size_t cut = n >= 2 ? n - 2 : 0, end = cut;
        while (end && !letter(text[end - 1]) && !digit(text[end - 1]))
            end--;
        if (n < 4 || !digit(text[n - 1]) || !digit(text[n - 2]) || end == cut || !end)
            return sky_fail(s->e, SKY_ECORRUPT, "%s: line %zu: expected an image name, a separator and a two-digit class, found '%.*s'",
                            s->file->path, line, (int)(n < 100 ? n : 100), text);
        class = (text[n - 2] - '0') * 10 + text[n - 1] - '0';
        n = end;
    }
    char *name = sky_strndup(text, n);
    int rc = !name ? no_memory(s->e) : strlen(name) != n ? sky_fail(s->e, SKY_ECORRUPT, "%s: line %zu: zero byte", s->file->path, line)
                                                          : listed(s, name, class, line);
    sky_free(name);
    return rc;
}

static int read_lines(lister *s, char *text, size_t n)
{
    int rc = SKY_OK;
    size_t line = 0;
    if (n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3))
        text += 3, n -= 3;
    for (size_t at = 0; !rc && at < n; line++) {
        char *end = memchr(text + at, '\n', n - at);
        size_t len = end ? (size_t)(end - text) - at : n - at;
        rc = one_line(s, text + at, len, line + 1);
        at += len + 1;
    }
    return rc;
}

static const sky_entry *find_list(const sky_dataset_split *s, const sky_listing *l, sky_err *e, int *rc)
{
    sky_span v[SKY_PATTERN_TOKENS];
    const sky_entry *found = NULL;
    *rc = SKY_OK;
    for (size_t i = 0; i < sky_listing_count(l); i++) {
        const sky_entry *f = sky_listing_at(l, i);
        if (!sky_pattern_match(s->list_path, f->match, v))
            continue;
        if (found)
            *rc = sky_fail(e, SKY_ECORRUPT, "two lists for split '%s': %s and %s", s->name, found->path, f->path);
        found = f;
    }
    return found;
}

static int read_list(sky_plan *p, sky_plan *lost, const sky_dataset_split *split, const sky_entry *f, sky_listing *l, sky_err *e)
{
    lister s = {.p = p, .split = split, .file = f, .lost = lost, .e = e};
    sky_bytes b;
    int rc = sky_listing_read(l, f, LIST_LIMIT, &b, e);
    if (rc)
        return rc;
    char *text = sky_strndup((const char *)b.p, b.n);
    rc = text ? name_patterns(&s) : no_memory(e);
    if (!rc)
        rc = read_lines(&s, text, b.n);
    for (int k = 0; k < s.nnames; k++)
        sky_pattern_free(s.name[k]);
    sky_free(text);
    sky_bytes_free(&b);
    return rc;
}

static int in_ids(const sky_dataset_split *s, const char *id)
{
    for (size_t i = 0; i < json_array_size(s->ids); i++) {
        const char *v = json_string_value(json_array_get(s->ids, i));
        if (v && !strcmp(v, id))
            return 1;
    }
    return 0;
}

/* Move the items of `from` to the end of p. */
static int append(sky_plan *p, sky_plan *from, sky_err *e)
{
    for (size_t i = 0; i < from->n; i++) {
        sky_plan_item *it = sky_plan_add(p, from->item[i].id);
        from->item[i].id = NULL;
        if (!it)
            return no_memory(e);
        it->split = from->item[i].split;
        it->problem = from->item[i].problem;
        from->item[i].problem = NULL;
    }
    return SKY_OK;
}

static int set_splits(sky_plan *p, const sky_listing *l, const char *wanted, sky_err *e)
{
    sky_plan *lost = sky_calloc(1, sizeof *lost);
    int rc = lost ? SKY_OK : no_memory(e);
    if (lost)
        lost->d = p->d;
    for (int i = 0; !rc && i < p->d->nsplits; i++) {
        const sky_dataset_split *s = &p->d->split[i];
        for (size_t k = 0; s->ids && k < p->n; k++)
            if (in_ids(s, p->item[k].id))
                p->item[k].split = s->name;
        if (!s->list || (wanted && strcmp(wanted, s->name)))
            continue;
        const sky_entry *f = find_list(s, l, e, &rc);
        if (!rc && f)
            rc = read_list(p, lost, s, f, (sky_listing *)(uintptr_t)l, e);
        else if (!rc && wanted)
            rc = sky_fail(e, SKY_ECORRUPT, "split '%s': no file named '%s' among the %zu files given", s->name, s->list, sky_listing_count(l));
    }
    if (!rc)
        rc = append(p, lost, e);
    sky_plan_close(lost);
    return rc;
}

/* ---- choosing ------------------------------------------------------------------------------------------------ */

static void keep_wanted(sky_plan *p, const sky_plan_opts *o)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->n; i++) {
        sky_plan_item *it = &p->item[i];
        int in_split = !o->split || (it->split && !strcmp(o->split, it->split));
        int in_part = sky_part_holds(&o->part, it->id);
        p->left_out += in_split && !in_part;
        if (in_split && in_part)
            p->item[kept++] = *it;
        else
            free_item(p->d, it);
    }
    p->n = kept;
}

static int find_missing(sky_plan *p, sky_err *e)
{
    for (size_t i = 0; i < p->n; i++)
        for (int k = 0; k < p->d->nfields; k++) {
            sky_plan_item *it = &p->item[i];
            const sky_dataset_field *f = &p->d->field[k];
            const int have = it->field[k].n;
            if (it->problem || (f->stack ? have == f->npaths : have) || !f->npaths || (!have && sky_dataset_optional(f, it->split)))
                continue;
            const char *other = "nothing";
            for (int m = 0; m < p->d->nfields; m++)
                if (it->field[m].n)
                    other = it->field[m].source[0].file->path;
            it->problem = sky_asprintf("sample '%s': no file for field '%s' (%s), found only %s", it->id, f->name, sky_pattern_text(f->path[f->stack ? have : 0]), other);
            if (!it->problem)
                return no_memory(e);
        }
    return SKY_OK;
}

static int nothing_found(const sky_plan *p, const sky_listing *l, const sky_plan_opts *o, sky_err *e)
{
    sky_buf b = {0};
    for (int i = 0; i < p->d->nfields; i++)
        for (int k = 0; k < p->d->field[i].npaths; k++)
            sky_buf_printf(&b, "%s%s", b.n ? ", " : "", sky_pattern_text(p->d->field[i].path[k]));
    const char *bad = sky_listing_unreadable(l);
    int rc = sky_fail(e, SKY_ECORRUPT, "no sample of data set '%s'%s%s among %zu files; looked for %.200s%s%s%s", p->d->name,
                      o->split ? " in split " : "", o->split ? o->split : "", sky_listing_count(l), b.p ? b.p : "",
                      bad ? "; unpack " : "", bad ? bad : "", bad ? " first" : "");
    sky_buf_free(&b);
    return rc;
}

/* Every picture may lack its label, but a pattern that somebody typed and that fits no file at all is a mistake. */
static int check_options(const sky_plan *p, const sky_listing *l, sky_err *e)
{
    for (int k = 0; k < p->d->nfields; k++) {
        const sky_dataset_field *f = &p->d->field[k];
        size_t have = 0;
        for (size_t i = 0; f->option && i < p->n; i++)
            have += p->item[i].field[k].n > 0;
        if (f->option && p->n && !have)
            return sky_fail(e, SKY_ECORRUPT, "%s '%.200s' fits none of the %zu files given", f->option, sky_pattern_text(f->path[0]), sky_listing_count(l));
    }
    return SKY_OK;
}

static int plan_lists(sky_plan *p, const sky_listing *l, const sky_plan_opts *o, sky_err *e)
{
    int rc = SKY_OK;
    for (size_t i = 0; !rc && i < sky_listing_count(l); i++) {
        const sky_entry *f = sky_listing_at(l, i);
        const char *dot = strrchr(f->path, '.'), *slash = strrchr(f->path, '/');
        if (!dot || strcmp(dot, ".json"))
            continue;
        char *root = o->root ? sky_strdup(o->root) : slash ? sky_strndup(f->path, (size_t)(slash - f->path)) : sky_strdup(".");
        sky_bytes b = {0};
        rc = root ? sky_listing_read((sky_listing *)(uintptr_t)l, f, LIST_LIMIT, &b, e) : no_memory(e);
        if (!rc)
            rc = sky_plan_list(p, (const char *)b.p, b.n, f->path, root, e);
        sky_bytes_free(&b);
        sky_free(root);
    }
    return rc;
}

static int check_unique(const sky_plan *p, sky_err *e)
{
    for (size_t i = 1; i < p->n; i++)
        if (!strcmp(p->item[i - 1].id, p->item[i].id) && !p->item[i - 1].problem && !p->item[i].problem)
            return sky_fail(e, SKY_ECORRUPT, "two samples have the id '%s'", p->item[i].id);
    return SKY_OK;
}

int sky_plan_open(sky_plan **out, const sky_dataset *d, const sky_listing *l, const sky_plan_opts *o, sky_err *e)
{
    if (o->split && d->layout == SKY_LAYOUT_FILES && !sky_dataset_find_split(d, o->split))
        return sky_fail(e, SKY_EUSAGE, "data set '%s' has no split '%s'", d->name, o->split);
    sky_plan *p = sky_calloc(1, sizeof *p);
    if (!p)
        return no_memory(e);
    p->d = d;
    int rc = d->layout == SKY_LAYOUT_LIST ? plan_lists(p, l, o, e) : match_all(p, l, e);
    if (!rc && d->layout == SKY_LAYOUT_FILES)
        rc = set_splits(p, l, o->split, e);
    if (!rc && p->n)
        qsort(p->item, p->n, sizeof *p->item, by_id);
    if (!rc)
        rc = check_unique(p, e);
    if (!rc)
        rc = check_options(p, l, e);
    if (!rc)
        keep_wanted(p, o);
    if (!rc && !p->n && !p->left_out)
        rc = nothing_found(p, l, o, e);
    if (!rc)
        rc = find_missing(p, e);
    if (rc)
        sky_plan_close(p);
    else
        *out = p;
    return rc;
}

void sky_plan_hash(const sky_plan *p, char out[65])
{
    sky_sha256 s;
    sky_sha256_init(&s);
    for (size_t i = 0; i < p->n; i++)
        for (int k = 0; k < p->d->nfields; k++)
            for (int m = 0; m < p->item[i].field[k].n; m++) {
                const sky_source *f = &p->item[i].field[k].source[m];
                const char *part[] = {p->item[i].id, " ", p->d->field[k].name, " ", f->tail};
                char size[32];
                for (size_t j = 0; j < sizeof part / sizeof *part; j++)
                    sky_sha256_add(&s, part[j], strlen(part[j]));
                snprintf(size, sizeof size, " %" PRIu64 "\n", f->file->size);
                sky_sha256_add(&s, size, strlen(size));
            }
    sky_sha256_hex(&s, out);
}
