/* device.h -- a CUDA device as a backend's device, and what the files of kernels/ share.
 *
 * All work of a device goes to one stream, in the order of the calls; only `get` waits. While a recording is made
 * (replay.cu) it is noted instead: then nothing may be allocated, freed or waited for. Each file defines its entries of
 * the table as static functions and one sky_cuda_fill_... that puts them in. Results are written by one thread each and
 * sums have a fixed order: no floating-point atomics anywhere. */
#ifndef SKY_KERNELS_DEVICE_H
#define SKY_KERNELS_DEVICE_H

#include "machine.cuh"

extern "C" {
#include "base/mem.h"
#include "tensor/backend.h"
}

struct sky_cuda_blas;  /* blas.cu */
struct sky_cuda_links; /* nccl.cu */
struct sky_cuda_ring;  /* host.cu */
struct sky_cuda_lanes; /* lanes.cu */

/* A check of input bytes that a kernel made: place of the first bad one, reported by the next `get` or when a mark behind
 * it is reached. */
struct sky_cuda_check {
    const char *op, *what;
    int64_t W, H, C; /* C 0: bytes of a [B,H,W]; else NaN in a map [B,H,W,C] */
    int64_t most;
};
enum { SKY_CUDA_CHECKS = 64 };

struct sky_dev {
    int index, sms;
    int shared_most; /* bytes of shared memory that a block may have */
    cudaStream_t stream; /* what operations are queued on */
    sky_cuda_blas *blas;
    sky_cuda_links *links; /* to the GPUs of other ranks; NULL: alone */
    char *scratch;
    size_t scratch_bytes;
    char *small; /* for host arrays that kernels read: indices, weights per class */
    size_t small_bytes;
    unsigned long long *fault; /* device, [SKY_CUDA_CHECKS]: index of the first bad element * 256 + its byte, or all ones */
    sky_cuda_check check[SKY_CUDA_CHECKS];
    int checks;
    sky_cuda_lanes *lanes;
    sky_cuda_ring *ring; /* host arrays on their way to the device */
    sky_work *work;      /* being rehearsed or recorded, or NULL */
    int noting;          /* it is being recorded */
    uint64_t given_back; /* how often device memory was freed */
};

/* rc of a runtime call or of the launches before it, as an error of operation `op`. */
int sky_cuda_ok(cudaError_t rc, const char *op, sky_err *e);
static inline int sky_cuda_launched(const char *op, sky_err *e) { return sky_cuda_ok(cudaGetLastError(), op, e); }

/* At least n bytes of device memory until the next call; NULL: e says why. */
void *sky_cuda_grown(sky_dev *d, char **p, size_t *have, size_t n, const char *op, sky_err *e);
int sky_cuda_settle(sky_dev *d, sky_err *e); /* wait, and say what the checks found */
int sky_cuda_found(const sky_cuda_check *check, int n, const unsigned long long *first, sky_err *e); /* say it */
void *sky_cuda_scratch(sky_dev *d, size_t n, const char *op, sky_err *e);
/* ---- host arrays: host.cu. They may change as soon as the call returns. */
int sky_cuda_ring_open(sky_cuda_ring **out, sky_err *e);
void sky_cuda_ring_close(sky_cuda_ring *r); /* NULL allowed */
int sky_cuda_bring(sky_dev *d, void *to, const void *host, size_t n, const char *op, sky_err *e);
/* A copy on the device, until the next call. */
void *sky_cuda_small(sky_dev *d, const void *host, size_t n, const char *op, sky_err *e);
/* ---- copies beside the work: lanes.cu */
int sky_cuda_lanes_open(sky_cuda_lanes **out, cudaStream_t work, sky_err *e);
void sky_cuda_lanes_close(sky_cuda_lanes *l); /* NULL allowed */
void sky_cuda_fill_lanes(sky_backend *b);
/* ---- recordings: replay.cu */
void sky_cuda_measure(sky_work *w, size_t n);                                                      /* a host array of a rehearsal */
void *sky_cuda_keep(sky_work *w, const void *host, size_t n, const char *op, sky_err *e);        /* its place on the device in the recording; NULL: e */
int sky_cuda_not_noting(const sky_dev *d, const char *op, sky_err *e);                             /* an error while a recording is made */
void sky_cuda_fill_replay(sky_backend *b);

