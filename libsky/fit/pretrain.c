/* pretrain.c -- masked semantic learning: canvases of eight samples (data/incontext.h) through the one-shot model. */
#include "fit/tasks.h"
#include "base/mem.h"
#include "data/incontext.h"
#include "fit/inputs.h"
#include "nn/skysensepp.h"

#include <string.h>

enum { VALIDATION_ITEMS = 64 };

typedef struct {
    sky_fit_inputs in;
    sky_incontext *sampler; /* NULL: none */
} source;

typedef struct {
    sky_fit_task base;
    const sky_run *r;
    const sky_fit_place *at;
    sky_pp *m;
    sky_normal *normal[2]; /* s2, s1: the run's own, or NULL */
    source train, val;
    sky_prefetch *prefetch;
    int n;                 /* canvases of a micro-batch on this rank */
    sky_incontext_item **item;
    sky_pp_host *host;
    sky_buf names;
} pretrain;

static pretrain *self(sky_fit_task *t) { return (pretrain *)t; }
static const pretrain *seen(const sky_fit_task *t) { return (const pretrain *)t; }

/* ------------------------------------------------------------------ samples */
static int open_source(pretrain *p, source *s, const sky_names *patterns, const char *what, uint64_t seed, sky_err *e)
{
    const sky_config *m = &p->r->model;
    sky_incontext_opts o = sky_incontext_default;
    o.seed = seed;
    o.side = (int)p->r->data.side;
    o.vocab = m->vocab;
    memcpy(o.hr_bands, m->hr_bands, sizeof o.hr_bands);
    o.s2_channels = m->s2_channels;
    o.s1_channels = m->s1_channels;
    o.half = p->r->augment.half_mask;
    o.any_class = p->r->augment.any_class;
    o.sparse = p->r->augment.sparse;
    o.radiometry = p->r->augment.radiometry;
    o.repeat = (uint64_t)p->r->data.repeat;
    o.set = sky_incontext_published;
    o.nsets = (int)(sizeof sky_incontext_published / sizeof *sky_incontext_published);
    o.s2_normal = p->normal[0];
    o.s1_normal = p->normal[1];
    int rc = sky_fit_inputs_open(&s->in, patterns, what, e);
    return rc ? rc : sky_incontext_open(&s->sampler, s->in.roll, &o, e);
}

static void close_source(source *s)
{
    sky_incontext_close(s->sampler);
    sky_fit_inputs_close(&s->in);
}

static void free_items(pretrain *p)
{
    for (int i = 0; p->item && i < p->n; i++) {
        sky_incontext_free(p->item[i]);
        p->item[i] = NULL;
    }
}

static int open_prefetch(const pretrain *p, sky_prefetch **out, const source *s, uint64_t first, uint64_t count, sky_err *e)
{
    return sky_fit_prefetch(out, sky_incontext_source(s->sampler), p->at, (int)p->r->data.prefetch * p->n, first, count, e);
}

static int seek(sky_fit_task *t, uint64_t batch, sky_err *e)
{
    pretrain *p = self(t);
    sky_prefetch_close(p->prefetch);
    p->prefetch = NULL;
    return open_prefetch(p, &p->prefetch, &p->train, batch * (uint64_t)(p->n * p->at->ranks), 0, e);
}

static int fill(pretrain *p, sky_prefetch *from, sky_err *e)
{
    free_items(p);
    for (int i = 0; i < p->n; i++) {
        int rc = sky_prefetch_next(from, (void **)&p->item[i], e);
        if (rc < 0)
            return rc;
    }
    sky_pp_host_fill(p->host, p->item, p->n);
    return SKY_OK;
}

static int take(sky_fit_task *t, double *waited, sky_err *e)
{
    pretrain *p = self(t);
    double before = sky_prefetch_waited(p->prefetch);
    int rc = fill(p, p->prefetch, e);
    *waited += sky_prefetch_waited(p->prefetch) - before;
    return rc;
}

static const uint64_t *ids(const sky_fit_task *t, int64_t *n)
{
    *n = seen(t)->n;
    return seen(t)->host->id;
}

static const char *names(const sky_fit_task *t)
{
    pretrain *p = self((sky_fit_task *)t);
    sky_buf_reset(&p->names);
    for (int i = 0; i < p->n && p->item[i]; i++)
        for (int k = 0; k < SKY_CONTEXT; k++)
            sky_buf_printf(&p->names, "%s%s", p->names.n ? ", " : "", p->item[i]->name[k]);
    return p->names.p ? p->names.p : "";
}

/* ------------------------------------------------------------------ network */
static void log_parts(sky_fit_pass *out, const sky_pp_out *y)
{
    out->loss = y->loss_total;
    out->labelled = 1; /* samples are drawn by a class that they hold */
    out->parts[0].name = "rec", out->parts[0].value = y->loss_rec;
    out->parts[1].name = "vae", out->parts[1].value = y->loss_vae;
    out->parts[2].name = "vae_kl", out->parts[2].value = y->loss_vae_kl;
    out->nparts = 3;
    memcpy(out->terms, y->terms, (size_t)y->nterms * sizeof *y->terms);
    out->nterms = y->nterms;
}

