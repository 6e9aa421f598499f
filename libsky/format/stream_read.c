/* stream_read.c -- the reader's front: inputs one after another, and the hand-over of what plain_read.c reads and shard_read.c
 * finds. Errors of shards travel through the queue as things found, so that they come out in order. */
#include "format/read_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const sky_limits sky_limits_default = {(uint64_t)16 << 20, (uint64_t)16 << 30, (uint64_t)32 << 30};

const char *sky_reader_input(const sky_reader *r)
{
    const char *p = r->ipath ? r->path[r->ipath - 1] : "";
    return strcmp(p, "-") ? p : "standard input";
}

int sky_at_byte(sky_err *e, uint64_t at)
{
    if (!e)
        return SKY_ECORRUPT;
    size_t n = strlen(e->msg);
    snprintf(e->msg + n, sizeof e->msg - n, " (byte %" PRIu64 ")", at);
    return e->code;
}

int sky_stick(sky_reader *r, int rc, const sky_err *e)
{
    r->sticky = rc;
    if (e)
        r->sticky_err = *e;
    return rc;
}

int sky_wanted(char *const *select, const char *field)
{
    for (char *const *p = select; p && *p; p++)
        if (!strcmp(*p, field))
            return 1;
    return !select;
}

int sky_bytes_left(const sky_in *in, uint64_t n, const char *what, sky_err *e)
{
    int64_t size = sky_in_size(in);
    if (size >= 0 && (sky_in_offset(in) > (uint64_t)size || n > (uint64_t)size - sky_in_offset(in)))
        return sky_fail(e, SKY_ECORRUPT, "ends at byte %" PRId64 ", %" PRIu64 " bytes of %s wanted", size, n, what);
    return SKY_OK;
}

int sky_read_bytes(sky_in *in, sky_pile *pile, uint8_t **out, uint64_t n, const char *what, sky_err *e)
{
    int64_t size = sky_in_size(in);
    int rc = sky_bytes_left(in, n, what, e);
    if (rc)
        return rc;
    uint64_t cap = size >= 0 || n < ((uint64_t)64 << 20) ? n : (uint64_t)64 << 20, have = 0;
    uint8_t *p = pile ? sky_pile_take(pile, cap) : sky_alloc(cap);
    int64_t got = 1;
    while (p && have < n && got > 0) {
        if (have == cap) {
            uint64_t more = cap * 2 < n ? cap * 2 : n;
            uint8_t *q = sky_realloc(p, cap, more);
            if (!q)
                sky_free(p);
            p = q;
            cap = more;
            continue;
        }
        got = sky_in_read(in, p + have, cap - have, e);
        have += got > 0 ? (uint64_t)got : 0;
    }
    if (!p)
        return sky_fail(e, SKY_ENOMEM, "no memory for %" PRIu64 " bytes of %s", n, what);
    if (have == n) {
        *out = p;
        return SKY_OK;
    }
    sky_free(p);
    if (got < 0)
        return (int)got;
    return sky_fail(e, SKY_ECORRUPT, "ends at byte %" PRIu64 ", %" PRIu64 " more bytes of %s wanted", sky_in_offset(in), n - have, what);
}

/* ---- inputs --------------------------------------------------------------------------------------------------- */

static int next_input(sky_reader *r, sky_err *e)
{
    if (r->in) {
        r->done_bytes += sky_in_offset(r->in);
        sky_in_close(r->in);
        r->in = NULL;
    }
    if (r->ipath >= r->npaths) {
        r->mode = SKY_READ_DONE;
        return SKY_OK;
    }
    int rc = sky_in_open(&r->in, r->path[r->ipath++], e);
    if (rc)
        return rc;
    const void *p;
    int64_t n = sky_in_peek(r->in, &p, 1, e);
    if (n < 0)
        return (int)n;
    return n ? SKY_OK : sky_fail(e, SKY_ECORRUPT, "%s: empty input, not even a schema", sky_reader_input(r));
}

