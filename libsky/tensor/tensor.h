/* tensor.h -- tensors, the compute context, and its memory.
 *
 * A tensor is a small value: element type, shape, and a pointer into memory it does not own (the context's arena, or
 * mapped weights). Always packed, row-major. Images and feature maps are NHWC; token sequences are [B, L, C].
 *
 * Memory is a stack: operations allocate results on top, sky_mark/sky_keep cut it back. Model code therefore reads
 *     sky_mark m = sky_mark_get(c);
 *     ... x = sky_linear(c, x, w, b, ...); ...
 *     sky_keep(c, m, &x, 1);            // everything since m is gone except x, which moved down
 * With a dry context operations only check shapes and count memory, so the peak is known before anything is allocated.
 *
 * While a tape records (tensor/tape.h) nothing that backward may need is cut away: sky_keep then leaves the stack as it is.
 *
 * Errors stick: the first failing operation fills c->err, every later one returns at once; look at c->err.code when the
 * result is needed. Model code stays free of error plumbing. */
#ifndef SKY_TENSOR_TENSOR_H
#define SKY_TENSOR_TENSOR_H

#include "base/dtype.h"
#include "base/err.h"
#include "base/threads.h"

#define SKY_TENSOR_DIMS 6

typedef struct {
    void *data; /* NULL: no tensor (an optional argument left out, or after an error) */
    sky_dtype dtype;
    int ndim;
    int64_t shape[SKY_TENSOR_DIMS];
} sky_tensor;

extern const sky_tensor sky_none; /* "left out" for optional arguments */

static inline int64_t sky_numel(const sky_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= t->shape[i];
    return n;
}
static inline int64_t sky_bytes(const sky_tensor *t) { return sky_numel(t) * (int64_t)sky_dtype_size(t->dtype); }
int64_t sky_last(const sky_tensor *t);  /* size of the last dimension */
int64_t sky_rows(const sky_tensor *t);  /* product of all others */
const char *sky_shape_str(const sky_tensor *t, char buf[96]); /* "F32[1,256,128,352]" */

typedef struct sky_backend sky_backend; /* tensor/backend.h */
typedef struct sky_dev sky_dev;         /* a backend's device: its own definition */

typedef struct sky_tape sky_tape;       /* tensor/tape.h: what training records */

/* Joins sums over the ranks that train together: adds the F64 tensor t over all of them in place, with the same bits on
 * every rank. Every rank calls it equally often, in the same order. */
typedef struct {
    void *arg;
    int ranks;
    int (*sum)(void *arg, sky_tensor *t, sky_err *e);
} sky_sync;

/* Random decisions of one training step are a function of (seed, step, layer, sample): nothing else. */
typedef struct {
    uint64_t seed, step;
    const uint64_t *sample; /* [n] identity of each sample of the batch at hand */
    int64_t n;
} sky_draws;

typedef struct {
    const sky_backend *be;
    sky_dev *dev;
    char *base;           /* arena: NULL while dry */
    size_t size, used, peak;
    size_t top;           /* bytes taken from the arena's far end: gradients */
    int dry;
    sky_tape *tape;         /* training: operations are recorded here; else NULL */
    const sky_draws *draws; /* training: sky_drop drops; else NULL and it does nothing */
    const sky_sync *sync;   /* several ranks; NULL: alone */
    sky_err err;          /* the first failure */
} sky_ctx;

typedef size_t sky_mark;

/* Device: "cpu", "cuda", "cuda:1", "auto", or "auto:1" (GPU 1, else the CPU); threads 0: all cores. The context starts dry, without an arena. */
int sky_ctx_open(sky_ctx *c, const char *device, int threads, sky_err *e) SKY_MUST_USE;
/* End the dry phase: allocate `bytes` (normally c->peak of the dry run) and start with an empty stack. May be called
 * again with another size. */
int sky_ctx_alloc(sky_ctx *c, size_t bytes, sky_err *e) SKY_MUST_USE;
void sky_ctx_dry(sky_ctx *c);   /* back to dry counting with an empty stack and peak 0; the arena stays allocated */
void sky_ctx_reset(sky_ctx *c); /* empty the stack, forget the error */
void sky_ctx_close(sky_ctx *c);

sky_mark sky_mark_get(const sky_ctx *c);
/* Cut the stack back to m, keeping the n tensors t (all allocated since m; data pointers are updated; given in the
 * order of their allocation). n = 0: nothing kept. */
void sky_keep(sky_ctx *c, sky_mark m, sky_tensor *t, int n);
void sky_keep2(sky_ctx *c, sky_mark m, sky_tensor *a, sky_tensor *b); /* any order of allocation */

/* A new tensor on the stack (contents undefined). data is non-NULL also in a dry run. */
sky_tensor sky_new(sky_ctx *c, sky_dtype t, int ndim, const int64_t *shape);
sky_tensor sky_upload(sky_ctx *c, sky_dtype t, int ndim, const int64_t *shape, const void *host); /* new + copy from host */
void sky_download(sky_ctx *c, void *host, const sky_tensor *t); /* waits for the device; nothing in a dry run */
/* The same elements under another shape; one dimension may be -1. No copy. */
sky_tensor sky_reshape(sky_ctx *c, sky_tensor t, int ndim, const int64_t *shape);
#define SKY_RESHAPE(c, t, ...) \
    sky_reshape(c, t, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

/* Record a failure from model code (first one wins). */
void sky_ctx_fail(sky_ctx *c, int code, const char *fmt, ...) SKY_PRINTF(3, 4);

#endif
