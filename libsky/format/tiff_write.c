/* tiff_write.c -- an uncompressed TIFF with GeoTIFF tags. sky-pack must build where GDAL is absent, and this much of the
 * format is small: little-endian, planar bands one strip each, or pixel-interleaved in one strip. */
#include "format/extract.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHORT = 3, LONG = 4, ASCII = 2, DOUBLE = 12, MAX_TAGS = 20 };

typedef struct {
    uint16_t id, type;
    uint32_t n;
    const uint8_t *p; /* n elements, little-endian */
} tag;

typedef struct {
    tag t[MAX_TAGS];
    int n;
    uint8_t store[512]; /* small values */
    size_t used;
} tags;

static uint32_t type_size(uint16_t type) { return type == SHORT ? 2 : type == LONG ? 4 : type == DOUBLE ? 8 : 1; }

static void add(tags *a, uint16_t id, uint16_t type, uint32_t n, const uint8_t *p) { a->t[a->n++] = (tag){id, type, n, p}; }

static void add_number(tags *a, uint16_t id, uint16_t type, uint32_t v)
{
    uint8_t *p = a->store + a->used;
    sky_put_le(p, v, 4);
    a->used += 4;
    add(a, id, type, 1, p);
}

static void put_double(uint8_t *p, double v)
{
    uint64_t u;
    memcpy(&u, &v, 8);
    sky_put_le(p, u, 8);
}

typedef struct {
    uint64_t width, height, bands;
    int interleaved;
    unsigned bits, format; /* SampleFormat: 1 unsigned, 2 signed, 3 floating */
} layout;

static int layout_of(layout *l, const sky_field *f, sky_err *e)
{
    const char *dims = json_string_value(json_object_get(f->meta, "dims"));
    int n = f->ndim, yxc = n >= 3 && dims && strlen(dims) == (size_t)n && dims[n - 1] == 'c';
    if (n < 2 || !f->nbytes)
        return sky_fail(e, SKY_EUSAGE, "field '%s' of %d dimensions is not a raster", f->name, n);
    l->interleaved = yxc && n == 3;
    l->height = f->shape[yxc ? n - 3 : n - 2];
    l->width = f->shape[yxc ? n - 2 : n - 1];
    l->bands = sky_field_count(f) / (l->width * l->height);
    l->bits = 8 * (unsigned)sky_dtype_size(f->dtype);
    l->format = f->dtype >= SKY_F16 ? 3 : f->dtype == SKY_I8 || f->dtype == SKY_I16 || f->dtype == SKY_I32 || f->dtype == SKY_I64 ? 2 : 1;
    if (f->dtype == SKY_BF16 || (yxc && n > 3))
        return sky_fail(e, SKY_EUSAGE, "field '%s': %s has no TIFF form", f->name, yxc && n > 3 ? "time by pixel by band" : "BF16");
    if (l->bands > 65535 || l->width > UINT32_MAX || l->height > UINT32_MAX || f->nbytes > UINT32_MAX - (1u << 20))
        return sky_fail(e, SKY_ELIMIT, "field '%s': %llu bytes in %llu bands are beyond TIFF's 4 GiB or 65535 bands", f->name,
                        (unsigned long long)f->nbytes, (unsigned long long)l->bands);
    return SKY_OK;
}

/* EPSG:n; 0: none. */
static unsigned epsg_of(const sky_field *f)
{
    const char *crs = json_string_value(json_object_get(f->meta, "crs"));
    unsigned n = crs && !strncmp(crs, "EPSG:", 5) ? (unsigned)strtoul(crs + 5, NULL, 10) : 0;
    return n < 65535 ? n : 0;
}

/* A TIFF has to say whether a code is of a geographic system or of a projected one, which no range of codes tells: 4326 is
 * geographic, 4547 projected, 7844 geographic. Coordinates do: degrees are small, and projected ones are metres from a far origin.
 * Below 3819 and above 20000 all systems are projected, but for two. */
static int geographic(unsigned code, const double m[6], const layout *l)
{
    if (code < 3819 || code > 20000)
        return 0;
    for (int i = 0; i < 4; i++) {
        const double col = i & 1 ? (double)l->width : 0, row = i & 2 ? (double)l->height : 0;
        if (fabs(m[0] * col + m[1] * row + m[2]) > 540 || fabs(m[3] * col + m[4] * row + m[5]) > 91)
            return 0;
    }
    return 1;
}

static void add_geo(tags *a, const sky_field *f, const layout *l, uint8_t matrix[128], uint8_t keys[32])
{
    double m[6];
    if (!sky_field_affine(f, m))
        return;
    const double full[16] = {m[0], m[1], 0, m[2], m[3], m[4], 0, m[5], 0, 0, 0, 0, 0, 0, 0, 1};
    for (int i = 0; i < 16; i++)
        put_double(matrix + 8 * i, full[i]);
    add(a, 34264, DOUBLE, 16, matrix);
    unsigned code = epsg_of(f);
    if (!code)
        return;
    const int degrees = geographic(code, m, l);
    const uint16_t k[16] = {1, 1, 0, 3, 1024, 0, 1, (uint16_t)(degrees ? 2 : 1), 1025, 0, 1, 1, (uint16_t)(degrees ? 2048 : 3072), 0, 1, (uint16_t)code};
    for (int i = 0; i < 16; i++)
        sky_put_le(keys + 2 * i, k[i], 2);
    add(a, 34735, SHORT, 16, keys);
}

