/* gemm.h -- y = act(scale * (A W^T) + shift) + residual on the CPU.
 *
 * A is F32. With F32 weights products are F32 fused multiply-adds (the portable level: multiply, then add). With BF16
 * weights A is rounded to BF16 (nearest even) and products are accumulated in F32. Every element of y is one chain of
 * additions in the order of k, so a row has the same bits whatever m is and however many threads run; levels of
 * instruction set (cpu/cpuid.h) differ by rounding only. NaN and infinity propagate; GELU of -infinity is 0, its limit.
 *
 * Weights are read where they lie. y may not overlap A or W; y may be the residual (same pointer and stride). */
#ifndef SKY_CPU_GEMM_H
#define SKY_CPU_GEMM_H

#include "base/err.h"
#include "base/threads.h"
#include "cpu/scratch.h"
#include "tensor/ops.h" /* sky_act */

typedef struct {
    const float *a;        /* [m, k], rows lda apart */
    int64_t lda, m, k, n;  /* each >= 0; k = 0 is an empty sum */
    const void *w;         /* F32 or BF16 */
    int w_bf16;
    int w_kn;              /* 0: [n, k] (PyTorch's linear), 1: [k, n]; rows ldw elements apart */
    int64_t ldw;
    const float *scale, *shift; /* [n]; NULL: 1, 0 */
    sky_act act;
    const float *residual; /* [m, n], rows ldr apart; NULL: none */
    int64_t ldr;
    float *y;              /* [m, n], rows ldy apart; nothing between the rows is touched */
    int64_t ldy;
} sky_gemm;

/* Scratch taken: at most 9 MiB shared and 1 MiB per thread; more for k above 1536 when y is the residual, since sums cannot wait
 * in y then. Fails with SKY_ENOMEM only. */
int sky_cpu_gemm(sky_pool *pool, sky_scratch *scratch, const sky_gemm *g, sky_err *e) SKY_MUST_USE;

#endif
