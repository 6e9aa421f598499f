#include "format/sample.h"
#include "base/mem.h"
#include "format/record_internal.h"

#include <string.h>

#define MAX_ALLOC ((uint64_t)1 << 40) /* 1 TiB: no field of a tile comes near; a size beyond it is a mistake */

void sky_sample_init(sky_sample *s) { *s = (sky_sample){0}; }

static void field_free(sky_field *f)
{
    sky_free(f->name);
    json_decref(f->meta);
    json_decref(f->ref);
    sky_free(f->data);
}

void sky_sample_free(sky_sample *s)
{
    for (int i = 0; i < s->nfields; i++)
        field_free(&s->fields[i]);
    sky_free(s->fields);
    sky_free(s->id);
    json_decref(s->meta);
    sky_sample_init(s);
}

int sky_sample_begin(sky_sample *s, const char *id, sky_err *e)
{
    sky_sample_free(s);
    if (sky_id_check(id, strlen(id), e))
        return SKY_ECORRUPT;
    s->id = sky_strdup(id);
    s->meta = json_object();
    if (!s->id || !s->meta) {
        sky_sample_free(s);
        return sky_fail(e, SKY_ENOMEM, "sample '%.255s': out of memory", id);
    }
    return SKY_OK;
}

void sky_sample_move(sky_sample *to, sky_sample *from)
{
    if (to == from)
        return;
    sky_sample_free(to);
    *to = *from;
    sky_sample_init(from);
}

static int field_copy(sky_field *to, const sky_field *from)
{
    to->dtype = from->dtype;
    to->ndim = from->ndim;
    memcpy(to->shape, from->shape, sizeof to->shape);
    to->absent = from->absent;
    to->nbytes = from->nbytes;
    json_decref(to->meta);
    to->meta = sky_json_copy(from->meta);
    to->ref = from->ref ? sky_json_copy(from->ref) : NULL;
    to->data = from->data ? sky_alloc(from->nbytes) : NULL;
    if (!to->meta || !to->ref != !from->ref || !to->data != !from->data)
        return -1;
    if (from->data)
        memcpy(to->data, from->data, from->nbytes);
    return 0;
}

int sky_sample_copy(sky_sample *to, const sky_sample *from, sky_err *e)
{
    sky_sample s = {0};
    int rc = sky_sample_begin(&s, from->id, e);
    if (rc)
        return rc;
    json_decref(s.meta);
    s.meta = sky_json_copy(from->meta);
    s.seq = from->seq;
    int bad = !s.meta;
    for (int i = 0; i < from->nfields && !bad; i++) {
        sky_field *f = sky_sample_add(&s, from->fields[i].name, NULL);
        bad = !f || field_copy(f, &from->fields[i]);
    }
    if (bad) {
        sky_sample_free(&s);
        return sky_fail(e, SKY_ENOMEM, "sample '%s': out of memory", from->id);
    }
    sky_sample_move(to, &s);
    return SKY_OK;
}

sky_field *sky_sample_field(const sky_sample *s, const char *name)
{
    for (int i = 0; i < s->nfields; i++)
        if (!strcmp(s->fields[i].name, name))
            return &s->fields[i];
    return NULL;
}

/* The array grows by doubling; the number of fields is the only record of its size. */
static int fields_reserve(sky_sample *s)
{
    int n = s->nfields;
    if (n & (n - 1))
        return 0;
    size_t want = n ? (size_t)n * 2 : 1;
    sky_field *p = sky_realloc(s->fields, (size_t)n * sizeof *p, want * sizeof *p);
    if (!p)
        return -1;
    s->fields = p;
    return 0;
}

sky_field *sky_sample_add(sky_sample *s, const char *name, sky_err *e)
{
    if (sky_name_check(name, e))
        return NULL;
    if (sky_sample_field(s, name)) {
        sky_fail(e, SKY_ECORRUPT, "field '%s' is there twice", name);
        return NULL;
    }
    if (s->nfields >= SKY_MAX_FIELDS) {
        sky_fail(e, SKY_ELIMIT, "more than %d fields", SKY_MAX_FIELDS);
        return NULL;
    }
    sky_field f = {.name = sky_strdup(name), .meta = json_object()};
    if (!f.name || !f.meta || fields_reserve(s)) {
        field_free(&f);
        sky_fail(e, SKY_ENOMEM, "field '%s': out of memory", name);
        return NULL;
    }
    s->fields[s->nfields] = f;
    return &s->fields[s->nfields++];
}

void sky_sample_drop(sky_sample *s, const char *name)
{
    sky_field *f = sky_sample_field(s, name);
    if (!f)
        return;
    field_free(f);
    size_t after = (size_t)(&s->fields[s->nfields] - (f + 1));
    memmove(f, f + 1, after * sizeof *f);
    /* fields_reserve grows when the count is a power of two: after shrinking below one it would grow a block that is
     * large enough already, which only costs a copy. */
    s->nfields--;
}

