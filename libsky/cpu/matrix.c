/* Matrix products and convolution, plain: one double sum per element. */
#include "cpu/device_internal.h"

#include <math.h>

static float element(const void *p, sky_dtype t, int64_t i)
{
    return t == SKY_BF16 ? sky_bf16_to_f32(((const uint16_t *)p)[i]) : ((const float *)p)[i];
}
/* With BF16 weights the other operand is rounded too. */
static float operand(float x, sky_dtype t) { return t == SKY_BF16 ? sky_bf16_to_f32(sky_f32_to_bf16(x)) : x; }

static float activated(double v, sky_act act)
{
    switch (act) {
    case SKY_ACT_RELU: return (float)(v < 0 ? 0 : v);
    case SKY_ACT_LEAKY: return (float)(v < 0 ? 0.01 * v : v);
    case SKY_ACT_GELU: return (float)(0.5 * v * (1 + erf(v * M_SQRT1_2)));
    default: return (float)v;
    }
}

struct product {
    float *y;
    const float *x, *b, *res;
    const void *w;
    sky_dtype t;
    sky_act act;
    int64_t K, N, sn, sk; /* w[n*sn + k*sk] */
};

static void product_row(void *arg, int64_t r, int thread)
{
    (void)thread;
    const struct product *o = arg;
    for (int64_t n = 0; n < o->N; n++) {
        double sum = 0;
        for (int64_t k = 0; k < o->K; k++)
            sum += (double)operand(o->x[r * o->K + k], o->t) * (double)element(o->w, o->t, n * o->sn + k * o->sk);
        float v = activated(sum + (o->b ? (double)o->b[n] : 0), o->act);
        o->y[r * o->N + n] = o->res ? v + o->res[r * o->N + n] : v;
    }
}

int sky_cpu_linear(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *b, sky_act act, const sky_tensor *residual, sky_err *e)
{
    (void)e;
    struct product o = {y->data, x->data, b->data, residual->data, w->data, w->dtype, act, w->shape[1], w->shape[0], w->shape[1], 1};
    sky_pool_for(d->pool, sky_rows(x), product_row, &o);
    return SKY_OK;
}

int sky_cpu_matmul(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, sky_err *e)
{
    (void)e;
    struct product o = {y->data, x->data, NULL, NULL, w->data, w->dtype, SKY_ACT_NONE, w->shape[0], w->shape[1], 1, w->shape[1]};
    sky_pool_for(d->pool, sky_rows(x), product_row, &o);
    return SKY_OK;
}

struct conv {
    float *y;
    const float *x, *scale, *shift;
    const void *w;
    sky_dtype t;
    sky_act act;
    int64_t H, W, C, N, k;
};

static double conv_sum(const struct conv *o, int64_t b, int64_t y, int64_t x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < o->k; i++)
        for (int64_t j = 0; j < o->k; j++) {
            int64_t yy = y + i - o->k / 2, xx = x + j - o->k / 2;
            if (yy < 0 || yy >= o->H || xx < 0 || xx >= o->W)
                continue;
            for (int64_t c = 0; c < o->C; c++)
                sum += (double)operand(o->x[((b * o->H + yy) * o->W + xx) * o->C + c], o->t) *
                       (double)element(o->w, o->t, ((n * o->C + c) * o->k + i) * o->k + j);
        }
    return sum;
}

static void conv_pixel(void *arg, int64_t r, int thread)
{
    (void)thread;
    const struct conv *o = arg;
    for (int64_t n = 0; n < o->N; n++) {
        double v = conv_sum(o, r / (o->H * o->W), r / o->W % o->H, r % o->W, n);
        v = v * (o->scale ? (double)o->scale[n] : 1) + (o->shift ? (double)o->shift[n] : 0);
        o->y[r * o->N + n] = activated(v, o->act);
    }
}

int sky_cpu_conv2d(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *scale, const sky_tensor *shift, sky_act act, sky_err *e)
{
    (void)e;
    struct conv o = {y->data, x->data, scale->data, shift->data, w->data, w->dtype, act, x->shape[1], x->shape[2], x->shape[3], w->shape[0], w->shape[2]};
    sky_pool_for(d->pool, sky_rows(y), conv_pixel, &o);
    return SKY_OK;
}
