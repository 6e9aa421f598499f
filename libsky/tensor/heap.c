/* heap.c -- gradients of activations at the far end of the arena.
 *
 * They are born and die in nearly the opposite order, which a stack cannot serve. Few live at once (tens), so a sorted
 * list and first fit do; the same sequence of calls gives the same places, so a dry step measures a real one. */
#include "base/mem.h"
#include "tensor/tape_internal.h"

enum { HEAP_ALIGN = 256 };

static int grow(sky_ctx *c, sky_heap *h)
{
    sky_heap_block *v = sky_grow(h->v, (size_t)h->n, &h->cap, sizeof *v);
    if (!v) {
        sky_ctx_fail(c, SKY_ENOMEM, "out of memory");
        return 0;
    }
    h->v = v;
    return 1;
}

static void set_top(sky_ctx *c, const sky_heap *h) { c->top = h->n ? h->v[h->n - 1].at + h->v[h->n - 1].n : 0; }

void *sky_heap_get(sky_ctx *c, size_t bytes)
{
    sky_heap *h = sky_tape_heap(c);
    if (c->err.code || !grow(c, h))
        return NULL;
    size_t n = (bytes + HEAP_ALIGN - 1) & ~(size_t)(HEAP_ALIGN - 1), at = 0;
    int i = 0;
    while (i < h->n && h->v[i].at - at < n) {
        at = h->v[i].at + h->v[i].n;
        i++;
    }
    for (int k = h->n; k > i; k--)
        h->v[k] = h->v[k - 1];
    h->v[i] = (sky_heap_block){at, n};
    h->n++;
    set_top(c, h);
    char *p = sky_arena_end(c) - at - n;
    if (sky_arena_peak(c))
        return p;
    sky_heap_put(c, p);
    sky_ctx_fail(c, SKY_ENOMEM, "arena full: %zu bytes wanted for a gradient, %zu of %zu in use", bytes, c->used + c->top, c->size);
    return NULL;
}

void sky_heap_put(sky_ctx *c, void *p)
{
    sky_heap *h = sky_tape_heap(c);
    size_t far = (size_t)(sky_arena_end(c) - (char *)p);
    for (int i = 0; i < h->n; i++)
        if (h->v[i].at + h->v[i].n == far) {
            for (int k = i; k + 1 < h->n; k++)
                h->v[k] = h->v[k + 1];
            h->n--;
            break;
        }
    set_top(c, h);
}
