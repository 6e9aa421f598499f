#include "base/mem.h"
#include "format/png_internal.h"

#include <setjmp.h>
#include <string.h>

typedef struct {
    sky_out *o;
    sky_err *e;
    int rc;
} sink;

static void on_error(png_structp png, png_const_charp msg)
{
    sink *k = png_get_error_ptr(png);
    if (!k->rc)
        k->rc = sky_fail(k->e, strstr(msg, "emory") ? SKY_ENOMEM : SKY_EUSAGE, "%s: PNG: %s", sky_out_name(k->o), msg);
    longjmp(png_jmpbuf(png), 1);
}

static void give(png_structp png, png_bytep p, size_t n)
{
    sink *k = png_get_io_ptr(png);
    k->rc = sky_out_write(k->o, p, n, k->e);
    if (k->rc)
        png_error(png, "write failed");
}

static void flush(png_structp png) { (void)png; }

static int check(const sky_png_spec *s, const void *pixels, size_t row_bytes, sky_err *e)
{
    uint64_t need = (uint64_t)s->width * (unsigned)s->channels * (unsigned)(s->bits / 8);
    if (!s->width || !s->height || s->width > 1 << 20 || s->height > 1 << 20 || (s->bits != 8 && s->bits != 16) ||
        (s->channels != 1 && s->channels != 3 && s->channels != 4) || row_bytes < need)
        return sky_fail(e, SKY_EUSAGE, "PNG: cannot write %ux%u pixels of %d channels of %d bits", s->width, s->height,
                        s->channels, s->bits);
    if (!s->palette)
        return SKY_OK;
    if (s->channels != 1 || s->bits != 8 || s->palette_n < 1 || s->palette_n > 256)
        return sky_fail(e, SKY_EUSAGE, "PNG: a palette needs one 8-bit channel and 1 to 256 colours");
    for (uint32_t y = 0; y < s->height; y++)
        for (uint32_t x = 0; x < s->width; x++) {
            int v = ((const uint8_t *)pixels)[y * row_bytes + x];
            if (v >= s->palette_n)
                return sky_fail(e, SKY_EUSAGE, "PNG: index %d at row %u column %u, but the palette has %d colours", v,
                                y, x, s->palette_n);
        }
    return SKY_OK;
}

static void write_all(png_structp png, png_infop info, const sky_png_spec *s, const void *pixels, size_t row_bytes)
{
    int type = s->palette ? PNG_COLOR_TYPE_PALETTE
               : s->channels == 1 ? PNG_COLOR_TYPE_GRAY
               : s->channels == 3 ? PNG_COLOR_TYPE_RGB
                                  : PNG_COLOR_TYPE_RGB_ALPHA;
    png_color pal[256];
    for (int i = 0; s->palette && i < s->palette_n; i++)
        pal[i] = (png_color){s->palette[i][0], s->palette[i][1], s->palette[i][2]};
    png_set_compression_level(png, s->level ? s->level : 6);
    png_set_user_limits(png, 1 << 20, 1 << 20);
    png_set_IHDR(png, info, s->width, s->height, s->bits, type, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    if (s->palette)
        png_set_PLTE(png, info, pal, s->palette_n);
    png_write_info(png, info);
    if (s->bits == 16 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
        png_set_swap(png);
    for (uint32_t y = 0; y < s->height; y++)
        png_write_row(png, (png_const_bytep)pixels + y * row_bytes);
    png_write_end(png, info);
}

/* On its own, so that nothing the caller reads afterwards is a local of the function that longjmp returns to. */
static void guarded(png_structp png, png_infop info, const sky_png_spec *s, const void *pixels, size_t row_bytes)
{
    if (!setjmp(png_jmpbuf(png)))
        write_all(png, info, s, pixels, row_bytes);
}

int sky_png_write(sky_out *o, const sky_png_spec *s, const void *pixels, size_t row_bytes, sky_err *e)
{
    sink k = {o, e, check(s, pixels, row_bytes, e)};
    if (k.rc)
        return sky_wrap(e, "%s", sky_out_name(o));
    png_infop info = NULL;
    png_structp png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, &k, on_error, sky_png_silence, NULL, sky_png_alloc, sky_png_release);
    if (png)
        info = png_create_info_struct(png);
    if (!info) {
        png_destroy_write_struct(&png, NULL);
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", sky_out_name(o));
    }
    png_set_write_fn(png, &k, give, flush);
    guarded(png, info, s, pixels, row_bytes);
    png_destroy_write_struct(&png, &info);
    return k.rc;
}
