/* gemm_avx512.h -- what the two AVX-512 files share: register tile, packing, epilogue.
 *
 * Tile: 14 rows x 32 columns, 28 accumulators, two registers of W, A broadcast. F32 and BF16 pairs have the same layout,
 * so the tile is written once for both multiply instructions. */
#ifndef SKY_CPU_GEMM_AVX512_H
#define SKY_CPU_GEMM_AVX512_H

#include "cpu/gemm_gelu.h"
#include "cpu/gemm_job.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

enum { MR = 14, NR = 32 };
enum { PACK_AHEAD = 256 }; /* bytes; 128 to 512 measured alike, 64 and 1024 slower */
/* Units of A asked for ahead in a tile. From L3 on a busy machine: 82 % of peak without, 95 % with 32 or 64; 8 is too
 * near. Asking for W too gained nothing: it is in L2 by the second panel of A. */
enum { TILE_AHEAD = 64 };

/* ---- 16 x 16 transposition of 32-bit units ------------------------------------------------------------------- */

INLINE void transpose16(__m512i r[16])
{
    __m512i t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        r[4 * i + 0] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) { /* lanes: column 4l+i of rows 0-3, 4-7, 8-11, 12-15 */
        __m512i a = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88), b = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
        __m512i c = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88), d = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
        t[i] = _mm512_shuffle_i32x4(a, c, 0x88);
        t[8 + i] = _mm512_shuffle_i32x4(a, c, 0xdd);
        t[4 + i] = _mm512_shuffle_i32x4(b, d, 0x88);
        t[12 + i] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        r[i] = t[i];
}

/* Bits of the first n of 32 halves. */
INLINE __mmask32 first_halves(int64_t n) { return n >= 32 ? ~0u : n <= 0 ? 0 : ~0u >> (32 - n); }
INLINE __mmask16 first_16(int64_t n) { return n >= 16 ? 0xffff : n <= 0 ? 0 : (__mmask16)(0xffffu >> (16 - n)); }

/* ---- packing W ----------------------------------------------------------------------------------------------- */

/* A zmm of 16 units from element k of a row that has left elements: F32, a BF16 pair, or BF16 widened. */
enum unit { UNIT_F32, UNIT_PAIR, UNIT_WIDE };

INLINE __m512i load_units(const enum unit u, const char *row, int64_t k, int64_t left)
{
    if (u == UNIT_F32)
        return _mm512_maskz_loadu_epi32(first_16(left), row + 4 * k);
    if (u == UNIT_PAIR)
        return _mm512_maskz_loadu_epi16(first_halves(left), row + 2 * k);
    return _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first_16(left), row + 2 * k)), 16);
}

/* 16 columns x 16 units, all there; what follows in each row is asked for on the way: W is mostly read from memory, and
 * 32 rows are more streams than the machine follows by itself. */
INLINE void pack_nk_block(const enum unit u, uint32_t *dst, const char *p, int64_t row_bytes)
{
    __m512i r[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        const char *at = p + i * row_bytes;
        _mm_prefetch(at + PACK_AHEAD, _MM_HINT_T1);
        r[i] = u == UNIT_WIDE ? _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)at)), 16) : _mm512_loadu_si512(at);
    }
    transpose16(r);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        _mm512_store_si512(dst + i * NR, r[i]);
}

static void pack_nk_edge(const enum unit u, uint32_t *dst, const char *p, int64_t row_bytes, int cols, int64_t left)
{
    int64_t units = u == UNIT_PAIR ? (left + 1) / 2 : left;
    __m512i r[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        r[i] = i < cols ? load_units(u, p + i * row_bytes, 0, left) : _mm512_setzero_si512();
    transpose16(r);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        if (i < units)
            _mm512_store_si512(dst + i * NR, r[i]);
}

/* w[col*ld + k] -> [units][32] */
INLINE void pack_nk(const enum unit u, uint32_t *dst, const void *w, int64_t ld, int cols, int64_t k)
{
    const int64_t size = u == UNIT_F32 ? 4 : 2, step = u == UNIT_PAIR ? 32 : 16;
    for (int64_t k0 = 0; k0 < k; k0 += step, dst += 16 * NR)
        for (int half = 0; half < NR; half += 16) {
            const char *p = (const char *)w + (half * ld + k0) * size;
            if (cols - half >= 16 && k - k0 >= step)
                pack_nk_block(u, dst + half, p, ld * size);
            else
                pack_nk_edge(u, dst + half, p, ld * size, cols - half, k - k0);
        }
}

/* 16 BF16 of row k in the low halves, of row k+1 (if there is one) in the high ones. */
INLINE __m512i load_pair(const uint16_t *w, int64_t ld, __mmask16 m, int two)
{
    __m512i lo = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, w));
    if (!two)
        return lo;
    return _mm512_or_si512(lo, _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, w + ld)), 16));
}

