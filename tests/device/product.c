/* Products and convolutions: operands of small whole numbers, exact in BF16 and in every order of sums, must give equal
 * results; random ones must agree to the roundings of sums of K terms. */
#include "device/device_ops.h"

static sky_tensor weight(run *r, int bf16, float scale, int ndim, const int64_t *shape)
{
    return bf16 ? rounded(r, "w", scale, ndim, shape) : scale >= 1 ? whole(r, "w", (int)scale, ndim, shape) : rnd(r, "w", scale, 0, ndim, shape);
}
static sky_tensor input(run *r, int random, int ndim, const int64_t *shape) { return random ? rnd(r, "x", 1, 0, ndim, shape) : whole(r, "x", 3, ndim, shape); }

static void linear(run *r, const int64_t *s) /* M, N, K, bf16, bias, act, residual, random */
{
    sky_tensor x = input(r, (int)s[7], S(s[0], s[2])), w = weight(r, (int)s[3], s[7] ? 0.3f : 3, S(s[1], s[2]));
    sky_tensor b = s[4] ? whole(r, "b", 9, S(s[1])) : sky_none, res = s[6] ? whole(r, "r", 9, S(s[0], s[1])) : sky_none;
    sky_tensor y = result(r, SKY_F32, s[7] ? 2e-6 : s[5] == SKY_ACT_GELU ? 3e-7 : 0, S(s[0], s[1]));
    CALL(r, linear, &y, &x, &w, &b, (sky_act)s[5], &res);
}
/* Operands and results that begin `from` elements into their memory: parts of larger ones. */
static sky_tensor part_of(const sky_tensor *t, int64_t from, int64_t rows, int64_t n)
{
    return (sky_tensor){.data = (char *)t->data + from * (int64_t)sky_dtype_size(t->dtype), .dtype = t->dtype, .ndim = 2, .shape = {rows, n}};
}
static void linear_parts(run *r, const int64_t *s) /* M, N, K, bf16, from */
{
    sky_tensor all_x = whole(r, "x", 3, S(s[0] * s[2] + s[4])), all_w = weight(r, (int)s[3], 3, S(s[1] * s[2] + s[4])), all_y = whole(r, "y", 9, S(s[0] * s[1] + s[4]));
    sky_tensor x = part_of(&all_x, s[4], s[0], s[2]), w = part_of(&all_w, s[4], s[1], s[2]), y = part_of(&all_y, s[4], s[0], s[1]);
    also(r, &all_y, 0);
    CALL(r, linear, &y, &x, &w, &sky_none, SKY_ACT_NONE, &sky_none);
}
static void matmul(run *r, const int64_t *s) /* M, N, K, bf16, residual: 2 the result itself */
{
    sky_tensor x = whole(r, "x", 3, S(s[0], s[2])), w = weight(r, (int)s[3], 3, S(s[2], s[1])), y, res = sky_none;
    if (s[4] == 2) {
        y = res = whole(r, "r", 9, S(s[0], s[1]));
        also(r, &y, 0);
    } else {
        res = s[4] ? whole(r, "r", 9, S(s[0], s[1])) : sky_none;
        y = result(r, SKY_F32, 0, S(s[0], s[1]));
    }
    CALL(r, matmul, &y, &x, &w, &res);
}
static void product_grad(run *r, const int64_t *s) /* rows, N, K, bf16, add */
{
    sky_tensor a = whole(r, "a", 3, S(s[0], s[1])), b = whole(r, "b", 3, S(s[0], s[2]));
    sky_grad dw = grad(r, (int)s[4], 0, S(s[1], s[2]));
    CALL(r, product_grad, &dw, &a, &b, s[3] ? SKY_BF16 : SKY_F32);
}
static void conv2d(run *r, const int64_t *s) /* B, H, W, C, N, k, bf16, scale and shift, act */
{
    sky_tensor x = whole(r, "x", 3, S(s[0], s[1], s[2], s[3])), w = weight(r, (int)s[6], 3, S(s[4], s[3], s[5], s[5]));
    sky_tensor scale = s[7] ? whole(r, "s", 3, S(s[4])) : sky_none, shift = s[7] ? whole(r, "t", 9, S(s[4])) : sky_none;
    sky_tensor y = result(r, SKY_F32, s[8] == SKY_ACT_GELU || s[8] == SKY_ACT_LEAKY ? 3e-7 : 0, S(s[0], s[1], s[2], s[4]));
    CALL(r, conv2d, &y, &x, &w, &scale, &shift, (sky_act)s[8]);
}
static void conv2d_dx(run *r, const int64_t *s) /* B, H, W, C, N, k, bf16, add */
{
    sky_tensor dy = whole(r, "dy", 3, S(s[0], s[1], s[2], s[4])), w = weight(r, (int)s[6], 3, S(s[4], s[3], s[5], s[5]));
    sky_grad dx = grad(r, (int)s[7], 0, S(s[0], s[1], s[2], s[3]));
    CALL(r, conv2d_dx, &dx, &dy, &w);
}
static void conv2d_dw(run *r, const int64_t *s)
{
    sky_tensor dy = whole(r, "dy", 3, S(s[0], s[1], s[2], s[4])), x = whole(r, "x", 3, S(s[0], s[1], s[2], s[3]));
    sky_grad dw = grad(r, (int)s[7], 0, S(s[4], s[3], s[5], s[5]));
    CALL(r, conv2d_dw, &dw, &dy, &x, s[6] ? SKY_BF16 : SKY_F32);
}

