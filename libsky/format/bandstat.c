#include "format/bandstat.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* The values of band c: `outer` runs of `run` values, `step` apart, the first at c * run. */
typedef struct {
    uint64_t outer, run, step;
} runs;

enum { CHUNK = 512 };

/* Values from..from+n-1: the common types by loops of their own; a call and a switch per value were half of the time of
 * --verify. */
static void load(double v[CHUNK], const sky_field *f, uint64_t from, uint64_t n)
{
#define LOAD(type) for (uint64_t i = 0; i < n; i++) v[i] = (double)((const type *)f->data)[from + i]; break
    switch (f->dtype) {
    case SKY_U8: LOAD(uint8_t);
    case SKY_U16: LOAD(uint16_t);
    case SKY_I16: LOAD(int16_t);
    case SKY_F32: LOAD(float);
    default:
        for (uint64_t i = 0; i < n; i++)
            v[i] = sky_load_f64(f->data, f->dtype, from + i);
    }
#undef LOAD
}

/* Drops what is not finite or nodata (a NaN: there is none); how many values are left. */
static uint64_t without_holes(double v[CHUNK], uint64_t n, double nodata)
{
    uint64_t m = 0;
    for (uint64_t i = 0; i < n; i++) {
        v[m] = v[i];
        m += isfinite(v[i]) && v[i] != nodata;
    }
    return m;
}

static sky_band_stat one_band(const sky_field *f, const runs *r, uint64_t c)
{
    const json_t *j = json_object_get(f->meta, "nodata");
    const double nodata = json_is_number(j) ? json_number_value(j) : NAN;
    sky_band_stat s = {0};
    double v[CHUNK], sum = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (uint64_t o = 0; o < r->outer; o++)
            for (uint64_t at = 0; at < r->run; at += CHUNK) {
                uint64_t n = r->run - at < CHUNK ? r->run - at : CHUNK;
                load(v, f, o * r->step + c * r->run + at, n);
                n = without_holes(v, n, nodata);
                for (uint64_t i = 0; i < n; i++)
                    if (pass)
                        s.m2 += (v[i] - s.mean) * (v[i] - s.mean);
                    else
                        sum += v[i];
                s.n += pass ? 0 : n;
            }
        if (!pass && s.n)
            s.mean = sum / (double)s.n;
    }
    return s;
}

static void merge(sky_band_stat *a, const sky_band_stat *b)
{
    if (!b->n)
        return;
    const double n = (double)a->n + (double)b->n, d = b->mean - a->mean;
    a->mean += d * (double)b->n / n;
    a->m2 += b->m2 + d * d * (double)a->n * (double)b->n / n;
    a->n += b->n;
}

static int find_runs(runs *r, uint64_t *bands, const sky_field *f)
{
    const char *dims = json_string_value(json_object_get(f->meta, "dims"));
    if (!dims || strlen(dims) != (size_t)f->ndim || !strchr(dims, 'y') || !strchr(dims, 'x'))
        return 0;
    *r = (runs){1, 1, 0};
    *bands = 1;
    const char *c = strchr(dims, 'c');
    for (int i = 0; i < f->ndim; i++) {
        if (dims[i] == 'c')
            *bands = f->shape[i];
        else if (c && dims + i < c)
            r->outer *= f->shape[i];
        else
            r->run *= f->shape[i];
    }
    r->step = r->run * *bands;
    return *bands >= 1 && *bands <= 4096;
}

int sky_band_stats_add(sky_band_stats *s, const sky_field *f, sky_err *e)
{
    runs r;
    uint64_t bands;
    json_t *names = json_object_get(f->meta, "bands");
    if (sky_field_is_label(f) || f->absent || f->ref || !f->data || s->n < 0 || !find_runs(&r, &bands, f))
        return SKY_OK;
    if (!s->n) {
        if (!(s->band = sky_calloc(bands, sizeof *s->band)))
            return sky_fail(e, SKY_ENOMEM, "out of memory for %" PRIu64 " bands", bands);
        s->n = (int)bands;
    }
    if ((uint64_t)s->n != bands) {
        sky_band_stats_free(s);
        s->n = -1;
        return SKY_OK;
    }
    if (!s->names && json_array_size(names) == bands)
        s->names = json_incref(names);
    for (int c = 0; c < s->n; c++) {
        const sky_band_stat b = one_band(f, &r, (uint64_t)c);
        merge(&s->band[c], &b);
    }
    return SKY_OK;
}

void sky_band_stats_free(sky_band_stats *s)
{
    json_decref(s->names);
    sky_free(s->band);
    *s = (sky_band_stats){0};
}

double sky_band_std(const sky_band_stat *b) { return sqrt(b->m2 / (double)b->n); }

static void list(sky_buf *b, const char *key, const sky_band_stats *s, int std)
{
    sky_buf_printf(b, ",\"%s\":[", key);
    for (int i = 0; i < s->n; i++) {
        sky_buf_puts(b, i ? "," : "");
        if (s->band[i].n)
            sky_buf_printf(b, "%.17g", std ? sky_band_std(&s->band[i]) : s->band[i].mean);
        else
            sky_buf_puts(b, "null");
    }
    sky_buf_puts(b, "]");
}

void sky_band_stats_json(sky_buf *b, const sky_band_stats *s)
{
    char *names = s->names ? sky_json_dump(s->names) : NULL;
    if (s->n < 1)
        return;
    if (s->names && !names)
        b->bad = 1;
    if (names)
        sky_buf_printf(b, ",\"bands\":%s", names);
    sky_free(names);
    list(b, "mean", s, 0);
    list(b, "std", s, 1);
    sky_buf_puts(b, ",\"valid\":[");
    for (int i = 0; i < s->n; i++)
        sky_buf_printf(b, "%s%" PRIu64, i ? "," : "", s->band[i].n);
    sky_buf_puts(b, "]");
}

void sky_band_stats_text(sky_buf *b, const sky_band_stats *s, const char *field)
{
    for (int i = 0; i < s->n; i++) {
        const char *name = json_string_value(json_array_get(s->names, (size_t)i));
        sky_buf_printf(b, "band\t%s\t%d%s%s", field, i + 1, name ? " " : "", name ? name : "");
        if (s->band[i].n)
            sky_buf_printf(b, "\tmean %.9g\tstd %.9g", s->band[i].mean, sky_band_std(&s->band[i]));
        sky_buf_printf(b, "\tvalid %" PRIu64 "\n", s->band[i].n);
    }
}
