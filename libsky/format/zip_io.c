#include "format/zip_internal.h"

static voidpf io_open(voidpf opaque, const void *path, int mode)
{
    (void)path, (void)mode;
    ((sky_zip_place *)opaque)->at = 0;
    return opaque;
}

static ZPOS64_T io_tell(voidpf opaque, voidpf stream)
{
    (void)opaque;
    return ((sky_zip_place *)stream)->at;
}

static long io_seek(voidpf opaque, voidpf stream, ZPOS64_T offset, int origin)
{
    (void)opaque;
    sky_zip_place *p = stream;
    uint64_t base = origin == ZLIB_FILEFUNC_SEEK_CUR ? p->at : origin == ZLIB_FILEFUNC_SEEK_END ? p->end : 0;
    if (offset > p->end - base)
        return -1;
    p->at = base + offset;
    return 0;
}

static int io_nothing(voidpf opaque, voidpf stream)
{
    (void)opaque, (void)stream;
    return 0;
}

void sky_zip_io(zlib_filefunc64_def *io, sky_zip_place *place)
{
    *io = (zlib_filefunc64_def){.zopen64_file = io_open, .ztell64_file = io_tell, .zseek64_file = io_seek, .zclose_file = io_nothing, .zerror_file = io_nothing,
                                .opaque = place};
}
