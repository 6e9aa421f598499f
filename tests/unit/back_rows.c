/* Gradients of operations on rows and of copies, on awkward shapes; see back_case.h. */
#include "back_case.h"
#include "base/philox.h"

static const sky_backend *const be = &sky_backend_cpu;

/* ---- norms over rows: rows, C, mean, sd --------------------------------------------------------------------------- */

static void norm_setup(back *b)
{
    b->in[0] = back_random("x", (float)b->s[3], (float)b->s[2], SHAPE(b->s[0], b->s[1]));
    b->dy = back_random("dy", 1, 0.2f, SHAPE(b->s[0], b->s[1]));
    b->step[0] = 1e-3 * (double)b->s[3];
}

static void layernorm_setup(back *b)
{
    norm_setup(b);
    b->in[1] = back_random("w", 1, 1, SHAPE(b->s[1]));
    b->in[2] = back_random("b", 1, 0, SHAPE(b->s[1]));
}

static double layernorm_loss(const back *b, double *const *v)
{
    int64_t C = b->s[1];
    double L = 0;
    for (int64_t i = 0; i < b->s[0]; i++) {
        const double *x = v[0] + i * C;
        double m = 0, q = 0;
        for (int64_t c = 0; c < C; c++)
            m += x[c] / (double)C;
        for (int64_t c = 0; c < C; c++)
            q += (x[c] - m) * (x[c] - m) / (double)C;
        for (int64_t c = 0; c < C; c++)
            L += (double)f32(&b->dy)[i * C + c] * ((x[c] - m) / sqrt(q + 1e-5) * v[1][c] + v[2][c]);
    }
    return L;
}

static int layernorm_run(back *b, sky_dev *d, sky_grad *g, sky_err *e)
{
    return be->layernorm_backward(d, &g[0], &g[1], &g[2], &b->dy, &b->in[0], &b->in[1], 1e-5f, e);
}

static double softmax_loss(const back *b, double *const *v)
{
    int64_t C = b->s[1];
    double L = 0;
    for (int64_t i = 0; i < b->s[0]; i++) {
        double sum = 0, dot = 0;
        for (int64_t c = 0; c < C; c++) {
            double p = exp(1.5 * v[0][i * C + c]);
            sum += p;
            dot += p * (double)f32(&b->dy)[i * C + c];
        }
        L += dot / sum;
    }
    return L;
}

static int softmax_run(back *b, sky_dev *d, sky_grad *g, sky_err *e)
{
    sky_tensor y = back_tensor(SKY_F32, SHAPE(b->s[0], b->s[1]));
    int rc = be->softmax(d, &y, &b->in[0], 1.5f, e);
    return rc ? rc : be->softmax_backward(d, &g[0], &b->dy, &y, 1.5f, e);
}

static double l2_loss(const back *b, double *const *v)
{
    int64_t C = b->s[1];
    double L = 0;
    for (int64_t i = 0; i < b->s[0]; i++) {
        double sum = 0, dot = 0;
        for (int64_t c = 0; c < C; c++) {
            sum += v[0][i * C + c] * v[0][i * C + c];
            dot += v[0][i * C + c] * (double)f32(&b->dy)[i * C + c];
        }
        L += dot / sqrt(sum);
    }
    return L;
}

static int l2_run(back *b, sky_dev *d, sky_grad *g, sky_err *e) { return be->l2_normalize_backward(d, &g[0], &b->dy, &b->in[0], e); }

/* ---- element by element: rows, C, activation ---------------------------------------------------------------------- */

static void act_setup(back *b)
{
    b->in[0] = back_random("x", 7, 0, SHAPE(b->s[0], b->s[1]));
    b->dy = back_random("dy", 1, 0.2f, SHAPE(b->s[0], b->s[1]));
    for (int64_t i = 0; i < sky_numel(&b->in[0]); i++) /* no kink within a step */
        if (fabsf(f32(&b->in[0])[i]) < 0.1f)
            f32_out(&b->in[0])[i] = 0.5f;
}

static double act_of(double v, int64_t a)
{
    return a == SKY_ACT_RELU ? fmax(v, 0) : a == SKY_ACT_LEAKY ? (v < 0 ? 0.01 * v : v) : a == SKY_ACT_GELU ? 0.5 * v * (1 + erf(v / sqrt(2))) : v;
}

static double act_loss(const back *b, double *const *v)
{
    double L = 0;
    for (int64_t i = 0; i < sky_numel(&b->in[0]); i++)
        L += (double)f32(&b->dy)[i] * act_of(v[0][i], b->s[2]);
    return L;
}

