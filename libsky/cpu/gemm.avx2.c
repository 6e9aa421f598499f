/* gemm.avx2.c -- kernel sets for AVX2 with FMA: tile of 6 rows x 16 columns, 12 accumulators. BF16 weights are widened
 * to F32 (exact), A is rounded to BF16 while it is packed. */
#if defined(__x86_64__)
#include "cpu/gemm_gelu.h"

#include <immintrin.h>

enum { MR = 6, NR = 16 };
#include "cpu/gemm_pack.h"

#define INLINE static inline __attribute__((always_inline))

INLINE void tile(const int rows, int64_t units, const float *a, const float *b, float *c, int load)
{
    __m256 s[MR][2];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        s[r][0] = load ? _mm256_loadu_ps(c + r * NR) : _mm256_setzero_ps();
        s[r][1] = load ? _mm256_loadu_ps(c + r * NR + 8) : _mm256_setzero_ps();
    }
    for (; units > 0; units--, a += MR, b += NR) {
        __m256 b0 = _mm256_load_ps(b), b1 = _mm256_load_ps(b + 8);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            __m256 v = _mm256_broadcast_ss(a + r);
            s[r][0] = _mm256_fmadd_ps(v, b0, s[r][0]);
            s[r][1] = _mm256_fmadd_ps(v, b1, s[r][1]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        _mm256_storeu_ps(c + r * NR, s[r][0]);
        _mm256_storeu_ps(c + r * NR + 8, s[r][1]);
    }
}

static void tile_any(int rows, int64_t units, const void *a, const void *b, float *c, int load)
{
    switch (rows) {
    case 1: tile(1, units, a, b, c, load); break;
    case 2: tile(2, units, a, b, c, load); break;
    case 3: tile(3, units, a, b, c, load); break;
    case 4: tile(4, units, a, b, c, load); break;
    case 5: tile(5, units, a, b, c, load); break;
    default: tile(6, units, a, b, c, load); break;
    }
}

/* As gelu() of gemm_avx512.h, the table read by gathers. */
INLINE __m256 gelu(__m256 x)
{
    const __m256 magic = _mm256_set1_ps(GELU_MAGIC), sign = _mm256_set1_ps(-0.0f);
    __m256 q = _mm256_min_ps(_mm256_mul_ps(_mm256_andnot_ps(sign, x), _mm256_set1_ps(GELU_SCALE)), _mm256_set1_ps(GELU_LIMIT));
    __m256 n = _mm256_add_ps(q, magic), f = _mm256_sub_ps(q, _mm256_sub_ps(n, magic));
    __m256i i = _mm256_and_si256(_mm256_castps_si256(n), _mm256_set1_epi32(15));
    __m256 p = _mm256_i32gather_ps(gelu_table[5], i, 4);
    for (int d = 4; d >= 0; d--)
        p = _mm256_fmadd_ps(p, f, _mm256_i32gather_ps(gelu_table[d], i, 4));
    return _mm256_sub_ps(_mm256_max_ps(_mm256_setzero_ps(), x), p);
}

INLINE __m256 activate(__m256 v, sky_act act)
{
    __m256 zero = _mm256_setzero_ps();
    switch (act) {
    case SKY_ACT_RELU:
        return _mm256_max_ps(zero, v); /* this order keeps NaN */
    case SKY_ACT_LEAKY:
        return _mm256_blendv_ps(v, _mm256_mul_ps(v, _mm256_set1_ps(0.01f)), _mm256_cmp_ps(v, zero, _CMP_LT_OQ));
    case SKY_ACT_GELU:
        return gelu(v);
    default:
        return v;
    }
}

static void finish(const float *c, const sky_gemm_out *o)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const sky_gemm_out v = *o; /* the compiler must assume that stores to y change *o */
    for (int j = 0; j < v.cols; j += 8) {
        __m256i m = _mm256_cmpgt_epi32(_mm256_set1_epi32(v.cols - j), lane);
        __m256 scale = v.scale ? _mm256_maskload_ps(v.scale + j, m) : _mm256_set1_ps(1);
        __m256 shift = v.shift ? _mm256_maskload_ps(v.shift + j, m) : _mm256_setzero_ps();
        for (int64_t i = 0; i < v.rows; i++) {
            __m256 y = activate(_mm256_fmadd_ps(_mm256_loadu_ps(c + i * NR + j), scale, shift), v.act);
            if (v.residual)
                y = _mm256_add_ps(y, _mm256_maskload_ps(v.residual + i * v.ldr + j, m));
            _mm256_maskstore_ps(v.y + i * v.ldy + j, m, y);
        }
    }
}

const sky_gemm_set sky_gemm_avx2[2] = {
    {MR, NR, 0, tile_any, finish, rows_f32, nk_f32, kn_f32, nk_f32, columns_f32},
    {MR, NR, 0, tile_any, finish, rows_bf16, nk_bf16, kn_bf16, nk_bf16, columns_bf16},
};
#endif
