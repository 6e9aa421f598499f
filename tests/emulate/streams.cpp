/* Streams, events and graphs of the emulation: see cuda_emu.h. */
#include "emulate/cuda_emu.h"

#include <deque>
#include <stdio.h>
#include <vector>

struct emu_graph {
    std::vector<std::function<void()>> work;
};
struct emu_stream {
    unsigned number;                         /* of the device's, in the order of their creation */
    std::deque<std::function<void()>> queue;
    uint64_t asked, done;
    emu_graph *capture;                      /* work goes there while not NULL */
    int broken;                              /* something happened that a capture does not allow */
};
struct emu_event {
    emu_stream *on; /* NULL: not recorded yet */
    uint64_t at;
};

unsigned emu_lazy;
int emu_refuse_graphs;
static std::vector<emu_stream *> streams;

static unsigned lazy(void)
{
    static const char *text = getenv("EMU_LAZY"); /* for programs that do not know of the emulation */
    return text ? (unsigned)strtoul(text, NULL, 0) : emu_lazy;
}

static void drain(emu_stream *s, uint64_t upto)
{
    while (s->done < upto && !s->queue.empty()) {
        std::function<void()> f = std::move(s->queue.front());
        s->queue.pop_front();
        f();
        s->done++;
    }
}

static std::vector<emu_stream *> copy_of_streams(void) { return streams; }
void emu_drain_all(void)
{
    for (emu_stream *s : copy_of_streams())
        drain(s, s->asked);
}

void emu_queue(cudaStream_t s, std::function<void()> f)
{
    if (!s) {
        emu_drain_all();
        f();
    } else if (s->capture) {
        s->capture->work.push_back(std::move(f));
    } else {
        s->queue.push_back(std::move(f));
        s->asked++;
        if (!(lazy() >> s->number & 1))
            drain(s, s->asked);
    }
}

int emu_capturing(cudaStream_t s) { return s && s->capture; }
cudaError_t emu_not_in_capture(void)
{
    cudaError_t rc = cudaSuccess;
    for (emu_stream *s : streams)
        if (s->capture) {
            s->broken = 1;
            rc = cudaErrorStreamCaptureUnsupported;
        }
    return emu_said(rc);
}

static unsigned made; /* since a device was chosen */
cudaError_t cudaSetDevice(int) { return made = 0, cudaSuccess; }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned)
{
    *s = new emu_stream{made++, {}, 0, 0, NULL, 0};
    streams.push_back(*s);
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    emu_drain_all();
    for (size_t i = 0; i < streams.size(); i++)
        if (streams[i] == s)
            streams.erase(streams.begin() + (long)i);
    delete s->capture;
    delete s;
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    cudaError_t rc = emu_not_in_capture();
    if (rc == cudaSuccess && s)
        drain(s, s->asked);
    return rc;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned) { return *e = new emu_event{NULL, 0}, cudaSuccess; }
cudaError_t cudaEventDestroy(cudaEvent_t e) { return delete e, cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    cudaError_t rc = emu_not_in_capture();
    if (rc == cudaSuccess)
        *e = emu_event{s, s->asked};
    return rc;
}
static void reach(emu_event e)
{
    for (emu_stream *s : copy_of_streams())
        if (s == e.on) /* it may be gone, and then it was drained */
            drain(s, e.at);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned)
{
    cudaError_t rc = emu_not_in_capture();
    emu_event now = *e; /* a later record does not count */
    if (rc == cudaSuccess && now.on && now.on != s)
        emu_queue(s, [=] { reach(now); });
    return rc;
}
cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    cudaError_t rc = emu_not_in_capture();
    if (rc == cudaSuccess)
        reach(*e);
    return rc;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode)
{
    if (!s || s->capture)
        return emu_said(cudaErrorInvalidValue);
    s->capture = new emu_graph;
    s->broken = 0;
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g)
{
    *g = NULL;
    if (!s->capture)
        return emu_said(cudaErrorInvalidValue);
    *g = s->capture;
    s->capture = NULL;
    if (s->broken) {
        delete *g;
        *g = NULL;
        return emu_said(cudaErrorStreamCaptureInvalidated);
    }
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *x, cudaGraph_t g, unsigned long long)
{
    return *x = NULL, emu_refuse_graphs ? emu_said(cudaErrorMemoryAllocation) : (*x = new emu_graph(*g), cudaSuccess);
}
cudaError_t cudaGraphDestroy(cudaGraph_t g) { return delete g, cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t x) { return emu_drain_all(), delete x, cudaSuccess; }
cudaError_t cudaGraphLaunch(cudaGraphExec_t x, cudaStream_t s)
{
    if (emu_capturing(s))
        return emu_not_in_capture();
    emu_queue(s, [=] {
        for (const std::function<void()> &f : x->work)
            f();
    });
    return cudaSuccess;
}
