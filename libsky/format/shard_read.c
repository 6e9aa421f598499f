/* shard_read.c -- finding the blocks and records of a shard, one after another, without a seek; and finding the next
 * one after damage. What is found goes to the queue, damage included, so that the caller sees everything in order. */
#include "format/read_internal.h"
#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static uint32_t le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

int sky_enqueue(sky_reader *r, sky_found *f, sky_err *e)
{
    if (!r->started) {
        r->held = f; /* the schema, or what is wrong with it: one thing is found while opening */
        return SKY_OK;
    }
    if (!r->queue) {
        int rc = sky_queue_open(&r->queue, r->threads, SKY_QUEUE_SLOTS, sky_decode, e);
        if (rc) {
            sky_found_free(f);
            return rc;
        }
    }
    r->inflight += f->weight;
    sky_queue_put(r->queue, f);
    return SKY_OK;
}

int sky_report(sky_reader *r, uint64_t resync_at, uint64_t costs, const sky_err *why, sky_err *e)
{
    sky_found *f = sky_found_new(r, '!');
    if (!f)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", sky_reader_input(r));
    f->err = *why;
    f->rc = why->code;
    f->at = UINT64_MAX;
    f->costs = costs;
    r->lost = r->shard_damaged = 1;
    if (resync_at != UINT64_MAX) {
        r->mode = SKY_READ_RESYNC;
        r->resync_at = resync_at;
    }
    return sky_enqueue(r, f, e);
}

/* The lead that would say whose record this is, is damaged; the index knows too, if the input can be opened again. */
static void name_record(sky_reader *r, const char *id, sky_err *why)
{
    if (!id && r->index_of != r->ipath && sky_in_seekable(r->in)) {
        sky_shard_close(r->index);
        r->index = NULL;
        r->index_of = r->ipath;
        if (sky_shard_open(&r->index, sky_reader_input(r), &r->lim, NULL))
            r->index = NULL;
    }
    if (!id)
        id = r->index ? sky_shard_id_at(r->index, r->shard_at, r->expect) : NULL;
    if (id)
        sky_wrap(why, "%s: record %" PRIu64 " '%s'", sky_reader_input(r), r->expect, id);
    else
        sky_wrap(why, "%s: record %" PRIu64, sky_reader_input(r), r->expect);
}

/* Damage in the block at `at`, of this kind as far as its head can be read (else 0): "FILE: record N: WHY (byte AT)".
 * Reading goes on at the next block that is found. */
static int damage_to(sky_reader *r, uint64_t at, int kind, const char *id, sky_err *why, sky_err *e)
{
    int record = r->in_shard && !r->ended && kind != 'E';
    if (why->code == SKY_EIO || why->code == SKY_ENOMEM) {
        *e = *why;
        return sky_wrap(e, "%s", sky_reader_input(r));
    }
    if (!strstr(why->msg, "(byte "))
        sky_at_byte(why, at);
    if (r->ended)
        sky_wrap(why, "%s: index", sky_reader_input(r));
    else if (record)
        name_record(r, id, why);
    else
        sky_wrap(why, "%s: %s", sky_reader_input(r), r->in_shard ? "END record" : "schema");
    return sky_report(r, at + 1, (uint64_t)record, why, e);
}

static int damage(sky_reader *r, uint64_t at, int kind, sky_err *why, sky_err *e) { return damage_to(r, at, kind, NULL, why, e); }

/* ---- one block -------------------------------------------------------------------------------------------------- */

enum { PEEK = 4096 };

/* The block at the current position: *p has b->size bytes, in the input's buffer or (then *own too) on the heap.
 * Small ones are not consumed until block_done, so that nothing is lost when the size itself is damaged. */
static int block_get(sky_in *in, sky_block *b, const uint8_t **p, uint8_t **own, sky_err *e)
{
    const void *v;
    int64_t n = sky_in_peek(in, &v, SKY_BLOCK_HEAD, e);
    *own = NULL;
    if (n < 0)
        return (int)n;
    if (n < SKY_BLOCK_HEAD)
        return sky_fail(e, SKY_ECORRUPT, "ends within a block");
    int rc = sky_block_head(b, v, e);
    if (rc)
        return rc;
    if (b->size > PEEK) {
        rc = sky_read_bytes(in, NULL, own, b->size, "a block", e);
        *p = *own;
    } else {
        n = sky_in_peek(in, &v, b->size, e);
        rc = n < 0 ? (int)n : n < b->size ? sky_fail(e, SKY_ECORRUPT, "ends within a block") : SKY_OK;
        *p = v;
    }
    if (!rc && (rc = sky_block_check(b, *p, e))) {
        sky_free(*own);
        *own = NULL;
    }
    return rc;
}

