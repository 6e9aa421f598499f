/* Gradients of attention and window attention, and the lse of the forward, at every instruction-set level the machine has,
 * against the definition in double. Each reference number carries the bound of its own error: first-order rounding of F32
 * sums in any order, carried through the softmax. */
#include "cpu/device_internal.h"
#include "levels.h"

#include <math.h>
#include <stdlib.h>

static const sky_backend *const be = &sky_backend_cpu;
static sky_dev *dev[2]; /* of 1 and 2 threads */
static sky_err err;
static const double U = 0x1p-24, TINY = 0x1p-125; /* smaller probabilities may be 0 */

static uint32_t seed = 5;
static float rnd_float(void) { return (float)((seed = seed * 1664525u + 1013904223u) >> 8) / 8388608.0f - 1.0f; }

enum { EDGE = 64, GUARD = 0x7fb5a5a5 /* a NaN no sum produces */ };

static void *room(int64_t n, size_t size)
{
    void *p = calloc((size_t)(n ? n : 1), size);
    if (!p)
        exit(2);
    return p;
}

static sky_tensor tensor(int ndim, const int64_t *shape, float scale)
{
    sky_tensor x = {.dtype = SKY_F32, .ndim = ndim};
    for (int i = 0; i < ndim; i++)
        x.shape[i] = shape[i];
    x.data = room(sky_numel(&x), 4);
    for (int64_t i = 0; i < sky_numel(&x); i++)
        f32_out(&x)[i] = scale * rnd_float();
    return x;
}
#define DIMS(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__}

/* A gradient: what it should be and how far off it may be; the buffer between guards it goes to. */
typedef struct {
    sky_tensor t;
    double *want, *tol;
    float *out, *old, *first;
    int64_t n;
} result;

static result result_of(const sky_tensor *like)
{
    result r = {.t = *like, .n = sky_numel(like)};
    r.want = room(r.n, 8), r.tol = room(r.n, 8);
    r.out = room(r.n + 2 * EDGE, 4), r.old = room(r.n, 4), r.first = room(r.n, 4);
    for (int64_t i = 0; i < r.n; i++)
        r.old[i] = rnd_float();
    return r;
}

static void drop(result *r) { free(r->want), free(r->tol), free(r->out), free(r->old), free(r->first); }

static sky_grad fresh(result *r, int add, int wanted)
{
    uint32_t u = GUARD;
    for (int64_t i = 0; i < r->n + 2 * EDGE; i++)
        memcpy(r->out + i, &u, 4);
    if (add && wanted)
        memcpy(r->out + EDGE, r->old, (size_t)r->n * 4);
    sky_grad g = {r->t, add};
    g.t.data = wanted ? r->out + EDGE : NULL;
    return g;
}

/* chain: additions to what is there, at most. */
static int64_t wrong(const result *r, int add, int chain)
{
    int64_t bad = 0;
    for (int64_t i = 0; i < r->n; i++) {
        double before = add ? (double)r->old[i] : 0, tol = r->tol[i] + chain * U * (fabs(before) + fabs(r->want[i]));
        bad += !(fabs((double)r->out[EDGE + i] - before - r->want[i]) <= tol);
    }
    return bad;
}
static int64_t guards(const result *r, int wanted)
{
    int64_t bad = 0;
    uint32_t u = GUARD;
    for (int64_t i = 0; i < r->n + 2 * EDGE; i++)
        if (!wanted || i < EDGE || i >= r->n + EDGE)
            bad += !!memcmp(r->out + i, &u, 4);
    return bad;
}

/* Rows of a head: q, k, v, dy by token (dy NULL: none comes back), stride apart is 1. */
typedef struct {
    int n, width;
    double *q, *k, *v, *dy;       /* [n][width] */
    double *s, *es;               /* logits and their errors [n][n] */
    double *p, *ds, *eds, *lse;   /* probabilities, gradients of the logits, their errors; lse [n] */
    double *dv, *edv, *y;         /* [n][width] */
} head;

