/* machine.cuh -- the few things that the kernels need from the machine and that the emulation of tests/emulate gives in
 * another way: launches, dynamic shared memory, tensor-core products, BF16 conversion. Everything else in kernels/ is
 * plain C++, compiled unchanged for both.
 *
 * BF16 values are uint16_t in memory; a pair in a register is a uint32_t, the lower index in the low half. */
#ifndef SKY_KERNELS_MACHINE_CUH
#define SKY_KERNELS_MACHINE_CUH

#include <stdint.h>

#ifdef SKY_EMULATE
#include "emulate/cuda_emu.h"
#else
#include <cuda_bf16.h>
#include <cuda_runtime.h>

/* kernel: a name or a variable that holds one (template arguments have commas). */
#define SKY_LAUNCH(kernel, grid, block, shared, stream, ...) kernel<<<grid, block, shared, stream>>>(__VA_ARGS__)
/* T *name: the block's dynamic shared memory, 16-byte aligned. */
#define SKY_DYNAMIC_SHARED(T, name)                           \
    extern __shared__ __align__(16) char sky_dynamic_shared[]; \
    T *name = reinterpret_cast<T *>(sky_dynamic_shared)

/* Rounded to nearest even. */
static __device__ inline uint32_t bf16_pair(float low, float high)
{
    __nv_bfloat162 v = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t *>(&v);
}

/* volatile: all lanes of the warp must come here, so it may not move into a branch that only some of them take.
 * c[16x8] += a[16x16] b[16x8], BF16 products, F32 sums. Lane l holds, with g = l / 4 and t = 2 * (l % 4):
 * a[0] row g, columns t, t+1; a[1] row g+8; a[2], a[3] the same at columns t+8, t+9;
 * b[0] rows t, t+1 of column g; b[1] rows t+8, t+9;  c[0], c[1] row g, columns t, t+1; c[2], c[3] row g+8. */
static __device__ inline void mma_bf16(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* Four 8x8 matrices of BF16 from shared memory; lane l names row l % 8 of matrix l / 8: 16 bytes, aligned. r[m]: columns t, t+1
 * of row g of matrix m, or, turned, rows t, t+1 of column g (g and t as above). */
template <bool TURNED> static __device__ inline void load_matrices(uint32_t r[4], const uint16_t *row)
{
    uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    if constexpr (TURNED)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}

/* 2^x, within 2^-22 relative; small results become 0. */
static __device__ inline float exp2_fast(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* 16 bytes from device to shared memory, past the registers; a commit closes a group of copies, async_wait<N> waits for
 * all groups of this thread but the last N. Other threads see them after a barrier. */
static __device__ inline void async_copy16(void *shared, const void *global)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(static_cast<uint32_t>(__cvta_generic_to_shared(shared))), "l"(global) : "memory");
}
static __device__ inline void async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> static __device__ inline void async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }
#endif

#endif
