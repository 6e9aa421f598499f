#include "base/io.h"
#include "base/cli.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* Pieces of OUT_DIRECT bytes are not copied into the buffer: they are written with what it holds in one call. */
enum { OUT_BUF = 1 << 18, OUT_DIRECT = 1 << 16 };

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

/* What is in the buffer, then n bytes at p. */
static int write_all(sky_out *o, const void *p, size_t n, sky_err *e)
{
    struct iovec v[2] = {{o->buf, o->n}, {(void *)(uintptr_t)p, n}}; /* writev does not write to what it is given */
    o->n = 0;
    while (v[0].iov_len || v[1].iov_len) {
        ssize_t k = v[0].iov_len ? writev(o->fd, v, 2) : write(o->fd, v[1].iov_base, v[1].iov_len);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return sky_fail_errno(e, SKY_EIO, "%s: write", o->name);
        size_t first = (size_t)k < v[0].iov_len ? (size_t)k : v[0].iov_len;
        v[0] = (struct iovec){(char *)v[0].iov_base + first, v[0].iov_len - first};
        v[1] = (struct iovec){(char *)v[1].iov_base + ((size_t)k - first), v[1].iov_len - ((size_t)k - first)};
    }
    return SKY_OK;
}

static int flush(sky_out *o, sky_err *e) { return write_all(o, NULL, 0, e); }

int sky_out_write(sky_out *o, const void *p, size_t n, sky_err *e)
{
    o->offset += n;
    if (n >= OUT_DIRECT)
        return write_all(o, p, n, e);
    int rc = n > OUT_BUF - o->n ? flush(o, e) : SKY_OK;
    if (!rc && n) {
        memcpy(o->buf + o->n, p, n);
        o->n += n;
    }
    return rc;
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

int sky_out_commit(sky_out *o, sky_err *e)
{
    int rc = flush(o, e);
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
