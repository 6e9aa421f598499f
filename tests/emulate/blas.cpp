/* See blas_emu.h. Column-major throughout; an element at a time, sums in order of k in F32. */
#include "emulate/blas_emu.h"

struct emu_lt {
    int open;
};
struct emu_desc {
    cublasComputeType_t compute;
    cudaDataType_t scale;
    cublasOperation_t ta, tb;
    cublasLtEpilogue_t epilogue;
    const float *bias;
};
struct emu_layout {
    cudaDataType_t type;
    int64_t rows, cols, ld;
};
struct emu_preference {
    size_t workspace;
    uint32_t schemes, align[4];
};
/* What an algorithm was asked for. */
struct problem {
    uint16_t align[5]; /* A, B, C, D, bias */
    uint16_t epilogue;
    uint32_t hash; /* of sizes, types and transposes */
    uint64_t workspace;
};
static_assert(sizeof(problem) <= sizeof(cublasLtMatmulAlgo_t), "an algorithm holds a problem");

static emu_lt only = {0};
cublasStatus_t cublasLtCreate(cublasLtHandle_t *h) { return only.open++, *h = &only, CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtDestroy(cublasLtHandle_t h) { return h->open--, CUBLAS_STATUS_SUCCESS; }
size_t cublasLtGetVersion(void) { return 0; }
const char *cublasLtGetStatusString(cublasStatus_t s)
{
    return s == CUBLAS_STATUS_SUCCESS ? "success" : s == CUBLAS_STATUS_NOT_SUPPORTED ? "not supported" : s == CUBLAS_STATUS_INVALID_VALUE ? "invalid value" : "not initialized";
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t compute, cudaDataType_t scale)
{
    *d = new emu_desc{compute, scale, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, NULL};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) { return delete d, CUBLAS_STATUS_SUCCESS; }

static cublasStatus_t set(void *to, size_t size, const void *value, size_t bytes)
{
    if (size != bytes)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(to, value, size);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t a, const void *value, size_t bytes)
{
    switch (a) {
    case CUBLASLT_MATMUL_DESC_TRANSA: return set(&d->ta, sizeof d->ta, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB: return set(&d->tb, sizeof d->tb, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return set(&d->epilogue, sizeof d->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return set(&d->bias, sizeof d->bias, value, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType type, uint64_t rows, uint64_t cols, int64_t ld)
{
    *l = new emu_layout{type, static_cast<int64_t>(rows), static_cast<int64_t>(cols), ld};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) { return delete l, CUBLAS_STATUS_SUCCESS; }

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p)
{
    *p = new emu_preference{0, CUBLASLT_REDUCTION_SCHEME_MASK, {256, 256, 256, 256}};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) { return delete p, CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t a, const void *value, size_t bytes)
{
    switch (a) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return set(&p->workspace, sizeof p->workspace, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: return set(&p->schemes, sizeof p->schemes, value, bytes);
    default: return set(&p->align[a - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], sizeof p->align[0], value, bytes);
    }
}

/* ---- algorithms ----------------------------------------------------------------------------------------------------- */

static uint16_t alignment(const void *p)
{
    uint16_t n = 256;
    while (reinterpret_cast<uintptr_t>(p) % n)
        n = static_cast<uint16_t>(n / 2);
    return n;
}

static int fits(const emu_desc *d, const emu_layout *a, const emu_layout *b, const emu_layout *c, const emu_layout *y)
{
    int64_t m = d->ta ? a->cols : a->rows, k = d->ta ? a->rows : a->cols, n = d->tb ? b->rows : b->cols, kb = d->tb ? b->cols : b->rows;
    for (const emu_layout *l : {a, b, c, y})
        if (l->rows < 1 || l->cols < 1 || l->ld < l->rows)
            return 0;
    return k == kb && y->rows == m && y->cols == n && c->rows == m && c->cols == n;
}
/* Of the table of combinations in cuBLAS's manual, those with F32 sums and an F32 result. */
static int offered(const emu_desc *d, const emu_layout *a, const emu_layout *b, const emu_layout *c, const emu_layout *y)
{
    return d->compute == CUBLAS_COMPUTE_32F && d->scale == CUDA_R_32F && a->type == b->type && c->type == CUDA_R_32F && y->type == CUDA_R_32F &&
           (d->epilogue == CUBLASLT_EPILOGUE_DEFAULT || d->epilogue == CUBLASLT_EPILOGUE_BIAS);
}
static uint32_t hash_of(const emu_desc *d, const emu_layout *a, const emu_layout *b, const emu_layout *c, const emu_layout *y)
{
    uint64_t h = d->ta + 2 * d->tb + 1;
    for (const emu_layout *l : {a, b, c, y})
        for (int64_t v : {static_cast<int64_t>(l->type), l->rows, l->cols, l->ld})
            h = (h ^ static_cast<uint64_t>(v)) * 0x9E3779B97F4A7C15u;
    return static_cast<uint32_t>(h >> 32);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t h, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t y,
                                              cublasLtMatmulPreference_t p, int wanted, cublasLtMatmulHeuristicResult_t *results, int *found)
{
    *found = 0;
    if (!h || !h->open)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    if (wanted < 1 || !fits(d, a, b, c, y))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (!offered(d, a, b, c, y))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    problem q = {{}, static_cast<uint16_t>(d->epilogue), hash_of(d, a, b, c, y), p->workspace};
    for (int i = 0; i < 4; i++)
        q.align[i] = static_cast<uint16_t>(p->align[i]);
    q.align[4] = alignment(d->bias); /* "routines that don't dereference this pointer depend on its value" */
    memset(results, 0, sizeof *results);
    memcpy(&results->algo, &q, sizeof q);
    results->workspaceSize = p->workspace;
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- products ------------------------------------------------------------------------------------------------------- */

struct matmul {
    emu_desc d;
    emu_layout a, b, c, y;
    const void *A, *B;
    const float *C;
    float *Y, alpha, beta;
};

static float at(const void *p, int64_t i, cudaDataType_t t)
{
    return t == CUDA_R_16BF ? __uint_as_float(static_cast<uint32_t>(static_cast<const uint16_t *>(p)[i]) << 16) : static_cast<const float *>(p)[i];
}
static void run(const matmul &o)
{
    const int64_t depth = o.d.ta ? o.a.rows : o.a.cols, ai = o.d.ta ? o.a.ld : 1, ak = o.d.ta ? 1 : o.a.ld, bj = o.d.tb ? 1 : o.b.ld, bk = o.d.tb ? o.b.ld : 1;
    emu_open_memory();
    for (int64_t j = 0; j < o.y.cols; j++)
        for (int64_t i = 0; i < o.y.rows; i++) {
            float sum = 0, with = o.d.epilogue == CUBLASLT_EPILOGUE_BIAS ? o.d.bias[i] : 0;
            for (int64_t k = 0; k < depth; k++)
                sum += at(o.A, i * ai + k * ak, o.a.type) * at(o.B, j * bj + k * bk, o.b.type);
            o.Y[i + j * o.y.ld] = o.alpha * sum + with + (o.beta != 0 ? o.beta * o.C[i + j * o.c.ld] : 0);
        }
    emu_close_memory();
}

static size_t extent(const emu_layout *l) { return static_cast<size_t>((l->cols - 1) * l->ld + l->rows) * (l->type == CUDA_R_16BF ? 2 : 4); }
static int apart(const void *p, size_t n, const void *q, size_t m)
{
    const char *a = static_cast<const char *>(p), *b = static_cast<const char *>(q);
    return a + n <= b || b + m <= a;
}

/* Operands lie where and as they must. */
static cublasStatus_t lie(const matmul &o, const problem &q)
{
    const void *p[5] = {o.A, o.B, o.C, o.Y, o.d.bias};
    const emu_layout *l[4] = {&o.a, &o.b, &o.c, &o.y};
    for (int i = 0; i < (o.d.epilogue == CUBLASLT_EPILOGUE_BIAS ? 5 : 4); i++) {
        if (!p[i])
            return CUBLAS_STATUS_INVALID_VALUE;
        emu_check_range(p[i], i < 4 ? extent(l[i]) : static_cast<size_t>(o.y.rows) * 4);
        if (alignment(p[i]) < q.align[i])
            return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    if (o.C == o.Y ? o.c.ld != o.y.ld : !apart(o.C, extent(&o.c), o.Y, extent(&o.y)))
        return CUBLAS_STATUS_INVALID_VALUE;
    return apart(o.A, extent(&o.a), o.Y, extent(&o.y)) && apart(o.B, extent(&o.b), o.Y, extent(&o.y)) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t h, cublasLtMatmulDesc_t d, const void *alpha, const void *A, cublasLtMatrixLayout_t a, const void *B, cublasLtMatrixLayout_t b, const void *beta,
                              const void *C, cublasLtMatrixLayout_t c, void *D, cublasLtMatrixLayout_t y, const cublasLtMatmulAlgo_t *algo, void *workspace, size_t bytes, cudaStream_t s)
{
    problem q;
    if (!h || !h->open)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    memcpy(&q, algo, sizeof q);
    if (!fits(d, a, b, c, y) || q.hash != hash_of(d, a, b, c, y) || q.epilogue != d->epilogue || bytes < q.workspace)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (bytes)
        emu_check_range(workspace, bytes);
    matmul o = {*d, *a, *b, *c, *y, A, B, static_cast<const float *>(C), static_cast<float *>(D), *static_cast<const float *>(alpha), *static_cast<const float *>(beta)};
    cublasStatus_t rc = alignment(workspace) < 16 ? CUBLAS_STATUS_INVALID_VALUE : lie(o, q);
    if (rc == CUBLAS_STATUS_SUCCESS)
        emu_queue(s, [=] { run(o); });
    return rc;
}
