/* product.cu -- matrix products through cuBLASLt (blas.cu): linear, matmul, and the gradient of a weight.
 *
 * Activations are F32. With BF16 operands both are rounded to BF16 in scratch memory first (6 bytes per element of the
 * activation) and summed in F32; weights lie in BF16 already. Bias, and a residual without activation, are cuBLASLt's
 * epilogue; an activation (the model's exact GELU is not among its epilogues) is one more pass over the result, 8 bytes
 * per element, with bias and residual folded in.
 * Bound (computed, not measured): 2MNK over the measured cuBLAS rate of the card, plus those passes. */
#include "common.cuh"

static int product(sky_dev *d, sky_cuda_gemm *g, sky_act act, const float *bias, const float *residual, const char *op, sky_err *e)
{
    if (act == SKY_ACT_NONE) {
        g->bias = bias;
        g->c = residual;
        return sky_cuda_product(d, g, op, e);
    }
    int rc = sky_cuda_product(d, g, op, e);
    return rc ? rc : sky_cuda_finish(d, g->y, g->y, NULL, bias, act, residual, g->m, g->n, op, e);
}

/* The activation as the product's operand: itself, or rounded in scratch. NULL: e says why. */
static const void *operand(sky_dev *d, const sky_tensor *x, int bf16, const char *op, sky_err *e)
{
    if (!bf16)
        return x->data;
    int64_t n = sky_numel(x);
    uint16_t *p = static_cast<uint16_t *>(sky_cuda_scratch(d, static_cast<size_t>(n) * 2, op, e));
    return p && sky_cuda_to_bf16(d, p, f32(x), n, op, e) == SKY_OK ? p : NULL;
}

static int linear(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *b, sky_act act, const sky_tensor *residual, sky_err *e)
{
    int64_t n = w->shape[0], k = w->shape[1];
    int bf16 = w->dtype == SKY_BF16;
    const void *a = operand(d, x, bf16, "linear", e);
    if (!a)
        return e->code;
    sky_cuda_gemm g = {a, w->data, 0, 1, bf16, sky_rows(x), n, k, k, k, n, f32_out(y), NULL, NULL};
    return product(d, &g, act, f32(b), f32(residual), "linear", e);
}

static int matmul(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *residual, sky_err *e)
{
    int64_t k = w->shape[0], n = w->shape[1];
    int bf16 = w->dtype == SKY_BF16;
    const void *a = operand(d, x, bf16, "matmul", e);
    if (!a)
        return e->code;
    sky_cuda_gemm g = {a, w->data, 0, 0, bf16, sky_rows(x), n, k, k, n, n, f32_out(y), NULL, f32(residual)};
    return sky_cuda_product(d, &g, "matmul", e);
}

static int product_grad(sky_dev *d, sky_grad *dw, const sky_tensor *a, const sky_tensor *b, sky_dtype products, sky_err *e)
{
    int64_t n = sky_last(a), k = sky_last(b), rows = sky_rows(a), na = sky_numel(a), nb = sky_numel(b);
    const void *pa = a->data, *pb = b->data;
    if (products == SKY_BF16) {
        int64_t at = (na + 127) / 128 * 128;
        uint16_t *p = static_cast<uint16_t *>(sky_cuda_scratch(d, static_cast<size_t>(at + nb) * 2, "product_grad", e));
        if (!p || sky_cuda_to_bf16(d, p, f32(a), na, "product_grad", e) || sky_cuda_to_bf16(d, p + at, f32(b), nb, "product_grad", e))
            return e->code;
        pa = p;
        pb = p + at;
    }
    float *to = f32_out(&dw->t);
    sky_cuda_gemm g = {pa, pb, 1, 0, products == SKY_BF16, n, k, rows, n, k, k, to, NULL, dw->add ? to : NULL};
    return sky_cuda_product(d, &g, "product_grad", e);
}

void sky_cuda_fill_product(sky_backend *b)
{
    b->linear = linear;
    b->matmul = matmul;
    b->product_grad = product_grad;
}
