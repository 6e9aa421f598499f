#include "train/state.h"
#include "base/mem.h"
#include "tensor/backend.h"

#include <math.h>
#include <string.h>

enum { ALIGN = 64 }; /* elements between the places of parameters: whole cache lines in F32 and BF16 */
#define DRY_BASE ((uintptr_t)1 << 58) /* far from all real addresses, and from those of a dry context's stack */

/* Elements [from, from + n) of a flat tensor. */
static sky_tensor part(const sky_tensor *t, int64_t from, int64_t n)
{
    return (sky_tensor){.data = t->data ? (char *)t->data + from * (int64_t)sky_dtype_size(t->dtype) : NULL, .dtype = t->dtype, .ndim = 1, .shape = {n}};
}

static sky_tensor shaped(const sky_state *s, const sky_tensor *buffer, int i)
{
    sky_tensor t = *s->ps->v[s->v[i].param].slot;
    t.dtype = buffer->dtype;
    t.data = part(buffer, s->v[i].at, 0).data;
    return t;
}

/* ---- the plan ------------------------------------------------------------------------------------------------- */

static int is_trained(const sky_param *p, const sky_rule *r) { return p->kind != SKY_PARAM_STAT && !r->frozen && !r->unused; }
static int is_fixed_copy(const sky_param *p, const sky_rule *r, const sky_state_opts *o)
{
    return o->dtype == SKY_BF16 && p->kind == SKY_PARAM_MATRIX && !is_trained(p, r);
}
static int64_t rounded(int64_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }

/* Elements of a flat buffer, of the copies of frozen matrices, and how many parameters train. */
static int64_t measure(const sky_params *ps, const sky_state_opts *o, int64_t *fixed, int *n)
{
    int64_t size = 0;
    *fixed = 0;
    *n = 0;
    for (int i = 0; i < ps->n; i++) {
        const sky_param *p = &ps->v[i];
        if (is_trained(p, &o->rule[i])) {
            size += rounded(sky_numel(p->slot));
            *n += 1;
        } else if (is_fixed_copy(p, &o->rule[i], o)) {
            *fixed += rounded(sky_numel(p->slot));
        }
    }
    return size;
}

static int64_t cut_at(int64_t size, int r, int ranks) { return (int64_t)((__int128)(size / ALIGN) * r / ranks) * ALIGN; }
int64_t sky_state_cut(const sky_state *s, int r) { return cut_at(s->size, r, s->o.ranks); }

void sky_state_bytes(const sky_params *ps, const sky_state_opts *o, uint64_t bytes[5])
{
    int64_t fixed;
    int n;
    int64_t size = measure(ps, o, &fixed, &n), mine = cut_at(size, o->rank + 1, o->ranks) - cut_at(size, o->rank, o->ranks);
    bytes[0] = bytes[1] = 4 * (uint64_t)size;
    bytes[2] = (o->optimizer == SKY_ADAMW ? 8 : 4) * (uint64_t)mine;
    bytes[3] = o->ema ? 4 * (uint64_t)mine : 0;
    bytes[4] = o->dtype == SKY_BF16 ? 2 * (uint64_t)(size + fixed) : 0;
}

/* ---- opening -------------------------------------------------------------------------------------------------- */

/* An address that is not followed, for so many bytes. */
static void *imagine(sky_state *s, size_t bytes)
{
    void *p = (void *)(DRY_BASE + s->imagined); /* NOLINT: never followed */
    s->imagined += (bytes + 4095) & ~(size_t)4095;
    return p;
}

static int alloc(sky_state *s, void **p, size_t bytes, sky_err *e)
{
    if (!s->o.dry)
        return s->c->be->alloc(s->c->dev, p, bytes, e);
    *p = imagine(s, bytes);
    return SKY_OK;
}

static int copy(const sky_state *s, const sky_tensor *y, const sky_tensor *x, sky_err *e)
{
    sky_tensor to = *y;
    return s->o.dry ? SKY_OK : s->c->be->cast(s->c->dev, &to, x, e);
}

static int make(sky_state *s, sky_tensor *t, sky_dtype type, int64_t n, sky_err *e)
{
    void *p;
    if (n == 0)
        return SKY_OK;
    int rc = alloc(s, &p, (size_t)n * sky_dtype_size(type), e);
    if (!rc)
        *t = (sky_tensor){.data = p, .dtype = type, .ndim = 1, .shape = {n}};
    return rc;
}

