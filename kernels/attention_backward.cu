/* attention_backward.cu -- gradient of attention, streamed and without atomics: one kernel per query row for dq, one per key
 * row for dk and dv; both compute the probabilities again from q, k and the saved log-sum-exp.
 *
 *   v1 F32, T lanes per row as in attention_rows   <- linked; with BF16 products too: more exact, not rounded
 * Bound (computed, not measured): 14*B*heads*L*L*D F32 operations (seven products of L x L x D) and 2*L*L exponentials per
 * head. BF16 tensor cores would divide the former by some 8: open. */
#include "common.cuh"

struct shape {
    int64_t B, L;
    int heads, D;
};

enum { TILE = 16, THREADS = 256 };

/* E elements of a row of q, k, v (which = 0, 1, 2) or of the result's gradient. */
template <int E> static __device__ inline void read_row(float *to, const float *row, int part, int D, int here)
{
#pragma unroll
    for (int e = 0; e < E; e++)
        to[e] = here && part * E + e < D ? row[part * E + e] : 0.0f;
}
template <int E> static __device__ inline float dot(const float *a, const float *b)
{
    float sum = 0;
#pragma unroll
    for (int e = 0; e < E; e++)
        sum += a[e] * b[e];
    return sum;
}

/* Rows of the tile: two vectors (keys and values; or queries and gradients) and, for queries, lse and delta. */
template <int T, int E> static __global__ void __launch_bounds__(THREADS, 2) attention_dq(float *dqkv, const float *dy, const float *delta, const float *lse, const float *qkv, shape o, int64_t row_blocks, int add)
{
    SKY_DYNAMIC_SHARED(float, keys);
    const int W = T * E, part = threadIdx.x % T;
    float *values = keys + TILE * W;
    int64_t head = blockIdx.x / row_blocks, b = head / o.heads, h = head % o.heads, row = blockIdx.x % row_blocks * (THREADS / T) + threadIdx.x / T;
    int64_t token = 3 * static_cast<int64_t>(o.heads) * o.D, width = static_cast<int64_t>(o.heads) * o.D;
    const float *base = qkv + b * o.L * token + h * o.D;
    int here = row < o.L;
    float q[E], g[E], acc[E] = {}, scale = 1.0f / sqrtf(static_cast<float>(o.D)), l = here ? lse[head * o.L + row] : 0.0f, dl = here ? delta[head * o.L + row] : 0.0f;
    read_row<E>(q, base + row * token, part, o.D, here);
    read_row<E>(g, dy + (b * o.L + row) * width + h * o.D, part, o.D, here);
    for (int64_t first = 0; first < o.L; first += TILE) {
        __syncthreads();
        for (int i = threadIdx.x; i < TILE * W; i += THREADS) {
            int64_t key = first + i / W;
            int in = key < o.L && i % W < o.D;
            keys[i] = in ? base[key * token + width + i % W] : 0.0f;
            values[i] = in ? base[key * token + 2 * width + i % W] : 0.0f;
        }
        __syncthreads();
        for (int j = 0; j < TILE; j++) {
            const float *k = keys + j * W + part * E;
            float s = lanes_sum(dot<E>(q, k), T) * scale, dp = lanes_sum(dot<E>(g, values + j * W + part * E), T);
            float ds = first + j < o.L ? expf(s - l) * (dp - dl) * scale : 0.0f;
#pragma unroll
            for (int e = 0; e < E; e++)
                acc[e] += ds * k[e];
        }
    }
#pragma unroll
    for (int e = 0; e < E; e++)
        if (here && part * E + e < o.D)
            give(dqkv + (b * o.L + row) * token + h * o.D + part * E + e, acc[e], add);
}

