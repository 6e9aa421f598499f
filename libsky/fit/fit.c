#include "fit/fit.h"
#include "base/mem.h"
#include "train/buckets.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct sky_fit {
    sky_fit_task *t;
    sky_ctx *c;
    sky_comm *k;
    const sky_run *r;
    sky_state state;
    sky_tape *tape;
    sky_buckets *buckets; /* NULL: one rank */
    sky_sync sync;
    sky_err bucket_err;
    double *norms;        /* per trained parameter */
    uint64_t step, updates;
    double best;
    size_t arena;
    char bad[600];
};

static int accumulate(const sky_fit *f) { return (int)f->r->accumulate; }

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ------------------------------------------------------------------ one step */
static void scale_terms(sky_term *terms, const sky_fit_pass *p, double by)
{
    for (int i = 0; i < p->nterms; i++) {
        terms[i] = p->terms[i];
        terms[i].weight *= by;
    }
}

/* Forward and backward of the current micro-batch, on the context as it is (dry or not). */
static int pass(sky_fit *f, uint64_t step, sky_fit_pass *out, sky_err *e)
{
    sky_ctx *c = f->c;
    sky_term terms[SKY_FIT_TERMS];
    sky_draws draws = {.seed = (uint64_t)f->r->seed, .step = step};
    draws.sample = f->t->ops->ids(f->t, &draws.n);
    c->draws = &draws;
    sky_tape_start(c, f->tape);
    *out = (sky_fit_pass){0};
    int rc = f->t->ops->forward(f->t, c, out, e);
    if (!rc) {
        scale_terms(terms, out, 1.0 / accumulate(f));
        sky_tape_backward(c, terms, out->nterms);
    }
    sky_tape_stop(c);
    c->draws = NULL;
    if (!rc && c->err.code)
        rc = sky_fail(e, c->err.code, "%s", c->err.msg);
    return rc;
}

static void add_mean(sky_fit_pass *sum, const sky_fit_pass *p, double by)
{
    sum->loss += p->loss * by;
    sum->labelled += p->labelled;
    sum->nparts = p->nparts;
    for (int i = 0; i < p->nparts; i++) {
        sum->parts[i].name = p->parts[i].name;
        sum->parts[i].value += p->parts[i].value * by;
    }
}

/* All micro-batches of a step; gradients summed over ranks. */
static int gradients(sky_fit *f, sky_fit_pass *mean, int64_t *samples, double *waited, sky_err *e)
{
    int rc = sky_state_zero_grad(&f->state, e);
    *mean = (sky_fit_pass){0};
    f->bucket_err = (sky_err){0};
    for (int i = 0; i < accumulate(f) && !rc; i++) {
        sky_fit_pass p;
        int64_t n = 0;
        if (f->buckets && i == accumulate(f) - 1)
            sky_buckets_begin(f->buckets);
        rc = f->t->ops->take(f->t, waited, e);
        sky_ctx_reset(f->c);
        if (!rc)
            rc = pass(f, f->step * (uint64_t)accumulate(f) + (uint64_t)i, &p, e);
        if (!rc) {
            add_mean(mean, &p, 1.0 / accumulate(f));
            f->t->ops->ids(f->t, &n);
            *samples += n * f->k->ranks;
        }
    }
    if (!rc && f->bucket_err.code)
        rc = sky_fail(e, f->bucket_err.code, "%s", f->bucket_err.msg);
    return !rc && f->buckets ? sky_buckets_finish(f->buckets, e) : rc;
}

/* Says what is not finite, or returns NULL. Losses and norms are those of all ranks, so all ranks say the same. */
static const char *not_finite(sky_fit *f, const sky_fit_pass *p, double norm)
{
    if (isfinite(p->loss) && isfinite(norm))
        return NULL;
    const char *first = NULL;
    for (int i = 0; i < f->state.n && !first && !isfinite(norm); i++)
        if (!isfinite(f->norms[i]))
            first = sky_state_name(&f->state, i);
    snprintf(f->bad, sizeof f->bad, "step %llu: loss %g, gradient norm %g%s%s; samples of rank %d: %.300s", (unsigned long long)f->step + 1,
             p->loss, norm, first ? ", first in the gradient of " : "", first ? first : "", f->k->rank, f->t->ops->names(f->t));
    return f->bad;
}

