/* Matrix product of the CPU backend, every instruction-set level the machine has, against plain double sums. */
#include "base/dtype.h"
#include "cpu/gemm.h"
#include "levels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint32_t seed = 1;
static uint32_t rnd(void) { return (seed = seed * 1664525u + 1013904223u) >> 8; }
static float rnd_float(void) { return (float)rnd() / 8388608.0f - 1.0f; } /* [-1, 1) */
static float rnd_int(void) { return (float)(int)(rnd() % 17) - 8.0f; }

/* A problem whose buffers end exactly where the last row does, so that a memory checker sees every overrun. */
typedef struct {
    sky_gemm g;
    float *a, *scale, *shift, *residual, *y;
    void *w;
    size_t ny;
} problem;

static float *floats(size_t n, float (*gen)(void))
{
    float *p = malloc((n ? n : 1) * sizeof *p);
    for (size_t i = 0; i < n; i++)
        p[i] = gen();
    return p;
}

static size_t extent(int64_t rows, int64_t cols, int64_t ld) { return rows && cols ? (size_t)((rows - 1) * ld + cols) : 0; }

enum { PAD = 7, GUARD = 0x7fb5a5a5 /* a NaN no sum produces */ };

static void guard_fill(problem *p)
{
    uint32_t u = GUARD;
    for (size_t i = 0; i < p->ny; i++)
        memcpy(p->y + i, &u, 4);
}

static problem make(int64_t m, int64_t n, int64_t k, int bf16, int kn, int pad, int with, sky_act act, float (*gen)(void))
{
    problem p = {.g = {.m = m, .n = n, .k = k, .lda = k + pad, .w_bf16 = bf16, .w_kn = kn, .ldw = (kn ? n : k) + pad, .ldy = n + pad, .ldr = n + 2 * pad, .act = act}};
    p.a = floats(extent(m, k, p.g.lda), gen);
    size_t nw = kn ? extent(k, n, p.g.ldw) : extent(n, k, p.g.ldw);
    float *w = floats(nw, gen);
    if (bf16) {
        uint16_t *h = malloc((nw ? nw : 1) * 2);
        for (size_t i = 0; i < nw; i++)
            h[i] = sky_f32_to_bf16(w[i]);
        free(w);
        p.w = h;
    } else
        p.w = w;
    p.scale = floats((size_t)n, gen);
    p.shift = floats((size_t)n, gen);
    p.residual = floats(extent(m, n, p.g.ldr), gen);
    p.ny = (size_t)(m * p.g.ldy) + 2 * 64;
    p.y = malloc(p.ny * sizeof(float));
    guard_fill(&p);
    p.g.a = p.a;
    p.g.w = p.w;
    p.g.scale = with & 1 ? p.scale : NULL;
    p.g.shift = with & 2 ? p.shift : NULL;
    p.g.residual = with & 4 ? p.residual : NULL;
    p.g.y = p.y + 64;
    return p;
}

static void drop(problem *p) { free(p->a), free(p->w), free(p->scale), free(p->shift), free(p->residual), free(p->y); }

static double act_ref(double v, sky_act act)
{
    switch (act) {
    case SKY_ACT_RELU: return v > 0 ? v : 0;
    case SKY_ACT_LEAKY: return v > 0 ? v : 0.01f * v;
    case SKY_ACT_GELU: return 0.5 * v * erfc(-v / sqrt(2));
    default: return v;
    }
}

static double a_at(const sky_gemm *g, int64_t i, int64_t k)
{
    float v = g->a[i * g->lda + k];
    return g->w_bf16 ? sky_bf16_to_f32(sky_f32_to_bf16(v)) : v;
}

static double w_at(const sky_gemm *g, int64_t k, int64_t j)
{
    int64_t at = g->w_kn ? k * g->ldw + j : j * g->ldw + k;
    return g->w_bf16 ? sky_bf16_to_f32(((const uint16_t *)g->w)[at]) : ((const float *)g->w)[at];
}

/* The value of y[i,j] and how far F32 arithmetic in any order of additions may be from it: k + 2 roundings of at most
 * half an ulp of the sum of magnitudes, carried through the epilogue (whose slope is below 1.13) and its own four
 * roundings; 2.5e-7 is what gelu may add (2e-7, and half an ulp of values below 1). */
