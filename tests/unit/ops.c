/* tests/data/ops.safetensors: the forward entries of "Single operations" of the golden files (computed in double by the
 * executable specification, stored in float). Each is composed here from the operations' front and compared; it runs dry
 * first, and shapes and memory of the dry run must be those of the real one. */
#include "format/weights.h"
#include "t.h"
#include "tensor/ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static sky_ctx ctx, *c = &ctx;
static const char *op; /* the entry being replayed */

/* ---- the file ------------------------------------------------------------------------------------------------- */

static sky_weights *file;

typedef struct {
    int ndim;
    int64_t shape[SKY_TENSOR_DIMS], n;
    float *v;
} array;

/* Entry "op.name" as floats; v from malloc. */
static array stored(const char *name)
{
    char full[160];
    snprintf(full, sizeof full, "%s.%s", op, name);
    const sky_weight *t = sky_weights_find(file, full);
    if (!t) {
        printf("Bail out! %s is not in the file\n", full);
        exit(1);
    }
    array a = {.ndim = t->ndim, .n = 1};
    for (int i = 0; i < a.ndim; i++)
        a.n *= a.shape[i] = t->shape[i];
    a.v = malloc((size_t)a.n * 4 + 4);
    void *raw = malloc((size_t)a.n * 8 + 8);
    sky_err e;
    if (!a.v || !raw || sky_weights_read(file, t, raw, t->dtype, &e))
        exit(1);
    sky_to_f32(a.v, raw, t->dtype, (uint64_t)a.n);
    free(raw);
    return a;
}

/* Input "op.in.name" on the stack. */
static sky_tensor in(const char *name)
{
    char part[128];
    snprintf(part, sizeof part, "in.%s", name);
    array a = stored(part);
    sky_tensor t = sky_upload(c, SKY_F32, a.ndim, a.shape, a.v);
    free(a.v);
    return t;
}
static sky_tensor in_flat(const char *name)
{
    sky_tensor t = in(name);
    return SKY_RESHAPE(c, t, -1);
}
static sky_tensor in_u8(const char *name)
{
    char part[128];
    snprintf(part, sizeof part, "in.%s", name);
    array a = stored(part);
    uint8_t *p = malloc((size_t)a.n + 1);
    for (int64_t i = 0; i < a.n; i++)
        p[i] = (uint8_t)a.v[i];
    sky_tensor t = sky_upload(c, SKY_U8, a.ndim, a.shape, p);
    free(p);
    free(a.v);
    return t;
}
static sky_tensor nhwc(sky_tensor t) { return sky_transpose(c, t, (int[]){0, 2, 3, 1}); }
static sky_tensor nchw(sky_tensor t) { return sky_transpose(c, t, (int[]){0, 3, 1, 2}); }
static sky_tensor map(const char *name) { return nhwc(in(name)); }
static sky_tensor map_of(sky_tensor t, int64_t h, int64_t w) { return SKY_RESHAPE(c, t, t.shape[0], h, w, sky_last(&t)); }

/* ---- comparing ------------------------------------------------------------------------------------------------ */

static struct { sky_tensor t; size_t peak; } dry[256];
static int checks;

static void compare(const char *name, const float *got, const array *ref)
{
    double diff = 0, norm = 0, worst = 0, top = 0;
    for (int64_t i = 0; i < ref->n; i++) {
        double d = (double)got[i] - (double)ref->v[i];
        diff += d * d;
        norm += (double)ref->v[i] * (double)ref->v[i];
        worst = !(fabs(d) <= worst) ? fabs(d) : worst;
        top = fmax(top, fabs((double)ref->v[i]));
    }
    double rel = sqrt(diff) / fmax(sqrt(norm), 1e-30);
    OK(rel <= 1e-5 && worst <= 1e-5 * fmax(top, 1e-30), "%s.%s: relative error %.1e, largest %.1e of %.1e", op, name, rel, worst, top);
}

