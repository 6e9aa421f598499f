/* What the tensor layer refuses and how it says so, the stack, and data an operation cannot accept. */
#include "cpu/device_internal.h"
#include "t.h"

#include <math.h>
#include <string.h>

static sky_ctx ctx, *c = &ctx;

#define SHAPE(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__}
#define NEW(...) sky_new(c, SKY_F32, SHAPE(__VA_ARGS__))
#define NEW_U8(...) sky_new(c, SKY_U8, SHAPE(__VA_ARGS__))

/* The call must fail with a message that holds `text`; a call after it must not change the message. */
#define REFUSES(text, call)                                                                     \
    do {                                                                                        \
        sky_tensor r_ = (call);                                                                 \
        sky_err first_ = c->err;                                                                \
        sky_tensor s_ = sky_activate(c, sky_none, SKY_ACT_NONE);                                \
        OK(!r_.data && !s_.data && first_.code < 0 && strstr(first_.msg, text) &&               \
               !strcmp(first_.msg, c->err.msg), "refused: %s", first_.msg);                     \
        c->err = (sky_err){0};                                                                  \
    } while (0)

static void shapes(void)
{
    sky_tensor x = NEW(2, 6, 8, 12), v = NEW(12), u = NEW(11), w = NEW(5, 12), n = sky_none, l = NEW_U8(2, 6, 8);
    sky_tensor qkv = NEW(1, 4, 6, 3, 2, 2), pad = NEW(12), bias = NEW(2, 16, 16), ls = NEW(2);
    REFUSES("linear: expected", sky_linear(c, x, NEW(5, 11), n, SKY_ACT_NONE, n));
    REFUSES("b F32[4]", sky_linear(c, x, w, NEW(4), SKY_ACT_NONE, n));
    REFUSES("residual F32[2,6,8,12]", sky_linear(c, x, w, n, SKY_ACT_NONE, x));
    REFUSES("x none", sky_linear(c, n, w, n, SKY_ACT_NONE, n));
    REFUSES("matmul: expected", sky_matmul(c, x, w));
    REFUSES("conv2d: expected", sky_conv2d(c, x, NEW(5, 12, 2, 2), n, n, SKY_ACT_NONE));
    REFUSES("conv2d: expected", sky_conv2d(c, x, NEW(5, 12, 3, 3), v, n, SKY_ACT_NONE));
    REFUSES("unfold: expected", sky_unfold(c, v, 2));
    REFUSES("unfold: expected", sky_unfold(c, x, 0));
    REFUSES("unfold: patches of at most 64, got 65", sky_unfold(c, x, 65));
    REFUSES("pixel_shuffle: expected", sky_pixel_shuffle(c, x, 4));
    REFUSES("layernorm: expected", sky_layernorm(c, x, v, u, 1e-5f, n));
    REFUSES("layernorm: expected", sky_layernorm(c, x, v, v, 1e-5f, NEW(2, 6, 8, 11)));
    REFUSES("batchnorm_train: expected", sky_batchnorm_train(c, x, v, v, v, n, 0.1f, 1e-5f, SKY_ACT_NONE));
    REFUSES("at least two values per channel", sky_batchnorm_train(c, NEW(1, 12), v, v, n, n, 0.1f, 1e-5f, SKY_ACT_NONE));
    REFUSES("batchnorm_fold: expected", sky_batchnorm_fold(c, v, v, v, u, 1e-5f));
    REFUSES("l2_normalize: expected", sky_l2_normalize(c, l));
    REFUSES("softmax: expected", sky_softmax(c, l, 1));
    REFUSES("attention: expected", sky_attention(c, x, SKY_F32));
    REFUSES("attention: expected", sky_attention(c, NEW(1, 5, 3, 2, 4), SKY_U8));
    REFUSES("smaller than the window of 8", sky_window_attention(c, qkv, pad, NEW(2, 64, 64), ls, 8, 0, SKY_F32));
    REFUSES("window_attention: expected", sky_window_attention(c, qkv, pad, bias, ls, 4, 4, SKY_F32));
    REFUSES("window_attention: expected", sky_window_attention(c, qkv, v, bias, NEW(3), 4, 0, SKY_F32));
    REFUSES("window_bias: expected", sky_window_bias(c, NEW(48, 2), 4));
    REFUSES("window_coords: window of 1", sky_window_coords(c, 1));
    REFUSES("annotation_tokens: expected", sky_annotation_tokens(c, l, NEW(9, 12), NEW(1, 16), n, n, 4));
    REFUSES("annotation_tokens: expected", sky_annotation_tokens(c, l, NEW(9, 12), NEW(1, 4), NEW_U8(2, 2, 4), NEW(1, 1, 12), 2));
    REFUSES("add: expected", sky_add(c, x, u));
    REFUSES("add_scaled: expected", sky_add_scaled(c, x, u, x));
    REFUSES("activate: expected", sky_activate(c, l, SKY_ACT_RELU));
    REFUSES("cast: expected", sky_cast(c, l, SKY_F32));
    REFUSES("normalise: expected", sky_normalise(c, x, 255, (float[24]){0}));
    REFUSES("lookup: expected", sky_lookup(c, l, 7, (uint8_t[7 * 256]){0}));
    REFUSES("cannot be joined along dimension 4", sky_concat(c, &x, 1, 4));
    REFUSES("(tensor 1)", sky_concat(c, (sky_tensor[]){x, NEW(2, 6, 7, 12)}, 2, -1));
    REFUSES("cannot be joined", sky_concat(c, NULL, 0, 0));
    REFUSES("slice: expected at least 5+8", sky_slice(c, x, -1, 5, 8));
    REFUSES("slice: expected", sky_slice(c, x, 0, INT64_MAX, INT64_MAX));
    REFUSES("take: index 1 is 2, expected 0 to 1", sky_take(c, x, (int64_t[]){0, 2}, 2));
    REFUSES("pick: position 1 asks for row 2 of b", sky_pick(c, x, x, (int64_t[]){1, -3}, 2));
    REFUSES("row 0 of a, which has 0", sky_pick(c, n, x, (int64_t[]){0}, 1));
    REFUSES("repeat: expected", sky_repeat(c, x, 0));
    REFUSES("transpose: expected", sky_transpose(c, x, (int[]){0, 1, 1, 3}));
    REFUSES("halves_mean: expected", sky_halves_mean(c, NEW(1, 2, 3, 4)));
    REFUSES("halves_stack: expected", sky_halves_stack(c, NEW(1, 2, 3, 4)));
    REFUSES("resize: expected", sky_resize(c, x, 0, 3, SKY_BILINEAR));
    REFUSES("avg_pool2: expected", sky_avg_pool2(c, NEW(1, 1, 3, 4)));
    REFUSES("adaptive_avg_pool: expected", sky_adaptive_avg_pool(c, x, 0));
    REFUSES("resize_argmax: expected", sky_resize_argmax(c, NEW(1, 2, 3, 257), 4, 4));
    REFUSES("cross_entropy: expected", sky_cross_entropy(c, x, NEW_U8(2, 6, 7), -1, 0, NULL));
    REFUSES("rec_loss: expected", sky_rec_loss(c, x, x));
    REFUSES("sym_kl: expected", sky_sym_kl(c, x, NEW(2, 6, 8, 11), NULL));
    REFUSES("masked_mse: expected", sky_masked_mse(c, x, v, NULL));
    REFUSES("reshape: expected F32[7,-1]", SKY_RESHAPE(c, x, 7, -1));
    REFUSES("reshape: expected", SKY_RESHAPE(c, x, -1, -1));
    REFUSES("every size must be at least 1", NEW(3, 0));
    REFUSES("every size must be at least 1", NEW(INT64_MAX, 4));
}

