/* pickle.c -- the machine: a stack, marks, a memo, and one short function per opcode (table `run` at the end).
 *
 * No recursion anywhere, so nesting cannot exhaust the C stack; an opcode makes at most one object and memory is bounded
 * by the number of objects. */
#include "base/mem.h"
#include "format/pickle_internal.h"

#include <string.h>

/* ---- stack -------------------------------------------------------------------------------------------------------- */

/* Grow an array of 8-byte elements to hold index i; new ones are 0. */
static int room(sky_pickle *k, void **p, size_t *cap, uint64_t i)
{
    const size_t had = *cap;
    void *q = sky_grow(*p, i, cap, 8);
    if (!q)
        return sky_fail(k->e, SKY_ENOMEM, "%s: pickle: out of memory", k->name);
    memset((char *)q + had * 8, 0, (*cap - had) * 8);
    *p = q;
    return SKY_OK;
}

static int push(sky_pickle *k, sky_pk *v)
{
    if (!v)
        return k->e && k->e->code ? k->e->code : SKY_ENOMEM;
    if (k->top == SKY_PICKLE_STACK)
        return sky_pk_fail(k, SKY_ELIMIT, "more than %d values on the stack", SKY_PICKLE_STACK);
    int rc = room(k, (void **)&k->stack, &k->stack_cap, k->top);
    if (!rc)
        k->stack[k->top++] = v;
    return rc;
}

/* Where the values above the last mark (or all) begin: nothing below may be taken by an opcode that knows no marks. */
static uint64_t floor_of(const sky_pickle *k) { return k->nmarks ? k->marks[k->nmarks - 1] : 0; }

static sky_pk *pop(sky_pickle *k)
{
    if (k->top == floor_of(k)) {
        sky_pk_fail(k, SKY_ECORRUPT, "opcode 0x%02x finds the stack empty", k->op);
        return NULL;
    }
    return k->stack[--k->top];
}

static int bad(const sky_pickle *k) { return k->e->code; }

static int wrong(sky_pickle *k, const char *want, const sky_pk *found)
{
    return sky_pk_fail(k, SKY_ECORRUPT, "opcode 0x%02x wants %s, found %s", k->op, want, sky_pk_kind_name(found));
}

/* ---- scalars ---------------------------------------------------------------------------------------------------- */

static int op_none(sky_pickle *k) { return push(k, sky_pk_new(k, SKY_PK_NONE)); }

static int push_int(sky_pickle *k, sky_pk_kind kind, int64_t i)
{
    sky_pk *v = sky_pk_new(k, kind);
    if (v)
        v->u.i = i;
    return push(k, v);
}

static int op_bool(sky_pickle *k) { return push_int(k, SKY_PK_BOOL, k->op == 0x88); }
static int op_binint(sky_pickle *k) { return push_int(k, SKY_PK_INT, (int32_t)sky_rd_le(&k->in, 4)); }
static int op_binint1(sky_pickle *k) { return push_int(k, SKY_PK_INT, (int64_t)sky_rd_le(&k->in, 1)); }
static int op_binint2(sky_pickle *k) { return push_int(k, SKY_PK_INT, (int64_t)sky_rd_le(&k->in, 2)); }

/* Two's complement of n bytes; more than eight stay bytes. */
static int op_long(sky_pickle *k)
{
    uint64_t n = sky_rd_le(&k->in, k->op == 0x8a ? 1 : 4), value = 0;
    const uint8_t *p = sky_rd_take(&k->in, n);
    if (!p)
        return SKY_OK; /* the end of the input is reported by the loop */
    if (n > 8) {
        sky_pk *v = sky_pk_new(k, SKY_PK_OPAQUE);
        if (v)
            v->u.s.p = (const char *)p, v->u.s.n = n;
        return push(k, v);
    }
    for (uint64_t i = 0; i < 8; i++)
        value |= (uint64_t)(i < n ? p[i] : n && p[n - 1] & 0x80 ? 0xff : 0) << (8 * i);
    return push_int(k, SKY_PK_INT, (int64_t)value);
}

