/* Losses: sums in double over pieces of fixed size, added in order. */
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
    int ignore; /* -1: none */
};

/* Pixels with label > 0 in sum[0], those of label 0 in sum[1]. */
static void entropy_piece(const void *arg, int64_t from, int64_t to, double sum[2])
{
    const struct entropy *o = arg;
    for (int64_t i = from; i < to; i++) {
        if (o->labels[i] == o->ignore)
            continue;
        const float *x = o->x + i * o->C;
        float top;
        double s;
        o->k->exp_sum(x, o->C, &top, &s);
        sum[o->labels[i] == 0] += log(s) + (double)top - (double)x[o->labels[i]];
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

static int entropy_sums(sky_dev *d, const sky_tensor *x, const sky_tensor *labels, int ignore, double sum[2], const char *op, sky_err *e)
{
    struct entropy o = {d->k, x->data, labels->data, x->shape[3], ignore};
    struct pieces p = {entropy_piece, &o, sky_rows(x), PIECE_ROWS, NULL};
    int rc = check_labels(labels, o.C, ignore, op, e);
    return rc ? rc : sum_pieces(d, &p, sum, op, e);
}

int sky_cpu_cross_entropy(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *labels, int ignore, sky_err *e)
{
    double sum[2];
    int rc = entropy_sums(d, x, labels, ignore, sum, "cross_entropy", e);
    if (!rc)
        *f32_out(y) = (float)((sum[0] + sum[1]) / (double)sky_rows(x));
    return rc;
}

int sky_cpu_rec_loss(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *labels, sky_err *e)
{
    double sum[2];
    int rc = entropy_sums(d, x, labels, -1, sum, "rec_loss", e);
    if (rc)
        return rc;
    const uint8_t *l = labels->data;
    int64_t n = sky_rows(x), zero = 0;
    for (int64_t i = 0; i < n; i++)
        zero += l[i] == 0;
    *f32_out(y) = (float)(0.5 * (sum[0] / ((double)(n - zero) + 1e-6) + sum[1] / ((double)zero + 1e-6)));
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

int sky_cpu_sym_kl(sky_dev *d, sky_tensor *y, const sky_tensor *a, const sky_tensor *b, const uint8_t *flag, sky_err *e)
{
    struct pair o = {a->data, b->data, flag, sky_last(a), sky_rows(a) / a->shape[0]};
    struct pieces p = {kl_piece, &o, sky_rows(a), 1, NULL};
    double sum[2];
    int rc = sum_pieces(d, &p, sum, "sym_kl", e);
    if (!rc)
        *f32_out(y) = (float)(sum[0] / (double)a->shape[0]);
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

int sky_cpu_masked_mse(sky_dev *d, sky_tensor *y, const sky_tensor *a, const sky_tensor *b, const uint8_t *flag, sky_err *e)
{
    struct pair o = {a->data, b->data, flag, 1, sky_numel(a) / a->shape[0]};
    struct pieces p = {mse_piece, &o, sky_numel(a), 1 << 15, NULL};
    double sum[2], present = 0;
    int rc = sum_pieces(d, &p, sum, "masked_mse", e);
    for (int64_t i = 0; i < a->shape[0]; i++)
        present += flag[i] != 0;
    if (!rc)
        *f32_out(y) = (float)(sum[0] / (double)o.per_sample / (present + 1e-6));
    return rc;
}
