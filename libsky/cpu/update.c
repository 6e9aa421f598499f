/* Parameters: sums of squares, steps of the optimizer, running averages. Bound by memory: every element of every operand
 * is touched once (28 bytes per element and step of AdamW, 30 with a BF16 copy). */
#include "cpu/device_internal.h"

#include <math.h>

struct update {
    const sky_row_kernels *k;
    float *w, *m, *v;
    const float *g;
    uint16_t *copy;
    sky_adamw_step adamw;
    sky_sgd_step sgd;
    float t; /* of fill and lerp */
};

static void fill_elements(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct update *o = arg;
    o->k->fill(o->w + from, o->t, to - from);
}

int sky_cpu_fill(sky_dev *d, sky_tensor *y, float value, sky_err *e)
{
    (void)e;
    struct update o = {.k = d->k, .w = y->data, .t = value};
    sky_cpu_rows(d, sky_numel(y), 4, fill_elements, &o);
    return SKY_OK;
}

static void lerp_elements(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct update *o = arg;
    o->k->lerp(o->w + from, o->g + from, o->t, to - from);
}

int sky_cpu_lerp(sky_dev *d, sky_tensor *y, const sky_tensor *x, float t, sky_err *e)
{
    (void)e;
    struct update o = {.k = d->k, .w = y->data, .g = x->data, .t = t};
    sky_cpu_rows(d, sky_numel(y), 12, lerp_elements, &o);
    return SKY_OK;
}

static void adamw_elements(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct update *o = arg;
    o->k->adamw(o->w + from, o->g + from, o->m + from, o->v + from, o->copy ? o->copy + from : NULL, &o->adamw, to - from);
}

int sky_cpu_adamw(sky_dev *d, sky_tensor *w, const sky_tensor *g, sky_tensor *m, sky_tensor *v, sky_tensor *copy, const sky_adamw *a, sky_err *e)
{
    (void)e;
    struct update o = {.k = d->k, .w = w->data, .g = g->data, .m = m->data, .v = v->data, .copy = copy->data};
    o.adamw = (sky_adamw_step){(float)a->gscale, (float)(a->lr * a->decay), (float)a->beta1, (float)(1 - a->beta1), (float)a->beta2, (float)(1 - a->beta2),
                               (float)(a->lr / (1 - pow(a->beta1, (double)a->t))), (float)(1 / sqrt(1 - pow(a->beta2, (double)a->t))), (float)a->eps};
    sky_cpu_rows(d, sky_numel(w), 30, adamw_elements, &o);
    return SKY_OK;
}

static void sgd_elements(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct update *o = arg;
    o->k->sgd(o->w + from, o->g + from, o->m + from, o->copy ? o->copy + from : NULL, &o->sgd, to - from);
}

int sky_cpu_sgd(sky_dev *d, sky_tensor *w, const sky_tensor *g, sky_tensor *m, sky_tensor *copy, const sky_sgd *a, sky_err *e)
{
    (void)e;
    struct update o = {.k = d->k, .w = w->data, .g = g->data, .m = m->data, .copy = copy->data};
    o.sgd = (sky_sgd_step){(float)a->gscale, (float)a->decay, (float)a->momentum, (float)a->lr, a->first};
    sky_cpu_rows(d, sky_numel(w), 22, sgd_elements, &o);
    return SKY_OK;
}

/* ---- sums of squares ----------------------------------------------------------------------------------------- */

enum { SQUARE_PIECE = 1 << 16 }; /* elements; the cut and so the sum depend on the tensor's size alone */

struct squares {
    const sky_row_kernels *k;
    const sky_tensor *const *x;
    int64_t *first; /* [n + 1] number of each tensor's first piece */
    double *piece;
    int n;
};

static int tensor_of(const struct squares *o, int64_t piece)
{
    int lo = 0, hi = o->n;
    while (hi - lo > 1) {
        int mid = (lo + hi) / 2;
        if (o->first[mid] <= piece)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

static void square_pieces(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct squares *o = arg;
    for (int64_t i = from; i < to; i++) {
        int t = tensor_of(o, i);
        int64_t at = (i - o->first[t]) * SQUARE_PIECE, n = sky_numel(o->x[t]) - at;
        o->piece[i] = o->k->square_sum(f32(o->x[t]) + at, n < SQUARE_PIECE ? n : SQUARE_PIECE);
    }
}

int sky_cpu_square_sums(sky_dev *d, sky_tensor *s, const sky_tensor *const *x, int n, sky_err *e)
{
    int64_t pieces = 0;
    for (int i = 0; i < n; i++)
        pieces += (sky_numel(x[i]) + SQUARE_PIECE - 1) / SQUARE_PIECE;
    int64_t *first = sky_cpu_scratch(d, (size_t)(n + 1 + pieces) * 8, "square_sums", e);
    if (!first)
        return SKY_ENOMEM;
    struct squares o = {d->k, x, first, (double *)(first + n + 1), n};
    first[0] = 0;
    for (int i = 0; i < n; i++)
        first[i + 1] = first[i] + (sky_numel(x[i]) + SQUARE_PIECE - 1) / SQUARE_PIECE;
    sky_cpu_rows(d, pieces, 4 * SQUARE_PIECE, square_pieces, &o);
    double *sum = s->data;
    for (int i = 0; i < n; i++) {
        sum[i] = 0;
        for (int64_t p = first[i]; p < first[i + 1]; p++)
            sum[i] += o.piece[p];
    }
    return SKY_OK;
}
