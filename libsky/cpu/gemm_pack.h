/* gemm_pack.h -- packing in plain C for a kernel set of MR rows and NR columns that multiplies F32: BF16 weights are widened, the
 * other operand is rounded where the weights are BF16. A .c file defines MR and NR and includes this. */
#include "cpu/gemm_job.h"

static void rows_f32(void *d, const float *const *s, int rows, int64_t k) { sky_gemm_pack_rows(d, MR, 0, s, rows, k); }
static void rows_bf16(void *d, const float *const *s, int rows, int64_t k) { sky_gemm_pack_rows(d, MR, 1, s, rows, k); }
static void nk_f32(void *d, const void *w, int64_t ld, int cols, int64_t k) { sky_gemm_pack_w(d, NR, 0, w, ld, 1, cols, k); }
static void nk_bf16(void *d, const void *w, int64_t ld, int cols, int64_t k) { sky_gemm_pack_w(d, NR, 1, w, ld, 1, cols, k); }
static void kn_f32(void *d, const void *w, int64_t ld, int cols, int64_t k) { sky_gemm_pack_w(d, NR, 0, w, 1, ld, cols, k); }
static void kn_bf16(void *d, const void *w, int64_t ld, int cols, int64_t k) { sky_gemm_pack_w(d, NR, 1, w, 1, ld, cols, k); }
static void columns_f32(void *d, int wide, const float *s, int64_t ld, int cols, int64_t k) { sky_gemm_pack_columns(d, wide, 0, s, ld, cols, k); }
static void columns_bf16(void *d, int wide, const float *s, int64_t ld, int cols, int64_t k) { sky_gemm_pack_columns(d, wide, 1, s, ld, cols, k); }
