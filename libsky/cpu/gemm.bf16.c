/* gemm.bf16.c -- kernel set for BF16 weights with AVX512_BF16: pairs of products, added in F32.
 *
 * Zen 4, 2026-11-23, tests/bench/bench_gemm, one core: tile alone in L2 97-99 % of the peak loop (236 GF/s); products of the
 * model with packing and epilogue 80-90 % on a loaded machine, see docs/performance.md. */
#if defined(__x86_64__)
#include "cpu/gemm_avx512.h"

INLINE __m512bh load_w(const uint32_t *b) { return (__m512bh)_mm512_load_si512(b); }
INLINE __m512bh set_a(const uint32_t *a) { return (__m512bh)_mm512_set1_epi32((int)*a); }
#define MULTIPLY(a, b, c) _mm512_dpbf16_ps(c, a, b)
TILE(tile, MULTIPLY, load_w, __m512bh, set_a)
TILE_SWITCH(tile)

static void pack_rows(void *dst_, const float *const *src, int rows, int64_t k)
{
    uint32_t *dst = dst_;
    for (int64_t k0 = 0; k0 < k; k0 += 32, dst += 16 * MR) {
        __mmask16 lo = first_16(k - k0), hi = first_16(k - k0 - 16);
        __m512i r[16];
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++)
            r[i] = i < MR && i < rows ? (__m512i)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(hi, src[i] + k0 + 16), _mm512_maskz_loadu_ps(lo, src[i] + k0))
                                      : _mm512_setzero_si512();
        transpose16(r);
        store_rows(dst, r, (k - k0 + 1) / 2);
    }
}

INLINE __m512i pair_rows(const float *low, const float *high, __mmask16 m, int both)
{
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512 a = _mm512_maskz_loadu_ps(m, low), b = both ? _mm512_maskz_loadu_ps(m, high) : _mm512_setzero_ps();
    return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(b, a));
}

/* Rows asked for ahead: 65536x1056x352 dw 78 % of peak with, 70 % without. */
enum { AHEAD = 16 };
/* As pack_columns of gemm.avx512.c. */
INLINE void pack_columns(const int wide, uint32_t *dst, const float *src, int64_t ld, int cols, int64_t k)
{
    const __mmask16 m0 = first_16(cols), m1 = first_16(cols - 16);
    for (; k > 0; k -= 2, src += 2 * ld, dst += wide) {
        for (int i = 0; i < 2; i++) {
            _mm_prefetch((const char *)(src + (AHEAD + i) * ld), _MM_HINT_T0);
            _mm_prefetch((const char *)(src + (AHEAD + i) * ld + (wide == NR ? 16 : 13)), _MM_HINT_T0);
        }
        _mm512_storeu_si512(dst, pair_rows(src, src + ld, m0, k > 1));
        if (wide == NR)
            _mm512_storeu_si512(dst + 16, pair_rows(src + 16, src + ld + 16, m1, k > 1));
    }
}

static void columns(void *d, int wide, const float *s, int64_t ld, int cols, int64_t k)
{
    if (wide == NR)
        pack_columns(NR, d, s, ld, cols, k);
    else
        pack_columns(MR, d, s, ld, cols, k);
}

static void nk(void *d, const void *w, int64_t ld, int cols, int64_t k) { pack_nk(UNIT_PAIR, d, w, ld, cols, k); }
static void kn(void *d, const void *w, int64_t ld, int cols, int64_t k) { pack_kn(UNIT_PAIR, d, w, ld, cols, k); }
static void single(void *d, const void *w, int64_t ld, int cols, int64_t k) { pack_nk(UNIT_WIDE, d, w, ld, cols, k); }

const sky_gemm_set sky_gemm_avx512bf16 = {MR, NR, 1, tile_any, sky_gemm_finish_avx512, pack_rows, nk, kn, single, columns};
#endif
