/* npz.c -- a zip of .npy members: names, headers without data, arrays; and the writer. */
#include "format/npy.h"
#include "format/npy_internal.h"
#include "format/zip.h"

#include <stdio.h>
#include <string.h>

/* ARRAYS: names are compared with one another. */
enum { HEAD_GUESS = 4096, HEAD_MOST = (1 << 20) + 12, ARRAYS = 4096 };

struct sky_npz {
    sky_zip *zip;
    char *where;
    struct {
        char *name;
        int member;
    } *a;
    int n;
};

static int is_array(const char *name)
{
    size_t n = strlen(name);
    return n > 4 && !strcmp(name + n - 4, ".npy");
}

static int list_arrays(sky_npz *z, sky_err *e)
{
    int n = sky_zip_count(z->zip);
    z->a = sky_calloc((size_t)n, sizeof *z->a);
    if (!z->a)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", z->where);
    for (int i = 0; i < n; i++) {
        const char *name = sky_zip_at(z->zip, i)->name;
        if (!is_array(name))
            continue;
        if (z->n == ARRAYS)
            return sky_fail(e, SKY_ELIMIT, "%s: more than %d arrays", z->where, ARRAYS);
        z->a[z->n].member = i;
        z->a[z->n].name = sky_strndup(name, strlen(name) - 4);
        if (!z->a[z->n].name)
            return sky_fail(e, SKY_ENOMEM, "%s: out of memory", z->where);
        if (sky_npz_find(z, z->a[z->n].name) >= 0) {
            z->n++;
            return sky_fail(e, SKY_ECORRUPT, "%s: two arrays are called '%s'", z->where, z->a[z->n - 1].name);
        }
        z->n++;
    }
    return SKY_OK;
}

static int open_zip(sky_npz **out, sky_zip *zip, const char *name, sky_err *e)
{
    sky_npz *z = sky_calloc(1, sizeof *z);
    if (z)
        z->where = sky_strdup(name);
    if (!z || !z->where) {
        sky_zip_close(zip);
        sky_free(z);
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", name);
    }
    z->zip = zip;
    int rc = list_arrays(z, e);
    if (rc)
        sky_npz_close(z);
    else
        *out = z;
    return rc;
}

int sky_npz_open(sky_npz **out, const char *path, sky_err *e)
{
    sky_zip *zip;
    int rc = sky_zip_open(&zip, path, e);
    return rc ? rc : open_zip(out, zip, path, e);
}

int sky_npz_memory(sky_npz **out, const void *p, size_t n, const char *name, sky_err *e)
{
    sky_zip *zip;
    int rc = sky_zip_memory(&zip, p, n, name, e);
    return rc ? rc : open_zip(out, zip, name, e);
}

void sky_npz_close(sky_npz *z)
{
    if (!z)
        return;
    for (int i = 0; i < z->n; i++)
        sky_free(z->a[i].name);
    sky_free(z->a);
    sky_free(z->where);
    sky_zip_close(z->zip);
    sky_free(z);
}

int sky_npz_count(const sky_npz *z) { return z->n; }

int sky_npz_find(const sky_npz *z, const char *name)
{
    for (int i = 0; i < z->n; i++)
        if (!strcmp(z->a[i].name, name))
            return i;
    return -1;
}

static void place(const sky_npz *z, int i, char *s, size_t n) { snprintf(s, n, "%s: array '%s'", z->where, z->a[i].name); }

/* A header beyond the guess is legal and rare. */
static int long_head(sky_npz *z, int i, sky_npy_head *h, const char *where, sky_err *e)
{
    uint8_t *buf = sky_alloc(HEAD_MOST);
    if (!buf)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", where);
    int64_t got = sky_zip_head(z->zip, z->a[i].member, buf, HEAD_MOST, e);
    int rc = got < 0 ? (int)got : sky_npy_parse(h, buf, (size_t)got, where, e);
    sky_free(buf);
    return rc;
}

int sky_npz_head(sky_npz *z, int i, sky_npy_head *h, sky_err *e)
{
    char where[300];
    uint8_t buf[HEAD_GUESS];
    place(z, i, where, sizeof where);
    int64_t got = sky_zip_head(z->zip, z->a[i].member, buf, sizeof buf, e);
    if (got < 0)
        return (int)got;
    int rc = sky_npy_parse(h, buf, (size_t)got, where, e);
    return rc && got == HEAD_GUESS ? long_head(z, i, h, where, e) : rc;
}

int sky_npz_read(sky_npz *z, int i, uint64_t limit, sky_npy *a, sky_err *e)
{
    char where[300];
    *a = (sky_npy){0};
    place(z, i, where, sizeof where);
    const sky_zip_member *m = sky_zip_at(z->zip, z->a[i].member);
    if (m->size > HEAD_MOST && m->size - HEAD_MOST > limit)
        return sky_fail(e, SKY_ELIMIT, "%s: %llu bytes; at most %llu are read", where, (unsigned long long)m->size, (unsigned long long)limit);
    void *buf = sky_alloc(m->size);
    if (!buf)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory for %llu bytes", where, (unsigned long long)m->size);
    int rc = sky_zip_read(z->zip, z->a[i].member, buf, e);
    if (rc) {
        sky_free(buf);
        return rc;
    }
    return sky_npy_adopt(a, buf, m->size, limit, where, e);
}

/* ---- writing -------------------------------------------------------------------------------------------------- */

struct sky_npz_out {
    sky_zip_out *zip;
    int level;
};

int sky_npz_create(sky_npz_out **out, int deflate, sky_err *e)
{
    sky_npz_out *z = sky_calloc(1, sizeof *z);
    if (!z)
        return sky_fail(e, SKY_ENOMEM, "npz: out of memory");
    z->level = deflate ? 6 : 0; /* 6: what np.savez_compressed uses */
    int rc = sky_zip_create(&z->zip, e);
    if (rc)
        sky_free(z);
    else
        *out = z;
    return rc;
}

static uint64_t array_bytes(sky_dtype t, int ndim, const uint64_t *shape)
{
    uint64_t n = sky_dtype_size(t);
    for (int d = 0; d < ndim; d++)
        n *= shape[d];
    return n;
}

int sky_npz_put(sky_npz_out *z, const char *name, sky_dtype t, int ndim, const uint64_t *shape, const void *data, sky_err *e)
{
    sky_buf b = {0};
    char *member = sky_asprintf("%s.npy", name);
    int rc = member ? sky_npy_header(&b, t, ndim, shape, e) : sky_fail(e, SKY_ENOMEM, "npz: out of memory");
    if (!rc) {
        sky_buf_add(&b, data, array_bytes(t, ndim, shape));
        rc = b.bad ? sky_fail(e, SKY_ENOMEM, "npz: array '%s': out of memory", name) : sky_zip_add(z->zip, member, b.p, b.n, z->level, e);
    }
    sky_free(member);
    sky_buf_free(&b);
    return rc;
}

int sky_npz_finish(sky_npz_out *z, sky_buf *to, sky_err *e)
{
    int rc = sky_zip_finish(z->zip, to, e);
    sky_free(z);
    return rc;
}

void sky_npz_abort(sky_npz_out *z)
{
    if (!z)
        return;
    sky_zip_abort(z->zip);
    sky_free(z);
}