static void add_nodata(tags *a, const sky_field *f, char text[40])
{
    const json_t *v = json_object_get(f->meta, "nodata");
    if (!json_is_number(v) && !json_is_string(v))
        return;
    if (json_is_string(v))
        snprintf(text, 40, "%.30s", json_string_value(v));
    else
        snprintf(text, 40, "%.17g", json_number_value(v));
    add(a, 42113, ASCII, (uint32_t)strlen(text) + 1, (const uint8_t *)text);
}

/* The colours of a class table, for values of one U8 band: all reds, all greens, all blues, of 16 bits each. 0: it has none. */
static int colours_of(const sky_field *f, const layout *l, uint8_t map[3 * 256 * 2])
{
    uint8_t rgb[256][3];
    if (l->bands != 1 || f->dtype != SKY_U8 || !sky_field_palette(f, rgb))
        return 0;
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++)
            sky_put_le(map + 2 * (256 * c + v), 257u * rgb[v][c], 2);
    return 1;
}

/* Header, directory and long values; the pixels follow at *data_at. */
static int write_directory(sky_out *o, tags *a, uint32_t data_at, sky_err *e)
{
    uint8_t head[8 + 2 + 12 * MAX_TAGS + 4] = {'I', 'I', 42, 0, 8};
    uint32_t at = 8 + 2 + 12 * (uint32_t)a->n + 4;
    sky_put_le(head + 8, (uint64_t)a->n, 2);
    for (int i = 0; i < a->n; i++) {
        uint8_t *q = head + 10 + 12 * i;
        const tag *t = &a->t[i];
        uint32_t bytes = t->n * type_size(t->type);
        sky_put_le(q, t->id, 2);
        sky_put_le(q + 2, t->type, 2);
        sky_put_le(q + 4, t->n, 4);
        if (bytes <= 4) {
            memcpy(q + 8, t->p, bytes);
        } else {
            sky_put_le(q + 8, at, 4);
            at += (bytes + 1) & ~1u;
        }
    }
    int rc = sky_out_write(o, head, 8 + 2 + 12 * (size_t)a->n + 4, e);
    for (int i = 0; i < a->n && !rc; i++) {
        uint32_t bytes = a->t[i].n * type_size(a->t[i].type);
        if (bytes > 4)
            rc = sky_out_write(o, a->t[i].p, bytes, e);
        if (!rc && bytes > 4 && bytes & 1)
            rc = sky_out_write(o, "", 1, e);
    }
    static const uint8_t zero[64];
    return rc || at > data_at ? rc : sky_out_write(o, zero, data_at - at, e);
}

static uint32_t directory_size(const tags *a)
{
    uint32_t at = 8 + 2 + 12 * (uint32_t)a->n + 4;
    for (int i = 0; i < a->n; i++) {
        uint32_t bytes = a->t[i].n * type_size(a->t[i].type);
        at += bytes > 4 ? (bytes + 1) & ~1u : 0;
    }
    return (at + 15) & ~15u;
}

int sky_tiff_write(sky_out *o, const sky_field *f, sky_err *e)
{
    layout l = {0};
    tags a = {.n = 0};
    uint8_t matrix[128], keys[32], map[3 * 256 * 2];
    char nodata[40];
    int rc = layout_of(&l, f, e);
    if (rc)
        return rc;
    const int coloured = colours_of(f, &l, map);
    uint32_t strips = l.interleaved ? 1 : (uint32_t)l.bands, strip = (uint32_t)(f->nbytes / strips);
    uint8_t *bits = sky_alloc(2 * l.bands), *format = sky_alloc(2 * l.bands), *extra = sky_alloc(2 * l.bands);
    uint8_t *offset = sky_alloc(4 * (size_t)strips), *count = sky_alloc(4 * (size_t)strips);
    if (!bits || !format || !extra || !offset || !count) {
        rc = sky_fail(e, SKY_ENOMEM, "field '%s': out of memory", f->name);
    } else {
        for (uint64_t i = 0; i < l.bands; i++) {
            sky_put_le(bits + 2 * i, l.bits, 2);
            sky_put_le(format + 2 * i, l.format, 2);
            sky_put_le(extra + 2 * i, 0, 2);
        }
        add_number(&a, 256, LONG, (uint32_t)l.width);
        add_number(&a, 257, LONG, (uint32_t)l.height);
        add(&a, 258, SHORT, (uint32_t)l.bands, bits);
        add_number(&a, 259, SHORT, 1);
        add_number(&a, 262, SHORT, coloured ? 3 : 1); /* indices of colours, or black is zero */
        add(&a, 273, LONG, strips, offset);
        add_number(&a, 277, SHORT, (uint32_t)l.bands);
        add_number(&a, 278, LONG, (uint32_t)l.height);
        add(&a, 279, LONG, strips, count);
        add_number(&a, 284, SHORT, l.interleaved ? 1 : 2);
        if (coloured)
            add(&a, 320, SHORT, 3 * 256, map);
        if (l.bands > 1)
            add(&a, 338, SHORT, (uint32_t)l.bands - 1, extra);
        add(&a, 339, SHORT, (uint32_t)l.bands, format);
        add_geo(&a, f, &l, matrix, keys);
        add_nodata(&a, f, nodata);
        uint32_t at = directory_size(&a);
        for (uint32_t i = 0; i < strips; i++) {
            sky_put_le(offset + 4 * (size_t)i, at + i * strip, 4);
            sky_put_le(count + 4 * (size_t)i, strip, 4);
        }
        rc = write_directory(o, &a, at, e);
        if (!rc)
            rc = sky_out_write(o, f->data, f->nbytes, e);
    }
    sky_free(bits);
    sky_free(format);
    sky_free(extra);
    sky_free(offset);
    sky_free(count);
    return rc;
}
