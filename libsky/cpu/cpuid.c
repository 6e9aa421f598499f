#include "cpu/cpuid.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[SKY_CPU_LEVELS] = {"portable", "avx2", "avx512", "avx512bf16"};

#if defined(__x86_64__)
#include <cpuid.h>

static unsigned xcr0(void)
{
    unsigned lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return lo;
}

sky_cpu_level sky_cpu_detect(void)
{
    unsigned a, b, c, d, a7, b7, c7, d7;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_AVX) || !(c & bit_FMA))
        return SKY_CPU_PORTABLE;
    unsigned saved = xcr0(); /* register state the operating system keeps: 6 = xmm, ymm; e0 = k, zmm */
    if ((saved & 6) != 6 || !__get_cpuid_count(7, 0, &a7, &b7, &c7, &d7) || !(b7 & bit_AVX2))
        return SKY_CPU_PORTABLE;
    const unsigned v4 = bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ | bit_AVX512VL;
    if ((saved & 0xe0) != 0xe0 || (b7 & v4) != v4)
        return SKY_CPU_AVX2;
    if (a7 < 1 || !__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & 1u << 5 /* AVX512_BF16 */))
        return SKY_CPU_AVX512;
    return SKY_CPU_AVX512BF16;
}
#else
sky_cpu_level sky_cpu_detect(void) { return SKY_CPU_PORTABLE; }
#endif

static _Atomic int in_use = -1;

void sky_cpu_level_set(sky_cpu_level level)
{
    sky_cpu_level top = sky_cpu_detect();
    atomic_store(&in_use, (int)(level < top ? level : top));
}

sky_cpu_level sky_cpu_level_get(void)
{
    int now = atomic_load(&in_use);
    if (now >= 0)
        return (sky_cpu_level)now;
    sky_cpu_level want = SKY_CPU_LEVELS;
    const char *env = getenv("SKY_CPU");
    for (int i = 0; env && i < SKY_CPU_LEVELS; i++)
        if (!strcmp(env, names[i]))
            want = (sky_cpu_level)i;
    sky_cpu_level_set(want);
    return (sky_cpu_level)atomic_load(&in_use);
}

int sky_cpu_level_check(sky_err *e)
{
    const char *env = getenv("SKY_CPU");
    int i = 0;
    while (env && *env && i < SKY_CPU_LEVELS && strcmp(env, names[i]))
        i++;
    return i < SKY_CPU_LEVELS ? SKY_OK : sky_fail(e, SKY_EUSAGE, "SKY_CPU: '%s' is not portable, avx2, avx512 or avx512bf16", env);
}

const char *sky_cpu_level_name(sky_cpu_level level) { return level < SKY_CPU_LEVELS ? names[level] : "unknown"; }
