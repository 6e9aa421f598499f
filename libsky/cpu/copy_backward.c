/* Gradients of moves: elements go back where they came from. */
#include "cpu/device_internal.h"

struct zeros {
    char *p;
    int64_t pitch, bytes, part, parts;
};

static void zero_parts(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct zeros *z = arg;
    for (int64_t i = from; i < to; i++) {
        int64_t at = i % z->parts * z->part, n = z->bytes - at < z->part ? z->bytes - at : z->part;
        memset(z->p + i / z->parts * z->pitch + at, 0, (size_t)n);
    }
}

/* `bytes` of zeros in each of so many rows. */
static void zero_rows(sky_dev *d, void *p, int64_t pitch, int64_t bytes, int64_t rows)
{
    struct zeros z = {p, pitch, bytes, bytes < 1 << 18 ? bytes : 1 << 18, 0};
    if (bytes <= 0)
        return;
    z.parts = (bytes + z.part - 1) / z.part;
    sky_cpu_rows(d, rows * z.parts, z.part, zero_parts, &z);
}

int sky_cpu_unslice(sky_dev *d, sky_tensor *dx, const sky_tensor *dy, int axis, int64_t from, sky_err *e)
{
    (void)e;
    int64_t inner = inner_bytes(dx, axis), pitch = inner * dx->shape[axis], bytes = inner * dy->shape[axis], rows = outer_count(dx, axis);
    char *p = dx->data;
    zero_rows(d, p, pitch, from * inner, rows);
    sky_cpu_copy(d, p + from * inner, pitch, dy->data, bytes, bytes, rows);
    zero_rows(d, p + from * inner + bytes, pitch, pitch - from * inner - bytes, rows);
    return SKY_OK;
}

enum { STRIP = 1 << 14 };

struct untake {
    const sky_row_kernels *k;
    float *dx;
    const float *dy;
    const int64_t *first, *next; /* rows of dy that go to a row of dx, in order; -1 ends */
    int64_t n, strips;           /* numbers in a row, strips of it */
};

static void untake_strip(void *arg, int64_t i, int thread)
{
    (void)thread;
    const struct untake *o = arg;
    int64_t row = i / o->strips, from = i % o->strips * STRIP, n = o->n - from < STRIP ? o->n - from : STRIP, from_row = o->first[row];
    float *y = o->dx + row * o->n + from;
    if (from_row < 0) {
        memset(y, 0, (size_t)n * sizeof *y);
        return;
    }
    memcpy(y, o->dy + from_row * o->n + from, (size_t)n * sizeof *y);
    while ((from_row = o->next[from_row]) >= 0)
        o->k->add(y, y, o->dy + from_row * o->n + from, n);
}

int sky_cpu_untake(sky_dev *d, sky_tensor *dx, const sky_tensor *dy, const int64_t *index, sky_err *e)
{
    int64_t rows = dx->shape[0], n = dy->shape[0];
    int64_t *first = sky_cpu_scratch(d, (size_t)(rows + n) * sizeof *first, "untake", e), *next = first + rows;
    if (!first)
        return e->code;
    memset(first, -1, (size_t)rows * sizeof *first);
    for (int64_t i = n - 1; i >= 0; i--)
        if (index[i] >= 0) {
            next[i] = first[index[i]];
            first[index[i]] = i;
        }
    struct untake o = {d->k, dx->data, dy->data, first, next, sky_numel(dx) / rows, 0};
    o.strips = (o.n + STRIP - 1) / STRIP;
    sky_pool_for(d->pool, rows * o.strips, untake_strip, &o);
    return SKY_OK;
}
