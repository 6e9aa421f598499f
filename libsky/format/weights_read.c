/* weights_read.c -- values: gathered from strided views, converted, hashed. */
#include "base/hash.h"
#include "base/mem.h"
#include "base/threads.h"
#include "format/weights_internal.h"

#include <stdio.h>
#include <string.h>

enum { CHUNK = 8192 }; /* elements converted at a time, in a buffer on the stack */

static void copy_run(uint8_t *dst, const uint8_t *src, uint64_t n, int64_t stride, size_t size)
{
    if (stride == 1) {
        memcpy(dst, src, n * size);
        return;
    }
    for (uint64_t i = 0; i < n; i++, dst += size, src += stride * (int64_t)size)
        memcpy(dst, src, size);
}

/* Index of flat element `flat`, and its distance from element 0. */
static int64_t locate(const sky_entry *t, uint64_t flat, int64_t index[8])
{
    int64_t at = 0;
    for (int d = t->pub.ndim - 1; d >= 0; d--) {
        index[d] = (int64_t)(flat % (uint64_t)t->pub.shape[d]);
        flat /= (uint64_t)t->pub.shape[d];
        at += index[d] * t->stride[d];
    }
    return at;
}

/* To the first element of the next row of the last axis. */
static int64_t next_row(const sky_entry *t, int64_t index[8], int64_t at)
{
    int last = t->pub.ndim - 1;
    at -= index[last] * t->stride[last];
    index[last] = 0;
    for (int d = last - 1; d >= 0; d--) {
        at += t->stride[d];
        if (++index[d] < t->pub.shape[d])
            return at;
        at -= t->pub.shape[d] * t->stride[d];
        index[d] = 0;
    }
    return at;
}

void sky_weights_gather(const sky_weights *w, const sky_entry *t, uint64_t first, uint64_t count, void *dst_)
{
    size_t size = sky_dtype_size(t->pub.dtype);
    const uint8_t *base = w->map.p + t->at;
    uint8_t *dst = dst_;
    if (t->packed) {
        memcpy(dst, base + first * size, count * size);
        return;
    }
    int last = t->pub.ndim - 1; /* a scalar is packed, so there is a last axis */
    int64_t index[8], at = locate(t, first, index);
    while (count) {
        uint64_t n = (uint64_t)(t->pub.shape[last] - index[last]);
        if (n > count)
            n = count;
        copy_run(dst, base + at * (int64_t)size, n, t->stride[last], size);
        dst += n * size;
        count -= n;
        if (count)
            at = next_row(t, index, at);
    }
}

/* ---- conversion ------------------------------------------------------------------------------------------------- */

static int is_float(sky_dtype t) { return t == SKY_F16 || t == SKY_BF16 || t == SKY_F32 || t == SKY_F64; }
static int is_signed(sky_dtype t) { return t == SKY_I8 || t == SKY_I16 || t == SKY_I32 || t == SKY_I64; }

static int convertible(sky_dtype from, sky_dtype to)
{
    if (from == to)
        return 1;
    if (is_float(from))
        return to == SKY_F32 || to == SKY_BF16 || to == SKY_F64;
    if (is_float(to) || to == SKY_BOOL)
        return 0;
    size_t a = sky_dtype_size(from), b = sky_dtype_size(to);
    return is_signed(from) ? is_signed(to) && b > a : b > a || (b == a && from == SKY_BOOL && to == SKY_U8);
}

static uint64_t load_int(const uint8_t *p, sky_dtype t)
{
    size_t size = sky_dtype_size(t);
    uint64_t v = 0;
    for (size_t i = 0; i < size; i++)
        v |= (uint64_t)p[i] << (8 * i);
    if (is_signed(t) && size < 8 && v >> (8 * size - 1))
        v |= ~(uint64_t)0 << (8 * size);
    return v;
}

static void widen(uint8_t *dst, sky_dtype to, const uint8_t *src, sky_dtype from, uint64_t n)
{
    size_t a = sky_dtype_size(from), b = sky_dtype_size(to);
    for (uint64_t i = 0; i < n; i++, src += a, dst += b) {
        uint64_t v = load_int(src, from);
        for (size_t k = 0; k < b; k++)
            dst[k] = (uint8_t)(v >> (8 * k));
    }
}

static void to_bf16(uint16_t *dst, const float *src, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        dst[i] = sky_f32_to_bf16(src[i]);
}

