/* Gradients of what works element by element, and sums over rows for what was repeated over them; random dropping. */
#include "base/philox.h"
#include "cpu/device_internal.h"

struct pointwise {
    const sky_row_kernels *k;
    float *y;
    const float *a, *b;
    float slope;
    int gelu, add;
    int64_t n;
};

enum { STRETCH = 1024 }; /* elements in a row of their own: pieces begin at multiples of 64 bytes */

static void act_stretches(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct pointwise *o = arg;
    int64_t i = from * STRETCH, n = (to * STRETCH < o->n ? to * STRETCH : o->n) - i;
    if (o->gelu)
        o->k->gelu_back(o->y + i, o->a + i, o->b + i, o->add, n);
    else
        o->k->leaky_back(o->y + i, o->a + i, o->b + i, o->slope, o->add, n);
    o->k->fence();
}

int sky_cpu_activate_backward(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const sky_tensor *ref, sky_act act, sky_err *e)
{
    (void)e;
    if (!dx->t.data)
        return SKY_OK;
    struct pointwise o = {.k = d->k, .y = dx->t.data, .a = dy->data, .b = act ? ref->data : dy->data, .slope = slope_of(act),
                          .gelu = act == SKY_ACT_GELU, .add = put_mode(dx, 0), .n = sky_numel(dy)};
    if (o.y == o.a && o.add == SKY_PUT_FAR)
        o.add = SKY_PUT_OVER; /* in place: the lines are in the cache already */
    sky_cpu_rows(d, (o.n + STRETCH - 1) / STRETCH, 12 * STRETCH, act_stretches, &o);
    return SKY_OK;
}

static void scale_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct pointwise *o = arg;
    for (int64_t i = from; i < to; i++)
        o->k->scale_by(o->y + i * o->n, o->a + i * o->n, o->b, o->add, o->n);
    o->k->fence();
}

int sky_cpu_scale_channels(sky_dev *d, sky_grad *y, const sky_tensor *x, const sky_tensor *g, sky_err *e)
{
    (void)e;
    if (!y->t.data)
        return SKY_OK;
    struct pointwise o = {.k = d->k, .y = y->t.data, .a = x->data, .b = g->data, .add = put_mode(y, sky_last(x)), .n = sky_last(x)};
    sky_cpu_rows(d, sky_rows(x), 8 * o.n, scale_rows, &o);
    return SKY_OK;
}

static void half_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct pointwise *o = arg;
    static const float half = 0.5f;
    for (int64_t i = from; i < to; i++)
        for (int64_t k = 0; k < 2; k++)
            o->k->mix_add(o->y + (2 * i + k) * o->n, (const float *[]){o->a + i * o->n}, &half, 1, o->add, o->n);
}

int sky_cpu_halves_mean_backward(sky_dev *d, sky_grad *dx, const sky_tensor *dy, sky_err *e)
{
    (void)e;
    struct pointwise o = {.k = d->k, .y = dx->t.data, .a = dy->data, .add = dx->add, .n = dy->shape[2] * dy->shape[3]};
    if (o.y)
        sky_cpu_rows(d, dy->shape[0] * dy->shape[1], 12 * o.n, half_rows, &o);
    return SKY_OK;
}

/* ---- columns --------------------------------------------------------------------------------------------------- */

struct columns {
    const sky_row_kernels *k;
    const sky_grad *y;
    const float *a, *b; /* b NULL: plain sums */
    int64_t rows, n;
};

/* Columns from..from+m-1 of rows r0..r1-1 into part[m]. */
static void sum_columns(const struct columns *o, double *part, int64_t r0, int64_t r1, int64_t from, int64_t m)
{
    for (int64_t r = r0; r < r1; r++) {
        const float *a = o->a + r * o->n + from;
        if (o->b)
            o->k->accumulate_product(part, a, o->b + r * o->n + from, m);
        else
            o->k->accumulate(part, a, NULL, m);
    }
}

static void column_piece(void *arg, double *part, int64_t from, int64_t to)
{
    const struct columns *o = arg;
    sum_columns(o, part, from, to, 0, o->n);
}

enum { STRIP = 512, WIDE = 8192 };

