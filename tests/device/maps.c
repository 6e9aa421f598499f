/* Normalisations, resizing, pooling, annotation. Tolerances: sums of n terms of F32 in another order differ by some
 * sqrt(n) roundings of 6e-8, and exponentials by two or three. */
#include "device/device_ops.h"

static void layernorm(run *r, const int64_t *s) /* rows, C, mean, residual */
{
    sky_tensor x = rnd(r, "x", 10, (float)s[2], S(s[0], s[1])), w = rnd(r, "w", 1, 1, S(s[1])), b = rnd(r, "b", 1, 0, S(s[1]));
    sky_tensor res = s[3] ? rnd(r, "r", 2, 0, S(s[0], s[1])) : sky_none, y = result(r, SKY_F32, 2e-6, S(s[0], s[1]));
    CALL(r, layernorm, &y, &x, &w, &b, 1e-5f, &res);
}
static void layernorm_backward(run *r, const int64_t *s) /* rows, C, mean, add, no dx */
{
    sky_tensor x = rnd(r, "x", 10, (float)s[2], S(s[0], s[1])), w = rnd(r, "w", 1, 1, S(s[1])), dy = rnd(r, "dy", 1, 0, S(s[0], s[1]));
    sky_grad none = {0}, dx = s[4] ? none : grad(r, (int)s[3], 5e-6, S(s[0], s[1])), dw = grad(r, (int)s[3], 5e-6, S(s[1])), db = grad(r, (int)s[3], 5e-6, S(s[1]));
    CALL(r, layernorm_backward, &dx, &dw, &db, &dy, &x, &w, 1e-5f);
}
static void l2_normalize(run *r, const int64_t *s)
{
    sky_tensor x = rnd(r, "x", 3, 0, S(s[0], s[1])), y = result(r, SKY_F32, 5e-7, S(s[0], s[1]));
    CALL(r, l2_normalize, &y, &x);
}
static void l2_normalize_backward(run *r, const int64_t *s)
{
    sky_tensor x = rnd(r, "x", 3, 0, S(s[0], s[1])), dy = rnd(r, "dy", 3, 0, S(s[0], s[1]));
    sky_grad dx = grad(r, (int)s[2], 1e-6, S(s[0], s[1]));
    CALL(r, l2_normalize_backward, &dx, &dy, &x);
}
static void softmax(run *r, const int64_t *s) /* rows, C, scale */
{
    sky_tensor x = rnd(r, "x", 3, 0, S(s[0], s[1])), y = result(r, SKY_F32, 5e-6, S(s[0], s[1]));
    CALL(r, softmax, &y, &x, (float)s[2]);
}
static void softmax_backward(run *r, const int64_t *s)
{
    sky_tensor y = rnd(r, "y", 0.1f, 0.1f, S(s[0], s[1])), dy = rnd(r, "dy", 3, 0, S(s[0], s[1]));
    sky_grad dx = grad(r, (int)s[2], 2e-6, S(s[0], s[1]));
    CALL(r, softmax_backward, &dx, &dy, &y, 9);
}

/* ---- batch norm ------------------------------------------------------------------------------------------------------ */

