/* index.c -- index entries (what samplers ask without reading pixels) and index blocks.
 *
 * The content of an index block, compressed as one zstd frame: count rows of 32 bytes
 *   u64 at   u64 bytes   u64 key   u32 text   u32 ntext
 * then the JSON texts, one per row, each followed by a newline. */
#include "format/block_internal.h"
#include "base/hash.h"
#include "base/io.h"

#include <inttypes.h>
#include <string.h>
#include <zstd.h>

enum { ROW = 32, PART_ROWS = 65536, PART_TEXT = 16 << 20 };

/* ---- entries -------------------------------------------------------------------------------------------------- */

static int64_t label_at(const sky_field *f, uint64_t i)
{
    const uint8_t *p = f->data;
    switch (f->dtype) {
    case SKY_BOOL:
    case SKY_U8: return p[i];
    case SKY_I8: return ((const int8_t *)p)[i];
    case SKY_U16: return ((const uint16_t *)f->data)[i];
    case SKY_I16: return ((const int16_t *)f->data)[i];
    case SKY_U32: return ((const uint32_t *)f->data)[i];
    default: return ((const int32_t *)f->data)[i];
    }
}

static int countable(const sky_field *f)
{
    return f->data && (f->dtype <= SKY_I32 || f->dtype == SKY_BOOL);
}

static int ignored(const sky_field *f, int64_t v)
{
    const json_t *list = json_object_get(f->meta, "ignore");
    if (json_is_integer(list))
        return json_integer_value(list) == v;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_is_integer(json_array_get(list, i)) && json_integer_value(json_array_get(list, i)) == v)
            return 1;
    return 0;
}

/* Labels are areas: eight pixels that equal the eight before are passed over. */
static void mark_bytes(uint8_t *bits, const uint8_t *p, uint64_t n)
{
    uint8_t there[256] = {0};
    uint64_t i = 0, last = 0, eight;
    for (; i + 8 <= n; i += 8) {
        memcpy(&eight, p + i, 8);
        if (eight == last && i)
            continue;
        last = eight;
        for (int k = 0; k < 8; k++)
            there[p[i + (uint64_t)k]] = 1;
    }
    for (; i < n; i++)
        there[p[i]] = 1;
    for (int v = 0; v < 256; v++)
        bits[v >> 3] |= (uint8_t)(there[v] << (v & 7));
}

