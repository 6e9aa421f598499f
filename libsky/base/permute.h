/* permute.h -- a keyed permutation of 0..n-1 that needs no list: position i -> number, a pure function of (seed, n, i).
 *
 * Six Feistel rounds over 2k bits, 4^k >= n the smallest; numbers at or beyond n are sent through again (at most four
 * turns on average). Round t of half x: low k bits of sky_mix64(seed, t << 32 | x). */
#ifndef SKY_BASE_PERMUTE_H
#define SKY_BASE_PERMUTE_H

#include <stdint.h>

uint64_t sky_permute(uint64_t seed, uint64_t n, uint64_t i); /* i < n */

#endif
