/* The tape: gradients by address, sums where paths meet, checkpoints, and memory counted beforehand. */
#include "base/mem.h"
#include "cpu/device_internal.h"
#include "t.h"
#include "tensor/ops.h"
#include "tensor/tape.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static sky_err err;
static sky_ctx ctx, *c = &ctx;

enum { ROWS = 5, WIDE = 6 };
static float w_data[WIDE * WIDE], b_data[WIDE], x_data[ROWS * WIDE], w_grad[WIDE * WIDE], b_grad[WIDE];
static sky_tensor w = {w_data, SKY_F32, 2, {WIDE, WIDE}}, b = {b_data, SKY_F32, 1, {WIDE}};

static sky_tape *watching(void)
{
    sky_tape *t = NULL;
    memset(w_grad, 0, sizeof w_grad);
    memset(b_grad, 0, sizeof b_grad);
    if (sky_tape_open(&t, &err) || sky_tape_watch(t, &w, (sky_tensor){w_grad, SKY_F32, 2, {WIDE, WIDE}}, &err) ||
        sky_tape_watch(t, &b, (sky_tensor){b_grad, SKY_F32, 1, {WIDE}}, &err))
        printf("# %s\n", err.msg);
    return t;
}

static void fill(float *p, int n, uint32_t seed)
{
    for (int i = 0; i < n; i++)
        p[i] = (float)((i * 2654435761u + seed * 40503u) >> 16 & 1023) / 512 - 1;
}

/* A segment with every kind of meeting: the input is used three times, the parameters twice, a view is taken, a random
 * decision is made. */
static void segment(sky_ctx *d, const void *arg, const sky_tensor *in, sky_tensor *out)
{
    (void)arg;
    sky_mark m = sky_mark_get(d);
    sky_tensor h = sky_linear(d, *in, w, b, SKY_ACT_GELU, *in);
    h = sky_drop(d, h, 0.25f, 7, WIDE, 0);
    sky_tensor z = sky_linear(d, h, w, sky_none, SKY_ACT_RELU, sky_none);
    sky_tensor v = SKY_RESHAPE(d, *in, ROWS * WIDE);
    z = sky_add(d, z, SKY_RESHAPE(d, v, ROWS, WIDE));
    *out = sky_add(d, z, b);
    sky_keep(d, m, out, 1);
}

typedef struct {
    double loss;
    size_t peak, used;
    float w[WIDE * WIDE], b[WIDE];
} result;

static const uint8_t one = 1;
static const uint64_t ids[ROWS] = {3, 1, 4, 15, 9};

static sky_tensor forward(int depth)
{
    sky_tensor x = sky_upload(c, SKY_F32, 2, (int64_t[]){ROWS, WIDE}, x_data), y = x;
    for (int i = 0; i < depth; i++)
        sky_recompute(c, segment, NULL, 0, &y, 1, &y, 1);
    sky_tensor zero = sky_upload(c, SKY_F32, 3, (int64_t[]){1, ROWS, WIDE}, (float[ROWS * WIDE]){0});
    return sky_masked_mse(c, SKY_RESHAPE(c, y, 1, ROWS, WIDE), zero, &one);
}

static double loss_only(int depth)
{
    float v = 0;
    sky_ctx_reset(c);
    sky_tensor y = forward(depth);
    sky_download(c, &v, &y);
    return v;
}

/* Dry, arena of exactly that size (or `less` bytes smaller), real. */
static int run(result *r, int depth, int checkpoints, size_t less)
{
    sky_tape *t = watching();
    sky_draws draws = {11, 2, ids, ROWS};
    float v = 0;
    sky_tape_checkpoints(t, checkpoints);
    for (int dry = 1; dry >= 0; dry--) {
        if (dry)
            sky_ctx_dry(c);
        else {
            sky_ctx_close(c);
            if (sky_ctx_open(c, "cpu", 1, &err) || sky_ctx_alloc(c, r->peak - less, &err))
                return -1;
        }
        c->draws = &draws;
        sky_tape_start(c, t);
        sky_tensor y = forward(depth);
        sky_download(c, &v, &y);
        c->draws = NULL; /* a segment's decisions are its own, whatever holds now */
        sky_tape_backward(c, &(sky_term){y, 1, "mse"}, 1);
        if (dry)
            r->peak = c->peak;
        else
            r->used = c->used > 256 || c->top; /* the input lies at the start, results from the next line on */
        sky_tape_stop(c);
        c->draws = NULL;
    }
    r->loss = v;
    memcpy(r->w, w_grad, sizeof w_grad);
    memcpy(r->b, b_grad, sizeof b_grad);
    sky_tape_close(t);
    return c->err.code;
}

