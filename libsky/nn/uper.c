/* uper.c -- convolution + batch norm, the UPerHead decoder, and the small auxiliary head. */
#include "nn/layers.h"

void sky_nn_convbn_declare(sky_nn_convbn *l, const sky_scope *s, int64_t cin, int64_t cout, int k)
{
    sky_scope conv = sky_scope_in(s, "conv"), bn = sky_scope_in(s, "bn");
    sky_declare(&conv, &l->w, SKY_PARAM_MATRIX, "weight", SKY_SHAPE(cout, cin, k, k));
    sky_declare(&bn, &l->gamma, SKY_PARAM_VECTOR, "weight", SKY_SHAPE(cout));
    sky_declare(&bn, &l->beta, SKY_PARAM_VECTOR, "bias", SKY_SHAPE(cout));
    sky_declare(&bn, &l->mean, SKY_PARAM_STAT, "running_mean", SKY_SHAPE(cout));
    sky_declare(&bn, &l->var, SKY_PARAM_STAT, "running_var", SKY_SHAPE(cout));
}

static sky_tensor folded(sky_ctx *c, const sky_nn_convbn *l, sky_tensor x)
{
    sky_tensor f = sky_batchnorm_fold(c, l->gamma, l->beta, l->mean, l->var, SKY_BN_EPS);
    int64_t n = l->gamma.shape[0];
    sky_tensor scale = SKY_RESHAPE(c, sky_slice(c, f, 0, 0, 1), n), shift = SKY_RESHAPE(c, sky_slice(c, f, 0, 1, 1), n);
    return sky_conv2d(c, x, l->w, scale, shift, SKY_ACT_RELU);
}

sky_tensor sky_nn_convbn_forward(sky_ctx *c, const sky_nn_convbn *l, sky_tensor x, int batch_stats)
{
    sky_mark m = sky_mark_get(c);
    sky_tensor y;
    if (batch_stats) {
        y = sky_conv2d(c, x, l->w, sky_none, sky_none, SKY_ACT_NONE);
        y = sky_batchnorm_train(c, y, l->gamma, l->beta, l->mean, l->var, SKY_BN_MOMENTUM, SKY_BN_EPS, SKY_ACT_RELU);
    } else if (c->tape) { /* gradients of the norm's own parameters */
        y = sky_conv2d(c, x, l->w, sky_none, sky_none, SKY_ACT_NONE);
        y = sky_batchnorm(c, y, l->gamma, l->beta, l->mean, l->var, SKY_BN_EPS, SKY_ACT_RELU);
    } else {
        y = folded(c, l, x);
    }
    sky_keep(c, m, &y, 1);
    return y;
}

/* ------------------------------------------------------------------ UPerHead */
int sky_nn_uper_declare(sky_nn_uper *l, const sky_scope *parent, const int64_t *cins, int levels, int64_t ch, int classes, const int *pools, int npools, double drop, sky_err *e)
{
    if (levels < 1 || levels > 8 || npools < 1 || npools > 8)
        return sky_fail(e, SKY_EUSAGE, "decoder: %d levels and %d pools: 1 to 8 of each are supported", levels, npools);
    *l = (sky_nn_uper){.npools = npools, .levels = levels};
    int64_t top = cins[levels - 1];
    /* Exact but for the two convolutions on the finest map, which hold nine tenths of the arithmetic: what lies between
     * them and the logits, or goes into all of the map, is cheap. */
    sky_scope exact = sky_scope_exact(parent), *s = &exact;
    sky_scope seg = sky_scope_in(s, "conv_seg"), b = sky_scope_in(s, "bottleneck"), fb = sky_scope_in(parent, "fpn_bottleneck");
    sky_nn_conv_declare(l->seg, &seg, ch, classes, 1);
    for (int i = 0; i < npools; i++) {
        sky_scope p = sky_scope_in(s, "psp_modules.%d.1", i);
        sky_nn_convbn_declare(&l->psp[i], &p, top, ch, 1);
        l->pools[i] = pools[i];
    }
    sky_nn_convbn_declare(&l->bottleneck, &b, top + npools * ch, ch, 3);
    for (int i = 0; i < levels - 1; i++) {
        sky_scope lat = sky_scope_in(s, "lateral_convs.%d", i), fpn = sky_scope_in(i ? s : parent, "fpn_convs.%d", i);
        sky_nn_convbn_declare(&l->lateral[i], &lat, cins[i], ch, 1);
        sky_nn_convbn_declare(&l->fpn[i], &fpn, ch, ch, 3);
    }
    sky_nn_convbn_declare(&l->fpn_bottleneck, &fb, levels * ch, ch, 3);
    l->drop = sky_nn_drop_of(parent, "dropout", drop);
    return 0;
}

