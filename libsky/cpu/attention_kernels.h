/* attention_kernels.h -- the inner loops that sequence attention and window attention share, one set per instruction
 * level.
 *
 * Queries lie in lanes: a query vector is `lanes` tokens stored [dim][lane]; keys come in groups of `lanes` in the same
 * layout and are broadcast one number at a time, so no sum ever runs across lanes. All stored elements are 4 bytes: one
 * F32, or two BF16 (dims 2i and 2i+1 of a query or key; keys 2j and 2j+1 of a value).
 *
 * Scores are in base 2 (log2 e is folded into the queries) and start from `init`, a vector per key: offset - m, where m is
 * anything near the row's maximum, plus the window bias. Then p = 2^(score - offset) must lie in the range of F32
 * exponents; the caller knows it from norms, or finds the maximum first (`top`) and asks for the lower clamp. */
#ifndef SKY_CPU_ATTENTION_KERNELS_H
#define SKY_CPU_ATTENTION_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define SKY_ATTN_LANES 16  /* most lanes of any level */
#define SKY_ATTN_TINY 8    /* sequences up to here are not packed: lanes run along the width instead */
#define SKY_ATTN_SAFE 60.0f /* |score| up to this needs neither maximum nor clamp: 65536 terms of 2^60 are far from overflow */

/* A block of up to kb keys: k [kb/lanes][dims][lanes], v [chunks][kb/pack][chunk], 4-byte elements. */
typedef struct {
    const void *k, *v;
    int keys, kb;
} sky_attn_block;

typedef struct {
    int lanes, chunk; /* chunk: value dimensions accumulated at once */
    int pack;         /* numbers per stored element: 1 or 2 */
    float offset, unit; /* p is unit * 2^(score - offset) */
    /* Rows of `lanes` tokens (NULL: zeros) times `scale`, or with unit set times scale / max(norm, 1e-12), as a query or key
     * vector. norm [lanes]: length of each result. tmp: width vectors. */
    void (*pack_tokens)(void *dst, float *norm, float *tmp, const float *const *rows, int width, float scale, int unit);
    /* n values into a block's v (of kb keys), zero-padded. */
    void (*pack_values)(void *dst, const float *const *rows, int n, int kb, int width);
    /* top = max(top, scores) per lane. step 0: one init vector for all keys; 1: one per key. */
    void (*top)(float *top, const void *q, const sky_attn_block *b, int width, const float *init, int step);
    /* state: width (rounded up to chunk) vectors of sums of p*v, then one of sums of p; added to. p: kb vectors. */
    void (*block)(float *state, float *p, const void *q, const sky_attn_block *b, int width, const float *init, int step, int clamp);
    /* rows[lane][0..width) = state / sum of p; NULL rows are left out. */
    void (*finish)(float *const *rows, const float *state, int width);
    /* A whole sequence of n <= SKY_ATTN_TINY tokens of one head in F32; keys and values lie `part` and 2*part behind. lse [n]:
     * log of the sum of exp of each token's scores, or NULL. */
    void (*tiny)(float *out, float *lse, int64_t out_stride, const float *q, int64_t stride, int64_t part, int n, int width);
} sky_attn_kernels;

/* The set for the level in use (cpu/cpuid.h); the BF16 one only if wanted and offered. */
const sky_attn_kernels *sky_attn_kernels_get(int bf16);

extern const sky_attn_kernels sky_attn_portable, sky_attn_avx2, sky_attn_avx512, sky_attn_bf16;

static inline int sky_attn_up(int n, int to) { return (n + to - 1) / to * to; }
static inline size_t sky_attn_state_floats(const sky_attn_kernels *a, int width)
{
    return (size_t)(sky_attn_up(width, a->chunk) + 1) * (size_t)a->lanes;
}
static inline size_t sky_attn_tokens_floats(const sky_attn_kernels *a, int width)
{
    return (size_t)((width + a->pack - 1) / a->pack) * (size_t)a->lanes;
}
static inline size_t sky_attn_values_floats(const sky_attn_kernels *a, int kb, int width)
{
    return (size_t)sky_attn_up(width, a->chunk) * (size_t)(kb / a->pack);
}

#endif
