/* attention.cu -- softmax(q k^T / sqrt(D)) v over whole sequences, streamed: no L x L matrix.
 *
 *   v1 attention_rows   F32, any head width: T lanes hold a query row, keys and values pass through shared memory
 *   v2 attention_mma    BF16 tensor cores (mma.sync), head widths 16, 32, 64: q, k, v are rounded and laid out per head
 *                       first, so that every tile of keys is a copy of whole 16-byte pieces; two tiles under way
 *   v3 attention_short  sequences of up to 8 tokens, widths 16 to 128: all of a head in registers of D/4 lanes, F32
 * v2 for BF16 products, v3 for short sequences in either type (the sums are too short to gain from tensor cores), v1 for
 * the rest.
 * Bounds (computed for H100 SXM, not measured): v2 is bound by exponentials, 16 per cycle and multiprocessor: 65 536 tokens
 * x 16 heads of width 16 take 6.9e10 of them, 18.5 ms; 8192 x 16 x 32: 0.29 ms. v3 is bound by memory: 16 bytes per element
 * of the result. v1: 4*B*heads*L*L*D F32 operations, 74 ms for the first shape. */
#include "attention.cuh"

/* ---- v1 ------------------------------------------------------------------------------------------------------------- */

enum { TILE = 16, THREADS = 256 };

/* T lanes per query row, lane part p holding elements p*E .. p*E+E-1 (those below D). */
template <int T, int E> static __global__ void attention_rows(float *y, float *lse, const float *qkv, attention_shape o, int64_t row_blocks)
{
    SKY_DYNAMIC_SHARED(float, keys); /* [TILE][T*E], then values */
    const int W = T * E, part = threadIdx.x % T;
    float *values = keys + TILE * W;
    int64_t head = blockIdx.x / row_blocks, b = head / o.heads, row = blockIdx.x % row_blocks * (THREADS / T) + threadIdx.x / T;
    int64_t token = 3 * static_cast<int64_t>(o.heads) * o.D, h = head % o.heads;
    const float *base = qkv + b * o.L * token + h * o.D;
    float q[E], acc[E] = {}, top = -INFINITY, sum = 0, scale = 1.44269504088896341f / sqrtf(static_cast<float>(o.D));
#pragma unroll
    for (int e = 0; e < E; e++)
        q[e] = row < o.L && part * E + e < o.D ? base[row * token + part * E + e] * scale : 0.0f;
    for (int64_t first = 0; first < o.L; first += TILE) {
        __syncthreads();
        for (int i = threadIdx.x; i < TILE * W; i += THREADS) {
            int64_t key = first + i / W;
            int in = key < o.L && i % W < o.D;
            keys[i] = in ? base[key * token + o.heads * o.D + i % W] : 0.0f;
            values[i] = in ? base[key * token + 2 * o.heads * o.D + i % W] : 0.0f;
        }
        __syncthreads();
        float s[TILE], m = top;
#pragma unroll
        for (int j = 0; j < TILE; j++) {
            float dot = 0;
#pragma unroll
            for (int e = 0; e < E; e++)
                dot += q[e] * keys[j * W + part * E + e];
            s[j] = first + j < o.L ? lanes_sum(dot, T) : -INFINITY;
            m = s[j] > m ? s[j] : m;
        }
        float shrink = exp2f(top - m);
        top = m;
        sum *= shrink;
#pragma unroll
        for (int e = 0; e < E; e++)
            acc[e] *= shrink;
#pragma unroll
        for (int j = 0; j < TILE; j++) {
            float p = exp2f(s[j] - m);
            sum += p;
#pragma unroll
            for (int e = 0; e < E; e++)
                acc[e] += p * values[j * W + part * E + e];
        }
    }
    if (row >= o.L)
        return;
#pragma unroll
    for (int e = 0; e < E; e++)
        if (part * E + e < o.D)
            y[((b * o.L + row) * o.heads + h) * o.D + part * E + e] = acc[e] / sum;
    if (lse && part == 0)
        lse[head * o.L + row] = top * 0.693147180559945309f + logf(sum);
}

