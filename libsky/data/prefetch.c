#include "data/prefetch.h"
#include "base/mem.h"
#include "base/threads.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

typedef struct {
    sky_prefetch *p;
    uint64_t at;
    void *item;
    int rc, replaced; /* replaced: attempts that failed before item */
    sky_err err;      /* of the last failure */
} job;

struct sky_prefetch {
    sky_source s;
    sky_prefetch_opts o;
    sky_queue *q;
    job *jobs; /* depth of them, used in turn */
    int depth;
    uint64_t put, got;
    double waited;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void run(void *arg)
{
    job *j = arg;
    const sky_prefetch *p = j->p;
    for (j->replaced = 0;; j->replaced++) {
        j->rc = p->s.make(p->s.arg, j->at, (uint64_t)j->replaced, &j->item, &j->err);
        if (j->rc != SKY_ECORRUPT || j->replaced == p->o.tries)
            return;
    }
}

static void feed(sky_prefetch *p)
{
    while (p->put < p->got + (uint64_t)p->depth - 1 && (!p->o.count || p->put < p->o.count)) {
        job *j = &p->jobs[p->put % (uint64_t)p->depth];
        *j = (job){.p = p, .at = p->o.first + p->put * p->o.step};
        sky_queue_put(p->q, j);
        p->put++;
    }
}

int sky_prefetch_open(sky_prefetch **out, const sky_source *s, const sky_prefetch_opts *o, sky_err *e)
{
    sky_prefetch *p = sky_calloc(1, sizeof *p);
    if (!p)
        return sky_fail(e, SKY_ENOMEM, "out of memory for prefetching");
    p->s = *s;
    p->o = *o;
    const int threads = o->threads > 0 ? o->threads : sky_cores();
    p->depth = (o->depth > 0 ? o->depth : threads < 2 ? 4 : 2 * threads) + 1; /* the queue's own rule: fewer than depth in flight */
    p->jobs = sky_calloc((size_t)p->depth, sizeof *p->jobs);
    int rc = p->jobs ? sky_queue_open(&p->q, threads, p->depth, run, e) : sky_fail(e, SKY_ENOMEM, "out of memory for prefetching");
    if (rc) {
        sky_free(p->jobs), sky_free(p);
        return rc;
    }
    feed(p);
    *out = p;
    return SKY_OK;
}

int sky_prefetch_next(sky_prefetch *p, void **item, sky_err *e)
{
    if (p->o.count && p->got == p->o.count)
        return 0;
    const double before = now();
    job *j = sky_queue_get(p->q);
    p->waited += now() - before;
    p->got++;
    if (j->replaced && p->o.warn) {
        char line[600];
        snprintf(line, sizeof line, "%s; %s", j->err.msg, j->rc ? "nothing took its place" : "another item took its place");
        p->o.warn(p->o.warn_arg, line);
    }
    const int rc = j->rc;
    if (rc && e)
        *e = j->err;
    *item = j->item;
    feed(p); /* may take j's place */
    return rc ? rc : 1;
}

void sky_prefetch_close(sky_prefetch *p)
{
    if (!p)
        return;
    sky_queue_end(p->q);
    for (job *j; (j = sky_queue_get(p->q));)
        if (!j->rc)
            p->s.free_item(j->item);
    sky_queue_close(p->q);
    sky_free(p->jobs);
    sky_free(p);
}

double sky_prefetch_waited(const sky_prefetch *p) { return p->waited; }

int sky_prefetch_run(sky_prefetch *p, uint64_t n, sky_io_report *r, sky_err *e)
{
    const double before = now(), waited = p->waited;
    void *item;
    int rc = 1;
    *r = (sky_io_report){0};
    while (r->items < n && (rc = sky_prefetch_next(p, &item, e)) > 0) {
        p->s.free_item(item);
        r->items++;
    }
    r->seconds = now() - before;
    r->waited = p->waited - waited;
    return rc < 0 ? rc : SKY_OK;
}