static void batchnorm_fold(run *r, const int64_t *s)
{
    sky_tensor w = rnd(r, "w", 1, 1, S(s[1])), b = rnd(r, "b", 1, 0, S(s[1])), m = rnd(r, "m", 1, 0, S(s[1])), v = rnd(r, "v", 0.5f, 1, S(s[1]));
    sky_tensor y = result(r, SKY_F32, 2e-7, S(2, s[1]));
    CALL(r, batchnorm_fold, &y, &w, &b, &m, &v, 1e-5f);
}
static void channel_sums(run *r, const int64_t *s) /* rows, C, about a mean */
{
    sky_tensor x = whole(r, "x", 100, S(s[0], s[1])), m = s[2] ? whole(r, "m", 10, S(s[1])) : sky_none, y = result(r, SKY_F64, 0, S(s[1]));
    CALL(r, channel_sums, &y, &x, &m);
}
static sky_tensor doubles(run *r, const char *name, int64_t n)
{
    double v[512];
    for (int64_t i = 0; i < n; i++)
        v[i] = 0.37 * (double)(i + 1) * (name[0] % 7 - 2);
    return put(r, SKY_F64, 1, &n, v);
}
static void channel_mean(run *r, const int64_t *s)
{
    sky_tensor x = doubles(r, "x", s[1]), y = result(r, SKY_F32, 0, S(s[1]));
    CALL(r, channel_mean, &y, &x, 7.0);
}
static void batchnorm(run *r, const int64_t *s)
{
    sky_tensor x = rnd(r, "x", 2, 3, S(s[0], s[1])), w = rnd(r, "w", 1, 1, S(s[1])), b = rnd(r, "b", 1, 0, S(s[1]));
    sky_tensor m = rnd(r, "m", 1, 3, S(s[1])), v = rnd(r, "v", 0.5f, 1, S(s[1])), y = result(r, SKY_F32, 5e-7, S(s[0], s[1]));
    CALL(r, batchnorm, &y, &x, &w, &b, &m, &v, 1e-5f, (sky_act)s[2]);
}
static void update_stats(run *r, const int64_t *s)
{
    sky_tensor m = rnd(r, "m", 1, 3, S(s[1])), v = rnd(r, "v", 0.5f, 1, S(s[1])), rm = rnd(r, "rm", 1, 3, S(s[1])), rv = rnd(r, "rv", 0.5f, 1, S(s[1]));
    also(r, &rm, 2e-7);
    also(r, &rv, 2e-7);
    CALL(r, update_stats, &rm, &rv, &m, &v, 0.1f, 9.0);
}
static void batchnorm_sums(run *r, const int64_t *s) /* rows, C, act */
{
    sky_tensor x = rnd(r, "x", 2, 3, S(s[0], s[1])), dy = rnd(r, "dy", 1, 0, S(s[0], s[1])), y = rnd(r, "y", 1, 0, S(s[0], s[1]));
    sky_tensor m = rnd(r, "m", 1, 3, S(s[1])), v = rnd(r, "v", 0.5f, 1, S(s[1])), sums = result(r, SKY_F64, 2e-6, S(2, s[1]));
    CALL(r, batchnorm_sums, &sums, &dy, &y, &x, &m, &v, 1e-5f, (sky_act)s[2]);
}
static void batchnorm_dx(run *r, const int64_t *s) /* rows, C, act, add, stored statistics */
{
    sky_tensor x = rnd(r, "x", 2, 3, S(s[0], s[1])), dy = rnd(r, "dy", 1, 0, S(s[0], s[1])), y = rnd(r, "y", 1, 0, S(s[0], s[1])), w = rnd(r, "w", 1, 1, S(s[1]));
    sky_tensor m = rnd(r, "m", 1, 3, S(s[1])), v = rnd(r, "v", 0.5f, 1, S(s[1])), sums = s[4] ? sky_none : doubles(r, "sums", 2 * s[1]);
    sky_grad dx = grad(r, (int)s[3], 2e-6, S(s[0], s[1]));
    CALL(r, batchnorm_dx, &dx, &dy, &y, &x, &w, &m, &v, &sums, (double)s[0], 1e-5f, (sky_act)s[2]);
}
static void f64_to_grad(run *r, const int64_t *s)
{
    sky_tensor x = doubles(r, "x", 2 * s[1]);
    sky_grad y = grad(r, (int)s[2], 1e-7, S(s[1]));
    CALL(r, f64_to_grad, &y, &x, s[1]);
}

/* ---- maps ------------------------------------------------------------------------------------------------------------ */

