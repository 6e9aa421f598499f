/* norm.cu -- normalisations and softmax over the last dimension, and their gradients.
 *
 * Layer norm:  v1 a block per row, two barriers per sum
 *              v2 a warp per row, the row read again from L1 for each pass   <- linked: gradients, odd and very wide rows
 *              v3 the row in registers, four floats per load: read once, by a warp, or by a block where it is wide   <- linked
 * Two passes on purpose: E[x^2] - E[x]^2 loses the variance far from zero; and the mean is summed about the row's first
 * element, so that it keeps its digits in F32 at mean 3000, deviation 10.
 * Bound (computed, not measured): forward 8 bytes per element (12 with residual), backward 12 (x, dy, dx) plus 8 for the
 * parameters' sums, over memory bandwidth. */
#include "columns.cuh"

enum { WARPS = 8 };

/* Mean less the row's first element, and 1/sqrt(var + eps), by one warp: (x - first) - mean keeps the digits that x - mean
 * with a rounded mean would lose. */
static __device__ inline void row_stats(const float *x, int64_t n, int lane, float eps, float *mean, float *scale)
{
    float first = x[0], sum = 0, square = 0;
    for (int64_t j = lane; j < n; j += 32)
        sum += x[j] - first;
    *mean = lanes_sum(sum) / static_cast<float>(n);
    for (int64_t j = lane; j < n; j += 32) {
        float v = (x[j] - first) - *mean;
        square += v * v;
    }
    *scale = 1.0f / sqrtf(lanes_sum(square) / static_cast<float>(n) + eps);
}

static __global__ void layernorm_warp(float *y, const float *x, const float *w, const float *b, const float *residual, int64_t rows, int64_t n, float eps)
{
    int lane = threadIdx.x % 32;
    int64_t row = static_cast<int64_t>(blockIdx.x) * WARPS + threadIdx.x / 32;
    if (row >= rows)
        return;
    float mean, scale;
    x += row * n;
    row_stats(x, n, lane, eps, &mean, &scale);
    for (int64_t j = lane; j < n; j += 32)
        y[row * n + j] = ((x[j] - x[0]) - mean) * scale * w[j] + b[j] + (residual ? residual[row * n + j] : 0.0f);
}

template <int T> static __device__ inline float row_sum(float v) { return T == 32 ? lanes_sum(v) : block_sum(v); }

/* T threads per row, each with K times four floats of it; n a multiple of 4, at most 4*T*K. */
template <int T, int K> static __global__ void layernorm_held(float *y, const float *x, const float *w, const float *b, const float *residual, int64_t rows, int64_t n, float eps)
{
    int part = threadIdx.x % T, count = static_cast<int>(n / 4);
    int64_t row = static_cast<int64_t>(blockIdx.x) * (32 * WARPS / T) + threadIdx.x / T;
    if (row >= rows) /* none of the threads of this row */
        return;
    x += row * n, y += row * n;
    floats<4> v[K];
#pragma unroll
    for (int k = 0; k < K; k++)
        if (part + T * k < count)
            v[k] = load<4>(x, part + T * k);
    float first = x[0], sum = 0, square = 0;
#pragma unroll
    for (int k = 0; k < K; k++)
        for (int i = 0; i < 4; i++)
            sum += part + T * k < count ? v[k].v[i] -= first : 0.0f;
    float mean = row_sum<T>(sum) / static_cast<float>(n);
#pragma unroll
    for (int k = 0; k < K; k++)
        for (int i = 0; i < 4; i++) {
            v[k].v[i] -= mean;
            square += part + T * k < count ? v[k].v[i] * v[k].v[i] : 0.0f;
        }
    float scale = 1.0f / sqrtf(row_sum<T>(square) / static_cast<float>(n) + eps);
#pragma unroll
    for (int k = 0; k < K; k++)
        if (part + T * k < count) {
            floats<4> factor = load<4>(w, part + T * k), shift = load<4>(b, part + T * k), r = {};
            if (residual)
                r = load<4>(residual + row * n, part + T * k);
            for (int i = 0; i < 4; i++)
                v[k].v[i] = v[k].v[i] * scale * factor.v[i] + shift.v[i] + r.v[i];
            store<4>(y, part + T * k, v[k]);
        }
}

template <int T, int K> static int held(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *b, float eps, const sky_tensor *residual, sky_err *e)
{
    auto k = layernorm_held<T, K>;
    SKY_LAUNCH(k, dim3(sky_blocks(sky_rows(x), 32 * WARPS / T)), dim3(32 * WARPS), 0, d->stream, f32_out(y), f32(x), f32(w), f32(b), f32(residual), sky_rows(x), sky_last(x), eps);
    return sky_cuda_launched("layernorm", e);
}

