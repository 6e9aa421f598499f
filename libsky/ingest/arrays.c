/* .npz and .npy: images [c,y,x] or [t,c,y,x] with member `date`, labels [y,x]; a list of files is one date each. */
#include "ingest/ingest_internal.h"

#include "base/mem.h"
#include "format/npy.h"
#include "format/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    sky_npy a, date;  /* date.data NULL: none */
    uint64_t t, chw[3];
} step;

static int no_memory(sky_err *e) { return sky_fail(e, SKY_ENOMEM, "out of memory"); }

static int read_npz(sky_ingest_field *c, const sky_bytes *b, const char *path, step *s)
{
    sky_npz *z;
    uint64_t limit = sky_limits_default.field_bytes;
    int rc = sky_npz_memory(&z, b->p, b->n, path, c->e);
    if (rc)
        return rc;
    int at = sky_npz_find(z, c->f->member), date = sky_npz_find(z, "date");
    if (at < 0 && sky_npz_count(z) == 1)
        at = 0; /* an archive of one array needs no name */
    if (at < 0)
        rc = sky_fail(c->e, SKY_ECORRUPT, "%s: no member '%s' among %d", path, c->f->member, sky_npz_count(z));
    if (!rc)
        rc = sky_npz_read(z, at, limit, &s->a, c->e);
    if (!rc && date >= 0 && date != at)
        rc = sky_npz_read(z, date, 1 << 20, &s->date, c->e);
    sky_npz_close(z);
    return rc;
}

static int is_zip(const sky_bytes *b) { return b->n >= 4 && !memcmp(b->p, "PK", 2); }

/* [t,c,y,x] as it is, [c,y,x] with t = 1, [y,x] with one channel. */
static int shape_of(sky_ingest_field *c, const char *path, step *s)
{
    const sky_npy_head *h = &s->a.head;
    if (h->kind != SKY_NPY_NUMBER || h->ndim < 2 || h->ndim > 4 || (c->labels && h->ndim == 4))
        return sky_fail(c->e, SKY_ECORRUPT, "%s: array of %d dimensions, expected numbers [%s", path, h->ndim,
                        c->labels ? "y,x] or [1,y,x]" : "c,y,x], [t,c,y,x] or [y,x]");
    s->t = h->ndim == 4 ? h->shape[0] : 1;
    s->chw[0] = h->ndim >= 3 ? h->shape[h->ndim - 3] : 1;
    s->chw[1] = h->shape[h->ndim - 2];
    s->chw[2] = h->shape[h->ndim - 1];
    if (!h->nbytes)
        return sky_fail(c->e, SKY_ECORRUPT, "%s: the array is empty", path);
    int rc = sky_ingest_check_dtype(c, h->dtype);
    return rc ? rc : sky_ingest_check_bands(c, s->chw[0]);
}

static int read_step(sky_ingest_field *c, int k, step *s)
{
    const char *path = c->files->source[k].file->path;
    sky_bytes b;
    int rc = sky_ingest_bytes(c, k, &b);
    if (rc)
        return rc;
    rc = is_zip(&b) ? read_npz(c, &b, path, s) : sky_npy_memory(&s->a, b.p, b.n, sky_limits_default.field_bytes, path, c->e);
    sky_bytes_free(&b);
    return rc ? rc : shape_of(c, path, s);
}

static void free_step(step *s)
{
    sky_npy_free(&s->a);
    sky_npy_free(&s->date);
}

/* ---- dates ------------------------------------------------------------------------------------------------------------- */

/* YYYYMMDD, YYYY-MM-DD, or RFC 3339 already. */
static json_t *rfc3339(const char *s)
{
    int y, m, d, used = 0;
    if ((sscanf(s, "%4d-%2d-%2d%n", &y, &m, &d, &used) != 3 || used != 10) &&
        (sscanf(s, "%4d%2d%2d%n", &y, &m, &d, &used) != 3 || used != 8))
        return NULL;
    if (y < 1900 || m < 1 || m > 12 || d < 1 || d > 31)
        return NULL;
    if (s[used] == 'T')
        return json_string(s);
    return s[used] ? NULL : json_sprintf("%04d-%02d-%02dT00:00:00Z", y, m, d);
}

static int one_date(sky_ingest_field *c, const sky_npy *date, uint64_t i, const char *path, json_t *to)
{
    char *text = NULL;
    int rc = SKY_OK;
    if (date->head.kind == SKY_NPY_NUMBER)
        text = sky_asprintf("%.0f", sky_load_f64(date->data, date->head.dtype, i));
    else
        rc = sky_npy_text(&text, date, i, c->e);
    if (rc)
        return sky_wrap(c->e, "%s: member 'date'", path);
    if (!text)
        return no_memory(c->e);
    json_t *v = rfc3339(text);
    if (!v)
        rc = sky_fail(c->e, SKY_ECORRUPT, "%s: member 'date': '%.40s' is neither YYYYMMDD nor YYYY-MM-DD", path, text);
    else if (json_array_append_new(to, v))
        rc = no_memory(c->e);
    sky_free(text);
    return rc;
}

static uint64_t count(const sky_npy *a)
{
    uint64_t n = 1;
    for (int i = 0; i < a->head.ndim; i++)
        n *= a->head.shape[i];
    return n;
}

/* The original's rule for a list of files: the fourth- and third-last '_' tokens of the name are year and month, and
 * the day is the first. */
