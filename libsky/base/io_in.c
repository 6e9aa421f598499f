#include "base/io.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Pieces of IN_DIRECT bytes go around the buffer: copying them costs more than a call. A fill reads little after a seek
 * or such a piece, and twice as much each time it goes on from there: what is fetched and then jumped over is lost. */
enum { IN_BUF = 1 << 18, IN_FIRST = 1 << 12, IN_DIRECT = 1 << 16 };

struct sky_in {
    char *name;
    int fd; /* -1: memory */
    int seekable;
    int64_t size; /* -1: unknown */
    uint64_t offset;      /* of the next byte the caller gets */
    const uint8_t *p;     /* buffered bytes: p[at .. n) */
    size_t at, n;
    uint8_t *own;         /* the buffer when fd >= 0 */
    size_t ahead;         /* bytes that the next fill asks for */
    _Atomic int refs;
};

static int in_new(sky_in **out, const char *name, sky_err *e)
{
    sky_in *in = sky_calloc(1, sizeof *in);
    if (!in || !(in->name = sky_strdup(name))) {
        sky_free(in);
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", name);
    }
    in->fd = -1;
    in->size = -1;
    in->ahead = IN_FIRST;
    atomic_init(&in->refs, 1);
    *out = in;
    return SKY_OK;
}

int sky_in_open(sky_in **out, const char *path, sky_err *e)
{
    int std = !strcmp(path, "-");
    int rc = in_new(out, std ? "standard input" : path, e);
    if (rc)
        return rc;
    sky_in *in = *out;
    struct stat st;
    in->fd = std ? dup(0) : open(path, O_RDONLY | O_CLOEXEC);
    if (in->fd < 0 || fstat(in->fd, &st)) {
        rc = sky_fail_errno(e, SKY_EIO, "%s", in->name);
    } else if (S_ISDIR(st.st_mode)) {
        rc = sky_fail(e, SKY_EIO, "%s: is a directory", in->name);
    } else if (!(in->own = sky_alloc(IN_BUF))) {
        rc = sky_fail(e, SKY_ENOMEM, "%s: out of memory", in->name);
    }
    if (rc) {
        sky_in_close(in);
        *out = NULL;
        return rc;
    }
    in->p = in->own;
    if (S_ISREG(st.st_mode)) {
        off_t here = lseek(in->fd, 0, SEEK_CUR);
        in->seekable = here >= 0;
        in->size = st.st_size;
        in->offset = here > 0 ? (uint64_t)here : 0;
    }
    return SKY_OK;
}

int sky_in_memory(sky_in **out, const void *p, size_t n, const char *name, sky_err *e)
{
    int rc = in_new(out, name, e);
    if (rc)
        return rc;
    (*out)->p = p;
    (*out)->n = n;
    (*out)->size = (int64_t)n;
    (*out)->seekable = 1;
    return SKY_OK;
}

sky_in *sky_in_share(sky_in *in)
{
    atomic_fetch_add(&in->refs, 1);
    return in;
}

void sky_in_close(sky_in *in)
{
    if (!in || atomic_fetch_sub(&in->refs, 1) > 1)
        return;
    if (in->fd >= 0)
        close(in->fd);
    sky_free(in->own);
    sky_free(in->name);
    sky_free(in);
}

const char *sky_in_name(const sky_in *in) { return in->name; }
uint64_t sky_in_offset(const sky_in *in) { return in->offset; }
int sky_in_seekable(const sky_in *in) { return in->seekable; }
int64_t sky_in_size(const sky_in *in) { return in->size; }

static int64_t read_fd(sky_in *in, void *p, size_t n, sky_err *e)
{
    for (;;) {
        ssize_t got = read(in->fd, p, n);
        if (got >= 0)
            return got;
        if (errno != EINTR)
            return sky_fail_errno(e, SKY_EIO, "%s: read at byte %llu", in->name, (unsigned long long)in->offset);
    }
}

/* Make at least n (<= IN_FIRST) bytes available unless the input ends; returns what is there. */
static int64_t fill(sky_in *in, size_t n, sky_err *e)
{
    if (in->fd < 0 || in->n - in->at >= n)
        return (int64_t)(in->n - in->at);
    memmove(in->own, in->own + in->at, in->n - in->at);
    in->n -= in->at;
    in->at = 0;
    while (in->n < n) {
        int64_t got = read_fd(in, in->own + in->n, in->ahead - in->n, e);
        if (got < 0)
            return got;
        if (!got)
            break;
        in->n += (size_t)got;
    }
    if (in->ahead < IN_BUF)
        in->ahead *= 2;
    return (int64_t)in->n;
}

