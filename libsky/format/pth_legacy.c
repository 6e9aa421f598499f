/* pth_legacy.c -- torch.save before 1.6: five pickles (magic number, protocol, system, object, storage keys), then per key a
 * 64-bit element count and the elements. */
#include "base/io.h"
#include "base/mem.h"
#include "format/weights_internal.h"

#include <stdlib.h>
#include <string.h>

/* 0x1950a86a20f9469cfc6c, little-endian */
static const char magic[10] = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
enum { PROTOCOL = 1001 };

struct storage {
    const char *key; /* not NUL-terminated */
    uint64_t key_bytes, at, bytes;
    uint64_t elsize; /* 0: no tensor named it yet */
};

typedef struct {
    sky_weights *w;
    uint64_t pos;
    sky_pickle *object, *keys;
    struct storage *s; /* sorted by key */
    uint64_t n;
} legacy;

static int next_pickle(legacy *f, sky_pickle **k, sky_err *e)
{
    uint64_t used;
    int rc = sky_pickle_load(k, f->w->map.p + f->pos, f->w->map.n - f->pos, f->pos, f->w->path, &used, e);
    if (!rc)
        f->pos += used;
    return rc;
}

static int is_magic(const sky_pk *v) { return v->kind == SKY_PK_OPAQUE && v->u.s.n == sizeof magic && !memcmp(v->u.s.p, magic, sizeof magic); }
static int is_protocol(const sky_pk *v) { return v->kind == SKY_PK_INT && v->u.i == PROTOCOL; }

static int is_system(const sky_pk *v)
{
    const sky_pk *little = v->kind == SKY_PK_DICT ? sky_pk_get(v, "little_endian") : NULL;
    return little && little->kind == SKY_PK_BOOL && little->u.i;
}

static int expect(legacy *f, int (*test)(const sky_pk *), const char *want, sky_err *e)
{
    sky_pickle *k;
    uint64_t at = f->pos;
    int rc = next_pickle(f, &k, e);
    if (rc)
        return rc;
    int ok = test(sky_pickle_root(k));
    sky_pickle_close(k);
    return ok ? SKY_OK : sky_fail(e, SKY_ECORRUPT, "%s: byte %llu: expected %s", f->w->path, (unsigned long long)at, want);
}

static int compare(const struct storage *a, const char *p, uint64_t n)
{
    int c = memcmp(a->key, p, a->key_bytes < n ? a->key_bytes : n);
    return c ? c : (a->key_bytes > n) - (a->key_bytes < n);
}

static int by_key(const void *a, const void *b) { return compare(a, ((const struct storage *)b)->key, ((const struct storage *)b)->key_bytes); }

