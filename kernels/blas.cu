/* blas.cu -- matrix products through cuBLASLt, opened at run time.
 *
 * cuBLASLt sees column-major matrices; the row-major y[M,N] = a b is its y^T[N,M] = b^T a^T, so b is its first operand.
 * Bias and ReLU are its epilogue, a residual is its C matrix. Its GELU is the tanh form, not the exact one the model
 * has, so GELU is a pass of our own (sky_cuda_finish). F32 operands: CUBLAS_COMPUTE_32F, which never uses TF32.
 * The algorithm is its first suggestion for the shape and a workspace of fixed size, asked once per shape and kept: the
 * same shape always runs the same algorithm. An algorithm may need its operands aligned, and cuBLASLt takes 256 bytes for
 * granted unless told: so how they lie is part of a shape. Only algorithms without atomic reduction schemes are allowed. */
#include "device.h"

#ifdef SKY_EMULATE
#include "emulate/blas_emu.h"
#define LIBRARIES {NULL} /* the program itself */
enum { WORKSPACE = 4096 };
#else
#include <cublasLt.h>
#define LIBRARIES {"libcublasLt.so." SKY_CUDA_MAJOR, "libcublasLt.so"}
enum { WORKSPACE = 32 << 20 };
#endif
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

enum { SHAPES = 512 };

#define FUNCTIONS(X)                                                                                                   \
    X(cublasLtCreate) X(cublasLtDestroy) X(cublasLtMatmul) X(cublasLtMatmulDescCreate) X(cublasLtMatmulDescDestroy)     \
    X(cublasLtMatmulDescSetAttribute) X(cublasLtMatrixLayoutCreate) X(cublasLtMatrixLayoutDestroy)                      \
    X(cublasLtMatmulPreferenceCreate) X(cublasLtMatmulPreferenceDestroy) X(cublasLtMatmulPreferenceSetAttribute)        \
    X(cublasLtMatmulAlgoGetHeuristic) X(cublasLtGetVersion) X(cublasLtGetStatusString)

static struct {
    void *library;
    char why[200];
#define POINTER(f) decltype(&::f) f;
    FUNCTIONS(POINTER)
#undef POINTER
} lt;

static int load(void)
{
    static const char *const names[] = LIBRARIES;
    for (size_t i = 0; i < sizeof names / sizeof *names && !lt.library; i++)
        lt.library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!lt.library) {
        snprintf(lt.why, sizeof lt.why, "not loaded: %s", dlerror());
        return 0;
    }
#define FIND(f)                                                                                      \
    if (!(lt.f = reinterpret_cast<decltype(lt.f)>(dlsym(lt.library, #f)))) {                         \
        snprintf(lt.why, sizeof lt.why, "not loaded: %s is missing", #f);                            \
        dlclose(lt.library);                                                                         \
        lt.library = NULL;                                                                           \
        return 0;                                                                                    \
    }
    FUNCTIONS(FIND)
#undef FIND
    return 1;
}

const char *sky_cuda_blas_version(void)
{
    if (lt.library || load()) {
        size_t v = lt.cublasLtGetVersion();
        snprintf(lt.why, sizeof lt.why, "cuBLASLt %zu.%zu.%zu", v / 10000, v / 100 % 100, v % 100);
    }
    return lt.why;
}

/* What identifies a product, and how it is done. */
struct shape {
    int64_t m, n, k, lda, ldb, ldc;
    int ta, tb, bf16, bias, add;
    uint32_t align_a, align_b, align_c, align_y, align_bias;
};
struct plan {
    shape s;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, y;
    cublasLtMatmulAlgo_t algo;
};
struct sky_cuda_blas {
    cublasLtHandle_t handle;
    void *workspace;
    plan plans[SHAPES];
    int n;
};

static int lt_ok(cublasStatus_t rc, const char *op, sky_err *e)
{
    return rc == CUBLAS_STATUS_SUCCESS ? SKY_OK : sky_fail(e, SKY_EDEVICE, "%s: cuBLASLt: %s", op, lt.cublasLtGetStatusString(rc));
}

int sky_cuda_blas_open(sky_cuda_blas **out, sky_err *e)
{
    if (!lt.library && !load())
        return sky_fail(e, SKY_EDEVICE, "device 'cuda': cuBLASLt is %s", lt.why);
    sky_cuda_blas *b = static_cast<sky_cuda_blas *>(sky_calloc(1, sizeof *b));
    if (!b)
        return sky_fail(e, SKY_ENOMEM, "device 'cuda': out of memory");
    int rc = lt_ok(lt.cublasLtCreate(&b->handle), "device 'cuda'", e);
    if (!rc)
        rc = sky_cuda_ok(cudaMalloc(&b->workspace, WORKSPACE), "device 'cuda'", e);
    if (rc) {
        sky_cuda_blas_close(b);
        return rc;
    }
    *out = b;
    return SKY_OK;
}

static void forget(plan *p)
{
    if (p->desc)
        lt.cublasLtMatmulDescDestroy(p->desc);
    cublasLtMatrixLayout_t layout[3] = {p->a, p->b, p->y};
    for (int i = 0; i < 3; i++)
        if (layout[i])
            lt.cublasLtMatrixLayoutDestroy(layout[i]);
    memset(p, 0, sizeof *p);
}

void sky_cuda_blas_close(sky_cuda_blas *b)
{
    if (!b)
        return;
    for (int i = 0; i < b->n; i++)
        forget(&b->plans[i]);
    cudaFree(b->workspace);
    if (b->handle)
        lt.cublasLtDestroy(b->handle);
    sky_free(b);
}

static int set_bias(plan *p, const float *bias, const char *op, sky_err *e)
{
    return bias ? lt_ok(lt.cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias), op, e) : SKY_OK;
}

static int describe(plan *p, const char *op, sky_err *e)
{
    const shape *s = &p->s;
    cudaDataType_t t = s->bf16 ? CUDA_R_16BF : CUDA_R_32F;
    cublasOperation_t first = s->tb ? CUBLAS_OP_T : CUBLAS_OP_N, second = s->ta ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = s->bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    int rc = lt_ok(lt.cublasLtMatmulDescCreate(&p->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F), op, e);
    if (!rc)
        rc = lt_ok(lt.cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first), op, e);
    if (!rc)
        rc = lt_ok(lt.cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second), op, e);
    if (!rc)
        rc = lt_ok(lt.cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue), op, e);
    uint64_t un = static_cast<uint64_t>(s->n), um = static_cast<uint64_t>(s->m), uk = static_cast<uint64_t>(s->k);
    if (!rc)
        rc = lt_ok(lt.cublasLtMatrixLayoutCreate(&p->b, t, s->tb ? uk : un, s->tb ? un : uk, s->ldb), op, e);
    if (!rc)
        rc = lt_ok(lt.cublasLtMatrixLayoutCreate(&p->a, t, s->ta ? um : uk, s->ta ? uk : um, s->lda), op, e);
    return rc ? rc : lt_ok(lt.cublasLtMatrixLayoutCreate(&p->y, CUDA_R_32F, un, um, s->ldc), op, e);
}

