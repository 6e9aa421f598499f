/* host.cu -- arrays of the host on their way to the device.
 *
 * The caller's memory is pageable, and may change as soon as the call returns. Of a copy from such memory CUDA says that it
 * may wait for the device, and not that it does: where a GPU reads the host's pages itself, it need not. So arrays go
 * through page-locked memory that the device owns, large ones in pieces: written there by the host, copied from there when
 * the stream comes to it. Each half has an event, recorded when the host leaves it, behind the last copy out of it; before
 * the host writes into that half again it waits for the event.
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

/* The ring's copy of at most HALF bytes; NULL: e says why. */
static const void *locked(sky_dev *d, const void *host, size_t n, const char *op, sky_err *e)
{
    sky_cuda_ring *r = d->ring;
    if (n > HALF - r->at && turn(d, op, e))
        return NULL;
    char *p = r->p + r->half * HALF + r->at;
    memcpy(p, host, n);
    r->at += (n + RING_ALIGN - 1) / RING_ALIGN * RING_ALIGN;
    return p;
}

static int bring_piece(sky_dev *d, void *to, const void *host, size_t n, const char *op, sky_err *e)
{
    const void *from = locked(d, host, n, op, e);
    return from ? sky_cuda_ok(cudaMemcpyAsync(to, from, n, cudaMemcpyHostToDevice, d->stream), op, e) : e->code;
}

int sky_cuda_bring(sky_dev *d, void *to, const void *host, size_t n, const char *op, sky_err *e)
{
    if (d->noting) {
        void *kept = sky_cuda_keep(d->work, host, n, op, e);
        return kept ? sky_cuda_ok(cudaMemcpyAsync(to, kept, n, cudaMemcpyDeviceToDevice, d->stream), op, e) : e->code;
    }
    if (d->work)
        sky_cuda_measure(d->work, n);
    int rc = SKY_OK;
    for (size_t at = 0; at < n && !rc; at += HALF)
        rc = bring_piece(d, static_cast<char *>(to) + at, static_cast<const char *>(host) + at, n - at < HALF ? n - at : HALF, op, e);
    return rc;
}

void *sky_cuda_small(sky_dev *d, const void *host, size_t n, const char *op, sky_err *e)
{
    if (d->noting)
        return sky_cuda_keep(d->work, host, n, op, e);
    void *p = sky_cuda_grown(d, &d->small, &d->small_bytes, n < 4096 ? 4096 : n, op, e);
    return p && sky_cuda_bring(d, p, host, n, op, e) == SKY_OK ? p : NULL;
}
