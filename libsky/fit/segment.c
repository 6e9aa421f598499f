/* segment.c -- segmentation of one labelled data set: crops (data/finetune.h) through a backbone with neck and heads. */
#include "fit/tasks.h"
#include "base/mem.h"
#include "data/finetune.h"
#include "fit/inputs.h"
#include "nn/segmentor.h"
#include "score/confusion.h"
#include "score/metrics.h"
#include "tensor/ops.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BAD_ITEM_TRIES = 8 };

typedef struct {
    sky_fit_inputs in;
    json_t *normal; /* the run's own numbers, or NULL */
    sky_finetune *sampler; /* NULL: none */
} source;

typedef struct {
    sky_fit_task base;
    const sky_run *r;
    const sky_fit_place *at;
    sky_seg *m;
    sky_seg_config seg;
    float class_weight[SKY_RUN_CLASSES];
    int *values;           /* class values, by index: those of the training samples */
    source train, val;
    sky_prefetch *prefetch;
    int n;                 /* crops of a micro-batch on this rank */
    sky_finetune_item **item;
    sky_seg_host host;
    sky_buf names;
} segment;

static segment *self(sky_fit_task *t) { return (segment *)t; }
static const segment *seen(const sky_fit_task *t) { return (const segment *)t; }

/* ------------------------------------------------------------------ samples */
/* The run's numbers for the trained field, in the units of the stored values; NULL where it gives none: the schema's count then. */
static int run_normal(const segment *s, json_t **out, sky_err *e)
{
    static const char *const names[3] = {"hr", "s2", "s1"};
    for (int i = 0; i < 3; i++)
        if (!strcmp(s->r->segment.field, names[i]))
            return sky_fit_normal_json(out, &s->r->normalise[i].mean, &s->r->normalise[i].std, 1, names[i], e);
    *out = NULL;
    return SKY_OK;
}

static int open_source(segment *s, source *to, const sky_names *patterns, const char *what, int validation, sky_err *e)
{
    const sky_run *r = s->r;
    sky_finetune_opts o = sky_finetune_default;
    o.seed = (uint64_t)r->seed;
    o.validation = validation;
    o.size = (int)r->augment.crop;
    o.cap = r->augment.class_max;
    o.tries = (int)r->augment.crop_tries;
    o.flip = r->augment.flip;
    o.dates = (int)r->segment.dates;
    o.image = r->segment.field;
    o.bands = (char *const *)r->segment.bands.v;
    o.nbands = r->segment.bands.n;
    o.classes = s->values;
    o.nclasses = s->values ? (int)r->segment.classes : 0;
    o.ignored = r->segment.ignore_labels.v;
    o.nignored = r->segment.ignore_labels.n;
    int rc = sky_fit_inputs_open(&to->in, patterns, what, e);
    if (!rc)
        rc = run_normal(s, &to->normal, e);
    o.normal = to->normal;
    return rc ? rc : sky_finetune_open(&to->sampler, to->in.roll, &o, e);
}

static void close_source(source *s)
{
    sky_finetune_close(s->sampler);
    json_decref(s->normal);
    sky_fit_inputs_close(&s->in);
}

static int open_prefetch(segment *s, sky_prefetch **out, const source *from, uint64_t first, uint64_t count, sky_err *e)
{
    sky_source src = sky_finetune_source(from->sampler);
    sky_prefetch_opts o = {.threads = s->at->threads, .depth = (int)s->r->data.prefetch * s->n, .first = first + (uint64_t)s->at->rank,
                           .step = (uint64_t)s->at->ranks, .count = count, .tries = s->at->keep_going ? BAD_ITEM_TRIES : 0,
                           .warn = s->at->warn, .warn_arg = s->at->warn_arg};
    return sky_prefetch_open(out, &src, &o, e);
}

static int seek(sky_fit_task *t, uint64_t batch, sky_err *e)
{
    segment *s = self(t);
    sky_prefetch_close(s->prefetch);
    s->prefetch = NULL;
    return open_prefetch(s, &s->prefetch, &s->train, batch * (uint64_t)(s->n * s->at->ranks), 0, e);
}

static void free_items(segment *s)
{
    for (int i = 0; s->item && i < s->n; i++) {
        sky_finetune_free(s->item[i]);
        s->item[i] = NULL;
    }
}

static int take(sky_fit_task *t, double *waited, sky_err *e)
{
    segment *s = self(t);
    double before = sky_prefetch_waited(s->prefetch);
    free_items(s);
    for (int i = 0; i < s->n; i++) {
        int rc = sky_prefetch_next(s->prefetch, (void **)&s->item[i], e);
        if (rc < 0)
            return rc;
    }
    *waited += sky_prefetch_waited(s->prefetch) - before;
    return sky_seg_host_fill(&s->host, s->item, s->n, e);
}