static int block_done(sky_in *in, const sky_block *b, uint8_t *own, sky_err *e)
{
    sky_free(own);
    return own ? SKY_OK : sky_in_skip(in, b->size, "a block", e);
}

static int is_foreign(uint32_t magic) { return magic >> 4 == SKY_BLOCK_MAGIC >> 4 && magic != SKY_BLOCK_MAGIC; }

/* Skippable frames of other programs may stand between records; their content is theirs. */
static int skip_foreign(sky_in *in, sky_err *e)
{
    uint8_t head[8];
    int rc = sky_in_exact(in, head, 8, "a skippable frame", e);
    return rc ? rc : sky_in_skip(in, le32(head + 4), "a skippable frame", e);
}

/* ---- schema ----------------------------------------------------------------------------------------------------- */

static int unpack_schema(sky_found *f, json_t **schema, sky_err *e)
{
    const sky_frame *z = &f->lead.frame[0];
    sky_line l;
    char *line = sky_alloc(z->size);
    int rc = line ? sky_frame_unpack(f->codec, line, z, f->packed, e) : sky_fail(e, SKY_ENOMEM, "out of memory");
    if (!rc)
        rc = sky_line_check(&l, line, z->size, e);
    if (!rc && (strcmp(l.kind, "schema") || sky_body_hash(line, z->size) != f->lead.b.tag))
        rc = sky_fail(e, SKY_ECORRUPT, "the line is not the schema that the lead announces");
    if (!rc)
        rc = sky_schema_parse(schema, l.body, l.nbody, e);
    sky_free(line);
    return rc;
}

static int read_schema(sky_reader *r, sky_found *f, json_t **schema, sky_err *e)
{
    const uint8_t *p;
    uint8_t *own;
    int rc = block_get(r->in, &f->lead.b, &p, &own, e);
    if (rc)
        return rc;
    if (f->lead.b.kind != 'S') {
        r->resync_at = f->at; /* intact, only not a schema: it will be found again */
        if (!own)
            return sky_fail(e, SKY_ECORRUPT, "a shard starts with a schema, this one with a block of kind '%c'", f->lead.b.kind);
        sky_free(own);
        return sky_fail(e, SKY_ECORRUPT, "a shard starts with a schema");
    }
    rc = sky_lead_parse(&f->lead, p, &r->lim, e);
    if (!rc && f->lead.nframes != 1)
        rc = sky_fail(e, SKY_ECORRUPT, "schema of %d frames", f->lead.nframes);
    if (rc) {
        sky_free(own);
        return rc;
    }
    if ((rc = block_done(r->in, &f->lead.b, own, e)) ||
        (rc = sky_read_bytes(r->in, NULL, &f->packed, f->lead.body, "the schema", e)))
        return rc;
    return unpack_schema(f, schema, e);
}

static void begin_shard(sky_reader *r, uint64_t at, uint64_t tag)
{
    r->mode = SKY_READ_SHARD;
    r->in_shard = r->have_tag = 1;
    r->ended = r->lost = r->shard_damaged = 0;
    r->shard_at = r->last_at = at;
    r->tag = tag;
    r->expect = r->indexed = 0;
}

int sky_shard_begin(sky_reader *r, json_t **schema, sky_err *e)
{
    const void *p;
    int rc = SKY_OK;
    r->in_shard = r->ended = 0;
    while (!rc && sky_in_peek(r->in, &p, 4, e) == 4 && is_foreign(le32(p)))
        rc = skip_foreign(r->in, e);
    sky_found *f = sky_found_new(r, 'S');
    if (!f)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", sky_reader_input(r));
    f->at = sky_in_offset(r->in);
    r->resync_at = f->at + 1;
    if (!rc)
        rc = read_schema(r, f, schema, e);
    if (rc) {
        if (rc != SKY_EIO && rc != SKY_ENOMEM)
            sky_at_byte(e, f->at);
        sky_found_free(f);
        return sky_wrap(e, "%s: schema", sky_reader_input(r));
    }
    begin_shard(r, f->at, f->lead.b.tag);
    return sky_enqueue(r, f, e);
}

