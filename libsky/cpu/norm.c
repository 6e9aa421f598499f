/* Normalisations over the last dimension. */
#include "cpu/device_internal.h"

#include <math.h>

struct norm {
    const sky_row_kernels *k;
    float *y;
    const float *x, *w, *b, *res;
    float eps, scale;
    int64_t n;
};

static void layernorm_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct norm *o = arg;
    for (int64_t i = from; i < to; i++)
        o->k->layernorm(o->y + i * o->n, o->x + i * o->n, o->w, o->b, o->res ? o->res + i * o->n : NULL, o->eps, o->n);
}

int sky_cpu_layernorm(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *b, float eps, const sky_tensor *residual, sky_err *e)
{
    (void)e;
    struct norm o = {.k = d->k, .y = y->data, .x = x->data, .w = w->data, .b = b->data, .res = residual->data, .eps = eps, .n = sky_last(x)};
    sky_cpu_rows(d, sky_rows(x), 3 * o.n * 4, layernorm_rows, &o);
    return SKY_OK;
}

static void softmax_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct norm *o = arg;
    for (int64_t i = from; i < to; i++)
        o->k->softmax(o->y + i * o->n, o->x + i * o->n, o->scale, o->n);
}

int sky_cpu_softmax(sky_dev *d, sky_tensor *y, const sky_tensor *x, float scale, sky_err *e)
{
    (void)e;
    struct norm o = {.k = d->k, .y = y->data, .x = x->data, .scale = scale, .n = sky_last(x)};
    sky_cpu_rows(d, sky_rows(x), 4 * o.n * 4, softmax_rows, &o);
    return SKY_OK;
}

static void l2_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct norm *o = arg;
    for (int64_t i = from; i < to; i++) {
        double norm = sqrt(o->k->sum_squares(o->x + i * o->n, o->n));
        o->k->scale(o->y + i * o->n, o->x + i * o->n, (float)(1 / (norm < 1e-12 ? 1e-12 : norm)), o->n);
    }
}

int sky_cpu_l2_normalize(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e)
{
    (void)e;
    struct norm o = {.k = d->k, .y = y->data, .x = x->data, .n = sky_last(x)};
    sky_cpu_rows(d, sky_rows(x), 2 * o.n * 4, l2_rows, &o);
    return SKY_OK;
}
