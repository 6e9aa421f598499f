/* window.cu -- Swin V2 window attention: cosine, relative bias, shift mask; roll, partition and padding are addresses.
 *
 *   v1 window_rows   F32, any window and width: a block per window and head, a warp per query row
 *   v2 window_mma    BF16 tensor cores, windows of 8 x 8, even widths up to 64 (44 padded to 48): four warps of 16 queries
 * Bound (computed, not measured): memory, 16 bytes per element of the result plus the bias from L2: stage 0 of the full
 * model (32 768 tokens x 352) 185 MB, 55 us at 3.35 TB/s. v1 is bound by its F32 products, 4*N*D per element. */
#include "window.cuh"

enum { WARPS = 8 };

static size_t rows_shared(const windows &o) { return static_cast<size_t>(o.N * (o.D | 1) + o.N * o.D + WARPS * (o.D + o.N)) * sizeof(float) + static_cast<size_t>(o.N) * 4; }

static __global__ void window_rows(float *y, const float *qkv, const float *pad, const float *bias, const float *logit_scale, windows o)
{
    SKY_DYNAMIC_SHARED(float, keys); /* rows of odd length: lanes that read one column of 32 rows meet no bank twice */
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, pitch = o.D | 1, h = blockIdx.x % o.heads;
    const int64_t window = blockIdx.x / o.heads;
    float *values = keys + o.N * pitch, *query = values + o.N * o.D + warp * (o.D + o.N), *p = query + o.D;
    int *regions = reinterpret_cast<int *>(values + o.N * o.D + WARPS * (o.D + o.N));
    for (int t = warp; t < o.N; t += WARPS) {
        int64_t token = token_of(o, window, t, &regions[t]);
        const float *k = part_of(o, qkv, pad, token, 1, h), *v = part_of(o, qkv, pad, token, 2, h);
        float square = 0;
        for (int c = lane; c < o.D; c += 32)
            square += k[c] * k[c];
        float norm = fmaxf(sqrtf(lanes_sum(square)), 1e-12f);
        for (int c = lane; c < o.D; c += 32) {
            keys[t * pitch + c] = k[c] / norm;
            values[t * o.D + c] = v[c];
        }
    }
    __syncthreads();
    const float gain = gain_of(logit_scale[h]);
    for (int t = warp; t < o.N; t += WARPS) {
        int region;
        int64_t token = token_of(o, window, t, &region);
        if (token < 0)
            continue;
        const float *q = part_of(o, qkv, pad, token, 0, h), *b = bias + (static_cast<int64_t>(h) * o.N + t) * o.N;
        float square = 0, top = -INFINITY, sum = 0;
        for (int c = lane; c < o.D; c += 32)
            square += q[c] * q[c];
        float factor = gain / fmaxf(sqrtf(lanes_sum(square)), 1e-12f);
        __syncwarp(); /* the last row's query and probabilities have been read */
        for (int c = lane; c < o.D; c += 32)
            query[c] = q[c] * factor;
        __syncwarp();
        for (int j = lane; j < o.N; j += 32) {
            float s = b[j] - (regions[j] == region ? 0.0f : 100.0f);
            for (int c = 0; c < o.D; c++)
                s += query[c] * keys[j * pitch + c];
            p[j] = s;
            top = fmaxf(top, s);
        }
        top = lanes_max(top);
        for (int j = lane; j < o.N; j += 32)
            sum += p[j] = expf(p[j] - top);
        sum = lanes_sum(sum);
        __syncwarp();
        for (int c = lane; c < o.D; c += 32) {
            float v = 0;
            for (int j = 0; j < o.N; j++)
                v += p[j] * values[j * o.D + c];
            y[(token * o.heads + h) * o.D + c] = v / sum;
        }
    }
}

/* ---- v2 ------------------------------------------------------------------------------------------------------------- */

static __device__ inline uint32_t pair_at(const uint16_t *p) { return *reinterpret_cast<const uint32_t *>(p); }

/* Widths are even, so that every head's channels begin at a multiple of 8 bytes. */
static __device__ inline float2 two_at(const float *p, int i) { return reinterpret_cast<const float2 *>(p)[i]; }

