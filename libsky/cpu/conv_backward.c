/* Gradients of convolution (conv.h).
 *
 * Of the input: a convolution with the weights turned by half a circle and their first two dimensions exchanged. Of the
 * weights: the product of product_grad over pixels, the neighbours of a stretch of pixels laid beside each other tap by tap;
 * a stretch is as many pixels as fit into COLUMN_BYTES, so it depends on the shape alone. */
#include "base/mem.h"
#include "cpu/conv.h"
#include "cpu/device_internal.h"
#include "cpu/gemm_grad.h"

enum { COLUMN_BYTES = 48 << 20, LEAST_PIXELS = 64 };

/* [N,C,k,k] -> [C,N,k,k], taps in reverse. */
static void turn(void *dst, const void *src, size_t size, int64_t n, int64_t c, int64_t taps)
{
    const char *from = src;
    char *to = dst;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++)
            for (int64_t t = 0; t < taps; t++)
                memcpy(to + ((j * n + i) * taps + taps - 1 - t) * (int64_t)size, from + ((i * c + j) * taps + t) * (int64_t)size, size);
}

int sky_cpu_conv2d_dx(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const sky_tensor *w, sky_err *e)
{
    const int64_t *s = dy->shape, n = w->shape[0], c = w->shape[1];
    const float *sum = dx->add ? dx->t.data : NULL;
    if (w->shape[2] == 1) {
        sky_gemm g = {.a = dy->data, .lda = n, .m = sky_rows(dy), .k = n, .n = c, .w = w->data, .w_bf16 = w->dtype == SKY_BF16, .w_kn = 1, .ldw = c,
                      .residual = sum, .ldr = c, .y = dx->t.data, .ldy = c};
        return sky_cpu_gemm(d->pool, &d->scratch, &g, e) ? sky_wrap(e, "conv2d_dx") : SKY_OK;
    }
    void *turned = sky_alloc((size_t)sky_bytes(w));
    if (!turned)
        return sky_fail(e, SKY_ENOMEM, "conv2d_dx: out of memory");
    turn(turned, w->data, sky_dtype_size(w->dtype), n, c, w->shape[2] * w->shape[3]);
    sky_conv v = {.x = dy->data, .b = s[0], .h = s[1], .w = s[2], .c = n, .n = c, .k = (int)w->shape[2], .wt = turned, .w_bf16 = w->dtype == SKY_BF16,
                  .residual = sum, .y = dx->t.data};
    int rc = sky_cpu_conv(d->pool, &d->scratch, &v, e);
    sky_free(turned);
    return rc ? sky_wrap(e, "conv2d_dx") : SKY_OK;
}

/* ---- weights -------------------------------------------------------------------------------------------------------- */

struct columns {
    float *to;       /* [pixels, taps, C] */
    const float *x;  /* [B,H,W,C] */
    int64_t first, h, w, c;
    int k;
};

static void lay_out(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct columns *o = arg;
    for (int64_t i = from; i < to; i++) {
        int64_t p = o->first + i, px = p % o->w, py = p / o->w % o->h, img = p / o->w / o->h;
        float *row = o->to + i * o->k * o->k * o->c;
        for (int t = 0; t < o->k * o->k; t++, row += o->c) {
            int64_t y = py + t / o->k - o->k / 2, x = px + t % o->k - o->k / 2;
            if (y >= 0 && y < o->h && x >= 0 && x < o->w)
                memcpy(row, o->x + ((img * o->h + y) * o->w + x) * o->c, (size_t)o->c * sizeof *row);
            else
                memset(row, 0, (size_t)o->c * sizeof *row);
        }
    }
}

/* dw[n,c,tap] (+)= sums[n,tap,c] */
static void put_back(sky_grad *dw, const float *sums, int64_t n, int64_t c, int64_t taps)
{
    float *to = dw->t.data;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++)
            for (int64_t t = 0; t < taps; t++, to++) {
                float v = sums[(i * taps + t) * c + j];
                *to = dw->add ? *to + v : v;
            }
}

static int over_pixels(sky_dev *d, float *sums, struct columns *o, const float *dy, int64_t pixels, int64_t each, int64_t n, int bf16, sky_err *e)
{
    int64_t wide = o->k * o->k * o->c;
    int rc = SKY_OK;
    for (o->first = 0; o->first < pixels && !rc; o->first += each) {
        int64_t some = pixels - o->first < each ? pixels - o->first : each;
        sky_cpu_rows(d, some, 2 * wide * 4, lay_out, o);
        sky_product_grad g = {.a = dy + o->first * n, .b = o->to, .rows = some, .n = n, .k = wide, .bf16 = bf16, .add = o->first > 0, .dw = sums};
        rc = sky_cpu_product_grad(d->pool, &d->scratch, &g, e);
    }
    return rc;
}

int sky_cpu_conv2d_dw(sky_dev *d, sky_grad *dw, const sky_tensor *dy, const sky_tensor *x, sky_dtype products, sky_err *e)
{
    int64_t n = sky_last(dy), c = sky_last(x), k = dw->t.shape[2], wide = k * k * c, pixels = sky_rows(x);
    if (k == 1)
        return sky_cpu_product_grad_op(d, dw, dy, x, products, e);
    int64_t each = COLUMN_BYTES / (wide * 4) > LEAST_PIXELS ? COLUMN_BYTES / (wide * 4) : LEAST_PIXELS;
    each = each < pixels ? each : pixels;
    float *columns = sky_alloc((size_t)(each * wide) * sizeof *columns), *sums = sky_alloc((size_t)(n * wide) * sizeof *sums);
    struct columns o = {columns, x->data, 0, x->shape[1], x->shape[2], c, (int)k};
    int rc = columns && sums ? over_pixels(d, sums, &o, dy->data, pixels, each, n, products == SKY_BF16, e) : sky_fail(e, SKY_ENOMEM, "out of memory");
    if (!rc)
        put_back(dw, sums, n, c, k * k);
    sky_free(columns);
    sky_free(sums);
    return rc ? sky_wrap(e, "conv2d_dw") : SKY_OK;
}
