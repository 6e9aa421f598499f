/* window_backward.cu -- gradient of window attention.
 *
 *   v1 F32, a block per head and group of windows, in shared memory   <- linked; BF16 products too: more exact, not rounded
 * A block goes through its windows in order and keeps the head's sums (bias, padding, logit scale) for itself; the groups'
 * sums are then added in order. So nothing is added atomically, and the bias gradient costs GROUPS, not windows, matrices.
 * Bound (computed, not measured): 14*N*D F32 operations per element of the result (N = 64 tokens of a window). */
#include "columns.cuh"
#include "window.cuh"

enum { WARPS = 8, GROUPS = 64, EACH = 4 /* channels per lane: widths of up to 128 */ };

struct outputs {
    float *dqkv;
    double *bias, *pad, *scale; /* [groups][heads*N*N], [groups][3*heads*D], [groups][heads]; NULL: not wanted */
    int add;
};

/* Shared memory: q, k (unit length), v, dy as rows of odd length, probabilities and score gradients, sums of the bias. */
static size_t shared_bytes(const windows &o)
{
    size_t n = static_cast<size_t>(o.N);
    return (4 * n * static_cast<size_t>(o.D | 1) + 3 * n * (n + 1) + 2 * n + static_cast<size_t>(WARPS * (3 * o.D + 1)) + n) * sizeof(float);
}

/* One row of the window to unit length; its 1/norm, or 0 where the bound of 1e-12 makes it a constant factor. */
static __device__ inline void unit_row(float *to, float *inverse, const float *from, int D, int lane)
{
    float square = 0;
    for (int c = lane; c < D; c += 32)
        square += from[c] * from[c];
    float norm = sqrtf(lanes_sum(square)), r = 1.0f / fmaxf(norm, 1e-12f);
    for (int c = lane; c < D; c += 32)
        to[c] = from[c] * r;
    if (lane == 0)
        *inverse = norm < 1e-12f ? -r : r;
}

/* Gradient before the normalisation: g is that of the unit row u. */
static __device__ inline void through_norm(float *g, const float *u, float inverse, int D, int lane, float *dot)
{
    float sum = 0;
    for (int e = 0; e < EACH && lane + 32 * e < D; e++)
        sum += g[e] * u[lane + 32 * e];
    *dot = lanes_sum(sum);
    for (int e = 0; e < EACH && lane + 32 * e < D; e++)
        g[e] = inverse < 0 ? g[e] * -inverse : (g[e] - u[lane + 32 * e] * *dot) * inverse;
}

static __global__ void window_backward(outputs out, const float *dy, const float *qkv, const float *pad, const float *bias, const float *logit_scale, windows o, int64_t count, int groups)
{
    SKY_DYNAMIC_SHARED(float, q);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, P = o.D | 1, N = o.N, S = N + 1, h = blockIdx.x % o.heads, group = blockIdx.x / o.heads;
    float *k = q + N * P, *v = k + N * P, *g = v + N * P, *p = g + N * P, *ds = p + N * S, *bias_sum = ds + N * S, *rq = bias_sum + N * S, *rk = rq + N, *ends = rk + N;
    int *regions = reinterpret_cast<int *>(ends + WARPS * (3 * o.D + 1));
    const float gain = gain_of(logit_scale[h]);
    float pad_sum[3][EACH] = {}, scale_sum = 0;
    for (int i = threadIdx.x; i < N * S; i += 32 * WARPS)
        bias_sum[i] = 0;
    for (int64_t window = group; window < count; window += groups) {
        __syncthreads();
        for (int t = warp; t < N; t += WARPS) {
            int64_t token = token_of(o, window, t, &regions[t]);
            unit_row(q + t * P, rq + t, part_of(o, qkv, pad, token, 0, h), o.D, lane);
            unit_row(k + t * P, rk + t, part_of(o, qkv, pad, token, 1, h), o.D, lane);
            const float *from = part_of(o, qkv, pad, token, 2, h), *gy = dy + (token < 0 ? 0 : token * o.heads + h) * o.D;
            for (int c = lane; c < o.D; c += 32) {
                v[t * P + c] = from[c];
                g[t * P + c] = token < 0 ? 0.0f : gy[c];
            }
        }
        __syncthreads();
        for (int t = warp; t < N; t += WARPS) { /* a row of scores, probabilities, and their gradients */
            float top = -INFINITY, sum = 0, dot = 0;
            for (int j = lane; j < N; j += 32) {
                float s = 0;
                for (int c = 0; c < o.D; c++)
                    s += q[t * P + c] * k[j * P + c];
                s = s * gain + bias[(static_cast<int64_t>(h) * N + t) * N + j] - (regions[j] == regions[t] ? 0.0f : 100.0f);
                p[t * S + j] = s;
                top = fmaxf(top, s);
            }
            top = lanes_max(top);
            for (int j = lane; j < N; j += 32)
                sum += p[t * S + j] = expf(p[t * S + j] - top);
            sum = lanes_sum(sum);
            for (int j = lane; j < N; j += 32) {
                float dp = 0;
                for (int c = 0; c < o.D; c++)
                    dp += g[t * P + c] * v[j * P + c];
                p[t * S + j] /= sum;
                ds[t * S + j] = dp;
                dot += p[t * S + j] * dp;
            }
            dot = lanes_sum(dot);
            for (int j = lane; j < N; j += 32) {
                ds[t * S + j] = p[t * S + j] * (ds[t * S + j] - dot);
                bias_sum[t * S + j] += ds[t * S + j];
            }
        }
        __syncthreads();
        for (int t = warp; t < N; t += WARPS) { /* the gradients of a token */
            float dq[EACH] = {}, dk[EACH] = {}, dv[EACH] = {}, dot;
            for (int j = 0; j < N; j++)
                for (int e = 0; e < EACH && lane + 32 * e < o.D; e++) {
                    int c = lane + 32 * e;
                    dq[e] += ds[t * S + j] * k[j * P + c];
                    dk[e] += ds[j * S + t] * q[j * P + c];
                    dv[e] += p[j * S + t] * g[j * P + c];
                }
            for (int e = 0; e < EACH; e++)
                dq[e] *= gain, dk[e] *= gain;
            through_norm(dq, q + t * P, rq[t], o.D, lane, &dot);
            scale_sum += dot; /* sum of ds * gain * cosine over the row */
            through_norm(dk, k + t * P, rk[t], o.D, lane, &dot);
            int region;
            int64_t token = token_of(o, window, t, &region);
            for (int e = 0; e < EACH && lane + 32 * e < o.D; e++) {
                if (token < 0) {
                    pad_sum[0][e] += dq[e], pad_sum[1][e] += dk[e], pad_sum[2][e] += dv[e];
                } else if (out.dqkv) {
                    float *to = out.dqkv + (token * 3 * o.heads + h) * o.D + lane + 32 * e;
                    give(to, dq[e], out.add);
                    give(to + o.heads * o.D, dk[e], out.add);
                    give(to + 2 * o.heads * o.D, dv[e], out.add);
                }
            }
        }
    }
    float *mine = ends + warp * (3 * o.D + 1);
    for (int part = 0; part < 3; part++)
        for (int e = 0; e < EACH && lane + 32 * e < o.D; e++)
            mine[part * o.D + lane + 32 * e] = pad_sum[part][e];
    if (lane == 0)
        mine[3 * o.D] = scale_sum;
    __syncthreads();
    for (int i = threadIdx.x; i < 3 * o.D + 1; i += 32 * WARPS) {
        double sum = 0;
        for (int w = 0; w < WARPS; w++)
            sum += static_cast<double>(ends[w * (3 * o.D + 1) + i]);
        if (i < 3 * o.D && out.pad)
            out.pad[static_cast<int64_t>(group) * 3 * o.heads * o.D + (i / o.D * o.heads + h) * o.D + i % o.D] = sum;
        if (i == 3 * o.D && out.scale)
            out.scale[group * o.heads + h] = sum;
    }
    for (int i = threadIdx.x; out.bias && i < N * N; i += 32 * WARPS)
        out.bias[(static_cast<int64_t>(group) * o.heads + h) * N * N + i] = static_cast<double>(bias_sum[i / N * S + i % N]);
}

