#include "base/mem.h"
#include "base/utf8.h"
#include "score/scoring_internal.h"
#include "score/wanted.h"

#include <stdio.h>
#include <string.h>

typedef struct {
    const char *query;
    int protocol, cls;
} who;

int sky_scoring_open(sky_scoring **out, sky_truth *truth, sky_classes *cls, const sky_prompts *prompts, const sky_scoring_opts *o, sky_err *e)
{
    sky_scoring *s = sky_calloc(1, sizeof *s);
    if (!s)
        return sky_fail(e, SKY_ENOMEM, "scoring: out of memory");
    s->truth = truth;
    s->cls = cls;
    s->prompts = prompts;
    s->o = *o;
    s->protocol = SKY_PROTOCOL_UNKNOWN;
    s->of = sky_calloc(SKY_CLASS_VALUES, sizeof *s->of);
    int rc = s->of ? sky_confusion_open(&s->joint, e) : sky_fail(e, SKY_ENOMEM, "scoring: out of memory");
    if (rc)
        sky_scoring_close(s);
    else
        *out = s;
    return rc;
}

void sky_scoring_close(sky_scoring *s)
{
    if (!s)
        return;
    sky_confusion_close(&s->joint);
    sky_free(s->want);
    sky_free(s->of);
    sky_free(s);
}

uint64_t sky_scoring_wanted(const sky_scoring *s) { return s->nwant; }

/* ---- whose prediction is it -------------------------------------------------------------------------------------- */

static int protocol_of(const sky_sample *p, int *protocol, sky_err *e)
{
    const char *name = "multiclass";
    int rc = sky_json_str(p->meta, "protocol", 0, &name, "meta", e);
    if (rc)
        return rc;
    *protocol = !strcmp(name, "binary") ? SKY_PROTOCOL_BINARY : SKY_PROTOCOL_MULTI;
    if (strcmp(name, "binary") && strcmp(name, "multiclass"))
        return sky_fail(e, SKY_ECORRUPT, "meta: protocol '%s'; expected binary or multiclass", name);
    return SKY_OK;
}

/* The id must be what the query and the class make it, so that two programs cannot mean different things by one record. */
static int check_id(const sky_sample *p, const who *w, sky_err *e)
{
    char *want = w->protocol == SKY_PROTOCOL_BINARY ? sky_asprintf("%s#%d", w->query, w->cls) : sky_strdup(w->query);
    if (!want)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    int rc = strcmp(want, p->id) ? sky_fail(e, SKY_ECORRUPT, "its meta makes the id '%s'", want) : SKY_OK;
    sky_free(want);
    return rc;
}

static int identify(const sky_sample *p, who *w, sky_err *e)
{
    int64_t cls = SKY_ALL_CLASSES;
    int rc = protocol_of(p, &w->protocol, e);
    int binary = !rc && w->protocol == SKY_PROTOCOL_BINARY;
    w->query = p->id;
    if (!rc)
        rc = sky_json_str(p->meta, "query", binary, &w->query, "meta", e);
    if (!rc && binary)
        rc = sky_json_i64(p->meta, "class", 1, 0, SKY_CLASS_VALUES - 1, &cls, "meta", e);
    w->cls = (int)cls;
    return rc ? rc : check_id(p, w, e);
}

/* The first prediction decides what the run is about. */
static int same_run(sky_scoring *s, const sky_sample *p, const who *w, sky_err *e)
{
    const char *model = json_string_value(json_object_get(p->meta, "model"));
    char now[sizeof s->model];
    if (s->protocol == SKY_PROTOCOL_UNKNOWN) {
        s->protocol = w->protocol;
        int rc = sky_wanted_make(s, e);
        if (rc)
            return rc;
    }
    if (w->protocol != s->protocol)
        return sky_fail(e, SKY_ECORRUPT, "of the %s protocol after predictions of the other", w->protocol == SKY_PROTOCOL_BINARY ? "binary" : "multi-class");
    if (!model)
        return SKY_OK;
    sky_utf8_clean(now, sizeof now, model);
    if (!s->model[0])
        strcpy(s->model, now);
    return strcmp(now, s->model) ? sky_fail(e, SKY_ECORRUPT, "made by model %.16s, those before by model %.16s", now, s->model) : SKY_OK;
}

