/* Losses and batch norm in steps, and their gradients; see back_case.h. */
#include "back_case.h"

static const sky_backend *const be = &sky_backend_cpu;
#define TRY(call) do { int rc_ = (call); if (rc_) return rc_; } while (0)

/* ---- batch norm: rows, C, activation, mean, 1: stored statistics ------------------------------------------------- */

static void bn_setup(back *b)
{
    int64_t R = b->s[0], C = b->s[1];
    b->in[0] = back_random("x", 10, (float)b->s[3], SHAPE(R, C));
    b->in[1] = back_random("w", 0.7f, 1.2f, SHAPE(C));
    b->in[2] = back_random("b", 1, 0, SHAPE(C));
    b->dy = back_random("dy", 1, 0.1f, SHAPE(R, C));
    b->aux[0] = back_random("mean", 1, (float)b->s[3], SHAPE(C));
    b->aux[1] = back_random("var", 20, 40, SHAPE(C));
    b->aux[2] = back_tensor(SKY_F32, SHAPE(R, C)); /* y */
    b->step[0] = 1e-2;
    if (b->s[4])
        b->in[1].data = b->in[2].data = NULL; /* the parameters of a frozen layer */
}

static const double slopes[] = {1, 0, 0.01};

/* Signs as in the float result, so that no kink lies within a step. */
static double bn_loss(const back *b, double *const *v)
{
    int64_t R = b->s[0], C = b->s[1];
    double L = 0;
    for (int64_t c = 0; c < C; c++) {
        double m = 0, q = 0;
        for (int64_t i = 0; i < R; i++)
            m += v[0][i * C + c] / (double)R;
        for (int64_t i = 0; i < R; i++)
            q += (v[0][i * C + c] - m) * (v[0][i * C + c] - m) / (double)R;
        if (b->s[4])
            m = (double)f32(&b->aux[0])[c], q = (double)f32(&b->aux[1])[c];
        double w = b->s[4] ? 1 : v[1][c], shift = b->s[4] ? 0 : v[2][c];
        for (int64_t i = 0; i < R; i++) {
            double z = (v[0][i * C + c] - m) / sqrt(q + 1e-5) * w + shift;
            L += (double)f32(&b->dy)[i * C + c] * (f32(&b->aux[2])[i * C + c] <= 0 ? slopes[b->s[2]] * z : z);
        }
    }
    return L;
}

static int bn_run(back *b, sky_dev *d, sky_grad *g, sky_err *e)
{
    int64_t R = b->s[0], C = b->s[1];
    sky_act act = (sky_act)b->s[2];
    sky_tensor s = back_tensor(SKY_F64, SHAPE(2, C)), none = sky_none, w = b->in[1], bias = b->in[2];
    sky_tensor mean = back_tensor(SKY_F32, SHAPE(C)), var = back_tensor(SKY_F32, SHAPE(C)), y = b->aux[2];
    if (b->s[4]) {
        mean = b->aux[0], var = b->aux[1];
        w = back_random("", 0, 1, SHAPE(C)), bias = back_random("", 0, 0, SHAPE(C));
    } else {
        TRY(be->channel_sums(d, &s, &b->in[0], &none, e));
        TRY(be->channel_mean(d, &mean, &s, (double)R, e));
        TRY(be->channel_sums(d, &s, &b->in[0], &mean, e));
        TRY(be->channel_mean(d, &var, &s, (double)R, e));
    }
    TRY(be->batchnorm(d, &y, &b->in[0], &w, &bias, &mean, &var, 1e-5f, act, e));
    if (b->s[4])
        return be->batchnorm_dx(d, &g[0], &b->dy, &y, &none, &w, &none, &var, &none, 0, 1e-5f, act, e);
    TRY(be->batchnorm_sums(d, &s, &b->dy, &y, &b->in[0], &mean, &var, 1e-5f, act, e));
    TRY(be->f64_to_grad(d, &g[1], &s, C, e));
    TRY(be->f64_to_grad(d, &g[2], &s, 0, e));
    return be->batchnorm_dx(d, &g[0], &b->dy, act ? &y : &none, &b->in[0], &w, &mean, &var, &s, (double)R, 1e-5f, act, e);
}

