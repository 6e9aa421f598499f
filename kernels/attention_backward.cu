/* attention_backward.cu -- gradient of attention, streamed and without atomics: one kernel per query row for dq, one per key
 * row for dk and dv; both compute the probabilities again from q, k and the saved log-sum-exp.
 *
 *   v1 attention_dq, attention_dkv   F32, any head width: T lanes per row as in attention_rows
 *   v2 attention_gradient            BF16 tensor cores, head widths 16, 32, 64: rows in BF16 as in attention_mma; one kernel for
 *                                    both sides, as they differ in what stays with a warp and what passes it
 *   v3 attention_short_backward      sequences of up to 8 tokens, widths 16 to 128: all of a head in registers, F32
 * v2 for BF16 products, v3 for short sequences in either type, v1 for the rest.
 * Bounds (computed for H100 SXM, not measured): v1 14*B*heads*L*L*D F32 operations (seven products of L x L x D) and 2*L*L
 * exponentials per head: 65 536 tokens x 16 heads of width 16 take 0.26 s at 60 TF/s. v2: the exponentials, 37 ms. v3 is bound
 * by memory: 28 bytes per element of the result. */
#include "attention.cuh"

/* ---- v1 ------------------------------------------------------------------------------------------------------------- */

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
template <int T, int E> static __global__ void __launch_bounds__(THREADS, 2) attention_dq(float *dqkv, const float *dy, const float *delta, const float *lse, const float *qkv, attention_shape o, int64_t row_blocks, int add)
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

template <int T, int E> static __global__ void __launch_bounds__(THREADS, 2) attention_dkv(float *dqkv, const float *dy, const float *delta, const float *lse, const float *qkv, attention_shape o, int64_t row_blocks, int add)
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

/* delta[head][row] = dy . y */
static int products_with_result(sky_dev *d, float *delta, const float *dy, const float *y, const attention_shape &o, sky_err *e)
{
    return each(d, o.B * o.L * o.heads, "attention_backward", e, [=] __device__(int64_t i) {
        int64_t b = i, h = divide(&b, o.heads), row = divide(&b, o.L);
        float sum = 0;
        for (int c = 0; c < o.D; c++)
            sum += dy[i * o.D + c] * y[i * o.D + c];
        delta[(b * o.heads + h) * o.L + row] = sum;
    });
}

template <int T, int E> static int rows(sky_dev *d, const sky_grad *dqkv, const float *dy, const float *y, const float *lse, const float *qkv, const attention_shape &o, sky_err *e)
{
    float *delta = static_cast<float *>(sky_cuda_scratch(d, static_cast<size_t>(o.B * o.heads * o.L) * sizeof *delta, "attention_backward", e));
    if (!delta)
        return e->code;
    int rc = products_with_result(d, delta, dy, y, o, e);
    if (rc)
        return rc;
    int64_t row_blocks = sky_blocks(o.L, THREADS / T);
    size_t shared = (2 * TILE * T * E + 2 * TILE) * sizeof(float);
    dim3 grid(static_cast<unsigned>(o.B * o.heads * row_blocks));
    auto first = attention_dq<T, E>;
    auto second = attention_dkv<T, E>;
    SKY_LAUNCH(first, grid, dim3(THREADS), shared, d->stream, f32_out(&dqkv->t), dy, delta, lse, qkv, o, row_blocks, dqkv->add);
    SKY_LAUNCH(second, grid, dim3(THREADS), shared, d->stream, f32_out(&dqkv->t), dy, delta, lse, qkv, o, row_blocks, dqkv->add);
    return sky_cuda_launched("attention_backward", e);
}

/* ---- v2 ------------------------------------------------------------------------------------------------------------- */

/* Of a query row: what its scores are measured against (log-sum-exp, base 2) and its gradient's product with its result. */
struct __align__(8) row_stat {
    float lse, delta;
};

/* stats [head][Lp]; rows beyond L get a lse that makes their probabilities 0. dy counts as the products see it: rounded. */
static int row_stats(sky_dev *d, row_stat *stats, const float *dy, const float *y, const float *lse, const attention_shape &o, int64_t Lp, sky_err *e)
{
    return each(d, o.B * Lp * o.heads, "attention_backward", e, [=] __device__(int64_t i) {
        int64_t b = i, h = divide(&b, o.heads), row = divide(&b, Lp), at = ((b * o.L + row) * o.heads + h) * o.D;
        row_stat s = {INFINITY, 0};
        if (row < o.L) {
            s.lse = lse[(b * o.heads + h) * o.L + row] * 1.44269504088896341f;
            for (int c = 0; c < o.D; c += 2) {
                uint32_t g = bf16_pair(dy[at + c], dy[at + c + 1]);
                s.delta += __uint_as_float(g << 16) * y[at + c] + __uint_as_float(g & 0xffff0000) * y[at + c + 1];
            }
        }
        stats[(b * o.heads + h) * Lp + row] = s;
    });
}

