/* cuda_emu.h -- enough of CUDA to run the kernels of kernels/ on the CPU, so that their indexing, their launches and
 * their synchronisation are tested where there is no GPU. Included by kernels/machine.cuh instead of the real headers.
 *
 * Blocks run one after the other. The threads of a block are fibers: each runs until it must wait (block barrier, or an
 * exchange within its warp), then the next one of its warp runs; a warp goes on until all its threads wait for the block.
 * Because it runs far ahead of its neighbours, a missing barrier gives wrong numbers; running threads, warps and blocks in
 * descending order too (emu_order), with asynchronous copies that land at once instead of as late as possible, catches
 * those where the ascending order happens to be right. Stricter than the machine: a thread that ends while others wait for
 * it, lanes of a warp that wait in different operations, a pointer argument that is not device memory, and host code that
 * touches device memory end the program. An error of the runtime is also that of the next cudaGetLastError, as on the
 * machine. It says nothing about speed, or about memory ordering without a barrier. Multiply-adds are fused where the host's
 * compiler sees fit, which need not be where the device's does.
 *
 * Streams do their work at once, or, with their bit in emu_lazy, as late as possible: when the host or another stream
 * waits for it. A missing wait then reads what was there before, and memory used again too early loses what it held, if
 * one of the two streams is late and the other is not. That holds for copies of any host memory: where it is not
 * page-locked the call may wait, says the manual, and need not. A graph is the list of what was queued during the capture with
 * its arguments, as on the machine. */
#ifndef SKY_TESTS_CUDA_EMU_H
#define SKY_TESTS_CUDA_EMU_H

#include <functional>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __restrict__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(8) uint2 { uint32_t x, y; };
struct alignas(16) uint4 { uint32_t x, y, z, w; };
static inline float4 make_float4(float x, float y, float z, float w) { return float4{x, y, z, w}; }
static inline float2 make_float2(float x, float y) { return float2{x, y}; }
static inline uint2 make_uint2(uint32_t x, uint32_t y) { return uint2{x, y}; }
extern dim3 threadIdx, blockIdx, blockDim, gridDim; /* of the fiber that runs */
constexpr int warpSize = 32;

/* ---- runtime */
enum cudaError_t { cudaSuccess = 0, cudaErrorMemoryAllocation = 2, cudaErrorInvalidValue = 1, cudaErrorStreamCaptureUnsupported = 900, cudaErrorStreamCaptureInvalidated = 901 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum { cudaFuncAttributeMaxDynamicSharedMemorySize = 8, cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2 };
enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal, cudaStreamCaptureModeRelaxed };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount, cudaDevAttrComputeCapabilityMajor, cudaDevAttrMaxSharedMemoryPerBlockOptin };
typedef struct emu_stream *cudaStream_t;
typedef struct emu_event *cudaEvent_t;
typedef struct emu_graph *cudaGraph_t, *cudaGraphExec_t;
cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaSetDevice(int i);
cudaError_t cudaDeviceGetAttribute(int *v, cudaDeviceAttr a, int device);
cudaError_t cudaMalloc(void **p, size_t bytes);
cudaError_t cudaFree(void *p);
cudaError_t cudaMallocHost(void **p, size_t bytes);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaMemGetInfo(size_t *available, size_t *total);
cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind, cudaStream_t s);
cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t s);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t e);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s);
cudaError_t cudaEventSynchronize(cudaEvent_t e);
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags);
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *x, cudaGraph_t g, unsigned long long flags);
cudaError_t cudaGraphDestroy(cudaGraph_t g);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t x);
cudaError_t cudaGraphLaunch(cudaGraphExec_t x, cudaStream_t s);
cudaError_t cudaGetLastError(void);
cudaError_t cudaDriverGetVersion(int *v);
cudaError_t cudaRuntimeGetVersion(int *v);
const char *cudaGetErrorString(cudaError_t e);
cudaError_t emu_allow_shared(const void *kernel, int bytes);
template <class K> cudaError_t cudaFuncSetAttribute(K kernel, int, int bytes) { return emu_allow_shared(reinterpret_cast<const void *>(kernel), bytes); }

