/* Mean and std per band: against long double sums in one go, in every order of dimensions, beside holes, far from zero. */
#include "format/bandstat.h"
#include "format/report.h"
#include "t.h"

#include <math.h>
#include <string.h>

static sky_field *field(sky_sample *s, const char *dims, int n, const uint64_t *shape, int k)
{
    sky_err e;
    sky_sample_init(s);
    sky_field *f = sky_sample_begin(s, "a", &e) ? NULL : sky_sample_add(s, "s2", &e);
    if (!f || sky_field_alloc(f, SKY_F32, n, shape, 1, &e) || sky_field_set_dims(f, dims, &e))
        return NULL;
    for (uint64_t i = 0; i < sky_field_count(f); i++)
        ((float *)f->data)[i] = (float)(1e6 + (double)((i * 2654435761u + (unsigned)k * 97) % 1000));
    json_object_set_new(f->meta, "nodata", json_integer(1000003));
    json_object_set_new(f->meta, "bands", json_pack("[s,s,s]", "B2", "B3", "B4"));
    ((float *)f->data)[7] = NAN;
    return f;
}

static void layout(const char *dims, int n, const uint64_t *shape, int c)
{
    sky_band_stats st = {0};
    sky_err e = {0};
    long double sum[3] = {0}, sq[3] = {0};
    uint64_t count[3] = {0};
    int ok = 1;
    for (int pass = 0; pass < 2; pass++)
        for (int k = 0; k < 4; k++) {
            sky_sample s;
            const sky_field *f = field(&s, dims, n, shape, k);
            uint64_t inner = 1;
            for (int i = c + 1; i < n; i++)
                inner *= shape[i];
            for (uint64_t i = 0; i < sky_field_count(f); i++) {
                const double v = ((float *)f->data)[i];
                const uint64_t b = i / inner % 3;
                if (isnan(v) || v == 1000003)
                    continue;
                if (!pass)
                    sum[b] += v, count[b]++;
                else
                    sq[b] += (v - sum[b] / count[b]) * (v - sum[b] / count[b]);
            }
            ok &= pass || !sky_band_stats_add(&st, f, &e);
            sky_sample_free(&s);
        }
    /* Two passes in double: the mean of m values of 1e6 to m * 2^-53, the std to about as much of its square's mean. */
    for (int b = 0; b < 3; b++)
        ok &= st.band[b].n == count[b] && fabs((double)(st.band[b].mean - sum[b] / count[b])) < 1e-6 && fabs(sky_band_std(&st.band[b]) / (double)sqrtl(sq[b] / count[b]) - 1) < 1e-9;
    OK(ok, "dims %s", dims);
    sky_band_stats_free(&st);
}

int main(void)
{
    sky_err e = {0};
    layout("cyx", 3, (const uint64_t[]){3, 40, 30}, 0);
    layout("yxc", 3, (const uint64_t[]){40, 30, 3}, 2);
    layout("tcyx", 4, (const uint64_t[]){2, 3, 20, 30}, 1);
    sky_stat *t = NULL;
    sky_buf text = {0}, json = {0};
    sky_sample s;
    const sky_field *f = field(&s, "cyx", 3, (const uint64_t[]){3, 2, 2}, 0);
    for (int i = 4; i < 8; i++)
        ((float *)f->data)[i] = NAN; /* band 2 has no valid pixel */
    json_t *j = NULL;
    OK(!sky_stat_new(&t, &e) && !sky_stat_add(t, &s, &e) && !sky_stat_print(&text, t, 0, 0, &e) && !sky_stat_print(&json, t, 0, 1, &e), "through the report");
    OK(strstr(text.p, "band\ts2\t1 B2\tmean 1000") && strstr(text.p, "band\ts2\t2 B3\tvalid 0\n"), "text");
    OK(!sky_json_parse(&j, json.p, json.n, "stat", &e), "JSON");
    const json_t *o = json_object_get(json_object_get(j, "fields"), "s2");
    OK(json_array_size(json_object_get(o, "mean")) == 3 && json_is_null(json_array_get(json_object_get(o, "std"), 1)) && !strcmp(json_string_value(json_array_get(json_object_get(o, "bands"), 2)), "B4"),
       "numbers, null, names");
    json_decref(j);
    sky_buf_free(&text), sky_buf_free(&json);
    sky_sample_free(&s);
    f = field(&s, "cyx", 3, (const uint64_t[]){2, 2, 2}, 0); /* another number of bands: nothing is said */
    OK(f && !sky_stat_add(t, &s, &e) && !sky_stat_print(&text, t, 0, 0, &e) && !strstr(text.p, "mean"), "bands that differ in number");
    sky_buf_free(&text);
    sky_sample_free(&s);
    sky_stat_free(t);
    return END();
}
