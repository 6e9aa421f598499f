/* Batch norm over all dimensions but the last, in steps: sums (which ranks may join), statistics, result, gradients. */
#include "cpu/device_internal.h"

#include <math.h>

/* ---- statistics ------------------------------------------------------------------------------------------------ */

struct stats {
    const sky_row_kernels *k;
    const float *x, *mean; /* mean NULL: plain sums */
    int64_t n;
};

static void stat_rows(void *arg, double *part, int64_t from, int64_t to)
{
    const struct stats *o = arg;
    for (int64_t i = from; i < to; i++)
        o->k->accumulate(part, o->x + i * o->n, o->mean, o->n);
}

int sky_cpu_channel_sums(sky_dev *d, sky_tensor *s, const sky_tensor *x, const sky_tensor *mean, sky_err *e)
{
    struct stats o = {d->k, x->data, mean->data, sky_last(x)};
    const double *sum = sky_cpu_row_sums(d, o.n, sky_rows(x), stat_rows, &o, "channel_sums", e);
    if (!sum)
        return e->code;
    memcpy(s->data, sum, (size_t)o.n * sizeof *sum);
    return SKY_OK;
}

int sky_cpu_channel_mean(sky_dev *d, sky_tensor *y, const sky_tensor *s, double n, sky_err *e)
{
    (void)d, (void)e;
    for (int64_t i = 0; i < sky_last(y); i++)
        f32_out(y)[i] = (float)(((const double *)s->data)[i] / n);
    return SKY_OK;
}

static void update(float *running, const float *now, double factor, float momentum, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        running[i] = (float)((1 - (double)momentum) * (double)running[i] + (double)momentum * factor * (double)now[i]);
}

int sky_cpu_update_stats(sky_dev *d, sky_tensor *running_mean, sky_tensor *running_var, const sky_tensor *mean, const sky_tensor *var, float momentum, double n, sky_err *e)
{
    (void)d, (void)e;
    update(running_mean->data, mean->data, 1, momentum, sky_last(mean));
    update(running_var->data, var->data, n / (n - 1), momentum, sky_last(mean));
    return SKY_OK;
}

/* ---- result ---------------------------------------------------------------------------------------------------- */

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

static double rstd_of(const sky_tensor *var, int64_t i, float eps) { return 1 / sqrt((double)f32(var)[i] + (double)eps); }

/* The mean is subtracted first: x*scale + shift would lose digits far from zero. */
int sky_cpu_batchnorm(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *b, const sky_tensor *mean, const sky_tensor *var, float eps, sky_act act, sky_err *e)
{
    int64_t n = sky_last(x);
    float *scale = sky_cpu_scratch(d, (size_t)n * sizeof *scale, "batchnorm", e);
    if (!scale)
        return e->code;
    for (int64_t i = 0; i < n; i++)
        scale[i] = (float)((double)f32(w)[i] * rstd_of(var, i, eps));
    struct affine o = {d->k, y->data, x->data, mean->data, scale, b->data, slope_of(act), n};
    sky_cpu_rows(d, sky_rows(x), 2 * n * 4, affine_rows, &o);
    return act == SKY_ACT_GELU ? sky_cpu_activate(d, y, y, act, e) : SKY_OK;
}

int sky_cpu_batchnorm_fold(sky_dev *d, sky_tensor *y, const sky_tensor *w, const sky_tensor *b, const sky_tensor *mean, const sky_tensor *var, float eps, sky_err *e)
{
    (void)d, (void)e;
    int64_t n = sky_last(w);
    float *scale = y->data, *shift = scale + n;
    for (int64_t i = 0; i < n; i++) {
        double s = (double)f32(w)[i] * rstd_of(var, i, eps);
        scale[i] = (float)s;
        shift[i] = (float)((double)f32(b)[i] - (double)f32(mean)[i] * s);
    }
    return SKY_OK;
}

/* ---- gradients ------------------------------------------------------------------------------------------------- */

/* With xhat = (x - mean) * rstd and dz = dy * act'(y), by the result's sign. */
struct back {
    const sky_row_kernels *k;
    float *dx;
    const float *dy, *y, *x, *mean;
    const float *scale, *m0, *m1; /* dx = scale*(dz - m0 - (x - mean)*m1) */
    float slope;
    int add;
    int64_t n;
};

static void back_sums(void *arg, double *part, int64_t from, int64_t to)
{
    const struct back *o = arg;
    for (int64_t i = from; i < to; i++)
        o->k->batchnorm_sums(part, part + o->n, o->dy + i * o->n, o->y + i * o->n, o->x + i * o->n, o->mean, o->slope, o->n);
}

static void back_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct back *o = arg;
    for (int64_t i = from; i < to; i++)
        o->k->batchnorm_dx(o->dx + i * o->n, o->dy + i * o->n, o->y + i * o->n, o->x + i * o->n, o->mean, o->scale, o->m0, o->m1, o->slope, o->add, o->n);
    o->k->fence();
}

/* The derivative of GELU needs what was before it, which batch norm does not keep. */
static int refuse_gelu(sky_act act, const char *op, sky_err *e)
{
    return act == SKY_ACT_GELU ? sky_fail(e, SKY_EUSAGE, "%s: GELU has no derivative by its result", op) : SKY_OK;
}

int sky_cpu_batchnorm_sums(sky_dev *d, sky_tensor *s, const sky_tensor *dy, const sky_tensor *y, const sky_tensor *x, const sky_tensor *mean, const sky_tensor *var, float eps, sky_act act, sky_err *e)
{
    if (refuse_gelu(act, "batchnorm_sums", e))
        return e->code;
    int64_t n = sky_last(x);
    struct back o = {.k = d->k, .dy = dy->data, .y = act ? y->data : dy->data, .x = x->data, .mean = mean->data, .slope = slope_of(act), .n = n};
    const double *sum = sky_cpu_row_sums(d, 2 * n, sky_rows(x), back_sums, &o, "batchnorm_sums", e);
    if (!sum)
        return e->code;
    double *out = s->data;
    for (int64_t i = 0; i < n; i++) {
        out[i] = sum[i];
        out[n + i] = sum[n + i] * rstd_of(var, i, eps);
    }
    return SKY_OK;
}

int sky_cpu_batchnorm_dx(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *mean, const sky_tensor *var, const sky_tensor *s, double n, float eps, sky_act act, sky_err *e)
{
    if (!dx->t.data)
        return SKY_OK;
    if (refuse_gelu(act, "batchnorm_dx", e))
        return e->code;
    int64_t C = sky_last(dy);
    const double *sum = s->data;
    float *scale = sky_cpu_scratch(d, (size_t)C * 3 * sizeof *scale, "batchnorm_dx", e), *m0 = scale + C, *m1 = m0 + C;
    if (!scale)
        return e->code;
    for (int64_t i = 0; i < C; i++) {
        double rstd = rstd_of(var, i, eps);
        scale[i] = (float)((double)f32(w)[i] * rstd);
        m0[i] = sum ? (float)(sum[i] / n) : 0;
        m1[i] = sum ? (float)(sum[C + i] / n * rstd) : 0;
    }
    /* Without sums m0 and m1 are 0 and x is not asked for: dy stands in for it. */
    struct back o = {d->k, dx->t.data, dy->data, act ? y->data : dy->data, sum ? x->data : dy->data, sum ? mean->data : m0,
                     scale, m0, m1, slope_of(act), put_mode(dx, C), C};
    sky_cpu_rows(d, sky_rows(dy), 16 * C, back_rows, &o);
    return SKY_OK;
}
