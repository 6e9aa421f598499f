/* device_internal.h -- the CPU as a device: a pool of threads, scratch memory per thread, and the row kernels of the
 * best instruction set found at run time. */
#ifndef SKY_CPU_DEVICE_INTERNAL_H
#define SKY_CPU_DEVICE_INTERNAL_H

#include "cpu/row_kernels.h"
#include "cpu/scratch.h"
#include "tensor/backend.h"

#include <string.h>

struct sky_dev {
    sky_pool *pool;
    const sky_row_kernels *k;
    sky_scratch scratch;
};

/* At least n bytes, 64-byte aligned; contents do not survive the next call. NULL: memory, e says so for `op`. */
void *sky_cpu_scratch(sky_dev *d, size_t n, const char *op, sky_err *e);

/* fn(arg, from, to, thread) over 0..rows-1 in pieces that touch about 256 KiB; row_bytes: what one row reads and writes.
 * The cut depends on the sizes alone, never on the number of threads. */
typedef void sky_rows_fn(void *arg, int64_t from, int64_t to, int thread);
void sky_cpu_rows(sky_dev *d, int64_t rows, int64_t row_bytes, sky_rows_fn *fn, void *arg);

/* A result of so many bytes is written past the caches: it could not be found there again. */
static inline int is_far(int64_t total) { return total >= 16 << 20; }
/* memcpy, or past the caches; then fence at the end of the piece. */
static inline void copy_piece(const sky_row_kernels *k, void *dst, const void *src, int64_t bytes, int far)
{
    if (far && bytes >= 512)
        k->copy_far(dst, src, bytes);
    else
        memcpy(dst, src, (size_t)bytes);
}
/* How a gradient is put whose rows have n numbers (0: one row, which is cut at multiples of 16). */
static inline int put_mode(const sky_grad *g, int64_t n)
{
    return g->add ? SKY_PUT_ADD : is_far(sky_bytes(&g->t)) && n % 16 == 0 && (uintptr_t)g->t.data % 64 == 0 ? SKY_PUT_FAR : SKY_PUT_OVER;
}
/* rows times `bytes` from src (rows spitch apart) to dst (dpitch apart), no overlap. */
void sky_cpu_copy(sky_dev *d, void *dst, int64_t dpitch, const void *src, int64_t spitch, int64_t bytes, int64_t rows);

/* Sums over 0..rows-1 in double and in a fixed order: fn adds rows from..to-1 to part[width]. The sums lie in the scratch
 * memory; NULL: memory, e says so for `op`. */
typedef void sky_row_sums_fn(void *arg, double *part, int64_t from, int64_t to);
const double *sky_cpu_row_sums(sky_dev *d, int64_t width, int64_t rows, sky_row_sums_fn *fn, void *arg, const char *op, sky_err *e);
/* y (+)= v, n numbers of it. */
static inline void give(float *y, int add, const double *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (float)(add ? (double)y[i] + v[i] : v[i]);
}

/* What an activation multiplies negative values by. */
static inline float slope_of(sky_act act) { return act == SKY_ACT_RELU ? 0.0f : act == SKY_ACT_LEAKY ? 0.01f : 1.0f; }

/* Bytes of one step along dimension `axis`, and how many such blocks lie in front of it. */
static inline int64_t inner_bytes(const sky_tensor *t, int axis)
{
    int64_t n = (int64_t)sky_dtype_size(t->dtype);
    for (int i = axis + 1; i < t->ndim; i++)
        n *= t->shape[i];
    return n;
}
static inline int64_t outer_count(const sky_tensor *t, int axis)
{
    int64_t n = 1;
    for (int i = 0; i < axis; i++)
        n *= t->shape[i];
    return n;
}

static inline const float *f32(const sky_tensor *t) { return t->data; }
static inline float *f32_out(sky_tensor *t) { return t->data; }

/* Entries of the table, by file. */
int sky_cpu_linear(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *b, sky_act act, const sky_tensor *residual, sky_err *e);
int sky_cpu_matmul(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *residual, sky_err *e);
int sky_cpu_conv2d(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *scale, const sky_tensor *shift, sky_act act, sky_err *e);
int sky_cpu_conv2d_dx(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const sky_tensor *w, sky_err *e);
int sky_cpu_conv2d_dw(sky_dev *d, sky_grad *dw, const sky_tensor *dy, const sky_tensor *x, sky_dtype products, sky_err *e);
int sky_cpu_product_grad_op(sky_dev *d, sky_grad *dw, const sky_tensor *a, const sky_tensor *b, sky_dtype products, sky_err *e);

