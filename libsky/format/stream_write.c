/* stream_write.c -- the writer of both spellings. Records of a shard are encoded by the threads of a queue and written
 * in the order they came; an encoded record does not depend on its place, so neither do the bytes on threads. */
#include "format/write_internal.h"

#include <inttypes.h>
#include <string.h>

enum { MAX_LEVEL = 19, INFLIGHT = 256 << 20 };

struct sky_writer {
    char *path;
    sky_spelling spelling;
    sky_writer_opts o;
    sky_buf schema;       /* the schema line */
    sky_file *file;       /* being written */
    sky_queue *queue;     /* shards only */
    sky_codec *codec;
    sky_pile *pile;       /* blocks for compressed records */
    uint64_t inflight, files, count, closed_bytes;
    int failed;           /* sticky: the first error, then always */
};

/* ---- names of files ------------------------------------------------------------------------------------------- */

/* The one %d or %0Nd of a pattern: its position, length and width; 0 when there is none, -1 when it is malformed. */
static int find_number(const char *path, size_t *at, size_t *len, int *width)
{
    const char *p = strchr(path, '%');
    if (!p)
        return 0;
    const char *q = p + 1;
    *width = 0;
    if (*q == '0' && q[1] >= '1' && q[1] <= '9')
        *width = q[1] - '0', q += 2;
    if (*q != 'd' || strchr(q, '%'))
        return -1;
    *at = (size_t)(p - path);
    *len = (size_t)(q + 1 - p);
    return 1;
}

static char *file_name(const sky_writer *w)
{
    size_t at, len;
    int width;
    if (find_number(w->path, &at, &len, &width) != 1)
        return sky_strdup(w->path);
    return sky_asprintf("%.*s%0*" PRIu64 "%s", (int)at, w->path, width, w->files, w->path + at + len);
}

static int check_pattern(const sky_writer *w, sky_err *e)
{
    size_t at, len;
    int width, n = find_number(w->path, &at, &len, &width), several = w->o.shard_bytes || w->o.shard_count;
    if (n < 0)
        return sky_fail(e, SKY_EUSAGE, "%s: a pattern holds one %%d or %%05d and no other %%", w->path);
    if (several && !n)
        return sky_fail(e, SKY_EUSAGE, "%s: several shards need a pattern with %%d or %%05d", w->path);
    if (several && w->spelling == SKY_PLAIN)
        return sky_fail(e, SKY_EUSAGE, "%s: a plain stream is not cut into shards", w->path);
    return SKY_OK;
}

static int next_file(sky_writer *w, sky_err *e)
{
    char *name = file_name(w);
    if (!name)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", w->path);
    int rc = sky_file_open(&w->file, name, w->spelling, &w->schema, w->codec, e);
    sky_free(name);
    if (!rc)
        w->files++;
    return rc;
}

static int finish_file(sky_writer *w, sky_err *e)
{
    sky_file *f = w->file;
    w->file = NULL;
    return sky_file_close(f, w->codec, &w->closed_bytes, e);
}

/* ---- open, put, close ----------------------------------------------------------------------------------------- */

int sky_writer_open(sky_writer **out, const char *path, sky_spelling sp, const json_t *schema, const sky_writer_opts *o, sky_err *e)
{
    sky_writer *w = sky_calloc(1, sizeof *w);
    if (!w || !(w->path = sky_strdup(path))) {
        sky_free(w);
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", path);
    }
    w->spelling = sp;
    w->o = o ? *o : (sky_writer_opts){0};
    if (!w->o.level)
        w->o.level = 3;
    int rc = check_pattern(w, e);
    if (!rc && (w->o.level < 1 || w->o.level > MAX_LEVEL))
        rc = sky_fail(e, SKY_EUSAGE, "zstd level %d is outside 1..%d", w->o.level, MAX_LEVEL);
    if (!rc)
        rc = sky_schema_print(&w->schema, schema, e);
    if (!rc && sp == SKY_SHARD && !(w->pile = sky_pile_new()))
        rc = sky_fail(e, SKY_ENOMEM, "%s: out of memory", path);
    if (!rc && sp == SKY_SHARD && !(rc = sky_codec_open(&w->codec, w->o.level, e)))
        rc = sky_queue_open(&w->queue, w->o.threads, SKY_QUEUE_SLOTS, sky_encode, e);
    if (!rc)
        rc = next_file(w, e);
    if (rc)
        sky_writer_abort(w);
    else
        *out = w;
    return rc;
}

