/* Normalisations over the last dimension, and batch norm over all others. */
#include "base/mem.h"
#include "cpu/device_internal.h"

#include <math.h>
#include <string.h>

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

int sky_cpu_batchnorm_fold(sky_dev *d, sky_tensor *y, const sky_tensor *w, const sky_tensor *b, const sky_tensor *mean, const sky_tensor *var, float eps, sky_err *e)
{
    (void)d, (void)e;
    int64_t n = sky_last(w);
    float *scale = y->data, *shift = scale + n;
    for (int64_t i = 0; i < n; i++) {
        double s = (double)f32(w)[i] / sqrt((double)f32(var)[i] + (double)eps);
        scale[i] = (float)s;
        shift[i] = (float)((double)f32(b)[i] - (double)f32(mean)[i] * s);
    }
    return SKY_OK;
}

/* ---- batch norm with the statistics of the batch ------------------------------------------------------------- */

enum { STAT_ROWS = 256 }; /* rows summed in order into one partial sum; partial sums are then added in order */

struct stats {
    const sky_row_kernels *k;
    const float *x;
    double *part;       /* [pieces, n] */
    const double *mean; /* NULL in the first pass */
    int64_t rows, n;
};

static void stat_piece(void *arg, int64_t i, int thread)
{
    (void)thread;
    const struct stats *s = arg;
    double *part = s->part + i * s->n;
    memset(part, 0, (size_t)s->n * sizeof *part);
    for (int64_t r = i * STAT_ROWS; r < s->rows && r < (i + 1) * STAT_ROWS; r++)
        s->k->accumulate(part, s->x + r * s->n, s->mean, s->n);
}

/* Sum over rows of x, or of (x - mean)^2, divided by the number of rows. */
static void column_means(sky_dev *d, struct stats *s, double *out)
{
    int64_t pieces = (s->rows + STAT_ROWS - 1) / STAT_ROWS;
    sky_pool_for(d->pool, pieces, stat_piece, s);
    for (int64_t c = 0; c < s->n; c++) {
        double sum = 0;
        for (int64_t i = 0; i < pieces; i++)
            sum += s->part[i * s->n + c];
        out[c] = sum / (double)s->rows;
    }
}

static void update_running(float *running, const double *now, double factor, float momentum, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        running[i] = (float)((1 - (double)momentum) * (double)running[i] + (double)momentum * factor * now[i]);
}

struct affine {
    const sky_row_kernels *k;
    float *y;
    const float *x, *mean, *scale, *shift;
    float slope;
    int64_t n;
};

static void affine_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct affine *o = arg;
    for (int64_t i = from; i < to; i++)
        o->k->affine(o->y + i * o->n, o->x + i * o->n, o->mean, o->scale, o->shift, o->slope, o->n);
}

static float slope_of(sky_act act) { return act == SKY_ACT_RELU ? 0.0f : act == SKY_ACT_LEAKY ? 0.01f : 1.0f; }

int sky_cpu_batchnorm_train(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *b, sky_tensor *running_mean, sky_tensor *running_var, float momentum, float eps, sky_act act, sky_err *e)
{
    int64_t n = sky_last(x), rows = sky_rows(x), pieces = (rows + STAT_ROWS - 1) / STAT_ROWS;
    double *part = sky_alloc((size_t)((pieces + 2) * n) * sizeof *part + (size_t)n * 3 * sizeof(float));
    if (!part)
        return sky_fail(e, SKY_ENOMEM, "batchnorm_train: out of memory");
    double *mean = part + pieces * n, *var = mean + n;
    float *centre = (float *)(var + n), *scale = centre + n, *shift = scale + n;
    struct stats s = {d->k, x->data, part, NULL, rows, n};
    column_means(d, &s, mean);
    s.mean = mean;
    column_means(d, &s, var);
    for (int64_t i = 0; i < n; i++) {
        double g = (double)f32(w)[i] / sqrt(var[i] + (double)eps);
        centre[i] = (float)mean[i]; /* subtracted from x first: x*scale + shift would lose digits far from zero */
        scale[i] = (float)g;
        shift[i] = (float)((double)f32(b)[i] + ((double)centre[i] - mean[i]) * g);
    }
    struct affine o = {d->k, y->data, x->data, centre, scale, shift, slope_of(act), n};
    sky_cpu_rows(d, rows, 2 * n * 4, affine_rows, &o);
    if (running_mean->data) {
        update_running(running_mean->data, mean, 1, momentum, n);
        update_running(running_var->data, var, (double)rows / (double)(rows - 1), momentum, n);
    }
    sky_free(part);
    return act == SKY_ACT_GELU ? sky_cpu_activate(d, y, y, act, e) : SKY_OK;
}
