/* common.cuh -- what kernels of several files use: one thread per element, sums within a warp and a block, activations. */
#ifndef SKY_KERNELS_COMMON_CUH
#define SKY_KERNELS_COMMON_CUH

#include "device.h"

/* f(i) for i in 0..n-1, a thread each. */
template <class F> static __global__ void each_kernel(int64_t n, F f)
{
    int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < n)
        f(i);
}
template <class F> static int each(sky_dev *d, int64_t n, const char *op, sky_err *e, F f)
{
    auto k = each_kernel<F>;
    SKY_LAUNCH(k, dim3(sky_blocks(n, 256)), dim3(256), 0, d->stream, n, f);
    return sky_cuda_launched(op, e);
}

/* i / n and i % n, by 32-bit arithmetic where it will do: 64-bit division is some twenty times slower. */
static __device__ inline int64_t quotient(int64_t i, int64_t n)
{
    return (i | n) >> 32 ? i / n : static_cast<int64_t>(static_cast<uint32_t>(i) / static_cast<uint32_t>(n));
}
static __device__ inline int64_t divide(int64_t *i, int64_t n) /* returns i % n, leaves i / n */
{
    int64_t q = quotient(*i, n), r = *i - q * n;
    *i = q;
    return r;
}

/* V floats moved by one instruction. */
template <int V> struct __align__(4 * V) floats {
    float v[V];
};
template <int V> static __device__ inline floats<V> load(const float *p, int64_t i) { return reinterpret_cast<const floats<V> *>(p)[i]; }
template <int V> static __device__ inline void store(float *p, int64_t i, const floats<V> &x) { reinterpret_cast<floats<V> *>(p)[i] = x; }

/* A gradient: written, or added to what is there. */
static __device__ inline void give(float *p, float v, int add) { *p = add ? *p + v : v; }
static __device__ inline void give_pair(float *p, float v, float w, int add) /* p: aligned to both */
{
    float2 *to = reinterpret_cast<float2 *>(p), old = add ? *to : make_float2(0.0f, 0.0f);
    *to = make_float2(old.x + v, old.y + w);
}

/* Element i, a byte v (0: not one), fails a check. */
static __device__ inline void fails(unsigned long long *bad, int64_t i, uint8_t v) { atomicMin(bad, static_cast<unsigned long long>(i) << 8 | v); }

/* Sums over 2^k neighbouring lanes; every lane gets the same bits, whatever its place, as both halves add the same two
 * numbers in every step. */
template <class T> static __device__ inline T lanes_sum(T v, int lanes = 32)
{
    for (int by = lanes / 2; by; by /= 2)
        v += __shfl_xor_sync(~0u, v, by);
    return v;
}
static __device__ inline float lanes_max(float v, int lanes = 32)
{
    for (int by = lanes / 2; by; by /= 2) {
        float o = __shfl_xor_sync(~0u, v, by);
        v = o > v || !(v == v) ? o : v;
    }
    return v;
}
/* Sum over the block's threads (a multiple of 32, at most 1024), known to all of them. */
template <class T> static __device__ inline T block_sum(T v)
{
    __shared__ T part[32];
    int warp = threadIdx.x / 32, warps = blockDim.x / 32;
    v = lanes_sum(v);
    __syncthreads(); /* the last sum has been read */
    if (threadIdx.x % 32 == 0)
        part[warp] = v;
    __syncthreads();
    T sum = 0;
    for (int i = 0; i < warps; i++)
        sum += part[i];
    return sum;
}

static __device__ inline float activated(float v, sky_act act)
{
    switch (act) {
    case SKY_ACT_RELU: return v < 0 ? 0.0f : v; /* keeps NaN */
    case SKY_ACT_LEAKY: return v < 0 ? 0.01f * v : v;
    case SKY_ACT_GELU: return 0.5f * v * (1.0f + erff(v * 0.70710678118654752f));
    default: return v;
    }
}
/* Its derivative; ref: the result for RELU and LEAKY, the input for GELU. */
static __device__ inline float slope(float ref, sky_act act)
{
    switch (act) {
    case SKY_ACT_RELU: return ref > 0 ? 1.0f : 0.0f;
    case SKY_ACT_LEAKY: return ref > 0 ? 1.0f : 0.01f;
    case SKY_ACT_GELU: return 0.5f * (1.0f + erff(ref * 0.70710678118654752f)) + ref * 0.39894228040143268f * expf(-0.5f * ref * ref);
    default: return 1.0f;
    }
}

#endif
