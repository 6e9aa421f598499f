/* The portable set, and which one is used. */
#include "cpu/cpuid.h"
#define NAME sky_tile_product_portable
enum { LANES = 4, ROWS = 2 };
#define MULTIPLY_ADD(sum, a, b) ((sum) + (a) * (b))
#include "cpu/tile_product_impl.h"

sky_tile_product_fn *sky_tile_product_get(void)
{
#if defined(__x86_64__)
    if (sky_cpu_level_get() >= SKY_CPU_AVX512)
        return sky_tile_product_avx512;
    if (sky_cpu_level_get() >= SKY_CPU_AVX2)
        return sky_tile_product_avx2;
#endif
    return sky_tile_product_portable;
}
