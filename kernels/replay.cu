/* replay.cu -- work recorded as a CUDA graph and replayed: what tensor/replay.h stands on.
 *
 * Everything that a launch is given by the host is fixed when it is recorded. What each of these things is, and why it
 * still holds when the graph is launched again:
 *
 *   addresses of activations   the stack begins where it began (part of the key in tensor/replay.c), and its offsets are a
 *                              function of the shapes, hence of the key
 *   addresses of the arena, of weights, of what models derive from them, of `scratch` and `small`
 *                              valid until something is freed: d->given_back counts that, and a recording made before is
 *                              stale (work_state); it is rehearsed and recorded again
 *   scratch memory             has its full size after the rehearsal, which runs the same operations; growing it while
 *                              recording is an error, growing it later is a free (above). All work is on one stream, so
 *                              a replay and other operations do not use it at the same time
 *   host arrays (`put`, indices of take and pick, tables)
 *                              copied while recording into memory that the recording owns and never writes again
 *                              (sky_cuda_keep): the caller promises that they are a function of the key
 *   sizes, eps, factors        passed by value: a function of the key, or of the model
 *   pointers in operand structs
 *                              kernels get structs by value; cuBLASLt reads alpha, beta and the bias pointer when it is called
 *   cuBLASLt's workspace, d->fault
 *                              as old as the device
 *   checks of input bytes      the slots of d->fault that the kernels write are numbered from 0 in every recording, so a
 *                              replay first settles what other operations have left and then puts the recording's own
 *                              list back (d->check)
 *
 * The rehearsal is a run like any other: it is the first of its shape. It also lets the runtime load the kernels and
 * cuBLASLt choose its algorithms outside the capture. */
#include "device.h"

#include <string.h>

enum { KEEP_ALIGN = 256 };

struct sky_work {
    int state;
    uint64_t given_back; /* d->given_back it holds for */
    size_t bytes, used;  /* of host arrays: measured; recorded so far */
    char *host, *kept;   /* the same on the host, while recording, and on the device */
    cudaGraphExec_t graph;
    sky_cuda_check check[SKY_CUDA_CHECKS];
    int checks;
};

static size_t rounded(size_t n) { return (n + KEEP_ALIGN - 1) / KEEP_ALIGN * KEEP_ALIGN; }

int sky_cuda_not_noting(const sky_dev *d, const char *op, sky_err *e)
{
    return d->noting ? sky_fail(e, SKY_EDEVICE, "%s: not possible while a recording is made", op) : SKY_OK;
}

void sky_cuda_measure(sky_work *w, size_t n) { w->bytes += rounded(n); }

void *sky_cuda_keep(sky_work *w, const void *host, size_t n, const char *op, sky_err *e)
{
    size_t at = w->used;
    if (rounded(n) > w->bytes - at) {
        sky_fail(e, SKY_EDEVICE, "%s: more host arrays while recording than in the rehearsal", op);
        return NULL;
    }
    memcpy(w->host + at, host, n);
    w->used += rounded(n);
    return w->kept + at;
}

static void drop_graph(sky_work *w)
{
    if (w->graph)
        cudaGraphExecDestroy(w->graph);
    cudaFree(w->kept); /* only the graph knows of it */
    sky_free(w->host);
    w->graph = NULL;
    w->kept = w->host = NULL;
    w->state = SKY_WORK_NEW;
}

static void work_free(sky_dev *d, sky_work *w)
{
    (void)d;
    if (w)
        drop_graph(w);
    sky_free(w);
}

static int work_state(const sky_dev *d, const sky_work *w)
{
    return w && w->given_back == d->given_back ? w->state : SKY_WORK_NEW;
}

static int work_rehearse(sky_dev *d, sky_work **w, sky_err *e)
{
    if (!*w && !(*w = static_cast<sky_work *>(sky_calloc(1, sizeof **w))))
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    drop_graph(*w);
    (*w)->bytes = 0;
    d->work = *w;
    return SKY_OK;
}

static int rehearsed(sky_dev *d, sky_work *w, sky_err *e)
{
    int rc = w->bytes ? sky_cuda_ok(cudaMalloc(reinterpret_cast<void **>(&w->kept), w->bytes), "rehearsal", e) : SKY_OK;
    w->given_back = d->given_back;
    w->state = rc ? SKY_WORK_NEW : SKY_WORK_REHEARSED;
    return rc;
}

static int work_record(sky_dev *d, sky_work *w, sky_err *e)
{
    int rc = d->checks ? sky_cuda_settle(d, e) : SKY_OK;
    w->used = 0;
    if (!rc && !(w->host = static_cast<char *>(sky_calloc(1, w->bytes ? w->bytes : 1))))
        rc = sky_fail(e, SKY_ENOMEM, "recording: out of memory");
    if (!rc) /* what other threads do is not looked at */
        rc = sky_cuda_ok(cudaStreamBeginCapture(d->stream, cudaStreamCaptureModeThreadLocal), "recording", e);
    if (rc)
        return rc;
    d->work = w;
    d->noting = 1;
    return SKY_OK;
}

static int recorded(sky_dev *d, sky_work *w, int done, sky_err *e)
{
    cudaGraph_t g = NULL;
    cudaError_t ended = cudaStreamEndCapture(d->stream, &g);
    int rc = done ? sky_cuda_ok(ended, "recording", e) : SKY_EDEVICE;
    memcpy(w->check, d->check, sizeof w->check);
    w->checks = d->checks;
    d->checks = 0;
    if (!rc)
        rc = sky_cuda_ok(cudaGraphInstantiate(&w->graph, g, 0), "recording", e);
    if (g)
        cudaGraphDestroy(g);
    if (!rc && w->used)
        rc = sky_cuda_bring(d, w->kept, w->host, w->used, "recording", e);
    sky_free(w->host);
    w->host = NULL;
    w->state = SKY_WORK_RECORDED;
    if (rc) {
        drop_graph(w);
        cudaGetLastError(); /* a capture that failed leaves one behind */
    }
    return rc;
}

static int work_end(sky_dev *d, sky_work *w, int done, sky_err *e)
{
    int noting = d->noting;
    d->work = NULL;
    d->noting = 0;
    if (noting)
        return recorded(d, w, done, e);
    return done ? rehearsed(d, w, e) : SKY_OK;
}

static int work_replay(sky_dev *d, const sky_work *w, sky_err *e)
{
    int rc = d->checks ? sky_cuda_settle(d, e) : SKY_OK;
    if (rc)
        return rc;
    memcpy(d->check, w->check, sizeof d->check);
    d->checks = w->checks;
    return sky_cuda_ok(cudaGraphLaunch(w->graph, d->stream), "replay", e);
}

void sky_cuda_fill_replay(sky_backend *b)
{
    b->work_state = work_state;
    b->work_rehearse = work_rehearse;
    b->work_record = work_record;
    b->work_end = work_end;
    b->work_replay = work_replay;
    b->work_free = work_free;
}
