/* resize.h -- bicubic and nearest resizing of planes of any element type.
 *
 * Bicubic: A = -0.75, half-pixel centres, borders repeated, no antialiasing; computed in float64, rounded (integers:
 * ties to even) and saturated to the type. Nearest: source index floor(i*n_in/n_out). */
#ifndef SKY_DATA_RESIZE_H
#define SKY_DATA_RESIZE_H

#include "base/dtype.h"
#include "base/err.h"

/* Index of the first of the four taps (may lie outside: repeat the border) and their weights, for output i of n_out drawn
 * from n_in. Position and weights in float32, in the order of PyTorch's upsample_bicubic2d, so that results agree to
 * the bit where its compiler did not fuse a product and a sum. */
int sky_cubic_taps(float k[4], int i, int n_in, int n_out);

/* One plane src [h,w] -> dst [H,W], both packed. has_nodata: source pixels equal to nodata (nodata NaN: NaN pixels) are
 * invalid; NaN pixels of floating types always are. An output pixel whose nearest source pixel is invalid becomes nodata
 * (NaN when there is none); elsewhere invalid taps count as that nearest pixel. Fails only with SKY_ENOMEM. */
int sky_resize_bicubic(void *dst, int H, int W, const void *src, int h, int w, sky_dtype t, int has_nodata, double nodata, sky_err *e) SKY_MUST_USE;
/* One plane of elements of `size` bytes (1, 2, 4 or 8). */
void sky_resize_nearest(void *dst, int H, int W, const void *src, int h, int w, int size);

#endif
