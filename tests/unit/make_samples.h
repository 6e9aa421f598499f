/* make_samples.h -- small samples that use every feature of the data model, a pure function of their number. */
#ifndef SKY_TESTS_MAKE_SAMPLES_H
#define SKY_TESTS_MAKE_SAMPLES_H

#include "base/hash.h"
#include "base/mem.h"
#include "format/sample.h"

#include <stdio.h>

/* U16 optical "cyx", U8 label with classes, an absent radar, a reference, an empty field. Sizes vary with n so that
 * payloads are not multiples of 64. Returns 0 or an error. */
static inline int make_sample(sky_sample *s, uint64_t n, int big, sky_err *e)
{
    char id[64];
    snprintf(id, sizeof id, "tile/%05llu \xc3\xa9", (unsigned long long)n);
    uint64_t side = big ? 96 : 5 + n % 4, shape[3] = {3, side, side + 1}, none[1] = {0};
    uint64_t h = sky_fnv1a(id);
    int rc = sky_sample_begin(s, id, e);
    sky_field *f = rc ? NULL : sky_sample_add(s, "s2", e);
    if (!f || (rc = sky_field_alloc(f, SKY_U16, 3, shape, 0, e)) || (rc = sky_field_set_dims(f, "cyx", e)))
        return -1;
    for (uint64_t i = 0; i < sky_field_count(f); i++)
        ((uint16_t *)f->data)[i] = (uint16_t)(sky_counter_u24(h, i / 4) % 1000);
    const double affine[6] = {10, 0, 300000 + 0.1, 0, -10, 4800000};
    if (sky_field_set_affine(f, affine, e) || json_object_set_new(f->meta, "crs", json_string("EPSG:32631")))
        return -1;
    if (!(f = sky_sample_add(s, "label", e)) || sky_field_alloc(f, SKY_U8, 2, shape + 1, 0, e))
        return -1;
    for (uint64_t i = 0; i < f->nbytes; i++)
        ((uint8_t *)f->data)[i] = (uint8_t)(sky_counter_u24(h + 1, i / 9) % 3 + n % 2);
    if (json_object_set_new(f->meta, "role", json_string("label")) || json_object_set_new(f->meta, "ignore", json_pack("[i]", 0)) ||
        json_object_set_new(s->meta, "split", json_string(n % 3 ? "train" : "val")))
        return -1;
    if (!(f = sky_sample_add(s, "s1", e)))
        return -1;
    f->absent = 1;
    f->dtype = SKY_F32;
    if (!(f = sky_sample_add(s, "scene", e)))
        return -1;
    f->dtype = SKY_F32;
    f->ref = json_pack("{s:s,s:[i,i,i,i]}", "uri", "scene.tif", "window", 0, 0, 512, 512);
    if (!(f = sky_sample_add(s, "none", e)) || sky_field_alloc(f, SKY_F64, 1, none, 0, e))
        return -1;
    return 0;
}

#endif