static void data(void)
{
    uint8_t l[16] = {0}, m[1] = {2};
    float x[4 * 4 * 3] = {0};
    l[6] = 9;
    x[3 * 6 + 1] = NAN;
    sky_tensor L = sky_upload(c, SKY_U8, SHAPE(1, 4, 4), l), M = sky_upload(c, SKY_U8, SHAPE(1, 1, 1), m), X = sky_upload(c, SKY_F32, SHAPE(1, 4, 4, 3), x);
    sky_tensor t = NEW(9, 3), wt = NEW(1, 4), token = NEW(1, 1, 3), zero = sky_upload(c, SKY_U8, SHAPE(1, 4, 4), (uint8_t[16]){0});
    REFUSES("label 9 at sample 0, row 1, column 2; expected 0 to 8", sky_annotation_tokens(c, L, t, wt, sky_none, sky_none, 2));
    REFUSES("mask 2 at sample 0", sky_annotation_tokens(c, zero, t, wt, M, token, 2));
    REFUSES("entropy_sums: label 9 at sample 0, row 1, column 2; expected 0 to 2", sky_cross_entropy(c, X, L, 255, 0, NULL));
    REFUSES("entropy_sums: label 9", sky_rec_loss(c, X, L));
    REFUSES("row 1, column 2, channel 1 is not a number", sky_resize_argmax(c, X, 8, 8));
}

static void not_offered(void)
{
    sky_backend less = sky_backend_cpu;
    less.softmax = NULL, less.update_stats = NULL;
    c->be = &less;
    sky_tensor x = NEW(3, 4);
    REFUSES("softmax: the cpu backend does not offer it", sky_softmax(c, x, 1));
    sky_tensor v = NEW(4);
    REFUSES("update_stats: the cpu backend does not offer it", sky_batchnorm_train(c, x, v, v, v, v, 0.1f, 1e-5f, SKY_ACT_NONE));
    c->be = &sky_backend_cpu;
}