static json_t *date_from_name(const char *path)
{
    const char *slash = strrchr(path, '/'), *p = path + strlen(path);
    const char *from[4];
    path = slash ? slash + 1 : path;
    for (int i = 0; i < 4; i++) {
        while (p > path && p[-1] != '_')
            p--;
        from[i] = p;
        if (p == path)
            return NULL;
        p--;
    }
    char *end;
    long y = strtol(from[3], &end, 10), m = *end == '_' ? strtol(from[2], &end, 10) : 0;
    if (*end != '_' || y < 1900 || y > 2100 || m < 1 || m > 12)
        return NULL;
    return json_sprintf("%04ld-%02ld-01T00:00:00Z", y, m);
}

/* One entry per date, or no "times" at all when one of them is unknown. */
static int set_times(sky_ingest_field *c, const step *s, int n, uint64_t total)
{
    json_t *times = json_array();
    int rc = times ? SKY_OK : no_memory(c->e), known = 1;
    for (int k = 0; !rc && known && k < n; k++) {
        const char *path = c->files->source[k].file->path;
        if (s[k].date.data) {
            if (count(&s[k].date) != s[k].t)
                rc = sky_fail(c->e, SKY_ECORRUPT, "%s: %llu dates for %llu time steps", path, (unsigned long long)count(&s[k].date), (unsigned long long)s[k].t);
            for (uint64_t i = 0; !rc && i < s[k].t; i++)
                rc = one_date(c, &s[k].date, i, path, times);
        } else {
            json_t *v = n > 1 && s[k].t == 1 ? date_from_name(path) : NULL;
            known = v != NULL;
            if (v && json_array_append_new(times, v))
                rc = no_memory(c->e);
        }
    }
    if (!rc && known && json_array_size(times) == total && json_object_set(c->to->meta, "times", times))
        rc = no_memory(c->e);
    json_decref(times);
    return rc;
}

/* ---- one field ----------------------------------------------------------------------------------------------------------- */

static void take(sky_field *to, sky_npy *a, int ndim, const uint64_t *shape)
{
    to->dtype = a->head.dtype;
    to->ndim = ndim;
    memcpy(to->shape, shape, (size_t)ndim * sizeof *shape);
    to->data = a->data;
    to->nbytes = a->head.nbytes;
    a->data = NULL;
}

static int stack(sky_ingest_field *c, const step *s, int n, uint64_t total)
{
    uint64_t shape[4] = {total, s[0].chw[0], s[0].chw[1], s[0].chw[2]}, at = 0;
    for (int k = 1; k < n; k++)
        if (memcmp(s[k].chw, s[0].chw, sizeof s->chw) || s[k].a.head.dtype != s[0].a.head.dtype)
            return sky_fail(c->e, SKY_ECORRUPT, "%s: %s [%llu,%llu,%llu], but the first date is %s [%llu,%llu,%llu]", c->files->source[k].file->path,
                            sky_dtype_name(s[k].a.head.dtype), (unsigned long long)s[k].chw[0], (unsigned long long)s[k].chw[1],
                            (unsigned long long)s[k].chw[2], sky_dtype_name(s[0].a.head.dtype), (unsigned long long)s[0].chw[0],
                            (unsigned long long)s[0].chw[1], (unsigned long long)s[0].chw[2]);
    int rc = sky_field_alloc(c->to, s[0].a.head.dtype, 4, shape, 0, c->e);
    for (int k = 0; !rc && k < n; k++) {
        memcpy((char *)c->to->data + at, s[k].a.data, s[k].a.head.nbytes);
        at += s[k].a.head.nbytes;
    }
    return rc;
}

static int fill(sky_ingest_field *c, step *s, int n)
{
    uint64_t total = 0;
    for (int k = 0; k < n; k++)
        total += s[k].t;
    if (c->labels) {
        take(c->to, &s[0].a, 3, s[0].chw);
        return sky_ingest_finish(c, (int)s[0].chw[0], s[0].chw[1], s[0].chw[2]);
    }
    int dated = n > 1 || s[0].a.head.ndim == 4 || (s[0].date.data && count(&s[0].date) == 1), rc = SKY_OK;
    if (n > 1)
        rc = stack(c, s, n, total);
    else if (dated)
        take(c->to, &s[0].a, 4, (uint64_t[4]){s[0].t, s[0].chw[0], s[0].chw[1], s[0].chw[2]});
    else
        take(c->to, &s[0].a, 3, s[0].chw);
    if (!rc)
        rc = sky_field_set_dims(c->to, dated ? "tcyx" : "cyx", c->e);
    return rc || !dated ? rc : set_times(c, s, n, total);
}

int sky_ingest_array(sky_ingest_field *c)
{
    int n = c->files->n, rc = SKY_OK;
    step *s = sky_calloc((size_t)n, sizeof *s);
    if (!s)
        return no_memory(c->e);
    for (int k = 0; !rc && k < n; k++)
        rc = read_step(c, k, &s[k]);
    if (!rc && c->labels && n != 1)
        rc = sky_fail(c->e, SKY_ECORRUPT, "%s: a label is one file", c->files->source[0].file->path);
    if (!rc)
        rc = fill(c, s, n);
    for (int k = 0; k < n; k++)
        free_step(&s[k]);
    sky_free(s);
    return rc;
}
