/* move.cu -- moving elements without computing, any element type.
 *
 * Every kernel writes its result in order (coalesced) and finds where each element comes from. Elements are moved in
 * units of 16, 4, 2 or 1 bytes: the largest that divides every size and address at hand.
 * Bound (computed, not measured): 2 x bytes over memory bandwidth; patches and shuffles read in steps of C or p*p floats,
 * whose unused parts of a sector are found in cache by the neighbours. */
#include "common.cuh"

struct __align__(16) unit16 {
    uint32_t v[4];
};

static int unit_of(int64_t a, int64_t b, int64_t c, const void *p, const void *q)
{
    uint64_t all = static_cast<uint64_t>(a | b | c) | reinterpret_cast<uintptr_t>(p) | reinterpret_cast<uintptr_t>(q);
    return all % 16 == 0 ? 16 : all % 4 == 0 ? 4 : all % 2 == 0 ? 2 : 1;
}

/* fn<U>(args): U of the given size. */
#define BY_UNIT(size, fn, ...)                                      \
    ((size) == 16 ? fn<unit16>(__VA_ARGS__) : (size) == 4 ? fn<uint32_t>(__VA_ARGS__) \
     : (size) == 2 ? fn<uint16_t>(__VA_ARGS__) : fn<uint8_t>(__VA_ARGS__))

struct rows {
    void *dst;
    const void *src;
    int64_t dpitch, spitch, bytes, n;
};

template <class U> static int copy_units(sky_dev *d, const rows &r, const char *op, sky_err *e)
{
    U *dst = static_cast<U *>(r.dst);
    const U *src = static_cast<const U *>(r.src);
    int64_t dp = r.dpitch / sizeof(U), sp = r.spitch / sizeof(U), n = r.bytes / sizeof(U);
    return each(d, n * r.n, op, e, [=] __device__(int64_t i) {
        int64_t row = i, j = divide(&row, n);
        dst[row * dp + j] = src[row * sp + j];
    });
}
static int copy_rows(sky_dev *d, const rows &r, const char *op, sky_err *e)
{
    return BY_UNIT(unit_of(r.dpitch, r.spitch, r.bytes, r.dst, r.src), copy_units, d, r, op, e);
}

