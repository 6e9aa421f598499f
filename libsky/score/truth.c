#include "score/truth.h"
#include "base/mem.h"
#include "format/stream.h"

#include <stdlib.h>
#include <string.h>

struct item {
    const char *id; /* of the shard's index */
    int shard;
    uint64_t record;
    uint16_t *present; /* owned; NULL: not known yet */
    int npresent;
};

struct sky_truth {
    sky_shard **shard;
    char *const *paths;
    int nshards;
    const char *field;
    sky_classes *cls;
    struct item *item; /* sorted by id */
    uint64_t n, cap;
    int have;          /* meta was taken into cls */
    int64_t read;      /* item in the buffers below; -1: none */
    sky_classmap map;
    uint8_t *valid;
};

/* ---- classes ---------------------------------------------------------------------------------------------------- */

static int take_meta(sky_truth *t, const json_t *meta, sky_err *e)
{
    t->have = 1;
    return sky_classes_meta(t->cls, meta, e);
}

/* A value the table does not name is damage, but for 0: unlisted, it is background. Without a table every value is a class. */
static int know(sky_truth *t, const struct item *it, int64_t v, sky_err *e)
{
    sky_classes *c = t->cls;
    if (v < 0 || v >= SKY_CLASS_VALUES)
        return sky_fail(e, SKY_ECORRUPT, "%s: sample '%s': field '%s': label value %lld; expected 0 to %d", t->paths[it->shard], it->id, t->field, (long long)v, SKY_CLASS_VALUES - 1);
    if (!c->given)
        return sky_classes_see(c, (int)v, e);
    if (v == 0 || c->ignore[v] || sky_classes_find(c, (int)v))
        return SKY_OK;
    return sky_fail(e, SKY_ECORRUPT, "%s: sample '%s': field '%s': label value %lld is in no class and not ignored", t->paths[it->shard], it->id, t->field, (long long)v);
}

static int set_present(sky_truth *t, struct item *it, const uint16_t *v, int n, sky_err *e)
{
    it->present = sky_calloc((size_t)n + 1, 2);
    if (!it->present)
        return sky_fail(e, SKY_ENOMEM, "labels: out of memory");
    for (int i = 0; i < n; i++) {
        int rc = know(t, it, v[i], e);
        if (rc)
            return rc;
        if (!t->cls->ignore[v[i]])
            it->present[it->npresent++] = v[i];
    }
    return SKY_OK;
}

static int present_from_index(sky_truth *t, struct item *it, const json_t *list, sky_err *e)
{
    size_t n = json_array_size(list);
    uint16_t *v = sky_calloc(n + 1, 2);
    int rc = v ? SKY_OK : sky_fail(e, SKY_ENOMEM, "labels: out of memory");
    for (size_t i = 0; !rc && i < n; i++) {
        int64_t x = json_integer_value(json_array_get(list, i));
        if (x < 0 || x >= SKY_CLASS_VALUES)
            rc = know(t, it, x, e);
        else
            v[i] = (uint16_t)x;
    }
    if (!rc)
        rc = set_present(t, it, v, (int)n, e);
    sky_free(v);
    return rc;
}

static int present_from_map(sky_truth *t, struct item *it, sky_err *e)
{
    uint8_t seen[SKY_CLASS_VALUES] = {0};
    uint16_t list[SKY_CLASS_VALUES];
    int n = 0;
    uint64_t pixels = t->map.h * t->map.w;
    for (uint64_t i = 0; i < pixels; i++) {
        uint16_t v = t->map.dtype == SKY_U8 ? ((uint8_t *)t->map.v)[i] : ((uint16_t *)t->map.v)[i];
        if (v >= SKY_CLASS_VALUES)
            return know(t, it, v, e);
        seen[v] = 1;
    }
    for (int v = 0; v < SKY_CLASS_VALUES; v++)
        if (seen[v])
            list[n++] = (uint16_t)v;
    return set_present(t, it, list, n, e);
}

int sky_truth_present(sky_truth *t, uint64_t i, const uint16_t **values, int *n, sky_err *e)
{
    struct item *it = &t->item[i];
    if (!it->present) {
        const sky_classmap *m;
        const uint8_t *valid;
        int rc = sky_truth_read(t, i, &m, &valid, e);
        if (!rc && !it->present)
            rc = present_from_map(t, it, e);
        if (rc)
            return rc;
    }
    *values = it->present;
    *n = it->npresent;
    return SKY_OK;
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static int is_absent(const json_t *entry, const char *field)
{
    const json_t *list = json_object_get(entry, "absent");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));
        if (s && !strcmp(s, field))
            return 1;
    }
    return 0;
}

