/* What a tile holds: classes present, emptiness, and the value that stands for "nothing here". */
#include "base/mem.h"
#include "data/labels.h"
#include "data/tile.h"

#include <math.h>
#include <string.h>

enum { MAX_CLASSES = 4096 };

static int in_list(const json_t *list, double v)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *j = json_array_get(list, i);
        if (json_is_number(j) && json_number_value(j) == v)
            return 1;
    }
    return 0;
}

/* ---- distinct values ----------------------------------------------------------------------------------------- */

/* Ascending distinct values of a field, at most MAX_CLASSES. Returns their number, -1 when there are more or when one
 * is not a whole number, or beyond those that doubles and JSON share. */
static int distinct_wide(double *v, const sky_field *f)
{
    uint64_t count = sky_field_count(f);
    int n = 0, last = -1; /* v[last]: the value met before; neighbours are mostly equal */
    for (uint64_t i = 0; i < count; i++) {
        double x = sky_load_f64(f->data, f->dtype, i);
        if (last >= 0 && v[last] == x)
            continue;
        if (!(x == floor(x) && fabs(x) <= 0x1p53))
            return -1;
        int lo = 0, hi = n;
        while (lo < hi) {
            int mid = (lo + hi) / 2;
            if (v[mid] < x)
                lo = mid + 1;
            else
                hi = mid;
        }
        if (lo == n || v[lo] != x) {
            if (n == MAX_CLASSES)
                return -1;
            memmove(v + lo + 1, v + lo, (size_t)(n - lo) * sizeof *v);
            v[lo] = x;
            n++;
        }
        last = lo;
    }
    return n;
}

static int distinct(double *v, const sky_field *f)
{
    if (f->dtype != SKY_U8 && f->dtype != SKY_BOOL)
        return distinct_wide(v, f);
    uint8_t seen[256] = {0};
    const uint8_t *p = f->data;
    int n = 0;
    for (uint64_t i = 0; i < f->nbytes; i++)
        seen[p[i]] = 1;
    for (int i = 0; i < 256; i++)
        if (seen[i])
            v[n++] = i;
    return n;
}

int sky_classes_present(json_t **out, const sky_field *label, sky_err *e)
{
    *out = NULL;
    double *v = sky_alloc(MAX_CLASSES * sizeof *v);
    json_t *list = json_array();
    int n = v ? distinct(v, label) : 0, bad = !v || !list;
    const json_t *ignore = json_object_get(label->meta, "ignore");
    for (int i = 0; i < n && !bad; i++)
        if (!in_list(ignore, v[i]))
            bad = json_array_append_new(list, json_integer((json_int_t)v[i]));
    sky_free(v);
    if (bad || n < 0) {
        json_decref(list);
        return bad ? sky_fail(e, SKY_ENOMEM, "field '%s': out of memory for its classes", label->name) : SKY_OK;
    }
    *out = list;
    return SKY_OK;
}

/* ---- padding --------------------------------------------------------------------------------------------------- */

static int is_float(sky_dtype t) { return t == SKY_F16 || t == SKY_BF16 || t == SKY_F32 || t == SKY_F64; }

int sky_pad_value(const sky_field *f, double *v)
{
    const json_t *nodata = json_object_get(f->meta, "nodata");
    const json_t *ignore = sky_field_is_label(f) ? json_array_get(json_object_get(f->meta, "ignore"), 0) : NULL;
    const json_t *use = json_is_number(ignore) ? ignore : nodata;
    *v = is_float(f->dtype) ? NAN : 0;
    if (json_is_number(use))
        *v = json_number_value(use);
    return json_is_number(use) || (nodata && is_float(f->dtype));
}

/* ---- emptiness ------------------------------------------------------------------------------------------------- */

static int label_holds_class(const sky_field *f)
{
    const json_t *ignore = json_object_get(f->meta, "ignore"), *classes = json_object_get(f->meta, "classes");
    double known = NAN; /* a value found to be nothing; neighbours are mostly equal */
    uint64_t n = sky_field_count(f);
    for (uint64_t i = 0; i < n; i++) {
        double v = sky_load_f64(f->data, f->dtype, i);
        if (v == known)
            continue;
        if (!in_list(ignore, v) && !sky_class_is_background(classes, v))
            return 1;
        known = v;
    }
    return 0;
}

static int holds_other_than(const sky_field *f, double nothing)
{
    uint64_t n = sky_field_count(f);
    for (uint64_t i = 0; i < n; i++) {
        double v = sky_load_f64(f->data, f->dtype, i);
        if (v != nothing && !isnan(v))
            return 1;
    }
    return 0;
}

static int image_holds_pixel(const sky_sample *s, const sky_field *f)
{
    const char *valid = json_string_value(json_object_get(f->meta, "valid"));
    const sky_field *mask = valid ? sky_sample_field(s, valid) : NULL;
    if (mask && mask->data && !holds_other_than(mask, 0))
        return 0;
    const json_t *nodata = json_object_get(f->meta, "nodata");
    return holds_other_than(f, json_is_number(nodata) ? json_number_value(nodata) : NAN);
}

int sky_is_valid_mask(const sky_sample *s, const char *name)
{
    for (int i = 0; i < s->nfields; i++) {
        const char *valid = json_string_value(json_object_get(s->fields[i].meta, "valid"));
        if (valid && !strcmp(valid, name))
            return 1;
    }
    return 0;
}

int sky_tile_is_empty(const sky_sample *s)
{
    int labels = 0, classes = 0, images = 0, pixels = 0;
    for (int i = 0; i < s->nfields; i++) {
        const sky_field *f = &s->fields[i];
        if (!f->data || sky_field_dim(f, 'y') < 0 || sky_field_dim(f, 'x') < 0 || sky_is_valid_mask(s, f->name))
            continue;
        if (sky_field_is_label(f))
            labels = 1, classes |= label_holds_class(f);
        else
            images = 1, pixels |= image_holds_pixel(s, f);
    }
    return (labels && !classes) || (images && !pixels);
}
