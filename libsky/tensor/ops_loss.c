/* Losses, each one number: shape rules. */
#include "tensor/front_internal.h"

static sky_tensor new_scalar(sky_ctx *c) { return sky_new(c, SKY_F32, 0, NULL); }

static int are_labels(const sky_tensor *l, const sky_tensor *x)
{
    return is_map(x) && l->data && l->dtype == SKY_U8 && l->ndim == 3 && l->shape[0] == x->shape[0] &&
           l->shape[1] == x->shape[1] && l->shape[2] == x->shape[2];
}

sky_tensor sky_cross_entropy(sky_ctx *c, sky_tensor x, sky_tensor labels, int ignore)
{
    if (c->err.code)
        return sky_none;
    if (!are_labels(&labels, &x))
        return sky_refuse(c, "cross_entropy", "x F32[B,H,W,C], labels U8[B,H,W]", "x", &x, "labels", &labels, NULL);
    sky_tensor y = new_scalar(c);
    return SKY_RUN(c, cross_entropy, y, &x, &labels, ignore);
}

sky_tensor sky_rec_loss(sky_ctx *c, sky_tensor x, sky_tensor labels)
{
    if (c->err.code)
        return sky_none;
    if (!are_labels(&labels, &x))
        return sky_refuse(c, "rec_loss", "x F32[B,H,W,C], labels U8[B,H,W]", "x", &x, "labels", &labels, NULL);
    sky_tensor y = new_scalar(c);
    return SKY_RUN(c, rec_loss, y, &x, &labels);
}

sky_tensor sky_sym_kl(sky_ctx *c, sky_tensor a, sky_tensor b, const uint8_t *flag)
{
    if (c->err.code)
        return sky_none;
    if (!is_act(&a) || a.ndim < 2 || !same_shape(&a, &b))
        return sky_refuse(c, "sym_kl", "a F32[B,..,C], b like a", "a", &a, "b", &b, NULL);
    sky_tensor y = new_scalar(c);
    return SKY_RUN(c, sym_kl, y, &a, &b, flag);
}

sky_tensor sky_masked_mse(sky_ctx *c, sky_tensor a, sky_tensor b, const uint8_t *flag)
{
    if (c->err.code)
        return sky_none;
    if (!is_act(&a) || !same_shape(&a, &b))
        return sky_refuse(c, "masked_mse", "a F32[B,..], b like a", "a", &a, "b", &b, NULL);
    sky_tensor y = new_scalar(c);
    return SKY_RUN(c, masked_mse, y, &a, &b, flag);
}