static struct storage *find_key(legacy *f, const sky_pk *key)
{
    uint64_t lo = 0, hi = f->n;
    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        int c = compare(&f->s[mid], key->u.s.p, key->u.s.n);
        if (c == 0)
            return &f->s[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static int list_keys(legacy *f, sky_err *e)
{
    const sky_pk *list = sky_pickle_root(f->keys);
    if (list->kind != SKY_PK_LIST)
        return sky_fail(e, SKY_ECORRUPT, "%s: byte %llu: expected the list of storage keys, found %s", f->w->path, (unsigned long long)list->at, sky_pk_kind_name(list));
    f->s = sky_calloc(list->u.c.n, sizeof *f->s);
    if (!f->s)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", f->w->path);
    for (; f->n < list->u.c.n; f->n++) {
        const sky_pk *key = list->u.c.item[f->n];
        if (key->kind != SKY_PK_STR)
            return sky_fail(e, SKY_ECORRUPT, "%s: byte %llu: expected a storage key, found %s", f->w->path, (unsigned long long)key->at, sky_pk_kind_name(key));
        f->s[f->n].key = key->u.s.p;
        f->s[f->n].key_bytes = key->u.s.n;
    }
    if (f->n)
        qsort(f->s, f->n, sizeof *f->s, by_key);
    return SKY_OK;
}

/* Only the classes of the storages say how long an element is. */
static void learn_sizes(legacy *f)
{
    for (const sky_pk *st = sky_pickle_storages(f->object); st; st = st->u.st.next) {
        struct storage *s = find_key(f, st->u.st.key);
        if (s)
            s->elsize = sky_dtype_size(st->u.st.dtype);
    }
}

static int place(legacy *f, const sky_pk *key, sky_err *e)
{
    sky_rd r = {f->w->map.p + f->pos, f->w->map.p + f->w->map.n, 0};
    struct storage *s = find_key(f, key);
    uint64_t n = sky_rd_le(&r, 8), bytes = 0;
    if (s->at)
        return sky_fail(e, SKY_ECORRUPT, "%s: storage '%.*s' is listed twice", f->w->path, (int)s->key_bytes, s->key);
    if (!s->elsize)
        return sky_fail(e, SKY_ECORRUPT, "%s: storage '%.*s' belongs to no tensor", f->w->path, (int)s->key_bytes, s->key);
    if (!sky_mul_u64(n, s->elsize, &bytes) || !sky_rd_take(&r, bytes))
        return sky_fail(e, SKY_ECORRUPT, "%s: byte %llu: storage '%.*s' of %llu elements of %llu bytes does not fit into the file", f->w->path, (unsigned long long)f->pos,
                        (int)s->key_bytes, s->key, (unsigned long long)n, (unsigned long long)s->elsize);
    s->at = f->pos + 8;
    s->bytes = bytes;
    f->pos = s->at + bytes;
    return SKY_OK;
}

static int place_all(legacy *f, sky_err *e)
{
    learn_sizes(f);
    const sky_pk *list = sky_pickle_root(f->keys);
    int rc = SKY_OK;
    for (uint64_t i = 0; !rc && i < list->u.c.n; i++)
        rc = place(f, list->u.c.item[i], e);
    if (!rc && f->pos != f->w->map.n)
        rc = sky_fail(e, SKY_ECORRUPT, "%s: byte %llu: %llu bytes after the last storage", f->w->path, (unsigned long long)f->pos, (unsigned long long)(f->w->map.n - f->pos));
    return rc;
}

static int find_storage(void *arg, const sky_pk *st, uint64_t elsize, uint64_t *at, uint64_t *bytes, sky_err *e)
{
    legacy *f = arg;
    const struct storage *s = find_key(f, st->u.st.key);
    if (!s || s->elsize != elsize || s->bytes / elsize != (uint64_t)st->u.st.numel)
        return sky_fail(e, SKY_ECORRUPT, "%s: byte %llu: storage '%.*s' is %s", f->w->path, (unsigned long long)st->at,
                        (int)(st->u.st.key->u.s.n < 100 ? st->u.st.key->u.s.n : 100), st->u.st.key->u.s.p, s ? "of another size than declared" : "not in the file");
    *at = s->at;
    *bytes = s->bytes;
    return SKY_OK;
}

static int read_legacy(legacy *f, sky_err *e)
{
    int rc = expect(f, is_magic, "the magic number of torch.save", e);
    if (!rc)
        rc = expect(f, is_protocol, "protocol 1001 of torch.save", e);
    if (!rc)
        rc = expect(f, is_system, "the system's sizes with little_endian true", e);
    if (!rc)
        rc = next_pickle(f, &f->object, e);
    if (!rc)
        rc = next_pickle(f, &f->keys, e);
    if (!rc)
        rc = list_keys(f, e);
    if (!rc)
        rc = place_all(f, e);
    return rc ? rc : sky_weights_tree(f->w, sky_pickle_root(f->object), find_storage, f, e);
}

int sky_weights_legacy(sky_weights *w, sky_err *e)
{
    legacy f = {.w = w};
    int rc = read_legacy(&f, e);
    sky_pickle_close(f.object);
    sky_pickle_close(f.keys);
    sky_free(f.s);
    return rc;
}
