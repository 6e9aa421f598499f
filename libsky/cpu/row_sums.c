/* Sums over the rows of a matrix, in double: pieces of rows each into a partial sum of their own, then the partial sums in
 * order. The pieces depend on the sizes alone, so the bits do not depend on the number of threads. */
#include "cpu/device_internal.h"

enum { LEAST_ROWS = 16, MOST_ROWS = 256, PIECES = 64, JOIN = 256 /* columns joined at a time */ };

struct row_sums {
    sky_row_sums_fn *fn;
    void *arg;
    double *part; /* [pieces, width] */
    int64_t width, rows, each, pieces;
};

static void sum_piece(void *arg, int64_t i, int thread)
{
    (void)thread;
    const struct row_sums *o = arg;
    int64_t to = (i + 1) * o->each;
    double *part = o->part + i * o->width;
    memset(part, 0, (size_t)o->width * sizeof *part);
    o->fn(o->arg, part, i * o->each, to < o->rows ? to : o->rows);
}

/* Parts 1.. are added to part 0. */
static void join_columns(void *arg, int64_t block, int thread)
{
    (void)thread;
    const struct row_sums *o = arg;
    int64_t from = block * JOIN, to = from + JOIN < o->width ? from + JOIN : o->width;
    for (int64_t i = 1; i < o->pieces; i++)
        for (int64_t c = from; c < to; c++)
            o->part[c] += o->part[i * o->width + c];
}

const double *sky_cpu_row_sums(sky_dev *d, int64_t width, int64_t rows, sky_row_sums_fn *fn, void *arg, const char *op, sky_err *e)
{
    int64_t each = rows / PIECES;
    each = each < LEAST_ROWS ? LEAST_ROWS : each > MOST_ROWS ? MOST_ROWS : each;
    struct row_sums o = {fn, arg, NULL, width, rows, each, (rows + each - 1) / each};
    o.part = sky_cpu_scratch(d, (size_t)(o.pieces * width) * sizeof *o.part, op, e);
    if (!o.part)
        return NULL;
    sky_pool_for(d->pool, o.pieces, sum_piece, &o);
    sky_pool_for(d->pool, (width + JOIN - 1) / JOIN, join_columns, &o);
    return o.part;
}

int sky_cpu_f64_to_grad(sky_dev *d, sky_grad *y, const sky_tensor *s, int64_t from, sky_err *e)
{
    (void)d, (void)e;
    if (y->t.data)
        give(y->t.data, y->add, (const double *)s->data + from, sky_numel(&y->t));
    return SKY_OK;
}