static double want(const sky_gemm *g, int64_t i, int64_t j, double *tol)
{
    double s = 0, mag = 0, u = ldexp(1, -24);
    for (int64_t k = 0; k < g->k; k++) {
        double t = a_at(g, i, k) * w_at(g, k, j);
        s += t;
        mag += fabs(t);
    }
    double scale = g->scale ? g->scale[j] : 1, shift = g->shift ? g->shift[j] : 0, res = g->residual ? g->residual[i * g->ldr + j] : 0;
    double pre = s * scale + shift;
    *tol = 1.13 * fabs(scale) * (double)(g->k + 2) * u * mag + 4 * u * (fabs(pre) + fabs(shift) + fabs(s * scale) + fabs(res)) + (g->act == SKY_ACT_GELU ? 2.5e-7 : 0);
    return act_ref(pre, g->act) + res;
}

/* Number of wrong elements, exact: no tolerance at all. */
static int64_t wrong(const problem *p, int exact, int64_t step)
{
    const sky_gemm *g = &p->g;
    int64_t bad = 0;
    for (int64_t i = 0; i < g->m; i += step)
        for (int64_t j = 0; j < g->n; j += step) {
            double tol, w = want(g, i, j, &tol);
            bad += !(fabs(g->y[i * g->ldy + j] - w) <= (exact ? 0 : tol));
        }
    return bad;
}

static int64_t guards_hit(const problem *p)
{
    int64_t bad = 0;
    for (int64_t i = -64; i < p->g.m * p->g.ldy + 64; i++) {
        int inside = i >= 0 && i < p->g.m * p->g.ldy && i % p->g.ldy < p->g.n;
        uint32_t u;
        memcpy(&u, p->g.y + i, 4);
        bad += inside ? u == GUARD : u != GUARD;
    }
    return bad;
}

static sky_scratch scratch;
static sky_pool *pool[3]; /* of 1, 2 and 3 threads */
static sky_err err;

static void shapes(const char *level)
{
    static const int64_t s[][3] = {{1, 1, 1}, {3, 33, 7}, {37, 65, 129}, {64, 17, 1000}, {14, 32, 16}, {15, 31, 33}, {29, 95, 31}, {2, 200, 513}, {100, 3, 5}, {33, 40, 0}};
    for (size_t i = 0; i < sizeof s / sizeof *s; i++) {
        int64_t bad = 0, hit = 0, rc = 0;
        for (int v = 0; v < 64; v++) { /* bits: bf16, kn, pad, exact; act */
            int exact = v >> 3 & 1;
            sky_act act = exact ? (sky_act)(v >> 4 & 1) : (sky_act)(v >> 4);
            problem p = make(s[i][0], s[i][1], s[i][2], v & 1, v >> 1 & 1, v >> 2 & 1 ? PAD : 0, v * 5 % 8, act, exact ? rnd_int : rnd_float);
            rc |= sky_cpu_gemm(NULL, &scratch, &p.g, &err);
            bad += wrong(&p, exact, 1);
            hit += guards_hit(&p);
            drop(&p);
        }
        OK(rc == 0 && bad == 0 && hit == 0, "%s: %dx%dx%d, 64 variants: %d wrong, %d guards", level, (int)s[i][0], (int)s[i][1], (int)s[i][2], (int)bad, (int)hit);
    }
}

/* Same bits from 1, 2 and 3 threads, from a second run, and for any slice of the rows. m picks the way (see gemm_run.c),
 * k and n force cuts. */
static void same_bits(const char *level, int64_t m, int64_t n, int64_t k, int bf16)
{
    problem p = make(m, n, k, bf16, 0, 0, 7, SKY_ACT_GELU, rnd_float);
    size_t bytes = (size_t)(m * n) * sizeof(float);
    float *first = malloc(bytes);
    int rc = sky_cpu_gemm(pool[0], &scratch, &p.g, &err), same = 1, slices = 1;
    int64_t bad = wrong(&p, 0, m > 200 ? 41 : 1);
    memcpy(first, p.g.y, bytes);
    for (int t = 0; t < 3; t++) {
        guard_fill(&p);
        rc |= sky_cpu_gemm(pool[t], &scratch, &p.g, &err);
        same &= !memcmp(first, p.g.y, bytes);
    }
    static const int64_t cut[][2] = {{0, 1}, {5, 13}, {7, 64}, {3, 300}};
    for (int c = 0; c < 4; c++) {
        int64_t from = cut[c][0], rows = cut[c][1] < m - from ? cut[c][1] : m - from;
        sky_gemm g = p.g;
        guard_fill(&p);
        g.m = rows;
        g.a += from * g.lda;
        g.residual += from * g.ldr;
        rc |= sky_cpu_gemm(pool[1], &scratch, &g, &err);
        slices &= !memcmp(first + from * n, g.y, (size_t)(rows * n) * sizeof(float));
    }
    OK(rc == 0 && bad == 0, "%s: %dx%dx%d %s with cuts is right", level, (int)m, (int)n, (int)k, bf16 ? "bf16" : "f32");
    OK(same, "%s: same bits with 1, 2 and 3 threads and again", level);
    OK(slices, "%s: a slice of the rows has the bits of the whole", level);
    free(first);
    drop(&p);
}

