/* Gradients of window attention (window_attention.h has the forward's rules).
 *
 * With unit vectors q', k' and gain g = exp(min(logit_scale, ln 100)):  p = softmax(g q'k'^T + bias + mask),
 * ds = p*(dp - sum p dp), dbias = ds, dq' = g ds k', dk' = g ds^T q', dg = sum ds*cos, and through the division by the norm
 * dq = (dq' - q'(q'.dq'))/|q|; a norm below the floor is a constant. One piece of work is one head in GROUP windows of the
 * batch; what pieces share (bias, scale, padding) is summed per piece, then over pieces in their order. Products are F32
 * also where BF16 was asked for. */
#include "cpu/device_internal.h"
#include "cpu/tile_product.h"

#include <math.h>

enum { GROUP = 32, PAD = 16 };
#define FLOOR 1e-12

typedef struct {
    sky_dev *d;
    sky_tile_product_fn *product;
    const float *dy, *qkv, *pad, *bias, *logit_scale;
    float *dqkv;
    int add;
    int64_t batch, rows, cols, wr, wc, groups; /* wr x wc windows a map */
    int heads, width, wide, win, shift, n, nk; /* wide, nk: rounded up to whole vectors */
    float *shared;          /* [groups, heads][n*n + 3*width + 1]: dbias, dpad, dlogit_scale */
    size_t per_shared;
    char *local;
    size_t local_bytes;
} job;

/* Matrices of one window and head: [nk, wide], kt and vt [wide, nk], s, p and dp [nk, nk]. */
typedef struct {
    float *q, *k, *v, *dy, *dq, *dk, *dv, *kt, *vt, *s, *p, *dp;
    double *qn, *kn;  /* norms [nk] */
    int64_t *at;      /* token in the map; -1: padding */
    int *region;
} window;

static int up(int n, int to) { return (n + to - 1) / to * to; }

static size_t carve(window *w, const job *j, char *p)
{
    size_t at = 0, nk = (size_t)j->nk, matrix = nk * (size_t)j->wide * sizeof(float), square = nk * nk * sizeof(float);
    float **const tall[] = {&w->q, &w->k, &w->v, &w->dy, &w->dq, &w->dk, &w->dv, &w->kt, &w->vt};
    float **const squares[] = {&w->s, &w->p, &w->dp};
    for (unsigned i = 0; i < sizeof tall / sizeof *tall; i++, at += matrix)
        *tall[i] = (float *)(void *)(p + at);
    for (unsigned i = 0; i < sizeof squares / sizeof *squares; i++, at += square)
        *squares[i] = (float *)(void *)(p + at);
    w->qn = (double *)(void *)(p + at);
    w->kn = w->qn + nk;
    w->at = (int64_t *)(w->kn + nk);
    w->region = (int *)(w->at + nk);
    return at + nk * (2 * sizeof(double) + sizeof(int64_t) + sizeof(int));
}

static int band(int64_t at, int64_t n, const job *j) { return (at >= n - j->win) + (at >= n - j->shift); }

static void find_tokens(window *w, const job *j, int64_t number)
{
    int64_t b = number / (j->wr * j->wc), y0 = number / j->wc % j->wr * j->win, x0 = number % j->wc * j->win, H = j->wr * j->win, W = j->wc * j->win;
    for (int t = 0; t < j->n; t++) {
        int64_t ry = y0 + t / j->win, rx = x0 + t % j->win, y = (ry + j->shift) % H, x = (rx + j->shift) % W;
        w->at[t] = y < j->rows && x < j->cols ? (b * j->rows + y) * j->cols + x : -1;
        w->region[t] = j->shift ? 3 * band(ry, H, j) + band(rx, W, j) : 0;
    }
}

static const float *source(const job *j, int64_t at, int part, int h)
{
    return (at < 0 ? j->pad : j->qkv + at * 3 * j->heads * j->width) + (part * j->heads + h) * j->width;
}

/* Rows of one part, as unit vectors where norm is given; turned: also the transpose. */
static void gather(float *to, double *norm, float *turned, const window *w, const job *j, int part, int h)
{
    for (int t = 0; t < j->n; t++) {
        const float *from = source(j, w->at[t], part, h);
        float *row = to + t * j->wide;
        if (!norm) {
            memcpy(row, from, (size_t)j->width * sizeof *row);
            continue;
        }
        double size = sqrt(j->d->k->sum_squares(from, j->width));
        norm[t] = size;
        j->d->k->scale(row, from, (float)(1 / (size < FLOOR ? FLOOR : size)), j->width);
    }
    for (int c = 0; turned && c < j->width; c++)
        for (int t = 0; t < j->n; t++)
            turned[c * j->nk + t] = to[t * j->wide + c];
}

