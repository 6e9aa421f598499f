/* The backend's gradients against the reference's: OP.in.X inputs, OP.gout.Y gradients of results, OP.gin.X of inputs. */
#include "base/mem.h"
#include "cpu/device_internal.h"
#include "format/weights.h"
#include "t.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const sky_backend *const be = &sky_backend_cpu;
static sky_dev *dev;
static sky_weights *file;
static sky_err err;
static const char *op;
static int failed; /* an entry or the file */

static void *held[64];
static int nheld;
static void *hold(int64_t bytes)
{
    void *p = calloc(1, (size_t)bytes);
    if (!p || nheld == 64)
        exit(1);
    return held[nheld++] = p;
}

static sky_tensor new_f32(int ndim, const int64_t *shape)
{
    sky_tensor t = {.dtype = SKY_F32, .ndim = ndim};
    for (int i = 0; i < ndim; i++)
        t.shape[i] = shape[i];
    t.data = hold(sky_bytes(&t) + 4);
    return t;
}

/* NCHW as stored to NHWC. */
static sky_tensor nhwc(sky_tensor t)
{
    int64_t C = t.shape[1], H = t.shape[2], W = t.shape[3];
    sky_tensor y = new_f32(4, (int64_t[]){t.shape[0], H, W, C});
    for (int64_t i = 0; i < sky_numel(&t); i++)
        f32_out(&y)[(i / (C * H * W) * H * W + i % (H * W)) * C + i / (H * W) % C] = f32(&t)[i];
    return y;
}

static sky_tensor get(const char *kind, const char *x)
{
    char name[128];
    snprintf(name, sizeof name, "%s.%s.%s", op, kind, x);
    const sky_weight *w = sky_weights_find(file, name);
    if (!w) {
        printf("# no %s\n", name);
        return failed = 1, new_f32(1, (int64_t[]){1});
    }
    sky_tensor t = new_f32(w->ndim, w->shape);
    if (w->dtype == SKY_F32) {
        failed |= sky_weights_read(file, w, t.data, SKY_F32, &err) != 0;
        return w->ndim == 4 ? nhwc(t) : t;
    }
    int64_t *wide = hold(8 * sky_numel(&t)); /* whole numbers up to 255 */
    failed |= sky_weights_read(file, w, wide, SKY_I64, &err) != 0;
    t.dtype = SKY_U8;
    for (int64_t i = 0; i < sky_numel(&t); i++)
        ((uint8_t *)t.data)[i] = (uint8_t)wide[i];
    return t;
}
static sky_tensor in(const char *x) { return get("in", x); }
static sky_tensor gout(const char *y) { return get("gout", y); }
static sky_grad like(const sky_tensor *x) { return (sky_grad){new_f32(x->ndim, x->shape), 0}; }

static void check_numbers(const char *x, const float *got, const sky_tensor *want)
{
    double off = 0, size = 0;
    for (int64_t i = 0; i < sky_numel(want); i++) {
        off += pow((double)got[i] - (double)f32(want)[i], 2);
        size += pow((double)f32(want)[i], 2);
    }
    OK(!failed && sqrt(off) <= 1e-5 * sqrt(size), "%s.gin.%s: %.2g off", op, x, sqrt(off / size));
}
static void check(const char *x, const sky_grad *g)
{
    sky_tensor want = get("gin", x);
    check_numbers(x, f32(&g->t), &want);
}
#define DO(call) (failed |= (call) != 0)

/* ---- rows ---------------------------------------------------------------------------------------------------------- */

static void op_layernorm(void)
{
    sky_tensor x = in("x"), w = in("w"), dy = gout("y");
    sky_grad dx = like(&x), dw = like(&w), db = like(&w);
    DO(be->layernorm_backward(dev, &dx, &dw, &db, &dy, &x, &w, strstr(op, "1e6") ? 1e-6f : 1e-5f, &err));
    check("x", &dx);
    check("w", &dw);
    check("b", &db);
}

