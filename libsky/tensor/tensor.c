#include "tensor/front_internal.h"
#include "tensor/tape_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const sky_tensor sky_none;

enum { STACK_ALIGN = 256 }; /* of every tensor on the stack: cache lines, and what device copies like */
static size_t aligned(size_t n) { return (n + STACK_ALIGN - 1) & ~(size_t)(STACK_ALIGN - 1); }

int64_t sky_last(const sky_tensor *t) { return t->ndim ? t->shape[t->ndim - 1] : 1; }

int64_t sky_rows(const sky_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i + 1 < t->ndim; i++)
        n *= t->shape[i];
    return n;
}

const char *sky_shape_str(const sky_tensor *t, char buf[96])
{
    if (!t->data)
        return strcpy(buf, "none");
    int n = snprintf(buf, 96, "%s[", sky_dtype_name(t->dtype));
    for (int i = 0; i < t->ndim && n < 96; i++)
        n += snprintf(buf + n, 96 - (size_t)n, "%s%" PRId64, i ? "," : "", t->shape[i]);
    if (n < 95)
        memcpy(buf + n, "]", 2);
    return buf;
}

/* ---- context ----------------------------------------------------------------------------------------------- */

/* "name" or "name:index"; index -1 when not given. */
static int parse_device(const char *device, const sky_backend **be, int *index, sky_err *e)
{
    const char *colon = strchr(device, ':');
    size_t n = colon ? (size_t)(colon - device) : strlen(device);
    int cuda = n == 4 && !memcmp(device, "cuda", n), any = n == 4 && !memcmp(device, "auto", n);
    *index = -1;
    if (!cuda && !any && (n != 3 || memcmp(device, "cpu", n)))
        return sky_fail(e, SKY_EUSAGE, "device '%s': expected cpu, cuda, cuda:N or auto", device);
    if (colon) {
        char *end;
        long v = strtol(colon + 1, &end, 10);
        if (end == colon + 1 || *end || v < 0 || v > 1023)
            return sky_fail(e, SKY_EUSAGE, "device '%s': after ':' a device number is expected", device);
        *index = (int)v;
    }
    *be = cuda ? sky_backend_cuda() : &sky_backend_cpu;
    return *be ? SKY_OK : sky_fail(e, SKY_EDEVICE, "device '%s': this program was built without CUDA; it has: cpu", device);
}

int sky_ctx_open(sky_ctx *c, const char *device, int threads, sky_err *e)
{
    *c = (sky_ctx){.be = &sky_backend_cpu, .dry = 1};
    int index, rc = parse_device(device, &c->be, &index, e);
    if (rc)
        return rc;
    if (strncmp(device, "auto", 4))
        return c->be->open(&c->dev, index, threads, e);
    const sky_backend *gpu = sky_backend_cuda();
    if (gpu && gpu->open(&c->dev, index, threads, e) == SKY_OK) {
        c->be = gpu;
        return SKY_OK;
    }
    return c->be->open(&c->dev, -1, threads, e); /* no driver, no such GPU: the CPU, in silence */
}

static void free_arena(sky_ctx *c)
{
    if (c->base)
        c->be->free(c->dev, c->base, c->size);
    c->base = NULL;
    c->size = 0;
}

int sky_ctx_alloc(sky_ctx *c, size_t bytes, sky_err *e)
{
    bytes = aligned(bytes);
    if (!c->base || c->size < bytes) {
        free_arena(c);
        void *p;
        int rc = c->be->alloc(c->dev, &p, bytes, e);
        if (rc)
            return rc;
        c->base = p;
        c->size = bytes;
    }
    c->dry = 0;
    c->peak = 0;
    sky_ctx_reset(c);
    return SKY_OK;
}

void sky_ctx_dry(sky_ctx *c)
{
    c->dry = 1;
    c->peak = 0;
    sky_ctx_reset(c);
}

void sky_ctx_reset(sky_ctx *c)
{
    c->used = c->top = 0;
    c->err = (sky_err){0};
}