static int find_wanted(sky_scoring *s, const who *w, sky_wanted **found, int *problem, sky_err *e)
{
    int64_t t = sky_truth_find(s->truth, w->query);
    *problem = SKY_SCORE_EXTRA;
    if (t < 0)
        return sky_fail(e, SKY_ECORRUPT, "extra: query '%s' has no label", w->query);
    *found = sky_wanted_find(s, (uint64_t)t, w->cls);
    if (!*found && w->cls == SKY_ALL_CLASSES)
        return sky_fail(e, SKY_ECORRUPT, "extra: the prompts do not ask for query '%s'", w->query);
    if (!*found)
        return sky_fail(e, SKY_ECORRUPT, "extra: %s class %d of query '%s'", s->prompts ? "the prompts do not ask for" : "the label does not hold", w->cls, w->query);
    *problem = SKY_SCORE_DUPLICATE;
    return (*found)->seen ? sky_fail(e, SKY_ECORRUPT, "duplicate: predicted before") : SKY_OK;
}

/* ---- counting ---------------------------------------------------------------------------------------------------- */

static int fit(sky_scoring *s, sky_classmap *pred, const sky_classmap *label, sky_err *e)
{
    if (s->o.same_size && (pred->h != label->h || pred->w != label->w))
        return sky_fail(e, SKY_ECORRUPT, "field '%s': %llu x %llu pixels; its label has %llu x %llu", s->o.field, (unsigned long long)pred->h, (unsigned long long)pred->w,
                        (unsigned long long)label->h, (unsigned long long)label->w);
    return sky_classmap_resize(pred, label->h, label->w, e);
}

static int check_mask(const sky_scoring *s, const sky_classmap *pred, sky_err *e)
{
    const uint16_t *v = pred->v;
    for (uint64_t i = 0; i < pred->h * pred->w; i++)
        if (v[i] > 1)
            return sky_fail(e, SKY_ECORRUPT, "field '%s': value %u at row %llu, column %llu; the binary protocol has 0 and 1", s->o.field, v[i],
                            (unsigned long long)(i / pred->w), (unsigned long long)(i % pred->w));
    return SKY_OK;
}

/* Tables of classes and ignored values end there. */
static int check_label(const sky_classmap *label, sky_err *e)
{
    const uint16_t *v = label->v;
    for (uint64_t i = 0; i < label->h * label->w; i++)
        if (v[i] >= SKY_CLASS_VALUES)
            return sky_fail(e, SKY_ELIMIT, "label value %u; at most %d are scored", v[i], SKY_CLASS_VALUES - 1);
    return SKY_OK;
}

static int copy_label(sky_classmap *to, const sky_classmap *from, sky_err *e)
{
    uint64_t n = from->h * from->w * sky_dtype_size(from->dtype);
    *to = *from;
    to->v = sky_alloc(n);
    if (!to->v)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    memcpy(to->v, from->v, n);
    return SKY_OK;
}

static int count_binary(sky_scoring *s, sky_classmap *label, sky_classmap *pred, int cls, sky_err *e)
{
    int rc = sky_classmap_u16(pred, e);
    if (!rc)
        rc = sky_classmap_u16(label, e);
    if (!rc)
        rc = check_mask(s, pred, e);
    if (!rc)
        rc = check_label(label, e);
    if (rc)
        return rc;
    sky_counts_add_mask(&s->of[cls].counts, label->v, pred->v, label->h * label->w, s->cls->ignore, (uint32_t)cls);
    s->of[cls].images++;
    return SKY_OK;
}

