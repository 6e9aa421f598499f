/* PNG: what is written comes back, labels keep their numbers, damage is an error. */
#include "base/mem.h"
#include "format/png.h"
#include "t.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[64];

static char *written(const sky_png_spec *s, const void *px, size_t row, size_t *n)
{
    sky_err e = {0};
    sky_out *o;
    char *p = NULL;
    if (sky_out_open(&o, path, 1, &e) || sky_png_write(o, s, px, row, &e) || sky_out_commit(o, &e) ||
        sky_read_file(&p, n, path, 1 << 24, &e))
        printf("# %s\n", e.msg);
    unlink(path);
    return p;
}

static int same(const void *file, size_t n, sky_png_mode mode, int planes, const void *want, size_t bytes)
{
    sky_err e = {0};
    sky_png *g;
    if (sky_png_open(&g, file, n, mode, "x.png", &e))
        return printf("# %s\n", e.msg), 0;
    const sky_png_info *i = sky_png_get(g);
    size_t have = (size_t)i->width * i->height * (size_t)i->channels * sky_dtype_size(i->dtype);
    void *px = sky_alloc(have);
    int rc = planes ? sky_png_read_planes(g, px, &e) : sky_png_read(g, px, &e);
    int ok = !rc && have == bytes && !memcmp(px, want, bytes);
    if (!ok)
        printf("# rc %d, %zu bytes, wanted %zu: %s\n", rc, have, bytes, e.msg);
    sky_png_close(g);
    sky_free(px);
    return ok;
}

static void fill(void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)p)[i] = (uint8_t)(i * 7 + i / 13);
}

static void round_trips(void)
{
    static const uint32_t sizes[][2] = {{1, 1}, {7, 3}, {64, 65}, {515, 2}};
    for (size_t k = 0; k < 4; k++)
        for (int c = 1; c <= 4; c += c == 1 ? 2 : 1)
            for (int bits = 8; bits <= 16; bits += 8) {
                uint32_t w = sizes[k][0], h = sizes[k][1];
                size_t n = (size_t)w * h * (size_t)c * (size_t)bits / 8, file;
                uint8_t *px = malloc(n);
                fill(px, n);
                char *p = written(&(sky_png_spec){.width = w, .height = h, .channels = c, .bits = bits}, px, n / h, &file);
                OK(p && same(p, file, SKY_PNG_STORED, 0, px, n), "%ux%u, %d channels of %d bits", w, h, c, bits);
                sky_free(p);
                free(px);
            }
}

static void planes(void)
{
    uint8_t px[2 * 3 * 3], want[18];
    size_t n;
    fill(px, sizeof px);
    for (int i = 0; i < 18; i++)
        want[i % 3 * 6 + i / 3] = px[i];
    char *p = written(&(sky_png_spec){.width = 3, .height = 2, .channels = 3, .bits = 8}, px, 9, &n);
    OK(p && same(p, n, SKY_PNG_COLOUR, 1, want, 18), "planes");
    sky_free(p);
}

static void palette(void)
{
    static const uint8_t colours[3][3] = {{10, 20, 30}, {0, 0, 0}, {255, 1, 2}};
    uint8_t px[6] = {0, 1, 2, 2, 1, 0}, rgb[18];
    size_t n;
    sky_png_spec s = {.width = 3, .height = 2, .channels = 1, .bits = 8, .palette = colours, .palette_n = 3};
    char *p = written(&s, px, 3, &n);
    for (int i = 0; i < 6; i++)
        memcpy(rgb + 3 * i, colours[px[i]], 3);
    OK(p && same(p, n, SKY_PNG_STORED, 0, px, 6), "a palette's index stays an index");
    OK(p && same(p, n, SKY_PNG_COLOUR, 0, rgb, 18), "or becomes its colour");
    sky_png *g;
    sky_err e = {0};
    OK(p && !sky_png_open(&g, p, n, SKY_PNG_STORED, "x", &e) && sky_png_get(g)->palette_n == 3 && !memcmp(sky_png_get(g)->palette, colours, 9),
       "the palette can be asked for");
    sky_png_close(g);
    sky_free(p);
    px[4] = 3;
    sky_out *o;
    OK(!sky_out_open(&o, path, 1, &e) && sky_png_write(o, &s, px, 3, &e) == SKY_EUSAGE && strstr(e.msg, "index 3 at row 1 column 1"),
       "an index without a colour is refused by place: %s", e.msg);
    sky_out_abort(o);
}

