/* zip.c -- minizip over mapped memory. The directory is read once into a table; positions found by minizip are checked
 * against the file before a pointer into it is given out. */
#include "format/zip_internal.h"
#include "base/map.h"

#include <minizip/unzip.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* CHUNK: minizip counts a call's bytes in 32 bits. DEFLATE_BEST: no deflate stream unpacks to more than 1032 times its size. */
enum { NAME_MAX_BYTES = 4096, CHUNK = 1 << 30, DEFLATE_BEST = 1032 };

struct member {
    sky_zip_member pub; /* first: by_name points at it */
    unz64_file_pos pos;
};

struct sky_zip {
    sky_zip_place place; /* minizip's, in the map */
    sky_map map;
    char *name;
    unzFile uz;
    struct member *m;
    int n;
    size_t cap;
    const sky_zip_member **by_name; /* sorted; equal names in the archive's order */
};

/* ---- minizip's view of the map ------------------------------------------------------------------------------- */

static uLong in_read(voidpf opaque, voidpf stream, void *buf, uLong n)
{
    (void)opaque;
    sky_zip *z = stream;
    uint64_t left = z->map.n - z->place.at;
    if (n > left)
        n = left;
    memcpy(buf, z->map.p + z->place.at, n);
    z->place.at += n;
    return n;
}

/* ---- directory ------------------------------------------------------------------------------------------------ */

static struct member *grow(sky_zip *z)
{
    struct member *m = sky_grow(z->m, (size_t)z->n, &z->cap, sizeof *m);
    if (!m)
        return NULL;
    z->m = m;
    return &m[z->n];
}

static int check_info(const sky_zip *z, const unz_file_info64 *in, const char *name, sky_err *e)
{
    if (in->size_filename == 0 || in->size_filename >= NAME_MAX_BYTES || strlen(name) != in->size_filename)
        return sky_fail(e, SKY_ECORRUPT, "%s: member %d: its name is empty, longer than %d bytes or holds NUL", z->name, z->n, NAME_MAX_BYTES - 1);
    if (in->flag & 1)
        return sky_fail(e, SKY_ECORRUPT, "%s: member '%s': encrypted, which is not supported", z->name, name);
    if (in->disk_num_start)
        return sky_fail(e, SKY_ECORRUPT, "%s: member '%s': on another part of a split archive", z->name, name);
    if (in->compression_method != 0 && in->compression_method != Z_DEFLATED)
        return sky_fail(e, SKY_ECORRUPT, "%s: member '%s': compression method %lu; only stored (0) and deflate (8) are read", z->name, name, in->compression_method);
    if (in->compressed_size > z->map.n || (in->compression_method == 0 && in->compressed_size != in->uncompressed_size))
        return sky_fail(e, SKY_ECORRUPT, "%s: member '%s': declares %llu bytes packed, %llu unpacked in an archive of %zu bytes", z->name, name,
                        (unsigned long long)in->compressed_size, (unsigned long long)in->uncompressed_size, z->map.n);
    if (in->uncompressed_size / DEFLATE_BEST > in->compressed_size)
        return sky_fail(e, SKY_ECORRUPT, "%s: member '%s': %llu bytes cannot unpack to %llu", z->name, name, (unsigned long long)in->compressed_size,
                        (unsigned long long)in->uncompressed_size);
    return SKY_OK;
}

static int add_member(sky_zip *z, sky_err *e)
{
    char name[NAME_MAX_BYTES] = "";
    unz_file_info64 in;
    if (z->n == SKY_ZIP_MEMBERS)
        return sky_fail(e, SKY_ELIMIT, "%s: more than %d members", z->name, SKY_ZIP_MEMBERS);
    struct member *m = grow(z);
    if (!m)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory for its directory", z->name);
    if (unzGetCurrentFileInfo64(z->uz, &in, name, sizeof name, NULL, 0, NULL, 0) != UNZ_OK || unzGetFilePos64(z->uz, &m->pos) != UNZ_OK)
        return sky_fail(e, SKY_ECORRUPT, "%s: zip directory damaged at member %d", z->name, z->n);
    int rc = check_info(z, &in, name, e);
    if (rc)
        return rc;
    char *copy = sky_strdup(name);
    if (!copy)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory for its directory", z->name);
    m->pub = (sky_zip_member){copy, in.uncompressed_size, in.compressed_size, (uint32_t)in.crc, in.compression_method == 0};
    z->n++;
    return SKY_OK;
}