static int prefer(const shape *s, cublasLtMatmulPreference_t like, const char *op, sky_err *e)
{
    const uint64_t workspace = WORKSPACE;
    const uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_MASK & ~static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_INPLACE);
    const struct {
        cublasLtMatmulPreferenceAttributes_t name;
        const void *value;
        size_t bytes;
    } list[] = {
        {CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace},      {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &s->align_b, sizeof s->align_b}, {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &s->align_a, sizeof s->align_a},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &s->align_c, sizeof s->align_c}, {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &s->align_y, sizeof s->align_y},
    };
    int rc = SKY_OK;
    for (size_t i = 0; i < sizeof list / sizeof *list && !rc; i++)
        rc = lt_ok(lt.cublasLtMatmulPreferenceSetAttribute(like, list[i].name, list[i].value, list[i].bytes), op, e);
    return rc;
}

static int choose(sky_cuda_blas *b, plan *p, const char *op, sky_err *e)
{
    int found = 0;
    cublasLtMatmulPreference_t like = NULL;
    cublasLtMatmulHeuristicResult_t best;
    int rc = lt_ok(lt.cublasLtMatmulPreferenceCreate(&like), op, e);
    if (!rc)
        rc = prefer(&p->s, like, op, e);
    if (!rc) {
        cublasStatus_t got = lt.cublasLtMatmulAlgoGetHeuristic(b->handle, p->desc, p->b, p->a, p->y, p->y, like, 1, &best, &found);
        if (got == CUBLAS_STATUS_SUCCESS)
            got = found ? best.state : CUBLAS_STATUS_NOT_SUPPORTED;
        if (got != CUBLAS_STATUS_SUCCESS)
            rc = sky_fail(e, SKY_EDEVICE, "%s: cuBLASLt has no algorithm for %lld x %lld x %lld: %s", op, (long long)p->s.m, (long long)p->s.n, (long long)p->s.k,
                          lt.cublasLtGetStatusString(got));
    }
    if (like)
        lt.cublasLtMatmulPreferenceDestroy(like);
    if (!rc)
        p->algo = best.algo;
    return rc;
}

static plan *find_plan(sky_cuda_blas *b, const shape *s, const float *bias, const char *op, sky_err *e)
{
    for (int i = 0; i < b->n; i++)
        if (!memcmp(&b->plans[i].s, s, sizeof *s))
            return &b->plans[i];
    if (b->n == SHAPES)
        forget(&b->plans[--b->n]);
    plan *p = &b->plans[b->n];
    p->s = *s;
    if (describe(p, op, e) || set_bias(p, bias, op, e) || choose(b, p, op, e)) { /* the choice looks at where the bias lies */
        forget(p);
        return NULL;
    }
    b->n++;
    return p;
}

static uint32_t alignment(const void *p)
{
    uintptr_t low = reinterpret_cast<uintptr_t>(p) & -reinterpret_cast<uintptr_t>(p);
    return !low || low > 256 ? 256 : static_cast<uint32_t>(low);
}

int sky_cuda_product(sky_dev *d, const sky_cuda_gemm *g, const char *op, sky_err *e)
{
    const float one = 1, beta = g->c ? 1 : 0, *c = g->c ? g->c : g->y;
    shape s;
    memset(&s, 0, sizeof s); /* compared as bytes */
    s.m = g->m, s.n = g->n, s.k = g->k, s.lda = g->lda, s.ldb = g->ldb, s.ldc = g->ldc;
    s.ta = g->ta, s.tb = g->tb, s.bf16 = g->bf16, s.bias = g->bias != NULL, s.add = g->c != NULL;
    s.align_a = alignment(g->a), s.align_b = alignment(g->b), s.align_c = alignment(c), s.align_y = alignment(g->y), s.align_bias = alignment(g->bias);
    plan *p = find_plan(d->blas, &s, g->bias, op, e);
    if (!p || set_bias(p, g->bias, op, e))
        return e->code;
    return lt_ok(lt.cublasLtMatmul(d->blas->handle, p->desc, &one, g->b, p->b, g->a, p->a, &beta, c, p->y, g->y, p->y, &p->algo, d->blas->workspace, WORKSPACE, d->stream), op, e);
}
