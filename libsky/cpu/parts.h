/* parts.h -- sums over ranks, the arithmetic: what train/comm.h promises. */
#ifndef SKY_CPU_PARTS_H
#define SKY_CPU_PARTS_H

#include "base/dtype.h"

/* y[i] = carry[i] + x[0 * n + i] + x[1 * n + i] + ... over `parts` of them, in that order, in double, rounded once. carry: NULL,
 * none. y and x: F32 or F64 (ty, tx). */
void sky_add_parts(void *y, sky_dtype ty, const double *carry, const void *x, sky_dtype tx, int64_t n, int parts);

#endif
