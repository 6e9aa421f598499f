/* pile.h -- large blocks kept for reuse: the first touch of fresh memory costs as much as decompressing into it. */
#ifndef SKY_FORMAT_PILE_H
#define SKY_FORMAT_PILE_H

#include <stddef.h>
#include <stdint.h>

typedef struct sky_pile sky_pile;
sky_pile *sky_pile_new(void); /* NULL: memory */
void sky_pile_free(sky_pile *p);
/* A block of at least n bytes for sky_free or sky_pile_give; any thread. NULL: memory. */
void *sky_pile_take(sky_pile *p, uint64_t n);
void sky_pile_give(sky_pile *p, void *block, uint64_t n /* at least this large */);

#endif
