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
    sky_classes options; /* cls as it was before any label: what --classes and --ignore say */
    sky_classes first;   /* with the first label's table, which every other one has to share */
    const struct item *first_of; /* whose; NULL: not read yet */
    struct item *item; /* sorted by id */
    uint64_t n;
    size_t cap;
    int64_t read;      /* item in the buffers below; -1: none */
    sky_classmap map;
    uint8_t *valid;
};

/* ---- classes ---------------------------------------------------------------------------------------------------- */

/* What a label says of its classes; where its own metadata are silent, its shard's schema. NULL: memory. */
static json_t *class_meta(const sky_truth *t, const struct item *it, const json_t *meta)
{
    static const char *const keys[] = {"classes", "ignore", "nodata"};
    const json_t *common = json_object_get(json_object_get(sky_shard_schema(t->shard[it->shard]), "fields"), t->field);
    json_t *o = json_object();
    for (int i = 0; o && i < 3; i++) {
        json_t *v = json_object_get(meta, keys[i]);
        v = v ? v : json_object_get(common, keys[i]);
        if (v && json_object_set(o, keys[i], v)) {
            json_decref(o);
            return NULL;
        }
    }
    return o;
}

static int take_first(sky_truth *t, const struct item *it, const json_t *meta, sky_err *e)
{
    int rc = sky_classes_copy(&t->options, t->cls, e);
    if (!rc)
        rc = sky_classes_meta(t->cls, meta, e);
    if (!rc)
        rc = sky_classes_copy(&t->first, t->cls, e);
    if (!rc)
        t->first_of = it;
    return rc;
}

/* One number must not mean two classes: labels with another table than the first one's cannot be scored with it. */
static int compare_table(const sky_truth *t, const json_t *meta, sky_err *e)
{
    const struct item *f = t->first_of;
    sky_classes own;
    int rc = sky_classes_copy(&own, &t->options, e);
    if (rc)
        return rc;
    if (!(rc = sky_classes_meta(&own, meta, e)))
        rc = sky_classes_same(&own, &t->first, e);
    sky_classes_free(&own);
    return rc ? sky_wrap(e, "another class table than '%s' of %s", f->id, t->paths[f->shard]) : SKY_OK;
}

static int take_meta(sky_truth *t, const struct item *it, const json_t *meta, sky_err *e)
{
    json_t *said = class_meta(t, it, meta);
    int rc = !said ? sky_fail(e, SKY_ENOMEM, "labels: out of memory") : t->first_of ? compare_table(t, said, e) : take_first(t, it, said, e);
    json_decref(said);
    return rc;
}

/* A value the table does not name is damage, but for 0: unlisted, it is background. Without a table every value is a class. */
static int know(sky_truth *t, const struct item *it, int64_t v, sky_err *e)
{
    sky_classes *c = t->cls;
    if (v >= 0 && v < SKY_LABEL_VALUES && c->ignore[v])
        return SKY_OK;
    if (v < 0 || v >= SKY_CLASS_VALUES)
        return sky_fail(e, SKY_ECORRUPT, "%s: sample '%s': field '%s': label value %lld; expected 0 to %d", t->paths[it->shard], it->id, t->field, (long long)v, SKY_CLASS_VALUES - 1);
    if (!c->given)
        return sky_classes_see(c, (int)v, e);
    if (v == 0 || sky_classes_find(c, (int)v))
        return SKY_OK;
    return sky_fail(e, SKY_ECORRUPT, "%s: sample '%s': field '%s': label value %lld is in no class and not ignored", t->paths[it->shard], it->id, t->field, (long long)v);
}

static int set_present(sky_truth *t, struct item *it, const uint16_t *v, int n, sky_err *e)
{
    it->present = sky_calloc((size_t)n + 1, 2);
    if (!it->present)
        return sky_fail(e, SKY_ENOMEM, "labels: out of memory");
    int rc = SKY_OK;
    for (int i = 0; i < n && !rc; i++) {
        rc = know(t, it, v[i], e);
        if (!rc && !t->cls->ignore[v[i]])
            it->present[it->npresent++] = v[i];
    }
    if (rc) { /* still not known: asked again, it fails again */
        sky_free(it->present);
        it->present = NULL;
        it->npresent = 0;
    }
    return rc;
}

