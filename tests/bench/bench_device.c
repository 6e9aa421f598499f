/* Times single operations of a device at the sizes of the full model (one 1024x512 sample), beside the device's own
 * ceilings measured in the same run: its copy bandwidth (`move` of 256 MB, read and write counted) and the rate of a large
 * matrix product, in F32 and BF16.
 *
 * usage: bench_device [DEVICE [REPEAT]]   [cuda 20]
 * Wall time between two waits over REPEAT calls. GB/s counts inputs and result once each; the last column is the share of
 * the copy's bandwidth, or of the product's rate where an operation computes more than it moves. */
#include "peak.h"
#include "tensor/backend.h"

#include <stdio.h>
#include <stdlib.h>

static sky_ctx ctx, *c = &ctx;
static int repeat;
static double copy_rate = 1, product_rate[2] = {1, 1};

static void check(int rc, const sky_err *e)
{
    if (rc) {
        fprintf(stderr, "bench_device: %s\n", e->msg);
        exit(4);
    }
}

static void wait_for(const void *p)
{
    char one;
    sky_err e = {0};
    sky_tensor t = {.data = (void *)(uintptr_t)p, .dtype = SKY_U8, .ndim = 1, .shape = {1}};
    check(c->be->get(c->dev, &one, &t, &e), &e);
}

/* Seconds per call of fn, which leaves its result's place. */
typedef void *call_fn(void);
static double seconds(call_fn *fn)
{
    sky_mark m = sky_mark_get(c);
    void *p = fn(); /* memory, plans */
    wait_for(p);
    double t0 = bench_wall();
    for (int i = 0; i < repeat; i++) {
        sky_keep(c, m, NULL, 0);
        p = fn();
    }
    wait_for(p);
    double t = (bench_wall() - t0) / repeat;
    sky_keep(c, m, NULL, 0);
    check(c->err.code, &c->err);
    return t;
}

/* Inputs of one shape are made once. */
static sky_tensor x, y, z, w, v;
static sky_tensor filled(sky_dtype t, int ndim, const int64_t *shape)
{
    sky_tensor a = sky_new(c, SKY_F32, ndim, shape);
    check(c->err.code, &c->err);
    check(c->be->fill(c->dev, &a, 0.5f, &c->err), &c->err);
    return t == SKY_F32 ? a : sky_cast(c, a, t);
}
#define NEW(t, ...) filled(t, (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]){__VA_ARGS__})

static void *do_move(void) { return c->err.code || c->be->move(c->dev, x.data, (char *)x.data + sky_bytes(&x) / 2, (size_t)sky_bytes(&x) / 2, &c->err) ? NULL : x.data; }
static void *do_linear(void) { return sky_linear(c, x, w, sky_none, SKY_ACT_NONE, sky_none).data; }
static void *do_gelu(void) { return sky_linear(c, x, w, v, SKY_ACT_GELU, sky_none).data; }
static void *do_residual(void) { return sky_linear(c, x, w, v, SKY_ACT_NONE, y).data; }
static void *do_add(void) { return sky_add(c, x, y).data; }
static void *do_layernorm(void) { return sky_layernorm(c, x, v, v, 1e-5f, y).data; }
static void *do_softmax(void) { return sky_softmax(c, x, 9).data; }
static void *do_cast(void) { return sky_cast(c, x, SKY_BF16).data; }
static void *do_unfold(void) { return sky_unfold(c, x, 2).data; }
static void *do_mean(void) { return sky_halves_mean(c, x).data; }
static void *do_resize(void) { return sky_resize(c, x, 256, 128, SKY_BILINEAR).data; }
static void *do_argmax(void) { return sky_resize_argmax(c, x, 1024, 512).data; }
static void *do_concat(void) { return sky_concat(c, (sky_tensor[]){x, y}, 2, -1).data; }
static void *do_conv(void) { return sky_conv2d(c, x, w, v, v, SKY_ACT_RELU).data; }
static void *do_attention(void) { return sky_attention(c, x, w.dtype).data; }
static void *do_window(void) { return sky_window_attention(c, x, y, z, v, 8, 4, w.dtype).data; }
static void *do_adamw(void)
{
    sky_adamw o = {1e-3, 0.05, 0.9, 0.999, 1e-8, 1, 1};
    sky_tensor none = sky_none;
    return c->be->adamw(c->dev, &x, &y, &z, &v, &none, &o, &c->err) ? NULL : x.data;
}

static void line(const char *name, call_fn *fn, double bytes, double flop, int bf16)
{
    double t = seconds(fn), gb = bytes / t * 1e-9, gf = flop / t * 1e-9;
    printf("%-44s %9.3f ms %9.1f GB/s %10.1f GF/s  %5.1f %% of %s\n", name, t * 1e3, gb, gf,
           flop > 0 ? 100 * gf / product_rate[bf16] : 100 * gb / copy_rate, flop > 0 ? (bf16 ? "the BF16 product" : "the F32 product") : "the copy");
    fflush(stdout);
}

