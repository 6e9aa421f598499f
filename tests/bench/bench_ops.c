/* Memory-bound operations at the sizes of the full model, as GB/s of bytes that must move (inputs and result once each)
 * against a triad a = b + s*c in the same run:
 *   bench_ops [-t THREADS] [WORD...]    only lines whose name contains one of WORD
 * Backward operations stand beside a copy a = b (two streams) instead; one that adds to its result counts it twice.
 * "1 thread" is CPU time, "all" wall time of all threads; each the best of several runs that alternate with the triad.
 * The triad counts its three streams with normal stores, as the operations use them. */
#include "base/mem.h"
#include "peak.h"
#include "tensor/backend.h"

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

/* ---- backward: the entries themselves, their gradients on the stack -------------------------------------------------- */

/* Run the entry unless this is the dry pass; the result is the first gradient. */
#define BACK(...) ((void)s, c->dry ? (void)0 : (void)c->be->__VA_ARGS__)
static sky_grad grad_like(const sky_tensor *x) { return (sky_grad){sky_new(c, SKY_F32, x->ndim, x->shape), 0}; }

static inputs in_norm_back(const int64_t *s) { return (inputs){{X(s[0], s[1]), X(s[0], s[1]), X(s[1]), s[2] ? X(s[0], s[1]) : sky_none}}; }
static sky_tensor do_norm_back(const inputs *i, const int64_t *s)
{
    sky_grad dx = s[2] ? (sky_grad){i->t[3], 1} : grad_like(&i->t[0]), dw = grad_like(&i->t[2]), db = grad_like(&i->t[2]);
    return BACK(layernorm_backward(c->dev, &dx, &dw, &db, &i->t[0], &i->t[1], &i->t[2], 1e-5f, &c->err)), dx.t;
}
static sky_tensor do_act_back(const inputs *i, const int64_t *s)
{
    sky_grad dx = grad_like(&i->t[0]);
    return BACK(activate_backward(c->dev, &dx, &i->t[0], &i->t[1], (sky_act)s[2], &c->err)), dx.t;
}
static sky_tensor do_softmax_back(const inputs *i, const int64_t *s)
{
    sky_grad dx = grad_like(&i->t[0]);
    return BACK(softmax_backward(c->dev, &dx, &i->t[0], &i->t[1], 9, &c->err)), dx.t;
}
static sky_tensor do_column_sum(const inputs *i, const int64_t *s)
{
    sky_grad y = {sky_new(c, SKY_F32, 1, &s[1]), 0};
    return BACK(column_sum(c->dev, &y, &i->t[0], &c->err)), y.t;
}
static sky_tensor do_column_dot(const inputs *i, const int64_t *s)
{
    sky_grad y = {sky_new(c, SKY_F32, 1, &s[1]), 0};
    return BACK(column_dot(c->dev, &y, &i->t[0], &i->t[1], &c->err)), y.t;
}
static inputs in_channels(const int64_t *s) { return (inputs){{X(s[0], s[1]), X(s[1])}}; }
static sky_tensor do_channels(const inputs *i, const int64_t *s)
{
    sky_grad y = grad_like(&i->t[0]);
    return BACK(scale_channels(c->dev, &y, &i->t[0], &i->t[1], &c->err)), y.t;
}
static sky_tensor do_drop(const inputs *i, const int64_t *s)
{
    static const uint64_t sample = 7;
    const sky_drops o = {1, 2, 1u << 30, 4.0f / 3, s[0] * s[1], s[2], s[3], &sample};
    sky_grad y = grad_like(&i->t[0]);
    return BACK(drop(c->dev, &y, &i->t[0], &o, &c->err)), y.t;
}
static inputs in_bn_sums(const int64_t *s) { return (inputs){{X(s[0], s[1]), X(s[0], s[1]), X(s[0], s[1]), X(s[1]), X(s[1])}}; }
static sky_tensor do_bn_sums(const inputs *i, const int64_t *s)
{
    sky_tensor sums = sky_new(c, SKY_F64, 2, (int64_t[]){2, s[1]});
    return BACK(batchnorm_sums(c->dev, &sums, &i->t[0], &i->t[1], &i->t[2], &i->t[3], &i->t[4], 1e3f, SKY_ACT_RELU, &c->err)), sums;
}
static sky_tensor do_bn_dx(const inputs *i, const int64_t *s)
{
    sky_tensor sums = make(SKY_F64, 2, (int64_t[]){2, s[1]});
    sky_grad dx = grad_like(&i->t[0]);
    return BACK(batchnorm_dx(c->dev, &dx, &i->t[0], &i->t[1], &i->t[2], &i->t[3], &i->t[3], &i->t[4], &sums, (double)s[0], 1e3f, SKY_ACT_RELU, &c->err)), dx.t;
}
static sky_tensor do_ce_back(const inputs *i, const int64_t *s)
{
    double sums[4] = {1, 1, 1e5, 1e5};
    float one = 1;
    sky_tensor dy = {&one, SKY_F32, 0, {0}}, t = {sums, SKY_F64, 1, {4}};
    const sky_entropy o = {-1, 2, 0, NULL};
    sky_grad dx = grad_like(&i->t[0]);
    return BACK(entropy_backward(c->dev, &dx, &dy, &i->t[0], &i->t[1], &o, &t, 0.5, 1e-6, &c->err)), dx.t;
}
/* s: map of dx, size of dy */
static inputs in_small(const int64_t *s) { return (inputs){{X(s[0], s[4], s[5], s[3])}}; }
static sky_tensor do_resize_back(const inputs *i, const int64_t *s)
{
    sky_grad dx = {sky_new(c, SKY_F32, 4, s), 0};
    return BACK(resize_backward(c->dev, &dx, &i->t[0], SKY_BILINEAR, &c->err)), dx.t;
}
static sky_tensor do_pool_back(const inputs *i, const int64_t *s)
{
    sky_grad dx = {sky_new(c, SKY_F32, 4, s), 0};
    return BACK(adaptive_avg_pool_backward(c->dev, &dx, &i->t[0], &c->err)), dx.t;
}
static inputs in_folded(const int64_t *s) { return (inputs){{X(s[0], s[1] / s[4], s[2] / s[4], s[3] * s[4] * s[4])}}; }
static sky_tensor do_fold(const inputs *i, const int64_t *s)
{
    sky_tensor dx = sky_new(c, SKY_F32, 4, s);
    return BACK(fold(c->dev, &dx, &i->t[0], (int)s[4], &c->err)), dx;
}
static sky_tensor do_unshuffle(const inputs *i, const int64_t *s)
{
    sky_tensor dx = sky_new(c, SKY_F32, 4, (int64_t[]){s[0], s[1] / s[4], s[2] / s[4], s[3] * s[4] * s[4]});
    return BACK(pixel_unshuffle(c->dev, &dx, &i->t[0], (int)s[4], &c->err)), dx;
}
static inputs in_stacked(const int64_t *s) { return (inputs){{X(s[0], s[1], s[2] / 2, 2 * s[3])}}; }
static sky_tensor do_unstack(const inputs *i, const int64_t *s)
{
    sky_tensor dx = sky_new(c, SKY_F32, 4, s);
    return BACK(halves_unstack(c->dev, &dx, &i->t[0], &c->err)), dx;
}
static inputs in_anno_back(const int64_t *s) { return (inputs){{X(1, s[0], s[1], s[2]), U8(1, s[0] * 4, s[1] * 4), X(65, s[2]), X(1, 16)}}; }
static sky_tensor do_anno_back(const inputs *i, const int64_t *s)
{
    sky_grad dt = grad_like(&i->t[2]), dw = grad_like(&i->t[3]), none = {.add = 0};
    return BACK(annotation_tokens_backward(c->dev, &dt, &dw, &none, &i->t[0], &i->t[1], &i->t[2], &i->t[3], &sky_none, 4, &c->err)), dt.t;
}

