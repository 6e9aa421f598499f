/* comm_nccl.c -- sums over ranks that have a GPU each: memory of the devices is passed by NCCL (the backend's `exchange`)
 * and added by a kernel of ours (`add_parts`). Host memory, and everything else, stays with MPI.
 *
 * ncclAllReduce would leave order, rounding and the choice of the algorithm to the library; here the bits are those of the
 * sums on CPUs, for any number of hosts. Of a piece each rank of a host owns a slice, which its neighbours send it. It
 * adds them in the order of the ranks, to the sum that the host before it has sent, in double, and sends that on; on the
 * last host it is rounded to the result, which goes back from host to host, and on each host from the owner to its
 * neighbours. Pieces follow each other through the hosts like a train, so all links are busy: with R ranks per host each
 * sends 2(R-1)/R of the piece to its neighbours and 3/R of it (double up, single down) to the next hosts, where sending to
 * all owners everywhere would send 2(n-1)/n. Ranks that do not fill hosts in order are taken as those of one host.
 *
 * Exchanges are queued in an order that is the same on all ranks: NCCL deadlocks otherwise. Ranks may differ in when,
 * between sums of statistics (nccl_sum), they begin the sum of a bucket (nccl_start, train/buckets.h). But every backward
 * makes as many sums of statistics as the first one, on every rank: those of batch norm, in the decoder, where backward
 * begins. So what is begun is carried from the last of these on, and goes over in the order it was begun, beside the rest
 * of backward; in the first backward, whose number of sums is not known yet, at the wait. There what was begun side by
 * side is one sum: fewer and longer messages.
 *
 * The order that is enforced between the device's work and the lane of these sums:
 *
 *   WORK                                              LINK
 *   sums of statistics (use m->memory), the last
 *   gradients of a bucket                      ->     follows WORK, as it is when the bucket begins
 *   the rest of backward                              sum of the bucket (uses m->memory)
 *   follows LINK, at the wait                  <-     the last bucket
 *   norm, optimizer; sums of statistics
 *
 * so nothing touches a bucket's gradients, or m->memory, from two lanes. */
#include "base/mem.h"
#include "tensor/backend.h"
#include "train/comm.h"

#include <string.h>

enum {
    PIECE = 32 << 20, /* bytes; long enough for the bandwidth of a link, short enough that a train of them is long */
    SHORT = 1 << 12,  /* elements of a sum that every rank adds for itself: one step */
};

typedef struct {
    char *p;
    int64_t n;
    sky_dtype t;
} span;

struct sky_comm_nccl {
    int rank, ranks;
    int host, hosts, local, locals; /* rank = host * locals + local */
    const sky_backend *be;
    sky_dev *dev;
    void *memory;          /* of the device: */
    char *parts;           /* what is to be added, PIECE and a number per rank by which slices may be longer */
    double *from, *to;     /* sums of a slice: of the hosts before, and with this one's */
    sky_part *give, *take; /* [ranks], of the exchange at hand */
    span *queue;           /* begun */
    size_t queued, room;
    int open;              /* between nccl_begin and nccl_wait */
    int64_t stats, last;   /* sums of statistics since nccl_begin; how many there will be, -1: not known */
    int busy;              /* something was queued on LINK since the last wait */
};

/* Numbers in the longest slice of a piece of F32. */
static int64_t slice_most(const sky_comm_nccl *m) { return PIECE / 4 / m->locals + 1; }
static size_t parts_bytes(const sky_comm_nccl *m) { return PIECE + (size_t)m->ranks * sizeof(double); }
static size_t memory_bytes(const sky_comm_nccl *m) { return parts_bytes(m) + 2 * (size_t)slice_most(m) * sizeof(double); }

/* Elements [from, to) of p, of `size` bytes each. */
static sky_part part(void *p, int64_t from, int64_t to, size_t size)
{
    return (sky_part){(char *)p + (size_t)from * size, (size_t)(to - from) * size};
}

