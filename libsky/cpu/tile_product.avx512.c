#if defined(__x86_64__)
#include <immintrin.h>
#define NAME sky_tile_product_avx512
enum { LANES = 16, ROWS = 8 };
#define MULTIPLY_ADD(sum, a, b) ((vf)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(sum)))
#include "cpu/tile_product_impl.h"
#endif
