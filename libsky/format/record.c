#include "format/record_internal.h"
#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- names --------------------------------------------------------------------------------------------------- */

/* Length of the UTF-8 sequence at p, 0 when it is not one (RFC 3629: no surrogates, no overlong forms). */
static int utf8_len(const unsigned char *p, size_t n)
{
    if (p[0] < 0x80)
        return 1;
    int len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || (size_t)len > n)
        return 0;
    for (int i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return len;
}

int sky_id_check(const char *id, size_t n, sky_err *e)
{
    if (n < 1 || n > 255)
        return sky_fail(e, SKY_ECORRUPT, "sample id of %zu bytes (1..255 allowed)", n);
    const unsigned char *p = (const unsigned char *)id;
    for (size_t i = 0; i < n;) {
        int len = utf8_len(p + i, n - i);
        if (!len || p[i] < 0x20 || p[i] == 0x7f)
            return sky_fail(e, SKY_ECORRUPT, "sample id: byte %zu (0x%02x) is not printable UTF-8", i, p[i]);
        i += (size_t)len;
    }
    return SKY_OK;
}

int sky_name_check(const char *name, sky_err *e)
{
    static const char ok[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    size_t n = strlen(name);
    if (n < 1 || n > 63 || strspn(name, ok) != n || name[0] == '.' || name[0] == '-')
        return sky_fail(e, SKY_ECORRUPT, "field name '%.80s': 1 to 63 of A-Z a-z 0-9 _ . - wanted, not starting with . or -", name);
    return SKY_OK;
}

/* ---- printing ------------------------------------------------------------------------------------------------ */

static void put_string(sky_buf *b, const char *s)
{
    json_t *j = json_string(s);
    sky_json_put(b, j);
    json_decref(j);
}

static void put_field(sky_buf *b, const sky_field *f, uint32_t crc)
{
    sky_buf_printf(b, "{\"name\":\"%s\",\"dtype\":\"%s\"", f->name, sky_dtype_name(f->dtype));
    if (f->absent) {
        sky_buf_puts(b, ",\"absent\":true");
    } else {
        sky_buf_puts(b, ",\"shape\":[");
        for (int i = 0; i < f->ndim; i++)
            sky_buf_printf(b, "%s%" PRIu64, i ? "," : "", f->shape[i]);
        sky_buf_puts(b, "]");
    }
    if (sky_field_inline(f))
        sky_buf_printf(b, ",\"bytes\":%" PRIu64 ",\"crc32c\":\"%08" PRIx32 "\"", f->nbytes, crc);
    if (f->ref) {
        sky_buf_puts(b, ",\"ref\":");
        sky_json_put(b, f->ref);
    }
    sky_buf_puts(b, ",\"meta\":");
    sky_json_put(b, f->meta);
    sky_buf_puts(b, "}");
}

static int field_check(const sky_field *f, sky_err *e)
{
    uint64_t n;
    if (f->absent && (f->ref || f->ndim || f->data))
        return sky_fail(e, SKY_EUSAGE, "field '%s': absent, yet has a shape, bytes or a reference", f->name);
    if (!json_is_object(f->meta))
        return sky_fail(e, SKY_EUSAGE, "field '%s': meta is not an object", f->name);
    if (f->absent)
        return SKY_OK;
    int rc = sky_shape_bytes(f->dtype, f->ndim, f->shape, &n, e);
    if (rc)
        return sky_wrap(e, "field '%s'", f->name);
    if (sky_field_inline(f) && (!f->data || f->nbytes != n))
        return sky_fail(e, SKY_EUSAGE, "field '%s': %" PRIu64 " bytes %s, its shape needs %" PRIu64, f->name, f->nbytes,
                        f->data ? "given" : "not loaded", n);
    return SKY_OK;
}

int sky_body_print(sky_buf *b, const sky_sample *s, const uint32_t *crc, sky_err *e)
{
    int rc = s->id ? sky_id_check(s->id, strlen(s->id), e) : sky_fail(e, SKY_EUSAGE, "sample without an id");
    for (int i = 0; !rc && i < s->nfields; i++)
        rc = field_check(&s->fields[i], e);
    if (rc)
        return s->id ? sky_wrap(e, "sample '%s'", s->id) : rc;
    sky_buf_puts(b, "{\"id\":");
    put_string(b, s->id);
    sky_buf_puts(b, ",\"meta\":");
    sky_json_put(b, s->meta);
    sky_buf_puts(b, ",\"fields\":[");
    for (int i = 0; i < s->nfields; i++) {
        if (i)
            sky_buf_puts(b, ",");
        put_field(b, &s->fields[i], crc[i]);
    }
    sky_buf_puts(b, "]}");
    return b->bad ? sky_fail(e, SKY_ENOMEM, "sample '%s': out of memory", s->id) : SKY_OK;
}

void sky_field_crcs(const sky_sample *s, uint32_t *crc)
{
    for (int i = 0; i < s->nfields; i++) {
        const sky_field *f = &s->fields[i];
        crc[i] = f->data ? sky_crc32c(0, f->data, f->nbytes) : 0;
    }
}

uint64_t sky_body_hash(const char *body, size_t n)
{
    sky_sha256 h;
    sky_sha256_init(&h);
    sky_sha256_add(&h, body, n);
    return sky_sha256_u64(&h);
}

uint64_t sky_sample_hash(const sky_sample *s)
{
    uint32_t crc[SKY_MAX_FIELDS];
    sky_buf b = {0};
    sky_field_crcs(s, crc);
    uint64_t h = sky_body_print(&b, s, crc, NULL) ? 0 : sky_body_hash(b.p, b.n);
    sky_buf_free(&b);
    return h;
}

int sky_line_print(sky_buf *b, const char *kind, const char *body, size_t n, sky_err *e)
{
    size_t at = b->n;
    sky_buf_printf(b, "{\"sky\":\"00000000\",\"%s\":", kind);
    sky_buf_add(b, body, n);
    sky_buf_puts(b, "}");
    size_t len = b->n - at, padded = sky_round64(len + 1);
    if (padded > sky_limits_default.header_bytes)
        return sky_fail(e, SKY_ELIMIT, "%s: a line of %zu bytes; readers take %" PRIu64, kind, padded, sky_limits_default.header_bytes);
    sky_buf_printf(b, "%*s\n", (int)(padded - len - 1), "");
    if (b->bad)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", kind);
    char hex[9];
    snprintf(hex, sizeof hex, "%08" PRIx32, sky_crc32c(0, b->p + at + SKY_LINE_HEAD, padded - SKY_LINE_HEAD));
    memcpy(b->p + at + SKY_LINE_HEAD - 8, hex, 8);
    return SKY_OK;
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

/* Exactly eight lower-case hexadecimal digits. */
static int parse_hex8(const char *p, uint32_t *v)
{
    *v = 0;
    for (int i = 0; i < 8; i++) {
        if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f')))
            return -1;
        *v = *v << 4 | (uint32_t)(p[i] <= '9' ? p[i] - '0' : p[i] - 'a' + 10);
    }
    return 0;
}

static int line_parts(sky_line *l, const char *p, size_t n, sky_err *e)
{
    const char *q = p + SKY_LINE_HEAD, *end = p + n - 1; /* the newline */
    while (end > q && end[-1] == ' ')
        end--;
    size_t k = 0;
    if (end - q < 8 || memcmp(q, "\",\"", 3) || end[-1] != '}')
        return sky_fail(e, SKY_ECORRUPT, "record line is not {\"sky\":\"...\",\"KIND\":{...}}");
    for (q += 3; q < end && *q >= 'a' && *q <= 'z' && k < sizeof l->kind - 1; q++)
        l->kind[k++] = *q;
    l->kind[k] = 0;
    if (!k || end - q < 4 || q[0] != '"' || q[1] != ':' || q[2] != '{')
        return sky_fail(e, SKY_ECORRUPT, "record line is not {\"sky\":\"...\",\"KIND\":{...}}");
    l->body = q + 2;
    l->nbody = (size_t)(end - 1 - l->body);
    return SKY_OK;
}

int sky_line_check(sky_line *l, const char *p, size_t n, sky_err *e)
{
    uint32_t want;
    if (n < SKY_ALIGN || n % SKY_ALIGN || p[n - 1] != '\n')
        return sky_fail(e, SKY_ECORRUPT, "record line of %zu bytes: a multiple of %d ending in a newline expected", n, SKY_ALIGN);
    if (memcmp(p, "{\"sky\":\"", 8) || parse_hex8(p + 8, &want))
        return sky_fail(e, SKY_ECORRUPT, "record line does not start with {\"sky\":\" and eight hexadecimal digits");
    l->crc = sky_crc32c(0, p + SKY_LINE_HEAD, n - SKY_LINE_HEAD);
    if (l->crc != want)
        return sky_fail(e, SKY_ECORRUPT, "record line: crc32c %08" PRIx32 ", want %08" PRIx32, l->crc, want);
    return line_parts(l, p, n, e);
}

static int parse_shape(sky_field *f, const json_t *shape, sky_err *e)
{
    size_t n = json_array_size(shape);
    if (n > SKY_MAX_DIMS)
        return sky_fail(e, SKY_ELIMIT, "%zu dimensions (at most %d)", n, SKY_MAX_DIMS);
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(shape, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0)
            return sky_fail(e, SKY_ECORRUPT, "shape[%zu] is %s, a whole number >= 0 expected", i, sky_json_type(v));
        f->shape[i] = (uint64_t)json_integer_value(v);
    }
    f->ndim = (int)n;
    return SKY_OK;
}

static int parse_inline(sky_field *f, uint32_t *crc, const json_t *j, const char *where, const sky_limits *lim, sky_err *e)
{
    int64_t bytes;
    const char *hex;
    uint64_t need;
    int rc = sky_json_i64(j, "bytes", 1, 0, INT64_MAX, &bytes, where, e);
    if (!rc)
        rc = sky_json_str(j, "crc32c", 1, &hex, where, e);
    if (!rc && (strlen(hex) != 8 || parse_hex8(hex, crc)))
        rc = sky_fail(e, SKY_ECORRUPT, "%s: 'crc32c': eight hexadecimal digits expected", where);
    if (!rc && (rc = sky_shape_bytes(f->dtype, f->ndim, f->shape, &need, e)))
        rc = sky_wrap(e, "%s", where);
    if (rc)
        return rc;
    f->nbytes = (uint64_t)bytes;
    if (f->nbytes != need)
        return sky_fail(e, SKY_ECORRUPT, "%s: %" PRIu64 " bytes declared, type and shape need %" PRIu64, where, f->nbytes, need);
    if (need > lim->field_bytes)
        return sky_fail(e, SKY_ELIMIT, "%s: %" PRIu64 " bytes, above the limit of %" PRIu64, where, need, lim->field_bytes);
    return SKY_OK;
}

static int parse_field(sky_sample *s, uint32_t *crc, const json_t *j, const sky_limits *lim, sky_err *e)
{
    static const char *const keys[] = {"name", "dtype", "shape", "bytes", "crc32c", "ref", "absent", "meta", NULL};
    const char *name = NULL, *type = NULL;
    const json_t *shape = NULL, *meta = NULL, *ref = NULL;
    int rc = sky_json_str(j, "name", 1, &name, "field", e);
    sky_field *f = rc ? NULL : sky_sample_add(s, name, e);
    if (!f)
        return rc ? rc : e ? e->code : SKY_ECORRUPT;
    char where[80];
    snprintf(where, sizeof where, "field '%s'", name);
    if ((rc = sky_json_only(j, keys, where, e)) || (rc = sky_json_str(j, "dtype", 1, &type, where, e)) ||
        (rc = sky_json_object(j, "meta", 1, &meta, where, e)) || (rc = sky_json_bool(j, "absent", 0, &f->absent, where, e)) ||
        (rc = sky_json_object(j, "ref", 0, &ref, where, e)) || (rc = sky_json_array(j, "shape", !f->absent, &shape, where, e)))
        return rc;
    if (sky_dtype_parse(type, &f->dtype))
        return sky_fail(e, SKY_EVERSION, "%s: unknown element type '%.20s'", where, type);
    json_decref(f->meta);
    f->meta = json_incref((json_t *)meta);
    f->ref = json_incref((json_t *)ref);
    if (f->absent && (ref || shape || json_object_get(j, "bytes")))
        return sky_fail(e, SKY_ECORRUPT, "%s: absent, yet has a shape, bytes or a reference", where);
    if (shape && (rc = parse_shape(f, shape, e)))
        return sky_wrap(e, "%s", where);
    if (ref && json_object_get(j, "bytes"))
        return sky_fail(e, SKY_ECORRUPT, "%s: both inline and by reference", where);
    return sky_field_inline(f) ? parse_inline(f, crc, j, where, lim, e) : SKY_OK;
}

static int parse_sample(sky_sample *s, uint32_t *crc, const json_t *j, const sky_limits *lim, sky_err *e)
{
    static const char *const keys[] = {"id", "meta", "fields", NULL};
    const char *id;
    const json_t *meta, *fields;
    int rc;
    if ((rc = sky_json_str(j, "id", 1, &id, "sample", e)) || (rc = sky_sample_begin(s, id, e)))
        return rc;
    if ((rc = sky_json_only(j, keys, "sample", e)) || (rc = sky_json_object(j, "meta", 1, &meta, "sample", e)) ||
        (rc = sky_json_array(j, "fields", 1, &fields, "sample", e)))
        return rc;
    json_decref(s->meta);
    s->meta = json_incref((json_t *)meta);
    if (json_array_size(fields) > SKY_MAX_FIELDS)
        return sky_fail(e, SKY_ELIMIT, "%zu fields (at most %d)", json_array_size(fields), SKY_MAX_FIELDS);
    uint64_t total = 0;
    for (size_t i = 0; i < json_array_size(fields); i++) {
        crc[i] = 0;
        if ((rc = parse_field(s, &crc[i], json_array_get(fields, i), lim, e)))
            return rc;
        if (!sky_add_u64(total, s->fields[i].nbytes, &total) || total > lim->record_bytes)
            return sky_fail(e, SKY_ELIMIT, "record of more than %" PRIu64 " bytes", lim->record_bytes);
    }
    return SKY_OK;
}

int sky_body_parse(sky_sample *s, uint32_t *crc, const char *body, size_t n, const sky_limits *lim, sky_err *e)
{
    json_t *j;
    sky_err mine;
    e = e ? e : &mine;
    int rc = sky_json_parse(&j, body, n, "sample", e);
    if (rc)
        return rc;
    rc = json_is_object(j) ? parse_sample(s, crc, j, lim, e) : sky_fail(e, SKY_ECORRUPT, "sample is not an object");
    if (rc && s->id)
        rc = sky_wrap(e, "'%s'", s->id);
    json_decref(j);
    if (rc)
        sky_sample_free(s);
    return rc;
}

/* ---- END ----------------------------------------------------------------------------------------------------- */

void sky_totals_add(sky_totals *t, uint32_t line_crc, uint64_t hash)
{
    uint8_t le[4];
    for (int i = 0; i < 4; i++)
        le[i] = (uint8_t)(line_crc >> (8 * i));
    t->order = sky_crc32c(t->order, le, 4);
    t->sum += hash;
    t->count++;
}

int sky_end_print(sky_buf *line, const sky_totals *t, sky_err *e)
{
    char body[128];
    int n = snprintf(body, sizeof body, "{\"count\":%" PRIu64 ",\"sum\":\"%016" PRIx64 "\",\"order\":\"%08" PRIx32 "\"}",
                     t->count, t->sum, t->order);
    return sky_line_print(line, "end", body, (size_t)n, e);
}

int sky_end_parse(sky_totals *t, const char *body, size_t n, sky_err *e)
{
    json_t *j;
    int64_t count = 0;
    const char *sum = "", *order = "";
    uint32_t hi, lo;
    int rc = sky_json_parse(&j, body, n, "end", e);
    if (rc)
        return rc;
    if (!(rc = sky_json_i64(j, "count", 1, 0, INT64_MAX, &count, "end", e)) &&
        !(rc = sky_json_str(j, "sum", 1, &sum, "end", e)) && !(rc = sky_json_str(j, "order", 1, &order, "end", e)) &&
        (strlen(sum) != 16 || parse_hex8(sum, &hi) || parse_hex8(sum + 8, &lo) || strlen(order) != 8 ||
         parse_hex8(order, &t->order)))
        rc = sky_fail(e, SKY_ECORRUPT, "end: 'sum' must be 16 and 'order' 8 hexadecimal digits");
    if (!rc) {
        t->count = (uint64_t)count;
        t->sum = (uint64_t)hi << 32 | lo;
    }
    json_decref(j);
    return rc;
}

int sky_end_compare(const sky_totals *end, const sky_totals *seen, sky_err *e)
{
    if (end->count != seen->count)
        return sky_fail(e, SKY_ECORRUPT, "end: %" PRIu64 " records counted, want %" PRIu64, seen->count, end->count);
    if (end->sum != seen->sum)
        return sky_fail(e, SKY_ECORRUPT, "end: sum of records %016" PRIx64 ", want %016" PRIx64, seen->sum, end->sum);
    if (end->order != seen->order)
        return sky_fail(e, SKY_ECORRUPT, "end: records are not in the order they were written in (order %08" PRIx32 ", want %08" PRIx32 ")",
                        seen->order, end->order);
    return SKY_OK;
}