static int make_zero(sky_state *s, sky_tensor *t, int64_t n, sky_err *e)
{
    int rc = make(s, t, SKY_F32, n, e);
    return rc || n == 0 || s->o.dry ? rc : s->c->be->fill(s->c->dev, t, 0, e);
}

static int make_all(sky_state *s, int64_t fixed, sky_err *e)
{
    int64_t mine = s->to - s->from;
    int rc = make_zero(s, &s->master, s->size, e);
    if (!rc)
        rc = make_zero(s, &s->grad, s->size, e);
    if (!rc)
        rc = make_zero(s, &s->m, mine, e);
    if (!rc && s->o.optimizer == SKY_ADAMW)
        rc = make_zero(s, &s->v2, mine, e);
    if (!rc && s->o.ema)
        rc = make(s, &s->average, SKY_F32, mine, e);
    if (!rc && s->o.dtype == SKY_BF16)
        rc = make(s, &s->copy, SKY_BF16, s->size, e);
    if (!rc)
        rc = make(s, &s->fixed, SKY_BF16, fixed, e);
    return rc ? rc : make(s, &s->sums, SKY_F64, s->n, e);
}

/* On a device of its own memory the loaded values of a parameter that trains, or is read from a copy in BF16, stay on the host. */
static int place(sky_state *s, sky_err *e)
{
    if (!s->c->be->own_memory)
        return SKY_OK;
    s->on_host = sky_calloc((size_t)s->ps->n, 1);
    if (!s->on_host)
        return sky_fail(e, SKY_ENOMEM, "training state: out of memory");
    for (int k = 0; k < s->ps->n; k++) {
        const sky_param *p = &s->ps->v[k];
        s->on_host[k] = is_trained(p, &s->o.rule[k]) || (is_fixed_copy(p, &s->o.rule[k], &s->o) && p->slot->dtype != SKY_BF16);
    }
    return s->o.dry ? SKY_OK : sky_params_place(s->ps, s->c, s->on_host, e);
}

/* Parameter k's loaded values to y, a tensor of the device. */
static int bring(sky_state *s, int k, const sky_tensor *y, sky_err *e)
{
    const sky_backend *be = s->c->be;
    sky_tensor from = *s->ps->v[k].slot, to = *y;
    if (s->o.dry || !s->on_host || !s->on_host[k])
        return copy(s, y, &from, e);
    if (from.dtype == to.dtype)
        return be->put(s->c->dev, &to, from.data, e);
    sky_tensor raw = from;
    int rc = be->alloc(s->c->dev, &raw.data, (size_t)sky_bytes(&raw), e);
    if (rc)
        return rc;
    rc = be->put(s->c->dev, &raw, from.data, e);
    if (!rc)
        rc = be->cast(s->c->dev, &to, &raw, e);
    be->free(s->c->dev, raw.data, (size_t)sky_bytes(&raw));
    return rc;
}

static int has_copy(const sky_state *s, int i) { return s->copy.data && s->ps->v[s->v[i].param].kind == SKY_PARAM_MATRIX; }

/* A trained parameter moves into the masters. */
static int move_in(sky_state *s, int i, sky_err *e)
{
    sky_param *p = &s->ps->v[s->v[i].param];
    sky_tensor master = shaped(s, &s->master, i);
    int rc = bring(s, s->v[i].param, &master, e);
    if (rc)
        return rc;
    *p->slot = has_copy(s, i) ? shaped(s, &s->copy, i) : master;
    sky_free(p->own);
    p->own = NULL;
    return SKY_OK;
}

/* A parameter that stays: in BF16 its matrix is rounded once. */
static int stay(sky_state *s, int k, int64_t *at, sky_err *e)
{
    sky_param *p = &s->ps->v[k];
    s->loaded[k] = *p->slot;
    if (!is_fixed_copy(p, &s->o.rule[k], &s->o) || p->slot->dtype == SKY_BF16)
        return SKY_OK;
    sky_tensor y = *p->slot;
    y.dtype = SKY_BF16;
    y.data = part(&s->fixed, *at, 0).data;
    *at += rounded(sky_numel(&y));
    int rc = bring(s, k, &y, e);
    if (!rc)
        *p->slot = y;
    return rc;
}