static void begin(sky_comm_nccl *m)
{
    memset(m->give, 0, (size_t)m->ranks * sizeof *m->give);
    memset(m->take, 0, (size_t)m->ranks * sizeof *m->take);
}
static int swap(sky_comm_nccl *m, sky_err *e) { return m->be->exchange(m->dev, m->give, m->take, e); }

/* ---- short sums ------------------------------------------------------------------------------------------------ */

static int sum_short(sky_comm_nccl *m, void *p, int64_t n, sky_dtype t, sky_err *e)
{
    for (int r = 0; r < m->ranks; r++) {
        m->give[r] = part(p, 0, n, sky_dtype_size(t));
        m->take[r] = part(m->parts, r * n, (r + 1) * n, sky_dtype_size(t));
    }
    int rc = swap(m, e);
    sky_tensor y = {p, t, 1, {n}}, parts = {m->parts, t, 2, {m->ranks, n}};
    return rc ? rc : m->be->add_parts(m->dev, &y, &sky_none, &parts, e);
}

/* ---- long sums ------------------------------------------------------------------------------------------------- */

/* Slice `local` of piece q of s; empty before the first and behind the last piece. */
static sky_part slice(const sky_comm_nccl *m, const span *s, int64_t q, int local)
{
    const int64_t size = (int64_t)sky_dtype_size(s->t), most = PIECE / size, from = q * most;
    const int64_t n = q < 0 || from >= s->n ? 0 : s->n - from < most ? s->n - from : most;
    return n ? part(s->p + from * size, n * local / m->locals, n * (local + 1) / m->locals, (size_t)size) : (sky_part){0};
}

/* Slices of piece q to their owners, sums to the next host; then this host's part of the sum. */
static int up(sky_comm_nccl *m, const span *s, int64_t q, sky_err *e)
{
    const size_t size = sky_dtype_size(s->t);
    const sky_part mine = slice(m, s, q, m->local);
    const int64_t n = (int64_t)(mine.bytes / size), before = (int64_t)(slice(m, s, q - 1, m->local).bytes / size);
    const int first = m->rank - m->local, last = m->host == m->hosts - 1;
    begin(m);
    for (int l = 0; l < m->locals; l++) {
        m->give[first + l] = slice(m, s, q, l);
        m->take[first + l] = part(m->parts, l * n, (l + 1) * n, size);
    }
    if (m->host)
        m->take[m->rank - m->locals] = part(m->from, 0, n, sizeof(double));
    if (!last)
        m->give[m->rank + m->locals] = part(m->to, 0, before, sizeof(double));
    int rc = swap(m, e);
    sky_tensor y = last ? (sky_tensor){mine.p, s->t, 1, {n}} : (sky_tensor){m->to, SKY_F64, 1, {n}};
    sky_tensor carry = m->host ? (sky_tensor){m->from, SKY_F64, 1, {n}} : sky_none, parts = {m->parts, s->t, 2, {m->locals, n}};
    return rc || !n ? rc : m->be->add_parts(m->dev, &y, &carry, &parts, e);
}

/* The result of piece q, which the owner has, to its neighbours and to the host before; that of the next from the host
 * behind. */
static int down(sky_comm_nccl *m, const span *s, int64_t q, sky_err *e)
{
    const int first = m->rank - m->local;
    begin(m);
    for (int l = 0; l < m->locals; l++)
        if (l != m->local) {
            m->give[first + l] = slice(m, s, q, m->local);
            m->take[first + l] = slice(m, s, q, l);
        }
    if (m->host)
        m->give[m->rank - m->locals] = slice(m, s, q, m->local);
    if (m->host < m->hosts - 1)
        m->take[m->rank + m->locals] = slice(m, s, q + 1, m->local);
    return swap(m, e);
}

