/* Convolution of the CPU backend, every instruction-set level the machine has, against plain double sums. */
#include "base/dtype.h"
#include "cpu/conv.h"
#include "levels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint32_t seed = 7;
static uint32_t rnd(void) { return (seed = seed * 1664525u + 1013904223u) >> 8; }
static float rnd_float(void) { return (float)rnd() / 8388608.0f - 1.0f; }
static float rnd_int(void) { return (float)(int)(rnd() % 17) - 8.0f; }

static sky_scratch scratch;
static sky_pool *pool[3]; /* of 1, 2 and 3 threads */
static sky_err err;

typedef struct {
    sky_conv c;
    float *x, *scale, *shift, *y;
    void *wt;
    int64_t nx, ny;
} problem;

static float *floats(int64_t n, float (*gen)(void))
{
    float *p = malloc((size_t)n * sizeof *p);
    for (int64_t i = 0; i < n; i++)
        p[i] = gen();
    return p;
}

enum { GUARD = 0x7fb5a5a5, EDGE = 64 };

static void guard_fill(problem *p)
{
    uint32_t u = GUARD;
    for (int64_t i = 0; i < p->ny + 2 * EDGE; i++)
        memcpy(p->y + i, &u, 4);
}

static problem make(int b, int h, int w, int c, int n, int k, int bf16, int with, sky_act act, float (*gen)(void))
{
    problem p = {.c = {.b = b, .h = h, .w = w, .c = c, .n = n, .k = k, .w_bf16 = bf16, .act = act}};
    int64_t nw = (int64_t)n * c * k * k;
    p.nx = (int64_t)b * h * w * c;
    p.ny = (int64_t)b * h * w * n;
    p.x = floats(p.nx, gen);
    p.scale = floats(n, gen);
    p.shift = floats(n, gen);
    float *f = floats(nw, gen);
    p.wt = f;
    if (bf16) {
        uint16_t *s = p.wt = malloc((size_t)nw * 2);
        for (int64_t i = 0; i < nw; i++)
            s[i] = sky_f32_to_bf16(f[i]);
        free(f);
    }
    p.y = malloc((size_t)(p.ny + 2 * EDGE) * sizeof(float));
    guard_fill(&p);
    p.c.x = p.x;
    p.c.wt = p.wt;
    p.c.scale = with & 1 ? p.scale : NULL;
    p.c.shift = with & 2 ? p.shift : NULL;
    p.c.y = p.y + EDGE;
    return p;
}

static void drop(problem *p) { free(p->x), free(p->wt), free(p->scale), free(p->shift), free(p->y); }

static double x_at(const sky_conv *c, int64_t b, int64_t y, int64_t x, int64_t ch)
{
    if (y < 0 || y >= c->h || x < 0 || x >= c->w)
        return 0;
    float v = c->x[((b * c->h + y) * c->w + x) * c->c + ch];
    return c->w_bf16 ? sky_bf16_to_f32(sky_f32_to_bf16(v)) : v;
}

static double w_at(const sky_conv *c, int64_t i) { return c->w_bf16 ? sky_bf16_to_f32(((const uint16_t *)c->wt)[i]) : ((const float *)c->wt)[i]; }

/* As in cpu_gemm.c: any order of additions is within `terms` half ulps of the sum of magnitudes. */
static double want(const sky_conv *c, int64_t b, int64_t y, int64_t x, int64_t n, double *tol)
{
    double s = 0, mag = 0, u = ldexp(1, -24), scale = c->scale ? c->scale[n] : 1, shift = c->shift ? c->shift[n] : 0;
    for (int64_t ch = 0; ch < c->c; ch++)
        for (int i = 0; i < c->k; i++)
            for (int j = 0; j < c->k; j++) {
                double t = x_at(c, b, y + i - c->k / 2, x + j - c->k / 2, ch) * w_at(c, ((n * c->c + ch) * c->k + i) * c->k + j);
                s += t;
                mag += fabs(t);
            }
    double v = s * scale + shift;
    *tol = fabs(scale) * (double)(c->c * c->k * c->k + 2) * u * mag + 4 * u * (fabs(v) + fabs(shift) + fabs(s * scale));
    return c->act == SKY_ACT_RELU && v < 0 ? 0 : c->act == SKY_ACT_LEAKY && v < 0 ? 0.01f * v : v;
}

static int64_t wrong(const problem *p, int exact, int64_t step)
{
    const sky_conv *c = &p->c;
    int64_t bad = 0;
    for (int64_t i = 0; i < p->ny; i += step) {
        int64_t n = i % c->n, x = i / c->n % c->w, y = i / c->n / c->w % c->h, b = i / c->n / c->w / c->h;
        double tol, v = want(c, b, y, x, n, &tol);
        bad += !(fabs(c->y[i] - v) <= (exact ? 0 : tol));
    }
    for (int i = 0; i < EDGE; i++) {
        uint32_t before, after;
        memcpy(&before, p->y + i, 4);
        memcpy(&after, p->y + EDGE + p->ny + i, 4);
        bad += before != GUARD || after != GUARD;
    }
    return bad;
}

