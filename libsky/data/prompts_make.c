/* The catalogue of what samples hold, and the rule that draws each query's prompt from it (docs/protocol.md). */
#include "base/hash.h"
#include "data/labels.h"
#include "data/prompts_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Classes of a sample, bit c of word c/64. */
typedef struct {
    uint64_t w[4];
} set;

static int set_has(const set *s, int c) { return s->w[c >> 6] >> (c & 63) & 1; }
static void set_add(set *s, int c) { s->w[c >> 6] |= (uint64_t)1 << (c & 63); }
static set set_and(set a, const set *b)
{
    for (int i = 0; i < 4; i++)
        a.w[i] &= b->w[i];
    return a;
}
static int set_size(const set *s)
{
    int n = 0;
    for (int i = 0; i < 4; i++)
        n += __builtin_popcountll(s->w[i]);
    return n;
}

typedef struct {
    char *id;
    set asks, offers; /* classes it is a query for; classes it can prompt */
} item;

struct sky_catalogue {
    sky_catalogue_opts o;
    char label[64]; /* the field, once known */
    set wanted;     /* of o.classes */
    item *v;
    uint64_t n, unlabelled;
    size_t cap;
    json_t *splits; /* object: the names that samples have */
};

/* ---- catalogue ----------------------------------------------------------------------------------------------------- */

int sky_catalogue_open(sky_catalogue **out, const sky_catalogue_opts *o, sky_err *e)
{
    sky_catalogue *c = sky_calloc(1, sizeof *c);
    if (!c)
        return sky_fail(e, SKY_ENOMEM, "out of memory for a catalogue");
    c->o = *o;
    if (!(c->splits = json_object())) {
        sky_catalogue_close(c);
        return sky_fail(e, SKY_ENOMEM, "out of memory for a catalogue");
    }
    if (o->label)
        snprintf(c->label, sizeof c->label, "%s", o->label);
    for (int i = 0; i < o->nclasses; i++) {
        if (o->classes[i] < 0 || o->classes[i] > 255) {
            sky_catalogue_close(c);
            return sky_fail(e, SKY_EUSAGE, "class %d, want 0..255", o->classes[i]);
        }
        set_add(&c->wanted, o->classes[i]);
    }
    *out = c;
    return SKY_OK;
}

void sky_catalogue_close(sky_catalogue *c)
{
    if (!c)
        return;
    for (uint64_t i = 0; i < c->n; i++)
        sky_free(c->v[i].id);
    sky_free(c->v);
    json_decref(c->splits);
    sky_free(c);
}

uint64_t sky_catalogue_unlabelled(const sky_catalogue *c) { return c->unlabelled; }

/* Unless classes are asked for by number: background is no class of the protocol. */
static int is_class(const sky_catalogue *c, const json_t *schema, int v)
{
    if (c->o.nclasses)
        return set_has(&c->wanted, v);
    const json_t *field = json_object_get(json_object_get(schema, "fields"), c->label);
    return !sky_class_is_background(json_object_get(field, "classes"), v);
}

static int read_set(const sky_catalogue *c, set *s, const json_t *list, const json_t *schema, sky_err *e)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *j = json_array_get(list, i);
        json_int_t v = json_integer_value(j);
        if (!json_is_integer(j) || v < 0 || v > 255)
            return sky_fail(e, SKY_ECORRUPT, "class %" JSON_INTEGER_FORMAT " in field '%s', the one-shot protocol takes 0..255", v, c->label);
        if (is_class(c, schema, (int)v))
            set_add(s, (int)v);
    }
    return SKY_OK;
}

static int in_split(const char *want, const char *split) { return !want || (split && !strcmp(want, split)); }

static int append(sky_catalogue *c, const char *id, const set *asks, const set *offers, sky_err *e)
{
    item *v = sky_grow(c->v, c->n, &c->cap, sizeof *v);
    if (v)
        c->v = v;
    char *copy = v ? sky_strdup(id) : NULL;
    if (!copy)
        return sky_fail(e, SKY_ENOMEM, "out of memory for a catalogue");
    c->v[c->n++] = (item){copy, *asks, *offers};
    return SKY_OK;
}

