/* batchnorm.cu -- batch norm over all but the last dimension, in steps (sums are joined over ranks between them). Sums F64 in fixed order (columns.cuh); the mean is subtracted before squares are summed.
 * Bound (computed, not measured): statistics read x twice, the result 8 bytes per element, over memory bandwidth. */
#include "columns.cuh"

static int channel_sums(sky_dev *d, sky_tensor *s, const sky_tensor *x, const sky_tensor *mean, sky_err *e)
{
    int64_t rows = sky_rows(x), n = sky_last(x);
    double *part = static_cast<double *>(sky_cuda_scratch(d, column_bytes(rows, n, 1), "channel_sums", e)), *out = static_cast<double *>(s->data);
    if (!part)
        return e->code;
    const float *px = f32(x), *pm = f32(mean);
    return columns<1>(d, part, rows, n, "channel_sums", e,
        [=] __device__(int64_t r, int64_t c, double *v) {
            double a = px[r * n + c];
            v[0] = pm ? (a - pm[c]) * (a - pm[c]) : a;
        },
        [=] __device__(int64_t c, const double *v) { out[c] = v[0]; });
}

static int channel_mean(sky_dev *d, sky_tensor *y, const sky_tensor *s, double count, sky_err *e)
{
    float *to = f32_out(y);
    const double *from = static_cast<const double *>(s->data);
    return each(d, sky_numel(y), "channel_mean", e, [=] __device__(int64_t c) { to[c] = static_cast<float>(from[c] / count); });
}

static int batchnorm(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *b, const sky_tensor *mean, const sky_tensor *var, float eps, sky_act act, sky_err *e)
{
    int64_t n = sky_last(x);
    float *scale = static_cast<float *>(sky_cuda_scratch(d, static_cast<size_t>(n) * sizeof *scale, "batchnorm", e));
    if (!scale)
        return e->code;
    const float *pw = f32(w), *pv = f32(var);
    int rc = each(d, n, "batchnorm", e, [=] __device__(int64_t c) {
        scale[c] = static_cast<float>(static_cast<double>(pw[c]) / sqrt(static_cast<double>(pv[c]) + static_cast<double>(eps)));
    });
    if (rc)
        return rc;
    float *to = f32_out(y);
    const float *px = f32(x), *pb = f32(b), *pm = f32(mean);
    return each(d, sky_numel(x), "batchnorm", e, [=] __device__(int64_t i) {
        int64_t r = i, c = divide(&r, n);
        to[i] = activated((px[i] - pm[c]) * scale[c] + pb[c], act);
    });
}

static int update_stats(sky_dev *d, sky_tensor *running_mean, sky_tensor *running_var, const sky_tensor *mean, const sky_tensor *var, float momentum, double count, sky_err *e)
{
    float *rm = f32_out(running_mean), *rv = f32_out(running_var);
    const float *m = f32(mean), *v = f32(var);
    double t = static_cast<double>(momentum);
    return each(d, sky_numel(mean), "update_stats", e, [=] __device__(int64_t c) {
        rm[c] = static_cast<float>((1 - t) * static_cast<double>(rm[c]) + t * static_cast<double>(m[c]));
        rv[c] = static_cast<float>((1 - t) * static_cast<double>(rv[c]) + t * (count / (count - 1)) * static_cast<double>(v[c]));
    });
}

static int batchnorm_fold(sky_dev *d, sky_tensor *y, const sky_tensor *w, const sky_tensor *b, const sky_tensor *mean, const sky_tensor *var, float eps, sky_err *e)
{
    int64_t n = sky_last(w);
    float *scale = f32_out(y), *shift = scale + n;
    const float *pw = f32(w), *pb = f32(b), *pm = f32(mean), *pv = f32(var);
    return each(d, n, "batchnorm_fold", e, [=] __device__(int64_t c) {
        double s = static_cast<double>(pw[c]) / sqrt(static_cast<double>(pv[c]) + static_cast<double>(eps));
        scale[c] = static_cast<float>(s);
        shift[c] = static_cast<float>(static_cast<double>(pb[c]) - static_cast<double>(pm[c]) * s);
    });
}

/* ---- gradients ------------------------------------------------------------------------------------------------------ */

