/* comm_train -- the pretraining model trained on made samples by the ranks of a job, without files.
 *
 *   comm_train STEPS [CONFIG [BATCH [LR [THREADS [all]]]]]
 *       CONFIG of the model, canvas 512 x 256 for one called mid, else 256 x 128 [pipelines/tiny.yaml]; BATCH: samples
 *       per step, over all ranks [4]; rate of step s: LR * s / 1000 [2e-4], the published warm-up; THREADS of a rank [1];
 *       all: no sample lacks a modality
 *
 * Sample number n is a function of n: pictures, labels, mask, and which modalities it has. Step s draws positions
 * s * BATCH ... of a keyed permutation of 1000 samples; rank r of N takes r, r + N, ... of them (data/order.h). Rank 0 prints per
 * step the numbers of all ranks' samples, the losses and the gradient norm; at the end the median wall time of a step
 * and a hash of the weights, which is the same on all ranks or the program fails. */
#include "base/hash.h"
#include "base/mem.h"
#include "base/permute.h"
#include "nn/init.h"
#include "nn/seeded.h"
#include "nn/skysensepp.h"
#include "tensor/tape.h"
#include "train/buckets.h"
#include "train/comm.h"
#include "train/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SAMPLES = 1000 };

typedef struct {
    sky_comm *k;
    sky_config cfg;
    sky_ctx c;
    sky_sync sync;
    sky_pp *m;
    sky_state s;
    sky_tape *tape;
    sky_buckets *buckets;
    int64_t batch, n, side; /* of all ranks, of this one; the canvas is 2*side x side */
    int all, rc;            /* rc: of a bucket, inside backward */
    float *hr, *s2, *s1;
    uint8_t *labels, *mask, *flags;
    uint64_t *ids;
    sky_pp_out out;
} trainer;

static sky_err e;
static sky_comm *comm;

static void must(int rc)
{
    if (rc)
        sky_comm_abort(comm, "comm_train", e.msg, 4);
}

static void *get(int64_t bytes)
{
    void *p = sky_calloc((size_t)bytes, 1);
    if (!p)
        sky_comm_abort(comm, "comm_train", "out of memory", 4);
    return p;
}

static void make_sample(trainer *t, int64_t i, uint64_t id)
{
    const int64_t px = 2 * t->side * t->side, cells = px / 1024, parts = px / (128 * 128);
    sky_seeded_values(t->hr + i * px * t->cfg.hr_channels, "", "hr", id * (uint64_t)(px * t->cfg.hr_channels), (uint64_t)(px * t->cfg.hr_channels), 1.5f, 0);
    sky_seeded_values(t->s2 + i * cells * t->cfg.s2_channels, "", "s2", id * (uint64_t)(cells * t->cfg.s2_channels), (uint64_t)(cells * t->cfg.s2_channels), 1.5f, 0);
    sky_seeded_values(t->s1 + i * cells * t->cfg.s1_channels, "", "s1", id * (uint64_t)(cells * t->cfg.s1_channels), (uint64_t)(cells * t->cfg.s1_channels), 1.5f, 0);
    for (int64_t j = 0; j < px; j++)
        t->labels[i * px + j] = (uint8_t)(sky_mix64(id, (uint64_t)(j / t->side / 16 * 64 + j % t->side / 16)) % (uint64_t)(t->cfg.vocab + 1));
    for (int64_t j = 0; j < parts; j++)
        t->mask[i * parts + j] = (uint8_t)((j + (int64_t)id) & 1);
    t->flags[3 * i] = 1;
    t->flags[3 * i + 1] = t->all || id % 3;
    t->flags[3 * i + 2] = t->all || id % 2;
    t->ids[i] = id;
}

static void draw(trainer *t, uint64_t step)
{
    if (t->k->rank == 0)
        printf("step %llu samples", (unsigned long long)step);
    for (int64_t j = 0; j < t->batch; j++) {
        const uint64_t at = step * (uint64_t)t->batch + (uint64_t)j;
        const uint64_t id = sky_permute(sky_mix64(3, at / SAMPLES), SAMPLES, at % SAMPLES);
        if (j % t->k->ranks == t->k->rank)
            make_sample(t, j / t->k->ranks, id);
        if (t->k->rank == 0)
            printf(" %llu", (unsigned long long)id);
    }
}

