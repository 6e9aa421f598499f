/* Attention. F32: sums and exponentials in another order. BF16: both sides round q, k, v and the probabilities to BF16
 * (2^-9 each) in their own way, so results agree to about 1 %. */
#include "device/device_ops.h"
#include "base/hash.h"

#include <math.h>
#include <stdlib.h>

static void attention(run *r, const int64_t *s) /* B, L, heads, D, bf16 */
{
    sky_tensor qkv = rnd(r, "qkv", 2, 0, S(s[0], s[1], 3, s[2], s[3])), lse = sky_none, y = result(r, SKY_F32, s[4] ? 1e-2 : 3e-6, S(s[0], s[1], s[2] * s[3]));
    CALL(r, attention, &y, &lse, &qkv, s[4] ? SKY_BF16 : SKY_F32);
}
static void attention_lse(run *r, const int64_t *s)
{
    sky_tensor qkv = rnd(r, "qkv", 2, 0, S(s[0], s[1], 3, s[2], s[3])), y = result(r, SKY_F32, s[4] ? 1e-2 : 3e-6, S(s[0], s[1], s[2] * s[3]));
    sky_tensor lse = result(r, SKY_F32, s[4] ? 5e-3 : 1e-6, S(s[0], s[2], s[1]));
    CALL(r, attention, &y, &lse, &qkv, s[4] ? SKY_BF16 : SKY_F32);
}
/* y and lse are those of the same backend's forward pass. */
static void attention_backward(run *r, const int64_t *s) /* and add */
{
    sky_tensor qkv = rnd(r, "qkv", 1, 0, S(s[0], s[1], 3, s[2], s[3])), dy = rnd(r, "dy", 1, 0, S(s[0], s[1], s[2] * s[3]));
    sky_tensor y = rnd(r, "y", 0.3f, 0, S(s[0], s[1], s[2] * s[3])), lse = rnd(r, "lse", 0.1f, 5, S(s[0], s[2], s[1]));
    sky_grad dqkv = grad(r, (int)s[5], s[4] ? 5e-3 : 1e-6, S(s[0], s[1], 3, s[2], s[3]));
    sky_dtype products = s[4] ? SKY_BF16 : SKY_F32;
    CALL(r, attention, &y, &lse, &qkv, products);
    if (!r->rc)
        CALL(r, attention_backward, &dqkv, &dy, &y, &lse, &qkv, products);
}
/* All scores near -150: keys that do not exist have score 0 and would count for everything. */
static void attention_backward_below(run *r, const int64_t *s)
{
    int64_t n = s[0] * s[1], width = s[2] * s[3], i;
    float size = sqrtf(150.0f / sqrtf((float)s[3])), *p = malloc((size_t)(3 * n * width) * sizeof *p);
    for (i = 0; i < 3 * n * width; i++)
        p[i] = (i / width % 3 == 0 ? size : i / width % 3 == 1 ? -size : 0) + sky_counter_value(1, (uint64_t)i, i / width % 3 == 2 ? 1 : 0.05f, 0);
    sky_tensor qkv = put(r, SKY_F32, S(s[0], s[1], 3, s[2], s[3]), p), dy = rnd(r, "dy", 1, 0, S(s[0], s[1], width));
    sky_tensor y = rnd(r, "y", 0.3f, 0, S(s[0], s[1], width)), lse = rnd(r, "lse", 0.1f, 5, S(s[0], s[2], s[1]));
    sky_grad dqkv = grad(r, 0, 5e-2, S(s[0], s[1], 3, s[2], s[3]));
    free(p);
    CALL(r, attention, &y, &lse, &qkv, SKY_BF16);
    if (!r->rc)
        CALL(r, attention_backward, &dqkv, &dy, &y, &lse, &qkv, SKY_BF16);
}

typedef struct {
    sky_tensor qkv, pad, bias, scale;
} window;
static window window_in(run *r, const int64_t *s) /* B, H, W, heads, D, win, shift, bf16 */
{
    int64_t n = s[5] * s[5];
    return (window){rnd(r, "qkv", 1, 0, S(s[0], s[1], s[2], 3, s[3], s[4])), rnd(r, "pad", 1, 0, S(3 * s[3] * s[4])), rnd(r, "bias", 8, 8, S(s[3], n, n)),
                    s[7] ? rnd(r, "scale", 1, 0.5f, S(s[3])) : rnd(r, "scale", 3, 2.5f, S(s[3]))}; /* a factor of up to 100 would multiply the rounding */
}
static void window_attention(run *r, const int64_t *s)
{
    window w = window_in(r, s);
    sky_tensor y = result(r, SKY_F32, s[7] ? 2e-2 : 3e-5, S(s[0], s[1], s[2], s[3] * s[4])); /* scores of up to 100 */
    CALL(r, window_attention, &y, &w.qkv, &w.pad, &w.bias, &w.scale, (int)s[5], (int)s[6], s[7] ? SKY_BF16 : SKY_F32);
}
static void window_attention_backward(run *r, const int64_t *s) /* and add */
{
    window w = window_in(r, s);
    int64_t n = s[5] * s[5];
    double tol = s[7] ? 5e-2 : 3e-5;
    sky_tensor dy = rnd(r, "dy", 1, 0, S(s[0], s[1], s[2], s[3] * s[4]));
    sky_grad dqkv = grad(r, (int)s[8], tol, S(s[0], s[1], s[2], 3, s[3], s[4])), dpad = grad(r, (int)s[8], tol, S(3 * s[3] * s[4])), dbias = grad(r, (int)s[8], tol, S(s[3], n, n));
    /* Of each row's score gradients, whose sum is zero, times factors of up to 100: what is left is small beside its terms. */
    sky_grad dscale = grad(r, (int)s[8], s[7] ? 5e-2 : 1e-3, S(s[3]));
    CALL(r, window_attention_backward, &dqkv, &dpad, &dbias, &dscale, &dy, &w.qkv, &w.pad, &w.bias, &w.scale, (int)s[5], (int)s[6], s[7] ? SKY_BF16 : SKY_F32);
}
static void window_bias(run *r, const int64_t *s) /* win, heads */
{
    sky_tensor t = rnd(r, "t", 3, 0, S((2 * s[0] - 1) * (2 * s[0] - 1), s[1])), y = result(r, SKY_F32, 1e-7, S(s[1], s[0] * s[0], s[0] * s[0]));
    CALL(r, window_bias, &y, &t, (int)s[0]);
}
static void window_bias_backward(run *r, const int64_t *s) /* and add */
{
    sky_tensor y = rnd(r, "y", 7, 8, S(s[1], s[0] * s[0], s[0] * s[0])), dy = rnd(r, "dy", 1, 0, S(s[1], s[0] * s[0], s[0] * s[0]));
    sky_grad dt = grad(r, (int)s[2], 1e-6, S((2 * s[0] - 1) * (2 * s[0] - 1), s[1]));
    CALL(r, window_bias_backward, &dt, &dy, &y, (int)s[0]);
}

