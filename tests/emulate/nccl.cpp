/* See nccl_emu.h. */
#include "emulate/nccl_emu.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include <vector>
#ifdef SKY_MPI
#define OMPI_SKIP_MPICXX 1
#include <mpi.h>
#endif

struct emu_nccl {
    int rank, ranks;
};
struct message {
    char *p; /* emulated device memory */
    size_t n;
    int peer, sent;
    std::vector<char> bytes;
};
static int open_groups;
static std::vector<message> group; /* being put together, then the one that runs */
static emu_nccl *of_group;
static cudaStream_t on_stream;

[[noreturn]] static void die(const char *what)
{
    printf("Bail out! emulation of NCCL: %s\n", what);
    fflush(stdout);
    abort();
}

ncclResult_t ncclGetVersion(int *version) { return *version = 0, ncclSuccess; }
const char *ncclGetErrorString(ncclResult_t rc) { return rc == ncclSuccess ? "no error" : "invalid usage"; }

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    memset(id, 0, sizeof *id);
    snprintf(id->internal, sizeof id->internal, "%ld %ld", (long)getpid(), (long)time(NULL));
    return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t *c, int ranks, ncclUniqueId id, int rank)
{
    if (ranks > 1) {
#ifdef SKY_MPI
        ncclUniqueId first = id;
        int r, n;
        MPI_Comm_rank(MPI_COMM_WORLD, &r);
        MPI_Comm_size(MPI_COMM_WORLD, &n);
        MPI_Bcast(&first, sizeof first, MPI_BYTE, 0, MPI_COMM_WORLD);
        if (r != rank || n != ranks || memcmp(&first, &id, sizeof id))
            return ncclInvalidUsage;
#else
        return ncclInvalidUsage;
#endif
    }
    *c = new emu_nccl{rank, ranks};
    return ncclSuccess;
}
ncclResult_t ncclCommDestroy(ncclComm_t c) { return delete c, ncclSuccess; }

ncclResult_t ncclGroupStart(void) { return open_groups++, ncclSuccess; }

static ncclResult_t add(void *p, size_t n, int peer, ncclComm_t c, int sent, cudaStream_t s)
{
    if (!open_groups || peer < 0 || peer >= c->ranks || (!group.empty() && s != on_stream))
        return ncclInvalidUsage;
    emu_check_range(p, n);
    of_group = c;
    on_stream = s;
    group.push_back({(char *)p, n, peer, sent, std::vector<char>(n)});
    return ncclSuccess;
}
ncclResult_t ncclSend(const void *p, size_t n, ncclDataType_t, int peer, ncclComm_t c, cudaStream_t s) { return add((void *)p, n, peer, c, 1, s); }
ncclResult_t ncclRecv(void *p, size_t n, ncclDataType_t, int peer, ncclComm_t c, cudaStream_t s) { return add(p, n, peer, c, 0, s); }

static void within(message *m)
{
    for (message &to : group)
        if (!to.sent && to.peer == of_group->rank && to.p) {
            if (to.n != m->n)
                die("a rank sends itself another number of bytes than it takes");
            to.bytes = m->bytes;
            return;
        }
    die("a rank sends to itself and does not take it");
}

static void between(void)
{
#ifdef SKY_MPI
    std::vector<MPI_Request> request;
    for (message &m : group) {
        MPI_Request q;
        if (m.peer == of_group->rank)
            continue;
        if (m.sent)
            MPI_Isend(m.bytes.data(), (int)m.n, MPI_BYTE, m.peer, 77, MPI_COMM_WORLD, &q);
        else
            MPI_Irecv(m.bytes.data(), (int)m.n, MPI_BYTE, m.peer, 77, MPI_COMM_WORLD, &q);
        request.push_back(q);
    }
    if (request.empty())
        return; /* a rank alone, without MPI */
    std::vector<MPI_Status> status(request.size());
    MPI_Waitall((int)request.size(), request.data(), status.data());
    size_t i = 0;
    for (message &m : group) {
        if (m.peer == of_group->rank)
            continue;
        int n = 0;
        MPI_Get_count(&status[i++], MPI_BYTE, &n);
        if (!m.sent && (size_t)n != m.n)
            die("a message of another size than its receiver waits for");
    }
#endif
}

static void apart(void)
{
    for (const message &a : group)
        for (const message &b : group)
            if (&a != &b && !a.sent && a.p < b.p + b.n && b.p < a.p + a.n)
                die("what is taken overlaps another message");
}

static void run(void)
{
    emu_open_memory(); /* once for all of them: it is slow */
    for (message &m : group)
        if (m.sent) {
            memcpy(m.bytes.data(), m.p, m.n);
            if (m.peer == of_group->rank)
                within(&m);
        }
    between();
    for (message &m : group)
        if (!m.sent)
            memcpy(m.p, m.bytes.data(), m.n);
    emu_close_memory();
    group.clear();
}

ncclResult_t ncclGroupEnd(void)
{
    if (!open_groups)
        return ncclInvalidUsage;
    if (--open_groups || group.empty())
        return ncclSuccess;
    apart();
    emu_nccl *whose = of_group;
    std::vector<message> *what = new std::vector<message>(std::move(group));
    group.clear();
    emu_queue(on_stream, [=] {
        group.swap(*what);
        of_group = whose;
        run();
        delete what;
    });
    return ncclSuccess;
}