static int op_binfloat(sky_pickle *k)
{
    const uint8_t *p = sky_rd_take(&k->in, 8);
    uint64_t bits = 0;
    sky_pk *v = sky_pk_new(k, SKY_PK_FLOAT);
    for (int i = 0; p && i < 8; i++)
        bits = bits << 8 | p[i];
    if (v)
        memcpy(&v->u.f, &bits, 8);
    return push(k, v);
}

static int push_text(sky_pickle *k, sky_pk_kind kind, int size_bytes)
{
    uint64_t n = sky_rd_le(&k->in, size_bytes);
    const uint8_t *p = sky_rd_take(&k->in, n);
    if (!p)
        return SKY_OK;
    sky_pk *v = sky_pk_new(k, kind);
    if (v)
        v->u.s.p = (const char *)p, v->u.s.n = n;
    return push(k, v);
}

static int op_str1(sky_pickle *k) { return push_text(k, SKY_PK_STR, 1); }
static int op_str4(sky_pickle *k) { return push_text(k, SKY_PK_STR, 4); }
static int op_str8(sky_pickle *k) { return push_text(k, SKY_PK_STR, 8); }
static int op_bytes1(sky_pickle *k) { return push_text(k, SKY_PK_BYTES, 1); }
static int op_bytes4(sky_pickle *k) { return push_text(k, SKY_PK_BYTES, 4); }
static int op_bytes8(sky_pickle *k) { return push_text(k, SKY_PK_BYTES, 8); }

/* ---- containers ------------------------------------------------------------------------------------------------- */

static int op_mark(sky_pickle *k)
{
    if (k->nmarks == SKY_PICKLE_MARKS)
        return sky_pk_fail(k, SKY_ELIMIT, "more than %d marks", SKY_PICKLE_MARKS);
    int rc = room(k, (void **)&k->marks, &k->marks_cap, k->nmarks);
    if (!rc)
        k->marks[k->nmarks++] = k->top;
    return rc;
}

/* Values above the last mark are k->stack[*from .. top-1]; the mark is gone. */
static int take_mark(sky_pickle *k, uint64_t *from)
{
    if (!k->nmarks)
        return sky_pk_fail(k, SKY_ECORRUPT, "opcode 0x%02x finds no mark", k->op);
    *from = k->marks[--k->nmarks];
    return SKY_OK;
}

/* Move the values from `from` on into c. */
static int fill(sky_pickle *k, sky_pk *c, uint64_t from)
{
    int rc = SKY_OK;
    for (uint64_t i = from; !rc && i < k->top; i++)
        rc = sky_pk_append(k, c, k->stack[i]);
    k->top = from;
    return rc;
}

static int make(sky_pickle *k, sky_pk_kind kind, uint64_t from)
{
    sky_pk *c = sky_pk_new(k, kind);
    if (!c)
        return bad(k);
    if (kind == SKY_PK_DICT && (k->top - from) % 2)
        return sky_pk_fail(k, SKY_ECORRUPT, "a key without a value");
    int rc = fill(k, c, from);
    return rc ? rc : push(k, c);
}

static int op_empty(sky_pickle *k)
{
    return make(k, k->op == '}' ? SKY_PK_DICT : k->op == ']' ? SKY_PK_LIST : k->op == ')' ? SKY_PK_TUPLE : SKY_PK_SET, k->top);
}

static int op_tuple_n(sky_pickle *k)
{
    uint64_t n = (uint64_t)(k->op - 0x84); /* TUPLE1 0x85 .. TUPLE3 0x87 */
    if (k->top - floor_of(k) < n)
        return sky_pk_fail(k, SKY_ECORRUPT, "a tuple of %d finds fewer values", (int)n);
    return make(k, SKY_PK_TUPLE, k->top - n);
}

static int op_from_mark(sky_pickle *k)
{
    uint64_t from = 0;
    int rc = take_mark(k, &from);
    return rc ? rc : make(k, k->op == 't' ? SKY_PK_TUPLE : k->op == 'l' ? SKY_PK_LIST : k->op == 'd' ? SKY_PK_DICT : SKY_PK_SET, from);
}

/* Values from `from` on go into the container under them, which must be of this kind. */
static int extend(sky_pickle *k, uint64_t from, sky_pk_kind kind, const char *want)
{
    if (from == floor_of(k))
        return sky_pk_fail(k, SKY_ECORRUPT, "opcode 0x%02x finds no container", k->op);
    sky_pk *c = k->stack[from - 1];
    if (c->kind != kind)
        return wrong(k, want, c);
    if (kind == SKY_PK_DICT && (k->top - from) % 2)
        return sky_pk_fail(k, SKY_ECORRUPT, "a key without a value");
    return fill(k, c, from);
}