static void not_finite(const char *level)
{
    for (int bf16 = 0; bf16 < 2; bf16++) {
        problem p = make(20, 40, 33, bf16, 0, 0, 0, SKY_ACT_RELU, rnd_int);
        p.a[3 * p.g.lda + 5] = NAN;
        if (bf16)
            ((uint16_t *)p.w)[7 * p.g.ldw + 32] = 0x7f80;
        else
            ((float *)p.w)[7 * p.g.ldw + 32] = INFINITY;
        int rc = sky_cpu_gemm(NULL, &scratch, &p.g, &err), ok = 1;
        for (int i = 0; i < 20; i++)
            for (int j = 0; j < 40; j++) {
                float y = p.g.y[i * p.g.ldy + j];
                double a = p.a[i * p.g.lda + 32];
                ok &= i == 3 ? isnan(y) : j != 7 ? isfinite(y) : a > 0 ? y == INFINITY : a < 0 ? y == 0 : isnan(y);
            }
        OK(rc == 0 && ok, "%s: NaN and infinity stay in their row and column (%s)", level, bf16 ? "bf16" : "f32");
        drop(&p);
    }
}

static void gelu(const char *level)
{
    enum { N = 400001 };
    float *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y), one = 1;
    for (int i = 0; i < N; i++)
        x[i] = (float)(i - N / 2) / 20000;
    sky_gemm g = {.a = x, .lda = 1, .m = N, .k = 1, .n = 1, .w = &one, .ldw = 1, .act = SKY_ACT_GELU, .y = y, .ldy = 1};
    int rc = sky_cpu_gemm(NULL, &scratch, &g, &err);
    double worst = 0;
    for (int i = 0; i < N; i++) {
        double ref = act_ref(x[i], SKY_ACT_GELU), half_ulp = ref > 1 ? ldexp(1, ilogb(ref) - 24) : 0, d = fabs(y[i] - ref) - half_ulp;
        worst = d <= worst ? worst : d; /* NaN is taken over, then fails */
    }
    OK(rc == 0 && worst < 2e-7, "%s: gelu over [-10, 10]: worst error %.2e beyond rounding the result", level, worst);
    x[0] = NAN, x[1] = INFINITY, x[2] = -INFINITY;
    g.m = 3;
    rc = sky_cpu_gemm(NULL, &scratch, &g, &err);
    OK(rc == 0 && isnan(y[0]) && y[1] == INFINITY && fabsf(y[2]) < 2e-7f, "%s: gelu of NaN, infinity, -infinity", level);
    free(x), free(y);
}

/* The result written over its residual has the bits it has elsewhere, however long k is. */
static void over_residual(const char *level, int64_t m)
{
    for (int bf16 = 0; bf16 < 2; bf16++) {
        problem p = make(m, 33, 3301, bf16, 1, 0, 4, SKY_ACT_NONE, rnd_float);
        size_t bytes = (size_t)(m * 33) * sizeof(float);
        p.g.ldr = p.g.ldy = 33;
        int rc = sky_cpu_gemm(pool[1], &scratch, &p.g, &err);
        float *apart = malloc(bytes);
        memcpy(apart, p.g.y, bytes);
        memcpy(p.g.y, p.residual, bytes);
        p.g.residual = p.g.y;
        rc |= sky_cpu_gemm(pool[1], &scratch, &p.g, &err);
        OK(rc == 0 && !memcmp(apart, p.g.y, bytes), "%s: %dx33x3301 %s written over its residual", level, (int)m, bf16 ? "bf16" : "f32");
        free(apart);
        drop(&p);
    }
}

/* More columns than one cut of packed W holds, more k than one cut; exact. */
static void big_cuts(const char *level)
{
    problem p = make(1030, 1450, 1700, 0, 0, 0, 6, SKY_ACT_NONE, rnd_int);
    int rc = sky_cpu_gemm(pool[1], &scratch, &p.g, &err);
    int64_t bad = wrong(&p, 1, 29);
    OK(rc == 0 && bad == 0 && !guards_hit(&p), "%s: 1030x1450x1700, cut in n and k, exact", level);
    drop(&p);
}

static void all(const char *level)
{
    shapes(level);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        same_bits(level, 50, 70, 1700, bf16);
        same_bits(level, 1010, 37, 4601, bf16);
        same_bits(level, 1100, 37, 3301, bf16);
    }
    not_finite(level);
    gelu(level);
    over_residual(level, 1030);
    over_residual(level, 70);
    big_cuts(level);
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