static int present_from_index(sky_truth *t, struct item *it, const json_t *list, sky_err *e)
{
    size_t n = json_array_size(list);
    uint16_t *v = sky_calloc(n + 1, 2);
    int known = 0, rc = v ? SKY_OK : sky_fail(e, SKY_ENOMEM, "labels: out of memory");
    for (size_t i = 0; !rc && i < n; i++) {
        int64_t x = json_integer_value(json_array_get(list, i));
        if (x < 0 || x >= SKY_CLASS_VALUES)
            rc = know(t, it, x, e);
        else
            v[known++] = (uint16_t)x;
    }
    if (!rc)
        rc = set_present(t, it, v, known, e);
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
        int rc = v >= SKY_CLASS_VALUES ? know(t, it, v, e) : SKY_OK;
        if (rc)
            return rc;
        if (v < SKY_CLASS_VALUES)
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

static int read_fields(sky_truth *t, const struct item *it, const char *first, const char *second, sky_sample *s, sky_err *e)
{
    const char *names[] = {first, second, NULL};
    int rc = sky_shard_read(t->shard[it->shard], it->record, names, s, e);
    return rc ? sky_wrap(e, "labels: %s: record %llu '%s'", t->paths[it->shard], (unsigned long long)it->record, it->id) : SKY_OK;
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
    struct item *v = sky_grow(t->item, t->n, &t->cap, sizeof *v);
    if (!v)
        return sky_fail(e, SKY_ENOMEM, "labels: out of memory");
    t->item = v;
    v[t->n++] = (struct item){.id = id, .shard = shard, .record = record};
    return SKY_OK;
}

static int add_shard(sky_truth *t, int i, sky_err *e)
{
    int rc = sky_shard_open(&t->shard[i], t->paths[i], NULL, e);
    if (rc)
        return sky_wrap(e, "labels");
    t->nshards++;
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

/* The table of one label, without its pixels. */
static int learn_table(sky_truth *t, const struct item *it, sky_err *e)
{
    sky_sample s;
    sky_sample_init(&s);
    int rc = read_fields(t, it, NULL, NULL, &s, e);
    const sky_field *f = rc ? NULL : sky_sample_field(&s, t->field);
    if (!rc && (rc = take_meta(t, it, f ? f->meta : NULL, e)))
        sky_wrap(e, "labels: %s: sample '%s'", t->paths[it->shard], it->id);
    sky_sample_free(&s);
    return rc;
}

/* The first label of every shard; the others are compared when they are read. */
static int learn_tables(sky_truth *t, sky_err *e)
{
    uint8_t *met = sky_calloc((size_t)t->nshards, 1);
    int rc = met ? SKY_OK : sky_fail(e, SKY_ENOMEM, "labels: out of memory");
    for (uint64_t i = 0; !rc && i < t->n; i++)
        if (!met[t->item[i].shard]) {
            met[t->item[i].shard] = 1;
            rc = learn_table(t, &t->item[i], e);
        }
    sky_free(met);
    return rc;
}

static int learn_classes(sky_truth *t, sky_err *e)
{
    int rc = learn_tables(t, e);
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
    sky_classes_free(&t->options);
    sky_classes_free(&t->first);
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

static int bad_mask(sky_truth *t, const struct item *it, const char *name, const char *what, sky_err *e)
{
    return sky_fail(e, SKY_ECORRUPT, "%s: sample '%s': field '%s' %s; expected the U8 mask of '%s'", t->paths[it->shard], it->id, name, what, t->field);
}

/* The mask that the label's meta names under "valid" is another field of the sample. */
static int read_valid(sky_truth *t, const struct item *it, const char *name, sky_err *e)
{
    sky_sample s;
    sky_sample_init(&s);
    int rc = read_fields(t, it, t->field, name, &s, e);
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

/* Ignored values beyond those that the counts have room for (65535, as 16-bit rasters say "no data") are as good as masked. */
static int mask_high(sky_truth *t, sky_err *e)
{
    const uint16_t *v = t->map.v;
    const uint64_t n = t->map.dtype == SKY_U16 ? t->map.h * t->map.w : 0;
    for (uint64_t i = 0; i < n; i++) {
        if (v[i] < SKY_CLASS_VALUES || !t->cls->ignore[v[i]])
            continue;
        if (!t->valid) {
            if (!(t->valid = sky_alloc(n)))
                return sky_fail(e, SKY_ENOMEM, "labels: out of memory");
            memset(t->valid, 1, n);
        }
        t->valid[i] = 0;
    }
    return SKY_OK;
}

static int read_label(sky_truth *t, struct item *it, sky_sample *s, sky_err *e)
{
    int rc = read_fields(t, it, t->field, NULL, s, e);
    if (rc)
        return rc;
    sky_field *f = sky_sample_field(s, t->field);
    if (!f)
        return sky_fail(e, SKY_ECORRUPT, "%s: sample '%s' has no field '%s'", t->paths[it->shard], it->id, t->field);
    rc = take_meta(t, it, f->meta, e);
    if (!rc)
        rc = sky_classmap_take(&t->map, f, e);
    if (rc)
        return sky_wrap(e, "labels: %s: sample '%s'", t->paths[it->shard], it->id);
    const char *mask = json_string_value(json_object_get(f->meta, "valid"));
    rc = mask ? read_valid(t, it, mask, e) : SKY_OK;
    return rc ? rc : mask_high(t, e);
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
    if (rc)
        return sky_wrap(e, "labels: %s: record %llu '%s'", t->paths[it->shard], (unsigned long long)it->record, it->id);
    sky_field *f = sky_sample_field(out, t->field);
    json_t *said = f ? class_meta(t, it, f->meta) : NULL;
    if (f && (!said || json_object_update(f->meta, said)))
        rc = sky_fail(e, SKY_ENOMEM, "labels: out of memory");
    json_decref(said);
    return rc;
}