static void op_act(void)
{
    sky_tensor x = in("x"), dy = gout("y"), y = new_f32(x.ndim, x.shape);
    sky_grad dx = like(&x);
    sky_act act = *op == 'g' ? SKY_ACT_GELU : SKY_ACT_LEAKY;
    DO(be->activate(dev, &y, &x, act, &err));
    DO(be->activate_backward(dev, &dx, &dy, act == SKY_ACT_GELU ? &x : &y, act, &err));
    check("x", &dx);
}

static void op_l2(void)
{
    sky_tensor x = in("q"), dy = gout("y");
    sky_grad dx = like(&x);
    DO(be->l2_normalize_backward(dev, &dx, &dy, &x, &err));
    check("q", &dx);
}

static void op_batchnorm(void)
{
    int train = strstr(op, "train") != NULL;
    sky_tensor x = in("x"), w = in("w"), dy = gout("y"), none = sky_none, mean = train ? new_f32(1, w.shape) : in("mean"), var = train ? new_f32(1, w.shape) : in("var");
    sky_tensor s = {hold(16 * sky_last(&x)), SKY_F64, 1, {2 * sky_last(&x)}};
    sky_grad dx = like(&x), dw = like(&w), db = like(&w);
    double n = (double)sky_rows(&x);
    for (int k = 0; train && k < 2; k++) {
        DO(be->channel_sums(dev, &s, &x, k ? &mean : &none, &err));
        DO(be->channel_mean(dev, k ? &var : &mean, &s, n, &err));
    }
    DO(be->batchnorm_sums(dev, &s, &dy, &none, &x, &mean, &var, 1e-5f, SKY_ACT_NONE, &err));
    DO(be->batchnorm_dx(dev, &dx, &dy, &none, &x, &w, &mean, &var, train ? &s : &none, n, 1e-5f, SKY_ACT_NONE, &err));
    DO(be->f64_to_grad(dev, &dw, &s, sky_last(&x), &err));
    DO(be->f64_to_grad(dev, &db, &s, 0, &err));
    check("x", &dx);
    check("w", &dw);
    check("b", &db);
}

/* ---- maps ---------------------------------------------------------------------------------------------------------- */

static void op_map(void)
{
    sky_tensor x = in("x"), dy = gout("y");
    sky_grad dx = like(&x);
    if (*op == 'p')
        DO(be->pixel_unshuffle(dev, &dx.t, &dy, 4, &err));
    else if (!strncmp(op, "avg", 3))
        DO(be->avg_pool2_backward(dev, &dx, &dy, &err));
    else if (!strncmp(op, "ada", 3))
        DO(be->adaptive_avg_pool_backward(dev, &dx, &dy, &err));
    else
        DO(be->resize_backward(dev, &dx, &dy, !strncmp(op, "bic", 3) ? SKY_BICUBIC : strstr(op, "_true") ? SKY_BILINEAR_CORNERS : SKY_BILINEAR, &err));
    check("x", &dx);
}

/* ---- annotation ---------------------------------------------------------------------------------------------------- */

static void tokens_back(const sky_tensor *dy, const sky_tensor *mask, sky_grad *dtoken)
{
    sky_tensor labels = in("labels"), table = in("table"), weight = in("weight");
    sky_grad dt = like(&table), dw = like(&weight);
    DO(be->annotation_tokens_backward(dev, &dt, &dw, dtoken, dy, &labels, &table, &weight, mask, 4, &err));
    check("table", &dt);
    check("weight", &dw);
}

static void op_tokens(void)
{
    sky_tensor dy = gout("y"), labels = in("labels");
    dy = (sky_tensor){dy.data, SKY_F32, 4, {dy.shape[0], labels.shape[1] / 4, labels.shape[2] / 4, dy.shape[2]}};
    tokens_back(&dy, &sky_none, &(sky_grad){.add = 0});
}

