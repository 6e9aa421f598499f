/* confusion_kernels.h -- counting kernels behind confusion.c: TABLES tables of 32-bit counts, so that equal pairs in a row
 * do not wait for each other's store.
 *
 * Table t begins t * PITCH counts on; PITCH is 256 * 256 plus one 64-byte line, so that the few lines a row of classes
 * touches fall into other cache sets in each table. n <= 2^31 in one call. */
#ifndef SKY_SCORE_CONFUSION_KERNELS_H
#define SKY_SCORE_CONFUSION_KERNELS_H

#include <stdint.h>

enum { SKY_COUNT_TABLES = 8, SKY_COUNT_PITCH = 256 * 256 + 32 };

/* Four pairs as 16-bit indices label * 256 + pred, into the tables t, t + PITCH, ... */
static inline void sky_count4(uint32_t *t, uint64_t four)
{
    t[four & 0xffff]++;
    t[SKY_COUNT_PITCH + (four >> 16 & 0xffff)]++;
    t[2 * SKY_COUNT_PITCH + (four >> 32 & 0xffff)]++;
    t[3 * SKY_COUNT_PITCH + (four >> 48)]++;
}

void sky_count_portable(uint32_t *tables, const uint8_t *label, const uint8_t *pred, uint64_t n);
void sky_count_avx512(uint32_t *tables, const uint8_t *label, const uint8_t *pred, uint64_t n);

#endif
