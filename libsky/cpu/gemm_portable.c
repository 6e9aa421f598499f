/* gemm_portable.c -- the kernel set for any CPU, and the packing of sets that multiply F32 and have none of their own. Plain
 * C, correct, not fast. */
#include "base/dtype.h"
#include "cpu/gemm_job.h"

#include <math.h>

enum { MR = 4, NR = 16 };
#include "cpu/gemm_pack.h"

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static uint32_t unit_of(float f, int round) { return round ? (uint32_t)sky_f32_to_bf16(f) << 16 : bits_of(f); }

void sky_gemm_pack_rows(void *dst, int mr, int round, const float *const *src, int rows, int64_t k)
{
    uint32_t *d = dst;
    for (int64_t i = 0; i < k; i++, d += mr)
        for (int r = 0; r < rows; r++)
            d[r] = unit_of(src[r][i], round);
}

void sky_gemm_pack_columns(void *dst, int wide, int round, const float *src, int64_t ld, int cols, int64_t k)
{
    uint32_t *d = dst;
    for (int64_t i = 0; i < k; i++, src += ld, d += wide) {
        for (int c = 0; c < cols; c++)
            d[c] = unit_of(src[c], round);
        memset(d + cols, 0, (size_t)(wide - cols) * sizeof *d);
    }
}

void sky_gemm_pack_w(void *dst, int nr, int bf16, const void *w, int64_t col_step, int64_t k_step, int cols, int64_t k)
{
    uint32_t *d = dst;
    for (int64_t i = 0; i < k; i++, d += nr)
        for (int c = 0; c < nr; c++) {
            int64_t at = c * col_step + i * k_step;
            d[c] = c >= cols ? 0 : bf16 ? (uint32_t)((const uint16_t *)w)[at] << 16 : bits_of(((const float *)w)[at]);
        }
}

float sky_gemm_act(float v, sky_act act)
{
    switch (act) {
    case SKY_ACT_RELU:
        return v < 0 ? 0 : v; /* NaN stays */
    case SKY_ACT_LEAKY:
        return v < 0 ? 0.01f * v : v;
    case SKY_ACT_GELU:
        return v < -10 ? 0 : 0.5f * v * erfcf(v * -0.70710678118654752f);
    default:
        return v;
    }
}

void sky_gemm_finish(const float *c, int nr, const sky_gemm_out *o)
{
    for (int64_t i = 0; i < o->rows; i++)
        for (int j = 0; j < o->cols; j++) {
            float v = c[i * nr + j];
            v = (o->scale ? o->scale[j] * v : v) + (o->shift ? o->shift[j] : 0);
            v = sky_gemm_act(v, o->act);
            o->y[i * o->ldy + j] = o->residual ? v + o->residual[i * o->ldr + j] : v;
        }
}

static void tile(int rows, int64_t units, const void *a, const void *b, float *c, int load)
{
    const float *pa = a, *pb = b;
    for (int r = 0; r < rows; r++) {
        float s[NR];
        for (int j = 0; j < NR; j++)
            s[j] = load ? c[r * NR + j] : 0;
        for (int64_t u = 0; u < units; u++)
            for (int j = 0; j < NR; j++)
                s[j] += pa[u * MR + r] * pb[u * NR + j];
        memcpy(c + r * NR, s, sizeof s);
    }
}

static void finish(const float *c, const sky_gemm_out *o) { sky_gemm_finish(c, NR, o); }

const sky_gemm_set sky_gemm_portable[2] = {
    {MR, NR, 0, tile, finish, rows_f32, nk_f32, kn_f32, nk_f32, columns_f32},
    {MR, NR, 0, tile, finish, rows_bf16, nk_bf16, kn_bf16, nk_bf16, columns_bf16},
};
