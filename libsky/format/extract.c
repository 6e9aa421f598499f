#include "format/extract.h"
#include "format/npy.h"
#include "format/png.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_NOTES = 16 };

struct sky_extract {
    enum { PNG, NPZ, TIF } format;
    char *dir, *fields, *missing; /* fields: ",a,b," or NULL; missing: those that no record has had yet */
    uint64_t files;
    char *note[MAX_NOTES], *noted[MAX_NOTES];
    int notes;
};

int sky_extract_open(sky_extract **out, const char *format, const char *dir, const char *fields, sky_err *e)
{
    static const char *const names[] = {"png", "npz", "tif"};
    int k = 0;
    struct stat st;
    while (k < 3 && strcmp(format, names[k]))
        k++;
    if (k == 3)
        return sky_fail(e, SKY_EUSAGE, "--extract: '%s' is not png, npz or tif", format);
    if ((mkdir(dir, 0777) && errno != EEXIST) || stat(dir, &st))
        return sky_fail_errno(e, SKY_EIO, "%s", dir);
    if (!S_ISDIR(st.st_mode))
        return sky_fail(e, SKY_EIO, "%s: not a directory", dir);
    sky_extract *x = sky_calloc(1, sizeof *x);
    if (x) {
        x->format = k;
        x->dir = sky_strdup(dir);
        x->fields = fields ? sky_asprintf(",%s,", fields) : NULL;
        x->missing = fields ? sky_asprintf(",%s,", fields) : NULL;
    }
    if (!x || !x->dir || !x->fields != !fields || !x->missing != !fields) {
        sky_extract_close(x);
        return sky_fail(e, SKY_ENOMEM, "extract: out of memory");
    }
    *out = x;
    return SKY_OK;
}

void sky_extract_close(sky_extract *x)
{
    if (!x)
        return;
    for (int i = 0; i < x->notes; i++) {
        sky_free(x->note[i]);
        sky_free(x->noted[i]);
    }
    sky_free(x->dir);
    sky_free(x->fields);
    sky_free(x->missing);
    sky_free(x);
}

uint64_t sky_extract_files(const sky_extract *x) { return x->files; }
int sky_extract_skipped(const sky_extract *x) { return x->notes; }
const char *sky_extract_skip_message(const sky_extract *x, int i) { return x->note[i]; }