/* Two results: the joined map, and the mean of its squares' halves. */
static void op_join(void)
{
    sky_tensor x = in("x"), mask = in("mask"), token = in("token"), g = gout("joined"), gm = gout("halves_mean_of_square"), joined = get("out", "joined");
    int64_t B = x.shape[0], h = mask.shape[1], w = mask.shape[2], C = x.shape[2];
    sky_tensor dmean = {gm.data, SKY_F32, 4, {B, h, w, C}}, half = new_f32(4, (int64_t[]){B, h, w, C}), left = half;
    sky_grad d = {new_f32(4, (int64_t[]){B, h, 2 * w, C}), 0}, dtoken = like(&token), dx = like(&x);
    DO(be->halves_mean_backward(dev, &d, &dmean, &err));
    for (int64_t i = 0; i < sky_numel(&d.t); i++)
        f32_out(&d.t)[i] = f32(&d.t)[i] * 2 * f32(&joined)[i] + f32(&g)[i];
    left.data = dx.t.data;
    DO(be->slice(dev, &left, &d.t, 2, 0, &err));
    DO(be->slice(dev, &half, &d.t, 2, w, &err));
    check("x", &dx);
    tokens_back(&half, &mask, &dtoken);
    check("token", &dtoken);
}

/* ---- losses --------------------------------------------------------------------------------------------------------- */

static sky_tensor one(void)
{
    sky_tensor t = new_f32(0, NULL);
    *f32_out(&t) = 1;
    return t;
}

static void op_entropy(void)
{
    int rec = *op == 'r';
    sky_tensor x = in("logits"), labels = in("labels"), s = {hold(32), SKY_F64, 1, {rec ? 4 : 2}}, dy = one();
    sky_entropy o = {.ignore = rec ? -1 : 255, .groups = rec ? 2 : 1};
    sky_grad dx = like(&x);
    DO(be->entropy_sums(dev, &s, &x, &labels, &o, &err));
    DO(be->entropy_backward(dev, &dx, &dy, &x, &labels, &o, &s, rec ? 0.5 : 1, rec ? 1e-6 : 0, &err));
    check("logits", &dx);
}

static void op_kl(void)
{
    static const int pair[3][2] = {{0, 1}, {0, 2}, {1, 2}};
    static const char *const name[3] = {"a", "b", "c"};
    sky_tensor x[3] = {in("a"), in("b"), in("c")}, f = in("flags"), dy = one(), s = {hold(16), SKY_F64, 1, {2}};
    const uint8_t *flags = f.data;
    sky_grad g[3] = {like(&x[0]), like(&x[1]), like(&x[2])};
    for (int p = 0; p < 3; p++) {
        int i = pair[p][0], k = pair[p][1];
        uint8_t both[8] = {0};
        for (int64_t b = 0; b < x[0].shape[0]; b++)
            both[b] = flags[3 * b + i] && flags[3 * b + k];
        DO(be->kl_sums(dev, &s, &x[i], &x[k], both, &err));
        DO(be->kl_backward(dev, &g[i], &g[k], &dy, &x[i], &x[k], both, &s, 1.0 / 6, 0, &err));
        g[i].add = g[k].add = 1;
    }
    for (int i = 0; i < 3; i++)
        check(name[i], &g[i]);
}

static void op_mse(void)
{
    sky_tensor flags = in("flags"), dy = one(), s = {hold(16), SKY_F64, 1, {2}};
    for (int m = 0; m < 3; m++) {
        char names[2][3] = {{'r', (char)('0' + m), 0}, {'f', (char)('0' + m), 0}};
        sky_tensor r = in(names[0]), f = in(names[1]);
        sky_grad dr = like(&r), df = like(&f);
        uint8_t mine[8] = {0};
        for (int64_t b = 0; b < r.shape[0]; b++)
            mine[b] = ((const uint8_t *)flags.data)[3 * b + m];
        DO(be->mse_sums(dev, &s, &r, &f, mine, &err));
        DO(be->mse_backward(dev, &dr, &df, &dy, &r, &f, mine, &s, 1.0 / 3, 1e-6, &err));
        check(names[0], &dr);
        check(names[1], &df);
    }
}

/* ---- window bias: the network in front of it is computed here, in double ------------------------------------------------- */

enum { WIN = 4, SIDE = 2 * WIN - 1, OFFSETS = SIDE * SIDE, HIDDEN = 512, HEADS = 2 };

static double coord(int64_t offset)
{
    double v = 8.0 * (double)offset / (WIN - 1);
    return copysign(log2(1 + fabs(v)), v) / 3;
}

