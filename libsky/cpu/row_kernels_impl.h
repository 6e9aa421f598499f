/* row_kernels_impl.h -- the bodies of row_kernels.h. A .c file defines KERNELS (the name of the table) and SET (its
 * text) and includes this; its compiler flags decide what the 16-lane vectors become. */
#include "cpu/row_kernels.h"

#include <math.h>
#include <string.h>
#if defined(__AVX__)
#include <immintrin.h>
#endif

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
/* Past the caches; p is 64-byte aligned. Such stores are ordered by nothing but the fence. */
INLINE void store_far(float *p, vf v)
{
#if defined(__AVX512F__)
    _mm512_stream_ps(p, (__m512)v);
#elif defined(__AVX__)
    __m256 half[2];
    memcpy(half, &v, sizeof half);
    _mm256_stream_ps(p, half[0]);
    _mm256_stream_ps(p + 8, half[1]);
#else
    store(p, v);
#endif
}
static void fence(void)
{
#if defined(__AVX__)
    _mm_sfence();
#endif
}
INLINE vf all(float f) { return (vf){0} + f; }
/* The last n < 16 elements of a row; lanes beyond are `fill`. */
INLINE vf load_part(const float *p, int64_t n, float fill)
{
#if defined(__AVX512F__)
    return (vf)_mm512_mask_loadu_ps((__m512)all(fill), (__mmask16)((1u << n) - 1), p);
#else
    vf v = all(fill);
    memcpy(&v, p, (size_t)n * sizeof *p);
    return v;
#endif
}
INLINE void store_part(float *p, vf v, int64_t n)
{
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#else
    memcpy(p, &v, (size_t)n * sizeof *p);
#endif
}
INLINE vf choose(vi mask, vf a, vf b) { return (vf)(((vi)a & mask) | ((vi)b & ~mask)); }
INLINE vf larger(vf a, vf b) { return choose(a > b, a, b); } /* b where either is NaN */

#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (vi){__VA_ARGS__})
#endif

/* The sum of 16 lanes, in double and in a fixed order. Not inlined: taking the vector apart next to a loop makes gcc
 * keep the loop's sums in memory, fifteen times slower. */
static __attribute__((noinline)) double total_of(const float *v)
{
    double t[LANES / 2];
    for (int i = 0; i < LANES / 2; i++)
        t[i] = (double)v[i] + (double)v[i + LANES / 2];
    return ((t[0] + t[4]) + (t[1] + t[5])) + ((t[2] + t[6]) + (t[3] + t[7]));
}
INLINE double total(vf v)
{
    float part[LANES];
    store(part, v);
    return total_of(part);
}
/* Float lanes take at most this many elements before they go into a double: 64 additions each. */
enum { SUM_BLOCK = 1024 };

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

/* Sum of x - mean, and of its square unless square is NULL. */
INLINE double sum_around(const float *x, float mean, double *square, int64_t n)
{
    double sum = 0;
    for (int64_t from = 0; from < n; from += SUM_BLOCK) {
        int64_t to = n - from < SUM_BLOCK ? n : from + SUM_BLOCK, i = from;
        vf s = {0}, q = {0};
        for (; i + LANES <= to; i += LANES) {
            vf v = load(x + i) - mean;
            s += v;
            if (square)
                q += v * v;
        }
        if (i < to) { /* apart: the call of memcpy in it would keep the sums out of registers */
            vf v = load_part(x + i, to - i, mean) - mean;
            s += v;
            if (square)
                q += v * v;
        }
        sum += total(s);
        if (square)
            *square += total(q);
    }
    return sum;
}

/* What a layer norm subtracts from a row, in two steps, and multiplies with. */
typedef struct {
    float mean, off, inv;
} row_norm;

