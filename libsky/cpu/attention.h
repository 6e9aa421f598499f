/* attention.h -- softmax(q k^T / sqrt(width)) v over whole sequences, streamed: scores live in registers and L1 only.
 *
 * qkv F32 [batch, length, 3, heads, width] packed, out F32 [batch, length, heads*width] packed, not overlapping.
 * bf16: q, k, v and the probabilities are rounded to BF16 and products accumulated in F32 where the CPU has the
 * instructions; elsewhere, and for sequences of up to 8 tokens, the F32 code runs.
 *
 * A row of the result depends on its own sequence only: not on the number of threads, not on the rest of the batch.
 * NaN or infinity in a key makes every row of that head NaN, in a query that row; values propagate as they are. */
#ifndef SKY_CPU_ATTENTION_H
#define SKY_CPU_ATTENTION_H

#include "base/threads.h"
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int64_t batch, length;
    int heads, width;
    int bf16;
} sky_cpu_attention_shape;

/* Bytes of scratch (64-byte aligned memory) wanted by sky_cpu_attention with that many threads. */
size_t sky_cpu_attention_scratch(const sky_cpu_attention_shape *s, int threads);
/* pool NULL: in the caller alone. lse F32 [batch, heads, length] or NULL: natural logarithm of the sum of exp of a row's
 * scores. */
void sky_cpu_attention(float *out, float *lse, const float *qkv, const sky_cpu_attention_shape *s, void *scratch, sky_pool *pool);

#endif
