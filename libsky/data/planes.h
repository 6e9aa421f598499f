/* planes.h -- windows of image fields as float32 planes [c,h,w], and the random crops and masks that are cut from them. */
#ifndef SKY_DATA_PLANES_H
#define SKY_DATA_PLANES_H

#include "data/draw.h"
#include "format/sample.h"

typedef struct {
    int y, x, h, w;
} sky_rect;

typedef struct {
    float *px; /* sky_free */
    int c, h, w;
} sky_planes;

/* The same band, also spelled B02 or b2 for B2. */
int sky_band_same(const char *a, const char *b);
/* Where these bands are in f: by name where the field has names (SKY_ECORRUPT names one that is missing); a field without
 * names must have just n, in this order. want NULL: bands 0..n-1. */
int sky_planes_bands(int *band, const sky_field *f, const char *const *want, int n, sky_err *e) SKY_MUST_USE;
/* Numbers of the time steps that are there, ascending, at most max; without dimension t the one picture is number 0.
 * Returns how many there are. */
int sky_planes_dates(int *date, int max, const sky_field *f);
/* Window `at` of one date. Pixels that are not finite or equal the field's nodata become 0. dims: c, t, y, x in any order, y
 * and x required. */
int sky_planes_read(sky_planes *out, const sky_field *f, int date, const int *band, int nbands, sky_rect at, sky_err *e) SKY_MUST_USE;
/* Height and width; SKY_ECORRUPT when f holds no picture in memory. */
int sky_planes_size(int *h, int *w, const sky_field *f, sky_err *e) SKY_MUST_USE;

/* Rectangle r of plane src [.., stride] bicubically to dst [H,W] (data/resize.h). */
int sky_plane_resize(float *dst, int H, int W, const float *src, int stride, sky_rect r, sky_err *e) SKY_MUST_USE;
/* As torchvision's antialiased bicubic (cubic A = -0.5 stretched by the scale, weights normalised): src [h,w] -> dst [H,W]. */
int sky_plane_shrink(float *dst, int H, int W, const float *src, int h, int w, sky_err *e) SKY_MUST_USE;

/* A crop of h x w: area lo..hi of it, aspect log-uniform in 3/4..4/3 (width / height), ten attempts, then the largest centred
 * crop of allowed aspect. */
sky_rect sky_crop_area(sky_draw *d, int h, int w, double lo, double hi);
/* r on a grid of gh x gw cells, on a picture of h x w: the same ground, at least one pixel. */
sky_rect sky_rect_scale(sky_rect r, int gh, int gw, int h, int w);
/* Hide half of the cells, rounded down: with probability `lower` the lower ones; else rectangles of 4..half cells and aspect
 * 0.3..1/0.3, ten attempts each, smaller than the grid both ways, while one fits; then single cells at random until the number is
 * right (rectangles never hide too many, so none is taken back). A grid of one column or row has no such rectangle. */
void sky_mask_half(uint8_t *mask, int h, int w, sky_draw *d, double lower);

#endif
