/* weights_use.h -- what a program does with a weight file that opened. */
#include "base/mem.h"
#include "format/weights.h"

#include <stdlib.h>

static void use_one(const sky_weights *w, const sky_weight *t)
{
    uint64_t n = 1;
    sky_err e;
    for (int d = 0; d < t->ndim; d++)
        n *= (uint64_t)t->shape[d];
    if (sky_weights_find(w, t->name) != t)
        abort();
    if (n > 1 << 16) /* strides of 0 allow any size over few bytes */
        return;
    void *x = sky_alloc(n * 8);
    for (int to = 0; x && to < SKY_DTYPES; to++)
        if (sky_weights_read(w, t, x, (sky_dtype)to, &e) && (sky_dtype)to == t->dtype)
            abort();
    sky_free(x);
    sky_weights_drop(w, t);
}

static void use_weights(sky_weights *w)
{
    uint64_t total = 0;
    for (int i = 0; i < sky_weights_count(w); i++) {
        const sky_weight *t = sky_weights_at(w, i);
        uint64_t n = 1;
        for (int d = 0; d < t->ndim; d++)
            n *= (uint64_t)t->shape[d];
        total += n > 1 << 24 || total > 1 << 24 ? 1 << 24 : n;
        use_one(w, t);
    }
    char hex[65];
    sky_err e;
    if (total < 1 << 22 && sky_weights_hash(w, 1, hex, &e))
        abort();
    sky_weights_close(w);
}
