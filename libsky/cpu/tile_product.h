/* tile_product.h -- small products whose operands lie in the first caches, for the gradients of attention.
 *
 * c[m,n] (+)= sum over k of a(m,k) * b[k,n], a(m,k) = a[m*row + k*col], so that a may be read as it lies or transposed;
 * rows of b and c are ldb and ldc apart. F32; every element is one chain of additions in the order of k. c overlaps
 * neither. The AVX-512 and AVX2 sets use fused multiply-adds, the portable one does not. */
#ifndef SKY_CPU_TILE_PRODUCT_H
#define SKY_CPU_TILE_PRODUCT_H

#include <stdint.h>

typedef struct {
    const float *a;
    int64_t row, col;
    const float *b;
    int64_t ldb;
    float *c;
    int64_t ldc;
    int m, n, k, add;
} sky_tile_product;

typedef void sky_tile_product_fn(const sky_tile_product *t);
extern sky_tile_product_fn sky_tile_product_portable, sky_tile_product_avx2, sky_tile_product_avx512;
sky_tile_product_fn *sky_tile_product_get(void); /* of the level in use (cpu/cpuid.h) */

#endif
