/* layers.c -- linear, norm, attention, feed-forward, patches, annotation. */
#include "nn/layers.h"
#include "base/hash.h"

#include <stdio.h>

void sky_nn_tap_call(const sky_ctx *c, const sky_nn_tap *tap, sky_tensor t, const char *fmt, ...)
{
    if (!tap || !tap->fn || c->dry || c->err.code)
        return;
    char name[64];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    tap->fn(tap->arg, name, &t);
}

/* ------------------------------------------------------------------ random decisions */
sky_nn_drop sky_nn_drop_of(const sky_scope *s, const char *name, double p)
{
    sky_scope at = sky_scope_in(s, "%s", name);
    return (sky_nn_drop){(float)p, (uint32_t)sky_fnv1a(at.at)};
}

sky_tensor sky_nn_drop_rows(sky_ctx *c, const sky_nn_drop *l, sky_tensor x)
{
    return c->err.code ? sky_none : sky_drop(c, x, l->p, l->layer, sky_numel(&x) / x.shape[0], 0); /* after an error x has no shape */
}

sky_tensor sky_nn_drop_elements(sky_ctx *c, const sky_nn_drop *l, sky_tensor x) { return sky_drop(c, x, l->p, l->layer, 1, 0); }
sky_tensor sky_nn_drop_channels(sky_ctx *c, const sky_nn_drop *l, sky_tensor x) { return sky_drop(c, x, l->p, l->layer, 1, sky_last(&x)); }

/* ------------------------------------------------------------------ linear, norm, convolution */
void sky_nn_linear_declare(sky_nn_linear *l, const sky_scope *s, int64_t n, int64_t k, int bias)
{
    sky_declare(s, &l->w, SKY_PARAM_MATRIX, "weight", SKY_SHAPE(n, k));
    l->b = sky_none;
    if (bias)
        sky_declare(s, &l->b, SKY_PARAM_VECTOR, "bias", SKY_SHAPE(n));
}

void sky_nn_norm_declare(sky_nn_norm *l, const sky_scope *s, int64_t n, float eps)
{
    sky_declare(s, &l->w, SKY_PARAM_VECTOR, "weight", SKY_SHAPE(n));
    sky_declare(s, &l->b, SKY_PARAM_VECTOR, "bias", SKY_SHAPE(n));
    l->eps = eps;
}

void sky_nn_conv_declare(sky_tensor wb[2], const sky_scope *s, int64_t cin, int64_t cout, int k)
{
    sky_declare(s, &wb[0], SKY_PARAM_MATRIX, "weight", SKY_SHAPE(cout, cin, k, k));
    sky_declare(s, &wb[1], SKY_PARAM_VECTOR, "bias", SKY_SHAPE(cout));
}

sky_tensor sky_nn_linear_forward(sky_ctx *c, const sky_nn_linear *l, sky_tensor x, sky_act act, sky_tensor residual)
{
    return sky_linear(c, x, l->w, l->b, act, residual);
}

sky_tensor sky_nn_norm_forward(sky_ctx *c, const sky_nn_norm *l, sky_tensor x, sky_tensor residual)
{
    return sky_layernorm(c, x, l->w, l->b, l->eps, residual);
}

/* ------------------------------------------------------------------ transformer parts */
void sky_nn_mha_declare(sky_nn_mha *l, const sky_scope *s, int64_t dim, int heads, double drop)
{
    sky_scope a = sky_scope_in(s, "attn"), out = sky_scope_in(&a, "out_proj");
    sky_declare(&a, &l->in.w, SKY_PARAM_MATRIX, "in_proj_weight", SKY_SHAPE(3 * dim, dim));
    sky_declare(&a, &l->in.b, SKY_PARAM_VECTOR, "in_proj_bias", SKY_SHAPE(3 * dim));
    sky_nn_linear_declare(&l->out, &out, dim, dim, 1);
    l->heads = heads;
    l->drop = sky_nn_drop_of(&a, "proj_drop", drop);
}

sky_tensor sky_nn_mha_forward(sky_ctx *c, const sky_nn_mha *l, sky_tensor x, sky_tensor skip)
{
    sky_mark m = sky_mark_get(c);
    sky_tensor qkv = sky_nn_linear_forward(c, &l->in, x, SKY_ACT_NONE, sky_none);
    qkv = SKY_RESHAPE(c, qkv, x.shape[0], x.shape[1], 3, l->heads, -1);
    sky_tensor a = sky_attention(c, qkv, l->in.w.dtype);
    int drops = sky_nn_drops(c, &l->drop);
    sky_tensor y = sky_nn_linear_forward(c, &l->out, a, SKY_ACT_NONE, drops ? sky_none : skip);
    if (drops)
        y = sky_add(c, skip, sky_nn_drop_elements(c, &l->drop, y));
    sky_keep(c, m, &y, 1);
    return y;
}

void sky_nn_ffn_declare(sky_nn_ffn *l, const sky_scope *s, int64_t dim, double drop)
{
    sky_scope up = sky_scope_in(s, "layers.0.0"), down = sky_scope_in(s, "layers.1");
    sky_nn_linear_declare(&l->up, &up, 4 * dim, dim, 1);
    sky_nn_linear_declare(&l->down, &down, dim, 4 * dim, 1);
    l->drop[0] = sky_nn_drop_of(s, "layers.0.2", drop);
    l->drop[1] = sky_nn_drop_of(s, "layers.2", drop);
}

