/* gemm_portable.c -- the kernel set for any CPU, and the packing that every set may fall back on. Plain C, correct, not
 * fast. */
#include "base/dtype.h"
#include "cpu/gemm_job.h"

#include <math.h>

enum { MR = 4, NR = 16 };

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static uint32_t unit_of(const float *p, int64_t k, int64_t n, int pair, int round)
{
    if (pair)
        return sky_f32_to_bf16(p[k]) | (k + 1 < n ? (uint32_t)sky_f32_to_bf16(p[k + 1]) << 16 : 0);
    return round ? (uint32_t)sky_f32_to_bf16(p[k]) << 16 : bits_of(p[k]);
}

void sky_gemm_pack_rows(void *dst, int mr, int pair, int round, const float *const *src, int rows, int64_t k)
{
    uint32_t *d = dst;
    for (int64_t i = 0; i < k; i += pair ? 2 : 1, d += mr)
        for (int r = 0; r < rows; r++)
            d[r] = unit_of(src[r], i, k, pair, round);
}

void sky_gemm_pack_columns(void *dst, int wide, int pair, int round, const float *src, int64_t ld, int cols, int64_t k)
{
    uint32_t *d = dst;
    for (int64_t i = 0; i < k; i += pair ? 2 : 1, src += (pair ? 2 : 1) * ld, d += wide) {
        for (int c = 0; c < cols; c++)
            if (pair)
                d[c] = sky_f32_to_bf16(src[c]) | (i + 1 < k ? (uint32_t)sky_f32_to_bf16(src[ld + c]) << 16 : 0);
            else
                d[c] = round ? (uint32_t)sky_f32_to_bf16(src[c]) << 16 : bits_of(src[c]);
        memset(d + cols, 0, (size_t)(wide - cols) * sizeof *d);
    }
}

static uint32_t weight_unit(const void *w, int bf16, int pair, int64_t at, int64_t next)
{
    const uint16_t *h = w;
    if (pair)
        return h[at] | (next >= 0 ? (uint32_t)h[next] << 16 : 0);
    return bf16 ? (uint32_t)h[at] << 16 : bits_of(((const float *)w)[at]);
}

void sky_gemm_pack_w(void *dst, int nr, int pair, int bf16, const void *w, int64_t col_step, int64_t k_step, int cols, int64_t k)
{
    uint32_t *d = dst;
    for (int64_t i = 0; i < k; i += pair ? 2 : 1, d += nr)
        for (int c = 0; c < nr; c++) {
            int64_t at = c * col_step + i * k_step;
            d[c] = c < cols ? weight_unit(w, bf16, pair, at, i + 1 < k ? at + k_step : -1) : 0;
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
static void rows_f32(void *d, const float *const *s, int rows, int64_t k) { sky_gemm_pack_rows(d, MR, 0, 0, s, rows, k); }
static void rows_bf16(void *d, const float *const *s, int rows, int64_t k) { sky_gemm_pack_rows(d, MR, 0, 1, s, rows, k); }
static void nk_f32(void *d, const void *w, int64_t ld, int cols, int64_t k) { sky_gemm_pack_w(d, NR, 0, 0, w, ld, 1, cols, k); }
static void nk_bf16(void *d, const void *w, int64_t ld, int cols, int64_t k) { sky_gemm_pack_w(d, NR, 0, 1, w, ld, 1, cols, k); }
static void kn_f32(void *d, const void *w, int64_t ld, int cols, int64_t k) { sky_gemm_pack_w(d, NR, 0, 0, w, 1, ld, cols, k); }
static void kn_bf16(void *d, const void *w, int64_t ld, int cols, int64_t k) { sky_gemm_pack_w(d, NR, 0, 1, w, 1, ld, cols, k); }
static void columns_f32(void *d, int wide, const float *s, int64_t ld, int cols, int64_t k) { sky_gemm_pack_columns(d, wide, 0, 0, s, ld, cols, k); }
static void columns_bf16(void *d, int wide, const float *s, int64_t ld, int cols, int64_t k) { sky_gemm_pack_columns(d, wide, 0, 1, s, ld, cols, k); }

const sky_gemm_set sky_gemm_portable[2] = {
    {MR, NR, 0, tile, finish, rows_f32, nk_f32, kn_f32, nk_f32, columns_f32},
    {MR, NR, 0, tile, finish, rows_bf16, nk_bf16, kn_bf16, nk_bf16, columns_bf16},
};
