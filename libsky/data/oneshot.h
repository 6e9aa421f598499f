/* oneshot.h -- input preparation of the one-shot protocol: pictures and annotations onto the model's canvas.
 * The rules are those of the published protocol, to the bit (docs/protocol.md). */
#ifndef SKY_DATA_ONESHOT_H
#define SKY_DATA_ONESHOT_H

#include "base/err.h"
#include "format/sample.h"

/* Resize RGB as integers: bicubic (A = -0.75, half-pixel centres, clamped borders, no antialiasing) in float32, rounded
 * to nearest, not clamped: within -255..765.  src U8 [h,w,3] packed, dst I16 [H,W,3] */
void sky_prep_bicubic_u8(int16_t *dst, int H, int W, const uint8_t *src, int h, int w);
/* Nearest, source index floor(i*n_in/n_out).  src, dst: one byte per pixel */
void sky_prep_nearest(uint8_t *dst, int H, int W, const uint8_t *src, int h, int w);
/* Nearest in pixel-centre form, floor((i+0.5)*n_in/n_out): the scoring side */
void sky_prep_nearest_centre(uint8_t *dst, int H, int W, const uint8_t *src, int h, int w);

/* An image field as display RGB: U8 [h,w,3] (malloc'd, sky_free). Takes a field of any dtype and band count, dims yx,
 * cyx or yxc (first date of tcyx), by the rule in meta: U8 with 3 bands as is; else bands named R,G,B (or red, green,
 * blue, B4,B3,B2), else the first three (one band: grey), scaled linearly from meta "display" ([lo,hi], or one such
 * pair per band) when there, else from the 2nd and 98th percentile of the image's valid pixels, clipped to 0..255 and rounded. With
 * `bands` (three names; NULL or an empty first one: none) it is those, always scaled. */
int sky_prep_rgb(uint8_t **rgb, int *h, int *w, const sky_field *f, const char (*bands)[16], sky_err *e) SKY_MUST_USE;
/* The same for a window of it (the range of the whole picture): U8 [h,w,3]. SKY_EUSAGE when it does not lie inside. */
int sky_prep_rgb_window(uint8_t **rgb, const sky_field *f, const char (*bands)[16], int y, int x, int h, int w, sky_err *e) SKY_MUST_USE;
/* A label field as class numbers: U8 [h,w] (values above 255 are an error); dims y, x in any order, others of size 1. */
int sky_prep_label(uint8_t **label, int *h, int *w, const sky_field *f, sky_err *e) SKY_MUST_USE;

/* One canvas of 2*side x side: prompt above query. hr I16 [2*side,side,3], numbers as sky_prep_bicubic_u8 gives them, to be
 * normalised by sky_norm_rgb (tensor/ops.h: sky_normalise); label U8 [side,side]: the prompt's class values; anno_mask U8
 * [2*side/128, side/128]: lower half 1. Buffers are the caller's. */
void sky_prep_canvas(int16_t *hr, uint8_t *label, uint8_t *anno_mask, int side,
                     const uint8_t *prompt_rgb, int ph, int pw, const uint8_t *prompt_label, int plh, int plw,
                     const uint8_t *query_rgb, int qh, int qw);

/* Normalisation constants of the released model. HR (ImageNet's): of v/255, means, then standard deviations. S2 band order B2 B3 B4 B5 B6 B7 B8 B8A B11 B12; S1 VV, VH in dB. */
extern const float sky_norm_rgb[2][3];
extern const double sky_norm_s2_mean[10], sky_norm_s2_std[10], sky_norm_s1_mean[2], sky_norm_s1_std[2];

#endif
