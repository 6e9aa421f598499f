/* part.h -- "--part i/n": which of n equal runs a sample belongs to, by its id alone. */
#ifndef SKY_DATA_PART_H
#define SKY_DATA_PART_H

#include "base/err.h"
#include <stdint.h>

typedef struct {
    uint64_t i, n; /* part i of n, counted from 1; n = 0: everything */
} sky_part;

/* text "i/n", 1 <= i <= n <= 2^20; NULL: everything. SKY_EUSAGE otherwise. */
int sky_part_parse(sky_part *p, const char *text, sky_err *e) SKY_MUST_USE;
/* 1 when the sample with this id is in the part: its hash modulo n is i - 1. Every id is in exactly one part. */
int sky_part_holds(const sky_part *p, const char *id);

#endif