static void op_window_bias(void)
{
    sky_tensor w1 = in("cpb_mlp.0.weight"), b1 = in("cpb_mlp.0.bias"), w2 = in("cpb_mlp.2.weight"), dy = gout("y");
    sky_tensor t = new_f32(2, (int64_t[]){OFFSETS, HEADS}), y = new_f32(3, dy.shape);
    sky_grad dt = like(&t), d1 = like(&w1), d0 = like(&b1), d2 = like(&w2);
    double (*hidden)[HIDDEN] = hold((int64_t)sizeof *hidden * OFFSETS);
    for (int64_t r = 0; r < OFFSETS; r++)
        for (int k = 0; k < HIDDEN; k++) {
            hidden[r][k] = fmax(0, coord(r / SIDE - WIN + 1) * (double)f32(&w1)[2 * k] + coord(r % SIDE - WIN + 1) * (double)f32(&w1)[2 * k + 1] + (double)f32(&b1)[k]);
            for (int h = 0; h < HEADS; h++)
                f32_out(&t)[r * HEADS + h] += (float)(hidden[r][k] * (double)f32(&w2)[h * HIDDEN + k]);
        }
    DO(be->window_bias(dev, &y, &t, WIN, &err));
    DO(be->window_bias_backward(dev, &dt, &dy, &y, WIN, &err));
    for (int64_t r = 0; r < OFFSETS; r++)
        for (int k = 0; k < HIDDEN; k++)
            for (int h = 0; h < HEADS; h++) {
                float g = f32(&dt.t)[r * HEADS + h], back = hidden[r][k] > 0 ? g * f32(&w2)[h * HIDDEN + k] : 0;
                f32_out(&d2.t)[h * HIDDEN + k] += (float)(hidden[r][k] * (double)g);
                f32_out(&d1.t)[2 * k] += back * (float)coord(r / SIDE - WIN + 1);
                f32_out(&d1.t)[2 * k + 1] += back * (float)coord(r % SIDE - WIN + 1);
                f32_out(&d0.t)[k] += back;
            }
    check("cpb_mlp.2.weight", &d2);
    check("cpb_mlp.0.weight", &d1);
    check("cpb_mlp.0.bias", &d0);
}

/* ---- every operation of the file ------------------------------------------------------------------------------------------- */

static const struct {
    const char *head;
    void (*fn)(void);
} table[] = {{"layernorm_", op_layernorm}, {"gelu", op_act}, {"leaky_relu", op_act}, {"l2_normalize", op_l2}, {"batchnorm_", op_batchnorm},
             {"pixel_shuffle4", op_map}, {"avg_pool2", op_map}, {"adaptive_avg_pool", op_map}, {"bilinear_", op_map}, {"bicubic_", op_map},
             {"annotation_tokens", op_tokens}, {"annotation_join", op_join}, {"rec_loss", op_entropy}, {"ce_ignore255", op_entropy},
             {"vae_kl", op_kl}, {"vae_mse", op_mse}, {"window_bias", op_window_bias}};

int main(void)
{
    if (be->open(&dev, -1, 2, &err) || sky_weights_open(&file, "tests/data/gradient_ops.safetensors", &err))
        return printf("Bail out! %s\n", err.msg), 1;
    char name[64] = "";
    int gradients = 0;
    for (int i = 0; i < sky_weights_count(file); i++) {
        const char *full = sky_weights_at(file, i)->name;
        size_t n = strcspn(full, ".");
        gradients += strstr(full, ".gin.") != NULL;
        if (n >= sizeof name || (!strncmp(name, full, n) && name[n] == 0))
            continue;
        snprintf(name, sizeof name, "%.*s", (int)n, full);
        op = name;
        failed = 0;
        for (size_t k = 0; k < sizeof table / sizeof *table; k++)
            if (!strncmp(name, table[k].head, strlen(table[k].head)))
                table[k].fn();
        if (failed)
            printf("# %s\n", err.msg);
        while (nheld)
            free(held[--nheld]);
    }
    OK(gradients == t_n, "every one of the file's %d gradients was compared", gradients);
    sky_weights_close(file);
    be->close(dev);
    return END();
}
