/* comm_mpi.c -- ranks over MPI.
 *
 * A sum is cut into pieces. Of every piece each rank owns a part: all ranks send their numbers of it to the owner, which
 * adds them in the order of the ranks, and then all get the results from all. That is the traffic of a ring, 2(n-1)/n of
 * the piece per rank, in two steps instead of 2(n-1), and what comes out does not depend on the library's choices.
 * Short sums (statistics, losses) are gathered whole and added by everyone: one step.
 *
 * Open MPI moves bytes only inside MPI calls, and a piece needs its owner's addition in the middle: advance() does both,
 * from every call. The two steps have a communicator each, because ranks must begin collectives on one communicator in
 * one order, and which piece is ready for its second step when the next one begins is a matter of timing. */
#include "train/comm.h"

#ifdef SKY_MPI
#include "base/mem.h"

#include <limits.h>
#include <mpi.h>
#include <stdlib.h>
#include <string.h>

#define VERSION_TEXT_(x) #x
#define VERSION_TEXT(x) VERSION_TEXT_(x)

enum {
    SLOTS = 8,          /* pieces on their way: memory for as many is kept */
    PIECE = 1 << 22,    /* bytes of a piece */
    SHORT = 1 << 12,    /* elements of a short sum */
    UNIT = 64,          /* parts of the flat buffers are multiples of it: counts beyond INT_MAX elements */
};

typedef struct {
    char *p;            /* elements [0, n) of the caller's buffer */
    int64_t n;
    sky_dtype t;
} span;

typedef struct {
    span x;
    int adding;         /* 1: parts are on their way to their owners, 0: results to everyone */
    MPI_Request request;
    void *parts;        /* this rank's part as each rank has it */
    int *count, *at;    /* of each rank's part in the piece; MPI reads them until the request is done */
    int *mine, *mine_at;
} piece;

typedef struct {
    sky_comm head;
    MPI_Comm world, add, spread;
    piece slot[SLOTS];  /* a ring: `busy` of them from `first`, oldest first */
    int first, busy;
    span *queue;        /* spans not yet begun, [next, queued); the first may be partly begun */
    size_t next, queued, room;
    void *parts;        /* of a short sum */
} mpi;

static int failed(int code, const char *what, sky_err *e)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int n = 0;
    MPI_Error_string(code, text, &n);
    return sky_fail(e, SKY_EIO, "%s over ranks: %s", what, text);
}

static MPI_Datatype mpi_type(sky_dtype t) { return t == SKY_F64 ? MPI_DOUBLE : MPI_FLOAT; }

/* y[i] = sum over r of x[r * n + i], added in the order of r, in double. */
static void add_parts(void *y, const void *x, int64_t n, int ranks, sky_dtype t)
{
    enum { RUN = 256 };
    double s[RUN];
    for (int64_t i = 0; i < n; i += RUN) {
        const int m = n - i < RUN ? (int)(n - i) : RUN;
        if (t == SKY_F64) {
            const double *from = (const double *)x + i;
            memcpy(s, from, (size_t)m * sizeof *s);
            for (int r = 1; r < ranks; r++)
                for (int j = 0; j < m; j++)
                    s[j] += from[r * n + j];
            memcpy((double *)y + i, s, (size_t)m * sizeof *s);
        } else {
            const float *from = (const float *)x + i;
            for (int j = 0; j < m; j++)
                s[j] = from[j];
            for (int r = 1; r < ranks; r++)
                for (int j = 0; j < m; j++)
                    s[j] += from[r * n + j];
            for (int j = 0; j < m; j++)
                ((float *)y)[i + j] = (float)s[j];
        }
    }
}

/* Take the next piece off the queue into a free slot and send its parts to their owners. */
static int begin_piece(mpi *m, sky_err *e)
{
    const int ranks = m->head.ranks;
    span *q = &m->queue[m->next];
    piece *s = &m->slot[(m->first + m->busy) % SLOTS];
    const int64_t size = (int64_t)sky_dtype_size(q->t);
    s->x = *q;
    if (s->x.n > PIECE / size)
        s->x.n = PIECE / size;
    q->p += s->x.n * size;
    q->n -= s->x.n;
    if (!q->n)
        m->next++;
    for (int r = 0; r < ranks; r++) {
        s->at[r] = (int)(s->x.n * r / ranks);
        s->count[r] = (int)(s->x.n * (r + 1) / ranks) - s->at[r];
    }
    const int mine = s->count[m->head.rank];
    for (int r = 0; r < ranks; r++) {
        s->mine[r] = mine;
        s->mine_at[r] = r * mine;
    }
    s->adding = 1;
    m->busy++;
    const MPI_Datatype t = mpi_type(s->x.t);
    int rc = MPI_Ialltoallv(s->x.p, s->count, s->at, t, s->parts, s->mine, s->mine_at, t, m->add, &s->request);
    return rc ? failed(rc, "sum", e) : 0;
}