/* Both sides of the gradient. A warp has 16*M rows of `own` (scores) and `own_g` (gradients); tiles of `pass` and `pass_g` go by:
 *   queries: own q, own_g dy, pass k, pass_g v;   scores s = q k^T,  dp = dy v^T;  sum = ds k     (dq)
 *   KEYS:    own k, own_g v,  pass q, pass_g dy;  scores s^T = k q^T, dp^T = v dy^T;  sum = ds^T q (dk), sum_p = p^T dy (dv)
 * with p = 2^(s*scale - lse), ds = p*(dp - delta). */
template <int D, int M, bool KEYS>
static __global__ void __launch_bounds__(32 * ATTENTION_WARPS) attention_gradient(float *dqkv, const uint16_t *own, const uint16_t *own_g, const uint16_t *pass, const uint16_t *pass_g, const row_stat *stats, attention_shape o, int64_t Lp, int64_t row_blocks, int add)
{
    __shared__ __align__(16) uint16_t tile[2][TILE_ELEMENTS<D>], tile_g[2][TILE_ELEMENTS<D>];
    __shared__ __align__(16) row_stat passing[2][ATTENTION_TILE];
    int lane = threadIdx.x % 32, g = lane / 4, t = 2 * (lane % 4);
    int64_t head = blockIdx.x / row_blocks, row0 = (blockIdx.x % row_blocks * ATTENTION_WARPS + threadIdx.x / 32) * 16 * M;
    own += head * Lp * D, own_g += head * Lp * D, pass += head * Lp * D, pass_g += head * Lp * D, stats += head * Lp;
    uint32_t a[M][D / 16][4], a_g[M][D / 16][4];
    float sum[M][D / 8][4] = {}, sum_p[KEYS ? M : 1][D / 8][4] = {};
    row_stat mine[M][2];
    const float scale = 1.0f / sqrtf(static_cast<float>(D)), scale2 = 1.44269504088896341f * scale;
#pragma unroll
    for (int m = 0; m < M; m++) {
        own_rows<D>(a[m], own, row0 + 16 * m, Lp);
        own_rows<D>(a_g[m], own_g, row0 + 16 * m, Lp);
#pragma unroll
        for (int r = 0; r < 2; r++)
            mine[m][r] = !KEYS && row0 + 16 * m + g + 8 * r < Lp ? stats[row0 + 16 * m + g + 8 * r] : row_stat{INFINITY, 0};
    }
    auto fetch = [&](int64_t n) {
        fetch_tile<D>(tile[n % 2], pass + n * ATTENTION_TILE * D);
        fetch_tile<D>(tile_g[n % 2], pass_g + n * ATTENTION_TILE * D);
        if (KEYS && threadIdx.x < ATTENTION_TILE / 2)
            async_copy16(passing[n % 2] + 2 * threadIdx.x, stats + n * ATTENTION_TILE + 2 * threadIdx.x);
        async_commit();
    };
    int64_t tiles = Lp / ATTENTION_TILE;
    fetch(0);
    for (int64_t n = 0; n < tiles; n++) {
        if (n + 1 < tiles) {
            fetch(n + 1);
            async_wait<1>();
        } else {
            async_wait<0>();
        }
        __syncthreads();
        int left = n + 1 < tiles ? ATTENTION_TILE : static_cast<int>(o.L - n * ATTENTION_TILE); /* rows of this tile that exist */
#pragma unroll
        for (int j = 0; j < ATTENTION_TILE / 16; j++) {
            float s[M][2][4] = {}, dp[M][2][4] = {};
#pragma unroll
            for (int c = 0; c < D / 16; c++) {
                uint32_t b[4], b_g[4];
                tile_across<D>(b, tile[n % 2], 16 * j, 16 * c);
                tile_across<D>(b_g, tile_g[n % 2], 16 * j, 16 * c);
#pragma unroll
                for (int m = 0; m < M; m++)
#pragma unroll
                    for (int k = 0; k < 2; k++) {
                        mma_bf16(s[m][k], a[m][c], b + 2 * k);
                        mma_bf16(dp[m][k], a_g[m][c], b_g + 2 * k);
                    }
            }
#pragma unroll
            for (int k = 0; k < 2; k++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    int column = 16 * j + 8 * k + t + i % 2;
                    row_stat passes = KEYS ? passing[n % 2][column] : row_stat{};
#pragma unroll
                    for (int m = 0; m < M; m++) {
                        row_stat q = KEYS ? passes : mine[m][i / 2];
                        float p = column < left ? exp2_fast(fmaf(s[m][k][i], scale2, -q.lse)) : 0.0f;
                        s[m][k][i] = p;
                        dp[m][k][i] = p * (dp[m][k][i] - q.delta);
                    }
                }
            uint32_t p[M][4], ds[M][4];
#pragma unroll
            for (int m = 0; m < M; m++) {
                as_left(p[m], s[m]);
                as_left(ds[m], dp[m]);
            }
#pragma unroll
            for (int c = 0; c < D / 16; c++) {
                uint32_t b[4], b_g[4];
                tile_along<D>(b, tile[n % 2], 16 * j, 16 * c);
                if (KEYS)
                    tile_along<D>(b_g, tile_g[n % 2], 16 * j, 16 * c);
#pragma unroll
                for (int m = 0; m < M; m++)
#pragma unroll
                    for (int k = 0; k < 2; k++) {
                        mma_bf16(sum[m][2 * c + k], ds[m], b + 2 * k);
                        if (KEYS)
                            mma_bf16(sum_p[m][2 * c + k], p[m], b_g + 2 * k);
                    }
            }
        }
        __syncthreads(); /* before the next fetch writes where this tile was */
    }
    int64_t width = static_cast<int64_t>(o.heads) * D, b = head / o.heads, h = head % o.heads;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            int64_t row = row0 + 16 * m + g + 8 * r;
            if (row >= o.L)
                continue;
            float *to = dqkv + (b * o.L + row) * 3 * width + (KEYS ? width : 0) + h * D + t;
#pragma unroll
            for (int c = 0; c < D / 8; c++) {
                give_pair(to + 8 * c, sum[m][c][2 * r] * scale, sum[m][c][2 * r + 1] * scale, add);
                if (KEYS)
                    give_pair(to + width + 8 * c, sum_p[m][c][2 * r], sum_p[m][c][2 * r + 1], add);
            }
        }
}