void sky_ctx_close(sky_ctx *c)
{
    if (!c->be)
        return;
    free_arena(c);
    c->be->close(c->dev);
    *c = (sky_ctx){0};
}

void sky_ctx_fail(sky_ctx *c, int code, const char *fmt, ...)
{
    if (c->err.code)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(c->err.msg, sizeof c->err.msg, fmt, ap);
    va_end(ap);
    c->err.code = code;
}

/* ---- the stack --------------------------------------------------------------------------------------------- */

/* Where offset 0 of the arena is, and its end. In a dry run addresses that are never followed, far from all real ones: a
 * tape tells tensors apart by them. */
#define DRY_BASE ((uintptr_t)1 << 60)
#define DRY_SIZE ((size_t)1 << 59)
static char *origin(const sky_ctx *c) { return c->dry ? (char *)DRY_BASE : c->base; }
char *sky_arena_end(const sky_ctx *c) { return origin(c) + (c->dry ? DRY_SIZE : c->size); }
size_t sky_arena_offset(const sky_ctx *c, const void *p) { return (size_t)((const char *)p - origin(c)); }
int sky_arena_peak(sky_ctx *c)
{
    if (!c->dry && (c->used > c->size || c->top > c->size - c->used))
        return 0;
    if (c->used + c->top > c->peak)
        c->peak = c->used + c->top;
    return 1;
}

sky_mark sky_mark_get(const sky_ctx *c) { return c->used; }

/* Bytes of a shape; 0 when it is not one. */
static size_t shape_bytes(sky_dtype t, int ndim, const int64_t *shape)
{
    size_t n = sky_dtype_size(t);
    if (ndim < 0 || ndim > SKY_TENSOR_DIMS)
        return 0;
    for (int i = 0; i < ndim; i++)
        if (shape[i] < 1 || __builtin_mul_overflow(n, (size_t)shape[i], &n) || n > PTRDIFF_MAX / 2)
            return 0;
    return n;
}

sky_tensor sky_new(sky_ctx *c, sky_dtype t, int ndim, const int64_t *shape)
{
    if (c->err.code)
        return sky_none;
    sky_tensor y = {.dtype = t, .ndim = ndim};
    size_t bytes = shape_bytes(t, ndim, shape), at = aligned(c->used);
    if (!bytes) {
        sky_ctx_fail(c, SKY_EUSAGE, "new tensor: %d dimensions, every size must be at least 1 and the whole addressable", ndim);
        return sky_none;
    }
    size_t before = c->used;
    c->used = at + bytes;
    if (!sky_arena_peak(c)) {
        c->used = before;
        sky_ctx_fail(c, SKY_ENOMEM, "arena full: %zu bytes wanted, %zu of %zu in use", bytes, c->used + c->top, c->size);
        return sky_none;
    }
    for (int i = 0; i < ndim; i++)
        y.shape[i] = shape[i];
    y.data = origin(c) + at;
    return y;
}

sky_tensor sky_new_last(sky_ctx *c, const sky_tensor *x, int64_t n)
{
    int64_t shape[SKY_TENSOR_DIMS];
    memcpy(shape, x->shape, sizeof shape);
    shape[x->ndim - 1] = n;
    return sky_new(c, x->dtype, x->ndim, shape);
}

static int on_stack_since(const sky_ctx *c, const sky_tensor *t, sky_mark m)
{
    const char *p = t->data, *o = origin(c);
    return p >= o + m && p < o + c->used;
}