/* The result must be "op.name" (out.y by default). */
static void check_as(sky_tensor t, const char *name)
{
    int i = checks++;
    if (c->err.code) {
        OK(0, "%s.%s: %s", op, name, c->err.msg);
        return;
    }
    if (c->dry) {
        dry[i].t = t;
        dry[i].peak = c->peak;
        return;
    }
    array ref = stored(name);
    float *got = calloc((size_t)ref.n + 1, 4);
    int same = sky_numel(&t) == ref.n && t.dtype == SKY_F32 && dry[i].t.ndim == t.ndim && dry[i].peak == c->peak;
    for (int k = 0; k < t.ndim; k++)
        same = same && dry[i].t.shape[k] == t.shape[k];
    if (!same)
        OK(0, "%s.%s: shape, or shape and memory of the dry run", op, name);
    else {
        sky_download(c, got, &t);
        compare(name, got, &ref);
    }
    free(got);
    free(ref.v);
}
static void check(sky_tensor t) { check_as(t, "out.y"); }

/* ---- entries -------------------------------------------------------------------------------------------------- */

static const char *pre = ""; /* in front of parameter names */
static const char *par(const char *name)
{
    static char full[8][64];
    static int at;
    char *s = full[at++ % 8];
    snprintf(s, 64, "%s%s", pre, name);
    return s;
}

static void layernorm(void) { check(sky_layernorm(c, in("x"), in("w"), in("b"), op[strlen(op) - 1] == '5' ? 1e-5f : 1e-6f, sky_none)); }
static void gelu(void) { check(sky_activate(c, in("x"), SKY_ACT_GELU)); }
static void leaky_relu(void) { check(sky_activate(c, in("x"), SKY_ACT_LEAKY)); }
static void l2_normalize(void) { check(sky_l2_normalize(c, in("q"))); }

static void batchnorm_eval(void)
{
    sky_tensor f = sky_batchnorm_fold(c, in("w"), in("b"), in("mean"), in("var"), 1e-5f), x = map("x");
    sky_tensor scale = SKY_RESHAPE(c, sky_slice(c, f, 0, 0, 1), -1), shift = SKY_RESHAPE(c, sky_slice(c, f, 0, 1, 1), -1);
    int64_t n = sky_last(&x);
    float *eye = calloc((size_t)(n * n), 4);
    for (int64_t i = 0; i < n; i++)
        eye[i * n + i] = 1;
    sky_tensor w = sky_upload(c, SKY_F32, 4, (int64_t[]){n, n, 1, 1}, eye);
    free(eye);
    check(nchw(sky_conv2d(c, x, w, scale, shift, SKY_ACT_NONE)));
}

static void batchnorm_train(void)
{
    sky_tensor m = in("running_mean"), v = in("running_var");
    sky_tensor y = sky_batchnorm_train(c, map("x"), in("w"), in("b"), m, v, 0.1f, 1e-5f, SKY_ACT_NONE);
    check(nchw(y));
    check_as(m, "out.running_mean");
    check_as(v, "out.running_var");
}

static void attention(void)
{
    sky_tensor q[3] = {in("q"), in("k"), in("v")};
    for (int i = 0; i < 3; i++) {
        q[i] = sky_transpose(c, q[i], (int[]){0, 2, 1, 3});
        q[i] = SKY_RESHAPE(c, q[i], q[i].shape[0], q[i].shape[1], 1, q[i].shape[2], q[i].shape[3]);
    }
    int64_t heads = q[0].shape[3], d = q[0].shape[4];
    sky_tensor y = sky_attention(c, sky_concat(c, q, 3, 2), SKY_F32);
    check(sky_transpose(c, SKY_RESHAPE(c, y, y.shape[0], y.shape[1], heads, d), (int[]){0, 2, 1, 3}));
}

