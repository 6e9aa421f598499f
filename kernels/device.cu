/* device.cu -- the device: opening, memory, copies, checks that are reported late, and the table itself.
 *
 * The CUDA runtime is linked statically, cuBLASLt is opened at run time (blas.cu): one program runs where there is a GPU
 * and where there is neither driver nor library. */
#include "device.h"

#include <stdio.h>
#include <string.h>

int sky_cuda_ok(cudaError_t rc, const char *op, sky_err *e)
{
    if (rc == cudaSuccess)
        return SKY_OK;
    cudaGetLastError(); /* said here, it is not an error of the next operation too */
    return sky_fail(e, rc == cudaErrorMemoryAllocation ? SKY_ENOMEM : SKY_EDEVICE, "%s: cuda: %s", op, cudaGetErrorString(rc));
}

static void cuda_close(sky_dev *d)
{
    if (!d)
        return;
    cudaFree(d->scratch);
    cudaFree(d->small);
    cudaFree(d->fault);
    sky_cuda_ring_close(d->ring);
    sky_cuda_links_close(d->links); /* before the streams it was used on */
    sky_cuda_lanes_close(d->lanes);
    sky_cuda_blas_close(d->blas);
    if (d->stream)
        cudaStreamDestroy(d->stream);
    sky_free(d);
}

static int open_device(sky_dev *d, sky_err *e)
{
    int major = 0, rc = sky_cuda_ok(cudaSetDevice(d->index), "device", e);
    if (!rc)
        rc = sky_cuda_ok(cudaDeviceGetAttribute(&d->sms, cudaDevAttrMultiProcessorCount, d->index), "device", e);
    if (!rc)
        rc = sky_cuda_ok(cudaDeviceGetAttribute(&d->shared_most, cudaDevAttrMaxSharedMemoryPerBlockOptin, d->index), "device", e);
    if (!rc)
        rc = sky_cuda_ok(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, d->index), "device", e);
    if (!rc && major < 8)
        rc = sky_fail(e, SKY_EDEVICE, "device 'cuda:%d' is of compute capability %d; 8 or later is needed (BF16 tensor cores)", d->index, major);
    if (!rc)
        rc = sky_cuda_ok(cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking), "device", e);
    if (!rc)
        rc = sky_cuda_ok(cudaMalloc(reinterpret_cast<void **>(&d->fault), SKY_CUDA_CHECKS * sizeof *d->fault), "device", e);
    if (!rc)
        rc = sky_cuda_ok(cudaMemsetAsync(d->fault, 0xff, SKY_CUDA_CHECKS * sizeof *d->fault, d->stream), "device", e);
    if (!rc)
        rc = sky_cuda_ring_open(&d->ring, e);
    if (!rc)
        rc = sky_cuda_lanes_open(&d->lanes, d->stream, e);
    return rc ? rc : sky_cuda_blas_open(&d->blas, e);
}

static int cuda_open(sky_dev **out, int index, int threads, sky_err *e)
{
    (void)threads;
    int n = 0;
    cudaError_t rc = cudaGetDeviceCount(&n);
    if (rc != cudaSuccess || !n)
        return sky_fail(e, SKY_EDEVICE, "device 'cuda': no usable GPU on this machine: %s", rc == cudaSuccess ? "none found" : cudaGetErrorString(rc));
    if (index >= n)
        return sky_fail(e, SKY_EUSAGE, "device 'cuda:%d': this process sees %d, numbered from 0 (CUDA_VISIBLE_DEVICES and schedulers may hide others)", index, n);
    sky_dev *d = static_cast<sky_dev *>(sky_calloc(1, sizeof *d));
    if (!d)
        return sky_fail(e, SKY_ENOMEM, "device 'cuda': out of memory");
    d->index = index < 0 ? 0 : index;
    if (open_device(d, e)) {
        cuda_close(d);
        return e->code;
    }
    *out = d;
    return SKY_OK;
}

/* ---- memory ------------------------------------------------------------------------------------------------------- */

