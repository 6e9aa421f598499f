/* scratch.h -- one block of working memory, grown on demand and reused by every call that is handed it.
 *
 * Zero-initialise; one per context. Contents do not survive a call. Not for use by two calls at once: a kernel that
 * runs pieces on several threads takes one block and cuts it by thread itself. */
#ifndef SKY_CPU_SCRATCH_H
#define SKY_CPU_SCRATCH_H

#include "base/mem.h"

typedef struct {
    void *p;
    size_t n;
} sky_scratch;

/* At least n bytes, 64-byte aligned; NULL when memory is short (the old block is then gone too). */
static inline void *sky_scratch_get(sky_scratch *s, size_t n)
{
    if (n > s->n) {
        sky_free(s->p);
        s->p = sky_alloc(n);
        s->n = s->p ? n : 0;
    }
    return s->p;
}

static inline void sky_scratch_free(sky_scratch *s)
{
    sky_free(s->p);
    s->p = NULL;
    s->n = 0;
}

#endif