static int count_multi(sky_scoring *s, sky_classmap *label, sky_classmap *pred, sky_err *e)
{
    if (label->dtype == SKY_U8 && pred->dtype == SKY_U8) {
        sky_confusion_u8(&s->joint, label->v, pred->v, label->h * label->w);
        return SKY_OK;
    }
    int rc = sky_classmap_u16(pred, e);
    if (!rc)
        rc = sky_classmap_u16(label, e);
    return rc ? rc : sky_confusion_u16(&s->joint, label->v, pred->v, label->h * label->w, e);
}

/* On a copy of the label, which the counting may change; only whole 8-bit maps are counted in place. */
static int count_copy(sky_scoring *s, const sky_wanted *w, const sky_classmap *m, const uint8_t *valid, sky_classmap *pred, sky_err *e)
{
    sky_classmap label = {0};
    int rc = copy_label(&label, m, e);
    if (!rc && valid && label.dtype != pred->dtype) {
        rc = sky_classmap_u16(&label, e);
        if (!rc)
            rc = sky_classmap_u16(pred, e);
    }
    if (!rc && valid)
        sky_classmap_keep(&label, pred, valid);
    if (!rc)
        rc = w->cls == SKY_ALL_CLASSES ? count_multi(s, &label, pred, e) : count_binary(s, &label, pred, w->cls, e);
    sky_classmap_free(&label);
    return rc;
}

static int count(sky_scoring *s, const sky_wanted *w, sky_classmap *pred, sky_err *e)
{
    const sky_classmap *m;
    const uint8_t *valid;
    const uint16_t *present = NULL;
    int n = 0, rc = sky_truth_read(s->truth, w->truth, &m, &valid, e);
    if (!rc && w->cls == SKY_ALL_CLASSES)
        rc = sky_truth_present(s->truth, w->truth, &present, &n, e);
    if (!rc)
        rc = fit(s, pred, m, e);
    if (!rc && w->cls == SKY_ALL_CLASSES && !valid && m->dtype == SKY_U8 && pred->dtype == SKY_U8)
        sky_confusion_u8(&s->joint, m->v, pred->v, m->h * m->w);
    else if (!rc)
        rc = count_copy(s, w, m, valid, pred, e);
    for (int i = 0; !rc && i < n; i++)
        s->of[present[i]].images++;
    return rc;
}

static int score(sky_scoring *s, sky_sample *p, int *problem, sky_err *e)
{
    who w;
    sky_wanted *want = NULL;
    sky_classmap pred = {0};
    *problem = SKY_SCORE_MISSHAPEN;
    int rc = identify(p, &w, e);
    if (!rc) {
        *problem = -1;
        rc = same_run(s, p, &w, e);
    }
    if (!rc)
        rc = find_wanted(s, &w, &want, problem, e);
    if (rc)
        return rc;
    want->seen = 1; /* it came, whatever its state: it is not missing too */
    *problem = SKY_SCORE_MISSHAPEN;
    sky_field *f = sky_sample_field(p, s->o.field);
    rc = f ? sky_classmap_take(&pred, f, e) : sky_fail(e, SKY_ECORRUPT, "no field '%s'", s->o.field);
    if (!rc)
        rc = count(s, want, &pred, e);
    sky_classmap_free(&pred);
    return rc;
}

int sky_scoring_add(sky_scoring *s, sky_sample *p, int *problem, sky_err *e)
{
    sky_err mine = {0};
    int rc = score(s, p, problem, &mine);
    if (!rc) {
        s->scored++;
        return SKY_OK;
    }
    if (rc != SKY_ECORRUPT && rc != SKY_ELIMIT)
        *problem = -1;
    if (*problem >= 0)
        s->problems[*problem]++;
    return sky_fail(e, rc, "prediction %llu '%s': %s", (unsigned long long)p->seq, p->id, mine.msg);
}
