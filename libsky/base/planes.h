/* planes.h -- from pixels with interleaved bands, as picture files have them, to planes, as samples have them. */
#ifndef SKY_BASE_PLANES_H
#define SKY_BASE_PLANES_H

#include <stddef.h>
#include <stdint.h>

/* n pixels of three bytes: byte k of each goes to to + k*plane, one after another. */
void sky_split3(uint8_t *to, size_t plane, const uint8_t *from, size_t n);

#endif
