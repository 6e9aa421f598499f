/* replay.h -- the same work again, without queueing each of its operations anew.
 *
 * A forward pass of the full model is more than a thousand operations, and on a GPU the host takes longer to queue a small
 * one than the GPU to do it. Work is therefore kept under a key: the first time a key comes, the work runs as always; the
 * second time it is recorded; from then on it is replayed as one. Where the backend has nothing to gain (the CPU), or a
 * dry run, a tape or ranks are at work, the function is simply called.
 *
 * What is recorded must not depend on anything but the key: not the control flow of the function, not its shapes, not the
 * contents of any host array it hands to an operation (indices, uploads). What differs from one time to the next lies in
 * device memory, at the same place each time: uploaded onto the stack before the call, in the same order. Results are
 * what the function writes into `out`: plain bytes, such as tensors, kept with the recording. It must not download
 * anything, nor wait. What can go stale besides is the backend's matter (kernels/replay.cu). */
#ifndef SKY_TENSOR_REPLAY_H
#define SKY_TENSOR_REPLAY_H

#include "tensor/tensor.h"

typedef struct sky_replay sky_replay;

/* c is borrowed and outlives it. warn is told once when recording does not work; all work is then done without. */
int sky_replay_open(sky_replay **out, sky_ctx *c, void (*warn)(void *arg, const char *line), void *arg, sky_err *e) SKY_MUST_USE;
void sky_replay_close(sky_replay *r); /* NULL allowed */

typedef int sky_replay_fn(void *arg, void *out, sky_err *e);
/* fn(arg, out, e), or what it did under the same key of n bytes. out_bytes belong to the key. */
int sky_replay_run(sky_replay *r, const void *key, size_t n, sky_replay_fn *fn, void *arg, void *out, size_t out_bytes, sky_err *e) SKY_MUST_USE;

typedef struct {
    uint64_t called, recorded, replayed; /* fn called and run; recorded; replayed, the first time of a recording too */
} sky_replay_counts;
sky_replay_counts sky_replay_counted(const sky_replay *r);

#endif