/* The parts are here: add them and send the result to everyone. */
static int spread_piece(mpi *m, piece *s, sky_err *e)
{
    const int r = m->head.rank;
    add_parts(s->x.p + (size_t)s->at[r] * sky_dtype_size(s->x.t), s->parts, s->count[r], m->head.ranks, s->x.t);
    s->adding = 0;
    int rc = MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, s->x.p, s->count, s->at, mpi_type(s->x.t), m->spread, &s->request);
    return rc ? failed(rc, "sum", e) : 0;
}

/* Whatever can go on without waiting. */
static int advance(mpi *m, sky_err *e)
{
    for (int i = 0, rc; i < m->busy; i++) {
        piece *s = &m->slot[(m->first + i) % SLOTS];
        int done = 0;
        if ((rc = MPI_Test(&s->request, &done, MPI_STATUS_IGNORE)))
            return failed(rc, "sum", e);
        if (!done)
            continue;
        if (s->adding) {
            if (i > 0 && m->slot[(m->first + i - 1) % SLOTS].adding)
                break; /* second steps begin in the order of the pieces; the request is null now and tests as done */
            if ((rc = spread_piece(m, s, e)))
                return rc;
        }
    }
    while (m->busy && !m->slot[m->first].adding && m->slot[m->first].request == MPI_REQUEST_NULL) {
        m->first = (m->first + 1) % SLOTS;
        m->busy--;
    }
    while (m->next < m->queued && m->busy < SLOTS) {
        int rc = begin_piece(m, e);
        if (rc)
            return rc;
    }
    if (m->next == m->queued)
        m->next = m->queued = 0;
    return 0;
}

static int mpi_poke(sky_comm *k, sky_err *e) { return advance((mpi *)k, e); }

static int mpi_wait(sky_comm *k, sky_err *e)
{
    mpi *m = (mpi *)k;
    int rc = 0;
    while (!rc && (m->busy || m->queued))
        rc = advance(m, e);
    return rc;
}

static int mpi_start(sky_comm *k, void *p, int64_t n, sky_dtype t, sky_err *e)
{
    mpi *m = (mpi *)k;
    if (m->queued == m->room) {
        const size_t room = m->room ? 2 * m->room : 64;
        span *q = sky_realloc(m->queue, m->room * sizeof *q, room * sizeof *q);
        if (!q)
            return sky_fail(e, SKY_ENOMEM, "sum over ranks: out of memory");
        m->queue = q;
        m->room = room;
    }
    m->queue[m->queued++] = (span){p, n, t};
    return advance(m, e);
}

static int mpi_sum(sky_comm *k, void *p, int64_t n, sky_dtype t, sky_err *e)
{
    mpi *m = (mpi *)k;
    int rc = advance(m, e);
    if (rc)
        return rc;
    if (n > SHORT) {
        rc = mpi_start(k, p, n, t, e);
        return rc ? rc : mpi_wait(k, e);
    }
    rc = MPI_Allgather(p, (int)n, mpi_type(t), m->parts, (int)n, mpi_type(t), m->world);
    if (rc)
        return failed(rc, "sum", e);
    add_parts(p, m->parts, n, k->ranks, t);
    return 0;
}

/* Counts and places of the ranks' parts in units of `unit` elements; 0, or an error when they do not fit an int. */
static int parts_of(sky_comm *k, const int64_t *cut, int *count, int *at, int64_t *unit, sky_err *e)
{
    *unit = UNIT;
    for (int r = 0; r <= k->ranks; r++)
        if ((cut[r] - cut[0]) % UNIT)
            *unit = 1;
    if ((cut[k->ranks] - cut[0]) / *unit > INT_MAX)
        return sky_fail(e, SKY_ELIMIT, "gather over ranks: %lld elements in parts that are no multiples of %d", (long long)(cut[k->ranks] - cut[0]), UNIT);
    for (int r = 0; r < k->ranks; r++) {
        at[r] = (int)((cut[r] - cut[0]) / *unit);
        count[r] = (int)((cut[r + 1] - cut[r]) / *unit);
    }
    return 0;
}

/* host NULL: p has this rank's part in place and everyone gets all; else part goes to rank 0's host. */
static int gather_parts(mpi *m, char *p, const float *part, const int64_t *cut, sky_dtype t, int to_all, sky_err *e)
{
    const int ranks = m->head.ranks, r = m->head.rank;
    int64_t unit;
    MPI_Datatype type;
    int *count = sky_alloc(2 * (size_t)ranks * sizeof *count), *at = count + ranks;
    if (!count)
        return sky_fail(e, SKY_ENOMEM, "gather over ranks: out of memory");
    int rc = parts_of(&m->head, cut, count, at, &unit, e);
    if (!rc) {
        MPI_Type_contiguous((int)(unit * (int64_t)sky_dtype_size(t)), MPI_BYTE, &type);
        MPI_Type_commit(&type);
        char *to = p ? p + cut[0] * (int64_t)sky_dtype_size(t) : NULL;
        rc = to_all ? MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, to, count, at, type, m->world)
                    : MPI_Gatherv(part, count[r], type, to, count, at, type, 0, m->world);
        MPI_Type_free(&type);
        rc = rc ? failed(rc, "gather", e) : 0;
    }
    sky_free(count);
    return rc;
}

