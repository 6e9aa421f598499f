/* Losses: sums in double over pieces of fixed size, added in order; then their ratio. */
#include "base/mem.h"
#include "cpu/device_internal.h"

#include <math.h>

enum { PIECE_ROWS = 1024 };

/* sum[0..1] of piece i into part[2*i], part[2*i+1]; then both totals. */
struct pieces {
    void (*fn)(const void *arg, int64_t from, int64_t to, double sum[2]);
    const void *arg;
    int64_t rows, each;
    double *part;
};

static void one_piece(void *arg, int64_t i, int thread)
{
    (void)thread;
    const struct pieces *p = arg;
    int64_t to = (i + 1) * p->each;
    p->part[2 * i] = p->part[2 * i + 1] = 0;
    p->fn(p->arg, i * p->each, to < p->rows ? to : p->rows, p->part + 2 * i);
}

static int sum_pieces(sky_dev *d, struct pieces *p, double total[2], const char *op, sky_err *e)
{
    int64_t n = (p->rows + p->each - 1) / p->each;
    p->part = sky_alloc((size_t)n * 2 * sizeof *p->part);
    if (!p->part)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", op);
    sky_pool_for(d->pool, n, one_piece, p);
    total[0] = total[1] = 0;
    for (int64_t i = 0; i < n; i++) {
        total[0] += p->part[2 * i];
        total[1] += p->part[2 * i + 1];
    }
    sky_free(p->part);
    return SKY_OK;
}

/* ---- cross entropy -------------------------------------------------------------------------------------------- */

struct entropy {
    const sky_row_kernels *k;
    const float *x;
    const uint8_t *labels;
    int64_t C;
    const sky_entropy *o;
};

static double weight_of(const sky_entropy *o, int64_t c) { return o->weight ? (double)o->weight[c] : 1; }

static double softmax_entropy(const struct entropy *o, const float *x, int label)
{
    float top;
    double s;
    o->k->exp_sum(x, o->C, &top, &s);
    return weight_of(o->o, label) * (log(s) + (double)top - (double)x[label]);
}

/* log(1 + exp(x)) without overflow. */
static double softplus(double x) { return (x > 0 ? x : 0) + log1p(exp(-fabs(x))); }

static double sigmoid_entropy(const struct entropy *o, const float *x, int label)
{
    double s = 0;
    for (int64_t c = 0; c < o->C; c++)
        s += weight_of(o->o, c) * softplus((double)(c == label ? -x[c] : x[c]));
    return s;
}

static void entropy_piece(const void *arg, int64_t from, int64_t to, double sum[2])
{
    const struct entropy *o = arg;
    for (int64_t i = from; i < to; i++) {
        int label = o->labels[i];
        const float *x = o->x + i * o->C;
        if (label != o->o->ignore)
            sum[o->o->groups == 2 && label == 0] += o->o->sigmoid ? sigmoid_entropy(o, x, label) : softmax_entropy(o, x, label);
    }
}

static int check_labels(const sky_tensor *labels, int64_t C, int ignore, const char *op, sky_err *e)
{
    const uint8_t *p = labels->data;
    int64_t n = sky_numel(labels), W = labels->shape[2], H = labels->shape[1];
    for (int64_t i = 0; i < n; i++)
        if (p[i] >= C && p[i] != ignore)
            return sky_fail(e, SKY_ECORRUPT, "%s: label %d at sample %lld, row %lld, column %lld; expected 0 to %lld", op, p[i],
                            (long long)(i / (H * W)), (long long)(i / W % H), (long long)(i % W), (long long)C - 1);
    return SKY_OK;
}

static int64_t zeros(const sky_tensor *labels)
{
    const uint8_t *p = labels->data;
    int64_t n = sky_numel(labels), zero = 0;
    for (int64_t i = 0; i < n; i++)
        zero += p[i] == 0;
    return zero;
}