/* Values -32768..65535, which is every label in use, in a bitmap; NULL when one lies outside (then nothing is said). */
static json_t *classes_found(const sky_field *f)
{
    enum { LOW = 32768, SPAN = LOW + 65536 };
    uint8_t seen[SPAN / 8] = {0};
    uint64_t n = sky_field_count(f);
    int64_t last = INT64_MIN;
    if (f->dtype == SKY_U8) /* nearly every label: a loop of its own */
        mark_bytes(seen + LOW / 8, f->data, n);
    for (uint64_t i = 0; i < n && f->dtype != SKY_U8; i++) {
        int64_t v = label_at(f, i);
        if (v == last)
            continue;
        last = v;
        if (v < -LOW || v >= SPAN - LOW)
            return NULL;
        seen[(v + LOW) >> 3] |= (uint8_t)(1 << ((v + LOW) & 7));
    }
    json_t *list = json_array();
    for (int i = 0; list && i < SPAN; i++) {
        if (!seen[i >> 3]) {
            i |= 7;
            continue;
        }
        if (seen[i >> 3] >> (i & 7) & 1 && !ignored(f, i - LOW) && json_array_append_new(list, json_integer(i - LOW))) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *classes_of(const sky_field *f)
{
    json_t *given = json_object_get(f->meta, "classes_present");
    if (json_is_array(given))
        return json_incref(given);
    return countable(f) ? classes_found(f) : NULL;
}

static int add_field(json_t *classes, json_t *absent, json_t *refs, const sky_field *f)
{
    if (f->absent)
        return json_array_append_new(absent, json_string(f->name));
    if (f->ref && json_array_append_new(refs, json_string(f->name)))
        return -1;
    json_t *list = sky_field_is_label(f) ? classes_of(f) : NULL;
    return list ? json_object_set_new(classes, f->name, list) : 0;
}

static int set_if_any(json_t *o, const char *key, const json_t *v, size_t n)
{
    return n ? json_object_set(o, key, (json_t *)v) : 0;
}

int sky_index_entry(sky_buf *out, const sky_sample *s, sky_err *e)
{
    json_t *o = json_object(), *classes = json_object(), *absent = json_array(), *refs = json_array();
    int bad = !o || !classes || !absent || !refs || json_object_set_new(o, "id", json_string(s->id));
    for (int i = 0; i < s->nfields && !bad; i++)
        bad = add_field(classes, absent, refs, &s->fields[i]);
    const json_t *split = json_object_get(s->meta, "split"), *type = json_object_get(s->meta, "type"), *listed = json_object_get(s->meta, "listed_classes");
    bad = bad || set_if_any(o, "classes", classes, json_object_size(classes)) || set_if_any(o, "absent", absent, json_array_size(absent)) ||
          set_if_any(o, "by_reference", refs, json_array_size(refs)) || set_if_any(o, "split", split, json_is_string(split)) ||
          set_if_any(o, "type", type, json_is_string(type)) ||
          set_if_any(o, "listed_classes", listed, json_array_size(listed));
    if (!bad)
        sky_json_put(out, o);
    bad = bad || out->bad;
    json_decref(o);
    json_decref(classes);
    json_decref(absent);
    json_decref(refs);
    return bad ? sky_fail(e, SKY_ENOMEM, "index entry of '%s': out of memory", s->id) : SKY_OK;
}

/* ---- blocks --------------------------------------------------------------------------------------------------- */

void sky_index_part_free(sky_index_part *p)
{
    sky_free(p->row);
    sky_buf_free(&p->text);
    *p = (sky_index_part){0};
}

int sky_index_part_full(const sky_index_part *p) { return p->n >= PART_ROWS || p->text.n >= PART_TEXT; }

int sky_index_part_add(sky_index_part *p, uint64_t at, uint64_t bytes, const char *id, const char *text, size_t ntext, sky_err *e)
{
    sky_index_row *row = sky_grow(p->row, p->n, &p->cap, sizeof *row);
    if (!row)
        return sky_fail(e, SKY_ENOMEM, "index: out of memory");
    p->row = row;
    p->row[p->n] = (sky_index_row){at, bytes, sky_fnv1a(id), (uint32_t)p->text.n, (uint32_t)ntext};
    sky_buf_add(&p->text, text, ntext);
    sky_buf_puts(&p->text, "\n");
    if (p->text.bad)
        return sky_fail(e, SKY_ENOMEM, "index: out of memory");
    p->n++;
    return SKY_OK;
}

static void row_write(uint8_t *q, const sky_index_row *r)
{
    sky_put_le(q, r->at, 8);
    sky_put_le(q + 8, r->bytes, 8);
    sky_put_le(q + 16, r->key, 8);
    sky_put_le(q + 24, r->text, 4);
    sky_put_le(q + 28, r->ntext, 4);
}

int sky_index_part_pack(const sky_index_part *p, uint64_t tag, uint8_t **block, size_t *n, sky_err *e)
{
    size_t size = p->n * ROW + p->text.n;
    uint8_t *plain = sky_alloc(size), *out = sky_alloc(SKY_INDEX_HEAD + sky_frame_bound(size));
    sky_codec *c = NULL;
    sky_frame f;
    int rc = plain && out ? sky_codec_open(&c, 3, e) : sky_fail(e, SKY_ENOMEM, "index: out of memory");
    if (!rc) {
        for (uint64_t i = 0; i < p->n; i++)
            row_write(plain + i * ROW, &p->row[i]);
        if (p->text.n)
            memcpy(plain + p->n * ROW, p->text.p, p->text.n);
        rc = sky_frame_pack(c, &f, out + SKY_INDEX_HEAD, plain, size, e);
    }
    if (!rc) {
        sky_block b = {.kind = 'I', .size = (uint32_t)(SKY_INDEX_HEAD + f.csize), .tag = tag, .number = p->first};
        sky_put_le(out + 40, p->n, 8);
        sky_put_le(out + 48, size, 8);
        sky_block_seal(out, &b);
        *block = out;
        *n = b.size;
    }
    if (rc)
        sky_free(out);
    sky_codec_close(c);
    sky_free(plain);
    return rc;
}

static int rows_read(sky_index_part *p, const uint8_t *q, uint64_t ntext, sky_err *e)
{
    sky_rd r = {q, q + p->n * ROW, 0};
    for (uint64_t i = 0; i < p->n; i++) {
        sky_index_row *w = &p->row[i];
        w->at = sky_rd_le(&r, 8);
        w->bytes = sky_rd_le(&r, 8);
        w->key = sky_rd_le(&r, 8);
        w->text = (uint32_t)sky_rd_le(&r, 4);
        w->ntext = (uint32_t)sky_rd_le(&r, 4);
        if (w->text > ntext || w->ntext > ntext - w->text)
            return sky_fail(e, SKY_ECORRUPT, "index: entry %" PRIu64 " lies outside the index", p->first + i);
    }
    return SKY_OK;
}

int sky_index_part_unpack(sky_index_part *p, const uint8_t *block, const sky_block *b, sky_err *e)
{
    if (b->size < SKY_INDEX_HEAD)
        return sky_fail(e, SKY_ECORRUPT, "index: block of %" PRIu32 " bytes", b->size);
    sky_rd r = {block + SKY_BLOCK_HEAD, block + b->size, 0};
    uint64_t n = sky_rd_le(&r, 8), size = sky_rd_le(&r, 8), need;
    sky_frame f = {b->size - SKY_INDEX_HEAD, size, sky_crc32c(0, r.p, b->size - SKY_INDEX_HEAD)};
    if (!sky_mul_u64(n, ROW, &need) || need > size || size > 4u * SKY_INDEX_MAX || size / 131072 > f.csize / 4)
        return sky_fail(e, SKY_ECORRUPT, "index: %" PRIu64 " entries in %" PRIu64 " bytes", n, size);
    uint8_t *plain = sky_alloc(size);
    sky_codec *c = NULL;
    p->row = sky_alloc(n * sizeof *p->row);
    int rc = plain && p->row ? sky_codec_open(&c, 0, e) : sky_fail(e, SKY_ENOMEM, "index: out of memory");
    if (!rc)
        rc = sky_frame_unpack(c, plain, &f, r.p, e);
    p->n = p->cap = n;
    p->first = b->number;
    if (!rc)
        rc = rows_read(p, plain, size - need, e);
    if (!rc) {
        sky_buf_add(&p->text, plain + need, size - need);
        rc = p->text.bad ? sky_fail(e, SKY_ENOMEM, "index: out of memory") : SKY_OK;
    }
    sky_codec_close(c);
    sky_free(plain);
    if (rc)
        sky_index_part_free(p);
    return rc;
}
