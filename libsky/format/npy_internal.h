/* npy_internal.h -- shared by npy.c and npz.c. */
#ifndef SKY_FORMAT_NPY_INTERNAL_H
#define SKY_FORMAT_NPY_INTERNAL_H

#include "format/npy.h"

/* Takes over buf (n bytes, a whole .npy): an array that needs no decoding is moved down over its header. buf is freed or
 * becomes a->data in every case. */
int sky_npy_adopt(sky_npy *a, void *buf, size_t n, uint64_t limit, const char *where, sky_err *e) SKY_MUST_USE;

#endif
