/* infer_sentinel.c -- Sentinel fields of a query and its prompt onto the canvas: bands by name, the date, the pixel grid. */
#include "base/mem.h"
#include "data/infer_internal.h"
#include "data/oneshot.h"
#include "data/planes.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    const sky_field *f;
    int64_t h, w;
    int64_t at, sc, sy, sx; /* element of the chosen date, strides */
    int64_t band[10];
    int has_nodata;
    double nodata;
} raster;

static const char *const s2_bands[] = {"B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12"};
static const char *const s1_bands[] = {"VV", "VH"};

static int find_bands(raster *r, int which, int channels, sky_err *e)
{
    const json_t *bands = json_object_get(r->f->meta, "bands");
    const int64_t c = sky_field_dim(r->f, 'c');
    for (int i = 0; i < channels; i++) {
        r->band[i] = json_array_size(bands) ? -1 : i;
        for (size_t b = 0; b < json_array_size(bands); b++) {
            const char *name = json_string_value(json_array_get(bands, b));
            if (name && sky_band_same(name, which ? s1_bands[i] : s2_bands[i]))
                r->band[i] = (int64_t)b;
        }
        if (r->band[i] < 0 || r->band[i] >= c)
            return sky_fail(e, SKY_ECORRUPT, "field '%s': band %s not found among %" PRId64 " bands", r->f->name, which ? s1_bands[i] : s2_bands[i], c);
    }
    if (!json_array_size(bands) && c != channels)
        return sky_fail(e, SKY_ECORRUPT, "field '%s': %" PRId64 " bands without names, expected %d", r->f->name, c, channels);
    return SKY_OK;
}

/* ---- the date ------------------------------------------------------------------------------------------------------ */

/* Seconds since 0000-03-01 of an RFC 3339 time in UTC, or of a bare date's noon; 0: not one. */
static int seconds_of(const char *s, int64_t *v)
{
    int y, m, d, h = 12, mi = 0, se = 0;
    int n = s ? sscanf(s, "%4d-%2d-%2d%*1[Tt ]%2d:%2d:%2d", &y, &m, &d, &h, &mi, &se) : 0;
    if (n < 3 || m < 1 || m > 12)
        return 0;
    if (m < 3) /* the year begins in March, so that the leap day is its last */
        y--, m += 12;
    int64_t days = 365 * (int64_t)y + y / 4 - y / 100 + y / 400 + (153 * (m - 3) + 2) / 5 + d - 1;
    *v = 86400 * days + 3600 * h + 60 * mi + se;
    return 1;
}

/* Seconds of date t of a field; 0: not known. */
static int time_of(const sky_field *f, size_t t, int64_t *v)
{
    return seconds_of(json_string_value(json_array_get(json_object_get(f->meta, "times"), t)), v);
}

/* Of the dates that are there the one nearest to the picture's, the earlier one of two as near; the first where a time is not
 * known or --date first says so. 0: none is there. */
static int find_date(raster *r, const sky_field *image, int first, int64_t stride)
{
    const json_t *times = json_object_get(r->f->meta, "times");
    const int64_t dates = sky_field_dim(r->f, 't'), n = dates < 0 ? 1 : dates;
    int64_t shown, at, best = 0, found = -1;
    const int near = !first && image && time_of(image, 0, &shown);
    for (int64_t t = 0; t < n; t++) {
        if (dates >= 0 && json_array_size(times) && json_is_null(json_array_get(times, (size_t)t)))
            continue;
        const int known = near && time_of(r->f, (size_t)t, &at);
        const int64_t apart = known ? (at > shown ? at - shown : shown - at) : INT64_MAX;
        if (found < 0 || apart < best || (apart == best && known && at < shown)) {
            found = t;
            best = apart;
        }
    }
    r->at = found * stride;
    return found >= 0;
}

/* ---- the pixel grid ------------------------------------------------------------------------------------------------- */

/* Corner k (0 upper left, 1 upper right, 2 lower left) of a field on the ground. */
static void corner(double p[2], const double a[6], int64_t h, int64_t w, int k)
{
    const double col = k == 1 ? (double)w : 0, row = k == 2 ? (double)h : 0;
    p[0] = a[0] * col + a[1] * row + a[2];
    p[1] = a[3] * col + a[4] * row + a[5];
}

/* Where both say in one reference system where they lie, their corners agree to a Sentinel pixel. */
static int same_ground(const raster *r, const sky_field *image, sky_err *e)
{
    double a[6], b[6];
    const json_t *crs = json_object_get(r->f->meta, "crs");
    if (!image || !sky_field_affine(r->f, a) || !sky_field_affine(image, b) || !crs || !json_equal(crs, json_object_get(image->meta, "crs")))
        return SKY_OK;
    const double pixel = fmax(hypot(a[0], a[3]), hypot(a[1], a[4]));
    for (int k = 0; k < 3; k++) {
        double p[2], q[2];
        corner(p, a, r->h, r->w, k);
        corner(q, b, sky_field_dim(image, 'y'), sky_field_dim(image, 'x'), k);
        if (!(hypot(p[0] - q[0], p[1] - q[1]) <= pixel))
            return sky_fail(e, SKY_ECORRUPT, "field '%s': its corner at %.10g, %.10g lies at %.10g, %.10g in '%s': cut both to the same ground (sky-tile --size N --on %s)",
                            r->f->name, p[0], p[1], q[0], q[1], image->name, image->name);
    }
    return SKY_OK;
}

