/* Gradients of convolution at every instruction-set level the machine has, against plain double sums. */
#include "cpu/device_internal.h"
#include "levels.h"

#include <math.h>
#include <stdlib.h>

static const sky_backend *const be = &sky_backend_cpu;
static sky_dev *dev[2]; /* of 1 and 2 threads */
static sky_err err;

static uint32_t seed = 3;
static uint32_t rnd(void) { return (seed = seed * 1664525u + 1013904223u) >> 8; }
static float rnd_float(void) { return (float)rnd() / 8388608.0f - 1.0f; }
static float rnd_int(void) { return (float)(int)(rnd() % 17) - 8.0f; }

enum { EDGE = 64, GUARD = 0x7fb5a5a5 /* a NaN no sum produces */ };

/* Operands end exactly where their numbers do, so that a memory checker sees every overrun. */
typedef struct {
    sky_tensor x, w, dy;    /* w of `products`; x is the input */
    float *old, *out;       /* what a gradient is added to; a gradient between guards */
    double *want, *size;    /* the sum and that of the magnitudes */
    int64_t terms;          /* of a sum, at most */
    int exact;
    sky_dtype products;
} problem;

static double used(float v, sky_dtype t) { return t == SKY_BF16 ? (double)sky_bf16_to_f32(sky_f32_to_bf16(v)) : (double)v; }

static sky_tensor tensor(sky_dtype t, int64_t a, int64_t b, int64_t c, int64_t d, float (*gen)(void))
{
    sky_tensor x = {.dtype = t, .ndim = 4, .shape = {a, b, c, d}};
    x.data = malloc((size_t)sky_bytes(&x));
    for (int64_t i = 0; i < sky_numel(&x); i++) {
        float v = gen();
        if (t == SKY_BF16)
            ((uint16_t *)x.data)[i] = sky_f32_to_bf16(v);
        else
            ((float *)x.data)[i] = v;
    }
    return x;
}

static double weight(const problem *p, int64_t i)
{
    return p->w.dtype == SKY_BF16 ? (double)sky_bf16_to_f32(((const uint16_t *)p->w.data)[i]) : (double)((const float *)p->w.data)[i];
}

/* Every product of y[b,i,j,n] = sum x[b,i+ty-r,j+tx-r,c] w[n,c,ty,tx], given to the gradient of x, or of w. */
static void reference(problem *p, int of_weights)
{
    const int64_t *s = p->x.shape, H = s[1], W = s[2], C = s[3], N = p->w.shape[0], k = p->w.shape[2];
    for (int64_t o = 0; o < sky_numel(&p->dy); o++) {
        int64_t n = o % N, j = o / N % W, i = o / N / W % H, b = o / N / W / H;
        double dy = used(f32(&p->dy)[o], p->products);
        for (int64_t t = 0; t < k * k; t++) {
            int64_t y = i + t / k - k / 2, x = j + t % k - k / 2;
            for (int64_t c = 0; y >= 0 && y < H && x >= 0 && x < W && c < C; c++) {
                int64_t at = ((b * H + y) * W + x) * C + c, tap = (n * C + c) * k * k + t, to = of_weights ? tap : at;
                double v = dy * (of_weights ? used(f32(&p->x)[at], p->products) : weight(p, tap));
                p->want[to] += v;
                p->size[to] += fabs(v);
            }
        }
    }
}

static sky_grad fresh(problem *p, const sky_tensor *like, int add)
{
    int64_t n = sky_numel(like);
    uint32_t u = GUARD;
    for (int64_t i = 0; i < n + 2 * EDGE; i++)
        memcpy(p->out + i, &u, 4);
    if (add)
        memcpy(p->out + EDGE, p->old, (size_t)n * 4);
    sky_grad g = {*like, add};
    g.t.dtype = SKY_F32;
    g.t.data = p->out + EDGE;
    return g;
}

