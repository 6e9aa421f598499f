/* gemm.avx2.c -- kernel sets for AVX2 with FMA: tile of 6 rows x 16 columns, 12 accumulators. BF16 weights are widened
 * to F32 (exact), A is rounded to BF16 while it is packed. */
#if defined(__x86_64__)
#include "cpu/gemm_job.h"

#include <immintrin.h>

enum { MR = 6, NR = 16 };
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

static void finish(const float *c, const sky_gemm_out *o) { sky_gemm_finish(c, NR, o); }
static void rows_f32(void *d, const float *const *s, int rows, int64_t k) { sky_gemm_pack_rows(d, MR, 0, 0, s, rows, k); }
static void rows_bf16(void *d, const float *const *s, int rows, int64_t k) { sky_gemm_pack_rows(d, MR, 0, 1, s, rows, k); }
static void nk_f32(void *d, const void *w, int64_t ld, int cols, int64_t k) { sky_gemm_pack_w(d, NR, 0, 0, w, ld, 1, cols, k); }
static void nk_bf16(void *d, const void *w, int64_t ld, int cols, int64_t k) { sky_gemm_pack_w(d, NR, 0, 1, w, ld, 1, cols, k); }
static void kn_f32(void *d, const void *w, int64_t ld, int cols, int64_t k) { sky_gemm_pack_w(d, NR, 0, 0, w, 1, ld, cols, k); }
static void kn_bf16(void *d, const void *w, int64_t ld, int cols, int64_t k) { sky_gemm_pack_w(d, NR, 0, 1, w, 1, ld, cols, k); }

const sky_gemm_set sky_gemm_avx2[2] = {
    {MR, NR, 0, tile_any, finish, rows_f32, nk_f32, kn_f32, nk_f32},
    {MR, NR, 0, tile_any, finish, rows_bf16, nk_bf16, kn_bf16, nk_bf16},
};
#endif
