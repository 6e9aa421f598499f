/* Moving elements without computing, any element type. */
#include "cpu/device_internal.h"

#include <string.h>

struct concat {
    char *y;
    const sky_tensor *x;
    int n, axis, far;
    int64_t inner, pitch;
    const sky_row_kernels *k;
};

/* Row by row of the result: one stream of writes, n of reads. */
static void concat_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct concat *o = arg;
    for (int64_t r = from; r < to; r++) {
        char *y = o->y + r * o->pitch;
        for (int i = 0; i < o->n; i++) {
            int64_t bytes = o->inner * o->x[i].shape[o->axis];
            copy_piece(o->k, y, (const char *)o->x[i].data + r * bytes, bytes, o->far);
            y += bytes;
        }
    }
    o->k->fence();
}

int sky_cpu_concat(sky_dev *d, sky_tensor *y, const sky_tensor *x, int n, int axis, sky_err *e)
{
    (void)e;
    struct concat o = {y->data, x, n, axis, is_far(sky_bytes(y)), inner_bytes(y, axis), 0, d->k};
    o.pitch = o.inner * y->shape[axis];
    if (o.pitch < 1 << 16) {
        sky_cpu_rows(d, outer_count(y, axis), 2 * o.pitch, concat_rows, &o);
        return SKY_OK;
    }
    char *to = y->data; /* long rows are cut among the threads */
    for (int i = 0; i < n; i++) {
        int64_t bytes = o.inner * x[i].shape[axis];
        sky_cpu_copy(d, to, o.pitch, x[i].data, bytes, bytes, outer_count(y, axis));
        to += bytes;
    }
    return SKY_OK;
}

int sky_cpu_slice(sky_dev *d, sky_tensor *y, const sky_tensor *x, int axis, int64_t from, sky_err *e)
{
    (void)e;
    int64_t inner = inner_bytes(x, axis), bytes = inner * y->shape[axis];
    sky_cpu_copy(d, y->data, bytes, (const char *)x->data + from * inner, inner * x->shape[axis], bytes, outer_count(x, axis));
    return SKY_OK;
}

int sky_cpu_take(sky_dev *d, sky_tensor *y, const sky_tensor *x, const int64_t *index, sky_err *e)
{
    (void)e;
    int64_t row = inner_bytes(x, 0);
    for (int64_t i = 0; i < y->shape[0]; i++)
        sky_cpu_copy(d, (char *)y->data + i * row, row, (const char *)x->data + index[i] * row, row, row, 1);
    return SKY_OK;
}

int sky_cpu_pick(sky_dev *d, sky_tensor *y, const sky_tensor *a, const sky_tensor *b, const int64_t *pos, sky_err *e)
{
    (void)e;
    int64_t row = inner_bytes(y, 0);
    for (int64_t i = 0; i < y->shape[0]; i++) {
        const char *src = pos[i] >= 0 ? (const char *)a->data + pos[i] * row : (const char *)b->data + (-1 - pos[i]) * row;
        sky_cpu_copy(d, (char *)y->data + i * row, row, src, row, row, 1);
    }
    return SKY_OK;
}

int sky_cpu_repeat(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e)
{
    (void)e;
    sky_cpu_copy(d, y->data, sky_bytes(x), x->data, 0, sky_bytes(x), y->shape[0]);
    return SKY_OK;
}

/* ---- halves ---------------------------------------------------------------------------------------------------- */

struct halves {
    char *y;
    const char *x;
    int64_t w, vec; /* vectors in half a row, bytes of a vector */
    int far;
    const sky_row_kernels *k;
};

/* Each row of 2w vectors becomes w vectors that hold both halves. */
static void stack_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct halves *s = arg;
    int64_t half = s->w * s->vec;
    for (int64_t i = from; i < to; i++) {
        char *y = s->y + 2 * i * half;
        const char *x = s->x + 2 * i * half;
        for (int64_t j = 0; j < half; j += s->vec) {
            copy_piece(s->k, y + 2 * j, x + j, s->vec, s->far);
            copy_piece(s->k, y + 2 * j + s->vec, x + half + j, s->vec, s->far);
        }
    }
    s->k->fence();
}

int sky_cpu_halves_stack(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e)
{
    (void)e;
    struct halves s = {y->data, x->data, y->shape[2], x->shape[3] * 4, is_far(sky_bytes(y)), d->k};
    sky_cpu_rows(d, x->shape[0] * x->shape[1], 4 * s.w * s.vec, stack_rows, &s);
    return SKY_OK;
}

/* Each row of w pairs of vectors becomes two halves of w vectors. */
static void unstack_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct halves *s = arg;
    int64_t half = s->w * s->vec;
    for (int64_t i = from; i < to; i++)
        for (int64_t k = 0; k < 2; k++)
            for (int64_t j = 0; j < half; j += s->vec)
                copy_piece(s->k, s->y + (2 * i + k) * half + j, s->x + 2 * (i * half + j) + k * s->vec, s->vec, s->far);
    s->k->fence();
}

int sky_cpu_halves_unstack(sky_dev *d, sky_tensor *dx, const sky_tensor *dy, sky_err *e)
{
    (void)e;
    struct halves s = {dx->data, dy->data, dy->shape[2], dx->shape[3] * 4, is_far(sky_bytes(dx)), d->k};
    sky_cpu_rows(d, dx->shape[0] * dx->shape[1], 4 * s.w * s.vec, unstack_rows, &s);
    return SKY_OK;
}

/* ---- transpose ------------------------------------------------------------------------------------------------ */

struct transpose {
    char *y;
    const char *x;
    int ndim;
    size_t size;
    int64_t shape[SKY_TENSOR_DIMS], step[SKY_TENSOR_DIMS]; /* of the result; step: bytes in x */
};

static void strided_row(char *y, const char *x, int64_t n, int64_t step, size_t size)
{
    if (step == (int64_t)size)
        memcpy(y, x, (size_t)n * size);
    else if (size == 4)
        for (int64_t i = 0; i < n; i++)
            memcpy(y + 4 * i, x + i * step, 4);
    else
        for (int64_t i = 0; i < n; i++)
            memcpy(y + (int64_t)size * i, x + i * step, size);
}

static void transpose_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct transpose *t = arg;
    int last = t->ndim - 1;
    int64_t row = t->shape[last] * (int64_t)t->size;
    for (int64_t r = from; r < to; r++) {
        const char *x = t->x;
        for (int64_t i = last - 1, rest = r; i >= 0; i--) {
            x += rest % t->shape[i] * t->step[i];
            rest /= t->shape[i];
        }
        strided_row(t->y + r * row, x, t->shape[last], t->step[last], t->size);
    }
}

int sky_cpu_transpose(sky_dev *d, sky_tensor *y, const sky_tensor *x, const int *perm, sky_err *e)
{
    (void)e;
    if (x->ndim == 0)
        return memcpy(y->data, x->data, sky_dtype_size(x->dtype)), SKY_OK;
    struct transpose t = {.y = y->data, .x = x->data, .ndim = x->ndim, .size = sky_dtype_size(x->dtype)};
    for (int i = 0; i < x->ndim; i++) {
        t.shape[i] = y->shape[i];
        t.step[i] = inner_bytes(x, perm[i]);
    }
    sky_cpu_rows(d, sky_rows(y), 2 * sky_last(y) * (int64_t)t.size, transpose_rows, &t);
    return SKY_OK;
}
