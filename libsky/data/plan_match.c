/* From files to items: the patterns of a descriptor's fields laid over the names of a listing. */
#include "base/mem.h"
#include "data/plan_internal.h"

#include <stdlib.h>
#include <string.h>

enum { ID_LIMIT = 255 };

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

int sky_plan_expand_id(const sky_dataset *d, const sky_pattern *g, const sky_span *v, char **out)
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
            if (sky_plan_expand_id(d, g, v, &x.id) || add_hit(h, x)) {
                sky_free(x.id);
                return sky_plan_no_memory(e);
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
        return sky_plan_no_memory(e);
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
                return sky_plan_no_memory(e);
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

int sky_plan_match(sky_plan *p, const sky_listing *l, sky_err *e)
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
