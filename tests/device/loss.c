/* Losses, whole and in steps. Sums are F64 on both sides; logarithms and exponentials of F32 differ by some 1e-7. */
#include "device/device_ops.h"

static const float weights[16] = {1, 0.5f, 2, 3, 0.25f, 1, 1, 1, 4, 1, 0.1f, 1, 1, 1, 1, 2};
static const uint8_t flags[8] = {1, 0, 1, 1, 0, 1, 1, 1};

static sky_tensor labels(run *r, const int64_t *s) { return bytes(r, "labels", (uint32_t)s[3], S(s[0], s[1], s[2])); }
static sky_tensor logits(run *r, const int64_t *s) { return rnd(r, "x", 4, 0, S(s[0], s[1], s[2], s[3])); }

static sky_entropy how(const int64_t *s) { return (sky_entropy){(int)s[4], (int)s[5], (int)s[6], s[7] ? weights : NULL}; }
static void entropy_sums(run *r, const int64_t *s) /* B, H, W, C, ignore, groups, sigmoid, weighted */
{
    sky_entropy o = how(s);
    sky_tensor x = logits(r, s), l = labels(r, s), y = result(r, SKY_F64, 1e-6, S(2 * s[5]));
    CALL(r, entropy_sums, &y, &x, &l, &o);
}
static sky_tensor one(run *r, float v) { return put(r, SKY_F32, 0, NULL, &v); }
static sky_tensor sums(run *r, int64_t groups)
{
    static const double s2[4] = {3.5, 2.5, 40, 17}, s1[2] = {3.5, 57};
    int64_t n = 2 * groups;
    return put(r, SKY_F64, 1, &n, groups == 2 ? s2 : s1);
}
static void ratio(run *r, const int64_t *s)
{
    sky_tensor x = sums(r, s[0]), y = result(r, SKY_F32, 2e-7, 0, NULL);
    CALL(r, ratio, &y, &x, 0.5, 1e-6);
}
static void entropy_backward(run *r, const int64_t *s) /* and add */
{
    sky_entropy o = how(s);
    sky_tensor x = logits(r, s), l = labels(r, s), dy = one(r, 1.7f), t = sums(r, s[5]);
    sky_grad dx = grad(r, (int)s[8], 1e-6, S(s[0], s[1], s[2], s[3]));
    CALL(r, entropy_backward, &dx, &dy, &x, &l, &o, &t, 0.5, 1e-6);
}
static void kl_sums(run *r, const int64_t *s)
{
    sky_tensor a = rnd(r, "a", 2, 0, S(s[0], s[1], s[2])), b = rnd(r, "b", 2, 0, S(s[0], s[1], s[2])), y = result(r, SKY_F64, 1e-9, S(2));
    CALL(r, kl_sums, &y, &a, &b, flags);
}
static void kl_backward(run *r, const int64_t *s) /* and add */
{
    sky_tensor a = rnd(r, "a", 2, 0, S(s[0], s[1], s[2])), b = rnd(r, "b", 2, 0, S(s[0], s[1], s[2])), dy = one(r, 1.7f), t = sums(r, 1);
    sky_grad da = grad(r, (int)s[3], 1e-6, S(s[0], s[1], s[2])), db = grad(r, 0, 1e-6, S(s[0], s[1], s[2]));
    CALL(r, kl_backward, &da, &db, &dy, &a, &b, flags, &t, 0.5, 0);
}
static void mse_sums(run *r, const int64_t *s)
{
    sky_tensor a = rnd(r, "a", 2, 0, S(s[0], s[1], s[2])), b = rnd(r, "b", 2, 0, S(s[0], s[1], s[2])), y = result(r, SKY_F64, 1e-12, S(2));
    CALL(r, mse_sums, &y, &a, &b, flags);
}
static void mse_backward(run *r, const int64_t *s) /* and add, no db */
{
    sky_tensor a = rnd(r, "a", 2, 0, S(s[0], s[1], s[2])), b = rnd(r, "b", 2, 0, S(s[0], s[1], s[2])), dy = one(r, 1.7f), t = sums(r, 1);
    sky_grad none = {0}, da = grad(r, (int)s[3], 5e-7, S(s[0], s[1], s[2])), db = s[4] ? none : grad(r, 0, 5e-7, S(s[0], s[1], s[2]));
    CALL(r, mse_backward, &da, &db, &dy, &a, &b, flags, &t, 0.5, 1e-6);
}

const op_case loss_cases[] = {
    {"entropy_sums", entropy_sums, {2, 7, 9, 65, -1, 1}}, {"entropy_sums groups", entropy_sums, {2, 7, 9, 5, 3, 2}}, {"entropy_sums weighted", entropy_sums, {1, 7, 9, 16, -1, 1, 0, 1}},
    {"entropy_sums sigmoid", entropy_sums, {1, 7, 9, 16, 5, 2, 1, 1}}, {"ratio", ratio, {1}}, {"ratio", ratio, {2}},
    {"entropy_backward", entropy_backward, {2, 7, 9, 65, -1, 1}}, {"entropy_backward groups add", entropy_backward, {2, 7, 9, 5, 3, 2, 0, 0, 1}},
    {"entropy_backward weighted", entropy_backward, {1, 7, 9, 16, 2, 1, 0, 1}}, {"entropy_backward sigmoid", entropy_backward, {1, 7, 9, 16, 5, 2, 1, 1}},
    {"kl_sums", kl_sums, {5, 20, 33}}, {"kl_backward", kl_backward, {3, 7, 65}}, {"kl_backward add", kl_backward, {5, 20, 33, 1}},
    {"mse_sums", mse_sums, {5, 200, 33}}, {"mse_backward", mse_backward, {3, 7, 65}}, {"mse_backward add", mse_backward, {3, 7, 65, 1, 1}},
    {0},
};
