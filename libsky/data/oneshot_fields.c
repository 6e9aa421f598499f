/* From fields of any type to what the one-shot protocol takes: display RGB and class numbers. */
#include "base/mem.h"
#include "data/oneshot.h"

#include <limits.h>
#include <math.h>
#include <string.h>
#include <strings.h>

/* Where pixel (c, y, x) lies: element base + c*sc + y*sy + x*sx. */
typedef struct {
    int64_t nc, h, w, base, sc, sy, sx;
} layout;

static int find_layout(layout *l, const sky_field *f, sky_err *e)
{
    const char *dims = NULL;
    if (f->absent || f->ref || !f->data)
        return sky_fail(e, SKY_ECORRUPT, "field '%s': %s", f->name, f->absent ? "is absent, a picture is wanted" : f->ref ? "is by reference; cut it into tiles first (sky-tile)" : "was not read");
    if (sky_json_str(f->meta, "dims", 1, &dims, "field", e))
        return sky_wrap(e, "field '%s'", f->name);
    if (strlen(dims) != (size_t)f->ndim)
        return sky_fail(e, SKY_ECORRUPT, "field '%s': dims '%s' for %d dimensions", f->name, dims, f->ndim);
    *l = (layout){.nc = 1};
    int64_t stride = 1;
    for (int i = f->ndim - 1; i >= 0; i--) {
        int64_t n = (int64_t)f->shape[i];
        switch (dims[i]) {
        case 'y': l->h = n, l->sy = stride; break;
        case 'x': l->w = n, l->sx = stride; break;
        case 'c': l->nc = n, l->sc = stride; break;
        case 't': break; /* the first date */
        default: return sky_fail(e, SKY_ECORRUPT, "field '%s': dims '%s', want y, x and at most c and t", f->name, dims);
        }
        stride *= n;
    }
    if (l->h < 1 || l->w < 1 || l->nc < 1 || l->h > INT_MAX || l->w > INT_MAX || !sky_field_count(f))
        return sky_fail(e, SKY_ECORRUPT, "field '%s': %lld x %lld pixels, %lld bands: not a picture", f->name, (long long)l->w, (long long)l->h, (long long)l->nc);
    return SKY_OK;
}

/* ---- pictures ---------------------------------------------------------------------------------------------- */

static int band_named(const json_t *bands, const char *const names[])
{
    for (int n = 0; names[n]; n++)
        for (size_t i = 0; i < json_array_size(bands); i++) {
            const char *s = json_string_value(json_array_get(bands, i));
            if (s && !strcasecmp(s, names[n]))
                return (int)i;
        }
    return -1;
}

/* The bands that `want` names. */
static int wanted_bands(int64_t band[3], const sky_field *f, const char (*want)[16], int64_t nc, sky_err *e)
{
    const json_t *bands = json_object_get(f->meta, "bands");
    for (int i = 0; i < 3; i++) {
        const char *const list[] = {want[i], NULL};
        band[i] = band_named(bands, list);
        if (band[i] < 0 || band[i] >= nc)
            return sky_fail(e, SKY_ECORRUPT, "no band '%s', which the model's 'hr_bands' wants", want[i]);
    }
    return SKY_OK;
}

/* Red, green and blue by name, or the first three, or the first one as grey. */
static void usual_bands(int64_t band[3], const sky_field *f, int64_t nc)
{
    static const char *const names[3][4] = {{"R", "red", "B4", "B04"}, {"G", "green", "B3", "B03"}, {"B", "blue", "B2", "B02"}};
    const json_t *bands = json_object_get(f->meta, "bands");
    int found = 1;
    for (int i = 0; i < 3; i++) {
        const char *const list[] = {names[i][0], names[i][1], names[i][2], names[i][3], NULL};
        band[i] = band_named(bands, list);
        found &= band[i] >= 0 && band[i] < nc;
    }
    for (int i = 0; i < 3 && !found; i++)
        band[i] = nc < 3 ? 0 : i;
}

static int nodata_of(const sky_field *f, double *v)
{
    const json_t *j = json_object_get(f->meta, "nodata");
    *v = json_number_value(j);
    return json_is_number(j);
}

/* k-th smallest of n values; reorders them. */
static float select_kth(float *v, int64_t n, int64_t k)
{
    int64_t lo = 0, hi = n - 1;
    while (lo < hi) {
        float pivot = v[lo + (hi - lo) / 2];
        int64_t i = lo, j = hi;
        while (i <= j) {
            while (v[i] < pivot)
                i++;
            while (v[j] > pivot)
                j--;
            if (i <= j) {
                float t = v[i];
                v[i++] = v[j], v[j--] = t;
            }
        }
        if (k <= j)
            hi = j;
        else if (k >= i)
            lo = i;
        else
            break;
    }
    return v[k];
}

