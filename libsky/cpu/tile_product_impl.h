/* tile_product_impl.h -- the body of tile_product.h, compiled once per instruction set: ROWS x COLUMNS sums in registers,
 * `vf` of LANES floats, MULTIPLY_ADD(sum, a, b). NAME is the function. */
#include "cpu/tile_product.h"

#include <string.h>

#define UNROLL _Pragma("GCC unroll 8") /* sums stay in registers */

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef float vf_any __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static inline __attribute__((always_inline)) vf load_some(const float *p, int n)
{
    if (n >= LANES)
        return *(const vf_any *)p;
    vf v = {0};
    memcpy(&v, p, (size_t)n * sizeof *p);
    return v;
}

static inline __attribute__((always_inline)) void store_some(float *p, vf v, int n)
{
    if (n >= LANES)
        *(vf_any *)p = v;
    else
        memcpy(p, &v, (size_t)n * sizeof *p);
}

/* rows x 2 vectors of columns, the second of `more` columns (0: none), the first of `some`. */
static inline __attribute__((always_inline)) void block(const sky_tile_product *t, int m0, int n0, int rows, int some, int more)
{
    vf sum[ROWS][2];
    const float *a = t->a + m0 * t->row;
    float *c = t->c + m0 * t->ldc + n0;
    UNROLL
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < 2; j++)
            sum[i][j] = t->add && (!j || more) ? load_some(c + i * t->ldc + j * LANES, j ? more : some) : (vf){0};
    for (int k = 0; k < t->k; k++) {
        const float *b = t->b + k * t->ldb + n0;
        vf b0 = load_some(b, some), b1 = more ? load_some(b + LANES, more) : b0;
        UNROLL
        for (int i = 0; i < rows; i++) {
            vf v = (vf){0} + a[i * t->row + k * t->col];
            sum[i][0] = MULTIPLY_ADD(sum[i][0], v, b0);
            if (more)
                sum[i][1] = MULTIPLY_ADD(sum[i][1], v, b1);
        }
    }
    UNROLL
    for (int i = 0; i < rows; i++) {
        store_some(c + i * t->ldc, sum[i][0], some);
        if (more)
            store_some(c + i * t->ldc + LANES, sum[i][1], more);
    }
}

/* Whole vectors and a whole number of rows get code of their own, everything else goes row by row. */
static void columns(const sky_tile_product *t, int n0, int some, int more)
{
    int m = 0;
    for (; m + ROWS <= t->m; m += ROWS) {
        if (some == LANES && more == LANES)
            block(t, m, n0, ROWS, LANES, LANES);
        else if (some == LANES && !more)
            block(t, m, n0, ROWS, LANES, 0);
        else
            block(t, m, n0, ROWS, some, more);
    }
    for (; m < t->m; m++)
        block(t, m, n0, 1, some, more);
}

void NAME(const sky_tile_product *t)
{
    for (int n = 0; n < t->n; n += 2 * LANES) {
        int left = t->n - n, some = left < LANES ? left : LANES;
        columns(t, n, some, left - some < LANES ? left - some : LANES);
    }
}