int sky_cpu_layernorm(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *b, float eps, const sky_tensor *residual, sky_err *e);
int sky_cpu_channel_sums(sky_dev *d, sky_tensor *s, const sky_tensor *x, const sky_tensor *mean, sky_err *e);
int sky_cpu_channel_mean(sky_dev *d, sky_tensor *y, const sky_tensor *s, double n, sky_err *e);
int sky_cpu_batchnorm(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *b, const sky_tensor *mean, const sky_tensor *var, float eps, sky_act act, sky_err *e);
int sky_cpu_update_stats(sky_dev *d, sky_tensor *running_mean, sky_tensor *running_var, const sky_tensor *mean, const sky_tensor *var, float momentum, double n, sky_err *e);
int sky_cpu_batchnorm_sums(sky_dev *d, sky_tensor *s, const sky_tensor *dy, const sky_tensor *y, const sky_tensor *x, const sky_tensor *mean, const sky_tensor *var, float eps, sky_act act, sky_err *e);
int sky_cpu_batchnorm_dx(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *mean, const sky_tensor *var, const sky_tensor *s, double n, float eps, sky_act act, sky_err *e);
int sky_cpu_f64_to_grad(sky_dev *d, sky_grad *y, const sky_tensor *s, int64_t from, sky_err *e);
int sky_cpu_batchnorm_fold(sky_dev *d, sky_tensor *y, const sky_tensor *w, const sky_tensor *b, const sky_tensor *mean, const sky_tensor *var, float eps, sky_err *e);
int sky_cpu_l2_normalize(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e);
int sky_cpu_softmax(sky_dev *d, sky_tensor *y, const sky_tensor *x, float scale, sky_err *e);
int sky_cpu_layernorm_backward(sky_dev *d, sky_grad *dx, sky_grad *dw, sky_grad *db, const sky_tensor *dy, const sky_tensor *x, const sky_tensor *w, float eps, sky_err *e);
int sky_cpu_l2_normalize_backward(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const sky_tensor *x, sky_err *e);
int sky_cpu_softmax_backward(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const sky_tensor *y, float scale, sky_err *e);

int sky_cpu_attention_op(sky_dev *d, sky_tensor *y, sky_tensor *lse, const sky_tensor *qkv, sky_dtype products, sky_err *e);
int sky_cpu_window_attention_op(sky_dev *d, sky_tensor *y, const sky_tensor *qkv, const sky_tensor *pad_qkv, const sky_tensor *bias, const sky_tensor *logit_scale, int win, int shift, sky_dtype products, sky_err *e);
int sky_cpu_attention_backward(sky_dev *d, sky_grad *dqkv, const sky_tensor *dy, const sky_tensor *y, const sky_tensor *lse, const sky_tensor *qkv, sky_dtype products, sky_err *e);
int sky_cpu_window_attention_backward(sky_dev *d, sky_grad *dqkv, sky_grad *dpad_qkv, sky_grad *dbias, sky_grad *dlogit_scale, const sky_tensor *dy, const sky_tensor *qkv, const sky_tensor *pad_qkv, const sky_tensor *bias, const sky_tensor *logit_scale, int win, int shift, sky_dtype products, sky_err *e);
int sky_cpu_window_bias(sky_dev *d, sky_tensor *y, const sky_tensor *t, int win, sky_err *e);

int sky_cpu_add(sky_dev *d, sky_tensor *y, const sky_tensor *a, const sky_tensor *b, sky_err *e);
int sky_cpu_add_scaled(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *g, const sky_tensor *z, sky_err *e);
int sky_cpu_activate(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_act act, sky_err *e);
int sky_cpu_cast(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e);
int sky_cpu_halves_mean(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e);
int sky_cpu_column_sum(sky_dev *d, sky_grad *y, const sky_tensor *x, sky_err *e);
int sky_cpu_column_dot(sky_dev *d, sky_grad *y, const sky_tensor *a, const sky_tensor *b, sky_err *e);
int sky_cpu_scale_channels(sky_dev *d, sky_grad *y, const sky_tensor *x, const sky_tensor *g, sky_err *e);
int sky_cpu_activate_backward(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const sky_tensor *ref, sky_act act, sky_err *e);
int sky_cpu_halves_mean_backward(sky_dev *d, sky_grad *dx, const sky_tensor *dy, sky_err *e);
int sky_cpu_drop(sky_dev *d, sky_grad *y, const sky_tensor *x, const sky_drops *o, sky_err *e);

