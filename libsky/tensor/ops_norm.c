/* Normalisations: shape rules. */
#include "tensor/front_internal.h"

sky_tensor sky_layernorm(sky_ctx *c, sky_tensor x, sky_tensor w, sky_tensor b, float eps, sky_tensor residual)
{
    if (c->err.code)
        return sky_none;
    int64_t n = sky_last(&x);
    if (!is_act(&x) || !is_vec(&w, n) || !is_vec(&b, n) || (residual.data && !same_shape(&residual, &x)))
        return sky_refuse(c, "layernorm", "x F32[..,C], w and b F32[C], residual like x or none",
                          "x", &x, "w", &w, "b", &b, "residual", &residual, NULL);
    sky_tensor y = sky_new(c, SKY_F32, x.ndim, x.shape);
    return SKY_RUN(c, layernorm, y, &x, &w, &b, eps, &residual);
}

sky_tensor sky_batchnorm_train(sky_ctx *c, sky_tensor x, sky_tensor w, sky_tensor b, sky_tensor running_mean, sky_tensor running_var, float momentum, float eps, sky_act act)
{
    if (c->err.code)
        return sky_none;
    int64_t n = sky_last(&x);
    if (!is_act(&x) || !is_vec(&w, n) || !is_vec(&b, n) || !is_vec_or_none(&running_mean, n) ||
        !is_vec_or_none(&running_var, n) || !running_mean.data != !running_var.data)
        return sky_refuse(c, "batchnorm_train", "x F32[..,C], w and b F32[C], running_mean and running_var both F32[C] or both none",
                          "x", &x, "w", &w, "b", &b, "running_mean", &running_mean, "running_var", &running_var, NULL);
    if (sky_rows(&x) < 2)
        return sky_refuse(c, "batchnorm_train", "at least two values per channel", "x", &x, NULL);
    sky_tensor y = sky_new(c, SKY_F32, x.ndim, x.shape);
    return SKY_RUN(c, batchnorm_train, y, &x, &w, &b, &running_mean, &running_var, momentum, eps, act);
}

sky_tensor sky_batchnorm_fold(sky_ctx *c, sky_tensor w, sky_tensor b, sky_tensor mean, sky_tensor var, float eps)
{
    if (c->err.code)
        return sky_none;
    int64_t n = sky_last(&w);
    if (!is_vec(&w, n) || !is_vec(&b, n) || !is_vec(&mean, n) || !is_vec(&var, n))
        return sky_refuse(c, "batchnorm_fold", "w, b, mean and var F32[C]", "w", &w, "b", &b, "mean", &mean, "var", &var, NULL);
    sky_tensor y = sky_new(c, SKY_F32, 2, (int64_t[]){2, n});
    return SKY_RUN(c, batchnorm_fold, y, &w, &b, &mean, &var, eps);
}

sky_tensor sky_l2_normalize(sky_ctx *c, sky_tensor x)
{
    if (c->err.code)
        return sky_none;
    if (!is_act(&x))
        return sky_refuse(c, "l2_normalize", "x F32[..,C]", "x", &x, NULL);
    sky_tensor y = sky_new(c, SKY_F32, x.ndim, x.shape);
    return SKY_RUN(c, l2_normalize, y, &x);
}

sky_tensor sky_softmax(sky_ctx *c, sky_tensor x, float scale)
{
    if (c->err.code)
        return sky_none;
    if (!is_act(&x))
        return sky_refuse(c, "softmax", "x F32[..,C]", "x", &x, NULL);
    sky_tensor y = sky_new(c, SKY_F32, x.ndim, x.shape);
    return SKY_RUN(c, softmax, y, &x, scale);
}
