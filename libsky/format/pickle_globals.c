/* pickle_globals.c -- the only names a pickle may mention, and what "calling" each of them means here. */
#include "format/pickle_internal.h"

#include <string.h>

static int wrong_args(sky_pickle *k, const sky_pk_global *g, const char *want)
{
    return sky_pk_fail(k, SKY_ECORRUPT, "%s.%s: expected %s", g->module, g->name, want);
}

static const sky_pk *arg(const sky_pk *args, uint64_t i, sky_pk_kind kind)
{
    return i < args->u.c.n && args->u.c.item[i]->kind == kind ? args->u.c.item[i] : NULL;
}

static int is_extent(const sky_pk *v)
{
    if (!v)
        return 0;
    for (uint64_t i = 0; i < v->u.c.n; i++)
        if (v->u.c.item[i]->kind != SKY_PK_INT || v->u.c.item[i]->u.i < 0)
            return 0;
    return 1;
}

/* (storage, offset, shape, stride, ...): what every _rebuild_tensor has in common. */
static int make_tensor(sky_pickle *k, const sky_pk_global *g, const sky_pk *args, const sky_pk *type, sky_pk **out)
{
    const sky_pk *st = arg(args, 0, SKY_PK_STORAGE), *offset = arg(args, 1, SKY_PK_INT);
    const sky_pk *shape = arg(args, 2, SKY_PK_TUPLE), *stride = arg(args, 3, SKY_PK_TUPLE);
    if (!st || !offset || offset->u.i < 0 || !is_extent(shape) || !is_extent(stride) || shape->u.c.n != stride->u.c.n)
        return wrong_args(k, g, "(storage, offset >= 0, shape, stride as long as shape, ...)");
    if (st->u.st.untyped && !type)
        return wrong_args(k, g, "a typed storage");
    sky_pk *t = sky_pk_new(k, SKY_PK_TENSOR);
    if (!t)
        return SKY_ENOMEM;
    t->u.t.storage = st;
    t->u.t.offset = offset->u.i;
    t->u.t.shape = shape;
    t->u.t.stride = stride;
    t->u.t.dtype = type ? (sky_dtype)type->u.g->dtype : st->u.st.dtype;
    *out = t;
    return SKY_OK;
}

static int rebuild_tensor(sky_pickle *k, const sky_pk_global *g, const sky_pk *args, sky_pk **out) { return make_tensor(k, g, args, NULL, out); }

/* v3: (storage, offset, shape, stride, requires_grad, hooks, dtype, metadata) for types without a storage class. */
static int rebuild_tensor_v3(sky_pickle *k, const sky_pk_global *g, const sky_pk *args, sky_pk **out)
{
    const sky_pk *type = arg(args, 6, SKY_PK_GLOBAL);
    if (!type || type->u.g->call || strcmp(type->u.g->module, "torch"))
        return wrong_args(k, g, "a torch dtype as seventh argument");
    return make_tensor(k, g, args, type, out);
}

/* (tensor, requires_grad, hooks, ...) is the tensor. */
static int rebuild_parameter(sky_pickle *k, const sky_pk_global *g, const sky_pk *args, sky_pk **out)
{
    const sky_pk *t = arg(args, 0, SKY_PK_TENSOR);
    if (!t)
        return wrong_args(k, g, "a tensor");
    sky_pk *copy = sky_pk_new(k, SKY_PK_TENSOR);
    if (!copy)
        return SKY_ENOMEM;
    copy->u.t = t->u.t;
    *out = copy;
    return SKY_OK;
}

static int copy_items(sky_pickle *k, sky_pk *to, const sky_pk *from, uint64_t step)
{
    int rc = SKY_OK;
    for (uint64_t i = 0; !rc && i + step <= from->u.c.n; i++)
        rc = sky_pk_append(k, to, from->u.c.item[i]);
    return rc;
}

/* OrderedDict(), OrderedDict([(k, v), ...]), Counter({...}), dict(...) */
static int make_dict(sky_pickle *k, const sky_pk_global *g, const sky_pk *args, sky_pk **out)
{
    sky_pk *d = *out = sky_pk_new(k, SKY_PK_DICT);
    if (!d)
        return SKY_ENOMEM;
    if (args->u.c.n == 0)
        return SKY_OK;
    const sky_pk *dict = arg(args, 0, SKY_PK_DICT), *list = arg(args, 0, SKY_PK_LIST);
    if (args->u.c.n != 1 || (!dict && !list))
        return wrong_args(k, g, "nothing, a dict or a list of pairs");
    if (dict)
        return copy_items(k, d, dict, 1);
    int rc = SKY_OK;
    for (uint64_t i = 0; !rc && i < list->u.c.n; i++) {
        const sky_pk *pair = list->u.c.item[i];
        if ((pair->kind != SKY_PK_TUPLE && pair->kind != SKY_PK_LIST) || pair->u.c.n != 2)
            return wrong_args(k, g, "pairs");
        rc = copy_items(k, d, pair, 1);
    }
    return rc;
}