/* 1: there, 0: absent. */
static int open_raster(raster *r, const sky_infer *in, const sky_sample *s, int which, int channels, sky_err *e)
{
    static const char *const names[] = {"s2", "s1"};
    const char *dims = NULL;
    *r = (raster){.f = sky_sample_field(s, names[which])};
    if (!r->f || r->f->absent)
        return 0;
    if (channels != (which ? 2 : 10)) /* what the bands are is known for these only */
        return sky_fail(e, SKY_ECORRUPT, "field '%s': the model takes %d channels of it, expected %d; leave it out of the samples", r->f->name, channels, which ? 2 : 10);
    if (!r->f->data)
        return sky_fail(e, SKY_ECORRUPT, "field '%s': is by reference; cut it into tiles first (sky-tile)", r->f->name);
    int rc = sky_json_str(r->f->meta, "dims", 1, &dims, r->f->name, e);
    if (rc)
        return rc;
    int64_t stride = 1, st = 0;
    for (int i = r->f->ndim - 1; i >= 0; i--) {
        const char d = i < (int)strlen(dims) ? dims[i] : '?';
        *(d == 'c' ? &r->sc : d == 'y' ? &r->sy : d == 'x' ? &r->sx : &st) = stride;
        stride *= (int64_t)r->f->shape[i];
    }
    const sky_field *image = sky_sample_field(s, in->o.image);
    r->h = sky_field_dim(r->f, 'y');
    r->w = sky_field_dim(r->f, 'x');
    if (r->h < 1 || r->w < 1)
        return sky_fail(e, SKY_ECORRUPT, "field '%s': dims '%s' without pixels", r->f->name, dims);
    const json_t *nodata = json_object_get(r->f->meta, "nodata");
    r->has_nodata = json_is_number(nodata);
    r->nodata = json_number_value(nodata);
    rc = find_bands(r, which, channels, e);
    if (!rc)
        rc = same_ground(r, image, e);
    return rc ? rc : find_date(r, image, in->o.first_date, st);
}

/* What source pixel j of `from` counts in cell i of `to`: its share of the cell's ground where pixels are merged, linear in
 * the distance of the centres where they are spread. 1 for i == j where nothing changes. */
static double weight(int64_t from, int64_t to, int64_t i, int64_t j)
{
    if (from < to) {
        const double apart = fabs(((double)i + 0.5) * (double)from / (double)to - 0.5 - (double)j);
        return apart < 1 ? 1 - apart : 0;
    }
    const int64_t lo = i * from > j * to ? i * from : j * to, hi = (i + 1) * from < (j + 1) * to ? (i + 1) * from : (j + 1) * to;
    return hi > lo ? (double)(hi - lo) / (double)to : 0;
}

/* First and one past the last pixel that may count in cell i. */
static void span(int64_t from, int64_t to, int64_t i, int64_t *first, int64_t *end)
{
    *first = from < to ? (2 * i + 1) * from / (2 * to) - 1 : i * from / to;
    *end = from < to ? *first + 3 : ((i + 1) * from + to - 1) / to;
    *first = *first < 0 ? 0 : *first;
    *end = *end > from ? from : *end;
}

/* Mean of the valid pixels of a cell; 0 when there is none. */
static double cell_value(const raster *r, int cells, int64_t y, int64_t x, int c)
{
    int64_t y0, y1, x0, x1;
    double sum = 0, all = 0;
    span(r->h, cells, y, &y0, &y1);
    span(r->w, cells, x, &x0, &x1);
    for (int64_t j = y0; j < y1; j++)
        for (int64_t k = x0; k < x1; k++) {
            const double v = sky_load_f64(r->f->data, r->f->dtype, (uint64_t)(r->at + r->band[c] * r->sc + j * r->sy + k * r->sx));
            const double w = weight(r->h, cells, y, j) * weight(r->w, cells, x, k);
            if (!isfinite(v) || (r->has_nodata && v == r->nodata))
                continue;
            sum += w * v;
            all += w;
        }
    return all > 0 ? sum / all : 0;
}

/* Invalid pixels are zeros before normalisation, as absent images are. */
static void fill(float *to, const raster *r, int which, int cells, int channels)
{
    const double *mean = which ? sky_norm_s1_mean : sky_norm_s2_mean, *std = which ? sky_norm_s1_std : sky_norm_s2_std;
    for (int64_t y = 0; y < cells; y++)
        for (int64_t x = 0; x < cells; x++)
            for (int c = 0; c < channels; c++)
                *to++ = (float)((cell_value(r, cells, y, x, c) - mean[c]) / std[c]);
}

int sky_infer_sentinel(float **out, const sky_infer *in, int which, const sky_infer_task *t, sky_err *e)
{
    const int cells = in->o.side / SENTINEL_SCALE, channels = in->channels[which];
    const sky_sample *s[2] = {t->prompt, t->query}; /* the prompt is above */
    raster r[2];
    for (int i = 0; i < 2; i++) {
        const int there = open_raster(&r[i], in, s[i], which, channels, e);
        if (there < 0)
            return sky_wrap(e, "sample '%s'", s[i]->id);
        if (!there)
            return SKY_OK;
    }
    const size_t n = (size_t)cells * (size_t)cells * (size_t)channels;
    if (!(*out = sky_alloc(2 * n * sizeof **out)))
        return sky_fail(e, SKY_ENOMEM, "out of memory for field '%s'", r[0].f->name);
    for (int i = 0; i < 2; i++)
        fill(*out + (size_t)i * n, &r[i], which, cells, channels);
    return SKY_OK;
}
