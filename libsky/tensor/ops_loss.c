/* Losses, each one number: shape rules. */
#include "tensor/front_internal.h"
#include "tensor/tape_internal.h"

static sky_tensor new_scalar(sky_ctx *c) { return sky_new(c, SKY_F32, 0, NULL); }

static int are_labels(const sky_tensor *l, const sky_tensor *x)
{
    return is_map(x) && l->data && l->dtype == SKY_U8 && l->ndim == 3 && l->shape[0] == x->shape[0] &&
           l->shape[1] == x->shape[1] && l->shape[2] == x->shape[2];
}

static sky_tensor new_sums(sky_ctx *c, int64_t groups) { return sky_new(c, SKY_F64, 1, (int64_t[]){2 * groups}); }

static sky_tensor entropy(sky_ctx *c, const char *op, sky_tensor x, sky_tensor labels, const sky_entropy *form, double factor, double eps)
{
    if (c->err.code)
        return sky_none;
    if (!are_labels(&labels, &x))
        return sky_refuse(c, op, "x F32[B,H,W,C], labels U8[B,H,W]", "x", &x, "labels", &labels, NULL);
    sky_tensor y = new_scalar(c), s = new_sums(c, form->groups);
    s = SKY_RUN(c, entropy_sums, s, &x, &labels, form);
    sky_join(c, &s);
    y = SKY_RUN(c, ratio, y, &s, factor, eps);
    return SKY_RECORD_ARGS(c, y, sky_back_entropy, SKY_INPUTS(x), (&(sky_back_loss){labels, s, *form, factor, eps}));
}

sky_tensor sky_cross_entropy(sky_ctx *c, sky_tensor x, sky_tensor labels, int ignore, int sigmoid, const float *weight)
{
    return entropy(c, "cross_entropy", x, labels, &(sky_entropy){.ignore = ignore, .groups = 1, .sigmoid = sigmoid, .weight = weight}, 1, 0);
}

sky_tensor sky_rec_loss(sky_ctx *c, sky_tensor x, sky_tensor labels)
{
    return entropy(c, "rec_loss", x, labels, &(sky_entropy){.ignore = -1, .groups = 2}, 0.5, 1e-6);
}

sky_tensor sky_sym_kl(sky_ctx *c, sky_tensor a, sky_tensor b, const uint8_t *flag)
{
    if (c->err.code)
        return sky_none;
    if (!is_act(&a) || a.ndim < 2 || !same_shape(&a, &b))
        return sky_refuse(c, "sym_kl", "a F32[B,..,C], b like a", "a", &a, "b", &b, NULL);
    sky_tensor y = new_scalar(c), s = new_sums(c, 1);
    s = SKY_RUN(c, kl_sums, s, &a, &b, flag);
    sky_join(c, &s);
    y = SKY_RUN(c, ratio, y, &s, 1, 0);
    sky_back_loss o = {.sums = s, .factor = 1};
    return sky_record(c, y, sky_back_kl, SKY_INPUTS(a, b), &o, sizeof o, flag, (size_t)a.shape[0]);
}

sky_tensor sky_masked_mse(sky_ctx *c, sky_tensor a, sky_tensor b, const uint8_t *flag)
{
    if (c->err.code)
        return sky_none;
    if (!is_act(&a) || !same_shape(&a, &b))
        return sky_refuse(c, "masked_mse", "a F32[B,..], b like a", "a", &a, "b", &b, NULL);
    sky_tensor y = new_scalar(c), s = new_sums(c, 1);
    s = SKY_RUN(c, mse_sums, s, &a, &b, flag);
    sky_join(c, &s);
    y = SKY_RUN(c, ratio, y, &s, 1, 1e-6);
    sky_back_loss o = {.sums = s, .factor = 1, .eps = 1e-6};
    return sky_record(c, y, sky_back_mse, SKY_INPUTS(a, b), &o, sizeof o, flag, (size_t)a.shape[0]);
}
