/* The roll: index entries read once, sorted by a rule that knows only ids, and the lists of who holds what. */
#include "data/roll.h"
#include "base/hash.h"
#include "base/mem.h"
#include "data/labels.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint64_t key; /* FNV-1a of the id */
    uint32_t file;
    uint64_t record;
} place;

/* One (data set, class) of one sample: a row of the table the pairs are cut from. */
typedef struct {
    uint32_t sample;
    int16_t dataset;
    uint8_t cls;
} holding;

struct sky_roll {
    const sky_corpus *c;
    char label[64];
    place *at;
    uint64_t n;
    size_t cap;
    char **dataset; /* as they came */
    int ndatasets;
    sky_pair *pair;
    int npairs;
    uint32_t *member; /* of all pairs, one after the other */
};

typedef struct {
    sky_roll *r;
    const sky_roll_opts *o;
    holding *v;
    uint64_t n;
    size_t cap;
} table;

enum { DATASETS = 32767 };

/* Entries are parsed, looked at and dropped: kept ones would take a kilobyte per sample. */
static json_t *entry_of(const sky_roll *r, place at, sky_err *e)
{
    return sky_shard_entry_new(sky_corpus_shard(r->c, (int)at.file), at.record, e);
}

/* ---- which samples, in which order ------------------------------------------------------------------------------ */

static int listed(const int *v, int n, json_int_t x)
{
    for (int i = 0; i < n; i++)
        if (v[i] == x)
            return 1;
    return 0;
}

static int wanted(const sky_roll *r, const sky_roll_opts *o, const json_t *entry)
{
    const char *split = json_string_value(json_object_get(entry, "split"));
    if (o->split && (!split || strcmp(split, o->split)))
        return 0;
    const json_t *here = json_object_get(json_object_get(entry, "classes"), r->label);
    for (size_t i = 0; o->nclasses && i < json_array_size(here); i++)
        if (listed(o->classes, o->nclasses, json_integer_value(json_array_get(here, i))))
            return 1;
    return !o->nclasses;
}

static int add_place(sky_roll *r, place at, sky_err *e)
{
    if (r->n == UINT32_MAX)
        return sky_fail(e, SKY_ELIMIT, "more than %" PRIu32 " samples", UINT32_MAX);
    place *p = sky_grow(r->at, r->n, &r->cap, sizeof *p);
    if (!p)
        return sky_fail(e, SKY_ENOMEM, "out of memory for %" PRIu64 " samples", r->n + 1);
    r->at = p;
    p[r->n++] = at;
    return SKY_OK;
}

static int collect_one(sky_roll *r, const sky_roll_opts *o, place at, sky_err *e)
{
    const char *id = NULL;
    json_t *entry = entry_of(r, at, e);
    int rc = entry ? sky_json_str(entry, "id", 1, &id, "index entry", e) : e->code;
    if (!rc && !o->label)
        rc = sky_label_field(r->label, json_object_get(entry, "classes"), e);
    if (!rc && wanted(r, o, entry)) {
        at.key = sky_fnv1a(id);
        rc = add_place(r, at, e);
    }
    json_decref(entry);
    return rc;
}

static int collect(sky_roll *r, const sky_roll_opts *o, sky_err *e)
{
    for (int f = 0; f < sky_corpus_files(r->c); f++)
        for (uint64_t i = 0; i < sky_shard_count(sky_corpus_shard(r->c, f)); i++) {
            int rc = collect_one(r, o, (place){0, (uint32_t)f, i}, e);
            if (rc)
                return rc;
        }
    return r->n ? SKY_OK : sky_fail(e, SKY_ECORRUPT, "no sample%s%s%s in %d shards", o->split ? " of split '" : "", o->split ? o->split : "", o->split ? "'" : "", sky_corpus_files(r->c));
}

/* The order of ids that share a key: a matter of chance in 2^64, or the same id twice. */
static int compare_ids(const sky_roll *r, place x, place y)
{
    json_t *a = entry_of(r, x, NULL), *b = entry_of(r, y, NULL);
    const char *p = json_string_value(json_object_get(a, "id")), *q = json_string_value(json_object_get(b, "id"));
    const int c = p && q ? strcmp(p, q) : 0;
    json_decref(a), json_decref(b);
    return c;
}

static int compare_places(const void *a, const void *b, void *roll)
{
    const place *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x == y ? 0 : compare_ids(roll, *x, *y);
}

static int sort_places(sky_roll *r, sky_err *e)
{
    qsort_r(r->at, r->n, sizeof *r->at, compare_places, r);
    for (uint64_t i = 1; i < r->n; i++)
        if (!compare_places(&r->at[i - 1], &r->at[i], r)) {
            json_t *entry = entry_of(r, r->at[i], e);
            int rc = entry ? sky_fail(e, SKY_ECORRUPT, "sample '%s' is there twice", json_string_value(json_object_get(entry, "id"))) : e->code;
            json_decref(entry);
            return rc;
        }
    return SKY_OK;
}

/* ---- pairs -------------------------------------------------------------------------------------------------------- */

static int dataset_number(sky_roll *r, const char *name, sky_err *e)
{
    for (int i = 0; i < r->ndatasets; i++)
        if (!strcmp(r->dataset[i], name))
            return i;
    if (r->ndatasets == DATASETS)
        return sky_fail(e, SKY_ELIMIT, "more than %d data sets", DATASETS);
    char **v = sky_realloc(r->dataset, (size_t)r->ndatasets * sizeof *v, ((size_t)r->ndatasets + 1) * sizeof *v);
    if (v)
        r->dataset = v;
    if (!v || !(v[r->ndatasets] = sky_strdup(name)))
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    return r->ndatasets++;
}

