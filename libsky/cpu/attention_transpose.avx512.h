/* attention_transpose.avx512.h -- 16 rows of floats to [column][row] and back, for attention_impl.h. */
#define HAVE_TRANSPOSE
#include <immintrin.h>

static inline __attribute__((always_inline)) void transpose16(__m512 r[16])
{
    __m512 t[16];
    _Pragma("GCC unroll 16") for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    _Pragma("GCC unroll 16") for (int i = 0; i < 16; i += 4) {
        for (int k = 0; k < 2; k++) { /* 64-bit pieces: column 2k and 2k+1 of each 128-bit lane, rows i..i+3 */
            r[i + 2 * k] = (__m512)_mm512_unpacklo_pd((__m512d)t[i + k], (__m512d)t[i + 2 + k]);
            r[i + 2 * k + 1] = (__m512)_mm512_unpackhi_pd((__m512d)t[i + k], (__m512d)t[i + 2 + k]);
        }
    }
    _Pragma("GCC unroll 16") for (int k = 0; k < 4; k++) { /* 128-bit lanes: rows 4*.., column 4*lane + k */
        const __m512 a = _mm512_shuffle_f32x4(r[k], r[4 + k], 0x88), b = _mm512_shuffle_f32x4(r[8 + k], r[12 + k], 0x88);
        const __m512 c = _mm512_shuffle_f32x4(r[k], r[4 + k], 0xdd), d = _mm512_shuffle_f32x4(r[8 + k], r[12 + k], 0xdd);
        t[k] = _mm512_shuffle_f32x4(a, b, 0x88);
        t[8 + k] = _mm512_shuffle_f32x4(a, b, 0xdd);
        t[4 + k] = _mm512_shuffle_f32x4(c, d, 0x88);
        t[12 + k] = _mm512_shuffle_f32x4(c, d, 0xdd);
    }
    _Pragma("GCC unroll 16") for (int i = 0; i < 16; i++)
        r[i] = t[i];
}

static inline __mmask16 columns(int left) { return left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1); }

typedef float vf __attribute__((vector_size(64), may_alias));

static void load_transposed(vf *t, const float *const *rows, int width)
{
    for (int c = 0; c < width; c += 16) {
        const __mmask16 m = columns(width - c);
        __m512 r[16];
        _Pragma("GCC unroll 16") for (int j = 0; j < 16; j++)
            r[j] = _mm512_maskz_loadu_ps(rows[j] ? m : 0, rows[j] + (rows[j] ? c : 0));
        transpose16(r);
        for (int i = 0; i < 16 && c + i < width; i++)
            t[c + i] = r[i];
    }
}

static void store_transposed(float *const *rows, const vf *t, int width, vf times)
{
    for (int c = 0; c < width; c += 16) {
        const __mmask16 m = columns(width - c);
        __m512 r[16];
        for (int i = 0; i < 16; i++)
            r[i] = i < width - c ? (__m512)(t[c + i] * times) : _mm512_setzero_ps();
        transpose16(r);
        for (int j = 0; j < 16; j++)
            if (rows[j])
                _mm512_mask_storeu_ps(rows[j] + c, m, r[j]);
    }
}
