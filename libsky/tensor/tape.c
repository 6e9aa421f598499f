/* tape.c -- nodes, gradients by address, the walk backwards, checkpoints. */
#include "base/mem.h"
#include "tensor/tape_internal.h"

#include <string.h>

typedef struct {
    void *key;      /* where the tensor's elements lie; NULL: free slot */
    sky_tensor grad; /* none: nothing yet */
    int param;      /* number, or -1: the result of a node */
    int first;      /* parameters: first node of this step that uses it, -1: none yet */
} entry;

struct sky_tape {
    sky_node *v;
    int n;
    size_t cap;
    entry *slot; /* open addressing, a power of two */
    int size, count, params;
    sky_heap heap;
    int checkpoints, paused, replaying;
    int touched; /* while paused: a watched parameter was used */
    void (*done)(void *arg, int param);
    void *done_arg;
};

/* ------------------------------------------------------------------ gradients by address */
static unsigned place(const sky_tape *t, const void *key)
{
    uint64_t h = (uint64_t)(uintptr_t)key * 0x9e3779b97f4a7c15u;
    return (unsigned)(h >> 32) & (unsigned)(t->size - 1);
}

static entry *find(const sky_tape *t, const void *key)
{
    for (unsigned i = place(t, key); key && t->slot[i].key; i = (i + 1) & (unsigned)(t->size - 1))
        if (t->slot[i].key == key)
            return &t->slot[i];
    return NULL;
}

static int widen(sky_tape *t)
{
    entry *old = t->slot;
    int n = t->size, size = n ? 2 * n : 256;
    entry *v = sky_calloc((size_t)size, sizeof *v);
    if (!v)
        return 0;
    t->slot = v;
    t->size = size;
    for (int i = 0; i < n; i++)
        if (old[i].key) {
            unsigned k = place(t, old[i].key);
            while (v[k].key)
                k = (k + 1) & (unsigned)(size - 1);
            v[k] = old[i];
        }
    sky_free(old);
    return 1;
}

/* The entry of key, new or old; NULL: memory. */
static entry *enter(sky_tape *t, void *key)
{
    entry *e = find(t, key);
    if (e)
        return e;
    if (2 * (t->count + 1) > t->size && !widen(t))
        return NULL;
    unsigned i = place(t, key);
    while (t->slot[i].key)
        i = (i + 1) & (unsigned)(t->size - 1);
    t->count++;
    t->slot[i] = (entry){.key = key, .param = -1, .first = -1};
    return &t->slot[i];
}

/* Take an entry out and move up those behind it, so that searches never stop too early. */
static void leave(sky_tape *t, entry *e)
{
    unsigned mask = (unsigned)(t->size - 1), hole = (unsigned)(e - t->slot);
    for (unsigned i = (hole + 1) & mask; t->slot[i].key; i = (i + 1) & mask) {
        unsigned home = place(t, t->slot[i].key);
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            t->slot[hole] = t->slot[i];
            hole = i;
        }
    }
    t->slot[hole] = (entry){0};
    t->count--;
}

/* ------------------------------------------------------------------ open, watch, start */
int sky_tape_open(sky_tape **out, sky_err *e)
{
    sky_tape *t = *out = sky_calloc(1, sizeof *t);
    if (t && widen(t))
        return SKY_OK;
    sky_tape_close(t);
    *out = NULL;
    return sky_fail(e, SKY_ENOMEM, "out of memory");
}

void sky_tape_close(sky_tape *t)
{
    if (!t)
        return;
    while (t->n > 0)
        sky_free(t->v[--t->n].in);
    sky_free(t->v);
    sky_free(t->slot);
    sky_free(t->heap.v);
    sky_free(t);
}

int sky_tape_watch(sky_tape *t, const sky_tensor *param, sky_tensor grad, sky_err *e)
{
    if (find(t, param->data))
        return sky_fail(e, SKY_EUSAGE, "tape: the same parameter twice");
    entry *p = enter(t, param->data);
    if (!p)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    p->grad = grad;
    p->param = t->params++;
    return SKY_OK;
}