/* Dry: every modality is there, since one batch may have all of them. */
static int run(pretrain *p, sky_ctx *c, int training, sky_fit_pass *out, sky_err *e)
{
    const sky_pp_host *h = p->host;
    int64_t n = p->n, side = h->w, cells = side / 32;
    sky_pp_batch b = {.t2 = 1, .t1 = 1, .flags = h->flags};
    if (c->dry)
        memset(h->flags, 1, (size_t)n * 3);
    b.hr = sky_upload(c, SKY_F32, 4, (int64_t[]){n, 2 * side, side, 3}, h->hr);
    if (c->dry || h->s2)
        b.s2 = sky_upload(c, SKY_F32, 4, (int64_t[]){n, 2 * cells, cells, h->s2_channels}, h->s2);
    if (c->dry || h->s1)
        b.s1 = sky_upload(c, SKY_F32, 4, (int64_t[]){n, 2 * cells, cells, h->s1_channels}, h->s1);
    b.labels = sky_upload(c, SKY_U8, 3, (int64_t[]){n, 2 * side, side}, h->labels);
    if (h->annotation)
        b.annotation = sky_upload(c, SKY_U8, 3, (int64_t[]){n, 2 * side, side}, h->annotation);
    b.anno_mask = sky_upload(c, SKY_U8, 3, (int64_t[]){n, 2 * side / 128, side / 128}, h->anno_mask);
    sky_pp_opts o = {.batch_stats = training, .want_losses = 1, .no_argmax = 1};
    sky_pp_out y;
    int rc = sky_pp_forward(p->m, c, &b, &o, &y, e);
    if (!rc)
        log_parts(out, &y);
    return rc;
}

static int forward(sky_fit_task *t, sky_ctx *c, sky_fit_pass *out, sky_err *e) { return run(self(t), c, 1, out, e); }

/* The mean loss over canvases drawn from data.val, the same ones every time, with stored statistics; less is better. */
static int validate(sky_fit_task *t, sky_ctx *c, sky_comm *k, double *quality, json_t **details, sky_err *e)
{
    (void)k; /* losses are joined over ranks where they are computed */
    pretrain *p = self(t);
    int batches = VALIDATION_ITEMS / (p->n * p->at->ranks);
    batches = batches ? batches : 1;
    double sum[3] = {0};
    sky_prefetch *from = NULL;
    int rc = open_prefetch(p, &from, &p->val, 0, (uint64_t)(batches * p->n), e);
    for (int i = 0; i < batches && !rc; i++) {
        sky_fit_pass y = {0};
        rc = fill(p, from, e);
        sky_ctx_reset(c);
        if (!rc)
            rc = run(p, c, 0, &y, e);
        for (int j = 0; j < 3; j++)
            sum[j] += (j ? y.parts[j - 1].value : y.loss) / batches;
    }
    sky_prefetch_close(from);
    *quality = -sum[0];
    if (!rc && !(*details = json_pack("{s:f, s:f, s:f}", "loss", sum[0], "rec", sum[1], "vae", sum[2])))
        rc = sky_fail(e, SKY_ENOMEM, "out of memory");
    return rc;
}

/* ------------------------------------------------------------------ open, close */
static void close_task(sky_fit_task *t)
{
    pretrain *p = self(t);
    sky_prefetch_close(p->prefetch);
    free_items(p);
    sky_free(p->item);
    sky_pp_host_close(p->host);
    close_source(&p->train);
    close_source(&p->val);
    for (int i = 0; i < 2; i++)
        sky_normal_free(p->normal[i]);
    sky_pp_close(p->m);
    sky_buf_free(&p->names);
    sky_free(p);
}

static sky_params *params(sky_fit_task *t) { return sky_pp_params(self(t)->m); }

static json_t *description(const sky_fit_task *t)
{
    const pretrain *p = seen(t);
    return json_pack("{s:s, s:o*, s:o*}", "task", "pretrain", "config", sky_config_json(&p->r->model), "normal", sky_incontext_normals(p->train.sampler));
}

static const sky_fit_task_ops with_validation = {close_task, params, description, seek, take, ids, names, forward, validate};
static const sky_fit_task_ops without = {close_task, params, description, seek, take, ids, names, forward, NULL};

static int open_normals(pretrain *p, sky_err *e)
{
    static const char *const what[2] = {"s2", "s1"};
    for (int i = 0; i < 2; i++) {
        json_t *j = NULL;
        int rc = sky_fit_normal_json(&j, &p->r->normalise[i + 1].mean, &p->r->normalise[i + 1].std, 1, what[i], e);
        if (!rc && j)
            rc = sky_normal_parse(&p->normal[i], j, what[i], e);
        json_decref(j);
        if (rc)
            return rc;
    }
    if (p->r->normalise[0].mean.n || p->r->normalise[0].std.n)
        return sky_fail(e, SKY_EUSAGE, "normalise.hr: pretraining takes pictures in 0..255 with the constants of the released model");
    return SKY_OK;
}

static int set_up(pretrain *p, sky_err *e)
{
    int rc = sky_pp_open(&p->m, &p->r->model, e);
    if (!rc)
        rc = open_normals(p, e);
    if (!rc)
        rc = open_source(p, &p->train, &p->r->data.train, "data.train", (uint64_t)p->r->seed, e);
    if (!rc && p->r->data.val.n)
        rc = open_source(p, &p->val, &p->r->data.val, "data.val", (uint64_t)p->r->seed + 1, e);
    if (!rc && !(p->item = sky_calloc((size_t)p->n, sizeof *p->item)))
        rc = sky_fail(e, SKY_ENOMEM, "out of memory");
    if (!rc)
        rc = sky_pp_host_open(&p->host, p->train.sampler, p->n, e);
    return rc;
}

int sky_fit_pretrain(sky_fit_task **out, const sky_run *r, const sky_fit_place *at, sky_err *e)
{
    *out = NULL;
    pretrain *p = sky_calloc(1, sizeof *p);
    if (!p)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    p->r = r;
    p->at = at;
    p->n = (int)(r->batch / r->accumulate / at->ranks);
    int rc = set_up(p, e);
    p->base.ops = p->val.sampler ? &with_validation : &without;
    if (rc)
        close_task(&p->base);
    else
        *out = &p->base;
    return rc;
}
