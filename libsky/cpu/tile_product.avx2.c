#if defined(__x86_64__)
#include <immintrin.h>
#define NAME sky_tile_product_avx2
enum { LANES = 8, ROWS = 5 };
#define MULTIPLY_ADD(sum, a, b) ((vf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(sum)))
#include "cpu/tile_product_impl.h"
#endif