static void column_strip(void *arg, int64_t i, int thread)
{
    (void)thread;
    const struct columns *o = arg;
    double part[STRIP] = {0};
    int64_t from = i * STRIP, m = o->n - from < STRIP ? o->n - from : STRIP;
    sum_columns(o, part, 0, o->rows, from, m);
    give((float *)o->y->t.data + from, o->y->add, part, m);
}

/* Wide matrices are cut into strips of columns, each summed from top to bottom; narrow ones into pieces of rows. */
static int columns(sky_dev *d, sky_grad *y, const sky_tensor *a, const float *b, const char *op, sky_err *e)
{
    if (!y->t.data)
        return SKY_OK;
    int64_t n = sky_numel(&y->t);
    struct columns o = {d->k, y, a->data, b, sky_numel(a) / n, n};
    if (n >= WIDE) {
        sky_pool_for(d->pool, (n + STRIP - 1) / STRIP, column_strip, &o);
        return SKY_OK;
    }
    const double *sum = sky_cpu_row_sums(d, n, o.rows, column_piece, &o, op, e);
    if (!sum)
        return e->code;
    give(y->t.data, y->add, sum, n);
    return SKY_OK;
}

int sky_cpu_column_sum(sky_dev *d, sky_grad *y, const sky_tensor *x, sky_err *e) { return columns(d, y, x, NULL, "column_sum", e); }

int sky_cpu_column_dot(sky_dev *d, sky_grad *y, const sky_tensor *a, const sky_tensor *b, sky_err *e)
{
    return columns(d, y, a, b->data, "column_dot", e);
}

/* ---- dropping --------------------------------------------------------------------------------------------------- */

enum { DROP_PIECE = 1 << 16, DROP_FACTORS = 4096 };

struct drop {
    const sky_row_kernels *k;
    float *y;
    const float *x;
    const sky_drops *o;
    int64_t pieces; /* per sample */
    int add;
};

/* f[n]: what elements from.. of a sample are multiplied by. */
static void factors(const struct drop *v, uint64_t sample, int64_t from, int64_t n, float *f)
{
    const sky_drops *o = v->o;
    uint64_t block = UINT64_MAX;
    sky_random r = {{0}};
    for (int64_t i = 0, run; i < n; i += run) {
        int64_t at = from + i, end = (at / o->run + 1) * o->run - from;
        uint64_t number = (uint64_t)(at / o->run % o->cycle);
        if (number / 4 != block) {
            block = number / 4;
            r = sky_philox(o->key, (uint32_t)block, o->layer, (uint32_t)sample, (uint32_t)(sample >> 32));
        }
        run = (end < n ? end : n) - i;
        v->k->fill(f + i, r.v[number % 4] >= o->threshold ? o->scale : 0, run);
    }
}

/* Short periods of decisions are drawn once per piece and repeated as often as there is room; a long one as it goes. */
static void drop_piece(void *arg, int64_t piece, int thread)
{
    (void)thread;
    const struct drop *v = arg;
    const sky_drops *o = v->o;
    float f[DROP_FACTORS];
    int64_t sample = piece / v->pieces, from = piece % v->pieces * DROP_PIECE, start = sample * o->per_sample;
    int64_t to = o->per_sample - from < DROP_PIECE ? o->per_sample : from + DROP_PIECE;
    int64_t one = o->run * o->cycle, period = one <= DROP_FACTORS ? DROP_FACTORS / one * one : 0;
    if (period)
        factors(v, o->sample[sample], 0, one, f);
    for (int64_t i = one; i < period; i += one)
        memcpy(f + i, f, (size_t)one * sizeof *f);
    for (int64_t i = from, n; i < to; i += n) {
        int64_t at = period ? i % period : 0, most = period ? period - at : DROP_FACTORS;
        n = to - i < most ? to - i : most;
        if (!period)
            factors(v, o->sample[sample], i, n, f);
        v->k->drop(v->y + start + i, v->x + start + i, f + at, v->add, n);
    }
}

int sky_cpu_drop(sky_dev *d, sky_grad *y, const sky_tensor *x, const sky_drops *o, sky_err *e)
{
    (void)e;
    struct drop v = {d->k, y->t.data, x->data, o, (o->per_sample + DROP_PIECE - 1) / DROP_PIECE, y->add};
    if (v.y)
        sky_pool_for(d->pool, sky_numel(x) / o->per_sample * v.pieces, drop_piece, &v);
    return SKY_OK;
}