static void moving(void)
{
    sky_mark m = sky_mark_get(c);
    const double n = 65536.0 * 352;
    x = NEW(SKY_F32, 65536, 352), y = NEW(SKY_F32, 65536, 352), v = NEW(SKY_F32, 352);
    line("add 65536x352", do_add, 12 * n, 0, 0);
    line("layernorm 65536x352 + residual", do_layernorm, 12 * n, 0, 0);
    line("cast to BF16 65536x352", do_cast, 6 * n, 0, 0);
    line("concat 2 x 65536x352", do_concat, 16 * n, 0, 0);
    sky_keep(c, m, NULL, 0);
    x = NEW(SKY_F32, 1, 256, 256, 352);
    line("unfold 2 256x256x352", do_unfold, 8 * n, 0, 0);
    line("halves_mean 256x128x352", do_mean, 6 * n, 0, 0);
    sky_keep(c, m, NULL, 0);
    x = NEW(SKY_F32, 1, 128, 64, 512);
    line("resize 512 ch 128x64 -> 256x128", do_resize, 4.0 * (8192 + 32768) * 512, 0, 0);
    sky_keep(c, m, NULL, 0);
    x = NEW(SKY_F32, 1, 256, 128, 66);
    line("resize_argmax 66 ch -> 1024x512", do_argmax, 4.0 * 32768 * 66 + 524288, 0, 0);
    sky_keep(c, m, NULL, 0);
    x = NEW(SKY_F32, 32, 8192);
    line("softmax 32x8192", do_softmax, 8.0 * 32 * 8192, 0, 0);
    sky_keep(c, m, NULL, 0);
    x = NEW(SKY_F32, 1 << 26), y = NEW(SKY_F32, 1 << 26), z = NEW(SKY_F32, 1 << 26), v = NEW(SKY_F32, 1 << 26);
    line("adamw 67 M parameters", do_adamw, 28.0 * (1 << 26), 0, 0);
    sky_keep(c, m, NULL, 0);
}

static void product(const char *name, call_fn *fn, int bf16, int64_t rows, int64_t n, int64_t k)
{
    sky_mark m = sky_mark_get(c);
    x = NEW(SKY_F32, rows, k), w = NEW(bf16 ? SKY_BF16 : SKY_F32, n, k), v = NEW(SKY_F32, n), y = NEW(SKY_F32, rows, n);
    line(name, fn, 4.0 * (double)(rows * k + rows * n), 2.0 * (double)(rows * n) * (double)k, bf16);
    sky_keep(c, m, NULL, 0);
}

static void computing(int bf16)
{
    sky_mark m = sky_mark_get(c);
    sky_dtype t = bf16 ? SKY_BF16 : SKY_F32;
    printf("products in %s\n", bf16 ? "BF16" : "F32");
    product("linear 65536x352x352 + residual", do_residual, bf16, 65536, 352, 352);
    product("linear 65536x1408x352 + GELU", do_gelu, bf16, 65536, 1408, 352);
    product("linear 4096x5632x1408 + GELU", do_gelu, bf16, 4096, 5632, 1408);
    product("linear 2048x1024x4096 + residual", do_residual, bf16, 2048, 1024, 4096);
    x = NEW(SKY_F32, 1, 256, 128, 512), w = NEW(t, 512, 512, 3, 3), v = NEW(SKY_F32, 512);
    line("conv 3x3 512 -> 512, 256x128", do_conv, 0, 2.0 * 32768 * 512 * 512 * 9, bf16);
    sky_keep(c, m, NULL, 0);
    x = NEW(SKY_F32, 512, 4, 3, 16, 64), w = NEW(t, 1);
    line("attention 512 x 4 tokens x 16 x 64", do_attention, 16.0 * 512 * 4 * 1024, 0, bf16);
    sky_keep(c, m, NULL, 0);
    x = NEW(SKY_F32, 1, 2048, 3, 16, 64), w = NEW(t, 1);
    line("attention 2048 tokens x 16 x 64", do_attention, 0, 4.0 * 2048 * 2048 * 1024, bf16);
    sky_keep(c, m, NULL, 0);
    x = NEW(SKY_F32, 1, 8192, 3, 16, 32), w = NEW(t, 1);
    line("attention 8192 tokens x 16 x 32", do_attention, 0, 4.0 * 8192 * 8192 * 512, bf16);
    sky_keep(c, m, NULL, 0);
    x = NEW(SKY_F32, 1, 65536, 3, 16, 16), w = NEW(t, 1);
    line("attention 65536 tokens x 16 x 16", do_attention, 0, 4.0 * 65536 * 65536 * 256, bf16);
    sky_keep(c, m, NULL, 0);
    x = NEW(SKY_F32, 1, 256, 256, 3, 8, 44), y = NEW(SKY_F32, 3 * 352), z = NEW(SKY_F32, 8, 64, 64), v = NEW(SKY_F32, 8), w = NEW(t, 1);
    line("window attention 256x256 x 8 x 44", do_window, 16.0 * 65536 * 352, 0, bf16);
    sky_keep(c, m, NULL, 0);
}

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "cuda";
    sky_err e = {0};
    repeat = argc > 2 ? atoi(argv[2]) : 20;
    check(sky_ctx_open(c, device, 0, &e), &e);
    check(sky_ctx_alloc(c, (size_t)3 << 30, &e), &e);
    x = NEW(SKY_F32, 1 << 27);
    double t = seconds(do_move);
    copy_rate = 2.0 * (1 << 28) / t * 1e-9;
    printf("copy of 256 MB: %.1f GB/s\n", copy_rate);
    sky_ctx_reset(c);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        x = NEW(SKY_F32, 8192, 8192), w = NEW(bf16 ? SKY_BF16 : SKY_F32, 8192, 8192);
        int all = repeat;
        repeat = repeat < 3 ? repeat : 3;
        product_rate[bf16] = 2.0 * 8192 * 8192 * 8192 / seconds(do_linear) * 1e-9;
        repeat = all;
        printf("product 8192^3 in %s: %.0f GF/s\n", bf16 ? "BF16" : "F32", product_rate[bf16]);
        sky_ctx_reset(c);
    }
    moving();
    computing(0);
    computing(1);
    sky_ctx_close(c);
    return 0;
}