/* Where a kernel notes the smallest index that fails check c; *slot NULL with an error. */
int sky_cuda_checking(sky_dev *d, const sky_cuda_check *c, unsigned long long **slot, sky_err *e);

/* ---- matrix products: blas.cu. All row-major.
 * y[M,N] = op(a) op(b) (+ bias[n]) (+ relu) (+ c[M,N]); op(a) [M,K]: a is [M,K], or [K,M] with ta; op(b) [K,N]: b is [K,N],
 * or [N,K] with tb. a and b are both F32 (true FP32, no TF32) or both BF16 with F32 sums; y, c, bias F32. c may be y. */
typedef struct {
    const void *a, *b;
    int ta, tb, bf16;
    int64_t m, n, k, lda, ldb, ldc;
    float *y;
    const float *bias, *c; /* or NULL */
} sky_cuda_gemm;
int sky_cuda_blas_open(sky_cuda_blas **out, sky_err *e);
void sky_cuda_blas_close(sky_cuda_blas *b);
int sky_cuda_product(sky_dev *d, const sky_cuda_gemm *g, const char *op, sky_err *e);
const char *sky_cuda_blas_version(void); /* "cuBLASLt 13.0.2", or why it cannot be loaded */

/* ---- other ranks: nccl.cu, and tests/emulate/nccl.cpp */
void sky_cuda_links_close(sky_cuda_links *l); /* NULL allowed */
const char *sky_cuda_links_version(void);     /* "2.28.3", or why there is none */

/* ---- used across files */
/* y = act(x * scale[n] + shift[n]) + residual, x [rows,n]; scale, shift, residual may be NULL; y may be x. pointwise.cu */
int sky_cuda_finish(sky_dev *d, float *y, const float *x, const float *scale, const float *shift, sky_act act, const float *residual, int64_t rows, int64_t n, const char *op, sky_err *e);
int sky_cuda_to_bf16(sky_dev *d, uint16_t *y, const float *x, int64_t n, const char *op, sky_err *e);
int sky_cuda_to_f32(sky_dev *d, float *y, const uint16_t *x, int64_t n, const char *op, sky_err *e);

void sky_cuda_fill_links(sky_backend *b);
void sky_cuda_fill_pointwise(sky_backend *b);
void sky_cuda_fill_move(sky_backend *b);
void sky_cuda_fill_reduce(sky_backend *b);
void sky_cuda_fill_norm(sky_backend *b);
void sky_cuda_fill_batchnorm(sky_backend *b);
void sky_cuda_fill_image(sky_backend *b);
void sky_cuda_fill_pictures(sky_backend *b);
void sky_cuda_fill_annotation(sky_backend *b);
void sky_cuda_fill_loss(sky_backend *b);
void sky_cuda_fill_optimizer(sky_backend *b);
void sky_cuda_fill_product(sky_backend *b);
void sky_cuda_fill_conv(sky_backend *b);
void sky_cuda_fill_attention(sky_backend *b);
void sky_cuda_fill_attention_backward(sky_backend *b);
void sky_cuda_fill_window(sky_backend *b);
void sky_cuda_fill_window_backward(sky_backend *b);

static inline const float *f32(const sky_tensor *t) { return static_cast<const float *>(t->data); }
static inline float *f32_out(const sky_tensor *t) { return static_cast<float *>(t->data); }
static inline unsigned sky_blocks(int64_t n, int64_t each) { return static_cast<unsigned>((n + each - 1) / each); }

#endif
