/* reduce.cu -- sums: over rows for every column, and of squares for the global norm. F64, fixed order (columns.cuh).
 * Bound (computed, not measured): 4 bytes per element read (8 for a product of two) over memory bandwidth. */
#include "columns.cuh"

static int column_sums(sky_dev *d, sky_grad *y, const float *a, const float *b, int64_t rows, int64_t n, const char *op, sky_err *e)
{
    double *part = static_cast<double *>(sky_cuda_scratch(d, column_bytes(rows, n, 1), op, e));
    if (!part)
        return e->code;
    float *to = f32_out(&y->t);
    int add = y->add;
    return columns<1>(d, part, rows, n, op, e,
        [=] __device__(int64_t r, int64_t c, double *v) { v[0] = static_cast<double>(a[r * n + c]) * (b ? static_cast<double>(b[r * n + c]) : 1.0); },
        [=] __device__(int64_t c, const double *v) { give(to + c, static_cast<float>(v[0]), add); });
}

static int column_sum(sky_dev *d, sky_grad *y, const sky_tensor *x, sky_err *e)
{
    int64_t n = sky_numel(&y->t);
    return column_sums(d, y, f32(x), NULL, sky_numel(x) / n, n, "column_sum", e);
}
static int column_dot(sky_dev *d, sky_grad *y, const sky_tensor *a, const sky_tensor *b, sky_err *e)
{
    int64_t n = sky_numel(&y->t);
    return column_sums(d, y, f32(a), f32(b), sky_numel(a) / n, n, "column_dot", e);
}

/* ---- all tensors in two launches ----------------------------------------------------------------------------------- */

enum { PIECE = 1 << 16 };
struct span {
    const float *x;
    int64_t n, first; /* elements; number of its first piece */
};

/* A block per piece; the tensor it belongs to is found by bisection. */
static __global__ void square_part(double *part, const span *s, int n)
{
    int64_t piece = blockIdx.x;
    int low = 0, high = n - 1;
    while (low < high) {
        int mid = (low + high + 1) / 2;
        if (s[mid].first <= piece)
            low = mid;
        else
            high = mid - 1;
    }
    int64_t from = (piece - s[low].first) * PIECE, to = from + PIECE < s[low].n ? from + PIECE : s[low].n;
    const float *x = s[low].x;
    double sum = 0;
    for (int64_t i = from + threadIdx.x; i < to; i += blockDim.x)
        sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        part[piece] = sum;
}

static int square_sums(sky_dev *d, sky_tensor *s, const sky_tensor *const *x, int n, sky_err *e)
{
    span *host = static_cast<span *>(sky_alloc(static_cast<size_t>(n) * sizeof *host));
    if (!host)
        return sky_fail(e, SKY_ENOMEM, "square_sums: out of memory");
    int64_t pieces = 0;
    for (int i = 0; i < n; i++) {
        host[i].x = f32(x[i]);
        host[i].n = sky_numel(x[i]);
        host[i].first = pieces;
        pieces += (host[i].n + PIECE - 1) / PIECE;
    }
    const span *list = static_cast<const span *>(sky_cuda_small(d, host, static_cast<size_t>(n) * sizeof *host, "square_sums", e));
    sky_free(host);
    double *part = list ? static_cast<double *>(sky_cuda_scratch(d, static_cast<size_t>(pieces) * sizeof *part, "square_sums", e)) : NULL;
    if (!part)
        return e->code;
    SKY_LAUNCH(square_part, dim3(static_cast<unsigned>(pieces)), dim3(256), 0, d->stream, part, list, n);
    double *out = static_cast<double *>(s->data);
    return each(d, n, "square_sums", e, [=] __device__(int64_t i) {
        int64_t to = i + 1 < n ? list[i + 1].first : pieces;
        double sum = 0;
        for (int64_t p = list[i].first; p < to; p++)
            sum += part[p];
        out[i] = sum;
    });
}

/* A thread each: neighbours read neighbours. 4 or 8 bytes per number, 8 per carry, over memory bandwidth (computed). */
template <class Y, class X> static int add_up(sky_dev *d, sky_tensor *to, const sky_tensor *with, const sky_tensor *parts, sky_err *e)
{
    Y *y = static_cast<Y *>(to->data);
    const double *carry = static_cast<const double *>(with->data);
    const X *x = static_cast<const X *>(parts->data);
    int64_t n = sky_numel(to), ranks = parts->shape[0];
    return each(d, n, "add_parts", e, [=] __device__(int64_t i) {
        double sum = carry ? carry[i] + static_cast<double>(x[i]) : static_cast<double>(x[i]);
        for (int64_t r = 1; r < ranks; r++)
            sum += static_cast<double>(x[r * n + i]);
        y[i] = static_cast<Y>(sum);
    });
}

static int add_parts(sky_dev *d, sky_tensor *y, const sky_tensor *carry, const sky_tensor *parts, sky_err *e)
{
    if (parts->dtype == SKY_F64)
        return add_up<double, double>(d, y, carry, parts, e);
    return y->dtype == SKY_F64 ? add_up<double, float>(d, y, carry, parts, e) : add_up<float, float>(d, y, carry, parts, e);
}

void sky_cuda_fill_reduce(sky_backend *b)
{
    b->add_parts = add_parts;
    b->column_sum = column_sum;
    b->column_dot = column_dot;
    b->square_sums = square_sums;
}
