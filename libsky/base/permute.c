#include "base/permute.h"
#include "base/hash.h"

enum { ROUNDS = 6 };

uint64_t sky_permute(uint64_t seed, uint64_t n, uint64_t i)
{
    int k = 1;
    while (k < 32 && (uint64_t)1 << 2 * k < n)
        k++;
    const uint64_t mask = ((uint64_t)1 << k) - 1;
    do {
        uint64_t left = i >> k, right = i & mask;
        for (uint64_t t = 0; t < ROUNDS; t++) {
            uint64_t next = left ^ (sky_mix64(seed, t << 32 | right) & mask);
            left = right;
            right = next;
        }
        i = left << k | right;
    } while (i >= n);
    return i;
}