static int64_t inner_bytes(const sky_tensor *t, int axis)
{
    int64_t n = static_cast<int64_t>(sky_dtype_size(t->dtype));
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

static int concat(sky_dev *d, sky_tensor *y, const sky_tensor *x, int n, int axis, sky_err *e)
{
    int64_t inner = inner_bytes(y, axis), pitch = inner * y->shape[axis];
    char *to = static_cast<char *>(y->data);
    int rc = SKY_OK;
    for (int i = 0; i < n && !rc; i++) {
        int64_t bytes = inner * x[i].shape[axis];
        rc = copy_rows(d, {to, x[i].data, pitch, bytes, bytes, outer(y, axis)}, "concat", e);
        to += bytes;
    }
    return rc;
}

static int slice(sky_dev *d, sky_tensor *y, const sky_tensor *x, int axis, int64_t from, sky_err *e)
{
    int64_t inner = inner_bytes(x, axis), bytes = inner * y->shape[axis];
    return copy_rows(d, {y->data, static_cast<const char *>(x->data) + from * inner, bytes, inner * x->shape[axis], bytes, outer(x, axis)}, "slice", e);
}

static int unslice(sky_dev *d, sky_tensor *dx, const sky_tensor *dy, int axis, int64_t from, sky_err *e)
{
    int64_t inner = inner_bytes(dx, axis) / 4, all = inner * dx->shape[axis], first = from * inner, n = inner * dy->shape[axis];
    float *to = f32_out(dx);
    const float *g = f32(dy);
    return each(d, sky_numel(dx), "unslice", e, [=] __device__(int64_t i) {
        int64_t row = i, j = divide(&row, all) - first;
        to[i] = j >= 0 && j < n ? g[row * n + j] : 0.0f;
    });
}

/* Row i of y: a[pos[i]] where pos[i] >= 0, else b[-1 - pos[i]]. */
template <class U> static int pick_units(sky_dev *d, sky_tensor *y, const void *a, const void *b, const int64_t *pos, int64_t bytes, const char *op, sky_err *e)
{
    U *to = static_cast<U *>(y->data);
    const U *p = static_cast<const U *>(a), *q = static_cast<const U *>(b);
    int64_t n = bytes / sizeof(U);
    return each(d, n * y->shape[0], op, e, [=] __device__(int64_t i) {
        int64_t row = i, j = divide(&row, n), at = pos[row];
        to[i] = at >= 0 ? p[at * n + j] : q[(-1 - at) * n + j];
    });
}
static int pick_rows(sky_dev *d, sky_tensor *y, const void *a, const void *b, const int64_t *host, const char *op, sky_err *e)
{
    const int64_t *pos = static_cast<const int64_t *>(sky_cuda_small(d, host, static_cast<size_t>(y->shape[0]) * sizeof *pos, op, e));
    if (!pos)
        return e->code;
    int64_t bytes = inner_bytes(y, 0);
    return BY_UNIT(unit_of(bytes, 0, reinterpret_cast<uintptr_t>(y->data) % 16, a, b), pick_units, d, y, a, b, pos, bytes, op, e);
}
static int take(sky_dev *d, sky_tensor *y, const sky_tensor *x, const int64_t *index, sky_err *e) { return pick_rows(d, y, x->data, NULL, index, "take", e); }
static int pick(sky_dev *d, sky_tensor *y, const sky_tensor *a, const sky_tensor *b, const int64_t *pos, sky_err *e) { return pick_rows(d, y, a->data, b->data, pos, "pick", e); }

/* Each element of dx looks through the indices for its row, so that sums have the order of i without atomics. Meant for
 * as many indices as a batch has samples. */
static int untake(sky_dev *d, sky_tensor *dx, const sky_tensor *dy, const int64_t *index, sky_err *e)
{
    int64_t n = dy->shape[0], row_size = sky_numel(dx) / dx->shape[0];
    const int64_t *at = static_cast<const int64_t *>(sky_cuda_small(d, index, static_cast<size_t>(n) * sizeof *at, "untake", e));
    if (!at)
        return e->code;
    float *to = f32_out(dx);
    const float *g = f32(dy);
    return each(d, sky_numel(dx), "untake", e, [=] __device__(int64_t i) {
        int64_t row = i, j = divide(&row, row_size);
        float sum = 0;
        for (int64_t k = 0; k < n; k++)
            if (at[k] == row)
                sum += g[k * row_size + j];
        to[i] = sum;
    });
}

static int repeat(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e)
{
    return copy_rows(d, {y->data, x->data, sky_bytes(x), 0, sky_bytes(x), y->shape[0]}, "repeat", e);
}

/* ---- transpose: v1 one element per thread, written in order   <- linked; the model's large ones keep their last axis */
struct permuted {
    int ndim;
    int64_t shape[SKY_TENSOR_DIMS], step[SKY_TENSOR_DIMS]; /* of the result; step: units in x */
};
template <class U> static int transpose_units(sky_dev *d, sky_tensor *y, const sky_tensor *x, const permuted &p, int64_t total, sky_err *e)
{
    U *to = static_cast<U *>(y->data);
    const U *from = static_cast<const U *>(x->data);
    return each(d, total, "transpose", e, [=] __device__(int64_t i) {
        int64_t rest = i, at = 0;
#pragma unroll
        for (int k = SKY_TENSOR_DIMS - 1; k >= 0; k--) /* a loop of known length: the arrays stay in constant memory */
            if (k < p.ndim)
                at += divide(&rest, p.shape[k]) * p.step[k];
        to[i] = from[at];
    });
}
static int transpose(sky_dev *d, sky_tensor *y, const sky_tensor *x, const int *perm, sky_err *e)
{
    int size = static_cast<int>(sky_dtype_size(x->dtype)), last = x->ndim - 1, unit = size;
    permuted p = {};
    p.ndim = x->ndim;
    if (last >= 0 && perm[last] == last) /* rows stay whole: wider units */
        unit = unit_of(x->shape[last] * size, 0, 0, x->data, y->data);
    if (size == 8 && unit == size)
        return sky_fail(e, SKY_EDEVICE, "transpose: cuda moves elements of 1, 2 or 4 bytes");
    for (int i = 0; i < x->ndim; i++) {
        p.shape[i] = i == last ? y->shape[i] * size / unit : y->shape[i];
        p.step[i] = i == last && unit != size ? 1 : inner_bytes(x, perm[i]) / unit;
    }
    return BY_UNIT(unit, transpose_units, d, y, x, p, sky_bytes(x) / unit, e);
}

/* ---- halves, patches ---------------------------------------------------------------------------------------------- */

template <class U> static int stack_units(sky_dev *d, void *y, const void *x, int64_t w, int64_t C, int64_t total, sky_err *e)
{
    U *to = static_cast<U *>(y);
    const U *from = static_cast<const U *>(x);
    return each(d, total, "halves_stack", e, [=] __device__(int64_t i) {
        int64_t row = i, c = divide(&row, C), half = divide(&row, 2), j = divide(&row, w);
        to[i] = from[((2 * row + half) * w + j) * C + c];
    });
}
static int halves_stack(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e)
{
    int64_t bytes = x->shape[3] * 4;
    int unit = unit_of(bytes, 0, 0, x->data, y->data);
    return BY_UNIT(unit, stack_units, d, y->data, x->data, y->shape[2], bytes / unit, sky_bytes(x) / unit, e);
}

static int halves_unstack(sky_dev *d, sky_tensor *dx, const sky_tensor *dy, sky_err *e)
{
    int64_t C = dx->shape[3], w = dy->shape[2];
    float *to = f32_out(dx);
    const float *g = f32(dy);
    return each(d, sky_numel(dx), "halves_unstack", e, [=] __device__(int64_t i) {
        int64_t row = i, c = divide(&row, C), j = divide(&row, 2 * w);
        to[i] = g[((row * w + (j < w ? j : j - w)) * 2 + (j >= w)) * C + c];
    });
}

static int unfold(sky_dev *d, sky_tensor *y, const sky_tensor *x, int p, sky_err *e)
{
    int64_t H = x->shape[1], W = x->shape[2], C = x->shape[3], h = y->shape[1], w = y->shape[2];
    float *to = f32_out(y);
    const float *from = f32(x);
    return each(d, sky_numel(y), "unfold", e, [=] __device__(int64_t i) {
        int64_t b = i, dx = divide(&b, p), dy = divide(&b, p), c = divide(&b, C), px = divide(&b, w) * p + dx, py = divide(&b, h) * p + dy;
        to[i] = py < H && px < W ? from[((b * H + py) * W + px) * C + c] : 0.0f;
    });
}

static int fold(sky_dev *d, sky_tensor *dx, const sky_tensor *dy, int p, sky_err *e)
{
    int64_t H = dx->shape[1], W = dx->shape[2], C = dx->shape[3], h = dy->shape[1], w = dy->shape[2];
    float *to = f32_out(dx);
    const float *g = f32(dy);
    return each(d, sky_numel(dx), "fold", e, [=] __device__(int64_t i) {
        int64_t b = i, c = divide(&b, C), px = divide(&b, W), py = divide(&b, H), x = divide(&px, p), y = divide(&py, p);
        to[i] = g[(((b * h + py) * w + px) * C + c) * p * p + y * p + x];
    });
}

static int pixel_shuffle(sky_dev *d, sky_tensor *y, const sky_tensor *x, int r, sky_err *e)
{
    int64_t h = x->shape[1], w = x->shape[2], C = y->shape[3];
    float *to = f32_out(y);
    const float *from = f32(x);
    return each(d, sky_numel(y), "pixel_shuffle", e, [=] __device__(int64_t i) {
        int64_t b = i, c = divide(&b, C), X = divide(&b, w * r), Y = divide(&b, h * r), x = divide(&X, r), y = divide(&Y, r);
        to[i] = from[(((b * h + Y) * w + X) * C + c) * r * r + y * r + x];
    });
}

static int pixel_unshuffle(sky_dev *d, sky_tensor *dx, const sky_tensor *dy, int r, sky_err *e)
{
    int64_t h = dx->shape[1], w = dx->shape[2], C = dy->shape[3];
    float *to = f32_out(dx);
    const float *g = f32(dy);
    return each(d, sky_numel(dx), "pixel_unshuffle", e, [=] __device__(int64_t i) {
        int64_t b = i, k = divide(&b, r * r), c = divide(&b, C), x = divide(&b, w), y = divide(&b, h), right = divide(&k, r);
        to[i] = g[((b * h * r + y * r + k) * w * r + x * r + right) * C + c];
    });
}

void sky_cuda_fill_move(sky_backend *b)
{
    b->concat = concat;
    b->slice = slice;
    b->unslice = unslice;
    b->take = take;
    b->pick = pick;
    b->untake = untake;
    b->repeat = repeat;
    b->transpose = transpose;
    b->halves_stack = halves_stack;
    b->halves_unstack = halves_unstack;
    b->unfold = unfold;
    b->fold = fold;
    b->pixel_shuffle = pixel_shuffle;
    b->pixel_unshuffle = pixel_unshuffle;
}