json_t *sky_schema_from_copy(sky_in *in, const sky_limits *lim)
{
    uint8_t p[SKY_TRAILER_BYTES], *own = NULL;
    const uint8_t *q;
    sky_trailer t;
    sky_block b;
    sky_line l;
    json_t *schema = NULL;
    uint64_t size = (uint64_t)sky_in_size(in), here = sky_in_offset(in);
    if (!sky_in_seekable(in) || size < SKY_TRAILER_BYTES)
        return NULL;
    int rc = sky_in_seek(in, size - SKY_TRAILER_BYTES, NULL);
    if (!rc && !(rc = sky_in_exact(in, p, sizeof p, "trailer", NULL)) && !(rc = sky_block_head(&t.b, p, NULL)) &&
        t.b.kind == 'T' && t.b.size == SKY_TRAILER_BYTES && !(rc = sky_block_check(&t.b, p, NULL)) &&
        !(rc = sky_trailer_parse(&t, p, NULL)) && t.shard_bytes <= size &&
        !(rc = sky_in_seek(in, size - t.shard_bytes + t.index_at, NULL)) && !(rc = block_get(in, &b, &q, &own, NULL)) &&
        b.kind == 'C' && b.size <= SKY_BLOCK_HEAD + lim->header_bytes &&
        !(rc = sky_line_check(&l, (const char *)q + SKY_BLOCK_HEAD, b.size - SKY_BLOCK_HEAD, NULL)))
        rc = sky_schema_parse(&schema, l.body, l.nbody, NULL);
    sky_free(own);
    if (sky_in_seek(in, here, NULL)) {
        json_decref(schema);
        return NULL;
    }
    return schema;
}

/* ---- records ---------------------------------------------------------------------------------------------------- */

/* Is this the record (or the count, for END) that comes next? After damage one is known to be lost. */
static int check_number(sky_reader *r, uint64_t number, const char *what, uint64_t at, sky_err *e)
{
    uint64_t first = r->expect;
    sky_err why;
    if (number == first || (r->lost && number == first + 1))
        return SKY_OK;
    if (r->lost && number > first)
        first++;
    if (number > first)
        sky_fail(&why, SKY_ECORRUPT, "%s: records %" PRIu64 " to %" PRIu64 " are missing before %s %" PRIu64 " (byte %" PRIu64 ")",
                 sky_reader_input(r), first, number - 1, what, number, at);
    else
        sky_fail(&why, SKY_ECORRUPT, "%s: %s %" PRIu64 " where record %" PRIu64 " was expected (byte %" PRIu64 ")", sky_reader_input(r),
                 what, number, first, at);
    return sky_report(r, UINT64_MAX, number > first ? number - first : 0, &why, e);
}

/* Records of a shard whose schema was not seen. */
static int adopt(sky_reader *r, const sky_block *b, uint64_t at, sky_err *e)
{
    if (r->in_shard && r->tag == b->tag)
        return SKY_OK;
    sky_err why;
    int told = r->lost && !r->in_shard; /* then the loss of the schema was reported already */
    begin_shard(r, at, b->tag);
    r->expect = b->number;
    sky_found *f = sky_found_new(r, 'S');
    int rc = f ? sky_enqueue(r, f, e) : sky_fail(e, SKY_ENOMEM, "%s: out of memory", sky_reader_input(r));
    if (rc)
        return rc;
    sky_fail(&why, SKY_ECORRUPT, "%s: record %" PRIu64 " belongs to a shard whose schema is missing (byte %" PRIu64 ")",
             sky_reader_input(r), b->number, at);
    r->shard_damaged = 1;
    return told ? SKY_OK : sky_report(r, UINT64_MAX, 0, &why, e);
}

static int after_end(sky_reader *r, const sky_found *f, sky_err *e)
{
    sky_err why;
    sky_fail(&why, SKY_ECORRUPT, "%s: record %" PRIu64 " '%s' stands after the END record (byte %" PRIu64 ")", sky_reader_input(r),
             f->lead.b.number, f->lead.id, f->at);
    return sky_report(r, UINT64_MAX, 0, &why, e);
}