void sky_tape_on_done(sky_tape *t, void (*fn)(void *arg, int param), void *arg)
{
    t->done = fn;
    t->done_arg = arg;
}

void sky_tape_checkpoints(sky_tape *t, int on) { t->checkpoints = on; }

/* Nodes and results of an earlier step go, parameters stay. */
static void forget(sky_tape *t)
{
    while (t->n > 0)
        sky_free(t->v[--t->n].in);
    for (int i = 0; i < t->size; i++)
        while (t->slot[i].key && t->slot[i].param < 0)
            leave(t, &t->slot[i]);
    for (int i = 0; i < t->size; i++)
        t->slot[i].first = -1;
    t->heap.n = 0;
    t->paused = t->replaying = t->touched = 0;
}

void sky_tape_start(sky_ctx *c, sky_tape *t)
{
    c->tape = t;
    forget(t);
    c->top = 0;
}

void sky_tape_stop(sky_ctx *c)
{
    if (c->tape)
        forget(c->tape);
    c->tape = NULL;
    c->top = 0;
}

sky_heap *sky_tape_heap(sky_ctx *c) { return &c->tape->heap; }

/* ------------------------------------------------------------------ recording */
int sky_tracked(const sky_ctx *c, const sky_tensor *x) { return c->tape && find(c->tape, x->data) != NULL; }
int sky_recording(const sky_ctx *c) { return c->tape && !c->tape->paused; }
int sky_replaying(const sky_ctx *c) { return c->tape && c->tape->replaying; }

int sky_tape_holds(const sky_ctx *c, sky_mark m)
{
    const sky_tape *t = c->tape;
    return t->n > 0 && sky_arena_offset(c, t->v[t->n - 1].y.data) >= m;
}

/* Whether any input leads to a parameter; parameters learn who used them first. */
static int any_tracked(sky_tape *t, const sky_tensor *in, int n)
{
    int any = 0;
    for (int i = 0; i < n; i++) {
        entry *e = find(t, in[i].data);
        any |= e != NULL;
        if (e && e->param >= 0 && e->first < 0)
            e->first = t->n;
    }
    return any;
}

static size_t up16(size_t n) { return (n + 15) & ~(size_t)15; }

static int append(sky_tape *t, const sky_node *node, size_t nargs, size_t nextra)
{
    sky_node *v = sky_grow(t->v, (size_t)t->n, &t->cap, sizeof *v);
    if (!v)
        return 0;
    t->v = v;
    size_t nin = up16((size_t)node->nin * sizeof *node->in);
    char *p = sky_alloc(nin + up16(nargs) + nextra);
    if (!p)
        return 0;
    memcpy(p, node->in, (size_t)node->nin * sizeof *node->in);
    if (nargs)
        memcpy(p + nin, node->args, nargs);
    if (nextra)
        memcpy(p + nin + up16(nargs), node->extra, nextra);
    sky_node *to = &t->v[t->n++];
    *to = *node;
    to->in = (sky_tensor *)(void *)p;
    to->args = p + nin;
    to->extra = p + nin + up16(nargs);
    return 1;
}

sky_tensor sky_record(sky_ctx *c, sky_tensor y, sky_back_fn *back, const sky_tensor *in, int nin, const void *args, size_t nargs, const void *extra, size_t nextra)
{
    sky_tape *t = c->tape;
    if (!t || c->err.code || !y.data || !any_tracked(t, in, nin))
        return y;
    if (t->paused) {
        t->touched = 1;
        return y;
    }
    sky_node node = {.back = back, .y = y, .in = (sky_tensor *)(uintptr_t)in, .nin = nin, .args = args, .extra = extra};
    if (!append(t, &node, nargs, nextra) || !enter(t, y.data)) {
        sky_ctx_fail(c, SKY_ENOMEM, "out of memory");
        return sky_none;
    }
    return y;
}

/* ------------------------------------------------------------------ gradients */
static sky_tensor as_f32(const sky_tensor *x, void *data)
{
    sky_tensor g = *x;
    g.dtype = SKY_F32;
    g.data = data;
    return g;
}

