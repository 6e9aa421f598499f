/* comm_mpi.c -- ranks over MPI. The sums are comm_mpi_sum.c's. */
#include "train/comm_mpi_internal.h"

#ifdef SKY_MPI
#include "base/mem.h"
#include "cpu/parts.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define VERSION_TEXT_(x) #x
#define VERSION_TEXT(x) VERSION_TEXT_(x)

static void *keep_going(void *arg)
{
    sky_mpi *m = arg;
    const struct timespec pause = {0, 200000};
    pthread_mutex_lock(&m->lock);
    while (!m->ending) {
        if (m->late.code || (!m->busy && !m->queued)) {
            pthread_cond_wait(&m->more, &m->lock);
            continue;
        }
        if (sky_mpi_advance(m, &m->late))
            continue;
        pthread_mutex_unlock(&m->lock);
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&m->lock);
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

static int enter(sky_mpi *m, sky_err *e)
{
    pthread_mutex_lock(&m->lock);
    if (!m->late.code)
        return 0;
    pthread_mutex_unlock(&m->lock);
    return sky_fail(e, m->late.code, "%s", m->late.msg);
}

static int leave(sky_mpi *m, int rc)
{
    pthread_mutex_unlock(&m->lock);
    return rc;
}

static int finish(sky_mpi *m, sky_err *e)
{
    int rc = 0;
    while (!rc && (m->busy || m->queued))
        rc = sky_mpi_advance(m, e);
    return rc;
}

static int mpi_wait(sky_comm *k, sky_err *e)
{
    sky_mpi *m = (sky_mpi *)k;
    int rc = enter(m, e);
    return rc ? rc : leave(m, finish(m, e));
}

static int begin(sky_mpi *m, void *p, int64_t n, sky_dtype t, sky_err *e)
{
    span *q = sky_grow(m->queue, m->queued, &m->room, sizeof *q);
    if (!q)
        return sky_fail(e, SKY_ENOMEM, "sum over ranks: out of memory");
    m->queue = q;
    q[m->queued++] = (span){p, n, t};
    pthread_cond_signal(&m->more);
    return sky_mpi_advance(m, e);
}

static int mpi_start(sky_comm *k, void *p, int64_t n, sky_dtype t, sky_err *e)
{
    sky_mpi *m = (sky_mpi *)k;
    int rc = enter(m, e);
    return rc ? rc : leave(m, begin(m, p, n, t, e));
}

static int sum_short(sky_mpi *m, void *p, int n, sky_dtype t, sky_err *e)
{
    int rc = MPI_Allgather(p, n, sky_mpi_type(t), m->parts, n, sky_mpi_type(t), m->world);
    if (rc)
        return sky_mpi_failed(rc, "sum", e);
    sky_add_parts(p, t, NULL, m->parts, t, n, m->head.ranks);
    return 0;
}

static int mpi_sum(sky_comm *k, void *p, int64_t n, sky_dtype t, sky_err *e)
{
    sky_mpi *m = (sky_mpi *)k;
    int rc = enter(m, e);
    if (rc)
        return rc;
    if (n <= SHORT)
        return leave(m, sum_short(m, p, (int)n, t, e));
    rc = begin(m, p, n, t, e);
    return leave(m, rc ? rc : finish(m, e));
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
static int gather_parts(sky_mpi *m, char *p, const float *part, const int64_t *cut, sky_dtype t, int to_all, sky_err *e)
{
    const int ranks = m->head.ranks, r = m->head.rank;
    int64_t unit;
    MPI_Datatype type;
    int *count = sky_alloc(2 * (size_t)ranks * sizeof *count), *at = count + ranks;
    if (!count)
        return sky_fail(e, SKY_ENOMEM, "gather over ranks: out of memory");
    int rc = parts_of(&m->head, cut, count, at, &unit, e);
    if (!rc && !(rc = enter(m, e))) {
        MPI_Type_contiguous((int)(unit * (int64_t)sky_dtype_size(t)), MPI_BYTE, &type);
        MPI_Type_commit(&type);
        char *to = p ? p + cut[0] * (int64_t)sky_dtype_size(t) : NULL;
        rc = to_all ? MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, to, count, at, type, m->world)
                    : MPI_Gatherv(part, count[r], type, to, count, at, type, 0, m->world);
        MPI_Type_free(&type);
        rc = leave(m, rc ? sky_mpi_failed(rc, "gather", e) : 0);
    }
    sky_free(count);
    return rc;
}

static int mpi_gather(sky_comm *k, void *p, const int64_t *cut, sky_dtype t, sky_err *e)
{
    return gather_parts((sky_mpi *)k, p, NULL, cut, t, 1, e);
}

static int mpi_collect(sky_comm *k, const float *part, float *host, const int64_t *cut, sky_err *e)
{
    return gather_parts((sky_mpi *)k, (char *)host, part, cut, SKY_F32, 0, e);
}

static int mpi_broadcast(sky_comm *k, void *p, size_t bytes, int root, sky_err *e)
{
    sky_mpi *m = (sky_mpi *)k;
    const size_t most = 1u << 30;
    int rc = enter(m, e);
    if (rc)
        return rc;
    for (size_t at = 0; at < bytes && !rc; at += most)
        rc = MPI_Bcast((char *)p + at, (int)(bytes - at < most ? bytes - at : most), MPI_BYTE, root, m->world);
    return leave(m, rc ? sky_mpi_failed(rc, "broadcast", e) : 0);
}

static int mpi_barrier(sky_comm *k, sky_err *e)
{
    sky_mpi *m = (sky_mpi *)k;
    int rc = enter(m, e);
    if (rc)
        return rc;
    rc = MPI_Barrier(m->world);
    return leave(m, rc ? sky_mpi_failed(rc, "barrier", e) : 0);
}

static void mpi_abort(sky_comm *k, int status) { MPI_Abort(((sky_mpi *)k)->world, status); }

static void release(sky_mpi *m)
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
    sky_mpi *m = (sky_mpi *)k;
    pthread_mutex_lock(&m->lock);
    m->ending = 1;
    pthread_cond_signal(&m->more);
    pthread_mutex_unlock(&m->lock);
    pthread_join(m->thread, NULL);
    pthread_mutex_destroy(&m->lock);
    pthread_cond_destroy(&m->more);
    MPI_Comm_free(&m->add);
    MPI_Comm_free(&m->spread);
    MPI_Comm_free(&m->world);
    release(m);
    MPI_Finalize();
}