template <int D, int M> static int tensor_cores(sky_dev *d, const sky_grad *dqkv, const float *dy, const float *y, const float *lse, const float *qkv, const attention_shape &o, sky_err *e)
{
    static const char op[] = "attention_backward";
    int64_t Lp = attention_padded(o.L), all = o.B * o.heads, n = all * Lp * D, row_blocks = sky_blocks(o.L, 16 * M * ATTENTION_WARPS);
    char *at = static_cast<char *>(sky_cuda_scratch(d, static_cast<size_t>(n) * 4 * sizeof(uint16_t) + static_cast<size_t>(all * Lp) * sizeof(row_stat), op, e));
    if (!at)
        return e->code;
    uint16_t *q = reinterpret_cast<uint16_t *>(at), *g = q + 3 * n;
    const uint16_t *k = q + n, *v = k + n;
    row_stat *stats = reinterpret_cast<row_stat *>(g + n);
    int rc = pack_heads(d, q, qkv, 3, o, Lp, op, e);
    if (!rc)
        rc = pack_heads(d, g, dy, 1, o, Lp, op, e);
    if (!rc)
        rc = row_stats(d, stats, dy, y, lse, o, Lp, e);
    if (rc)
        return rc;
    auto queries = attention_gradient<D, M, false>;
    auto keys = attention_gradient<D, M, true>;
    dim3 grid(static_cast<unsigned>(all * row_blocks)), block(32 * ATTENTION_WARPS);
    const uint16_t *q_in = q, *g_in = g;
    const row_stat *s_in = stats;
    SKY_LAUNCH(queries, grid, block, 0, d->stream, f32_out(&dqkv->t), q_in, g_in, k, v, s_in, o, Lp, row_blocks, dqkv->add);
    SKY_LAUNCH(keys, grid, block, 0, d->stream, f32_out(&dqkv->t), k, v, q_in, g_in, s_in, o, Lp, row_blocks, dqkv->add);
    return sky_cuda_launched(op, e);
}

/* ---- v3 ------------------------------------------------------------------------------------------------------------- */

static __device__ inline float dot4(const floats<4> &a, const floats<4> &b) { return a.v[0] * b.v[0] + a.v[1] * b.v[1] + a.v[2] * b.v[2] + a.v[3] * b.v[3]; }
static __device__ inline void add4(floats<4> *to, float f, const floats<4> &a)
{
#pragma unroll
    for (int c = 0; c < 4; c++)
        to->v[c] += f * a.v[c];
}

/* Four channels of a gradient, written or added. */
static __device__ inline void give4(float *p, int part, floats<4> v, int add)
{
    if (add)
        add4(&v, 1.0f, load<4>(p, part));
    store<4>(p, part, v);
}

