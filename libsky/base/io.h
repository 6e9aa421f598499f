/* io.h -- byte input and output shared by every reader and writer.
 *
 * sky_in: a buffered, bounded view of a file, a pipe or memory, with a running byte offset for messages.
 * sky_out: a file that appears under its final name only when complete (temporary name beside the target, fsync,
 * rename), or standard output. Temporary files are removed by sky_out_abort and by the signal handler of base/cli.h. */
#ifndef SKY_BASE_IO_H
#define SKY_BASE_IO_H

#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

typedef struct sky_in sky_in;
/* path "-": standard input. */
int sky_in_open(sky_in **out, const char *path, sky_err *e) SKY_MUST_USE;
/* Memory the caller keeps alive; name is used in messages. For tests and fuzzing. */
int sky_in_memory(sky_in **out, const void *p, size_t n, const char *name, sky_err *e) SKY_MUST_USE;
/* in, which stays open until everyone who shares it has closed it. The position is one for all: only sky_in_pread may
 * be called by others than the first owner. */
sky_in *sky_in_share(sky_in *in);
void sky_in_close(sky_in *in); /* NULL allowed */
const char *sky_in_name(const sky_in *in); /* path, or "standard input" */
uint64_t sky_in_offset(const sky_in *in);  /* bytes consumed so far (file position for seekable input) */
/* Up to n bytes into p. Returns bytes read (0: end of input), or < 0. Short only at the end. */
int64_t sky_in_read(sky_in *in, void *p, size_t n, sky_err *e);
/* Look at up to n (<= 4096) bytes without consuming them. Returns bytes available (short only at the end), or < 0. */
int64_t sky_in_peek(sky_in *in, const void **p, size_t n, sky_err *e);
/* Exactly n bytes, or SKY_ECORRUPT "ends at byte X, n more bytes of WHAT wanted". */
int sky_in_exact(sky_in *in, void *p, size_t n, const char *what, sky_err *e) SKY_MUST_USE;
int sky_in_skip(sky_in *in, uint64_t n, const char *what, sky_err *e) SKY_MUST_USE;
int sky_in_seekable(const sky_in *in);
int64_t sky_in_size(const sky_in *in); /* -1 when not seekable */
int sky_in_seek(sky_in *in, uint64_t offset, sky_err *e) SKY_MUST_USE;
size_t sky_in_buffered(const sky_in *in); /* bytes that the next reads get without asking the system */
/* Exactly n bytes at byte `at` of seekable input, from any thread; the position stays. SKY_ECORRUPT when it ends before.
 * The message does not name the input. */
int sky_in_pread(const sky_in *in, void *p, size_t n, uint64_t at, sky_err *e) SKY_MUST_USE;

typedef struct sky_out sky_out;
/* path "-": standard output (not atomic, cannot be). Fails (SKY_EUSAGE) when binary is true and it is a terminal. */
int sky_out_open(sky_out **out, const char *path, int binary, sky_err *e) SKY_MUST_USE;
int sky_out_write(sky_out *o, const void *p, size_t n, sky_err *e) SKY_MUST_USE;
int sky_out_printf(sky_out *o, sky_err *e, const char *fmt, ...) SKY_PRINTF(3, 4);
uint64_t sky_out_offset(const sky_out *o); /* bytes written */
const char *sky_out_name(const sky_out *o);
/* Flush, fsync, rename. On failure the temporary file is removed. o is freed either way. */
int sky_out_commit(sky_out *o, sky_err *e) SKY_MUST_USE;
void sky_out_abort(sky_out *o); /* remove the temporary file, free; NULL allowed */

/* Whole small file into memory (at most limit bytes, NUL added); sky_free it. */
int sky_read_file(char **out, size_t *n, const char *path, size_t limit, sky_err *e) SKY_MUST_USE;

/* Bounded reader over bytes already in memory: the first overrun sticks; test r->bad once. */
typedef struct {
    const uint8_t *p, *end;
    int bad;
} sky_rd;
static inline const uint8_t *sky_rd_take(sky_rd *r, uint64_t n)
{
    if (r->bad || n > (uint64_t)(r->end - r->p)) {
        r->bad = 1;
        return NULL;
    }
    const uint8_t *q = r->p;
    r->p += n;
    return q;
}
static inline uint64_t sky_rd_le(sky_rd *r, int bytes)
{
    const uint8_t *q = sky_rd_take(r, (uint64_t)bytes);
    uint64_t v = 0;
    for (int i = 0; q && i < bytes; i++)
        v |= (uint64_t)q[i] << (8 * i);
    return v;
}
static inline void sky_put_le(uint8_t *q, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        q[i] = (uint8_t)(v >> (8 * i));
}

#endif
