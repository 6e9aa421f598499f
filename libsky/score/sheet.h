/* sheet.h -- a picture for people: one row per prediction: a caption above input, label and prediction side by side. */
#ifndef SKY_SCORE_SHEET_H
#define SKY_SCORE_SHEET_H

#include "base/err.h"
#include <stdint.h>

typedef struct {
    int h, w;
    const uint8_t *p; /* rgb: [h,w,3]; class maps: [h,w] */
} sky_sheet_map;

typedef struct sky_sheet sky_sheet;
/* cell: side of each of the three squares of a row in pixels (16..2048). */
int sky_sheet_open(sky_sheet **out, int cell, sky_err *e) SKY_MUST_USE;
int sky_sheet_rows(const sky_sheet *s);
/* Append a row. caption: UTF-8, one line; too long, it loses its middle. Maps of any size are shown whole, nearest neighbour,
 * and not kept. colour[v] paints class v. */
int sky_sheet_add(sky_sheet *s, const char *caption, sky_sheet_map rgb, sky_sheet_map label, sky_sheet_map pred, const uint8_t colour[256][3],
                  sky_err *e) SKY_MUST_USE;
/* Write an RGB PNG (path "-": standard output) and free s, also after an error. A sheet without rows is an error. */
int sky_sheet_write(sky_sheet *s, const char *path, sky_err *e) SKY_MUST_USE;
void sky_sheet_close(sky_sheet *s); /* without writing; NULL allowed */

#endif
