/* See replay.h. */
#include "tensor/replay.h"
#include "base/mem.h"
#include "tensor/backend.h"

#include <stdio.h>
#include <string.h>

enum { KEPT = 16 }; /* recordings; the one not used for longest makes room */

typedef struct {
    char *key;           /* the caller's, then where the stack begins and the size of the result; NULL: unused */
    size_t n;
    sky_work *work;
    void *out;           /* of the recording */
    size_t used;         /* where the stack ended */
    uint64_t last;       /* when it was used */
} entry;

struct sky_replay {
    sky_ctx *c;
    void (*warn)(void *arg, const char *line);
    void *arg;
    int off;             /* recording failed */
    uint64_t now;
    sky_replay_counts counts;
    entry v[KEPT];
};

int sky_replay_open(sky_replay **out, sky_ctx *c, void (*warn)(void *arg, const char *line), void *arg, sky_err *e)
{
    sky_replay *r = *out = sky_calloc(1, sizeof *r);
    if (!r)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    *r = (sky_replay){.c = c, .warn = warn, .arg = arg};
    return SKY_OK;
}

static void clear(sky_replay *r, entry *k)
{
    if (k->work)
        r->c->be->work_free(r->c->dev, k->work);
    sky_free(k->key);
    sky_free(k->out);
    *k = (entry){0};
}

void sky_replay_close(sky_replay *r)
{
    for (int i = 0; r && i < KEPT; i++)
        clear(r, &r->v[i]);
    sky_free(r);
}

sky_replay_counts sky_replay_counted(const sky_replay *r) { return r->counts; }

/* The entry of a key, new if need be; NULL: out of memory. */
static entry *entry_of(sky_replay *r, const void *key, size_t n, size_t out_bytes)
{
    const size_t tail[2] = {r->c->used, out_bytes}, all = n + sizeof tail;
    char *full = sky_alloc(all);
    entry *k = &r->v[0];
    if (!full)
        return NULL;
    memcpy(full, key, n);
    memcpy(full + n, tail, sizeof tail);
    for (int i = 0; i < KEPT; i++) {
        if (r->v[i].n == all && !memcmp(r->v[i].key, full, all)) {
            sky_free(full);
            return &r->v[i];
        }
        k = r->v[i].last < k->last ? &r->v[i] : k;
    }
    clear(r, k);
    *k = (entry){.key = full, .n = all, .out = sky_alloc(out_bytes)};
    if (k->out)
        return k;
    clear(r, k);
    return NULL;
}

static int call(sky_replay *r, sky_replay_fn *fn, void *arg, void *out, sky_err *e)
{
    r->counts.called += !r->c->dry;
    return fn(arg, out, e);
}

static int rehearse(sky_replay *r, entry *k, sky_replay_fn *fn, void *arg, void *out, sky_err *e)
{
    const sky_backend *be = r->c->be;
    int rc = be->work_rehearse(r->c->dev, &k->work, e);
    if (rc)
        return rc;
    rc = call(r, fn, arg, out, e);
    if (rc) {
        sky_err ignored;
        return be->work_end(r->c->dev, k->work, 0, &ignored), rc;
    }
    return be->work_end(r->c->dev, k->work, 1, e);
}

static int record(sky_replay *r, entry *k, sky_replay_fn *fn, void *arg, sky_err *e)
{
    const sky_backend *be = r->c->be;
    int rc = be->work_record(r->c->dev, k->work, e);
    if (rc)
        return rc;
    rc = fn(arg, k->out, e);
    if (rc) {
        sky_err ignored;
        return be->work_end(r->c->dev, k->work, 0, &ignored), rc;
    }
    k->used = r->c->used;
    rc = be->work_end(r->c->dev, k->work, 1, e);
    r->counts.recorded += !rc;
    return rc;
}

static int replay(sky_replay *r, entry *k, void *out, size_t out_bytes, sky_err *e)
{
    int rc = r->c->be->work_replay(r->c->dev, k->work, e);
    r->c->used = k->used;
    r->counts.replayed += !rc;
    memcpy(out, k->out, out_bytes);
    return rc;
}

/* No recordings from now on; this once as if there had been no attempt. */
static int without(sky_replay *r, size_t used, sky_replay_fn *fn, void *arg, void *out, const sky_err *why, sky_err *e)
{
    char line[sizeof why->msg + 80];
    snprintf(line, sizeof line, "device: work cannot be recorded and is queued piece by piece: %s", why->msg);
    if (r->warn)
        r->warn(r->arg, line);
    r->off = 1;
    r->c->err = (sky_err){0};
    r->c->used = used;
    return call(r, fn, arg, out, e);
}

int sky_replay_run(sky_replay *r, const void *key, size_t n, sky_replay_fn *fn, void *arg, void *out, size_t out_bytes, sky_err *e)
{
    sky_ctx *c = r->c;
    const size_t used = c->used;
    sky_err why = {0};
    if (r->off || !c->be->work_record || c->dry || c->tape || c->draws || c->sync || c->err.code)
        return call(r, fn, arg, out, e);
    entry *k = entry_of(r, key, n, out_bytes);
    if (!k)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    k->last = ++r->now;
    int state = c->be->work_state(c->dev, k->work);
    if (state == SKY_WORK_NEW)
        return rehearse(r, k, fn, arg, out, e);
    if (state == SKY_WORK_REHEARSED && record(r, k, fn, arg, &why))
        return without(r, used, fn, arg, out, &why, e);
    return replay(r, k, out, out_bytes, e);
}
