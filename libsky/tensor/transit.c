/* transit.c -- see transit.h. The order that is enforced, for slot s (what stands under another happens later):
 *
 *   host                   IN                      WORK                           OUT
 *   writes input(s)
 *   send            ->     copies input(s) up
 *                                           ->     follows IN
 *                                                  reads input(s)
 *                                                  forward
 *                                                  writes results(s)
 *                                                  mark READY(s)           ->     follows WORK
 *                                                                                 copies results(s) down
 *   waits for READY(s), for its checks                                            mark FETCHED(s)
 *   waits for FETCHED(s)   <-----------------------------------------------------
 *   reads results(s); may write input(s) again
 *
 * FETCHED(s) comes after the work, and that after the copy up, so a host that has waited knows that no lane touches slot s
 * any more: no lane has to wait for an earlier use of a slot. The other slot is anywhere in its own column meanwhile; within a lane
 * slots keep the order they were asked for. A slot whose work failed half way is waited for the same way: `wait` marks
 * what has been queued of it. */
#include "tensor/transit.h"
#include "base/mem.h"
#include "tensor/backend.h"

enum { READY = 0, FETCHED = SKY_SLOTS };

typedef struct {
    char *host, *dev; /* the same where the backend computes in host memory */
    size_t n;
} room;
struct sky_transit {
    sky_ctx *c;
    struct {
        room in, out;
        int sent, fetched; /* and not waited for */
        size_t bytes, results;
    } s[SKY_SLOTS];
};

int sky_transit_open(sky_transit **out, sky_ctx *c, sky_err *e)
{
    sky_transit *t = *out = sky_calloc(1, sizeof *t);
    if (!t)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    t->c = c;
    return SKY_OK;
}

static int apart(const sky_transit *t) { return t->c->be->own_memory; }

int sky_transit_useful(const sky_transit *t) { return apart(t) ? SKY_SLOTS : 1; }

static void empty(sky_transit *t, room *r)
{
    if (apart(t)) {
        t->c->be->free(t->c->dev, r->dev, r->n);
        t->c->be->host_free(t->c->dev, r->host);
    } else {
        sky_free(r->host);
    }
    *r = (room){0};
}

void sky_transit_close(sky_transit *t)
{
    sky_err ignored;
    for (int s = 0; t && s < SKY_SLOTS; s++) {
        if (sky_transit_wait(t, s, &ignored) == SKY_EDEVICE)
            continue; /* it may still be written to */
        empty(t, &t->s[s].in);
        empty(t, &t->s[s].out);
    }
    sky_free(t);
}

static char *sized(sky_transit *t, room *r, size_t n, sky_err *e)
{
    sky_ctx *c = t->c;
    void *host = NULL, *dev = NULL;
    if (n <= r->n && r->host)
        return r->host;
    empty(t, r);
    if (!apart(t)) {
        if (!(host = sky_alloc(n)))
            return sky_fail(e, SKY_ENOMEM, "out of memory for %zu bytes of inputs or results", n), NULL;
        *r = (room){host, host, n};
        return host;
    }
    if (c->be->host_alloc(c->dev, &host, n, e))
        return NULL;
    if (c->be->alloc(c->dev, &dev, n, e)) {
        c->be->host_free(c->dev, host);
        return NULL;
    }
    *r = (room){host, dev, n};
    return host;
}

void *sky_transit_input(sky_transit *t, int s, size_t n, sky_err *e) { return t->s[s].bytes = n, sized(t, &t->s[s].in, n, e); }
const void *sky_transit_output(sky_transit *t, int s, size_t n, sky_err *e) { return t->s[s].results = n, sized(t, &t->s[s].out, n, e); }

static int going(const sky_transit *t) { return !t->c->err.code && !t->c->dry; }

void sky_transit_send(sky_transit *t, int s)
{
    sky_ctx *c = t->c;
    if (!going(t))
        return;
    t->s[s].sent = 1;
    if (!apart(t))
        return;
    int rc = c->be->carry(c->dev, SKY_LANE_IN, t->s[s].in.dev, t->s[s].in.host, t->s[s].bytes, &c->err);
    if (!rc)
        c->be->follow(c->dev, SKY_LANE_WORK, SKY_LANE_IN, &c->err);
}

sky_tensor sky_transit_look(sky_transit *t, int s, size_t at, sky_dtype type, int ndim, const int64_t *shape)
{
    static char nowhere;
    sky_tensor y = {.data = t->c->dry ? &nowhere : t->s[s].in.dev + at, .dtype = type, .ndim = ndim};
    for (int i = 0; i < ndim; i++)
        y.shape[i] = shape[i];
    return t->c->err.code ? sky_none : y;
}

sky_tensor sky_transit_take(sky_transit *t, int s, size_t at, sky_dtype type, int ndim, const int64_t *shape)
{
    sky_ctx *c = t->c;
    sky_tensor x = sky_transit_look(t, s, at, type, ndim, shape), y = sky_new(c, type, ndim, shape);
    if (going(t))
        c->be->move(c->dev, y.data, x.data, (size_t)sky_bytes(&x), &c->err);
    return c->err.code ? sky_none : y;
}

void sky_transit_give(sky_transit *t, int s, size_t at, const sky_tensor *x)
{
    sky_ctx *c = t->c;
    if (going(t))
        c->be->move(c->dev, t->s[s].out.dev + at, x->data, (size_t)sky_bytes(x), &c->err);
}

void sky_transit_fetch(sky_transit *t, int s)
{
    sky_ctx *c = t->c;
    if (!going(t) || !apart(t))
        return;
    int rc = c->be->mark(c->dev, SKY_LANE_WORK, READY + s, &c->err);
    if (!rc)
        rc = c->be->follow(c->dev, SKY_LANE_OUT, SKY_LANE_WORK, &c->err);
    if (!rc)
        rc = c->be->carry(c->dev, SKY_LANE_OUT, t->s[s].out.host, t->s[s].out.dev, t->s[s].results, &c->err);
    if (!rc)
        rc = c->be->mark(c->dev, SKY_LANE_OUT, FETCHED + s, &c->err);
    t->s[s].fetched = !rc;
}

int sky_transit_wait(sky_transit *t, int s, sky_err *e)
{
    sky_ctx *c = t->c;
    int sent = t->s[s].sent, fetched = t->s[s].fetched;
    t->s[s].sent = t->s[s].fetched = 0;
    if (!sent || !apart(t))
        return SKY_OK;
    if (!fetched && (c->be->follow(c->dev, SKY_LANE_WORK, SKY_LANE_IN, e) || c->be->mark(c->dev, SKY_LANE_WORK, READY + s, e)))
        return e->code;
    int rc = c->be->reach(c->dev, READY + s, e);
    sky_err second;
    int late = fetched ? c->be->reach(c->dev, FETCHED + s, rc ? &second : e) : SKY_OK;
    return rc ? rc : late;
}
