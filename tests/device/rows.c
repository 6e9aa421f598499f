/* Operations on rows, and copies. Copies and whole numbers must be equal; tolerances are a few roundings of F32 (6e-8). */
#include "device/device_ops.h"

static void add(run *r, const int64_t *s) /* rows, C, 1: b per channel */
{
    sky_tensor a = whole(r, "a", 1000, S(s[0], s[1])), b = s[2] ? whole(r, "b", 1000, S(s[1])) : whole(r, "b", 1000, S(s[0], s[1]));
    sky_tensor y = result(r, SKY_F32, 0, S(s[0], s[1]));
    CALL(r, add, &y, &a, &b);
}
static void add_scaled(run *r, const int64_t *s)
{
    sky_tensor x = whole(r, "x", 1000, S(s[0], s[1])), g = whole(r, "g", 1000, S(s[1])), z = whole(r, "z", 1000, S(s[0], s[1]));
    sky_tensor y = result(r, SKY_F32, 0, S(s[0], s[1]));
    CALL(r, add_scaled, &y, &x, &g, &z);
}
static void scale_channels(run *r, const int64_t *s)
{
    sky_tensor x = whole(r, "x", 1000, S(s[0], s[1])), g = whole(r, "g", 1000, S(s[1]));
    sky_grad y = grad(r, (int)s[2], 0, S(s[0], s[1]));
    CALL(r, scale_channels, &y, &x, &g);
}
static void activate(run *r, const int64_t *s)
{
    sky_tensor x = rnd(r, "x", 7, 0, S(s[0], s[1])), y = result(r, SKY_F32, 2e-7, S(s[0], s[1]));
    CALL(r, activate, &y, &x, (sky_act)s[2]);
}
static void activate_backward(run *r, const int64_t *s)
{
    sky_tensor dy = rnd(r, "dy", 3, 0, S(s[0], s[1])), ref = rnd(r, "x", 7, 0, S(s[0], s[1]));
    sky_grad dx = grad(r, (int)s[3], 5e-7, S(s[0], s[1]));
    CALL(r, activate_backward, &dx, &dy, &ref, (sky_act)s[2]);
}
static void cast(run *r, const int64_t *s)
{
    sky_tensor x = s[2] ? rounded(r, "x", 0.7f, S(s[0], s[1])) : rnd(r, "x", 7, 0, S(s[0], s[1]));
    sky_tensor y = result(r, s[2] ? SKY_F32 : SKY_BF16, 0, S(s[0], s[1]));
    CALL(r, cast, &y, &x);
}
static void normalise(run *r, const int64_t *s) /* rows, C */
{
    sky_tensor bits = bytes(r, "x", 256, S(s[0], 2 * s[1])), y = result(r, SKY_F32, 0, S(s[0], s[1])); /* pairs of bytes are any I16 */
    float mean_std[2 * 16];
    for (int i = 0; i < 2 * s[1]; i++)
        mean_std[i] = 0.2f + 0.07f * (float)i;
    bits.dtype = SKY_I16;
    bits.shape[1] = s[1];
    CALL(r, normalise, &y, &bits, 255.0f, mean_std);
}
static void lookup(run *r, const int64_t *s) /* groups, bytes of each */
{
    sky_tensor x = bytes(r, "x", 256, S(s[0], s[1])), y = result(r, SKY_U8, 0, S(s[0], s[1]));
    uint8_t table[8 * 256];
    for (int i = 0; i < 256 * s[0]; i++)
        table[i] = (uint8_t)(i * 7 + i / 256);
    CALL(r, lookup, &y, &x, s[0], table);
}
static void lerp(run *r, const int64_t *s)
{
    sky_tensor x = rnd(r, "x", 1, 0, S(s[0], s[1])), y = rnd(r, "y", 1, 0, S(s[0], s[1]));
    also(r, &y, 2e-7);
    CALL(r, lerp, &y, &x, 0.125f);
}
static void fill(run *r, const int64_t *s)
{
    sky_tensor y = result(r, SKY_F32, 0, S(s[0], s[1]));
    CALL(r, fill, &y, 0.3f);
}
static void halves_mean(run *r, const int64_t *s)
{
    sky_tensor x = whole(r, "x", 1000, S(s[0], s[1], 2 * s[2], s[3])), y = result(r, SKY_F32, 0, S(s[0], s[1], s[2], s[3]));
    CALL(r, halves_mean, &y, &x);
}
static void halves_mean_backward(run *r, const int64_t *s)
{
    sky_tensor dy = whole(r, "x", 1000, S(s[0], s[1], s[2], s[3]));
    sky_grad dx = grad(r, (int)s[4], 0, S(s[0], s[1], 2 * s[2], s[3]));
    CALL(r, halves_mean_backward, &dx, &dy);
}
static void drop(run *r, const int64_t *s) /* samples, elements each, run, cycle, add */
{
    static const uint64_t sample[] = {7, 1ull << 40, 3, 0x123456789abcdefull, 5};
    sky_drops o = {0xfedcba9876543210ull, 17, 0x60000000u, 2, s[1], s[2], s[3], sample};
    sky_tensor x = whole(r, "x", 1000, S(s[0], s[1]));
    sky_grad y = grad(r, (int)s[4], 0, S(s[0], s[1]));
    CALL(r, drop, &y, &x, &o);
}

