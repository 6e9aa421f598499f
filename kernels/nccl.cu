/* nccl.cu -- memory passed between the GPUs of several ranks, through NCCL.
 *
 * Of NCCL only sends and receives are used, grouped to one exchange: what is added, and in which order, is decided by
 * train/comm_nccl.c and add_parts, so sums do not depend on the algorithm that NCCL would choose for a machine. They are
 * queued on the stream of the lane at hand (lanes.cu); all ranks queue the same exchanges in the same order, so none
 * waits for something that another has yet to be able to begin. One communicator serves both lanes: NCCL carries what is
 * asked of it in that order.
 *
 * NCCL is opened at run time, when ranks meet: programs run without it. */
#include "device.h"

#include <string.h>

#if defined SKY_NCCL
#ifdef SKY_EMULATE
#include "emulate/nccl_emu.h"
#else
#include <nccl.h>
#define SKY_NCCL_LIBRARY "libnccl.so.2"
#endif
#include <dlfcn.h>
#include <stdio.h>

static_assert(sizeof(sky_meeting) == sizeof(ncclUniqueId), "a meeting is NCCL's unique id");

#define FUNCTIONS(X)                                                                                      \
    X(ncclGetVersion) X(ncclGetErrorString) X(ncclGetUniqueId) X(ncclCommInitRank) X(ncclCommDestroy)      \
    X(ncclGroupStart) X(ncclGroupEnd) X(ncclSend) X(ncclRecv)

static struct {
    void *library;
    char text[200]; /* its version, or why it is not there */
#define POINTER(f) decltype(&::f) f;
    FUNCTIONS(POINTER)
#undef POINTER
} nccl;

static int load(void)
{
    if (nccl.library)
        return 1;
    void *library = dlopen(SKY_NCCL_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        snprintf(nccl.text, sizeof nccl.text, "not loaded: %s", dlerror());
        return 0;
    }
#define FIND(f)                                                                                  \
    if (!(nccl.f = reinterpret_cast<decltype(nccl.f)>(dlsym(library, #f)))) {                    \
        snprintf(nccl.text, sizeof nccl.text, "not loaded: %s is missing", #f);                  \
        dlclose(library);                                                                        \
        return 0;                                                                                \
    }
    FUNCTIONS(FIND)
#undef FIND
    int v = 0;
    nccl.ncclGetVersion(&v);
    snprintf(nccl.text, sizeof nccl.text, "%d.%d.%d", v / 10000, v / 100 % 100, v % 100);
    nccl.library = library;
    return 1;
}

const char *sky_cuda_links_version(void)
{
    load();
    return nccl.text;
}

struct sky_cuda_links {
    ncclComm_t world;
    int ranks;
};

static int nccl_ok(ncclResult_t rc, const char *what, sky_err *e)
{
    return rc == ncclSuccess ? SKY_OK : sky_fail(e, SKY_EDEVICE, "%s: NCCL: %s", what, nccl.ncclGetErrorString(rc));
}

static int meet(sky_meeting *m, sky_err *e)
{
    ncclUniqueId id;
    if (!load())
        return sky_fail(e, SKY_EDEVICE, "ranks on GPUs: NCCL is %s", nccl.text);
    int rc = nccl_ok(nccl.ncclGetUniqueId(&id), "ranks on GPUs", e);
    memcpy(m, &id, sizeof *m);
    return rc;
}

static int join(sky_dev *d, const sky_meeting *m, int rank, int ranks, sky_err *e)
{
    ncclUniqueId id;
    if (!load())
        return sky_fail(e, SKY_EDEVICE, "ranks on GPUs: NCCL is %s", nccl.text);
    sky_cuda_links *l = static_cast<sky_cuda_links *>(sky_calloc(1, sizeof *l));
    if (!l)
        return sky_fail(e, SKY_ENOMEM, "ranks on GPUs: out of memory");
    memcpy(&id, m, sizeof id);
    l->ranks = ranks;
    int rc = nccl_ok(nccl.ncclCommInitRank(&l->world, ranks, id, rank), "ranks on GPUs", e);
    if (rc)
        return sky_free(l), rc;
    d->links = l;
    return SKY_OK;
}

static ncclResult_t pass(sky_dev *d, const sky_part *give, const sky_part *take)
{
    ncclResult_t rc = ncclSuccess;
    for (int r = 0; r < d->links->ranks && rc == ncclSuccess; r++) {
        if (give[r].bytes)
            rc = nccl.ncclSend(give[r].p, give[r].bytes, ncclInt8, r, d->links->world, d->stream);
        if (take[r].bytes && rc == ncclSuccess)
            rc = nccl.ncclRecv(take[r].p, take[r].bytes, ncclInt8, r, d->links->world, d->stream);
    }
    return rc;
}

static int exchange(sky_dev *d, const sky_part *give, const sky_part *take, sky_err *e)
{
    int rc = nccl_ok(nccl.ncclGroupStart(), "exchange", e);
    if (rc)
        return rc;
    rc = nccl_ok(pass(d, give, take), "exchange", e);
    ncclResult_t end = nccl.ncclGroupEnd(); /* also after an error: it closes the group */
    return rc ? rc : nccl_ok(end, "exchange", e);
}

void sky_cuda_links_close(sky_cuda_links *l)
{
    if (!l)
        return;
    nccl.ncclCommDestroy(l->world);
    sky_free(l);
}

void sky_cuda_fill_links(sky_backend *b)
{
    b->meet = meet;
    b->join = join;
    b->exchange = exchange;
}

#else
const char *sky_cuda_links_version(void) { return "not built in"; }
void sky_cuda_links_close(sky_cuda_links *) {}
void sky_cuda_fill_links(sky_backend *) {}
#endif