static const uint64_t *ids(const sky_fit_task *t, int64_t *n)
{
    *n = seen(t)->n;
    return seen(t)->host.id;
}

static const char *names(const sky_fit_task *t)
{
    segment *s = self((sky_fit_task *)t);
    sky_buf_reset(&s->names);
    for (int i = 0; i < s->n && s->item[i]; i++)
        sky_buf_printf(&s->names, "%s%s", i ? ", " : "", s->item[i]->name);
    return s->names.p ? s->names.p : "";
}

/* ------------------------------------------------------------------ training */
static int forward(sky_fit_task *t, sky_ctx *c, sky_fit_pass *out, sky_err *e)
{
    segment *s = self(t);
    const sky_seg_host *h = &s->host;
    sky_tensor img = sky_upload(c, SKY_F32, 4, (int64_t[]){(int64_t)h->n * h->t, h->h, h->w, h->c}, h->img);
    sky_tensor labels = sky_upload(c, SKY_U8, 3, (int64_t[]){h->n, h->h, h->w}, h->labels);
    sky_seg_opts o = {.batch_stats = 1};
    sky_seg_out y;
    int rc = sky_seg_forward(s->m, c, img, labels, &o, &y, e);
    if (rc)
        return rc;
    out->loss = y.loss_total;
    out->parts[0].name = "decode", out->parts[0].value = y.loss_decode;
    out->parts[1].name = "aux", out->parts[1].value = y.loss_aux;
    out->nparts = s->seg.aux_channels ? 2 : 1;
    memcpy(out->terms, y.terms, (size_t)y.nterms * sizeof *y.terms);
    out->nterms = y.nterms;
    return SKY_OK;
}

/* ------------------------------------------------------------------ validation */
/* Logits [h,w,classes] to the largest of each pixel; ties go to the smaller index. */
static void argmax(uint8_t *out, const float *x, int64_t pixels, int classes)
{
    for (int64_t i = 0; i < pixels; i++, x += classes) {
        int best = 0;
        for (int k = 1; k < classes; k++)
            best = x[k] > x[best] ? k : best;
        out[i] = (uint8_t)best;
    }
}

/* The class map of one whole picture, at its own size: U8 [h,w], the caller's; nothing in a dry run. */
static int predict(segment *s, sky_ctx *c, const sky_finetune_item *it, uint8_t *out, sky_err *e)
{
    sky_tensor img = sky_upload(c, SKY_F32, 4, (int64_t[]){it->t, it->h, it->w, it->c}, it->img);
    sky_seg_opts o = {0};
    sky_seg_out y;
    int rc = sky_seg_forward(s->m, c, img, sky_none, &o, &y, e);
    if (rc)
        return rc;
    sky_tensor logits = sky_resize(c, y.logits, it->h, it->w, SKY_BILINEAR);
    if (!c->err.code && !c->dry) {
        float *x = sky_alloc((size_t)sky_bytes(&logits));
        if (!x)
            return sky_fail(e, SKY_ENOMEM, "out of memory");
        sky_download(c, x, &logits);
        argmax(out, x, (int64_t)it->h * it->w, s->seg.classes);
        sky_free(x);
    }
    return c->err.code ? sky_fail(e, c->err.code, "%s", c->err.msg) : SKY_OK;
}

/* Pictures differ in size: the arena grows to the largest seen. */
static int predict_in_room(segment *s, sky_ctx *c, const sky_finetune_item *it, uint8_t *out, sky_err *e)
{
    sky_ctx_dry(c);
    int rc = predict(s, c, it, out, e);
    size_t peak = c->peak;
    if (!rc)
        rc = sky_ctx_alloc(c, peak > c->size ? peak : c->size, e);
    return rc ? rc : predict(s, c, it, out, e);
}

static int count_one(segment *s, sky_ctx *c, sky_finetune_item *it, sky_confusion *m, sky_err *e)
{
    uint64_t pixels = (uint64_t)it->h * (uint64_t)it->w;
    uint8_t *map = sky_alloc(pixels);
    int rc = map ? predict_in_room(s, c, it, map, e) : sky_fail(e, SKY_ENOMEM, "out of memory");
    if (!rc)
        sky_confusion_u8(m, it->labels, map, pixels);
    sky_free(map);
    return rc ? sky_wrap(e, "sample '%s'", it->name) : SKY_OK;
}

