#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int sky_fail(sky_err *e, int code, const char *fmt, ...)
{
    if (!e)
        return code;
    va_list ap;
    va_start(ap, fmt);
    e->code = code;
    vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    return code;
}

int sky_wrap(sky_err *e, const char *fmt, ...)
{
    if (!e)
        return SKY_EIO; /* the caller gave up the details; only "failed" is left to tell */
    char inner[sizeof e->msg];
    memcpy(inner, e->msg, sizeof inner);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof e->msg)
        snprintf(e->msg + n, sizeof e->msg - (size_t)n, ": %s", inner);
    return e->code;
}

int sky_fail_errno(sky_err *e, int code, const char *fmt, ...)
{
    int err = errno;
    if (!e)
        return code;
    va_list ap;
    va_start(ap, fmt);
    e->code = code;
    int n = vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof e->msg)
        snprintf(e->msg + n, sizeof e->msg - (size_t)n, ": %s", strerror(err));
    return code;
}
