/* Gradients of normalisations. */
#include "tensor/front_internal.h"
#include "tensor/tape_internal.h"

void sky_back_layernorm(sky_ctx *c, const sky_node *n)
{
    sky_tensor dy = sky_grad_of(c, &n->y);
    sky_grad dw = sky_grad_open(c, &n->in[1]), db = sky_grad_open(c, &n->in[2]), dx = sky_grad_open(c, &n->in[0]);
    SKY_BACK(c, layernorm_backward, &dx, &dw, &db, &dy, &n->in[0], &n->in[1], ((const sky_back_eps *)n->args)->eps);
    sky_grad_pass(c, n, &n->in[3]);
}

/* The gradients of w and b are this rank's share, as all gradients of parameters; x needs the sums over all ranks. */
void sky_back_batchnorm(sky_ctx *c, const sky_node *n)
{
    const sky_back_bn *o = n->args;
    const sky_tensor *x = &n->in[0], *w = &n->in[1];
    sky_tensor dy = sky_grad_of(c, &n->y);
    int64_t ch = sky_last(x);
    sky_tensor s = sky_new(c, SKY_F64, 2, (int64_t[]){2, ch});
    SKY_BACK(c, batchnorm_sums, &s, &dy, &n->y, x, &o->mean, &o->var, o->eps, o->act);
    sky_grad dw = sky_grad_open(c, w), db = sky_grad_open(c, &n->in[2]), dx = sky_grad_open(c, x);
    if (db.t.data)
        SKY_BACK(c, f64_to_grad, &db, &s, 0);
    if (dw.t.data)
        SKY_BACK(c, f64_to_grad, &dw, &s, ch);
    if (o->n > 0)
        sky_join(c, &s);
    if (dx.t.data)
        SKY_BACK(c, batchnorm_dx, &dx, &dy, &n->y, x, w, &o->mean, &o->var, o->n > 0 ? &s : &sky_none, o->n, o->eps, o->act);
}

void sky_back_l2_normalize(sky_ctx *c, const sky_node *n)
{
    sky_tensor dy = sky_grad_of(c, &n->y);
    sky_grad dx = sky_grad_open(c, &n->in[0]);
    SKY_BACK(c, l2_normalize_backward, &dx, &dy, &n->in[0]);
}

void sky_back_softmax(sky_ctx *c, const sky_node *n)
{
    sky_tensor dy = sky_grad_of(c, &n->y);
    sky_grad dx = sky_grad_open(c, &n->in[0]);
    SKY_BACK(c, softmax_backward, &dx, &dy, &n->y, ((const sky_back_scale *)n->args)->scale);
}