/* Any order of additions is within terms + 2 half ulps of the sum of magnitudes. */
static int64_t wrong(const problem *p, const sky_grad *g)
{
    int64_t bad = 0, n = sky_numel(&g->t);
    for (int64_t i = 0; i < n; i++) {
        double before = g->add ? (double)p->old[i] : 0, tol = p->exact ? 0 : (double)(p->terms + 2) * ldexp(p->size[i] + fabs(before), -24);
        bad += !(fabs((double)p->out[EDGE + i] - before - p->want[i]) <= tol);
    }
    for (int i = 0; i < EDGE; i++) {
        uint32_t u = GUARD;
        bad += memcmp(p->out + i, &u, 4) || memcmp(p->out + EDGE + n + i, &u, 4);
    }
    return bad;
}

/* Written and added to; by 1 and 2 threads and again, the same bits. */
static int64_t gradient(problem *p, int of_weights)
{
    const sky_tensor *like = of_weights ? &p->w : &p->x;
    int64_t n = sky_numel(like), bad = 0;
    p->want = calloc((size_t)n, sizeof(double)), p->size = calloc((size_t)n, sizeof(double));
    p->old = malloc((size_t)n * 4), p->out = malloc((size_t)(n + 2 * EDGE) * 4);
    p->terms = of_weights ? sky_rows(&p->x) : p->w.shape[0] * p->w.shape[2] * p->w.shape[3];
    float *first = malloc((size_t)n * 4);
    for (int64_t i = 0; i < n; i++)
        p->old[i] = p->exact ? rnd_int() : rnd_float();
    reference(p, of_weights);
    for (int add = 0; add < 2; add++)
        for (int run = 0; run < 3; run++) {
            sky_grad g = fresh(p, like, add);
            sky_dev *d = dev[run > 1];
            bad += (of_weights ? be->conv2d_dw(d, &g, &p->dy, &p->x, p->products, &err) : be->conv2d_dx(d, &g, &p->dy, &p->w, &err)) != 0;
            bad += run ? memcmp(first, g.t.data, (size_t)n * 4) != 0 : wrong(p, &g);
            memcpy(first, g.t.data, (size_t)n * 4);
        }
    free(p->want), free(p->size), free(p->old), free(p->out), free(first);
    return bad;
}

static void shapes(const char *level)
{
    /* B, H, W, C, N, k */
    static const int64_t s[][6] = {{1, 1, 1, 1, 1, 1}, {2, 5, 7, 3, 17, 1}, {1, 5, 7, 33, 1, 1}, {1, 1, 1, 17, 3, 3},  {2, 5, 7, 1, 1, 3},   {1, 5, 7, 3, 33, 3},
                                   {1, 5, 7, 33, 17, 3}, {2, 2, 9, 17, 33, 3}, {1, 1, 1, 3, 3, 5}, {1, 5, 7, 17, 3, 5}, {2, 3, 1, 1, 17, 5}, {1, 24, 23, 16, 16, 3}};
    for (int t = 0; t < 2; t++)
        if (be->open(&dev[t], -1, t + 1, &err))
            exit(2);
    for (size_t i = 0; i < sizeof s / sizeof *s; i++) {
        int64_t bad[2] = {0};
        for (int v = 0; v < 4; v++) { /* bits: bf16, exact */
            float (*gen)(void) = v >> 1 ? rnd_int : rnd_float;
            problem p = {.products = v & 1 ? SKY_BF16 : SKY_F32, .exact = v >> 1};
            p.x = tensor(SKY_F32, s[i][0], s[i][1], s[i][2], s[i][3], gen);
            p.dy = tensor(SKY_F32, s[i][0], s[i][1], s[i][2], s[i][4], gen);
            p.w = tensor(p.products, s[i][4], s[i][3], s[i][5], s[i][5], gen);
            for (int w = 0; w < 2; w++)
                bad[w] += gradient(&p, w);
            free(p.x.data), free(p.dy.data), free(p.w.data);
        }
        OK(!bad[0] && !bad[1], "%s: %dx%dx%d, %d to %d channels, %dx%d: 24 runs each, wrong of input %d, of weights %d", level, (int)s[i][0], (int)s[i][1],
           (int)s[i][2], (int)s[i][3], (int)s[i][4], (int)s[i][5], (int)s[i][5], (int)bad[0], (int)bad[1]);
    }
    for (int t = 0; t < 2; t++)
        be->close(dev[t]);
}

int main(void)
{
    at_every_level(shapes);
    return END();
}