static sky_tensor fit(sky_ctx *c, sky_tensor x, const sky_tensor *like)
{
    return x.shape[1] == like->shape[1] && x.shape[2] == like->shape[2] ? x : sky_resize(c, x, like->shape[1], like->shape[2], SKY_BILINEAR);
}

/* Pyramid pooling on the coarsest map. */
static sky_tensor pyramid(sky_ctx *c, const sky_nn_uper *l, sky_tensor top, int batch_stats)
{
    sky_mark m = sky_mark_get(c);
    sky_tensor part[9] = {top};
    for (int i = 0; i < l->npools; i++) {
        sky_tensor p = sky_nn_convbn_forward(c, &l->psp[i], sky_adaptive_avg_pool(c, top, l->pools[i]), batch_stats);
        part[i + 1] = fit(c, p, &top);
    }
    sky_tensor y = sky_nn_convbn_forward(c, &l->bottleneck, sky_concat(c, part, l->npools + 1, 3), batch_stats);
    sky_keep(c, m, &y, 1);
    return y;
}

/* lateral(feat) + resized coarser level */
static sky_tensor lateral(sky_ctx *c, const sky_nn_uper *l, int i, sky_tensor feat, sky_tensor coarser, int batch_stats)
{
    sky_mark m = sky_mark_get(c);
    sky_tensor y = sky_nn_convbn_forward(c, &l->lateral[i], feat, batch_stats);
    y = sky_add(c, y, fit(c, coarser, &y));
    sky_keep(c, m, &y, 1);
    return y;
}

sky_tensor sky_nn_uper_forward(sky_ctx *c, const sky_nn_uper *l, const sky_tensor *feats, int batch_stats, const sky_nn_tap *tap)
{
    sky_mark m = sky_mark_get(c);
    int top = l->levels - 1;
    sky_tensor out[8], lat = pyramid(c, l, feats[top], batch_stats);
    sky_nn_tap_call(c, tap, lat, "uper.psp");
    out[top] = lat;
    for (int i = top - 1; i >= 0; i--) {
        lat = lateral(c, l, i, feats[i], lat, batch_stats);
        out[i] = sky_nn_convbn_forward(c, &l->fpn[i], lat, batch_stats);
    }
    for (int i = 1; i <= top; i++)
        out[i] = fit(c, out[i], &out[0]);
    sky_tensor y = sky_concat(c, out, l->levels, 3);
    sky_keep(c, m, &y, 1);
    y = sky_nn_convbn_forward(c, &l->fpn_bottleneck, y, batch_stats);
    sky_keep(c, m, &y, 1);
    sky_nn_tap_call(c, tap, y, "uper.fused");
    y = sky_nn_drop_channels(c, &l->drop, y);
    y = sky_conv2d(c, y, l->seg[0], sky_none, l->seg[1], SKY_ACT_NONE);
    sky_keep(c, m, &y, 1);
    return y;
}

/* ------------------------------------------------------------------ auxiliary head */
void sky_nn_fcn_declare(sky_nn_fcn *l, const sky_scope *s, int64_t cin, int64_t ch, int classes, double drop)
{
    sky_scope seg = sky_scope_in(s, "conv_seg"), conv = sky_scope_in(s, "convs.0");
    sky_nn_conv_declare(l->seg, &seg, ch, classes, 1);
    sky_nn_convbn_declare(&l->conv, &conv, cin, ch, 3);
    l->drop = sky_nn_drop_of(s, "dropout", drop);
}

sky_tensor sky_nn_fcn_forward(sky_ctx *c, const sky_nn_fcn *l, sky_tensor x, int batch_stats)
{
    sky_mark m = sky_mark_get(c);
    sky_tensor y = sky_nn_convbn_forward(c, &l->conv, x, batch_stats);
    y = sky_nn_drop_channels(c, &l->drop, y);
    y = sky_conv2d(c, y, l->seg[0], sky_none, l->seg[1], SKY_ACT_NONE);
    sky_keep(c, m, &y, 1);
    return y;
}