/* Is this a plain stream (1), a shard (2), or neither (an error)? */
static int detect(sky_reader *r, sky_err *e)
{
    const void *v;
    int64_t n = sky_in_peek(r->in, &v, 16, e);
    const uint8_t *p = v;
    if (n < 0)
        return (int)n;
    if (n >= 8 && !memcmp(p, "{\"sky\":\"", 8))
        return 1;
    uint32_t magic = n >= 4 ? (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24 : 0;
    if (magic >> 4 == SKY_BLOCK_MAGIC >> 4)
        return 2;
    char hex[40] = "";
    for (int i = 0; i < n && i < 8; i++)
        snprintf(hex + 3 * i, 4, " %02x", p[i]);
    if (magic == SKY_ZSTD_MAGIC)
        sky_fail(e, SKY_ECORRUPT, "%s: zstd data without the blocks of a shard (a compressed plain stream? use zstd -dc)", sky_reader_input(r));
    else
        sky_fail(e, SKY_ECORRUPT, "%s: neither a sky stream nor a shard: starts with%s", sky_reader_input(r), hex);
    return sky_at_byte(e, sky_in_offset(r->in));
}

/* At the start of a stream: read its schema. 0 also at the end of an input. */
static int start_stream(sky_reader *r, json_t **schema, sky_err *e)
{
    const void *p;
    while (!r->in || sky_in_peek(r->in, &p, 1, e) == 0) {
        int rc = next_input(r, e);
        if (rc || r->mode == SKY_READ_DONE)
            return rc;
    }
    r->resync_at = sky_in_offset(r->in) + 1;
    int kind = detect(r, e);
    if (kind < 0)
        return kind;
    return kind == 1 ? sky_plain_begin(r, schema, e) : sky_shard_begin(r, schema, e);
}

static int is_data_error(int rc) { return rc == SKY_ECORRUPT || rc == SKY_EVERSION || rc == SKY_ELIMIT; }

/* A stream after the first. Damage at its start is something found, so that reading can go on behind it. */
static int produce_start(sky_reader *r, sky_err *e)
{
    json_t *schema = NULL;
    int rc = start_stream(r, &schema, e);
    if (rc) {
        sky_err why = e ? *e : (sky_err){.code = rc};
        return r->in && is_data_error(rc) ? sky_report(r, r->resync_at, 0, &why, e) : rc;
    }
    if (schema && (rc = sky_schema_merge(r->schema, schema, e)))
        sky_wrap(e, "%s", sky_reader_input(r));
    json_decref(schema);
    return rc;
}

/* ---- open ----------------------------------------------------------------------------------------------------- */

static int copy_paths(sky_reader *r, char *const *paths, int n)
{
    static char dash[] = "-";
    static char *const only_stdin[] = {dash};
    if (!n) {
        paths = only_stdin;
        n = 1;
    }
    if (!(r->path = sky_calloc((size_t)n, sizeof *r->path)))
        return -1;
    for (; r->npaths < n; r->npaths++)
        if (!(r->path[r->npaths] = sky_strdup(paths[r->npaths])))
            return -1;
    return 0;
}

static void add_sizes(sky_reader *r)
{
    struct stat st;
    for (int i = 0; i < r->npaths; i++) {
        if (!strcmp(r->path[i], "-") || stat(r->path[i], &st) || !S_ISREG(st.st_mode)) {
            r->total_bytes = 0;
            return;
        }
        r->total_bytes += (uint64_t)st.st_size;
    }
}

/* Provenance and definitions of the later files, before anything is written from the first. */
static int merge_later(sky_reader *r, sky_err *e)
{
    struct stat st;
    int rc = SKY_OK;
    for (int i = 1; i < r->npaths && !rc; i++) {
        if (!strcmp(r->path[i], "-") || (stat(r->path[i], &st) == 0 && !S_ISREG(st.st_mode)))
            continue;
        sky_reader *one;
        char *path[1] = {r->path[i]};
        rc = r->salvage ? sky_reader_salvage(&one, path, 1, &r->lim, e) : sky_reader_open(&one, path, 1, &r->lim, e);
        if (rc)
            break;
        rc = sky_schema_merge(r->schema, one->schema, e);
        if (rc)
            sky_wrap(e, "%s", r->path[i]);
        sky_reader_close(one);
    }
    return rc;
}

static int first_schema(sky_reader *r, sky_err *e)
{
    sky_err why = {0};
    int rc = start_stream(r, &r->schema, &why);
    if (rc && r->salvage && r->in && is_data_error(rc)) {
        r->schema = sky_schema_from_copy(r->in, &r->lim);
        if (r->schema || (r->schema = json_object()))
            return sky_report(r, r->resync_at, 0, &why, e);
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", sky_reader_input(r));
    }
    if (rc && e)
        *e = why;
    return rc;
}

static int reader_start(sky_reader **out, sky_reader *r, const sky_limits *lim, sky_err *e)
{
    r->lim = lim ? *lim : sky_limits_default;
    r->bad_at = UINT64_MAX;
    int rc = sky_codec_open(&r->codec, 0, e);
    if (!rc && !(r->pile = sky_pile_new()))
        rc = sky_fail(e, SKY_ENOMEM, "reader: out of memory");
    if (!rc)
        rc = first_schema(r, e);
    if (!rc)
        rc = merge_later(r, e);
    if (rc)
        sky_reader_close(r);
    else
        *out = r;
    return rc;
}

static int reader_open(sky_reader **out, char *const *paths, int n, const sky_limits *lim, int salvage, sky_err *e)
{
    sky_reader *r = sky_calloc(1, sizeof *r);
    if (!r || copy_paths(r, paths, n)) {
        sky_reader_close(r);
        return sky_fail(e, SKY_ENOMEM, "reader: out of memory");
    }
    r->salvage = salvage;
    add_sizes(r);
    return reader_start(out, r, lim, e);
}

int sky_reader_open(sky_reader **out, char *const *paths, int n, const sky_limits *lim, sky_err *e)
{
    if (!n && isatty(0))
        return sky_fail(e, SKY_EUSAGE, "no input: name files, or - for standard input");
    return reader_open(out, paths, n, lim, 0, e);
}

int sky_reader_salvage(sky_reader **out, char *const *paths, int n, const sky_limits *lim, sky_err *e)
{
    return reader_open(out, paths, n, lim, 1, e);
}

int sky_reader_memory(sky_reader **out, const void *p, size_t n, const sky_limits *lim, sky_err *e)
{
    static char name[] = "memory";
    char *path[1] = {name};
    sky_reader *r = sky_calloc(1, sizeof *r);
    if (!r || copy_paths(r, path, 1)) {
        sky_reader_close(r);
        return sky_fail(e, SKY_ENOMEM, "reader: out of memory");
    }
    r->ipath = 1;
    r->total_bytes = n;
    int rc = n ? sky_in_memory(&r->in, p, n, name, e) : sky_fail(e, SKY_ECORRUPT, "memory: empty input, not even a schema");
    if (rc) {
        sky_reader_close(r);
        return rc;
    }
    return reader_start(out, r, lim, e);
}

static void drop_select(sky_reader *r)
{
    for (char **p = r->select; p && *p; p++)
        sky_free(*p);
    sky_free(r->select);
    r->select = NULL;
}

int sky_reader_select(sky_reader *r, const char *const *names, sky_err *e)
{
    if (r->started)
        return sky_fail(e, SKY_EUSAGE, "fields are selected before the first record is read");
    drop_select(r);
    size_t n = 0;
    if (!names)
        return SKY_OK;
    while (names[n])
        n++;
    int bad = !(r->select = sky_calloc(n + 1, sizeof *r->select));
    for (size_t i = 0; i < n && !bad; i++)
        bad = !(r->select[i] = sky_strdup(names[i]));
    return bad ? sky_fail(e, SKY_ENOMEM, "reader: out of memory") : SKY_OK;
}

void sky_reader_check_all(sky_reader *r) { r->check_all = 1; }
int sky_reader_stuck(const sky_reader *r) { return r->sticky != 0 && !(r->queue && sky_queue_pending(r->queue)); }
void sky_reader_threads(sky_reader *r, int n) { r->threads = n; }
const json_t *sky_reader_schema(const sky_reader *r) { return r->schema; }
const char *sky_reader_name(const sky_reader *r) { return r->name; }
uint64_t sky_reader_costs(const sky_reader *r) { return r->costs; }
uint64_t sky_reader_count(const sky_reader *r) { return r->count; }
uint64_t sky_reader_sum(const sky_reader *r) { return r->sum; }
uint64_t sky_reader_bytes(const sky_reader *r) { return r->done_bytes + (r->in ? sky_in_offset(r->in) : 0); }
uint64_t sky_reader_total_bytes(const sky_reader *r) { return r->total_bytes; }

void sky_reader_close(sky_reader *r)
{
    if (!r)
        return;
    sky_found_free(r->held);
    if (r->queue) {
        sky_queue_end(r->queue);
        for (sky_found *f; (f = sky_queue_get(r->queue));)
            sky_found_free(f);
        sky_queue_close(r->queue);
    }
    sky_codec_close(r->codec);
    sky_pile_free(r->pile);
    sky_shard_close(r->index);
    sky_in_close(r->in);
    for (int i = 0; i < r->npaths; i++)
        sky_free(r->path[i]);
    sky_free(r->path);
    drop_select(r);
    json_decref(r->schema);
    sky_buf_free(&r->line);
    sky_free(r);
}

/* ---- next ----------------------------------------------------------------------------------------------------- */

/* What a thing found means to the caller: 1 sample, 0 nothing, < 0 error. Frees f. */
static int consume(sky_reader *r, sky_found *f, sky_sample *s, sky_err *e)
{
    int rc = f->rc;
    if (f->kind == 'S') {
        r->seen = (sky_totals){0};
        r->damaged = 0;
    } else if (!rc && f->kind == 'R') {
        sky_totals_add(&r->seen, f->line_crc, f->hash);
        r->sum += f->hash;
        r->count++;
        sky_sample_move(s, &f->s);
        r->name = f->name;
        rc = 1;
    } else if (!rc && (f->kind == 'E' || f->kind == 'T') && !r->damaged) {
        sky_totals same = f->end;
        if (f->kind == 'T') /* has no order */
            same.order = r->seen.order;
        if ((rc = sky_end_compare(&same, &r->seen, &f->err))) {
            sky_at_byte(&f->err, f->at);
            sky_wrap(&f->err, "%s", f->name);
        }
    }
    if (rc < 0) {
        r->damaged = 1;
        r->costs = f->kind == 'R' ? 1 : f->costs;
        if (f->kind == 'R')
            r->bad_at = f->at;
        if (rc == SKY_EIO)
            sky_stick(r, rc, &f->err);
        if (e)
            *e = f->err;
    }
    sky_found_free(f);
    return rc;
}

static int can_produce(const sky_reader *r)
{
    if (r->mode != SKY_READ_START && r->mode != SKY_READ_SHARD)
        return 0;
    if (!r->queue)
        return 1;
    int n = sky_queue_pending(r->queue);
    /* From a pipe no further than needed: the next record may be long in coming. */
    uint64_t bytes = r->in && sky_in_seekable(r->in) ? r->inflight : SKY_QUEUE_SMALL;
    return !n || (sky_queue_wants_more(n, sky_queue_threads(r->queue), bytes) && r->inflight < SKY_INFLIGHT);
}

static int fill_queue(sky_reader *r, sky_err *e)
{
    while (can_produce(r)) {
        int rc = r->mode == SKY_READ_START ? produce_start(r, e) : sky_shard_produce(r, e);
        if (rc)
            return rc;
    }
    return SKY_OK;
}

/* What the caller's sample held: large blocks are used again for the next one. */
static void take_back(sky_reader *r, sky_sample *s)
{
    for (int i = 0; i < s->nfields; i++) {
        sky_pile_give(r->pile, s->fields[i].data, sky_round64(s->fields[i].nbytes)); /* with its padding */
        s->fields[i].data = NULL;
    }
    sky_sample_free(s);
}

/* The first time: what opening found goes to the queue. */
static int start(sky_reader *r, sky_err *e)
{
    sky_found *f = r->held;
    r->started = 1;
    r->held = NULL;
    return f ? sky_enqueue(r, f, e) : SKY_OK;
}

int sky_reader_next(sky_reader *r, sky_sample *s, sky_err *e)
{
    sky_err mine;
    e = e ? e : &mine;
    take_back(r, s);
    r->costs = 0;
    for (;;) {
        if (!r->sticky && (start(r, e) || fill_queue(r, e)) && !r->sticky)
            sky_stick(r, e->code, e);
        if (r->queue && sky_queue_pending(r->queue)) {
            sky_found *f = sky_queue_get(r->queue);
            r->inflight -= f->weight;
            int rc = consume(r, f, s, e);
            if (rc)
                return rc;
        } else if (r->sticky) {
            *e = r->sticky_err;
            return r->sticky;
        } else if (r->mode == SKY_READ_DONE) {
            return 0;
        } else if (r->mode == SKY_READ_RESYNC) {
            int rc = sky_shard_resync(r, e);
            if (rc)
                return sky_stick(r, rc, e);
        } else if (r->mode == SKY_READ_PLAIN) {
            int rc = sky_plain_next(r, s, e);
            if (rc)
                return rc;
        }
    }
}