/* src is aligned to its type. */
static void convert(uint8_t *dst, sky_dtype to, const void *src, sky_dtype from, uint64_t n)
{
    if (!is_float(from))
        widen(dst, to, src, from, n);
    else if (to == SKY_F32)
        sky_to_f32((float *)(void *)dst, src, from, n);
    else if (to == SKY_BF16 && from == SKY_F32)
        to_bf16((uint16_t *)(void *)dst, src, n);
    else
        for (uint64_t i = 0; i < n; i++)
            sky_store_f64(dst, to, i, sky_load_f64(src, from, i));
}

static void read_chunks(const sky_weights *w, const sky_entry *t, uint8_t *dst, sky_dtype to)
{
    _Alignas(64) uint8_t buf[CHUNK * 8];
    uint64_t count = sky_weight_count(&t->pub), size = sky_dtype_size(to);
    for (uint64_t i = 0; i < count; i += CHUNK) {
        uint64_t n = count - i < CHUNK ? count - i : CHUNK;
        sky_weights_gather(w, t, i, n, buf);
        convert(dst + i * size, to, buf, t->pub.dtype, n);
    }
}

int sky_weights_read(const sky_weights *w, const sky_weight *t, void *dst, sky_dtype dtype, sky_err *e)
{
    const void *p = sky_weights_map(w, t);
    if (!convertible(t->dtype, dtype))
        return sky_fail(e, SKY_EUSAGE, "%s: tensor '%s': %s cannot be read as %s", w->path, t->name, sky_dtype_name(t->dtype), sky_dtype_name(dtype));
    if (t->dtype == dtype)
        sky_weights_gather(w, (const sky_entry *)t, 0, sky_weight_count(t), dst);
    else if (p)
        convert(dst, dtype, p, t->dtype, sky_weight_count(t));
    else
        read_chunks(w, (const sky_entry *)t, dst, dtype);
    return SKY_OK;
}

/* ---- identity --------------------------------------------------------------------------------------------------- */

struct hashing {
    const sky_weights *w;
    uint32_t *crc;
};

static uint32_t crc_of(const sky_weights *w, const sky_entry *t)
{
    uint8_t buf[CHUNK * 8];
    uint64_t count = sky_weight_count(&t->pub), size = sky_dtype_size(t->pub.dtype);
    uint32_t crc = 0;
    if (t->packed)
        return sky_crc32c(0, w->map.p + t->at, count * size);
    for (uint64_t i = 0; i < count; i += CHUNK) {
        uint64_t n = count - i < CHUNK ? count - i : CHUNK;
        sky_weights_gather(w, t, i, n, buf);
        crc = sky_crc32c(crc, buf, n * size);
    }
    return crc;
}

static void hash_one(void *arg, int64_t i, int thread)
{
    (void)thread;
    struct hashing *h = arg;
    h->crc[i] = crc_of(h->w, &h->w->t[i]);
    sky_weights_drop(h->w, &h->w->t[i].pub);
}

/* "name F32 [2,3] 0123abcd\n" */
static void add_line(sky_sha256 *s, const sky_weight *t, uint32_t crc)
{
    char line[256] = "";
    int n = snprintf(line, sizeof line, " %s [", sky_dtype_name(t->dtype));
    for (int d = 0; d < t->ndim; d++)
        n += snprintf(line + n, sizeof line - (size_t)n, d ? ",%lld" : "%lld", (long long)t->shape[d]);
    n += snprintf(line + n, sizeof line - (size_t)n, "] %08x\n", crc);
    sky_sha256_add(s, t->name, strlen(t->name));
    sky_sha256_add(s, line, (size_t)n);
}

int sky_weights_hash(const sky_weights *w, int threads, char out[65], sky_err *e)
{
    sky_pool *pool;
    struct hashing h = {w, sky_calloc((size_t)w->n, 4)};
    if (!h.crc)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", w->path);
    int rc = sky_pool_open(&pool, threads, e);
    if (!rc) {
        sky_pool_for(pool, w->n, hash_one, &h);
        sky_pool_close(pool);
        sky_sha256 s;
        sky_sha256_init(&s);
        for (int i = 0; i < w->n; i++)
            add_line(&s, &w->t[i].pub, h.crc[i]);
        sky_sha256_hex(&s, out);
    }
    sky_free(h.crc);
    return rc;
}