static int append_frame(sky_reader *r, sky_found *f, int k, uint64_t *have, sky_err *e)
{
    uint8_t *p = NULL;
    uint64_t n = f->lead.frame[k].csize;
    int rc = sky_read_bytes(r->in, NULL, &p, n, "the record", e);
    if (rc)
        return rc;
    uint8_t *all = sky_realloc(f->packed, *have, *have + n);
    if (all)
        memcpy(all + *have, p, n);
    sky_free(p);
    if (!all)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    f->packed = all;
    *have += n;
    f->weight += n + f->lead.frame[k].size;
    return SKY_OK;
}

/* From a pipe, the line first to learn which frames are wanted. Damage in it is the record's, told in its turn. */
static int read_some_frames(sky_reader *r, sky_found *f, sky_err *e)
{
    uint64_t have = 0, left = f->lead.body - f->lead.frame[0].csize;
    int rc = append_frame(r, f, 0, &have, e);
    if (rc)
        return rc;
    if ((f->rc = sky_decode_line(f, &f->err))) {
        sky_at_byte(&f->err, f->frames_at);
        return sky_in_skip(r->in, left, "the record", e);
    }
    for (int i = 0, k = 0; i < f->s.nfields && !rc; i++) {
        if (!sky_field_inline(&f->s.fields[i]))
            continue;
        if (sky_wanted(r->select, f->s.fields[i].name))
            rc = append_frame(r, f, ++k, &have, e);
        else
            rc = sky_in_skip(r->in, f->lead.frame[++k].csize, "the record", e);
    }
    return rc;
}

/* The frames, or where they are: in a file the thread that decompresses them reads them, unless they are at hand. */
static int get_frames(sky_reader *r, sky_found *f, sky_err *e)
{
    uint64_t n = f->lead.body;
    int rc = sky_bytes_left(r->in, n, "the record", e), select = f->kind == 'R' && r->select;
    if (rc || (select && !sky_in_seekable(r->in)))
        return rc ? rc : read_some_frames(r, f, e);
    f->weight += n;
    for (int i = 0; i < f->lead.nframes; i++)
        f->weight += f->lead.frame[i].size;
    if (!sky_in_seekable(r->in) || (!select && n <= sky_in_buffered(r->in))) {
        f->npacked = n;
        return sky_read_bytes(r->in, r->pile, &f->packed, n, "the record", e);
    }
    f->in = sky_in_share(r->in);
    return sky_in_skip(r->in, n, "the record", e);
}

static int found_record(sky_reader *r, sky_found *f, sky_err *e)
{
    sky_err why = {0};
    f->frames_at = sky_in_offset(r->in);
    int rc = adopt(r, &f->lead.b, f->at, e);
    if (!rc && r->ended)
        rc = after_end(r, f, e);
    else if (!rc)
        rc = check_number(r, f->lead.b.number, f->kind == 'E' ? "end" : "record", f->at, e);
    if (rc) {
        sky_found_free(f);
        return rc;
    }
    r->lost = 0;
    r->expect = f->lead.b.number;
    r->last_at = f->at;
    rc = get_frames(r, f, &why);
    if (rc) {
        sky_wrap(&why, "cut off");
        rc = damage_to(r, f->at, f->kind, f->kind == 'R' ? f->lead.id : NULL, &why, e);
        sky_found_free(f);
        return rc;
    }
    if (f->kind == 'R') {
        r->expect++;
    } else {
        r->ended = 1;
        r->end_at = f->at;
        r->index_at = sky_in_offset(r->in);
    }
    return sky_enqueue(r, f, e);
}

/* ---- the end of a shard ----------------------------------------------------------------------------------------- */

static int check_index(sky_reader *r, const sky_block *b, const uint8_t *p, sky_err *e)
{
    sky_rd rd = {p + SKY_BLOCK_HEAD, p + b->size, 0};
    uint64_t n = sky_rd_le(&rd, 8);
    if (rd.bad)
        return sky_fail(e, SKY_ECORRUPT, "index block of %" PRIu32 " bytes", b->size);
    if (!r->shard_damaged && (!r->ended || b->number != r->indexed))
        return sky_fail(e, SKY_ECORRUPT, "index block for record %" PRIu64 ", for %" PRIu64 " expected", b->number, r->indexed);
    r->indexed = b->number + n;
    return SKY_OK;
}