static const struct {
    const char *name;
    prepare_fn *in;
    run_fn *run;
    int64_t s[6];
    int back;
} lines[] = {
    {"layernorm 65536x352 + residual", in_norm, do_norm, {65536, 352, 1}, 0},
    {"layernorm 65536x352", in_norm, do_norm, {65536, 352, 0}, 0},
    {"layernorm 8192x704 + residual", in_norm, do_norm, {8192, 704, 1}, 0},
    {"layernorm 2048x1408 + residual", in_norm, do_norm, {2048, 1408, 1}, 0},
    {"layernorm 512x2816 + residual", in_norm, do_norm, {512, 2816, 1}, 0},
    {"add 65536x352", in_two, do_add, {65536, 352}, 0},
    {"add 32768x512", in_two, do_add, {32768, 512}, 0},
    {"add_scaled 512x256", in_scaled, do_scaled, {512, 256}, 0},
    {"softmax 32x8192", in_rows, do_softmax, {32, 8192}, 0},
    {"gelu 2048x1408", in_rows, do_gelu, {2048, 1408}, 0},
    {"cast to BF16 65536x352", in_rows, do_cast, {65536, 352}, 0},
    {"unfold 2 256x256x352", in_map, do_unfold, {1, 256, 256, 352, 2}, 0},
    {"unfold 4 1024x512x3", in_map, do_unfold, {1, 1024, 512, 3, 4}, 0},
    {"pixel_shuffle 4 8x4x45056", in_map, do_shuffle, {1, 8, 4, 45056, 4}, 0},
    {"halves_mean 128x128x704", in_map, do_mean, {1, 128, 128, 704}, 0},
    {"halves_stack 256x256x352", in_map, do_stack, {1, 256, 256, 352}, 0},
    {"concat 5 x 32768x512", in_five, do_concat, {32768, 512}, 0},
    {"resize 512 ch 128x64 -> 256x128", in_map, do_resize, {1, 128, 64, 512, 256, 128}, 0},
    {"resize 512 ch 32x16 -> 256x128", in_map, do_resize, {1, 32, 16, 512, 256, 128}, 0},
    {"resize_argmax 65 ch -> 1024x512", in_map, do_argmax, {1, 256, 128, 65, 1024, 512}, 0},
    {"annotation_tokens 256x128x352", in_anno, do_anno, {256, 128, 352}, 0},
    {"batchnorm_train 32768x512", in_bn, do_bn, {32768, 512}, 0},
    {"rec_loss 1024x512x65", in_ce, do_ce, {1024, 512}, 0},
    {"layernorm' 65536x352", in_norm_back, do_norm_back, {65536, 352, 0}, 1},
    {"layernorm' 65536x352, added", in_norm_back, do_norm_back, {65536, 352, 1}, 1},
    {"layernorm' 2048x1408", in_norm_back, do_norm_back, {2048, 1408, 0}, 1},
    {"layernorm' 512x2816", in_norm_back, do_norm_back, {512, 2816, 0}, 1},
    {"gelu' 16384x1408", in_two, do_act_back, {16384, 1408, SKY_ACT_GELU}, 1},
    {"relu' 32768x512", in_two, do_act_back, {32768, 512, SKY_ACT_RELU}, 1},
    {"softmax' 32x8192", in_two, do_softmax_back, {32, 8192}, 1},
    {"column_sum 65536x352", in_rows, do_column_sum, {65536, 352}, 1},
    {"column_sum 4x2883584", in_rows, do_column_sum, {4, 2883584}, 1},
    {"column_dot 32768x512", in_two, do_column_dot, {32768, 512}, 1},
    {"scale_channels 32768x512", in_channels, do_channels, {32768, 512}, 1},
    {"drop 65536x352, samples", in_rows, do_drop, {65536, 352, 65536 * 352, 1}, 1},
    {"drop 32768x512, channels", in_rows, do_drop, {32768, 512, 1, 512}, 1},
    {"batchnorm_sums 32768x512", in_bn_sums, do_bn_sums, {32768, 512}, 1},
    {"batchnorm_dx 32768x512", in_bn_sums, do_bn_dx, {32768, 512}, 1},
    {"rec_loss' 1024x512x65", in_ce, do_ce_back, {1024, 512}, 1},
    {"resize' 512 ch 128x64 <- 256x128", in_small, do_resize_back, {1, 128, 64, 512, 256, 128}, 1},
    {"resize' 512 ch 32x16 <- 256x128", in_small, do_resize_back, {1, 32, 16, 512, 256, 128}, 1},
    {"resize' 512 ch 1x1 <- 256x128", in_small, do_resize_back, {1, 1, 1, 512, 256, 128}, 1},
    {"resize' 65 ch 256x128 <- 1024x512", in_small, do_resize_back, {1, 256, 128, 65, 1024, 512}, 1},
    {"adaptive_avg_pool' 6 of 32x16x2816", in_small, do_pool_back, {1, 32, 16, 2816, 6, 6}, 1},
    {"fold 2 256x256x352", in_folded, do_fold, {1, 256, 256, 352, 2}, 1},
    {"pixel_unshuffle 4 32x16x2816", in_map, do_unshuffle, {1, 32, 16, 2816, 4}, 1},
    {"halves_unstack 256x256x352", in_stacked, do_unstack, {1, 256, 256, 352}, 1},
    {"annotation_tokens' 256x128x352", in_anno_back, do_anno_back, {256, 128, 352}, 1},
};
enum { LINES = sizeof lines / sizeof *lines, TRIAD = 1 << 23, RUNS = 7 };

