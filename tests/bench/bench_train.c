/* Times a training step of the pretraining model: forward, backward, clipping, AdamW.
 *
 * usage: bench_train [--size mid|tiny|full] [--dtype f32|bf16] [--batch B] [--recompute] [--modalities all|hr] [--repeat R]
 * Prints one JSON line with the names of the peer's (bench_peer.py --mode train): seconds and CPU seconds per step, peak
 * memory of the process. The batch is generated; random weights; batch statistics, stochastic depth and dropout on. */
#include "base/cli.h"
#include "base/mem.h"
#include "nn/init.h"
#include "nn/seeded.h"
#include "nn/skysensepp.h"
#include "peak.h"
#include "tensor/backend.h"
#include "tensor/tape.h"
#include "train/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

typedef struct {
    sky_config cfg;
    sky_ctx c;
    sky_pp *m;
    sky_state s;
    sky_tape *tape;
    int64_t n, side;
    float *hr, *s2, *s1;
    uint8_t *labels, *mask, *flags;
    uint64_t *ids;
} bench;

static float *images(const char *name, int64_t n)
{
    float *v = sky_alloc((size_t)n * sizeof *v);
    if (v)
        sky_seeded_values(v, "", name, 0, (uint64_t)n, 1.5f, 0);
    return v;
}

static int make_batch(bench *b, int all, sky_err *e)
{
    int64_t px = 2 * b->side * b->side * b->n, cells = px / 1024;
    b->hr = images("input.hr_img", px * b->cfg.hr_channels);
    b->s2 = images("input.s2_img", cells * b->cfg.s2_channels);
    b->s1 = images("input.s1_img", cells * b->cfg.s1_channels);
    b->labels = sky_alloc((size_t)px);
    b->mask = sky_calloc((size_t)px / (128 * 128), 1);
    b->flags = sky_calloc((size_t)b->n, 3);
    b->ids = sky_calloc((size_t)b->n, sizeof *b->ids);
    if (!b->hr || !b->s2 || !b->s1 || !b->labels || !b->mask || !b->flags || !b->ids)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    for (int64_t i = 0; i < px; i++)
        b->labels[i] = (uint8_t)(i / 7 % (b->cfg.vocab + 1));
    for (int64_t i = 0; i < px / (128 * 128); i++)
        b->mask[i] = i & 1;
    for (int64_t i = 0; i < b->n; i++) {
        b->ids[i] = (uint64_t)i;
        for (int m = 0; m < 3; m++)
            b->flags[3 * i + m] = all || m == 0;
    }
    return SKY_OK;
}

static int forward_backward(bench *b, uint64_t step, sky_err *e)
{
    sky_ctx *c = &b->c;
    int64_t n = b->n, w = b->side, h = 2 * w;
    sky_draws draws = {1, step, b->ids, n};
    sky_pp_batch in = {.t2 = 1, .t1 = 1, .flags = b->flags};
    sky_pp_opts o = {.batch_stats = 1, .want_losses = 1, .no_argmax = 1};
    sky_pp_out out;
    if (!c->dry)
        sky_ctx_reset(c);
    c->draws = &draws;
    sky_tape_start(c, b->tape);
    in.hr = sky_upload(c, SKY_F32, 4, (int64_t[]){n, h, w, b->cfg.hr_channels}, b->hr);
    in.s2 = sky_upload(c, SKY_F32, 4, (int64_t[]){n, h / 32, w / 32, b->cfg.s2_channels}, b->s2);
    in.s1 = sky_upload(c, SKY_F32, 4, (int64_t[]){n, h / 32, w / 32, b->cfg.s1_channels}, b->s1);
    in.labels = sky_upload(c, SKY_U8, 3, (int64_t[]){n, h, w}, b->labels);
    in.anno_mask = sky_upload(c, SKY_U8, 3, (int64_t[]){n, h / 128, w / 128}, b->mask);
    int rc = sky_pp_forward(b->m, c, &in, &o, &out, e);
    sky_tape_backward(c, out.terms, out.nterms);
    sky_tape_stop(c);
    return rc ? rc : c->err.code ? sky_fail(e, c->err.code, "%s", c->err.msg) : SKY_OK;
}

static int step(bench *b, uint64_t n, sky_err *e)
{
    sky_update u = {.lr = b->cfg.lr, .clip = b->cfg.clip_norm, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .t = n};
    int rc = forward_backward(b, n, e);
    if (!rc)
        rc = sky_state_norm(&b->s, &u.norm, NULL, e);
    if (!rc)
        rc = sky_state_update(&b->s, &u, e);
    return rc ? rc : sky_state_zero_grad(&b->s, e);
}