void sky_keep(sky_ctx *c, sky_mark m, sky_tensor *t, int n)
{
    if (c->err.code) {
        c->used = m < c->used ? m : c->used;
        return;
    }
    if (c->tape && sky_tape_holds(c, m))
        return;
    size_t used = m;
    char *from = NULL, *end = NULL; /* the tensor moved last, where it was; views into it follow it */
    char *to = NULL;
    for (int i = 0; i < n; i++) {
        if (!on_stack_since(c, &t[i], m))
            continue; /* older than m, or not on the stack at all: it stays where it is */
        char *p = t[i].data;
        size_t bytes = (size_t)sky_bytes(&t[i]), at = aligned(used);
        if (from && p >= from && p + bytes <= end) {
            t[i].data = to + (p - from);
            continue;
        }
        if (p < end) {
            sky_ctx_fail(c, SKY_EUSAGE, "keep: tensor %d was allocated before the one in front of it", i);
            return;
        }
        from = p, end = p + bytes, to = origin(c) + at;
        if (to != p && !c->dry && c->be->move(c->dev, to, p, bytes, &c->err))
            return;
        t[i].data = to;
        used = at + bytes;
    }
    c->used = used;
}

void sky_keep2(sky_ctx *c, sky_mark m, sky_tensor *a, sky_tensor *b)
{
    int swap = (char *)a->data > (char *)b->data;
    sky_tensor t[2] = {swap ? *b : *a, swap ? *a : *b};
    sky_keep(c, m, t, 2);
    *a = t[swap];
    *b = t[!swap];
}

sky_tensor sky_upload(sky_ctx *c, sky_dtype t, int ndim, const int64_t *shape, const void *host)
{
    sky_tensor y = sky_new(c, t, ndim, shape);
    if (y.data && !c->dry && c->be->put(c->dev, &y, host, &c->err))
        return sky_none;
    return y;
}

void sky_download(sky_ctx *c, void *host, const sky_tensor *t)
{
    if (c->err.code || c->dry)
        return;
    if (!t->data)
        sky_ctx_fail(c, SKY_EUSAGE, "download: no tensor");
    else
        c->be->get(c->dev, host, t, &c->err);
}

sky_tensor sky_reshape(sky_ctx *c, sky_tensor t, int ndim, const int64_t *shape)
{
    if (c->err.code)
        return sky_none;
    sky_tensor y = {.data = t.data, .dtype = t.dtype, .ndim = ndim};
    int64_t known = 1, total = sky_numel(&t);
    int open = -1, ok = t.data && ndim >= 0 && ndim <= SKY_TENSOR_DIMS;
    for (int i = 0; ok && i < ndim; i++) {
        y.shape[i] = shape[i];
        if (shape[i] == -1 && open < 0)
            open = i;
        else
            ok = shape[i] > 0 && !__builtin_mul_overflow(known, shape[i], &known);
    }
    if (ok && open >= 0) {
        y.shape[open] = total / known;
        known *= y.shape[open];
    }
    if (!ok || known != total) {
        char want[96];
        sky_tensor w = {.data = &w, .dtype = t.dtype, .ndim = ndim < 0 ? 0 : ndim > SKY_TENSOR_DIMS ? SKY_TENSOR_DIMS : ndim};
        for (int i = 0; i < w.ndim; i++)
            w.shape[i] = shape[i];
        return sky_refuse(c, "reshape", sky_shape_str(&w, want), "x", &t, NULL);
    }
    return y;
}

/* ---- around every operation -------------------------------------------------------------------------------- */

sky_tensor sky_refuse(sky_ctx *c, const char *op, const char *rule, ...)
{
    char msg[sizeof c->err.msg], shape[96];
    int n = snprintf(msg, sizeof msg, "%s: expected %s; got", op, rule);
    va_list ap;
    va_start(ap, rule);
    for (const char *name, *sep = ""; (name = va_arg(ap, const char *)) && n < (int)sizeof msg; sep = ",")
        n += snprintf(msg + n, sizeof msg - (size_t)n, "%s %s %s", sep, name, sky_shape_str(va_arg(ap, const sky_tensor *), shape));
    va_end(ap);
    sky_ctx_fail(c, SKY_EUSAGE, "%s", msg);
    return sky_none;
}

sky_tensor sky_ran(sky_ctx *c, const char *op, sky_tensor y, int offered)
{
    if (!c->err.code && !offered)
        sky_ctx_fail(c, SKY_EDEVICE, "%s: the %s backend does not offer it", op, c->be->name);
    return c->err.code ? sky_none : y;
}
