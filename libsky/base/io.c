#include "base/io.h"
#include "base/cli.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { IN_BUF = 1 << 18, OUT_BUF = 1 << 18 };

/* ---- input ------------------------------------------------------------------------------------------------- */

struct sky_in {
    char *name;
    int fd; /* -1: memory */
    int seekable;
    int64_t size; /* -1: unknown */
    uint64_t offset;      /* of the next byte the caller gets */
    const uint8_t *p;     /* buffered bytes: p[at .. n) */
    size_t at, n;
    uint8_t *own;         /* the buffer when fd >= 0 */
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

void sky_in_close(sky_in *in)
{
    if (!in)
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

/* Make at least n (<= IN_BUF) bytes available unless the input ends; returns what is there. */
static int64_t fill(sky_in *in, size_t n, sky_err *e)
{
    if (in->fd < 0 || in->n - in->at >= n)
        return (int64_t)(in->n - in->at);
    memmove(in->own, in->own + in->at, in->n - in->at);
    in->n -= in->at;
    in->at = 0;
    while (in->n < n) {
        int64_t got = read_fd(in, in->own + in->n, IN_BUF - in->n, e);
        if (got < 0)
            return got;
        if (!got)
            break;
        in->n += (size_t)got;
    }
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
        } else if (in->fd >= 0 && n - done >= IN_BUF) { /* large reads go around the buffer */
            int64_t got = read_fd(in, (char *)p + done, n - done, e);
            if (got < 0)
                return got;
            if (!got)
                break;
            in->offset += (uint64_t)got;
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
    int64_t got = fill(in, n < 4096 ? n : 4096, e);
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
    }
    in->offset = offset;
    return SKY_OK;
}

/* ---- output ------------------------------------------------------------------------------------------------ */

struct sky_out {
    char *name, *tmp; /* tmp NULL: standard output, or a device that cannot be renamed onto */
    int fd;
    size_t n;
    uint64_t offset;
    uint8_t *buf;
};

static int out_free(sky_out *o, int rc)
{
    if (o->fd >= 0)
        close(o->fd);
    if (o->tmp) {
        if (rc)
            unlink(o->tmp);
        sky_tmp_forget(o->tmp);
    }
    sky_free(o->tmp);
    sky_free(o->name);
    sky_free(o->buf);
    sky_free(o);
    return rc;
}

/* A temporary file beside the target, with the permissions a new file would get. */
static int open_tmp(sky_out *o, const char *path, sky_err *e)
{
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        o->fd = open(path, O_WRONLY | O_CLOEXEC); /* /dev/full, a fifo: written in place */
        return o->fd < 0 ? sky_fail_errno(e, SKY_EIO, "%s", path) : SKY_OK;
    }
    for (int i = 0; i < 100; i++) {
        char *tmp = sky_asprintf("%s.%ld-%d.tmp", path, (long)getpid(), i);
        if (!tmp)
            return sky_fail(e, SKY_ENOMEM, "%s: out of memory", path);
        o->fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (o->fd >= 0) {
            o->tmp = tmp;
            sky_tmp_register(tmp);
            return SKY_OK;
        }
        int err = errno;
        sky_free(tmp);
        errno = err;
        if (err != EEXIST)
            break;
    }
    return sky_fail_errno(e, SKY_EIO, "%s: cannot create a temporary file beside it", path);
}

int sky_out_open(sky_out **out, const char *path, int binary, sky_err *e)
{
    int std = !strcmp(path, "-");
    if (std && binary && isatty(1))
        return sky_fail(e, SKY_EUSAGE, "refusing to write binary data to a terminal; redirect standard output or name a file");
    sky_out *o = sky_calloc(1, sizeof *o);
    if (!o)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", path);
    o->fd = -1;
    o->name = sky_strdup(std ? "standard output" : path);
    o->buf = sky_alloc(OUT_BUF);
    int rc = o->name && o->buf ? SKY_OK : sky_fail(e, SKY_ENOMEM, "%s: out of memory", path);
    if (!rc && std && (o->fd = dup(1)) < 0)
        rc = sky_fail_errno(e, SKY_EIO, "standard output");
    else if (!rc && !std)
        rc = open_tmp(o, path, e);
    if (rc)
        return out_free(o, rc);
    *out = o;
    return SKY_OK;
}

static int write_all(sky_out *o, const uint8_t *p, size_t n, sky_err *e)
{
    while (n) {
        ssize_t k = write(o->fd, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return sky_fail_errno(e, SKY_EIO, "%s: write", o->name);
        p += k;
        n -= (size_t)k;
    }
    return SKY_OK;
}

int sky_out_flush(sky_out *o, sky_err *e)
{
    size_t n = o->n;
    o->n = 0;
    return write_all(o, o->buf, n, e);
}

int sky_out_write(sky_out *o, const void *p, size_t n, sky_err *e)
{
    o->offset += n;
    if (n <= OUT_BUF - o->n) {
        if (n)
            memcpy(o->buf + o->n, p, n);
        o->n += n;
        return SKY_OK;
    }
    int rc = sky_out_flush(o, e);
    if (rc || n >= OUT_BUF)
        return rc ? rc : write_all(o, p, n, e);
    memcpy(o->buf, p, n);
    o->n = n;
    return SKY_OK;
}

int sky_out_printf(sky_out *o, sky_err *e, const char *fmt, ...)
{
    char line[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof line)
        return sky_out_write(o, line, (size_t)n, e);
    if (n < 0)
        return sky_fail_errno(e, SKY_EUSAGE, "%s: a line that cannot be formatted", o->name);
    char *big = sky_alloc((size_t)n + 1);
    if (!big)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", o->name);
    va_start(ap, fmt);
    vsnprintf(big, (size_t)n + 1, fmt, ap);
    va_end(ap);
    int rc = sky_out_write(o, big, (size_t)n, e);
    sky_free(big);
    return rc;
}

uint64_t sky_out_offset(const sky_out *o) { return o->offset; }
const char *sky_out_name(const sky_out *o) { return o->name; }
int sky_out_is_stdout(const sky_out *o) { return o->fd >= 0 && !o->tmp && !strcmp(o->name, "standard output"); }

int sky_out_commit(sky_out *o, sky_err *e)
{
    int rc = sky_out_flush(o, e);
    if (!rc && o->tmp && fsync(o->fd))
        rc = sky_fail_errno(e, SKY_EIO, "%s: fsync", o->name);
    int fd = o->fd;
    o->fd = -1;
    if (close(fd) && !rc)
        rc = sky_fail_errno(e, SKY_EIO, "%s: close", o->name);
    if (!rc && o->tmp && rename(o->tmp, o->name))
        rc = sky_fail_errno(e, SKY_EIO, "%s: rename", o->name);
    return out_free(o, rc);
}

void sky_out_abort(sky_out *o)
{
    if (o)
        out_free(o, SKY_EIO);
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