static int make_room(sky_mpi *m, sky_err *e)
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

static const sky_comm_ops mpi_ops = {mpi_close, mpi_sum, mpi_collect, mpi_broadcast, mpi_barrier, mpi_abort};
static const sky_comm_device_ops mpi_device_ops = {"MPI", mpi_sum, NULL, mpi_start, mpi_wait, mpi_gather};

/* Variables of Open MPI's mpirun, of PMIx (srun --mpi=pmix) and of PMI (srun --mpi=pmi2, MPICH's mpiexec). */
int sky_comm_mpi_launched(void) { return getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMIX_RANK") || getenv("PMI_RANK"); }

int sky_comm_mpi_open(sky_comm **out, sky_err *e)
{
    int had = 0;
    MPI_Comm host;
    int rc = MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &had);
    if (rc || had < MPI_THREAD_SERIALIZED)
        return sky_fail(e, SKY_EIO, rc ? "MPI does not start" : "MPI without support for threads");
    sky_mpi *m = sky_calloc(1, sizeof *m);
    if (!m)
        return sky_fail(e, SKY_ENOMEM, "ranks: out of memory");
    m->head.ops = &mpi_ops;
    m->head.device = &mpi_device_ops;
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
    rc = make_room(m, e);
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->more, NULL);
    if (!rc && pthread_create(&m->thread, NULL, keep_going, m))
        rc = sky_fail(e, SKY_EIO, "ranks: no thread for sums");
    if (rc) {
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