/* ---- moves -------------------------------------------------------------------------------------------------------- */

static void concat(run *r, const int64_t *s) /* B, h, C1, C2, U8? */
{
    sky_tensor x[2], y;
    for (int i = 0; i < 2; i++)
        x[i] = s[4] ? bytes(r, i ? "b" : "a", 200, S(s[0], s[1], s[2 + i])) : whole(r, i ? "b" : "a", 1 << 20, S(s[0], s[1], s[2 + i]));
    y = result(r, s[4] ? SKY_U8 : SKY_F32, 0, S(s[0], s[1], s[2] + s[3]));
    CALL(r, concat, &y, x, 2, 2);
}
static void concat_middle(run *r, const int64_t *s)
{
    sky_tensor x[3], y;
    for (int i = 0; i < 3; i++)
        x[i] = whole(r, (const char *[]){"a", "b", "c"}[i], 1 << 20, S(s[0], s[1] + i, s[2]));
    y = result(r, SKY_F32, 0, S(s[0], 3 * s[1] + 3, s[2]));
    CALL(r, concat, &y, x, 3, 1);
}
static void slice(run *r, const int64_t *s) /* B, n, C, from, count */
{
    sky_tensor x = whole(r, "x", 1 << 20, S(s[0], s[1], s[2])), y = result(r, SKY_F32, 0, S(s[0], s[4], s[2]));
    CALL(r, slice, &y, &x, 1, s[3]);
}
static void unslice(run *r, const int64_t *s)
{
    sky_tensor dy = whole(r, "x", 1 << 20, S(s[0], s[4], s[2])), dx = result(r, SKY_F32, 0, S(s[0], s[1], s[2]));
    CALL(r, unslice, &dx, &dy, 1, s[3]);
}
static void take(run *r, const int64_t *s)
{
    static const int64_t index[5] = {2, 0, 2, 1, 2};
    sky_tensor x = s[2] ? bytes(r, "x", 255, S(3, s[1])) : whole(r, "x", 1 << 20, S(3, s[1]));
    sky_tensor y = result(r, x.dtype, 0, S(5, s[1]));
    CALL(r, take, &y, &x, index);
}
static void untake(run *r, const int64_t *s)
{
    static const int64_t index[5] = {2, 0, 2, -1, 2};
    sky_tensor dy = rnd(r, "x", 3, 0, S(5, s[1])), dx = result(r, SKY_F32, 0, S(4, s[1])); /* the order of sums is given */
    CALL(r, untake, &dx, &dy, index);
}
static void pick(run *r, const int64_t *s)
{
    static const int64_t pos[4] = {1, -1, 0, -3};
    sky_tensor a = whole(r, "a", 1 << 20, S(2, s[1])), b = whole(r, "b", 1 << 20, S(3, s[1])), y = result(r, SKY_F32, 0, S(4, s[1]));
    CALL(r, pick, &y, &a, &b, pos);
}
static void repeat(run *r, const int64_t *s)
{
    sky_tensor x = whole(r, "x", 1 << 20, S(s[1])), y = result(r, SKY_F32, 0, S(s[0], s[1]));
    CALL(r, repeat, &y, &x);
}
static void transpose(run *r, const int64_t *s)
{
    static const int perms[4][4] = {{0, 2, 3, 1}, {3, 1, 0, 2}, {1, 0, 2, 3}, {2, 1, 0, 3}};
    const int *p = perms[s[4]];
    sky_tensor x = s[5] ? bytes(r, "x", 255, S(s[0], s[1], s[2], s[3])) : whole(r, "x", 1 << 20, S(s[0], s[1], s[2], s[3]));
    sky_tensor y = result(r, x.dtype, 0, S(s[p[0]], s[p[1]], s[p[2]], s[p[3]]));
    CALL(r, transpose, &y, &x, p);
}
static void halves_stack(run *r, const int64_t *s)
{
    sky_tensor x = whole(r, "x", 1 << 20, S(s[0], s[1], 2 * s[2], s[3])), y = result(r, SKY_F32, 0, S(s[0], s[1], s[2], 2 * s[3]));
    CALL(r, halves_stack, &y, &x);
}
static void halves_unstack(run *r, const int64_t *s)
{
    sky_tensor dy = whole(r, "x", 1 << 20, S(s[0], s[1], s[2], 2 * s[3])), dx = result(r, SKY_F32, 0, S(s[0], s[1], 2 * s[2], s[3]));
    CALL(r, halves_unstack, &dx, &dy);
}
static int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static void unfold(run *r, const int64_t *s)
{
    int64_t p = s[4];
    sky_tensor x = whole(r, "x", 1 << 20, S(s[0], s[1], s[2], s[3])), y = result(r, SKY_F32, 0, S(s[0], up(s[1], p), up(s[2], p), s[3] * p * p));
    CALL(r, unfold, &y, &x, (int)p);
}
static void fold(run *r, const int64_t *s)
{
    int64_t p = s[4];
    sky_tensor dy = whole(r, "x", 1 << 20, S(s[0], up(s[1], p), up(s[2], p), s[3] * p * p)), dx = result(r, SKY_F32, 0, S(s[0], s[1], s[2], s[3]));
    CALL(r, fold, &dx, &dy, (int)p);
}
static void pixel_shuffle(run *r, const int64_t *s)
{
    int64_t q = s[4];
    sky_tensor x = whole(r, "x", 1 << 20, S(s[0], s[1], s[2], s[3] * q * q)), y = result(r, SKY_F32, 0, S(s[0], s[1] * q, s[2] * q, s[3]));
    CALL(r, pixel_shuffle, &y, &x, (int)q);
}
static void pixel_unshuffle(run *r, const int64_t *s)
{
    int64_t q = s[4];
    sky_tensor dy = whole(r, "x", 1 << 20, S(s[0], s[1] * q, s[2] * q, s[3])), dx = result(r, SKY_F32, 0, S(s[0], s[1], s[2], s[3] * q * q));
    CALL(r, pixel_unshuffle, &dx, &dy, (int)q);
}

