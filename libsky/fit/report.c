#include "fit/report.h"
#include "tensor/backend.h"

#include <inttypes.h>

enum { KINDS = 5 }; /* of sky_state_bytes */

typedef struct {
    uint64_t all, trained, statistics; /* values */
    uint64_t loaded;                   /* those that the device reads as they were loaded */
    int tensors, trained_tensors;      /* statistics are not counted */
} counts;

static counts count(const sky_state *s)
{
    counts n = {.trained_tensors = s->n};
    for (int i = 0; i < s->ps->n; i++) {
        uint64_t values = (uint64_t)sky_numel(s->ps->v[i].slot);
        int is_parameter = s->ps->v[i].kind != SKY_PARAM_STAT;
        n.all += values;
        n.loaded += s->on_host ? (s->on_host[i] ? 0 : values) : s->loaded[i].data ? values : 0;
        n.tensors += is_parameter;
        n.statistics += is_parameter ? 0 : values;
    }
    for (int i = 0; i < s->n; i++)
        n.trained += (uint64_t)s->v[i].n;
    return n;
}

static int state_bytes(const sky_state *s, const sky_run *r, uint64_t bytes[KINDS], sky_err *e)
{
    sky_state_opts o = s->o;
    sky_rule *rules = sky_calloc((size_t)s->ps->n, sizeof *rules);
    if (!rules)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    sky_run_rules(r, s->ps, rules);
    o.rule = rules;
    sky_state_bytes(s->ps, &o, bytes);
    sky_free(rules);
    return SKY_OK;
}

static void put_bytes(sky_buf *out, const char *what, uint64_t n) { sky_buf_printf(out, "  %-44s %12.1f MiB\n", what, (double)n / (1 << 20)); }
static const char *plural(int64_t n) { return n > 1 ? "s" : ""; }

int sky_fit_report(sky_buf *out, sky_fit *f, const sky_run *r, int ranks, sky_err *e)
{
    static const char *const kinds[KINDS] = {"master weights", "gradients", "moments of the optimizer", "running average", "working copies"};
    const sky_state *s = sky_fit_state(f);
    counts n = count(s);
    uint64_t bytes[KINDS];
    int rc = state_bytes(s, r, bytes, e);
    if (rc)
        return rc;
    sky_buf_printf(out, "parameters: %" PRIu64 " in %d tensors; trained: %" PRIu64 " in %d; frozen: %" PRIu64 "; statistics: %" PRIu64 "\n", n.all - n.statistics,
                   n.tensors, n.trained, n.trained_tensors, n.all - n.statistics - n.trained, n.statistics);
    sky_buf_printf(out, "steps: %" PRId64 " of %" PRId64 " samples, on %d rank%s in %" PRId64 " part%s\n", r->steps, r->batch, ranks, plural(ranks), r->accumulate,
                   plural(r->accumulate));
    sky_buf_puts(out, "memory of a rank:\n");
    for (int i = 0; i < KINDS; i++)
        if (bytes[i])
            put_bytes(out, kinds[i], bytes[i]);
    put_bytes(out, "weights as loaded", 4 * n.loaded);
    put_bytes(out, "activations and their gradients", sky_fit_arena(f));
    return out->bad ? sky_fail(e, SKY_ENOMEM, "out of memory") : SKY_OK;
}