const op_case product_cases[] = {
    {"linear f32", linear, {33, 17, 65}}, {"linear f32", linear, {1, 1, 1}}, {"linear f32 bias residual", linear, {70, 36, 44, 0, 1, 0, 1}}, {"linear f32 gelu", linear, {33, 16, 20, 0, 1, SKY_ACT_GELU}},
    {"linear f32 relu residual", linear, {33, 17, 20, 0, 1, SKY_ACT_RELU, 1}}, {"linear bf16", linear, {33, 17, 65, 1}}, {"linear bf16 bias residual", linear, {70, 36, 44, 1, 1, 0, 1}},
    {"linear f32 parts", linear_parts, {33, 20, 64, 0, 1}}, {"linear bf16 parts", linear_parts, {33, 20, 64, 1, 1}}, {"linear bf16 parts", linear_parts, {33, 20, 64, 1, 64}},
    {"linear f32 random", linear, {33, 40, 300, 0, 1, 0, 0, 1}}, {"linear bf16 random", linear, {33, 40, 300, 1, 1, 0, 0, 1}},
    {"matmul f32", matmul, {33, 17, 65}}, {"matmul bf16", matmul, {33, 20, 65, 1}}, {"matmul residual", matmul, {33, 17, 65, 0, 1}}, {"matmul in place", matmul, {33, 17, 65, 0, 2}},
    {"product_grad f32", product_grad, {300, 17, 33}}, {"product_grad f32 add", product_grad, {30, 17, 33, 0, 1}}, {"product_grad bf16", product_grad, {301, 17, 33, 1}},
    {"conv2d 1x1", conv2d, {2, 5, 7, 9, 11, 1}}, {"conv2d 3x3", conv2d, {2, 5, 7, 9, 11, 3, 0, 1, SKY_ACT_RELU}}, {"conv2d 5x5", conv2d, {1, 5, 3, 4, 6, 5, 0, 1, SKY_ACT_LEAKY}},
    {"conv2d 1x1 bf16", conv2d, {2, 5, 7, 9, 11, 1, 1, 1, SKY_ACT_NONE}}, {"conv2d 3x3 bf16", conv2d, {2, 5, 7, 9, 11, 3, 1}}, {"conv2d 5x5 bf16", conv2d, {1, 8, 9, 6, 4, 5, 1, 1, SKY_ACT_GELU}},
    {"conv2d tiles", conv2d, {2, 64, 48, 2, 3, 3}},
    {"conv2d, whole pieces", conv2d, {2, 5, 7, 12, 5, 3}}, {"conv2d bf16, whole pieces", conv2d, {2, 5, 7, 16, 5, 3, 1}}, {"conv2d 5x5 bf16, whole pieces", conv2d, {1, 4, 9, 8, 3, 5, 1, 1, SKY_ACT_RELU}},
    {"conv2d_dx bf16, whole pieces", conv2d_dx, {2, 5, 7, 5, 16, 3, 1}}, {"conv2d_dw bf16, whole pieces", conv2d_dw, {2, 5, 7, 16, 5, 3, 1}},
    {"conv2d_dx 1x1", conv2d_dx, {2, 5, 7, 9, 11, 1}}, {"conv2d_dx 3x3", conv2d_dx, {2, 5, 7, 9, 11, 3, 0, 1}}, {"conv2d_dx 5x5 bf16", conv2d_dx, {1, 5, 3, 4, 6, 5, 1}},
    {"conv2d_dw 1x1", conv2d_dw, {2, 5, 7, 9, 11, 1}}, {"conv2d_dw 3x3", conv2d_dw, {2, 5, 7, 9, 11, 3, 0, 1}}, {"conv2d_dw 5x5 bf16", conv2d_dw, {1, 5, 3, 4, 6, 5, 1}},
    {"conv2d_dw tiles", conv2d_dw, {2, 64, 48, 2, 3, 3, 1}},
    {0},
};
