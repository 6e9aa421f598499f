/* threads.h -- a fixed pool of workers and one loop over indices.
 *
 * Work is cut into pieces by the caller; which thread runs a piece is not determined, so a piece must depend on its
 * index alone and write only its own output: then results do not depend on the number of threads. */
#ifndef SKY_BASE_THREADS_H
#define SKY_BASE_THREADS_H

#include "base/err.h"
#include <stdint.h>

int sky_cores(void); /* cores this process may use, at least 1 */

typedef struct sky_pool sky_pool;

/* n threads in all, the caller's included; n = 0: one per core this process may use. */
int sky_pool_open(sky_pool **out, int n, sky_err *e) SKY_MUST_USE;
void sky_pool_close(sky_pool *p); /* NULL allowed */
int sky_pool_threads(const sky_pool *p); /* NULL: 1 */

/* Call fn(arg, i, thread) for i in 0..n-1, thread in 0..threads-1 (for per-thread scratch). Returns when all are done.
 * p NULL, or called from inside a piece: runs serially in the caller with thread 0 of that call. */
void sky_pool_for(sky_pool *p, int64_t n, void (*fn)(void *arg, int64_t i, int thread), void *arg);

/* An ordered pipeline stage: jobs are put in order, worked on by any thread, and got back in the same order. At most
 * `depth` jobs are in flight; put blocks beyond that until one was taken with get. One putter, one getter; both may be
 * the same thread if it keeps fewer than depth jobs in flight. fn runs on threads of the queue's own. Who sleeps in get is
 * woken when the oldest is done and no more than half of the jobs in flight wait for a thread. */
typedef struct sky_queue sky_queue;
int sky_queue_open(sky_queue **out, int threads, int depth, void (*fn)(void *job), sky_err *e) SKY_MUST_USE;
void sky_queue_put(sky_queue *q, void *job);
void sky_queue_end(sky_queue *q);   /* no more jobs: get returns NULL after the last */
void *sky_queue_get(sky_queue *q);  /* oldest job, finished; blocks; NULL: ended and empty */
int sky_queue_pending(sky_queue *q); /* jobs put and not got yet */
int sky_queue_threads(const sky_queue *q);
void sky_queue_close(sky_queue *q); /* waits for running jobs; jobs not got are the caller's to know and free */

#endif
