/* attention_impl.h -- the loops of attention_kernels.h over vectors of LANES floats; included once per level with
 *   LANES, CHUNK, FMA(a,b,c), SET1(x), MAX(a,b), SQRT(x), KERNELS (name of the set)
 * and, for a level that has its own, HAVE_TRANSPOSE (load_transposed, store_transposed) or HAVE_BF16 (scores, values,
 * pack_tokens and pack_values on BF16 pairs). */
#include "cpu/attention_kernels.h"

#include <math.h>
#include <string.h>

typedef float vf __attribute__((vector_size(LANES * 4), may_alias));
typedef int32_t vi __attribute__((vector_size(LANES * 4), may_alias));
typedef uint32_t vu __attribute__((vector_size(LANES * 4), may_alias));
#ifndef TARGET
#define TARGET
#endif
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

#ifndef HAVE_TRANSPOSE
static void load_transposed(vf *t, const float *const *rows, int width)
{
    float *f = (float *)t;
    for (int j = 0; j < LANES; j++)
        for (int i = 0; i < width; i++)
            f[i * LANES + j] = rows[j] ? rows[j][i] : 0.0f;
}

static void store_transposed(float *const *rows, const vf *t, int width, vf times)
{
    for (int j = 0; j < LANES; j++)
        for (int i = 0; rows[j] && i < width; i++)
            rows[j][i] = t[i][j] * times[j];
}
#endif

/* Scale the transposed tokens in place; the lengths after scaling go to norm. */
INLINE void scale_tokens(vf *t, float *norm, int width, float scale, int unit)
{
    vf sum = SET1(0.0f), times = SET1(scale), length;
    for (int i = 0; i < width; i++)
        sum = FMA(t[i], t[i], sum);
    length = SQRT(sum);
    if (unit)
        times = times / (vf)MAX(length, SET1(1e-12f));
    length = length * times; /* not-a-number stays */
    memcpy(norm, &length, sizeof length);
    for (int i = 0; i < width; i++)
        t[i] = t[i] * times;
}

#ifndef HAVE_BF16
/* 2^x, relative error below 1.2e-7: x = n + f with |f| <= 1/2, minimax polynomial of degree 5 for 2^f, n added to the
 * exponent. -126 <= x < 127. */
INLINE vf exp2_vector(vf x)
{
    const vf magic = SET1(12582912.0f); /* 1.5 * 2^23: the sum's last bits are the rounded x */
    const vf t = x + magic, f = x - (t - magic);
    vf y = FMA(f, SET1(0x1.5c08e0p-10f), SET1(0x1.3d0c54p-7f));
    y = FMA(y, f, SET1(0x1.c6b6e6p-5f));
    y = FMA(y, f, SET1(0x1.ebf918p-3f));
    y = FMA(y, f, SET1(0x1.62e428p-1f));
    y = FMA(y, f, SET1(0x1.000002p+0f));
    return (vf)((vu)y + ((vu)t << 23)); /* unsigned: not-a-number may overflow */
}

static void pack_tokens(void *dst, float *norm, float *tmp, const float *const *rows, int width, float scale, int unit)
{
    (void)tmp;
    load_transposed(dst, rows, width);
    scale_tokens(dst, norm, width, scale, unit);
}

static void pack_values(void *dst, const float *const *rows, int n, int kb, int width)
{
    float *v = dst;
    for (int c = 0; c < width; c += CHUNK, v += (size_t)kb * CHUNK) {
        const int m = width - c < CHUNK ? width - c : CHUNK;
        for (int j = 0; j < n; j++) {
            memcpy(v + j * CHUNK, rows[j] + c, (size_t)m * 4);
            memset(v + j * CHUNK + m, 0, (size_t)(CHUNK - m) * 4);
        }
    }
}

/* Scores of one group of keys. */
INLINE void group_scores(vf s[LANES], const vf *q, const float *k, int width, const vf *init, int step)
{
    UNROLL for (int j = 0; j < LANES; j++)
        s[j] = init[step * j];
    for (int i = 0; i < width; i++, k += LANES) {
        const vf x = q[i];
        UNROLL for (int j = 0; j < LANES; j++)
            s[j] = FMA(x, SET1(k[j]), s[j]);
    }
}

INLINE void probabilities(vf *p, const vf *q, const sky_attn_block *b, int width, const vf *init, int step, int clamp)
{
    const float *k = b->k;
    for (int g = 0; g < b->keys; g += LANES, k += width * LANES, init += step * LANES, p += LANES) {
        vf s[LANES];
        group_scores(s, q, k, width, init, step);
        UNROLL for (int j = 0; j < LANES; j++)
            p[j] = exp2_vector(clamp ? (vf)MAX(s[j], SET1(-126.0f)) : s[j]);
    }
}

