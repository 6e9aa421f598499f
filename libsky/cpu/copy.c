/* Moving elements without computing, any element type. */
#include "cpu/device_internal.h"

#include <string.h>

/* Bytes of one step along dimension `axis`, and how many such blocks lie in front of it. */
static int64_t inner_bytes(const sky_tensor *t, int axis)
{
    int64_t n = (int64_t)sky_dtype_size(t->dtype);
    for (int i = axis + 1; i < t->ndim; i++)
        n *= t->shape[i];
    return n;
}
static int64_t outer(const sky_tensor *t, int axis)
{
    int64_t n = 1;
    for (int i = 0; i < axis; i++)
        n *= t->shape[i];
    return n;
}

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
        sky_cpu_rows(d, outer(y, axis), 2 * o.pitch, concat_rows, &o);
        return SKY_OK;
    }
    char *to = y->data; /* long rows are cut among the threads */
    for (int i = 0; i < n; i++) {
        int64_t bytes = o.inner * x[i].shape[axis];
        sky_cpu_copy(d, to, o.pitch, x[i].data, bytes, bytes, outer(y, axis));
        to += bytes;
    }
    return SKY_OK;
}

int sky_cpu_slice(sky_dev *d, sky_tensor *y, const sky_tensor *x, int axis, int64_t from, sky_err *e)
{
    (void)e;
    int64_t inner = inner_bytes(x, axis), bytes = inner * y->shape[axis];
    sky_cpu_copy(d, y->data, bytes, (const char *)x->data + from * inner, inner * x->shape[axis], bytes, outer(x, axis));
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

struct stack {
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
    const struct stack *s = arg;
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
    struct stack s = {y->data, x->data, y->shape[2], x->shape[3] * 4, is_far(sky_bytes(y)), d->k};
    sky_cpu_rows(d, x->shape[0] * x->shape[1], 4 * s.w * s.vec, stack_rows, &s);
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

/* ---- patches -------------------------------------------------------------------------------------------------- */

struct patches {
    const sky_row_kernels *k;
    float *y;
    const float *x, *zeros;
    int64_t H, W, C, h, w; /* map, and its size in patches */
    int p;
};

/* The p*p pixels of one patch; those outside the map are zero vectors. */
static void patch_pixels(const struct patches *o, int64_t b, int64_t i, int64_t j, const float **px)
{
    for (int k = 0; k < o->p * o->p; k++) {
        int64_t y = i * o->p + k / o->p, x = j * o->p + k % o->p;
        px[k] = y < o->H && x < o->W ? o->x + ((b * o->H + y) * o->W + x) * o->C : o->zeros;
    }
}

static void unfold_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct patches *o = arg;
    int pp = o->p * o->p;
    const float *px[64 * 64];
    for (int64_t r = from; r < to; r++)
        for (int64_t j = 0; j < o->w; j++) {
            float *y = o->y + (r * o->w + j) * o->C * pp;
            patch_pixels(o, r / o->h, r % o->h, j, px);
            if (o->p == 2)
                o->k->interleave4(y, px, o->C);
            else
                for (int64_t c = 0; c < o->C; c++)
                    for (int k = 0; k < pp; k++)
                        y[c * pp + k] = px[k][c];
        }
}

int sky_cpu_unfold(sky_dev *d, sky_tensor *y, const sky_tensor *x, int p, sky_err *e)
{
    if (p > 64)
        return sky_fail(e, SKY_ELIMIT, "unfold: patches of at most 64, got %d", p);
    float *zeros = sky_cpu_scratch(d, (size_t)x->shape[3] * sizeof *zeros, "unfold", e);
    if (!zeros)
        return e->code;
    memset(zeros, 0, (size_t)x->shape[3] * sizeof *zeros);
    struct patches o = {d->k, y->data, x->data, zeros, x->shape[1], x->shape[2], x->shape[3], y->shape[1], y->shape[2], p};
    sky_cpu_rows(d, y->shape[0] * o.h, o.w * o.C * p * p * 8, unfold_rows, &o);
    return SKY_OK;
}

struct shuffle {
    float *y;
    const float *x;
    int64_t w, C; /* of the input map, of the result */
    int r;
};

static void shuffle_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct shuffle *o = arg;
    int64_t rr = (int64_t)o->r * o->r;
    for (int64_t row = from; row < to; row++) { /* rows of the result */
        int64_t y = row / o->r, i = row % o->r;
        for (int64_t x = 0; x < o->w * o->r; x++) {
            const float *in = o->x + (y * o->w + x / o->r) * o->C * rr + i * o->r + x % o->r;
            float *out = o->y + (row * o->w * o->r + x) * o->C;
            for (int64_t c = 0; c < o->C; c++)
                out[c] = in[c * rr];
        }
    }
}

int sky_cpu_pixel_shuffle(sky_dev *d, sky_tensor *y, const sky_tensor *x, int r, sky_err *e)
{
    (void)e;
    struct shuffle o = {y->data, x->data, x->shape[2], y->shape[3], r};
    sky_cpu_rows(d, y->shape[0] * y->shape[1], y->shape[2] * o.C * 8, shuffle_rows, &o);
    return SKY_OK;
}
