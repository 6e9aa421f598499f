#include "train/run.h"
#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "train/run_keys.h"

#include <math.h>
#include <string.h>

enum { FILE_LIMIT = 1 << 20 };

typedef struct {
    sky_run *r;
    json_t *lines;
    const char *name;
    sky_err *e;
} reader;

/* "NAME: line N: 'key': ..." */
static int refuse(const reader *x, int code, const char *key, const char *fmt, ...) SKY_PRINTF(4, 5);
static int refuse(const reader *x, int code, const char *key, const char *fmt, ...)
{
    char text[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    const json_t *line = json_object_get(x->lines, key);
    if (line)
        return sky_fail(x->e, code, "%s: line %lld: '%s': %s", x->name, (long long)json_integer_value(line), key, text);
    return sky_fail(x->e, code, "%s: '%s': %s", x->name, key, text);
}

static int wrong_type(const reader *x, const char *key, const char *wanted, const json_t *v)
{
    return refuse(x, SKY_ECORRUPT, key, "expected %s, found %s", wanted, sky_json_type(v));
}

/* ---- one value -------------------------------------------------------------------------------------------------------- */

static void *place(const reader *x, size_t at) { return (char *)x->r + at; }

static int read_real(const reader *x, const sky_run_key *k, const json_t *v, double *out)
{
    if (!json_is_number(v))
        return wrong_type(x, k->path, "a number", v);
    double d = json_number_value(v);
    if (!(d >= k->min && d <= k->max))
        return refuse(x, SKY_ELIMIT, k->path, "%g is outside %g..%g", d, k->min, k->max);
    *out = d;
    return SKY_OK;
}

static int read_int(const reader *x, const sky_run_key *k, const json_t *v, int64_t *out)
{
    double d;
    if (!json_is_integer(v))
        return wrong_type(x, k->path, "an integer", v);
    int rc = read_real(x, k, v, &d);
    if (!rc)
        *out = json_integer_value(v);
    return rc;
}

/* Items of a list, or the one value itself. */
static size_t items(const json_t *v) { return json_is_array(v) ? json_array_size(v) : 1; }
static const json_t *item(const json_t *v, size_t i) { return json_is_array(v) ? json_array_get(v, i) : v; }

static int count_items(const reader *x, const sky_run_key *k, const json_t *v)
{
    if (items(v) < 1 || items(v) > (size_t)k->n)
        return refuse(x, SKY_ECORRUPT, k->path, "expected 1 to %d values, found %zu", k->n, items(v));
    return SKY_OK;
}

static int read_reals(const reader *x, const sky_run_key *k, const json_t *v)
{
    sky_reals *out = place(x, k->at);
    int rc = count_items(x, k, v);
    for (size_t i = 0; !rc && i < items(v); i++)
        rc = read_real(x, k, item(v, i), &out->v[i]);
    out->n = rc ? 0 : (int)items(v);
    return rc;
}

static int read_ints(const reader *x, const sky_run_key *k, const json_t *v)
{
    int64_t *out = place(x, k->at);
    int rc = count_items(x, k, v);
    for (size_t i = 0; !rc && i < items(v); i++)
        rc = read_int(x, k, item(v, i), &out[i]);
    if (!rc)
        *(int *)place(x, k->count) = (int)items(v);
    return rc;
}

static int read_pair(const reader *x, const sky_run_key *k, const json_t *v)
{
    double *out = place(x, k->at);
    if (!json_is_array(v) || json_array_size(v) != 2)
        return refuse(x, SKY_ECORRUPT, k->path, "expected two numbers, [from, to]");
    int rc = read_real(x, k, json_array_get(v, 0), &out[0]);
    if (!rc)
        rc = read_real(x, k, json_array_get(v, 1), &out[1]);
    return rc || out[0] <= out[1] ? rc : refuse(x, SKY_ECORRUPT, k->path, "the first number is above the second");
}

static int read_names(const reader *x, const sky_run_key *k, const json_t *v)
{
    sky_names *out = place(x, k->at);
    int rc = count_items(x, k, v);
    if (rc)
        return rc;
    const char **list = sky_calloc(items(v) + 1, sizeof *list);
    void **owned = sky_realloc(x->r->owned, (size_t)x->r->nowned * sizeof *owned, (size_t)(x->r->nowned + 1) * sizeof *owned);
    if (owned)
        x->r->owned = owned;
    if (!list || !owned) {
        sky_free(list);
        return sky_fail(x->e, SKY_ENOMEM, "%s: out of memory", x->name);
    }
    owned[x->r->nowned++] = list;
    for (size_t i = 0; i < items(v); i++) {
        list[i] = json_string_value(item(v, i));
        if (!list[i] || !*list[i])
            return list[i] ? refuse(x, SKY_ECORRUPT, k->path, "an empty text") : wrong_type(x, k->path, "texts", item(v, i));
    }
    *out = (sky_names){list, (int)items(v)};
    return SKY_OK;
}

static int read_word(const reader *x, const sky_run_key *k, const json_t *v)
{
    const char *s = json_string_value(v);
    char all[100] = "";
    size_t n = 0;
    for (int i = 0; i < 4 && k->words[i]; i++) {
        if (s && !strcmp(s, k->words[i]))
            return *(int *)place(x, k->at) = i, SKY_OK;
        n += (size_t)snprintf(all + n, sizeof all - n, "%s%s", i ? ", " : "", k->words[i]);
    }
    return refuse(x, SKY_ECORRUPT, k->path, "expected one of %s", all);
}

static int read_value(const reader *x, const sky_run_key *k, const json_t *v)
{
    switch (k->type) {
    case SKY_RUN_STR:
        if (!json_is_string(v) || !*json_string_value(v))
            return wrong_type(x, k->path, "a text", v);
        *(const char **)place(x, k->at) = json_string_value(v);
        return SKY_OK;
    case SKY_RUN_NAMES: return read_names(x, k, v);
    case SKY_RUN_BOOL:
        if (!json_is_boolean(v))
            return wrong_type(x, k->path, "true or false", v);
        *(int *)place(x, k->at) = json_is_true(v);
        return SKY_OK;
    case SKY_RUN_WORD: return read_word(x, k, v);
    case SKY_RUN_INT: return read_int(x, k, v, place(x, k->at));
    case SKY_RUN_INTS: return read_ints(x, k, v);
    case SKY_RUN_REAL: return read_real(x, k, v, place(x, k->at));
    case SKY_RUN_REALS: return read_reals(x, k, v);
    case SKY_RUN_PAIR: return read_pair(x, k, v);
    }
    return SKY_OK;
}

/* ---- the tree ----------------------------------------------------------------------------------------------------------- */

/* model: NAME, or a mapping with `base` and the keys that differ (sky-config(5)). */
static int read_model(const reader *x, const json_t *v)
{
    const json_t *base = json_is_object(v) ? json_object_get(v, "base") : v;
    if (!json_is_string(base))
        return wrong_type(x, "model", "a configuration's name, or a mapping with 'base'", v);
    int rc = sky_config_load(&x->r->model, json_string_value(base), x->e);
    if (rc || !json_is_object(v))
        return rc ? sky_wrap(x->e, "%s: 'model'", x->name) : rc;
    json_t *rest = sky_json_copy(v);
    if (!rest)
        return sky_fail(x->e, SKY_ENOMEM, "%s: out of memory", x->name);
    json_object_del(rest, "base");
    char where[300];
    const json_t *line = json_object_get(x->lines, "model");
    snprintf(where, sizeof where, "%.200s: line %lld: 'model'", x->name, (long long)json_integer_value(line));
    rc = sky_config_parse(&x->r->model, rest, where, x->e);
    json_decref(rest);
    return rc;
}

/* head: path of the mapping o, with a dot at its end unless it is the whole file. */
static int read_mapping(const reader *x, const char *head, const json_t *o)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)o, key, v)
    {
        char path[96];
        int n = snprintf(path, sizeof path, "%s%s", head, key), section = 0;
        const sky_run_key *k = sky_run_keys;
        for (; k->path && n < (int)sizeof path - 1 && strcmp(k->path, path); k++)
            section |= !strncmp(k->path, path, (size_t)n) && k->path[n] == '.';
        if (n >= (int)sizeof path - 1)
            return sky_fail(x->e, SKY_ECORRUPT, "%s: unknown key '%.60s...'", x->name, path);
        int rc;
        if (k->path) {
            rc = read_value(x, k, v);
        } else if (!strcmp(path, "model")) {
            rc = read_model(x, v);
        } else if (section && json_is_object(v)) {
            memcpy(path + n, ".", 2);
            rc = read_mapping(x, path, v);
        } else {
            rc = section ? wrong_type(x, path, "a mapping", v) : refuse(x, SKY_ECORRUPT, path, "unknown key");
        }
        if (rc)
            return rc;
    }
    return SKY_OK;
}

