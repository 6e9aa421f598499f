/* lanes.cu -- copies from and to the host, and sums over ranks, while the device works: streams beside its own, and events.
 *
 * `follow` makes a stream wait for another: an event of the other one is recorded, and waited for as it is then; the same
 * event serves the next time. A mark is an event that the host waits for. Nothing else orders the streams. What checks of input bytes found
 * (device.h) travels with the marks of the work: the list is fetched on the work's stream in front of the event, into
 * page-locked memory of that mark, and cleared; so a mark must be reached before it is set again, or what was found in
 * between is lost.
 *
 * Scratch memory belongs to the work: what is queued on another lane uses none.
 *
 * Who waits for whom when inputs and results are in flight: tensor/transit.c; for sums over ranks: train/comm_nccl.c. */
#include "device.h"

#include <string.h>

struct sky_cuda_lanes {
    cudaStream_t lane[SKY_LANES];
    cudaEvent_t come[SKY_LANES]; /* of `follow`: what each lane had been asked */
    cudaEvent_t mark[SKY_MARKS];
    unsigned long long *first; /* page-locked, [SKY_MARKS][SKY_CUDA_CHECKS] */
    struct {
        sky_cuda_check check[SKY_CUDA_CHECKS];
        int n;
    } asked[SKY_MARKS];
};

int sky_cuda_lanes_open(sky_cuda_lanes **out, cudaStream_t work, sky_err *e)
{
    sky_cuda_lanes *l = *out = static_cast<sky_cuda_lanes *>(sky_calloc(1, sizeof *l));
    if (!l)
        return sky_fail(e, SKY_ENOMEM, "device 'cuda': out of memory");
    int rc = SKY_OK;
    l->lane[SKY_LANE_WORK] = work;
    for (int i = SKY_LANE_WORK + 1; i < SKY_LANES && !rc; i++)
        rc = sky_cuda_ok(cudaStreamCreateWithFlags(&l->lane[i], cudaStreamNonBlocking), "device 'cuda'", e);
    for (int i = 0; i < SKY_LANES && !rc; i++)
        rc = sky_cuda_ok(cudaEventCreateWithFlags(&l->come[i], cudaEventDisableTiming), "device 'cuda'", e);
    for (int i = 0; i < SKY_MARKS && !rc; i++)
        rc = sky_cuda_ok(cudaEventCreateWithFlags(&l->mark[i], cudaEventDisableTiming), "device 'cuda'", e);
    size_t bytes = SKY_MARKS * SKY_CUDA_CHECKS * sizeof *l->first;
    return rc ? rc : sky_cuda_ok(cudaMallocHost(reinterpret_cast<void **>(&l->first), bytes), "device 'cuda': page-locked memory", e);
}

void sky_cuda_lanes_close(sky_cuda_lanes *l)
{
    if (!l)
        return;
    for (int i = SKY_LANE_WORK + 1; i < SKY_LANES; i++)
        if (l->lane[i])
            cudaStreamDestroy(l->lane[i]);
    for (int i = 0; i < SKY_LANES; i++)
        if (l->come[i])
            cudaEventDestroy(l->come[i]);
    for (int i = 0; i < SKY_MARKS; i++)
        if (l->mark[i])
            cudaEventDestroy(l->mark[i]);
    cudaFreeHost(l->first);
    sky_free(l);
}

static void turn_to(sky_dev *d, sky_lane lane) { d->stream = d->lanes->lane[lane]; }

static int host_alloc(sky_dev *d, void **p, size_t bytes, sky_err *e)
{
    int rc = sky_cuda_not_noting(d, "page-locked memory", e);
    return rc ? rc : sky_cuda_ok(cudaMallocHost(p, bytes ? bytes : 1), "page-locked memory", e);
}

static void host_free(sky_dev *d, void *p)
{
    (void)d;
    cudaFreeHost(p);
}

static int carry(sky_dev *d, sky_lane lane, void *dst, const void *src, size_t bytes, sky_err *e)
{
    cudaMemcpyKind kind = lane == SKY_LANE_IN ? cudaMemcpyHostToDevice : lane == SKY_LANE_OUT ? cudaMemcpyDeviceToHost : cudaMemcpyDeviceToDevice;
    return sky_cuda_ok(cudaMemcpyAsync(dst, src, bytes, kind, d->lanes->lane[lane]), "copy", e);
}

/* The checks so far become the mark's. */
static int hand_over(sky_dev *d, int i, sky_err *e)
{
    sky_cuda_lanes *l = d->lanes;
    size_t bytes = SKY_CUDA_CHECKS * sizeof *l->first;
    memcpy(l->asked[i].check, d->check, sizeof d->check);
    l->asked[i].n = d->checks;
    d->checks = 0;
    if (!l->asked[i].n)
        return SKY_OK;
    int rc = sky_cuda_ok(cudaMemcpyAsync(l->first + i * SKY_CUDA_CHECKS, d->fault, bytes, cudaMemcpyDeviceToHost, d->stream), "check", e);
    return rc ? rc : sky_cuda_ok(cudaMemsetAsync(d->fault, 0xff, bytes, d->stream), "check", e);
}

static int mark(sky_dev *d, sky_lane lane, int i, sky_err *e)
{
    int rc = sky_cuda_not_noting(d, "mark", e);
    d->lanes->asked[i].n = 0;
    if (!rc && lane == SKY_LANE_WORK)
        rc = hand_over(d, i, e);
    return rc ? rc : sky_cuda_ok(cudaEventRecord(d->lanes->mark[i], d->lanes->lane[lane]), "mark", e);
}

static int follow(sky_dev *d, sky_lane lane, sky_lane other, sky_err *e)
{
    int rc = sky_cuda_not_noting(d, "follow", e);
    if (!rc)
        rc = sky_cuda_ok(cudaEventRecord(d->lanes->come[other], d->lanes->lane[other]), "follow", e);
    return rc ? rc : sky_cuda_ok(cudaStreamWaitEvent(d->lanes->lane[lane], d->lanes->come[other], 0), "follow", e);
}

static int reach(sky_dev *d, int i, sky_err *e)
{
    sky_cuda_lanes *l = d->lanes;
    int n = l->asked[i].n, rc = sky_cuda_ok(cudaEventSynchronize(l->mark[i]), "waiting for the device", e);
    l->asked[i].n = 0;
    return rc ? rc : sky_cuda_found(l->asked[i].check, n, l->first + i * SKY_CUDA_CHECKS, e);
}

void sky_cuda_fill_lanes(sky_backend *b)
{
    b->host_alloc = host_alloc;
    b->host_free = host_free;
    b->carry = carry;
    b->mark = mark;
    b->turn_to = turn_to;
    b->follow = follow;
    b->reach = reach;
}
