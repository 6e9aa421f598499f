/* Gradients of resizing, pooling and annotation tokens. */
#include "tensor/front_internal.h"
#include "tensor/tape_internal.h"

void sky_back_resize(sky_ctx *c, const sky_node *n)
{
    sky_tensor dy = sky_grad_of(c, &n->y);
    sky_grad dx = sky_grad_open(c, &n->in[0]);
    SKY_BACK(c, resize_backward, &dx, &dy, ((const sky_back_interp *)n->args)->how);
}

void sky_back_avg_pool2(sky_ctx *c, const sky_node *n)
{
    sky_tensor dy = sky_grad_of(c, &n->y);
    sky_grad dx = sky_grad_open(c, &n->in[0]);
    SKY_BACK(c, avg_pool2_backward, &dx, &dy);
}

void sky_back_adaptive_avg_pool(sky_ctx *c, const sky_node *n)
{
    sky_tensor dy = sky_grad_of(c, &n->y);
    sky_grad dx = sky_grad_open(c, &n->in[0]);
    SKY_BACK(c, adaptive_avg_pool_backward, &dx, &dy);
}

void sky_back_annotation_tokens(sky_ctx *c, const sky_node *n)
{
    const sky_back_tokens *o = n->args;
    sky_tensor dy = sky_grad_of(c, &n->y);
    sky_grad g[3];
    for (int i = 0; i < 3; i++)
        g[i] = sky_grad_open(c, &n->in[i]);
    SKY_BACK(c, annotation_tokens_backward, &g[0], &g[1], &g[2], &dy, &o->labels, &n->in[0], &n->in[1], &o->mask, o->p);
}