/* ---- defaults and rules between keys ---------------------------------------------------------------------------------------- */

static int required(const reader *x, const char *key, int given) { return given ? SKY_OK : refuse(x, SKY_ECORRUPT, key, "is missing"); }

static void take(double *v, double otherwise) { *v = isnan(*v) ? otherwise : *v; }

static int levels(const sky_run *r) { return r->segment.swin ? 4 : r->model.vit_nout; }

static void fill_in(sky_run *r)
{
    int pre = r->task == SKY_TASK_PRETRAIN;
    const sky_config *m = &r->model;
    take(&r->optimizer.lr, pre ? m->lr : NAN);
    take(&r->optimizer.weight_decay, pre ? m->weight_decay : 0);
    take(&r->optimizer.clip, pre ? m->clip_norm : 0);
    take(&r->rules.layer_decay, pre ? m->layer_decay : 1);
    r->schedule.total = r->schedule.total ? r->schedule.total : (uint64_t)r->steps;
    if (r->schedule.warmup == UINT64_MAX)
        r->schedule.warmup = r->schedule.total / 10 < 1000 ? r->schedule.total / 10 : 1000;
    if (!r->segment.neck_scales.n)
        for (int i = 0; i < levels(r); i++)
            r->segment.neck_scales.v[r->segment.neck_scales.n++] = 1;
}

