#include "base/mem.h"
#include "base/planes.h"
#include "format/png_internal.h"

#include <setjmp.h>
#include <string.h>

/* libpng reports errors by longjmp. Every function that calls it keeps what it must free in the struct below, never in
 * a local changed after setjmp. */
struct sky_png {
    png_structp png;
    png_infop info;
    const uint8_t *p, *end, *start;
    sky_png_info got;
    int interlaced, done;
    char *name, *why;  /* why: libpng's words for the failure */
    char why_text[128];
    void *row;         /* one row, or the whole picture when interlaced (planes only) */
    png_bytep *rows;
};

static void on_error(png_structp png, png_const_charp msg)
{
    sky_png *g = png_get_error_ptr(png);
    size_t n = strnlen(msg, sizeof g->why_text - 1);
    memcpy(g->why_text, msg, n);
    g->why_text[n] = 0;
    g->why = g->why_text;
    longjmp(png_jmpbuf(png), 1);
}

void sky_png_silence(png_structp png, png_const_charp msg) { (void)png, (void)msg; }

png_voidp sky_png_alloc(png_structp png, png_alloc_size_t n)
{
    (void)png;
    return sky_alloc(n);
}

void sky_png_release(png_structp png, png_voidp p)
{
    (void)png;
    sky_free(p);
}

static void take(png_structp png, png_bytep to, size_t n)
{
    sky_png *g = png_get_io_ptr(png);
    if (n > (size_t)(g->end - g->p)) {
        g->p = g->end;
        png_error(png, "file ends early");
    }
    memcpy(to, g->p, n);
    g->p += n;
}

static int failed(const sky_png *g, sky_err *e)
{
    const char *why = g->why ? g->why : "unknown error";
    if (strstr(why, "emory"))
        return sky_fail(e, SKY_ENOMEM, "%s: PNG: %s", g->name, why);
    return sky_fail(e, SKY_ECORRUPT, "%s: PNG: %s (at byte %zu of %zu)", g->name, why, (size_t)(g->p - g->start),
                    (size_t)(g->end - g->start));
}

/* Deflate expands at most 1032-fold: a header that promises more than its bytes can hold is a bomb or damage. */
static int plausible(const sky_png *g, int bits, int channels)
{
    uint64_t row = ((uint64_t)g->got.width * (uint64_t)(bits * channels) + 7) / 8 + 1;
    return row * g->got.height <= (uint64_t)(g->end - g->start) * 1032 + 65536;
}

