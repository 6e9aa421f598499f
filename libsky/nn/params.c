/* params.c -- declaring parameters and giving them values from files or from the counter generator. */
#include "nn/params.h"
#include "base/mem.h"
#include "base/threads.h"
#include "nn/seeded.h"
#include "tensor/backend.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ declaring */
sky_scope sky_scope_root(sky_params *ps) { return (sky_scope){.ps = ps}; }

sky_scope sky_scope_exact(const sky_scope *s)
{
    sky_scope x = *s;
    x.exact = 1;
    return x;
}

static void join(sky_scope *s, char *out, size_t n, const char *name)
{
    int len = snprintf(out, n, "%s%s%s", s->at, *s->at ? "." : "", name);
    if (len < 0 || (size_t)len >= n)
        s->ps->bad = 1; /* cannot happen with our own names; never truncate one */
}

sky_scope sky_scope_in(const sky_scope *s, const char *fmt, ...)
{
    char part[64];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(part, sizeof part, fmt, ap);
    va_end(ap);
    sky_scope from = *s, to = {.ps = s->ps, .exact = s->exact};
    join(&from, to.at, sizeof to.at, part);
    return to;
}

static sky_param *append(sky_params *ps)
{
    sky_param *v = sky_grow(ps->v, (size_t)ps->n, &ps->cap, sizeof *v);
    if (!v)
        return NULL;
    ps->v = v;
    return &v[ps->n];
}

void sky_declare(const sky_scope *s, sky_tensor *slot, sky_param_kind kind, const char *name, int ndim, const int64_t *shape)
{
    char full[256];
    sky_scope at = *s;
    join(&at, full, sizeof full, name);
    sky_param *p = append(s->ps);
    char *copy = p ? sky_strdup(full) : NULL;
    if (!copy) {
        s->ps->bad = 1;
        return;
    }
    *slot = (sky_tensor){.dtype = SKY_F32, .ndim = ndim};
    for (int i = 0; i < ndim; i++)
        slot->shape[i] = shape[i];
    *p = (sky_param){copy, kind == SKY_PARAM_MATRIX && s->exact ? SKY_PARAM_EXACT : kind, slot, NULL};
    s->ps->n++;
}

const sky_param *sky_params_find(const sky_params *ps, const char *name)
{
    for (int i = 0; i < ps->n; i++)
        if (!strcmp(ps->v[i].name, name))
            return &ps->v[i];
    return NULL;
}

static void unload(sky_params *ps)
{
    for (int i = 0; i < ps->n; i++) {
        sky_free(ps->v[i].own);
        ps->v[i].own = NULL;
        ps->v[i].slot->data = NULL;
    }
    if (ps->placed)
        ps->be->free(ps->dev, ps->placed, ps->placed_bytes);
    ps->placed = NULL;
}

void sky_params_close(sky_params *ps)
{
    unload(ps);
    for (int i = 0; i < ps->n; i++)
        sky_free(ps->v[i].name);
    sky_free(ps->v);
    *ps = (sky_params){0};
}

/* ------------------------------------------------------------------ what the file has and lacks */
typedef struct {
    int count;
    char first[200]; /* names of the first few */
    size_t used;
} list;

static void list_add(list *l, const char *name)
{
    if (l->count++ < 3) {
        int n = snprintf(l->first + l->used, sizeof l->first - l->used, "%s%s", l->used ? ", " : "", name);
        l->used += n > 0 && (size_t)n < sizeof l->first - l->used ? (size_t)n : 0;
        l->first[l->used] = 0;
    }
}

static void shape_text(char *buf, size_t n, int ndim, const int64_t *shape)
{
    size_t at = (size_t)snprintf(buf, n, "[");
    for (int i = 0; i < ndim && at < n; i++)
        at += (size_t)snprintf(buf + at, n - at, "%s%lld", i ? "," : "", (long long)shape[i]);
    if (at < n)
        snprintf(buf + at, n - at, "]");
}

static int same_shape(const sky_tensor *t, const sky_weight *w)
{
    return t->ndim == w->ndim && !memcmp(t->shape, w->shape, (size_t)t->ndim * sizeof *t->shape);
}

