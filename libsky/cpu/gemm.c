#include "cpu/gemm.h"
#include "cpu/gemm_job.h"

const sky_gemm_set *sky_gemm_set_get(int w_bf16)
{
#if defined(__x86_64__)
    switch (sky_cpu_level_get()) {
    case SKY_CPU_AVX512BF16:
        return w_bf16 ? &sky_gemm_avx512bf16 : &sky_gemm_avx512[0];
    case SKY_CPU_AVX512:
        return &sky_gemm_avx512[w_bf16];
    case SKY_CPU_AVX2:
        return &sky_gemm_avx2[w_bf16];
    default:
        break;
    }
#endif
    return &sky_gemm_portable[w_bf16];
}

static void pack_a(const sky_mm *mm, void *dst, int64_t row, int rows, int64_t k0, int64_t kn)
{
    const sky_gemm *g = mm->arg;
    const float *src[SKY_GEMM_MR];
    for (int i = 0; i < rows; i++)
        src[i] = g->a + (row + i) * g->lda + k0;
    mm->set->pack_rows(dst, src, rows, kn);
}

static void pack_b(const sky_mm *mm, void *dst, int64_t col, int cols, int64_t k0, int64_t kn)
{
    const sky_gemm *g = mm->arg;
    int64_t at = g->w_kn ? k0 * g->ldw + col : col * g->ldw + k0;
    const void *w = (const char *)g->w + at * (g->w_bf16 ? 2 : 4);
    (g->w_kn ? mm->set->pack_kn : mm->set->pack_nk)(dst, w, g->ldw, cols, kn);
}

int sky_cpu_gemm(sky_pool *pool, sky_scratch *scratch, const sky_gemm *g, sky_err *e)
{
    sky_mm mm = {
        .set = sky_gemm_set_get(g->w_bf16 != 0),
        .m = g->m, .n = g->n, .k = g->k, .taps = 1, .kblock = 2,
        .pack_a = pack_a, .pack_b = pack_b, .arg = g, .a = g->a, .lda = g->lda,
        .out = {.scale = g->scale, .shift = g->shift, .act = g->act, .residual = g->residual, .ldr = g->ldr, .y = g->y, .ldy = g->ldy},
    };
    return sky_mm_run(pool, scratch, &mm, e);
}
