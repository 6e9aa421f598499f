/* pickle.h -- a restricted reader of Python pickles, for PyTorch files. Nothing is executed.
 *
 * The byte code (protocols 2 to 5) is run by a small machine whose only objects are scalars, strings, bytes, tuples,
 * lists, sets, dictionaries, storages named by persistent id, and tensors made of them by torch._utils._rebuild_*. Every
 * class or function has to be in the table of pickle_globals.c; any other is refused by name and byte offset. Strings are
 * views of the pickle's bytes, which must outlive the tree. */
#ifndef SKY_FORMAT_PICKLE_H
#define SKY_FORMAT_PICKLE_H

#include "base/dtype.h"
#include "base/err.h"
#include <stdint.h>

/* Limits: SKY_ELIMIT beyond. OBJECTS counts objects and places in containers: about 300 000 for a checkpoint of 2000
 * tensors with optimizer state. */
enum { SKY_PICKLE_BYTES = 64 << 20, SKY_PICKLE_OBJECTS = 8 << 20, SKY_PICKLE_STACK = 1 << 20, SKY_PICKLE_MARKS = 1 << 16 };

typedef enum {
    SKY_PK_NONE, SKY_PK_BOOL, SKY_PK_INT, SKY_PK_FLOAT,
    SKY_PK_STR, SKY_PK_BYTES,
    SKY_PK_OPAQUE,  /* a scalar kept as bytes at most: an integer above 64 bits (s: little-endian), a NumPy scalar */
    SKY_PK_TUPLE, SKY_PK_LIST, SKY_PK_SET, SKY_PK_DICT,
    SKY_PK_GLOBAL, SKY_PK_STORAGE, SKY_PK_TENSOR,
} sky_pk_kind;

typedef struct sky_pk sky_pk;
struct sky_pk {
    sky_pk_kind kind;
    int holds_tensors; /* containers: a tensor is somewhere inside */
    uint64_t at;       /* byte of the file that made it, for messages */
    union {
        int64_t i;     /* BOOL, INT */
        double f;
        struct {
            const char *p;
            uint64_t n;
        } s;           /* STR (not checked to be UTF-8), BYTES, OPAQUE */
        struct {
            sky_pk **item;
            uint64_t n, cap;
        } c;           /* TUPLE, LIST, SET; DICT: key, value, key, value ... */
        const struct sky_pk_global *g;
        struct {
            const sky_pk *key; /* STR */
            sky_dtype dtype;
            int untyped;       /* dtype is the tensor's to say; numel counts bytes */
            int64_t numel;
            const sky_pk *next;    /* the storage named before */
        } st;
        struct {
            const sky_pk *storage, *shape, *stride; /* shape and stride: TUPLE of INT >= 0, equally long */
            sky_dtype dtype;
            int64_t offset;                         /* in elements, >= 0 */
        } t;
    } u;
};

typedef struct sky_pickle sky_pickle;
/* The pickle at p, at most n bytes (what follows its STOP is left alone; *used says where that is). `base` is p's
 * position in the file `name`, for messages. */
int sky_pickle_load(sky_pickle **out, const uint8_t *p, uint64_t n, uint64_t base, const char *name, uint64_t *used, sky_err *e) SKY_MUST_USE;
const sky_pk *sky_pickle_root(const sky_pickle *k);
const sky_pk *sky_pickle_storages(const sky_pickle *k); /* all of them, linked by u.st.next; NULL: none */
void sky_pickle_close(sky_pickle *k); /* NULL allowed */

const char *sky_pk_kind_name(const sky_pk *v); /* "a dict", "a tensor", ... */
/* Value of a string key of a DICT (the last one set), or NULL. */
const sky_pk *sky_pk_get(const sky_pk *dict, const char *key);

#endif
