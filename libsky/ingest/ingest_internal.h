/* ingest_internal.h -- what the readers of one field share. */
#ifndef SKY_INGEST_INTERNAL_H
#define SKY_INGEST_INTERNAL_H

#include "geo/geo.h"
#include "ingest/ingest.h"

typedef struct {
    const sky_ingest *g;
    const sky_plan_item *it;
    const sky_dataset_field *f;  /* the descriptor's words */
    const sky_plan_field *files;
    const sky_labels *labels;    /* of this item; NULL: an image */
    sky_sample *s;
    sky_field *to;               /* being filled */
    json_t *source;              /* sample meta "source".NAME: list of {path, bytes, crc32c} */
    sky_err *e;
} sky_ingest_field;

enum { SKY_INGEST_FILE_LIMIT_SHIFT = 34 }; /* 16 GiB: files read whole */

int sky_ingest_png(sky_ingest_field *c) SKY_MUST_USE;
int sky_ingest_raster(sky_ingest_field *c) SKY_MUST_USE;
int sky_ingest_array(sky_ingest_field *c) SKY_MUST_USE;
int sky_ingest_polygons(sky_ingest_field *c) SKY_MUST_USE;

/* Bytes of source k, with its path, size and checksum noted in c->source. */
int sky_ingest_bytes(sky_ingest_field *c, int k, sky_bytes *b) SKY_MUST_USE;
/* The same note for a file GDAL reads by name; 0 without a checksum. */
int sky_ingest_note(sky_ingest_field *c, int k, int checksum) SKY_MUST_USE;
int sky_ingest_check_dtype(sky_ingest_field *c, sky_dtype t) SKY_MUST_USE;
int sky_ingest_check_bands(sky_ingest_field *c, uint64_t bands) SKY_MUST_USE;
/* to: planes [channels, h, w] of the stored type, freshly decoded. For a label they are turned into classes [h, w]. */
int sky_ingest_finish(sky_ingest_field *c, int channels, uint64_t h, uint64_t w) SKY_MUST_USE;
int sky_ingest_by_reference(const sky_ingest_field *c, uint64_t nbytes);
int sky_ingest_refer(sky_ingest_field *c, const char *uri, const sky_geo_info *i) SKY_MUST_USE;

#endif