static void gather_dy(window *w, const job *j, int h)
{
    for (int t = 0; t < j->n; t++)
        if (w->at[t] < 0) /* cropped away: nothing comes back */
            memset(w->dy + t * j->wide, 0, (size_t)j->width * sizeof *w->dy);
        else
            memcpy(w->dy + t * j->wide, j->dy + (w->at[t] * j->heads + h) * j->width, (size_t)j->width * sizeof *w->dy);
}

/* Cosines to s, probabilities to p, their gradients before the softmax to dp. */
static void scores(window *w, const job *j, int h, float gain)
{
    const float *bias = j->bias + (int64_t)h * j->n * j->n;
    j->product(&(sky_tile_product){w->q, j->wide, 1, w->kt, j->nk, w->s, j->nk, j->n, j->nk, j->width, 0});
    j->product(&(sky_tile_product){w->dy, j->wide, 1, w->vt, j->nk, w->dp, j->nk, j->n, j->nk, j->width, 0});
    for (int i = 0; i < j->n; i++) {
        float *p = w->p + i * j->nk;
        for (int k = 0; k < j->n; k++)
            p[k] = w->s[i * j->nk + k] * gain + bias[i * j->n + k] + (w->region[i] == w->region[k] ? 0 : -100);
        j->d->k->softmax(p, p, 1, j->n);
        j->d->k->softmax_back(w->dp + i * j->nk, w->dp + i * j->nk, p, 1, 0, j->n);
        for (int k = j->n; k < j->nk; k++)
            p[k] = w->dp[i * j->nk + k] = 0;
    }
}

/* d = the gradient of the unit vector u to that of the vector of this norm. */
static void before_division(const job *j, float *d, const float *u, double norm)
{
    double along = norm < FLOOR ? 0 : j->d->k->dot(u, d, j->width), by = 1 / (norm < FLOOR ? FLOOR : norm);
    for (int c = 0; c < j->width; c++)
        d[c] = (float)(((double)d[c] - along * (double)u[c]) * by);
}

static void put(const job *j, float *pad, int64_t at, int part, int h, const float *d)
{
    float *to = at < 0 ? pad + part * j->width : j->dqkv ? j->dqkv + (at * 3 * j->heads + part * j->heads + h) * j->width : NULL;
    if (to && (at < 0 || j->add))
        j->d->k->add(to, to, d, j->width);
    else if (to)
        memcpy(to, d, (size_t)j->width * sizeof *to);
}

static void one_window(window *w, const job *j, int64_t number, int h, float *shared)
{
    float gain = (float)exp(fmin(j->logit_scale[h], log(100))), *dbias = shared, *pad = shared + j->n * j->n, *scale = pad + 3 * j->width;
    find_tokens(w, j, number);
    gather(w->q, w->qn, NULL, w, j, 0, h);
    gather(w->k, w->kn, w->kt, w, j, 1, h);
    gather(w->v, NULL, w->vt, w, j, 2, h);
    gather_dy(w, j, h);
    scores(w, j, h, gain);
    double sum = 0;
    for (int i = 0; i < j->n; i++) {
        j->d->k->add(dbias + i * j->n, dbias + i * j->n, w->dp + i * j->nk, j->n);
        sum += j->d->k->dot(w->dp + i * j->nk, w->s + i * j->nk, j->n);
    }
    *scale += (float)sum * gain;
    j->product(&(sky_tile_product){w->p, 1, j->nk, w->dy, j->wide, w->dv, j->wide, j->n, j->wide, j->n, 0});
    for (int i = 0; i < j->n; i++)
        j->d->k->scale(w->dp + i * j->nk, w->dp + i * j->nk, gain, j->nk);
    j->product(&(sky_tile_product){w->dp, j->nk, 1, w->k, j->wide, w->dq, j->wide, j->n, j->wide, j->n, 0});
    j->product(&(sky_tile_product){w->dp, 1, j->nk, w->q, j->wide, w->dk, j->wide, j->n, j->wide, j->n, 0});
    for (int t = 0; t < j->n; t++) {
        before_division(j, w->dq + t * j->wide, w->q + t * j->wide, w->qn[t]);
        before_division(j, w->dk + t * j->wide, w->k + t * j->wide, w->kn[t]);
        put(j, pad, w->at[t], 0, h, w->dq + t * j->wide);
        put(j, pad, w->at[t], 1, h, w->dk + t * j->wide);
        put(j, pad, w->at[t], 2, h, w->dv + t * j->wide);
    }
}

