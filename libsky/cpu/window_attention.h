/* window_attention.h -- Swin V2 window attention with padding, roll, partition and shift mask folded into the loads
 * and stores: nothing is copied into windows.
 *
 * qkv F32 [batch, rows, cols, 3, heads, width] packed; pad_qkv F32 [3*heads*width]: q, k, v of the tokens that pad the
 * map at the right and bottom to whole windows (they are keys like any other); bias F32 [heads, win^2, win^2] for
 * (query, key); logit_scale F32 [heads]; out F32 [batch, rows, cols, heads*width].
 * logit = cos(q, k) * exp(min(logit_scale, ln 100)) + bias, -100 where the shift mask separates the two; norms are
 * bounded below by 1e-12. shift is ignored when min(rows, cols) == win; the caller checks min(rows, cols) >= win and
 * 0 <= shift < win.
 *
 * bf16 as in attention.h. A window's result depends on that window only. Not-a-number rules as in attention.h. */
#ifndef SKY_CPU_WINDOW_ATTENTION_H
#define SKY_CPU_WINDOW_ATTENTION_H

#include "base/threads.h"
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int64_t batch, rows, cols;
    int heads, width, win, shift;
    int bf16;
} sky_cpu_window_shape;

/* Bytes of scratch (64-byte aligned memory) wanted with that many threads. */
size_t sky_cpu_window_scratch(const sky_cpu_window_shape *s, int threads);
void sky_cpu_window_attention(float *out, const float *qkv, const float *pad_qkv, const float *bias,
                              const float *logit_scale, const sky_cpu_window_shape *s, void *scratch, sky_pool *pool);

#endif