static int open_state(bench *b, sky_dtype dtype, sky_err *e)
{
    sky_params *ps = sky_pp_params(b->m);
    sky_rule *rule = sky_calloc((size_t)ps->n, sizeof *rule);
    if (!rule)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    for (int i = 0; i < ps->n; i++)
        rule[i] = sky_rule_pretrain(&b->cfg, ps->v[i].name);
    sky_state_opts o = {.dtype = dtype, .optimizer = SKY_ADAMW, .ranks = 1, .rule = rule};
    int rc = sky_state_open(&b->s, &b->c, ps, &o, e);
    sky_free(rule);
    for (int i = 0; i < b->s.n && !rc; i++)
        rc = sky_tape_watch(b->tape, ps->v[b->s.v[i].param].slot, sky_state_grad(&b->s, i), e);
    return rc;
}

static int set_up(bench *b, const char *size, sky_dtype dtype, int recompute, int all, int threads, const char *device, sky_err *e)
{
    int rc = sky_config_load(&b->cfg, size, e);
    b->side = !strcmp(size, "full") ? 512 : !strcmp(size, "mid") ? 256 : 128;
    if (!rc)
        rc = sky_ctx_open(&b->c, device, threads, e);
    if (!rc)
        rc = sky_pp_open(&b->m, &b->cfg, e);
    if (!rc)
        rc = sky_params_init(sky_pp_params(b->m), SKY_INIT_PUBLISHED, 1, threads, e);
    if (!rc)
        rc = sky_tape_open(&b->tape, e);
    if (!rc)
        rc = open_state(b, dtype, e);
    if (!rc)
        rc = make_batch(b, all, e);
    if (rc)
        return rc;
    sky_tape_checkpoints(b->tape, recompute);
    rc = forward_backward(b, 0, e);
    return rc ? rc : sky_ctx_alloc(&b->c, b->c.peak, e);
}

static int less(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

static int measure(bench *b, int repeat, double wall[2], double *cpu, sky_err *e)
{
    double w[64], p[64];
    int rc = step(b, 1, e);
    for (int i = 0; i < repeat && !rc; i++) {
        double w0 = bench_wall(), p0 = bench_clock(CLOCK_PROCESS_CPUTIME_ID);
        rc = step(b, (uint64_t)i + 2, e);
        w[i] = bench_wall() - w0;
        p[i] = bench_clock(CLOCK_PROCESS_CPUTIME_ID) - p0;
    }
    qsort(w, (size_t)repeat, sizeof *w, less);
    qsort(p, (size_t)repeat, sizeof *p, less);
    wall[0] = w[repeat / 2], wall[1] = w[0], *cpu = p[repeat / 2];
    return rc;
}

int main(int argc, char **argv)
{
    const char *size = "mid", *dtype = "f32", *modalities = "all", *device = "cpu";
    int64_t batch = 2, repeat = 5;
    int recompute = 0;
    bench b = {0};
    sky_opt opts[] = {
        {"size", 0, SKY_OPT_STR, &size, "NAME", "mid, tiny or full [mid]", 0, 0},
        {"dtype", 0, SKY_OPT_STR, &dtype, "f32|bf16", "of matrix operands [f32]", 0, 0},
        {"modalities", 0, SKY_OPT_STR, &modalities, "all|hr", "[all]", 0, 0},
        {"batch", 0, SKY_OPT_I64, &batch, "B", "[2]", 1, 1024},
        {"repeat", 0, SKY_OPT_I64, &repeat, "R", "[5]", 1, 64},
        {"recompute", 0, SKY_OPT_FLAG, &recompute, NULL, "blocks again in backward", 0, 0},
        {"device", 0, SKY_OPT_STR, &device, "NAME", "[cpu]", 0, 0},
        {0}};
    sky_cli cli = {.prog = "bench_train", .summary = "time training steps", .usage = "bench_train [options]", .opts = opts, .takes = SKY_TAKES_THREADS};
    int status = sky_cli_begin(&cli, argc, argv);
    if (status >= 0)
        return status;
    sky_err e = {0};
    double wall[2], cpu;
    b.n = batch;
    int rc = set_up(&b, size, strcmp(dtype, "bf16") ? SKY_F32 : SKY_BF16, recompute, !strcmp(modalities, "all"), cli.threads, device, &e);
    if (!rc)
        rc = measure(&b, (int)repeat, wall, &cpu, &e);
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    if (!rc)
        printf("{\"program\": \"bench_train\", \"size\": \"%s\", \"dtype\": \"%s\", \"batch\": %lld, \"modalities\": \"%s\", \"recompute\": %s, \"wall_median_s\": %.4f, "
               "\"wall_min_s\": %.4f, \"cpu_median_s\": %.4f, \"peak_rss_mb\": %ld, \"arena_mb\": %zu}\n",
               size, dtype, (long long)batch, modalities, recompute ? "true" : "false", wall[0], wall[1], cpu, u.ru_maxrss / 1024, b.c.size >> 20);
    return sky_cli_end(&cli, rc, &e);
}
