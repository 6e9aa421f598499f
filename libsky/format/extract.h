/* extract.h -- samples into files that other programs read: ID.FIELD.png, ID.FIELD.tif, or one ID.npz per sample.
 *
 * In names every byte of the id outside A-Z a-z 0-9 _ - becomes %XX, so that no id can lead out of the directory. */
#ifndef SKY_FORMAT_EXTRACT_H
#define SKY_FORMAT_EXTRACT_H

#include "base/io.h"
#include "base/mem.h"
#include "format/sample.h"

typedef struct sky_extract sky_extract;
/* format: "png", "npz", "tif". dir must exist. fields: "a,b", or NULL: all that the format can hold; a field named that
 * it cannot hold is an error, one not named is left out and noted once. */
int sky_extract_open(sky_extract **out, const char *format, const char *dir, const char *fields, sky_err *e) SKY_MUST_USE;
int sky_extract_sample(sky_extract *x, const sky_sample *s, sky_err *e) SKY_MUST_USE;
uint64_t sky_extract_files(const sky_extract *x);
/* Length and place (not terminated, borrowed) of the first of `fields` that no record had; 0: each was there. */
int sky_extract_missing(const sky_extract *x, const char **name);
int sky_extract_skipped(const sky_extract *x);
const char *sky_extract_skip_message(const sky_extract *x, int i);
void sky_extract_close(sky_extract *x);

/* A name safe in any directory, appended to b. keep: further characters left as they are ("" or "/"). */
void sky_safe_name(sky_buf *b, const char *id, const char *keep);

/* Uncompressed baseline TIFF (one strip per band, below 4 GiB) with GeoTIFF tags: affine and EPSG code when the field
 * has them, nodata in GDAL's tag. Dimensions: the last two are y,x (yxc: the middle ones); all before are bands.
 * BF16 has no TIFF form. Written to o; the caller commits. */
int sky_tiff_write(sky_out *o, const sky_field *f, sky_err *e) SKY_MUST_USE;

#endif