/* Tensors full of their number; do they still hold it? */
static sky_tensor filled(int64_t n, float v)
{
    sky_tensor t = sky_new(c, SKY_F32, 1, &n);
    for (int64_t i = 0; t.data && i < n; i++)
        ((float *)t.data)[i] = v + (float)(i % 1000);
    return t;
}
static int holds(sky_tensor t, float v)
{
    for (int64_t i = 0; i < sky_numel(&t); i++)
        if (((float *)t.data)[i] != v + (float)(i % 1000))
            return 0;
    return 1;
}

static void stack(void)
{
    sky_ctx_reset(c);
    sky_tensor a = filled(100, 1);
    sky_mark m = sky_mark_get(c);
    filled(1 << 20, 0);
    sky_tensor b = filled(3 << 20, 2), d = filled(77, 3);
    filled(1000, 0);
    sky_tensor e = filled(50, 4), kept[4] = {a, b, SKY_RESHAPE(c, b, -1, 4), e};
    sky_keep(c, m, kept, 4);
    OK(!c->err.code && kept[0].data == a.data && kept[1].data == kept[2].data && holds(kept[1], 2) && holds(kept[3], 4) && holds(a, 1),
       "keep moves a large tensor over itself, follows views, leaves older ones");
    OK(c->used < ((size_t)3 << 22) + 2048 && c->peak > ((size_t)4 << 22), "used shrinks, peak stays");
    sky_keep(c, m, NULL, 0);
    OK(c->used == m, "keep nothing cuts back to the mark");
    b = filled(30, 5), d = filled(40, 6);
    sky_keep2(c, m, &d, &b);
    OK(holds(d, 6) && holds(b, 5), "keep2 takes any order");
    sky_keep(c, m, (sky_tensor[]){d, b}, 2);
    OK(c->err.code == SKY_EUSAGE && strstr(c->err.msg, "tensor 1"), "keep in the wrong order: %s", c->err.msg);
    sky_ctx_reset(c);
    int64_t n = 1 << 26;
    REFUSES("arena full", sky_new(c, SKY_F32, 1, &n));
    OK(c->used == 0, "a failed tensor takes nothing");
    sky_tensor s = sky_new(c, SKY_F32, 0, NULL);
    OK(sky_numel(&s) == 1 && sky_last(&s) == 1 && sky_rows(&s) == 1, "a scalar has one element");
}

static void devices(void)
{
    static const char *const bad[] = {"gpu", "cpu:1", "cpu:x", "cpu:", "", "cp"};
    for (int i = 0; i < 6; i++) {
        sky_ctx t;
        sky_err e = {0};
        OK(sky_ctx_open(&t, bad[i], 1, &e) == SKY_EUSAGE && e.msg[0], "device '%s': %s", bad[i], e.msg);
        sky_ctx_close(&t);
    }
    sky_ctx t;
    sky_err e = {0};
    OK(sky_ctx_open(&t, "auto", 1, &e) == SKY_OK && t.dry, "auto opens, dry: %s", t.be->name);
    sky_ctx_close(&t);
    sky_ctx no_gpu;
    int rc = sky_ctx_open(&no_gpu, "cuda", 1, &e);
    OK(rc == SKY_OK || (rc == SKY_EDEVICE && strstr(e.msg, "cuda")), "cuda opens, or says why not: %s", rc ? e.msg : "it does");
    sky_ctx_close(&no_gpu);
    if (sky_ctx_open(&t, "cpu", 1, &e))
        return;
    int64_t n = (int64_t)1 << 40;
    sky_tensor huge = sky_new(&t, SKY_F32, 1, &n), y = sky_activate(&t, huge, SKY_ACT_RELU);
    OK(y.data && t.peak == (size_t)8 << 40, "a dry run of 8 TiB costs nothing");
    OK(sky_ctx_alloc(&t, (size_t)1 << 62, &e) == SKY_ENOMEM, "an arena that cannot be had: %s", e.msg);
    OK(sky_ctx_alloc(&t, (size_t)1 << 36, &e) == SKY_OK && sky_new(&t, SKY_U8, 1, (int64_t[]){(int64_t)1 << 35}).data, "64 GiB of untouched arena cost nothing");
    sky_ctx_close(&t);
    sky_ctx_close(&t);
}

int main(void)
{
    sky_err e = {0};
    devices();
    if (sky_ctx_open(c, "cpu", 2, &e) || sky_ctx_alloc(c, 64 << 20, &e)) {
        printf("Bail out! %s\n", e.msg);
        return 1;
    }
    shapes();
    data();
    not_offered();
    stack();
    sky_ctx_close(c);
    return END();
}
