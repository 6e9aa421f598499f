/* image_internal.h -- where one row or column of a resized map comes from. */
#ifndef SKY_CPU_IMAGE_INTERNAL_H
#define SKY_CPU_IMAGE_INTERNAL_H

#include "tensor/ops.h"

/* 2 (bilinear) or 4 (bicubic) places and their weights. Computed in double, so that weights are exact to one rounding at
 * any size. */
typedef struct {
    int64_t at[4];
    float w[4];
} sky_tap;

static inline int sky_tap_count(sky_interp how) { return how == SKY_BICUBIC ? 4 : 2; }
/* t[to]: the taps of an axis of `from` places resized to `to`. */
void sky_cpu_taps(sky_tap *t, int64_t from, int64_t to, sky_interp how);

#endif
