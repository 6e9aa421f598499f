/* optimizer.cu -- steps of AdamW and SGD, one launch per flat range of parameters.
 *
 *   v1 one element per thread
 *   v2 four elements per thread and load where the count allows   <- linked
 * Bound (computed, not measured): 28 bytes per element of AdamW (30 with a BF16 copy), 20 of SGD, over memory bandwidth. */
#include "common.cuh"

struct adamw_step {
    float gscale, decay, b1, one_b1, b2, one_b2, rate, root, eps; /* decay: lr * decay; rate: lr / (1 - b1^t); root: 1 / sqrt(1 - b2^t) */
};

template <int V> static __device__ inline void store_copy(uint16_t *copy, int64_t i, const floats<V> &w)
{
    if (!copy)
        return;
    if (V == 4)
        reinterpret_cast<uint2 *>(copy)[i] = make_uint2(bf16_pair(w.v[0], w.v[1 % V]), bf16_pair(w.v[2 % V], w.v[3 % V]));
    else
        copy[i] = static_cast<uint16_t>(bf16_pair(w.v[0], 0));
}

template <int V> static __global__ void adamw_kernel(float *pw, const float *pg, float *pm, float *pv, uint16_t *copy, adamw_step o, int64_t n)
{
    int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    floats<V> w = load<V>(pw, i), g = load<V>(pg, i), m = load<V>(pm, i), v = load<V>(pv, i);
    for (int k = 0; k < V; k++) {
        float x = g.v[k] * o.gscale;
        w.v[k] -= o.decay * w.v[k];
        m.v[k] = o.b1 * m.v[k] + o.one_b1 * x;
        v.v[k] = o.b2 * v.v[k] + o.one_b2 * x * x;
        w.v[k] -= o.rate * m.v[k] / (sqrtf(v.v[k]) * o.root + o.eps);
    }
    store<V>(pw, i, w);
    store<V>(pm, i, m);
    store<V>(pv, i, v);
    store_copy<V>(copy, i, w);
}

static int all_aligned(const sky_tensor *a, const sky_tensor *b, const sky_tensor *c, const sky_tensor *d)
{
    uintptr_t p = reinterpret_cast<uintptr_t>(a->data) | reinterpret_cast<uintptr_t>(b->data) | reinterpret_cast<uintptr_t>(c->data) | reinterpret_cast<uintptr_t>(d->data);
    return p % 16 == 0 && sky_numel(a) % 4 == 0;
}

static int adamw(sky_dev *d, sky_tensor *w, const sky_tensor *g, sky_tensor *m, sky_tensor *v, sky_tensor *copy, const sky_adamw *a, sky_err *e)
{
    double t = static_cast<double>(a->t);
    adamw_step o = {static_cast<float>(a->gscale), static_cast<float>(a->lr * a->decay), static_cast<float>(a->beta1), static_cast<float>(1 - a->beta1),
                    static_cast<float>(a->beta2), static_cast<float>(1 - a->beta2), static_cast<float>(a->lr / (1 - pow(a->beta1, t))),
                    static_cast<float>(1 / sqrt(1 - pow(a->beta2, t))), static_cast<float>(a->eps)};
    int64_t n = sky_numel(w);
    int wide = all_aligned(w, g, m, v) && reinterpret_cast<uintptr_t>(copy->data) % 8 == 0;
    auto k = wide ? adamw_kernel<4> : adamw_kernel<1>;
    n = wide ? n / 4 : n;
    SKY_LAUNCH(k, dim3(sky_blocks(n, 256)), dim3(256), 0, d->stream, f32_out(w), f32(g), f32_out(m), f32_out(v), static_cast<uint16_t *>(copy->data), o, n);
    return sky_cuda_launched("adamw", e);
}

template <int V> static __global__ void sgd_kernel(float *pw, const float *pg, float *pm, uint16_t *copy, float gscale, float decay, float momentum, float lr, int first, int64_t n)
{
    int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    floats<V> w = load<V>(pw, i), g = load<V>(pg, i), m = {};
    if (!first)
        m = load<V>(pm, i);
    for (int k = 0; k < V; k++) {
        float x = g.v[k] * gscale + decay * w.v[k];
        m.v[k] = first ? x : momentum * m.v[k] + x;
        w.v[k] -= lr * m.v[k];
    }
    store<V>(pw, i, w);
    store<V>(pm, i, m);
    store_copy<V>(copy, i, w);
}

static int sgd(sky_dev *d, sky_tensor *w, const sky_tensor *g, sky_tensor *m, sky_tensor *copy, const sky_sgd *a, sky_err *e)
{
    int64_t n = sky_numel(w);
    int wide = all_aligned(w, g, m, m) && reinterpret_cast<uintptr_t>(copy->data) % 8 == 0;
    auto k = wide ? sgd_kernel<4> : sgd_kernel<1>;
    n = wide ? n / 4 : n;
    SKY_LAUNCH(k, dim3(sky_blocks(n, 256)), dim3(256), 0, d->stream, f32_out(w), f32(g), f32_out(m), static_cast<uint16_t *>(copy->data), static_cast<float>(a->gscale),
               static_cast<float>(a->decay), static_cast<float>(a->momentum), static_cast<float>(a->lr), a->first, n);
    return sky_cuda_launched("sgd", e);
}

void sky_cuda_fill_optimizer(sky_backend *b)
{
    b->adamw = adamw;
    b->sgd = sgd;
}