static int mpi_gather(sky_comm *k, void *p, const int64_t *cut, sky_dtype t, sky_err *e)
{
    return gather_parts((mpi *)k, p, NULL, cut, t, 1, e);
}

static int mpi_collect(sky_comm *k, const float *part, float *host, const int64_t *cut, sky_err *e)
{
    return gather_parts((mpi *)k, (char *)host, part, cut, SKY_F32, 0, e);
}

static int mpi_broadcast(sky_comm *k, void *p, size_t bytes, int root, sky_err *e)
{
    const size_t most = 1u << 30;
    for (size_t at = 0; at < bytes; at += most) {
        int rc = MPI_Bcast((char *)p + at, (int)(bytes - at < most ? bytes - at : most), MPI_BYTE, root, ((mpi *)k)->world);
        if (rc)
            return failed(rc, "broadcast", e);
    }
    return 0;
}

static int mpi_barrier(sky_comm *k, sky_err *e)
{
    int rc = MPI_Barrier(((mpi *)k)->world);
    return rc ? failed(rc, "barrier", e) : 0;
}

static void mpi_abort(sky_comm *k, int status) { MPI_Abort(((mpi *)k)->world, status); }

static void release(mpi *m)
{
    for (int i = 0; i < SLOTS; i++) {
        sky_free(m->slot[i].parts);
        sky_free(m->slot[i].count);
    }
    sky_free(m->queue);
    sky_free(m->parts);
    sky_free(m);
}

static void mpi_close(sky_comm *k)
{
    mpi *m = (mpi *)k;
    MPI_Comm_free(&m->add);
    MPI_Comm_free(&m->spread);
    MPI_Comm_free(&m->world);
    release(m);
    MPI_Finalize();
}

static int make_room(mpi *m, sky_err *e)
{
    const size_t ranks = (size_t)m->head.ranks;
    m->parts = sky_alloc(ranks * SHORT * sizeof(double));
    int bad = !m->parts;
    for (int i = 0; i < SLOTS; i++) {
        piece *s = &m->slot[i];
        s->parts = sky_alloc(PIECE + ranks * sizeof(double)); /* the largest part, rounded up, of each rank */
        s->count = sky_alloc(4 * ranks * sizeof(int));
        bad |= !s->parts || !s->count;
        s->at = s->count + ranks;
        s->mine = s->at + ranks;
        s->mine_at = s->mine + ranks;
    }
    return bad ? sky_fail(e, SKY_ENOMEM, "ranks: out of memory") : 0;
}

static const sky_comm_ops mpi_ops = {"MPI", mpi_close, mpi_sum, mpi_start, mpi_poke, mpi_wait, mpi_gather, mpi_collect, mpi_broadcast, mpi_barrier, mpi_abort};

/* Variables of Open MPI's mpirun, of PMIx (srun --mpi=pmix) and of PMI (srun --mpi=pmi2, MPICH's mpiexec). */
int sky_comm_mpi_launched(void) { return getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMIX_RANK") || getenv("PMI_RANK"); }

int sky_comm_mpi_open(sky_comm **out, sky_err *e)
{
    int had = 0;
    MPI_Comm host;
    int rc = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &had);
    if (rc)
        return sky_fail(e, SKY_EIO, "MPI does not start (%d)", rc);
    mpi *m = sky_calloc(1, sizeof *m);
    if (!m)
        return sky_fail(e, SKY_ENOMEM, "ranks: out of memory");
    m->head.ops = &mpi_ops;
    MPI_Comm_rank(MPI_COMM_WORLD, &m->head.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &m->head.ranks);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host);
    MPI_Comm_rank(host, &m->head.local);
    MPI_Comm_size(host, &m->head.locals);
    MPI_Comm_free(&host);
    MPI_Comm_dup(MPI_COMM_WORLD, &m->world);
    MPI_Comm_dup(MPI_COMM_WORLD, &m->add);
    MPI_Comm_dup(MPI_COMM_WORLD, &m->spread);
    MPI_Comm_set_errhandler(m->world, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(m->add, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(m->spread, MPI_ERRORS_RETURN);
    if ((rc = make_room(m, e))) {
        release(m);
        return rc;
    }
    *out = &m->head;
    return 0;
}

const char *sky_comm_built(void)
{
#ifdef OMPI_MAJOR_VERSION
    return "MPI: Open MPI " VERSION_TEXT(OMPI_MAJOR_VERSION) "." VERSION_TEXT(OMPI_MINOR_VERSION) "." VERSION_TEXT(OMPI_RELEASE_VERSION);
#else
    return "MPI: version " VERSION_TEXT(MPI_VERSION) " of the standard";
#endif
}

#else /* without MPI */
#include <stdlib.h>

int sky_comm_mpi_launched(void)
{
    const char *names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"};
    for (int i = 0; i < 3; i++)
        if (getenv(names[i]) && atoi(getenv(names[i])) > 1)
            return 1;
    return 0;
}

int sky_comm_mpi_open(sky_comm **out, sky_err *e)
{
    *out = NULL;
    return sky_fail(e, SKY_EUSAGE, "started as one of several ranks, but MPI is not built in");
}

const char *sky_comm_built(void) { return "MPI: not built in"; }
#endif
