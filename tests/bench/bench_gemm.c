/* Matrix products and convolutions on the model's shapes, as fractions of the peak loop run beside them:
 *   bench_gemm [-q] [-1] [-d f32|bf16] [-t THREADS] [WORD...]
 * Only lines whose name contains one of WORD; -q: own numbers only, -1: one thread only. "1 thread" is CPU time, "all" is wall
 * time of all threads (ours only): best of several runs, as a fraction of the best peak loop. oneDNN, where its header was found at build
 * time, takes turns with ours in every round; behind its rate stands the median over the rounds of our speed over its
 * speed, of one thread by CPU time, with the smallest and largest; not for gradients. Ours always reads plain weights and F32
 * activations: packing and rounding are inside the measured time. What oneDNN gets is said in bench_dnnl.h. */
#include "base/dtype.h"
#include "base/mem.h"
#include "cpu/conv.h"
#include "cpu/gemm_grad.h"
#include "peak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FORWARD, DX, DW }; /* of the product m x n x k: the product, the gradient of its input, of its weights */
static const struct {
    const char *name;
    int64_t m, n, k; /* convolution: n, k channels, h x w the map */
    int taps, h, w;
    sky_act act;
    int residual, what;
} cases[] = {
    {"65536x1056x352 qkv", 65536, 1056, 352, 1, 0, 0, SKY_ACT_NONE, 0, FORWARD},
    {"65536x1408x352 gelu", 65536, 1408, 352, 1, 0, 0, SKY_ACT_GELU, 0, FORWARD},
    {"65536x352x1408 residual", 65536, 352, 1408, 1, 0, 0, SKY_ACT_NONE, 1, FORWARD},
    {"16384x2112x704 qkv", 16384, 2112, 704, 1, 0, 0, SKY_ACT_NONE, 0, FORWARD},
    {"2048x4224x1408 qkv", 2048, 4224, 1408, 1, 0, 0, SKY_ACT_NONE, 0, FORWARD},
    {"2048x5632x1408 gelu", 2048, 5632, 1408, 1, 0, 0, SKY_ACT_GELU, 0, FORWARD},
    {"2048x1408x5632 residual", 2048, 1408, 5632, 1, 0, 0, SKY_ACT_NONE, 1, FORWARD},
    {"512x11264x2816 gelu", 512, 11264, 2816, 1, 0, 0, SKY_ACT_GELU, 0, FORWARD},
    {"2048x3072x1024 qkv", 2048, 3072, 1024, 1, 0, 0, SKY_ACT_NONE, 0, FORWARD},
    {"2048x4096x1024 gelu", 2048, 4096, 1024, 1, 0, 0, SKY_ACT_GELU, 0, FORWARD},
    {"32x4096x1024 gelu", 32, 4096, 1024, 1, 0, 0, SKY_ACT_GELU, 0, FORWARD},
    {"32x3072x1024 qkv", 32, 3072, 1024, 1, 0, 0, SKY_ACT_NONE, 0, FORWARD},
    {"32x1024x4096 residual", 32, 1024, 4096, 1, 0, 0, SKY_ACT_NONE, 1, FORWARD},
    {"conv3 512-512 256x128 relu", 32768, 512, 512, 9, 256, 128, SKY_ACT_RELU, 0, FORWARD},
    {"conv3 2560-512 256x128 relu", 32768, 512, 2560, 9, 256, 128, SKY_ACT_RELU, 0, FORWARD},
    {"conv3 3840-512 32x16 relu", 512, 512, 3840, 9, 32, 16, SKY_ACT_RELU, 0, FORWARD},
    {"conv5 2816-256 32x16 relu", 512, 256, 2816, 25, 32, 16, SKY_ACT_RELU, 0, FORWARD},
    {"65536x1056x352 dx", 65536, 1056, 352, 1, 0, 0, SKY_ACT_NONE, 1, DX},
    {"65536x352x1408 dx", 65536, 352, 1408, 1, 0, 0, SKY_ACT_NONE, 0, DX},
    {"2048x4224x1408 dx", 2048, 4224, 1408, 1, 0, 0, SKY_ACT_NONE, 1, DX},
    {"2048x4096x1024 dx", 2048, 4096, 1024, 1, 0, 0, SKY_ACT_NONE, 1, DX},
    {"65536x1056x352 dw", 65536, 1056, 352, 1, 0, 0, SKY_ACT_NONE, 0, DW},
    {"65536x352x1408 dw", 65536, 352, 1408, 1, 0, 0, SKY_ACT_NONE, 0, DW},
    {"16384x2112x704 dw", 16384, 2112, 704, 1, 0, 0, SKY_ACT_NONE, 0, DW},
    {"2048x4224x1408 dw", 2048, 4224, 1408, 1, 0, 0, SKY_ACT_NONE, 0, DW},
    {"2048x4096x1024 dw", 2048, 4096, 1024, 1, 0, 0, SKY_ACT_NONE, 0, DW},
    {"131072x352x48 dw", 131072, 352, 48, 1, 0, 0, SKY_ACT_NONE, 0, DW},
};
enum { CASES = sizeof cases / sizeof *cases };

