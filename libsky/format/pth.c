/* pth.c -- torch.save since 1.6: a zip of PREFIX/data.pkl and one stored member PREFIX/data/KEY per storage. */
#include "base/mem.h"
#include "format/weights_internal.h"
#include "format/zip.h"

#include <string.h>

typedef struct {
    sky_weights *w;
    sky_zip *zip;
    const char *prefix; /* of the data.pkl member's name, with the slash */
    int prefix_bytes;
} pth;

static int is_pickle(const char *name)
{
    size_t n = strlen(name);
    return n >= 8 && !strcmp(name + n - 8, "data.pkl") && (n == 8 || name[n - 9] == '/');
}

static int find_pickle(pth *z, int *member, sky_err *e)
{
    *member = -1;
    for (int i = 0; i < sky_zip_count(z->zip); i++) {
        const char *name = sky_zip_at(z->zip, i)->name;
        if (!is_pickle(name))
            continue;
        if (*member >= 0)
            return sky_fail(e, SKY_ECORRUPT, "%s: two members are called data.pkl", z->w->path);
        *member = i;
        z->prefix = name;
        z->prefix_bytes = (int)strlen(name) - 8;
    }
    return *member >= 0 ? SKY_OK : sky_fail(e, SKY_ECORRUPT, "%s: a zip archive without data.pkl: not a PyTorch checkpoint", z->w->path);
}

/* The member PREFIX + rest, or -1. */
static int find_member(const pth *z, const char *rest, size_t n, int *member)
{
    char *name = sky_asprintf("%.*s%.*s", z->prefix_bytes, z->prefix, (int)n, rest);
    if (!name)
        return 0;
    *member = sky_zip_find(z->zip, name);
    sky_free(name);
    return 1;
}

static int find_storage(void *arg, const sky_pk *st, uint64_t elsize, uint64_t *at, uint64_t *bytes, sky_err *e)
{
    pth *z = arg;
    int i = -1;
    const void *p;
    const sky_pk *key = st->u.st.key;
    char rest[64] = "data/";
    if (key->u.s.n > 32)
        return sky_fail(e, SKY_ECORRUPT, "%s: a storage key of %llu bytes", z->w->path, (unsigned long long)key->u.s.n);
    memcpy(rest + 5, key->u.s.p, key->u.s.n);
    if (!find_member(z, rest, 5 + key->u.s.n, &i))
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", z->w->path);
    if (i < 0)
        return sky_fail(e, SKY_ECORRUPT, "%s: no member '%.*s%s'", z->w->path, z->prefix_bytes, z->prefix, rest);
    int rc = sky_zip_map(z->zip, i, &p, e);
    if (rc)
        return rc;
    uint64_t size = sky_zip_at(z->zip, i)->size;
    if (size / elsize != (uint64_t)st->u.st.numel || size % elsize)
        return sky_fail(e, SKY_ECORRUPT, "%s: member '%s' has %llu bytes; expected %lld elements of %llu", z->w->path, sky_zip_at(z->zip, i)->name,
                        (unsigned long long)size, (long long)st->u.st.numel, (unsigned long long)elsize);
    *at = (uint64_t)((const uint8_t *)p - z->w->map.p);
    *bytes = size;
    return SKY_OK;
}

/* Files since 2.0 say it; before, it was the writer's, in practice little. */
static int check_byte_order(pth *z, sky_err *e)
{
    int i = -1;
    char order[8] = "";
    if (!find_member(z, "byteorder", 9, &i))
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", z->w->path);
    if (i < 0)
        return SKY_OK;
    int64_t n = sky_zip_head(z->zip, i, order, sizeof order - 1, e);
    if (n < 0)
        return (int)n;
    return strcmp(order, "little") ? sky_fail(e, SKY_ECORRUPT, "%s: byte order '%s'; only little-endian files are read", z->w->path, order) : SKY_OK;
}

static int read_zip(pth *z, sky_err *e)
{
    int i;
    const void *p;
    int rc = find_pickle(z, &i, e);
    if (!rc)
        rc = check_byte_order(z, e);
    if (!rc)
        rc = sky_zip_map(z->zip, i, &p, e);
    if (rc)
        return rc;
    sky_pickle *k;
    uint64_t used;
    rc = sky_pickle_load(&k, p, sky_zip_at(z->zip, i)->size, (uint64_t)((const uint8_t *)p - z->w->map.p), z->w->path, &used, e);
    if (rc)
        return rc;
    rc = sky_weights_tree(z->w, sky_pickle_root(k), find_storage, z, e);
    sky_pickle_close(k);
    return rc;
}

int sky_weights_zip(sky_weights *w, sky_err *e)
{
    pth z = {.w = w};
    int rc = sky_zip_memory(&z.zip, w->map.p, w->map.n, w->path, e);
    if (rc)
        return rc;
    rc = read_zip(&z, e);
    sky_zip_close(z.zip);
    return rc;
}
