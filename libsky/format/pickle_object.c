/* pickle_object.c -- objects of the pickle machine, in an arena that is freed as a whole. */
#include "base/mem.h"
#include "format/pickle_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK = 1 << 16 };

struct pk_block {
    struct pk_block *next;
    size_t used, size;
    _Alignas(16) char data[];
};

static void *get(sky_pickle *k, size_t n)
{
    n = (n + 15) & ~(size_t)15;
    struct pk_block *b = k->blocks;
    if (!b || n > b->size - b->used) {
        size_t size = n > BLOCK ? n : BLOCK;
        b = sky_alloc(sizeof *b + size);
        if (!b) {
            sky_fail(k->e, SKY_ENOMEM, "%s: pickle: out of memory", k->name);
            return NULL;
        }
        *b = (struct pk_block){k->blocks, 0, size};
        k->blocks = b;
    }
    void *p = b->data + b->used;
    b->used += n;
    return p;
}

int sky_pk_fail(sky_pickle *k, int code, const char *fmt, ...)
{
    char msg[320];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    return sky_fail(k->e, code, "%s: byte %llu: pickle: %s", k->name, (unsigned long long)k->op_at, msg);
}

/* Objects and places in containers alike, since one opcode can copy a container. */
static int count(sky_pickle *k)
{
    return k->objects++ < SKY_PICKLE_OBJECTS ? SKY_OK : sky_pk_fail(k, SKY_ELIMIT, "more than %d objects", SKY_PICKLE_OBJECTS);
}

sky_pk *sky_pk_new(sky_pickle *k, sky_pk_kind kind)
{
    if (count(k))
        return NULL;
    sky_pk *v = get(k, sizeof *v);
    if (v)
        *v = (sky_pk){.kind = kind, .at = k->op_at};
    return v;
}

int sky_pk_append(sky_pickle *k, sky_pk *c, sky_pk *item)
{
    int rc = count(k);
    if (rc)
        return rc;
    if (c->u.c.n == c->u.c.cap) {
        uint64_t cap = c->u.c.cap ? 2 * c->u.c.cap : 8;
        sky_pk **p = get(k, cap * sizeof *p);
        if (!p)
            return SKY_ENOMEM;
        if (c->u.c.n)
            memcpy(p, c->u.c.item, c->u.c.n * sizeof *p);
        c->u.c.item = p;
        c->u.c.cap = cap;
    }
    c->u.c.item[c->u.c.n++] = item;
    c->holds_tensors |= item->kind == SKY_PK_TENSOR || item->holds_tensors;
    return SKY_OK;
}

const sky_pk *sky_pickle_root(const sky_pickle *k) { return k->root; }
const sky_pk *sky_pickle_storages(const sky_pickle *k) { return k->storages; }

void sky_pickle_close(sky_pickle *k)
{
    if (!k)
        return;
    for (struct pk_block *b = k->blocks, *next; b; b = next) {
        next = b->next;
        sky_free(b);
    }
    sky_free(k->stack);
    sky_free(k->marks);
    sky_free(k->memo);
    sky_free(k);
}

const char *sky_pk_kind_name(const sky_pk *v)
{
    static const char *const names[] = {"None", "a bool", "an int", "a float", "a string", "bytes", "a scalar", "a tuple", "a list", "a set", "a dict", "a class or function", "a storage", "a tensor"};
    return names[v->kind];
}

const sky_pk *sky_pk_get(const sky_pk *dict, const char *key)
{
    size_t n = strlen(key);
    for (uint64_t i = dict->u.c.n; i >= 2; i -= 2) {
        const sky_pk *s = dict->u.c.item[i - 2];
        if (s->kind == SKY_PK_STR && s->u.s.n == n && !memcmp(s->u.s.p, key, n))
            return dict->u.c.item[i - 1];
    }
    return NULL;
}
