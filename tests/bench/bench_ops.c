/* Memory-bound operations at the sizes of the full model, as GB/s of bytes that must move (inputs and result once each)
 * against a triad a = b + s*c in the same run:
 *   bench_ops [-t THREADS] [WORD...]    only lines whose name contains one of WORD
 * "1 thread" is CPU time, "all" wall time of all threads; each the best of several runs that alternate with the triad.
 * The triad counts its three streams with normal stores, as the operations use them. */
#include "base/mem.h"
#include "peak.h"
#include "tensor/ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sky_ctx ctx, *c = &ctx;
static float *noise; /* what inputs are filled with */
enum { NOISE = 1 << 20 };

static sky_tensor make(sky_dtype t, int ndim, const int64_t *shape)
{
    sky_tensor x = sky_new(c, t, ndim, shape);
    if (!x.data || c->dry)
        return x;
    size_t n = (size_t)sky_bytes(&x), step = NOISE * sizeof *noise;
    for (size_t i = 0; i < n; i += step)
        if (t == SKY_U8)
            for (size_t k = i; k < n && k < i + step; k++)
                ((uint8_t *)x.data)[k] = (uint8_t)(k / 37 % 65);
        else
            memcpy((char *)x.data + i, noise, n - i < step ? n - i : step);
    return x;
}
#define X(...) make(SKY_F32, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})
#define U8(...) make(SKY_U8, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

/* Inputs of a line, then the operation on them. */
typedef struct { sky_tensor t[5]; } inputs;
typedef inputs prepare_fn(const int64_t *s);
typedef sky_tensor run_fn(const inputs *i, const int64_t *s);

static inputs in_norm(const int64_t *s) { return (inputs){{X(s[0], s[1]), X(s[1]), X(s[1]), s[2] ? X(s[0], s[1]) : sky_none}}; }
static sky_tensor do_norm(const inputs *i, const int64_t *s) { return (void)s, sky_layernorm(c, i->t[0], i->t[1], i->t[2], 1e-5f, i->t[3]); }
static inputs in_rows(const int64_t *s) { return (inputs){{X(s[0], s[1])}}; }
static sky_tensor do_softmax(const inputs *i, const int64_t *s) { return (void)s, sky_softmax(c, i->t[0], 9); }
static sky_tensor do_gelu(const inputs *i, const int64_t *s) { return (void)s, sky_activate(c, i->t[0], SKY_ACT_GELU); }
static inputs in_two(const int64_t *s) { return (inputs){{X(s[0], s[1]), X(s[0], s[1])}}; }
static sky_tensor do_add(const inputs *i, const int64_t *s) { return (void)s, sky_add(c, i->t[0], i->t[1]); }
static inputs in_scaled(const int64_t *s) { return (inputs){{X(s[0], s[1]), X(s[1]), X(s[0], s[1])}}; }
static sky_tensor do_scaled(const inputs *i, const int64_t *s) { return (void)s, sky_add_scaled(c, i->t[0], i->t[1], i->t[2]); }
static inputs in_map(const int64_t *s) { return (inputs){{X(s[0], s[1], s[2], s[3])}}; }
static sky_tensor do_unfold(const inputs *i, const int64_t *s) { return sky_unfold(c, i->t[0], (int)s[4]); }
static sky_tensor do_resize(const inputs *i, const int64_t *s) { return sky_resize(c, i->t[0], s[4], s[5], SKY_BILINEAR); }
static sky_tensor do_argmax(const inputs *i, const int64_t *s) { return sky_resize_argmax(c, i->t[0], s[4], s[5]); }
static sky_tensor do_shuffle(const inputs *i, const int64_t *s) { return sky_pixel_shuffle(c, i->t[0], (int)s[4]); }
static sky_tensor do_mean(const inputs *i, const int64_t *s) { return (void)s, sky_halves_mean(c, i->t[0]); }
static sky_tensor do_stack(const inputs *i, const int64_t *s) { return (void)s, sky_halves_stack(c, i->t[0]); }
static inputs in_five(const int64_t *s)
{
    inputs i;
    for (int k = 0; k < 5; k++)
        i.t[k] = X(s[0], s[1]);
    return i;
}
static sky_tensor do_concat(const inputs *i, const int64_t *s) { return (void)s, sky_concat(c, i->t, 5, -1); }
static inputs in_anno(const int64_t *s) { return (inputs){{U8(1, s[0] * 4, s[1] * 4), X(65, s[2]), X(1, 16)}}; }
static sky_tensor do_anno(const inputs *i, const int64_t *s) { return (void)s, sky_annotation_tokens(c, i->t[0], i->t[1], i->t[2], sky_none, sky_none, 4); }
static inputs in_bn(const int64_t *s) { return (inputs){{X(s[0], s[1]), X(s[1]), X(s[1])}}; }
static sky_tensor do_bn(const inputs *i, const int64_t *s) { return (void)s, sky_batchnorm_train(c, i->t[0], i->t[1], i->t[2], sky_none, sky_none, 0.1f, 1e-5f, SKY_ACT_RELU); }
static inputs in_ce(const int64_t *s) { return (inputs){{X(1, s[0], s[1], 65), U8(1, s[0], s[1])}}; }
static sky_tensor do_ce(const inputs *i, const int64_t *s) { return (void)s, sky_rec_loss(c, i->t[0], i->t[1]); }
static sky_tensor do_cast(const inputs *i, const int64_t *s) { return (void)s, sky_cast(c, i->t[0], SKY_BF16); }

