/* Gradients of matrix products, convolution and attention. */
#include "tensor/front_internal.h"
#include "tensor/tape_internal.h"

/* dy times the derivative of the activation that ended the operation: in place when nobody needs dy afterwards. */
static sky_tensor before_act(sky_ctx *c, const sky_node *n, int keep)
{
    sky_act act = ((const sky_back_act *)n->args)->act;
    sky_grad dz = {sky_grad_of(c, &n->y), 0};
    if (act == SKY_ACT_NONE)
        return dz.t;
    sky_tensor dy = dz.t;
    if (keep)
        dz.t = sky_new(c, SKY_F32, dy.ndim, dy.shape);
    SKY_BACK(c, activate_backward, &dz, &dy, &n->y, act);
    return dz.t;
}

static void columns(sky_ctx *c, const sky_tensor *b, const sky_tensor *dz)
{
    sky_grad db = sky_grad_open(c, b);
    if (db.t.data)
        SKY_BACK(c, column_sum, &db, dz);
}

void sky_back_linear(sky_ctx *c, const sky_node *n)
{
    const sky_tensor *x = &n->in[0], *w = &n->in[1], *residual = &n->in[3];
    sky_tensor dz = before_act(c, n, residual->data != NULL);
    columns(c, &n->in[2], &dz);
    sky_grad dw = sky_grad_open(c, w), dx = sky_grad_open(c, x);
    if (dw.t.data)
        SKY_BACK(c, product_grad, &dw, &dz, x, w->dtype);
    if (dx.t.data)
        SKY_BACK(c, matmul, &dx.t, &dz, w, dx.add ? &dx.t : &sky_none);
    sky_grad_pass(c, n, residual);
}

void sky_back_matmul(sky_ctx *c, const sky_node *n)
{
    const sky_tensor *x = &n->in[0], *w = &n->in[1];
    sky_tensor dy = sky_grad_of(c, &n->y);
    sky_grad dw = sky_grad_open(c, w), dx = sky_grad_open(c, x);
    if (dw.t.data)
        SKY_BACK(c, product_grad, &dw, x, &dy, w->dtype);
    if (dx.t.data)
        SKY_BACK(c, linear, &dx.t, &dy, w, &sky_none, SKY_ACT_NONE, dx.add ? &dx.t : &sky_none);
}

void sky_back_conv2d(sky_ctx *c, const sky_node *n)
{
    const sky_tensor *x = &n->in[0], *w = &n->in[1], *shift = &n->in[2], *scale = &n->in[3];
    sky_tensor dz = before_act(c, n, 0);
    columns(c, shift, &dz);
    if (scale->data) { /* a constant factor per channel */
        sky_grad scaled = {sky_new(c, SKY_F32, dz.ndim, dz.shape), 0};
        SKY_BACK(c, scale_channels, &scaled, &dz, scale);
        dz = scaled.t;
    }
    sky_grad dw = sky_grad_open(c, w), dx = sky_grad_open(c, x);
    if (dw.t.data)
        SKY_BACK(c, conv2d_dw, &dw, &dz, x, w->dtype);
    if (dx.t.data)
        SKY_BACK(c, conv2d_dx, &dx, &dz, w);
}

void sky_back_attention(sky_ctx *c, const sky_node *n)
{
    const sky_back_attn *o = n->args;
    sky_tensor dy = sky_grad_of(c, &n->y);
    sky_grad dqkv = sky_grad_open(c, &n->in[0]);
    SKY_BACK(c, attention_backward, &dqkv, &dy, &n->y, &o->lse, &n->in[0], o->products);
}

void sky_back_window_attention(sky_ctx *c, const sky_node *n)
{
    const sky_back_win *o = n->args;
    sky_tensor dy = sky_grad_of(c, &n->y);
    sky_grad g[4];
    for (int i = 0; i < 4; i++)
        g[i] = sky_grad_open(c, &n->in[i]);
    SKY_BACK(c, window_attention_backward, &g[0], &g[1], &g[2], &g[3], &dy, &n->in[0], &n->in[1], &n->in[2], &n->in[3], o->win, o->shift, o->products);
}

void sky_back_window_bias(sky_ctx *c, const sky_node *n)
{
    sky_tensor dy = sky_grad_of(c, &n->y);
    sky_grad dt = sky_grad_open(c, &n->in[0]);
    SKY_BACK(c, window_bias_backward, &dt, &dy, &n->y, ((const sky_back_win *)n->args)->win);
}
