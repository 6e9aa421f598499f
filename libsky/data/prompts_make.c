/* The rule that draws each query's prompt from the catalogue (docs/protocol.md). */
#include "base/hash.h"
#include "data/prompts_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
        if (class_set_has(&c->v[i].offers, cls))
            m->list[n++] = i;
    for (uint64_t q = 0; q < c->n && !rc; q++) {
        while (self < n && m->list[self] < q)
            self++;
        if (!class_set_has(&c->v[q].asks, cls))
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
        class_set both = class_set_and(c->v[i].offers, &c->v[q].asks);
        int covers = class_set_size(&both);
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
        if (!class_set_size(&m->c->v[q].asks))
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
    int rc = sky_catalogue_seal(m->c, e);
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