static int check_positions(const sky_reader *r, const sky_trailer *t, uint64_t at, sky_err *e)
{
    if (r->shard_damaged)
        return SKY_OK;
    if (!r->ended)
        return sky_fail(e, SKY_ECORRUPT, "trailer without an END record before it");
    if (t->b.number != r->indexed)
        return sky_fail(e, SKY_ECORRUPT, "index of %" PRIu64 " records, the trailer says %" PRIu64, r->indexed, t->b.number);
    if (t->end_at != r->end_at - r->shard_at || t->index_at != r->index_at - r->shard_at || t->index_bytes != at - r->index_at)
        return sky_fail(e, SKY_ECORRUPT, "trailer: positions differ from those found");
    return SKY_OK;
}

static int found_trailer(sky_reader *r, const sky_block *b, const uint8_t *p, uint64_t at, sky_err *e)
{
    sky_trailer t = {.b = *b};
    sky_err why;
    int rc = sky_trailer_parse(&t, p, &why);
    if (!rc)
        rc = check_positions(r, &t, at, &why);
    if (!rc)
        rc = sky_in_skip(r->in, b->size, "the trailer", &why);
    if (rc)
        return damage(r, at, 'T', &why, e);
    sky_found *f = sky_found_new(r, 'T');
    if (!f)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", sky_reader_input(r));
    f->at = at;
    f->end = (sky_totals){t.b.number, t.sum, 0};
    r->mode = SKY_READ_START;
    r->in_shard = r->lost = 0;
    return sky_enqueue(r, f, e);
}

/* A block that is neither schema nor record. */
static int other_block(sky_reader *r, const sky_block *b, const uint8_t *p, uint8_t *own, uint64_t at, sky_err *e)
{
    sky_err why = {0};
    int rc = SKY_OK;
    if (b->tag != r->tag || !r->in_shard)
        rc = sky_fail(&why, SKY_ECORRUPT, "block of kind 0x%02x belongs to another shard", b->kind);
    else if (b->kind == 'I')
        rc = check_index(r, b, p, &why);
    else if (b->kind == 'T')
        return found_trailer(r, b, p, at, e);
    else if (!(b->flags & SKY_BLOCK_OPTIONAL))
        rc = sky_fail(&why, SKY_EVERSION, "block of kind 0x%02x, which this program does not know", b->kind);
    if (!rc)
        rc = block_done(r->in, b, own, &why);
    else
        sky_free(own);
    return rc ? damage(r, at, b->kind, &why, e) : SKY_OK;
}

static int found_lead(sky_reader *r, const sky_block *b, const uint8_t *p, uint8_t *own, uint64_t at, sky_err *e)
{
    sky_err why = {0};
    sky_found *f = sky_found_new(r, b->kind);
    if (!f) {
        sky_free(own);
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", sky_reader_input(r));
    }
    f->at = at;
    f->lead.b = *b;
    int rc = sky_lead_parse(&f->lead, p, &r->lim, &why);
    if (!rc)
        rc = block_done(r->in, b, own, &why);
    else
        sky_free(own);
    if (rc) {
        sky_found_free(f);
        return damage(r, at, b->kind, &why, e);
    }
    return found_record(r, f, e);
}

static int input_ends(sky_reader *r, sky_err *e)
{
    sky_err why;
    int cut = r->in_shard && !r->lost;
    r->mode = SKY_READ_START;
    if (!cut) {
        r->in_shard = 0;
        return SKY_OK;
    }
    sky_fail(&why, SKY_ECORRUPT, "%s: ends at byte %" PRIu64 " without %s: the shard is cut after record %" PRIu64, sky_reader_input(r),
             sky_in_offset(r->in), r->ended ? "its trailer" : "an END record", r->expect);
    r->in_shard = 0;
    return sky_report(r, UINT64_MAX, 0, &why, e);
}