static int layernorm(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *b, float eps, const sky_tensor *residual, sky_err *e)
{
    int64_t n = sky_last(x);
    uintptr_t places = reinterpret_cast<uintptr_t>(y->data) | reinterpret_cast<uintptr_t>(x->data) | reinterpret_cast<uintptr_t>(w->data) |
                       reinterpret_cast<uintptr_t>(b->data) | reinterpret_cast<uintptr_t>(residual->data);
    if (n % 4 == 0 && places % 16 == 0 && n <= 3072) /* the widths of the models: 352, 704, 1024, 1408, 2816 */
        return n <= 384 ? held<32, 3>(d, y, x, w, b, eps, residual, e) : n <= 768 ? held<32, 6>(d, y, x, w, b, eps, residual, e)
             : n <= 1536 ? held<32, 12>(d, y, x, w, b, eps, residual, e) : held<32 * WARPS, 3>(d, y, x, w, b, eps, residual, e);
    SKY_LAUNCH(layernorm_warp, dim3(sky_blocks(sky_rows(x), WARPS)), dim3(32 * WARPS), 0, d->stream, f32_out(y), f32(x), f32(w), f32(b), f32(residual),
               sky_rows(x), sky_last(x), eps);
    return sky_cuda_launched("layernorm", e);
}

/* dx (none when NULL), and the row's statistics for the sums over rows. */
static __global__ void layernorm_dx_warp(float *dx, float2 *stats, const float *dy, const float *x, const float *w, int64_t rows, int64_t n, float eps, int add)
{
    int lane = threadIdx.x % 32;
    int64_t row = static_cast<int64_t>(blockIdx.x) * WARPS + threadIdx.x / 32;
    if (row >= rows)
        return;
    float mean, scale, sum = 0, dot = 0;
    x += row * n, dy += row * n;
    row_stats(x, n, lane, eps, &mean, &scale);
    if (lane == 0)
        stats[row] = make_float2(mean, scale);
    if (!dx)
        return;
    for (int64_t j = lane; j < n; j += 32) {
        float g = dy[j] * w[j];
        sum += g;
        dot += g * ((x[j] - x[0]) - mean) * scale;
    }
    sum = lanes_sum(sum) / static_cast<float>(n);
    dot = lanes_sum(dot) / static_cast<float>(n);
    for (int64_t j = lane; j < n; j += 32)
        give(dx + row * n + j, scale * (dy[j] * w[j] - sum - ((x[j] - x[0]) - mean) * scale * dot), add);
}

static int layernorm_backward(sky_dev *d, sky_grad *dx, sky_grad *dw, sky_grad *db, const sky_tensor *dy, const sky_tensor *x, const sky_tensor *w, float eps, sky_err *e)
{
    int64_t rows = sky_rows(x), n = sky_last(x);
    size_t head = static_cast<size_t>(rows + rows % 2) * sizeof(float2);
    char *scratch = static_cast<char *>(sky_cuda_scratch(d, head + column_bytes(rows, n, 2), "layernorm_backward", e));
    if (!scratch)
        return e->code;
    float2 *stats = reinterpret_cast<float2 *>(scratch);
    SKY_LAUNCH(layernorm_dx_warp, dim3(sky_blocks(rows, WARPS)), dim3(32 * WARPS), 0, d->stream, f32_out(&dx->t), stats, f32(dy), f32(x), f32(w), rows, n, eps, dx->add);
    int rc = sky_cuda_launched("layernorm_backward", e);
    if (rc || (!dw->t.data && !db->t.data))
        return rc;
    const float *px = f32(x), *pg = f32(dy);
    float *pw = f32_out(&dw->t), *pb = f32_out(&db->t);
    int addw = dw->add, addb = db->add;
    return columns<2>(d, reinterpret_cast<double *>(scratch + head), rows, n, "layernorm_backward", e,
        [=] __device__(int64_t r, int64_t c, double *v) {
            float2 s = stats[r];
            float g = pg[r * n + c];
            v[0] = g * (((px[r * n + c] - px[r * n]) - s.x) * s.y);
            v[1] = g;
        },
        [=] __device__(int64_t c, const double *v) {
            if (pw)
                give(pw + c, static_cast<float>(v[0]), addw);
            if (pb)
                give(pb + c, static_cast<float>(v[1]), addb);
        });
}

/* ---- one block per row: l2 norm, softmax --------------------------------------------------------------------------- */

static unsigned threads_for(int64_t n) { return n >= 1024 ? 256 : n >= 256 ? 128 : 32; }

