/* conv.h -- y = act(scale * conv(x, w) + shift) + residual on the CPU: NHWC, stride 1, zero padding k/2, k = 1, 3 or 5.
 *
 * The product of gemm.h (same arithmetic, same promise of equal bits) whose A rows, one per output pixel, are gathered
 * from the map while they are packed; the [B*H*W, C*k*k] matrix is never stored. */
#ifndef SKY_CPU_CONV_H
#define SKY_CPU_CONV_H

#include "cpu/gemm.h"

typedef struct {
    const float *x;             /* [b, h, w, c] */
    int64_t b, h, w, c, n;
    int k;
    const void *wt;             /* [n, c, k, k], F32 or BF16 */
    int w_bf16;
    const float *scale, *shift; /* [n]; NULL: 1, 0 */
    sky_act act;
    const float *residual;      /* like y, added to it, or NULL; may be y */
    float *y;                   /* [b, h, w, n] */
} sky_conv;

/* Scratch as sky_cpu_gemm. Fails with SKY_ENOMEM, or SKY_EUSAGE for another k. */
int sky_cpu_conv(sky_pool *pool, sky_scratch *scratch, const sky_conv *c, sky_err *e) SKY_MUST_USE;

#endif