/* ---- launches */
extern int emu_order; /* 0: threads and blocks ascending; 1: descending */
extern unsigned emu_lazy; /* bit n: the n-th stream of the device is late; EMU_LAZY in the environment counts instead */
extern int emu_refuse_graphs; /* 1: no graph can be made */
void emu_queue(cudaStream_t s, std::function<void()> f); /* NULL: now, after everything */
void emu_drain_all(void);
int emu_capturing(cudaStream_t s);
cudaError_t emu_not_in_capture(void); /* an error, which ends every capture, while there is one */
cudaError_t emu_said(cudaError_t rc);   /* rc; an error is the last one then */
void emu_open_memory(void);  /* device memory may be touched ... */
void emu_close_memory(void); /* ... until here */
void emu_check_pointer(const void *p);
void emu_check_range(const void *p, size_t n); /* that lie in one allocation */
void emu_check_shared(const void *kernel, size_t bytes);
void emu_run(dim3 grid, dim3 block, size_t shared, const std::function<void()> &body);
void *emu_dynamic_shared(void);

template <class T> void emu_check_argument(const T &v)
{
    if constexpr (std::is_pointer_v<T>)
        emu_check_pointer(v);
}
template <class K, class... A> void emu_launch(K kernel, dim3 grid, dim3 block, size_t shared, cudaStream_t s, A... a)
{
    (emu_check_argument(a), ...);
    emu_check_shared(reinterpret_cast<const void *>(kernel), shared);
    emu_queue(s, [=] { emu_run(grid, block, shared, [=] { kernel(a...); }); });
}
#define SKY_LAUNCH(kernel, grid, block, shared, stream, ...) emu_launch(kernel, grid, block, shared, stream, __VA_ARGS__)
#define SKY_DYNAMIC_SHARED(T, name) T *name = static_cast<T *>(emu_dynamic_shared())

/* ---- within a block */
void __syncthreads(void);
/* Give `bytes` to the warp, wait for all its lanes, return what lane `from` gave. kind: which operation this is. */
enum { EMU_SHUFFLE, EMU_SYNC, EMU_MMA, EMU_MATRICES };
const void *emu_exchange(int kind, const void *give, size_t bytes, int from);
const void *emu_given(int lane); /* after an exchange, until the next: what another lane gave */
int emu_lane(void);
static inline void __syncwarp(unsigned = ~0u) { emu_exchange(EMU_SYNC, "", 1, 0); }
template <class T> T __shfl_sync(unsigned, T v, int from, int width = 32)
{
    T r;
    memcpy(&r, emu_exchange(EMU_SHUFFLE, &v, sizeof v, emu_lane() / width * width + from % width), sizeof r);
    return r;
}
template <class T> T __shfl_xor_sync(unsigned m, T v, int mask, int = 32) { return __shfl_sync(m, v, emu_lane() ^ mask); }
template <class T> T __shfl_down_sync(unsigned m, T v, int by, int = 32) { return __shfl_sync(m, v, emu_lane() + by < 32 ? emu_lane() + by : emu_lane()); }
/* One fiber runs at a time. */
static inline unsigned long long atomicMin(unsigned long long *p, unsigned long long v)
{
    unsigned long long old = *p;
    *p = v < old ? v : old;
    return old;
}
static inline int atomicMax(int *p, int v)
{
    int old = *p;
    *p = v > old ? v : old;
    return old;
}

static inline float __uint_as_float(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}
/* Not fused with what comes next. */
static inline float __fmul_rn(float a, float b)
{
    volatile float product = a * b;
    return product;
}
static inline uint32_t __umulhi(uint32_t a, uint32_t b) { return (uint32_t)((uint64_t)a * b >> 32); }

static inline uint32_t emu_bf16(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    if ((u & 0x7fffffff) > 0x7f800000)
        return u >> 16 | 0x40;
    return (u + 0x7fff + (u >> 16 & 1)) >> 16;
}
static inline uint32_t bf16_pair(float low, float high) { return emu_bf16(low) | emu_bf16(high) << 16; }

/* As the comments in kernels/machine.cuh say; copies happen at the wait and not before. */
void mma_bf16(float c[4], const uint32_t a[4], const uint32_t b[2]);
void emu_load_matrices(uint32_t r[4], const uint16_t *row, bool turned);
template <bool TURNED> void load_matrices(uint32_t r[4], const uint16_t *row) { emu_load_matrices(r, row, TURNED); }
void async_copy16(void *shared, const void *global);
void async_commit(void);
void emu_async_wait(unsigned left);
template <int N> void async_wait() { emu_async_wait(N); }
static inline float exp2_fast(float x) { return exp2f(x); }

#endif
