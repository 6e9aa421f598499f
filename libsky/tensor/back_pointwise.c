/* Gradients of what works element by element. */
#include "tensor/front_internal.h"
#include "tensor/tape_internal.h"

void sky_back_add(sky_ctx *c, const sky_node *n)
{
    sky_tensor dy = sky_grad_of(c, &n->y);
    sky_grad db = sky_grad_open(c, &n->in[1]);
    if (db.t.data) /* of a's shape, or repeated: a sum over one row or many */
        SKY_BACK(c, column_sum, &db, &dy);
    sky_grad_pass(c, n, &n->in[0]);
}

void sky_back_add_scaled(sky_ctx *c, const sky_node *n)
{
    const sky_tensor *g = &n->in[1], *z = &n->in[2];
    sky_tensor dy = sky_grad_of(c, &n->y);
    sky_grad dg = sky_grad_open(c, g), dz = sky_grad_open(c, z);
    if (dg.t.data)
        SKY_BACK(c, column_dot, &dg, &dy, z);
    if (dz.t.data)
        SKY_BACK(c, scale_channels, &dz, &dy, g);
    sky_grad_pass(c, n, &n->in[0]);
}

void sky_back_activate(sky_ctx *c, const sky_node *n)
{
    sky_act act = ((const sky_back_act *)n->args)->act;
    sky_tensor dy = sky_grad_of(c, &n->y);
    sky_grad dx = sky_grad_open(c, &n->in[0]);
    SKY_BACK(c, activate_backward, &dx, &dy, act == SKY_ACT_GELU ? &n->in[0] : &n->y, act);
}

void sky_back_cast(sky_ctx *c, const sky_node *n) { sky_grad_pass(c, n, &n->in[0]); }

void sky_back_drop(sky_ctx *c, const sky_node *n)
{
    sky_drops o = *(const sky_drops *)n->args;
    o.sample = n->extra;
    sky_tensor dy = sky_grad_of(c, &n->y);
    sky_grad dx = sky_grad_open(c, &n->in[0]);
    SKY_BACK(c, drop, &dx, &dy, &o);
}

void sky_back_halves_mean(sky_ctx *c, const sky_node *n)
{
    sky_tensor dy = sky_grad_of(c, &n->y);
    sky_grad dx = sky_grad_open(c, &n->in[0]);
    SKY_BACK(c, halves_mean_backward, &dx, &dy);
}
