/* philox.h -- Philox4x32-10, a counter-based generator: 128 random bits that are a function of a key and a counter only
 * (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
 *
 * Nothing is remembered between draws, so that a decision may be made anywhere, in any order, and again: every random
 * decision of training names itself by (seed, step, layer, sample, number) and does not depend on threads, ranks or on
 * what was drawn before. */
#ifndef SKY_BASE_PHILOX_H
#define SKY_BASE_PHILOX_H

#include <stdint.h>

typedef struct {
    uint32_t v[4];
} sky_random;

/* Words of the key: low and high half of `key`; of the counter: c0..c3. */
static inline sky_random sky_philox(uint64_t key, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3)
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)c0 * 0xd2511f53u, b = (uint64_t)c2 * 0xcd9e8d57u;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    sky_random r = {{c0, c1, c2, c3}};
    return r;
}

/* Number n of the stream (key, stream, id): word n % 4 of the block with counter (n / 4, stream, low and high half of
 * id). The numbering of sky_drop (tensor/backend.h). */
static inline uint32_t sky_philox_word(uint64_t key, uint32_t stream, uint64_t id, uint64_t n)
{
    return sky_philox(key, (uint32_t)(n / 4), stream, (uint32_t)id, (uint32_t)(id >> 32)).v[n % 4];
}

/* A word as a number in [0, 1): its upper 24 bits, exact in float. */
static inline float sky_random_unit(uint32_t word) { return (float)(word >> 8) * (1.0f / 16777216.0f); }

#endif