static float *triad_a, *triad_b, *triad_c;
static void yardstick_piece(void *arg, int64_t i, int thread)
{
    (void)thread;
    typedef float v16 __attribute__((vector_size(64)));
    v16 *a = (v16 *)(void *)triad_a, *b = (v16 *)(void *)triad_b, *d = (v16 *)(void *)triad_c;
    int64_t from = i * (TRIAD / 16 / 64), to = from + TRIAD / 16 / 64;
    for (int64_t k = from; k < to && *(int *)arg; k++)
        a[k] = b[k] + 0.0f;
    for (int64_t k = from; k < to && !*(int *)arg; k++)
        a[k] = b[k] + 3.0f * d[k];
}
/* GB/s of the triad, or of a copy: both with normal stores. */
static double yardstick(sky_pool *pool, clockid_t clock, int copy)
{
    double t = bench_clock(clock);
    sky_pool_for(pool, 64, yardstick_piece, &copy);
    return (copy ? 8e-9 : 12e-9) * TRIAD / (bench_clock(clock) - t);
}

/* Best GB/s of line l and of its yardstick, alternating. */
static void measure(int l, sky_pool *pool, clockid_t clock, double *rate, double *best)
{
    sky_err e;
    sky_ctx_dry(c);
    inputs in = lines[l].in(lines[l].s);
    sky_mark m = sky_mark_get(c);
    sky_tensor y = lines[l].run(&in, lines[l].s);
    *rate = *best = 0;
    if (c->err.code || sky_ctx_alloc(c, c->peak, &e))
        return;
    in = lines[l].in(lines[l].s);
    double gb = 1e-9 * (double)sky_bytes(&y);
    for (int k = 0; k < 5 && in.t[k].data; k++)
        gb += 1e-9 * (double)sky_bytes(&in.t[k]);
    for (int r = 0; r < RUNS; r++) {
        double b = yardstick(pool, clock, lines[l].back), t = bench_clock(clock);
        lines[l].run(&in, lines[l].s);
        double v = gb / (bench_clock(clock) - t);
        sky_keep(c, m, NULL, 0);
        *best = b > *best ? b : *best;
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
    for (int l = 0, head = -1; l < LINES; l++) {
        if (!wanted(lines[l].name, argc - at, argv + at))
            continue;
        if (head != lines[l].back) {
            const char *by = lines[l].back ? "copy" : "triad";
            printf("%-34s %8s %7s %8s   %8s %7s %8s\n", "GB/s", "1 thread", by, "", "all", by, "");
            head = lines[l].back;
        }
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