static int check_segment(const reader *x)
{
    const sky_run *r = x->r;
    int rc = required(x, "optimizer.lr", !isnan(r->optimizer.lr));
    if (!rc)
        rc = required(x, "segment.classes", r->segment.classes > 0);
    if (!rc && !r->segment.bands.n)
        rc = refuse(x, SKY_ECORRUPT, "segment.bands", "is missing: the names of the bands of field '%s', in order; bands that the data do not name get names here",
                    r->segment.field);
    if (!rc)
        rc = required(x, "augment.crop", r->augment.crop > 0);
    if (!rc && r->segment.neck_scales.n != levels(r))
        rc = refuse(x, SKY_ECORRUPT, "segment.neck_scales", "expected one per level of the backbone, %d, found %d", levels(r), r->segment.neck_scales.n);
    if (!rc && r->segment.class_weight.n && r->segment.class_weight.n != r->segment.classes)
        rc = refuse(x, SKY_ECORRUPT, "segment.class_weight", "expected one per class, %lld, found %d", (long long)r->segment.classes, r->segment.class_weight.n);
    return rc;
}

static int check(const reader *x)
{
    const sky_run *r = x->r;
    int rc = required(x, "model", json_object_get(r->json, "model") != NULL);
    if (!rc)
        rc = required(x, "steps", r->steps > 0);
    if (!rc)
        rc = required(x, "data.train", r->data.train.n > 0);
    if (!rc && r->batch % r->accumulate)
        rc = refuse(x, SKY_ECORRUPT, "accumulate", "%lld does not divide the batch of %lld", (long long)r->accumulate, (long long)r->batch);
    if (!rc && r->schedule.warmup > r->schedule.total)
        rc = refuse(x, SKY_ECORRUPT, "schedule.warmup", "%llu steps are more than all %llu", (unsigned long long)r->schedule.warmup, (unsigned long long)r->schedule.total);
    if (!rc && (r->validate.nfrom || r->validate.n > 1) && r->validate.nfrom != r->validate.n)
        rc = refuse(x, SKY_ECORRUPT, "validate.from", "expected as many numbers as in 'every', %d, found %d", r->validate.n, r->validate.nfrom);
    for (int i = 0; i < r->validate.nfrom && !rc; i++)
        if (i ? r->validate.from[i] <= r->validate.from[i - 1] : r->validate.from[0] != 0)
            rc = refuse(x, SKY_ECORRUPT, "validate.from", "expected ascending numbers that begin with 0");
    static const char *const mean[] = {"normalise.hr.mean", "normalise.s2.mean", "normalise.s1.mean"};
    for (int i = 0; i < 3 && !rc; i++)
        if (r->normalise[i].mean.n != r->normalise[i].std.n)
            rc = refuse(x, SKY_ECORRUPT, mean[i], "%d means, but %d deviations", r->normalise[i].mean.n, r->normalise[i].std.n);
    return rc || r->task == SKY_TASK_PRETRAIN ? rc : check_segment(x);
}

