/* classmap.h -- a field as a map of class numbers. */
#ifndef SKY_SCORE_CLASSMAP_H
#define SKY_SCORE_CLASSMAP_H

#include "format/sample.h"

typedef struct {
    uint64_t h, w;
    sky_dtype dtype; /* SKY_U8 or SKY_U16 */
    void *v;         /* h * w, row-major; owned: sky_classmap_free */
} sky_classmap;

void sky_classmap_free(sky_classmap *m); /* leaves it all zero */
/* Takes the data out of f. dims yx (or [y,x] unnamed), or with leading dimensions of size 1; U8, BOOL or U16; not empty. */
int sky_classmap_take(sky_classmap *m, sky_field *f, sky_err *e) SKY_MUST_USE;
/* Nearest, source pixel floor((i + 0.5) * from / to): the published scorer's rule. */
int sky_classmap_resize(sky_classmap *m, uint64_t h, uint64_t w, sky_err *e) SKY_MUST_USE;
int sky_classmap_u16(sky_classmap *m, sky_err *e) SKY_MUST_USE; /* widen to U16 */
/* Keep only the pixels i of both maps (same size and type) where keep[i] is not 0, in order: 1 x kept. */
void sky_classmap_keep(sky_classmap *a, sky_classmap *b, const uint8_t *keep);

#endif