typedef struct {
    int c, bf16;
    float *x, *y, *shift, *residual, *dw;
    void *w;
    sky_scratch scratch;
} work;

static float *noise(int64_t n)
{
    float *p = sky_alloc((size_t)n * sizeof *p);
    uint32_t s = 12345;
    for (int64_t i = 0; p && i < n; i++)
        p[i] = (float)((s = s * 1664525u + 1013904223u) >> 8) / 8388608.0f - 1.0f;
    return p;
}

static int prepare(work *w, int c, int bf16)
{
    int64_t m = cases[c].m, n = cases[c].n, k = cases[c].k, nw = n * k * cases[c].taps;
    *w = (work){.c = c, .bf16 = bf16, .x = noise(m * k), .y = noise(m * n), .shift = noise(n)};
    w->residual = cases[c].residual ? noise(m * n) : NULL;
    w->dw = cases[c].what == DW ? noise(nw) : NULL;
    float *f = noise(nw);
    w->w = f;
    if (bf16 && f) {
        uint16_t *h = w->w = sky_alloc((size_t)nw * 2);
        for (int64_t i = 0; h && i < nw; i++)
            h[i] = sky_f32_to_bf16(f[i]);
        sky_free(f);
    }
    return w->x && w->y && w->w && w->shift && (w->residual || !cases[c].residual) && (w->dw || cases[c].what != DW);
}

static void drop(work *w)
{
    sky_free(w->x), sky_free(w->y), sky_free(w->w), sky_free(w->shift), sky_free(w->residual), sky_free(w->dw);
    sky_scratch_free(&w->scratch);
}

static double operations(int c) { return 2.0 * (double)cases[c].m * (double)cases[c].n * (double)cases[c].k * cases[c].taps; }

static int backward(work *w, sky_pool *pool)
{
    int c = w->c;
    sky_err e;
    int64_t m = cases[c].m, n = cases[c].n, k = cases[c].k;
    if (cases[c].what == DW) {
        sky_product_grad g = {.a = w->y, .b = w->x, .rows = m, .n = n, .k = k, .bf16 = w->bf16, .add = 1, .dw = w->dw};
        return sky_cpu_product_grad(pool, &w->scratch, &g, &e);
    }
    sky_gemm g = {.a = w->y, .lda = n, .m = m, .k = n, .n = k, .w = w->w, .w_bf16 = w->bf16, .w_kn = 1, .ldw = k,
                  .residual = cases[c].residual ? w->x : NULL, .ldr = k, .y = w->x, .ldy = k};
    return sky_cpu_gemm(pool, &w->scratch, &g, &e);
}

static int ours(work *w, sky_pool *pool)
{
    int c = w->c;
    sky_err e;
    if (cases[c].what)
        return backward(w, pool);
    if (cases[c].h) {
        sky_conv v = {.x = w->x, .b = 1, .h = cases[c].h, .w = cases[c].w, .c = cases[c].k, .n = cases[c].n, .k = cases[c].taps == 9 ? 3 : 5,
                      .wt = w->w, .w_bf16 = w->bf16, .shift = w->shift, .act = cases[c].act, .y = w->y};
        return sky_cpu_conv(pool, &w->scratch, &v, &e);
    }
    sky_gemm g = {.a = w->x, .lda = cases[c].k, .m = cases[c].m, .k = cases[c].k, .n = cases[c].n, .w = w->w, .w_bf16 = w->bf16, .ldw = cases[c].k,
                  .shift = w->shift, .act = cases[c].act, .residual = w->residual, .ldr = cases[c].n, .y = w->y, .ldy = cases[c].n};
    return sky_cpu_gemm(pool, &w->scratch, &g, &e);
}

#ifdef SKY_BENCH_DNNL
#include "bench_dnnl.h"
#endif

enum { ROUNDS = 15, WAYS = 4 };

/* One who takes part: seconds of each round. */
typedef struct {
    const char *name;
    int (*fn)(void *, sky_pool *);
    void *arg;
    double cpu[ROUNDS], wall[ROUNDS];
} way;

static struct {
    int quick, one; /* -q, -1 */
    const char *dtype;
} option;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double least(const double *v, int n)
{
    double best = v[0];
    for (int i = 1; i < n; i++)
        best = v[i] < best ? v[i] : best;
    return best;
}

static void keep(double *best, double v) { *best = v > *best ? v : *best; }

