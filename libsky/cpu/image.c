/* Maps [B,H,W,C]: resizing, its argmax, pooling. */
#include "base/mem.h"
#include "cpu/device_internal.h"
#include "cpu/image_internal.h"

#include <math.h>
#include <string.h>

static int64_t clamp(int64_t i, int64_t n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }

static sky_tap linear_tap(double src, int64_t n)
{
    int64_t i = clamp((int64_t)floor(src), n);
    double f = i + 1 < n ? src - (double)i : 0; /* past the last place it is that place alone, exactly */
    return (sky_tap){{i, clamp(i + 1, n)}, {(float)(1 - f), (float)f}};
}

/* Cubic convolution with A = -0.75; near: |t| <= 1, far: 1 < |t| < 2. */
static double cubic_near(double t) { return ((-0.75 + 2) * t - (-0.75 + 3)) * t * t + 1; }
static double cubic_far(double t) { return ((t - 5) * t + 8) * t * -0.75 - 4 * -0.75; }

static sky_tap cubic_tap(double src, int64_t n)
{
    int64_t i = (int64_t)floor(src);
    double f = src - (double)i;
    sky_tap t = {.w = {(float)cubic_far(f + 1), (float)cubic_near(f), (float)cubic_near(1 - f), (float)cubic_far(2 - f)}};
    for (int k = 0; k < 4; k++)
        t.at[k] = clamp(i - 1 + k, n);
    return t;
}

void sky_cpu_taps(sky_tap *t, int64_t from, int64_t to, sky_interp how)
{
    for (int64_t i = 0; i < to; i++) {
        double half_pixel = ((double)i + 0.5) * (double)from / (double)to - 0.5;
        if (how == SKY_BICUBIC)
            t[i] = cubic_tap(half_pixel, from);
        else if (how == SKY_BILINEAR)
            t[i] = linear_tap(half_pixel < 0 ? 0 : half_pixel, from);
        else
            t[i] = linear_tap(to > 1 ? (double)i * (double)(from - 1) / (double)(to - 1) : 0, from);
    }
}

struct resize {
    const sky_row_kernels *k;
    void *y;
    const float *x;
    const sky_tap *ty, *tx; /* [h], [w] */
    int taps, far;
    int64_t H, W, C, h, w;
};

static int resize_open(struct resize *o, sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_interp how, const char *op, sky_err *e)
{
    *o = (struct resize){.k = d->k, .y = y->data, .x = x->data, .taps = sky_tap_count(how), .far = is_far(sky_bytes(y)),
                         .H = x->shape[1], .W = x->shape[2], .C = x->shape[3], .h = y->shape[1], .w = y->shape[2]};
    sky_tap *t = sky_alloc((size_t)(o->h + o->w) * sizeof *t);
    if (!t)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", op);
    sky_cpu_taps(t, o->H, o->h, how);
    sky_cpu_taps(t + o->h, o->W, o->w, how);
    o->ty = t;
    o->tx = t + o->h;
    return SKY_OK;
}

static void resize_close(struct resize *o) { sky_free((void *)(uintptr_t)o->ty); }

/* Row `row` of the result (counted over the batch): the map it comes from and its place there. */
static const float *row_source(const struct resize *o, int64_t row, const sky_tap **t)
{
    *t = &o->ty[row % o->h];
    return o->x + row / o->h * o->H * o->W * o->C;
}

/* The source vectors of pixel j of a row and their weights. */
static inline int pixel_sources(const struct resize *o, const float *map, const sky_tap *a, int64_t j, const float *src[16], float w[16])
{
    const sky_tap *b = &o->tx[j];
    int n = 0;
    for (int i = 0; i < o->taps; i++)
        for (int k = 0; k < o->taps; k++, n++) {
            src[n] = map + (a->at[i] * o->W + b->at[k]) * o->C;
            w[n] = a->w[i] * b->w[k];
        }
    return n;
}

static void resize_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct resize *o = arg;
    const float *src[16];
    float w[16];
    for (int64_t r = from; r < to; r++) {
        const sky_tap *t;
        const float *map = row_source(o, r, &t);
        for (int64_t j = 0; j < o->w; j++) {
            int n = pixel_sources(o, map, t, j, src, w);
            o->k->mix((float *)o->y + (r * o->w + j) * o->C, src, w, n, o->C, o->far);
        }
    }
    o->k->fence();
}

int sky_cpu_resize(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_interp how, sky_err *e)
{
    struct resize o;
    int rc = resize_open(&o, d, y, x, how, "resize", e);
    if (rc)
        return rc;
    sky_cpu_rows(d, y->shape[0] * o.h, 8 * o.w * o.C, resize_rows, &o);
    resize_close(&o);
    return SKY_OK;
}

