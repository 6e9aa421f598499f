/* zip_internal.h -- what minizip asks of a file, for an archive in memory that is read (zip.c) or built (zip_out.c). */
#ifndef SKY_FORMAT_ZIP_INTERNAL_H
#define SKY_FORMAT_ZIP_INTERNAL_H

#include "format/zip.h"

#include <minizip/ioapi.h>

/* First member of the struct that is the opaque pointer and, once open, the stream. */
typedef struct {
    uint64_t at, end; /* end: bytes there are */
} sky_zip_place;

/* Everything but reading and writing. place must stay where it is. */
void sky_zip_io(zlib_filefunc64_def *io, sky_zip_place *place);

#endif
