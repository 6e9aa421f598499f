/* attention.avx2.c -- 8 lanes. */
#if defined(__AVX2__)
#include <immintrin.h>
#define LANES 8
#define CHUNK 8
#define KERNELS sky_attn_avx2
#define FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define SET1(x) _mm256_set1_ps(x)
#define MAX(a, b) _mm256_max_ps(a, b)
#define SQRT(x) _mm256_sqrt_ps(x)
#include "cpu/attention_impl.h"
#endif