static int carry(sky_comm_nccl *m, const span *s, sky_err *e)
{
    const int64_t size = (int64_t)sky_dtype_size(s->t), pieces = (s->n * size + PIECE - 1) / PIECE, last = m->hosts - 1;
    if (s->n <= SHORT && s->n * size * m->ranks <= PIECE)
        return sum_short(m, s->p, s->n, s->t, e);
    int rc = 0;
    /* A piece is a step later on the next host, and when it is back: both sides of every message count the same piece. */
    for (int64_t step = 0; step <= pieces + 2 * last && !rc; step++) {
        rc = up(m, s, step - m->host, e);
        if (!rc)
            rc = down(m, s, step - 2 * last + m->host - 1, e);
    }
    return rc;
}

/* Whether the span continues another one, at either end; the other one is both then. */
static int joined(span *a, const span *b)
{
    const int64_t size = (int64_t)sky_dtype_size(a->t);
    if (a->t != b->t || (a->p + a->n * size != b->p && b->p + b->n * size != a->p))
        return 0;
    if (b->p < a->p)
        a->p = b->p;
    a->n += b->n;
    return 1;
}

/* ---- when sums are carried --------------------------------------------------------------------------------------- */

static void nccl_begin(sky_comm *k)
{
    k->nccl->open = 1;
    k->nccl->stats = 0;
}

/* What was begun, behind the work that has been queued, beside what comes. */
static int carry_begun(sky_comm_nccl *m, sky_err *e)
{
    int rc = m->queued ? m->be->follow(m->dev, SKY_LANE_LINK, SKY_LANE_WORK, e) : 0;
    m->busy |= m->queued != 0;
    m->be->turn_to(m->dev, SKY_LANE_LINK);
    for (size_t i = 0; i < m->queued && !rc; i++)
        rc = carry(m, &m->queue[i], e);
    m->be->turn_to(m->dev, SKY_LANE_WORK);
    m->queued = 0;
    return rc;
}

static int may_go(const sky_comm_nccl *m) { return m->open && m->stats == m->last; }

static int nccl_sum(sky_comm *k, void *p, int64_t n, sky_dtype t, sky_err *e)
{
    sky_comm_nccl *m = k->nccl;
    if (may_go(m)) /* ranks would queue it in different places among the buckets, and wait for each other for ever */
        return sky_fail(e, SKY_EUSAGE, "sum over ranks: more than the %lld of the first backward", (long long)m->last);
    int rc = carry(m, &(span){p, n, t}, e);
    m->stats++;
    return !rc && may_go(m) ? carry_begun(m, e) : rc;
}

static int nccl_start(sky_comm *k, void *p, int64_t n, sky_dtype t, sky_err *e)
{
    sky_comm_nccl *m = k->nccl;
    const span s = {p, n, t};
    const int waits_for_all = m->last < 0; /* then all ranks join the same ones */
    if (waits_for_all && m->queued && joined(&m->queue[m->queued - 1], &s))
        return 0;
    span *q = sky_grow(m->queue, m->queued, &m->room, sizeof *q);
    if (!q)
        return sky_fail(e, SKY_ENOMEM, "sum over ranks: out of memory");
    m->queue = q;
    m->queue[m->queued++] = s;
    return may_go(m) ? carry_begun(m, e) : 0;
}

static int nccl_wait(sky_comm *k, sky_err *e)
{
    sky_comm_nccl *m = k->nccl;
    int rc = carry_begun(m, e);
    if (!rc && m->busy)
        rc = m->be->follow(m->dev, SKY_LANE_WORK, SKY_LANE_LINK, e);
    if (m->open && m->last < 0)
        m->last = m->stats;
    m->open = m->busy = 0;
    return rc;
}

/* ---- parts ------------------------------------------------------------------------------------------------------ */

