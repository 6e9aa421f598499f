#include "base/io.h"
#include "format/extract.h"
#include "format/npy.h"
#include "format/webdataset.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct sky_wds_out {
    sky_out *out;
};

int sky_wds_create(sky_wds_out **out, const char *path, sky_err *e)
{
    sky_wds_out *w = sky_calloc(1, sizeof *w);
    if (!w)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", path);
    int rc = sky_out_open(&w->out, path, 1, e);
    if (rc)
        sky_free(w);
    else
        *out = w;
    return rc;
}

void sky_wds_abort(sky_wds_out *w)
{
    if (!w)
        return;
    sky_out_abort(w->out);
    sky_free(w);
}

int sky_wds_commit(sky_wds_out *w, sky_err *e)
{
    static const char zero[1024];
    int rc = sky_out_write(w->out, zero, sizeof zero, e);
    if (rc) {
        sky_wds_abort(w);
        return rc;
    }
    rc = sky_out_commit(w->out, e);
    sky_free(w);
    return rc;
}

/* One header: times 0, owner 0, so that the same records give the same tar. */
static int put_header(sky_out *o, const char *name, uint64_t size, char type, sky_err *e)
{
    char h[512] = {0};
    unsigned sum = 0;
    memcpy(h, name, strlen(name) < 100 ? strlen(name) : 100);
    memcpy(h + 100, "0000644", 7);
    memcpy(h + 108, "0000000", 7);
    memcpy(h + 116, "0000000", 7);
    if (size < (uint64_t)1 << 33)
        snprintf(h + 124, 12, "%011" PRIo64, size);
    else /* the pax header before says it */
        snprintf(h + 124, 12, "%011o", 0u);
    memcpy(h + 136, "00000000000", 11);
    memcpy(h + 148, "        ", 8);
    h[156] = type;
    memcpy(h + 257, "ustar\00000", 8);
    for (int i = 0; i < 512; i++)
        sum += (unsigned char)h[i];
    snprintf(h + 148, 8, "%06o", sum & 0777777);
    return sky_out_write(o, h, sizeof h, e);
}

static int put_padding(sky_out *o, uint64_t n, sky_err *e)
{
    static const char zero[512];
    return sky_out_write(o, zero, (512 - n % 512) % 512, e);
}

/* "LEN key=value\n", LEN counting itself. */
static void pax_line(sky_buf *b, const char *key, const char *value)
{
    size_t body = strlen(key) + strlen(value) + 3, n = body + 1;
    while (n != body + (size_t)snprintf(NULL, 0, "%zu", n))
        n = body + (size_t)snprintf(NULL, 0, "%zu", n);
    sky_buf_printf(b, "%zu %s=%s\n", n, key, value);
}

static int put_pax(sky_out *o, const char *name, uint64_t size, sky_err *e)
{
    sky_buf b = {0};
    char number[24];
    if (strlen(name) > 100)
        pax_line(&b, "path", name);
    snprintf(number, sizeof number, "%" PRIu64, size);
    if (size >= (uint64_t)1 << 33)
        pax_line(&b, "size", number);
    int rc = b.bad ? sky_fail(e, SKY_ENOMEM, "tar: out of memory") : SKY_OK;
    if (!rc && b.n && !(rc = put_header(o, "pax", b.n, 'x', e)) && !(rc = sky_out_write(o, b.p, b.n, e)))
        rc = put_padding(o, b.n, e);
    sky_buf_free(&b);
    return rc;
}

static int put_member(sky_out *o, const char *name, const void *head, size_t nhead, const void *p, uint64_t n, sky_err *e)
{
    uint64_t size = nhead + n;
    int rc = put_pax(o, name, size, e);
    if (!rc && !(rc = put_header(o, name, size, '0', e)) && !(rc = sky_out_write(o, head, nhead, e)) && !(rc = sky_out_write(o, p, n, e)))
        rc = put_padding(o, size, e);
    return rc;
}

static json_t *describe(const sky_field *f)
{
    json_t *shape = json_array();
    for (int i = 0; shape && i < f->ndim; i++)
        if (json_array_append_new(shape, json_integer((json_int_t)f->shape[i]))) {
            json_decref(shape);
            shape = NULL;
        }
    json_t *o = shape ? json_pack("{s:s,s:O}", "dtype", sky_dtype_name(f->dtype), "meta", f->meta) : NULL;
    int bad = !o || (f->absent && json_object_set_new(o, "absent", json_true())) ||
              (f->ref && (json_object_set(o, "ref", f->ref) || json_object_set(o, "shape", shape)));
    json_decref(shape);
    if (bad)
        json_decref(o);
    return bad ? NULL : o;
}

static int put_json(sky_wds_out *w, const sky_sample *s, const char *key, sky_err *e)
{
    json_t *fields = json_object();
    int bad = !fields;
    for (int i = 0; i < s->nfields && !bad; i++)
        bad = json_object_set_new(fields, s->fields[i].name, describe(&s->fields[i]));
    json_t *o = bad ? NULL : json_pack("{s:s,s:O,s:O}", "id", s->id, "meta", s->meta, "fields", fields);
    char *text = o ? sky_json_dump(o) : NULL, *name = sky_asprintf("%s.json", key);
    int rc = text && name ? put_member(w->out, name, "", 0, text, strlen(text), e) : sky_fail(e, SKY_ENOMEM, "tar: out of memory");
    sky_free(text);
    sky_free(name);
    json_decref(o);
    json_decref(fields);
    return rc;
}

static int put_field(sky_wds_out *w, const sky_field *f, const char *key, sky_err *e)
{
    sky_buf head = {0};
    char *name = sky_asprintf("%s.%s.npy", key, f->name);
    int rc = name ? sky_npy_header(&head, f->dtype == SKY_BF16 ? SKY_U16 : f->dtype, f->ndim, f->shape, e) : sky_fail(e, SKY_ENOMEM, "tar: out of memory");
    if (!rc)
        rc = put_member(w->out, name, head.p, head.n, f->data, f->nbytes, e);
    sky_free(name);
    sky_buf_free(&head);
    return rc;
}

int sky_wds_put(sky_wds_out *w, const sky_sample *s, sky_err *e)
{
    sky_buf key = {0};
    sky_safe_name(&key, s->id, "/");
    int rc = key.bad ? sky_fail(e, SKY_ENOMEM, "tar: out of memory") : put_json(w, s, key.p, e);
    for (int i = 0; i < s->nfields && !rc; i++)
        if (s->fields[i].data)
            rc = put_field(w, &s->fields[i], key.p, e);
    sky_buf_free(&key);
    return rc;
}