static int add_holding(table *t, holding h, sky_err *e)
{
    holding *v = sky_grow(t->v, t->n, &t->cap, sizeof *v);
    if (!v)
        return sky_fail(e, SKY_ENOMEM, "out of memory for %" PRIu64 " classes of samples", t->n + 1);
    t->v = v;
    v[t->n++] = h;
    return SKY_OK;
}

static int add_classes(table *t, uint32_t number, const json_t *entry, sky_err *e)
{
    sky_roll *r = t->r;
    const json_t *schema = sky_shard_schema(sky_corpus_shard(r->c, (int)r->at[number].file));
    const json_t *here = json_object_get(json_object_get(entry, "classes"), r->label);
    const json_t *names = json_object_get(json_object_get(json_object_get(schema, "fields"), r->label), "classes");
    const char *type = json_string_value(json_object_get(entry, "type")), *set = json_string_value(json_object_get(schema, "dataset"));
    const int dataset = dataset_number(r, type ? type : set ? set : "", e);
    int rc = dataset < 0 ? dataset : SKY_OK;
    for (size_t i = 0; !rc && i < json_array_size(here); i++) {
        const json_int_t v = json_integer_value(json_array_get(here, i));
        if (v < 0 || v > 255)
            return sky_fail(e, SKY_ECORRUPT, "sample '%s': class %" JSON_INTEGER_FORMAT " in field '%s', want 0..255", json_string_value(json_object_get(entry, "id")), v, r->label);
        if (t->o->nclasses ? listed(t->o->classes, t->o->nclasses, v) : !sky_class_is_background(names, (double)v))
            rc = add_holding(t, (holding){number, (int16_t)dataset, (uint8_t)v}, e);
    }
    return rc;
}

static int add_sample(table *t, uint32_t number, sky_err *e)
{
    json_t *entry = entry_of(t->r, t->r->at[number], e);
    int rc = entry ? add_classes(t, number, entry, e) : e->code;
    json_decref(entry);
    return rc;
}

static int compare_holdings(const void *a, const void *b, void *roll)
{
    const holding *x = a, *y = b;
    const sky_roll *r = roll;
    if (x->dataset != y->dataset)
        return strcmp(r->dataset[x->dataset], r->dataset[y->dataset]);
    if (x->cls != y->cls)
        return x->cls < y->cls ? -1 : 1;
    return x->sample < y->sample ? -1 : x->sample > y->sample;
}

static int cut_pairs(table *t, sky_err *e)
{
    sky_roll *r = t->r;
    if (t->n)
        qsort_r(t->v, t->n, sizeof *t->v, compare_holdings, r);
    for (uint64_t i = 0; i < t->n; i++)
        r->npairs += !i || t->v[i].dataset != t->v[i - 1].dataset || t->v[i].cls != t->v[i - 1].cls;
    r->pair = sky_calloc((size_t)r->npairs, sizeof *r->pair);
    r->member = sky_alloc(t->n * sizeof *r->member);
    if (!r->pair || !r->member)
        return sky_fail(e, SKY_ENOMEM, "out of memory for %d pairs", r->npairs);
    sky_pair *p = r->pair;
    for (uint64_t i = 0; i < t->n; i++) {
        const holding *h = &t->v[i];
        if (p->n && (h->dataset != h[-1].dataset || h->cls != h[-1].cls))
            p++;
        if (!p->n)
            *p = (sky_pair){r->dataset[h->dataset], h->cls, r->member + i, 0};
        r->member[i] = h->sample;
        p->n++;
    }
    return SKY_OK;
}

static int make_pairs(sky_roll *r, const sky_roll_opts *o, sky_err *e)
{
    table t = {.r = r, .o = o};
    int rc = SKY_OK;
    for (uint64_t i = 0; !rc && i < r->n; i++)
        rc = add_sample(&t, (uint32_t)i, e);
    if (!rc)
        rc = cut_pairs(&t, e);
    sky_free(t.v);
    return rc;
}

/* ---- the roll ------------------------------------------------------------------------------------------------------ */

int sky_roll_open(sky_roll **out, const sky_corpus *c, const sky_roll_opts *o, sky_err *e)
{
    sky_roll *r = sky_calloc(1, sizeof *r);
    if (!r)
        return sky_fail(e, SKY_ENOMEM, "out of memory for the list of samples");
    r->c = c;
    if (o->label)
        snprintf(r->label, sizeof r->label, "%s", o->label);
    int rc = collect(r, o, e);
    if (!rc)
        rc = sort_places(r, e);
    if (!rc)
        rc = make_pairs(r, o, e);
    if (rc)
        sky_roll_close(r);
    else
        *out = r;
    return rc;
}

void sky_roll_close(sky_roll *r)
{
    if (!r)
        return;
    for (int i = 0; i < r->ndatasets; i++)
        sky_free(r->dataset[i]);
    sky_free(r->dataset), sky_free(r->at), sky_free(r->pair), sky_free(r->member);
    sky_free(r);
}

uint64_t sky_roll_count(const sky_roll *r) { return r->n; }
const char *sky_roll_label(const sky_roll *r) { return *r->label ? r->label : NULL; }
int sky_roll_pairs(const sky_roll *r) { return r->npairs; }
const sky_pair *sky_roll_pair(const sky_roll *r, int i) { return &r->pair[i]; }

int sky_roll_read(const sky_roll *r, uint64_t number, const char *const *fields, sky_sample *out, sky_err *e)
{
    const sky_place at = {(int)r->at[number].file, r->at[number].record};
    return sky_corpus_read(r->c, at, fields, out, e);
}

const json_t *sky_roll_schema(const sky_roll *r, uint64_t number)
{
    return sky_shard_schema(sky_corpus_shard(r->c, (int)r->at[number].file));
}