/* minizip is content with the zip64 locator before it; a whole archive has the end record too. */
static int has_end(const sky_map *m)
{
    const size_t size = 22, longest = size + 65535;
    for (size_t back = size; back <= m->n && back <= longest; back++) {
        const uint8_t *p = m->p + m->n - back;
        if (!memcmp(p, "PK\5\6", 4) && size + p[20] + ((size_t)p[21] << 8) <= back)
            return 1;
    }
    return 0;
}

static int read_directory(sky_zip *z, sky_err *e)
{
    zlib_filefunc64_def io;
    sky_zip_io(&io, &z->place);
    io.zread_file = in_read;
    z->place.end = z->map.n;
    z->uz = has_end(&z->map) ? unzOpen2_64(z->name, &io) : NULL;
    if (!z->uz)
        return sky_fail(e, SKY_ECORRUPT, "%s: no zip directory at its end (%zu bytes): not a zip archive, or cut short", z->name, z->map.n);
    unz_global_info64 g;
    if (unzGetGlobalInfo64(z->uz, &g) != UNZ_OK)
        return sky_fail(e, SKY_ECORRUPT, "%s: zip directory damaged", z->name);
    int rc = g.number_entry ? unzGoToFirstFile(z->uz) : UNZ_END_OF_LIST_OF_FILE;
    for (; rc == UNZ_OK; rc = unzGoToNextFile(z->uz)) {
        int bad = add_member(z, e);
        if (bad)
            return bad;
    }
    if (rc != UNZ_END_OF_LIST_OF_FILE || (uint64_t)z->n != g.number_entry)
        return sky_fail(e, SKY_ECORRUPT, "%s: zip directory ends after %d of %llu members", z->name, z->n, (unsigned long long)g.number_entry);
    return SKY_OK;
}

static int by_name(const void *a, const void *b)
{
    const sky_zip_member *x = *(const sky_zip_member *const *)a, *y = *(const sky_zip_member *const *)b;
    int c = strcmp(x->name, y->name);
    return c ? c : (x > y) - (x < y);
}

static int sort_names(sky_zip *z, sky_err *e)
{
    z->by_name = sky_calloc((size_t)z->n, sizeof *z->by_name);
    if (!z->by_name)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory for its directory", z->name);
    for (int i = 0; i < z->n; i++)
        z->by_name[i] = &z->m[i].pub;
    if (z->n)
        qsort(z->by_name, (size_t)z->n, sizeof *z->by_name, by_name);
    return SKY_OK;
}

static int open_map(sky_zip **out, sky_map map, const char *name, sky_err *e)
{
    sky_zip *z = sky_calloc(1, sizeof *z);
    char *copy = sky_strdup(name);
    if (!z || !copy) {
        sky_free(z);
        sky_free(copy);
        sky_map_close(&map);
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", name);
    }
    z->map = map;
    z->name = copy;
    int rc = read_directory(z, e);
    if (!rc)
        rc = sort_names(z, e);
    if (rc) {
        sky_zip_close(z);
        return rc;
    }
    *out = z;
    return SKY_OK;
}

int sky_zip_open(sky_zip **out, const char *path, sky_err *e)
{
    sky_map map;
    int rc = sky_map_open(&map, path, e);
    return rc ? rc : open_map(out, map, path, e);
}

int sky_zip_memory(sky_zip **out, const void *p, size_t n, const char *name, sky_err *e)
{
    sky_map map;
    sky_map_memory(&map, p, n);
    return open_map(out, map, name, e);
}

void sky_zip_close(sky_zip *z)
{
    if (!z)
        return;
    if (z->uz)
        unzClose(z->uz);
    for (int i = 0; i < z->n; i++)
        sky_free((char *)(uintptr_t)z->m[i].pub.name);
    sky_free(z->m);
    sky_free(z->by_name);
    sky_free(z->name);
    sky_map_close(&z->map);
    sky_free(z);
}

