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

/* The draw among the n candidates of the list without the query itself, whose place in it is `self` (n: it is not there). */
static uint64_t take(const maker *m, uint64_t q, int cls, uint64_t n, uint64_t self)
{
    const uint64_t k = draw(m->o->seed, m->c->v[q].id, cls) % (n - (self < n));
    return m->list[k + (k >= self)];
}

static int add(maker *m, uint64_t q, uint64_t prompt, int cls, sky_err *e)
{
    return sky_prompts_add(m->to, m->c->v[q].id, m->c->v[prompt].id, cls, 0, e);
}

/* ---- binary --------------------------------------------------------------------------------------------------------- */

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
        rc = n > (uint64_t)own ? add(m, q, take(m, q, cls, n, own ? self : n), cls, e) : none_left(m, e, c->v[q].id, why);
    }
    return rc;
}

/* ---- multi-class: the samples that cover most of a query's classes ------------------------------------------------- */

/* Samples are many, and the sets of classes they hold are few: sets are compared with each other, and each set that is asked
 * for goes over the samples once. Only where every sample has a set of its own is that all against all. */
typedef struct {
    class_set *set;    /* those that are offered */
    uint64_t n;
    uint64_t *of;      /* per sample: which of them it offers */
    uint16_t *covers;  /* per set: how many of the classes asked for */
    uint64_t *asking;  /* samples; those that ask for the same are side by side */
    uint64_t *prompt;  /* per sample: which prompts it; the number of samples: none */
} kinds;

static int by_offers(const void *a, const void *b, void *arg)
{
    const sky_catalogue *c = arg;
    return memcmp(&c->v[*(const uint64_t *)a].offers, &c->v[*(const uint64_t *)b].offers, sizeof(class_set));
}

static int by_asks(const void *a, const void *b, void *arg)
{
    const sky_catalogue *c = arg;
    return memcmp(&c->v[*(const uint64_t *)a].asks, &c->v[*(const uint64_t *)b].asks, sizeof(class_set));
}

static void find_kinds(kinds *k, sky_catalogue *c)
{
    uint64_t *order = k->asking; /* sorted by what they offer first, to find the kinds, then by what they ask for */
    for (uint64_t i = 0; i < c->n; i++)
        order[i] = i;
    qsort_r(order, c->n, sizeof *order, by_offers, c);
    for (uint64_t i = 0; i < c->n; i++) {
        const class_set *s = &c->v[order[i]].offers;
        if (!k->n || memcmp(s, &k->set[k->n - 1], sizeof *s))
            k->set[k->n++] = *s;
        k->of[order[i]] = k->n - 1;
    }
    qsort_r(k->asking, c->n, sizeof *k->asking, by_asks, c);
}

static void count_covered(kinds *k, const class_set *asks)
{
    for (uint64_t i = 0; i < k->n; i++) {
        const class_set both = class_set_and(k->set[i], asks);
        k->covers[i] = (uint16_t)class_set_size(&both);
    }
}

/* The list becomes the samples that cover most. Returns how many, 0 when none covers any. */
static uint64_t best_covering(maker *m, const kinds *k)
{
    uint16_t most = 1;
    uint64_t n = 0;
    for (uint64_t i = 0; i < k->n; i++)
        most = k->covers[i] > most ? k->covers[i] : most;
    for (uint64_t i = 0; i < m->c->n; i++)
        if (k->covers[k->of[i]] == most)
            m->list[n++] = i;
    return n;
}

static uint64_t place_of(const maker *m, uint64_t q, uint64_t n)
{
    uint64_t lo = 0, hi = n;
    while (lo < hi) {
        const uint64_t mid = lo + (hi - lo) / 2;
        if (m->list[mid] < q)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && m->list[lo] == q ? lo : n;
}

/* Prompts of k->asking[from..to), which ask for the same. A sample that alone covers most of it cannot prompt itself: if
 * it asks, the second best prompt it. */
static void prompt_equals(maker *m, kinds *k, uint64_t from, uint64_t to)
{
    count_covered(k, &m->c->v[k->asking[from]].asks);
    uint64_t n = best_covering(m, k), alone = n == 1 ? m->list[0] : m->c->n;
    for (uint64_t i = from; i < to && n; i++)
        if (k->asking[i] != alone)
            k->prompt[k->asking[i]] = take(m, k->asking[i], SKY_ALL_CLASSES, n, place_of(m, k->asking[i], n));
    if (alone == m->c->n || by_asks(&alone, &k->asking[from], m->c))
        return;
    k->covers[k->of[alone]] = 0;
    if ((n = best_covering(m, k)))
        k->prompt[alone] = take(m, alone, SKY_ALL_CLASSES, n, n);
}

static int make_multi(maker *m, kinds *k, sky_err *e)
{
    const sky_catalogue *c = m->c;
    int rc = SKY_OK;
    find_kinds(k, m->c);
    for (uint64_t q = 0; q < c->n; q++)
        k->prompt[q] = c->n;
    for (uint64_t i = 0, end; i < c->n; i = end) {
        for (end = i + 1; end < c->n && !by_asks(&k->asking[i], &k->asking[end], m->c); end++)
            ;
        if (class_set_size(&c->v[k->asking[i]].asks))
            prompt_equals(m, k, i, end);
    }
    for (uint64_t q = 0; q < c->n && !rc; q++)
        if (k->prompt[q] < c->n)
            rc = add(m, q, k->prompt[q], SKY_ALL_CLASSES, e);
        else if (class_set_size(&c->v[q].asks))
            rc = none_left(m, e, c->v[q].id, "no other sample holds one of its classes");
    return rc;
}

static int make_kinds(maker *m, sky_err *e)
{
    const uint64_t n = m->c->n;
    kinds k = {.set = sky_alloc(n * sizeof *k.set), .of = sky_alloc(n * sizeof *k.of), .covers = sky_alloc(n * sizeof *k.covers),
               .asking = sky_alloc(n * sizeof *k.asking), .prompt = sky_alloc(n * sizeof *k.prompt)};
    const int there = k.set && k.of && k.covers && k.asking && k.prompt;
    const int rc = there ? make_multi(m, &k, e) : sky_fail(e, SKY_ENOMEM, "out of memory for prompts");
    sky_free(k.set), sky_free(k.of), sky_free(k.covers), sky_free(k.asking), sky_free(k.prompt);
    return rc;
}

/* ---- both ------------------------------------------------------------------------------------------------------------ */

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
        rc = make_kinds(m, e);
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
