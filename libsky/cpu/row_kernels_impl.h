/* row_kernels_impl.h -- the bodies of row_kernels.h. A .c file defines KERNELS (the name of the table) and SET (its
 * text) and includes this; its compiler flags decide what the 16-lane vectors become. */
#include "cpu/row_kernels.h"

#include <math.h>
#include <string.h>

enum { LANES = 16 };
typedef float vf __attribute__((vector_size(64)));
typedef float vf_any __attribute__((vector_size(64), aligned(4), may_alias));
typedef double vd __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));
typedef uint32_t vu __attribute__((vector_size(64)));
typedef uint16_t vh __attribute__((vector_size(32)));
typedef float vf8 __attribute__((vector_size(32)));

#define INLINE static inline __attribute__((always_inline))

INLINE vf load(const float *p) { return *(const vf_any *)p; }
INLINE void store(float *p, vf v) { *(vf_any *)p = v; }
INLINE vf all(float f) { return (vf){0} + f; }
/* The last n < 16 elements of a row; lanes beyond are `fill`. */
INLINE vf load_part(const float *p, int64_t n, float fill)
{
    vf v = all(fill);
    memcpy(&v, p, (size_t)n * sizeof *p);
    return v;
}
INLINE void store_part(float *p, vf v, int64_t n) { memcpy(p, &v, (size_t)n * sizeof *p); }
INLINE vf choose(vi mask, vf a, vf b) { return (vf)(((vi)a & mask) | ((vi)b & ~mask)); }
INLINE vf larger(vf a, vf b) { return choose(a > b, a, b); } /* b where either is NaN */

/* A double sum in 16 lanes, added up in a fixed order. */
typedef struct { vd lo, hi; } sum16;
INLINE vd low(vf v) { vf8 h; memcpy(&h, &v, sizeof h); return __builtin_convertvector(h, vd); }
INLINE vd high(vf v) { vf8 h; memcpy(&h, (const char *)&v + sizeof h, sizeof h); return __builtin_convertvector(h, vd); }
INLINE void sum16_add(sum16 *s, vf v)
{
    s->lo += low(v);
    s->hi += high(v);
}
INLINE double sum16_total(const sum16 *s)
{
    vd t = s->lo + s->hi;
    return ((t[0] + t[4]) + (t[1] + t[5])) + ((t[2] + t[6]) + (t[3] + t[7]));
}
INLINE float max_of(vf v)
{
    float m = v[0];
    for (int i = 1; i < LANES; i++)
        m = v[i] > m || v[i] != v[i] ? v[i] : m;
    return m;
}

/* exp for x <= 0, relative error 2e-7: 2^n by its exponent bits times a polynomial on [-ln2/2, ln2/2]. Below -87 the
 * smallest normal number. NaN stays NaN. */
INLINE vf exp_neg(vf x)
{
    x = choose(x < -87.0f, all(-87.0f), x);
    const vf magic = all(12582912.0f); /* 1.5*2^23: adding it rounds to an integer */
    vf n = (x * 1.44269504f + magic) - magic;
    vf r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    vf p = all(1.0f / 720);
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    vi bits = (__builtin_convertvector(n, vi) + 127) << 23;
    return p * (vf)bits;
}

static void layernorm(float *y, const float *x, const float *w, const float *b, const float *res, float eps, int64_t n)
{
    int64_t full = n & ~(int64_t)(LANES - 1), rest = n - full;
    sum16 s = {0}, q = {0};
    for (int64_t i = 0; i < full; i += LANES)
        sum16_add(&s, load(x + i));
    if (rest)
        sum16_add(&s, load_part(x + full, rest, 0));
    float mean = (float)(sum16_total(&s) / (double)n);
    s = (sum16){0};
    /* Second pass around the rounded mean; the small sum of differences corrects for that rounding. */
    for (int64_t i = 0; i < full; i += LANES) {
        vf v = load(x + i) - mean;
        sum16_add(&s, v);
        sum16_add(&q, v * v);
    }
    if (rest) {
        vf v = load_part(x + full, rest, mean) - mean;
        sum16_add(&s, v);
        sum16_add(&q, v * v);
    }
    double off = sum16_total(&s) / (double)n, var = sum16_total(&q) / (double)n - off * off;
    float inv = (float)(1 / sqrt((var > 0 || var != var ? var : 0) + (double)eps)), o = (float)off;
    for (int64_t i = 0; i < full; i += LANES) {
        vf v = ((load(x + i) - mean) - o) * inv * load(w + i) + load(b + i);
        store(y + i, res ? load(res + i) + v : v);
    }
    for (int64_t i = full; i < n; i++) {
        float v = ((x[i] - mean) - o) * inv * w[i] + b[i];
        y[i] = res ? res[i] + v : v;
    }
}

