/* Moving elements without computing: shape rules. Any element type. */
#include "tensor/front_internal.h"
#include "tensor/tape_internal.h"

#include <stdio.h>
#include <string.h>

/* A result like x with dimension `axis` of size n. */
static sky_tensor new_with(sky_ctx *c, const sky_tensor *x, int axis, int64_t n)
{
    int64_t shape[SKY_TENSOR_DIMS];
    memcpy(shape, x->shape, sizeof shape);
    shape[axis] = n;
    return sky_new(c, x->dtype, x->ndim, shape);
}

/* Same type and shape but for `axis`. */
static int joins(const sky_tensor *a, const sky_tensor *b, int axis)
{
    if (!b->data || a->dtype != b->dtype || a->ndim != b->ndim)
        return 0;
    for (int i = 0; i < a->ndim; i++)
        if (i != axis && a->shape[i] != b->shape[i])
            return 0;
    return 1;
}

sky_tensor sky_concat(sky_ctx *c, const sky_tensor *x, int n, int axis)
{
    if (c->err.code)
        return sky_none;
    int at = n > 0 && axis < 0 ? axis + x[0].ndim : axis;
    if (n < 1 || !x[0].data || at < 0 || at >= x[0].ndim) {
        char buf[96];
        sky_ctx_fail(c, SKY_EUSAGE, "concat: %d tensors, the first %s, cannot be joined along dimension %d", n, n > 0 ? sky_shape_str(&x[0], buf) : "missing", axis);
        return sky_none;
    }
    int64_t sum = 0;
    for (int i = 0; i < n; i++) {
        if (!joins(&x[0], &x[i], at)) {
            char rule[64];
            snprintf(rule, sizeof rule, "equal shapes but for dimension %d (tensor %d)", at, i);
            return sky_refuse(c, "concat", rule, "first", &x[0], "this", &x[i], NULL);
        }
        sum += x[i].shape[at];
    }
    sky_tensor y = new_with(c, &x[0], at, sum);
    y = SKY_RUN(c, concat, y, x, n, at);
    return sky_record(c, y, sky_back_concat, x, n, &(sky_back_axis){.axis = at}, sizeof(sky_back_axis), NULL, 0);
}

sky_tensor sky_slice(sky_ctx *c, sky_tensor x, int axis, int64_t from, int64_t n)
{
    if (c->err.code)
        return sky_none;
    int at = axis < 0 ? axis + x.ndim : axis;
    if (!x.data || at < 0 || at >= x.ndim || from < 0 || n < 1 || from > x.shape[at] || n > x.shape[at] - from) {
        char rule[120];
        snprintf(rule, sizeof rule, "at least %lld+%lld along dimension %d", (long long)from, (long long)n, axis);
        return sky_refuse(c, "slice", rule, "x", &x, NULL);
    }
    sky_tensor y = new_with(c, &x, at, n);
    y = SKY_RUN(c, slice, y, &x, at, from);
    return SKY_RECORD_ARGS(c, y, sky_back_slice, SKY_INPUTS(x), (&(sky_back_axis){at, from}));
}

sky_tensor sky_take(sky_ctx *c, sky_tensor x, const int64_t *index, int n)
{
    if (c->err.code)
        return sky_none;
    if (!x.data || x.ndim < 1 || n < 1)
        return sky_refuse(c, "take", "x [N,..] and at least one index", "x", &x, NULL);
    for (int i = 0; i < n; i++)
        if (index[i] < 0 || index[i] >= x.shape[0]) {
            sky_ctx_fail(c, SKY_EUSAGE, "take: index %d is %lld, expected 0 to %lld", i, (long long)index[i], (long long)x.shape[0] - 1);
            return sky_none;
        }
    sky_tensor y = new_with(c, &x, 0, n);
    y = SKY_RUN(c, take, y, &x, index);
    return sky_record(c, y, sky_back_take, SKY_INPUTS(x), NULL, 0, index, (size_t)n * sizeof *index);
}

sky_tensor sky_pick(sky_ctx *c, sky_tensor a, sky_tensor b, const int64_t *pos, int n)
{
    if (c->err.code)
        return sky_none;
    const sky_tensor *any = a.data ? &a : &b; /* one of them may be left out when nothing is taken from it */
    if (!any->data || any->ndim < 1 || (a.data && b.data && !joins(&a, &b, 0)) || n < 1)
        return sky_refuse(c, "pick", "a [N,..], b [M,..] and at least one position", "a", &a, "b", &b, NULL);
    for (int i = 0; i < n; i++) {
        const sky_tensor *t = pos[i] >= 0 ? &a : &b;
        int64_t row = pos[i] >= 0 ? pos[i] : -1 - pos[i], rows = t->data ? t->shape[0] : 0;
        if (row >= rows) {
            sky_ctx_fail(c, SKY_EUSAGE, "pick: position %d asks for row %lld of %s, which has %lld", i, (long long)row, t == &a ? "a" : "b", (long long)rows);
            return sky_none;
        }
    }
    sky_tensor y = new_with(c, any, 0, n);
    y = SKY_RUN(c, pick, y, &a, &b, pos);
    return sky_record(c, y, sky_back_pick, SKY_INPUTS(a, b), NULL, 0, pos, (size_t)n * sizeof *pos);
}

sky_tensor sky_repeat(sky_ctx *c, sky_tensor x, int64_t n)
{
    if (c->err.code)
        return sky_none;
    if (!x.data || x.ndim >= SKY_TENSOR_DIMS || n < 1)
        return sky_refuse(c, "repeat", "a tensor of at most 5 dimensions, once or more", "x", &x, NULL);
    int64_t shape[SKY_TENSOR_DIMS] = {n};
    memcpy(shape + 1, x.shape, (size_t)x.ndim * sizeof *shape);
    sky_tensor y = sky_new(c, x.dtype, x.ndim + 1, shape);
    y = SKY_RUN(c, repeat, y, &x);
    return SKY_RECORD(c, y, sky_back_repeat, SKY_INPUTS(x));
}

sky_tensor sky_transpose(sky_ctx *c, sky_tensor x, const int *perm)
{
    if (c->err.code)
        return sky_none;
    int64_t shape[SKY_TENSOR_DIMS];
    unsigned seen = 0;
    for (int i = 0; i < x.ndim; i++)
        if (perm[i] >= 0 && perm[i] < x.ndim) {
            seen |= 1u << perm[i];
            shape[i] = x.shape[perm[i]];
        }
    if (!x.data || seen != (1u << x.ndim) - 1)
        return sky_refuse(c, "transpose", "a permutation naming every dimension once", "x", &x, NULL);
    sky_tensor y = sky_new(c, x.dtype, x.ndim, shape);
    y = SKY_RUN(c, transpose, y, &x, perm);
    sky_back_perm o;
    memcpy(o.perm, perm, (size_t)x.ndim * sizeof *perm);
    return SKY_RECORD_ARGS(c, y, sky_back_transpose, SKY_INPUTS(x), &o);
}

sky_tensor sky_halves_stack(sky_ctx *c, sky_tensor x)
{
    if (c->err.code)
        return sky_none;
    if (!is_map(&x) || x.shape[2] % 2)
        return sky_refuse(c, "halves_stack", "x F32[B,h,2w,C]", "x", &x, NULL);
    sky_tensor y = new_map(c, SKY_F32, x.shape[0], x.shape[1], x.shape[2] / 2, 2 * x.shape[3]);
    y = SKY_RUN(c, halves_stack, y, &x);
    return SKY_RECORD(c, y, sky_back_halves_stack, SKY_INPUTS(x));
}
