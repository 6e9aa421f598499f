/* grads.c -- gradients against stored ones.
 *
 * norm(a - b) <= tol * max(norm(b), 0.1 * r * sqrt(n)), n entries, r the root mean square over all gradient entries of the
 * file: some gradients are zero in exact arithmetic and rounding noise in any implementation. */
#include "golden.h"
#include "tensor/backend.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    char name[256];
    sky_tensor grad;
    int map; /* NHWC here, NCHW in the file */
} watched;

struct g_grads {
    sky_tape *tape;
    watched *v;
    int n;
    size_t cap;
    double rms;
};

static double rms_of_all(golden *g)
{
    double sq = 0, n = 0;
    for (int i = 0; i < sky_weights_count(g->w) && !g->err.code; i++) {
        const sky_weight *t = sky_weights_at(g->w, i);
        sky_tensor x = {.ndim = t->ndim};
        memcpy(x.shape, t->shape, sizeof x.shape);
        float *v = g_starts(t->name, "grad.") ? g_floats(g, t) : NULL;
        for (int64_t k = 0; v && k < sky_numel(&x); k++)
            sq += (double)v[k] * v[k];
        n += v ? (double)sky_numel(&x) : 0;
        sky_free(v);
    }
    return n > 0 ? sqrt(sq / n) : 0;
}

g_grads *g_grads_begin(golden *g, int checkpoints)
{
    g_grads *s = sky_calloc(1, sizeof *s);
    if (!s || sky_tape_open(&s->tape, &g->err)) {
        sky_fail(&g->err, SKY_ENOMEM, "out of memory");
        sky_free(s);
        return NULL;
    }
    s->rms = g->c.dry ? 0 : rms_of_all(g);
    sky_tape_checkpoints(s->tape, checkpoints);
    sky_tape_start(&g->c, s->tape);
    return s;
}

void g_grads_watch(golden *g, g_grads *s, const char *name, const sky_tensor *t, int map)
{
    if (g->err.code || g->c.err.code || !t->data)
        return;
    watched *v = sky_grow(s->v, (size_t)s->n, &s->cap, sizeof *v);
    if (!v) {
        sky_fail(&g->err, SKY_ENOMEM, "out of memory");
        return;
    }
    s->v = v;
    watched *w = &v[s->n];
    *w = (watched){.grad = *t, .map = map};
    snprintf(w->name, sizeof w->name, "%s", name);
    w->grad.dtype = SKY_F32;
    if (g->c.be->alloc(g->c.dev, &w->grad.data, (size_t)sky_bytes(&w->grad), &g->err))
        return;
    s->n++;
    if (g->c.be->fill(g->c.dev, &w->grad, 0, &g->err) || sky_tape_watch(s->tape, t, w->grad, &g->err))
        return;
}

void g_grads_watch_params(golden *g, g_grads *s, const char *head, const char *strip, const sky_params *ps)
{
    char name[300];
    for (int i = 0; i < ps->n; i++) {
        snprintf(name, sizeof name, "%s%s", head, ps->v[i].name + (g_starts(ps->v[i].name, strip) ? strlen(strip) : 0));
        if (ps->v[i].kind != SKY_PARAM_STAT)
            g_grads_watch(g, s, name, ps->v[i].slot, 0);
    }
}

/* In the file's order. */
static float *fetch(golden *g, const watched *w)
{
    const sky_tensor *t = &w->grad;
    float *v = sky_alloc((size_t)sky_bytes(t)), *turned = v;
    if (!v)
        return NULL;
    g->c.be->get(g->c.dev, v, t, &g->err);
    if (w->map) {
        turned = g_nchw(v, t->shape[0], t->shape[1], t->shape[2], t->shape[3]);
        sky_free(v);
    }
    return turned;
}

static void compare(golden *g, const g_grads *s, const watched *w)
{
    const sky_weight *t = g_find(g, "%s", w->name);
    float *got = fetch(g, w), *want = t ? g_floats(g, t) : NULL;
    double d = 0, norm = 0, mine = 0;
    int64_t n = sky_numel(&w->grad);
    if (!got || (t && !want)) {
        sky_fail(&g->err, SKY_ENOMEM, "out of memory");
    } else {
        for (int64_t k = 0; k < n; k++) {
            double b = want ? want[k] : 0;
            d += (got[k] - b) * (got[k] - b);
            norm += b * b;
            mine += fabs((double)got[k]);
        }
        double scale = fmax(sqrt(norm), 0.1 * s->rms * sqrt((double)n)), e = sqrt(d) / (scale > 0 ? scale : 1);
        if (t)
            g_line(g, w->name, e <= g->tol, "error %.2e  tolerance %.0e", e, g->tol);
        else if (!(mine == 0)) /* not in the file: no gradient reaches it */
            g_line(g, w->name, 0, "a gradient, where the file has none");
    }
    sky_free(got);
    sky_free(want);
}

/* All of them one after the other, to compare two ways of computing them bit for bit. */
uint64_t g_grads_sum(golden *g, const g_grads *s)
{
    uint64_t h = 0;
    for (int i = 0; i < s->n && !g->err.code; i++) {
        float *v = fetch(g, &s->v[i]);
        for (int64_t k = 0; v && k < sky_numel(&s->v[i].grad); k++) {
            uint32_t u;
            memcpy(&u, v + k, 4);
            h = (h ^ u) * 0x100000001b3u;
        }
        sky_free(v);
    }
    return h;
}

void g_grads_check(golden *g, const g_grads *s)
{
    for (int i = 0; i < s->n && !g->err.code && !g->c.err.code && !g->c.dry; i++)
        compare(g, s, &s->v[i]);
}

void g_grads_end(golden *g, g_grads *s)
{
    if (!s)
        return;
    sky_tape_stop(&g->c);
    for (int i = 0; i < s->n; i++)
        g->c.be->free(g->c.dev, s->v[i].grad.data, (size_t)sky_bytes(&s->v[i].grad));
    sky_tape_close(s->tape);
    sky_free(s->v);
    sky_free(s);
}