int sky_run_parse(sky_run *r, const char *text, size_t n, const char *name, sky_err *e)
{
    *r = sky_run_defaults;
    r->model = sky_config_full;
    reader x = {r, json_object(), name, e};
    r->path = sky_strdup(name);
    r->text = sky_strndup(text, n);
    int rc = x.lines && r->path && r->text ? sky_yaml_parse_lines(&r->json, x.lines, text, n, name, e) : sky_fail(e, SKY_ENOMEM, "%s: out of memory", name);
    if (!rc && !json_is_object(r->json))
        rc = sky_fail(e, SKY_ECORRUPT, "%s: expected a mapping of keys, found %s", name, sky_json_type(r->json));
    if (!rc)
        rc = read_mapping(&x, "", r->json);
    if (!rc) {
        r->dtype = r->dtype == 1 ? SKY_BF16 : SKY_F32;
        fill_in(r);
        rc = check(&x);
    }
    json_decref(x.lines);
    if (rc)
        sky_run_close(r);
    return rc;
}

int sky_run_load(sky_run *r, const char *path, sky_err *e)
{
    char *text;
    size_t n;
    int rc = sky_read_file(&text, &n, path, FILE_LIMIT, e);
    if (rc)
        return *r = (sky_run){0}, rc;
    rc = sky_run_parse(r, text, n, path, e);
    sky_free(text);
    return rc;
}

void sky_run_close(sky_run *r)
{
    for (int i = 0; i < r->nowned; i++)
        sky_free(r->owned[i]);
    sky_free(r->owned);
    json_decref(r->json);
    sky_free(r->path);
    sky_free(r->text);
    *r = (sky_run){0};
}

/* ---- what follows from it ----------------------------------------------------------------------------------------------------- */

void sky_run_rules(const sky_run *r, const sky_params *ps, sky_rule *rule)
{
    sky_config m = r->model;
    m.weight_decay = r->optimizer.weight_decay;
    m.layer_decay = r->rules.layer_decay;
    sky_finetune_rules f = {.weight_decay = r->optimizer.weight_decay, .no_decay = r->rules.no_decay.v, .no_decay_1d = r->rules.no_decay_1d,
                            .layer_decay = r->rules.layer_decay, .layers = r->model.vit_depth, .frozen = r->rules.frozen.v};
    for (int i = 0; i < ps->n; i++)
        rule[i] = r->task == SKY_TASK_PRETRAIN ? sky_rule_pretrain(&m, ps->v[i].name) : sky_rule_finetune(&f, ps->v[i].name, ps->v[i].slot->ndim);
}

int sky_run_validates(const sky_run *r, uint64_t step)
{
    int i = r->validate.n - 1;
    while (i > 0 && (uint64_t)r->validate.from[i] >= step)
        i--;
    uint64_t from = r->validate.nfrom ? (uint64_t)r->validate.from[i] : 0;
    return r->data.val.n && step && (step == (uint64_t)r->steps || (step - from) % (uint64_t)r->validate.every[i] == 0);
}

static int is_due(const sky_run *r, int64_t every, uint64_t step) { return step && (step == (uint64_t)r->steps || step % (uint64_t)every == 0); }
int sky_run_checkpoints(const sky_run *r, uint64_t step) { return is_due(r, r->checkpoint.every, step); }
int sky_run_logs(const sky_run *r, uint64_t step) { return is_due(r, r->log.every, step); }
