/* Normalisations: shape rules. */
#include "tensor/front_internal.h"
#include "tensor/tape_internal.h"

sky_tensor sky_layernorm(sky_ctx *c, sky_tensor x, sky_tensor w, sky_tensor b, float eps, sky_tensor residual)
{
    if (c->err.code)
        return sky_none;
    int64_t n = sky_last(&x);
    if (!is_act(&x) || !is_vec(&w, n) || !is_vec(&b, n) || (residual.data && !same_shape(&residual, &x)))
        return sky_refuse(c, "layernorm", "x F32[..,C], w and b F32[C], residual like x or none",
                          "x", &x, "w", &w, "b", &b, "residual", &residual, NULL);
    sky_tensor y = sky_new(c, SKY_F32, x.ndim, x.shape);
    y = SKY_RUN(c, layernorm, y, &x, &w, &b, eps, &residual);
    return SKY_RECORD_ARGS(c, y, sky_back_layernorm, SKY_INPUTS(x, w, b, residual), &(sky_back_eps){eps});
}

static int is_norm(const sky_tensor *x, const sky_tensor *w, const sky_tensor *b, sky_act act)
{
    return is_act(x) && is_vec(w, sky_last(x)) && is_vec(b, sky_last(x)) && act != SKY_ACT_GELU;
}

/* Mean over all rows of all ranks of x, or of (x - mean)^2. */
static sky_tensor channel_mean(sky_ctx *c, sky_tensor x, sky_tensor mean, double n)
{
    int64_t ch = sky_last(&x);
    sky_tensor y = sky_new(c, SKY_F32, 1, &ch), s = sky_new(c, SKY_F64, 1, &ch);
    s = SKY_RUN(c, channel_sums, s, &x, &mean);
    sky_join(c, &s);
    return SKY_RUN(c, channel_mean, y, &s, n);
}

static sky_tensor normalise(sky_ctx *c, sky_tensor x, sky_tensor w, sky_tensor b, const sky_back_bn *o)
{
    sky_tensor y = sky_new(c, SKY_F32, x.ndim, x.shape);
    y = SKY_RUN(c, batchnorm, y, &x, &w, &b, &o->mean, &o->var, o->eps, o->act);
    return SKY_RECORD_ARGS(c, y, sky_back_batchnorm, SKY_INPUTS(x, w, b), o);
}

sky_tensor sky_batchnorm_train(sky_ctx *c, sky_tensor x, sky_tensor w, sky_tensor b, sky_tensor running_mean, sky_tensor running_var, float momentum, float eps, sky_act act)
{
    if (c->err.code)
        return sky_none;
    int64_t n = sky_last(&x);
    if (!is_norm(&x, &w, &b, act) || !is_vec_or_none(&running_mean, n) || !is_vec_or_none(&running_var, n) || !running_mean.data != !running_var.data)
        return sky_refuse(c, "batchnorm_train", "x F32[..,C], w and b F32[C], running_mean and running_var both F32[C] or both none, no GELU",
                          "x", &x, "w", &w, "b", &b, "running_mean", &running_mean, "running_var", &running_var, NULL);
    double count = (double)sky_rows(&x) * (c->sync ? c->sync->ranks : 1);
    if (count < 2)
        return sky_refuse(c, "batchnorm_train", "at least two values per channel", "x", &x, NULL);
    sky_back_bn o = {.n = count, .eps = eps, .act = act};
    o.mean = channel_mean(c, x, sky_none, count);
    o.var = channel_mean(c, x, o.mean, count);
    if (running_mean.data && !sky_replaying(c))
        running_mean = SKY_RUN(c, update_stats, running_mean, &running_var, &o.mean, &o.var, momentum, count);
    return normalise(c, x, w, b, &o);
}

sky_tensor sky_batchnorm(sky_ctx *c, sky_tensor x, sky_tensor w, sky_tensor b, sky_tensor mean, sky_tensor var, float eps, sky_act act)
{
    if (c->err.code)
        return sky_none;
    int64_t n = sky_last(&x);
    if (!is_norm(&x, &w, &b, act) || !is_vec(&mean, n) || !is_vec(&var, n))
        return sky_refuse(c, "batchnorm", "x F32[..,C], w, b, mean and var F32[C], no GELU", "x", &x, "w", &w, "b", &b, "mean", &mean, "var", &var, NULL);
    return normalise(c, x, w, b, &(sky_back_bn){.mean = mean, .var = var, .eps = eps, .act = act});
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
    y = SKY_RUN(c, l2_normalize, y, &x);
    return SKY_RECORD(c, y, sky_back_l2_normalize, SKY_INPUTS(x));
}

sky_tensor sky_softmax(sky_ctx *c, sky_tensor x, float scale)
{
    if (c->err.code)
        return sky_none;
    if (!is_act(&x))
        return sky_refuse(c, "softmax", "x F32[..,C]", "x", &x, NULL);
    sky_tensor y = sky_new(c, SKY_F32, x.ndim, x.shape);
    y = SKY_RUN(c, softmax, y, &x, scale);
    return SKY_RECORD_ARGS(c, y, sky_back_softmax, SKY_INPUTS(x), &(sky_back_scale){scale});
}