/* skip + MHA(x) */
static sky_tensor mha(sky_tensor x, int heads, sky_tensor skip)
{
    sky_tensor qkv = sky_linear(c, x, in(par("attn.in_proj_weight")), in(par("attn.in_proj_bias")), SKY_ACT_NONE, sky_none);
    qkv = SKY_RESHAPE(c, qkv, x.shape[0], x.shape[1], 3, heads, sky_last(&x) / heads);
    return sky_linear(c, sky_attention(c, qkv, SKY_F32), in(par("attn.out_proj.weight")), in(par("attn.out_proj.bias")), SKY_ACT_NONE, skip);
}
static sky_tensor ffn(sky_tensor x, sky_tensor skip)
{
    sky_tensor h = sky_linear(c, x, in("ffn.layers.0.0.weight"), in("ffn.layers.0.0.bias"), SKY_ACT_GELU, sky_none);
    return sky_linear(c, h, in("ffn.layers.1.weight"), in("ffn.layers.1.bias"), SKY_ACT_NONE, skip);
}
static sky_tensor norm(sky_tensor x, const char *name, float eps, sky_tensor skip)
{
    char w[64], b[64];
    snprintf(w, sizeof w, "%s.weight", name);
    snprintf(b, sizeof b, "%s.bias", name);
    return sky_layernorm(c, x, in(w), in(b), eps, skip);
}

static void mha_residual(void)
{
    sky_tensor x = in("x");
    check(mha(x, 3, x));
}
static void global_attention(void)
{
    sky_tensor x = in("x"), z = sky_linear(c, x, in("proj_in.weight"), in("proj_in.bias"), SKY_ACT_NONE, sky_none);
    pre = "attn.";
    sky_tensor y = mha(z, 4, z);
    pre = "";
    check(sky_linear(c, y, in("proj_out.weight"), in("proj_out.bias"), SKY_ACT_NONE, x));
}
static void encoder_layer(void)
{
    sky_tensor x = in("x");
    pre = "attn.";
    x = mha(norm(x, "ln1", 1e-6f, sky_none), 3, x);
    pre = "";
    check(ffn(norm(x, "ln2", 1e-6f, sky_none), x));
}

static sky_tensor bias_matrix(int win)
{
    sky_tensor h = sky_linear(c, sky_window_coords(c, win), in(par("cpb_mlp.0.weight")), in(par("cpb_mlp.0.bias")), SKY_ACT_RELU, sky_none);
    return sky_window_bias(c, sky_linear(c, h, in(par("cpb_mlp.2.weight")), sky_none, SKY_ACT_NONE, sky_none), win);
}
static sky_tensor shift_window(sky_tensor x, int64_t h, int64_t w, int heads, int win, int shift)
{
    int64_t C = sky_last(&x);
    static const float zeros[64];
    sky_tensor zero = sky_upload(c, SKY_F32, 1, &C, zeros); /* k has no bias */
    sky_tensor b = sky_concat(c, (sky_tensor[]){in(par("q_bias")), zero, in(par("v_bias"))}, 3, 0);
    sky_tensor qkv = sky_linear(c, x, in(par("qkv.weight")), b, SKY_ACT_NONE, sky_none);
    qkv = SKY_RESHAPE(c, qkv, x.shape[0], h, w, 3, heads, C / heads);
    sky_tensor y = sky_window_attention(c, qkv, b, bias_matrix(win), in_flat(par("logit_scale")), win, shift, SKY_F32);
    y = sky_linear(c, y, in(par("proj.weight")), in(par("proj.bias")), SKY_ACT_NONE, sky_none);
    return SKY_RESHAPE(c, y, x.shape[0], h * w, C);
}
static void swin(int64_t h, int64_t w, int shift)
{
    pre = "w_msa.";
    check(shift_window(in("x"), h, w, 3, 4, shift));
    pre = "";
}
static void swin_shift_pad(void) { swin(10, 14, 2); }
static void swin_noshift_pad(void) { swin(9, 12, 0); }
static void swin_min_equals_window(void) { swin(4, 12, 2); }
static void swin_block_extra(void)
{
    sky_tensor x = in("x");
    pre = "attn.w_msa.";
    x = norm(shift_window(x, 20, 16, 2, 8, 4), "norm1", 1e-5f, x);
    pre = "";
    x = norm(ffn(x, sky_none), "norm2", 1e-5f, x);
    check(norm(x, "norm3", 1e-5f, sky_none));
}
static void window_tables(void)
{
    check_as(sky_window_coords(c, 4), "coords_4");
    check_as(sky_window_coords(c, 8), "coords_8");
}
static void window_bias(void) { check(bias_matrix(4)); }