static int update(sky_fit *f, double lr, double norm, sky_err *e)
{
    sky_update u = {.lr = lr, .norm = norm, .clip = f->r->optimizer.clip, .beta1 = f->r->optimizer.betas[0], .beta2 = f->r->optimizer.betas[1],
                    .eps = f->r->optimizer.eps, .momentum = f->r->optimizer.momentum, .average = f->r->optimizer.average, .t = f->updates + 1};
    int rc = sky_state_update(&f->state, &u, e);
    if (rc || f->k->ranks == 1) {
        f->updates += !rc;
        return rc;
    }
    int64_t *cut = sky_alloc((size_t)(f->k->ranks + 1) * sizeof *cut);
    if (!cut)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    for (int r = 0; r <= f->k->ranks; r++)
        cut[r] = sky_state_cut(&f->state, r);
    rc = sky_comm_gather(f->k, f->state.master.data, cut, SKY_F32, e);
    sky_free(cut);
    if (!rc)
        rc = sky_state_refresh(&f->state, 0, f->state.size, e);
    f->updates += !rc;
    return rc;
}

/* Of all ranks. */
static int is_labelled(sky_fit *f, const sky_fit_pass *p, int *yes, sky_err *e)
{
    double pixels = (double)p->labelled;
    int rc = f->k->ranks > 1 ? sky_comm_sum(f->k, &pixels, 1, SKY_F64, e) : SKY_OK;
    *yes = pixels > 0;
    return rc;
}

static int one_step(sky_fit *f, const sky_fit_hooks *h, sky_err *e)
{
    double begin = now(), norm = 0, lr = f->r->optimizer.lr * sky_schedule_factor(&f->r->schedule, f->step);
    sky_fit_pass mean;
    sky_fit_step s = {.pass = &mean, .lr = lr};
    int rc = gradients(f, &mean, &s.samples, &s.waited, e), labelled = 1;
    if (!rc)
        rc = is_labelled(f, &mean, &labelled, e);
    s.unlabelled = !labelled;
    if (!rc)
        rc = sky_state_norm(&f->state, &norm, f->norms, e);
    if (rc)
        return rc;
    s.bad = not_finite(f, &mean, norm);
    if (s.bad && !f->r->skip_nonfinite)
        return sky_fail(e, SKY_ECORRUPT, "%s", s.bad);
    if (!s.bad)
        rc = update(f, lr, norm, e);
    f->step++;
    s.step = f->step;
    s.norm = norm;
    s.seconds = now() - begin;
    return rc ? rc : h->on_step(h->arg, &s, e);
}

/* ------------------------------------------------------------------ between steps */
static uint64_t steps(const sky_fit *f) { return (uint64_t)f->r->steps; }

static int validate(sky_fit *f, const sky_fit_hooks *h, int *best, sky_err *e)
{
    double quality = NAN;
    json_t *details = NULL;
    sky_ctx_reset(f->c);
    int rc = f->t->ops->validate(f->t, f->c, f->k, &quality, &details, e);
    if (!rc) {
        *best = isfinite(quality) && !(quality <= f->best); /* also the first one, when best is NAN */
        if (*best)
            f->best = quality;
        rc = h->on_quality(h->arg, f->step, quality, details, *best, e);
    }
    json_decref(details);
    return rc;
}

/* One rank's wish is everybody's: they must leave the loop together. */
static int stop_wanted(sky_fit *f, const sky_fit_hooks *h, int *stop, sky_err *e)
{
    double wish = h->wants_stop(h->arg);
    int rc = f->k->ranks > 1 ? sky_comm_sum(f->k, &wish, 1, SKY_F64, e) : 0;
    *stop = wish > 0;
    return rc;
}

int sky_fit_run(sky_fit *f, const sky_fit_hooks *h, sky_err *e)
{
    int rc = f->t->ops->seek(f->t, f->step * (uint64_t)accumulate(f), e), stop = 0;
    while (!rc && f->step < steps(f) && !stop) {
        int best = 0;
        rc = one_step(f, h, e);
        if (!rc)
            rc = stop_wanted(f, h, &stop, e);
        if (!rc && f->t->ops->validate && sky_run_validates(f->r, f->step))
            rc = validate(f, h, &best, e);
        if (!rc && (best || stop || sky_run_checkpoints(f->r, f->step)))
            rc = h->on_save(h->arg, f, f->step, best, e);
    }
    return rc ? rc : stop && f->step < steps(f);
}

