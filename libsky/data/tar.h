/* tar.h -- the members of an uncompressed tar file that is in memory (ustar, GNU long names, pax path and size). */
#ifndef SKY_DATA_TAR_H
#define SKY_DATA_TAR_H

#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

/* Called for every regular file; name is only valid during the call. A negative return ends the walk. */
typedef int (*sky_tar_fn)(void *arg, const char *name, uint64_t offset, uint64_t size, sky_err *e);
/* where: in front of messages. Damage (checksum, a member that goes past the end) is SKY_ECORRUPT. */
int sky_tar_walk(const uint8_t *p, size_t n, sky_tar_fn fn, void *arg, const char *where, sky_err *e) SKY_MUST_USE;

#endif