INLINE float row_max(const float *x, int64_t n)
{
    int64_t i = 0;
    vf m = all(-INFINITY);
    for (; i + LANES <= n; i += LANES)
        m = larger(m, load(x + i));
    if (i < n)
        m = larger(m, load_part(x + i, n - i, -INFINITY));
    return max_of(m);
}

INLINE float row_min(const float *x, int64_t n)
{
    int64_t i = 0;
    vf m = all(-INFINITY);
    for (; i + LANES <= n; i += LANES)
        m = larger(m, -load(x + i));
    if (i < n)
        m = larger(m, -load_part(x + i, n - i, INFINITY));
    return -max_of(m);
}

static void softmax(float *y, const float *x, float scale, int64_t n)
{
    float top = scale >= 0 ? row_max(x, n) : row_min(x, n);
    sum16 s = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vf v = exp_neg((load(x + i) - top) * scale);
        store(y + i, v);
        sum16_add(&s, v);
    }
    if (i < n) {
        int64_t rest = n - i;
        vf v = exp_neg((load_part(x + i, rest, top) - top) * scale);
        store_part(y + i, v, rest);
        sum16_add(&s, load_part(y + i, rest, 0));
    }
    float inv = (float)(1 / sum16_total(&s));
    for (i = 0; i + LANES <= n; i += LANES)
        store(y + i, load(y + i) * inv);
    for (; i < n; i++)
        y[i] *= inv;
}

static void exp_sum(const float *x, int64_t n, float *max, double *sum)
{
    float top = row_max(x, n);
    sum16 s = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        sum16_add(&s, exp_neg(load(x + i) - top));
    if (i < n) {
        float part[LANES] = {0};
        store_part(part, exp_neg(load_part(x + i, n - i, top) - top), n - i);
        sum16_add(&s, load(part));
    }
    *max = top;
    *sum = sum16_total(&s);
}

static double sum_squares(const float *x, int64_t n)
{
    sum16 s = {0};
    int64_t i = 0;
    for (; i <= n - 1; i += LANES) {
        vf v = i + LANES <= n ? load(x + i) : load_part(x + i, n - i, 0);
        vd a = low(v), b = high(v);
        s.lo += a * a;
        s.hi += b * b;
    }
    return sum16_total(&s);
}

/* y[i] = VECTOR for whole vectors, then SCALAR for the rest; both may use i. */
#define FOR_ROW(VECTOR, SCALAR)                  \
    do {                                         \
        int64_t i = 0;                           \
        for (; i + LANES <= n; i += LANES)       \
            store(y + i, VECTOR);                \
        for (; i < n; i++)                       \
            y[i] = SCALAR;                       \
    } while (0)

static void scale_row(float *y, const float *x, float s, int64_t n) { FOR_ROW(load(x + i) * s, x[i] * s); }

static void add(float *y, const float *a, const float *b, int64_t n) { FOR_ROW(load(a + i) + load(b + i), a[i] + b[i]); }

static void add_scaled(float *y, const float *x, const float *g, const float *z, int64_t n)
{
    FOR_ROW(load(x + i) + load(g + i) * load(z + i), x[i] + g[i] * z[i]);
}

/* v, or slope*v where it is negative; NaN stays. */
INLINE vf leak(vf v, float slope) { return choose(v < 0.0f, v * slope, v); }
INLINE float leak1(float v, float slope) { return v < 0 ? v * slope : v; }

static void affine(float *y, const float *x, const float *mean, const float *scale, const float *shift, float slope, int64_t n)
{
    FOR_ROW(leak((load(x + i) - load(mean + i)) * load(scale + i) + load(shift + i), slope),
            leak1((x[i] - mean[i]) * scale[i] + shift[i], slope));
}

static void leaky(float *y, const float *x, float slope, int64_t n)
{
    FOR_ROW(leak(load(x + i), slope), leak1(x[i], slope));
}

INLINE vf mix4_at(const float *const *src, const float *w, int64_t i)
{
    return load(src[0] + i) * w[0] + load(src[1] + i) * w[1] + load(src[2] + i) * w[2] + load(src[3] + i) * w[3];
}
INLINE float mix4_one(const float *const *src, const float *w, int64_t i)
{
    return src[0][i] * w[0] + src[1][i] * w[1] + src[2][i] * w[2] + src[3][i] * w[3];
}

static void mix(float *y, const float *const *src, const float *w, int k, int64_t n)
{
    if (k == 4) {
        const float *s[4] = {src[0], src[1], src[2], src[3]};
        const float v[4] = {w[0], w[1], w[2], w[3]};
        FOR_ROW(mix4_at(s, v, i), mix4_one(s, v, i));
        return;
    }
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vf v = load(src[0] + i) * w[0];
        for (int j = 1; j < k; j++)
            v += load(src[j] + i) * w[j];
        store(y + i, v);
    }
    for (; i < n; i++) {
        float v = src[0][i] * w[0];
        for (int j = 1; j < k; j++)
            v += src[j][i] * w[j];
        y[i] = v;
    }
}

