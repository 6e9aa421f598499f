/* front_internal.h -- what every operation of the front does around its own shape rules.
 *
 * An operation reads:   if (c->err.code) return sky_none;          an earlier failure sticks
 *                       if (!RULES) return sky_refuse(c, ...);     message names operation, rule and shapes
 *                       sky_tensor y = sky_new(c, ...);            result on the stack
 *                       return SKY_RUN(c, op, y, inputs...);       the one call into the backend */
#ifndef SKY_TENSOR_FRONT_INTERNAL_H
#define SKY_TENSOR_FRONT_INTERNAL_H

#include "tensor/backend.h"

/* Fail with "op: rule: name F32[..], name F32[..]"; after `rule` come pairs (const char *, const sky_tensor *) and NULL. */
sky_tensor sky_refuse(sky_ctx *c, const char *op, const char *rule, ...) __attribute__((sentinel));
/* The end of every operation: y, or sky_none when it failed or the backend does not offer it. */
sky_tensor sky_ran(sky_ctx *c, const char *op, sky_tensor y, int offered);

#define SKY_CAN_RUN(c, op) (!(c)->err.code && !(c)->dry && (c)->be->op)
#define SKY_RUN(c, op, y, ...)                                             \
    (SKY_CAN_RUN(c, op) ? (void)(c)->be->op((c)->dev, &(y), __VA_ARGS__, &(c)->err) : (void)0, \
     sky_ran((c), #op, (y), (c)->be->op != NULL))

/* The same for an entry that takes its result as sky_grad. */
#define SKY_RUN_GRAD(c, op, g, ...)                                        \
    (SKY_CAN_RUN(c, op) ? (void)(c)->be->op((c)->dev, &(g), __VA_ARGS__, &(c)->err) : (void)0, \
     sky_ran((c), #op, (g).t, (c)->be->op != NULL))

/* s summed over the ranks that train together. */
static inline void sky_join(sky_ctx *c, sky_tensor *s)
{
    if (c->sync && !c->dry && !c->err.code)
        c->sync->sum(c->sync->arg, s, &c->err);
}

/* Activations: F32 with at least one dimension. */
static inline int is_act(const sky_tensor *t) { return t->data && t->dtype == SKY_F32 && t->ndim >= 1; }
static inline int is_map(const sky_tensor *t) { return is_act(t) && t->ndim == 4; }
static inline int is_vec(const sky_tensor *t, int64_t n) { return is_act(t) && t->ndim == 1 && t->shape[0] == n; }
static inline int is_vec_or_none(const sky_tensor *t, int64_t n) { return !t->data || is_vec(t, n); }
static inline int is_weight(const sky_tensor *t, int ndim)
{
    return t->data && t->ndim == ndim && (t->dtype == SKY_F32 || t->dtype == SKY_BF16);
}
static inline int same_shape(const sky_tensor *a, const sky_tensor *b)
{
    if (!a->data || !b->data || a->dtype != b->dtype || a->ndim != b->ndim)
        return 0;
    for (int i = 0; i < a->ndim; i++)
        if (a->shape[i] != b->shape[i])
            return 0;
    return 1;
}
/* A result of x's type and shape, with the last dimension n. */
sky_tensor sky_new_last(sky_ctx *c, const sky_tensor *x, int64_t n);
static inline sky_tensor new_map(sky_ctx *c, sky_dtype t, int64_t b, int64_t h, int64_t w, int64_t ch)
{
    return sky_new(c, t, 4, (int64_t[]){b, h, w, ch});
}

#endif