static int refuse_gelu(sky_act act, const char *op, sky_err *e)
{
    return act == SKY_ACT_GELU ? sky_fail(e, SKY_EDEVICE, "%s: GELU needs the value before it, which is not kept", op) : SKY_OK;
}

static int batchnorm_sums(sky_dev *d, sky_tensor *s, const sky_tensor *dy, const sky_tensor *y, const sky_tensor *x, const sky_tensor *mean, const sky_tensor *var, float eps, sky_act act, sky_err *e)
{
    int64_t rows = sky_rows(x), n = sky_last(x);
    if (refuse_gelu(act, "batchnorm_sums", e))
        return e->code;
    double *part = static_cast<double *>(sky_cuda_scratch(d, column_bytes(rows, n, 2), "batchnorm_sums", e)), *out = static_cast<double *>(s->data);
    if (!part)
        return e->code;
    const float *pg = f32(dy), *py = f32(y), *px = f32(x), *pm = f32(mean), *pv = f32(var);
    return columns<2>(d, part, rows, n, "batchnorm_sums", e,
        [=] __device__(int64_t r, int64_t c, double *v) {
            double dz = static_cast<double>(pg[r * n + c]) * static_cast<double>(act == SKY_ACT_NONE ? 1.0f : slope(py[r * n + c], act));
            v[0] = dz;
            v[1] = dz * (static_cast<double>(px[r * n + c]) - static_cast<double>(pm[c]));
        },
        [=] __device__(int64_t c, const double *v) {
            out[c] = v[0];
            out[n + c] = v[1] / sqrt(static_cast<double>(pv[c]) + static_cast<double>(eps));
        });
}

static int batchnorm_dx(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *mean, const sky_tensor *var, const sky_tensor *s, double count, float eps, sky_act act, sky_err *e)
{
    int64_t n = sky_last(x);
    if (refuse_gelu(act, "batchnorm_dx", e))
        return e->code;
    float *scale = static_cast<float *>(sky_cuda_scratch(d, static_cast<size_t>(n) * 3 * sizeof *scale, "batchnorm_dx", e));
    if (!scale)
        return e->code;
    /* dx = scale * (dz - first - (x - mean) * second) */
    float *first = scale + n, *second = first + n, *to = f32_out(&dx->t);
    const float *pg = f32(dy), *py = f32(y), *px = f32(x), *pw = f32(w), *pm = f32(mean), *pv = f32(var);
    const double *ps = static_cast<const double *>(s->data);
    int add = dx->add;
    int rc = each(d, n, "batchnorm_dx", e, [=] __device__(int64_t c) {
        double inverse = 1 / sqrt(static_cast<double>(pv[c]) + static_cast<double>(eps));
        scale[c] = static_cast<float>(static_cast<double>(pw[c]) * inverse);
        first[c] = ps ? static_cast<float>(ps[c] / count) : 0.0f;
        second[c] = ps ? static_cast<float>(ps[n + c] / count * inverse) : 0.0f;
    });
    if (rc)
        return rc;
    return each(d, sky_numel(dy), "batchnorm_dx", e, [=] __device__(int64_t i) {
        int64_t r = i, c = divide(&r, n);
        float dz = act == SKY_ACT_NONE ? pg[i] : pg[i] * slope(py[i], act);
        give(to + i, scale[c] * (ps ? dz - first[c] - (px[i] - pm[c]) * second[c] : dz), add);
    });
}

static int f64_to_grad(sky_dev *d, sky_grad *y, const sky_tensor *s, int64_t from, sky_err *e)
{
    const double *p = static_cast<const double *>(s->data) + from;
    float *to = f32_out(&y->t);
    int add = y->add;
    return each(d, sky_numel(&y->t), "f64_to_grad", e, [=] __device__(int64_t i) { give(to + i, static_cast<float>(p[i]), add); });
}

void sky_cuda_fill_batchnorm(sky_backend *b)
{
    b->channel_sums = channel_sums;
    b->channel_mean = channel_mean;
    b->batchnorm = batchnorm;
    b->update_stats = update_stats;
    b->batchnorm_fold = batchnorm_fold;
    b->batchnorm_sums = batchnorm_sums;
    b->batchnorm_dx = batchnorm_dx;
    b->f64_to_grad = f64_to_grad;
}
