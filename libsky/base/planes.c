#include "base/planes.h"

#if defined(__x86_64__)
#include <immintrin.h>

/* Sixteen pixels are three vectors; plane c takes the bytes pick[c][k] of vector k. */
enum { N = 128 }; /* none: gives zero */
static const uint8_t pick[3][3][16] = {
    {{0, 3, 6, 9, 12, 15, N, N, N, N, N, N, N, N, N, N},
     {N, N, N, N, N, N, 2, 5, 8, 11, 14, N, N, N, N, N},
     {N, N, N, N, N, N, N, N, N, N, N, 1, 4, 7, 10, 13}},
    {{1, 4, 7, 10, 13, N, N, N, N, N, N, N, N, N, N, N},
     {N, N, N, N, N, 0, 3, 6, 9, 12, 15, N, N, N, N, N},
     {N, N, N, N, N, N, N, N, N, N, N, 2, 5, 8, 11, 14}},
    {{2, 5, 8, 11, 14, N, N, N, N, N, N, N, N, N, N, N},
     {N, N, N, N, N, 1, 4, 7, 10, 13, N, N, N, N, N, N},
     {N, N, N, N, N, N, N, N, N, N, 0, 3, 6, 9, 12, 15}}};

/* Returns the pixels done. */
__attribute__((target("ssse3"))) static size_t split_16(uint8_t *to, size_t plane, const uint8_t *p, size_t n)
{
    __m128i of[3][3];
    size_t i = 0;
    for (int c = 0; c < 3; c++)
        for (int k = 0; k < 3; k++)
            of[c][k] = _mm_loadu_si128((const __m128i *)pick[c][k]);
    for (; i + 16 <= n; i += 16) {
        const __m128i *v = (const __m128i *)(p + 3 * i);
        __m128i x = _mm_loadu_si128(v), y = _mm_loadu_si128(v + 1), z = _mm_loadu_si128(v + 2);
#pragma GCC unroll 3
        for (size_t c = 0; c < 3; c++) {
            __m128i two = _mm_or_si128(_mm_shuffle_epi8(x, of[c][0]), _mm_shuffle_epi8(y, of[c][1]));
            _mm_storeu_si128((__m128i *)(to + c * plane + i), _mm_or_si128(two, _mm_shuffle_epi8(z, of[c][2])));
        }
    }
    return i;
}
#endif

void sky_split3(uint8_t *to, size_t plane, const uint8_t *from, size_t n)
{
    size_t i = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("ssse3"))
        i = split_16(to, plane, from, n);
#endif
    for (; i < n; i++)
        for (size_t c = 0; c < 3; c++)
            to[c * plane + i] = from[3 * i + c];
}
