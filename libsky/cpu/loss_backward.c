/* Gradients of the losses. Each is a ratio factor * sum_g s[g]/(s[G+g]+eps) of sums over pixels or samples; what one term of
 * s[g] gets is dy * factor/(s[G+g]+eps). */
#include "cpu/device_internal.h"

#include <math.h>

static double share(const sky_tensor *dy, const sky_tensor *s, int64_t group, double factor, double eps)
{
    return (double)*f32(dy) * factor / (((const double *)s->data)[sky_numel(s) / 2 + group] + eps);
}

/* ---- cross entropy --------------------------------------------------------------------------------------------- */

struct entropy {
    const sky_row_kernels *k;
    float *dx, *rows; /* rows: [threads, C] */
    const float *x;
    const uint8_t *labels;
    const sky_entropy *o;
    double share[2];
    int64_t C;
    int add;
};

static void entropy_rows(void *arg, int64_t from, int64_t to, int thread)
{
    const struct entropy *v = arg;
    const sky_entropy *o = v->o;
    for (int64_t i = from; i < to; i++) {
        int label = v->labels[i];
        float *dx = v->dx + i * v->C;
        double g = v->share[o->groups == 2 && label == 0];
        if (label == o->ignore) {
            if (!v->add)
                memset(dx, 0, (size_t)v->C * sizeof *dx);
        } else if (o->sigmoid)
            v->k->sigmoid_entropy(dx, v->x + i * v->C, o->weight, label, (float)g, v->add, v->C);
        else
            v->k->softmax_entropy(dx, v->rows + thread * v->C, v->x + i * v->C, label,
                                  (float)(o->weight ? g * (double)o->weight[label] : g), v->add, v->C);
    }
}

/* The labels were checked when the sums were taken. */
int sky_cpu_entropy_backward(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const sky_tensor *x, const sky_tensor *labels, const sky_entropy *o, const sky_tensor *s, double factor, double eps, sky_err *e)
{
    if (!dx->t.data)
        return SKY_OK;
    struct entropy v = {.k = d->k, .dx = dx->t.data, .x = x->data, .labels = labels->data, .o = o, .C = sky_last(x), .add = dx->add};
    for (int g = 0; g < o->groups; g++)
        v.share[g] = share(dy, s, g, factor, eps);
    v.rows = sky_cpu_scratch(d, (size_t)sky_pool_threads(d->pool) * (size_t)v.C * sizeof *v.rows, "entropy_backward", e);
    if (!v.rows)
        return e->code;
    sky_cpu_rows(d, sky_rows(x), 8 * v.C, entropy_rows, &v);
    return SKY_OK;
}

/* ---- pairs of maps --------------------------------------------------------------------------------------------- */

struct pair {
    const sky_row_kernels *k;
    const sky_grad *da, *db;
    const float *a, *b;
    const uint8_t *flag;
    double share;
    int64_t C, per_sample; /* numbers in a row, rows in a sample */
    double *rows;          /* [threads, 4, C] */
};

static float *at(const sky_grad *g, int64_t i) { return g->t.data ? (float *)g->t.data + i : NULL; }
static void zero_unless_sum(const sky_grad *g, int64_t from, int64_t n)
{
    if (g->t.data && !g->add)
        memset(at(g, from), 0, (size_t)n * sizeof(float));
}

/* p = softmax(x), l = log p */
static void distribution(const float *x, int64_t n, double *p, double *l)
{
    double top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        top = fmax(top, (double)x[i]);
    for (int64_t i = 0; i < n; i++)
        sum += p[i] = exp((double)x[i] - top);
    double off = top + log(sum);
    for (int64_t i = 0; i < n; i++) {
        p[i] /= sum;
        l[i] = (double)x[i] - off;
    }
}

/* dx_i (+)= g * (p_i*(r_i - mean of r under p) + p_i - q_i), r = log p - log q: the gradient of sum (p-q)(log p - log q)
 * by the logits of p; the one by those of q is the same with p and q exchanged. */
static void kl_row(float *dx, int add, const double *p, const double *lp, const double *q, const double *lq, double g, int64_t n)
{
    double mean = 0;
    for (int64_t i = 0; i < n; i++)
        mean += p[i] * (lp[i] - lq[i]);
    for (int64_t i = 0; i < n; i++) {
        double v = g * (p[i] * (lp[i] - lq[i] - mean) + p[i] - q[i]);
        dx[i] = (float)(add ? (double)dx[i] + v : v);
    }
}

static void kl_rows(void *arg, int64_t row, int thread)
{
    const struct pair *o = arg;
    int64_t n = o->C, i = row * n;
    if (!o->flag[row / o->per_sample]) {
        zero_unless_sum(o->da, i, n);
        zero_unless_sum(o->db, i, n);
        return;
    }
    double *pa = o->rows + thread * 4 * n, *la = pa + n, *pb = la + n, *lb = pb + n;
    distribution(o->a + i, n, pa, la);
    distribution(o->b + i, n, pb, lb);
    if (o->da->t.data)
        kl_row(at(o->da, i), o->da->add, pa, la, pb, lb, o->share, n);
    if (o->db->t.data)
        kl_row(at(o->db, i), o->db->add, pb, lb, pa, la, o->share, n);
}

int sky_cpu_kl_backward(sky_dev *d, sky_grad *da, sky_grad *db, const sky_tensor *dy, const sky_tensor *a, const sky_tensor *b, const uint8_t *flag, const sky_tensor *s, double factor, double eps, sky_err *e)
{
    struct pair o = {d->k, da, db, a->data, b->data, flag, share(dy, s, 0, factor, eps), sky_last(a), sky_rows(a) / a->shape[0], NULL};
    o.rows = sky_cpu_scratch(d, (size_t)sky_pool_threads(d->pool) * 4 * (size_t)o.C * sizeof *o.rows, "kl_backward", e);
    if (!o.rows)
        return e->code;
    sky_pool_for(d->pool, sky_rows(a), kl_rows, &o);
    return SKY_OK;
}

/* Elements from..to-1 of the batch, cut where samples meet. */
static void mse_elements(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct pair *o = arg;
    for (int64_t i = from, n; i < to; i += n) {
        int64_t sample = i / o->per_sample, end = (sample + 1) * o->per_sample;
        n = (end < to ? end : to) - i;
        if (!o->flag[sample]) {
            zero_unless_sum(o->da, i, n);
            zero_unless_sum(o->db, i, n);
            continue;
        }
        if (o->da->t.data)
            o->k->scaled_difference(at(o->da, i), o->a + i, o->b + i, (float)o->share, o->da->add, n);
        if (o->db->t.data)
            o->k->scaled_difference(at(o->db, i), o->b + i, o->a + i, (float)o->share, o->db->add, n);
    }
}

int sky_cpu_mse_backward(sky_dev *d, sky_grad *da, sky_grad *db, const sky_tensor *dy, const sky_tensor *a, const sky_tensor *b, const uint8_t *flag, const sky_tensor *s, double factor, double eps, sky_err *e)
{
    (void)e;
    struct pair o = {.k = d->k, .da = da, .db = db, .a = a->data, .b = b->data, .flag = flag, .per_sample = sky_numel(a) / a->shape[0]};
    o.share = share(dy, s, 0, factor, eps) * 2 / (double)o.per_sample;
    sky_cpu_rows(d, sky_numel(a), 16, mse_elements, &o);
    return SKY_OK;
}