const op_case row_cases[] = {
    {"add", add, {1, 1}}, {"add", add, {70, 353}}, {"add", add, {33, 64}}, {"add per channel", add, {70, 353, 1}}, {"add per channel", add, {70, 36, 1}},
    {"add_scaled", add_scaled, {70, 353}}, {"add_scaled", add_scaled, {7, 132}}, {"scale_channels", scale_channels, {3, 5}}, {"scale_channels add", scale_channels, {30, 68, 1}},
    {"activate none", activate, {7, 33, SKY_ACT_NONE}}, {"activate relu", activate, {70, 133, SKY_ACT_RELU}},
    {"activate leaky", activate, {70, 132, SKY_ACT_LEAKY}}, {"activate gelu", activate, {70, 132, SKY_ACT_GELU}},
    {"activate_backward relu", activate_backward, {70, 133, SKY_ACT_RELU}}, {"activate_backward leaky", activate_backward, {7, 132, SKY_ACT_LEAKY, 1}},
    {"activate_backward gelu", activate_backward, {70, 132, SKY_ACT_GELU}}, {"activate_backward gelu add", activate_backward, {7, 33, SKY_ACT_GELU, 1}},
    {"cast to bf16", cast, {71, 133}}, {"cast to bf16", cast, {8, 64}}, {"cast from bf16", cast, {71, 133, 1}}, {"normalise", normalise, {701, 3}}, {"normalise", normalise, {1, 1}}, {"normalise", normalise, {33, 16}}, {"lookup", lookup, {3, 701}}, {"lookup", lookup, {8, 1}}, {"lerp", lerp, {30, 33}}, {"fill", fill, {3, 333}},
    {"halves_mean", halves_mean, {2, 7, 5, 33}}, {"halves_mean_backward", halves_mean_backward, {2, 7, 5, 33}}, {"halves_mean_backward add", halves_mean_backward, {2, 3, 5, 8, 1}},
    {"drop", drop, {5, 700, 7, 100}}, {"drop", drop, {1, 1, 1, 1}}, {"drop add", drop, {3, 512, 512, 1, 1}},
    {"concat", concat, {2, 70, 33, 65}}, {"concat", concat, {2, 70, 32, 64}}, {"concat bytes", concat, {2, 7, 3, 5, 1}}, {"concat middle", concat_middle, {3, 5, 37}},
    {"slice", slice, {3, 70, 65, 13, 51}}, {"slice", slice, {1, 3, 1, 2, 1}}, {"unslice", unslice, {3, 70, 65, 13, 51}}, {"unslice", unslice, {1, 3, 1, 2, 1}},
    {"take", take, {0, 1003}}, {"take bytes", take, {0, 1003, 1}}, {"untake", untake, {0, 1003}}, {"pick", pick, {0, 701}}, {"pick", pick, {0, 64}}, {"repeat", repeat, {3, 701}},
    {"transpose", transpose, {2, 35, 30, 7, 0}}, {"transpose", transpose, {3, 5, 7, 20, 1}}, {"transpose rows", transpose, {3, 5, 7, 20, 2}},
    {"transpose rows", transpose, {3, 5, 7, 33, 3}}, {"transpose bytes", transpose, {3, 5, 7, 33, 0, 1}},
    {"halves_stack", halves_stack, {2, 7, 5, 35}}, {"halves_stack", halves_stack, {2, 3, 5, 36}}, {"halves_unstack", halves_unstack, {2, 7, 5, 35}},
    {"unfold 1", unfold, {2, 3, 5, 33, 1}}, {"unfold 2", unfold, {2, 15, 17, 19, 2}}, {"unfold 3", unfold, {1, 5, 4, 7, 3}}, {"unfold 4", unfold, {2, 10, 13, 3, 4}},
    {"fold 1", fold, {2, 3, 5, 33, 1}}, {"fold 2", fold, {2, 15, 17, 19, 2}}, {"fold 4", fold, {2, 10, 13, 3, 4}},
    {"pixel_shuffle 4", pixel_shuffle, {2, 9, 4, 3, 4}}, {"pixel_shuffle 1", pixel_shuffle, {1, 3, 2, 5, 1}}, {"pixel_unshuffle 4", pixel_unshuffle, {2, 9, 4, 3, 4}},
    {0},
};