/* A schema where this shard should go on: its end is lost, a new one starts. */
static int new_shard(sky_reader *r, uint64_t at, sky_err *e)
{
    sky_err why;
    int cut = r->in_shard && !r->lost;
    sky_fail(&why, SKY_ECORRUPT, "%s: a new shard starts at byte %" PRIu64 ", the one before was cut after record %" PRIu64,
             sky_reader_input(r), at, r->expect);
    r->in_shard = 0;
    r->mode = SKY_READ_START;
    return cut ? sky_report(r, UINT64_MAX, 0, &why, e) : SKY_OK;
}

int sky_shard_produce(sky_reader *r, sky_err *e)
{
    const void *v;
    const uint8_t *p;
    uint8_t *own;
    sky_block b = {0};
    sky_err why = {0};
    uint64_t at = sky_in_offset(r->in);
    int64_t n = sky_in_peek(r->in, &v, 4, e);
    if (n < 0)
        return (int)n;
    if (n == 0)
        return input_ends(r, e);
    if (n == 4 && is_foreign(le32(v)) && !r->ended) {
        int rc = skip_foreign(r->in, &why);
        return rc ? damage(r, at, 0, &why, e) : SKY_OK;
    }
    if (n == 4 && le32(v) == SKY_ZSTD_MAGIC) {
        sky_fail(&why, SKY_ECORRUPT, "a zstd frame without a lead before it");
        return damage(r, at, 0, &why, e);
    }
    if (block_get(r->in, &b, &p, &own, &why))
        return damage(r, at, b.kind, &why, e);
    if (b.kind == 'S') {
        sky_free(own);
        return new_shard(r, at, e);
    }
    if (b.kind == 'R' || (b.kind == 'E' && !r->ended))
        return found_lead(r, &b, p, own, at, e);
    return other_block(r, &b, p, own, at, e);
}

/* ---- after damage ------------------------------------------------------------------------------------------------ */

/* An intact block at the current position, as far as the buffer shows. */
static int looks_intact(sky_in *in)
{
    const void *v;
    sky_block b;
    int64_t n = sky_in_peek(in, &v, PEEK, NULL);
    if (n < SKY_BLOCK_HEAD || !sky_block_is(v) || sky_block_head(&b, v, NULL))
        return 0;
    return n < b.size || sky_block_check(&b, v, NULL) == SKY_OK;
}

static int go_to(sky_in *in, uint64_t at, sky_err *e)
{
    uint64_t here = sky_in_offset(in);
    if (sky_in_seekable(in)) {
        uint64_t size = (uint64_t)sky_in_size(in);
        return sky_in_seek(in, at < size ? at : size, e);
    }
    const void *v;
    for (; here < at; here++) {
        if (sky_in_peek(in, &v, 1, e) <= 0)
            return SKY_OK;
        int rc = sky_in_skip(in, 1, "input", e);
        if (rc)
            return rc;
    }
    return SKY_OK;
}

int sky_shard_resync(sky_reader *r, sky_err *e)
{
    static const uint8_t magic[4] = {SKY_BLOCK_MAGIC & 255, SKY_BLOCK_MAGIC >> 8 & 255, SKY_BLOCK_MAGIC >> 16 & 255, SKY_BLOCK_MAGIC >> 24};
    /* When the record before turned out damaged too, bytes may be missing there, and the next lead lies inside it. */
    uint64_t from = r->bad_at == r->last_at && r->in_shard ? r->last_at + 1 : r->resync_at;
    int rc = go_to(r->in, from, e);
    r->bad_at = UINT64_MAX;
    while (!rc) {
        const void *v;
        int64_t n = sky_in_peek(r->in, &v, PEEK, e);
        if (n < 0)
            return (int)n;
        if (n < SKY_BLOCK_HEAD) {
            rc = sky_in_skip(r->in, (uint64_t)n, "input", e);
            r->mode = SKY_READ_SHARD; /* which sees the end of the input */
            return rc;
        }
        const uint8_t *hit = memmem(v, (size_t)n, magic, 4);
        uint64_t skip = hit ? (uint64_t)(hit - (const uint8_t *)v) : (uint64_t)n - 3;
        if (skip) {
            rc = sky_in_skip(r->in, skip, "input", e);
        } else if (looks_intact(r->in)) {
            r->mode = SKY_READ_SHARD;
            return SKY_OK;
        } else {
            rc = sky_in_skip(r->in, 1, "input", e);
        }
    }
    return rc;
}