static int op_append(sky_pickle *k)
{
    uint64_t n = k->op == 'a' ? 1 : 2; /* SETITEM takes key and value */
    if (k->top - floor_of(k) < n)
        return sky_pk_fail(k, SKY_ECORRUPT, "opcode 0x%02x finds the stack empty", k->op);
    return n == 1 ? extend(k, k->top - 1, SKY_PK_LIST, "a list") : extend(k, k->top - 2, SKY_PK_DICT, "a dict");
}

static int op_append_many(sky_pickle *k)
{
    uint64_t from = 0;
    int rc = take_mark(k, &from);
    if (rc)
        return rc;
    return k->op == 'e' ? extend(k, from, SKY_PK_LIST, "a list") : k->op == 'u' ? extend(k, from, SKY_PK_DICT, "a dict") : extend(k, from, SKY_PK_SET, "a set");
}

/* ---- stack and memo --------------------------------------------------------------------------------------------- */

static int op_pop(sky_pickle *k)
{
    if (k->nmarks && k->top == floor_of(k)) {
        k->nmarks--; /* POP also takes a mark */
        return SKY_OK;
    }
    return pop(k) ? SKY_OK : bad(k);
}

static int op_pop_mark(sky_pickle *k)
{
    uint64_t from = 0;
    int rc = take_mark(k, &from);
    if (!rc)
        k->top = from;
    return rc;
}

static int op_dup(sky_pickle *k)
{
    sky_pk *v = pop(k);
    int rc = v ? push(k, v) : bad(k);
    return rc ? rc : push(k, v);
}

static int remember(sky_pickle *k, uint64_t i)
{
    if (k->top == floor_of(k))
        return sky_pk_fail(k, SKY_ECORRUPT, "nothing to put into the memo");
    if (i >= SKY_PICKLE_OBJECTS)
        return sky_pk_fail(k, SKY_ELIMIT, "memo entry %llu; at most %d", (unsigned long long)i, SKY_PICKLE_OBJECTS);
    int rc = room(k, (void **)&k->memo, &k->memo_cap, i);
    if (rc)
        return rc;
    k->memo_n += !k->memo[i];
    k->memo[i] = k->stack[k->top - 1];
    return SKY_OK;
}

static int op_put1(sky_pickle *k) { return remember(k, sky_rd_le(&k->in, 1)); }
static int op_put4(sky_pickle *k) { return remember(k, sky_rd_le(&k->in, 4)); }
static int op_memoize(sky_pickle *k) { return remember(k, k->memo_n); }

static int op_get(sky_pickle *k)
{
    uint64_t i = sky_rd_le(&k->in, k->op == 'h' ? 1 : 4);
    if (i >= k->memo_cap || !k->memo[i])
        return sky_pk_fail(k, SKY_ECORRUPT, "memo entry %llu was never set", (unsigned long long)i);
    return push(k, k->memo[i]);
}

/* ---- names, calls, storages ------------------------------------------------------------------------------------- */

static int push_global(sky_pickle *k, const char *module, uint64_t nm, const char *name, uint64_t nn)
{
    const sky_pk_global *g = sky_pk_find_global(module, nm, name, nn);
    if (!g)
        return sky_pk_fail(k, SKY_ECORRUPT, "refuses '%.*s.%.*s': only tensors, containers and scalars are read, nothing is executed",
                           (int)(nm < 100 ? nm : 100), module, (int)(nn < 100 ? nn : 100), name);
    sky_pk *v = sky_pk_new(k, SKY_PK_GLOBAL);
    if (v)
        v->u.g = g;
    return push(k, v);
}

/* Bytes up to the next newline, which is taken too. */
static const char *line(sky_pickle *k, uint64_t *n)
{
    const uint8_t *p = k->in.p, *nl = memchr(p, '\n', (size_t)(k->in.end - p));
    *n = nl ? (uint64_t)(nl - p) : 0;
    return sky_rd_take(&k->in, nl ? *n + 1 : UINT64_MAX) ? (const char *)p : NULL;
}

