/* gemm_grad.h -- gradients of weights on the CPU: sums over rows (pixels) of products of two activations.
 *
 * The products of gemm.h (F32, or both factors rounded to BF16 and added in F32), the reduction cut into stretches of
 * SKY_GRAD_ROWS rows: a stretch is one chain of additions per element, stretches are added to the gradient in their order.
 * Neither depends on the number of threads. */
#ifndef SKY_CPU_GEMM_GRAD_H
#define SKY_CPU_GEMM_GRAD_H

#include "cpu/gemm.h"

enum { SKY_GRAD_ROWS = 4096 };

typedef struct {
    const float *a, *b; /* [rows, n] and [rows, k], packed */
    int64_t rows, n, k;
    int bf16;           /* products in BF16 */
    int add;            /* add to dw instead of writing it */
    float *dw;          /* [n, k] = a^T b; overlaps neither */
} sky_product_grad;

/* Scratch as sky_cpu_gemm. Fails with SKY_ENOMEM only; dw is then undefined. */
int sky_cpu_product_grad(sky_pool *pool, sky_scratch *scratch, const sky_product_grad *g, sky_err *e) SKY_MUST_USE;

#endif
