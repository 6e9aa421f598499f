/* sample.h -- the data model of streams and shards: a sample is an id, metadata and named typed fields.
 *
 * The JSON keys of a field's meta are those of sky-shard(5):
 *   dims "tcyx"  one letter per dimension, slowest first     bands ["B2",...]   unit "m" "dB" ...
 *   scale, offset  physical = raw*scale + offset              nodata number or "nan"
 *   mean, std      one number per band, of raw values, if known
 *   classes [{"value":1,"name":"water","color":[r,g,b]},...]  ignore [0,255]    (label fields)
 *   crs "EPSG:32631" or WKT2      affine [a,b,c,d,e,f]: x = a*col + b*row + c, y = d*col + e*row + f (pixel corners)
 *   times ["2020-05-01T10:00:00Z" or null, ...]  one per index of dimension t; null = absent time step
 *   valid "NAME"   another (U8 0/1) field with the same y,x marking valid pixels
 * Absent modality: the field is there with `absent` set, no shape and no bytes. Nothing is stored where a fact is
 * unknown. */
#ifndef SKY_FORMAT_SAMPLE_H
#define SKY_FORMAT_SAMPLE_H

#include "base/dtype.h"
#include "base/err.h"
#include "base/json.h"
#include <stdint.h>

#define SKY_MAX_DIMS 8
#define SKY_MAX_FIELDS 256

typedef struct {
    char *name;
    sky_dtype dtype;
    int ndim;
    uint64_t shape[SKY_MAX_DIMS];
    json_t *meta;   /* object, never NULL in a valid field */
    int absent;     /* modality known to be missing: ndim 0, no data, no uri */
    /* payload: inline (data, nbytes = product(shape)*size, packed row-major, little-endian) ... */
    void *data;     /* NULL when not read (field mask) or by reference; owned by the sample, sky_free */
    uint64_t nbytes;
    /* ... or by reference: json {"uri":..., "window":[col,row,width,height], "bands":[1,...]}; NULL when inline */
    json_t *ref;
} sky_field;

typedef struct {
    char *id;        /* unique in a data set; UTF-8, no control characters, 1..255 bytes */
    json_t *meta;    /* object: split, source, dataset, prompt, ... */
    sky_field *fields;
    int nfields;
    uint64_t seq;    /* number in its stream, from 0; set by readers */
} sky_sample;

/* 1..255 bytes of UTF-8 without control characters, else SKY_ECORRUPT. */
int sky_id_check(const char *id, size_t n, sky_err *e) SKY_MUST_USE;
void sky_sample_init(sky_sample *s);  /* all zero; meta stays NULL until sky_sample_begin */
/* Empty s (freeing what it held), then set its id and an empty meta. */
int sky_sample_begin(sky_sample *s, const char *id, sky_err *e) SKY_MUST_USE;
void sky_sample_free(sky_sample *s);  /* leaves it initialised */
void sky_sample_move(sky_sample *to, sky_sample *from); /* to takes all, from becomes empty */
int sky_sample_copy(sky_sample *to, const sky_sample *from, sky_err *e) SKY_MUST_USE;
sky_field *sky_sample_field(const sky_sample *s, const char *name); /* NULL: none */
/* Append a field; its name is copied, meta is an empty object. NULL: memory, a duplicate name, or too many. */
sky_field *sky_sample_add(sky_sample *s, const char *name, sky_err *e) SKY_MUST_USE;
void sky_sample_drop(sky_sample *s, const char *name);
/* Set dtype and shape and allocate zeroed data (uninitialised when zero is 0). More than readers take (16 GiB): SKY_ELIMIT. */
int sky_field_alloc(sky_field *f, sky_dtype t, int ndim, const uint64_t *shape, int zero, sky_err *e) SKY_MUST_USE;
uint64_t sky_field_count(const sky_field *f); /* elements */

/* Helpers on meta. dim: size of the dimension with that letter, or -1. */
int64_t sky_field_dim(const sky_field *f, char letter);
int sky_field_set_dims(sky_field *f, const char *letters, sky_err *e) SKY_MUST_USE;
int sky_field_affine(const sky_field *f, double a[6]); /* 1 if there, 0 if not */
int sky_field_set_affine(sky_field *f, const double a[6], sky_err *e) SKY_MUST_USE;
/* RGB of each class value from meta.classes; values without one are grey of their own number. 1 if any has a colour. */
int sky_field_palette(const sky_field *f, uint8_t rgb[256][3]);
int sky_field_is_label(const sky_field *f); /* meta.role == "label" */

/* Content hash of a sample (id, meta, field meta and bytes; independent of seq): 64 bits. The END record sums these
 * modulo 2^64, so the sum does not depend on order and survives sort, split and merge. */
uint64_t sky_sample_hash(const sky_sample *s);

#endif
