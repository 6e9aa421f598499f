/* wanted.c -- the predictions a run has to hold, from the prompts file or from the labels themselves. */
#include "base/mem.h"
#include "score/scoring_internal.h"
#include "score/wanted.h"

#include <stdlib.h>

static int add(sky_scoring *s, uint64_t truth, int cls, sky_err *e)
{
    sky_wanted *w = sky_grow(s->want, s->nwant, &s->cap, sizeof *w);
    if (!w)
        return sky_fail(e, SKY_ENOMEM, "wanted predictions: out of memory");
    s->want = w;
    w[s->nwant++] = (sky_wanted){truth, cls, 0};
    return SKY_OK;
}

static int from_prompts(sky_scoring *s, sky_err *e)
{
    if (sky_prompts_multi(s->prompts) != (s->protocol == SKY_PROTOCOL_MULTI))
        return sky_fail(e, SKY_ECORRUPT, "the prompts file is of the %s protocol, the predictions are not", sky_prompts_multi(s->prompts) ? "multi-class" : "binary");
    int rc = SKY_OK;
    for (uint64_t i = 0; !rc && i < sky_prompts_count(s->prompts); i++) {
        const sky_prompt *p = sky_prompts_at(s->prompts, i);
        int64_t t = sky_truth_find(s->truth, p->query);
        if (t < 0)
            rc = sky_fail(e, SKY_ECORRUPT, "prompts: query '%s' has no label", p->query);
        else if (p->cls != SKY_ALL_CLASSES && !sky_classes_find(s->cls, p->cls) && s->cls->given)
            rc = sky_fail(e, SKY_ECORRUPT, "prompts: query '%s': class %d is in no class table, or ignored", p->query, p->cls);
        else
            rc = add(s, (uint64_t)t, p->cls, e);
    }
    return rc;
}

static int from_labels(sky_scoring *s, sky_err *e)
{
    int rc = SKY_OK;
    for (uint64_t i = 0; !rc && i < sky_truth_count(s->truth); i++) {
        const uint16_t *v;
        int n = 0;
        if (s->protocol == SKY_PROTOCOL_MULTI) {
            rc = add(s, i, SKY_ALL_CLASSES, e);
            continue;
        }
        rc = sky_truth_present(s->truth, i, &v, &n, e);
        for (int k = 0; !rc && k < n; k++)
            if (sky_classes_find(s->cls, v[k]) && !sky_classes_background(s->cls, v[k]))
                rc = add(s, i, v[k], e);
    }
    return rc;
}

static int compare(const void *a, const void *b)
{
    const sky_wanted *x = a, *y = b;
    return x->truth != y->truth ? (x->truth > y->truth) - (x->truth < y->truth) : (x->cls > y->cls) - (x->cls < y->cls);
}

int sky_wanted_make(sky_scoring *s, sky_err *e)
{
    int rc = s->prompts ? from_prompts(s, e) : from_labels(s, e);
    if (rc)
        return rc;
    if (!s->nwant)
        return sky_fail(e, SKY_ECORRUPT, "the labels hold no class to score but background and ignored values");
    qsort(s->want, s->nwant, sizeof *s->want, compare);
    return SKY_OK;
}

sky_wanted *sky_wanted_find(sky_scoring *s, uint64_t truth, int cls)
{
    sky_wanted key = {truth, cls, 0};
    return bsearch(&key, s->want, s->nwant, sizeof key, compare);
}

int sky_scoring_missing(sky_scoring *s, sky_err *e)
{
    for (; s->next_missing < s->nwant; s->next_missing++) {
        const sky_wanted *w = &s->want[s->next_missing];
        if (w->seen)
            continue;
        s->next_missing++;
        s->problems[SKY_SCORE_MISSING]++;
        if (w->cls == SKY_ALL_CLASSES)
            return sky_fail(e, SKY_ECORRUPT, "no prediction for query '%s'", sky_truth_id(s->truth, w->truth));
        return sky_fail(e, SKY_ECORRUPT, "no prediction for query '%s', class %d", sky_truth_id(s->truth, w->truth), w->cls);
    }
    return SKY_OK;
}