void sky_safe_name(sky_buf *b, const char *id, const char *keep)
{
    static const char ok[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    for (const char *p = id; *p; p++)
        if (strchr(ok, *p) || (strchr(keep, *p) && p != id && p[1] && p[1] != *p))
            sky_buf_add(b, p, 1);
        else
            sky_buf_printf(b, "%%%02X", (unsigned char)*p);
}

int sky_extract_missing(const sky_extract *x, const char **name)
{
    *name = x->missing ? x->missing + 1 : "";
    return (int)strcspn(*name, ",");
}

static int wanted(sky_extract *x, const char *name)
{
    char key[80];
    if (!x->fields)
        return 1;
    snprintf(key, sizeof key, ",%s,", name);
    for (char *p; (p = strstr(x->missing, key));) /* the comma in front stays */
        memmove(p, p + strlen(key) - 1, strlen(p + strlen(key) - 1) + 1);
    return strstr(x->fields, key) != NULL;
}

/* What the caller is told at the end, once per name of a field. */
static int take_note(sky_extract *x, const char *name, const char *what, sky_err *e)
{
    for (int i = 0; i < x->notes; i++)
        if (!strcmp(x->noted[i], name))
            return SKY_OK;
    if (x->notes == MAX_NOTES)
        return SKY_OK;
    char *note = sky_asprintf("%s: left out", what), *copy = sky_strdup(name);
    if (!note || !copy) {
        sky_free(note);
        sky_free(copy);
        return sky_fail(e, SKY_ENOMEM, "extract: out of memory");
    }
    x->note[x->notes] = note;
    x->noted[x->notes++] = copy;
    return SKY_OK;
}

/* A field that the format cannot hold: an error when it was asked for, a note when not. */
static int leave_out(sky_extract *x, const char *name, sky_err *e)
{
    if (x->fields || e->code == SKY_ENOMEM || e->code == SKY_EIO)
        return e->code;
    return take_note(x, name, e->msg, e);
}

static int open_file(const sky_extract *x, sky_out **o, const char *id, const char *field, const char *ext, sky_err *e)
{
    sky_buf name = {0};
    sky_buf_printf(&name, "%s/", x->dir);
    sky_safe_name(&name, id, "");
    sky_buf_printf(&name, "%s%s.%s", field ? "." : "", field ? field : "", ext);
    int rc = name.bad ? sky_fail(e, SKY_ENOMEM, "extract: out of memory") : sky_out_open(o, name.p, 1, e);
    sky_buf_free(&name);
    return rc;
}

/* ---- png --------------------------------------------------------------------------------------------------------- */

/* Height, width, channels; planes: channels come first in memory. Leading dimensions of size 1 do not count. */
static int picture_shape(const sky_field *f, uint64_t hwc[3], int *planes)
{
    const uint64_t *d = f->shape;
    int n = f->ndim;
    while (n > 3 && d[0] == 1)
        d++, n--;
    const char *dims = json_string_value(json_object_get(f->meta, "dims"));
    int last = n == 3 && dims && dims[f->ndim - 1] == 'c';
    *planes = n == 3 && !last;
    if (n != 2 && n != 3)
        return -1;
    hwc[0] = d[n == 2 || last ? 0 : 1];
    hwc[1] = d[n == 2 || last ? 1 : 2];
    hwc[2] = n == 2 ? 1 : last ? d[2] : d[0];
    return 0;
}

static void interleave(uint8_t *dst, const uint8_t *src, const uint64_t hwc[3], size_t size)
{
    uint64_t px = hwc[0] * hwc[1];
    for (uint64_t c = 0; c < hwc[2]; c++)
        for (uint64_t i = 0; i < px; i++)
            memcpy(dst + (i * hwc[2] + c) * size, src + (c * px + i) * size, size);
}

static int write_png(sky_extract *x, const sky_sample *s, const sky_field *f, sky_err *e)
{
    uint64_t hwc[3];
    int planes;
    if ((f->dtype != SKY_U8 && f->dtype != SKY_BOOL && f->dtype != SKY_U16) || picture_shape(f, hwc, &planes) ||
        (hwc[2] != 1 && hwc[2] != 3 && hwc[2] != 4) || !f->nbytes || hwc[0] > 1u << 30 || hwc[1] > 1u << 30)
        return sky_fail(e, SKY_EUSAGE, "field '%s' of %s and %d dimensions is not a picture of U8 or U16 with 1, 3 or 4 bands", f->name,
                        sky_dtype_name(f->dtype), f->ndim);
    size_t size = sky_dtype_size(f->dtype);
    uint8_t pal[256][3], *tmp = NULL;
    sky_png_spec spec = {.width = (uint32_t)hwc[1], .height = (uint32_t)hwc[0], .channels = (int)hwc[2], .bits = 8 * (int)size};
    if (hwc[2] == 1 && size == 1 && sky_field_palette(f, pal)) {
        spec.palette = (const uint8_t(*)[3])pal;
        spec.palette_n = 256;
    }
    if (planes && hwc[2] > 1) {
        if (!(tmp = sky_alloc(f->nbytes)))
            return sky_fail(e, SKY_ENOMEM, "field '%s': out of memory", f->name);
        interleave(tmp, f->data, hwc, size);
    }
    sky_out *o;
    int rc = open_file(x, &o, s->id, f->name, "png", e);
    if (!rc) {
        if ((rc = sky_png_write(o, &spec, tmp ? tmp : f->data, hwc[1] * hwc[2] * size, e)))
            sky_out_abort(o);
        else
            rc = sky_out_commit(o, e);
    }
    sky_free(tmp);
    return rc;
}

static int write_tif(sky_extract *x, const sky_sample *s, const sky_field *f, sky_err *e)
{
    sky_out *o;
    int rc = open_file(x, &o, s->id, f->name, "tif", e);
    if (rc)
        return rc;
    if ((rc = sky_tiff_write(o, f, e))) {
        sky_out_abort(o);
        return rc;
    }
    rc = sky_out_commit(o, e);
    const char *crs = json_string_value(json_object_get(f->meta, "crs"));
    if (rc || !crs || !strncmp(crs, "EPSG:", 5))
        return rc;
    char what[200];
    snprintf(what, sizeof what, "field '%.80s': the coordinate reference system, which is WKT and not an EPSG code", f->name);
    return take_note(x, f->name, what, e);
}

/* ---- npz --------------------------------------------------------------------------------------------------------- */

static int write_npz(sky_extract *x, const sky_sample *s, sky_err *e)
{
    sky_npz_out *z;
    sky_buf all = {0};
    sky_out *o;
    int rc = sky_npz_create(&z, 1, e), any = 0;
    if (rc)
        return rc;
    for (int i = 0; i < s->nfields && !rc; i++) {
        const sky_field *f = &s->fields[i];
        if (!f->data || !wanted(x, f->name))
            continue;
        /* NumPy has no bfloat16: its 16 bits travel as unsigned integers */
        rc = sky_npz_put(z, f->name, f->dtype == SKY_BF16 ? SKY_U16 : f->dtype, f->ndim, f->shape, f->data, e);
        any = 1;
    }
    if (rc || !any) {
        sky_npz_abort(z);
        return rc;
    }
    if (!(rc = sky_npz_finish(z, &all, e)) && !(rc = open_file(x, &o, s->id, NULL, "npz", e))) {
        if ((rc = sky_out_write(o, all.p, all.n, e)))
            sky_out_abort(o);
        else
            rc = sky_out_commit(o, e);
        x->files++;
    }
    sky_buf_free(&all);
    return rc;
}

int sky_extract_sample(sky_extract *x, const sky_sample *s, sky_err *e)
{
    int rc = x->format == NPZ ? write_npz(x, s, e) : SKY_OK;
    for (int i = 0; i < s->nfields && x->format != NPZ && !rc; i++) {
        const sky_field *f = &s->fields[i];
        if (!f->data || !wanted(x, f->name))
            continue;
        rc = x->format == PNG ? write_png(x, s, f, e) : write_tif(x, s, f, e);
        if (rc)
            rc = leave_out(x, f->name, e);
        else
            x->files++;
    }
    return rc ? sky_wrap(e, "record %llu '%s'", (unsigned long long)s->seq, s->id) : SKY_OK;
}