template <int T, int E> static __global__ void __launch_bounds__(THREADS, 2) attention_dkv(float *dqkv, const float *dy, const float *delta, const float *lse, const float *qkv, shape o, int64_t row_blocks, int add)
{
    SKY_DYNAMIC_SHARED(float, queries);
    const int W = T * E, part = threadIdx.x % T;
    float *grads = queries + TILE * W, *ls = grads + TILE * W, *deltas = ls + TILE;
    int64_t head = blockIdx.x / row_blocks, b = head / o.heads, h = head % o.heads, row = blockIdx.x % row_blocks * (THREADS / T) + threadIdx.x / T;
    int64_t token = 3 * static_cast<int64_t>(o.heads) * o.D, width = static_cast<int64_t>(o.heads) * o.D;
    const float *base = qkv + b * o.L * token + h * o.D, *gbase = dy + b * o.L * width + h * o.D;
    int here = row < o.L;
    float k[E], v[E], dk[E] = {}, dv[E] = {}, scale = 1.0f / sqrtf(static_cast<float>(o.D));
    read_row<E>(k, base + row * token + width, part, o.D, here);
    read_row<E>(v, base + row * token + 2 * width, part, o.D, here);
    for (int64_t first = 0; first < o.L; first += TILE) {
        __syncthreads();
        for (int i = threadIdx.x; i < TILE * W; i += THREADS) {
            int64_t query = first + i / W;
            int in = query < o.L && i % W < o.D;
            queries[i] = in ? base[query * token + i % W] : 0.0f;
            grads[i] = in ? gbase[query * width + i % W] : 0.0f;
            if (i % W == 0) {
                ls[i / W] = query < o.L ? lse[head * o.L + query] : 0.0f;
                deltas[i / W] = query < o.L ? delta[head * o.L + query] : 0.0f;
            }
        }
        __syncthreads();
        for (int j = 0; j < TILE; j++) {
            const float *q = queries + j * W + part * E, *g = grads + j * W + part * E;
            float s = lanes_sum(dot<E>(k, q), T) * scale, dp = lanes_sum(dot<E>(v, g), T);
            float p = first + j < o.L ? expf(s - ls[j]) : 0.0f, ds = p * (dp - deltas[j]) * scale;
#pragma unroll
            for (int e = 0; e < E; e++) {
                dv[e] += p * g[e];
                dk[e] += ds * q[e];
            }
        }
    }
    float *to = dqkv + (b * o.L + row) * token + h * o.D;
#pragma unroll
    for (int e = 0; e < E; e++)
        if (here && part * E + e < o.D) {
            give(to + width + part * E + e, dk[e], add);
            give(to + 2 * width + part * E + e, dv[e], add);
        }
}

template <int T, int E> static int both(sky_dev *d, const sky_grad *dqkv, const float *dy, const float *delta, const float *lse, const float *qkv, const shape &o, sky_err *e)
{
    int64_t row_blocks = sky_blocks(o.L, THREADS / T);
    size_t shared = (2 * TILE * T * E + 2 * TILE) * sizeof(float);
    dim3 grid(static_cast<unsigned>(o.B * o.heads * row_blocks));
    auto first = attention_dq<T, E>;
    auto second = attention_dkv<T, E>;
    SKY_LAUNCH(first, grid, dim3(THREADS), shared, d->stream, f32_out(&dqkv->t), dy, delta, lse, qkv, o, row_blocks, dqkv->add);
    SKY_LAUNCH(second, grid, dim3(THREADS), shared, d->stream, f32_out(&dqkv->t), dy, delta, lse, qkv, o, row_blocks, dqkv->add);
    return sky_cuda_launched("attention_backward", e);
}

static int attention_backward(sky_dev *d, sky_grad *dqkv, const sky_tensor *dy, const sky_tensor *y, const sky_tensor *lse, const sky_tensor *qkv, sky_dtype products, sky_err *e)
{
    const int64_t *s = qkv->shape;
    shape o = {s[0], s[1], static_cast<int>(s[3]), static_cast<int>(s[4])};
    (void)products;
    float *delta = static_cast<float *>(sky_cuda_scratch(d, static_cast<size_t>(o.B * o.heads * o.L) * sizeof *delta, "attention_backward", e));
    if (!delta)
        return e->code;
    const float *g = f32(dy), *py = f32(y), *l = f32(lse), *from = f32(qkv);
    int rc = each(d, o.B * o.heads * o.L, "attention_backward", e, [=] __device__(int64_t i) {
        int64_t head = i, row = divide(&head, o.L), at = ((head / o.heads * o.L + row) * o.heads + head % o.heads) * o.D;
        float sum = 0;
        for (int c = 0; c < o.D; c++)
            sum += g[at + c] * py[at + c];
        delta[i] = sum;
    });
    if (rc)
        return rc;
    switch (o.D) {
    case 16: return both<1, 16>(d, dqkv, g, delta, l, from, o, e);
    case 32: return both<2, 16>(d, dqkv, g, delta, l, from, o, e);
    case 64: return both<4, 16>(d, dqkv, g, delta, l, from, o, e);
    }
    if (o.D <= 64)
        return both<32, 2>(d, dqkv, g, delta, l, from, o, e);
    if (o.D <= 256)
        return both<32, 8>(d, dqkv, g, delta, l, from, o, e);
    return sky_fail(e, SKY_ELIMIT, "attention_backward: cuda has head widths of up to 256, got %d", o.D);
}

void sky_cuda_fill_attention_backward(sky_backend *b) { b->attention_backward = attention_backward; }