/* Rounds of everybody in turn, of the first (ours) with all threads too, until 4 CPU seconds are spent, at least 3; returns their number, best peak loops in peak[2]. */
static int measure(way *w, int ways, sky_pool *pool, int bf16, double peak[2])
{
    int round = 0;
    for (int i = 0; i < ways; i++)
        w[i].fn(w[i].arg, NULL); /* the first touch of scratch */
    double t0 = bench_cpu();
    for (; round < ROUNDS && (round < 3 || bench_cpu() - t0 < 4.0); round++) {
        keep(&peak[0], peak_one_core(bf16, 2));
        for (int i = 0; i < ways; i++) {
            double t = bench_clock(CLOCK_PROCESS_CPUTIME_ID); /* should a peer start threads, they count */
            w[i].fn(w[i].arg, NULL);
            w[i].cpu[round] = bench_clock(CLOCK_PROCESS_CPUTIME_ID) - t;
        }
        if (option.one)
            continue;
        keep(&peak[1], peak_all_cores(pool, bf16, 1));
        double t = bench_wall();
        w[0].fn(w[0].arg, pool);
        w[0].wall[round] = bench_wall() - t;
    }
    return round;
}

/* Rates, and how fast ours was beside it. */
static void show(const way *w, const way *own, int rounds, double gflop, const double peak[2])
{
    double one = gflop / least(w->cpu, rounds), ratio[ROUNDS];
    printf("%s %5.1f %3.0f%%", w->name, one, 100 * one / peak[0]);
    if (w == own && !option.one) {
        double all = gflop / least(w->wall, rounds);
        printf(" | %5.1f %3.0f%%", all, 100 * all / peak[1]);
    }
    if (w == own)
        return;
    for (int i = 0; i < rounds; i++)
        ratio[i] = w->cpu[i] / own->cpu[i];
    qsort(ratio, (size_t)rounds, sizeof *ratio, by_value);
    printf(" x%.2f (%.2f-%.2f)", ratio[rounds / 2], ratio[0], ratio[rounds - 1]);
}

static int ours_fn(void *w, sky_pool *pool) { return ours(w, pool); }

static void line(int c, int bf16, sky_pool *pool)
{
    work w;
    way ways[WAYS] = {{.name = "ours", .fn = ours_fn, .arg = &w}};
    int n = 1;
    double peak[2] = {0, 0};
    if (!prepare(&w, c, bf16)) {
        printf("%-28s out of memory\n", cases[c].name);
        drop(&w);
        return;
    }
#ifdef SKY_BENCH_DNNL
    static const char *const names[] = {" || oneDNN plain", " || packed", " || behind"};
    peer peers[WAYS - 1] = {{0}};
    for (int i = 0; i < WAYS - 1 && !option.quick; i++)
        if (peer_has(c, bf16, i) && peer_open(&peers[i], &w, i))
            ways[n++] = (way){.name = names[i], .fn = peer_fn, .arg = &peers[i]};
#endif
    int rounds = measure(ways, n, pool, bf16, peak);
    printf("%-28s %-4s %2d ", cases[c].name, bf16 ? "bf16" : "f32", rounds);
    for (int i = 0; i < n; i++)
        show(&ways[i], &ways[0], rounds, operations(c) * 1e-9, peak);
    printf("\n");
    fflush(stdout);
#ifdef SKY_BENCH_DNNL
    for (int i = 0; i < WAYS - 1; i++)
        peer_close(&peers[i]);
#endif
    drop(&w);
}

static int chosen(const char *name, char **word, int n)
{
    for (int i = 0; i < n; i++)
        if (strstr(name, word[i]))
            return 1;
    return n == 0;
}

int main(int argc, char **argv)
{
    int threads = 0, at = 1;
    for (; at < argc && argv[at][0] == '-'; at++)
        if (!strcmp(argv[at], "-q"))
            option.quick = 1;
        else if (!strcmp(argv[at], "-1"))
            option.one = 1;
        else if (!strcmp(argv[at], "-d") && at + 1 < argc)
            option.dtype = argv[++at];
        else if (!strcmp(argv[at], "-t") && at + 1 < argc)
            threads = atoi(argv[++at]);
    sky_pool *pool;
    sky_err e;
    if (sky_pool_open(&pool, threads, &e)) {
        fprintf(stderr, "bench_gemm: %s\n", e.msg);
        return 4;
    }
    printf("# %s, %d threads; rounds, GF/s and fraction of the peak loop: 1 thread | all; xR: our speed / its speed\n", sky_cpu_level_name(sky_cpu_level_get()), sky_pool_threads(pool));
#ifndef SKY_BENCH_DNNL
    printf("# oneDNN skipped: its header was not found when this was built\n");
#endif
    for (int bf16 = 0; bf16 < 2; bf16++)
        for (int c = 0; c < CASES; c++)
            if (chosen(cases[c].name, argv + at, argc - at) && (!option.dtype || !strcmp(option.dtype, bf16 ? "bf16" : "f32")))
                line(c, bf16, pool);
    sky_pool_close(pool);
    return 0;
}
