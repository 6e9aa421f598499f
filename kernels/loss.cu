/* loss.cu -- losses: sums in F64 (a warp per row, pieces added in order: columns.cuh), then ratios; and gradients.
 * Bound (computed, not measured): one read of the logits for a sum, read and write for a gradient, over memory bandwidth.
 * The differences of nearly equal distributions (KL) are taken in double throughout. */
#include "columns.cuh"

enum { WARPS = 8 };

struct entropy {
    const float *x, *weight; /* weight may be NULL */
    const uint8_t *labels;
    int64_t rows;
    int C, ignore, groups, sigmoid;
};

static __device__ inline int group_of(const entropy &o, int label) { return o.groups == 2 && label == 0; }

/* max and log of the sum of exp(x - max) of a row, by one warp */
static __device__ inline double log_sum(const float *x, int64_t n, int lane)
{
    float top = -INFINITY;
    for (int64_t j = lane; j < n; j += 32)
        top = fmaxf(top, x[j]);
    top = lanes_max(top);
    double sum = 0;
    for (int64_t j = lane; j < n; j += 32)
        sum += static_cast<double>(expf(x[j] - top));
    return static_cast<double>(top) + log(lanes_sum(sum));
}

static int describe(sky_dev *d, entropy *o, const sky_tensor *x, const sky_tensor *labels, const sky_entropy *s, const char *op, sky_err *e)
{
    int C = static_cast<int>(sky_last(x));
    const float *weight = NULL;
    if (s->weight && !(weight = static_cast<const float *>(sky_cuda_small(d, s->weight, static_cast<size_t>(C) * sizeof *weight, op, e))))
        return e->code;
    *o = entropy{f32(x), weight, static_cast<const uint8_t *>(labels->data), sky_rows(x), C, s->ignore, s->groups, s->sigmoid};
    return SKY_OK;
}

static int check_labels(sky_dev *d, const entropy *o, const sky_tensor *labels, const char *op, sky_err *e)
{
    const uint8_t *p = o->labels;
    int C = o->C, ignore = o->ignore;
    sky_cuda_check c = {op, "label", labels->shape[2], labels->shape[1], 0, C - 1};
    unsigned long long *bad;
    int rc = sky_cuda_checking(d, &c, &bad, e);
    return rc ? rc : each(d, o->rows, op, e, [=] __device__(int64_t i) {
        if (p[i] >= C && p[i] != ignore)
            fails(bad, i, p[i]);
    });
}

/* Of one pixel: -log of the likelihood, weighted. All lanes get it. */
static __device__ inline double pixel_loss(const entropy &o, int64_t r, int lane, int label)
{
    const float *x = o.x + r * o.C;
    if (!o.sigmoid) {
        double all = log_sum(x, o.C, lane);
        return label < o.C ? (all - static_cast<double>(x[label])) * (o.weight ? static_cast<double>(o.weight[label]) : 1.0) : 0.0;
    }
    double sum = 0;
    for (int c = lane; c < o.C; c += 32) {
        float v = x[c];
        sum += static_cast<double>((fmaxf(v, 0.0f) - (c == label ? v : 0.0f) + log1pf(expf(-fabsf(v)))) * (o.weight ? o.weight[c] : 1.0f));
    }
    return lanes_sum(sum);
}

/* out[2G]: sums, then counts */
static int sums(sky_dev *d, double *out, double *part, const entropy &o, sky_err *e)
{
    auto term = [=] __device__(int64_t r, int lane, double *v) {
        int label = o.labels[r], g = group_of(o, label);
        double loss = label == o.ignore ? 0.0 : pixel_loss(o, r, lane, label), count = o.sigmoid ? o.C : 1;
        v[0] = g ? 0.0 : loss, v[1] = g ? loss : 0.0;
        v[2] = g ? 0.0 : count, v[3] = g ? count : 0.0;
    };
    if (o.groups == 2)
        return reduce<4>(d, out, part, o.rows, "entropy_sums", e, term);
    return reduce<2>(d, out, part, o.rows, "entropy_sums", e, [=] __device__(int64_t r, int lane, double *v) {
        double all[4];
        term(r, lane, all);
        v[0] = all[0], v[1] = all[2];
    });
}