static int act_run(back *b, sky_dev *d, sky_grad *g, sky_err *e)
{
    sky_act act = (sky_act)b->s[2];
    sky_tensor y = back_tensor(SKY_F32, SHAPE(b->s[0], b->s[1]));
    int rc = be->activate(d, &y, &b->in[0], act, e);
    return rc ? rc : be->activate_backward(d, &g[0], &b->dy, act == SKY_ACT_GELU ? &b->in[0] : &y, act, e);
}

/* x + g*z: rows, C */
static void scaled_setup(back *b)
{
    b->in[0] = back_random("z", 2, 0, SHAPE(b->s[0], b->s[1]));
    b->in[1] = back_random("g", 1, 0, SHAPE(b->s[1]));
    b->in[2] = back_random("shift", 1, 0, SHAPE(b->s[1]));
    b->dy = back_random("dy", 1, 0.2f, SHAPE(b->s[0], b->s[1]));
}
static double scaled_loss(const back *b, double *const *v)
{
    double L = 0;
    for (int64_t i = 0; i < sky_numel(&b->in[0]); i++)
        L += (double)f32(&b->dy)[i] * (v[0][i] * v[1][i % b->s[1]] + v[2][i % b->s[1]]);
    return L;
}
static int scaled_run(back *b, sky_dev *d, sky_grad *g, sky_err *e)
{
    int rc = be->scale_channels(d, &g[0], &b->dy, &b->in[1], e);
    if (!rc)
        rc = be->column_dot(d, &g[1], &b->dy, &b->in[0], e);
    return rc ? rc : be->column_sum(d, &g[2], &b->dy, e);
}

/* samples, numbers of each, run, cycle */
static sky_drops drops_of(const back *b)
{
    static const uint64_t id[3] = {7, 0x123456789abcull, 7};
    return (sky_drops){.key = 0x0123456789abcdefull, .layer = 3, .threshold = 1u << 30, .scale = 4.0f / 3, .per_sample = b->s[1],
                       .run = b->s[2], .cycle = b->s[3], .sample = id};
}
static void drop_setup(back *b)
{
    b->in[0] = back_random("x", 2, 0, SHAPE(b->s[0], b->s[1]));
    b->dy = back_random("dy", 1, 0, SHAPE(b->s[0], b->s[1]));
}
static double drop_loss(const back *b, double *const *v)
{
    const sky_drops o = drops_of(b);
    double L = 0;
    for (int64_t i = 0; i < sky_numel(&b->in[0]); i++) {
        uint64_t n = (uint64_t)(i % o.per_sample / o.run % o.cycle);
        if (sky_philox_word(o.key, o.layer, o.sample[i / o.per_sample], n) >= o.threshold)
            L += (double)o.scale * v[0][i] * (double)f32(&b->dy)[i];
    }
    return L;
}
static int drop_run(back *b, sky_dev *d, sky_grad *g, sky_err *e)
{
    const sky_drops o = drops_of(b);
    return be->drop(d, &g[0], &b->dy, &o, e);
}

/* ---- moves: the loss is a dot product with the forward operation's own result ------------------------------------------- */

static sky_dev *plain; /* what forward moves run on; they have tests of their own */

enum { HALVES_MEAN, STACK, UNFOLD, SHUFFLE, SLICE, TAKE };
static const int64_t rows_taken[5] = {2, 0, -1, 2, 2};

/* which, B, H, W, C, p or from */
static sky_tensor move_result(const back *b, const sky_tensor *x)
{
    const int64_t *s = b->s, p = s[5];
    sky_err e = {0};
    sky_tensor y = sky_none;
    int rc = 0;
    switch (s[0]) {
    case HALVES_MEAN: y = back_tensor(SKY_F32, SHAPE(s[1], s[2], s[3] / 2, s[4])), rc = be->halves_mean(plain, &y, x, &e); break;
    case STACK: y = back_tensor(SKY_F32, SHAPE(s[1], s[2], s[3] / 2, 2 * s[4])), rc = be->halves_stack(plain, &y, x, &e); break;
    case UNFOLD: y = back_tensor(SKY_F32, SHAPE(s[1], (s[2] + p - 1) / p, (s[3] + p - 1) / p, s[4] * p * p)), rc = be->unfold(plain, &y, x, (int)p, &e); break;
    case SHUFFLE: y = back_tensor(SKY_F32, SHAPE(s[1], s[2] * p, s[3] * p, s[4] / (p * p))), rc = be->pixel_shuffle(plain, &y, x, (int)p, &e); break;
    case SLICE: y = back_tensor(SKY_F32, SHAPE(s[1], s[2], 2, s[4])), rc = be->slice(plain, &y, x, 2, p, &e); break;
    case TAKE:
        y = back_tensor(SKY_F32, SHAPE(5, s[2], s[3], s[4]));
        for (int i = 0; i < 5; i++)
            memcpy(f32_out(&y) + i * sky_numel(&y) / 5, f32(x) + (rows_taken[i] < 0 ? 0 : rows_taken[i]) * sky_numel(&y) / 5, (size_t)sky_bytes(&y) / 5);
    }
    return rc ? sky_none : y;
}

