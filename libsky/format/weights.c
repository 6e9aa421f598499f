/* weights.c -- open, recognise, look up. The readers (safetensors.c, pth.c, pth_legacy.c) fill the table. */
#include "base/mem.h"
#include "format/weights_internal.h"

#include <string.h>

/* A stride of 0 makes any number of elements from one; so many bytes and no more. */
static const uint64_t REPEATED = (uint64_t)16 << 30;

uint64_t sky_weight_count(const sky_weight *t)
{
    uint64_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= (uint64_t)t->shape[i];
    return n;
}

/* ---- filling ---------------------------------------------------------------------------------------------------- */

static int check_name(const sky_weights *w, const sky_view *v, sky_err *e)
{
    if (v->name_bytes == 0 || v->name_bytes > 1023)
        return sky_fail(e, SKY_ECORRUPT, "%s: tensor %d: a name of %llu bytes; expected 1 to 1023", w->path, w->n, (unsigned long long)v->name_bytes);
    for (uint64_t i = 0; i < v->name_bytes; i++)
        if ((unsigned char)v->name[i] < ' ' || v->name[i] == 127)
            return sky_fail(e, SKY_ECORRUPT, "%s: tensor %d: its name holds the control character 0x%02x", w->path, w->n, (unsigned char)v->name[i]);
    return SKY_OK;
}

/* Product of the shape, and the distance of the last element from the first. */
static int extent(const sky_view *v, uint64_t *count, uint64_t *last)
{
    *count = 1;
    *last = v->first;
    for (int i = 0; i < v->ndim; i++)
        if (v->shape[i] < 0 || !sky_mul_u64(*count, (uint64_t)v->shape[i], count))
            return 0;
    if (*count == 0 || !v->strided)
        return *count == 0 || sky_add_u64(*last, *count - 1, last);
    for (int i = 0; i < v->ndim; i++) {
        uint64_t d;
        if (v->stride[i] < 0 || !sky_mul_u64((uint64_t)v->shape[i] - 1, (uint64_t)v->stride[i], &d) || !sky_add_u64(*last, d, last))
            return 0;
    }
    return 1;
}

static int check_extent(const sky_weights *w, const sky_view *v, sky_err *e)
{
    uint64_t count, last, size = sky_dtype_size(v->dtype), packed = 0;
    int fits = extent(v, &count, &last) && sky_mul_u64(count, size, &packed) && packed <= INT64_MAX;
    if (!fits || (count && last >= v->bytes / size))
        return sky_fail(e, SKY_ECORRUPT, "%s: tensor '%.*s': %s does not fit into its storage of %llu bytes at byte %llu", w->path, (int)v->name_bytes, v->name,
                        fits ? "its last element" : "its shape", (unsigned long long)v->bytes, (unsigned long long)v->at);
    if (packed > v->bytes && packed > REPEATED)
        return sky_fail(e, SKY_ELIMIT, "%s: tensor '%.*s': repeats %llu bytes to %llu; at most %llu are read so", w->path, (int)v->name_bytes, v->name,
                        (unsigned long long)v->bytes, (unsigned long long)packed, (unsigned long long)REPEATED);
    return SKY_OK;
}

static int grow(sky_weights *w, sky_err *e)
{
    if (w->n == SKY_WEIGHTS_MOST)
        return sky_fail(e, SKY_ELIMIT, "%s: more than %d tensors", w->path, SKY_WEIGHTS_MOST);
    sky_entry *t = sky_grow(w->t, (size_t)w->n, &w->cap, sizeof *t);
    if (!t)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", w->path);
    w->t = t;
    return SKY_OK;
}

/* Dimensions of size 1 may carry any stride. */
static int is_packed(const sky_entry *t)
{
    uint64_t want = 1;
    for (int i = t->pub.ndim - 1; i >= 0; i--) {
        if (t->pub.shape[i] != 1 && (uint64_t)t->stride[i] != want)
            return 0;
        want *= (uint64_t)t->pub.shape[i];
    }
    return 1;
}