static int entropy_sums(sky_dev *d, sky_tensor *s, const sky_tensor *x, const sky_tensor *labels, const sky_entropy *how, sky_err *e)
{
    entropy o = {};
    double *part = static_cast<double *>(sky_cuda_scratch(d, reduce_bytes(sky_rows(x), 4), "entropy_sums", e));
    if (!part || describe(d, &o, x, labels, how, "entropy_sums", e) || check_labels(d, &o, labels, "entropy_sums", e))
        return e->code;
    return sums(d, static_cast<double *>(s->data), part, o, e);
}

static int ratio(sky_dev *d, sky_tensor *y, const sky_tensor *t, double factor, double eps, sky_err *e)
{
    const double *s = static_cast<const double *>(t->data);
    int groups = static_cast<int>(sky_numel(t) / 2);
    float *to = f32_out(y);
    return each(d, 1, "ratio", e, [=] __device__(int64_t) {
        double sum = 0;
        for (int g = 0; g < groups; g++)
            sum += s[g] / (s[groups + g] + eps);
        *to = static_cast<float>(factor * sum);
    });
}

static __global__ void entropy_backward_warp(float *dx, const float *dy, const double *s, entropy o, double factor, double eps, int add)
{
    int lane = threadIdx.x % 32;
    int64_t r = static_cast<int64_t>(blockIdx.x) * WARPS + threadIdx.x / 32;
    if (r >= o.rows)
        return;
    const float *x = o.x + r * o.C;
    int label = o.labels[r], used = label != o.ignore;
    double scale = used ? static_cast<double>(*dy) * factor / (s[o.groups + group_of(o, label)] + eps) : 0.0;
    if (o.weight && !o.sigmoid && used && label < o.C)
        scale *= static_cast<double>(o.weight[label]);
    float all = used && !o.sigmoid ? static_cast<float>(log_sum(x, o.C, lane)) : 0.0f;
    for (int c = lane; c < o.C; c += 32) {
        float p = o.sigmoid ? 1.0f / (1.0f + expf(-x[c])) : expf(x[c] - all), w = o.sigmoid && o.weight ? o.weight[c] : 1.0f;
        give(dx + r * o.C + c, used ? static_cast<float>(scale) * w * (p - (c == label ? 1.0f : 0.0f)) : 0.0f, add);
    }
}
static int entropy_backward(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const sky_tensor *x, const sky_tensor *labels, const sky_entropy *how, const sky_tensor *s, double factor, double eps, sky_err *e)
{
    entropy o = {};
    if (describe(d, &o, x, labels, how, "entropy_backward", e))
        return e->code;
    SKY_LAUNCH(entropy_backward_warp, dim3(sky_blocks(o.rows, WARPS)), dim3(32 * WARPS), 0, d->stream, f32_out(&dx->t), f32(dy), static_cast<const double *>(s->data), o, factor, eps, dx->add);
    return sky_cuda_launched("entropy_backward", e);
}

/* ---- pairs of maps -------------------------------------------------------------------------------------------------- */

struct pair {
    const float *a, *b;
    const uint8_t *flag; /* device, per sample */
    int64_t rows, C, per_sample; /* rows of C, rows per sample */
};

static int pair_of(sky_dev *d, pair *o, const sky_tensor *a, const sky_tensor *b, const uint8_t *flag, int64_t C, const char *op, sky_err *e)
{
    const uint8_t *f = static_cast<const uint8_t *>(sky_cuda_small(d, flag, static_cast<size_t>(a->shape[0]), op, e));
    if (!f)
        return e->code;
    int64_t rows = sky_numel(a) / C;
    *o = pair{f32(a), f32(b), f, rows, C, rows / a->shape[0]};
    return SKY_OK;
}

