/* buckets.h -- gradients summed over ranks while backward still runs.
 *
 * The flat gradient buffer (train/state.h) is cut into buckets of whole parameters. When backward has finished the last
 * parameter of a bucket, its sum begins. Ranks must begin sums in one order, but need not finish parameters in one order
 * (a modality may be absent from one rank's samples), so buckets begin in a fixed order: at first from the end of the
 * buffer, and from the second backward on in the order in which rank 0 finished them in the first. What is missing at the
 * end begins then. The sums do not depend on any of this (train/comm.h), only the overlap does. */
#ifndef SKY_TRAIN_BUCKETS_H
#define SKY_TRAIN_BUCKETS_H

#include "train/comm.h"

#define SKY_BUCKET_BYTES (4 << 20)

typedef struct sky_buckets sky_buckets;

/* grad: F32[size], memory of the device. at: where each of n parameters begins, ascending from 0. A bucket is closed when
 * it has `bytes` or more. k and grad must outlive it. */
int sky_buckets_open(sky_buckets **out, sky_comm *k, float *grad, int64_t size, const int64_t *at, int n, int64_t bytes, sky_err *e) SKY_MUST_USE;
void sky_buckets_close(sky_buckets *b); /* NULL allowed */
int sky_buckets_count(const sky_buckets *b);

/* Before the backward whose gradients are to be summed (the last one of several that accumulate). */
void sky_buckets_begin(sky_buckets *b);
/* The gradient of parameter i (0..n-1) is complete on this rank; at most once per backward. */
int sky_buckets_done(sky_buckets *b, int i, sky_err *e) SKY_MUST_USE;
/* Backward is over: parameters that were not reported are complete as they are. Waits for all sums. */
int sky_buckets_finish(sky_buckets *b, sky_err *e) SKY_MUST_USE;

#endif
