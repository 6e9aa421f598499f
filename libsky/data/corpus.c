#include "data/corpus.h"
#include "base/mem.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

struct sky_corpus {
    int n;
    char *const *paths;
    sky_shard *shard[];
};

int sky_corpus_open(sky_corpus **out, char *const *paths, int n, sky_err *e)
{
    sky_corpus *c = sky_calloc(1, sizeof *c + (size_t)n * sizeof c->shard[0]);
    if (!c)
        return sky_fail(e, SKY_ENOMEM, "out of memory for %d shards", n);
    c->paths = paths;
    for (; c->n < n; c->n++) {
        int rc = sky_shard_open(&c->shard[c->n], paths[c->n], NULL, e);
        if (rc) {
            sky_corpus_close(c);
            return rc;
        }
    }
    *out = c;
    return SKY_OK;
}

void sky_corpus_close(sky_corpus *c)
{
    for (int i = 0; c && i < c->n; i++)
        sky_shard_close(c->shard[i]);
    sky_free(c);
}

void sky_corpus_forget(sky_corpus *c)
{
    for (int i = 0; i < c->n; i++)
        sky_shard_forget(c->shard[i]);
#ifdef __GLIBC__
    malloc_trim(0); /* pieces of half a megabyte would stay with the program, between those that are in use */
#endif
}

int sky_corpus_files(const sky_corpus *c) { return c->n; }
sky_shard *sky_corpus_shard(const sky_corpus *c, int i) { return c->shard[i]; }

int sky_corpus_find(const sky_corpus *c, const char *id, sky_place *at, sky_err *e)
{
    *at = (sky_place){.file = -1};
    for (int i = 0; i < c->n; i++) {
        uint64_t r;
        int rc = sky_shard_find(c->shard[i], id, &r, e);
        if (rc < 0)
            return rc;
        if (!rc)
            continue;
        if (at->file >= 0)
            return sky_fail(e, SKY_ECORRUPT, "sample '%s' is in both %s and %s", id, c->paths[at->file], c->paths[i]);
        *at = (sky_place){i, r};
    }
    return SKY_OK;
}

int sky_corpus_read(const sky_corpus *c, sky_place at, const char *const *fields, sky_sample *out, sky_err *e)
{
    return sky_shard_read(c->shard[at.file], at.record, fields, out, e);
}

const json_t *sky_corpus_schema(const sky_corpus *c, sky_place at) { return sky_shard_schema(c->shard[at.file]); }