int sky_cpu_concat(sky_dev *d, sky_tensor *y, const sky_tensor *x, int n, int axis, sky_err *e);
int sky_cpu_slice(sky_dev *d, sky_tensor *y, const sky_tensor *x, int axis, int64_t from, sky_err *e);
int sky_cpu_take(sky_dev *d, sky_tensor *y, const sky_tensor *x, const int64_t *index, sky_err *e);
int sky_cpu_pick(sky_dev *d, sky_tensor *y, const sky_tensor *a, const sky_tensor *b, const int64_t *pos, sky_err *e);
int sky_cpu_repeat(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e);
int sky_cpu_transpose(sky_dev *d, sky_tensor *y, const sky_tensor *x, const int *perm, sky_err *e);
int sky_cpu_halves_stack(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e);
int sky_cpu_unfold(sky_dev *d, sky_tensor *y, const sky_tensor *x, int p, sky_err *e);
int sky_cpu_pixel_shuffle(sky_dev *d, sky_tensor *y, const sky_tensor *x, int r, sky_err *e);
int sky_cpu_fold(sky_dev *d, sky_tensor *dx, const sky_tensor *dy, int p, sky_err *e);
int sky_cpu_pixel_unshuffle(sky_dev *d, sky_tensor *dx, const sky_tensor *dy, int r, sky_err *e);
int sky_cpu_halves_unstack(sky_dev *d, sky_tensor *dx, const sky_tensor *dy, sky_err *e);
int sky_cpu_unslice(sky_dev *d, sky_tensor *dx, const sky_tensor *dy, int axis, int64_t from, sky_err *e);
int sky_cpu_untake(sky_dev *d, sky_tensor *dx, const sky_tensor *dy, const int64_t *index, sky_err *e);

int sky_cpu_resize(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_interp how, sky_err *e);
int sky_cpu_resize_argmax(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e);
int sky_cpu_avg_pool2(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e);
int sky_cpu_adaptive_avg_pool(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e);
int sky_cpu_annotation_tokens(sky_dev *d, sky_tensor *y, const sky_tensor *labels, const sky_tensor *table, const sky_tensor *weight, const sky_tensor *mask, const sky_tensor *mask_token, int p, sky_err *e);

int sky_cpu_resize_backward(sky_dev *d, sky_grad *dx, const sky_tensor *dy, sky_interp how, sky_err *e);
int sky_cpu_avg_pool2_backward(sky_dev *d, sky_grad *dx, const sky_tensor *dy, sky_err *e);
int sky_cpu_adaptive_avg_pool_backward(sky_dev *d, sky_grad *dx, const sky_tensor *dy, sky_err *e);
int sky_cpu_annotation_tokens_backward(sky_dev *d, sky_grad *dtable, sky_grad *dweight, sky_grad *dmask_token, const sky_tensor *dy, const sky_tensor *labels, const sky_tensor *table, const sky_tensor *weight, const sky_tensor *mask, int p, sky_err *e);
int sky_cpu_window_bias_backward(sky_dev *d, sky_grad *dt, const sky_tensor *dy, const sky_tensor *y, int win, sky_err *e);

int sky_cpu_entropy_sums(sky_dev *d, sky_tensor *s, const sky_tensor *x, const sky_tensor *labels, const sky_entropy *o, sky_err *e);
int sky_cpu_kl_sums(sky_dev *d, sky_tensor *s, const sky_tensor *a, const sky_tensor *b, const uint8_t *flag, sky_err *e);
int sky_cpu_mse_sums(sky_dev *d, sky_tensor *s, const sky_tensor *a, const sky_tensor *b, const uint8_t *flag, sky_err *e);
int sky_cpu_ratio(sky_dev *d, sky_tensor *y, const sky_tensor *s, double factor, double eps, sky_err *e);
int sky_cpu_entropy_backward(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const sky_tensor *x, const sky_tensor *labels, const sky_entropy *o, const sky_tensor *s, double factor, double eps, sky_err *e);
int sky_cpu_kl_backward(sky_dev *d, sky_grad *da, sky_grad *db, const sky_tensor *dy, const sky_tensor *a, const sky_tensor *b, const uint8_t *flag, const sky_tensor *s, double factor, double eps, sky_err *e);
int sky_cpu_mse_backward(sky_dev *d, sky_grad *da, sky_grad *db, const sky_tensor *dy, const sky_tensor *a, const sky_tensor *b, const uint8_t *flag, const sky_tensor *s, double factor, double eps, sky_err *e);

int sky_cpu_normalise(sky_dev *d, sky_tensor *y, const sky_tensor *x, float divide, const float *mean_std, sky_err *e);
int sky_cpu_lookup(sky_dev *d, sky_tensor *y, const sky_tensor *x, int64_t groups, const uint8_t *table, sky_err *e);

int sky_cpu_fill(sky_dev *d, sky_tensor *y, float value, sky_err *e);
int sky_cpu_square_sums(sky_dev *d, sky_tensor *s, const sky_tensor *const *x, int n, sky_err *e);
int sky_cpu_adamw(sky_dev *d, sky_tensor *w, const sky_tensor *g, sky_tensor *m, sky_tensor *v, sky_tensor *copy, const sky_adamw *o, sky_err *e);
int sky_cpu_sgd(sky_dev *d, sky_tensor *w, const sky_tensor *g, sky_tensor *m, sky_tensor *copy, const sky_sgd *o, sky_err *e);
int sky_cpu_lerp(sky_dev *d, sky_tensor *y, const sky_tensor *x, float t, sky_err *e);
int sky_cpu_add_parts(sky_dev *d, sky_tensor *y, const sky_tensor *carry, const sky_tensor *parts, sky_err *e);

#endif
