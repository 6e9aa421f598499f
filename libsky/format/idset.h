/* idset.h -- has this id been here before? 24 bytes an id, whatever its length: the first half of its SHA-256 stands for
 * it, so that no input can make two different ids look alike. */
#ifndef SKY_FORMAT_IDSET_H
#define SKY_FORMAT_IDSET_H

#include "base/err.h"
#include <stdint.h>

typedef struct sky_idset sky_idset;
int sky_idset_open(sky_idset **out, sky_err *e) SKY_MUST_USE;
void sky_idset_close(sky_idset *s); /* NULL allowed */
/* Put id with its record number. 0: new. 1: it was there, *first is the number it came with (kept). < 0: memory. */
int sky_idset_put(sky_idset *s, const char *id, uint64_t number, uint64_t *first, sky_err *e) SKY_MUST_USE;

#endif
