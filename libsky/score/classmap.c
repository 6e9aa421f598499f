#include "score/classmap.h"
#include "base/mem.h"
#include "data/oneshot.h"

#include <string.h>

void sky_classmap_free(sky_classmap *m)
{
    sky_free(m->v);
    *m = (sky_classmap){0};
}

int sky_classmap_take(sky_classmap *m, sky_field *f, sky_err *e)
{
    *m = (sky_classmap){0};
    if (f->absent || f->ref || !f->data)
        return sky_fail(e, SKY_ECORRUPT, "field '%s': %s; expected a map of class numbers", f->name, f->absent ? "absent" : f->ref ? "by reference" : "without data");
    if (f->dtype != SKY_U8 && f->dtype != SKY_U16 && f->dtype != SKY_BOOL)
        return sky_fail(e, SKY_ECORRUPT, "field '%s': %s; expected a map of class numbers, U8 or U16", f->name, sky_dtype_name(f->dtype));
    for (int d = 0; d < f->ndim - 2; d++)
        if (f->shape[d] != 1)
            return sky_fail(e, SKY_ECORRUPT, "field '%s': dimension %d has size %llu; expected [y,x]", f->name, d, (unsigned long long)f->shape[d]);
    if (f->ndim < 2 || f->shape[f->ndim - 1] == 0 || f->shape[f->ndim - 2] == 0)
        return sky_fail(e, SKY_ECORRUPT, "field '%s': %s; expected [y,x]", f->name, f->ndim < 2 ? "fewer than two dimensions" : "no pixels");
    const char *dims = json_string_value(json_object_get(f->meta, "dims"));
    if (dims && (strlen(dims) != (size_t)f->ndim || strcmp(dims + f->ndim - 2, "yx")))
        return sky_fail(e, SKY_ECORRUPT, "field '%s': dims '%s'; expected y and x at the end", f->name, dims);
    *m = (sky_classmap){f->shape[f->ndim - 2], f->shape[f->ndim - 1], f->dtype == SKY_U16 ? SKY_U16 : SKY_U8, f->data};
    f->data = NULL;
    f->nbytes = 0;
    return SKY_OK;
}

static void resize_u16(uint16_t *dst, uint64_t h, uint64_t w, const sky_classmap *m)
{
    for (uint64_t y = 0; y < h; y++) {
        const uint16_t *row = (const uint16_t *)m->v + (2 * y + 1) * m->h / (2 * h) * m->w;
        for (uint64_t x = 0; x < w; x++)
            dst[y * w + x] = row[(2 * x + 1) * m->w / (2 * w)];
    }
}

int sky_classmap_resize(sky_classmap *m, uint64_t h, uint64_t w, sky_err *e)
{
    const uint64_t most = 1 << 30; /* per side; keeps (2 i + 1) * n inside 64 bits and sides inside int */
    if (m->h == h && m->w == w)
        return SKY_OK;
    if (m->h > most || m->w > most || h > most || w > most)
        return sky_fail(e, SKY_ELIMIT, "a map of more than 2^30 pixels a side");
    void *v = sky_calloc(h * w, sky_dtype_size(m->dtype));
    if (!v)
        return sky_fail(e, SKY_ENOMEM, "out of memory for %llu x %llu pixels", (unsigned long long)h, (unsigned long long)w);
    if (m->dtype == SKY_U8)
        sky_prep_nearest_centre(v, (int)h, (int)w, m->v, (int)m->h, (int)m->w);
    else
        resize_u16(v, h, w, m);
    sky_free(m->v);
    *m = (sky_classmap){h, w, m->dtype, v};
    return SKY_OK;
}

int sky_classmap_u16(sky_classmap *m, sky_err *e)
{
    if (m->dtype == SKY_U16)
        return SKY_OK;
    uint64_t n = m->h * m->w;
    uint16_t *v = sky_alloc(n * 2);
    if (!v)
        return sky_fail(e, SKY_ENOMEM, "out of memory for %llu x %llu pixels", (unsigned long long)m->h, (unsigned long long)m->w);
    for (uint64_t i = 0; i < n; i++)
        v[i] = ((const uint8_t *)m->v)[i];
    sky_free(m->v);
    m->v = v;
    m->dtype = SKY_U16;
    return SKY_OK;
}

static uint64_t keep_one(sky_classmap *m, const uint8_t *keep)
{
    size_t size = sky_dtype_size(m->dtype);
    uint64_t kept = 0;
    char *v = m->v;
    for (uint64_t i = 0; i < m->h * m->w; i++)
        if (keep[i])
            memmove(v + kept++ * size, v + i * size, size);
    return kept;
}

void sky_classmap_keep(sky_classmap *a, sky_classmap *b, const uint8_t *keep)
{
    uint64_t kept = keep_one(a, keep);
    keep_one(b, keep);
    a->h = b->h = 1;
    a->w = b->w = kept;
}
