/* comm_mpi_sum.c -- sums over ranks, piece by piece.
 *
 * A sum is cut into pieces. Of every piece each rank owns a part: all ranks send their numbers of it to the owner, which
 * adds them in the order of the ranks, and then all get the results from all. That is the traffic of a ring, 2(n-1)/n of
 * the piece per rank, in two steps instead of 2(n-1), and what comes out does not depend on the library's choices.
 * Short sums (statistics, losses) are gathered whole and added by everyone: one step.
 *
 * Open MPI moves bytes only inside MPI calls, and a piece needs its owner's addition in the middle: sky_mpi_advance()
 * does both. While sums are on their way a thread calls it every 0.2 ms. (64 MiB behind 256 ms of work of a device: of 400 ms over
 * 4 Gbit/s, 290 stay visible with calls only when a bucket begins, 180 with one every 4 ms, 90 with the thread; over
 * shared memory 80, 85 and 15 of 100. tests/bench/bench_comm.c.) `lock` covers every MPI call.
 *
 * The two steps have a communicator each, because ranks must begin collectives on one communicator in one order, and
 * which piece is ready for its second step when the next one begins is a matter of timing. */
#include "train/comm_mpi_internal.h"
#include "cpu/parts.h"

#ifdef SKY_MPI
int sky_mpi_failed(int code, const char *what, sky_err *e)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int n = 0;
    MPI_Error_string(code, text, &n);
    return sky_fail(e, SKY_EIO, "%s over ranks: %s", what, text);
}

MPI_Datatype sky_mpi_type(sky_dtype t) { return t == SKY_F64 ? MPI_DOUBLE : MPI_FLOAT; }

/* Take the next piece off the queue into a free slot and send its parts to their owners. */
static int begin_piece(sky_mpi *m, sky_err *e)
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
    const MPI_Datatype t = sky_mpi_type(s->x.t);
    int rc = MPI_Ialltoallv(s->x.p, s->count, s->at, t, s->parts, s->mine, s->mine_at, t, m->add, &s->request);
    return rc ? sky_mpi_failed(rc, "sum", e) : 0;
}

/* The parts are here: add them and send the result to everyone. */
static int spread_piece(sky_mpi *m, piece *s, sky_err *e)
{
    const int r = m->head.rank;
    sky_add_parts(s->x.p + (size_t)s->at[r] * sky_dtype_size(s->x.t), s->x.t, NULL, s->parts, s->x.t, s->count[r], m->head.ranks);
    s->adding = 0;
    int rc = MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, s->x.p, s->count, s->at, sky_mpi_type(s->x.t), m->spread, &s->request);
    return rc ? sky_mpi_failed(rc, "sum", e) : 0;
}

int sky_mpi_advance(sky_mpi *m, sky_err *e)
{
    for (int i = 0, rc; i < m->busy; i++) {
        piece *s = &m->slot[(m->first + i) % SLOTS];
        int done = 0;
        if ((rc = MPI_Test(&s->request, &done, MPI_STATUS_IGNORE)))
            return sky_mpi_failed(rc, "sum", e);
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
#endif
