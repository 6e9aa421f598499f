/* file_write.c -- one output file, plain or shard: schema, records, END; for shards leads, index and trailer. */
#include "format/write_internal.h"
#include "base/hash.h"

#include <string.h>

struct sky_file {
    sky_out *out;
    sky_spelling spelling;
    sky_buf schema;  /* the schema line, for the copy beside the index */
    uint64_t tag;
    sky_totals t;
    sky_index_part *part;
    size_t nparts;
    uint64_t entries; /* bytes of index text, to foresee the size of the file */
};

static int put_padded(sky_out *o, const void *p, uint64_t n, sky_err *e)
{
    static const uint8_t zero[SKY_ALIGN];
    int rc = sky_out_write(o, p, n, e);
    return rc ? rc : sky_out_write(o, zero, sky_round64(n) - n, e);
}

/* Lead and frames of a record whose frames are already compressed. */
static int put_lead(sky_file *f, sky_lead *l, const uint8_t *packed, sky_err *e)
{
    uint8_t head[SKY_LEAD_MAX];
    l->b.tag = f->tag;
    sky_lead_write(head, l);
    int rc = sky_out_write(f->out, head, l->b.size, e);
    return rc ? rc : sky_out_write(f->out, packed, l->body, e);
}

/* A record that is only a line: schema, END. */
static int put_line(sky_file *f, uint8_t kind, uint64_t number, const sky_buf *line, sky_codec *codec, sky_err *e)
{
    if (f->spelling == SKY_PLAIN)
        return sky_out_write(f->out, line->p, line->n, e);
    sky_lead *l = sky_calloc(1, sizeof *l);
    uint8_t *packed = sky_alloc(sky_frame_bound(line->n));
    int rc = l && packed ? SKY_OK : sky_fail(e, SKY_ENOMEM, "out of memory");
    if (!rc) {
        l->b.kind = kind;
        l->b.number = number;
        l->nframes = 1;
        rc = sky_frame_pack(codec, &l->frame[0], packed, line->p, line->n, e);
    }
    if (!rc)
        rc = put_lead(f, l, packed, e);
    sky_free(packed);
    sky_free(l);
    return rc;
}

int sky_file_open(sky_file **out, const char *path, sky_spelling sp, const sky_buf *schema, sky_codec *codec, sky_err *e)
{
    sky_file *f = sky_calloc(1, sizeof *f);
    if (!f)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", path);
    f->spelling = sp;
    f->tag = sky_body_hash(schema->p, schema->n);
    sky_buf_add(&f->schema, schema->p, schema->n);
    int rc = f->schema.bad ? sky_fail(e, SKY_ENOMEM, "%s: out of memory", path) : sky_out_open(&f->out, path, 1, e);
    if (!rc)
        rc = put_line(f, 'S', 0, schema, codec, e);
    if (rc)
        sky_file_abort(f);
    else
        *out = f;
    return rc;
}

static int index_add(sky_file *f, const sky_encoded *r, uint64_t at, uint64_t bytes, sky_err *e)
{
    if (!f->nparts || sky_index_part_full(&f->part[f->nparts - 1])) {
        sky_index_part *p = sky_realloc(f->part, f->nparts * sizeof *p, (f->nparts + 1) * sizeof *p);
        if (!p)
            return sky_fail(e, SKY_ENOMEM, "index: out of memory");
        p[f->nparts++] = (sky_index_part){.first = f->t.count};
        f->part = p;
    }
    f->entries += r->entry.n;
    return sky_index_part_add(&f->part[f->nparts - 1], at, bytes, r->lead.id, r->entry.p, r->entry.n, e);
}

static int put_plain(sky_file *f, const sky_encoded *r, sky_err *e)
{
    int rc = sky_out_write(f->out, r->line.p, r->line.n, e);
    for (int i = 0; i < r->s.nfields && !rc; i++)
        if (sky_field_inline(&r->s.fields[i]))
            rc = put_padded(f->out, r->s.fields[i].data, r->s.fields[i].nbytes, e);
    return rc;
}

