/* Gradients of the normalisations over the last dimension, from their inputs: nothing but those is kept of the forward pass. */
#include "cpu/device_internal.h"

#include <math.h>

struct norm {
    const sky_row_kernels *k;
    float *dx;
    const float *dy, *x, *w;
    float eps, scale;
    int add;
    int64_t n;
};

static void layernorm_sums(void *arg, double *part, int64_t from, int64_t to)
{
    const struct norm *o = arg;
    int64_t at = from * o->n;
    o->k->layernorm_back(o->dx ? o->dx + at : NULL, part, part + o->n, o->dy + at, o->x + at, o->w, o->eps, o->add, to - from, o->n);
    o->k->fence();
}

static void layernorm_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct norm *o = arg;
    int64_t at = from * o->n;
    o->k->layernorm_back(o->dx + at, NULL, NULL, o->dy + at, o->x + at, o->w, o->eps, o->add, to - from, o->n);
    o->k->fence();
}

int sky_cpu_layernorm_backward(sky_dev *d, sky_grad *dx, sky_grad *dw, sky_grad *db, const sky_tensor *dy, const sky_tensor *x, const sky_tensor *w, float eps, sky_err *e)
{
    struct norm o = {.k = d->k, .dx = dx->t.data, .dy = dy->data, .x = x->data, .w = w->data, .eps = eps, .n = sky_last(x)};
    o.add = dx->t.data ? put_mode(dx, o.n) : SKY_PUT_OVER;
    if (!dw->t.data && !db->t.data) {
        if (dx->t.data)
            sky_cpu_rows(d, sky_rows(x), 12 * o.n, layernorm_rows, &o);
        return SKY_OK;
    }
    const double *sum = sky_cpu_row_sums(d, 2 * o.n, sky_rows(x), layernorm_sums, &o, "layernorm_backward", e);
    if (!sum)
        return e->code;
    if (dw->t.data)
        give(dw->t.data, dw->add, sum, o.n);
    if (db->t.data)
        give(db->t.data, db->add, sum + o.n, o.n);
    return SKY_OK;
}

static void softmax_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct norm *o = arg;
    for (int64_t i = from; i < to; i++)
        o->k->softmax_back(o->dx + i * o->n, o->dy + i * o->n, o->x + i * o->n, o->scale, o->add, o->n);
}

int sky_cpu_softmax_backward(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const sky_tensor *y, float scale, sky_err *e)
{
    (void)e;
    struct norm o = {.k = d->k, .dx = dx->t.data, .dy = dy->data, .x = y->data, .scale = scale, .add = dx->add, .n = sky_last(y)};
    if (o.dx)
        sky_cpu_rows(d, sky_rows(y), 12 * o.n, softmax_rows, &o);
    return SKY_OK;
}

/* dx = (dy - y*(y.dy)) / |x|; where the length was taken for 1e-12, it is a constant. */
static void l2_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct norm *o = arg;
    for (int64_t i = from; i < to; i++) {
        const float *src[2] = {o->dy + i * o->n, o->x + i * o->n};
        double norm = sqrt(o->k->sum_squares(src[1], o->n));
        float w[2] = {(float)(1 / (norm < 1e-12 ? 1e-12 : norm)), 0};
        if (!(norm < 1e-12))
            w[1] = (float)(-o->k->dot(src[0], src[1], o->n) / norm / norm / norm);
        o->k->mix_add(o->dx + i * o->n, src, w, 2, o->add, o->n);
    }
}

int sky_cpu_l2_normalize_backward(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const sky_tensor *x, sky_err *e)
{
    (void)e;
    struct norm o = {.k = d->k, .dx = dx->t.data, .dy = dy->data, .x = x->data, .add = dx->add, .n = sky_last(x)};
    if (o.dx)
        sky_cpu_rows(d, sky_rows(x), 12 * o.n, l2_rows, &o);
    return SKY_OK;
}
