/* seeded.h -- weights that need no file: every value is a function of its tensor's name and index.
 *
 * Used for tests against the reference (which fills its tensors by the same rules) and for running the tools before
 * trained weights are at hand. */
#ifndef SKY_NN_SEEDED_H
#define SKY_NN_SEEDED_H

#include <stdint.h>

/* Scale and offset by the last components of the state-dict name (without any prefix) and the shape. */
void sky_seeded_rule(const char *name, int ndim, const int64_t *shape, float *scale, float *offset);
/* Elements from..from+n-1 of the tensor with the full name prefix + name. */
void sky_seeded_values(float *dst, const char *prefix, const char *name, uint64_t from, uint64_t n, float scale, float offset);
/* The generator's 24-bit integers, for labels and masks. */
uint32_t sky_seeded_u24(const char *prefix, const char *name, uint64_t i);

#endif