/* G = D/4 lanes per head, each with four channels of all tokens; the softmax is made anew, so no log-sum-exp is needed. */
template <int G, int N> static __global__ void __launch_bounds__(128) attention_short_backward(float *dqkv, const float *dy, const float *qkv, attention_shape o, int add)
{
    int64_t head = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / G, last = o.B * o.heads - 1;
    int part = threadIdx.x % G, here = head <= last, L = static_cast<int>(o.L);
    head = here ? head : last; /* lanes without a head take part in the sums of their warp */
    int64_t b = head / o.heads, h = head % o.heads, width = static_cast<int64_t>(o.heads) * o.D;
    const float *base = qkv + b * L * 3 * width + h * o.D, *from = dy + b * L * width + h * o.D;
    float *to = dqkv + (base - qkv);
    floats<4> k[N] = {}, v[N] = {}, dk[N] = {}, dv[N] = {};
#pragma unroll
    for (int j = 0; j < N; j++)
        if (j < L) {
            k[j] = load<4>(base + 3 * j * width + width, part);
            v[j] = load<4>(base + 3 * j * width + 2 * width, part);
        }
    float scale = 1.0f / sqrtf(static_cast<float>(o.D));
    for (int i = 0; i < L; i++) {
        floats<4> q = load<4>(base + 3 * i * width, part), g = load<4>(from + i * width, part), dq = {};
        float p[N], dp[N], top = -INFINITY, sum = 0, delta = 0;
#pragma unroll
        for (int j = 0; j < N; j++) {
            float s = lanes_sum(dot4(q, k[j]), G) * scale;
            p[j] = j < L ? s : -INFINITY;
            dp[j] = lanes_sum(dot4(g, v[j]), G);
            top = fmaxf(top, p[j]);
        }
#pragma unroll
        for (int j = 0; j < N; j++) {
            p[j] = expf(p[j] - top);
            sum += p[j];
            delta += p[j] * dp[j];
        }
#pragma unroll
        for (int j = 0; j < N; j++) {
            p[j] /= sum;
            float ds = p[j] * (dp[j] - delta / sum) * scale;
            add4(&dq, ds, k[j]);
            add4(&dk[j], ds, q);
            add4(&dv[j], p[j], g);
        }
        if (here)
            give4(to + 3 * i * width, part, dq, add);
    }
#pragma unroll
    for (int j = 0; j < N; j++)
        if (here && j < L) {
            give4(to + 3 * j * width + width, part, dk[j], add);
            give4(to + 3 * j * width + 2 * width, part, dv[j], add);
        }
}

template <int G> static int short_sequences(sky_dev *d, const sky_grad *dqkv, const float *dy, const float *qkv, const attention_shape &o, sky_err *e)
{
    auto k = o.L <= 4 ? attention_short_backward<G, 4> : attention_short_backward<G, 8>;
    SKY_LAUNCH(k, dim3(sky_blocks(o.B * o.heads * G, 128)), dim3(128), 0, d->stream, f32_out(&dqkv->t), dy, qkv, o, dqkv->add);
    return sky_cuda_launched("attention_backward", e);
}

static int attention_backward(sky_dev *d, sky_grad *dqkv, const sky_tensor *dy, const sky_tensor *y, const sky_tensor *lse, const sky_tensor *qkv, sky_dtype products, sky_err *e)
{
    attention_shape o = attention_shape_of(qkv);
    const float *g = f32(dy), *py = f32(y), *l = f32(lse), *from = f32(qkv);
    if (o.L <= 8)
        switch (o.D) {
        case 16: return short_sequences<4>(d, dqkv, g, from, o, e);
        case 32: return short_sequences<8>(d, dqkv, g, from, o, e);
        case 64: return short_sequences<16>(d, dqkv, g, from, o, e);
        case 128: return short_sequences<32>(d, dqkv, g, from, o, e);
        }
    else if (products == SKY_BF16)
        switch (o.D) {
        case 16: return tensor_cores<16, 2>(d, dqkv, g, py, l, from, o, e);
        case 32: return tensor_cores<32, 2>(d, dqkv, g, py, l, from, o, e);
        case 64: return tensor_cores<64, 1>(d, dqkv, g, py, l, from, o, e);
        }
    if (o.D <= 16)
        return rows<1, 16>(d, dqkv, g, py, l, from, o, e);
    if (o.D <= 32)
        return rows<2, 16>(d, dqkv, g, py, l, from, o, e);
    if (o.D <= 64)
        return rows<4, 16>(d, dqkv, g, py, l, from, o, e);
    if (o.D <= 256)
        return rows<32, 8>(d, dqkv, g, py, l, from, o, e);
    return sky_fail(e, SKY_ELIMIT, "attention_backward: cuda has head widths of up to 256, got %d", o.D);
}

void sky_cuda_fill_attention_backward(sky_backend *b) { b->attention_backward = attention_backward; }