static void resize(run *r, const int64_t *s) /* B, H, W, C, h, w, how */
{
    sky_tensor x = rnd(r, "x", 1, 0, S(s[0], s[1], s[2], s[3])), y = result(r, SKY_F32, 5e-7, S(s[0], s[4], s[5], s[3]));
    CALL(r, resize, &y, &x, (sky_interp)s[6]);
}
static void resize_backward(run *r, const int64_t *s) /* and add */
{
    sky_tensor dy = rnd(r, "dy", 1, 0, S(s[0], s[4], s[5], s[3]));
    sky_grad dx = grad(r, (int)s[7], 1e-6, S(s[0], s[1], s[2], s[3]));
    CALL(r, resize_backward, &dx, &dy, (sky_interp)s[6]);
}
static void resize_argmax(run *r, const int64_t *s) /* B, h, w, C, H, W */
{
    sky_tensor x = whole(r, "x", 40, S(s[0], s[1], s[2], s[3])), y = result(r, SKY_U8, 0, S(s[0], s[4], s[5]));
    CALL(r, resize_argmax, &y, &x);
}
static void avg_pool2(run *r, const int64_t *s)
{
    sky_tensor x = whole(r, "x", 1000, S(s[0], s[1], s[2], s[3])), y = result(r, SKY_F32, 0, S(s[0], s[1] / 2, s[2] / 2, s[3]));
    CALL(r, avg_pool2, &y, &x);
}
static void avg_pool2_backward(run *r, const int64_t *s)
{
    sky_tensor dy = whole(r, "x", 1000, S(s[0], s[1] / 2, s[2] / 2, s[3]));
    sky_grad dx = grad(r, (int)s[4], 0, S(s[0], s[1], s[2], s[3]));
    CALL(r, avg_pool2_backward, &dx, &dy);
}
static void adaptive_avg_pool(run *r, const int64_t *s)
{
    sky_tensor x = whole(r, "x", 1000, S(s[0], s[1], s[2], s[3])), y = result(r, SKY_F32, 0, S(s[0], s[4], s[4], s[3]));
    CALL(r, adaptive_avg_pool, &y, &x);
}
static void adaptive_avg_pool_backward(run *r, const int64_t *s)
{
    sky_tensor dy = rnd(r, "x", 1, 0, S(s[0], s[4], s[4], s[3]));
    sky_grad dx = grad(r, (int)s[5], 5e-7, S(s[0], s[1], s[2], s[3]));
    CALL(r, adaptive_avg_pool_backward, &dx, &dy);
}
static void annotation_tokens(run *r, const int64_t *s) /* B, h, w, p, V, C, masked */
{
    int64_t h = s[1], w = s[2], p = s[3];
    sky_tensor labels = bytes(r, "labels", (uint32_t)s[4], S(s[0], h * p, w * p)), table = rnd(r, "table", 1, 0, S(s[4], s[5])), weight = rnd(r, "weight", 2, 0, S(1, p * p));
    sky_tensor mask = s[6] ? bytes(r, "mask", 2, S(s[0], h / 2, w / 2)) : sky_none, instead = s[6] ? rnd(r, "token", 1, 0, S(1, 1, s[5])) : sky_none;
    sky_tensor y = result(r, SKY_F32, 1e-6, S(s[0], h, w, s[5]));
    CALL(r, annotation_tokens, &y, &labels, &table, &weight, &mask, &instead, (int)p);
}
static void annotation_tokens_backward(run *r, const int64_t *s) /* and add */
{
    int64_t h = s[1], w = s[2], p = s[3];
    sky_tensor labels = bytes(r, "labels", (uint32_t)s[4], S(s[0], h * p, w * p)), table = rnd(r, "table", 1, 0, S(s[4], s[5])), weight = rnd(r, "weight", 2, 0, S(1, p * p));
    sky_tensor mask = s[6] ? bytes(r, "mask", 2, S(s[0], h / 2, w / 2)) : sky_none, dy = rnd(r, "dy", 1, 0, S(s[0], h, w, s[5]));
    sky_grad none = {0}, dtable = grad(r, (int)s[7], 2e-6, S(s[4], s[5])), dweight = grad(r, (int)s[7], 5e-6, S(1, p * p));
    sky_grad instead = s[6] ? grad(r, (int)s[7], 2e-6, S(1, 1, s[5])) : none;
    CALL(r, annotation_tokens_backward, &dtable, &dweight, &instead, &dy, &labels, &table, &weight, &mask, (int)p);
}