static __device__ inline double log_sum_double(const float *x, int64_t n, int lane)
{
    float top = -INFINITY;
    for (int64_t j = lane; j < n; j += 32)
        top = fmaxf(top, x[j]);
    top = lanes_max(top);
    double sum = 0;
    for (int64_t j = lane; j < n; j += 32)
        sum += exp(static_cast<double>(x[j]) - static_cast<double>(top));
    return static_cast<double>(top) + log(lanes_sum(sum));
}

static int kl(sky_dev *d, double *out, double *part, const pair &o, int64_t samples, sky_err *e)
{
    int rc = reduce<1>(d, out, part, o.rows, "kl_sums", e, [=] __device__(int64_t r, int lane, double *v) {
        v[0] = 0;
        if (!o.flag[r / o.per_sample])
            return;
        const float *a = o.a + r * o.C, *b = o.b + r * o.C;
        double la = log_sum_double(a, o.C, lane), lb = log_sum_double(b, o.C, lane), sum = 0;
        for (int64_t j = lane; j < o.C; j += 32) {
            double pa = static_cast<double>(a[j]) - la, pb = static_cast<double>(b[j]) - lb;
            sum += (exp(pb) - exp(pa)) * (pb - pa);
        }
        v[0] = lanes_sum(sum);
    });
    return rc ? rc : each(d, 1, "kl_sums", e, [=] __device__(int64_t) { out[1] = static_cast<double>(samples); });
}

static int kl_sums(sky_dev *d, sky_tensor *s, const sky_tensor *a, const sky_tensor *b, const uint8_t *flag, sky_err *e)
{
    pair o = {};
    double *part = static_cast<double *>(sky_cuda_scratch(d, reduce_bytes(sky_rows(a), 1), "kl_sums", e));
    if (!part || pair_of(d, &o, a, b, flag, sky_last(a), "kl_sums", e))
        return e->code;
    return kl(d, static_cast<double *>(s->data), part, o, a->shape[0], e);
}
/* With q = pb - pa and l = log pb - log pa: da = -pa (l - sum pa l) - q, db = pb (l - sum pb l) + q. */
static __global__ void kl_backward_warp(float *da, float *db, const float *dy, const double *s, pair o, double factor, double eps, int adda, int addb)
{
    int lane = threadIdx.x % 32;
    int64_t r = static_cast<int64_t>(blockIdx.x) * WARPS + threadIdx.x / 32;
    if (r >= o.rows)
        return;
    const float *a = o.a + r * o.C, *b = o.b + r * o.C;
    int used = o.flag[r / o.per_sample] != 0;
    double scale = static_cast<double>(*dy) * factor / (s[1] + eps), la = 0, lb = 0, ma = 0, mb = 0;
    if (used) {
        la = log_sum_double(a, o.C, lane), lb = log_sum_double(b, o.C, lane);
        for (int64_t j = lane; j < o.C; j += 32) {
            double pa = static_cast<double>(a[j]) - la, pb = static_cast<double>(b[j]) - lb;
            ma += exp(pa) * (pb - pa);
            mb += exp(pb) * (pb - pa);
        }
        ma = lanes_sum(ma), mb = lanes_sum(mb);
    }
    for (int64_t j = lane; j < o.C; j += 32) {
        double pa = static_cast<double>(a[j]) - la, pb = static_cast<double>(b[j]) - lb, l = pb - pa, q = exp(pb) - exp(pa);
        if (da)
            give(da + r * o.C + j, used ? static_cast<float>(scale * (-exp(pa) * (l - ma) - q)) : 0.0f, adda);
        if (db)
            give(db + r * o.C + j, used ? static_cast<float>(scale * (exp(pb) * (l - mb) + q)) : 0.0f, addb);
    }
}
static int kl_backward(sky_dev *d, sky_grad *da, sky_grad *db, const sky_tensor *dy, const sky_tensor *a, const sky_tensor *b, const uint8_t *flag, const sky_tensor *s, double factor, double eps, sky_err *e)
{
    pair o = {};
    if (pair_of(d, &o, a, b, flag, sky_last(a), "kl_backward", e))
        return e->code;
    SKY_LAUNCH(kl_backward_warp, dim3(sky_blocks(o.rows, WARPS)), dim3(32 * WARPS), 0, d->stream, f32_out(&da->t), f32_out(&db->t), f32(dy), static_cast<const double *>(s->data),
               o, factor, eps, da->add, db->add);
    return sky_cuda_launched("kl_backward", e);
}