/* The operands of norms are the same in every step. */
static int list_gradients(sky_state *s, sky_err *e)
{
    s->grads = sky_alloc((size_t)s->n * sizeof *s->grads);
    s->grad_list = sky_alloc((size_t)s->n * sizeof *s->grad_list);
    s->host_sums = sky_alloc((size_t)s->n * sizeof *s->host_sums);
    if (!s->grads || !s->grad_list || !s->host_sums)
        return sky_fail(e, SKY_ENOMEM, "training state: out of memory");
    for (int i = 0; i < s->n; i++) {
        s->grads[i] = sky_state_grad(s, i);
        s->grad_list[i] = &s->grads[i];
    }
    return SKY_OK;
}

static int fill_in(sky_state *s, sky_err *e)
{
    int64_t at = 0;
    int rc = SKY_OK;
    for (int k = 0, i = 0; k < s->ps->n && !rc; k++)
        rc = i < s->n && s->v[i].param == k ? move_in(s, i++, e) : stay(s, k, &at, e);
    if (!rc)
        rc = sky_state_refresh(s, 0, s->size, e);
    sky_tensor mine = part(&s->master, s->from, s->to - s->from);
    return rc || !s->average.data ? rc : copy(s, &s->average, &mine, e);
}

static int plan(sky_state *s, int64_t *fixed, sky_err *e)
{
    s->size = measure(s->ps, &s->o, fixed, &s->n);
    s->from = sky_state_cut(s, s->o.rank);
    s->to = sky_state_cut(s, s->o.rank + 1);
    s->v = sky_calloc((size_t)s->n + 1, sizeof *s->v);
    s->loaded = sky_calloc((size_t)s->ps->n + 1, sizeof *s->loaded);
    if (!s->v || !s->loaded)
        return sky_fail(e, SKY_ENOMEM, "training state: out of memory");
    int64_t at = 0;
    for (int k = 0, i = 0; k < s->ps->n; k++) {
        const sky_param *p = &s->ps->v[k];
        if (s->o.dry)
            p->slot->data = imagine(s, (size_t)sky_bytes(p->slot));
        if (!p->slot->data)
            return sky_fail(e, SKY_EUSAGE, "training state: '%s' has no value", p->name);
        if (!is_trained(p, &s->o.rule[k]))
            continue;
        s->v[i++] = (sky_trained){.param = k, .at = at, .n = sky_numel(p->slot), .rule = s->o.rule[k]};
        at += rounded(sky_numel(p->slot));
    }
    return s->n ? SKY_OK : sky_fail(e, SKY_EUSAGE, "training state: the rules leave no parameter to train");
}

int sky_state_open(sky_state *s, sky_ctx *c, sky_params *ps, const sky_state_opts *o, sky_err *e)
{
    *s = (sky_state){.c = c, .ps = ps, .o = *o};
    int64_t fixed;
    int rc = plan(s, &fixed, e);
    if (!rc)
        rc = place(s, e);
    if (!rc)
        rc = make_all(s, fixed, e);
    if (!rc)
        rc = list_gradients(s, e);
    if (!rc)
        rc = fill_in(s, e);
    s->o.rule = NULL;
    if (rc)
        sky_state_close(s);
    return rc;
}

void sky_state_close(sky_state *s)
{
    if (!s->c)
        return;
    for (int k = 0; s->loaded && k < s->ps->n; k++)
        if (s->loaded[k].data)
            *s->ps->v[k].slot = s->loaded[k];
    for (int i = 0; s->v && i < s->n; i++) {
        sky_param *p = &s->ps->v[s->v[i].param];
        if (p->slot->data && !p->own && sky_state_find(s, p->slot->data) == i)
            p->slot->data = NULL;
    }
    for (int k = 0; s->o.dry && k < s->ps->n; k++)
        s->ps->v[k].slot->data = NULL;
    sky_tensor *t[] = {&s->master, &s->grad, &s->m, &s->v2, &s->average, &s->copy, &s->fixed, &s->sums};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++)
        if (t[i]->data && !s->o.dry)
            s->c->be->free(s->c->dev, t[i]->data, (size_t)sky_bytes(t[i]));
    sky_free(s->grads);
    sky_free(s->grad_list);
    sky_free(s->host_sums);
    sky_free(s->v);
    sky_free(s->loaded);
    sky_free(s->on_host);
    *s = (sky_state){0};
}