/* defaultdict(factory): the factory is never called, its name was accepted already. */
static int make_defaultdict(sky_pickle *k, const sky_pk_global *g, const sky_pk *args, sky_pk **out)
{
    if (args->u.c.n > 1 || (args->u.c.n == 1 && args->u.c.item[0]->kind != SKY_PK_GLOBAL && args->u.c.item[0]->kind != SKY_PK_NONE))
        return wrong_args(k, g, "nothing or a factory");
    *out = sky_pk_new(k, SKY_PK_DICT);
    return *out ? SKY_OK : SKY_ENOMEM;
}

/* set([..]), list((..)), torch.Size((..)) */
static int make_sequence(sky_pickle *k, const sky_pk_global *g, const sky_pk *args, sky_pk **out)
{
    sky_pk_kind kind = !strcmp(g->name, "Size") ? SKY_PK_TUPLE : !strcmp(g->name, "list") ? SKY_PK_LIST : SKY_PK_SET;
    sky_pk *s = *out = sky_pk_new(k, kind);
    if (!s)
        return SKY_ENOMEM;
    if (args->u.c.n == 0)
        return SKY_OK;
    const sky_pk *from = arg(args, 0, SKY_PK_LIST);
    if (!from)
        from = arg(args, 0, SKY_PK_TUPLE);
    return from && args->u.c.n == 1 ? copy_items(k, s, from, 1) : wrong_args(k, g, "a list or a tuple");
}

/* _codecs.encode(text, 'latin1'): how protocol 2 spells bytes. Kept as the text. */
static int make_bytes(sky_pickle *k, const sky_pk_global *g, const sky_pk *args, sky_pk **out)
{
    const sky_pk *text = arg(args, 0, SKY_PK_STR);
    if (!text)
        return wrong_args(k, g, "a string");
    *out = sky_pk_new(k, SKY_PK_OPAQUE);
    if (!*out)
        return SKY_ENOMEM;
    (*out)->u.s = text->u.s;
    return SKY_OK;
}

static int make_opaque(sky_pickle *k, const sky_pk_global *g, const sky_pk *args, sky_pk **out)
{
    (void)g, (void)args;
    *out = sky_pk_new(k, SKY_PK_OPAQUE);
    return *out ? SKY_OK : SKY_ENOMEM;
}

static const sky_pk_global globals[] = {
    {"torch._utils", "_rebuild_tensor", rebuild_tensor, 0},
    {"torch._utils", "_rebuild_tensor_v2", rebuild_tensor, 0},
    {"torch._utils", "_rebuild_tensor_v3", rebuild_tensor_v3, 0},
    {"torch._utils", "_rebuild_parameter", rebuild_parameter, 0},
    {"torch._utils", "_rebuild_parameter_with_state", rebuild_parameter, 0},
    {"torch", "DoubleStorage", NULL, SKY_F64}, {"torch", "FloatStorage", NULL, SKY_F32},
    {"torch", "HalfStorage", NULL, SKY_F16},   {"torch", "BFloat16Storage", NULL, SKY_BF16},
    {"torch", "LongStorage", NULL, SKY_I64},   {"torch", "IntStorage", NULL, SKY_I32},
    {"torch", "ShortStorage", NULL, SKY_I16},  {"torch", "CharStorage", NULL, SKY_I8},
    {"torch", "ByteStorage", NULL, SKY_U8},    {"torch", "BoolStorage", NULL, SKY_BOOL},
    {"torch.storage", "UntypedStorage", NULL, -1},
    {"torch", "float64", NULL, SKY_F64}, {"torch", "float32", NULL, SKY_F32}, {"torch", "float16", NULL, SKY_F16},
    {"torch", "bfloat16", NULL, SKY_BF16}, {"torch", "int64", NULL, SKY_I64}, {"torch", "int32", NULL, SKY_I32},
    {"torch", "int16", NULL, SKY_I16}, {"torch", "int8", NULL, SKY_I8}, {"torch", "uint8", NULL, SKY_U8},
    {"torch", "uint16", NULL, SKY_U16}, {"torch", "uint32", NULL, SKY_U32}, {"torch", "uint64", NULL, SKY_U64},
    {"torch", "bool", NULL, SKY_BOOL},
    {"torch", "Size", make_sequence, 0},
    {"collections", "OrderedDict", make_dict, 0}, {"collections", "Counter", make_dict, 0}, {"collections", "defaultdict", make_defaultdict, 0},
    {"builtins", "dict", make_dict, 0}, {"builtins", "set", make_sequence, 0}, {"builtins", "frozenset", make_sequence, 0}, {"builtins", "list", make_sequence, 0},
    {"__builtin__", "dict", make_dict, 0}, {"__builtin__", "set", make_sequence, 0}, {"__builtin__", "frozenset", make_sequence, 0}, {"__builtin__", "list", make_sequence, 0},
    {"_codecs", "encode", make_bytes, 0},
    {"numpy", "dtype", make_opaque, 0},
    {"numpy.core.multiarray", "scalar", make_opaque, 0}, {"numpy._core.multiarray", "scalar", make_opaque, 0},
};

static int same(const char *s, const char *p, size_t n) { return strlen(s) == n && !memcmp(s, p, n); }

const sky_pk_global *sky_pk_find_global(const char *module, size_t nm, const char *name, size_t nn)
{
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if (same(globals[i].module, module, nm) && same(globals[i].name, name, nn))
            return &globals[i];
    return NULL;
}
