/* attention.bf16.c -- 16 lanes, BF16 pairs, vdpbf16ps.
 *
 * The exponential is two byte shuffles and a merge for 32 scores. The sum q.k is accumulated on top of 384, so the
 * F32 result lies in [256, 512) for scores in [-128, 128) and its bits are already a number with 8 binary digits before
 * the point (bits 15..22) and 15 after. Bits 8..23 of two keys' sums, brought together by one shuffle, are a BF16
 * whose exponent is right (2^floor) and whose mantissa is the fraction cut to 7 bits; a table of 128 bytes replaces
 * it by that of 2^(fraction + 1/256). The largest relative error is 0.27 % (half a step of the table) plus the rounding of
 * BF16 itself; both numerator and denominator use the same p. */
#if defined(__AVX512BF16__)
#include "cpu/attention_transpose.avx512.h"
#define LANES 16
#define CHUNK 16
#define KERNELS sky_attn_bf16
#define FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define SET1(x) _mm512_set1_ps(x)
#define MAX(a, b) _mm512_max_ps(a, b)
#define SQRT(x) _mm512_sqrt_ps(x)
#define HAVE_BF16
#define OFFSET 384.0f
#define UNIT 2.0f /* the exponent field of 384 is 128 */
#define PACK 2
#include "cpu/attention_kernels.h"
#define TARGET __attribute__((target("avx512vbmi")))

/* Mantissas: round(128 * 2^((i + 1/2) / 128)) - 128. */
static const uint8_t mantissa[128] __attribute__((aligned(64))) = {
    0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 7, 8, 9, 10, 10, 11, 12, 13, 13, 14, 15, 16, 17, 17,
    18, 19, 20, 21, 21, 22, 23, 24, 25, 25, 26, 27, 28, 29, 30, 31, 31, 32, 33, 34, 35, 36, 37, 38,
    38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 54, 55, 56, 57, 58, 60, 61,
    62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 78, 79, 80, 81, 82, 83, 84, 86, 87,
    88, 89, 90, 91, 93, 94, 95, 96, 97, 99, 100, 101, 102, 104, 105, 106, 107, 109, 110, 111, 113, 114, 115, 116,
    118, 119, 120, 122, 123, 125, 126, 127
};

static inline __attribute__((always_inline)) __m512bh pair(__m512 low, __m512 high)
{
    static const uint16_t order[32] __attribute__((aligned(64))) = {
        0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(high, low);
    return (__m512bh)_mm512_permutexvar_epi16(_mm512_load_si512(order), both);
}

static inline __attribute__((always_inline)) __m512bh broadcast(const uint32_t *p) { return (__m512bh)_mm512_set1_epi32((int)*p); }

static inline __attribute__((always_inline)) void group_scores(vf s[16], const void *q, const void *k, int width, const vf *init, int step)
{
    const __m512i *x = q;
    const uint32_t *y = k;
    _Pragma("GCC unroll 16") for (int j = 0; j < 16; j++)
        s[j] = init[step * j];
    for (int i = 0; i < width; i += 2, x++, y += 16) {
        const __m512bh a = (__m512bh)_mm512_load_si512(x);
        _Pragma("GCC unroll 16") for (int j = 0; j < 16; j++)
            s[j] = _mm512_dpbf16_ps(s[j], a, broadcast(y + j));
    }
}

TARGET static inline __attribute__((always_inline)) __m512i exp2_pair(vf low, vf high, __m512i bytes, __m512i t0, __m512i t1)
{
    const __m512i w = _mm512_permutex2var_epi8((__m512i)low, bytes, (__m512i)high);
    const __m512i t = _mm512_permutex2var_epi8(t0, w, t1); /* the low byte of each word matters, bit 7 is not looked at */
    return _mm512_ternarylogic_epi32(t, w, _mm512_set1_epi16(0x7f80), 0xd8); /* exponent from w, the rest from t */
}

TARGET static inline __attribute__((always_inline)) void probabilities(vf *p, const void *q, const sky_attn_block *b, int width, const vf *init, int step, int clamp)
{
    const __m512i t0 = _mm512_load_si512(mantissa), t1 = _mm512_load_si512(mantissa + 64);
    const __m512i bytes = _mm512_add_epi32(_mm512_set1_epi32(0x42410201), /* bytes 1, 2 of low, then of high */
                                           _mm512_mullo_epi32(_mm512_set1_epi32(0x04040404), _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)));
    const uint32_t *k = b->k;
    __m512i *out = (__m512i *)p;
    for (int g = 0; g < b->keys; g += 16, k += (width + 1) / 2 * 16, init += step * 16, out += 8) {
        vf s[16];
        group_scores(s, q, k, width, init, step);
        if (clamp)
            _Pragma("GCC unroll 16") for (int j = 0; j < 16; j++)
                s[j] = MAX(s[j], SET1(384.0f - 126.0f));
        _Pragma("GCC unroll 16") for (int j = 0; j < 8; j++)
            out[j] = exp2_pair(s[2 * j], s[2 * j + 1], bytes, t0, t1);
    }
    if (b->keys & 1) { /* the key after the last one is no key */
        __m512i *last = (__m512i *)p + b->keys / 2;
        *last = _mm512_and_si512(*last, _mm512_set1_epi32(0xffff));
    }
}

