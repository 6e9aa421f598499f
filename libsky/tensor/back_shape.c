/* Gradients of operations that only move elements: moved back, into the gradient or beside it and added. */
#include "base/mem.h"
#include "tensor/front_internal.h"
#include "tensor/tape_internal.h"

/* Where a move may write every element, and then the end of it. */
static sky_tensor aside(sky_ctx *c, const sky_grad *g) { return g->add ? sky_new(c, SKY_F32, g->t.ndim, g->t.shape) : g->t; }
static void settle(sky_ctx *c, sky_grad *g, const sky_tensor *moved)
{
    if (g->add)
        SKY_BACK(c, add, &g->t, &g->t, moved);
}
#define MOVE_BACK(c, x, op, ...)                        \
    do {                                                \
        sky_grad g_ = sky_grad_open(c, x);              \
        if (g_.t.data) {                                \
            sky_tensor to_ = aside(c, &g_);             \
            SKY_BACK(c, op, &to_, &dy, __VA_ARGS__);    \
            settle(c, &g_, &to_);                       \
        }                                               \
    } while (0)

void sky_back_concat(sky_ctx *c, const sky_node *n)
{
    int axis = ((const sky_back_axis *)n->args)->axis;
    sky_tensor dy = sky_grad_of(c, &n->y);
    int64_t from = 0;
    for (int i = 0; i < n->nin; i++) {
        MOVE_BACK(c, &n->in[i], slice, axis, from);
        from += n->in[i].shape[axis];
    }
}

void sky_back_slice(sky_ctx *c, const sky_node *n)
{
    const sky_back_axis *o = n->args;
    sky_tensor dy = sky_grad_of(c, &n->y);
    MOVE_BACK(c, &n->in[0], unslice, o->axis, o->from);
}

void sky_back_take(sky_ctx *c, const sky_node *n)
{
    sky_tensor dy = sky_grad_of(c, &n->y);
    MOVE_BACK(c, &n->in[0], untake, (const int64_t *)n->extra);
}

/* Rows that came from the one input, -1 for those of the other. */
static void pick_back(sky_ctx *c, const sky_node *n, const sky_tensor *x, int second)
{
    sky_tensor dy = sky_grad_of(c, &n->y);
    const int64_t *pos = n->extra;
    int64_t rows = dy.shape[0], *index = sky_alloc((size_t)rows * sizeof *index);
    if (!index) {
        sky_ctx_fail(c, SKY_ENOMEM, "out of memory");
        return;
    }
    for (int64_t i = 0; i < rows; i++)
        index[i] = second ? (pos[i] < 0 ? -1 - pos[i] : -1) : (pos[i] >= 0 ? pos[i] : -1);
    MOVE_BACK(c, x, untake, index);
    sky_free(index);
}

void sky_back_pick(sky_ctx *c, const sky_node *n)
{
    for (int i = 0; i < 2; i++)
        if (n->in[i].data && sky_tracked(c, &n->in[i]))
            pick_back(c, n, &n->in[i], i);
}

void sky_back_repeat(sky_ctx *c, const sky_node *n)
{
    sky_tensor dy = sky_grad_of(c, &n->y);
    sky_grad dx = sky_grad_open(c, &n->in[0]);
    SKY_BACK(c, column_sum, &dx, &dy);
}

void sky_back_transpose(sky_ctx *c, const sky_node *n)
{
    const int *perm = ((const sky_back_perm *)n->args)->perm;
    int inverse[SKY_TENSOR_DIMS];
    for (int i = 0; i < n->y.ndim; i++)
        inverse[perm[i]] = i;
    sky_tensor dy = sky_grad_of(c, &n->y);
    MOVE_BACK(c, &n->in[0], transpose, inverse);
}

void sky_back_unfold(sky_ctx *c, const sky_node *n)
{
    sky_tensor dy = sky_grad_of(c, &n->y);
    MOVE_BACK(c, &n->in[0], fold, ((const sky_back_patch *)n->args)->p);
}

void sky_back_pixel_shuffle(sky_ctx *c, const sky_node *n)
{
    sky_tensor dy = sky_grad_of(c, &n->y);
    MOVE_BACK(c, &n->in[0], pixel_unshuffle, ((const sky_back_patch *)n->args)->p);
}

void sky_back_halves_stack(sky_ctx *c, const sky_node *n)
{
    sky_tensor dy = sky_grad_of(c, &n->y);
    sky_grad g = sky_grad_open(c, &n->in[0]);
    sky_tensor to = aside(c, &g);
    SKY_BACK(c, halves_unstack, &to, &dy);
    settle(c, &g, &to);
}