static __device__ inline float block_max(float v)
{
    __shared__ float part[32];
    v = lanes_max(v);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = v;
    __syncthreads();
    for (unsigned i = 0; i < blockDim.x / 32; i++)
        v = part[i] > v || !(v == v) ? part[i] : v;
    return v;
}

static __global__ void l2_block(float *y, const float *x, int64_t n)
{
    float sum = 0;
    x += blockIdx.x * n, y += blockIdx.x * n;
    for (int64_t j = threadIdx.x; j < n; j += blockDim.x)
        sum += x[j] * x[j];
    float scale = 1.0f / fmaxf(sqrtf(block_sum(sum)), 1e-12f);
    for (int64_t j = threadIdx.x; j < n; j += blockDim.x)
        y[j] = x[j] * scale;
}
static int l2_normalize(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e)
{
    SKY_LAUNCH(l2_block, dim3(sky_blocks(sky_rows(x), 1)), dim3(threads_for(sky_last(x))), 0, d->stream, f32_out(y), f32(x), sky_last(x));
    return sky_cuda_launched("l2_normalize", e);
}

/* dx = (dy - y (y.dy)) / |x|; below the bound of the norm it is a constant. */
static __global__ void l2_backward_block(float *dx, const float *dy, const float *x, int64_t n, int add)
{
    float sum = 0, dot = 0;
    x += blockIdx.x * n, dy += blockIdx.x * n, dx += blockIdx.x * n;
    for (int64_t j = threadIdx.x; j < n; j += blockDim.x) {
        sum += x[j] * x[j];
        dot += x[j] * dy[j];
    }
    float norm = sqrtf(block_sum(sum)), bounded = fmaxf(norm, 1e-12f);
    dot = block_sum(dot);
    float factor = norm < 1e-12f ? 0.0f : dot / bounded / bounded;
    for (int64_t j = threadIdx.x; j < n; j += blockDim.x)
        give(dx + j, (dy[j] - x[j] * factor) / bounded, add);
}
static int l2_normalize_backward(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const sky_tensor *x, sky_err *e)
{
    SKY_LAUNCH(l2_backward_block, dim3(sky_blocks(sky_rows(x), 1)), dim3(threads_for(sky_last(x))), 0, d->stream, f32_out(&dx->t), f32(dy), f32(x), sky_last(x), dx->add);
    return sky_cuda_launched("l2_normalize_backward", e);
}

static __global__ void softmax_block(float *y, const float *x, float scale, int64_t n)
{
    float top = -INFINITY, sum = 0;
    x += blockIdx.x * n, y += blockIdx.x * n;
    for (int64_t j = threadIdx.x; j < n; j += blockDim.x)
        top = fmaxf(top, x[j] * scale);
    top = block_max(top);
    for (int64_t j = threadIdx.x; j < n; j += blockDim.x)
        sum += expf(x[j] * scale - top);
    sum = block_sum(sum);
    for (int64_t j = threadIdx.x; j < n; j += blockDim.x)
        y[j] = expf(x[j] * scale - top) / sum;
}
static int softmax(sky_dev *d, sky_tensor *y, const sky_tensor *x, float scale, sky_err *e)
{
    SKY_LAUNCH(softmax_block, dim3(sky_blocks(sky_rows(x), 1)), dim3(threads_for(sky_last(x))), 0, d->stream, f32_out(y), f32(x), scale, sky_last(x));
    return sky_cuda_launched("softmax", e);
}

static __global__ void softmax_backward_block(float *dx, const float *dy, const float *y, float scale, int64_t n, int add)
{
    float dot = 0;
    dx += blockIdx.x * n, dy += blockIdx.x * n, y += blockIdx.x * n;
    for (int64_t j = threadIdx.x; j < n; j += blockDim.x)
        dot += dy[j] * y[j];
    dot = block_sum(dot);
    for (int64_t j = threadIdx.x; j < n; j += blockDim.x)
        give(dx + j, scale * y[j] * (dy[j] - dot), add);
}
static int softmax_backward(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const sky_tensor *y, float scale, sky_err *e)
{
    SKY_LAUNCH(softmax_backward_block, dim3(sky_blocks(sky_rows(y), 1)), dim3(threads_for(sky_last(y))), 0, d->stream, f32_out(&dx->t), f32(dy), f32(y), scale, sky_last(y), dx->add);
    return sky_cuda_launched("softmax_backward", e);
}

void sky_cuda_fill_norm(sky_backend *b)
{
    b->layernorm = layernorm;
    b->layernorm_backward = layernorm_backward;
    b->l2_normalize = l2_normalize;
    b->l2_normalize_backward = l2_normalize_backward;
    b->softmax = softmax;
    b->softmax_backward = softmax_backward;
}
