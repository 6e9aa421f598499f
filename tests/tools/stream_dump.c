/* stream_dump [--meta] [FILE...]: one line per field of a stream, for the command-line tests:
 *   ID FIELD DTYPE SHAPE DIMS crc=HEX [value=count ...]   (counts for labels), or "absent", or "ref=URI"
 * and with --meta the sample's and the field's meta as JSON on lines of their own. Exit 3 on a bad stream. */
#include "base/hash.h"
#include "base/mem.h"
#include "format/stream.h"

#include <stdio.h>
#include <string.h>

static void counts(const sky_field *f)
{
    static uint64_t n[65536];
    memset(n, 0, sizeof n);
    for (uint64_t i = 0; i < sky_field_count(f); i++) {
        double v = sky_load_f64(f->data, f->dtype, i);
        if (v >= 0 && v < 65536)
            n[(int)v]++;
    }
    for (int v = 0; v < 65536; v++)
        if (n[v])
            printf(" %d=%llu", v, (unsigned long long)n[v]);
}

static void meta(const char *what, const char *name, const json_t *m)
{
    char *s = sky_json_dump(m);
    printf("%s %s %s\n", what, name, s ? s : "?");
    sky_free(s);
}

static void field(const sky_sample *s, const sky_field *f, int with_meta)
{
    printf("%s %s ", s->id, f->name);
    if (f->absent) {
        printf("absent");
    } else {
        printf("%s ", sky_dtype_name(f->dtype));
        for (int i = 0; i < f->ndim; i++)
            printf("%s%llu", i ? "x" : "", (unsigned long long)f->shape[i]);
        const char *dims = json_string_value(json_object_get(f->meta, "dims"));
        printf(" %s", dims ? dims : "-");
        if (f->ref)
            printf(" ref=%s", json_string_value(json_object_get(f->ref, "uri")));
        else
            printf(" crc=%08x", sky_crc32c(0, f->data, f->nbytes));
        if (f->data && sky_field_is_label(f))
            counts(f);
    }
    putchar('\n');
    if (with_meta)
        meta("  field", f->name, f->meta);
}

int main(int argc, char **argv)
{
    int with_meta = argc > 1 && !strcmp(argv[1], "--meta");
    sky_err e = {0};
    sky_reader *r = NULL;
    sky_sample s;
    sky_sample_init(&s);
    int rc = sky_reader_open(&r, argv + 1 + with_meta, argc - 1 - with_meta, &sky_limits_default, &e);
    if (!rc && with_meta)
        meta("schema", "", sky_reader_schema(r));
    while (!rc && (rc = sky_reader_next(r, &s, &e)) == 1) {
        if (with_meta)
            meta("sample", s.id, s.meta);
        for (int i = 0; i < s.nfields; i++)
            field(&s, &s.fields[i], with_meta);
        rc = 0;
    }
    sky_sample_free(&s);
    sky_reader_close(r);
    if (rc < 0)
        fprintf(stderr, "stream_dump: %s\n", e.msg);
    return rc < 0 ? 3 : 0;
}