template <int T, int E> static int rows(sky_dev *d, float *y, float *lse, const float *qkv, const attention_shape &o, sky_err *e)
{
    int64_t row_blocks = sky_blocks(o.L, THREADS / T);
    auto k = attention_rows<T, E>;
    SKY_LAUNCH(k, dim3(static_cast<unsigned>(o.B * o.heads * row_blocks)), dim3(THREADS), 2 * TILE * T * E * sizeof(float), d->stream, y, lse, qkv, o, row_blocks);
    return sky_cuda_launched("attention", e);
}

/* ---- v2 ------------------------------------------------------------------------------------------------------------- */

/* Scores of keys from `left` on, which do not exist, count for nothing. */
template <int M> static __device__ inline void hide(float s[M][ATTENTION_TILE / 8][4], int left)
{
    int t = 2 * (threadIdx.x % 4);
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int j = 0; j < ATTENTION_TILE / 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                s[m][j][i] = 8 * j + t + i % 2 < left ? s[m][j][i] : -INFINITY;
}

/* Four warps, each with 16*M query rows. */
template <int D, int M> static __global__ void __launch_bounds__(32 * ATTENTION_WARPS, D == 16 ? 4 : 3) attention_mma(float *y, float *lse, const uint16_t *q, const uint16_t *k, const uint16_t *v, attention_shape o, int64_t Lp, int64_t row_blocks)
{
    __shared__ __align__(16) uint16_t keys[2][TILE_ELEMENTS<D>], values[2][TILE_ELEMENTS<D>];
    int lane = threadIdx.x % 32, g = lane / 4, t = 2 * (lane % 4);
    int64_t head = blockIdx.x / row_blocks, row0 = (blockIdx.x % row_blocks * 4 + threadIdx.x / 32) * 16 * M;
    q += head * Lp * D, k += head * Lp * D, v += head * Lp * D;
    uint32_t a[M][D / 16][4];
    float acc[M][D / 8][4] = {}, top[M][2], sum[M][2] = {};
    const float scale = 1.44269504088896341f / sqrtf(static_cast<float>(D));
#pragma unroll
    for (int m = 0; m < M; m++) {
        top[m][0] = top[m][1] = -INFINITY;
        own_rows<D>(a[m], q, row0 + 16 * m, Lp);
    }
    int64_t tiles = Lp / ATTENTION_TILE;
    fetch_tile<D>(keys[0], k);
    fetch_tile<D>(values[0], v);
    async_commit();
    for (int64_t n = 0; n < tiles; n++) {
        if (n + 1 < tiles) {
            fetch_tile<D>(keys[(n + 1) % 2], k + (n + 1) * ATTENTION_TILE * D);
            fetch_tile<D>(values[(n + 1) % 2], v + (n + 1) * ATTENTION_TILE * D);
            async_commit();
            async_wait<1>();
        } else {
            async_wait<0>();
        }
        __syncthreads();
        float s[M][ATTENTION_TILE / 8][4] = {};
#pragma unroll
        for (int j = 0; j < ATTENTION_TILE / 16; j++)
#pragma unroll
            for (int c = 0; c < D / 16; c++) {
                uint32_t b[4];
                tile_across<D>(b, keys[n % 2], 16 * j, 16 * c);
#pragma unroll
                for (int m = 0; m < M; m++) {
                    mma_bf16(s[m][2 * j], a[m][c], b);
                    mma_bf16(s[m][2 * j + 1], a[m][c], b + 2);
                }
            }
        if (n + 1 == tiles)
            hide<M>(s, static_cast<int>(o.L - n * ATTENTION_TILE));
#pragma unroll
        for (int m = 0; m < M; m++) {
            float high[2] = {top[m][0], top[m][1]}; /* of the scores before the scale */
#pragma unroll
            for (int j = 0; j < ATTENTION_TILE / 8; j++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    high[i / 2] = fmaxf(high[i / 2], s[m][j][i]);
#pragma unroll
            for (int r = 0; r < 2; r++) {
                high[r] = fmaxf(high[r], __shfl_xor_sync(~0u, high[r], 1));
                high[r] = fmaxf(high[r], __shfl_xor_sync(~0u, high[r], 2));
                float shrink = exp2_fast((top[m][r] - high[r]) * scale);
                top[m][r] = high[r], high[r] *= scale;
                sum[m][r] *= shrink;
#pragma unroll
                for (int c = 0; c < D / 8; c++)
                    acc[m][c][2 * r] *= shrink, acc[m][c][2 * r + 1] *= shrink;
            }
#pragma unroll
            for (int j = 0; j < ATTENTION_TILE / 8; j++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    s[m][j][i] = exp2_fast(fmaf(s[m][j][i], scale, -high[i / 2]));
                    sum[m][i / 2] += s[m][j][i];
                }
        }
#pragma unroll
        for (int j = 0; j < ATTENTION_TILE / 16; j++) {
            uint32_t p[M][4];
#pragma unroll
            for (int m = 0; m < M; m++)
                as_left(p[m], s[m] + 2 * j);
#pragma unroll
            for (int c = 0; c < D / 16; c++) {
                uint32_t b[4];
                tile_along<D>(b, values[n % 2], 16 * j, 16 * c);
#pragma unroll
                for (int m = 0; m < M; m++) {
                    mma_bf16(acc[m][2 * c], p[m], b);
                    mma_bf16(acc[m][2 * c + 1], p[m], b + 2);
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
            float all = sum[m][r] + __shfl_xor_sync(~0u, sum[m][r], 1);
            all += __shfl_xor_sync(~0u, all, 2);
            int64_t row = row0 + 16 * m + g + 8 * r;
            if (row >= o.L)
                continue;
            float *to = y + (b * o.L + row) * width + h * D + t;
#pragma unroll
            for (int c = 0; c < D / 8; c++)
                *reinterpret_cast<float2 *>(to + 8 * c) = make_float2(acc[m][c][2 * r] / all, acc[m][c][2 * r + 1] / all);
            if (lse && t == 0)
                lse[head * o.L + row] = top[m][r] * scale * 0.693147180559945309f + logf(all);
        }
}

template <int D, int M> static int tensor_cores(sky_dev *d, float *y, float *lse, const float *qkv, const attention_shape &o, sky_err *e)
{
    int64_t Lp = attention_padded(o.L), n = o.B * o.heads * Lp * D, row_blocks = sky_blocks(o.L, 16 * M * ATTENTION_WARPS);
    uint16_t *q = static_cast<uint16_t *>(sky_cuda_scratch(d, static_cast<size_t>(n) * 3 * sizeof *q, "attention", e));
    if (!q)
        return e->code;
    const uint16_t *k = q + n, *v = k + n;
    int rc = pack_heads(d, q, qkv, 3, o, Lp, "attention", e);
    if (rc)
        return rc;
    auto kernel = attention_mma<D, M>;
    SKY_LAUNCH(kernel, dim3(static_cast<unsigned>(o.B * o.heads * row_blocks)), dim3(128), 0, d->stream, y, lse, const_cast<const uint16_t *>(q), k, v, o, Lp, row_blocks);
    return sky_cuda_launched("attention", e);
}

/* ---- v3 ------------------------------------------------------------------------------------------------------------- */

/* G = D/4 lanes per head, each with four channels of all tokens. */
template <int G, int N> static __global__ void attention_short(float *y, float *lse, const float *qkv, attention_shape o)
{
    int64_t head = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / G, last = o.B * o.heads - 1;
    int part = threadIdx.x % G, here = head <= last, L = static_cast<int>(o.L);
    head = here ? head : last; /* lanes without a head take part in the sums of their warp */
    int64_t b = head / o.heads, h = head % o.heads;
    const float *base = qkv + (b * L * 3 * o.heads + h) * o.D;
    floats<4> q[N] = {}, k[N] = {}, v[N] = {};
#pragma unroll
    for (int i = 0; i < N; i++)
        if (i < L) {
            const float *p = base + static_cast<int64_t>(i) * 3 * o.heads * o.D;
            q[i] = load<4>(p, part);
            k[i] = load<4>(p + o.heads * o.D, part);
            v[i] = load<4>(p + 2 * o.heads * o.D, part);
        }
    float scale = 1.44269504088896341f / sqrtf(static_cast<float>(o.D));
    for (int i = 0; i < L; i++) {
        float s[N], top = -INFINITY, sum = 0;
        floats<4> qi = {}, acc = {};
#pragma unroll
        for (int j = 0; j < N; j++)
            if (j == i)
                qi = q[j];
#pragma unroll
        for (int j = 0; j < N; j++) {
            float dot = lanes_sum(qi.v[0] * k[j].v[0] + qi.v[1] * k[j].v[1] + qi.v[2] * k[j].v[2] + qi.v[3] * k[j].v[3], G) * scale;
            s[j] = j < L ? dot : -INFINITY;
            top = fmaxf(top, s[j]);
        }
#pragma unroll
        for (int j = 0; j < N; j++) {
            float p = exp2f(s[j] - top);
            sum += p;
#pragma unroll
            for (int c = 0; c < 4; c++)
                acc.v[c] += p * v[j].v[c];
        }
#pragma unroll
        for (int c = 0; c < 4; c++)
            acc.v[c] /= sum;
        if (here)
            store<4>(y + ((b * L + i) * o.heads + h) * o.D, part, acc);
        if (here && lse && part == 0)
            lse[head * L + i] = top * 0.693147180559945309f + logf(sum);
    }
}

template <int G> static int short_sequences(sky_dev *d, float *y, float *lse, const float *qkv, const attention_shape &o, sky_err *e)
{
    auto k = o.L <= 4 ? attention_short<G, 4> : attention_short<G, 8>;
    SKY_LAUNCH(k, dim3(sky_blocks(o.B * o.heads * G, 128)), dim3(128), 0, d->stream, y, lse, qkv, o);
    return sky_cuda_launched("attention", e);
}

static int attention(sky_dev *d, sky_tensor *y, sky_tensor *lse, const sky_tensor *qkv, sky_dtype products, sky_err *e)
{
    attention_shape o = attention_shape_of(qkv);
    float *to = f32_out(y), *l = f32_out(lse);
    const float *from = f32(qkv);
    if (o.L <= 8)
        switch (o.D) {
        case 16: return short_sequences<4>(d, to, l, from, o, e);
        case 32: return short_sequences<8>(d, to, l, from, o, e);
        case 64: return short_sequences<16>(d, to, l, from, o, e);
        case 128: return short_sequences<32>(d, to, l, from, o, e);
        }
    else if (products == SKY_BF16)
        switch (o.D) {
        case 16: return tensor_cores<16, 2>(d, to, l, from, o, e);
        case 32: return tensor_cores<32, 2>(d, to, l, from, o, e);
        case 64: return tensor_cores<64, 1>(d, to, l, from, o, e);
        }
    if (o.D <= 16)
        return rows<1, 16>(d, to, l, from, o, e);
    if (o.D <= 32)
        return rows<2, 16>(d, to, l, from, o, e);
    if (o.D <= 64)
        return rows<4, 16>(d, to, l, from, o, e);
    if (o.D <= 256)
        return rows<32, 8>(d, to, l, from, o, e);
    return sky_fail(e, SKY_ELIMIT, "attention: cuda has head widths of up to 256, got %d", o.D);
}

void sky_cuda_fill_attention(sky_backend *b) { b->attention = attention; }