static int entropy_sums(sky_dev *d, double *s, const sky_tensor *x, const sky_tensor *labels, const sky_entropy *o, const char *op, sky_err *e)
{
    struct entropy v = {d->k, x->data, labels->data, x->shape[3], o};
    struct pieces p = {entropy_piece, &v, sky_rows(x), PIECE_ROWS, NULL};
    double sum[2], each = o->sigmoid ? (double)v.C : 1;
    int rc = check_labels(labels, v.C, o->ignore, op, e);
    if (!rc)
        rc = sum_pieces(d, &p, sum, op, e);
    if (rc)
        return rc;
    int64_t second = o->groups == 2 ? zeros(labels) : 0;
    memcpy(s, sum, (size_t)o->groups * sizeof *s);
    s[o->groups] = (double)(p.rows - second) * each;
    if (o->groups == 2)
        s[3] = (double)second * each;
    return SKY_OK;
}

int sky_cpu_entropy_sums(sky_dev *d, sky_tensor *s, const sky_tensor *x, const sky_tensor *labels, const sky_entropy *o, sky_err *e)
{
    return entropy_sums(d, s->data, x, labels, o, "entropy_sums", e);
}

int sky_cpu_ratio(sky_dev *d, sky_tensor *y, const sky_tensor *s, double factor, double eps, sky_err *e)
{
    (void)d, (void)e;
    const double *p = s->data;
    int64_t groups = sky_numel(s) / 2;
    double sum = 0;
    for (int64_t g = 0; g < groups; g++)
        sum += p[g] / (p[groups + g] + eps);
    *f32_out(y) = (float)(factor * sum);
    return SKY_OK;
}

/* ---- pairs of maps -------------------------------------------------------------------------------------------- */

struct pair {
    const float *a, *b;
    const uint8_t *flag;
    int64_t C, per_sample; /* rows of C, rows per sample */
};

/* log of the sum of exp over a row, all in double: differences of nearly equal distributions are what counts here. */
static double log_sum(const float *x, int64_t n)
{
    double top = -INFINITY, s = 0;
    for (int64_t i = 0; i < n; i++)
        top = fmax(top, (double)x[i]);
    for (int64_t i = 0; i < n; i++)
        s += exp((double)x[i] - top);
    return top + log(s);
}

static void kl_piece(const void *arg, int64_t from, int64_t to, double sum[2])
{
    const struct pair *o = arg;
    for (int64_t r = from; r < to; r++) {
        if (!o->flag[r / o->per_sample])
            continue;
        const float *a = o->a + r * o->C, *b = o->b + r * o->C;
        double la = log_sum(a, o->C), lb = log_sum(b, o->C);
        for (int64_t i = 0; i < o->C; i++) {
            double pa = (double)a[i] - la, pb = (double)b[i] - lb;
            sum[0] += (exp(pb) - exp(pa)) * (pb - pa);
        }
    }
}

int sky_cpu_kl_sums(sky_dev *d, sky_tensor *s, const sky_tensor *a, const sky_tensor *b, const uint8_t *flag, sky_err *e)
{
    struct pair o = {a->data, b->data, flag, sky_last(a), sky_rows(a) / a->shape[0]};
    struct pieces p = {kl_piece, &o, sky_rows(a), 1, NULL};
    double *sum = s->data;
    int rc = sum_pieces(d, &p, sum, "kl_sums", e);
    sum[1] = (double)a->shape[0];
    return rc;
}

static void mse_piece(const void *arg, int64_t from, int64_t to, double sum[2])
{
    const struct pair *o = arg;
    for (int64_t i = from; i < to; i++)
        if (o->flag[i / o->per_sample]) {
            double v = (double)o->a[i] - (double)o->b[i];
            sum[0] += v * v;
        }
}

int sky_cpu_mse_sums(sky_dev *d, sky_tensor *s, const sky_tensor *a, const sky_tensor *b, const uint8_t *flag, sky_err *e)
{
    struct pair o = {a->data, b->data, flag, 1, sky_numel(a) / a->shape[0]};
    struct pieces p = {mse_piece, &o, sky_numel(a), 1 << 15, NULL};
    double *sum = s->data;
    int rc = sum_pieces(d, &p, sum, "mse_sums", e);
    sum[0] /= (double)o.per_sample;
    sum[1] = 0;
    for (int64_t i = 0; i < a->shape[0]; i++)
        sum[1] += flag[i] != 0;
    return rc;
}