/* Rows of one element; a warp of the reduction takes 128 of them. */
enum { RUN = 128 };

static int mse(sky_dev *d, double *out, double *part, const pair &o, int64_t samples, sky_err *e)
{
    int rc = reduce<1>(d, out, part, (o.rows + RUN - 1) / RUN, "mse_sums", e, [=] __device__(int64_t r, int lane, double *v) {
        double sum = 0;
        for (int64_t i = r * RUN + lane; i < (r + 1) * RUN && i < o.rows; i += 32)
            if (o.flag[quotient(i, o.per_sample)]) {
                double diff = static_cast<double>(o.a[i]) - static_cast<double>(o.b[i]);
                sum += diff * diff;
            }
        v[0] = lanes_sum(sum);
    });
    return rc ? rc : each(d, 1, "mse_sums", e, [=] __device__(int64_t) {
        double n = 0;
        for (int64_t i = 0; i < samples; i++)
            n += o.flag[i] != 0;
        out[0] /= static_cast<double>(o.per_sample);
        out[1] = n;
    });
}
static int mse_sums(sky_dev *d, sky_tensor *s, const sky_tensor *a, const sky_tensor *b, const uint8_t *flag, sky_err *e)
{
    pair o = {};
    double *part = static_cast<double *>(sky_cuda_scratch(d, reduce_bytes((sky_numel(a) + RUN - 1) / RUN, 1), "mse_sums", e));
    if (!part || pair_of(d, &o, a, b, flag, 1, "mse_sums", e))
        return e->code;
    return mse(d, static_cast<double *>(s->data), part, o, a->shape[0], e);
}
static int mse_backward(sky_dev *d, sky_grad *da, sky_grad *db, const sky_tensor *dy, const sky_tensor *a, const sky_tensor *b, const uint8_t *flag, const sky_tensor *s, double factor, double eps, sky_err *e)
{
    pair o = {};
    if (pair_of(d, &o, a, b, flag, 1, "mse_backward", e))
        return e->code;
    float *pa = f32_out(&da->t), *pb = f32_out(&db->t);
    const float *g = f32(dy);
    const double *ps = static_cast<const double *>(s->data);
    int adda = da->add, addb = db->add;
    return each(d, o.rows, "mse_backward", e, [=] __device__(int64_t i) {
        double scale = o.flag[quotient(i, o.per_sample)] ? static_cast<double>(*g) * factor / (ps[1] + eps) * 2 / static_cast<double>(o.per_sample) : 0.0;
        float v = static_cast<float>(scale * (static_cast<double>(o.a[i]) - static_cast<double>(o.b[i])));
        if (pa)
            give(pa + i, v, adda);
        if (pb)
            give(pb + i, -v, addb);
    });
}

void sky_cuda_fill_loss(sky_backend *b)
{
    b->entropy_sums = entropy_sums;
    b->kl_sums = kl_sums;
    b->mse_sums = mse_sums;
    b->ratio = ratio;
    b->entropy_backward = entropy_backward;
    b->kl_backward = kl_backward;
    b->mse_backward = mse_backward;
}
