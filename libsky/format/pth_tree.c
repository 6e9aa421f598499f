/* pth_tree.c -- from the object a checkpoint holds to the list of its tensors. */
#include "base/mem.h"
#include "format/weights_internal.h"

static int at(const sky_weights *w, const sky_pk *v, const char *what, sky_err *e)
{
    return sky_fail(e, SKY_ECORRUPT, "%s: byte %llu: %s", w->path, (unsigned long long)v->at, what);
}

/* Enter {"model": {...}} and {"state_dict": {...}}, one in the other too. */
static int state_dict(const sky_weights *w, const sky_pk **dict, sky_err *e)
{
    for (int depth = 0; depth < 4; depth++) {
        if ((*dict)->kind != SKY_PK_DICT)
            return sky_fail(e, SKY_ECORRUPT, "%s: byte %llu: expected a dict of tensors, found %s", w->path, (unsigned long long)(*dict)->at, sky_pk_kind_name(*dict));
        const sky_pk *model = sky_pk_get(*dict, "model"), *state = sky_pk_get(*dict, "state_dict");
        int a = model && model->kind == SKY_PK_DICT, b = state && state->kind == SKY_PK_DICT;
        if (a && b)
            return at(w, *dict, "holds both 'model' and 'state_dict'; which one is meant cannot be known", e);
        if (!a && !b)
            return SKY_OK;
        *dict = a ? model : state;
    }
    return at(w, *dict, "'model' inside 'model' more than four times", e);
}

static int add_tensor(sky_weights *w, const sky_pk *key, const sky_pk *t, sky_find_storage *find, void *arg, sky_err *e)
{
    sky_view v = {.name = key->u.s.p, .name_bytes = key->u.s.n, .dtype = t->u.t.dtype, .strided = 1, .first = (uint64_t)t->u.t.offset};
    if (t->u.t.shape->u.c.n > 8)
        return at(w, t, "a tensor of more than 8 dimensions", e);
    v.ndim = (int)t->u.t.shape->u.c.n;
    for (int d = 0; d < v.ndim; d++) {
        v.shape[d] = t->u.t.shape->u.c.item[d]->u.i;
        v.stride[d] = t->u.t.stride->u.c.item[d]->u.i;
    }
    const sky_pk *st = t->u.t.storage;
    int rc = find(arg, st, sky_dtype_size(st->u.st.dtype), &v.at, &v.bytes, e);
    return rc ? rc : sky_weights_add(w, &v, e);
}

static int no_tensors(const sky_weights *w, const sky_pk *dict, sky_err *e)
{
    sky_buf b = {0};
    for (uint64_t i = 0; i + 1 < dict->u.c.n && i < 16; i += 2)
        if (dict->u.c.item[i]->kind == SKY_PK_STR)
            sky_buf_printf(&b, " '%.*s'", (int)(dict->u.c.item[i]->u.s.n < 40 ? dict->u.c.item[i]->u.s.n : 40), dict->u.c.item[i]->u.s.p);
    int rc = sky_fail(e, SKY_ECORRUPT, "%s: no tensors at its top, nor under 'model' or 'state_dict'; it has%s", w->path, b.n ? b.p : " no names");
    sky_buf_free(&b);
    return rc;
}

int sky_weights_tree(sky_weights *w, const sky_pk *root, sky_find_storage *find, void *arg, sky_err *e)
{
    int rc = state_dict(w, &root, e);
    for (uint64_t i = 0; !rc && i + 1 < root->u.c.n; i += 2) {
        const sky_pk *key = root->u.c.item[i], *v = root->u.c.item[i + 1];
        if (v->kind == SKY_PK_TENSOR && key->kind != SKY_PK_STR)
            rc = at(w, v, "a tensor whose key is not a string", e);
        else if (v->kind == SKY_PK_TENSOR)
            rc = add_tensor(w, key, v, find, arg, e);
        else if (v->holds_tensors)
            rc = sky_fail(e, SKY_ECORRUPT, "%s: byte %llu: entry '%.*s' beside the weights is %s that holds tensors: not a dict of tensors", w->path, (unsigned long long)v->at,
                          key->kind == SKY_PK_STR ? (int)(key->u.s.n < 100 ? key->u.s.n : 100) : 1, key->kind == SKY_PK_STR ? key->u.s.p : "?", sky_pk_kind_name(v));
    }
    if (!rc && w->n == 0)
        rc = no_tensors(w, root, e);
    return rc;
}
