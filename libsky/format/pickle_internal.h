/* pickle_internal.h -- what the machine (pickle.c) and the table of accepted names (pickle_globals.c) share. */
#ifndef SKY_FORMAT_PICKLE_INTERNAL_H
#define SKY_FORMAT_PICKLE_INTERNAL_H

#include "base/io.h"
#include "format/pickle.h"

typedef struct sky_pk_global {
    const char *module, *name;
    /* The object that calling it with args (a TUPLE) makes; *out NULL is never success. NULL: it cannot be called. */
    int (*call)(sky_pickle *k, const struct sky_pk_global *g, const sky_pk *args, sky_pk **out);
    int dtype;   /* storages and torch dtypes; -1: untyped storage */
} sky_pk_global;

struct sky_pickle {
    sky_rd in;
    const uint8_t *start;
    uint64_t base;
    const char *name;
    sky_err *e;
    struct pk_block *blocks; /* arena: everything below lives in it or is freed with it */
    uint64_t objects;
    sky_pk **stack;
    uint64_t top;
    size_t stack_cap;
    uint64_t *marks;
    uint64_t nmarks;
    size_t marks_cap;
    sky_pk **memo;
    size_t memo_cap;
    uint64_t memo_n; /* entries MEMOIZE made */
    sky_pk *root;
    const sky_pk *storages;
    int op; /* the opcode being run, for messages */
    uint64_t op_at;
};

const sky_pk_global *sky_pk_find_global(const char *module, size_t nm, const char *name, size_t nn);
sky_pk *sky_pk_new(sky_pickle *k, sky_pk_kind kind); /* NULL: error is set */
int sky_pk_append(sky_pickle *k, sky_pk *container, sky_pk *item) SKY_MUST_USE;
/* "NAME: byte N: pickle: ..." */
int sky_pk_fail(sky_pickle *k, int code, const char *fmt, ...) SKY_PRINTF(3, 4);

#endif
