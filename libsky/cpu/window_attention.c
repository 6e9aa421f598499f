/* window_attention.c -- see window_attention.h; the arithmetic is in attention_impl.h.
 *
 * A piece of work is one window and a few heads. Its tokens are found where they lie in the map (or in pad_qkv), so that
 * roll, partition and padding cost an address each. Bias times log2 e is laid out once per call as the vectors the scores
 * start from; only windows that the shift mask cuts, and heads whose logits may leave the safe range, copy it to add to it. */
#include "cpu/window_attention.h"
#include "cpu/attention_kernels.h"

#include <math.h>
#include <string.h>

enum { HEADS = 8 /* heads per piece: enough to use the cache lines of a token, few enough to share windows out */ };
#define LOG2E 1.44269504088896341
#define MASK (float)(-100 * LOG2E)

typedef struct {
    float *out;
    const float *qkv, *pad, *bias, *logit_scale;
    const sky_cpu_window_shape *s;
    const sky_attn_kernels *a;
    int64_t wr, wc;               /* windows per map */
    int shift, n, nk;             /* tokens per window, and rounded up to lanes */
    size_t table, tokens, state;  /* floats: one head's start vectors; one token vector; one state */
    float *start;                 /* [heads][nk/lanes][nk][lanes] */
    float *gain, *bound;          /* [heads], base 2: factor of the cosine; largest possible |score| */
    char *local;
    size_t local_bytes;
} plan;

/* What one piece works in; carved from the thread's share of scratch. */
typedef struct {
    const float **from; /* [nk] token in qkv or pad; NULL beyond n */
    float **to;         /* [nk] token in out; NULL where padded */
    const float **rows; /* [nk] */
    int32_t *region;    /* [nk] */
    float *mask, *init; /* [nk/lanes][nk][lanes]; [nk][lanes] */
    float *k, *v, *q, *state, *p, *tmp;
    int cut;            /* the shift mask separates some tokens */
} room;

static size_t up64(size_t n) { return (n + 63) / 64 * 64; }

static size_t carve(room *r, char *p, const plan *w)
{
    const size_t nk = (size_t)w->nk, lanes = (size_t)w->a->lanes, f = sizeof(float);
    size_t at = 0;
#define TAKE(member, bytes) (r->member = (void *)(p + at), at += up64(bytes))
    TAKE(from, nk * sizeof *r->from);
    TAKE(to, nk * sizeof *r->to);
    TAKE(rows, nk * sizeof *r->rows);
    TAKE(region, nk * sizeof *r->region);
    TAKE(mask, w->table * f);
    TAKE(init, nk * lanes * f);
    TAKE(k, nk / lanes * w->tokens * f);
    TAKE(v, sky_attn_values_floats(w->a, w->nk, w->s->width) * f);
    TAKE(q, w->tokens * f);
    TAKE(state, w->state * f);
    TAKE(p, nk * lanes * f);
    TAKE(tmp, (size_t)w->s->width * lanes * f);
#undef TAKE
    return at;
}

static size_t plan_sizes(plan *w, const sky_cpu_window_shape *s, int threads)
{
    const int64_t small = s->rows < s->cols ? s->rows : s->cols;
    static char none[1];
    room r;
    w->s = s;
    w->a = sky_attn_kernels_get(s->bf16);
    w->wr = (s->rows + s->win - 1) / s->win;
    w->wc = (s->cols + s->win - 1) / s->win;
    w->shift = small == s->win ? 0 : s->shift;
    w->n = s->win * s->win;
    w->nk = sky_attn_up(w->n, w->a->lanes);
    w->table = (size_t)w->nk * (size_t)w->nk;
    w->tokens = sky_attn_tokens_floats(w->a, s->width);
    w->state = sky_attn_state_floats(w->a, s->width);
    w->local_bytes = carve(&r, none, w);
    return up64((size_t)s->heads * w->table * sizeof(float)) + 2 * up64((size_t)s->heads * sizeof(float)) + (size_t)threads * w->local_bytes;
}