/* D: the width rounded up to 16. */
template <int D> static __global__ void window_mma(float *y, const float *qkv, const float *pad, const float *bias, const float *logit_scale, windows o)
{
    const int N = 64;
    __shared__ __align__(16) uint16_t queries[N * (D + 8)], keys[N * (D + 8)], values[D * (N + 8)];
    __shared__ int64_t tokens[N];
    __shared__ int regions[N];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = 2 * (lane % 4), h = blockIdx.x % o.heads;
    const int64_t window = blockIdx.x / o.heads;
    for (int i = 16 * warp; i < 16 * warp + 16; i++) {
        int region;
        int64_t token = token_of(o, window, i, &region);
        if (lane == 0)
            tokens[i] = token, regions[i] = region;
        const float *q = part_of(o, qkv, pad, token, 0, h), *k = part_of(o, qkv, pad, token, 1, h), *v = part_of(o, qkv, pad, token, 2, h);
        float2 a = make_float2(0, 0), b = a, w = a; /* two channels per lane: D <= 64 */
        if (2 * lane < o.D)
            a = two_at(q, lane), b = two_at(k, lane), w = two_at(v, lane);
        float ra = 1.0f / fmaxf(sqrtf(lanes_sum(a.x * a.x + a.y * a.y)), 1e-12f), rb = 1.0f / fmaxf(sqrtf(lanes_sum(b.x * b.x + b.y * b.y)), 1e-12f);
        if (2 * lane < D) {
            *reinterpret_cast<uint32_t *>(queries + i * (D + 8) + 2 * lane) = bf16_pair(a.x * ra, a.y * ra);
            *reinterpret_cast<uint32_t *>(keys + i * (D + 8) + 2 * lane) = bf16_pair(b.x * rb, b.y * rb);
            uint32_t both = bf16_pair(w.x, w.y);
            values[2 * lane * (N + 8) + i] = static_cast<uint16_t>(both);
            values[(2 * lane + 1) * (N + 8) + i] = static_cast<uint16_t>(both >> 16);
        }
    }
    __syncthreads();
    float s[N / 8][4] = {}, acc[D / 8][4] = {}, top[2] = {-INFINITY, -INFINITY}, sum[2] = {};
    const int row = 16 * warp + g;
#pragma unroll
    for (int c = 0; c < D / 16; c++) {
        uint32_t a[4];
#pragma unroll
        for (int i = 0; i < 4; i++)
            a[i] = pair_at(queries + (row + i % 2 * 8) * (D + 8) + 16 * c + t + i / 2 * 8);
#pragma unroll
        for (int j = 0; j < N / 8; j++) {
            const uint16_t *p = keys + (8 * j + g) * (D + 8) + 16 * c + t;
            uint32_t b[2] = {pair_at(p), pair_at(p + 8)};
            mma_bf16(s[j], a, b);
        }
    }
    const float gain = gain_of(logit_scale[h]);
#pragma unroll
    for (int j = 0; j < N / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int from = row + i / 2 * 8, to = 8 * j + t + i % 2;
            s[j][i] = s[j][i] * gain + bias[(static_cast<int64_t>(h) * N + from) * N + to] - (regions[from] == regions[to] ? 0.0f : 100.0f);
            top[i / 2] = fmaxf(top[i / 2], s[j][i]);
        }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        top[r] = fmaxf(top[r], __shfl_xor_sync(~0u, top[r], 1));
        top[r] = fmaxf(top[r], __shfl_xor_sync(~0u, top[r], 2));
    }
#pragma unroll
    for (int j = 0; j < N / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            s[j][i] = exp2_fast((s[j][i] - top[i / 2]) * 1.44269504088896341f);
            sum[i / 2] += s[j][i];
        }
#pragma unroll
    for (int j = 0; j < N / 16; j++) {
        uint32_t p[4];
#pragma unroll
        for (int i = 0; i < 4; i++)
            p[i] = bf16_pair(s[2 * j + i / 2][i % 2 * 2], s[2 * j + i / 2][i % 2 * 2 + 1]);
#pragma unroll
        for (int c = 0; c < D / 8; c++) {
            const uint16_t *w = values + (8 * c + g) * (N + 8) + 16 * j + t;
            uint32_t b[2] = {pair_at(w), pair_at(w + 8)};
            mma_bf16(acc[c], p, b);
        }
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float all = sum[r] + __shfl_xor_sync(~0u, sum[r], 1);
        all += __shfl_xor_sync(~0u, all, 2);
        int64_t token = tokens[row + 8 * r];
#pragma unroll
        for (int c = 0; c < D / 8; c++)
            if (token >= 0 && 8 * c + t < o.D)
                *reinterpret_cast<float2 *>(y + (token * o.heads + h) * o.D + 8 * c + t) = make_float2(acc[c][2 * r] / all, acc[c][2 * r + 1] / all);
    }
}