sky_tensor sky_nn_ffn_forward(sky_ctx *c, const sky_nn_ffn *l, sky_tensor x, sky_tensor residual)
{
    sky_mark m = sky_mark_get(c);
    sky_tensor h = sky_nn_linear_forward(c, &l->up, x, SKY_ACT_GELU, sky_none);
    int drops = sky_nn_drops(c, &l->drop[0]);
    if (drops)
        h = sky_nn_drop_elements(c, &l->drop[0], h);
    sky_tensor y = sky_nn_linear_forward(c, &l->down, h, SKY_ACT_NONE, drops ? sky_none : residual);
    if (drops)
        y = sky_nn_drop_elements(c, &l->drop[1], y);
    if (drops && residual.data)
        y = sky_add(c, residual, y);
    sky_keep(c, m, &y, 1);
    return y;
}

void sky_nn_encoder_declare(sky_nn_encoder *l, const sky_scope *s, int64_t dim, int heads, float eps, double drop, double path)
{
    sky_scope ln1 = sky_scope_in(s, "ln1"), attn = sky_scope_in(s, "attn"), ln2 = sky_scope_in(s, "ln2"), ffn = sky_scope_in(s, "ffn");
    sky_nn_norm_declare(&l->ln1, &ln1, dim, eps);
    sky_nn_mha_declare(&l->attn, &attn, dim, heads, drop);
    sky_nn_norm_declare(&l->ln2, &ln2, dim, eps);
    sky_nn_ffn_declare(&l->ffn, &ffn, dim, drop);
    l->path = sky_nn_drop_of(s, "drop_path", path);
}

sky_tensor sky_nn_encoder_attend(sky_ctx *c, const sky_nn_encoder *l, sky_tensor x)
{
    sky_mark m = sky_mark_get(c);
    sky_tensor h = sky_nn_norm_forward(c, &l->ln1, x, sky_none);
    sky_tensor y = sky_nn_mha_forward(c, &l->attn, h, x);
    sky_keep(c, m, &y, 1);
    return y;
}

sky_tensor sky_nn_encoder_feed(sky_ctx *c, const sky_nn_encoder *l, sky_tensor x)
{
    sky_mark m = sky_mark_get(c);
    sky_tensor h = sky_nn_norm_forward(c, &l->ln2, x, sky_none);
    int drops = sky_nn_drops(c, &l->path);
    sky_tensor y = sky_nn_ffn_forward(c, &l->ffn, h, drops ? sky_none : x);
    if (drops)
        y = sky_add(c, x, sky_nn_drop_rows(c, &l->path, y));
    sky_keep(c, m, &y, 1);
    return y;
}

static void encoder_segment(sky_ctx *c, const void *arg, const sky_tensor *x, sky_tensor *y)
{
    const sky_nn_encoder *l = *(const sky_nn_encoder *const *)arg;
    sky_mark m = sky_mark_get(c);
    *y = sky_nn_encoder_attend(c, l, *x);
    *y = sky_nn_encoder_feed(c, l, *y);
    sky_keep(c, m, y, 1);
}

sky_tensor sky_nn_encoder_forward(sky_ctx *c, const sky_nn_encoder *l, sky_tensor x)
{
    sky_tensor y = sky_none;
    sky_recompute(c, encoder_segment, &l, sizeof l, &x, 1, &y, 1);
    return y;
}

/* ------------------------------------------------------------------ patches, annotation */
void sky_nn_patch_declare(sky_nn_patch *l, const sky_scope *s, int channels, int dim, int patch, int bias, int norm)
{
    sky_scope p = sky_scope_in(s, "projection"), n = sky_scope_in(s, "norm");
    p.exact = 1; /* hardly any arithmetic, and its error goes through everything */
    sky_declare(&p, &l->w, SKY_PARAM_MATRIX, "weight", SKY_SHAPE(dim, channels, patch, patch));
    l->b = sky_none;
    if (bias)
        sky_declare(&p, &l->b, SKY_PARAM_VECTOR, "bias", SKY_SHAPE(dim));
    if (norm)
        sky_nn_norm_declare(&l->norm, &n, dim, SKY_SWIN_EPS);
    l->patch = patch;
    l->normed = norm;
}

sky_tensor sky_nn_patch_forward(sky_ctx *c, const sky_nn_patch *l, sky_tensor x)
{
    sky_mark m = sky_mark_get(c);
    sky_tensor w = SKY_RESHAPE(c, l->w, l->w.shape[0], -1);
    sky_tensor y = sky_linear(c, sky_unfold(c, x, l->patch), w, l->b, SKY_ACT_NONE, sky_none);
    if (l->normed)
        y = sky_nn_norm_forward(c, &l->norm, y, sky_none);
    sky_keep(c, m, &y, 1);
    return y;
}

void sky_nn_vocab_declare(sky_nn_vocab *l, const sky_scope *s, int vocab, int dim, int patch)
{
    sky_declare(s, &l->mask_token, SKY_PARAM_VECTOR, "mask_token", SKY_SHAPE(1, 1, dim));
    sky_declare(s, &l->table, SKY_PARAM_VECTOR, "vocabulary_token", SKY_SHAPE(vocab + 1, dim));
    sky_declare(s, &l->weight, SKY_PARAM_VECTOR, "vocabulary_weight", SKY_SHAPE(1, patch * patch));
    l->patch = patch;
}

sky_tensor sky_nn_join_annotation(sky_ctx *c, const sky_nn_vocab *l, sky_tensor x, const sky_nn_annotation *a, int merge)
{
    sky_mark m = sky_mark_get(c);
    sky_tensor part[2] = {x, sky_annotation_tokens(c, a->labels, l->table, l->weight, a->mask, l->mask_token, l->patch)};
    sky_tensor y = sky_concat(c, part, 2, 2);
    if (merge)
        y = sky_halves_mean(c, y);
    sky_keep(c, m, &y, 1);
    return y;
}