INLINE row_norm norm_of(const float *x, float eps, int64_t n)
{
    float mean = (float)(sum_around(x, 0, NULL, n) / (double)n);
    /* Second pass around that mean; the small sum of differences corrects for what rounding did to it. */
    double square = 0, off = sum_around(x, mean, &square, n) / (double)n, var = square / (double)n - off * off;
    return (row_norm){mean, (float)off, (float)(1 / sqrt((var > 0 || var != var ? var : 0) + (double)eps))};
}
INLINE vf normal(vf x, row_norm r) { return ((x - r.mean) - r.off) * r.inv; }
INLINE float normal1(float x, row_norm r) { return ((x - r.mean) - r.off) * r.inv; }

static void layernorm(float *y, const float *x, const float *w, const float *b, const float *res, float eps, int64_t n)
{
    row_norm r = norm_of(x, eps, n);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vf v = normal(load(x + i), r) * load(w + i) + load(b + i);
        store(y + i, res ? load(res + i) + v : v);
    }
    for (; i < n; i++) {
        float v = normal1(x[i], r) * w[i] + b[i];
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

/* Sum of exp(scale*(x - top)), stored in y unless it is NULL. */
INLINE double exp_row(float *y, const float *x, float top, float scale, int64_t n)
{
    double sum = 0;
    for (int64_t from = 0; from < n; from += SUM_BLOCK) {
        int64_t to = n - from < SUM_BLOCK ? n : from + SUM_BLOCK, i = from;
        vf s = {0};
        for (; i + LANES <= to; i += LANES) {
            vf v = exp_neg((load(x + i) - top) * scale);
            if (y)
                store(y + i, v);
            s += v;
        }
        if (i < to) {
            float part[LANES] = {0};
            store_part(part, exp_neg((load_part(x + i, to - i, top) - top) * scale), to - i);
            if (y)
                memcpy(y + i, part, (size_t)(to - i) * sizeof *y);
            s += load(part);
        }
        sum += total(s);
    }
    return sum;
}

static void softmax(float *y, const float *x, float scale, int64_t n)
{
    float top = scale >= 0 ? row_max(x, n) : row_min(x, n);
    float inv = (float)(1 / exp_row(y, x, top, scale, n));
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store(y + i, load(y + i) * inv);
    for (; i < n; i++)
        y[i] *= inv;
}

static void exp_sum(const float *x, int64_t n, float *max, double *sum)
{
    *max = row_max(x, n);
    *sum = exp_row(NULL, x, *max, 1, n);
}

static double sum_squares(const float *x, int64_t n)
{
    double square = 0;
    sum_around(x, 0, &square, n);
    return square;
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

/* exp(-t*t/2) and the upper tail Q of the normal distribution over it, for t >= 0: a polynomial in 1/(1 + 0.22 t), within
 * 5e-7 up to t = 13, beyond which both are 0 to any sum with 1. */
typedef struct {
    vf e, ratio;
} tail;

INLINE tail tail_of(vf t)
{
    static const float c[] = {-0.112137261f, 0.506945313f, -0.688902088f, 0.72770998f, -0.303054649f, 0.221402665f, 0.0564691562f, 0.0917902169f, -0.000223332605f};
    vf u = 1.0f / (1.0f + 0.22f * t), p = all(c[0]);
    for (int i = 1; i < 9; i++)
        p = p * u + c[i];
    return (tail){exp_neg(t * t * -0.5f), p};
}

/* |x|, no further than where the tail ends; NaN stays. */
INLINE vf magnitude(vf x)
{
    vf t = choose(x < 0.0f, -x, x);
    return choose(t > 13.0f, all(13.0f), t);
}

/* x times the distribution function: max(x, 0) - |x| Q(|x|). */
INLINE vf gelu_at(vf x)
{
    vf t = magnitude(x);
    tail q = tail_of(t);
    return choose(x > 0.0f, x, all(0)) - t * q.e * q.ratio;
}

static void gelu(float *y, const float *x, int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store(y + i, gelu_at(load(x + i)));
    if (i < n)
        store_part(y + i, gelu_at(load_part(x + i, n - i, 0)), n - i);
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

static void mix(float *y, const float *const *src, const float *w, int k, int64_t n, int far)
{
    if (k == 4) {
        const float *s[4] = {src[0], src[1], src[2], src[3]};
        const float v[4] = {w[0], w[1], w[2], w[3]};
        if (far && n % LANES == 0 && (uintptr_t)y % 64 == 0)
            for (int64_t i = 0; i < n; i += LANES)
                store_far(y + i, mix4_at(s, v, i));
        else
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

/* Each lane takes the better of itself and its partner: the larger value, of equal ones the smaller index. */
#define BETTER_OF(...)                                       \
    do {                                                     \
        vf o_ = SHUFFLE(m, m, __VA_ARGS__);                  \
        vi p_ = SHUFFLE(at, at, __VA_ARGS__);                \
        vi up_ = (o_ > m) | ((o_ == m) & (p_ < at));         \
        m = choose(up_, o_, m);                              \
        at = (p_ & up_) | (at & ~up_);                       \
    } while (0)

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
        BETTER_OF(8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
        BETTER_OF(4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
        BETTER_OF(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
        BETTER_OF(1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
        top = m[0], best = at[0];
    }
    for (; i < n; i++) {
        float v = mix4_one(s, u, i);
        if (v > top)
            top = v, best = i;
    }
    return best;
}

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

/* Eight floats as doubles, and a sum of doubles in memory. */
INLINE vd wide(const float *p)
{
    vf8 h;
    memcpy(&h, p, sizeof h);
    return __builtin_convertvector(h, vd);
}
INLINE void sum_to(double *s, vd v)
{
    vd t;
    memcpy(&t, s, sizeof t);
    t += v;
    memcpy(s, &t, sizeof t);
}
/* The same of the 16 floats of v. */
INLINE void sum_all_to(double *s, vf v)
{
    float part[LANES];
    store(part, v);
    sum_to(s, wide(part));
    sum_to(s + 8, wide(part + 8));
}

static void accumulate(double *s, const float *x, const float *mean, int64_t n)
{
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        vd v = wide(x + i);
        if (mean) {
            v -= wide(mean + i);
            v *= v;
        }
        sum_to(s + i, v);
    }
    for (; i < n; i++) {
        double v = (double)x[i] - (mean ? (double)mean[i] : 0);
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

static void copy_far(void *y, const void *x, int64_t bytes)
{
    char *to = y;
    const char *from = x;
    int64_t i = -(int64_t)(uintptr_t)to & 63;
    i = i < bytes ? i : bytes;
    memcpy(to, from, (size_t)i);
    for (; i + 64 <= bytes; i += 64) {
        vf v; /* bytes of any type: from need not be aligned to a float */
        memcpy(&v, from + i, sizeof v);
        store_far((float *)(void *)(to + i), v);
    }
    memcpy(to + i, from + i, (size_t)(bytes - i));
}

#include "cpu/update_impl.h"
#include "cpu/back_impl.h"

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
    .gelu = gelu,
    .mix = mix,
    .mix_argmax = mix_argmax,
    .interleave4 = interleave4,
    .accumulate = accumulate,
    .adamw = adamw,
    .sgd = sgd,
    .lerp = lerp,
    .fill = fill,
    .square_sum = square_sum,
    .copy_far = copy_far,
    .fence = fence,
    .to_bf16 = to_bf16,
    .from_bf16 = from_bf16,
    .batchnorm_sums = batchnorm_sums,
    .batchnorm_dx = batchnorm_dx,
    .softmax_entropy = softmax_entropy,
    .sigmoid_entropy = sigmoid_entropy,
    .scaled_difference = scaled_difference,
    .layernorm_back = layernorm_back,
    .softmax_back = softmax_back,
    .exp_shifted = exp_shifted,
    .score_back = score_back,
    .leaky_back = leaky_back,
    .gelu_back = gelu_back,
    .dot = dot,
    .accumulate_product = accumulate_product,
    .accumulate_scaled = accumulate_scaled,
    .mix_add = mix_add,
    .scale_by = scale_by,
    .drop = drop,
    .deinterleave4 = deinterleave4,
};