static void patch_merging_odd(void)
{
    sky_tensor y = sky_unfold(c, map_of(in("x"), 5, 7), 2);
    check(norm(sky_linear(c, y, in("reduction.weight"), sky_none, SKY_ACT_NONE, sky_none), "norm", 1e-5f, sky_none));
}
static sky_tensor strided_conv(sky_tensor x, sky_tensor w, sky_tensor b)
{
    return sky_linear(c, sky_unfold(c, x, 4), SKY_RESHAPE(c, w, w.shape[0], -1), b, SKY_ACT_NONE, sky_none);
}
static void patch_embed_pad(void)
{
    check(norm(strided_conv(map("x"), in("projection.weight"), in("projection.bias")), "norm", 1e-5f, sky_none));
}
static void conv(void) { check(nchw(sky_conv2d(c, map("x"), in("w"), sky_none, in("b"), SKY_ACT_NONE))); }
static void conv4x4_s4(void) { check(nchw(strided_conv(map("x"), in("w"), in("b")))); }
static void pixel_shuffle4(void) { check(nchw(sky_pixel_shuffle(c, map("x"), 4))); }
static void adaptive(void) { check(nchw(sky_adaptive_avg_pool(c, map("x"), op[strlen(op) - 1] - '0'))); }
static void avg_pool2(void) { check(nchw(sky_avg_pool2(c, map("x")))); }
static void resize(void)
{
    array y = stored("out.y");
    sky_interp how = op[1] == 'i' && op[2] == 'c' ? SKY_BICUBIC : strstr(op, "_true") ? SKY_BILINEAR_CORNERS : SKY_BILINEAR;
    check(nchw(sky_resize(c, map("x"), y.shape[2], y.shape[3], how)));
    free(y.v);
}

static void annotation_tokens(void)
{
    check(sky_annotation_tokens(c, in_u8("labels"), in("table"), in("weight"), sky_none, sky_none, 4));
}
static void annotation_join(void)
{
    sky_tensor y = sky_annotation_tokens(c, in_u8("labels"), in("table"), in("weight"), in_u8("mask"), in("token"), 4);
    sky_tensor x = sky_concat(c, (sky_tensor[]){map_of(in("x"), y.shape[1], y.shape[2]), y}, 2, 2);
    check_as(x, "out.joined");
    float *v = calloc((size_t)sky_numel(&x), 4);
    sky_download(c, v, &x);
    for (int64_t i = 0; i < sky_numel(&x); i++)
        v[i] *= v[i];
    sky_tensor square = sky_upload(c, SKY_F32, x.ndim, x.shape, v);
    free(v);
    check_as(sky_halves_mean(c, square), "out.halves_mean_of_square");
}

static void rec_loss(void) { check(sky_rec_loss(c, map("logits"), in_u8("labels"))); }
static void cross_entropy(void) { check(sky_cross_entropy(c, map("logits"), in_u8("labels"), 255, 0, NULL)); }