/* This rank's share of the validation samples. */
static int count_all(segment *s, sky_ctx *c, sky_confusion *m, sky_err *e)
{
    uint64_t items = sky_finetune_items(s->val.sampler), rank = (uint64_t)s->at->rank, ranks = (uint64_t)s->at->ranks;
    sky_prefetch *from = NULL;
    if (rank >= items)
        return SKY_OK;
    int rc = open_prefetch(s, &from, &s->val, 0, (items - rank + ranks - 1) / ranks, e), got = 1;
    while (!rc && got > 0) {
        sky_finetune_item *it = NULL;
        got = sky_prefetch_next(from, (void **)&it, e);
        rc = got < 0 ? got : got ? count_one(s, c, it, m, e) : SKY_OK;
        sky_finetune_free(it);
    }
    sky_prefetch_close(from);
    return rc;
}

/* {"miou", "mf1", "accuracy", "iou": {CLASS: ...}} from counts n[label*k + predicted]. */
static json_t *figures(const segment *s, const uint64_t *n, int k, double *miou)
{
    sky_mean iou = {0}, f1 = {0};
    uint64_t right = 0, all = 0;
    json_t *classes = json_object(), *o;
    for (int i = 0; i < k; i++) {
        sky_counts q = sky_counts_of(n, (uint32_t)k, NULL, (uint32_t)i);
        sky_metrics f = sky_metrics_of(&q);
        const char *name = sky_finetune_class_name(s->val.sampler, i);
        char number[16];
        snprintf(number, sizeof number, "%d", sky_finetune_class_value(s->val.sampler, i));
        sky_mean_add(&iou, f.iou);
        sky_mean_add(&f1, f.dice);
        right += q.tp;
        all += q.tp + q.fn;
        if (isfinite(f.iou) && json_object_set_new(classes, name ? name : number, json_real(f.iou)))
            return json_decref(classes), NULL;
    }
    *miou = sky_mean_get(&iou);
    double mf1 = sky_mean_get(&f1);
    o = json_pack("{s:f, s:f, s:f, s:o*}", "miou", isfinite(*miou) ? *miou : 0, "mf1", isfinite(mf1) ? mf1 : 0, "accuracy", all ? (double)right / (double)all : 0, "iou", classes);
    return o;
}

/* Counts of classes 0..k-1, over all ranks: exact in double up to 2^53 pixels. */
static int join(const segment *s, sky_confusion *m, sky_comm *k, uint64_t *n, sky_err *e)
{
    int classes = s->seg.classes;
    const uint64_t *all = sky_confusion_counts(m);
    double *v = sky_alloc((size_t)(classes * classes) * sizeof *v);
    if (!v)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    for (int i = 0; i < classes * classes; i++)
        v[i] = (double)all[(uint32_t)(i / classes) * m->side + (uint32_t)(i % classes)];
    int rc = k->ranks > 1 ? sky_comm_sum(k, v, classes * classes, SKY_F64, e) : SKY_OK;
    for (int i = 0; i < classes * classes; i++)
        n[i] = (uint64_t)v[i];
    sky_free(v);
    return rc;
}

static int validate(sky_fit_task *t, sky_ctx *c, sky_comm *k, double *quality, json_t **details, sky_err *e)
{
    segment *s = self(t);
    sky_confusion m = {0};
    uint64_t *n = sky_calloc((size_t)(s->seg.classes * s->seg.classes), sizeof *n);
    int rc = n ? sky_confusion_open(&m, e) : sky_fail(e, SKY_ENOMEM, "out of memory");
    const sky_sync *sync = c->sync;
    c->sync = NULL; /* shares differ in number; only the counts are joined */
    if (!rc)
        rc = count_all(s, c, &m, e);
    c->sync = sync;
    if (!rc)
        rc = join(s, &m, k, n, e);
    if (!rc && !(*details = figures(s, n, s->seg.classes, quality)))
        rc = sky_fail(e, SKY_ENOMEM, "out of memory");
    sky_confusion_close(&m);
    sky_free(n);
    return rc;
}

/* ------------------------------------------------------------------ open, close */
static void close_task(sky_fit_task *t)
{
    segment *s = self(t);
    sky_prefetch_close(s->prefetch);
    free_items(s);
    sky_free(s->item);
    sky_seg_host_free(&s->host);
    close_source(&s->train);
    close_source(&s->val);
    sky_seg_close(s->m);
    sky_free(s->values);
    sky_buf_free(&s->names);
    sky_free(s);
}

static sky_params *params(sky_fit_task *t) { return sky_seg_params(self(t)->m); }