int sky_catalogue_add(sky_catalogue *c, const json_t *entry, const json_t *schema, sky_err *e)
{
    const char *id = NULL, *split = json_string_value(json_object_get(entry, "split"));
    int rc = sky_json_str(entry, "id", 1, &id, "index entry", e);
    if (rc)
        return rc;
    if (split && json_object_set_new(c->splits, split, json_true()))
        return sky_fail(e, SKY_ENOMEM, "out of memory for a catalogue");
    int query = in_split(c->o.query_split, split), prompt = in_split(c->o.prompt_split ? c->o.prompt_split : c->o.query_split, split);
    if (!query && !prompt)
        return SKY_OK;
    const json_t *classes = json_object_get(entry, "classes"), *listed = json_object_get(entry, "listed_classes");
    if (!c->o.label && (rc = sky_label_field(c->label, classes, e)))
        return sky_wrap(e, "sample '%s'", id);
    const json_t *present = json_object_get(classes, c->label);
    if (!json_is_array(present)) {
        c->unlabelled++;
        return SKY_OK;
    }
    set has = {0}, asks = {0}, none = {0};
    rc = read_set(c, &has, present, schema, e);
    if (!rc && json_is_array(listed))
        rc = read_set(c, &asks, listed, schema, e);
    else
        asks = has;
    if (rc)
        return sky_wrap(e, "sample '%s'", id);
    set offers = json_is_array(listed) ? set_and(has, &asks) : has;
    return append(c, id, query ? &asks : &none, prompt ? &offers : &none, e);
}

int sky_catalogue_add_shard(sky_catalogue *c, const sky_shard *s, sky_err *e)
{
    for (uint64_t i = 0; i < sky_shard_count(s); i++) {
        const json_t *entry = sky_shard_entry(s, i, e);
        int rc = entry ? sky_catalogue_add(c, entry, sky_shard_schema(s), e) : e->code;
        if (rc)
            return rc;
    }
    return SKY_OK;
}

/* A split that no sample is of is a misspelt one. */
static int check_split(const sky_catalogue *c, const char *option, const char *want, sky_err *e)
{
    if (!want || json_object_get(c->splits, want))
        return SKY_OK;
    sky_buf list = {0};
    const char *name;
    json_t *v;
    json_object_foreach(c->splits, name, v)
        sky_buf_printf(&list, "%s'%s'", list.n ? ", " : "", name);
    int rc = sky_fail(e, SKY_EUSAGE, "%s '%s': no sample is of this split; %s%s", option, want, list.n ? "there are " : "the samples are of none", list.n ? list.p : "");
    sky_buf_free(&list);
    return rc;
}

static int by_id(const void *a, const void *b) { return strcmp(((const item *)a)->id, ((const item *)b)->id); }

static int sort_by_id(sky_catalogue *c, sky_err *e)
{
    if (c->n)
        qsort(c->v, c->n, sizeof *c->v, by_id);
    for (uint64_t i = 1; i < c->n; i++)
        if (!strcmp(c->v[i].id, c->v[i - 1].id))
            return sky_fail(e, SKY_ECORRUPT, "sample '%s' is there twice", c->v[i].id);
    return SKY_OK;
}

/* ---- drawing --------------------------------------------------------------------------------------------------------- */

/* One number per (seed, query, class). */
static uint64_t draw(uint64_t seed, const char *query, int cls)
{
    return sky_mix64(sky_mix64(sky_fnv1a(query), seed), (uint64_t)(cls + 1));
}

typedef struct {
    sky_catalogue *c;
    const sky_prompts_opts *o;
    sky_prompts *to;
    uint64_t *list; /* candidates, in order of id; room for all */
} maker;

static int none_left(maker *m, sky_err *e, const char *query, const char *why)
{
    int rc = sky_fail(e, SKY_ECORRUPT, "sample '%s': %s, so nothing can prompt it", query, why);
    return m->o->cli ? sky_skip(m->o->cli, e) : rc;
}