/* Does this record belong into the next shard? */
static int is_full(const sky_writer *w, const sky_encoded *r)
{
    uint64_t n = sky_file_count(w->file);
    if (!n)
        return 0;
    return (w->o.shard_count && n >= w->o.shard_count) ||
           (w->o.shard_bytes && sky_file_size_with(w->file, r) > w->o.shard_bytes);
}

static int emit(sky_writer *w, sky_encoded *r, sky_err *e)
{
    int rc = r->rc;
    if (rc && e)
        *e = r->err;
    if (!rc && is_full(w, r) && !(rc = finish_file(w, e)))
        rc = next_file(w, e);
    return rc ? rc : sky_file_put(w->file, r, e);
}

/* Take the oldest record from the queue and write it. */
static int drain_one(sky_writer *w, sky_err *e)
{
    sky_encoded *r = sky_queue_get(w->queue);
    w->inflight -= r->weight;
    int rc = w->failed ? w->failed : emit(w, r, e);
    sky_encoded_free(r);
    if (rc)
        w->failed = rc;
    return rc;
}

/* Must a record be written before r may go to the queue? */
static int is_busy(const sky_writer *w, const sky_encoded *r)
{
    int n = sky_queue_pending(w->queue);
    return n && (!sky_queue_wants_more(n, sky_queue_threads(w->queue), w->inflight) || w->inflight + r->weight > INFLIGHT);
}

static int put_shard(sky_writer *w, sky_encoded *r, sky_err *e)
{
    while (is_busy(w, r)) {
        int rc = drain_one(w, e);
        if (rc) {
            sky_encoded_free(r);
            return rc;
        }
    }
    w->inflight += r->weight;
    sky_queue_put(w->queue, r);
    return SKY_OK;
}

static int put_plain(sky_writer *w, sky_encoded *r, sky_err *e)
{
    sky_encode(r);
    int rc = emit(w, r, e);
    sky_encoded_free(r);
    return rc;
}

int sky_writer_put(sky_writer *w, sky_sample *s, sky_err *e)
{
    if (w->failed)
        return sky_fail(e, w->failed, "%s: an earlier write failed", w->path);
    sky_encoded *r = sky_encoded_new(s, w->codec, w->pile);
    if (!r)
        return w->failed = sky_fail(e, SKY_ENOMEM, "sample '%s': out of memory", s->id ? s->id : "");
    int rc = w->queue ? put_shard(w, r, e) : put_plain(w, r, e);
    if (rc)
        w->failed = rc;
    else
        w->count++;
    return rc;
}

static void writer_free(sky_writer *w)
{
    if (w->queue) {
        sky_queue_end(w->queue);
        for (sky_encoded *r; (r = sky_queue_get(w->queue));)
            sky_encoded_free(r);
        sky_queue_close(w->queue);
    }
    sky_file_abort(w->file);
    sky_codec_close(w->codec);
    sky_pile_free(w->pile);
    sky_buf_free(&w->schema);
    sky_free(w->path);
    sky_free(w);
}

int sky_writer_close(sky_writer *w, sky_err *e)
{
    int rc = w->failed ? sky_fail(e, w->failed, "%s: an earlier write failed", w->path) : SKY_OK;
    while (!rc && w->queue && sky_queue_pending(w->queue))
        rc = drain_one(w, e);
    if (!rc)
        rc = finish_file(w, e);
    writer_free(w);
    return rc;
}

void sky_writer_abort(sky_writer *w)
{
    if (w)
        writer_free(w);
}

uint64_t sky_writer_count(const sky_writer *w) { return w->count; }
uint64_t sky_writer_bytes(const sky_writer *w) { return w->closed_bytes + (w->file ? sky_file_size(w->file) : 0); }
