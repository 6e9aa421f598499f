/* tile.h -- cutting a sample into windows that cover the same ground in every field (sky-tile(1) is the law).
 *
 * A plan is made once per sample and is read-only afterwards, so that threads may cut different tiles of it at the
 * same time. Nothing here needs GDAL: fields by reference are read through a function of the caller's. */
#ifndef SKY_DATA_TILE_H
#define SKY_DATA_TILE_H

#include "base/err.h"
#include "format/sample.h"
#include <stdint.h>

typedef enum {
    SKY_EDGE_SHIFT, /* the last window is pushed back inside; a picture smaller than the tile is kept whole */
    SKY_EDGE_KEEP,  /* the last window is what remains: a smaller tile */
    SKY_EDGE_PAD,   /* the last window is filled up with nodata or ignore */
    SKY_EDGE_DROP,  /* what does not fill a window is left out */
} sky_edge;

typedef struct {
    int64_t size, stride;  /* pixels of the reference field, 1 .. 2^24; stride may exceed size (gaps) */
    int64_t resize;        /* size of a full tile on output; 0: as cut */
    sky_edge edge;
    const char *on;        /* reference field; NULL: first image field with y and x, else first label */
    int drop_empty;
} sky_tile_opts;

/* Window (x, y, w, h) of a field by reference into dst [other dims..., h, w] packed; the window lies inside the field.
 * Called from several threads. */
typedef int (*sky_window_fn)(void *arg, const sky_field *f, int64_t x, int64_t y, int64_t w, int64_t h, void *dst, sky_err *e);

typedef struct sky_tile_plan sky_tile_plan;
/* s must outlive the plan. Errors name the field that does not fit the reference. */
int sky_tile_plan_make(sky_tile_plan **out, const sky_sample *s, const sky_tile_opts *o, sky_err *e) SKY_MUST_USE;
void sky_tile_plan_free(sky_tile_plan *p); /* NULL allowed */
int64_t sky_tile_count(const sky_tile_plan *p); /* windows, row by row from the top left */
/* Id of tile i: "PARENT_r00512_c01024", the pixel of the reference field at its top left corner, with as many digits
 * (at least 5) as the larger side of the field has, so that ids sort in row order. SKY_ELIMIT above 255 bytes. */
int sky_tile_id(const sky_tile_plan *p, int64_t i, char id[256], sky_err *e) SKY_MUST_USE;
/* Cut tile i into out. 1: there it is; 0: it is empty and drop_empty is set; < 0: error naming the field. */
int sky_tile_cut(const sky_tile_plan *p, int64_t i, sky_window_fn fn, void *arg, sky_sample *out, sky_err *e) SKY_MUST_USE;

/* ---- windows along one axis ------------------------------------------------------------------------------------ */

typedef struct {
    int64_t length, size, stride;
    sky_edge edge;
    int64_t full; /* windows that lie wholly inside */
    int64_t n;    /* all windows */
} sky_axis;
sky_axis sky_axis_make(int64_t length, const sky_tile_opts *o);
/* Start and size of window i; start + size passes the length only under SKY_EDGE_PAD. */
void sky_axis_window(const sky_axis *a, int64_t i, int64_t *start, int64_t *size);

/* ---- arrays ------------------------------------------------------------------------------------------------------- */

/* Dimensions of a field seen as pictures: iy, ix are the positions of y and x. */
typedef struct {
    int ndim, iy, ix;
    uint64_t shape[SKY_MAX_DIMS];
    size_t elem; /* bytes */
} sky_grid;
/* 1: has y and x (grid filled); 0: it has not, or the field is absent; < 0: 'dims' is missing, repeats a letter or does
 * not fit the shape. */
int sky_grid_of(sky_grid *g, const sky_field *f, sky_err *e) SKY_MUST_USE;
/* Copy the box of `rows` x `cols` pixels at (sy, sx) of src to (dy, dx) of dst; the grids differ in y and x only. */
void sky_box_copy(void *dst, const sky_grid *dg, int64_t dy, int64_t dx, const void *src, const sky_grid *sg, int64_t sy, int64_t sx, int64_t rows, int64_t cols);
/* Every element = v, rounded and saturated to t. */
void sky_fill(void *dst, sky_dtype t, uint64_t n, double v);
/* All pictures of f (inline) to rows x cols: bicubic or nearest by `smooth`; the affine follows. */
int sky_field_resize(sky_field *f, int64_t rows, int64_t cols, int smooth, sky_err *e) SKY_MUST_USE;

/* ---- what a tile holds -------------------------------------------------------------------------------------------- */

/* Distinct values of a label field that its meta "ignore" does not list, ascending, as a new JSON array (at most 4096
 * whole numbers; NULL with SKY_OK when there are more, fractions or numbers beyond 2^53). */
int sky_classes_present(json_t **out, const sky_field *label, sky_err *e) SKY_MUST_USE;
/* Value standing for "nothing here" in padding: 1 and *v, or 0 when the field states none. Images: nodata, else NaN for
 * floating types, else 0. Labels: the first of "ignore", else nodata. */
int sky_pad_value(const sky_field *f, double *v);
/* 1 when the tile shows nothing: its labels hold no class but ignored ones and the background, or every image pixel is
 * nodata (NaN) or marked invalid by its valid field. Background: classes named "background", and value 0 where no
 * class table names it. Fields are inline. */
int sky_tile_is_empty(const sky_sample *s);
/* 1 when a field of s names this one in its meta "valid". */
int sky_is_valid_mask(const sky_sample *s, const char *name);

#endif