static head head_of(int n, int width)
{
    head h = {.n = n, .width = width};
    double **const wide[] = {&h.q, &h.k, &h.v, &h.dy, &h.dv, &h.edv, &h.y}, **const square[] = {&h.s, &h.es, &h.p, &h.ds, &h.eds};
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        *wide[i] = room((int64_t)n * width, 8);
    for (size_t i = 0; i < sizeof square / sizeof *square; i++)
        *square[i] = room((int64_t)n * n, 8);
    h.lse = room(n, 8);
    return h;
}
static void head_free(head *h)
{
    double *const all[] = {h->q, h->k, h->v, h->dy, h->dv, h->edv, h->y, h->s, h->es, h->p, h->ds, h->eds, h->lse};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

/* sum a[i]*b[i]; *size: of the magnitudes. */
static double dot(const double *a, const double *b, int n, double *size)
{
    double s = 0;
    *size = 0;
    for (int i = 0; i < n; i++) {
        s += a[i] * b[i];
        *size += fabs(a[i] * b[i]);
    }
    return s;
}

/* From s and es: p, lse, y, and the gradients dv and ds. */
static void softmax_gradients(head *h)
{
    const int n = h->n, w = h->width;
    for (int i = 0; i < n; i++) {
        double *s = h->s + i * n, *p = h->p + i * n, *ds = h->ds + i * n, *eds = h->eds + i * n, *y = h->y + i * w, top = -INFINITY, sum = 0, e = 0, size, mean = 0, emean = 0;
        for (int k = 0; k < n; k++)
            top = fmax(top, s[k]), e = fmax(e, h->es[i * n + k]);
        for (int k = 0; k < n; k++)
            sum += p[k] = exp(s[k] - top);
        h->lse[i] = top + log(sum);
        e = 2 * e + (n + 8 + 2 * fabs(h->lse[i])) * U; /* relative, of p: both the logit and the sum are off; lse is rounded */
        for (int k = 0; k < n; k++) {
            p[k] /= sum;
            ds[k] = dot(h->dy + i * w, h->v + k * w, w, &size);
            eds[k] = (w + 2) * U * size;
            mean += p[k] * ds[k];
            emean += p[k] * (size * (e + (w + n + 4) * U));
            for (int c = 0; c < w; c++) {
                double t = p[k] * h->dy[i * w + c];
                y[c] += p[k] * h->v[k * w + c];
                h->dv[k * w + c] += t;
                h->edv[k * w + c] += fabs(t) * (e + (n + 2) * U) + TINY * fabs(h->dy[i * w + c]);
            }
        }
        for (int k = 0; k < n; k++) {
            double off = ds[k] - mean;
            eds[k] = p[k] * (eds[k] + emean + fabs(off) * (e + 4 * U)) + TINY * fabs(off);
            ds[k] = p[k] * off;
        }
    }
}

/* sum over k of by * ds(i,k) * rows[k], or of ds(k,i) with `turned`, to d and e. */
static void through(double *d, double *e, const head *h, const double *rows, int i, int turned, double by)
{
    for (int c = 0; c < h->width; c++)
        d[c] = e[c] = 0;
    for (int k = 0; k < h->n; k++)
        for (int c = 0, at = turned ? k * h->n + i : i * h->n + k; c < h->width; c++) {
            double r = by * rows[k * h->width + c];
            d[c] += h->ds[at] * r;
            e[c] += fabs(r) * (h->eds[at] + (h->n + 6) * U * fabs(h->ds[at]));
        }
}

/* ---- sequences ------------------------------------------------------------------------------------------------------ */

static void sequence_reference(result *r, float *y, float *lse, const float *qkv, const float *dy, int64_t b, int64_t L, int heads, int w, int n)
{
    head h = head_of((int)L, w);
    double scale = 1 / sqrt(w), *d = room(w, 8), *e = room(w, 8), size;
#define AT(l, part) ((((b * L + (l)) * 3 + (part)) * heads + n) * w)
    for (int64_t l = 0; l < L; l++)
        for (int c = 0; c < w; c++) {
            h.q[l * w + c] = (double)qkv[AT(l, 0) + c], h.k[l * w + c] = (double)qkv[AT(l, 1) + c], h.v[l * w + c] = (double)qkv[AT(l, 2) + c];
            h.dy[l * w + c] = (double)dy[((b * L + l) * heads + n) * w + c];
        }
    for (int64_t i = 0; i < L * L; i++) {
        h.s[i] = scale * dot(h.q + i / L * w, h.k + i % L * w, w, &size);
        h.es[i] = scale * size * (w + 4) * U;
    }
    softmax_gradients(&h);
    for (int64_t l = 0; l < L; l++) {
        lse[(b * heads + n) * L + l] = (float)h.lse[l];
        for (int c = 0; c < w; c++)
            y[((b * L + l) * heads + n) * w + c] = (float)h.y[l * w + c];
        for (int part = 0; part < 2; part++) {
            through(d, e, &h, part ? h.q : h.k, (int)l, part, scale);
            memcpy(r->want + AT(l, part), d, (size_t)w * 8), memcpy(r->tol + AT(l, part), e, (size_t)w * 8);
        }
        memcpy(r->want + AT(l, 2), h.dv + l * w, (size_t)w * 8), memcpy(r->tol + AT(l, 2), h.edv + l * w, (size_t)w * 8);
    }
#undef AT
    free(d), free(e);
    head_free(&h);
}

/* The forward's lse. Scores lie below width * 1.5^2 / sqrt(width) in magnitude; a BF16 operand is off by 2^-9 of itself. */
static int64_t lse_wrong(const sky_tensor *qkv, const sky_tensor *dy, const float *lse, sky_dtype products)
{
    const int64_t *s = qkv->shape;
    sky_tensor y = *dy, got = {.dtype = SKY_F32, .ndim = 3, .shape = {s[0], s[3], s[1]}};
    y.data = room(sky_numel(&y), 4), got.data = room(sky_numel(&got), 4);
    int64_t bad = be->attention(dev[0], &y, &got, qkv, products, &err) != 0;
    double top = 2.25 * sqrt((double)s[4]), tol = top * (products == SKY_BF16 ? 0x1p-8 + 0x1p-18 : 0) + (double)(s[4] + 8) * U * top + (double)(s[1] + 16) * U;
    if (products == SKY_BF16)
        tol += 0x1p-8; /* probabilities may be summed as BF16 */
    for (int64_t i = 0; i < sky_numel(&got); i++)
        bad += !(fabs((double)f32(&got)[i] - (double)lse[i]) <= tol + 2 * U * fabs((double)lse[i]));
    free(y.data), free(got.data);
    return bad;
}

static void sequences(const char *level, int64_t B, int64_t L, int heads, int w)
{
    sky_tensor qkv = tensor(DIMS(B, L, 3, heads, w), 1.5f), dy = tensor(DIMS(B, L, heads, w), 1), y = tensor(DIMS(B, L, heads, w), 0), lse = tensor(DIMS(B, heads, L), 0);
    result r = result_of(&qkv);
    int64_t bad = 0, other = 0, lses = 0;
    for (int64_t b = 0; b < B; b++)
        for (int n = 0; n < heads; n++)
            sequence_reference(&r, y.data, lse.data, qkv.data, dy.data, b, L, heads, w, n);
    for (int add = 0; add < 2; add++)
        for (int run = 0; run < 4; run++) {
            sky_grad g = fresh(&r, add, 1);
            bad += be->attention_backward(dev[run > 2], &g, &dy, &y, &lse, &qkv, run == 1 ? SKY_BF16 : SKY_F32, &err) != 0;
            bad += guards(&r, 1) + (run ? 0 : wrong(&r, add, 1));
            other += run && memcmp(r.first, g.t.data, (size_t)r.n * 4);
            memcpy(r.first, g.t.data, (size_t)r.n * 4);
        }
    sky_grad none = fresh(&r, 1, 0);
    bad += be->attention_backward(dev[0], &none, &dy, &y, &lse, &qkv, SKY_F32, &err) != 0;
    bad += guards(&r, 0);
    for (int bf16 = 0; bf16 < 2; bf16++)
        lses += lse_wrong(&qkv, &dy, lse.data, bf16 ? SKY_BF16 : SKY_F32);
    OK(!bad && !other && !lses, "%s: %d sequences, %d heads of %d x %d: %d wrong, %d runs of other bits, %d wrong lse", level, (int)B, heads, (int)L, w, (int)bad, (int)other, (int)lses);
    free(qkv.data), free(dy.data), free(y.data), free(lse.data);
    drop(&r);
}

/* ---- windows -------------------------------------------------------------------------------------------------------- */

enum { DQKV, DPAD, DBIAS, DSCALE, OUTPUTS };

typedef struct {
    sky_tensor qkv, pad, bias, scale, dy;
    int64_t B, H, W;
    int heads, width, win, shift;
    result r[OUTPUTS];
} windows;

static void give_to(result *r, int64_t at, double v, double tol) { r->want[at] += v, r->tol[at] += tol; }

/* Gradient of a vector from that of its unit vector u; both with their errors. */
static void of_vector(double *d, double *e, const double *u, double norm, int w)
{
    double by = 1 / fmax(norm, 1e-12), along = 0, ealong = 0;
    for (int c = 0; c < w && norm >= 1e-12; c++) {
        along += u[c] * d[c];
        ealong += fabs(u[c]) * (e[c] + 4 * U * fabs(d[c]));
    }
    for (int c = 0; c < w; c++) {
        e[c] = by * (e[c] + fabs(u[c]) * ealong + 4 * U * (fabs(d[c]) + fabs(u[c] * along)));
        d[c] = by * (d[c] - along * u[c]);
    }
}

static void window_reference(windows *o, int64_t b, int64_t wy, int64_t wx, int n)
{
    const int win = o->win, t = win * win, w = o->width;
    const int64_t H = (o->H + win - 1) / win * win, W = (o->W + win - 1) / win * win;
    head h = head_of(t, w);
    int64_t *at = room(t, 8);
    int *part_of = room(t, 4);
    double *norm[2] = {room(t, 8), room(t, 8)}, *d = room(w, 8), *e = room(w, 8), size;
    double limit = log(100), logit = (double)f32(&o->scale)[n], gain = exp(fmin(logit, limit)), sum = 0, esum = 0;
    for (int i = 0; i < t; i++) { /* place in the rolled map, and where that came from */
        int64_t ry = wy * win + i / win, rx = wx * win + i % win, y = (ry + o->shift) % H, x = (rx + o->shift) % W;
        at[i] = y < o->H && x < o->W ? (b * o->H + y) * o->W + x : -1;
        part_of[i] = (y < o->shift) * 2 + (x < o->shift); /* rolled in from the other side */
        for (int c = 0; c < w; c++) {
            const float *from = at[i] < 0 ? f32(&o->pad) : f32(&o->qkv) + at[i] * 3 * o->heads * w;
            double *const to[] = {h.q, h.k, h.v};
            for (int part = 0; part < 3; part++)
                to[part][i * w + c] = (double)from[(part * o->heads + n) * w + c];
            h.dy[i * w + c] = at[i] < 0 ? 0 : (double)f32(&o->dy)[(at[i] * o->heads + n) * w + c];
        }
        for (int part = 0; part < 2; part++) {
            double *u = (part ? h.k : h.q) + i * w;
            norm[part][i] = sqrt(dot(u, u, w, &size));
            for (int c = 0; c < w; c++)
                u[c] /= fmax(norm[part][i], 1e-12);
        }
    }
    for (int i = 0; i < t * t; i++) {
        double cosine = dot(h.q + i / t * w, h.k + i % t * w, w, &size);
        h.s[i] = gain * cosine + (double)f32(&o->bias)[(int64_t)n * t * t + i] - (part_of[i / t] == part_of[i % t] ? 0 : 100);
        h.es[i] = gain * size * (w + 8) * U + 4 * U * fabs(h.s[i]);
    }
    softmax_gradients(&h);
    for (int i = 0; i < t * t; i++) {
        double cosine = dot(h.q + i / t * w, h.k + i % t * w, w, &size);
        give_to(&o->r[DBIAS], (int64_t)n * t * t + i, h.ds[i], h.eds[i] + 34 * U * fabs(h.ds[i]));
        sum += gain * h.ds[i] * cosine;
        esum += gain * (h.eds[i] * size + fabs(h.ds[i]) * size * (w + 48) * U);
    }
    if (logit <= limit)
        give_to(&o->r[DSCALE], n, sum, esum);
    for (int i = 0; i < t; i++)
        for (int part = 0; part < 3; part++) {
            if (part < 2) {
                through(d, e, &h, part ? h.q : h.k, i, part, gain);
                of_vector(d, e, (part ? h.k : h.q) + i * w, norm[part][i], w);
            } else {
                memcpy(d, h.dv + i * w, (size_t)w * 8), memcpy(e, h.edv + i * w, (size_t)w * 8);
            }
            for (int c = 0; c < w; c++) /* padding: one chain of additions */
                give_to(&o->r[at[i] < 0 ? DPAD : DQKV], ((at[i] < 0 ? 0 : at[i] * 3 * o->heads) + part * o->heads + n) * w + c, d[c], e[c] + (at[i] < 0 ? 32 * t * U * fabs(d[c]) : 0));
        }
    free(at), free(part_of), free(norm[0]), free(norm[1]), free(d), free(e);
    head_free(&h);
}

static int64_t window_run(windows *o, sky_dev *d, int add, int which, sky_dtype products)
{
    sky_grad g[OUTPUTS];
    int64_t bad = 0;
    for (int k = 0; k < OUTPUTS; k++)
        g[k] = fresh(&o->r[k], add, which >> k & 1);
    bad += be->window_attention_backward(d, &g[0], &g[1], &g[2], &g[3], &o->dy, &o->qkv, &o->pad, &o->bias, &o->scale, o->win, o->shift, products, &err) != 0;
    for (int k = 0; k < OUTPUTS; k++)
        bad += guards(&o->r[k], which >> k & 1);
    return bad;
}

/* Against the reference; then without each output, alone, as BF16, again and with 2 threads: the same bits. */
static void window_runs(windows *o, int64_t *bad, int64_t *other)
{
    static const int which[] = {15, 15, 15, 14, 13, 11, 7, 1, 2, 4, 8, 0};
    const int pads = (int)(o->B * o->win * o->win + 2);
    for (int add = 0; add < 2; add++)
        for (size_t run = 0; run < sizeof which / sizeof *which; run++) {
            *bad += window_run(o, dev[run == 2], add, which[run], run == 1 ? SKY_BF16 : SKY_F32);
            for (int k = 0; k < OUTPUTS; k++) {
                result *r = &o->r[k];
                if (!run)
                    bad[0] += wrong(r, add, pads), memcpy(r->first, r->out + EDGE, (size_t)r->n * 4);
                else if (which[run] >> k & 1)
                    *other += !!memcmp(r->first, r->out + EDGE, (size_t)r->n * 4);
            }
        }
}

static void one_shape(const char *level, int64_t B, int64_t H, int64_t W, int heads, int w, int win, int shift)
{
    windows o = {.B = B, .H = H, .W = W, .heads = heads, .width = w, .win = win, .shift = shift};
    int64_t bad = 0, other = 0, n = win * win;
    o.qkv = tensor(DIMS(B, H, W, 3, heads, w), 1), o.pad = tensor(DIMS(3 * heads * w), 1), o.bias = tensor(DIMS(heads, n, n), 2);
    o.scale = tensor(DIMS(heads), 1), o.dy = tensor(DIMS(B, H, W, heads * w), 1);
    f32_out(&o.scale)[heads - 1] = 4.7f; /* above the clamp: ln 100 = 4.605 */
    for (int i = 0; i < w; i++) /* a query and a key of no length: theirs is as large as 1e12 */
        f32_out(&o.qkv)[i] = f32_out(&o.qkv)[heads * w + i] = 0;
    const sky_tensor *const like[OUTPUTS] = {&o.qkv, &o.pad, &o.bias, &o.scale};
    for (int k = 0; k < OUTPUTS; k++)
        o.r[k] = result_of(like[k]);
    for (int64_t b = 0; b < B; b++)
        for (int64_t i = 0; i < (H + win - 1) / win; i++)
            for (int64_t j = 0; j < (W + win - 1) / win; j++)
                for (int h = 0; h < heads; h++)
                    window_reference(&o, b, i, j, h);
    window_runs(&o, &bad, &other);
    OK(!bad && !other, "%s: %dx%dx%d, %d heads of %d, windows of %d shifted by %d: %d wrong, %d of other bits", level, (int)B, (int)H, (int)W, heads, w, win, shift, (int)bad, (int)other);
    free(o.qkv.data), free(o.pad.data), free(o.bias.data), free(o.scale.data), free(o.dy.data);
    for (int k = 0; k < OUTPUTS; k++)
        drop(&o.r[k]);
}

static void all(const char *level)
{
    static const int seq[][4] = {{1, 1, 1, 5}, {2, 2, 3, 1}, {3, 4, 7, 16}, {2, 5, 3, 44}, {2, 8, 3, 64}, {1, 9, 2, 5}, {2, 64, 2, 16}, {1, 65, 2, 44}, {1, 100, 3, 5}, {1, 257, 1, 44}, {2, 300, 2, 16}, {1, 257, 1, 64}, {1, 513, 1, 33}};
    static const int win[][7] = {{1, 3, 3, 1, 5, 3, 0}, {2, 7, 8, 2, 5, 3, 1}, {1, 8, 8, 3, 16, 4, 2}, {2, 9, 6, 2, 44, 4, 0}, {1, 17, 20, 2, 44, 8, 4}, {3, 13, 13, 2, 16, 4, 2}, {1, 8, 8, 2, 64, 8, 0}};
    for (int t = 0; t < 2; t++)
        if (be->open(&dev[t], -1, t + 1, &err))
            exit(2);
    for (size_t i = 0; i < sizeof seq / sizeof *seq; i++)
        sequences(level, seq[i][0], seq[i][1], seq[i][2], seq[i][3]);
    for (size_t i = 0; i < sizeof win / sizeof *win; i++)
        one_shape(level, win[i][0], win[i][1], win[i][2], win[i][3], win[i][4], win[i][5], win[i][6]);
    for (int t = 0; t < 2; t++)
        be->close(dev[t]);
}

int main(void)
{
    at_every_level(all);
    return END();
}
