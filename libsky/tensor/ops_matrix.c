/* Matrix products, convolution and attention: shape rules. */
#include "base/mem.h"
#include "tensor/front_internal.h"
#include "tensor/tape_internal.h"

#include <math.h>

/* An activation whose gradient cannot be told from the result of the fused operation. */
static int needs_input(const sky_ctx *c, sky_act act, const sky_tensor *residual)
{
    return c->tape && (act == SKY_ACT_GELU || (act != SKY_ACT_NONE && residual->data));
}

sky_tensor sky_linear(sky_ctx *c, sky_tensor x, sky_tensor w, sky_tensor b, sky_act act, sky_tensor residual)
{
    if (c->err.code)
        return sky_none;
    sky_tensor want = x;
    int ok = is_act(&x) && is_weight(&w, 2) && w.shape[1] == sky_last(&x) && is_vec_or_none(&b, w.shape[0]);
    if (ok) {
        want.shape[x.ndim - 1] = w.shape[0];
        ok = !residual.data || same_shape(&residual, &want);
    }
    if (!ok)
        return sky_refuse(c, "linear", "x F32[..,K], w F32|BF16[N,K], b F32[N] or none, residual F32[..,N] or none",
                          "x", &x, "w", &w, "b", &b, "residual", &residual, NULL);
    if (needs_input(c, act, &residual)) {
        sky_tensor z = sky_activate(c, sky_linear(c, x, w, b, SKY_ACT_NONE, sky_none), act);
        return residual.data ? sky_add(c, z, residual) : z;
    }
    sky_tensor y = sky_new_last(c, &x, w.shape[0]);
    y = SKY_RUN(c, linear, y, &x, &w, &b, act, &residual);
    return SKY_RECORD_ARGS(c, y, sky_back_linear, SKY_INPUTS(x, w, b, residual), &(sky_back_act){act});
}

sky_tensor sky_matmul(sky_ctx *c, sky_tensor x, sky_tensor w)
{
    if (c->err.code)
        return sky_none;
    if (!is_act(&x) || !is_weight(&w, 2) || w.shape[0] != sky_last(&x))
        return sky_refuse(c, "matmul", "x F32[..,K], w F32|BF16[K,N]", "x", &x, "w", &w, NULL);
    sky_tensor y = sky_new_last(c, &x, w.shape[1]);
    y = SKY_RUN(c, matmul, y, &x, &w, &sky_none);
    return SKY_RECORD(c, y, sky_back_matmul, SKY_INPUTS(x, w));
}

sky_tensor sky_conv2d(sky_ctx *c, sky_tensor x, sky_tensor w, sky_tensor scale, sky_tensor shift, sky_act act)
{
    if (c->err.code)
        return sky_none;
    int64_t k = w.ndim == 4 ? w.shape[3] : 0;
    if (!is_map(&x) || !is_weight(&w, 4) || w.shape[1] != x.shape[3] || w.shape[2] != k || (k != 1 && k != 3 && k != 5) ||
        !is_vec_or_none(&scale, w.shape[0]) || !is_vec_or_none(&shift, w.shape[0]))
        return sky_refuse(c, "conv2d", "x F32[B,H,W,C], w F32|BF16[N,C,k,k] with k 1, 3 or 5, scale and shift F32[N] or none",
                          "x", &x, "w", &w, "scale", &scale, "shift", &shift, NULL);
    if (needs_input(c, act, &sky_none))
        return sky_activate(c, sky_conv2d(c, x, w, scale, shift, SKY_ACT_NONE), act);
    if (scale.data && sky_tracked(c, &scale)) {
        sky_ctx_fail(c, SKY_EUSAGE, "conv2d: a folded scale has no gradient; use sky_batchnorm behind the convolution");
        return sky_none;
    }
    sky_tensor y = new_map(c, SKY_F32, x.shape[0], x.shape[1], x.shape[2], w.shape[0]);
    y = SKY_RUN(c, conv2d, y, &x, &w, &scale, &shift, act);
    return SKY_RECORD_ARGS(c, y, sky_back_conv2d, SKY_INPUTS(x, w, shift, scale), &(sky_back_act){act});
}

static int is_product(sky_dtype t) { return t == SKY_F32 || t == SKY_BF16; }