static void move_setup(back *b)
{
    b->in[0] = back_random("x", 8, 0, SHAPE(b->s[1], b->s[2], b->s[3], b->s[4]));
    sky_tensor y = move_result(b, &b->in[0]);
    b->dy = back_random("dy", 1, 0, y.ndim, y.shape);
    b->step[0] = 1; /* linear: exact in float with x in whole eighths */
    for (int64_t i = 0; i < sky_numel(&b->in[0]); i++)
        f32_out(&b->in[0])[i] = roundf(f32(&b->in[0])[i] * 8) / 8;
}

/* Where the result differs by v - x only the difference counts: the rest is left out of the sum, and of its roundings. */
static double move_loss(const back *b, double *const *v)
{
    int held_before = nheld;
    sky_tensor x = back_tensor(SKY_F32, b->in[0].ndim, b->in[0].shape);
    for (int64_t i = 0; i < sky_numel(&x); i++)
        f32_out(&x)[i] = (float)(v[0][i] - (double)f32(&b->in[0])[i]);
    sky_tensor y = move_result(b, &x);
    double L = 0;
    int64_t row = sky_numel(&y) / y.shape[0];
    for (int64_t i = 0; i < sky_numel(&y); i++)
        if (b->s[0] != TAKE || rows_taken[i / row] >= 0)
            L += (double)f32(&b->dy)[i] * (double)f32(&y)[i];
    while (nheld > held_before)
        free(held[--nheld]);
    return L;
}

static int move_run(back *b, sky_dev *d, sky_grad *g, sky_err *e)
{
    int p = (int)b->s[5];
    switch (b->s[0]) {
    case HALVES_MEAN: return be->halves_mean_backward(d, &g[0], &b->dy, e);
    case STACK: return be->halves_unstack(d, &g[0].t, &b->dy, e);
    case UNFOLD: return be->fold(d, &g[0].t, &b->dy, p, e);
    case SHUFFLE: return be->pixel_unshuffle(d, &g[0].t, &b->dy, p, e);
    case SLICE: return be->unslice(d, &g[0].t, &b->dy, 2, p, e);
    default: return be->untake(d, &g[0].t, &b->dy, rows_taken, e);
    }
}

/* Tolerances: a few roundings of 6e-8; rows far from zero carry 3000 * 6e-8 / 5.8 = 3e-5 of it in x itself, but x is given:
 * what remains is the rounding of the mean, which the second sum corrects. */
