#include "data/planes.h"
#include "base/mem.h"
#include "data/resize.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <string.h>
#include <strings.h>

/* ---- fields ------------------------------------------------------------------------------------------------------- */

int sky_band_same(const char *a, const char *b)
{
    char t[8];
    if (strcasecmp(a, b) && (a[0] | 32) == 'b' && a[1] == '0' && strlen(a) < sizeof t) {
        t[0] = a[0];
        memcpy(t + 1, a + 2, strlen(a + 2) + 1);
        return !strcasecmp(t, b);
    }
    return !strcasecmp(a, b);
}

int sky_planes_bands(int *band, const sky_field *f, const char *const *want, int n, sky_err *e)
{
    const json_t *names = json_object_get(f->meta, "bands");
    const int64_t c = sky_field_dim(f, 'c') < 0 ? 1 : sky_field_dim(f, 'c');
    const int by_name = want && json_array_size(names);
    if (!by_name && want && c != n)
        return sky_fail(e, SKY_ECORRUPT, "field '%s': %" PRId64 " bands that the data do not name, and %d names for them", f->name, c, n);
    for (int i = 0; i < n; i++) {
        band[i] = by_name ? -1 : i;
        for (size_t b = 0; by_name && b < json_array_size(names); b++) {
            const char *name = json_string_value(json_array_get(names, b));
            if (name && sky_band_same(name, want[i]))
                band[i] = (int)b;
        }
        if (band[i] < 0 || band[i] >= c)
            return sky_fail(e, SKY_ECORRUPT, "field '%s': band %s not found among %" PRId64 " bands", f->name, want ? want[i] : "number of the configuration", c);
    }
    return SKY_OK;
}

int sky_planes_dates(int *date, int max, const sky_field *f)
{
    const int64_t steps = sky_field_dim(f, 't');
    const json_t *times = json_object_get(f->meta, "times");
    int n = 0;
    for (int64_t t = 0; t < (steps < 0 ? 1 : steps) && n < max; t++)
        if (steps < 0 || !json_array_size(times) || !json_is_null(json_array_get(times, (size_t)t)))
            date[n++] = (int)t;
    return n;
}

typedef struct {
    int64_t n, stride;
} axis;

/* Sizes and strides of t, c, y, x; those that are not there have one index. */
static int axes_of(axis a[4], const sky_field *f, sky_err *e)
{
    static const char letters[] = "tcyx";
    const char *dims = NULL;
    int64_t stride = 1;
    if (f->absent || f->ref || !f->data)
        return sky_fail(e, SKY_ECORRUPT, "field '%s': %s", f->name, f->absent ? "is absent" : f->ref ? "is by reference; cut it into tiles first (sky-tile)" : "has no pixels");
    int rc = sky_json_str(f->meta, "dims", 1, &dims, f->name, e);
    if (rc)
        return rc;
    for (int i = 0; i < 4; i++)
        a[i] = (axis){1, 0};
    for (int i = f->ndim - 1, seen = 0; i >= 0; i--) {
        const char *p = strlen(dims) == (size_t)f->ndim ? strchr(letters, dims[i]) : NULL;
        if (!p || seen & 1 << (p - letters))
            return sky_fail(e, SKY_ECORRUPT, "field '%s': dims '%s' for %d dimensions, want y, x and at most c and t", f->name, dims, f->ndim);
        seen |= 1 << (p - letters);
        a[p - letters] = (axis){(int64_t)f->shape[i], stride};
        stride *= (int64_t)f->shape[i];
        if (!i && (seen & 12) != 12)
            return sky_fail(e, SKY_ECORRUPT, "field '%s': dims '%s', want y and x", f->name, dims);
    }
    for (int i = 0; i < 4; i++)
        if (a[i].n < 1 || a[i].n > INT_MAX)
            return sky_fail(e, SKY_ECORRUPT, "field '%s': %" PRId64 " along %c", f->name, a[i].n, letters[i]);
    return SKY_OK;
}

int sky_planes_size(int *h, int *w, const sky_field *f, sky_err *e)
{
    axis a[4];
    int rc = axes_of(a, f, e);
    if (!rc)
        *h = (int)a[2].n, *w = (int)a[3].n;
    return rc;
}