/* The draw among n candidates without the query itself, whose place in the list is `self` (n: it is not there). */
static int take(maker *m, uint64_t q, int cls, uint64_t n, uint64_t self, sky_err *e)
{
    uint64_t k = draw(m->o->seed, m->c->v[q].id, cls) % (n - (self < n));
    return sky_prompts_add(m->to, m->c->v[q].id, m->c->v[m->list[k + (k >= self)]].id, cls, 0, e);
}

static int make_class(maker *m, int cls, sky_err *e)
{
    const sky_catalogue *c = m->c;
    uint64_t n = 0, self = 0;
    int rc = SKY_OK;
    for (uint64_t i = 0; i < c->n; i++)
        if (set_has(&c->v[i].offers, cls))
            m->list[n++] = i;
    for (uint64_t q = 0; q < c->n && !rc; q++) {
        while (self < n && m->list[self] < q)
            self++;
        if (!set_has(&c->v[q].asks, cls))
            continue;
        int own = self < n && m->list[self] == q;
        char why[80];
        snprintf(why, sizeof why, n ? "it is the only one that holds class %d" : "no sample holds class %d", cls);
        rc = n > (uint64_t)own ? take(m, q, cls, n, own ? self : n, e) : none_left(m, e, c->v[q].id, why);
    }
    return rc;
}

/* For one query of the multi-class protocol: the samples that cover most of its classes. Returns how many, 0 when none
 * covers any. */
static uint64_t best_covering(maker *m, uint64_t q)
{
    const sky_catalogue *c = m->c;
    int most = 1;
    uint64_t n = 0;
    for (uint64_t i = 0; i < c->n; i++) {
        if (i == q)
            continue;
        set both = set_and(c->v[i].offers, &c->v[q].asks);
        int covers = set_size(&both);
        if (covers > most)
            most = covers, n = 0;
        if (covers == most)
            m->list[n++] = i;
    }
    return n;
}

static int make_multi(maker *m, sky_err *e)
{
    int rc = SKY_OK;
    for (uint64_t q = 0; q < m->c->n && !rc; q++) {
        if (!set_size(&m->c->v[q].asks))
            continue;
        uint64_t n = best_covering(m, q);
        rc = n ? take(m, q, SKY_ALL_CLASSES, n, n, e) : none_left(m, e, m->c->v[q].id, "no other sample holds one of its classes");
    }
    return rc;
}

/* Lines in the order of query id, then class. */
static int by_line(const void *a, const void *b, void *arg)
{
    const sky_prompts *p = arg;
    const prompt_row *x = a, *y = b;
    int d = strcmp(p->text.p + x->query, p->text.p + y->query);
    return d ? d : x->cls - y->cls;
}

static int make_all(maker *m, sky_err *e)
{
    int rc = check_split(m->c, "--split", m->c->o.query_split, e);
    if (!rc)
        rc = check_split(m->c, "--prompt-split", m->c->o.prompt_split, e);
    if (!rc)
        rc = sort_by_id(m->c, e);
    for (int cls = 0; cls < 256 && !rc && !m->o->multi; cls++)
        rc = make_class(m, cls, e);
    if (!rc && m->o->multi)
        rc = make_multi(m, e);
    if (!rc && m->to->n)
        qsort_r(m->to->row, m->to->n, sizeof *m->to->row, by_line, m->to);
    if (!rc && !m->to->n)
        rc = sky_fail(e, SKY_ECORRUPT, "no queries: %" PRIu64 " samples, none with a class that another one can prompt", m->c->n);
    return rc ? rc : sky_prompts_seal(m->to, e);
}

int sky_prompts_make(sky_prompts **out, sky_catalogue *c, const sky_prompts_opts *o, sky_err *e)
{
    maker m = {.c = c, .o = o, .to = sky_calloc(1, sizeof *m.to), .list = sky_alloc(c->n * sizeof *m.list)};
    int rc = m.to && m.list ? make_all(&m, e) : sky_fail(e, SKY_ENOMEM, "out of memory for prompts");
    sky_free(m.list);
    if (rc) {
        sky_prompts_free(m.to);
        return rc;
    }
    *out = m.to;
    return SKY_OK;
}