static const back_case cases[] = {
    {"layernorm", layernorm_setup, layernorm_loss, layernorm_run, {1, 3, 0, 1}, 4e-6, 0}, {"layernorm", layernorm_setup, layernorm_loss, layernorm_run, {67, 33, 1, 2}, 2e-6, 0},
    {"layernorm", layernorm_setup, layernorm_loss, layernorm_run, {301, 352, -1, 1}, 2e-6, 0}, {"layernorm", layernorm_setup, layernorm_loss, layernorm_run, {5, 2817, 2, 3}, 2e-6, 0},
    {"layernorm, mean 3000", layernorm_setup, layernorm_loss, layernorm_run, {19, 352, 3000, 10}, 1e-5, 0},
    {"softmax", norm_setup, softmax_loss, softmax_run, {7, 33, 0, 3}, 2e-6, 0}, {"softmax", norm_setup, softmax_loss, softmax_run, {3, 2100, 0, 2}, 2e-6, 0},
    {"l2_normalize", norm_setup, l2_loss, l2_run, {7, 33, 0, 3}, 1e-6, 0}, {"l2_normalize", norm_setup, l2_loss, l2_run, {3, 1300, 1, 1}, 1e-6, 0},
    {"none", act_setup, act_loss, act_run, {3, 33, SKY_ACT_NONE}, 1e-6, 0}, {"relu", act_setup, act_loss, act_run, {70, 33, SKY_ACT_RELU}, 1e-6, 0},
    {"leaky", act_setup, act_loss, act_run, {70, 33, SKY_ACT_LEAKY}, 1e-6, 0}, {"gelu", act_setup, act_loss, act_run, {70, 353, SKY_ACT_GELU}, 1e-6, 0},
    {"gelu", act_setup, act_loss, act_run, {1, 1, SKY_ACT_GELU}, 1e-6, 0},
    {"scale and shift", scaled_setup, scaled_loss, scaled_run, {1, 1}, 1e-6, 0}, {"scale and shift", scaled_setup, scaled_loss, scaled_run, {1031, 33}, 1e-6, 0},
    {"scale and shift, wide", scaled_setup, scaled_loss, scaled_run, {3, 9001}, 1e-6, 0},
    {"drop samples", drop_setup, drop_loss, drop_run, {3, 1000, 1000, 1}, 1e-6, 0}, {"drop channels", drop_setup, drop_loss, drop_run, {2, 7 * 33, 1, 33}, 1e-6, 0},
    {"drop elements", drop_setup, drop_loss, drop_run, {2, 70001, 1, 70001}, 1e-6, 0}, {"drop runs", drop_setup, drop_loss, drop_run, {2, 70001, 7, 1000}, 1e-6, 0},
    {"halves_mean", move_setup, move_loss, move_run, {HALVES_MEAN, 2, 3, 10, 33}, 1e-6, 0}, {"halves_stack", move_setup, move_loss, move_run, {STACK, 2, 3, 10, 33}, 0, 1},
    {"unfold 2", move_setup, move_loss, move_run, {UNFOLD, 2, 5, 7, 33, 2}, 0, 1}, {"unfold 4", move_setup, move_loss, move_run, {UNFOLD, 2, 10, 13, 3, 4}, 0, 1},
    {"unfold 3", move_setup, move_loss, move_run, {UNFOLD, 1, 6, 3, 1, 3}, 0, 1}, {"pixel_shuffle 4", move_setup, move_loss, move_run, {SHUFFLE, 2, 3, 2, 48, 4}, 0, 1},
    {"pixel_shuffle 2", move_setup, move_loss, move_run, {SHUFFLE, 1, 3, 2, 68, 2}, 0, 1},
    {"slice", move_setup, move_loss, move_run, {SLICE, 2, 3, 5, 33, 1}, 0, 1}, {"slice", move_setup, move_loss, move_run, {SLICE, 1, 1, 2, 1, 0}, 0, 1},
    {"take", move_setup, move_loss, move_run, {TAKE, 4, 3, 50, 133}, 2e-7, 1},
};

/* A row without a direction: its length counts as 1e-12. And NaN where it came from. */
static void corners(void)
{
    float x[40] = {0}, dy[40], dx[40];
    sky_err e = {0};
    sky_tensor X = {x, SKY_F32, 2, {2, 20}}, DY = {dy, SKY_F32, 2, {2, 20}};
    sky_grad g = {{dx, SKY_F32, 2, {2, 20}}, 0}, none = {0};
    int ok = 1;
    for (int i = 0; i < 40; i++)
        dy[i] = 1 + (float)i, x[i] = i < 20 ? 0 : 0.1f * (float)i;
    ok &= !be->l2_normalize_backward(plain, &g, &DY, &X, &e);
    for (int i = 0; i < 20; i++)
        ok &= fabs((double)dx[i] * 1e-12 / (double)dy[i] - 1) < 2e-7;
    OK(ok, "l2_normalize of zeros");
    x[3] = NAN;
    ok = !be->activate_backward(plain, &g, &DY, &X, SKY_ACT_GELU, &e);
    for (int i = 0; i < 40; i++)
        ok &= (i == 3) == !!isnan(dx[i]);
    OK(ok, "gelu: NaN stays at its place");
    float w[20], dw[20];
    sky_tensor W = {w, SKY_F32, 1, {20}};
    sky_grad gw = {{dw, SKY_F32, 1, {20}}, 0};
    for (int i = 0; i < 20; i++)
        w[i] = 1;
    ok = !be->layernorm_backward(plain, &g, &gw, &none, &DY, &X, &W, 1e-5f, &e);
    for (int i = 0; i < 40; i++)
        ok &= (i < 20) == !!isnan(dx[i]) && isnan(dw[i % 20]);
    OK(ok, "layernorm: NaN stays in its row and reaches the parameters");
    x[3] = 1;
    dy[25] = INFINITY;
    ok = !be->activate_backward(plain, &g, &DY, &X, SKY_ACT_RELU, &e) && isinf(dx[25]);
    OK(ok, "relu: infinity passes where the result is positive");
}