static int window_attention(sky_dev *d, sky_tensor *y, const sky_tensor *qkv, const sky_tensor *pad_qkv, const sky_tensor *bias, const sky_tensor *logit_scale, int win, int shift, sky_dtype products, sky_err *e)
{
    windows o = windows_of(qkv, win, shift);
    dim3 grid(static_cast<unsigned>(o.B * o.wr * o.wc * o.heads));
    if (products == SKY_BF16 && o.N == 64 && o.D % 2 == 0 && o.D <= 64) {
        auto k = o.D <= 16 ? window_mma<16> : o.D <= 32 ? window_mma<32> : o.D <= 48 ? window_mma<48> : window_mma<64>;
        SKY_LAUNCH(k, grid, dim3(128), 0, d->stream, f32_out(y), f32(qkv), f32(pad_qkv), f32(bias), f32(logit_scale), o);
        return sky_cuda_launched("window_attention", e);
    }
    size_t shared = rows_shared(o);
    if (shared > static_cast<size_t>(d->shared_most))
        return sky_fail(e, SKY_ELIMIT, "window_attention: a window of %d and a head width of %d need %zu KB of shared memory, at most %d", win, o.D, shared >> 10, d->shared_most >> 10);
    int rc = sky_cuda_ok(cudaFuncSetAttribute(window_rows, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)), "window_attention", e);
    if (rc)
        return rc;
    SKY_LAUNCH(window_rows, grid, dim3(32 * WARPS), shared, d->stream, f32_out(y), f32(qkv), f32(pad_qkv), f32(bias), f32(logit_scale), o);
    return sky_cuda_launched("window_attention", e);
}

/* ---- the bias matrix ------------------------------------------------------------------------------------------------ */

static __device__ inline int offset_of(int i, int j, int win)
{
    return (i / win - j / win + win - 1) * (2 * win - 1) + i % win - j % win + win - 1;
}

static int window_bias(sky_dev *d, sky_tensor *y, const sky_tensor *t, int win, sky_err *e)
{
    int64_t n = static_cast<int64_t>(win) * win, heads = t->shape[1];
    const float *from = f32(t);
    float *to = f32_out(y);
    return each(d, sky_numel(y), "window_bias", e, [=] __device__(int64_t i) {
        int64_t h = i, b = divide(&h, n), a = divide(&h, n);
        double v = from[offset_of(static_cast<int>(a), static_cast<int>(b), win) * heads + h];
        to[i] = static_cast<float>(16 / (1 + exp(-v)));
    });
}

/* Each entry of the table adds, in order, the pairs that have its offset. */
static int window_bias_backward(sky_dev *d, sky_grad *dt, const sky_tensor *dy, const sky_tensor *y, int win, sky_err *e)
{
    int64_t n = static_cast<int64_t>(win) * win, heads = dt->t.shape[1];
    const float *g = f32(dy), *p = f32(y);
    float *to = f32_out(&dt->t);
    int add = dt->add, side = 2 * win - 1;
    return each(d, sky_numel(&dt->t), "window_bias_backward", e, [=] __device__(int64_t i) {
        int64_t k = i, h = divide(&k, heads);
        int dy0 = static_cast<int>(k) / side - (win - 1), dx0 = static_cast<int>(k) % side - (win - 1);
        double sum = 0;
        for (int y0 = dy0 > 0 ? dy0 : 0; y0 < win && y0 - dy0 < win; y0++)
            for (int x0 = dx0 > 0 ? dx0 : 0; x0 < win && x0 - dx0 < win; x0++) {
                int64_t at = (h * n + y0 * win + x0) * n + (y0 - dy0) * win + x0 - dx0;
                double v = p[at]; /* 16 s: derivative 16 s (1 - s) = v (1 - v / 16) */
                sum += static_cast<double>(g[at]) * v * (1 - v / 16);
            }
        give(to + i, static_cast<float>(sum), add);
    });
}

void sky_cuda_fill_window(sky_backend *b)
{
    b->window_attention = window_attention;
    b->window_bias = window_bias;
    b->window_bias_backward = window_bias_backward;
}