static inline __attribute__((always_inline)) void values(vf *o, vf *total, const vf *p, const sky_attn_block *b, int width)
{
    const uint32_t *v = b->v;
    const __m512bh one = (__m512bh)_mm512_set1_epi32(0x3f803f80);
    for (int c = 0; c < width; c += 16, v += (size_t)b->kb / 2 * 16, o += 16) {
        __m512 a[16], sum = _mm512_setzero_ps();
        _Pragma("GCC unroll 16") for (int i = 0; i < 16; i++)
            a[i] = _mm512_setzero_ps();
        for (int j = 0; j < (b->keys + 1) / 2; j++) {
            const __m512bh x = (__m512bh)_mm512_load_si512(p + j);
            sum = _mm512_dpbf16_ps(sum, x, one);
            _Pragma("GCC unroll 16") for (int i = 0; i < 16; i++)
                a[i] = _mm512_dpbf16_ps(a[i], x, broadcast(v + j * 16 + i));
        }
        _Pragma("GCC unroll 16") for (int i = 0; i < 16; i++)
            o[i] = o[i] + a[i];
        if (c == 0)
            *total = *total + sum;
    }
}

static void pack_tokens(void *dst, float *norm, float *tmp, const float *const *rows, int width, float scale, int unit);
static void pack_values(void *dst, const float *const *rows, int n, int kb, int width);
#include "cpu/attention_impl.h"

static void pack_tokens(void *dst, float *norm, float *tmp, const float *const *rows, int width, float scale, int unit)
{
    vf *t = (vf *)tmp;
    __m512i *out = dst;
    load_transposed(t, rows, width);
    scale_tokens(t, norm, width, scale, unit);
    for (int i = 0; i < width; i += 2)
        out[i / 2] = (__m512i)pair(t[i], i + 1 < width ? t[i + 1] : (vf)SET1(0.0f));
}

static void pack_values(void *dst, const float *const *rows, int n, int kb, int width)
{
    __m512i *v = dst;
    for (int c = 0; c < width; c += 16, v += kb / 2) {
        const __mmask16 m = columns(width - c);
        for (int j = 0; j < n; j += 2) {
            const __m512 a = _mm512_maskz_loadu_ps(m, rows[j] + c);
            const __m512 b = j + 1 < n ? _mm512_maskz_loadu_ps(m, rows[j + 1] + c) : _mm512_setzero_ps();
            v[j / 2] = (__m512i)pair(a, b);
        }
    }
}
#endif