/* ---- cross entropy: pixels, C, groups, sigmoid, ignore, weights --------------------------------------------------- */

static const float class_weight[64] = {0.5f, 2, 0, 1.5f};

static sky_entropy entropy_of(const back *b)
{
    return (sky_entropy){.ignore = b->s[4] ? 255 : -1, .groups = (int)b->s[2], .sigmoid = b->s[3] != 0, .weight = b->s[5] ? class_weight : NULL};
}

static void ce_setup(back *b)
{
    b->in[0] = back_random("x", 4, 0, SHAPE(1, b->s[0], 1, b->s[1]));
    b->aux[0] = back_bytes("labels", (uint32_t)b->s[1], SHAPE(1, b->s[0], 1));
    b->dy = back_random("dy", 0, 3, SHAPE(1));
    for (int64_t i = 0; b->s[4] && i < b->s[0]; i += 3)
        ((uint8_t *)b->aux[0].data)[i] = 255;
}

static double ce_pixel(const back *b, const double *x, int label)
{
    const sky_entropy o = entropy_of(b);
    double s = 0;
    for (int64_t c = 0; c < b->s[1] && o.sigmoid; c++)
        s += (o.weight ? (double)o.weight[c] : 1) * log(1 + exp(c == label ? -x[c] : x[c]));
    for (int64_t c = 0; c < b->s[1] && !o.sigmoid; c++)
        s += exp(x[c]);
    return o.sigmoid ? s : (o.weight ? (double)o.weight[label] : 1) * (log(s) - x[label]);
}

static double ce_loss(const back *b, double *const *v)
{
    double sum[2] = {0, 0}, n[2] = {0, 0};
    const uint8_t *l = b->aux[0].data;
    for (int64_t i = 0; i < b->s[0]; i++) {
        int g = b->s[2] == 2 && l[i] == 0;
        n[g] += b->s[3] ? (double)b->s[1] : 1;
        sum[g] += b->s[4] && l[i] == 255 ? 0 : ce_pixel(b, v[0] + i * b->s[1], l[i]);
    }
    return (double)*f32(&b->dy) * 0.7 * (sum[0] / (n[0] + 1e-6) + (b->s[2] == 2 ? sum[1] / (n[1] + 1e-6) : 0));
}

static int ce_run(back *b, sky_dev *d, sky_grad *g, sky_err *e)
{
    sky_entropy o = entropy_of(b);
    sky_tensor s = back_tensor(SKY_F64, SHAPE(2 * o.groups)), y = back_tensor(SKY_F32, 0, NULL);
    TRY(be->entropy_sums(d, &s, &b->in[0], &b->aux[0], &o, e));
    TRY(be->ratio(d, &y, &s, 0.7, 1e-6, e));
    b->value = (double)*f32(&y) * (double)*f32(&b->dy);
    return be->entropy_backward(d, &g[0], &b->dy, &b->in[0], &b->aux[0], &o, &s, 0.7, 1e-6, e);
}

/* ---- pairs: samples, rows of each, C, 1: mean squares -------------------------------------------------------------- */

static const uint8_t flags[5] = {1, 0, 1, 1, 0};

static void pair_setup(back *b)
{
    for (int k = 0; k < 2; k++)
        b->in[k] = back_random(k ? "b" : "a", 2, 0, SHAPE(b->s[0], b->s[1], b->s[2]));
    b->dy = back_random("dy", 0, -2, SHAPE(1));
}

static double log_sum(const double *x, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++)
        s += exp(x[i]);
    return log(s);
}