/* ---- looking --------------------------------------------------------------------------------------------------- */

const char *sky_state_name(const sky_state *s, int i) { return s->ps->v[s->v[i].param].name; }
sky_tensor sky_state_grad(const sky_state *s, int i) { return shaped(s, &s->grad, i); }
sky_tensor sky_state_master(const sky_state *s, int i) { return shaped(s, &s->master, i); }

static int64_t place_in(const sky_tensor *t, const void *data)
{
    const char *p = data, *base = t->data;
    return base && p >= base && p < base + sky_bytes(t) ? (p - base) / (int64_t)sky_dtype_size(t->dtype) : -1;
}

int sky_state_find(const sky_state *s, const void *data)
{
    int64_t at = place_in(&s->master, data);
    if (at < 0)
        at = place_in(&s->copy, data);
    int lo = 0, hi = s->n;
    while (hi - lo > 1) {
        int mid = (lo + hi) / 2;
        if (s->v[mid].at <= at)
            lo = mid;
        else
            hi = mid;
    }
    return at >= 0 && s->v[lo].at == at ? lo : -1;
}

/* ---- a step ---------------------------------------------------------------------------------------------------- */

int sky_state_zero_grad(sky_state *s, sky_err *e) { return s->c->be->fill(s->c->dev, &s->grad, 0, e); }

int sky_state_norm(sky_state *s, double *norm, double *each, sky_err *e)
{
    int rc = s->c->be->square_sums(s->c->dev, &s->sums, s->grad_list, s->n, e);
    if (!rc)
        rc = s->c->be->get(s->c->dev, s->host_sums, &s->sums, e);
    double total = 0;
    for (int i = 0; i < s->n && !rc; i++) {
        total += s->host_sums[i];
        if (each)
            each[i] = sqrt(s->host_sums[i]);
    }
    *norm = sqrt(total);
    return rc;
}

/* Elements [a, b) of parameter i. */
static int update_part(sky_state *s, int i, int64_t a, int64_t b, const sky_update *u, double gscale, sky_err *e)
{
    const sky_backend *be = s->c->be;
    const sky_rule *r = &s->v[i].rule;
    sky_tensor w = part(&s->master, a, b - a), g = part(&s->grad, a, b - a), m = part(&s->m, a - s->from, b - a);
    sky_tensor v = part(&s->v2, a - s->from, b - a), copy = has_copy(s, i) ? part(&s->copy, a, b - a) : sky_none;
    if (s->o.optimizer == SKY_ADAMW) {
        sky_adamw o = {u->lr * r->lr_scale, r->decay, u->beta1, u->beta2, u->eps, gscale, u->t};
        return be->adamw(s->c->dev, &w, &g, &m, &v, &copy, &o, e);
    }
    sky_sgd o = {u->lr * r->lr_scale, r->decay, u->momentum, gscale, u->t == 1};
    return be->sgd(s->c->dev, &w, &g, &m, &copy, &o, e);
}

int sky_state_update(sky_state *s, const sky_update *u, sky_err *e)
{
    double gscale = u->clip > 0 ? fmin(1, u->clip / (u->norm + 1e-6)) : 1;
    int rc = SKY_OK;
    for (int i = 0; i < s->n && !rc; i++) {
        int64_t a = s->v[i].at, b = a + s->v[i].n;
        a = a > s->from ? a : s->from;
        b = b < s->to ? b : s->to;
        if (a < b)
            rc = update_part(s, i, a, b, u, gscale, e);
    }
    sky_tensor mine = part(&s->master, s->from, s->to - s->from);
    return rc || !s->average.data ? rc : s->c->be->lerp(s->c->dev, &s->average, &mine, (float)u->average, e);
}

int sky_state_refresh(sky_state *s, int64_t from, int64_t to, sky_err *e)
{
    int rc = SKY_OK;
    for (int i = 0; i < s->n && !rc; i++) {
        int64_t a = s->v[i].at, b = a + s->v[i].n;
        a = a > from ? a : from;
        b = b < to ? b : to;
        if (!has_copy(s, i) || a >= b)
            continue;
        sky_tensor w = part(&s->master, a, b - a), bf16 = part(&s->copy, a, b - a);
        rc = copy(s, &bf16, &w, e);
    }
    return rc;
}