const op_case map_cases[] = {
    {"layernorm", layernorm, {3, 33, 0, 1}}, {"layernorm", layernorm, {103, 353, 1, 1}}, {"layernorm", layernorm, {7, 352}}, {"layernorm, mean 3000", layernorm, {5, 2048, 3000}}, {"layernorm", layernorm, {1, 1}},
    {"layernorm", layernorm, {19, 704, -3, 1}}, {"layernorm", layernorm, {9, 1408, 1}}, {"layernorm", layernorm, {3, 2816, 5, 1}}, {"layernorm", layernorm, {2, 4, 1, 1}}, {"layernorm", layernorm, {3, 3076, 1}},
    {"layernorm_backward", layernorm_backward, {3, 33, 0}}, {"layernorm_backward", layernorm_backward, {303, 352, 1}}, {"layernorm_backward add", layernorm_backward, {19, 65, -3, 1}},
    {"layernorm_backward, parameters only", layernorm_backward, {19, 65, -3, 0, 1}},
    {"l2_normalize", l2_normalize, {5, 100}}, {"l2_normalize", l2_normalize, {3, 1100}}, {"l2_normalize_backward", l2_normalize_backward, {5, 100}}, {"l2_normalize_backward add", l2_normalize_backward, {3, 1100, 1}},
    {"softmax", softmax, {5, 8192, 9}}, {"softmax", softmax, {7, 1, 1}}, {"softmax", softmax, {3, 17, -2}}, {"softmax, far apart", softmax, {30, 259, 100}},
    {"softmax_backward", softmax_backward, {5, 1030}}, {"softmax_backward add", softmax_backward, {7, 17, 1}},
    {"batchnorm_fold", batchnorm_fold, {1, 77}}, {"channel_sums", channel_sums, {563, 33}}, {"channel_sums about a mean", channel_sums, {257, 65, 1}}, {"channel_mean", channel_mean, {0, 77}},
    {"batchnorm", batchnorm, {33, 65, SKY_ACT_RELU}}, {"batchnorm", batchnorm, {3, 5, SKY_ACT_NONE}}, {"update_stats", update_stats, {0, 77}},
    {"batchnorm_sums", batchnorm_sums, {303, 65, SKY_ACT_RELU}}, {"batchnorm_sums", batchnorm_sums, {33, 5, SKY_ACT_NONE}},
    {"batchnorm_dx", batchnorm_dx, {33, 65, SKY_ACT_RELU}}, {"batchnorm_dx add", batchnorm_dx, {33, 65, SKY_ACT_LEAKY, 1}}, {"batchnorm_dx stored", batchnorm_dx, {33, 65, SKY_ACT_NONE, 0, 1}},
    {"f64_to_grad", f64_to_grad, {0, 77}}, {"f64_to_grad add", f64_to_grad, {0, 77, 1}},
    {"resize", resize, {2, 5, 7, 33, 11, 3, SKY_BILINEAR}}, {"resize", resize, {2, 4, 4, 8, 8, 8, SKY_BILINEAR}}, {"resize corners", resize, {1, 5, 7, 12, 9, 20, SKY_BILINEAR_CORNERS}},
    {"resize corners", resize, {1, 5, 7, 3, 1, 1, SKY_BILINEAR_CORNERS}}, {"resize bicubic", resize, {2, 7, 5, 9, 12, 4, SKY_BICUBIC}}, {"resize bicubic", resize, {1, 1, 2, 4, 5, 5, SKY_BICUBIC}},
    {"resize_backward", resize_backward, {2, 5, 7, 33, 11, 3, SKY_BILINEAR}}, {"resize_backward", resize_backward, {2, 4, 4, 8, 8, 8, SKY_BILINEAR, 1}}, {"resize_backward corners", resize_backward, {1, 5, 7, 12, 9, 20, SKY_BILINEAR_CORNERS}},
    {"resize_backward bicubic", resize_backward, {2, 7, 5, 9, 12, 4, SKY_BICUBIC}}, {"resize_backward", resize_backward, {1, 40, 3, 5, 2, 9, SKY_BILINEAR}},
    {"resize_argmax", resize_argmax, {2, 5, 7, 65, 20, 28}}, {"resize_argmax", resize_argmax, {1, 3, 3, 2, 9, 9}},
    {"avg_pool2", avg_pool2, {2, 7, 9, 13}}, {"avg_pool2_backward", avg_pool2_backward, {2, 7, 9, 13}}, {"avg_pool2_backward add", avg_pool2_backward, {1, 8, 6, 5, 1}},
    {"adaptive_avg_pool 1", adaptive_avg_pool, {2, 7, 9, 13, 1}}, {"adaptive_avg_pool 6", adaptive_avg_pool, {2, 8, 16, 13, 6}}, {"adaptive_avg_pool 6 of 2", adaptive_avg_pool, {1, 2, 4, 5, 6}},
    {"adaptive_avg_pool_backward 3", adaptive_avg_pool_backward, {2, 8, 16, 13, 3}}, {"adaptive_avg_pool_backward 6 add", adaptive_avg_pool_backward, {1, 7, 9, 5, 6, 1}},
    {"annotation_tokens", annotation_tokens, {2, 6, 4, 4, 65, 33}}, {"annotation_tokens masked", annotation_tokens, {2, 6, 4, 2, 9, 20, 1}}, {"annotation_tokens masked", annotation_tokens, {1, 4, 2, 3, 9, 5, 1}},
    {"annotation_tokens_backward", annotation_tokens_backward, {2, 6, 4, 4, 65, 33}}, {"annotation_tokens_backward masked", annotation_tokens_backward, {2, 6, 4, 2, 9, 20, 1, 1}},
    {0},
};
