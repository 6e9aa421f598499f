#include "data/resize.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

#define CUBIC_A (-0.75)

int sky_cubic_taps(float k[4], int i, int n_in, int n_out)
{
    const float A = (float)CUBIC_A, scale = (float)n_in / (float)n_out;
    float at = scale * ((float)i + 0.5f) - 0.5f;
    int first = (int)floorf(at);
    if (first > n_in - 1)
        first = n_in - 1;
    float t = fminf(fmaxf(at - (float)first, 0.0f), 1.0f), u = 1.0f - t;
    k[0] = ((A * (t + 1) - 5 * A) * (t + 1) + 8 * A) * (t + 1) - 4 * A;
    k[1] = ((A + 2) * t - (A + 3)) * t * t + 1;
    k[2] = ((A + 2) * u - (A + 3)) * u * u + 1;
    k[3] = ((A * (u + 1) - 5 * A) * (u + 1) + 8 * A) * (u + 1) - 4 * A;
    return first - 1;
}

typedef struct {
    double k[4];
    int32_t at[4];   /* taps, inside the source */
    int32_t nearest; /* source index under the output's centre */
} taps;

static void make_taps(taps *t, int n_in, int n_out)
{
    const double A = CUBIC_A;
    for (int i = 0; i < n_out; i++, t++) {
        double at = (double)n_in / n_out * (i + 0.5) - 0.5, first = floor(at), f = at - first, g = 1 - f;
        t->k[0] = ((A * (f + 1) - 5 * A) * (f + 1) + 8 * A) * (f + 1) - 4 * A;
        t->k[1] = ((A + 2) * f - (A + 3)) * f * f + 1;
        t->k[2] = ((A + 2) * g - (A + 3)) * g * g + 1;
        t->k[3] = ((A * (g + 1) - 5 * A) * (g + 1) + 8 * A) * (g + 1) - 4 * A;
        for (int j = 0; j < 4; j++) {
            int64_t p = (int64_t)first - 1 + j;
            t->at[j] = (int32_t)(p < 0 ? 0 : p > n_in - 1 ? n_in - 1 : p);
        }
        t->nearest = (int32_t)((2 * (int64_t)i + 1) * n_in / (2 * (int64_t)n_out));
    }
}

/* To float64, invalid pixels as NaN. Returns how many are. */
static int64_t load_plane(double *p, const void *src, int64_t n, sky_dtype t, int has_nodata, double nodata)
{
    int64_t invalid = 0;
    for (int64_t i = 0; i < n; i++) {
        p[i] = sky_load_f64(src, t, (uint64_t)i);
        if (has_nodata && p[i] == nodata)
            p[i] = NAN;
        invalid += isnan(p[i]);
    }
    return invalid;
}

static void filter_row(double *dst, const double *src, const taps *x, int W)
{
    for (int i = 0; i < W; i++, x++)
        dst[i] = src[x->at[0]] * x->k[0] + src[x->at[1]] * x->k[1] + src[x->at[2]] * x->k[2] + src[x->at[3]] * x->k[3];
}

/* Every pixel valid: rows are filtered once each and kept in a ring of four, by source row number. */
static void resize_clean(void *dst, int H, int W, const double *src, int w, sky_dtype t, const taps *tx, const taps *ty, double *ring)
{
    int held[4] = {-1, -1, -1, -1};
    for (int y = 0; y < H; y++) {
        const double *r[4];
        for (int j = 0; j < 4; j++) {
            int row = ty[y].at[j], slot = row & 3;
            if (held[slot] != row)
                filter_row(ring + (size_t)slot * (size_t)W, src + (size_t)row * (size_t)w, tx, W), held[slot] = row;
            r[j] = ring + (size_t)slot * (size_t)W;
        }
        const double *k = ty[y].k;
        for (int x = 0; x < W; x++)
            sky_store_f64(dst, t, (uint64_t)y * (uint64_t)W + (uint64_t)x, r[0][x] * k[0] + r[1][x] * k[1] + r[2][x] * k[2] + r[3][x] * k[3]);
    }
}

static double pixel_with_holes(const double *src, int w, const taps *tx, const taps *ty)
{
    double centre = src[(size_t)ty->nearest * (size_t)w + (size_t)tx->nearest], sum = 0;
    if (isnan(centre))
        return NAN;
    for (int j = 0; j < 4; j++) {
        const double *row = src + (size_t)ty->at[j] * (size_t)w;
        double v[4];
        for (int i = 0; i < 4; i++)
            v[i] = isnan(row[tx->at[i]]) ? centre : row[tx->at[i]];
        sum += (v[0] * tx->k[0] + v[1] * tx->k[1] + v[2] * tx->k[2] + v[3] * tx->k[3]) * ty->k[j];
    }
    return sum;
}

static void resize_holes(void *dst, int H, int W, const double *src, int w, sky_dtype t, const taps *tx, const taps *ty, double fill)
{
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            double v = pixel_with_holes(src, w, &tx[x], &ty[y]);
            sky_store_f64(dst, t, (uint64_t)y * (uint64_t)W + (uint64_t)x, isnan(v) ? fill : v);
        }
}

int sky_resize_bicubic(void *dst, int H, int W, const void *src, int h, int w, sky_dtype t, int has_nodata, double nodata, sky_err *e)
{
    int64_t n = (int64_t)h * w;
    double *plane = sky_alloc((size_t)n * sizeof *plane), *ring = sky_alloc(4 * (size_t)W * sizeof *ring);
    taps *tx = sky_alloc((size_t)W * sizeof *tx), *ty = sky_alloc((size_t)H * sizeof *ty);
    int rc = SKY_OK;
    if (!plane || !ring || !tx || !ty) {
        rc = sky_fail(e, SKY_ENOMEM, "resize %dx%d to %dx%d: out of memory", w, h, W, H);
    } else {
        make_taps(tx, w, W);
        make_taps(ty, h, H);
        if (load_plane(plane, src, n, t, has_nodata, nodata))
            resize_holes(dst, H, W, plane, w, t, tx, ty, has_nodata ? nodata : NAN);
        else
            resize_clean(dst, H, W, plane, w, t, tx, ty, ring);
    }
    sky_free(plane), sky_free(ring), sky_free(tx), sky_free(ty);
    return rc;
}

void sky_resize_nearest(void *dst, int H, int W, const void *src, int h, int w, int size)
{
    uint8_t *d = dst;
    for (int y = 0; y < H; y++) {
        const uint8_t *row = (const uint8_t *)src + (size_t)((int64_t)y * h / H) * (size_t)w * (size_t)size;
        for (int x = 0; x < W; x++, d += size)
            memcpy(d, row + (size_t)((int64_t)x * w / W) * (size_t)size, (size_t)size);
    }
}