int sky_zip_count(const sky_zip *z) { return z->n; }
const sky_zip_member *sky_zip_at(const sky_zip *z, int i) { return &z->m[i].pub; }

int sky_zip_find(const sky_zip *z, const char *name)
{
    int lo = 0, hi = z->n; /* the first entry that is not before name */
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        if (strcmp(z->by_name[mid]->name, name) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == z->n || strcmp(z->by_name[lo]->name, name))
        return -1;
    return (int)((const struct member *)(const void *)z->by_name[lo] - z->m);
}

/* ---- members -------------------------------------------------------------------------------------------------- */

static int damaged(const sky_zip *z, int i, const char *what, sky_err *e)
{
    return sky_fail(e, SKY_ECORRUPT, "%s: member '%s': %s", z->name, z->m[i].pub.name, what);
}

/* raw 1: the packed bytes as they are. */
static int enter(sky_zip *z, int i, int raw, sky_err *e)
{
    int method, level;
    if (unzGoToFilePos64(z->uz, &z->m[i].pos) != UNZ_OK || unzOpenCurrentFile2(z->uz, &method, &level, raw) != UNZ_OK)
        return damaged(z, i, "its local header does not agree with the directory", e);
    return SKY_OK;
}

int sky_zip_map(sky_zip *z, int i, const void **p, sky_err *e)
{
    const sky_zip_member *m = &z->m[i].pub;
    if (!m->stored)
        return damaged(z, i, "is compressed; only stored members can be mapped", e);
    int rc = enter(z, i, 1, e);
    if (rc)
        return rc;
    uint64_t at = unzGetCurrentFileZStreamPos64(z->uz);
    unzCloseCurrentFile(z->uz);
    if (at > z->map.n || m->size > z->map.n - at)
        return damaged(z, i, "reaches beyond the end of the archive", e);
    *p = z->map.p + at;
    return SKY_OK;
}

static int read_stored(sky_zip *z, int i, void *dst, sky_err *e)
{
    const void *p;
    int rc = sky_zip_map(z, i, &p, e);
    if (rc)
        return rc;
    uint64_t n = z->m[i].pub.size;
    memcpy(dst, p, n);
    if (crc32_z(0, dst, n) != z->m[i].pub.crc)
        return damaged(z, i, "CRC-32 is wrong", e);
    return SKY_OK;
}

/* Bytes unpacked (short at the end of the data), or < 0. */
static int64_t inflate_some(sky_zip *z, int i, uint8_t *dst, uint64_t n, sky_err *e)
{
    uint64_t done = 0;
    while (done < n) {
        int got = unzReadCurrentFile(z->uz, dst + done, (unsigned)(n - done < CHUNK ? n - done : CHUNK));
        if (got < 0)
            return damaged(z, i, "its deflate stream is damaged", e);
        if (got == 0)
            break;
        done += (uint64_t)got;
    }
    return (int64_t)done;
}

int sky_zip_read(sky_zip *z, int i, void *dst, sky_err *e)
{
    if (z->m[i].pub.stored)
        return read_stored(z, i, dst, e);
    int rc = enter(z, i, 0, e);
    if (rc)
        return rc;
    int64_t got = inflate_some(z, i, dst, z->m[i].pub.size, e);
    int end = unzCloseCurrentFile(z->uz);
    if (got < 0)
        return (int)got;
    if ((uint64_t)got != z->m[i].pub.size)
        return damaged(z, i, "its data are shorter than the directory says", e);
    return end == UNZ_OK ? SKY_OK : damaged(z, i, "CRC-32 is wrong", e);
}

int64_t sky_zip_head(sky_zip *z, int i, void *dst, size_t n, sky_err *e)
{
    const sky_zip_member *m = &z->m[i].pub;
    uint64_t want = n < m->size ? n : m->size;
    const void *p;
    if (m->stored) {
        int rc = sky_zip_map(z, i, &p, e);
        if (rc)
            return rc;
        memcpy(dst, p, want);
        return (int64_t)want;
    }
    int rc = enter(z, i, 0, e);
    if (rc)
        return rc;
    int64_t got = inflate_some(z, i, dst, want, e);
    unzCloseCurrentFile(z->uz);
    return got;
}