static void forward_backward(trainer *t, uint64_t step)
{
    sky_ctx *c = &t->c;
    const int64_t n = t->n, w = t->side, h = 2 * w;
    sky_draws draws = {1, step, t->ids, n};
    sky_pp_batch in = {.t2 = 1, .t1 = 1, .flags = t->flags};
    const sky_pp_opts o = {.batch_stats = 1, .want_losses = 1, .no_argmax = 1};
    if (!c->dry)
        sky_ctx_reset(c);
    c->draws = &draws;
    sky_tape_start(c, t->tape);
    in.hr = sky_upload(c, SKY_F32, 4, (int64_t[]){n, h, w, t->cfg.hr_channels}, t->hr);
    in.s2 = sky_upload(c, SKY_F32, 4, (int64_t[]){n, h / 32, w / 32, t->cfg.s2_channels}, t->s2);
    in.s1 = sky_upload(c, SKY_F32, 4, (int64_t[]){n, h / 32, w / 32, t->cfg.s1_channels}, t->s1);
    in.labels = sky_upload(c, SKY_U8, 3, (int64_t[]){n, h, w}, t->labels);
    in.anno_mask = sky_upload(c, SKY_U8, 3, (int64_t[]){n, h / 128, w / 128}, t->mask);
    must(sky_pp_forward(t->m, c, &in, &o, &t->out, &e));
    sky_buckets_begin(t->buckets);
    sky_tape_backward(c, t->out.terms, t->out.nterms);
    sky_tape_stop(c);
    if (c->err.code)
        sky_comm_abort(comm, "comm_train", c->err.msg, 4);
    must(t->rc);
    if (!c->dry)
        must(sky_buckets_finish(t->buckets, &e));
}

static void on_done(void *arg, int param)
{
    trainer *t = arg;
    if (!t->rc && !t->c.dry)
        t->rc = sky_buckets_done(t->buckets, param, &e);
}

static void update(trainer *t, uint64_t step, double lr)
{
    sky_update u = {.lr = lr * (double)step / 1000, .clip = 5, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .t = step + 1};
    int64_t *cut = get((t->k->ranks + 1) * (int64_t)sizeof *cut);
    must(sky_state_norm(&t->s, &u.norm, NULL, &e));
    must(sky_state_update(&t->s, &u, &e));
    for (int r = 0; r <= t->k->ranks; r++)
        cut[r] = sky_state_cut(&t->s, r);
    must(sky_comm_gather(t->k, t->s.master.data, cut, SKY_F32, &e));
    must(sky_state_refresh(&t->s, 0, t->s.size, &e));
    must(sky_state_zero_grad(&t->s, &e));
    sky_free(cut);
    if (t->k->rank == 0)
        printf(" rec %.9g vae %.9g kl %.9g total %.9g norm %.17g\n", (double)t->out.loss_rec, (double)t->out.loss_vae, (double)t->out.loss_vae_kl,
               (double)t->out.loss_total, u.norm);
}

static void open_state(trainer *t)
{
    sky_params *ps = sky_pp_params(t->m);
    sky_rule *rule = get(ps->n * (int64_t)sizeof *rule);
    for (int i = 0; i < ps->n; i++)
        rule[i] = sky_rule_pretrain(&t->cfg, ps->v[i].name);
    sky_state_opts o = {.dtype = SKY_F32, .optimizer = SKY_ADAMW, .rank = t->k->rank, .ranks = t->k->ranks, .rule = rule};
    must(sky_state_open(&t->s, &t->c, ps, &o, &e));
    sky_free(rule);
    int64_t *at = get(t->s.n * (int64_t)sizeof *at);
    for (int i = 0; i < t->s.n; i++) {
        at[i] = t->s.v[i].at;
        must(sky_tape_watch(t->tape, ps->v[t->s.v[i].param].slot, sky_state_grad(&t->s, i), &e));
    }
    must(sky_buckets_open(&t->buckets, t->k, t->s.grad.data, t->s.size, at, t->s.n, 1 << 20, &e));
    sky_tape_on_done(t->tape, on_done, t);
    sky_free(at);
}

