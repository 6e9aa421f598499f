/* gemm.avx512.c -- kernel sets for AVX-512 without BF16 instructions: F32 weights, and BF16 weights widened to F32
 * (the rounded A and W are exact in F32, so only the sums round).
 *
 * Zen 4, 2026-11-23, tests/bench/bench_gemm, one core: tile alone in L2 98-99 % of the peak loop (118 GF/s); products of the
 * model with packing and epilogue 79-90 % on a loaded machine, see docs/performance.md. */
#if defined(__x86_64__)
#include "cpu/gemm_avx512.h"

INLINE __m512 load_w(const uint32_t *b) { return _mm512_load_ps(b); }
INLINE __m512 set_a(const uint32_t *a) { return _mm512_set1_ps(*(const float *)a); }
TILE(tile, _mm512_fmadd_ps, load_w, __m512, set_a)
TILE_SWITCH(tile)

/* Round to the nearest BF16, ties to even; NaN becomes a quiet NaN. */
INLINE __m512i round_bf16(__m512 v)
{
    __m512i u = _mm512_castps_si512(v), odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    u = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    u = _mm512_mask_mov_epi32(u, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), _mm512_set1_epi32(0x7fc00000));
    return _mm512_and_si512(u, _mm512_set1_epi32((int)0xffff0000));
}

INLINE void pack_rows(const int rounded, uint32_t *dst, const float *const *src, int rows, int64_t k)
{
    for (int64_t k0 = 0; k0 < k; k0 += 16, dst += 16 * MR) {
        __mmask16 m = first_16(k - k0);
        __m512i r[16];
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            __m512 v = i < MR && i < rows ? _mm512_maskz_loadu_ps(m, src[i] + k0) : _mm512_setzero_ps();
            r[i] = rounded ? round_bf16(v) : _mm512_castps_si512(v);
        }
        transpose16(r);
        store_rows(dst, r, k - k0);
    }
}

/* A panel of A is stored 16 units at a time too: what is too much is overwritten by the next row or falls into the slack. */
INLINE void pack_columns(const int rounded, const int wide, float *dst, const float *src, int64_t ld, int cols, int64_t k)
{
    const __mmask16 m0 = first_16(cols), m1 = first_16(cols - 16);
    for (; k > 0; k--, src += ld, dst += wide) {
        __m512 v = _mm512_maskz_loadu_ps(m0, src);
        _mm512_storeu_ps(dst, rounded ? _mm512_castsi512_ps(round_bf16(v)) : v);
        if (wide == NR) {
            v = _mm512_maskz_loadu_ps(m1, src + 16);
            _mm512_storeu_ps(dst + 16, rounded ? _mm512_castsi512_ps(round_bf16(v)) : v);
        }
    }
}

static void columns_f32(void *d, int wide, const float *s, int64_t ld, int cols, int64_t k)
{
    if (wide == NR)
        pack_columns(0, NR, d, s, ld, cols, k);
    else
        pack_columns(0, MR, d, s, ld, cols, k);
}

static void columns_bf16(void *d, int wide, const float *s, int64_t ld, int cols, int64_t k)
{
    if (wide == NR)
        pack_columns(1, NR, d, s, ld, cols, k);
    else
        pack_columns(1, MR, d, s, ld, cols, k);
}

static void rows_f32(void *d, const float *const *src, int rows, int64_t k) { pack_rows(0, d, src, rows, k); }
static void rows_bf16(void *d, const float *const *src, int rows, int64_t k) { pack_rows(1, d, src, rows, k); }
static void nk_f32(void *d, const void *w, int64_t ld, int cols, int64_t k) { pack_nk(UNIT_F32, d, w, ld, cols, k); }
static void kn_f32(void *d, const void *w, int64_t ld, int cols, int64_t k) { pack_kn(UNIT_F32, d, w, ld, cols, k); }
static void nk_bf16(void *d, const void *w, int64_t ld, int cols, int64_t k) { pack_nk(UNIT_WIDE, d, w, ld, cols, k); }
static void kn_bf16(void *d, const void *w, int64_t ld, int cols, int64_t k) { pack_kn(UNIT_WIDE, d, w, ld, cols, k); }

void sky_gemm_finish_avx512(const float *c, const sky_gemm_out *o)
{
    switch (o->act) {
    case SKY_ACT_RELU: finish_as(SKY_ACT_RELU, c, o); break;
    case SKY_ACT_LEAKY: finish_as(SKY_ACT_LEAKY, c, o); break;
    case SKY_ACT_GELU: finish_as(SKY_ACT_GELU, c, o); break;
    default: finish_as(SKY_ACT_NONE, c, o); break;
    }
}

const sky_gemm_set sky_gemm_avx512[2] = {
    {MR, NR, 0, tile_any, sky_gemm_finish_avx512, rows_f32, nk_f32, kn_f32, nk_f32, columns_f32},
    {MR, NR, 0, tile_any, sky_gemm_finish_avx512, rows_bf16, nk_bf16, kn_bf16, nk_bf16, columns_bf16},
};
#endif