/* w[k*ld + col] -> [units][32] */
INLINE void pack_kn(const enum unit u, uint32_t *dst, const void *w, int64_t ld, int cols, int64_t k)
{
    for (int64_t k0 = 0; k0 < k; k0 += u == UNIT_PAIR ? 2 : 1, dst += NR)
        for (int half = 0; half < NR; half += 16) {
            __mmask16 m = first_16(cols - half);
            const uint16_t *h = (const uint16_t *)w + k0 * ld + half;
            __m512i v;
            if (u == UNIT_F32)
                v = _mm512_maskz_loadu_epi32(m, (const uint32_t *)w + k0 * ld + half);
            else if (u == UNIT_PAIR)
                v = load_pair(h, ld, m, k0 + 1 < k);
            else
                v = _mm512_slli_epi32(load_pair(h, ld, m, 0), 16);
            _mm512_store_si512(dst + half, v);
        }
}

/* ---- packing A ----------------------------------------------------------------------------------------------- */

/* The first n rows of the transposed block, 14 units each; every store but its first 14 units is overwritten by the
 * next one or falls into the panel's slack. */
INLINE void store_rows(uint32_t *dst, const __m512i r[16], int64_t n)
{
    if (n >= 16) {
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++)
            _mm512_storeu_si512(dst + i * MR, r[i]);
        return;
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        if (i < n)
            _mm512_storeu_si512(dst + i * MR, r[i]);
}

/* ---- epilogue ------------------------------------------------------------------------------------------------ */

typedef struct {
    __m512 c[6];
} gelu_coef;

INLINE gelu_coef gelu_load(void)
{
    gelu_coef g;
#pragma GCC unroll 6
    for (int i = 0; i < 6; i++)
        g.c[i] = _mm512_loadu_ps(gelu_table[i]);
    return g;
}

INLINE __m512 gelu(__m512 x, const gelu_coef *g)
{
    const __m512 magic = _mm512_set1_ps(GELU_MAGIC);
    __m512 q = _mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(GELU_SCALE));
    q = _mm512_min_ps(q, _mm512_set1_ps(GELU_LIMIT)); /* NaN gives the limit: finite here, kept in the maximum below */
    __m512 n = _mm512_add_ps(q, magic), f = _mm512_sub_ps(q, _mm512_sub_ps(n, magic));
    __m512i i = _mm512_castps_si512(n); /* the permutation looks at the low four bits */
    __m512 p = _mm512_permutexvar_ps(i, g->c[5]);
#pragma GCC unroll 5
    for (int d = 4; d >= 0; d--)
        p = _mm512_fmadd_ps(p, f, _mm512_permutexvar_ps(i, g->c[d]));
    return _mm512_sub_ps(_mm512_max_ps(_mm512_setzero_ps(), x), p);
}

INLINE __m512 activate(__m512 v, const sky_act act, const gelu_coef *g)
{
    if (act == SKY_ACT_RELU)
        return _mm512_max_ps(_mm512_setzero_ps(), v); /* this order keeps NaN */
    if (act == SKY_ACT_LEAKY)
        return _mm512_mask_mul_ps(v, _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_LT_OQ), v, _mm512_set1_ps(0.01f));
    if (act == SKY_ACT_GELU)
        return gelu(v, g);
    return v;
}

