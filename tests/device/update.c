/* Sums and steps of the optimizer. */
#include "device/device_ops.h"

static void column_sum(run *r, const int64_t *s) /* rows, n, add */
{
    sky_tensor x = whole(r, "x", 9, S(s[0], s[1]));
    sky_grad y = grad(r, (int)s[2], 0, S(s[1]));
    CALL(r, column_sum, &y, &x);
}
static void column_dot(run *r, const int64_t *s)
{
    sky_tensor a = whole(r, "a", 9, S(s[0], s[1])), b = whole(r, "b", 9, S(s[0], s[1]));
    sky_grad y = grad(r, (int)s[2], 0, S(s[1]));
    CALL(r, column_dot, &y, &a, &b);
}
static void square_sums(run *r, const int64_t *s) /* sizes of three tensors */
{
    sky_tensor x[3];
    const sky_tensor *p[3] = {x, x + 1, x + 2};
    for (int i = 0; i < 3; i++)
        x[i] = rnd(r, (const char *[]){"a", "b", "c"}[i], 1, 0, S(s[i]));
    sky_tensor y = result(r, SKY_F64, 1e-6, S(3));
    CALL(r, square_sums, &y, p, 3);
}
static void adamw(run *r, const int64_t *s) /* n, copy, step */
{
    sky_adamw o = {1e-3, 0.05, 0.9, 0.999, 1e-8, 0.5, (uint64_t)s[2]};
    sky_tensor w = rnd(r, "w", 1, 0, S(s[0])), g = rnd(r, "g", 1, 0, S(s[0])), m = rnd(r, "m", 0.1f, 0, S(s[0])), v = rnd(r, "v", 0.1f, 0.1f, S(s[0]));
    sky_tensor copy = s[1] ? result(r, SKY_BF16, 4e-3, S(s[0])) : sky_none; /* a rounding of w may go the other way */
    also(r, &w, 3e-7);
    also(r, &m, 3e-7);
    also(r, &v, 3e-7);
    CALL(r, adamw, &w, &g, &m, &v, &copy, &o);
}
static void sgd(run *r, const int64_t *s) /* n, copy, first */
{
    sky_sgd o = {1e-2, 0.05, 0.9, 0.5, (int)s[2]};
    sky_tensor w = rnd(r, "w", 1, 0, S(s[0])), g = rnd(r, "g", 1, 0, S(s[0])), m = rnd(r, "m", 0.1f, 0, S(s[0]));
    sky_tensor copy = s[1] ? result(r, SKY_BF16, 4e-3, S(s[0])) : sky_none;
    also(r, &w, 3e-7);
    also(r, &m, 3e-7);
    CALL(r, sgd, &w, &g, &m, &copy, &o);
}

/* F64 made of random bits: pairs of F32, none of which is not a number. */
static sky_tensor doubles(run *r, const char *name, int64_t rows, int64_t n)
{
    sky_tensor t = rnd(r, name, 1e3f, 0, S(rows, 2 * n));
    t.dtype = SKY_F64;
    t.shape[1] = n;
    return t;
}
static void add_parts(run *r, const int64_t *s) /* n, ranks, parts F64, y F64, carry */
{
    sky_tensor parts = s[2] ? doubles(r, "parts", s[1], s[0]) : rnd(r, "parts", 1e3f, 0, S(s[1], s[0]));
    sky_tensor carry = s[4] ? doubles(r, "carry", 1, s[0]) : sky_none, y = result(r, s[3] ? SKY_F64 : SKY_F32, 0, S(s[0]));
    CALL(r, add_parts, &y, &carry, &parts);
}

const op_case update_cases[] = {
    {"column_sum", column_sum, {700, 33}}, {"column_sum", column_sum, {1, 1}}, {"column_sum", column_sum, {5000, 3}}, {"column_sum add", column_sum, {257, 100, 1}}, {"column_dot", column_dot, {700, 33}}, {"column_dot add", column_dot, {3, 100, 1}},
    {"square_sums", square_sums, {1, 66000, 333}}, {"square_sums", square_sums, {65536, 1, 131073}},
    {"adamw", adamw, {1023, 1, 1}}, {"adamw", adamw, {4096, 0, 100}}, {"adamw", adamw, {4096, 1, 7}}, {"sgd", sgd, {1023, 1, 1}}, {"sgd", sgd, {4096, 1, 0}}, {"sgd", sgd, {512, 0, 0}},
    {"add_parts", add_parts, {1, 2}}, {"add_parts", add_parts, {1023, 3}}, {"add_parts", add_parts, {257, 4, 1, 1}}, {"add_parts", add_parts, {5, 1}},
    {"add_parts carry", add_parts, {300, 3, 0, 1, 1}}, {"add_parts carry", add_parts, {300, 2, 0, 0, 1}}, {"add_parts carry", add_parts, {31, 2, 1, 1, 1}}, {"add_parts to F64", add_parts, {700, 2, 0, 1}},
    {0},
};