int64_t sky_in_read(sky_in *in, void *p, size_t n, sky_err *e)
{
    size_t done = 0;
    while (done < n) {
        size_t have = in->n - in->at;
        if (have) {
            size_t k = have < n - done ? have : n - done;
            memcpy((char *)p + done, in->p + in->at, k);
            in->at += k;
            in->offset += k;
            done += k;
        } else if (in->fd >= 0 && n - done >= IN_DIRECT) {
            int64_t got = read_fd(in, (char *)p + done, n - done, e);
            if (got < 0)
                return got;
            if (!got)
                break;
            in->offset += (uint64_t)got;
            in->ahead = IN_FIRST;
            done += (size_t)got;
        } else {
            int64_t got = fill(in, 1, e);
            if (got < 0)
                return got;
            if (!got)
                break;
        }
    }
    return (int64_t)done;
}

int64_t sky_in_peek(sky_in *in, const void **p, size_t n, sky_err *e)
{
    int64_t got = fill(in, n < IN_FIRST ? n : IN_FIRST, e);
    *p = in->p + in->at;
    return got < 0 || (size_t)got < n ? got : (int64_t)n;
}

static int short_input(const sky_in *in, uint64_t n, const char *what, sky_err *e)
{
    return sky_fail(e, SKY_ECORRUPT, "%s: ends at byte %llu, %llu more bytes of %s wanted", in->name,
                    (unsigned long long)in->offset, (unsigned long long)n, what);
}

int sky_in_exact(sky_in *in, void *p, size_t n, const char *what, sky_err *e)
{
    int64_t got = sky_in_read(in, p, n, e);
    if (got < 0)
        return (int)got;
    return (size_t)got == n ? SKY_OK : short_input(in, n - (size_t)got, what, e);
}

int sky_in_skip(sky_in *in, uint64_t n, const char *what, sky_err *e)
{
    size_t have = in->n - in->at;
    if (n <= have || in->fd < 0) {
        size_t k = n < have ? (size_t)n : have;
        in->at += k;
        in->offset += k;
        return k == n ? SKY_OK : short_input(in, n - k, what, e);
    }
    if (in->seekable) {
        if (in->offset > (uint64_t)in->size || n > (uint64_t)in->size - in->offset)
            return short_input(in, n, what, e);
        return sky_in_seek(in, in->offset + n, e);
    }
    char waste[16384];
    while (n) {
        size_t k = n < sizeof waste ? (size_t)n : sizeof waste;
        int64_t got = sky_in_read(in, waste, k, e);
        if (got < 0)
            return (int)got;
        n -= (uint64_t)got;
        if ((size_t)got < k)
            return short_input(in, n, what, e);
    }
    return SKY_OK;
}

int sky_in_seek(sky_in *in, uint64_t offset, sky_err *e)
{
    if (!in->seekable || offset > (uint64_t)in->size)
        return sky_fail(e, SKY_EIO, "%s: cannot seek to byte %llu", in->name, (unsigned long long)offset);
    if (in->fd < 0) {
        in->at = offset;
    } else {
        if (lseek(in->fd, (off_t)offset, SEEK_SET) < 0)
            return sky_fail_errno(e, SKY_EIO, "%s: seek to byte %llu", in->name, (unsigned long long)offset);
        in->at = in->n = 0;
        in->ahead = IN_FIRST;
    }
    in->offset = offset;
    return SKY_OK;
}

size_t sky_in_buffered(const sky_in *in) { return in->n - in->at; }

int sky_in_pread(const sky_in *in, void *p, size_t n, uint64_t at, sky_err *e)
{
    size_t done = 0;
    if (in->fd < 0 && at < (uint64_t)in->size) {
        done = n < (uint64_t)in->size - at ? n : (size_t)((uint64_t)in->size - at);
        memcpy(p, in->p + at, done);
    }
    while (in->fd >= 0 && done < n) {
        ssize_t got = pread(in->fd, (char *)p + done, n - done, (off_t)(at + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return sky_fail_errno(e, SKY_EIO, "read at byte %llu", (unsigned long long)(at + done));
        if (!got)
            break;
        done += (size_t)got;
    }
    if (done < n)
        return sky_fail(e, SKY_ECORRUPT, "ends at byte %llu, %llu more bytes wanted", (unsigned long long)(at + done), (unsigned long long)(n - done));
    return SKY_OK;
}

int sky_read_file(char **out, size_t *n, const char *path, size_t limit, sky_err *e)
{
    sky_in *in;
    int rc = sky_in_open(&in, path, e);
    if (rc)
        return rc;
    sky_buf b = {0};
    char chunk[65536];
    int64_t got;
    while ((got = sky_in_read(in, chunk, sizeof chunk, e)) > 0 && b.n <= limit && !b.bad)
        sky_buf_add(&b, chunk, (size_t)got);
    sky_buf_add(&b, "", 0);
    if (got < 0)
        rc = (int)got;
    else if (b.bad)
        rc = sky_fail(e, SKY_ENOMEM, "%s: out of memory", sky_in_name(in));
    else if (b.n > limit)
        rc = sky_fail(e, SKY_ELIMIT, "%s: larger than %zu bytes", sky_in_name(in), limit);
    sky_in_close(in);
    if (rc) {
        sky_buf_free(&b);
        return rc;
    }
    *out = b.p;
    if (n)
        *n = b.n;
    return SKY_OK;
}
