/* safetensors_out.c -- writing: the header first, padded with spaces so that the data begin on a 64-byte boundary. */
#include "base/io.h"
#include "base/mem.h"
#include "format/weights.h"

#include <string.h>

struct sky_weights_out {
    sky_out *o;
    uint64_t want, done; /* data bytes */
};

static int add_entry(json_t *header, const sky_weight *t, uint64_t *at, sky_err *e)
{
    uint64_t n = sky_dtype_size(t->dtype), end;
    json_t *shape = json_array();
    for (int d = 0; d < t->ndim; d++) {
        if (t->shape[d] < 0 || !sky_mul_u64(n, (uint64_t)t->shape[d], &n))
            n = UINT64_MAX;
        json_array_append_new(shape, json_integer(t->shape[d]));
    }
    if (!sky_add_u64(*at, n, &end) || end > INT64_MAX || json_object_get(header, t->name) || !strcmp(t->name, "__metadata__")) {
        json_decref(shape);
        return sky_fail(e, SKY_EUSAGE, "tensor '%s': its name is taken or its shape impossible", t->name);
    }
    json_t *j = json_pack("{s:s, s:o, s:[I,I]}", "dtype", sky_dtype_name(t->dtype), "shape", shape, "data_offsets", (json_int_t)*at, (json_int_t)end);
    *at = end;
    return json_object_set_new(header, t->name, j) ? sky_fail(e, SKY_ENOMEM, "weights header: out of memory, or a name that is not UTF-8: '%s'", t->name) : SKY_OK;
}

static int build_header(json_t *header, const sky_weight *list, int n, const json_t *metadata, uint64_t *bytes, sky_err *e)
{
    if (!header || (metadata && json_object_set_new(header, "__metadata__", sky_json_copy(metadata))))
        return sky_fail(e, SKY_ENOMEM, "weights header: out of memory");
    int rc = SKY_OK;
    for (int i = 0; !rc && i < n; i++)
        rc = add_entry(header, &list[i], bytes, e);
    return rc;
}

static int write_header(sky_out *o, const json_t *header, sky_err *e)
{
    char *text = sky_json_dump(header);
    if (!text)
        return sky_fail(e, SKY_ENOMEM, "weights header: out of memory");
    static const char spaces[64] = "                                                                ";
    size_t n = strlen(text), padded = (8 + n + 63) / 64 * 64 - 8;
    uint8_t size[8];
    sky_put_le(size, padded, 8);
    int rc = sky_out_write(o, size, 8, e);
    if (!rc)
        rc = sky_out_write(o, text, n, e);
    if (!rc)
        rc = sky_out_write(o, spaces, padded - n, e);
    sky_free(text);
    return rc;
}

int sky_weights_create(sky_weights_out **out, const char *path, const sky_weight *list, int n, const json_t *metadata, sky_err *e)
{
    sky_weights_out *w = sky_calloc(1, sizeof *w);
    if (!w)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", path);
    json_t *header = json_object();
    int rc = build_header(header, list, n, metadata, &w->want, e);
    if (!rc)
        rc = sky_out_open(&w->o, path, 1, e);
    if (!rc)
        rc = write_header(w->o, header, e);
    json_decref(header);
    if (rc)
        sky_weights_abort(w);
    else
        *out = w;
    return rc;
}

int sky_weights_put(sky_weights_out *w, const void *data, uint64_t nbytes, sky_err *e)
{
    if (nbytes > w->want - w->done)
        return sky_fail(e, SKY_EUSAGE, "%s: more data than the declared %llu bytes", sky_out_name(w->o), (unsigned long long)w->want);
    w->done += nbytes;
    return sky_out_write(w->o, data, nbytes, e);
}

int sky_weights_commit(sky_weights_out *w, sky_err *e)
{
    if (w->done != w->want) {
        int rc = sky_fail(e, SKY_EUSAGE, "%s: %llu of %llu declared bytes were given", sky_out_name(w->o), (unsigned long long)w->done, (unsigned long long)w->want);
        sky_weights_abort(w);
        return rc;
    }
    int rc = sky_out_commit(w->o, e);
    sky_free(w);
    return rc;
}

void sky_weights_abort(sky_weights_out *w)
{
    if (!w)
        return;
    sky_out_abort(w->o);
    sky_free(w);
}
