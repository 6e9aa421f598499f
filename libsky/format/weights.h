/* weights.h -- named tensors in files: safetensors, and PyTorch .pth/.ckpt (zip with pickle, and the legacy form).
 *
 * The pickle reader is restricted: it executes nothing and accepts only tensors (with shared, strided storages),
 * containers and scalars; everything else is refused by name and byte offset. Files are mapped, not read. */
#ifndef SKY_FORMAT_WEIGHTS_H
#define SKY_FORMAT_WEIGHTS_H

#include "base/dtype.h"
#include "base/err.h"
#include "base/json.h"

typedef struct sky_weights sky_weights;

typedef struct {
    const char *name;    /* after alias normalisation (below) */
    const char *stored;  /* as in the file */
    sky_dtype dtype;
    int ndim;
    int64_t shape[8];
} sky_weight;

/* Recognises the kind by content. Nested {"model": ...} / {"state_dict": ...} is entered, a common "module." prefix is
 * dropped, ".Wqkv.weight/.bias" become ".in_proj_weight/.in_proj_bias"; names ending in relative_coords_table,
 * relative_position_index or num_batches_tracked are left out (they are recomputed or unused). Two entries that
 * normalise to one name are an error. */
int sky_weights_open(sky_weights **out, const char *path, sky_err *e) SKY_MUST_USE;
int sky_weights_memory(sky_weights **out, const void *p, size_t n, const char *name, sky_err *e) SKY_MUST_USE; /* for tests and fuzzing */
void sky_weights_close(sky_weights *w);
int sky_weights_count(const sky_weights *w);
const sky_weight *sky_weights_at(const sky_weights *w, int i); /* sorted by name */
const sky_weight *sky_weights_find(const sky_weights *w, const char *name); /* NULL: none */
/* __metadata__ of a safetensors file (object of strings), else NULL. Borrowed. */
const json_t *sky_weights_metadata(const sky_weights *w);
/* The bytes in place when they are contiguous, in t's own dtype and aligned to it; else NULL. */
const void *sky_weights_map(const sky_weights *w, const sky_weight *t);
/* Copy, packed row-major, converted to `dtype` (any floating to F32, BF16, F64; integers to themselves or wider). */
int sky_weights_read(const sky_weights *w, const sky_weight *t, void *dst, sky_dtype dtype, sky_err *e) SKY_MUST_USE;
/* Tell the system that the mapped bytes of t are not needed soon (after converting it). */
void sky_weights_drop(const sky_weights *w, const sky_weight *t);
/* Identity of the values, independent of the container: SHA-256 (hex) over one line "name dtype shape crc32c\n" per
 * tensor in name order. Reads everything once, with `threads` threads (0: all cores). */
int sky_weights_hash(const sky_weights *w, int threads, char out[65], sky_err *e) SKY_MUST_USE;

/* safetensors writing: declare all, then supply in the same order; committed atomically. metadata may be NULL. */
typedef struct sky_weights_out sky_weights_out;
int sky_weights_create(sky_weights_out **out, const char *path, const sky_weight *list, int n, const json_t *metadata, sky_err *e) SKY_MUST_USE;
int sky_weights_put(sky_weights_out *o, const void *data, uint64_t nbytes, sky_err *e) SKY_MUST_USE; /* in pieces as you like */
int sky_weights_commit(sky_weights_out *o, sky_err *e) SKY_MUST_USE; /* frees o either way */
void sky_weights_abort(sky_weights_out *o);

#endif
