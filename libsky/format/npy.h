/* npy.h -- NumPy arrays in files: .npy (versions 1.0 to 3.0) and .npz (a zip of them).
 *
 * Read: bool, integers, float16/32/64, byte strings (S), text (U) and dates (M8). What comes out is packed, row-major
 * and little-endian: Fortran order is transposed, big-endian swapped. Object arrays (a pickle inside), structured types
 * and complex numbers are refused by name. Written: version 1.0, the data 64-byte aligned, as NumPy does it. */
#ifndef SKY_FORMAT_NPY_H
#define SKY_FORMAT_NPY_H

#include "base/dtype.h"
#include "base/err.h"
#include "base/mem.h"
#include <stdint.h>

#define SKY_NPY_DIMS 8

typedef enum {
    SKY_NPY_NUMBER, /* dtype says which */
    SKY_NPY_BYTES,  /* S: itemsize bytes an element, NUL-padded; dtype U8 */
    SKY_NPY_TEXT,   /* U: itemsize/4 UCS-4 code points an element, NUL-padded; dtype U32 */
    SKY_NPY_TIME,   /* M8: I64 counted in `unit` from 1970-01-01; INT64_MIN is "not a time" */
} sky_npy_kind;

typedef struct {
    sky_npy_kind kind;
    sky_dtype dtype;
    uint32_t itemsize;  /* bytes per element */
    char unit[16];      /* TIME: "D", "s", "ms", "ns", "10m" ...; else "" */
    int ndim;           /* 0: a scalar */
    uint64_t shape[SKY_NPY_DIMS];
    uint64_t nbytes;    /* of all elements; product checked against overflow */
    uint64_t offset;    /* of the data from the start of the .npy */
    int fortran, big_endian; /* as stored; the decoded array is neither */
} sky_npy_head;

typedef struct {
    sky_npy_head head;
    void *data; /* head.nbytes, decoded; owned: sky_npy_free */
} sky_npy;

/* The header at p; n may cover only the start of the file (SKY_ECORRUPT when it ends inside the header). `where` is put
 * in front of messages. */
int sky_npy_parse(sky_npy_head *h, const void *p, size_t n, const char *where, sky_err *e) SKY_MUST_USE;
/* raw: the nbytes after the header as stored; dst: the same, decoded. They must not overlap. */
void sky_npy_decode(void *dst, const void *raw, const sky_npy_head *h);

/* A whole .npy, in memory or a file (regular). An array of more than `limit` bytes is SKY_ELIMIT, before allocation; a
 * file longer or shorter than its header says is SKY_ECORRUPT. */
int sky_npy_memory(sky_npy *a, const void *p, size_t n, uint64_t limit, const char *where, sky_err *e) SKY_MUST_USE;
int sky_npy_load(sky_npy *a, const char *path, uint64_t limit, sky_err *e) SKY_MUST_USE;
void sky_npy_free(sky_npy *a); /* also all-zero */
/* Element i of a BYTES, TEXT or TIME array as UTF-8 (dates as RFC 3339: "2020-05-01" or "2020-05-01T10:00:00Z", ""
 * for not-a-time); sky_free it. Bytes that are not UTF-8, surrogates and units beyond seconds..days: SKY_ECORRUPT. */
int sky_npy_text(char **out, const sky_npy *a, uint64_t i, sky_err *e) SKY_MUST_USE;

/* Append a version 1.0 header (a multiple of 64 bytes) for a packed row-major array. */
int sky_npy_header(sky_buf *to, sky_dtype t, int ndim, const uint64_t *shape, sky_err *e) SKY_MUST_USE;

/* .npz. Names are the members' without ".npy"; other members are left out. Not thread-safe, see zip.h. */
typedef struct sky_npz sky_npz;
int sky_npz_open(sky_npz **out, const char *path, sky_err *e) SKY_MUST_USE;
int sky_npz_memory(sky_npz **out, const void *p, size_t n, const char *name, sky_err *e) SKY_MUST_USE;
void sky_npz_close(sky_npz *z); /* NULL allowed */
int sky_npz_count(const sky_npz *z);
int sky_npz_find(const sky_npz *z, const char *name); /* -1: none */
int sky_npz_head(sky_npz *z, int i, sky_npy_head *h, sky_err *e) SKY_MUST_USE; /* without unpacking the data */
int sky_npz_read(sky_npz *z, int i, uint64_t limit, sky_npy *a, sky_err *e) SKY_MUST_USE;

/* Writing: arrays into memory (zip.h says why). deflate 0: stored as np.savez, 1: as np.savez_compressed. */
typedef struct sky_npz_out sky_npz_out;
int sky_npz_create(sky_npz_out **out, int deflate, sky_err *e) SKY_MUST_USE;
int sky_npz_put(sky_npz_out *z, const char *name, sky_dtype t, int ndim, const uint64_t *shape, const void *data, sky_err *e) SKY_MUST_USE;
int sky_npz_finish(sky_npz_out *z, sky_buf *to, sky_err *e) SKY_MUST_USE; /* frees z either way */
void sky_npz_abort(sky_npz_out *z); /* NULL allowed */

#endif
