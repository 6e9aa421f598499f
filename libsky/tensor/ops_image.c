/* Maps [B,H,W,C]: patches, resizing, pooling, annotation tokens: shape rules. */
#include "tensor/front_internal.h"
#include "tensor/tape_internal.h"

sky_tensor sky_unfold(sky_ctx *c, sky_tensor x, int p)
{
    if (c->err.code)
        return sky_none;
    if (!is_map(&x) || p < 1)
        return sky_refuse(c, "unfold", "x F32[B,H,W,C] and a patch of at least 1", "x", &x, NULL);
    sky_tensor y = new_map(c, SKY_F32, x.shape[0], (x.shape[1] + p - 1) / p, (x.shape[2] + p - 1) / p, x.shape[3] * p * p);
    y = SKY_RUN(c, unfold, y, &x, p);
    return SKY_RECORD_ARGS(c, y, sky_back_unfold, SKY_INPUTS(x), &(sky_back_patch){p});
}

sky_tensor sky_pixel_shuffle(sky_ctx *c, sky_tensor x, int r)
{
    if (c->err.code)
        return sky_none;
    if (!is_map(&x) || r < 1 || x.shape[3] % ((int64_t)r * r))
        return sky_refuse(c, "pixel_shuffle", "x F32[B,h,w,C*r*r]", "x", &x, NULL);
    sky_tensor y = new_map(c, SKY_F32, x.shape[0], x.shape[1] * r, x.shape[2] * r, x.shape[3] / ((int64_t)r * r));
    y = SKY_RUN(c, pixel_shuffle, y, &x, r);
    return SKY_RECORD_ARGS(c, y, sky_back_pixel_shuffle, SKY_INPUTS(x), &(sky_back_patch){r});
}

sky_tensor sky_resize(sky_ctx *c, sky_tensor x, int64_t h, int64_t w, sky_interp how)
{
    if (c->err.code)
        return sky_none;
    if (!is_map(&x) || h < 1 || w < 1)
        return sky_refuse(c, "resize", "x F32[B,H,W,C] and a size of at least 1x1", "x", &x, NULL);
    sky_tensor y = new_map(c, SKY_F32, x.shape[0], h, w, x.shape[3]);
    y = SKY_RUN(c, resize, y, &x, how);
    return SKY_RECORD_ARGS(c, y, sky_back_resize, SKY_INPUTS(x), &(sky_back_interp){how});
}

sky_tensor sky_avg_pool2(sky_ctx *c, sky_tensor x)
{
    if (c->err.code)
        return sky_none;
    if (!is_map(&x) || x.shape[1] < 2 || x.shape[2] < 2)
        return sky_refuse(c, "avg_pool2", "x F32[B,H,W,C] of at least 2x2", "x", &x, NULL);
    sky_tensor y = new_map(c, SKY_F32, x.shape[0], x.shape[1] / 2, x.shape[2] / 2, x.shape[3]);
    y = SKY_RUN(c, avg_pool2, y, &x);
    return SKY_RECORD(c, y, sky_back_avg_pool2, SKY_INPUTS(x));
}

sky_tensor sky_adaptive_avg_pool(sky_ctx *c, sky_tensor x, int s)
{
    if (c->err.code)
        return sky_none;
    if (!is_map(&x) || s < 1)
        return sky_refuse(c, "adaptive_avg_pool", "x F32[B,H,W,C] and a size of at least 1", "x", &x, NULL);
    sky_tensor y = new_map(c, SKY_F32, x.shape[0], s, s, x.shape[3]);
    y = SKY_RUN(c, adaptive_avg_pool, y, &x);
    return SKY_RECORD(c, y, sky_back_adaptive_avg_pool, SKY_INPUTS(x));
}

sky_tensor sky_resize_argmax(sky_ctx *c, sky_tensor x, int64_t H, int64_t W)
{
    if (c->err.code)
        return sky_none;
    if (!is_map(&x) || x.shape[3] > 256 || H < 1 || W < 1)
        return sky_refuse(c, "resize_argmax", "x F32[B,h,w,C], at most 256 channels, and a size of at least 1x1", "x", &x, NULL);
    sky_tensor y = sky_new(c, SKY_U8, 3, (int64_t[]){x.shape[0], H, W});
    return SKY_RUN(c, resize_argmax, y, &x);
}

/* One cell of the mask covers a whole number of tokens. */
static int mask_fits(const sky_tensor *m, int64_t b, int64_t h, int64_t w)
{
    return m->dtype == SKY_U8 && m->ndim == 3 && m->shape[0] == b && h % m->shape[1] == 0 && w % m->shape[2] == 0;
}

sky_tensor sky_annotation_tokens(sky_ctx *c, sky_tensor labels, sky_tensor table, sky_tensor weight, sky_tensor mask, sky_tensor mask_token, int p)
{
    if (c->err.code)
        return sky_none;
    const int64_t *s = labels.shape;
    int ok = labels.data && labels.dtype == SKY_U8 && labels.ndim == 3 && p >= 1 && p <= 64 && s[1] % p == 0 && s[2] % p == 0 &&
             is_act(&table) && table.ndim == 2 && is_act(&weight) && weight.ndim == 2 && weight.shape[0] == 1 &&
             weight.shape[1] == (int64_t)p * p;
    if (ok && mask.data)
        ok = mask_fits(&mask, s[0], s[1] / p, s[2] / p) && is_act(&mask_token) && mask_token.ndim == 3 &&
             sky_numel(&mask_token) == table.shape[1];
    if (!ok)
        return sky_refuse(c, "annotation_tokens",
                          "labels U8[B,H,W] of whole patches, table F32[V,C], weight F32[1,p*p], mask U8[B,mh,mw] of whole tokens or none, mask_token F32[1,1,C]",
                          "labels", &labels, "table", &table, "weight", &weight, "mask", &mask, "mask_token", &mask_token, NULL);
    sky_tensor y = new_map(c, SKY_F32, s[0], s[1] / p, s[2] / p, table.shape[1]);
    y = SKY_RUN(c, annotation_tokens, y, &labels, &table, &weight, &mask, &mask_token, p);
    return SKY_RECORD_ARGS(c, y, sky_back_annotation_tokens, SKY_INPUTS(table, weight, mask_token), (&(sky_back_tokens){labels, mask, p}));
}
