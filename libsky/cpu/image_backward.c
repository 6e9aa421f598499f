/* Gradients of resizing and pooling maps [B,H,W,C]. Each is the transpose of weights of rows times weights of columns: every
 * place of an axis lists the results that took from it and gathers them in order, over rows first, then over columns.
 * Nothing is scattered, so the order of every sum is fixed. */
#include "base/mem.h"
#include "cpu/device_internal.h"
#include "cpu/image_internal.h"

/* Place i gave to the results at[start[i]] .. at[start[i + 1] - 1] with weights w. */
typedef struct {
    int64_t *start, *at;
    float *w;
} axis;

/* Results of an axis of `from` places: taps of a resize, or means over cells. */
typedef struct {
    int64_t from, to;
    const sky_tap *taps; /* NULL: cells */
    int count;           /* of taps in use */
    int pairs;           /* cells of two, an odd rest is left out; else cell i covers floor(i*from/to) .. ceil((i+1)*from/to)-1 */
} rule;

/* First counts (at start[place + 2], which sums turn into the begin of a list at start[place + 1]), then fills. */
static void note(axis *a, int fill, int64_t place, int64_t result, float w)
{
    if (w == 0)
        return;
    if (!fill) {
        a->start[place + 2]++;
        return;
    }
    int64_t i = a->start[place + 1]++;
    a->at[i] = result;
    a->w[i] = w;
}

static void note_all(axis *a, const rule *r, int fill)
{
    for (int64_t i = 0; i < r->to; i++) {
        for (int k = 0; r->taps && k < r->count; k++)
            note(a, fill, r->taps[i].at[k], i, r->taps[i].w[k]);
        int64_t begin = r->pairs ? 2 * i : i * r->from / r->to, end = r->pairs ? begin + 2 : ((i + 1) * r->from + r->to - 1) / r->to;
        for (int64_t k = begin; !r->taps && k < end; k++)
            note(a, fill, k, i, (float)(1.0 / (double)(end - begin)));
    }
}

static int axis_open(axis *a, const rule *r, const char *op, sky_err *e)
{
    size_t places = (size_t)r->from + 2, most = (size_t)(4 * r->to + r->from); /* entries: 4 taps, or cells that share their ends */
    a->start = sky_calloc(1, (places + most) * sizeof *a->start + most * sizeof *a->w);
    if (!a->start)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", op);
    a->at = a->start + places;
    a->w = (float *)(a->at + most);
    note_all(a, r, 0);
    for (size_t i = 1; i < places; i++)
        a->start[i] += a->start[i - 1];
    note_all(a, r, 1);
    return SKY_OK;
}

/* y[n] (+)= what place i gathers from the vectors src + result*stride; eight at a time, so that many are not added up in
 * one long chain of roundings. */
static void gather(const sky_row_kernels *k, float *y, const float *src, int64_t stride, const axis *a, int64_t i, int add, int64_t n)
{
    int64_t at = a->start[i], end = a->start[i + 1];
    if (at == end && add != SKY_PUT_ADD)
        memset(y, 0, (size_t)n * sizeof *y);
    if (end - at > 8 && add == SKY_PUT_FAR)
        add = SKY_PUT_OVER;
    for (; at < end; at += 8, add = SKY_PUT_ADD) {
        const float *from[8];
        int m = (int)(end - at < 8 ? end - at : 8);
        for (int j = 0; j < m; j++)
            from[j] = src + a->at[at + j] * stride;
        k->mix_add(y, from, a->w + at, m, add, n);
    }
}

enum { LINES_BYTES = 1 << 19 /* per thread */, CHUNK = 1 << 14 };

struct back {
    const sky_row_kernels *k;
    float *dx, *lines; /* lines: [group, w, C] */
    const float *dy;
    axis rows, columns;
    int64_t H, W, h, w, C; /* dx, dy */
    int64_t first, group;  /* lines at hand: rows of dx, counted over the batch */
    int add;
};

