/* attention.avx512.c -- 16 lanes. */
#if defined(__AVX512F__)
#define LANES 16
#define CHUNK 16
#define KERNELS sky_attn_avx512
#define FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define SET1(x) _mm512_set1_ps(x)
#define MAX(a, b) _mm512_max_ps(a, b)
#define SQRT(x) _mm512_sqrt_ps(x)
#include "cpu/attention_transpose.avx512.h"
#include "cpu/attention_impl.h"
#endif