static const struct {
    const char *name;
    prepare_fn *in;
    run_fn *run;
    int64_t s[6];
} lines[] = {
    {"layernorm 65536x352 + residual", in_norm, do_norm, {65536, 352, 1}},
    {"layernorm 65536x352", in_norm, do_norm, {65536, 352, 0}},
    {"layernorm 8192x704 + residual", in_norm, do_norm, {8192, 704, 1}},
    {"layernorm 2048x1408 + residual", in_norm, do_norm, {2048, 1408, 1}},
    {"layernorm 512x2816 + residual", in_norm, do_norm, {512, 2816, 1}},
    {"add 65536x352", in_two, do_add, {65536, 352}},
    {"add 32768x512", in_two, do_add, {32768, 512}},
    {"add_scaled 512x256", in_scaled, do_scaled, {512, 256}},
    {"softmax 32x8192", in_rows, do_softmax, {32, 8192}},
    {"gelu 2048x1408", in_rows, do_gelu, {2048, 1408}},
    {"cast to BF16 65536x352", in_rows, do_cast, {65536, 352}},
    {"unfold 2 256x256x352", in_map, do_unfold, {1, 256, 256, 352, 2}},
    {"unfold 4 1024x512x3", in_map, do_unfold, {1, 1024, 512, 3, 4}},
    {"pixel_shuffle 4 8x4x45056", in_map, do_shuffle, {1, 8, 4, 45056, 4}},
    {"halves_mean 128x128x704", in_map, do_mean, {1, 128, 128, 704}},
    {"halves_stack 256x256x352", in_map, do_stack, {1, 256, 256, 352}},
    {"concat 5 x 32768x512", in_five, do_concat, {32768, 512}},
    {"resize 512 ch 128x64 -> 256x128", in_map, do_resize, {1, 128, 64, 512, 256, 128}},
    {"resize 512 ch 32x16 -> 256x128", in_map, do_resize, {1, 32, 16, 512, 256, 128}},
    {"resize_argmax 65 ch -> 1024x512", in_map, do_argmax, {1, 256, 128, 65, 1024, 512}},
    {"annotation_tokens 256x128x352", in_anno, do_anno, {256, 128, 352}},
    {"batchnorm_train 32768x512", in_bn, do_bn, {32768, 512}},
    {"rec_loss 1024x512x65", in_ce, do_ce, {1024, 512}},
};
enum { LINES = sizeof lines / sizeof *lines, TRIAD = 1 << 23, RUNS = 7 };