int sky_planes_read(sky_planes *out, const sky_field *f, int date, const int *band, int nbands, sky_rect at, sky_err *e)
{
    axis a[4];
    int rc = axes_of(a, f, e);
    if (rc)
        return rc;
    float *p = out->px = sky_alloc((size_t)nbands * (size_t)at.h * (size_t)at.w * sizeof *p);
    if (!p)
        return sky_fail(e, SKY_ENOMEM, "field '%s': out of memory for %d bands of %d x %d", f->name, nbands, at.w, at.h);
    out->c = nbands, out->h = at.h, out->w = at.w;
    const json_t *nodata = json_object_get(f->meta, "nodata");
    const double hole = json_is_number(nodata) ? json_number_value(nodata) : NAN;
    for (int b = 0; b < nbands; b++)
        for (int y = 0; y < at.h; y++) {
            const int64_t row = date * a[0].stride + band[b] * a[1].stride + (at.y + y) * a[2].stride + at.x * a[3].stride;
            for (int x = 0; x < at.w; x++) {
                const double v = sky_load_f64(f->data, f->dtype, (uint64_t)(row + x * a[3].stride));
                *p++ = isfinite(v) && v != hole ? (float)v : 0.0f;
            }
        }
    return SKY_OK;
}

/* ---- resizing ------------------------------------------------------------------------------------------------------- */

int sky_plane_resize(float *dst, int H, int W, const float *src, int stride, sky_rect r, sky_err *e)
{
    float *cut = sky_alloc((size_t)r.h * (size_t)r.w * sizeof *cut);
    if (!cut)
        return sky_fail(e, SKY_ENOMEM, "out of memory for %d x %d pixels", r.w, r.h);
    for (int y = 0; y < r.h; y++)
        memcpy(cut + (size_t)y * (size_t)r.w, src + (size_t)(r.y + y) * (size_t)stride + r.x, (size_t)r.w * sizeof *cut);
    int rc = sky_resize_bicubic(dst, H, W, cut, r.h, r.w, SKY_F32, 0, 0, e);
    sky_free(cut);
    return rc;
}

static double cubic(double x)
{
    const double A = -0.5;
    x = fabs(x);
    return x < 1 ? ((A + 2) * x - (A + 3)) * x * x + 1 : x < 2 ? ((A * x - 5 * A) * x + 8 * A) * x - 4 * A : 0;
}

/* One axis: n_out rows of `width` values from n_in rows. */
static void shrink_rows(double *dst, int n_out, const double *src, int n_in, int width)
{
    const double scale = (double)n_in / n_out > 1 ? (double)n_in / n_out : 1;
    for (int i = 0; i < n_out; i++) {
        const double at = (double)n_in / n_out * (i + 0.5);
        int lo = (int)(at - 2 * scale + 0.5), hi = (int)(at + 2 * scale + 0.5);
        lo = lo < 0 ? 0 : lo;
        hi = hi > n_in ? n_in : hi;
        double sum = 0;
        for (int k = lo; k < hi; k++)
            sum += cubic((k - at + 0.5) / scale);
        for (int x = 0; x < width; x++) {
            double v = 0;
            for (int k = lo; k < hi; k++)
                v += cubic((k - at + 0.5) / scale) / sum * src[(size_t)k * (size_t)width + (size_t)x];
            dst[(size_t)i * (size_t)width + (size_t)x] = v;
        }
    }
}

static void transpose(double *dst, const double *src, int h, int w)
{
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            dst[(size_t)x * (size_t)h + (size_t)y] = src[(size_t)y * (size_t)w + (size_t)x];
}

int sky_plane_shrink(float *dst, int H, int W, const float *src, int h, int w, sky_err *e)
{
    const size_t n = (size_t)(h > H ? h : H) * (size_t)(w > W ? w : W);
    double *a = sky_alloc(n * sizeof *a), *b = sky_alloc(n * sizeof *b);
    for (size_t i = 0; a && i < (size_t)h * (size_t)w; i++)
        a[i] = src[i];
    if (a && b) {
        shrink_rows(b, H, a, h, w);
        transpose(a, b, H, w);
        shrink_rows(b, W, a, w, H);
        transpose(a, b, W, H);
        for (size_t i = 0; i < (size_t)H * (size_t)W; i++)
            dst[i] = (float)a[i];
    }
    const int ok = a && b;
    sky_free(a), sky_free(b);
    return ok ? SKY_OK : sky_fail(e, SKY_ENOMEM, "out of memory for %d x %d pixels", w, h);
}

