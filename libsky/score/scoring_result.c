/* scoring_result.c -- from the counts to the figures. */
#include "base/mem.h"
#include "score/scoring_internal.h"

#include <math.h>
#include <string.h>

static int no_memory(sky_err *e) { return sky_fail(e, SKY_ENOMEM, "scores: out of memory"); }

/* Class index of a value: the last row for values in no class. */
static int row_of(const sky_scores *r, int value)
{
    for (int i = 0; i < r->side - 1; i++)
        if (r->values[i] == value)
            return i;
    return r->side - 1;
}

/* Values in no class: 0 counts as "other" (background nobody listed); anything else was predicted by mistake. */
static int check_predicted(const sky_scoring *s, int value, sky_err *e)
{
    if (value == 0 || !s->cls->given || sky_classes_find(s->cls, value))
        return SKY_OK;
    return sky_fail(e, SKY_ECORRUPT, "predictions: value %d is in no class", value);
}

static int fill_matrix(sky_scoring *s, sky_scores *r, const uint64_t *n, sky_err *e)
{
    uint32_t side = s->joint.side;
    for (uint32_t l = 0; l < side; l++) {
        if (s->cls->ignore[l])
            continue;
        int row = row_of(r, (int)l);
        for (uint32_t p = 0; p < side; p++) {
            uint64_t k = n[(uint64_t)l * side + p];
            if (!k)
                continue;
            int rc = check_predicted(s, (int)p, e);
            if (rc)
                return rc;
            r->matrix[row * r->side + row_of(r, (int)p)] += k;
        }
    }
    return SKY_OK;
}

/* Without a class table the values that were predicted are classes too. */
static int see_predicted(sky_scoring *s, const uint64_t *n, sky_err *e)
{
    uint32_t side = s->joint.side;
    int rc = SKY_OK;
    for (uint32_t p = 0; !rc && p < side && !s->cls->given; p++)
        for (uint32_t l = 0; l < side; l++)
            if (n[(uint64_t)l * side + p] && !s->cls->ignore[l]) {
                rc = sky_classes_see(s->cls, (int)p, e);
                break;
            }
    return rc;
}

static int multi(sky_scoring *s, sky_scores *r, sky_err *e)
{
    const uint64_t *n = sky_confusion_counts(&s->joint);
    int rc = see_predicted(s, n, e);
    if (rc)
        return rc;
    r->side = s->cls->n + 1;
    r->values = sky_calloc((size_t)r->side, sizeof *r->values);
    r->matrix = sky_calloc((size_t)r->side * (size_t)r->side, 8);
    r->c = sky_calloc((size_t)r->side, sizeof *r->c);
    if (!r->values || !r->matrix || !r->c)
        return no_memory(e);
    for (int i = 0; i < s->cls->n; i++)
        r->values[i] = s->cls->list[i].value;
    r->values[r->side - 1] = -1;
    rc = fill_matrix(s, r, n, e);
    for (int i = 0; i < s->cls->n; i++) {
        r->c[i].cls = &s->cls->list[i];
        r->c[i].images = s->of[r->values[i]].images;
        r->c[i].counts = sky_counts_of(r->matrix, (uint32_t)r->side, NULL, (uint32_t)i);
    }
    r->n = s->cls->n;
    return rc;
}

static int binary(sky_scoring *s, sky_scores *r, sky_err *e)
{
    r->c = sky_calloc((size_t)s->cls->n + 1, sizeof *r->c);
    if (!r->c)
        return no_memory(e);
    for (int i = 0; i < s->cls->n; i++) {
        const sky_class *k = &s->cls->list[i];
        if (k->background && !s->of[k->value].images)
            continue;
        r->c[r->n].cls = k;
        r->c[r->n].images = s->of[k->value].images;
        r->c[r->n++].counts = s->of[k->value].counts;
    }
    return SKY_OK;
}

static void means(sky_scores *r)
{
    double weighted = 0, weight = 0;
    for (int i = 0; i < r->n; i++) {
        sky_class_score *c = &r->c[i];
        c->m = sky_metrics_of(&c->counts);
        c->oneshot = sky_oneshot_of(&c->counts);
        c->absent = isnan(c->m.iou);
        if (c->absent)
            c->oneshot = (sky_oneshot_metrics){NAN, NAN};
        sky_mean_add(&r->iou, c->m.iou);
        sky_mean_add(&r->dice, c->m.dice);
        sky_mean_add(&r->precision, c->m.precision);
        sky_mean_add(&r->recall, c->m.recall);
        sky_mean_add(&r->oneshot_iou, c->oneshot.iou);
        sky_mean_add(&r->oneshot_acc, c->oneshot.acc);
        double pixels = (double)(c->counts.tp + c->counts.fn);
        weight += pixels;
        weighted += pixels > 0 ? pixels * c->m.iou : 0;
    }
    r->weighted_iou = weight > 0 ? weighted / weight : NAN;
}

/* Multi-class: the diagonal of the matrix. Binary: right pixels of all masks. */
static void accuracy(sky_scores *r)
{
    uint64_t right = 0;
    for (int i = 0; r->multi && i < r->side; i++) {
        right += r->matrix[i * r->side + i];
        for (int k = 0; k < r->side; k++)
            r->pixels += r->matrix[i * r->side + k];
    }
    for (int i = 0; !r->multi && i < r->n; i++) {
        const sky_counts *c = &r->c[i].counts;
        right += c->tp + c->tn;
        r->pixels += c->tp + c->tn + c->fp + c->fn;
    }
    r->accuracy = r->pixels ? (double)right / (double)r->pixels : NAN;
}

int sky_scoring_result(sky_scoring *s, sky_scores *r, sky_err *e)
{
    *r = (sky_scores){.multi = s->protocol == SKY_PROTOCOL_MULTI, .model = s->model, .wanted = s->nwant, .scored = s->scored};
    if (s->protocol == SKY_PROTOCOL_UNKNOWN)
        return sky_fail(e, SKY_ECORRUPT, "no predictions: the input ends without a sample");
    memcpy(r->problems, s->problems, sizeof r->problems);
    int rc = r->multi ? multi(s, r, e) : binary(s, r, e);
    if (rc) {
        sky_scores_free(r);
        return rc;
    }
    means(r);
    accuracy(r);
    return SKY_OK;
}

void sky_scores_free(sky_scores *r)
{
    sky_free(r->c);
    sky_free(r->values);
    sky_free(r->matrix);
    *r = (sky_scores){0};
}