/* A stretch of one line: w vectors gathered over the rows of dy. Neighbouring lines share rows, so they come next. */
static void over_rows(void *arg, int64_t i, int thread)
{
    (void)thread;
    const struct back *o = arg;
    int64_t line = i % o->group, from = i / o->group * CHUNK, n = o->w * o->C, row = o->first + line;
    const float *map = o->dy + row / o->H * o->h * n + from;
    gather(o->k, o->lines + line * n + from, map, n, &o->rows, row % o->H, 0, n - from < CHUNK ? n - from : CHUNK);
}

/* Vectors of dx, each gathered over the columns of its line. */
static void over_columns(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct back *o = arg;
    for (int64_t i = from; i < to; i++)
        gather(o->k, o->dx + (o->first * o->W + i) * o->C, o->lines + i / o->W * o->w * o->C, o->C, &o->columns, i % o->W, o->add, o->C);
    o->k->fence();
}

/* Some lines after the other, so that what lies between rows and columns stays in the caches. Which lines go together
 * changes no bit of them. */
static int transpose(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const rule *rows, const rule *columns, const char *op, sky_err *e)
{
    const int64_t *s = dx->t.shape, total = s[0] * s[1];
    struct back o = {.k = d->k, .dx = dx->t.data, .dy = dy->data, .H = s[1], .W = s[2], .h = dy->shape[1], .w = dy->shape[2], .C = s[3], .add = put_mode(dx, s[3])};
    int64_t line = o.w * o.C, chunks = (line + CHUNK - 1) / CHUNK, most = (int64_t)sky_pool_threads(d->pool) * LINES_BYTES / (4 * line) + 1;
    most = most < total ? most : total;
    int rc = axis_open(&o.rows, rows, op, e);
    if (!rc)
        rc = axis_open(&o.columns, columns, op, e);
    if (!rc) {
        o.lines = sky_cpu_scratch(d, (size_t)(most * line) * sizeof *o.lines, op, e);
        rc = o.lines ? SKY_OK : e->code;
    }
    for (; !rc && o.first < total; o.first += most) {
        o.group = total - o.first < most ? total - o.first : most;
        sky_pool_for(d->pool, o.group * chunks, over_rows, &o);
        sky_cpu_rows(d, o.group * o.W, 8 * o.C, over_columns, &o);
    }
    sky_free(o.rows.start);
    sky_free(o.columns.start);
    return rc;
}

int sky_cpu_resize_backward(sky_dev *d, sky_grad *dx, const sky_tensor *dy, sky_interp how, sky_err *e)
{
    if (!dx->t.data)
        return SKY_OK;
    int64_t H = dx->t.shape[1], W = dx->t.shape[2], h = dy->shape[1], w = dy->shape[2];
    sky_tap *taps = sky_alloc((size_t)(h + w) * sizeof *taps);
    if (!taps)
        return sky_fail(e, SKY_ENOMEM, "resize_backward: out of memory");
    sky_cpu_taps(taps, H, h, how);
    sky_cpu_taps(taps + h, W, w, how);
    int rc = transpose(d, dx, dy, &(rule){H, h, taps, sky_tap_count(how), 0}, &(rule){W, w, taps + h, sky_tap_count(how), 0}, "resize_backward", e);
    sky_free(taps);
    return rc;
}

static int pool(sky_dev *d, sky_grad *dx, const sky_tensor *dy, int pairs, const char *op, sky_err *e)
{
    if (!dx->t.data)
        return SKY_OK;
    const int64_t *s = dx->t.shape;
    return transpose(d, dx, dy, &(rule){s[1], dy->shape[1], NULL, 0, pairs}, &(rule){s[2], dy->shape[2], NULL, 0, pairs}, op, e);
}

int sky_cpu_avg_pool2_backward(sky_dev *d, sky_grad *dx, const sky_tensor *dy, sky_err *e)
{
    return pool(d, dx, dy, 1, "avg_pool2_backward", e);
}

int sky_cpu_adaptive_avg_pool_backward(sky_dev *d, sky_grad *dx, const sky_tensor *dy, sky_err *e)
{
    return pool(d, dx, dy, 0, "adaptive_avg_pool_backward", e);
}