static void tell(const sky_params_opts *o, const char *fmt, const char *name)
{
    char line[400];
    snprintf(line, sizeof line, fmt, name);
    if (o->relaxed && o->warn)
        o->warn(o->arg, line);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static int find_extra(const sky_params *ps, const sky_weights *w, const sky_params_opts *o, list *extra, sky_err *e)
{
    const char **names = sky_alloc((size_t)ps->n * sizeof *names);
    if (!names)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    for (int i = 0; i < ps->n; i++)
        names[i] = ps->v[i].name;
    qsort(names, (size_t)ps->n, sizeof *names, by_name);
    for (int i = 0; i < sky_weights_count(w); i++) {
        const char *name = sky_weights_at(w, i)->name;
        if ((o->ignore && o->ignore(name)) || bsearch(&name, names, (size_t)ps->n, sizeof *names, by_name))
            continue;
        list_add(extra, name);
        tell(o, "'%s': not a parameter of this model, left out", name);
    }
    sky_free(names);
    return 0;
}

static void find_missing(const sky_params *ps, const sky_weights *w, const sky_params_opts *o, list *missing, list *misshapen)
{
    for (int i = 0; i < ps->n; i++) {
        const sky_param *p = &ps->v[i];
        const sky_weight *t = sky_weights_find(w, p->name);
        if (!t) {
            list_add(missing, p->name);
            tell(o, "'%s': missing, set to zero", p->name);
        } else if (!same_shape(p->slot, t)) {
            char want[80], got[80], text[sizeof want + sizeof got + 200];
            shape_text(want, sizeof want, p->slot->ndim, p->slot->shape);
            shape_text(got, sizeof got, t->ndim, t->shape);
            snprintf(text, sizeof text, "%.150s (expected %s, found %s)", p->name, want, got);
            list_add(misshapen, text);
            tell(o, "%s: another shape, set to zero", text);
        }
    }
}

static int check_strict(const sky_params *ps, const sky_weights *w, const sky_params_opts *o, sky_err *e)
{
    list missing = {0}, misshapen = {0}, extra = {0};
    find_missing(ps, w, o, &missing, &misshapen);
    int rc = find_extra(ps, w, o, &extra, e);
    if (rc || o->relaxed || missing.count + misshapen.count + extra.count == 0)
        return rc;
    sky_buf b = {0};
    const struct { const list *l; const char *what; } part[] = {{&missing, "missing"}, {&misshapen, "of another shape"}, {&extra, "not of this model"}};
    for (int i = 0; i < 3; i++)
        if (part[i].l->count)
            sky_buf_printf(&b, "%s%d tensor%s %s: %s%s", b.n ? "; " : "", part[i].l->count, part[i].l->count > 1 ? "s" : "", part[i].what,
                           part[i].l->first, part[i].l->count > 3 ? ", ..." : "");
    rc = b.bad ? sky_fail(e, SKY_ENOMEM, "out of memory") : sky_fail(e, SKY_ECORRUPT, "weights do not fit the model: %s", b.p);
    sky_buf_free(&b);
    return rc;
}

/* ------------------------------------------------------------------ values */
typedef struct {
    sky_params *ps;
    sky_weights *w;
    sky_dtype dtype;
    const char *prefix;
    sky_err *err; /* one per parameter */
} job;

static sky_dtype stored_as(const sky_param *p, sky_dtype dtype) { return p->kind == SKY_PARAM_MATRIX ? dtype : SKY_F32; }

static int own_memory(sky_param *p, sky_dtype t, sky_err *e)
{
    p->own = sky_calloc((size_t)sky_numel(p->slot), sky_dtype_size(t));
    if (!p->own)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", p->name);
    p->slot->data = p->own;
    p->slot->dtype = t;
    return 0;
}

static void load_one(void *arg, int64_t i, int thread)
{
    (void)thread;
    job *j = arg;
    sky_param *p = &j->ps->v[i];
    sky_dtype want = stored_as(p, j->dtype);
    const sky_weight *t = sky_weights_find(j->w, p->name);
    if (t && !same_shape(p->slot, t))
        t = NULL;
    const void *map = t && t->dtype == want && p->kind != SKY_PARAM_STAT ? sky_weights_map(j->w, t) : NULL;
    if (map) {
        p->slot->data = (void *)map; /* never written: only statistics are, and those are copies */
        p->slot->dtype = want;
        return;
    }
    if (own_memory(p, want, &j->err[i]) || !t)
        return;
    if (sky_weights_read(j->w, t, p->own, want, &j->err[i]) == 0)
        sky_weights_drop(j->w, t);
}

static void seed_one(void *arg, int64_t i, int thread)
{
    (void)thread;
    enum { PIECE = 1 << 14 };
    job *j = arg;
    sky_param *p = &j->ps->v[i];
    sky_dtype want = stored_as(p, j->dtype);
    if (own_memory(p, want, &j->err[i]))
        return;
    float scale, offset, piece[PIECE];
    sky_seeded_rule(p->name, p->slot->ndim, p->slot->shape, &scale, &offset);
    uint64_t n = (uint64_t)sky_numel(p->slot);
    if (want == SKY_F32) {
        sky_seeded_values(p->own, j->prefix, p->name, 0, n, scale, offset);
        return;
    }
    for (uint64_t at = 0; at < n; at += PIECE) {
        uint64_t m = n - at < PIECE ? n - at : PIECE;
        sky_seeded_values(piece, j->prefix, p->name, at, m, scale, offset);
        for (uint64_t k = 0; k < m; k++)
            ((uint16_t *)p->own)[at + k] = sky_f32_to_bf16(piece[k]);
    }
}

static int run(job *j, void (*one)(void *, int64_t, int), int threads, sky_err *e)
{
    sky_pool *pool = NULL;
    int rc = sky_pool_open(&pool, threads, e);
    if (rc)
        return rc;
    j->err = sky_calloc((size_t)j->ps->n, sizeof *j->err);
    if (!j->err) {
        rc = sky_fail(e, SKY_ENOMEM, "out of memory");
        goto out;
    }
    sky_pool_for(pool, j->ps->n, one, j);
    for (int i = 0; i < j->ps->n && !rc; i++)
        if (j->err[i].code)
            rc = sky_fail(e, j->err[i].code, "%s", j->err[i].msg);
out:
    sky_pool_close(pool);
    sky_free(j->err);
    if (rc)
        unload(j->ps);
    return rc;
}

int sky_params_load(sky_params *ps, sky_weights *w, const sky_params_opts *o, sky_err *e)
{
    unload(ps);
    int rc = check_strict(ps, w, o, e);
    if (rc)
        return rc;
    job j = {.ps = ps, .w = w, .dtype = o->dtype};
    return run(&j, load_one, o->threads, e);
}

int sky_params_seed(sky_params *ps, const char *prefix, sky_dtype dtype, int threads, sky_err *e)
{
    unload(ps);
    job j = {.ps = ps, .dtype = dtype, .prefix = prefix};
    return run(&j, seed_one, threads, e);
}

static size_t aligned_bytes(const sky_tensor *t) { return ((size_t)sky_bytes(t) + 255) / 256 * 256; }

int sky_params_place(sky_params *ps, sky_ctx *c, const uint8_t *stays, sky_err *e)
{
    if (!c->be->own_memory || ps->placed)
        return 0;
    size_t total = 0, at = 0;
    for (int i = 0; i < ps->n; i++)
        total += stays && stays[i] ? 0 : aligned_bytes(ps->v[i].slot);
    int rc = c->be->alloc(c->dev, &ps->placed, total, e);
    if (rc)
        return sky_wrap(e, "parameters");
    ps->placed_bytes = total;
    ps->be = c->be;
    ps->dev = c->dev;
    for (int i = 0; i < ps->n && !rc; i++) {
        sky_param *p = &ps->v[i];
        sky_tensor t = *p->slot;
        if (stays && stays[i])
            continue;
        t.data = (char *)ps->placed + at;
        at += aligned_bytes(&t);
        rc = c->be->put(c->dev, &t, p->slot->data, e);
        p->slot->data = t.data;
        sky_free(p->own);
        p->own = NULL;
    }
    return rc;
}
