/* mem.h -- the only door to the heap.
 *
 * Every allocation of libsky and the tools goes through sky_alloc/sky_realloc so that one test hook can make the n-th
 * one fail: SKY_TEST_FAIL_ALLOC=n in the environment (n >= 1; later ones succeed again). Third-party libraries that
 * take an allocator (jansson) are pointed here too. Memory is released with sky_free (NULL allowed). */
#ifndef SKY_BASE_MEM_H
#define SKY_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

/* Uninitialised, 64-byte aligned, room for a multiple of 64 bytes. NULL: out of memory, so n = 0 gives a pointer, too. */
void *sky_alloc(size_t n);
void *sky_alloc_node(size_t n);       /* the same for strings and nodes of trees: aligned as malloc does, and faster */
void *sky_calloc(size_t n, size_t m); /* zeroed n*m bytes; overflow gives NULL */
void *sky_realloc(void *p, size_t old_n, size_t n); /* contents up to min(old_n, n) kept */

/* The array v (NULL: none yet) of *cap elements of size bytes, with room for element number n: v itself while n < *cap, else
 * a larger copy, v freed. Room doubles, from 64 elements on; what is new is uninitialised. NULL: out of memory or more bytes
 * than a size_t counts; v and *cap stay as they were, and v is still the caller's. */
void *sky_grow(void *v, size_t n, size_t *cap, size_t size);
char *sky_strdup(const char *s);
char *sky_strndup(const char *s, size_t n);
char *sky_asprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void sky_free(void *p);

/* a*b into *r; returns 0 when it overflows. */
static inline int sky_mul_u64(uint64_t a, uint64_t b, uint64_t *r) { return !__builtin_mul_overflow(a, b, r); }
static inline int sky_add_u64(uint64_t a, uint64_t b, uint64_t *r) { return !__builtin_add_overflow(a, b, r); }

/* Growable byte string; always NUL-terminated when p is not NULL. Zero-initialise; a failed append sets bad and keeps
 * the old content. Free with sky_buf_free. */
typedef struct {
    char *p;
    size_t n, cap;
    int bad;
} sky_buf;
void sky_buf_add(sky_buf *b, const void *p, size_t n);
void sky_buf_puts(sky_buf *b, const char *s);
void sky_buf_printf(sky_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sky_buf_reset(sky_buf *b); /* length 0, memory kept */
void sky_buf_free(sky_buf *b);

#endif
