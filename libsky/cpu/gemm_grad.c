#include "cpu/gemm_grad.h"
#include "cpu/gemm_job.h"

/* A stretch of rows as the two operands of a product whose K is the rows: both lie with their columns next to each other. */
static void pack_a(const sky_mm *mm, void *dst, int64_t row, int rows, int64_t k0, int64_t kn)
{
    const sky_product_grad *g = mm->arg;
    mm->set->pack_columns(dst, mm->set->mr, g->a + k0 * g->n + row, g->n, rows, kn);
}

static void pack_b(const sky_mm *mm, void *dst, int64_t col, int cols, int64_t k0, int64_t kn)
{
    const sky_product_grad *g = mm->arg;
    mm->set->pack_columns(dst, mm->set->nr, g->b + k0 * g->k + col, g->k, cols, kn);
}

int sky_cpu_product_grad(sky_pool *pool, sky_scratch *scratch, const sky_product_grad *g, sky_err *e)
{
    sky_product_grad part = *g;
    int rc = SKY_OK;
    for (int64_t at = 0; !rc && (at < g->rows || at == 0); at += SKY_GRAD_ROWS) {
        int64_t rows = g->rows - at < SKY_GRAD_ROWS ? g->rows - at : SKY_GRAD_ROWS;
        part.a = g->a + at * g->n;
        part.b = g->b + at * g->k;
        sky_mm mm = {
            .set = sky_gemm_set_get(g->bf16 != 0),
            .m = g->n, .n = g->k, .k = rows, .taps = 1, .kblock = 2,
            .pack_a = pack_a, .pack_b = pack_b, .arg = &part,
            .out = {.act = SKY_ACT_NONE, .residual = g->add || at > 0 ? g->dw : NULL, .ldr = g->k, .y = g->dw, .ldy = g->k},
        };
        rc = sky_mm_run(pool, scratch, &mm, e);
    }
    return rc;
}
