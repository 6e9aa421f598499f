/* Gradients of matrix products: product_grad at every instruction-set level the machine has, against plain double sums. */
#include "base/dtype.h"
#include "cpu/gemm_grad.h"
#include "levels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint32_t seed = 3;
static uint32_t rnd(void) { return (seed = seed * 1664525u + 1013904223u) >> 8; }
static float rnd_float(void) { return (float)rnd() / 8388608.0f - 1.0f; }
static float rnd_int(void) { return (float)(int)(rnd() % 17) - 8.0f; }

static sky_scratch scratch;
static sky_pool *pool[3]; /* of 1, 2 and 3 threads */
static sky_err err;

enum { EDGE = 64, GUARD = 0x7fb5a5a5 /* a NaN no sum produces */ };

/* Operands end exactly where the last row does, so that a memory checker sees every overrun. */
typedef struct {
    sky_product_grad g;
    float *a, *b, *old, *dw; /* old: what dw holds before */
    int64_t n;
} problem;

static float *floats(int64_t n, float (*gen)(void))
{
    float *p = malloc((size_t)(n ? n : 1) * sizeof *p);
    for (int64_t i = 0; i < n; i++)
        p[i] = gen();
    return p;
}

static void set(problem *p)
{
    uint32_t u = GUARD;
    for (int64_t i = 0; i < p->n + 2 * EDGE; i++)
        memcpy(p->dw + i, &u, 4);
    if (p->g.add)
        memcpy(p->dw + EDGE, p->old, (size_t)p->n * sizeof(float));
}

static problem make(int64_t rows, int64_t n, int64_t k, int bf16, int add, float (*gen)(void))
{
    problem p = {.g = {.rows = rows, .n = n, .k = k, .bf16 = bf16, .add = add}, .n = n * k};
    p.g.a = p.a = floats(rows * n, gen);
    p.g.b = p.b = floats(rows * k, gen);
    p.old = floats(p.n, gen);
    p.dw = malloc((size_t)(p.n + 2 * EDGE) * sizeof(float));
    p.g.dw = p.dw + EDGE;
    set(&p);
    return p;
}

static void drop(problem *p) { free(p->a), free(p->b), free(p->old), free(p->dw); }

static double used(float v, int bf16) { return bf16 ? sky_bf16_to_f32(sky_f32_to_bf16(v)) : v; }

/* Number of wrong elements and touched guards. Any order of additions is within rows + 2 half ulps of the sum of magnitudes. */
static int64_t wrong(const problem *p, int exact, int64_t step)
{
    const sky_product_grad *g = &p->g;
    int64_t bad = 0;
    for (int64_t i = 0; i < p->n; i += step) {
        double s = g->add ? p->old[i] : 0, mag = fabs(s);
        for (int64_t r = 0; r < g->rows; r++) {
            double t = used(g->a[r * g->n + i / g->k], g->bf16) * used(g->b[r * g->k + i % g->k], g->bf16);
            s += t;
            mag += fabs(t);
        }
        bad += !(fabs(g->dw[i] - s) <= (exact ? 0 : (double)(g->rows + 2) * ldexp(mag, -24)));
    }
    for (int i = 0; i < EDGE; i++) {
        uint32_t u = GUARD;
        bad += memcmp(p->dw + i, &u, 4) || memcmp(p->dw + EDGE + p->n + i, &u, 4);
    }
    return bad;
}

static void shapes(const char *level)
{
    static const int64_t s[][3] = {{1, 1, 1}, {1, 37, 70}, {65, 1, 33}, {129, 33, 1}, {13, 33, 95}, {31, 14, 32}, {1000, 15, 31}, {77, 130, 65}, {0, 5, 6}, {4097, 29, 3}};
    for (size_t i = 0; i < sizeof s / sizeof *s; i++) {
        int64_t bad = 0, rc = 0;
        for (int v = 0; v < 8; v++) { /* bits: bf16, add, exact */
            problem p = make(s[i][0], s[i][1], s[i][2], v & 1, v >> 1 & 1, v >> 2 ? rnd_int : rnd_float);
            rc |= sky_cpu_product_grad(NULL, &scratch, &p.g, &err);
            bad += wrong(&p, v >> 2, 1);
            drop(&p);
        }
        OK(rc == 0 && bad == 0, "%s: %d rows, %dx%d, 8 variants: %d wrong", level, (int)s[i][0], (int)s[i][1], (int)s[i][2], (int)bad);
    }
}

/* Shapes that take both ways of gemm_run.c and several stretches; same bits with 1, 2 and 3 threads and again. */
static void same_bits(const char *level, int64_t rows, int64_t n, int64_t k, int bf16)
{
    problem p = make(rows, n, k, bf16, 1, rnd_float);
    size_t bytes = (size_t)p.n * sizeof(float);
    float *first = malloc(bytes);
    int rc = sky_cpu_product_grad(pool[0], &scratch, &p.g, &err), same = 1;
    int64_t bad = wrong(&p, 0, 97);
    memcpy(first, p.g.dw, bytes);
    for (int t = 0; t < 3; t++) {
        set(&p);
        rc |= sky_cpu_product_grad(pool[t], &scratch, &p.g, &err);
        same &= !memcmp(first, p.g.dw, bytes);
    }
    OK(rc == 0 && bad == 0, "%s: %d rows, %dx%d %s is right", level, (int)rows, (int)n, (int)k, bf16 ? "bf16" : "f32");
    OK(same, "%s: same bits with 1, 2 and 3 threads and again", level);
    free(first);
    drop(&p);
}

static void nan_stays(const char *level)
{
    for (int bf16 = 0; bf16 < 2; bf16++) {
        problem p = make(50, 20, 40, bf16, 0, rnd_int);
        p.a[33 * 20 + 3] = NAN;
        p.b[49 * 40 + 7] = NAN;
        int rc = sky_cpu_product_grad(NULL, &scratch, &p.g, &err), ok = 1;
        for (int i = 0; i < 20 * 40; i++)
            ok &= !!isnan(p.g.dw[i]) == (i / 40 == 3 || i % 40 == 7);
        OK(rc == 0 && ok, "%s: NaN stays in its row and column (%s)", level, bf16 ? "bf16" : "f32");
        drop(&p);
    }
}

static void all(const char *level)
{
    shapes(level);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        same_bits(level, 9001, 70, 50, bf16);
        same_bits(level, 3000, 1100, 37, bf16);
    }
    nan_stays(level);
}

int main(void)
{
    for (int t = 0; t < 3; t++)
        if (sky_pool_open(&pool[t], t + 1, &err))
            return 2;
    at_every_level(all);
    for (int t = 0; t < 3; t++)
        sky_pool_close(pool[t]);
    sky_scratch_free(&scratch);
    return END();
}