static int64_t mix_argmax(const float *const *src, const float *w, int64_t n)
{
    static const vi lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const float *s[4] = {src[0], src[1], src[2], src[3]};
    const float u[4] = {w[0], w[1], w[2], w[3]};
    int64_t i = 0, best = 0;
    float top = -INFINITY;
    if (n >= LANES) {
        vf m = mix4_at(s, u, 0);
        vi at = lane;
        for (i = LANES; i + LANES <= n; i += LANES) {
            vf v = mix4_at(s, u, i);
            vi up = v > m;
            m = choose(up, v, m);
            at = ((lane + (int32_t)i) & up) | (at & ~up);
        }
        top = m[0], best = at[0];
        for (int j = 1; j < LANES; j++)
            if (m[j] > top || (m[j] == top && at[j] < best))
                top = m[j], best = at[j];
    }
    for (; i < n; i++) {
        float v = mix4_one(s, u, i);
        if (v > top)
            top = v, best = i;
    }
    return best;
}

#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (vi){__VA_ARGS__})
#endif

INLINE vf zip_lo(vf a, vf b) { return SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23); }
INLINE vf zip_hi(vf a, vf b) { return SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31); }
INLINE vf pair_lo(vf a, vf b) { return SHUFFLE(a, b, 0, 1, 16, 17, 2, 3, 18, 19, 4, 5, 20, 21, 6, 7, 22, 23); }
INLINE vf pair_hi(vf a, vf b) { return SHUFFLE(a, b, 8, 9, 24, 25, 10, 11, 26, 27, 12, 13, 28, 29, 14, 15, 30, 31); }

static void interleave4(float *y, const float *const *x, int64_t n)
{
    const float *a = x[0], *b = x[1], *c = x[2], *d = x[3];
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vf va = load(a + i), vb = load(b + i), vc = load(c + i), ve = load(d + i);
        vf ab = zip_lo(va, vb), cd = zip_lo(vc, ve), ab2 = zip_hi(va, vb), cd2 = zip_hi(vc, ve);
        store(y + 4 * i, pair_lo(ab, cd));
        store(y + 4 * i + 16, pair_hi(ab, cd));
        store(y + 4 * i + 32, pair_lo(ab2, cd2));
        store(y + 4 * i + 48, pair_hi(ab2, cd2));
    }
    for (; i < n; i++) {
        y[4 * i] = a[i];
        y[4 * i + 1] = b[i];
        y[4 * i + 2] = c[i];
        y[4 * i + 3] = d[i];
    }
}

static void accumulate(double *s, const float *x, const double *mean, int64_t n)
{
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        vf8 h;
        vd t, m = {0};
        memcpy(&h, x + i, sizeof h);
        memcpy(&t, s + i, sizeof t);
        if (mean)
            memcpy(&m, mean + i, sizeof m);
        vd v = __builtin_convertvector(h, vd) - m;
        t += mean ? v * v : v;
        memcpy(s + i, &t, sizeof t);
    }
    for (; i < n; i++) {
        double v = (double)x[i] - (mean ? mean[i] : 0);
        s[i] += mean ? v * v : v;
    }
}

INLINE vh round_bf16(vf v)
{
    vu u = (vu)v;
    vu nan = (vu)((u & 0x7fffffff) > 0x7f800000);
    vu r = (u + 0x7fff + (u >> 16 & 1)) >> 16;
    return __builtin_convertvector((r & ~nan) | ((u >> 16 | 0x40) & nan), vh);
}

static void to_bf16(uint16_t *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += LANES) {
        int64_t m = n - i < LANES ? n - i : LANES;
        vh h = round_bf16(m == LANES ? load(x + i) : load_part(x + i, m, 0));
        memcpy(y + i, &h, (size_t)m * sizeof *y);
    }
}

static void from_bf16(float *y, const uint16_t *x, int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vh h;
        memcpy(&h, x + i, sizeof h);
        store(y + i, (vf)(__builtin_convertvector(h, vu) << 16));
    }
    for (; i < n; i++) {
        uint32_t u = (uint32_t)x[i] << 16;
        memcpy(y + i, &u, sizeof u);
    }
}

const sky_row_kernels KERNELS = {
    .name = SET,
    .layernorm = layernorm,
    .softmax = softmax,
    .exp_sum = exp_sum,
    .sum_squares = sum_squares,
    .scale = scale_row,
    .add = add,
    .add_scaled = add_scaled,
    .affine = affine,
    .leaky = leaky,
    .mix = mix,
    .mix_argmax = mix_argmax,
    .interleave4 = interleave4,
    .accumulate = accumulate,
    .to_bf16 = to_bf16,
    .from_bf16 = from_bf16,
};
