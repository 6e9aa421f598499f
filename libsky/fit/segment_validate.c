#include "fit/segment_validate.h"
#include "base/mem.h"
#include "fit/inputs.h"
#include "score/confusion.h"
#include "score/metrics.h"
#include "tensor/ops.h"

#include <math.h>
#include <stdio.h>

/* ------------------------------------------------------------------ one picture */
/* Logits [pixels,classes] to the largest of each pixel; ties go to the smaller index. */
static void argmax(uint8_t *out, const float *x, int64_t pixels, int classes)
{
    for (int64_t i = 0; i < pixels; i++, x += classes) {
        int best = 0;
        for (int k = 1; k < classes; k++)
            best = x[k] > x[best] ? k : best;
        out[i] = (uint8_t)best;
    }
}

/* Its class map, at its own size: U8 [h,w]; nothing is written in a dry run. */
static int predict(const sky_validation *v, sky_ctx *c, const sky_finetune_item *it, uint8_t *out, sky_err *e)
{
    sky_tensor img = sky_upload(c, SKY_F32, 4, (int64_t[]){it->t, it->h, it->w, it->c}, it->img);
    sky_seg_opts o = {0};
    sky_seg_out y;
    int rc = sky_seg_forward(v->m, c, img, sky_none, &o, &y, e);
    if (rc)
        return rc;
    sky_tensor logits = sky_resize(c, y.logits, it->h, it->w, SKY_BILINEAR);
    if (!c->err.code && !c->dry) {
        float *x = sky_alloc((size_t)sky_bytes(&logits));
        if (!x)
            return sky_fail(e, SKY_ENOMEM, "out of memory");
        sky_download(c, x, &logits);
        argmax(out, x, (int64_t)it->h * it->w, v->classes);
        sky_free(x);
    }
    return c->err.code ? sky_fail(e, c->err.code, "%s", c->err.msg) : SKY_OK;
}

/* Pictures differ in size: the arena grows to the largest seen. */
static int predict_in_room(const sky_validation *v, sky_ctx *c, const sky_finetune_item *it, uint8_t *out, sky_err *e)
{
    sky_ctx_dry(c);
    int rc = predict(v, c, it, out, e);
    if (!rc)
        rc = sky_ctx_alloc(c, c->peak > c->size ? c->peak : c->size, e);
    return rc ? rc : predict(v, c, it, out, e);
}

static int count_one(const sky_validation *v, sky_ctx *c, const sky_finetune_item *it, sky_confusion *m, sky_err *e)
{
    uint64_t pixels = (uint64_t)it->h * (uint64_t)it->w;
    uint8_t *map = sky_alloc(pixels);
    int rc = map ? predict_in_room(v, c, it, map, e) : sky_fail(e, SKY_ENOMEM, "out of memory");
    if (!rc)
        sky_confusion_u8(m, it->labels, map, pixels);
    sky_free(map);
    return rc ? sky_wrap(e, "sample '%s'", it->name) : SKY_OK;
}

/* ------------------------------------------------------------------ all of them */
/* This rank's share. */
static int count_share(const sky_validation *v, sky_ctx *c, sky_confusion *m, sky_err *e)
{
    uint64_t items = sky_finetune_items(v->sampler), rank = (uint64_t)v->at->rank, ranks = (uint64_t)v->at->ranks;
    sky_prefetch *from = NULL;
    if (rank >= items)
        return SKY_OK;
    int rc = sky_fit_prefetch(&from, sky_finetune_source(v->sampler), v->at, v->depth, 0, (items - rank + ranks - 1) / ranks, e), got = 1;
    while (!rc && got > 0) {
        sky_finetune_item *it = NULL;
        got = sky_prefetch_next(from, (void **)&it, e);
        rc = got < 0 ? got : got ? count_one(v, c, it, m, e) : SKY_OK;
        sky_finetune_free(it);
    }
    sky_prefetch_close(from);
    return rc;
}

/* The counts of classes 0..k-1, n[label*k + predicted], of all ranks: exact in double up to 2^53 pixels. */
static int count_all(const sky_validation *v, sky_ctx *c, sky_comm *comm, double *n, sky_err *e)
{
    int k = v->classes;
    sky_confusion m = {0};
    const sky_sync *sync = c->sync;
    int rc = sky_confusion_open(&m, e);
    c->sync = NULL; /* shares differ in number: only the counts are joined */
    if (!rc)
        rc = count_share(v, c, &m, e);
    c->sync = sync;
    const uint64_t *mine = rc ? NULL : sky_confusion_counts(&m);
    for (int i = 0; mine && i < k * k; i++)
        n[i] = (double)mine[(uint32_t)(i / k) * m.side + (uint32_t)(i % k)];
    sky_confusion_close(&m);
    return rc || comm->ranks == 1 ? rc : sky_comm_sum(comm, n, k * k, SKY_F64, e);
}

static json_t *number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

static json_t *figures(const sky_validation *v, const uint64_t *n, double *miou)
{
    sky_mean iou = {0}, f1 = {0};
    uint64_t right = 0, all = 0;
    json_t *classes = json_object();
    int bad = !classes;
    for (int i = 0; i < v->classes && !bad; i++) {
        sky_counts q = sky_counts_of(n, (uint32_t)v->classes, NULL, (uint32_t)i);
        sky_metrics f = sky_metrics_of(&q);
        const char *name = sky_finetune_class_name(v->sampler, i);
        char value[16];
        snprintf(value, sizeof value, "%d", sky_finetune_class_value(v->sampler, i));
        sky_mean_add(&iou, f.iou);
        sky_mean_add(&f1, f.dice);
        right += q.tp;
        all += q.tp + q.fn;
        bad = isfinite(f.iou) && json_object_set_new(classes, name ? name : value, json_real(f.iou));
    }
    *miou = sky_mean_get(&iou);
    json_t *o = bad ? NULL : json_pack("{s:o, s:o, s:o, s:O}", "miou", number(*miou), "mf1", number(sky_mean_get(&f1)),
                                       "accuracy", number(all ? (double)right / (double)all : NAN), "iou", classes);
    json_decref(classes);
    return o;
}

int sky_seg_validate(const sky_validation *v, sky_ctx *c, sky_comm *k, double *quality, json_t **details, sky_err *e)
{
    size_t cells = (size_t)v->classes * (size_t)v->classes;
    double *sum = sky_calloc(cells, sizeof *sum);
    uint64_t *n = sky_calloc(cells, sizeof *n);
    int rc = sum && n ? count_all(v, c, k, sum, e) : sky_fail(e, SKY_ENOMEM, "out of memory");
    for (size_t i = 0; !rc && i < cells; i++)
        n[i] = (uint64_t)sum[i];
    if (!rc && !(*details = figures(v, n, quality)))
        rc = sky_fail(e, SKY_ENOMEM, "out of memory");
    sky_free(sum);
    sky_free(n);
    return rc;
}
