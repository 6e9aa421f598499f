/* safetensors.c -- 8 bytes header length, a JSON header, data without holes. */
#include "base/io.h"
#include "base/mem.h"
#include "format/weights_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_LIMIT = 100000000 }; /* as in the safetensors library */

struct span {
    uint64_t from, to;
    const char *name;
};

static int get_u64(const json_t *a, size_t i, uint64_t *v)
{
    const json_t *j = json_array_get(a, i);
    if (!json_is_integer(j) || json_integer_value(j) < 0)
        return 0;
    *v = (uint64_t)json_integer_value(j);
    return 1;
}

static int bad_entry(const sky_weights *w, const char *name, const char *what, sky_err *e)
{
    return sky_fail(e, SKY_ECORRUPT, "%s: header: tensor '%s': %s", w->path, name, what);
}

static int parse_entry(const sky_weights *w, const char *name, const json_t *j, sky_view *v, struct span *s, sky_err *e)
{
    static const char *const keys[] = {"dtype", "shape", "data_offsets", NULL};
    char where[200];
    snprintf(where, sizeof where, "%s: header: tensor '%.60s'", w->path, name);
    const char *type = NULL;
    const json_t *shape = NULL, *offsets = NULL;
    int rc = json_is_object(j) ? sky_json_only(j, keys, where, e) : bad_entry(w, name, "expected an object", e);
    if (!rc)
        rc = sky_json_str(j, "dtype", 1, &type, where, e);
    if (!rc)
        rc = sky_json_array(j, "shape", 1, &shape, where, e);
    if (!rc)
        rc = sky_json_array(j, "data_offsets", 1, &offsets, where, e);
    if (rc)
        return rc;
    *v = (sky_view){.name = name, .name_bytes = strlen(name), .ndim = (int)json_array_size(shape)};
    if (sky_dtype_parse(type, &v->dtype))
        return sky_fail(e, SKY_ECORRUPT, "%s: dtype '%s' is not read", where, type);
    if (json_array_size(shape) > 8)
        return bad_entry(w, name, "more than 8 dimensions", e);
    for (int i = 0; i < v->ndim; i++) {
        uint64_t n;
        if (!get_u64(shape, (size_t)i, &n))
            return bad_entry(w, name, "shape: expected integers >= 0", e);
        v->shape[i] = (int64_t)n;
    }
    if (json_array_size(offsets) != 2 || !get_u64(offsets, 0, &s->from) || !get_u64(offsets, 1, &s->to) || s->from > s->to)
        return bad_entry(w, name, "data_offsets: expected two ascending integers >= 0", e);
    s->name = name;
    return SKY_OK;
}

static int check_product(const sky_weights *w, const sky_view *v, const struct span *s, sky_err *e)
{
    uint64_t n = sky_dtype_size(v->dtype);
    for (int i = 0; i < v->ndim; i++)
        if (!sky_mul_u64(n, (uint64_t)v->shape[i], &n))
            return bad_entry(w, v->name, "its shape overflows", e);
    if (n != s->to - s->from)
        return sky_fail(e, SKY_ECORRUPT, "%s: header: tensor '%s': data_offsets span %llu bytes, its shape wants %llu", w->path, v->name,
                        (unsigned long long)(s->to - s->from), (unsigned long long)n);
    return SKY_OK;
}

static int by_start(const void *a, const void *b)
{
    const struct span *x = a, *y = b;
    return x->from != y->from ? (x->from > y->from) - (x->from < y->from) : (x->to > y->to) - (x->to < y->to);
}

/* Each tensor begins where the one before ends; the last ends with the file. */
static int check_spans(const sky_weights *w, struct span *s, int n, uint64_t bytes, sky_err *e)
{
    uint64_t at = 0;
    if (n)
        qsort(s, (size_t)n, sizeof *s, by_start);
    for (int i = 0; i < n; i++) {
        if (s[i].from != at)
            return sky_fail(e, SKY_ECORRUPT, "%s: header: tensor '%s': begins at data byte %llu; expected %llu (%s)", w->path, s[i].name,
                            (unsigned long long)s[i].from, (unsigned long long)at, s[i].from < at ? "an overlap" : "a hole");
        at = s[i].to;
    }
    if (at != bytes)
        return sky_fail(e, SKY_ECORRUPT, "%s: the header accounts for %llu bytes of data, the file has %llu", w->path, (unsigned long long)at, (unsigned long long)bytes);
    return SKY_OK;
}

static int set_metadata(sky_weights *w, json_t *j, sky_err *e)
{
    const char *key;
    json_t *v;
    if (!json_is_object(j))
        return sky_fail(e, SKY_ECORRUPT, "%s: header: __metadata__: expected an object of strings", w->path);
    json_object_foreach(j, key, v)
        if (!json_is_string(v))
            return sky_fail(e, SKY_ECORRUPT, "%s: header: __metadata__: '%s': expected a string", w->path, key);
    w->metadata = json_incref(j);
    return SKY_OK;
}

static int read_entry(sky_weights *w, const char *name, const json_t *j, struct span *s, uint64_t data, sky_err *e)
{
    sky_view v;
    int rc = parse_entry(w, name, j, &v, s, e);
    if (!rc)
        rc = check_product(w, &v, s, e);
    if (rc)
        return rc;
    if (s->to > w->map.n - data)
        return sky_fail(e, SKY_ECORRUPT, "%s: header: tensor '%s': ends at data byte %llu, the file has %llu", w->path, name, (unsigned long long)s->to,
                        (unsigned long long)(w->map.n - data));
    v.at = data + s->from;
    v.bytes = s->to - s->from;
    return sky_weights_add(w, &v, e);
}

static int read_entries(sky_weights *w, json_t *header, struct span *spans, uint64_t data, sky_err *e)
{
    const char *name;
    json_t *j;
    json_object_foreach(header, name, j)
    {
        int rc = strcmp(name, "__metadata__") ? read_entry(w, name, j, &spans[w->n], data, e) : set_metadata(w, j, e);
        if (rc)
            return rc;
    }
    return check_spans(w, spans, w->n, w->map.n - data, e);
}

int sky_weights_safetensors(sky_weights *w, sky_err *e)
{
    sky_rd r = {w->map.p, w->map.p + w->map.n, 0};
    uint64_t n = sky_rd_le(&r, 8);
    if (n > HEADER_LIMIT)
        return sky_fail(e, SKY_ELIMIT, "%s: a header of %llu bytes; at most %d are read", w->path, (unsigned long long)n, HEADER_LIMIT);
    const uint8_t *text = sky_rd_take(&r, n);
    if (!text)
        return sky_fail(e, SKY_ECORRUPT, "%s: a header of %llu bytes in a file of %zu: cut short, or not safetensors", w->path, (unsigned long long)n, w->map.n);
    json_t *header = NULL;
    char where[300];
    snprintf(where, sizeof where, "%s: header", w->path);
    int rc = sky_json_parse(&header, (const char *)text, n, where, e);
    if (rc)
        return rc;
    struct span *spans = sky_calloc(json_object_size(header) + 1, sizeof *spans);
    if (!json_is_object(header))
        rc = sky_fail(e, SKY_ECORRUPT, "%s: expected an object", where);
    else
        rc = spans ? read_entries(w, header, spans, 8 + n, e) : sky_fail(e, SKY_ENOMEM, "%s: out of memory", w->path);
    sky_free(spans);
    json_decref(header);
    return rc;
}
