/* npy.c -- array data: into packed, row-major, little-endian order; whole files; elements as text. */
#include "format/npy.h"
#include "base/map.h"
#include "format/npy_internal.h"

#include <string.h>

/* ---- decoding ------------------------------------------------------------------------------------------------- */

static void copy_strided(uint8_t *dst, const uint8_t *src, uint64_t n, uint64_t step, size_t size)
{
    for (uint64_t i = 0; i < n; i++, dst += size, src += step)
        memcpy(dst, src, size);
}

/* Column-major to row-major: the last axis is the inner loop, the others count like an odometer. */
static void transpose(uint8_t *dst, const uint8_t *src, const sky_npy_head *h)
{
    uint64_t step[SKY_NPY_DIMS], at[SKY_NPY_DIMS] = {0}, unit = h->itemsize;
    for (int d = 0; d < h->ndim; d++) {
        step[d] = unit;
        unit *= h->shape[d];
    }
    int last = h->ndim - 1;
    for (;;) {
        copy_strided(dst, src, h->shape[last], step[last], h->itemsize);
        dst += h->shape[last] * h->itemsize;
        int d = last - 1;
        for (; d >= 0; d--) {
            src += step[d];
            if (++at[d] < h->shape[d])
                break;
            src -= step[d] * h->shape[d];
            at[d] = 0;
        }
        if (d < 0)
            return;
    }
}

static void swap_bytes(uint8_t *p, uint64_t n, size_t unit)
{
    for (uint64_t i = 0; i < n; i++, p += unit)
        for (size_t a = 0, b = unit - 1; a < b; a++, b--) {
            uint8_t t = p[a];
            p[a] = p[b];
            p[b] = t;
        }
}

static size_t swap_unit(const sky_npy_head *h) { return h->kind == SKY_NPY_BYTES ? 1 : h->kind == SKY_NPY_TEXT ? 4 : h->itemsize; }

static int as_stored(const sky_npy_head *h) { return (!h->fortran || h->ndim < 2) && (!h->big_endian || swap_unit(h) == 1); }

void sky_npy_decode(void *dst, const void *raw, const sky_npy_head *h)
{
    if (h->nbytes == 0)
        return;
    if (h->fortran && h->ndim > 1)
        transpose(dst, raw, h);
    else
        memcpy(dst, raw, h->nbytes);
    if (h->big_endian)
        swap_bytes(dst, h->nbytes / swap_unit(h), swap_unit(h));
}

/* ---- whole arrays --------------------------------------------------------------------------------------------- */

static int check_size(const sky_npy_head *h, uint64_t n, uint64_t limit, const char *where, sky_err *e)
{
    if (h->nbytes > limit)
        return sky_fail(e, SKY_ELIMIT, "%s: an array of %llu bytes; at most %llu are read", where, (unsigned long long)h->nbytes, (unsigned long long)limit);
    if (n - h->offset != h->nbytes)
        return sky_fail(e, SKY_ECORRUPT, "%s: the header declares %llu bytes of data, %llu follow it (byte %llu)", where, (unsigned long long)h->nbytes,
                        (unsigned long long)(n - h->offset), (unsigned long long)h->offset);
    return SKY_OK;
}

int sky_npy_memory(sky_npy *a, const void *p, size_t n, uint64_t limit, const char *where, sky_err *e)
{
    *a = (sky_npy){0};
    int rc = sky_npy_parse(&a->head, p, n, where, e);
    if (!rc)
        rc = check_size(&a->head, n, limit, where, e);
    if (rc)
        return rc;
    a->data = sky_alloc(a->head.nbytes);
    if (!a->data)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory for %llu bytes", where, (unsigned long long)a->head.nbytes);
    sky_npy_decode(a->data, (const uint8_t *)p + a->head.offset, &a->head);
    return SKY_OK;
}


int sky_npy_adopt(sky_npy *a, void *buf, size_t n, uint64_t limit, const char *where, sky_err *e)
{
    *a = (sky_npy){0};
    int rc = sky_npy_parse(&a->head, buf, n, where, e);
    if (!rc && as_stored(&a->head)) {
        rc = check_size(&a->head, n, limit, where, e);
        if (!rc) {
            memmove(buf, (uint8_t *)buf + a->head.offset, a->head.nbytes);
            a->data = buf;
            return SKY_OK;
        }
    } else if (!rc) {
        rc = sky_npy_memory(a, buf, n, limit, where, e);
    }
    sky_free(buf);
    return rc;
}

int sky_npy_load(sky_npy *a, const char *path, uint64_t limit, sky_err *e)
{
    *a = (sky_npy){0};
    sky_map m;
    int rc = sky_map_open(&m, path, e);
    if (rc)
        return rc;
    rc = sky_npy_memory(a, m.p, m.n, limit, path, e);
    sky_map_close(&m);
    return rc;
}

void sky_npy_free(sky_npy *a)
{
    sky_free(a->data);
    *a = (sky_npy){0};
}