/* ---- crops and masks ----------------------------------------------------------------------------------------------- */

sky_rect sky_crop_area(sky_draw *d, int h, int w, double lo, double hi)
{
    const double aspect[2] = {3.0 / 4.0, 4.0 / 3.0};
    for (int k = 0; k < 10; k++) {
        const double area = h * (double)w * sky_draw_range(d, lo, hi), r = exp(sky_draw_range(d, log(aspect[0]), log(aspect[1])));
        const int cw = (int)nearbyint(sqrt(area * r)), ch = (int)nearbyint(sqrt(area / r));
        if (cw > 0 && cw <= w && ch > 0 && ch <= h) {
            const int y = (int)sky_draw_below(d, (uint64_t)(h - ch + 1));
            return (sky_rect){y, (int)sky_draw_below(d, (uint64_t)(w - cw + 1)), ch, cw};
        }
    }
    sky_rect r = {0, 0, h, w};
    if ((double)w / h < aspect[0])
        r.h = (int)nearbyint(w / aspect[0]);
    else if ((double)w / h > aspect[1])
        r.w = (int)nearbyint(h * aspect[1]);
    r.y = (h - r.h) / 2, r.x = (w - r.w) / 2;
    return r;
}

static void scale_axis(int *at, int *n, int cells, int pixels)
{
    const int first = (int)((int64_t)*at * pixels / cells), end = (int)((int64_t)(*at + *n) * pixels / cells);
    *at = first < pixels ? first : pixels - 1;
    *n = end > *at ? end - *at : 1;
}

sky_rect sky_rect_scale(sky_rect r, int gh, int gw, int h, int w)
{
    scale_axis(&r.y, &r.h, gh, h);
    scale_axis(&r.x, &r.w, gw, w);
    return r;
}

static int hidden_in(const uint8_t *mask, int w, sky_rect r)
{
    int n = 0;
    for (int y = 0; y < r.h; y++)
        for (int x = 0; x < r.w; x++)
            n += mask[(r.y + y) * w + r.x + x];
    return n;
}

/* One more rectangle that hides at most `most` new cells; how many it hid, 0: none of ten fitted. */
static int add_block(uint8_t *mask, int h, int w, sky_draw *d, int most)
{
    for (int k = 0; k < 10; k++) {
        const double area = sky_draw_range(d, 4, most > 4 ? most : 4), r = exp(sky_draw_range(d, log(0.3), log(1 / 0.3)));
        sky_rect b = {.h = (int)nearbyint(sqrt(area * r)), .w = (int)nearbyint(sqrt(area / r))};
        if (b.h >= h || b.w >= w || b.h < 1 || b.w < 1)
            continue;
        b.y = (int)sky_draw_below(d, (uint64_t)(h - b.h + 1));
        b.x = (int)sky_draw_below(d, (uint64_t)(w - b.w + 1));
        const int added = b.h * b.w - hidden_in(mask, w, b);
        if (added < 1 || added > most)
            continue;
        for (int y = 0; y < b.h; y++)
            memset(mask + (b.y + y) * w + b.x, 1, (size_t)b.w);
        return added;
    }
    return 0;
}

void sky_mask_half(uint8_t *mask, int h, int w, sky_draw *d, double lower)
{
    const int cells = h * w, half = cells / 2;
    memset(mask, 0, (size_t)cells);
    if (sky_draw_range(d, 0, 1) < lower) {
        memset(mask + cells - half, 1, (size_t)half);
        return;
    }
    int n = 0;
    for (int added = 1; n < half && added; n += added)
        added = add_block(mask, h, w, d, half - n);
    while (n < half) {
        const uint64_t i = sky_draw_below(d, (uint64_t)cells);
        n += !mask[i];
        mask[i] = 1;
    }
}