static float *triad_a, *triad_b, *triad_c;
static void triad_piece(void *arg, int64_t i, int thread)
{
    (void)arg, (void)thread;
    typedef float v16 __attribute__((vector_size(64)));
    v16 *a = (v16 *)(void *)triad_a, *b = (v16 *)(void *)triad_b, *d = (v16 *)(void *)triad_c;
    for (int64_t k = i * (TRIAD / 16 / 64); k < (i + 1) * (TRIAD / 16 / 64); k++)
        a[k] = b[k] + 3.0f * d[k];
}
static double triad(sky_pool *pool, clockid_t clock)
{
    double t = bench_clock(clock);
    sky_pool_for(pool, 64, triad_piece, NULL);
    return 12e-9 * TRIAD / (bench_clock(clock) - t);
}

/* Best GB/s of line l and of the triad, alternating. */
static void measure(int l, sky_pool *pool, clockid_t clock, double *rate, double *best_triad)
{
    sky_err e;
    sky_ctx_dry(c);
    inputs in = lines[l].in(lines[l].s);
    sky_mark m = sky_mark_get(c);
    sky_tensor y = lines[l].run(&in, lines[l].s);
    *rate = *best_triad = 0;
    if (c->err.code || sky_ctx_alloc(c, c->peak, &e))
        return;
    in = lines[l].in(lines[l].s);
    double gb = 1e-9 * (double)sky_bytes(&y);
    for (int k = 0; k < 5 && in.t[k].data; k++)
        gb += 1e-9 * (double)sky_bytes(&in.t[k]);
    for (int r = 0; r < RUNS; r++) {
        double b = triad(pool, clock), t = bench_clock(clock);
        lines[l].run(&in, lines[l].s);
        double v = gb / (bench_clock(clock) - t);
        sky_keep(c, m, NULL, 0);
        *best_triad = b > *best_triad ? b : *best_triad;
        *rate = r && v > *rate ? v : *rate; /* the first run touches new memory */
    }
}

static int wanted(const char *name, int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        if (strstr(name, argv[i]))
            return 1;
    return argc == 0;
}

int main(int argc, char **argv)
{
    int threads = 0, at = 1;
    if (argc > 2 && !strcmp(argv[1], "-t"))
        threads = atoi(argv[2]), at = 3;
    sky_ctx t; /* the triad's memory is an arena like the operations': large pages */
    sky_err err;
    noise = sky_alloc(NOISE * sizeof *noise);
    if (!noise || sky_ctx_open(&t, "cpu", 1, &err) || sky_ctx_alloc(&t, TRIAD * 12 + 4096, &err))
        return fprintf(stderr, "bench_ops: out of memory\n"), 4;
    float **triads[3] = {&triad_a, &triad_b, &triad_c};
    for (int i = 0; i < 3; i++)
        memset(*triads[i] = sky_new(&t, SKY_F32, 1, (int64_t[]){TRIAD}).data, 0, TRIAD * 4);
    uint32_t s = 12345;
    for (int64_t i = 0; i < NOISE; i++)
        noise[i] = (float)((s = s * 1664525u + 1013904223u) >> 8) / 8388608.0f - 1.0f;
    printf("%-34s %8s %7s %8s   %8s %7s %8s\n", "GB/s", "1 thread", "triad", "", "all", "triad", "");
    for (int l = 0; l < LINES; l++) {
        if (!wanted(lines[l].name, argc - at, argv + at))
            continue;
        double rate[2], base[2];
        for (int all = 0; all < 2; all++) {
            sky_err e;
            sky_pool *pool = NULL;
            if (sky_ctx_open(c, "cpu", all ? threads : 1, &e) || (all && sky_pool_open(&pool, threads, &e)))
                return fprintf(stderr, "bench_ops: %s\n", e.msg), 4;
            measure(l, pool, all ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, &rate[all], &base[all]);
            sky_ctx_close(c);
            sky_pool_close(pool);
        }
        printf("%-34s %8.1f %7.1f %7.0f%%   %8.1f %7.1f %7.0f%%\n", lines[l].name, rate[0], base[0], 100 * rate[0] / base[0], rate[1], base[1], 100 * rate[1] / base[1]);
        fflush(stdout);
    }
    sky_ctx_close(&t);
    sky_free(noise);
    return 0;
}