static json_t *class_table(const segment *s)
{
    json_t *a = json_array();
    for (int i = 0; a && i < s->seg.classes; i++) {
        const char *name = sky_finetune_class_name(s->train.sampler, i);
        json_t *k = json_pack("{s:i, s:s*}", "value", sky_finetune_class_value(s->train.sampler, i), "name", name);
        if (json_array_append_new(a, k)) {
            json_decref(a);
            a = NULL;
        }
    }
    return a;
}

static json_t *description(const sky_fit_task *t)
{
    const segment *s = seen(t);
    return json_pack("{s:s, s:o*, s:o*, s:o*, s:o*, s:s}", "task", "segment", "config", sky_config_json(&s->r->model), "segment",
                     sky_seg_config_json(&s->seg, s->seg.swin ? 4 : s->r->model.vit_nout), "normal", sky_finetune_normals(s->train.sampler),
                     "classes", class_table(s), "field", s->r->segment.field);
}

static const sky_fit_task_ops with_validation = {close_task, params, description, seek, take, ids, names, forward, validate};
static const sky_fit_task_ops without = {close_task, params, description, seek, take, ids, names, forward, NULL};

static void set_config(segment *s)
{
    const sky_run *r = s->r;
    s->seg = sky_seg_defaults;
    s->seg.swin = r->segment.swin;
    s->seg.channels = sky_finetune_channels(s->train.sampler);
    s->seg.classes = (int)r->segment.classes;
    s->seg.dates = (int)r->segment.dates;
    s->seg.neck_dim = (int)r->segment.neck_dim;
    s->seg.head_channels = (int)r->segment.head_channels;
    s->seg.aux_channels = (int)r->segment.aux_channels;
    for (int i = 0; i < r->segment.neck_scales.n && i < 8; i++)
        s->seg.scales[i] = r->segment.neck_scales.v[i];
    s->seg.patch_bias = r->segment.patch_bias;
    s->seg.drop = r->segment.dropout;
    s->seg.head_drop = r->segment.dropout;
    s->seg.drop_path = r->segment.drop_path;
    s->seg.aux_weight = r->segment.aux_weight;
    s->seg.sigmoid = r->segment.sigmoid;
    for (int i = 0; i < r->segment.class_weight.n; i++)
        s->class_weight[i] = (float)r->segment.class_weight.v[i];
    s->seg.class_weight = r->segment.class_weight.n ? s->class_weight : NULL;
}

/* Validation must know the classes by the same indices. */
static int fix_classes(segment *s, sky_err *e)
{
    int n = sky_finetune_classes(s->train.sampler);
    if (n != (int)s->r->segment.classes)
        return sky_fail(e, SKY_EUSAGE, "segment.classes: %d outputs, but the samples of data.train have %d classes", (int)s->r->segment.classes, n);
    s->values = sky_alloc((size_t)s->r->segment.classes * sizeof *s->values);
    if (!s->values)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    for (int i = 0; i < (int)s->r->segment.classes; i++)
        s->values[i] = sky_finetune_class_value(s->train.sampler, i);
    return SKY_OK;
}

/* The size of crops, for the dry run, is that of the first ones. */
static int first_batch(segment *s, sky_err *e)
{
    int rc = SKY_OK;
    for (int i = 0; i < s->n && !rc; i++)
        rc = sky_finetune_make(s->train.sampler, (uint64_t)i, 0, &s->item[i], e);
    return rc ? rc : sky_seg_host_fill(&s->host, s->item, s->n, e);
}

static int set_up(segment *s, sky_err *e)
{
    int rc = open_source(s, &s->train, &s->r->data.train, "data.train", 0, e);
    if (!rc)
        rc = fix_classes(s, e);
    if (!rc && s->r->data.val.n)
        rc = open_source(s, &s->val, &s->r->data.val, "data.val", 1, e);
    if (rc)
        return rc;
    set_config(s);
    rc = sky_seg_open(&s->m, &s->r->model, &s->seg, e);
    if (!rc && !(s->item = sky_calloc((size_t)s->n, sizeof *s->item)))
        rc = sky_fail(e, SKY_ENOMEM, "out of memory");
    return rc ? rc : first_batch(s, e);
}

int sky_fit_segment(sky_fit_task **out, const sky_run *r, const sky_fit_place *at, sky_err *e)
{
    *out = NULL;
    segment *s = sky_calloc(1, sizeof *s);
    if (!s)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    s->r = r;
    s->at = at;
    s->n = (int)(r->batch / r->accumulate / at->ranks);
    int rc = set_up(s, e);
    s->base.ops = s->val.sampler ? &with_validation : &without;
    if (rc)
        close_task(&s->base);
    else
        *out = &s->base;
    return rc;
}
