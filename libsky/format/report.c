#include "format/report.h"
#include "format/bandstat.h"

#include <inttypes.h>
#include <string.h>

static int done(const sky_buf *b, sky_err *e) { return b->bad ? sky_fail(e, SKY_ENOMEM, "out of memory") : SKY_OK; }

/* ---- list ------------------------------------------------------------------------------------------------------ */

static uint64_t sample_bytes(const sky_sample *s)
{
    uint64_t n = 0;
    for (int i = 0; i < s->nfields; i++)
        n += s->fields[i].nbytes;
    return n;
}

static void list_field(sky_buf *b, const sky_field *f)
{
    sky_buf_printf(b, "%s %s", f->name, f->absent ? "absent" : sky_dtype_name(f->dtype));
    if (f->absent)
        return;
    sky_buf_puts(b, "[");
    for (int i = 0; i < f->ndim; i++)
        sky_buf_printf(b, "%s%" PRIu64, i ? "," : "", f->shape[i]);
    sky_buf_puts(b, f->ref ? "] by reference" : "]");
}

static json_t *field_json(const sky_field *f)
{
    json_t *o = json_pack("{s:s}", "name", f->name), *shape = json_array();
    int bad = !o || !shape;
    for (int i = 0; i < f->ndim && !bad; i++)
        bad = json_array_append_new(shape, json_integer((json_int_t)f->shape[i]));
    if (f->absent)
        bad = bad || json_object_set_new(o, "absent", json_true());
    else
        bad = bad || json_object_set_new(o, "dtype", json_string(sky_dtype_name(f->dtype))) || json_object_set(o, "shape", shape);
    if (f->ref)
        bad = bad || json_object_set(o, "ref", f->ref);
    bad = bad || json_object_set(o, "meta", f->meta);
    json_decref(shape);
    if (bad)
        json_decref(o);
    return bad ? NULL : o;
}

static json_t *sample_json(const sky_sample *s)
{
    json_t *fields = json_array();
    int bad = !fields;
    for (int i = 0; i < s->nfields && !bad; i++)
        bad = json_array_append_new(fields, field_json(&s->fields[i]));
    json_t *o = bad ? NULL : json_pack("{s:s,s:I,s:I,s:O,s:O}", "id", s->id, "record", (json_int_t)s->seq, "bytes",
                                       (json_int_t)sample_bytes(s), "meta", s->meta, "fields", fields);
    json_decref(fields);
    return o;
}

int sky_list_line(sky_buf *b, const sky_sample *s, int json, sky_err *e)
{
    if (json) {
        json_t *o = sample_json(s);
        sky_json_put(b, o);
        json_decref(o);
    } else {
        sky_buf_printf(b, "%s\t%" PRIu64 "\t", s->id, sample_bytes(s));
        for (int i = 0; i < s->nfields; i++) {
            sky_buf_puts(b, i ? ", " : "");
            list_field(b, &s->fields[i]);
        }
    }
    sky_buf_puts(b, "\n");
    return done(b, e);
}

/* ---- statistics ------------------------------------------------------------------------------------------------ */

typedef struct {
    char *name;
    uint64_t here, absent, refs, bytes;
    sky_band_stats bands;
} field_stat;

struct sky_stat {
    uint64_t records, bytes;
    field_stat *field;
    size_t n;
};

int sky_stat_new(sky_stat **out, sky_err *e)
{
    *out = sky_calloc(1, sizeof **out);
    return *out ? SKY_OK : sky_fail(e, SKY_ENOMEM, "out of memory");
}

void sky_stat_free(sky_stat *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n; i++) {
        sky_free(t->field[i].name);
        sky_band_stats_free(&t->field[i].bands);
    }
    sky_free(t->field);
    sky_free(t);
}

/* Kept sorted by name, so that the report does not depend on the order of records. */
static field_stat *stat_of(sky_stat *t, const char *name)
{
    size_t i = 0;
    while (i < t->n && strcmp(t->field[i].name, name) < 0)
        i++;
    if (i < t->n && !strcmp(t->field[i].name, name))
        return &t->field[i];
    field_stat *p = sky_realloc(t->field, t->n * sizeof *p, (t->n + 1) * sizeof *p);
    char *copy = p ? sky_strdup(name) : NULL;
    if (p)
        t->field = p;
    if (!copy)
        return NULL;
    memmove(p + i + 1, p + i, (t->n - i) * sizeof *p);
    p[i] = (field_stat){.name = copy};
    t->n++;
    return &p[i];
}