static void set_view(sky_entry *t, const sky_view *v)
{
    uint64_t step = 1; /* of an empty tensor the other dimensions may be of any size: may wrap, is not used */
    t->pub.dtype = v->dtype;
    t->pub.ndim = v->ndim;
    t->at = v->at + v->first * sky_dtype_size(v->dtype);
    for (int i = v->ndim - 1; i >= 0; i--) {
        t->pub.shape[i] = v->shape[i];
        t->stride[i] = v->strided ? v->stride[i] : (int64_t)step;
        step *= (uint64_t)v->shape[i];
    }
    t->packed = is_packed(t) || sky_weight_count(&t->pub) == 0;
}

int sky_weights_add(sky_weights *w, const sky_view *v, sky_err *e)
{
    int rc = check_name(w, v, e);
    if (!rc)
        rc = check_extent(w, v, e);
    if (!rc)
        rc = grow(w, e);
    if (rc)
        return rc;
    sky_entry *t = &w->t[w->n];
    *t = (sky_entry){0};
    t->stored = sky_strndup(v->name, v->name_bytes);
    if (!t->stored)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", w->path);
    set_view(t, v);
    w->n++;
    return SKY_OK;
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

/* A safetensors header begins at byte 8 with '{', where a zip has a small number and the legacy form a magic number. */
static int read_kind(sky_weights *w, sky_err *e)
{
    const uint8_t *p = w->map.p;
    if (w->map.n > 8 && p[8] == '{')
        return sky_weights_safetensors(w, e);
    if (w->map.n > 4 && !memcmp(p, "PK\3\4", 4))
        return sky_weights_zip(w, e);
    if (w->map.n > 2 && p[0] == 0x80 && p[1] >= 2 && p[1] <= 5)
        return sky_weights_legacy(w, e);
    return sky_fail(e, SKY_ECORRUPT, "%s: neither safetensors nor a PyTorch checkpoint (%zu bytes)", w->path, w->map.n);
}

static int open_map(sky_weights **out, sky_map map, const char *name, sky_err *e)
{
    sky_weights *w = sky_calloc(1, sizeof *w);
    char *path = sky_strdup(name);
    if (!w || !path) {
        sky_free(w);
        sky_free(path);
        sky_map_close(&map);
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", name);
    }
    w->map = map;
    w->path = path;
    int rc = read_kind(w, e);
    if (!rc)
        rc = sky_weights_rename(w, e);
    if (rc)
        sky_weights_close(w);
    else
        *out = w;
    return rc;
}

int sky_weights_open(sky_weights **out, const char *path, sky_err *e)
{
    sky_map map;
    int rc = sky_map_open(&map, path, e);
    return rc ? rc : open_map(out, map, path, e);
}

int sky_weights_memory(sky_weights **out, const void *p, size_t n, const char *name, sky_err *e)
{
    sky_map map;
    sky_map_memory(&map, p, n);
    return open_map(out, map, name, e);
}

void sky_weights_close(sky_weights *w)
{
    if (!w)
        return;
    for (int i = 0; i < w->n; i++) {
        sky_free(w->t[i].name);
        sky_free(w->t[i].stored);
    }
    sky_free(w->t);
    sky_free(w->path);
    json_decref(w->metadata);
    sky_map_close(&w->map);
    sky_free(w);
}

/* ---- looking up ------------------------------------------------------------------------------------------------- */

int sky_weights_count(const sky_weights *w) { return w->n; }
const sky_weight *sky_weights_at(const sky_weights *w, int i) { return &w->t[i].pub; }
const json_t *sky_weights_metadata(const sky_weights *w) { return w->metadata; }

const sky_weight *sky_weights_find(const sky_weights *w, const char *name)
{
    int lo = 0, hi = w->n;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2, c = strcmp(w->t[mid].name, name);
        if (c == 0)
            return &w->t[mid].pub;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

const void *sky_weights_map(const sky_weights *w, const sky_weight *t)
{
    const sky_entry *x = (const sky_entry *)t;
    const uint8_t *p = w->map.p + x->at;
    return x->packed && (uintptr_t)p % sky_dtype_size(t->dtype) == 0 ? p : NULL;
}

void sky_weights_drop(const sky_weights *w, const sky_weight *t)
{
    const sky_entry *x = (const sky_entry *)t;
    if (x->packed)
        sky_map_drop(&w->map, x->at, sky_weight_count(t) * sky_dtype_size(t->dtype));
}