static int add_entry(sky_truth *t, int shard, uint64_t record, sky_err *e)
{
    const json_t *entry = sky_shard_entry(t->shard[shard], record, e);
    if (!entry)
        return sky_wrap(e, "labels");
    const char *id = json_string_value(json_object_get(entry, "id"));
    if (!id)
        return sky_fail(e, SKY_ECORRUPT, "%s: index entry %llu has no id", t->paths[shard], (unsigned long long)record);
    if (is_absent(entry, t->field))
        return SKY_OK;
    if (t->n == t->cap) {
        uint64_t cap = t->cap ? 2 * t->cap : 256;
        struct item *p = sky_realloc(t->item, t->n * sizeof *p, cap * sizeof *p);
        if (!p)
            return sky_fail(e, SKY_ENOMEM, "labels: out of memory");
        t->item = p;
        t->cap = cap;
    }
    t->item[t->n++] = (struct item){.id = id, .shard = shard, .record = record};
    return SKY_OK;
}

static int add_shard(sky_truth *t, int i, sky_err *e)
{
    int rc = sky_shard_open(&t->shard[i], t->paths[i], NULL, e);
    if (rc)
        return sky_wrap(e, "labels");
    t->nshards++;
    const json_t *meta = json_object_get(json_object_get(sky_shard_schema(t->shard[i]), "fields"), t->field);
    if (!t->have && (json_object_get(meta, "classes") || json_object_get(meta, "ignore")))
        rc = take_meta(t, meta, e);
    for (uint64_t k = 0; !rc && k < sky_shard_count(t->shard[i]); k++)
        rc = add_entry(t, i, k, e);
    return rc;
}

static int by_id(const void *a, const void *b) { return strcmp(((const struct item *)a)->id, ((const struct item *)b)->id); }

static int sort_items(sky_truth *t, sky_err *e)
{
    if (t->n == 0)
        return sky_fail(e, SKY_ECORRUPT, "labels: no sample has the field '%s'", t->field);
    qsort(t->item, t->n, sizeof *t->item, by_id);
    for (uint64_t i = 1; i < t->n; i++)
        if (!strcmp(t->item[i - 1].id, t->item[i].id))
            return sky_fail(e, SKY_ECORRUPT, "labels: sample '%s' is there twice: record %llu of %s, record %llu of %s", t->item[i].id, (unsigned long long)t->item[i - 1].record,
                            t->paths[t->item[i - 1].shard], (unsigned long long)t->item[i].record, t->paths[t->item[i].shard]);
    return SKY_OK;
}

/* Where the schema does not say what the classes are, the first sample may. */
static int learn_classes(sky_truth *t, sky_err *e)
{
    const sky_classmap *m;
    const uint8_t *valid;
    int rc = t->have ? SKY_OK : sky_truth_read(t, 0, &m, &valid, e);
    for (uint64_t i = 0; !rc && i < t->n; i++) {
        const json_t *entry = sky_shard_entry(t->shard[t->item[i].shard], t->item[i].record, e);
        if (!entry)
            return sky_wrap(e, "labels");
        const json_t *list = json_object_get(json_object_get(entry, "classes"), t->field);
        if (list)
            rc = present_from_index(t, &t->item[i], list, e);
    }
    return rc;
}

int sky_truth_open(sky_truth **out, char *const *paths, int n, const char *field, sky_classes *cls, sky_err *e)
{
    sky_truth *t = sky_calloc(1, sizeof *t);
    if (!t)
        return sky_fail(e, SKY_ENOMEM, "labels: out of memory");
    *t = (sky_truth){.paths = paths, .field = field, .cls = cls, .read = -1, .shard = sky_calloc((size_t)n, sizeof *t->shard)};
    int rc = t->shard ? SKY_OK : sky_fail(e, SKY_ENOMEM, "labels: out of memory");
    for (int i = 0; !rc && i < n; i++)
        rc = add_shard(t, i, e);
    if (!rc)
        rc = sort_items(t, e);
    if (!rc)
        rc = learn_classes(t, e);
    if (rc)
        sky_truth_close(t);
    else
        *out = t;
    return rc;
}