static int op_global(sky_pickle *k)
{
    uint64_t nm, nn;
    const char *module = line(k, &nm), *name = line(k, &nn);
    return module && name ? push_global(k, module, nm, name, nn) : SKY_OK;
}

static int op_stack_global(sky_pickle *k)
{
    sky_pk *name = pop(k), *module = name ? pop(k) : NULL;
    if (!module)
        return bad(k);
    if (name->kind != SKY_PK_STR || module->kind != SKY_PK_STR)
        return wrong(k, "two strings", name->kind != SKY_PK_STR ? name : module);
    return push_global(k, module->u.s.p, module->u.s.n, name->u.s.p, name->u.s.n);
}

static int op_reduce(sky_pickle *k)
{
    sky_pk *args = pop(k), *g = args ? pop(k) : NULL, *made = NULL;
    if (!g)
        return bad(k);
    if (args->kind != SKY_PK_TUPLE)
        return wrong(k, "a tuple of arguments", args);
    if (g->kind != SKY_PK_GLOBAL)
        return wrong(k, "a function", g);
    if (!g->u.g->call)
        return sky_pk_fail(k, SKY_ECORRUPT, "'%s.%s' cannot be called", g->u.g->module, g->u.g->name);
    int rc = g->u.g->call(k, g->u.g, args, &made);
    return rc ? bad(k) : push(k, made);
}

/* State set on an object: OrderedDict carries attributes such as _metadata, a NumPy dtype its byte order. Both are
 * dropped; anything else must not have any. */
static int op_build(sky_pickle *k)
{
    sky_pk *state = pop(k), *object = state ? pop(k) : NULL;
    if (!object)
        return bad(k);
    int known = (object->kind == SKY_PK_DICT && state->kind == SKY_PK_DICT) || (object->kind == SKY_PK_OPAQUE && state->kind == SKY_PK_TUPLE);
    return known ? push(k, object) : wrong(k, "a dict (state of an OrderedDict)", state);
}

static const sky_pk *item(const sky_pk *t, uint64_t i, sky_pk_kind kind)
{
    return i < t->u.c.n && t->u.c.item[i]->kind == kind ? t->u.c.item[i] : NULL;
}

/* ('storage', class, key, location, numel[, None]) */
static int op_persistent(sky_pickle *k)
{
    sky_pk *id = pop(k);
    if (!id)
        return bad(k);
    if (id->kind != SKY_PK_TUPLE)
        return wrong(k, "a tuple as persistent id", id);
    const sky_pk *tag = item(id, 0, SKY_PK_STR), *type = item(id, 1, SKY_PK_GLOBAL), *key = item(id, 2, SKY_PK_STR), *numel = item(id, 4, SKY_PK_INT);
    if (!tag || tag->u.s.n != 7 || memcmp(tag->u.s.p, "storage", 7) || !type || type->u.g->call || !strstr(type->u.g->name, "Storage") || !key || !numel || numel->u.i < 0)
        return sky_pk_fail(k, SKY_ECORRUPT, "persistent id is not ('storage', a storage class, key, location, size)");
    if (id->u.c.n > 5 && !item(id, 5, SKY_PK_NONE))
        return sky_pk_fail(k, SKY_ECORRUPT, "a view of a storage (PyTorch before 0.4), which is not read");
    sky_pk *v = sky_pk_new(k, SKY_PK_STORAGE);
    if (!v)
        return bad(k);
    v->u.st.key = key;
    v->u.st.untyped = type->u.g->dtype < 0;
    v->u.st.dtype = v->u.st.untyped ? SKY_U8 : (sky_dtype)type->u.g->dtype;
    v->u.st.numel = numel->u.i;
    v->u.st.next = k->storages;
    k->storages = v;
    return push(k, v);
}

/* ---- the program ------------------------------------------------------------------------------------------------ */

static int op_proto(sky_pickle *k)
{
    uint64_t v = sky_rd_le(&k->in, 1);
    return v >= 2 && v <= 5 ? SKY_OK : sky_pk_fail(k, SKY_EVERSION, "protocol %d; 2 to 5 are read", (int)v);
}