/* Files of other depths and interlacing, made once with another program (tests/data/png/README). */
static void foreign(void)
{
    static const struct {
        const char *file;
        int bits;
        sky_png_mode mode;
        uint8_t want[8]; /* the first row, 8 pixels of one channel */
    } f[] = {{"grey1.png", 1, SKY_PNG_STORED, {0, 1, 1, 0, 0, 1, 0, 1}},
             {"grey1.png", 1, SKY_PNG_COLOUR, {0, 255, 255, 0, 0, 255, 0, 255}},
             {"grey2.png", 2, SKY_PNG_STORED, {0, 1, 2, 3, 3, 2, 1, 0}},
             {"grey4.png", 4, SKY_PNG_STORED, {0, 1, 2, 15, 14, 7, 8, 9}},
             {"pal4.png", 4, SKY_PNG_STORED, {0, 1, 2, 3, 2, 1, 0, 3}},
             {"adam7.png", 8, SKY_PNG_STORED, {0, 1, 2, 3, 4, 5, 6, 7}}};
    for (size_t i = 0; i < sizeof f / sizeof *f; i++) {
        char name[64], *p = NULL;
        size_t n = 0;
        sky_err e = {0};
        uint8_t px[8 * 8 * 4];
        sky_png *g = NULL;
        snprintf(name, sizeof name, "tests/data/png/%s", f[i].file);
        int ok = !sky_read_file(&p, &n, name, 1 << 20, &e) && !sky_png_open(&g, p, n, f[i].mode, name, &e) &&
                 sky_png_get(g)->stored_bits == f[i].bits && sky_png_get(g)->width == 8 && sky_png_get(g)->height == 8 &&
                 sky_png_get(g)->channels == 1 && !sky_png_read_planes(g, px, &e) && !memcmp(px, f[i].want, 8);
        OK(ok, "%s %s", f[i].file, e.msg);
        sky_png_close(g);
        sky_free(p);
    }
}

static int reads(const uint8_t *p, size_t n)
{
    sky_err e = {0};
    sky_png *g;
    int rc = sky_png_open(&g, p, n, SKY_PNG_STORED, "x.png", &e);
    if (rc)
        return rc;
    const sky_png_info *i = sky_png_get(g);
    uint64_t bytes = (uint64_t)i->width * i->height * (uint64_t)i->channels * sky_dtype_size(i->dtype);
    void *px = bytes < 1 << 24 ? sky_alloc(bytes) : NULL;
    rc = px ? sky_png_read(g, px, &e) : 1;
    sky_free(px);
    sky_png_close(g);
    return rc;
}

static void damage(void)
{
    static uint8_t px[64 * 64];
    size_t n, bad = 0, cut = 0;
    fill(px, sizeof px);
    char *p = written(&(sky_png_spec){.width = 64, .height = 64, .channels = 1, .bits = 8}, px, 64, &n);
    for (size_t at = 0; at < n; at++)
        cut += reads((uint8_t *)p, at) < 0;
    OK(cut == n, "%zu of %zu truncations are errors", cut, n);
    for (size_t at = 0; at < n; at++) {
        p[at] ^= 0x10;
        bad += reads((uint8_t *)p, n) < 0;
        p[at] ^= 0x10;
    }
    OK(bad == n, "%zu of %zu flipped bits are errors", bad, n);
    memcpy(p + 16, "\x00\x0f\x00\x00\x00\x0f\x00\x00", 8); /* 983040 x 983040 */
    OK(reads((uint8_t *)p, n) == SKY_ECORRUPT, "a size that cannot be in the file is refused");
    OK(reads((const uint8_t *)"GIF89a..", 8) == SKY_ECORRUPT, "another kind of file");
    sky_free(p);
}

int main(void)
{
    snprintf(path, sizeof path, "/tmp/sky-png-%d", (int)getpid());
    round_trips();
    planes();
    palette();
    foreign();
    damage();
    return END();
}