/* The 2nd and 98th percentile (lower rank) of the valid values among n. */
static int stretch_range(double range[2], const float *v, int64_t n, sky_err *e)
{
    float *copy = sky_alloc((size_t)n * sizeof *copy);
    if (!copy)
        return sky_fail(e, SKY_ENOMEM, "out of memory for %lld values", (long long)n);
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++)
        if (isfinite(v[i]))
            copy[m++] = v[i];
    range[0] = m ? select_kth(copy, m, (int64_t)floor(0.02 * (double)(m - 1))) : 0;
    range[1] = m ? select_kth(copy, m, (int64_t)floor(0.98 * (double)(m - 1))) : 0;
    sky_free(copy);
    return SKY_OK;
}

static uint8_t stretch(double v, const double range[2])
{
    if (isnan(v))
        return 0; /* invalid pixels are black */
    double s = (v - range[0]) * 255.0 / (range[1] - range[0]);
    return (uint8_t)nearbyint(s > 0 ? (s < 255 ? s : 255) : 0); /* a constant picture: 0/0 is black, too */
}

/* The chosen bands, pixel by pixel, invalid ones as NaN; grey pictures as one band. */
static void gather(float *v, const sky_field *f, const layout *l, const int64_t band[3], int nb)
{
    double nodata;
    int has = nodata_of(f, &nodata);
    for (int64_t y = 0; y < l->h; y++)
        for (int64_t x = 0; x < l->w; x++)
            for (int b = 0; b < nb; b++) {
                double p = sky_load_f64(f->data, f->dtype, (uint64_t)(l->base + band[b] * l->sc + y * l->sy + x * l->sx));
                *v++ = has && p == nodata ? NAN : (float)p;
            }
}

/* What `display` shows of band b: its own [lo, hi] where there is one per band, else the one of all. */
static int display_range(double range[2], const json_t *display, int64_t b, int64_t bands, sky_err *e)
{
    const int each = json_is_array(json_array_get(display, 0));
    const json_t *pair = each ? json_array_get(display, (size_t)b) : display;
    range[0] = json_number_value(json_array_get(pair, 0)), range[1] = json_number_value(json_array_get(pair, 1));
    if (each && json_array_size(display) != (size_t)bands)
        return sky_fail(e, SKY_ECORRUPT, "'display': %zu ranges for %lld bands", json_array_size(display), (long long)bands);
    if (json_array_size(pair) != 2 || !(range[1] > range[0]))
        return sky_fail(e, SKY_ECORRUPT, "'display': want [lo, hi] with lo < hi, or one such pair per band");
    return SKY_OK;
}

/* The range of the picture's values that is shown, for each of nb chosen bands. */
static int find_ranges(double range[3][2], const sky_field *f, const layout *whole, const int64_t band[3], int nb, sky_err *e)
{
    const json_t *display = json_object_get(f->meta, "display");
    int rc = SKY_OK;
    for (int b = 0; display && b < nb && !rc; b++)
        rc = display_range(range[b], display, band[b], whole->nc, e);
    if (display)
        return rc;
    const int64_t n = whole->h * whole->w * nb;
    float *v = sky_alloc((size_t)n * sizeof *v);
    if (!v)
        return sky_fail(e, SKY_ENOMEM, "out of memory for %lld values", (long long)n);
    gather(v, f, whole, band, nb);
    rc = stretch_range(range[0], v, n, e);
    for (int b = 1; b < nb; b++)
        memcpy(range[b], range[0], sizeof range[b]);
    sky_free(v);
    return rc;
}

/* The pixels of `part`, shown as the whole picture is. */
static int rgb_stretched(uint8_t *rgb, const sky_field *f, const char (*want)[16], const layout *whole, const layout *part, sky_err *e)
{
    int64_t band[3], n = part->h * part->w;
    double range[3][2] = {{0}};
    int rc = SKY_OK;
    if (want)
        rc = wanted_bands(band, f, want, whole->nc, e);
    else
        usual_bands(band, f, whole->nc);
    if (rc)
        return rc;
    const int nb = band[0] == band[1] && band[1] == band[2] ? 1 : 3;
    rc = find_ranges(range, f, whole, band, nb, e);
    float *v = rc ? NULL : sky_alloc((size_t)(n * nb) * sizeof *v);
    if (!rc && !v)
        rc = sky_fail(e, SKY_ENOMEM, "out of memory for %lld values", (long long)(n * nb));
    if (!rc)
        gather(v, f, part, band, nb);
    for (int64_t i = 0; !rc && i < n; i++)
        for (int c = 0; c < 3; c++) {
            const int b = nb == 3 ? c : 0;
            rgb[3 * i + c] = stretch(v[nb * i + b], range[b]);
        }
    sky_free(v);
    return rc;
}