static void argmax_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct resize *o = arg;
    const float *src[16];
    float w[16];
    for (int64_t r = from; r < to; r++) {
        const sky_tap *t;
        const float *map = row_source(o, r, &t);
        for (int64_t j = 0; j < o->w; j++) {
            pixel_sources(o, map, t, j, src, w);
            ((uint8_t *)o->y)[r * o->w + j] = (uint8_t)o->k->mix_argmax(src, w, o->C);
        }
    }
}

/* A class map cannot show a NaN, so it is refused where it still can be named. */
static int refuse_nan(const sky_tensor *x, sky_err *e)
{
    int64_t n = sky_numel(x), C = x->shape[3], W = x->shape[2], H = x->shape[1];
    for (int64_t i = 0; i < n; i++)
        if (isnan(f32(x)[i]))
            return sky_fail(e, SKY_ECORRUPT, "resize_argmax: sample %lld, row %lld, column %lld, channel %lld is not a number",
                            (long long)(i / (C * W * H)), (long long)(i / (C * W) % H), (long long)(i / C % W), (long long)(i % C));
    return SKY_OK;
}

int sky_cpu_resize_argmax(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e)
{
    struct resize o;
    int rc = refuse_nan(x, e);
    if (!rc)
        rc = resize_open(&o, d, y, x, SKY_BILINEAR_CORNERS, "resize_argmax", e);
    if (rc)
        return rc;
    sky_cpu_rows(d, y->shape[0] * o.h, o.w * (4 * o.C + 1), argmax_rows, &o);
    resize_close(&o);
    return SKY_OK;
}

/* ---- pooling -------------------------------------------------------------------------------------------------- */

struct pool {
    const sky_row_kernels *k;
    float *y;
    const float *x;
    int64_t H, W, C, h, w;
    double *sums; /* [threads, C] */
};

static struct pool pool_of(sky_dev *d, sky_tensor *y, const sky_tensor *x)
{
    return (struct pool){d->k, y->data, x->data, x->shape[1], x->shape[2], x->shape[3], y->shape[1], y->shape[2], NULL};
}

static void avg2_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct pool *o = arg;
    static const float quarter[4] = {0.25f, 0.25f, 0.25f, 0.25f};
    for (int64_t r = from; r < to; r++)
        for (int64_t j = 0; j < o->w; j++) {
            const float *a = o->x + ((r / o->h * o->H + r % o->h * 2) * o->W + 2 * j) * o->C, *b = a + o->W * o->C;
            o->k->mix(o->y + (r * o->w + j) * o->C, (const float *[]){a, a + o->C, b, b + o->C}, quarter, 4, o->C, 0);
        }
}

int sky_cpu_avg_pool2(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e)
{
    (void)e;
    struct pool o = pool_of(d, y, x);
    sky_cpu_rows(d, y->shape[0] * o.h, 20 * o.w * o.C, avg2_rows, &o);
    return SKY_OK;
}

/* Cell i of s covers floor(i*n/s) .. ceil((i+1)*n/s)-1. */
static void adaptive_cell(void *arg, int64_t cell, int thread)
{
    const struct pool *o = arg;
    int64_t b = cell / (o->h * o->w), i = cell / o->w % o->h, j = cell % o->w;
    int64_t y0 = i * o->H / o->h, y1 = ((i + 1) * o->H + o->h - 1) / o->h;
    int64_t x0 = j * o->W / o->w, x1 = ((j + 1) * o->W + o->w - 1) / o->w;
    double *sum = o->sums + thread * o->C;
    memset(sum, 0, (size_t)o->C * sizeof *sum);
    for (int64_t y = y0; y < y1; y++)
        for (int64_t x = x0; x < x1; x++)
            o->k->accumulate(sum, o->x + ((b * o->H + y) * o->W + x) * o->C, NULL, o->C);
    for (int64_t c = 0; c < o->C; c++)
        o->y[cell * o->C + c] = (float)(sum[c] / (double)((y1 - y0) * (x1 - x0)));
}

int sky_cpu_adaptive_avg_pool(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e)
{
    struct pool o = pool_of(d, y, x);
    o.sums = sky_cpu_scratch(d, (size_t)o.C * (size_t)sky_pool_threads(d->pool) * sizeof *o.sums, "adaptive_avg_pool", e);
    if (!o.sums)
        return e->code;
    sky_pool_for(d->pool, y->shape[0] * o.h * o.w, adaptive_cell, &o);
    return SKY_OK;
}
