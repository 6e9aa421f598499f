/* weights_internal.h -- the table every weight-file reader fills (weights.c holds it). */
#ifndef SKY_FORMAT_WEIGHTS_INTERNAL_H
#define SKY_FORMAT_WEIGHTS_INTERNAL_H

#include "base/map.h"
#include "format/pickle.h"
#include "format/weights.h"

enum { SKY_WEIGHTS_MOST = 1 << 20 }; /* tensors in a file; more is SKY_ELIMIT */

typedef struct {
    sky_weight pub;    /* first member: a sky_weight * from outside is a sky_entry * */
    char *name, *stored;
    uint64_t at;       /* byte of the file where element [0, ..., 0] is */
    int64_t stride[8]; /* elements */
    int packed;
} sky_entry;

struct sky_weights {
    sky_map map;
    char *path;
    sky_entry *t;
    int n;
    size_t cap;
    json_t *metadata;
};

/* A storage (bytes [at, at + bytes) of the file, inside it) seen through shape and stride (NULL: packed) from element
 * `first` on. Checks the name, the sizes and that the last element lies in the storage. */
typedef struct {
    const char *name;
    uint64_t name_bytes;
    sky_dtype dtype;
    int ndim;
    int64_t shape[8], stride[8];
    int strided;
    uint64_t at, bytes, first;
} sky_view;
int sky_weights_add(sky_weights *w, const sky_view *v, sky_err *e) SKY_MUST_USE;

/* One reader per kind of file; w->map is open. */
int sky_weights_safetensors(sky_weights *w, sky_err *e) SKY_MUST_USE;
int sky_weights_zip(sky_weights *w, sky_err *e) SKY_MUST_USE;    /* torch.save since 1.6 */
int sky_weights_legacy(sky_weights *w, sky_err *e) SKY_MUST_USE; /* torch.save before */

/* Where a storage of the pickle lies; called once per tensor. */
typedef int sky_find_storage(void *arg, const sky_pk *storage, uint64_t elsize, uint64_t *at, uint64_t *bytes, sky_err *e);
/* The tensors of a checkpoint's state dictionary. */
int sky_weights_tree(sky_weights *w, const sky_pk *root, sky_find_storage *find, void *arg, sky_err *e) SKY_MUST_USE;

/* Our names for the stored ones, then sorted; duplicates are an error. */
int sky_weights_rename(sky_weights *w, sky_err *e) SKY_MUST_USE;

/* count elements from flat index first on, packed, in the stored type. */
void sky_weights_gather(const sky_weights *w, const sky_entry *t, uint64_t first, uint64_t count, void *dst);
uint64_t sky_weight_count(const sky_weight *t); /* elements */

#endif
