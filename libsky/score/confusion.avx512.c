/* confusion.avx512.c -- 64 pixels at a time. Pixels that repeat the pair of the block before are counted by their number;
 * where they are few, all 64 go through the tables. */
#include "score/confusion_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum { FEW = 24 }; /* up to here walking the bits is cheaper than all 64 */

/* Straight from the register: through memory it is 15 % slower. */
static inline void count8(uint32_t *t, __m128i pairs)
{
    sky_count4(t, (uint64_t)_mm_cvtsi128_si64(pairs));
    sky_count4(t + 4 * SKY_COUNT_PITCH, (uint64_t)_mm_extract_epi64(pairs, 1));
}

static inline void count32(uint32_t *t, __m512i pairs)
{
    count8(t, _mm512_castsi512_si128(pairs));
    count8(t, _mm512_extracti32x4_epi32(pairs, 1));
    count8(t, _mm512_extracti32x4_epi32(pairs, 2));
    count8(t, _mm512_extracti32x4_epi32(pairs, 3));
}

/* The pixels of a block left over by both pairs. */
static inline void count_rest(uint32_t *t, const uint8_t *label, const uint8_t *pred, uint64_t rest)
{
    for (; rest; rest &= rest - 1) {
        int k = __builtin_ctzll(rest);
        t[(k & (SKY_COUNT_TABLES - 1)) * SKY_COUNT_PITCH + label[k] * 256 + pred[k]]++;
    }
}

void sky_count_avx512(uint32_t *t, const uint8_t *label, const uint8_t *pred, uint64_t n)
{
    uint32_t last = 0, run = 0; /* the pair of the pixel before this block, and how many of it are not in the tables yet */
    __m512i last_l = _mm512_setzero_si512(), last_p = last_l;
    uint64_t i = 0;
    for (; i + 64 <= n; i += 64) {
        __m512i l = _mm512_loadu_si512(label + i), p = _mm512_loadu_si512(pred + i);
        uint64_t other = _mm512_cmpneq_epi8_mask(l, last_l) | _mm512_cmpneq_epi8_mask(p, last_p);
        if (!other) {
            run += 64;
            continue;
        }
        last_l = _mm512_set1_epi8((char)label[i + 63]);
        last_p = _mm512_set1_epi8((char)pred[i + 63]);
        uint64_t rest = other & (_mm512_cmpneq_epi8_mask(l, last_l) | _mm512_cmpneq_epi8_mask(p, last_p));
        if (__builtin_popcountll(rest) <= FEW) {
            t[last] += run + 64 - (uint32_t)__builtin_popcountll(other);
            run = (uint32_t)__builtin_popcountll(other & ~rest);
            count_rest(t, label + i, pred + i, rest);
        } else {
            t[last] += run;
            run = 0;
            count32(t, _mm512_unpacklo_epi8(p, l));
            count32(t, _mm512_unpackhi_epi8(p, l));
        }
        last = label[i + 63] * 256u + pred[i + 63];
    }
    t[last] += run;
    for (; i < n; i++)
        t[label[i] * 256 + pred[i]]++;
}
#endif
