/* gemm_job.h -- inside of the matrix product: what a kernel set offers and what the driver is asked to do.
 *
 * Operands are packed in 32-bit units along k: a unit is one F32, or, in a set that multiplies BF16 pairs, two
 * neighbouring BF16 (low half first). A panel of A holds `mr` rows as [units][mr], a panel of W `nr` columns as
 * [units][nr]. A tile is one panel times one panel. */
#ifndef SKY_CPU_GEMM_JOB_H
#define SKY_CPU_GEMM_JOB_H

#include "cpu/cpuid.h"
#include "cpu/gemm.h"

#define SKY_GEMM_MR 14 /* largest mr and nr of any set */
#define SKY_GEMM_NR 32
#define SKY_GEMM_SLACK 64 /* bytes a packing routine may write past the end of a panel of A */

typedef struct {
    int rows, cols;             /* of the tile that counts; the strip has nr columns */
    const float *scale, *shift; /* at the tile's first column, or NULL */
    sky_act act;
    const float *residual;      /* at the tile's first element, or NULL */
    int64_t ldr, ldy;
    float *y;
    int stream;                 /* y is larger than the caches: write past them. The driver puts a fence behind */
} sky_gemm_out;

typedef struct {
    int mr, nr;
    int pair; /* units are BF16 pairs */
    /* c[rows][nr] = (load ? c : 0) + a * b over `units` units; 1 <= rows <= mr. */
    void (*tile)(int rows, int64_t units, const void *a, const void *b, float *c, int load);
    /* y = act(scale*c + shift) + residual */
    void (*finish)(const float *c, const sky_gemm_out *o);
    /* k floats of each of `rows` rows -> [units][mr]; slots of missing rows hold anything. */
    void (*pack_rows)(void *dst, const float *const *src, int rows, int64_t k);
    /* k elements of `cols` columns -> [units][nr], missing columns and a missing half of the last pair are 0.
     * nk: w[col*ld + k], kn: w[k*ld + col]. */
    void (*pack_nk)(void *dst, const void *w, int64_t ld, int cols, int64_t k);
    void (*pack_kn)(void *dst, const void *w, int64_t ld, int cols, int64_t k);
    /* As pack_nk, one element per unit whatever the set multiplies: BF16 in the high half. */
    void (*pack_single)(void *dst, const void *w, int64_t ld, int cols, int64_t k);
    /* F32 src[k*ld + col] -> [units][wide], rounded where the set multiplies BF16: an operand of a gradient, mr or nr wide.
     * Missing columns of a panel nr wide and a missing half of the last pair are 0. */
    void (*pack_columns)(void *dst, int wide, const float *src, int64_t ld, int cols, int64_t k);
} sky_gemm_set;

const sky_gemm_set *sky_gemm_set_get(int w_bf16); /* of the level in use */
extern const sky_gemm_set sky_gemm_portable[2];   /* [w_bf16] */
#if defined(__x86_64__)
extern const sky_gemm_set sky_gemm_avx2[2], sky_gemm_avx512[2], sky_gemm_avx512bf16;
void sky_gemm_finish_avx512(const float *c, const sky_gemm_out *o);
#endif

typedef struct sky_mm sky_mm;
struct sky_mm {
    const sky_gemm_set *set;
    int64_t m, n;
    int64_t k;      /* elements along k per tap */
    int taps;       /* units of a range of kn elements: taps * ceil(kn / (pair ? 2 : 1)) */
    int64_t kblock; /* ranges start at multiples of this (even) */
    /* Panels of rows row.., columns col.., elements k0..k0+kn of every tap. */
    void (*pack_a)(const sky_mm *mm, void *dst, int64_t row, int rows, int64_t k0, int64_t kn);
    void (*pack_b)(const sky_mm *mm, void *dst, int64_t col, int cols, int64_t k0, int64_t kn);
    const void *arg; /* of the packing routines */
    const float *a;  /* where A lies when its rows are plain, for fetching ahead; NULL: do not */
    int64_t lda;
    sky_gemm_out out; /* rows and cols unused; pointers at element 0 */
};

int sky_mm_run(sky_pool *pool, sky_scratch *scratch, const sky_mm *mm, sky_err *e) SKY_MUST_USE;

/* Packing one F32 to a unit, used where a set has nothing faster (cpu/gemm_pack.h). round: to BF16 first. */
void sky_gemm_pack_rows(void *dst, int mr, int round, const float *const *src, int rows, int64_t k);
void sky_gemm_pack_columns(void *dst, int wide, int round, const float *src, int64_t ld, int cols, int64_t k);
void sky_gemm_pack_w(void *dst, int nr, int bf16, const void *w, int64_t col_step, int64_t k_step, int cols, int64_t k);
float sky_gemm_act(float v, sky_act act);
void sky_gemm_finish(const float *c, int nr, const sky_gemm_out *o);

#endif