/* A stored gradient in the shape it is asked for. */
static sky_tensor seen_as(sky_ctx *c, const entry *e, const sky_tensor *x)
{
    if (sky_numel(&e->grad) != sky_numel(x))
        sky_ctx_fail(c, SKY_EUSAGE, "tape: a gradient of %lld elements where %lld belong", (long long)sky_numel(&e->grad), (long long)sky_numel(x));
    return as_f32(x, e->grad.data);
}

sky_tensor sky_grad_of(sky_ctx *c, const sky_tensor *y)
{
    const entry *e = find(c->tape, y->data);
    return e && e->grad.data ? seen_as(c, e, y) : sky_none;
}

sky_grad sky_grad_open(sky_ctx *c, const sky_tensor *x)
{
    entry *e = find(c->tape, x->data);
    if (!e || c->err.code)
        return (sky_grad){0};
    if (e->grad.data)
        return (sky_grad){seen_as(c, e, x), 1};
    void *p = sky_heap_get(c, (size_t)sky_numel(x) * sizeof(float));
    if (!p)
        return (sky_grad){0};
    e->grad = as_f32(x, p);
    return (sky_grad){e->grad, 0};
}

void sky_grad_pass(sky_ctx *c, const sky_node *n, const sky_tensor *x)
{
    entry *to = find(c->tape, x->data), *from = find(c->tape, n->y.data);
    if (!to || c->err.code)
        return;
    if (!to->grad.data) {
        to->grad = as_f32(x, from->grad.data);
        from->grad = sky_none;
        return;
    }
    sky_tensor sum = seen_as(c, to, x), dy = as_f32(x, from->grad.data);
    SKY_BACK(c, add, &sum, &sum, &dy);
}

/* The result of a node and its gradient are of no more use. */
static void release(sky_ctx *c, const sky_tensor *y)
{
    entry *e = find(c->tape, y->data);
    if (!e)
        return;
    if (e->grad.data)
        sky_heap_put(c, e->grad.data);
    leave(c->tape, e);
}

/* ------------------------------------------------------------------ the walk backwards */
static void tell_done(sky_ctx *c, int node)
{
    sky_tape *t = c->tape;
    for (int i = 0; t->done && !c->dry && !c->err.code && i < t->size; i++)
        if (t->slot[i].key && t->slot[i].param >= 0 && t->slot[i].first == node)
            t->done(t->done_arg, t->slot[i].param);
}

static sky_back_fn back_segment;

/* Every node from the last down to number `base`; the stack ends where that one began. */
static void walk(sky_ctx *c, int base)
{
    sky_tape *t = c->tape;
    while (t->n > base) {
        sky_node n = t->v[t->n - 1]; /* by value: checkpoints append to the tape */
        size_t at = sky_arena_offset(c, n.y.data);
        if (!c->err.code && (n.back == back_segment || sky_grad_of(c, &n.y).data))
            n.back(c, &n);
        release(c, &n.y);
        c->used = at < c->used ? at : c->used;
        sky_free(n.in);
        t->n--;
        if (!base)
            tell_done(c, t->n);
    }
}

static void seed(sky_ctx *c, const sky_tensor *y, const float *dy, float value)
{
    sky_grad g = sky_grad_open(c, y);
    if (!g.t.data)
        return;
    if (g.add)
        sky_ctx_fail(c, SKY_EUSAGE, "tape: backward from the same result twice");
    else if (!dy)
        SKY_BACK(c, fill, &g.t, value);
    else if (!c->dry)
        c->be->put(c->dev, &g.t, dy, &c->err);
}

void sky_tape_backward(sky_ctx *c, const sky_term *terms, int n)
{
    for (int i = 0; i < n; i++)
        if (terms[i].value.data)
            seed(c, &terms[i].value, NULL, (float)terms[i].weight);
    walk(c, 0);
    tell_done(c, -1);
}

