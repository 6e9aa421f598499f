/* plain_read.c -- the records of a plain stream, one after another. */
#include "format/read_internal.h"
#include "base/hash.h"

#include <inttypes.h>
#include <string.h>

/* One line with its newline into r->line. The length is checked by sky_line_check. */
static int read_line(sky_reader *r, sky_err *e)
{
    sky_buf_reset(&r->line);
    for (;;) {
        const void *p;
        int64_t n = sky_in_peek(r->in, &p, 4096, e);
        if (n < 0)
            return (int)n;
        const char *end = n ? memchr(p, '\n', (size_t)n) : NULL;
        size_t take = end ? (size_t)(end + 1 - (const char *)p) : (size_t)n;
        if (!n)
            return sky_fail(e, SKY_ECORRUPT, r->line.n ? "ends within a record line" : "ends without an END record: the writer died, or the file is cut");
        sky_buf_add(&r->line, p, take);
        if (r->line.bad)
            return sky_fail(e, SKY_ENOMEM, "out of memory");
        if (r->line.n > r->lim.header_bytes)
            return sky_fail(e, SKY_ELIMIT, "record line longer than %" PRIu64 " bytes", r->lim.header_bytes);
        int rc = sky_in_skip(r->in, take, "line", e);
        if (rc || end)
            return rc;
    }
}

static int read_payload(sky_reader *r, sky_field *f, uint32_t want, sky_err *e)
{
    uint64_t at = sky_in_offset(r->in), padded = sky_round64(f->nbytes);
    uint8_t *p = NULL;
    if (!sky_wanted(r->select, f->name))
        return sky_in_skip(r->in, padded, f->name, e);
    int rc = sky_read_bytes(r->in, r->pile, &p, padded, "the field", e);
    uint32_t got = rc ? 0 : sky_crc32c(0, p, f->nbytes);
    if (!rc && got != want) {
        sky_fail(e, SKY_ECORRUPT, "crc32c %08" PRIx32 ", want %08" PRIx32, got, want);
        rc = sky_at_byte(e, at);
    }
    for (uint64_t i = f->nbytes; !rc && i < padded; i++)
        if (p[i]) {
            sky_fail(e, SKY_ECORRUPT, "padding is not zero");
            rc = sky_at_byte(e, at + i);
        }
    if (rc) {
        sky_free(p);
        return sky_wrap(e, "field '%s'", f->name);
    }
    f->data = p;
    return SKY_OK;
}

static int plain_sample(sky_reader *r, const sky_line *l, sky_sample *s, sky_err *e)
{
    uint32_t crc[SKY_MAX_FIELDS];
    int rc = sky_body_parse(s, crc, l->body, l->nbody, &r->lim, e);
    for (int i = 0; !rc && i < s->nfields; i++)
        if (sky_field_inline(&s->fields[i]))
            rc = read_payload(r, &s->fields[i], crc[i], e);
    if (rc) {
        if (s->id && !strstr(e->msg, "(byte "))
            sky_at_byte(e, sky_in_offset(r->in));
        if (s->id)
            sky_wrap(e, "%s: record %" PRIu64 " '%s'", sky_reader_input(r), r->seen.count, s->id);
        r->named = s->id != NULL;
        sky_sample_free(s);
        return rc;
    }
    s->seq = r->seen.count;
    uint64_t hash = sky_body_hash(l->body, l->nbody);
    sky_totals_add(&r->seen, l->crc, hash);
    r->sum += hash;
    r->count++;
    r->name = sky_reader_input(r);
    return 1;
}

static int plain_end(sky_reader *r, const sky_line *l, sky_err *e)
{
    sky_totals end;
    int rc = sky_end_parse(&end, l->body, l->nbody, e);
    if (!rc)
        rc = sky_end_compare(&end, &r->seen, e);
    if (!rc)
        r->mode = SKY_READ_START;
    return rc;
}

/* A record of a kind we do not know: skipped when it says that it may be. */
static int plain_other(sky_reader *r, const sky_line *l, sky_err *e)
{
    json_t *j;
    int optional = 0, rc;
    int64_t bytes = 0;
    if (!strcmp(l->kind, "schema"))
        return sky_fail(e, SKY_ECORRUPT, "a new stream starts before the END record of this one: it was cut");
    if ((rc = sky_json_parse(&j, l->body, l->nbody, l->kind, e)))
        return rc;
    rc = sky_json_bool(j, "optional", 0, &optional, l->kind, e);
    if (!rc)
        rc = sky_json_i64(j, "bytes", 0, 0, INT64_MAX, &bytes, l->kind, e);
    if (!rc && !optional)
        rc = sky_fail(e, SKY_EVERSION, "a record of kind '%s', which this program does not know", l->kind);
    if (!rc && bytes % SKY_ALIGN)
        rc = sky_fail(e, SKY_ECORRUPT, "a record of kind '%s' with %" PRId64 " bytes, not a multiple of %d", l->kind, bytes, SKY_ALIGN);
    json_decref(j);
    return rc ? rc : sky_in_skip(r->in, (uint64_t)bytes, l->kind, e);
}

/* The line at which reading a plain stream failed is a record's, unless it is seen to be another. */
static int is_record(const sky_buf *line)
{
    static const char *const other[] = {"{\"sky\":\"end\"", "{\"sky\":\"schema\""};
    for (int i = 0; i < 2; i++)
        if (line->n >= strlen(other[i]) && !memcmp(line->p, other[i], strlen(other[i])))
            return 0;
    return line->n > 0;
}

int sky_plain_begin(sky_reader *r, json_t **schema, sky_err *e)
{
    uint64_t at = sky_in_offset(r->in);
    sky_line l;
    int rc = read_line(r, e);
    if (!rc)
        rc = sky_line_check(&l, r->line.p, r->line.n, e);
    if (!rc && strcmp(l.kind, "schema"))
        rc = sky_fail(e, SKY_ECORRUPT, "a stream starts with a schema, this one with '%s'", l.kind);
    if (!rc)
        rc = sky_schema_parse(schema, l.body, l.nbody, e);
    if (rc) {
        sky_at_byte(e, at);
        return sky_wrap(e, "%s: schema", sky_reader_input(r));
    }
    r->mode = SKY_READ_PLAIN;
    r->fresh = 1;
    return SKY_OK;
}

int sky_plain_next(sky_reader *r, sky_sample *s, sky_err *e)
{
    uint64_t at = sky_in_offset(r->in);
    sky_line l;
    if (r->fresh) { /* not when the schema was read: records of a shard before it may have been in work then */
        r->seen = (sky_totals){0};
        r->fresh = 0;
    }
    int rc = read_line(r, e);
    if (!rc)
        rc = sky_line_check(&l, r->line.p, r->line.n, e);
    if (rc >= 0)
        rc = !strcmp(l.kind, "sample") ? plain_sample(r, &l, s, e) : !strcmp(l.kind, "end") ? plain_end(r, &l, e) : plain_other(r, &l, e);
    if (rc >= 0)
        return rc;
    r->costs = (uint64_t)is_record(&r->line);
    if (!r->named) {
        if (!strstr(e->msg, "(byte "))
            sky_at_byte(e, at);
        sky_wrap(e, "%s: record %" PRIu64, sky_reader_input(r), r->seen.count);
    }
    return sky_stick(r, rc, e);
}