/* Column m of the stored flags, as bytes. */
static void flags_of(int m, uint8_t *flag)
{
    array f = stored("in.flags");
    for (int64_t i = 0; i < f.shape[0]; i++)
        flag[i] = f.v[i * f.shape[1] + m] != 0;
    free(f.v);
}
/* Sum of scalars over 3 (or 6). */
static sky_tensor scaled_sum(sky_tensor *t, float scale)
{
    sky_tensor v[3];
    for (int i = 0; i < 3; i++)
        v[i] = SKY_RESHAPE(c, t[i], 1, 1);
    return sky_matmul(c, sky_concat(c, v, 3, 1), sky_upload(c, SKY_F32, 2, (int64_t[]){3, 1}, (float[]){scale, scale, scale}));
}
static void vae_kl(void)
{
    static const int pair[3][2] = {{0, 1}, {0, 2}, {1, 2}};
    sky_tensor x[3] = {map("a"), map("b"), map("c")}, kl[3];
    for (int i = 0; i < 3; i++) {
        uint8_t f[16], g[16];
        flags_of(pair[i][0], f);
        flags_of(pair[i][1], g);
        for (int k = 0; k < 16; k++)
            f[k] = f[k] && g[k];
        kl[i] = sky_sym_kl(c, x[pair[i][0]], x[pair[i][1]], f);
    }
    check_as(scaled_sum(kl, 1.0f / 6), "out.total");
}
static void vae_mse(void)
{
    sky_tensor mse[3];
    for (int i = 0; i < 3; i++) {
        uint8_t f[16];
        char r[3] = {'r', (char)('0' + i)}, x[3] = {'f', (char)('0' + i)};
        flags_of(i, f);
        mse[i] = sky_masked_mse(c, in(r), in(x), f);
    }
    check(scaled_sum(mse, 1.0f / 3));
}
static void soft_codebook(void) { check(nchw(sky_matmul(c, sky_softmax(c, map("logits"), 9), in("book")))); }

static const struct { const char *name; void (*run)(void); } entries[] = {
    {"layernorm_1e5", layernorm}, {"layernorm_1e6", layernorm}, {"gelu", gelu}, {"leaky_relu", leaky_relu},
    {"batchnorm_eval", batchnorm_eval}, {"batchnorm_train", batchnorm_train}, {"attention", attention},
    {"l2_normalize", l2_normalize}, {"mha_residual", mha_residual}, {"global_attention", global_attention},
    {"encoder_layer", encoder_layer}, {"swin_shift_pad", swin_shift_pad}, {"swin_noshift_pad", swin_noshift_pad},
    {"swin_min_equals_window", swin_min_equals_window}, {"swin_block_extra", swin_block_extra},
    {"window_tables", window_tables}, {"window_bias", window_bias}, {"patch_merging_odd", patch_merging_odd},
    {"patch_embed_pad", patch_embed_pad}, {"conv1x1_s1", conv}, {"conv3x3_s1", conv}, {"conv5x5_s1", conv},
    {"conv4x4_s4", conv4x4_s4}, {"pixel_shuffle4", pixel_shuffle4}, {"adaptive_avg_pool1", adaptive},
    {"adaptive_avg_pool2", adaptive}, {"adaptive_avg_pool3", adaptive}, {"adaptive_avg_pool6", adaptive},
    {"avg_pool2", avg_pool2}, {"annotation_tokens", annotation_tokens}, {"annotation_join", annotation_join},
    {"rec_loss", rec_loss}, {"rec_loss_no_background", rec_loss}, {"ce_ignore255_mean_all", cross_entropy},
    {"vae_kl", vae_kl}, {"vae_mse", vae_mse}, {"soft_codebook", soft_codebook},
};

static void replay(const char *name, void (*run)(void))
{
    op = name;
    for (int pass = 0; pass < 2; pass++) {
        sky_err e = {0};
        if (pass == 0)
            sky_ctx_dry(c);
        else if (sky_ctx_alloc(c, c->peak, &e)) /* exactly what the dry run asked for */
            OK(0, "%s: %s", name, e.msg);
        checks = 0;
        run();
    }
}

int main(void)
{
    sky_err e = {0};
    if (sky_weights_open(&file, "tests/data/ops.safetensors", &e) || sky_ctx_open(c, "cpu", 2, &e)) {
        printf("Bail out! %s\n", e.msg);
        return 1;
    }
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        replay(entries[i].name, entries[i].run);
    for (int i = 0; i < sky_weights_count(file); i++) { /* bilinear_*, bicubic_* */
        const char *key = sky_weights_at(file, i)->name, *end = strstr(key, ".out.y");
        if (!strncmp(key, "bi", 2) && end) {
            char name[64];
            snprintf(name, sizeof name, "%.*s", (int)(end - key), key);
            replay(name, resize);
        }
    }
    sky_ctx_close(c);
    sky_weights_close(file);
    return END();
}