/* Central differences; the loss is F32, so the step is large and the tolerance wide: signs and factors show, digits are
 * the operations' own tests. */
static double slope(float *p, int depth, const sky_draws *d)
{
    float keep = *p;
    double h = 1.0 / 64, up, down;
    c->draws = d;
    *p = (float)(keep + h);
    up = loss_only(depth);
    *p = (float)(keep - h);
    down = loss_only(depth);
    *p = keep;
    c->draws = NULL;
    return (up - down) / (2 * h);
}

static void gradients(void)
{
    result plain = {0}, again = {0}, saved = {0};
    sky_draws draws = {11, 2, ids, ROWS};
    OK(run(&plain, 2, 0, 0) == 0, "two segments forward and backward %s", c->err.msg);
    double worst = 0, norm = 0;
    for (int i = 0; i < WIDE * WIDE; i++) {
        double d = slope(&w_data[i], 2, &draws) - plain.w[i];
        worst = fmax(worst, fabs(d));
        norm = fmax(norm, fabs((double)plain.w[i]));
    }
    for (int i = 0; i < WIDE; i++)
        worst = fmax(worst, fabs(slope(&b_data[i], 2, &draws) - plain.b[i]));
    OK(worst <= 0.02 * norm, "gradients are slopes: off by %.1e of %.1e", worst, norm);
    OK(!plain.used, "backward leaves the input on the stack and nothing on the heap");
    OK(run(&again, 2, 0, 0) == 0 && !memcmp(again.w, plain.w, sizeof plain.w) && !memcmp(again.b, plain.b, sizeof plain.b), "twice the same bits");
    OK(run(&saved, 2, 1, 0) == 0 && saved.loss == plain.loss && !memcmp(saved.w, plain.w, sizeof plain.w) && !memcmp(saved.b, plain.b, sizeof plain.b),
       "recomputed segments: the same bits %s", c->err.msg);
    result deep = {0}, deep_saved = {0};
    OK(run(&deep, 8, 0, 0) == 0 && run(&deep_saved, 8, 1, 0) == 0 && deep_saved.peak < deep.peak, "recomputing takes less memory: %zu, not %zu bytes", deep_saved.peak, deep.peak);
    OK(run(&deep, 8, 0, 256) == SKY_ENOMEM && strstr(c->err.msg, "arena full"), "an arena one line smaller than the dry step said is too small: %s", c->err.msg);
}

static int told[4], ntold;
static void tell(void *arg, int param)
{
    (void)arg;
    if (ntold < 4)
        told[ntold++] = param;
}

static void done_once(void)
{
    static float u_data[WIDE], u_grad[WIDE];
    sky_tensor u = {u_data, SKY_F32, 1, {WIDE}};
    sky_tape *t = watching();
    sky_ctx_close(c);
    if (sky_ctx_open(c, "cpu", 1, &err) || sky_ctx_alloc(c, 1 << 20, &err) || sky_tape_watch(t, &u, (sky_tensor){u_grad, SKY_F32, 1, {WIDE}}, &err))
        return;
    sky_tape_on_done(t, tell, NULL);
    sky_tape_start(c, t);
    sky_tensor x = sky_upload(c, SKY_F32, 2, (int64_t[]){ROWS, WIDE}, x_data);
    x = sky_add(c, x, b);
    x = sky_linear(c, x, w, sky_none, SKY_ACT_NONE, sky_none);
    sky_tensor zero = sky_upload(c, SKY_F32, 2, (int64_t[]){ROWS, WIDE}, (float[ROWS * WIDE]){0});
    static const uint8_t all[ROWS] = {1, 1, 1, 1, 1};
    sky_tensor y = sky_masked_mse(c, x, zero, all);
    sky_tape_backward(c, &(sky_term){y, 1, "mse"}, 1);
    OK(ntold == 3 && told[0] == 0 && told[1] == 1 && told[2] == 2, "parameters are done in the order of backward, the unused one at the end");
    sky_tape_stop(c);
    sky_tape_close(t);
}

int main(void)
{
    fill(w_data, WIDE * WIDE, 1);
    fill(b_data, WIDE, 2);
    fill(x_data, ROWS * WIDE, 3);
    if (sky_ctx_open(c, "cpu", 1, &err))
        return printf("Bail out! %s\n", err.msg), 1;
    gradients();
    done_once();
    sky_ctx_close(c);
    return END();
}
