/* segment.c -- segmentation of one labelled data set: crops (data/finetune.h) through a backbone with neck and heads. */
#include "fit/tasks.h"
#include "base/mem.h"
#include "data/finetune.h"
#include "fit/inputs.h"
#include "fit/segment_validate.h"

#include <string.h>

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
    o.nclasses = (int)r->segment.classes;
    o.ignored = r->segment.ignored;
    o.nignored = r->segment.nignored;
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

static int depth(const segment *s) { return (int)s->r->data.prefetch * s->n; } /* crops prepared ahead */

static int seek(sky_fit_task *t, uint64_t batch, sky_err *e)
{
    segment *s = self(t);
    sky_prefetch_close(s->prefetch);
    s->prefetch = NULL;
    return sky_fit_prefetch(&s->prefetch, sky_finetune_source(s->train.sampler), s->at, depth(s), batch * (uint64_t)(s->n * s->at->ranks), 0, e);
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
static int64_t labelled(const sky_seg_host *h)
{
    int64_t all = (int64_t)h->n * h->h * h->w, n = 0;
    for (int64_t i = 0; i < all; i++)
        n += h->labels[i] != SKY_IGNORE;
    return n;
}

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
    out->labelled = labelled(h);
    out->parts[0].name = "decode", out->parts[0].value = y.loss_decode;
    out->parts[1].name = "aux", out->parts[1].value = y.loss_aux;
    out->nparts = s->seg.aux_channels ? 2 : 1;
    memcpy(out->terms, y.terms, (size_t)y.nterms * sizeof *y.terms);
    out->nterms = y.nterms;
    return SKY_OK;
}

static int validate(sky_fit_task *t, sky_ctx *c, sky_comm *k, double *quality, json_t **details, sky_err *e)
{
    const segment *s = self(t);
    sky_validation v = {.m = s->m, .sampler = s->val.sampler, .classes = s->seg.classes, .depth = depth(s), .at = s->at};
    return sky_seg_validate(&v, c, k, quality, details, e);
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
        const json_t *known = sky_finetune_class(s->train.sampler, i);
        json_t *k = json_pack("{s:i, s:O*, s:O*}", "value", sky_finetune_class_value(s->train.sampler, i), "name", json_object_get(known, "name"),
                              "color", json_object_get(known, "color"));
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