int sky_shape_bytes(sky_dtype t, int ndim, const uint64_t *shape, uint64_t *bytes, sky_err *e)
{
    uint64_t n = sky_dtype_size(t);
    if (!n || ndim < 0 || ndim > SKY_MAX_DIMS)
        return sky_fail(e, SKY_EUSAGE, "no such element type, or %d dimensions (0..%d allowed)", ndim, SKY_MAX_DIMS);
    int zero = 0;
    for (int i = 0; i < ndim; i++) {
        if (shape[i] == 0)
            zero = 1;
        else if (!sky_mul_u64(n, shape[i], &n) || n > MAX_ALLOC)
            return sky_fail(e, SKY_ELIMIT, "shape needs more than 1 TiB");
    }
    *bytes = zero ? 0 : n;
    return SKY_OK;
}

int sky_field_alloc(sky_field *f, sky_dtype t, int ndim, const uint64_t *shape, int zero, sky_err *e)
{
    uint64_t n;
    int rc = sky_shape_bytes(t, ndim, shape, &n, e);
    if (rc)
        return sky_wrap(e, "field '%s'", f->name);
    if (n > sky_limits_default.field_bytes)
        return sky_fail(e, SKY_ELIMIT, "field '%s': %llu bytes, above the format's limit of %llu", f->name, (unsigned long long)n,
                        (unsigned long long)sky_limits_default.field_bytes);
    void *p = zero ? sky_calloc(n ? n : 1, 1) : sky_alloc(n);
    if (!p)
        return sky_fail(e, SKY_ENOMEM, "field '%s': no memory for %llu bytes", f->name, (unsigned long long)n);
    sky_free(f->data);
    json_decref(f->ref);
    f->ref = NULL;
    f->absent = 0;
    f->data = p;
    f->nbytes = n;
    f->dtype = t;
    f->ndim = ndim;
    if (ndim) /* a scalar may come without a shape */
        memmove(f->shape, shape, (size_t)ndim * sizeof *shape);
    return SKY_OK;
}

uint64_t sky_field_count(const sky_field *f)
{
    if (f->absent)
        return 0;
    uint64_t n = 1;
    for (int i = 0; i < f->ndim; i++)
        if (!sky_mul_u64(n, f->shape[i], &n))
            return 0;
    return n;
}

/* ---- helpers on meta ---------------------------------------------------------------------------------------- */

int64_t sky_field_dim(const sky_field *f, char letter)
{
    const char *dims = json_string_value(json_object_get(f->meta, "dims"));
    const char *at = dims && letter ? strchr(dims, letter) : NULL;
    if (!at || at - dims >= f->ndim)
        return -1;
    return (int64_t)f->shape[at - dims];
}

int sky_field_set_dims(sky_field *f, const char *letters, sky_err *e)
{
    if (strlen(letters) != (size_t)f->ndim)
        return sky_fail(e, SKY_EUSAGE, "field '%s': dims \"%s\" for %d dimensions", f->name, letters, f->ndim);
    if (json_object_set_new(f->meta, "dims", json_string(letters)))
        return sky_fail(e, SKY_ENOMEM, "field '%s': out of memory", f->name);
    return SKY_OK;
}

int sky_field_affine(const sky_field *f, double a[6])
{
    const json_t *v = json_object_get(f->meta, "affine");
    if (json_array_size(v) != 6)
        return 0;
    for (size_t i = 0; i < 6; i++) {
        const json_t *x = json_array_get(v, i);
        if (!json_is_number(x))
            return 0;
        a[i] = json_number_value(x);
    }
    return 1;
}

int sky_field_set_affine(sky_field *f, const double a[6], sky_err *e)
{
    json_t *v = json_array();
    int bad = !v;
    for (int i = 0; i < 6 && !bad; i++)
        bad = json_array_append_new(v, json_real(a[i])) != 0;
    if (bad)
        json_decref(v);
    if (bad || json_object_set_new(f->meta, "affine", v))
        return sky_fail(e, SKY_ENOMEM, "field '%s': affine: out of memory, or not finite", f->name);
    return SKY_OK;
}

int sky_field_palette(const sky_field *f, uint8_t pal[256][3])
{
    const json_t *list = json_object_get(f->meta, "classes");
    int coloured = 0;
    for (int i = 0; i < 256; i++)
        memset(pal[i], i, 3);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_object_get(json_array_get(list, i), "value"), *rgb = json_object_get(json_array_get(list, i), "color");
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > 255 || json_array_size(rgb) != 3)
            continue;
        for (size_t k = 0; k < 3; k++)
            pal[json_integer_value(v)][k] = (uint8_t)json_integer_value(json_array_get(rgb, k));
        coloured = 1;
    }
    return coloured;
}

int sky_field_is_label(const sky_field *f)
{
    const char *role = json_string_value(json_object_get(f->meta, "role"));
    return role && !strcmp(role, "label");
}