static double pair_loss(const back *b, double *const *v)
{
    int64_t C = b->s[2], each = b->s[1] * C;
    double sum = 0, n = 0;
    for (int64_t i = 0; i < b->s[0]; i++) {
        n += flags[i];
        for (int64_t r = i * each; flags[i] && r < (i + 1) * each; r += C) {
            double la = log_sum(v[0] + r, C), lb = log_sum(v[1] + r, C);
            for (int64_t c = r; c < r + C; c++) {
                double pa = v[0][c] - la, pb = v[1][c] - lb;
                sum += b->s[3] ? (v[0][c] - v[1][c]) * (v[0][c] - v[1][c]) / (double)each : (exp(pb) - exp(pa)) * (pb - pa);
            }
        }
    }
    return (double)*f32(&b->dy) * 0.3 * sum / ((b->s[3] ? n : (double)b->s[0]) + 1e-6);
}

static int pair_run(back *b, sky_dev *d, sky_grad *g, sky_err *e)
{
    sky_tensor s = back_tensor(SKY_F64, SHAPE(2)), y = back_tensor(SKY_F32, 0, NULL);
    TRY((b->s[3] ? be->mse_sums : be->kl_sums)(d, &s, &b->in[0], &b->in[1], flags, e));
    TRY(be->ratio(d, &y, &s, 0.3, 1e-6, e));
    b->value = (double)*f32(&y) * (double)*f32(&b->dy);
    return (b->s[3] ? be->mse_backward : be->kl_backward)(d, &g[0], &g[1], &b->dy, &b->in[0], &b->in[1], flags, &s, 0.3, 1e-6, e);
}

/* Tolerances: a few roundings of 6e-8; far from zero the mean is a float, so that (x - mean)/sd is off by
 * 3000 * 6e-8 / 5.8 = 3e-5 at most, and the gradient of w by that times the sum of dz: 30 where the largest is 10. */
static const back_case cases[] = {
    {"batchnorm", bn_setup, bn_loss, bn_run, {3, 1, SKY_ACT_NONE, 3}, 2e-6, 0}, {"batchnorm", bn_setup, bn_loss, bn_run, {17, 3, SKY_ACT_RELU, 0}, 2e-6, 0},
    {"batchnorm", bn_setup, bn_loss, bn_run, {700, 33, SKY_ACT_LEAKY, 1}, 2e-6, 0}, {"batchnorm", bn_setup, bn_loss, bn_run, {65, 352, SKY_ACT_RELU, -2}, 2e-6, 0},
    {"batchnorm, mean 3000", bn_setup, bn_loss, bn_run, {301, 33, SKY_ACT_NONE, 3000}, 1e-4, 0},
    {"batchnorm, stored statistics", bn_setup, bn_loss, bn_run, {31, 33, SKY_ACT_LEAKY, 0, 1}, 1e-6, 0},
    {"cross entropy", ce_setup, ce_loss, ce_run, {1, 2, 1}, 2e-6, 0}, {"cross entropy, ignore", ce_setup, ce_loss, ce_run, {2051, 19, 1, 0, 1}, 2e-6, 0},
    {"cross entropy, groups", ce_setup, ce_loss, ce_run, {300, 65, 2}, 2e-6, 0}, {"cross entropy, one class", ce_setup, ce_loss, ce_run, {3, 17, 2}, 2e-6, 0},
    {"cross entropy, weights", ce_setup, ce_loss, ce_run, {150, 33, 1, 0, 1, 1}, 2e-6, 0},
    {"sigmoid entropy", ce_setup, ce_loss, ce_run, {150, 33, 1, 1, 1}, 2e-6, 0}, {"sigmoid entropy", ce_setup, ce_loss, ce_run, {40, 1, 1, 1}, 2e-6, 0},
    {"sigmoid entropy, weights and groups", ce_setup, ce_loss, ce_run, {50, 16, 2, 1, 0, 1}, 2e-6, 0},
    {"kl", pair_setup, pair_loss, pair_run, {5, 7, 33}, 1e-6, 0}, {"kl", pair_setup, pair_loss, pair_run, {1, 1, 3}, 1e-6, 0},
    {"mse", pair_setup, pair_loss, pair_run, {5, 7, 33, 1}, 1e-6, 0}, {"mse", pair_setup, pair_loss, pair_run, {3, 1, 40000, 1}, 1e-6, 0},
};

int main(void) { return back_tests(cases, sizeof cases / sizeof cases[0]); }