INLINE void finish_as(const sky_act act, const float *c, const sky_gemm_out *o)
{
    const int rows = o->rows; /* the compiler must assume that stores to y change *o */
    const int64_t ldy = o->ldy, ldr = o->ldr;
    const float *residual = o->residual;
    float *y = o->y;
    gelu_coef g;
    if (act == SKY_ACT_GELU)
        g = gelu_load();
    for (int j = 0; j < o->cols; j += 16) {
        __mmask16 m = first_16(o->cols - j);
        __m512 scale = o->scale ? _mm512_maskz_loadu_ps(m, o->scale + j) : _mm512_set1_ps(1);
        __m512 shift = o->shift ? _mm512_maskz_loadu_ps(m, o->shift + j) : _mm512_setzero_ps();
        int stream = o->stream && m == 0xffff && ((uintptr_t)(y + j) | (uintptr_t)ldy * sizeof *y) % 64 == 0;
        for (int64_t i = 0; i < rows; i++) {
            __m512 v = activate(_mm512_fmadd_ps(_mm512_loadu_ps(c + i * NR + j), scale, shift), act, &g);
            if (residual)
                v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(m, residual + i * ldr + j));
            if (stream)
                _mm512_stream_ps(y + i * ldy + j, v);
            else
                _mm512_mask_storeu_ps(y + i * ldy + j, m, v);
        }
    }
}

/* ---- tile ---------------------------------------------------------------------------------------------------- */

/* One instance for each multiply and number of rows: with constants the accumulators stay in registers. */
#define TILE(NAME, MULTIPLY, LOAD_W, TYPE_W, SET_A)                                                              \
    INLINE void NAME(const int rows, int64_t units, const uint32_t *a, const uint32_t *b, float *c, int load)   \
    {                                                                                                           \
        __m512 s[MR][2];                                                                                        \
        _Pragma("GCC unroll 14") for (int r = 0; r < rows; r++)                                                 \
        {                                                                                                       \
            s[r][0] = load ? _mm512_loadu_ps(c + r * NR) : _mm512_setzero_ps();                                 \
            s[r][1] = load ? _mm512_loadu_ps(c + r * NR + 16) : _mm512_setzero_ps();                            \
        }                                                                                                       \
        for (; units > 0; units--, a += MR, b += NR) {                                                          \
            TYPE_W b0 = LOAD_W(b), b1 = LOAD_W(b + 16);                                                         \
            _mm_prefetch((const char *)(a + TILE_AHEAD * MR), _MM_HINT_T0);                                     \
            _Pragma("GCC unroll 14") for (int r = 0; r < rows; r++)                                             \
            {                                                                                                   \
                TYPE_W v = SET_A(a + r);                                                                        \
                s[r][0] = MULTIPLY(v, b0, s[r][0]);                                                             \
                s[r][1] = MULTIPLY(v, b1, s[r][1]);                                                             \
            }                                                                                                   \
        }                                                                                                       \
        _Pragma("GCC unroll 14") for (int r = 0; r < rows; r++)                                                 \
        {                                                                                                       \
            _mm512_storeu_ps(c + r * NR, s[r][0]);                                                              \
            _mm512_storeu_ps(c + r * NR + 16, s[r][1]);                                                         \
        }                                                                                                       \
    }

#define TILE_CASE(NAME, N) case N: NAME(N, units, a, b, c, load); break;
#define TILE_SWITCH(NAME)                                                                                       \
    static void NAME##_any(int rows, int64_t units, const void *a, const void *b, float *c, int load)           \
    {                                                                                                           \
        switch (rows) {                                                                                         \
            TILE_CASE(NAME, 1) TILE_CASE(NAME, 2) TILE_CASE(NAME, 3) TILE_CASE(NAME, 4) TILE_CASE(NAME, 5)      \
            TILE_CASE(NAME, 6) TILE_CASE(NAME, 7) TILE_CASE(NAME, 8) TILE_CASE(NAME, 9) TILE_CASE(NAME, 10)     \
            TILE_CASE(NAME, 11) TILE_CASE(NAME, 12) TILE_CASE(NAME, 13) TILE_CASE(NAME, 14)                     \
        }                                                                                                       \
    }

#endif
