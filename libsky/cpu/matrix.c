/* Matrix products and convolution: tensors to the plain arguments of gemm.h and conv.h. */
#include "cpu/conv.h"
#include "cpu/device_internal.h"
#include "cpu/gemm.h"
#include "cpu/gemm_grad.h"

static int product(sky_dev *d, sky_gemm *g, const char *op, sky_err *e)
{
    return sky_cpu_gemm(d->pool, &d->scratch, g, e) ? sky_wrap(e, "%s", op) : SKY_OK;
}

int sky_cpu_linear(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *b, sky_act act, const sky_tensor *residual, sky_err *e)
{
    int64_t n = w->shape[0], k = w->shape[1];
    sky_gemm g = {.a = x->data, .lda = k, .m = sky_rows(x), .k = k, .n = n, .w = w->data, .w_bf16 = w->dtype == SKY_BF16, .ldw = k,
                  .shift = b->data, .act = act, .residual = residual->data, .ldr = n, .y = y->data, .ldy = n};
    return product(d, &g, "linear", e);
}

int sky_cpu_matmul(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *residual, sky_err *e)
{
    int64_t k = w->shape[0], n = w->shape[1];
    sky_gemm g = {.a = x->data, .lda = k, .m = sky_rows(x), .k = k, .n = n, .w = w->data, .w_bf16 = w->dtype == SKY_BF16,
                  .w_kn = 1, .ldw = n, .act = SKY_ACT_NONE, .residual = residual->data, .ldr = n, .y = y->data, .ldy = n};
    return product(d, &g, "matmul", e);
}

int sky_cpu_conv2d(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *scale, const sky_tensor *shift, sky_act act, sky_err *e)
{
    const int64_t *s = x->shape;
    sky_conv v = {.x = x->data, .b = s[0], .h = s[1], .w = s[2], .c = s[3], .n = w->shape[0], .k = (int)w->shape[2], .wt = w->data,
                  .w_bf16 = w->dtype == SKY_BF16, .scale = scale->data, .shift = shift->data, .act = act, .y = y->data};
    return sky_cpu_conv(d->pool, &d->scratch, &v, e) ? sky_wrap(e, "conv2d") : SKY_OK;
}

int sky_cpu_product_grad_op(sky_dev *d, sky_grad *dw, const sky_tensor *a, const sky_tensor *b, sky_dtype products, sky_err *e)
{
    sky_product_grad g = {.a = a->data, .b = b->data, .rows = sky_rows(a), .n = sky_last(a), .k = sky_last(b),
                          .bf16 = products == SKY_BF16, .add = dw->add, .dw = dw->t.data};
    if (!g.dw)
        return SKY_OK;
    return sky_cpu_product_grad(d->pool, &d->scratch, &g, e) ? sky_wrap(e, "product_grad") : SKY_OK;
}