sky_tensor sky_attention(sky_ctx *c, sky_tensor qkv, sky_dtype products)
{
    if (c->err.code)
        return sky_none;
    if (!is_act(&qkv) || qkv.ndim != 5 || qkv.shape[2] != 3 || !is_product(products))
        return sky_refuse(c, "attention", "qkv F32[B,L,3,heads,d], products in F32 or BF16", "qkv", &qkv, NULL);
    sky_tensor y = sky_new(c, SKY_F32, 3, (int64_t[]){qkv.shape[0], qkv.shape[1], qkv.shape[3] * qkv.shape[4]});
    sky_tensor lse = sky_none;
    if (sky_recording(c) && sky_tracked(c, &qkv))
        lse = sky_new(c, SKY_F32, 3, (int64_t[]){qkv.shape[0], qkv.shape[3], qkv.shape[1]});
    y = SKY_RUN(c, attention, y, &lse, &qkv, products);
    return SKY_RECORD_ARGS(c, y, sky_back_attention, SKY_INPUTS(qkv), (&(sky_back_attn){lse, products}));
}

sky_tensor sky_window_attention(sky_ctx *c, sky_tensor qkv, sky_tensor pad_qkv, sky_tensor bias, sky_tensor logit_scale, int win, int shift, sky_dtype products)
{
    if (c->err.code)
        return sky_none;
    const int64_t *s = qkv.shape;
    int64_t n = (int64_t)win * win;
    int ok = is_act(&qkv) && qkv.ndim == 6 && s[3] == 3 && win >= 1 && shift >= 0 && shift < win && is_product(products) &&
             is_vec(&pad_qkv, 3 * s[4] * s[5]) && is_vec(&logit_scale, s[4]) && is_act(&bias) && bias.ndim == 3 &&
             bias.shape[0] == s[4] && bias.shape[1] == n && bias.shape[2] == n;
    if (!ok)
        return sky_refuse(c, "window_attention",
                          "qkv F32[B,H,W,3,heads,d], pad_qkv F32[3*heads*d], bias F32[heads,win^2,win^2], logit_scale F32[heads], 0 <= shift < win, products in F32 or BF16",
                          "qkv", &qkv, "pad_qkv", &pad_qkv, "bias", &bias, "logit_scale", &logit_scale, NULL);
    int64_t side = s[1] < s[2] ? s[1] : s[2];
    if (side < win) {
        sky_ctx_fail(c, SKY_EUSAGE, "window_attention: a map of %lldx%lld tokens is smaller than the window of %d", (long long)s[1], (long long)s[2], win);
        return sky_none;
    }
    sky_tensor y = new_map(c, SKY_F32, s[0], s[1], s[2], s[4] * s[5]);
    sky_back_win o = {win, side == win ? 0 : shift, products};
    y = SKY_RUN(c, window_attention, y, &qkv, &pad_qkv, &bias, &logit_scale, o.win, o.shift, products);
    return SKY_RECORD_ARGS(c, y, sky_back_window_attention, SKY_INPUTS(qkv, pad_qkv, bias, logit_scale), &o);
}

sky_tensor sky_window_bias(sky_ctx *c, sky_tensor t, int win)
{
    if (c->err.code)
        return sky_none;
    int64_t n = (int64_t)win * win, side = 2 * (int64_t)win - 1;
    if (!is_act(&t) || t.ndim != 2 || win < 1 || t.shape[0] != side * side)
        return sky_refuse(c, "window_bias", "t F32[(2*win-1)^2,heads]", "t", &t, NULL);
    sky_tensor y = sky_new(c, SKY_F32, 3, (int64_t[]){t.shape[1], n, n});
    y = SKY_RUN(c, window_bias, y, &t, win);
    return SKY_RECORD_ARGS(c, y, sky_back_window_bias, SKY_INPUTS(t), (&(sky_back_win){.win = win}));
}

/* Offset -(win-1)..win-1 on the logarithmic scale of Swin V2; 8 and 3 = log2(8) are its constants. */
static float log_coord(int offset, int win)
{
    double v = 8.0 * offset / (win - 1);
    return (float)(copysign(log2(1 + fabs(v)), v) / 3);
}

sky_tensor sky_window_coords(sky_ctx *c, int win)
{
    if (c->err.code)
        return sky_none;
    if (win < 2 || win > 64) {
        sky_ctx_fail(c, SKY_EUSAGE, "window_coords: window of %d, expected 2 to 64", win);
        return sky_none;
    }
    int side = 2 * win - 1;
    float *p = sky_alloc((size_t)side * (size_t)side * 2 * sizeof *p);
    if (!p) {
        sky_ctx_fail(c, SKY_ENOMEM, "window_coords: out of memory");
        return sky_none;
    }
    for (int i = 0; i < side * side; i++) {
        p[2 * i] = log_coord(i / side - (win - 1), win);
        p[2 * i + 1] = log_coord(i % side - (win - 1), win);
    }
    sky_tensor y = sky_upload(c, SKY_F32, 2, (int64_t[]){(int64_t)side * side, 2}, p);
    sky_free(p);
    return y;
}