size_t sky_cpu_window_scratch(const sky_cpu_window_shape *s, int threads)
{
    plan w;
    return plan_sizes(&w, s, threads);
}

/* The start vectors of one head, [query / lanes][key][query % lanes], and the range of its scores. */
static void head_piece(void *arg, int64_t h, int thread)
{
    const plan *w = arg;
    const int lanes = w->a->lanes, n = w->n, nk = w->nk;
    const float *bias = w->bias + h * n * n;
    float *start = w->start + (size_t)h * w->table, most = 0;
    (void)thread;
    for (int q = 0; q < nk; q++)
        for (int k = 0; k < nk; k++) {
            const float b = q < n && k < n ? bias[q * n + k] : 0;
            most = fabsf(b) <= most ? most : fabsf(b);
            start[(size_t)(q / lanes * nk + k) * (size_t)lanes + (size_t)(q % lanes)] = b * (float)LOG2E + w->a->offset;
        }
    w->gain[h] = (float)(exp(fmin(w->logit_scale[h], log(100))) * LOG2E);
    w->bound[h] = w->gain[h] * 1.01f + most * (float)LOG2E;
}

static int band(int64_t at, int64_t n, int win, int shift) { return (at >= n - win) + (at >= n - shift); }

static void find_tokens(room *r, const plan *w, int64_t window)
{
    const sky_cpu_window_shape *s = w->s;
    const int64_t b = window / (w->wr * w->wc), y0 = window / w->wc % w->wr * s->win, x0 = window % w->wc * s->win;
    const int64_t H = w->wr * s->win, W = w->wc * s->win, hd = (int64_t)s->heads * s->width;
    r->cut = 0;
    for (int t = 0; t < w->nk; t++) {
        const int64_t ry = y0 + t / s->win, rx = x0 + t % s->win; /* on the rolled map */
        const int64_t y = (ry + w->shift) % H, x = (rx + w->shift) % W, token = (b * s->rows + y) * s->cols + x;
        const int inside = t < w->n && y < s->rows && x < s->cols;
        r->from[t] = inside ? w->qkv + token * 3 * hd : t < w->n ? w->pad : NULL;
        r->to[t] = inside ? w->out + token * hd : NULL;
        r->region[t] = w->shift && t < w->n ? band(ry, H, s->win, w->shift) * 3 + band(rx, W, s->win, w->shift) : r->region[0];
        r->cut |= r->region[t] != r->region[0];
    }
    const int lanes = w->a->lanes;
    for (int q = 0; r->cut && q < w->nk; q++)
        for (int k = 0; k < w->nk; k++)
            r->mask[(size_t)(q / lanes * w->nk + k) * (size_t)lanes + (size_t)(q % lanes)] = r->region[q] == r->region[k] ? 0 : MASK;
}

typedef float f4 __attribute__((vector_size(16), may_alias));

/* y = a + b; n is a multiple of 4, all aligned. */
static void add(float *y, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i += 4)
        *(f4 *)(y + i) = *(const f4 *)(a + i) + *(const f4 *)(b + i);
}

/* What query vector g of head h starts from, and whether the scores need the lower clamp. */
static const float *choose_start(int *clamp, const room *r, const plan *w, int h, int g, const sky_attn_block *b)
{
    const size_t n = (size_t)w->nk * (size_t)w->a->lanes;
    const float *start = w->start + (size_t)h * w->table + (size_t)g * n;
    const int safe = w->bound[h] <= SKY_ATTN_SAFE;
    *clamp = r->cut || !safe;
    if (!*clamp)
        return start;
    if (r->cut)
        add(r->init, start, r->mask + (size_t)g * n, n);
    else
        memcpy(r->init, start, n * sizeof(float));
    if (safe) /* a token is never cut off from itself, so the maximum is in the safe range */
        return r->init;
    float top[SKY_ATTN_LANES] __attribute__((aligned(64)));
    for (int j = 0; j < w->a->lanes; j++)
        top[j] = -INFINITY;
    w->a->top(top, r->q, b, w->s->width, r->init, 1);
    for (size_t i = 0; i < n; i++)
        r->init[i] -= top[i % (size_t)w->a->lanes] - w->a->offset;
    return r->init;
}