static int cuda_alloc(sky_dev *d, void **p, size_t bytes, sky_err *e)
{
    if (sky_cuda_not_noting(d, "device memory", e))
        return e->code;
    cudaError_t rc = cudaMalloc(p, bytes ? bytes : 1);
    if (rc == cudaSuccess)
        return SKY_OK;
    size_t available = 0, total = 0;
    cudaGetLastError();
    cudaMemGetInfo(&available, &total);
    return sky_fail(e, SKY_ENOMEM, "device memory: %zu MB wanted, %zu of %zu MB free: %s", bytes >> 20, available >> 20, total >> 20, cudaGetErrorString(rc));
}

/* What lay there may be named in a recording: it is of no use from now on. */
static void cuda_free(sky_dev *d, void *p, size_t bytes)
{
    (void)bytes;
    d->given_back += p != NULL;
    cudaFree(p);
}

/* Memory that grows: contents are lost. The runtime waits for running kernels before it frees. */
void *sky_cuda_grown(sky_dev *d, char **p, size_t *have, size_t n, const char *op, sky_err *e)
{
    if (n <= *have)
        return *p;
    if (sky_cuda_not_noting(d, op, e))
        return NULL;
    cuda_free(d, *p, *have);
    *p = NULL;
    *have = 0;
    if (sky_cuda_ok(cudaMalloc(reinterpret_cast<void **>(p), n), op, e)) {
        sky_wrap(e, "%zu MB of scratch", n >> 20);
        return NULL;
    }
    *have = n;
    return *p;
}

void *sky_cuda_scratch(sky_dev *d, size_t n, const char *op, sky_err *e) { return sky_cuda_grown(d, &d->scratch, &d->scratch_bytes, n ? n : 1, op, e); }

/* ---- copies ------------------------------------------------------------------------------------------------------- */

static int cuda_put(sky_dev *d, sky_tensor *y, const void *host, sky_err *e)
{
    return sky_cuda_bring(d, y->data, host, static_cast<size_t>(sky_bytes(y)), "put", e);
}

static int copy_down(sky_dev *d, char *dst, const char *src, size_t n, sky_err *e)
{
    return sky_cuda_ok(cudaMemcpyAsync(dst, src, n, cudaMemcpyDeviceToDevice, d->stream), "move", e);
}

/* Down by `gap` bytes: stretches of that length do not overlap their destination. Where they would be many, through
 * scratch memory. */
static int cuda_move(sky_dev *d, void *dst, const void *src, size_t bytes, sky_err *e)
{
    char *to = static_cast<char *>(dst);
    const char *from = static_cast<const char *>(src);
    size_t gap = static_cast<size_t>(from - to), each = gap;
    int rc = SKY_OK;
    char *by = NULL;
    if (bytes > 8 * gap) {
        each = bytes < 64 << 20 ? bytes : 64 << 20;
        if (!(by = static_cast<char *>(sky_cuda_scratch(d, each, "move", e))))
            return e->code;
    }
    for (size_t at = 0; at < bytes && !rc; at += each) {
        size_t n = bytes - at < each ? bytes - at : each;
        if (by)
            rc = copy_down(d, by, from + at, n, e);
        if (!rc)
            rc = copy_down(d, to + at, by ? by : from + at, n, e);
    }
    return rc;
}

/* ---- checks ------------------------------------------------------------------------------------------------------- */

static int report(const sky_cuda_check *c, unsigned long long first, sky_err *e)
{
    int64_t i = static_cast<int64_t>(first >> 8);
    if (c->C)
        return sky_fail(e, SKY_ECORRUPT, "%s: sample %lld, row %lld, column %lld, channel %lld is not a number", c->op,
                        (long long)(i / (c->C * c->W * c->H)), (long long)(i / (c->C * c->W) % c->H), (long long)(i / c->C % c->W), (long long)(i % c->C));
    return sky_fail(e, SKY_ECORRUPT, "%s: %s %d at sample %lld, row %lld, column %lld; expected 0 to %lld", c->op, c->what, static_cast<int>(first & 255),
                    (long long)(i / (c->H * c->W)), (long long)(i / c->W % c->H), (long long)(i % c->W), (long long)c->most);
}