/* The gradient of an activation may take the place of the one it is made of. */
static void in_place(void)
{
    enum { N = 3001 };
    float dy[N], x[N], apart[N], same[N];
    int ok = 1;
    for (int i = 0; i < N; i++) {
        dy[i] = sky_counter_value(1, (uint64_t)i, 1, 0);
        x[i] = sky_counter_value(2, (uint64_t)i, 4, 0);
    }
    for (int act = SKY_ACT_NONE; act <= SKY_ACT_GELU; act++) {
        sky_err e = {0};
        sky_tensor DY = {dy, SKY_F32, 1, {N}}, X = {x, SKY_F32, 1, {N}}, S = {same, SKY_F32, 1, {N}};
        sky_grad a = {{apart, SKY_F32, 1, {N}}, 0}, b = {S, 0};
        memcpy(same, dy, sizeof same);
        ok &= !be->activate_backward(plain, &a, &DY, &X, (sky_act)act, &e) && !be->activate_backward(plain, &b, &S, &X, (sky_act)act, &e);
        ok &= !memcmp(apart, same, sizeof same);
    }
    OK(ok, "activations in place");
}

/* Results of 16 MiB and more are written past the caches: the same bits as in parts that are not, and nothing beside. */
static void far(void)
{
    enum { ROWS = 4100, C = 1024, PART = 1000 };
    float *x = aligned_alloc(64, ROWS * C * 4), *y = aligned_alloc(64, ROWS * C * 4 + 64), *z = malloc(ROWS * C * 4), mean[C] = {0}, var[C];
    double sums[2 * C] = {1, 2, 3};
    sky_tensor none = sky_none, m = {mean, SKY_F32, 1, {C}}, v = {var, SKY_F32, 1, {C}}, s = {sums, SKY_F64, 2, {2, C}};
    static const char *const names[] = {"layernorm", "gelu", "leaky", "scale_channels", "batchnorm_dx"};
    if (!x || !y || !z)
        exit(1);
    for (int64_t i = 0; i < ROWS * C; i++)
        x[i] = sky_counter_value(5, (uint64_t)i, 3, 0);
    for (int i = 0; i < C; i++)
        var[i] = 1 + (float)i;
    for (int op = 0; op < 5; op++) {
        int ok = 1;
        for (int64_t from = 0, n; from <= ROWS; from += n) { /* at last the whole */
            int whole = from == ROWS;
            n = whole ? ROWS : ROWS - from < PART ? ROWS - from : PART;
            int64_t at = whole ? 0 : from * C;
            sky_tensor t = {x + at, SKY_F32, 2, {n, C}};
            sky_grad g = {{(whole ? y : z) + at, SKY_F32, 2, {n, C}}, 0}, no = {.add = 0};
            sky_err e = {0};
            for (int i = 0; i < 16; i++)
                y[ROWS * C + i] = 5;
            ok &= !(op == 0   ? be->layernorm_backward(plain, &g, &no, &no, &t, &t, &v, 1e-5f, &e)
                    : op <= 2 ? be->activate_backward(plain, &g, &t, &t, op == 1 ? SKY_ACT_GELU : SKY_ACT_LEAKY, &e)
                    : op == 3 ? be->scale_channels(plain, &g, &t, &v, &e)
                              : be->batchnorm_dx(plain, &g, &t, &none, &t, &v, &m, &v, &s, 1e3, 1e-5f, SKY_ACT_NONE, &e));
            if (whole)
                break;
        }
        for (int i = 0; i < 16; i++)
            ok &= y[ROWS * C + i] == 5;
        OK(ok && !memcmp(y, z, ROWS * C * 4), "%s past the caches", names[op]);
    }
    free(x);
    free(y);
    free(z);
}

int main(void)
{
    sky_err e = {0};
    if (be->open(&plain, -1, 1, &e))
        return printf("Bail out! %s\n", e.msg), 1;
    corners();
    in_place();
    far();
    int rc = back_tests(cases, sizeof cases / sizeof cases[0]);
    be->close(plain);
    return rc;
}