void sky_tape_backward_from(sky_ctx *c, const sky_tensor *y, const float *const *dy, int n)
{
    for (int i = 0; i < n; i++)
        seed(c, &y[i], dy[i], 0);
    walk(c, 0);
    tell_done(c, -1);
}

/* ------------------------------------------------------------------ checkpoints */
enum { SEGMENT_INPUTS = 8, SEGMENT_RESULTS = 4 };
typedef struct {
    sky_segment_fn *fn;
    sky_tensor y[SEGMENT_RESULTS];
    int ny;
    size_t bytes;    /* of its argument, which is kept; the samples' identities follow it */
    sky_draws draws; /* of the first run: the second decides the same; n 0: none */
} segment;

/* Run it again, recording, and walk what was recorded; gradients of the results go over to those of the second run. */
static void back_segment(sky_ctx *c, const sky_node *n)
{
    sky_tape *t = c->tape;
    const segment *s = n->args;
    sky_tensor y[SEGMENT_RESULTS];
    int base = t->n, outer = t->replaying, any = 0;
    for (int i = 0; i < s->ny; i++)
        any |= sky_grad_of(c, &s->y[i]).data != NULL;
    if (!any)
        goto out;
    const sky_draws *around = c->draws;
    sky_draws then = s->draws;
    then.sample = (const uint64_t *)(const void *)((const char *)n->extra + up16(s->bytes));
    c->draws = then.n ? &then : NULL;
    t->replaying = 1;
    s->fn(c, n->extra, n->in, y);
    t->replaying = outer;
    c->draws = around;
    for (int i = 0; i < s->ny && !c->err.code; i++) {
        entry *from = find(t, s->y[i].data), *to = find(t, y[i].data);
        if (from && to && from != to) {
            to->grad = from->grad;
            from->grad = sky_none;
        }
    }
    walk(c, base);
out:
    for (int i = 1; i < s->ny; i++)
        release(c, &s->y[i]);
}

void sky_recompute(sky_ctx *c, sky_segment_fn *fn, const void *arg, size_t bytes, const sky_tensor *x, int nx, sky_tensor *y, int ny)
{
    sky_tape *t = c->tape;
    if (!t || !t->checkpoints || t->paused || t->replaying) {
        fn(c, arg, x, y);
        return;
    }
    if (ny < 1 || ny > SEGMENT_RESULTS || nx < 1 || nx > SEGMENT_INPUTS) {
        sky_ctx_fail(c, SKY_EUSAGE, "recompute: %d inputs and %d results, expected 1 to %d and 1 to %d", nx, ny, SEGMENT_INPUTS, SEGMENT_RESULTS);
        return;
    }
    sky_tensor in[SEGMENT_INPUTS]; /* y may be x */
    memcpy(in, x, (size_t)nx * sizeof *x);
    sky_mark m = sky_mark_get(c);
    t->paused = 1;
    t->touched = 0;
    fn(c, arg, in, y);
    sky_keep(c, m, y, ny);
    t->paused = 0;
    if (c->err.code || (!any_tracked(t, in, nx) && !t->touched))
        return;
    segment s = {.fn = fn, .ny = ny, .bytes = bytes};
    memcpy(s.y, y, (size_t)ny * sizeof *y);
    if (c->draws)
        s.draws = *c->draws;
    size_t ids = (size_t)s.draws.n * sizeof *s.draws.sample;
    char *kept = sky_alloc(up16(bytes) + ids + 1);
    if (kept && bytes)
        memcpy(kept, arg, bytes);
    if (kept && ids)
        memcpy(kept + up16(bytes), s.draws.sample, ids);
    sky_node node = {.back = back_segment, .y = y[0], .in = in, .nin = nx, .args = &s, .extra = kept};
    int ok = kept && append(t, &node, sizeof s, up16(bytes) + ids);
    sky_free(kept);
    for (int i = 0; i < ny && ok; i++)
        ok = enter(t, y[i].data) != NULL;
    if (!ok)
        sky_ctx_fail(c, SKY_ENOMEM, "out of memory");
}
