/* zip_out.c -- an archive built in memory: minizip goes back to patch local headers, which no pipe allows. */
#include "format/zip_internal.h"

#include <minizip/zip.h>
#include <string.h>
#include <zlib.h>

enum { CHUNK = 1 << 30, UTF8_NAME = 1 << 11, YEAR_1980 = 1 << 21 | 1 << 16 };

struct sky_zip_out {
    sky_zip_place place;
    sky_buf b;
    zipFile zf;
};

static uLong out_read(voidpf opaque, voidpf stream, void *buf, uLong n)
{
    (void)opaque, (void)stream, (void)buf, (void)n;
    return 0;
}

static uLong out_write(voidpf opaque, voidpf stream, const void *buf, uLong n)
{
    (void)opaque;
    sky_zip_out *z = stream;
    uint64_t left = z->b.n - z->place.at, inside = left < n ? left : n; /* bytes that replace older ones */
    if (inside)
        memcpy(z->b.p + z->place.at, buf, inside);
    sky_buf_add(&z->b, (const char *)buf + inside, n - inside);
    if (z->b.bad)
        return 0;
    z->place.at += n;
    z->place.end = z->b.n;
    return n;
}

int sky_zip_create(sky_zip_out **out, sky_err *e)
{
    sky_zip_out *z = sky_calloc(1, sizeof *z);
    if (!z)
        return sky_fail(e, SKY_ENOMEM, "zip archive: out of memory");
    zlib_filefunc64_def io;
    sky_zip_io(&io, &z->place);
    io.zread_file = out_read;
    io.zwrite_file = out_write;
    z->zf = zipOpen2_64("", APPEND_STATUS_CREATE, NULL, &io);
    if (!z->zf) {
        sky_free(z);
        return sky_fail(e, SKY_ENOMEM, "zip archive: out of memory");
    }
    *out = z;
    return SKY_OK;
}

static int has_high_bytes(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s >= 128)
            return 1;
    return 0;
}

int sky_zip_add(sky_zip_out *z, const char *name, const void *p, uint64_t n, int level, sky_err *e)
{
    zip_fileinfo info = {.dosDate = YEAR_1980};
    int rc = zipOpenNewFileInZip4_64(z->zf, name, &info, NULL, 0, NULL, 0, NULL, level ? Z_DEFLATED : 0, level, 0, -MAX_WBITS, DEF_MEM_LEVEL,
                                     Z_DEFAULT_STRATEGY, NULL, 0, 0, has_high_bytes(name) ? UTF8_NAME : 0, n >= UINT32_MAX);
    for (uint64_t done = 0; rc == ZIP_OK && done < n;) {
        uint64_t now = n - done < CHUNK ? n - done : CHUNK;
        rc = zipWriteInFileInZip(z->zf, (const char *)p + done, (unsigned)now);
        done += now;
    }
    if (rc == ZIP_OK)
        rc = zipCloseFileInZip(z->zf);
    if (rc != ZIP_OK || z->b.bad)
        return sky_fail(e, SKY_ENOMEM, "zip archive: member '%s': out of memory (%zu bytes so far)", name, z->b.n);
    return SKY_OK;
}

int sky_zip_finish(sky_zip_out *z, sky_buf *to, sky_err *e)
{
    int rc = zipClose(z->zf, NULL);
    z->zf = NULL;
    if (rc == ZIP_OK && !z->b.bad)
        sky_buf_add(to, z->b.p, z->b.n);
    int bad = rc != ZIP_OK || z->b.bad || to->bad;
    sky_zip_abort(z);
    return bad ? sky_fail(e, SKY_ENOMEM, "zip archive: out of memory") : SKY_OK;
}

void sky_zip_abort(sky_zip_out *z)
{
    if (!z)
        return;
    if (z->zf)
        zipClose(z->zf, NULL);
    sky_buf_free(&z->b);
    sky_free(z);
}