static void set_up(sky_png *g, sky_png_mode mode)
{
    int bits, colour, interlace;
    png_set_read_fn(g->png, g, take);
    png_set_user_limits(g->png, 1 << 20, 1 << 20);
    png_set_chunk_cache_max(g->png, 64);
    png_set_chunk_malloc_max(g->png, 1 << 20);
    png_set_keep_unknown_chunks(g->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_set_benign_errors(g->png, 0);
    png_read_info(g->png, g->info);
    png_get_IHDR(g->png, g->info, &g->got.width, &g->got.height, &bits, &colour, &interlace, NULL, NULL);
    g->interlaced = interlace != PNG_INTERLACE_NONE;
    g->got.stored_bits = bits;
    if (!plausible(g, bits, png_get_channels(g->png, g->info)))
        png_error(g->png, "declares more pixels than the file can hold");
    png_colorp pal;
    int n = 0;
    if (png_get_PLTE(g->png, g->info, &pal, &n) && colour == PNG_COLOR_TYPE_PALETTE) {
        g->got.palette_n = n < 256 ? n : 256;
        for (int i = 0; i < g->got.palette_n; i++)
            memcpy(g->got.palette[i], (uint8_t[3]){pal[i].red, pal[i].green, pal[i].blue}, 3);
    }
    if (mode == SKY_PNG_COLOUR) {
        if (colour == PNG_COLOR_TYPE_PALETTE)
            png_set_palette_to_rgb(g->png);
        if (colour == PNG_COLOR_TYPE_GRAY && bits < 8)
            png_set_expand_gray_1_2_4_to_8(g->png);
        png_set_strip_alpha(g->png);
    }
    if (bits < 8)
        png_set_packing(g->png);
    if (bits == 16 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
        png_set_swap(g->png);
    if (g->interlaced)
        png_set_interlace_handling(g->png);
    png_read_update_info(g->png, g->info);
    g->got.channels = png_get_channels(g->png, g->info);
    g->got.dtype = png_get_bit_depth(g->png, g->info) == 16 ? SKY_U16 : SKY_U8;
}

int sky_png_open(sky_png **out, const void *p, size_t n, sky_png_mode mode, const char *name, sky_err *e)
{
    sky_png *g = sky_calloc(1, sizeof *g);
    if (!g)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", name);
    g->start = g->p = p;
    g->end = g->p + n;
    g->name = sky_strdup(name);
    if (g->name)
        g->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, g, on_error, sky_png_silence, NULL, sky_png_alloc, sky_png_release);
    if (g->png)
        g->info = png_create_info_struct(g->png);
    int rc = SKY_OK;
    if (!g->info)
        rc = sky_fail(e, SKY_ENOMEM, "%s: out of memory", name);
    else if (n < 8 || png_sig_cmp(p, 0, 8))
        rc = sky_fail(e, SKY_ECORRUPT, "%s: not a PNG file (its first bytes are not the signature)", name);
    else if (setjmp(png_jmpbuf(g->png)))
        rc = failed(g, e);
    else
        set_up(g, mode);
    if (rc) {
        sky_png_close(g);
        return rc;
    }
    *out = g;
    return SKY_OK;
}

const sky_png_info *sky_png_get(const sky_png *g) { return &g->got; }

void sky_png_close(sky_png *g)
{
    if (!g)
        return;
    if (g->png)
        png_destroy_read_struct(&g->png, &g->info, NULL);
    sky_free(g->rows);
    sky_free(g->row);
    sky_free(g->name);
    sky_free(g);
}

static size_t row_bytes(const sky_png *g)
{
    return (size_t)g->got.width * (size_t)g->got.channels * sky_dtype_size(g->got.dtype);
}

static void read_whole(sky_png *g, uint8_t *dst)
{
    for (uint32_t y = 0; y < g->got.height; y++)
        g->rows[y] = dst + y * row_bytes(g);
    png_read_image(g->png, g->rows);
}

static int begin(sky_png *g, sky_err *e)
{
    if (g->done++)
        return sky_fail(e, SKY_EUSAGE, "%s: PNG decoded twice", g->name);
    if (g->interlaced && !(g->rows = sky_calloc(g->got.height, sizeof *g->rows)))
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", g->name);
    return SKY_OK;
}

int sky_png_read(sky_png *g, void *dst, sky_err *e)
{
    int rc = begin(g, e);
    if (rc)
        return rc;
    if (setjmp(png_jmpbuf(g->png)))
        return failed(g, e);
    if (g->interlaced)
        read_whole(g, dst);
    else
        for (uint32_t y = 0; y < g->got.height; y++)
            png_read_row(g->png, (png_bytep)dst + y * row_bytes(g), NULL);
    png_read_end(g->png, NULL);
    return SKY_OK;
}

/* One interleaved row into the same row of each plane. */
static void spread(const sky_png *g, uint32_t y, const void *row, void *dst)
{
    size_t w = g->got.width, c = (size_t)g->got.channels, plane = w * g->got.height;
    if (g->got.dtype == SKY_U8 && c == 3) {
        sky_split3((uint8_t *)dst + y * w, plane, row, w);
        return;
    }
    for (size_t k = 0; k < c; k++)
        if (g->got.dtype == SKY_U8) {
            uint8_t *restrict to = (uint8_t *)dst + k * plane + y * w;
            const uint8_t *restrict from = (const uint8_t *)row + k;
            for (size_t x = 0; x < w; x++)
                to[x] = from[x * c];
        } else {
            uint16_t *restrict to = (uint16_t *)dst + k * plane + y * w;
            const uint16_t *restrict from = (const uint16_t *)row + k;
            for (size_t x = 0; x < w; x++)
                to[x] = from[x * c];
        }
}

int sky_png_read_planes(sky_png *g, void *dst, sky_err *e)
{
    if (g->got.channels == 1)
        return sky_png_read(g, dst, e);
    int rc = begin(g, e);
    if (rc)
        return rc;
    g->row = sky_alloc(row_bytes(g) * (g->interlaced ? g->got.height : 1));
    if (!g->row)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", g->name);
    if (setjmp(png_jmpbuf(g->png)))
        return failed(g, e);
    if (g->interlaced)
        read_whole(g, g->row);
    for (uint32_t y = 0; y < g->got.height; y++) {
        if (!g->interlaced)
            png_read_row(g->png, g->row, NULL);
        spread(g, y, (uint8_t *)g->row + (g->interlaced ? y * row_bytes(g) : 0), dst);
    }
    png_read_end(g->png, NULL);
    return SKY_OK;
}