static void shapes(const char *level)
{
    static const int s[][6] = {{1, 1, 1, 1, 1, 3}, {1, 1, 1, 3, 2, 5}, {2, 3, 5, 7, 9, 3}, {1, 2, 2, 1, 33, 5}, {1, 7, 5, 65, 32, 3}, {3, 4, 3, 130, 5, 3},
                               {1, 6, 9, 67, 40, 5}, {2, 5, 4, 64, 3, 1}, {1, 9, 1, 129, 2, 3}, {1, 1, 9, 16, 70, 5}};
    for (size_t i = 0; i < sizeof s / sizeof *s; i++) {
        int64_t bad = 0;
        int rc = 0;
        for (int v = 0; v < 12; v++) {
            int exact = v >> 1 & 1, act = v >> 2; /* NONE, RELU, LEAKY */
            problem p = make(s[i][0], s[i][1], s[i][2], s[i][3], s[i][4], s[i][5], v & 1, exact ? 2 : v % 4, exact && act == 2 ? 0 : (sky_act)act, exact ? rnd_int : rnd_float);
            rc |= sky_cpu_conv(NULL, &scratch, &p.c, &err);
            bad += wrong(&p, exact, 1);
            drop(&p);
        }
        OK(rc == 0 && bad == 0, "%s: %dx%dx%dx%d -> %d, %dx%d, 12 variants: %d wrong", level, s[i][0], s[i][1], s[i][2], s[i][3], s[i][4], s[i][5], s[i][5], (int)bad);
    }
}

/* Same bits for any number of threads, a second run, and an image alone instead of in its batch (which may take the
 * other way of gemm_run.c). */
static void same_bits(const char *level, int b, int h, int w, int c, int n, int k, int bf16)
{
    problem p = make(b, h, w, c, n, k, bf16, 3, SKY_ACT_RELU, rnd_float);
    size_t bytes = (size_t)p.ny * sizeof(float), image = bytes / (size_t)b;
    float *first = malloc(bytes);
    int rc = sky_cpu_conv(pool[0], &scratch, &p.c, &err), same = 1, alone = 1;
    int64_t bad = wrong(&p, 0, 31);
    memcpy(first, p.c.y, bytes);
    for (int t = 0; t < 3; t++) {
        guard_fill(&p);
        rc |= sky_cpu_conv(pool[t], &scratch, &p.c, &err);
        same &= !memcmp(first, p.c.y, bytes);
    }
    for (int i = 0; i < b; i++) {
        sky_conv one = p.c;
        one.b = 1;
        one.x += p.nx / b * i;
        guard_fill(&p);
        rc |= sky_cpu_conv(pool[1], &scratch, &one, &err);
        alone &= !memcmp((char *)first + image * (size_t)i, one.y, image);
    }
    OK(rc == 0 && bad == 0, "%s: %dx%dx%dx%d -> %d, %dx%d %s is right", level, b, h, w, c, n, k, k, bf16 ? "bf16" : "f32");
    OK(same, "%s: same bits with 1, 2 and 3 threads and again", level);
    OK(alone, "%s: an image alone has the bits it has in a batch", level);
    free(first);
    drop(&p);
}

static void nan_reaches_its_neighbours_only(const char *level)
{
    problem p = make(1, 6, 6, 5, 4, 3, 0, 0, SKY_ACT_RELU, rnd_int);
    p.x[(2 * 6 + 3) * 5 + 1] = NAN;
    int rc = sky_cpu_conv(NULL, &scratch, &p.c, &err), ok = 1;
    for (int y = 0; y < 6; y++)
        for (int x = 0; x < 6; x++)
            for (int n = 0; n < 4; n++)
                ok &= !!isnan(p.c.y[(y * 6 + x) * 4 + n]) == (abs(y - 2) <= 1 && abs(x - 3) <= 1);
    OK(rc == 0 && ok, "%s: NaN reaches the 3x3 pixels around it and no other", level);
    drop(&p);
}

static void all(const char *level)
{
    shapes(level);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        same_bits(level, 3, 20, 19, 70, 35, 3, bf16);   /* 1140 rows whole, 380 alone */
        same_bits(level, 2, 17, 33, 201, 35, 5, bf16);  /* k cut in the tall way */
        same_bits(level, 2, 9, 7, 450, 33, 3, bf16);
    }
    nan_reaches_its_neighbours_only(level);
}

int main(void)
{
    for (int t = 0; t < 3; t++)
        if (sky_pool_open(&pool[t], t + 1, &err))
            return 2;
    at_every_level(all);
    problem p = make(1, 2, 2, 1, 1, 3, 0, 0, SKY_ACT_NONE, rnd_int);
    p.c.k = 4;
    OK(sky_cpu_conv(NULL, &scratch, &p.c, &err) == SKY_EUSAGE, "kernel size 4: %s", err.msg);
    drop(&p);
    for (int t = 0; t < 3; t++)
        sky_pool_close(pool[t]);
    sky_scratch_free(&scratch);
    return END();
}