static void rgb_as_is(uint8_t *rgb, const sky_field *f, const layout *l)
{
    const uint8_t *p = f->data;
    for (int64_t y = 0; y < l->h; y++)
        for (int64_t x = 0; x < l->w; x++)
            for (int64_t c = 0; c < 3; c++)
                *rgb++ = p[l->base + c * l->sc + y * l->sy + x * l->sx];
}

static int convert(uint8_t **rgb, const sky_field *f, const char (*want)[16], const layout *whole, const layout *part, sky_err *e)
{
    uint8_t *p = sky_alloc(3 * (size_t)part->h * (size_t)part->w);
    int rc = p ? SKY_OK : sky_fail(e, SKY_ENOMEM, "out of memory for a picture of %lld x %lld", (long long)part->w, (long long)part->h);
    want = want && **want ? want : NULL;
    if (!rc && f->dtype == SKY_U8 && whole->nc == 3 && !want)
        rgb_as_is(p, f, part);
    else if (!rc)
        rc = rgb_stretched(p, f, want, whole, part, e);
    if (rc) {
        sky_free(p);
        return sky_wrap(e, "field '%s'", f->name);
    }
    *rgb = p;
    return SKY_OK;
}

int sky_prep_rgb(uint8_t **rgb, int *h, int *w, const sky_field *f, const char (*bands)[16], sky_err *e)
{
    layout l;
    int rc = find_layout(&l, f, e);
    if (!rc && !(rc = convert(rgb, f, bands, &l, &l, e)))
        *h = (int)l.h, *w = (int)l.w;
    return rc;
}

int sky_prep_rgb_window(uint8_t **rgb, const sky_field *f, const char (*bands)[16], int y, int x, int h, int w, sky_err *e)
{
    layout l, part;
    int rc = find_layout(&l, f, e);
    if (rc)
        return rc;
    if (y < 0 || x < 0 || h < 1 || w < 1 || y > l.h - h || x > l.w - w)
        return sky_fail(e, SKY_EUSAGE, "field '%s': no window %d x %d at row %d, column %d", f->name, w, h, y, x);
    part = l;
    part.base = y * l.sy + x * l.sx, part.h = h, part.w = w;
    return convert(rgb, f, bands, &l, &part, e);
}

/* ---- labels ------------------------------------------------------------------------------------------------ */

int sky_prep_label(uint8_t **label, int *h, int *w, const sky_field *f, sky_err *e)
{
    layout l;
    int rc = find_layout(&l, f, e);
    if (rc)
        return rc;
    int64_t n = l.h * l.w;
    if (sky_field_count(f) != (uint64_t)n)
        return sky_fail(e, SKY_ECORRUPT, "field '%s': a label has one value per pixel, this has %llu for %lld pixels", f->name, (unsigned long long)sky_field_count(f), (long long)n);
    uint8_t *p = sky_alloc((size_t)n);
    if (!p)
        return sky_fail(e, SKY_ENOMEM, "field '%s': out of memory for %lld labels", f->name, (long long)n);
    const int as_is = f->dtype == SKY_U8 && l.sx == 1; /* rows one after the other: there is one value per pixel */
    if (as_is)
        memcpy(p, f->data, (size_t)n);
    for (int64_t y = 0, i = 0; !as_is && y < l.h; y++)
        for (int64_t x = 0; x < l.w; x++, i++) {
            double v = sky_load_f64(f->data, f->dtype, (uint64_t)(y * l.sy + x * l.sx));
            if (!(v >= 0 && v <= 255 && v == floor(v))) {
                sky_free(p);
                return sky_fail(e, SKY_ECORRUPT, "field '%s': label %g at row %lld, column %lld, want a whole number 0..255", f->name, v, (long long)y, (long long)x);
            }
            p[i] = (uint8_t)v;
        }
    *label = p, *h = (int)l.h, *w = (int)l.w;
    return SKY_OK;
}