static void open_all(trainer *t, const char *size, int threads)
{
    must(sky_config_load(&t->cfg, size, &e));
    t->side = strstr(size, "mid") ? 256 : 128;
    t->n = t->batch / t->k->ranks;
    const int64_t px = 2 * t->side * t->side * t->n;
    t->hr = get(px * t->cfg.hr_channels * 4);
    t->s2 = get(px / 1024 * t->cfg.s2_channels * 4);
    t->s1 = get(px / 1024 * t->cfg.s1_channels * 4);
    t->labels = get(px);
    t->mask = get(px / (128 * 128));
    t->flags = get(3 * t->n);
    t->ids = get(8 * t->n);
    memset(t->flags, 1, (size_t)(3 * t->n));
    must(sky_ctx_open(&t->c, "cpu", threads, &e));
    must(sky_pp_open(&t->m, &t->cfg, &e));
    must(sky_params_init(sky_pp_params(t->m), SKY_INIT_PUBLISHED, 1, 0, &e));
    must(sky_tape_open(&t->tape, &e));
    open_state(t);
    t->sync = (sky_sync){t->k, t->k->ranks, sky_comm_sum_tensor};
    if (t->k->ranks > 1)
        t->c.sync = &t->sync;
    forward_backward(t, 0);
    must(sky_ctx_alloc(&t->c, t->c.peak, &e));
}

/* Whether all ranks have the weights of rank 0. */
static int same_weights(trainer *t, uint32_t *hash)
{
    *hash = sky_crc32c(0, t->s.master.data, (size_t)t->s.size * sizeof(float));
    uint32_t first = *hash;
    must(sky_comm_broadcast(t->k, &first, sizeof first, 0, &e));
    double same = first == *hash;
    must(sky_comm_sum(t->k, &same, 1, SKY_F64, &e));
    return same == t->k->ranks;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

int main(int argc, char **argv)
{
    trainer t = {.batch = argc > 3 ? atoi(argv[3]) : 4, .all = argc > 6};
    const int steps = argc > 1 ? atoi(argv[1]) : 0;
    if (sky_comm_open(&comm, &e)) {
        fprintf(stderr, "comm_train: %s\n", e.msg);
        return 2;
    }
    t.k = comm;
    if (steps < 1 || t.batch % comm->ranks)
        sky_comm_abort(comm, "comm_train", "STEPS, and a batch that the ranks can share", 2);
    open_all(&t, argc > 2 ? argv[2] : "pipelines/tiny.yaml", argc > 5 ? atoi(argv[5]) : 1);
    double *seconds = get(steps * (int64_t)sizeof *seconds);
    for (int s = 0; s < steps; s++) {
        draw(&t, (uint64_t)s);
        const double begin = now();
        forward_backward(&t, (uint64_t)s);
        update(&t, (uint64_t)s, argc > 4 ? atof(argv[4]) : 2e-4);
        seconds[s] = now() - begin;
    }
    uint32_t hash;
    const int same = same_weights(&t, &hash);
    qsort(seconds, (size_t)steps, sizeof *seconds, ascending);
    if (comm->rank == 0)
        printf("%d ranks: %.4f s per step; weights %08x%s\n", comm->ranks, seconds[steps / 2], hash, same ? "" : ", not the same on all ranks");
    sky_free(seconds);
    sky_buckets_close(t.buckets);
    sky_state_close(&t.s);
    sky_tape_close(t.tape);
    sky_pp_close(t.m);
    sky_ctx_close(&t.c);
    void *own[] = {t.hr, t.s2, t.s1, t.labels, t.mask, t.flags, t.ids};
    for (int i = 0; i < 7; i++)
        sky_free(own[i]);
    sky_comm_close(comm);
    return !same;
}
