#include "score/sheet.h"
#include "base/mem.h"
#include "format/png.h"

#include <string.h>

enum { GAP = 4 }; /* white pixels between squares */

struct sky_sheet {
    int cell, rows;
    size_t width, row_bytes; /* of one pixel line */
    sky_buf pixels;          /* rows * (cell + GAP) lines */
};

int sky_sheet_open(sky_sheet **out, int cell, sky_err *e)
{
    sky_sheet *s = sky_calloc(1, sizeof *s);
    if (!s)
        return sky_fail(e, SKY_ENOMEM, "picture: out of memory");
    s->cell = cell;
    s->width = 3 * (size_t)cell + 2 * GAP;
    s->row_bytes = 3 * s->width;
    *out = s;
    return SKY_OK;
}

int sky_sheet_rows(const sky_sheet *s) { return s->rows; }

/* One square: pixel (y,x) of the cell shows the source pixel under its centre. */
static void draw(uint8_t *at, size_t row_bytes, int cell, sky_sheet_map m, const uint8_t (*colour)[3])
{
    for (int y = 0; y < cell; y++) {
        const uint8_t *src = m.p + (int64_t)((2 * y + 1) * (int64_t)m.h / (2 * cell)) * m.w * (colour ? 1 : 3);
        for (int x = 0; x < cell; x++) {
            int64_t sx = (2 * x + 1) * (int64_t)m.w / (2 * cell);
            memcpy(at + (size_t)y * row_bytes + 3 * (size_t)x, colour ? colour[src[sx]] : src + 3 * sx, 3);
        }
    }
}

int sky_sheet_add(sky_sheet *s, sky_sheet_map rgb, sky_sheet_map label, sky_sheet_map pred, const uint8_t colour[256][3], sky_err *e)
{
    size_t lines = (size_t)s->cell + (s->rows ? GAP : 0), bytes = lines * s->row_bytes;
    uint8_t *block = sky_alloc(bytes);
    if (block) {
        memset(block, 255, bytes);
        uint8_t *at = block + (lines - (size_t)s->cell) * s->row_bytes;
        size_t step = 3 * ((size_t)s->cell + GAP);
        draw(at, s->row_bytes, s->cell, rgb, NULL);
        draw(at + step, s->row_bytes, s->cell, label, colour);
        draw(at + 2 * step, s->row_bytes, s->cell, pred, colour);
        sky_buf_add(&s->pixels, block, bytes);
    }
    int bad = !block || s->pixels.bad;
    sky_free(block);
    s->rows++;
    return bad ? sky_fail(e, SKY_ENOMEM, "picture: out of memory") : SKY_OK;
}

int sky_sheet_write(sky_sheet *s, const char *path, sky_err *e)
{
    sky_out *o = NULL;
    int rc = s->rows ? sky_out_open(&o, path, 1, e) : sky_fail(e, SKY_ECORRUPT, "%s: nothing to draw: no prediction has an image beside its label", path);
    if (!rc) {
        sky_png_spec spec = {.width = (uint32_t)s->width, .height = (uint32_t)(s->pixels.n / s->row_bytes), .channels = 3, .bits = 8};
        rc = sky_png_write(o, &spec, s->pixels.p, s->row_bytes, e);
        if (rc)
            sky_out_abort(o);
        else
            rc = sky_out_commit(o, e);
    }
    sky_sheet_close(s);
    return rc;
}

void sky_sheet_close(sky_sheet *s)
{
    if (!s)
        return;
    sky_buf_free(&s->pixels);
    sky_free(s);
}
