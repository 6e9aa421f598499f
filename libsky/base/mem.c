#include "base/mem.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -1: the environment was not read yet; 0: no failure wanted (any more). */
static _Atomic long fail_countdown = -1;

static int told_to_fail(void)
{
    long left = atomic_load_explicit(&fail_countdown, memory_order_relaxed);
    if (left == 0)
        return 0;
    if (left < 0) {
        const char *s = getenv("SKY_TEST_FAIL_ALLOC");
        long want = s ? strtol(s, NULL, 10) : 0;
        atomic_compare_exchange_strong(&fail_countdown, &left, want > 0 ? want : 0);
        if (want <= 0)
            return 0;
    }
    left = atomic_load(&fail_countdown);
    while (left > 0 && !atomic_compare_exchange_weak(&fail_countdown, &left, left - 1)) /* never below 0: one failure */
        continue;
    return left == 1;
}

void *sky_alloc(size_t n)
{
    if (told_to_fail() || n > SIZE_MAX - 64)
        return NULL;
    return aligned_alloc(64, n ? (n + 63) & ~(size_t)63 : 64);
}

void *sky_alloc_node(size_t n) { return told_to_fail() ? NULL : malloc(n ? n : 1); }

void *sky_calloc(size_t n, size_t m)
{
    uint64_t bytes;
    if (!sky_mul_u64(n, m, &bytes))
        return NULL;
    void *p = sky_alloc(bytes);
    return p ? memset(p, 0, bytes) : NULL;
}

void *sky_realloc(void *p, size_t old_n, size_t n)
{
    void *q = sky_alloc(n);
    if (!q)
        return NULL;
    if (p)
        memcpy(q, p, old_n < n ? old_n : n);
    sky_free(p);
    return q;
}

void *sky_grow(void *v, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return v;
    size_t want = *cap ? *cap : 64;
    while (want <= n && want <= SIZE_MAX / 2)
        want *= 2;
    uint64_t bytes;
    void *p = want > n && sky_mul_u64(want, size, &bytes) ? sky_realloc(v, *cap * size, bytes) : NULL;
    if (p)
        *cap = want;
    return p;
}

char *sky_strndup(const char *s, size_t n)
{
    char *p = sky_alloc_node(n + 1);
    if (!p)
        return NULL;
    memcpy(p, s, n);
    p[n] = 0;
    return p;
}

char *sky_strdup(const char *s) { return sky_strndup(s, strlen(s)); }

void sky_free(void *p) { free(p); }

static int reserve(sky_buf *b, size_t more)
{
    char *p = b->bad || more > SIZE_MAX / 2 - b->n ? NULL : sky_grow(b->p, b->n + more, &b->cap, 1);
    if (!p)
        return b->bad = 1, 0;
    b->p = p;
    return 1;
}

void sky_buf_add(sky_buf *b, const void *p, size_t n)
{
    if (!reserve(b, n))
        return;
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = 0;
}

void sky_buf_puts(sky_buf *b, const char *s) { sky_buf_add(b, s, strlen(s)); }

static void buf_vprintf(sky_buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    if (n >= 0 && reserve(b, (size_t)n)) {
        vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    } else {
        b->bad = 1;
    }
    va_end(again);
}

void sky_buf_printf(sky_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

char *sky_asprintf(const char *fmt, ...)
{
    sky_buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    if (b.bad)
        sky_buf_free(&b);
    return b.p;
}

void sky_buf_reset(sky_buf *b)
{
    b->n = 0;
    b->bad = 0;
    if (b->p)
        b->p[0] = 0;
}

void sky_buf_free(sky_buf *b)
{
    sky_free(b->p);
    *b = (sky_buf){0};
}