/* ------------------------------------------------------------------ open, close */
static void on_done(void *arg, int param)
{
    sky_fit *f = arg;
    if (!f->bucket_err.code && sky_buckets_done(f->buckets, param, &f->bucket_err)) {
        /* kept until backward is over */
    }
}

static int watch(sky_fit *f, sky_err *e)
{
    int rc = sky_tape_open(&f->tape, e);
    for (int i = 0; i < f->state.n && !rc; i++)
        rc = sky_tape_watch(f->tape, f->state.ps->v[f->state.v[i].param].slot, sky_state_grad(&f->state, i), e);
    if (!rc)
        sky_tape_checkpoints(f->tape, f->r->recompute);
    return rc;
}

static int open_ranks(sky_fit *f, sky_err *e)
{
    if (f->k->ranks == 1)
        return SKY_OK;
    f->sync = (sky_sync){f->k, f->k->ranks, sky_comm_sum_tensor};
    f->c->sync = &f->sync;
    int64_t *at = sky_alloc((size_t)f->state.n * sizeof *at + 1);
    if (!at)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    for (int i = 0; i < f->state.n; i++)
        at[i] = f->state.v[i].at;
    int rc = sky_buckets_open(&f->buckets, f->k, f->state.grad.data, f->state.size, at, f->state.n, SKY_BUCKET_BYTES, e);
    sky_free(at);
    sky_tape_on_done(f->tape, on_done, f);
    return rc;
}

static int open_arena(sky_fit *f, int dry, sky_err *e)
{
    sky_fit_pass p;
    sky_ctx_dry(f->c);
    int rc = pass(f, 0, &p, e);
    f->arena = f->c->peak;
    return rc || dry ? rc : sky_ctx_alloc(f->c, f->arena, e);
}

static int set_up(sky_fit *f, int dry, sky_err *e)
{
    sky_params *ps = f->t->ops->params(f->t);
    sky_rule *rules = sky_calloc((size_t)ps->n, sizeof *rules);
    if (!rules)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    sky_run_rules(f->r, ps, rules);
    sky_state_opts o = {.dtype = (sky_dtype)f->r->dtype, .optimizer = (sky_optimizer)f->r->optimizer.name, .ema = f->r->optimizer.average > 0,
                        .rank = f->k->rank, .ranks = f->k->ranks, .dry = dry, .rule = rules};
    int rc = sky_state_open(&f->state, f->c, ps, &o, e);
    sky_free(rules);
    if (!rc && !(f->norms = sky_calloc((size_t)f->state.n + 1, sizeof *f->norms)))
        rc = sky_fail(e, SKY_ENOMEM, "out of memory");
    if (!rc)
        rc = watch(f, e);
    if (!rc)
        rc = open_ranks(f, e);
    return rc ? rc : open_arena(f, dry, e);
}

int sky_fit_open(sky_fit **out, sky_fit_task *t, sky_ctx *c, sky_comm *k, const sky_run *r, int dry, sky_err *e)
{
    sky_fit *f = *out = sky_calloc(1, sizeof *f);
    if (!f)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    f->t = t;
    f->c = c;
    f->k = k;
    f->r = r;
    f->best = NAN;
    int rc = set_up(f, dry, e);
    if (rc) {
        sky_fit_close(f);
        *out = NULL;
    }
    return rc;
}

void sky_fit_close(sky_fit *f)
{
    if (!f)
        return;
    f->c->sync = NULL;
    sky_buckets_close(f->buckets);
    sky_tape_close(f->tape);
    sky_state_close(&f->state);
    sky_free(f->norms);
    sky_free(f);
}

sky_state *sky_fit_state(sky_fit *f) { return &f->state; }
size_t sky_fit_arena(const sky_fit *f) { return f->arena; }
uint64_t sky_fit_updates(const sky_fit *f) { return f->updates; }
double sky_fit_best(const sky_fit *f) { return f->best; }

void sky_fit_continue(sky_fit *f, uint64_t step, uint64_t updates, double best)
{
    f->step = step;
    f->updates = updates;
    f->best = best;
}