INLINE void values(vf *o, vf *total, const vf *p, const sky_attn_block *b, int width)
{
    const float *v = b->v;
    for (int c = 0; c < width; c += CHUNK, v += (size_t)b->kb * CHUNK, o += CHUNK) {
        vf a[CHUNK], sum = SET1(0.0f);
        UNROLL for (int i = 0; i < CHUNK; i++)
            a[i] = SET1(0.0f);
        for (int j = 0; j < b->keys; j++) {
            const vf x = p[j];
            sum = sum + x;
            UNROLL for (int i = 0; i < CHUNK; i++)
                a[i] = FMA(x, SET1(v[j * CHUNK + i]), a[i]);
        }
        UNROLL for (int i = 0; i < CHUNK; i++)
            o[i] = o[i] + a[i];
        if (c == 0)
            *total = *total + sum;
    }
}
#endif

/* Sums of a block start from zero and are then added to the running ones: 65 536 terms lose no more than a few hundred. */
TARGET static void block(float *state, float *p, const void *q, const sky_attn_block *b, int width, const float *init, int step, int clamp)
{
    vf *o = (vf *)state, *total = o + sky_attn_up(width, CHUNK), *pv = (vf *)p;
    const vf *first = (const vf *)init;
    if (step && clamp)
        probabilities(pv, q, b, width, first, 1, 1);
    else if (step)
        probabilities(pv, q, b, width, first, 1, 0);
    else if (clamp)
        probabilities(pv, q, b, width, first, 0, 1);
    else
        probabilities(pv, q, b, width, first, 0, 0);
    values(o, total, pv, b, width);
}

static void top_of(float *top, const void *q, const sky_attn_block *b, int width, const float *init, int step)
{
    const float *k = b->k;
    const vf *first = (const vf *)init;
    vf *m = (vf *)top;
    for (int g = 0; g < b->keys; g += LANES, k += sky_attn_tokens_floats(&KERNELS, width), first += step * LANES) {
        vf s[LANES];
        group_scores(s, q, k, width, first, step);
        for (int j = 0; j < LANES && g + j < b->keys; j++)
            *m = MAX(*m, s[j]);
    }
}

static void finish(float *const *rows, const float *state, int width)
{
    const vf *o = (const vf *)state;
    store_transposed(rows, o, width, SET1(1.0f) / o[sky_attn_up(width, CHUNK)]);
}

INLINE float dot(const float *a, const float *b, int width)
{
    vf sum = SET1(0.0f);
    int i = 0;
    for (; i + LANES <= width; i += LANES) {
        vf x, y;
        memcpy(&x, a + i, sizeof x);
        memcpy(&y, b + i, sizeof y);
        sum = FMA(x, y, sum);
    }
    float t = 0;
    for (; i < width; i++)
        t += a[i] * b[i];
    for (int j = 0; j < LANES; j++)
        t += sum[j];
    return t;
}

static void tiny(float *out, float *lse, int64_t out_stride, const float *q, int64_t stride, int64_t part, int n, int width)
{
    const float *k = q + part, *v = q + 2 * part;
    for (int i = 0; i < n; i++, q += stride, out += out_stride) {
        float p[SKY_ATTN_TINY], top = -INFINITY, sum = 0;
        for (int j = 0; j < n; j++) {
            p[j] = dot(q, k + j * stride, width) / sqrtf((float)width);
            top = p[j] > top ? p[j] : top;
        }
        for (int j = 0; j < n; j++)
            sum += p[j] = expf(p[j] - top);
        if (lse)
            lse[i] = top + logf(sum);
        int c = 0;
        for (; c + LANES <= width; c += LANES) {
            vf a = SET1(0.0f), x;
            for (int j = 0; j < n; j++) {
                memcpy(&x, v + j * stride + c, sizeof x);
                a = FMA(SET1(p[j]), x, a);
            }
            a = a / SET1(sum);
            memcpy(out + c, &a, sizeof a);
        }
        for (; c < width; c++) {
            float t = 0;
            for (int j = 0; j < n; j++)
                t += p[j] * v[j * stride + c];
            out[c] = t / sum;
        }
    }
}

#ifndef OFFSET
#define OFFSET 0.0f
#define PACK 1
#endif
#ifndef UNIT
#define UNIT 1.0f
#endif
const sky_attn_kernels KERNELS = {LANES, CHUNK, PACK, OFFSET, UNIT, pack_tokens, pack_values, top_of, block, finish, tiny};