int sky_stat_add(sky_stat *t, const sky_sample *s, sky_err *e)
{
    for (int i = 0; i < s->nfields; i++) {
        const sky_field *f = &s->fields[i];
        field_stat *p = stat_of(t, f->name);
        if (!p)
            return sky_fail(e, SKY_ENOMEM, "out of memory");
        p->absent += f->absent != 0;
        p->refs += f->ref != NULL;
        p->here += !f->absent && !f->ref;
        p->bytes += f->nbytes;
        t->bytes += f->nbytes;
        int rc = sky_band_stats_add(&p->bands, f, e);
        if (rc)
            return rc;
    }
    t->records++;
    return SKY_OK;
}

static void stat_json(sky_buf *b, const sky_stat *t, uint64_t sum)
{
    sky_buf_printf(b, "{\"version\":1,\"records\":%" PRIu64 ",\"sum\":\"%016" PRIx64 "\",\"bytes\":%" PRIu64 ",\"fields\":{", t->records, sum, t->bytes);
    for (size_t i = 0; i < t->n; i++) {
        const field_stat *f = &t->field[i];
        sky_buf_printf(b, "%s\"%s\":{\"inline\":%" PRIu64 ",\"absent\":%" PRIu64 ",\"by_reference\":%" PRIu64 ",\"bytes\":%" PRIu64,
                       i ? "," : "", f->name, f->here, f->absent, f->refs, f->bytes);
        sky_band_stats_json(b, &f->bands);
        sky_buf_puts(b, "}");
    }
    sky_buf_puts(b, "}}\n");
}

int sky_stat_print(sky_buf *b, const sky_stat *t, uint64_t sum, int json, sky_err *e)
{
    if (json) {
        stat_json(b, t, sum);
        return done(b, e);
    }
    sky_buf_printf(b, "records\t%" PRIu64 "\nsum\t%016" PRIx64 "\nbytes\t%" PRIu64 "\n", t->records, sum, t->bytes);
    for (size_t i = 0; i < t->n; i++) {
        const field_stat *f = &t->field[i];
        sky_buf_printf(b, "field\t%s\tinline %" PRIu64 "\tabsent %" PRIu64 "\tby reference %" PRIu64 "\tbytes %" PRIu64 "\n", f->name, f->here,
                       f->absent, f->refs, f->bytes);
        sky_band_stats_text(b, &f->bands, f->name);
    }
    return done(b, e);
}

/* ---- info ------------------------------------------------------------------------------------------------------ */

static void info_provenance(sky_buf *b, const json_t *chain)
{
    for (size_t i = 0; i < json_array_size(chain); i++) {
        const json_t *p = json_array_get(chain, i), *args = json_object_get(p, "arguments");
        const char *prog = json_string_value(json_object_get(p, "program")), *ver = json_string_value(json_object_get(p, "version"));
        sky_buf_printf(b, "provenance\t%s %s", prog ? prog : "?", ver ? ver : "?");
        for (size_t k = 0; k < json_array_size(args); k++) {
            const char *a = json_string_value(json_array_get(args, k));
            sky_buf_printf(b, " %s", a ? a : "?");
        }
        sky_buf_puts(b, "\n");
    }
}

static void info_text(sky_buf *b, const json_t *schema, const json_t *files)
{
    const char *key;
    json_t *v;
    for (size_t i = 0; i < json_array_size(files); i++) {
        const json_t *f = json_array_get(files, i);
        sky_buf_printf(b, "file\t%s\t%s\trecords %" JSON_INTEGER_FORMAT "\tbytes %" JSON_INTEGER_FORMAT "\n", json_string_value(json_object_get(f, "name")),
                       json_string_value(json_object_get(f, "spelling")), json_integer_value(json_object_get(f, "records")),
                       json_integer_value(json_object_get(f, "bytes")));
    }
    json_object_foreach((json_t *)schema, key, v) {
        if (!strcmp(key, "fields") || !strcmp(key, "provenance"))
            continue;
        sky_buf_printf(b, "%s\t", key);
        if (json_is_string(v))
            sky_buf_puts(b, json_string_value(v));
        else
            sky_json_put(b, v);
        sky_buf_puts(b, "\n");
    }
    json_object_foreach(json_object_get(schema, "fields"), key, v) {
        sky_buf_printf(b, "field\t%s\t", key);
        sky_json_put(b, v);
        sky_buf_puts(b, "\n");
    }
    info_provenance(b, json_object_get(schema, "provenance"));
}

int sky_info_print(sky_buf *b, const json_t *schema, const json_t *files, int json, sky_err *e)
{
    if (!json) {
        info_text(b, schema, files);
        return done(b, e);
    }
    json_t *o = json_pack("{s:i,s:O,s:O*}", "version", 1, "schema", (json_t *)schema, "files", (json_t *)files);
    sky_json_put(b, o);
    json_decref(o);
    sky_buf_puts(b, "\n");
    return done(b, e);
}
