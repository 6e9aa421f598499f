#include "format/idset.h"
#include "base/hash.h"
#include "base/mem.h"

#include <string.h>

typedef struct {
    uint64_t key[2]; /* both 0: free */
    uint64_t number;
} entry;

struct sky_idset {
    entry *e;
    uint64_t n, cap; /* cap: a power of two, at least 4/3 n */
};

int sky_idset_open(sky_idset **out, sky_err *e)
{
    sky_idset *s = sky_calloc(1, sizeof *s);
    if (s && !(s->e = sky_calloc(s->cap = 1024, sizeof *s->e))) {
        sky_free(s);
        s = NULL;
    }
    *out = s;
    return s ? SKY_OK : sky_fail(e, SKY_ENOMEM, "set of ids: out of memory");
}

void sky_idset_close(sky_idset *s)
{
    if (s)
        sky_free(s->e);
    sky_free(s);
}

static void key_of(uint64_t key[2], const char *id)
{
    char hex[65];
    sky_sha256 h;
    sky_sha256_init(&h);
    sky_sha256_add(&h, id, strlen(id));
    sky_sha256_hex(&h, hex);
    memcpy(key, h.h, 16);
}

/* Where the key is, or the free place where it belongs. */
static entry *place(const sky_idset *s, const uint64_t key[2])
{
    uint64_t i = key[0] & (s->cap - 1);
    while ((s->e[i].key[0] || s->e[i].key[1]) && memcmp(s->e[i].key, key, 16))
        i = (i + 1) & (s->cap - 1);
    return &s->e[i];
}

static int grow(sky_idset *s, sky_err *e)
{
    sky_idset big = {.n = s->n, .cap = 2 * s->cap};
    if (!(big.e = sky_calloc(big.cap, sizeof *big.e)))
        return sky_fail(e, SKY_ENOMEM, "set of %llu ids: out of memory", (unsigned long long)s->n);
    for (uint64_t i = 0; i < s->cap; i++)
        if (s->e[i].key[0] || s->e[i].key[1])
            *place(&big, s->e[i].key) = s->e[i];
    sky_free(s->e);
    *s = big;
    return SKY_OK;
}

int sky_idset_put(sky_idset *s, const char *id, uint64_t number, uint64_t *first, sky_err *e)
{
    entry new = {.number = number};
    int rc = s->n >= s->cap / 4 * 3 ? grow(s, e) : SKY_OK;
    if (rc)
        return rc;
    key_of(new.key, id);
    entry *at = place(s, new.key);
    if (at->key[0] || at->key[1]) {
        *first = at->number;
        return 1;
    }
    *at = new;
    s->n++;
    return 0;
}
