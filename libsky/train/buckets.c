#include "train/buckets.h"
#include "base/mem.h"

#include <string.h>

typedef struct {
    int64_t from, to; /* elements of grad */
    int params, left; /* of it; not yet done in this backward */
} bucket;

struct sky_buckets {
    sky_comm *k;
    float *grad;
    bucket *v;
    int n;
    int *of;       /* parameter -> bucket */
    int params;
    int *order;    /* in which sums begin */
    int begun;     /* so many of it have */
    int *finished; /* order of completion in this backward */
    int nfinished;
    int learned;   /* `order` is that of rank 0's first backward */
};

/* Cut the parameters into buckets; b->v has room for one per parameter. */
static void cut(sky_buckets *b, const int64_t *at, int64_t size, int64_t bytes)
{
    for (int i = 0; i < b->params; i++) {
        if (!b->n || (b->v[b->n - 1].to - b->v[b->n - 1].from) * (int64_t)sizeof(float) >= bytes)
            b->v[b->n++] = (bucket){at[i], 0, 0, 0};
        bucket *v = &b->v[b->n - 1];
        v->to = i + 1 < b->params ? at[i + 1] : size;
        v->params++;
        b->of[i] = b->n - 1;
    }
}

int sky_buckets_open(sky_buckets **out, sky_comm *k, float *grad, int64_t size, const int64_t *at, int n, int64_t bytes, sky_err *e)
{
    *out = NULL;
    sky_buckets *b = sky_calloc(1, sizeof *b);
    if (b) {
        *b = (sky_buckets){.k = k, .grad = grad, .params = n};
        b->v = sky_calloc((size_t)n + 1, sizeof *b->v);
        b->of = sky_calloc((size_t)n + 1, sizeof *b->of);
        b->order = sky_calloc((size_t)n + 1, sizeof *b->order);
        b->finished = sky_calloc((size_t)n + 1, sizeof *b->finished);
    }
    if (!b || !b->v || !b->of || !b->order || !b->finished) {
        sky_buckets_close(b);
        return sky_fail(e, SKY_ENOMEM, "gradient buckets: out of memory");
    }
    cut(b, at, size, bytes);
    for (int i = 0; i < b->n; i++)
        b->order[i] = b->n - 1 - i;
    *out = b;
    return 0;
}

void sky_buckets_close(sky_buckets *b)
{
    if (!b)
        return;
    sky_free(b->v);
    sky_free(b->of);
    sky_free(b->order);
    sky_free(b->finished);
    sky_free(b);
}

int sky_buckets_count(const sky_buckets *b) { return b->n; }

void sky_buckets_begin(sky_buckets *b)
{
    for (int i = 0; i < b->n; i++)
        b->v[i].left = b->v[i].params;
    b->begun = b->nfinished = 0;
    sky_comm_begin(b->k);
}

/* Begin the sums of complete buckets, as far as the order allows. */
static int begin_complete(sky_buckets *b, sky_err *e)
{
    int rc = 0;
    while (!rc && b->begun < b->n && !b->v[b->order[b->begun]].left) {
        const bucket *v = &b->v[b->order[b->begun++]];
        rc = sky_comm_sum_start(b->k, b->grad + v->from, v->to - v->from, SKY_F32, e);
    }
    return rc;
}

int sky_buckets_done(sky_buckets *b, int i, sky_err *e)
{
    const int of = b->of[i];
    if (--b->v[of].left)
        return 0;
    b->finished[b->nfinished++] = of;
    return begin_complete(b, e);
}

int sky_buckets_finish(sky_buckets *b, sky_err *e)
{
    for (int i = b->n - 1; i >= 0; i--)
        if (b->v[i].left) {
            b->v[i].left = 0;
            b->finished[b->nfinished++] = i;
        }
    int rc = begin_complete(b, e);
    if (rc || (rc = sky_comm_wait(b->k, e)) || b->learned)
        return rc;
    memcpy(b->order, b->finished, (size_t)b->n * sizeof *b->order);
    b->learned = 1;
    return sky_comm_broadcast(b->k, b->order, (size_t)b->n * sizeof *b->order, 0, e);
}