static void piece(void *arg, int64_t i, int thread)
{
    const job *j = arg;
    window w;
    char *p = j->local + (size_t)thread * j->local_bytes;
    memset(p, 0, j->local_bytes); /* what is beyond width and n stays zero */
    carve(&w, j, p);
    float *shared = j->shared + (size_t)i * j->per_shared;
    memset(shared, 0, j->per_shared * sizeof *shared);
    int64_t group = i / j->heads, all = j->batch * j->wr * j->wc;
    for (int64_t k = group * GROUP; k < (group + 1) * GROUP && k < all; k++)
        one_window(&w, j, k, (int)(i % j->heads), shared);
}

/* to (+)= part `from` of every group, for each head; of head h element e goes to h*step + e / run * stride + e % run. */
static void collect(const job *j, sky_grad *to, size_t from, int64_t count, int64_t step, int64_t run, int64_t stride)
{
    float *out = to->t.data;
    for (int64_t h = 0; out && h < j->heads; h++)
        for (int64_t e = 0; e < count; e++) {
            double sum = 0;
            for (int64_t g = 0; g < j->groups; g++)
                sum += (double)j->shared[(size_t)(g * j->heads + h) * j->per_shared + from + (size_t)e];
            float *at = out + h * step + e / run * stride + e % run;
            *at = to->add ? *at + (float)sum : (float)sum;
        }
}

static void collect_scale(const job *j, sky_grad *to)
{
    float *out = to->t.data;
    for (int64_t h = 0; out && h < j->heads; h++) {
        double sum = 0;
        for (int64_t g = 0; g < j->groups; g++)
            sum += (double)j->shared[(size_t)(g * j->heads + h + 1) * j->per_shared - 1];
        if (!((double)j->logit_scale[h] <= log(100))) /* clamped: a constant */
            sum = 0;
        out[h] = to->add ? out[h] + (float)sum : (float)sum;
    }
}

int sky_cpu_window_attention_backward(sky_dev *d, sky_grad *dqkv, sky_grad *dpad_qkv, sky_grad *dbias, sky_grad *dlogit_scale, const sky_tensor *dy, const sky_tensor *qkv, const sky_tensor *pad_qkv, const sky_tensor *bias, const sky_tensor *logit_scale, int win, int shift, sky_dtype products, sky_err *e)
{
    (void)products;
    const int64_t *s = qkv->shape;
    job j = {.d = d, .product = sky_tile_product_get(), .dy = dy->data, .qkv = qkv->data, .pad = pad_qkv->data, .bias = bias->data, .logit_scale = logit_scale->data,
             .dqkv = dqkv->t.data, .add = dqkv->add, .batch = s[0], .rows = s[1], .cols = s[2], .wr = (s[1] + win - 1) / win, .wc = (s[2] + win - 1) / win,
             .heads = (int)s[4], .width = (int)s[5], .wide = up((int)s[5], PAD), .win = win, .shift = shift, .n = win * win, .nk = up(win * win, PAD)};
    window w;
    static char none[1];
    int64_t n2 = (int64_t)j.n * j.n;
    j.groups = (j.batch * j.wr * j.wc + GROUP - 1) / GROUP;
    j.per_shared = (size_t)n2 + 3 * (size_t)j.width + 1;
    j.local_bytes = (carve(&w, &j, none) + 63) / 64 * 64;
    size_t shared = ((size_t)(j.groups * j.heads) * j.per_shared * sizeof(float) + 63) / 64 * 64;
    char *scratch = sky_cpu_scratch(d, shared + j.local_bytes * (size_t)sky_pool_threads(d->pool), "window_attention_backward", e);
    if (!scratch)
        return e->code;
    j.shared = (float *)(void *)scratch;
    j.local = scratch + shared;
    sky_pool_for(d->pool, j.groups * j.heads, piece, &j);
    collect(&j, dbias, 0, n2, n2, n2, 0);
    collect(&j, dpad_qkv, (size_t)n2, 3 * j.width, j.width, j.width, (int64_t)j.heads * j.width);
    collect_scale(&j, dlogit_scale);
    return SKY_OK;
}
