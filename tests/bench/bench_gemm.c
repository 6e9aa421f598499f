/* Matrix products and convolutions on the model's shapes, as fractions of the peak loop run beside them:
 *   bench_gemm [-q] [-t THREADS] [WORD...]    only lines whose name contains one of WORD; -q: own numbers only
 * "1 thread" is CPU time, "all" is wall time of all threads. oneDNN, where its header was found at build time, gets its
 * weights plain and packed beforehand (ours are always plain: packing is inside the measured time), and BF16
 * activations (ours are F32 and rounded inside). Best of several runs that alternate with the peak loop. */
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

/* Best of own runs over best of the peak loops that ran between them. */
typedef struct {
    double rate, peak;
} score;

static void keep(double *best, double v) { *best = v > *best ? v : *best; }

static void measure(score *one, score *all, int (*fn)(void *, sky_pool *), void *arg, sky_pool *pool, double ops, int bf16)
{
    if (fn(arg, NULL)) /* warm-up, and the first touch of scratch */
        return;
    double t0 = bench_wall();
    for (int i = 0; i < 20 && (i < 3 || bench_wall() - t0 < 3.0); i++) {
        keep(&one->peak, peak_one_core(bf16, 2));
        double t = bench_cpu();
        fn(arg, NULL);
        keep(&one->rate, ops / (bench_cpu() - t) * 1e-9);
        keep(&all->peak, peak_all_cores(pool, bf16, 1));
        t = bench_wall();
        fn(arg, pool);
        keep(&all->rate, ops / (bench_wall() - t) * 1e-9);
    }
}

static void show(const char *who, score one, score all)
{
    printf("%s %5.1f %3.0f%% | %5.1f %3.0f%%", who, one.rate, 100 * one.rate / one.peak, all.rate, 100 * all.rate / all.peak);
    fflush(stdout);
}

static int ours_fn(void *w, sky_pool *pool) { return ours(w, pool); }

static void line(int c, int bf16, sky_pool *pool, int quick)
{
    work w;
    if (!prepare(&w, c, bf16)) {
        printf("%-28s out of memory\n", cases[c].name);
        drop(&w);
        return;
    }
    score one = {0}, all = {0};
    measure(&one, &all, ours_fn, &w, pool, operations(c), bf16);
    printf("%-28s %-4s ", cases[c].name, bf16 ? "bf16" : "f32");
    show("ours", one, all);
#ifdef SKY_BENCH_DNNL
    for (int packed = 0; packed < 2 && !quick && !cases[c].what; packed++) {
        peer p;
        score done = {0}, dall = {0};
        if (peer_open(&p, &w, packed, sky_pool_threads(pool)))
            measure(&done, &dall, peer_fn, &p, pool, operations(c), bf16);
        peer_close(&p);
        show(packed ? " || oneDNN packed" : " || oneDNN plain", done, dall);
    }
#else
    (void)quick;
#endif
    printf("\n");
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
    int threads = 0, quick = 0, at = 1;
    for (; at < argc && argv[at][0] == '-'; at++)
        if (!strcmp(argv[at], "-q"))
            quick = 1;
        else if (!strcmp(argv[at], "-t") && at + 1 < argc)
            threads = atoi(argv[++at]);
    sky_pool *pool;
    sky_err e;
    if (sky_pool_open(&pool, threads, &e)) {
        fprintf(stderr, "bench_gemm: %s\n", e.msg);
        return 4;
    }
    printf("# %s, %d threads; GF/s and fraction of the peak loop: 1 thread | all\n", sky_cpu_level_name(sky_cpu_level_get()), sky_pool_threads(pool));
#ifndef SKY_BENCH_DNNL
    printf("# oneDNN skipped: its header was not found when this was built\n");
#endif
    for (int bf16 = 0; bf16 < 2; bf16++)
        for (int c = 0; c < CASES; c++)
            if (chosen(cases[c].name, argv + at, argc - at))
                line(c, bf16, pool, quick);
    sky_pool_close(pool);
    return 0;
}
