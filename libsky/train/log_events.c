/* log_events.c -- event files. A file is a sequence of records (TFRecord): length u64, its masked CRC32C, the bytes, their
 * masked CRC32C, all little-endian. The bytes are a message Event of protocol buffers, of which this is used (tensorflow
 * event.proto, summary.proto):
 *   Event      1 wall_time double, 2 step int64, 3 file_version string, 5 summary Summary, 7 session_log SessionLog
 *   Summary    1 value Value, repeated     Value  1 tag string, 2 simple_value float     SessionLog  1 status enum (START: 1)
 * A reader that meets START at step s forgets what it has read of steps from s on. */
#include "train/log_events.h"
#include "base/hash.h"
#include "train/log_internal.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct sky_events {
    int fd;
    char *path;
    sky_buf b;
};

/* ---- protocol buffers, as far as needed --------------------------------------------------------------------------------- */

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

static void put_fixed(sky_buf *b, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        sky_buf_add(b, &(uint8_t){(uint8_t)(v >> 8 * i)}, 1);
}

static void put_varint(sky_buf *b, uint64_t v)
{
    for (; v > 127; v >>= 7)
        put_fixed(b, v | 128, 1);
    put_fixed(b, v, 1);
}

static void put_key(sky_buf *b, int field, int type) { put_varint(b, (uint64_t)(field << 3 | type)); }

static void put_bytes(sky_buf *b, int field, const void *p, size_t n)
{
    put_key(b, field, BYTES);
    put_varint(b, n);
    sky_buf_add(b, p, n);
}

static void put_double(sky_buf *b, int field, double v)
{
    uint64_t u;
    memcpy(&u, &v, sizeof u);
    put_key(b, field, FIXED64);
    put_fixed(b, u, 8);
}

static void put_float(sky_buf *b, int field, float v)
{
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    put_key(b, field, FIXED32);
    put_fixed(b, u, 4);
}

/* ---- records ------------------------------------------------------------------------------------------------------------ */

static uint32_t masked(const void *p, size_t n)
{
    uint32_t c = sky_crc32c(0, p, n);
    return (c >> 15 | c << 17) + 0xa282ead8u;
}

/* One event with one further member: field, the bytes of m. */
static void put_event(sky_buf *b, double time, uint64_t step, int field, const sky_buf *m)
{
    sky_buf event = {0};
    put_double(&event, 1, time);
    put_key(&event, 2, VARINT);
    put_varint(&event, step);
    put_bytes(&event, field, m->p, m->n);
    size_t head = b->n;
    put_fixed(b, event.n, 8);
    if (!b->bad)
        put_fixed(b, masked(b->p + head, 8), 4);
    sky_buf_add(b, event.p, event.n);
    put_fixed(b, masked(event.p, event.n), 4);
    b->bad |= event.bad | m->bad;
    sky_buf_free(&event);
}

void sky_events_head(sky_buf *b, uint64_t step, double time)
{
    sky_buf m = {0};
    sky_buf_puts(&m, "brain.Event:2");
    put_event(b, time, 0, 3, &m);
    sky_buf_reset(&m);
    put_key(&m, 1, VARINT);
    put_varint(&m, 1);
    put_event(b, time, step + 1, 7, &m);
    sky_buf_free(&m);
}

static void put_value(sky_buf *summary, const char *tag, double x)
{
    sky_buf m = {0};
    put_bytes(&m, 1, tag, strlen(tag));
    put_float(&m, 2, (float)x);
    put_bytes(summary, 1, m.p, m.n);
    summary->bad |= m.bad;
    sky_buf_free(&m);
}

/* head: path of the object, with a slash at its end unless it is the line. A number that is not finite is null there. */
static void put_values(sky_buf *summary, const char *head, const json_t *o)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)o, key, v)
    {
        char tag[200];
        snprintf(tag, sizeof tag, "%s%s%s", head, key, json_is_object(v) ? "/" : "");
        if (json_is_object(v) && strlen(head) < sizeof tag / 2)
            put_values(summary, tag, v);
        else if (json_is_number(v) && (*head || strcmp(key, "step")))
            put_value(summary, tag, json_number_value(v));
        else if (json_is_null(v))
            put_value(summary, tag, NAN);
    }
}

void sky_events_line(sky_buf *b, const json_t *line, double time)
{
    sky_buf summary = {0};
    put_values(&summary, "", line);
    put_event(b, time, (uint64_t)json_integer_value(json_object_get(line, "step")), 5, &summary);
    sky_buf_free(&summary);
}

/* ---- the file ------------------------------------------------------------------------------------------------------------ */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int write_out(sky_events *w, sky_err *e)
{
    int rc = w->b.bad ? sky_fail(e, SKY_ENOMEM, "%s: out of memory", w->path) : SKY_OK;
    if (!rc)
        rc = sky_log_put(w->fd, w->b.p, w->b.n, w->path, e);
    sky_buf_reset(&w->b);
    return rc;
}

int sky_events_open(sky_events **out, const char *dir, uint64_t step, sky_err *e)
{
    double time = now();
    sky_events *w = *out = sky_calloc(1, sizeof *w);
    /* Readers take the files of a directory in the order of their names. */
    if (!w || !(w->path = sky_asprintf("%s/events.out.tfevents.%010.0f.%08llu", dir, floor(time), (unsigned long long)step))) {
        sky_free(w);
        *out = NULL;
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", dir);
    }
    w->fd = open(w->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    int rc = w->fd < 0 ? sky_fail_errno(e, SKY_EIO, "%s", w->path) : SKY_OK;
    if (!rc) {
        sky_events_head(&w->b, step, time);
        rc = write_out(w, e);
    }
    if (rc) {
        sky_events_close(w);
        *out = NULL;
    }
    return rc;
}

void sky_events_close(sky_events *w)
{
    if (!w)
        return;
    if (w->fd >= 0)
        close(w->fd);
    sky_buf_free(&w->b);
    sky_free(w->path);
    sky_free(w);
}

int sky_events_add(sky_events *w, const json_t *line, sky_err *e)
{
    sky_events_line(&w->b, line, now());
    return write_out(w, e);
}
