/* row_kernels.h -- inner loops over one row of floats, compiled once per instruction set from row_kernels_impl.h.
 *
 * All sets compute with the same 16 lanes in the same order and never fuse a multiply with an add, so they return the
 * same bits. n is any size from 1 up; rows need no alignment and no padding. */
#ifndef SKY_CPU_ROW_KERNELS_H
#define SKY_CPU_ROW_KERNELS_H

#include <stdint.h>

/* A step of the optimizer (tensor/backend.h) with what is the same for all elements worked out. */
typedef struct {
    float gscale, decay /* lr*decay */, beta1, rest1 /* 1-beta1 */, beta2, rest2, step /* lr/(1-beta1^t) */, root /* 1/sqrt(1-beta2^t) */, eps;
} sky_adamw_step;
typedef struct {
    float gscale, decay, momentum, lr;
    int first;
} sky_sgd_step;

/* What a gradient's kernel does with what is there (`add`). Far: past the caches, for rows that begin at a multiple of 64
 * bytes; a fence follows as for copy_far. */
enum { SKY_PUT_OVER, SKY_PUT_ADD, SKY_PUT_FAR };

typedef struct {
    const char *name;
    /* y = (x - mean) / sqrt(var + eps) * w + b (+ res unless NULL) */
    void (*layernorm)(float *y, const float *x, const float *w, const float *b, const float *res, float eps, int64_t n);
    void (*softmax)(float *y, const float *x, float scale, int64_t n);
    /* max and sum of exp(x - max) */
    void (*exp_sum)(const float *x, int64_t n, float *max, double *sum);
    double (*sum_squares)(const float *x, int64_t n);
    void (*scale)(float *y, const float *x, float s, int64_t n);
    void (*add)(float *y, const float *a, const float *b, int64_t n);
    void (*add_scaled)(float *y, const float *x, const float *g, const float *z, int64_t n);
    /* v = (x - mean)*scale + shift, times slope where negative: slope 1 none, 0 ReLU, 0.01 leaky */
    void (*affine)(float *y, const float *x, const float *mean, const float *scale, const float *shift, float slope, int64_t n);
    void (*leaky)(float *y, const float *x, float slope, int64_t n);
    void (*gelu)(float *y, const float *x, int64_t n); /* exact form, within 1e-7 of its largest term */
    /* y = w[0]*src[0] + .. + w[k-1]*src[k-1], added in this order; far as in copy_far */
    void (*mix)(float *y, const float *const *src, const float *w, int k, int64_t n, int far);
    /* index of the largest of w[0]*src[0] + .. + w[3]*src[3]; the smallest index of equal ones */
    int64_t (*mix_argmax)(const float *const *src, const float *w, int64_t n);
    /* y[4*i + j] = x[j][i] */
    void (*interleave4)(float *y, const float *const *x, int64_t n);
    /* s += x, or s += (x - mean)^2 unless mean is NULL */
    void (*accumulate)(double *s, const float *x, const float *mean, int64_t n);
    void (*adamw)(float *w, const float *g, float *m, float *v, uint16_t *copy /* or NULL */, const sky_adamw_step *o, int64_t n);
    void (*sgd)(float *w, const float *g, float *m, uint16_t *copy, const sky_sgd_step *o, int64_t n);
    void (*lerp)(float *y, const float *x, float t, int64_t n); /* y += t*(x-y) */
    void (*fill)(float *y, float value, int64_t n);
    double (*square_sum)(const float *x, int64_t n); /* each square in double */
    /* memcpy that leaves the caches alone: for results too large to be found there again. After the last such store
     * of a piece of work its thread calls fence. */
    void (*copy_far)(void *y, const void *x, int64_t bytes);
    void (*fence)(void);
    void (*to_bf16)(uint16_t *y, const float *x, int64_t n);
    void (*from_bf16)(float *y, const uint16_t *x, int64_t n);

    /* Gradients (back_impl.h); add: SKY_PUT_... . dz = dy where the result y was
     * positive, slope*dy elsewhere. */
    void (*batchnorm_sums)(double *dz, double *dzx, const float *dy, const float *y, const float *x, const float *mean, float slope, int64_t n); /* dz += dz; dzx += dz*(x - mean) */
    void (*batchnorm_dx)(float *dx, const float *dy, const float *y, const float *x, const float *mean, const float *scale, const float *m0, const float *m1, float slope, int add, int64_t n); /* scale*(dz - m0 - (x - mean)*m1) */
    /* Cross entropy of one pixel times g: g*(softmax(x) - onehot), through row[n]; or g*w*(sigmoid(x) - onehot), w NULL: 1 */
    void (*softmax_entropy)(float *dx, float *row, const float *x, int64_t label, float g, int add, int64_t n);
    void (*sigmoid_entropy)(float *dx, const float *x, const float *w, int64_t label, float g, int add, int64_t n);
    void (*scaled_difference)(float *y, const float *a, const float *b, float s, int add, int64_t n); /* s*(a - b) */
    /* of so many rows; dw += dy*xhat, db += dy; both NULL: not wanted, and so dx */
    void (*layernorm_back)(float *dx, double *dw, double *db, const float *dy, const float *x, const float *w, float eps, int add, int64_t rows, int64_t n);
    void (*softmax_back)(float *dx, const float *dy, const float *y, float scale, int add, int64_t n);
    void (*exp_shifted)(float *y, const float *x, float scale, float shift, int64_t n); /* exp(scale*x - shift), scale*x <= shift up to rounding */
    void (*score_back)(float *y, const float *p, const float *dp, float mean, float scale, int64_t n); /* p*(dp - mean)*scale */
    void (*leaky_back)(float *dx, const float *dy, const float *y, float slope, int add, int64_t n); /* dz */
    void (*gelu_back)(float *dx, const float *dy, const float *x, int add, int64_t n);
    double (*dot)(const float *a, const float *b, int64_t n);
    void (*accumulate_product)(double *s, const float *a, const float *b, int64_t n); /* s += a*b */
    void (*accumulate_scaled)(double *s, const float *x, double w, int64_t n);        /* s += w*x */
    void (*mix_add)(float *y, const float *const *src, const float *w, int k, int add, int64_t n); /* as mix; k <= 8 */
    void (*scale_by)(float *y, const float *x, const float *g, int add, int64_t n); /* x*g */
    void (*drop)(float *y, const float *x, const float *f, int add, int64_t n);     /* x*f; 0 where f is, whatever x is */
    void (*deinterleave4)(float *const *y, const float *x, int64_t n);              /* y[j][i] = x[4*i + j] */
} sky_row_kernels;

extern const sky_row_kernels sky_row_kernels_plain, sky_row_kernels_avx2, sky_row_kernels_avx512;

#endif