void sky_truth_close(sky_truth *t)
{
    if (!t)
        return;
    for (uint64_t i = 0; i < t->n; i++)
        sky_free(t->item[i].present);
    for (int i = 0; i < t->nshards; i++)
        sky_shard_close(t->shard[i]);
    sky_classmap_free(&t->map);
    sky_free(t->valid);
    sky_free(t->item);
    sky_free(t->shard);
    sky_free(t);
}

uint64_t sky_truth_count(const sky_truth *t) { return t->n; }
const char *sky_truth_id(const sky_truth *t, uint64_t i) { return t->item[i].id; }

int64_t sky_truth_find(const sky_truth *t, const char *id)
{
    struct item want = {.id = id};
    const struct item *it = bsearch(&want, t->item, t->n, sizeof want, by_id);
    return it ? it - t->item : -1;
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static int read_fields(sky_truth *t, const struct item *it, const char *second, sky_sample *s, sky_err *e)
{
    const char *names[] = {t->field, second, NULL};
    int rc = sky_shard_read(t->shard[it->shard], it->record, names, s, e);
    return rc ? sky_wrap(e, "labels: %s: record %llu '%s'", t->paths[it->shard], (unsigned long long)it->record, it->id) : SKY_OK;
}

static int bad_mask(sky_truth *t, const struct item *it, const char *name, const char *what, sky_err *e)
{
    return sky_fail(e, SKY_ECORRUPT, "%s: sample '%s': field '%s' %s; expected the U8 mask of '%s'", t->paths[it->shard], it->id, name, what, t->field);
}

/* The mask that the label's meta names under "valid" is another field of the sample. */
static int read_valid(sky_truth *t, const struct item *it, const char *name, sky_err *e)
{
    sky_sample s;
    sky_sample_init(&s);
    int rc = read_fields(t, it, name, &s, e);
    sky_field *f = rc ? NULL : sky_sample_field(&s, name);
    if (!rc && (!f || !f->data))
        rc = bad_mask(t, it, name, "is missing", e);
    else if (!rc && (sky_dtype_size(f->dtype) != 1 || sky_field_count(f) != t->map.h * t->map.w))
        rc = bad_mask(t, it, name, "has another type or size", e);
    if (!rc) {
        t->valid = f->data;
        f->data = NULL;
    }
    sky_sample_free(&s);
    return rc;
}

static int read_label(sky_truth *t, struct item *it, sky_sample *s, sky_err *e)
{
    int rc = read_fields(t, it, NULL, s, e);
    if (rc)
        return rc;
    sky_field *f = sky_sample_field(s, t->field);
    if (!f)
        return sky_fail(e, SKY_ECORRUPT, "%s: sample '%s' has no field '%s'", t->paths[it->shard], it->id, t->field);
    if (!t->have)
        rc = take_meta(t, f->meta, e);
    if (!rc)
        rc = sky_classmap_take(&t->map, f, e);
    if (rc)
        return sky_wrap(e, "labels: %s: sample '%s'", t->paths[it->shard], it->id);
    const char *mask = json_string_value(json_object_get(f->meta, "valid"));
    return mask ? read_valid(t, it, mask, e) : SKY_OK;
}

int sky_truth_read(sky_truth *t, uint64_t i, const sky_classmap **m, const uint8_t **valid, sky_err *e)
{
    if (t->read != (int64_t)i) {
        sky_sample s;
        sky_classmap_free(&t->map);
        sky_free(t->valid);
        t->valid = NULL;
        t->read = -1;
        sky_sample_init(&s);
        int rc = read_label(t, &t->item[i], &s, e);
        sky_sample_free(&s);
        if (rc)
            return rc;
        t->read = (int64_t)i;
    }
    *m = &t->map;
    *valid = t->valid;
    return SKY_OK;
}

int sky_truth_sample(sky_truth *t, uint64_t i, sky_sample *out, sky_err *e)
{
    const struct item *it = &t->item[i];
    int rc = sky_shard_read(t->shard[it->shard], it->record, NULL, out, e);
    return rc ? sky_wrap(e, "labels: %s: record %llu '%s'", t->paths[it->shard], (unsigned long long)it->record, it->id) : SKY_OK;
}
