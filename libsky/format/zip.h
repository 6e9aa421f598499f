/* zip.h -- members of a zip archive, mapped or unpacked (minizip does the format).
 *
 * Reading: stored and deflated members, zip64; encrypted members, other methods and split archives are refused by name.
 * Sizes are the archive's claim: nothing is allocated from them here, the caller decides with its own limit.
 * Not thread-safe: one sky_zip per thread (opening is cheap, the file is mapped).
 * Writing: into memory, so that an archive can be a file, a member of a tar, or a payload. */
#ifndef SKY_FORMAT_ZIP_H
#define SKY_FORMAT_ZIP_H

#include "base/err.h"
#include "base/mem.h"

#define SKY_ZIP_MEMBERS 1000000 /* more is SKY_ELIMIT */

typedef struct sky_zip sky_zip;
typedef struct {
    const char *name;     /* as stored; never empty; valid until close */
    uint64_t size;        /* unpacked */
    uint64_t packed;      /* in the archive */
    uint32_t crc;         /* CRC-32 of the unpacked bytes */
    int stored;           /* 1: not compressed, can be mapped */
} sky_zip_member;

int sky_zip_open(sky_zip **out, const char *path, sky_err *e) SKY_MUST_USE;
/* Memory the caller keeps alive; name is used in messages. */
int sky_zip_memory(sky_zip **out, const void *p, size_t n, const char *name, sky_err *e) SKY_MUST_USE;
void sky_zip_close(sky_zip *z); /* NULL allowed */
int sky_zip_count(const sky_zip *z);
const sky_zip_member *sky_zip_at(const sky_zip *z, int i); /* in the archive's order */
int sky_zip_find(const sky_zip *z, const char *name);      /* the first with that name, or -1 */
/* The bytes of a stored member in place (m->size of them; not checked against the CRC); an error when it is compressed. */
int sky_zip_map(sky_zip *z, int i, const void **p, sky_err *e) SKY_MUST_USE;
/* All of member i into dst (m->size bytes), CRC checked. */
int sky_zip_read(sky_zip *z, int i, void *dst, sky_err *e) SKY_MUST_USE;
/* Its first n bytes (fewer when it is shorter), CRC not checked; returns how many, or < 0. */
int64_t sky_zip_head(sky_zip *z, int i, void *dst, size_t n, sky_err *e);

typedef struct sky_zip_out sky_zip_out;
int sky_zip_create(sky_zip_out **out, sky_err *e) SKY_MUST_USE;
/* level 0: stored, 1..9: deflate. Times are 1980-01-01, so same content gives same bytes. */
int sky_zip_add(sky_zip_out *z, const char *name, const void *p, uint64_t n, int level, sky_err *e) SKY_MUST_USE;
/* The finished archive is appended to *to; z is freed either way. */
int sky_zip_finish(sky_zip_out *z, sky_buf *to, sky_err *e) SKY_MUST_USE;
void sky_zip_abort(sky_zip_out *z); /* NULL allowed */

#endif