/* Rows of one part (0 q, 1 k, 2 v) of head h from token `at` on. */
static const float *const *rows_of(const room *r, const plan *w, int part, int h, int at, int n)
{
    for (int j = 0; j < n; j++)
        r->rows[j] = r->from[at + j] ? r->from[at + j] + (part * w->s->heads + h) * w->s->width : NULL;
    return r->rows;
}

static void one_head(const room *r, const plan *w, int h)
{
    const int lanes = w->a->lanes, width = w->s->width;
    const sky_attn_block b = {r->k, r->v, w->n, w->nk};
    float norm[SKY_ATTN_LANES], longest = 0;
    for (int g = 0; g < w->nk / lanes; g++) {
        w->a->pack_tokens(r->k + (size_t)g * w->tokens, norm, r->tmp, rows_of(r, w, 1, h, g * lanes, lanes), width, 1.0f, 1);
        for (int j = 0; j < lanes; j++)
            longest = norm[j] <= longest || isnan(longest) ? longest : norm[j];
    }
    w->a->pack_values(r->v, rows_of(r, w, 2, h, 0, w->n), w->n, w->nk, width);
    for (int g = 0; g < w->nk / lanes; g++) {
        float *to[SKY_ATTN_LANES];
        int clamp, any = 0;
        for (int j = 0; j < lanes; j++) {
            to[j] = r->to[g * lanes + j] ? r->to[g * lanes + j] + h * width : NULL;
            any |= to[j] != NULL;
        }
        if (!any)
            continue;
        w->a->pack_tokens(r->q, norm, r->tmp, rows_of(r, w, 0, h, g * lanes, lanes), width, w->gain[h], 1);
        const float *init = choose_start(&clamp, r, w, h, g, &b);
        memset(r->state, 0, w->state * sizeof(float));
        w->a->block(r->state, r->p, r->q, &b, width, init, 1, clamp);
        float *total = r->state + w->state - lanes;
        for (int j = 0; j < lanes; j++)
            if (!isfinite(norm[j] * longest) || !isfinite(w->bound[h]))
                total[j] = NAN;
        w->a->finish(to, r->state, width);
    }
}

static void piece(void *arg, int64_t i, int thread)
{
    const plan *w = arg;
    const int groups = (w->s->heads + HEADS - 1) / HEADS, first = (int)(i % groups) * HEADS;
    room r;
    carve(&r, w->local + (size_t)thread * w->local_bytes, w);
    find_tokens(&r, w, i / groups);
    for (int h = first; h < first + HEADS && h < w->s->heads; h++)
        one_head(&r, w, h);
}

void sky_cpu_window_attention(float *out, const float *qkv, const float *pad_qkv, const float *bias,
                              const float *logit_scale, const sky_cpu_window_shape *s, void *scratch, sky_pool *pool)
{
    plan w = {.out = out, .qkv = qkv, .pad = pad_qkv, .bias = bias, .logit_scale = logit_scale};
    plan_sizes(&w, s, 1);
    const size_t heads = up64((size_t)s->heads * sizeof(float));
    w.start = scratch;
    w.gain = (void *)((char *)scratch + up64((size_t)s->heads * w.table * sizeof(float)));
    w.bound = (void *)((char *)w.gain + heads);
    w.local = (char *)w.bound + heads;
    sky_pool_for(pool, s->heads, head_piece, &w);
    sky_pool_for(pool, s->batch * w.wr * w.wc * ((s->heads + HEADS - 1) / HEADS), piece, &w);
}
