/* Matrix products for the emulation, in place of kernels/blas.cu: the definition in kernels/device.h, one element at a
 * time, sums in order of k in F32. */
#include "device.h"

int sky_cuda_blas_open(sky_cuda_blas **out, sky_err *) { return *out = NULL, SKY_OK; }
void sky_cuda_blas_close(sky_cuda_blas *) {}
const char *sky_cuda_blas_version(void) { return "emulated"; }

static float at(const void *p, int64_t i, int bf16)
{
    return bf16 ? __uint_as_float((uint32_t)((const uint16_t *)p)[i] << 16) : ((const float *)p)[i];
}

static void product(const sky_cuda_gemm *g)
{
    emu_open_memory();
    for (int64_t i = 0; i < g->m; i++)
        for (int64_t j = 0; j < g->n; j++) {
            float sum = 0;
            for (int64_t k = 0; k < g->k; k++)
                sum += at(g->a, g->ta ? k * g->lda + i : i * g->lda + k, g->bf16) * at(g->b, g->tb ? j * g->ldb + k : k * g->ldb + j, g->bf16);
            g->y[i * g->ldc + j] = sum + (g->bias ? g->bias[j] : 0) + (g->c ? g->c[i * g->ldc + j] : 0);
        }
    emu_close_memory();
}

int sky_cuda_product(sky_dev *d, const sky_cuda_gemm *g, const char *, sky_err *)
{
    sky_cuda_gemm now = *g;
    emu_check_pointer(g->a), emu_check_pointer(g->b), emu_check_pointer(g->y), emu_check_pointer(g->bias), emu_check_pointer(g->c);
    emu_queue(d->stream, [=] { product(&now); });
    return SKY_OK;
}
