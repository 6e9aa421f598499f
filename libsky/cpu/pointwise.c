/* Element by element. */
#include "cpu/device_internal.h"

struct pointwise {
    const sky_row_kernels *k;
    float *y;
    const float *a, *b, *g;
    float slope;
    int64_t n;
};

static void add_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct pointwise *o = arg;
    for (int64_t i = from; i < to; i++)
        o->k->add(o->y + i * o->n, o->a + i * o->n, o->b, o->n);
}

static void add_elements(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct pointwise *o = arg;
    o->k->add(o->y + from, o->a + from, o->b + from, to - from);
}

int sky_cpu_add(sky_dev *d, sky_tensor *y, const sky_tensor *a, const sky_tensor *b, sky_err *e)
{
    (void)e;
    struct pointwise o = {.k = d->k, .y = y->data, .a = a->data, .b = b->data, .n = sky_numel(b)};
    int64_t total = sky_numel(a);
    if (o.n == total)
        sky_cpu_rows(d, total, 12, add_elements, &o);
    else
        sky_cpu_rows(d, total / o.n, 8 * o.n, add_rows, &o);
    return SKY_OK;
}

static void add_scaled_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct pointwise *o = arg;
    for (int64_t i = from; i < to; i++)
        o->k->add_scaled(o->y + i * o->n, o->a + i * o->n, o->g, o->b + i * o->n, o->n);
}

int sky_cpu_add_scaled(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *g, const sky_tensor *z, sky_err *e)
{
    (void)e;
    struct pointwise o = {.k = d->k, .y = y->data, .a = x->data, .b = z->data, .g = g->data, .n = sky_last(x)};
    sky_cpu_rows(d, sky_rows(x), 12 * o.n, add_scaled_rows, &o);
    return SKY_OK;
}

static void leaky_elements(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct pointwise *o = arg;
    o->k->leaky(o->y + from, o->a + from, o->slope, to - from);
}

static void gelu_elements(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct pointwise *o = arg;
    o->k->gelu(o->y + from, o->a + from, to - from);
}

int sky_cpu_activate(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_act act, sky_err *e)
{
    (void)e;
    struct pointwise o = {.k = d->k, .y = y->data, .a = x->data, .slope = slope_of(act)};
    sky_cpu_rows(d, sky_numel(x), 8, act == SKY_ACT_GELU ? gelu_elements : leaky_elements, &o);
    return SKY_OK;
}

struct cast {
    const sky_row_kernels *k;
    void *y;
    const void *x;
};

static void to_bf16(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct cast *o = arg;
    o->k->to_bf16((uint16_t *)o->y + from, (const float *)o->x + from, to - from);
}

static void from_bf16(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct cast *o = arg;
    o->k->from_bf16((float *)o->y + from, (const uint16_t *)o->x + from, to - from);
}

int sky_cpu_cast(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e)
{
    (void)e;
    struct cast o = {d->k, y->data, x->data};
    if (x->dtype == y->dtype)
        sky_cpu_copy(d, y->data, 0, x->data, 0, sky_bytes(x), 1);
    else
        sky_cpu_rows(d, sky_numel(x), 6, y->dtype == SKY_BF16 ? to_bf16 : from_bf16, &o);
    return SKY_OK;
}

/* ---- halves -------------------------------------------------------------------------------------------------- */

static void mean_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct pointwise *o = arg;
    for (int64_t i = from; i < to; i++) {
        const float *left = o->a + 2 * i * o->n;
        o->k->mix(o->y + i * o->n, (const float *[]){left, left + o->n}, (const float[]){0.5f, 0.5f}, 2, o->n, 0);
    }
}

int sky_cpu_halves_mean(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e)
{
    (void)e;
    struct pointwise o = {.k = d->k, .y = y->data, .a = x->data, .n = y->shape[2] * y->shape[3]};
    sky_cpu_rows(d, y->shape[0] * y->shape[1], 12 * o.n, mean_rows, &o);
    return SKY_OK;
}
