/* Element by element: shape rules. */
#include "base/hash.h"
#include "tensor/front_internal.h"
#include "tensor/tape_internal.h"

/* b's shape is a's trailing dimensions. */
static int repeats_over(const sky_tensor *b, const sky_tensor *a)
{
    if (!is_act(b) || b->ndim > a->ndim)
        return 0;
    for (int i = 1; i <= b->ndim; i++)
        if (b->shape[b->ndim - i] != a->shape[a->ndim - i])
            return 0;
    return 1;
}

sky_tensor sky_add(sky_ctx *c, sky_tensor a, sky_tensor b)
{
    if (c->err.code)
        return sky_none;
    if (!is_act(&a) || !repeats_over(&b, &a))
        return sky_refuse(c, "add", "a F32[..], b F32 of a's shape or of its trailing dimensions", "a", &a, "b", &b, NULL);
    sky_tensor y = sky_new(c, SKY_F32, a.ndim, a.shape);
    y = SKY_RUN(c, add, y, &a, &b);
    return SKY_RECORD(c, y, sky_back_add, SKY_INPUTS(a, b));
}

sky_tensor sky_add_scaled(sky_ctx *c, sky_tensor x, sky_tensor g, sky_tensor z)
{
    if (c->err.code)
        return sky_none;
    if (!is_act(&x) || !is_vec(&g, sky_last(&x)) || !same_shape(&x, &z))
        return sky_refuse(c, "add_scaled", "x F32[..,C], g F32[C], z like x", "x", &x, "g", &g, "z", &z, NULL);
    sky_tensor y = sky_new(c, SKY_F32, x.ndim, x.shape);
    y = SKY_RUN(c, add_scaled, y, &x, &g, &z);
    return SKY_RECORD(c, y, sky_back_add_scaled, SKY_INPUTS(x, g, z));
}

sky_tensor sky_activate(sky_ctx *c, sky_tensor x, sky_act act)
{
    if (c->err.code)
        return sky_none;
    if (!is_act(&x))
        return sky_refuse(c, "activate", "x F32[..]", "x", &x, NULL);
    sky_tensor y = sky_new(c, SKY_F32, x.ndim, x.shape);
    y = SKY_RUN(c, activate, y, &x, act);
    return SKY_RECORD_ARGS(c, y, sky_back_activate, SKY_INPUTS(x), &(sky_back_act){act});
}

sky_tensor sky_cast(sky_ctx *c, sky_tensor x, sky_dtype t)
{
    if (c->err.code)
        return sky_none;
    if (!x.data || (x.dtype != SKY_F32 && x.dtype != SKY_BF16) || (t != SKY_F32 && t != SKY_BF16))
        return sky_refuse(c, "cast", "F32 or BF16 to F32 or BF16", "x", &x, NULL);
    sky_tensor y = sky_new(c, t, x.ndim, x.shape);
    y = SKY_RUN(c, cast, y, &x);
    return SKY_RECORD(c, y, sky_back_cast, SKY_INPUTS(x));
}

sky_tensor sky_normalise(sky_ctx *c, sky_tensor x, float divide, const float *mean_std)
{
    if (c->err.code)
        return sky_none;
    if (!x.data || x.dtype != SKY_I16 || x.ndim < 1)
        return sky_refuse(c, "normalise", "x I16[..,C]", "x", &x, NULL);
    sky_tensor y = sky_new(c, SKY_F32, x.ndim, x.shape);
    return SKY_RUN(c, normalise, y, &x, divide, mean_std);
}

sky_tensor sky_lookup(sky_ctx *c, sky_tensor x, int64_t groups, const uint8_t *table)
{
    if (c->err.code)
        return sky_none;
    if (!x.data || x.dtype != SKY_U8 || groups < 1 || sky_numel(&x) % groups)
        return sky_refuse(c, "lookup", "x U8[..] in equal groups", "x", &x, NULL);
    sky_tensor y = sky_new(c, SKY_U8, x.ndim, x.shape);
    return SKY_RUN(c, lookup, y, &x, groups, table);
}

sky_tensor sky_halves_mean(sky_ctx *c, sky_tensor x)
{
    if (c->err.code)
        return sky_none;
    if (!is_map(&x) || x.shape[2] % 2)
        return sky_refuse(c, "halves_mean", "x F32[B,h,2w,C]", "x", &x, NULL);
    sky_tensor y = new_map(c, SKY_F32, x.shape[0], x.shape[1], x.shape[2] / 2, x.shape[3]);
    y = SKY_RUN(c, halves_mean, y, &x);
    return SKY_RECORD(c, y, sky_back_halves_mean, SKY_INPUTS(x));
}

sky_tensor sky_drop(sky_ctx *c, sky_tensor x, float p, uint32_t layer, int64_t run, int64_t cycle)
{
    const sky_draws *d = c->draws;
    if (c->err.code || !d || p <= 0)
        return c->err.code ? sky_none : x;
    if (!is_act(&x) || p >= 1 || run < 1 || cycle < 0 || d->n < 1 || sky_numel(&x) % d->n)
        return sky_refuse(c, "drop", "x F32[..] of whole samples, 0 <= p < 1", "x", &x, NULL);
    /* threshold / 2^32 is p to nine digits; the scale belongs to the threshold, so that the mean is kept */
    uint32_t threshold = (uint32_t)((double)p * 4294967296.0);
    sky_drops o = {.key = sky_mix64(d->seed, d->step), .layer = layer, .threshold = threshold,
                   .scale = (float)(1 / (1 - (double)threshold / 4294967296.0)), .per_sample = sky_numel(&x) / d->n,
                   .run = run, .cycle = cycle, .sample = d->sample};
    if (!cycle) /* as many decisions as there can be */
        o.cycle = o.per_sample / run + 1;
    sky_grad y = {sky_new(c, SKY_F32, x.ndim, x.shape), 0};
    y.t = SKY_RUN_GRAD(c, drop, y, &x, &o);
    return sky_record(c, y.t, sky_back_drop, SKY_INPUTS(x), &o, sizeof o, d->sample, (size_t)d->n * sizeof *d->sample);
}
