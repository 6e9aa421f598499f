/* cpuid.h -- which instruction set the CPU backend may use.
 *
 * Asked once, at the first call. SKY_CPU=portable|avx2|avx512|avx512bf16 in the environment lowers the level (for tests
 * and for comparing), it never raises it; another value is ignored here, and an error
 * of the tools by sky_cpu_level_check. */
#ifndef SKY_CPU_CPUID_H
#define SKY_CPU_CPUID_H

#include "base/err.h"

typedef enum {
    SKY_CPU_PORTABLE,
    SKY_CPU_AVX2,       /* AVX2 and FMA */
    SKY_CPU_AVX512,     /* F, BW, CD, DQ, VL: x86-64-v4 */
    SKY_CPU_AVX512BF16, /* and AVX512_BF16 */
    SKY_CPU_LEVELS
} sky_cpu_level;

sky_cpu_level sky_cpu_detect(void);  /* what the machine and the operating system offer; thread-safe */
sky_cpu_level sky_cpu_level_get(void);          /* the level in use */
void sky_cpu_level_set(sky_cpu_level level);    /* for tests: clipped to sky_cpu_detect(); not while work is running */
int sky_cpu_level_check(sky_err *e) SKY_MUST_USE; /* SKY_EUSAGE when SKY_CPU names no level */
const char *sky_cpu_level_name(sky_cpu_level level); /* "portable" "avx2" "avx512" "avx512bf16" */

#endif
