#include "score/sheet.h"
#include "base/mem.h"
#include "format/png.h"
#include "score/lettering.h"

#include <string.h>

enum { GAP = 4 }; /* white pixels between squares */

struct sky_sheet {
    int cell, rows;
    size_t width, row_bytes; /* of one pixel line */
    size_t head;             /* pixel lines of a caption, with the gap below it */
    sky_buf pixels;
};

/* Letters look lost beside large squares: twice their size there, where the words have room. */
static int largest(int cell) { return cell < 128 ? 1 : 2; }

int sky_sheet_open(sky_sheet **out, int cell, sky_err *e)
{
    sky_sheet *s = sky_calloc(1, sizeof *s);
    if (!s)
        return sky_fail(e, SKY_ENOMEM, "picture: out of memory");
    s->cell = cell;
    s->width = 3 * (size_t)cell + 2 * GAP;
    s->row_bytes = 3 * s->width;
    s->head = SKY_LETTER_HIGH * largest(cell) + GAP;
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

static int write_caption(const sky_sheet *s, uint8_t *at, const char *caption)
{
    char *letters = sky_strdup(caption);
    if (!letters)
        return 0;
    sky_letters(letters);
    int scale = largest(s->cell);
    while (scale > 1 && strlen(letters) * SKY_LETTER_WIDE * (size_t)scale > s->width)
        scale--;
    sky_letters_cut(letters, s->width / (size_t)(SKY_LETTER_WIDE * scale));
    sky_letters_draw(at, s->row_bytes, letters, scale);
    sky_free(letters);
    return 1;
}

int sky_sheet_add(sky_sheet *s, const char *caption, sky_sheet_map rgb, sky_sheet_map label, sky_sheet_map pred, const uint8_t colour[256][3],
                  sky_err *e)
{
    const size_t gap = s->rows ? 2 * GAP : 0, bytes = (gap + s->head + (size_t)s->cell) * s->row_bytes;
    uint8_t *block = sky_alloc(bytes);
    int bad = !block;
    if (block) {
        memset(block, 255, bytes);
        bad = !write_caption(s, block + gap * s->row_bytes, caption);
        uint8_t *at = block + (gap + s->head) * s->row_bytes;
        size_t step = 3 * ((size_t)s->cell + GAP);
        draw(at, s->row_bytes, s->cell, rgb, NULL);
        draw(at + step, s->row_bytes, s->cell, label, colour);
        draw(at + 2 * step, s->row_bytes, s->cell, pred, colour);
        sky_buf_add(&s->pixels, block, bytes);
    }
    bad |= s->pixels.bad;
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