/* First to the ranks of the same place on other hosts, then, host by host, among neighbours. */
static int nccl_gather(sky_comm *k, void *p, const int64_t *cut, sky_dtype t, sky_err *e)
{
    sky_comm_nccl *m = k->nccl;
    const size_t size = sky_dtype_size(t);
    int rc = 0;
    begin(m);
    for (int r = m->local; r < m->ranks; r += m->locals)
        if (r != m->rank) {
            m->give[r] = part(p, cut[m->rank], cut[m->rank + 1], size);
            m->take[r] = part(p, cut[r], cut[r + 1], size);
        }
    if (m->hosts > 1)
        rc = swap(m, e);
    for (int h = 0; h < m->hosts && !rc; h++) {
        const int64_t *c = cut + h * m->locals; /* of that host's ranks */
        begin(m);
        for (int l = 0; l < m->locals; l++)
            if (l != m->local) {
                m->give[m->rank - m->local + l] = part(p, c[m->local], c[m->local + 1], size);
                m->take[m->rank - m->local + l] = part(p, c[l], c[l + 1], size);
            }
        rc = swap(m, e);
    }
    return rc;
}

static const sky_comm_device_ops nccl_ops = {"NCCL", nccl_sum, nccl_begin, nccl_start, nccl_wait, nccl_gather};

/* ---- open, close ------------------------------------------------------------------------------------------------ */

void sky_comm_nccl_close(sky_comm *k)
{
    sky_comm_nccl *m = k->nccl;
    if (!m)
        return;
    m->be->free(m->dev, m->memory, memory_bytes(m));
    sky_free(m->give);
    sky_free(m->take);
    sky_free(m->queue);
    sky_free(m);
    k->nccl = NULL;
}

static int make_room(sky_comm_nccl *m, sky_err *e)
{
    m->give = sky_calloc((size_t)m->ranks, sizeof *m->give);
    m->take = sky_calloc((size_t)m->ranks, sizeof *m->take);
    if (!m->give || !m->take)
        return sky_fail(e, SKY_ENOMEM, "ranks: out of memory");
    int rc = m->be->alloc(m->dev, &m->memory, memory_bytes(m), e);
    if (rc)
        return rc;
    m->from = m->memory;
    m->to = m->from + slice_most(m);
    m->parts = (char *)(m->to + slice_most(m));
    return 0;
}

/* Whether the ranks fill hosts of equal size in order, as mpirun and srun place them unless told otherwise. */
static int place(sky_comm_nccl *m, sky_comm *k, sky_err *e)
{
    int locals = k->locals;
    int rc = sky_comm_broadcast(k, &locals, sizeof locals, 0, e);
    double in_order = k->locals == locals && k->rank % locals == k->local && k->ranks % locals == 0;
    if (!rc)
        rc = sky_comm_sum(k, &in_order, 1, SKY_F64, e);
    m->locals = in_order == k->ranks ? locals : k->ranks;
    m->local = k->rank % m->locals;
    m->host = k->rank / m->locals;
    m->hosts = k->ranks / m->locals;
    return rc;
}

int sky_comm_nccl_join(sky_comm *k, const sky_ctx *c, sky_err *e)
{
    sky_meeting where = {0};
    if (!c->be->join)
        return sky_fail(e, SKY_EUSAGE, "%d ranks with a GPU each, but NCCL is not built in; --device cpu trains on the CPUs", k->ranks);
    sky_comm_nccl *m = k->nccl = sky_calloc(1, sizeof *m);
    if (!m)
        return sky_fail(e, SKY_ENOMEM, "ranks: out of memory");
    *m = (sky_comm_nccl){.rank = k->rank, .ranks = k->ranks, .locals = 1, .last = -1, .be = c->be, .dev = c->dev};
    int rc = place(m, k, e);
    if (!rc)
        rc = make_room(m, e);
    if (!rc && k->rank == 0)
        rc = c->be->meet(&where, e);
    if (!rc)
        rc = sky_comm_broadcast(k, &where, sizeof where, 0, e);
    if (!rc)
        rc = c->be->join(c->dev, &where, k->rank, k->ranks, e);
    if (rc)
        sky_comm_nccl_close(k);
    else
        k->device = &nccl_ops;
    return rc;
}