/* FRAME tells readers how much to fetch at once; everything is here already. */
static int op_frame(sky_pickle *k)
{
    uint64_t n = sky_rd_le(&k->in, 8);
    return n <= (uint64_t)(k->in.end - k->in.p) ? SKY_OK : sky_pk_fail(k, SKY_ECORRUPT, "a frame of %llu bytes where %td are left", (unsigned long long)n, k->in.end - k->in.p);
}

static int op_stop(sky_pickle *k)
{
    if (k->nmarks || k->top != 1)
        return sky_pk_fail(k, SKY_ECORRUPT, "ends with %llu values and %llu marks on the stack; expected one value", (unsigned long long)k->top, (unsigned long long)k->nmarks);
    k->root = k->stack[0];
    return SKY_OK;
}

static int (*const run[256])(sky_pickle *) = {
    [0x80] = op_proto, [0x95] = op_frame, ['.'] = op_stop,
    ['N'] = op_none, [0x88] = op_bool, [0x89] = op_bool, ['J'] = op_binint, ['K'] = op_binint1, ['M'] = op_binint2,
    [0x8a] = op_long, [0x8b] = op_long, ['G'] = op_binfloat,
    /* SHORT_BINSTRING and BINSTRING are Python 2's str: text here */
    ['U'] = op_str1, ['T'] = op_str4, [0x8c] = op_str1, ['X'] = op_str4, [0x8d] = op_str8, ['C'] = op_bytes1, ['B'] = op_bytes4, [0x8e] = op_bytes8,
    ['('] = op_mark, ['}'] = op_empty, [']'] = op_empty, [')'] = op_empty, [0x8f] = op_empty,
    [0x85] = op_tuple_n, [0x86] = op_tuple_n, [0x87] = op_tuple_n, ['t'] = op_from_mark, ['l'] = op_from_mark, ['d'] = op_from_mark, [0x91] = op_from_mark,
    ['a'] = op_append, ['s'] = op_append, ['e'] = op_append_many, ['u'] = op_append_many, [0x90] = op_append_many,
    ['0'] = op_pop, ['1'] = op_pop_mark, ['2'] = op_dup, ['q'] = op_put1, ['r'] = op_put4, [0x94] = op_memoize, ['h'] = op_get, ['j'] = op_get,
    ['c'] = op_global, [0x93] = op_stack_global, ['R'] = op_reduce, [0x81] = op_reduce /* NEWOBJ: cls(*args) */, ['b'] = op_build, ['Q'] = op_persistent,
};

static int step(sky_pickle *k)
{
    k->op_at = k->base + (uint64_t)(k->in.p - k->start);
    k->op = (int)sky_rd_le(&k->in, 1);
    int rc = k->in.bad ? SKY_OK : run[k->op] ? run[k->op](k) : sky_pk_fail(k, SKY_ECORRUPT, "opcode 0x%02x is not accepted", k->op);
    if (k->in.bad)
        return sky_pk_fail(k, SKY_ECORRUPT, "the data end inside it");
    return rc;
}

static int execute(sky_pickle *k)
{
    if (k->in.p == k->in.end || *k->in.p != 0x80)
        return sky_fail(k->e, SKY_ECORRUPT, "%s: byte %llu: not a pickle of protocol 2 to 5", k->name, (unsigned long long)k->base);
    int rc;
    do
        rc = step(k);
    while (!rc && !k->root);
    return rc;
}

int sky_pickle_load(sky_pickle **out, const uint8_t *p, uint64_t n, uint64_t base, const char *name, uint64_t *used, sky_err *e)
{
    sky_err mine = {0}; /* handlers read the code back, so there has to be one */
    if (n > SKY_PICKLE_BYTES)
        n = SKY_PICKLE_BYTES;
    sky_pickle *k = sky_calloc(1, sizeof *k);
    if (!k)
        return sky_fail(e, SKY_ENOMEM, "%s: pickle: out of memory", name);
    k->in = (sky_rd){p, p + n, 0};
    k->start = p;
    k->base = base;
    k->name = name;
    k->e = &mine;
    int rc = execute(k);
    if (rc) {
        sky_pickle_close(k);
        return sky_fail(e, rc, "%s", mine.msg);
    }
    *used = (uint64_t)(k->in.p - k->start);
    *out = k;
    return SKY_OK;
}
