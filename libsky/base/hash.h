/* hash.h -- CRC32C (integrity of records), SHA-256 (identity of sources and models), and the project's counter
 * generator (NOTES: 24-bit integers that depend on a name and an index only). */
#ifndef SKY_BASE_HASH_H
#define SKY_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint32_t sky_crc32c(uint32_t crc, const void *p, size_t n); /* start with 0; chain by passing the result back */

typedef struct {
    uint32_t h[8];
    uint64_t n;
    uint8_t block[64];
} sky_sha256;
void sky_sha256_init(sky_sha256 *s);
void sky_sha256_add(sky_sha256 *s, const void *p, size_t n);
void sky_sha256_hex(sky_sha256 *s, char out[65]); /* ends the computation */
uint64_t sky_sha256_u64(sky_sha256 *s);           /* so does this: the first 8 bytes, little-endian */

/* FNV-1a of a NUL-terminated name, and the splitmix64 finaliser of h + (i+1)*golden: see sky_counter_u24. */
uint64_t sky_fnv1a(const char *name);
uint64_t sky_mix64(uint64_t h, uint64_t i);
/* 24 bits of element i of the counter sequence `name` (h = sky_fnv1a(name)). */
static inline uint32_t sky_counter_u24(uint64_t h, uint64_t i) { return (uint32_t)(sky_mix64(h, i) >> 40); }
/* fl32(fl32(u*scale)+offset), u = (k - 2^23) / 2^23 in [-1,1). No fused multiply-add. */
float sky_counter_value(uint64_t h, uint64_t i, float scale, float offset);

#endif