int sky_cuda_found(const sky_cuda_check *check, int n, const unsigned long long *first, sky_err *e)
{
    for (int i = 0; i < n; i++)
        if (first[i] != ~0ull)
            return report(&check[i], first[i], e);
    return SKY_OK;
}

int sky_cuda_settle(sky_dev *d, sky_err *e)
{
    unsigned long long first[SKY_CUDA_CHECKS];
    int n = d->checks, rc = sky_cuda_not_noting(d, "waiting for the device", e);
    if (rc)
        return rc;
    d->checks = 0;
    if (n)
        rc = sky_cuda_ok(cudaMemcpyAsync(first, d->fault, sizeof first, cudaMemcpyDeviceToHost, d->stream), "check", e);
    if (!rc)
        rc = sky_cuda_ok(cudaStreamSynchronize(d->stream), "waiting for the device", e);
    if (!rc)
        rc = sky_cuda_found(d->check, n, first, e);
    if (n && cudaMemsetAsync(d->fault, 0xff, sizeof first, d->stream) != cudaSuccess && !rc)
        rc = sky_cuda_launched("check", e);
    return rc;
}

int sky_cuda_checking(sky_dev *d, const sky_cuda_check *c, unsigned long long **slot, sky_err *e)
{
    int rc = d->checks == SKY_CUDA_CHECKS ? sky_cuda_settle(d, e) : SKY_OK;
    if (rc)
        return rc;
    d->check[d->checks] = *c;
    *slot = d->fault + d->checks++;
    return SKY_OK;
}

static int cuda_get(sky_dev *d, void *host, const sky_tensor *x, sky_err *e)
{
    int rc = sky_cuda_not_noting(d, "get", e);
    if (!rc)
        rc = sky_cuda_ok(cudaMemcpyAsync(host, x->data, static_cast<size_t>(sky_bytes(x)), cudaMemcpyDeviceToHost, d->stream), "get", e);
    return rc ? rc : sky_cuda_settle(d, e);
}

/* ---- the table ---------------------------------------------------------------------------------------------------- */

static const sky_backend *filled(void)
{
    static sky_backend b;
    b.name = "cuda";
    b.open = cuda_open;
    b.close = cuda_close;
    b.alloc = cuda_alloc;
    b.free = cuda_free;
    b.put = cuda_put;
    b.get = cuda_get;
    b.move = cuda_move;
    b.own_memory = 1;
    sky_cuda_fill_lanes(&b);
    sky_cuda_fill_replay(&b);
    sky_cuda_fill_links(&b);
    sky_cuda_fill_pointwise(&b);
    sky_cuda_fill_move(&b);
    sky_cuda_fill_reduce(&b);
    sky_cuda_fill_norm(&b);
    sky_cuda_fill_batchnorm(&b);
    sky_cuda_fill_image(&b);
    sky_cuda_fill_pictures(&b);
    sky_cuda_fill_annotation(&b);
    sky_cuda_fill_loss(&b);
    sky_cuda_fill_optimizer(&b);
    sky_cuda_fill_product(&b);
    sky_cuda_fill_conv(&b);
    sky_cuda_fill_attention(&b);
    sky_cuda_fill_attention_backward(&b);
    sky_cuda_fill_window(&b);
    sky_cuda_fill_window_backward(&b);
    return &b;
}

extern "C" const sky_backend *sky_backend_cuda(void)
{
    static const sky_backend *b;
    return b ? b : b = filled();
}

extern "C" void sky_cuda_version(char *buf, size_t n)
{
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    char has[48] = "none on this machine";
    if (driver)
        snprintf(has, sizeof has, "for CUDA up to %d.%d", driver / 1000, driver % 1000 / 10);
    snprintf(buf, n, "CUDA: %d.%d, driver %s\ncuBLAS: %s\nNCCL: %s\n", runtime / 1000, runtime % 1000 / 10, has, sky_cuda_blas_version(),
             sky_cuda_links_version());
}
