/* The tiny model learns one pair by heart: forward, backward and updates agree well enough to reach 95 % of the pixels of
 * the hidden half. The pictures are three kinds of ground in blobs, told apart by colour and noise. */
#include "base/mem.h"
#include "nn/init.h"
#include "nn/skysensepp.h"
#include "t.h"
#include "tensor/tape.h"
#include "train/state.h"

#include <math.h>
#include <string.h>

enum { H = 256, W = 128, STEPS = 400, PIXELS = H * W };

static sky_err e;
static float hr[PIXELS * 3];
static uint8_t labels[PIXELS], mask[2], flags[3] = {1, 0, 0}, map[PIXELS];

static int ground(int y, int x)
{
    double v = sin(y * 0.07) + cos(x * 0.09 + y * 0.03);
    return v > 0.5 ? 2 : v < -0.5 ? 1 : 0;
}

static void draw(void)
{
    static const float colour[3][3] = {{0.6f, -0.4f, 0}, {-0.7f, 0.3f, 0.5f}, {0.2f, 0.9f, -0.8f}};
    static const uint8_t slot[3] = {0, 5, 11};
    uint32_t r = 1;
    for (int i = 0; i < PIXELS; i++) {
        int k = ground(i / W, i % W);
        labels[i] = slot[k];
        for (int j = 0; j < 3; j++) {
            r = r * 1664525u + 1013904223u;
            hr[3 * i + j] = colour[k][j] + (float)(r >> 8) / (1 << 25) - 0.25f;
        }
    }
    mask[1] = 1; /* the lower half is hidden */
}

static double right(void)
{
    int64_t ok = 0;
    for (int i = PIXELS / 2; i < PIXELS; i++)
        ok += map[i] == labels[i];
    return 2.0 * (double)ok / PIXELS;
}

typedef struct {
    sky_ctx c;
    sky_pp *m;
    sky_state s;
    sky_tape *tape;
    sky_pp_out out;
} trainer;

static int forward(trainer *t, int training)
{
    sky_ctx *c = &t->c;
    sky_pp_batch b = {.flags = flags, .t2 = 1, .t1 = 1};
    b.hr = sky_upload(c, SKY_F32, 4, (int64_t[]){1, H, W, 3}, hr);
    b.labels = sky_upload(c, SKY_U8, 3, (int64_t[]){1, H, W}, labels);
    b.anno_mask = sky_upload(c, SKY_U8, 3, (int64_t[]){1, 2, 1}, mask);
    sky_pp_opts o = {.want_losses = training, .no_argmax = training};
    return sky_pp_forward(t->m, c, &b, &o, &t->out, &e);
}

static int step(trainer *t, uint64_t n)
{
    sky_tape_start(&t->c, t->tape);
    int rc = forward(t, 1);
    sky_tape_backward(&t->c, t->out.terms, t->out.nterms);
    sky_tape_stop(&t->c);
    if (rc || t->c.dry)
        return rc;
    double norm;
    sky_update u = {.lr = 2e-3 * fmin(1, (double)n / 20), .clip = 5, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .t = n};
    rc = sky_state_norm(&t->s, &norm, NULL, &e);
    u.norm = norm;
    if (!rc)
        rc = sky_state_update(&t->s, &u, &e);
    return rc ? rc : sky_state_zero_grad(&t->s, &e);
}

static int open_trainer(trainer *t)
{
    sky_config cfg;
    if (sky_ctx_open(&t->c, "cpu", 0, &e) || sky_config_load(&cfg, "pipelines/tiny.yaml", &e))
        return e.code;
    cfg.frozen_blocks = cfg.frozen_fusion_from = 0;
    cfg.layer_decay = 1;
    if (sky_pp_open(&t->m, &cfg, &e) || sky_params_init(sky_pp_params(t->m), SKY_INIT_PUBLISHED, 7, 0, &e) || sky_tape_open(&t->tape, &e))
        return e.code;
    sky_params *ps = sky_pp_params(t->m);
    sky_rule *rule = sky_calloc((size_t)ps->n, sizeof *rule);
    for (int i = 0; rule && i < ps->n; i++)
        rule[i] = sky_rule_pretrain(&cfg, ps->v[i].name);
    sky_state_opts o = {.dtype = SKY_F32, .optimizer = SKY_ADAMW, .ranks = 1, .rule = rule};
    int rc = rule ? sky_state_open(&t->s, &t->c, ps, &o, &e) : SKY_ENOMEM;
    sky_free(rule);
    for (int i = 0; !rc && i < t->s.n; i++)
        rc = sky_tape_watch(t->tape, ps->v[t->s.v[i].param].slot, sky_state_grad(&t->s, i), &e);
    if (!rc)
        rc = step(t, 0);
    return rc ? rc : sky_ctx_alloc(&t->c, t->c.peak, &e);
}

int main(void)
{
    trainer t = {0};
    draw();
    int rc = open_trainer(&t);
    OK(rc == 0, "tiny model, random weights, a dry step %s", e.msg);
    double got = 0;
    float first = 0;
    int n = 1;
    for (; n <= STEPS && !rc && got < 0.95; n++) {
        rc = step(&t, (uint64_t)n);
        first = n == 1 ? t.out.loss_rec : first;
        if (!rc && n % 20 == 0) {
            sky_ctx_reset(&t.c);
            rc = forward(&t, 0);
            sky_download(&t.c, map, &t.out.argmax);
            got = right();
        }
        sky_ctx_reset(&t.c);
    }
    OK(rc == 0, "%d steps of training %s", n - 1, e.msg);
    OK(got >= 0.95, "%.1f %% of the hidden half right after %d steps (loss %.3f at first, %.3f at last)", 100 * got, n - 1, first, t.out.loss_rec);
    sky_state_close(&t.s);
    sky_tape_close(t.tape);
    sky_pp_close(t.m);
    sky_ctx_close(&t.c);
    return END();
}