const op_case attention_cases[] = {
    {"attention 16", attention, {2, 70, 3, 16}}, {"attention 32", attention, {1, 33, 2, 32}}, {"attention 64", attention, {1, 65, 2, 64}}, {"attention 8", attention, {2, 19, 3, 8}}, {"attention 100", attention, {1, 19, 2, 100}},
    {"attention 44", attention, {1, 40, 2, 44, 1}}, {"attention 1 token", attention, {3, 1, 2, 12}},
    {"attention short 64", attention, {5, 4, 3, 64}}, {"attention short 16", attention, {3, 7, 5, 16, 1}}, {"attention short 32", attention, {3, 8, 2, 32}}, {"attention short 128", attention, {2, 3, 3, 128}},
    {"attention bf16 16", attention, {2, 150, 3, 16, 1}}, {"attention bf16 32", attention, {1, 65, 2, 32, 1}}, {"attention bf16 64", attention, {1, 129, 2, 64, 1}}, {"attention bf16 64", attention, {1, 9, 1, 64, 1}},
    {"attention lse", attention_lse, {2, 70, 3, 16}}, {"attention lse short", attention_lse, {3, 4, 3, 64}}, {"attention lse bf16", attention_lse, {2, 70, 3, 32, 1}},
    {"attention_backward 16", attention_backward, {2, 70, 3, 16}}, {"attention_backward 32 add", attention_backward, {1, 33, 2, 32, 0, 1}}, {"attention_backward 64", attention_backward, {1, 70, 2, 64}},
    {"attention_backward 12", attention_backward, {1, 33, 2, 12}}, {"attention_backward 72", attention_backward, {1, 20, 2, 72}}, {"attention_backward bf16", attention_backward, {1, 66, 2, 16, 1}},
    {"attention_backward long", attention_backward, {1, 300, 1, 16}}, {"attention_backward bf16 long", attention_backward, {1, 300, 1, 16, 1}}, {"attention_backward short", attention_backward, {5, 4, 2, 64}},
    {"attention_backward bf16 32 add", attention_backward, {2, 70, 2, 32, 1, 1}}, {"attention_backward bf16 64", attention_backward, {1, 150, 2, 64, 1}}, {"attention_backward bf16 9 tokens", attention_backward, {2, 9, 3, 64, 1}},
    {"attention_backward short 16 add", attention_backward, {3, 7, 5, 16, 1, 1}}, {"attention_backward short 32", attention_backward, {3, 8, 3, 32}}, {"attention_backward short 128", attention_backward, {2, 3, 3, 128}},
    {"attention_backward far below zero", attention_backward_below, {1, 70, 1, 16, 1}}, {"attention_backward far below zero", attention_backward_below, {1, 20, 2, 64, 1}},
    {"window_attention", window_attention, {2, 8, 12, 3, 8, 4, 0}}, {"window_attention shift pad", window_attention, {1, 10, 14, 2, 12, 4, 2}}, {"window_attention 44", window_attention, {1, 19, 16, 2, 44, 8, 4}},
    {"window_attention bf16 44", window_attention, {1, 19, 16, 2, 44, 8, 4, 1}}, {"window_attention bf16 16", window_attention, {1, 16, 16, 2, 16, 8, 0, 1}}, {"window_attention bf16 64", window_attention, {1, 9, 23, 1, 64, 8, 4, 1}},
    {"window_attention bf16 30", window_attention, {1, 16, 9, 1, 30, 8, 4, 1}}, {"window_attention bf16 15", window_attention, {1, 16, 9, 1, 15, 8, 4, 1}}, {"window_attention 7", window_attention, {1, 15, 8, 2, 5, 7, 3, 1}},
    {"window_attention_backward", window_attention_backward, {2, 8, 12, 3, 8, 4, 0}}, {"window_attention_backward shift pad", window_attention_backward, {1, 10, 14, 2, 12, 4, 2, 0, 1}},
    {"window_attention_backward 44", window_attention_backward, {1, 11, 16, 1, 44, 8, 4}}, {"window_attention_backward bf16", window_attention_backward, {1, 11, 9, 1, 20, 8, 4, 1}},
    {"window_attention_backward, many windows", window_attention_backward, {2, 16, 40, 1, 5, 3, 0}},
    {"window_bias", window_bias, {4, 3}}, {"window_bias", window_bias, {8, 5}}, {"window_bias_backward", window_bias_backward, {4, 3}}, {"window_bias_backward add", window_bias_backward, {8, 2, 1}},
    {0},
};