/* y (+)= sum over groups, where keep(i) */
template <class F> static int add_groups(sky_dev *d, sky_grad *y, const double *part, int groups, int64_t n, sky_err *e, F keep)
{
    float *to = f32_out(&y->t);
    int add = y->add;
    return !to ? SKY_OK : each(d, n, "window_attention_backward", e, [=] __device__(int64_t i) {
        double sum = 0;
        for (int g = 0; g < groups; g++)
            sum += part[g * n + i];
        give(to + i, keep(i) ? static_cast<float>(sum) : 0.0f, add);
    });
}

static int window_attention_backward(sky_dev *d, sky_grad *dqkv, sky_grad *dpad_qkv, sky_grad *dbias, sky_grad *dlogit_scale, const sky_tensor *dy, const sky_tensor *qkv, const sky_tensor *pad_qkv, const sky_tensor *bias, const sky_tensor *logit_scale, int win, int shift, sky_dtype products, sky_err *e)
{
    static const char op[] = "window_attention_backward";
    windows o = windows_of(qkv, win, shift);
    (void)products;
    int64_t count = o.B * o.wr * o.wc, nb = static_cast<int64_t>(o.heads) * o.N * o.N, np = 3 * static_cast<int64_t>(o.heads) * o.D;
    int groups = count < GROUPS ? static_cast<int>(count) : GROUPS;
    size_t shared = shared_bytes(o);
    if (shared > static_cast<size_t>(d->shared_most) || o.D > 32 * EACH)
        return sky_fail(e, SKY_ELIMIT, "%s: a window of %d and a head width of %d are more than shared memory holds", op, win, o.D);
    double *part = static_cast<double *>(sky_cuda_scratch(d, static_cast<size_t>(groups * (nb + np + o.heads)) * sizeof *part, op, e));
    if (!part || sky_cuda_ok(cudaFuncSetAttribute(window_backward, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)), op, e))
        return e->code;
    outputs out = {f32_out(&dqkv->t), part, part + groups * nb, part + groups * (nb + np), dqkv->add};
    const float *scale = f32(logit_scale);
    SKY_LAUNCH(window_backward, dim3(static_cast<unsigned>(groups * o.heads)), dim3(32 * WARPS), shared, d->stream, out, f32(dy), f32(qkv), f32(pad_qkv), f32(bias), scale, o, count, groups);
    int rc = sky_cuda_launched(op, e);
    if (!rc)
        rc = add_groups(d, dbias, out.bias, groups, nb, e, [] __device__(int64_t) { return 1; });
    if (!rc)
        rc = add_groups(d, dpad_qkv, out.pad, groups, np, e, [] __device__(int64_t) { return 1; });
    if (!rc) /* the clamp at ln 100 passes the gradient at or below it */
        rc = add_groups(d, dlogit_scale, out.scale, groups, o.heads, e, [=] __device__(int64_t h) { return scale[h] <= 4.60517018598809137f; });
    return rc;
}

void sky_cuda_fill_window_backward(sky_backend *b) { b->window_attention_backward = window_attention_backward; }
