/* Gradients of losses; their sums are those of all ranks already. */
#include "tensor/front_internal.h"
#include "tensor/tape_internal.h"

void sky_back_entropy(sky_ctx *c, const sky_node *n)
{
    const sky_back_loss *o = n->args;
    sky_tensor dy = sky_grad_of(c, &n->y);
    sky_grad dx = sky_grad_open(c, &n->in[0]);
    SKY_BACK(c, entropy_backward, &dx, &dy, &n->in[0], &o->labels, &o->form, &o->sums, o->factor, o->eps);
}

void sky_back_kl(sky_ctx *c, const sky_node *n)
{
    const sky_back_loss *o = n->args;
    sky_tensor dy = sky_grad_of(c, &n->y);
    sky_grad da = sky_grad_open(c, &n->in[0]), db = sky_grad_open(c, &n->in[1]);
    SKY_BACK(c, kl_backward, &da, &db, &dy, &n->in[0], &n->in[1], n->extra, &o->sums, o->factor, o->eps);
}

void sky_back_mse(sky_ctx *c, const sky_node *n)
{
    const sky_back_loss *o = n->args;
    sky_tensor dy = sky_grad_of(c, &n->y);
    sky_grad da = sky_grad_open(c, &n->in[0]), db = sky_grad_open(c, &n->in[1]);
    SKY_BACK(c, mse_backward, &da, &db, &dy, &n->in[0], &n->in[1], n->extra, &o->sums, o->factor, o->eps);
}