static int put_shard(sky_file *f, sky_encoded *r, sky_err *e)
{
    uint64_t at = sky_out_offset(f->out);
    r->lead.b.number = f->t.count;
    int rc = put_lead(f, &r->lead, r->packed, e);
    return rc ? rc : index_add(f, r, at, sky_out_offset(f->out) - at, e);
}

int sky_file_put(sky_file *f, sky_encoded *r, sky_err *e)
{
    int rc = f->spelling == SKY_PLAIN ? put_plain(f, r, e) : put_shard(f, r, e);
    if (!rc)
        sky_totals_add(&f->t, r->line_crc, r->hash);
    return rc;
}

uint64_t sky_file_count(const sky_file *f) { return f->t.count; }
uint64_t sky_file_size(const sky_file *f) { return sky_out_offset(f->out); }

uint64_t sky_file_size_with(const sky_file *f, const sky_encoded *r)
{
    /* the index is compressed when the file is closed; its plain size is an upper bound */
    uint64_t index = f->entries + r->entry.n + 33 * (f->t.count + 1);
    return sky_out_offset(f->out) + sky_lead_size(&r->lead) + r->lead.body + index + f->schema.n + 512;
}

/* ---- the end of a shard --------------------------------------------------------------------------------------- */

static int put_schema_copy(sky_file *f, sky_err *e)
{
    size_t n = SKY_BLOCK_HEAD + f->schema.n;
    uint8_t *p = sky_alloc(n);
    if (!p)
        return sky_fail(e, SKY_ENOMEM, "schema copy: out of memory");
    memcpy(p + SKY_BLOCK_HEAD, f->schema.p, f->schema.n);
    sky_block b = {.kind = 'C', .flags = SKY_BLOCK_OPTIONAL, .size = (uint32_t)n, .tag = f->tag};
    sky_block_seal(p, &b);
    int rc = sky_out_write(f->out, p, n, e);
    sky_free(p);
    return rc;
}

static int put_index(sky_file *f, sky_err *e)
{
    int rc = put_schema_copy(f, e);
    for (size_t i = 0; i < f->nparts && !rc; i++) {
        uint8_t *block = NULL;
        size_t n = 0;
        rc = sky_index_part_pack(&f->part[i], f->tag, &block, &n, e);
        if (!rc)
            rc = sky_out_write(f->out, block, n, e);
        sky_free(block);
    }
    return rc;
}

static int put_end(sky_file *f, sky_codec *codec, sky_err *e)
{
    sky_buf line = {0};
    sky_trailer t = {.b = {.tag = f->tag, .number = f->t.count}, .sum = f->t.sum, .end_at = sky_out_offset(f->out)};
    int rc = sky_end_print(&line, &f->t, e);
    if (!rc)
        rc = put_line(f, 'E', f->t.count, &line, codec, e);
    sky_buf_free(&line);
    if (rc || f->spelling == SKY_PLAIN)
        return rc;
    t.index_at = sky_out_offset(f->out);
    if ((rc = put_index(f, e)))
        return rc;
    t.index_bytes = sky_out_offset(f->out) - t.index_at;
    t.shard_bytes = sky_out_offset(f->out) + SKY_TRAILER_BYTES;
    uint8_t p[SKY_TRAILER_BYTES];
    sky_trailer_write(p, &t);
    return sky_out_write(f->out, p, sizeof p, e);
}

static void file_free(sky_file *f)
{
    for (size_t i = 0; i < f->nparts; i++)
        sky_index_part_free(&f->part[i]);
    sky_free(f->part);
    sky_buf_free(&f->schema);
    sky_free(f);
}

int sky_file_close(sky_file *f, sky_codec *codec, uint64_t *bytes, sky_err *e)
{
    int rc = put_end(f, codec, e);
    *bytes += sky_out_offset(f->out);
    if (rc)
        sky_out_abort(f->out);
    else
        rc = sky_out_commit(f->out, e);
    file_free(f);
    return rc;
}

void sky_file_abort(sky_file *f)
{
    if (!f)
        return;
    sky_out_abort(f->out);
    file_free(f);
}
