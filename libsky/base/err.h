/* err.h -- how libsky reports failure.
 *
 * A fallible function returns an int: 0 or a positive answer is success, a negative SKY_E... is failure, and then
 * the caller's sky_err holds one line that says where (file, record, field, byte), what was found and what was wanted.
 * The struct lives with the caller and needs no heap, so it works when the heap is what failed. libsky never prints,
 * never exits; the tool prints the line, once (base/cli.h). */
#ifndef SKY_BASE_ERR_H
#define SKY_BASE_ERR_H

#include <stdarg.h>

/* Numbers are frozen: they appear in --json output. */
enum {
    SKY_OK = 0,
    SKY_EUSAGE = -1,   /* the command line or an API argument is wrong          exit 2 */
    SKY_EIO = -2,      /* the system failed: open, read, write, disk full       exit 4 */
    SKY_ECORRUPT = -3, /* input data are damaged, truncated or not what was asked  exit 3 */
    SKY_EVERSION = -4, /* input is of a newer or unknown format                 exit 3 */
    SKY_ELIMIT = -5,   /* input declares a size above the stated limit          exit 3 */
    SKY_ENOMEM = -6,   /* memory                                                exit 4 */
    SKY_EDEVICE = -7,  /* accelerator                                           exit 4 */
};

typedef struct {
    int code; /* 0 or SKY_E... */
    char msg[480];
} sky_err;

#define SKY_MUST_USE __attribute__((warn_unused_result))
#define SKY_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Set message and code; returns code, so that `return sky_fail(e, SKY_EIO, ...)` reads well. e may be NULL. */
int sky_fail(sky_err *e, int code, const char *fmt, ...) SKY_PRINTF(3, 4);
/* Put "context: " before the message already there (outside-in order); returns the code already set. */
int sky_wrap(sky_err *e, const char *fmt, ...) SKY_PRINTF(2, 3);
/* sky_fail with ": strerror(errno)" appended. */
int sky_fail_errno(sky_err *e, int code, const char *fmt, ...) SKY_PRINTF(3, 4);

#endif
