/* attention_levels.c -- which set of inner loops this CPU gets. */
#include "cpu/attention_kernels.h"
#include "cpu/cpuid.h"

const sky_attn_kernels *sky_attn_kernels_get(int bf16)
{
#if defined(__x86_64__)
    const sky_cpu_level level = sky_cpu_level_get();
    /* BF16 without VBMI (Cooper Lake) has no fast byte shuffle for the exponential. */
    if (level >= SKY_CPU_AVX512BF16 && bf16 && __builtin_cpu_supports("avx512vbmi"))
        return &sky_attn_bf16;
    if (level >= SKY_CPU_AVX512)
        return &sky_attn_avx512;
    if (level >= SKY_CPU_AVX2)
        return &sky_attn_avx2;
#else
    (void)bf16;
#endif
    return &sky_attn_portable;
}
