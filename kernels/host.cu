/* host.cu -- arrays of the host on their way to the device.
 *
 * The caller's memory is pageable, and may change as soon as the call returns. A copy from such memory makes the driver
 * stage it by itself, which can wait for the device. So arrays of up to half a ring go through page-locked memory that the
 * device owns: written there by the host, copied from there when the stream comes to it. Each half has an event, recorded
 * when the host leaves it, behind the last copy out of it; before the host writes into that half again it waits for the
 * event. Larger arrays (weights, once) are left to the driver.
 *
 * While a recording is made the array goes into the recording's own memory instead (replay.cu). */
#include "device.h"

#include <string.h>

static const size_t HALF = 4 << 20, RING_ALIGN = 256; /* one divides the other */

struct sky_cuda_ring {
    char *p; /* [2][HALF] */
    size_t at;
    int half;
    cudaEvent_t left[2];
};

int sky_cuda_ring_open(sky_cuda_ring **out, sky_err *e)
{
    sky_cuda_ring *r = *out = static_cast<sky_cuda_ring *>(sky_calloc(1, sizeof *r));
    if (!r)
        return sky_fail(e, SKY_ENOMEM, "device 'cuda': out of memory");
    int rc = sky_cuda_ok(cudaMallocHost(reinterpret_cast<void **>(&r->p), 2 * HALF), "device 'cuda': page-locked memory", e);
    for (int i = 0; i < 2 && !rc; i++)
        rc = sky_cuda_ok(cudaEventCreateWithFlags(&r->left[i], cudaEventDisableTiming), "device 'cuda'", e);
    return rc;
}

void sky_cuda_ring_close(sky_cuda_ring *r)
{
    if (!r)
        return;
    for (int i = 0; i < 2; i++)
        if (r->left[i])
            cudaEventDestroy(r->left[i]);
    cudaFreeHost(r->p); /* NULL allowed; waits for what still reads it */
    sky_free(r);
}

static int turn(sky_dev *d, const char *op, sky_err *e)
{
    sky_cuda_ring *r = d->ring;
    int rc = sky_cuda_ok(cudaEventRecord(r->left[r->half], d->stream), op, e);
    r->half ^= 1;
    r->at = 0;
    return rc ? rc : sky_cuda_ok(cudaEventSynchronize(r->left[r->half]), op, e); /* never recorded: returns at once */
}

/* Where from: the ring's copy, or the host's array itself. */
static int locked(sky_dev *d, const void **from, size_t n, const char *op, sky_err *e)
{
    sky_cuda_ring *r = d->ring;
    if (n > HALF)
        return SKY_OK;
    if (n > HALF - r->at && turn(d, op, e))
        return e->code;
    char *p = r->p + r->half * HALF + r->at;
    memcpy(p, *from, n);
    r->at += (n + RING_ALIGN - 1) / RING_ALIGN * RING_ALIGN;
    *from = p;
    return SKY_OK;
}

int sky_cuda_bring(sky_dev *d, void *to, const void *host, size_t n, const char *op, sky_err *e)
{
    if (d->noting) {
        void *kept = sky_cuda_keep(d->work, host, n, op, e);
        return kept ? sky_cuda_ok(cudaMemcpyAsync(to, kept, n, cudaMemcpyDeviceToDevice, d->stream), op, e) : e->code;
    }
    if (d->work)
        sky_cuda_measure(d->work, n);
    int rc = locked(d, &host, n, op, e);
    return rc ? rc : sky_cuda_ok(cudaMemcpyAsync(to, host, n, cudaMemcpyHostToDevice, d->stream), op, e);
}

void *sky_cuda_small(sky_dev *d, const void *host, size_t n, const char *op, sky_err *e)
{
    if (d->noting)
        return sky_cuda_keep(d->work, host, n, op, e);
    void *p = sky_cuda_grown(d, &d->small, &d->small_bytes, n < 4096 ? 4096 : n, op, e);
    return p && sky_cuda_bring(d, p, host, n, op, e) == SKY_OK ? p : NULL;
}
