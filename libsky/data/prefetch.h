/* prefetch.h -- items of known future positions, made on other threads, handed over in order.
 *
 * What an item is is the source's matter: a pure function of its position. The pipeline keeps `depth` items in work or
 * ready (base/threads.h, sky_queue), so memory is bounded by depth items; order and content do not depend on the number
 * of threads. Threads only, never a fork. */
#ifndef SKY_DATA_PREFETCH_H
#define SKY_DATA_PREFETCH_H

#include "base/err.h"
#include <stdint.h>

typedef struct {
    /* Make the item of position `at`; called from several threads. attempt > 0: the item that takes the place of one whose data
     * were bad (another draw, still a pure function of its arguments). */
    int (*make)(void *arg, uint64_t at, uint64_t attempt, void **item, sky_err *e);
    void (*free_item)(void *item);
    void *arg;
} sky_source;

typedef struct {
    int threads;           /* [0: all cores] */
    int depth;             /* items in flight [0: 2 per thread, at least 4] */
    uint64_t first, step;  /* positions first, first + step, ...: for rank r of n at position p, p + r and n */
    uint64_t count;        /* items in all; 0: without end */
    int tries;             /* bad data (SKY_ECORRUPT): other items tried in its place [0: stop with the error] */
    void (*warn)(void *arg, const char *line); /* each item that was replaced, by name; called by sky_prefetch_next */
    void *warn_arg;
} sky_prefetch_opts;

typedef struct sky_prefetch sky_prefetch;
/* s is copied; what its arg points at must outlive the pipeline. */
int sky_prefetch_open(sky_prefetch **out, const sky_source *s, const sky_prefetch_opts *o, sky_err *e) SKY_MUST_USE;
void sky_prefetch_close(sky_prefetch *p); /* NULL allowed; frees what was not taken */
/* 1: *item, the caller's (free_item); 0: count items were given; < 0: the item's error, which names position and sample.
 * One caller. */
int sky_prefetch_next(sky_prefetch *p, void **item, sky_err *e) SKY_MUST_USE;
double sky_prefetch_waited(const sky_prefetch *p); /* seconds next has waited so far */

/* --io-only: take n items and drop them. */
typedef struct {
    uint64_t items;
    double seconds, waited;
} sky_io_report;
int sky_prefetch_run(sky_prefetch *p, uint64_t n, sky_io_report *r, sky_err *e) SKY_MUST_USE;

#endif
