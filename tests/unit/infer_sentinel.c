/* Sentinel fields onto the canvas: other pixel counts are averaged or interpolated, other ground is refused, and of several
 * dates the one nearest to the picture's is taken. Canvas of 4 x 4 cells, field s1 of query and prompt alike. */
#include "base/mem.h"
#include "data/infer_internal.h"
#include "data/oneshot.h"
#include "t.h"

#include <math.h>
#include <string.h>

enum { CELLS = 4, SIDE = 32 * CELLS, CHANNELS = 2 };

static sky_err err;

/* s1 [dates,2,h,w], value(d,c,y,x) = 100 d + 1000 c + 10 y + x / 4; picture hr of 100 x 100 pixels. */
static void make(sky_sample *s, int dates, int h, int w)
{
    const uint64_t shape[] = {(uint64_t)dates, CHANNELS, (uint64_t)h, (uint64_t)w}, hr[] = {3, 100, 100};
    sky_sample_init(s);
    sky_field *f;
    if (sky_sample_begin(s, "a", &err) || !(f = sky_sample_add(s, "s1", &err)) || sky_field_alloc(f, SKY_F32, 4, shape, 1, &err) || sky_field_set_dims(f, "tcyx", &err))
        return;
    float *v = f->data;
    for (int d = 0; d < dates; d++)
        for (int c = 0; c < CHANNELS; c++)
            for (int y = 0; y < h; y++)
                for (int x = 0; x < w; x++)
                    *v++ = (float)(100 * d + 1000 * c + 10 * y + 0.25 * x);
    if (!(f = sky_sample_add(s, "hr", &err)) || sky_field_alloc(f, SKY_U8, 3, hr, 1, &err) || sky_field_set_dims(f, "cyx", &err))
        return;
}

/* 0 and cell[c][y][x] in the field's own numbers, of the query's half; else the error's code. */
static int cells(double cell[CHANNELS][CELLS][CELLS], const sky_sample *s, int first)
{
    const sky_infer in = {.o = {.side = SIDE, .image = "hr", .first_date = first}, .channels = {10, CHANNELS}};
    const sky_infer_task t = {.query = s, .prompt = s};
    float *out = NULL;
    err = (sky_err){0};
    int rc = sky_infer_sentinel(&out, &in, 1, &t, &err);
    for (int i = 0; out && i < CELLS * CELLS * CHANNELS; i++) {
        const int c = i % CHANNELS;
        cell[c][i / CHANNELS / CELLS][i / CHANNELS % CELLS] = out[CELLS * CELLS * CHANNELS + i] * sky_norm_s1_std[c] + sky_norm_s1_mean[c];
    }
    sky_free(out);
    return rc;
}

/* Value of channel c at row y, column x (pixel numbers of the source, with fractions) of the plane make() draws. */
static double plane(int c, double y, double x) { return 1000 * c + 10 * y + 0.25 * x; }

/* Where a cell looks on an axis of n pixels, in pixel numbers. Fewer pixels than cells: at its centre, inside the pixels'
 * centres. More: the mean number of the pixels below n pieces of the cell, of n * CELLS pieces of the axis. */
static double place(int n, int i)
{
    double at = (i + 0.5) * n / CELLS - 0.5, sum = 0;
    if (n < CELLS)
        return at < 0 ? 0 : at > n - 1 ? n - 1 : at;
    for (int piece = i * n; piece < (i + 1) * n; piece++)
        sum += piece / CELLS;
    return sum / n;
}

/* A plane shows where each cell looked. */
static void sizes(void)
{
    static const int size[][2] = {{4, 4}, {8, 8}, {12, 4}, {6, 5}, {7, 9}, {2, 2}, {3, 2}, {1, 1}, {64, 3}};
    for (size_t k = 0; k < sizeof size / sizeof *size; k++) {
        const int h = size[k][0], w = size[k][1];
        double v[CHANNELS][CELLS][CELLS], worst = 0;
        sky_sample s;
        make(&s, 1, h, w);
        const int rc = cells(v, &s, 0);
        for (int c = 0; !rc && c < CHANNELS; c++)
            for (int y = 0; y < CELLS; y++)
                for (int x = 0; x < CELLS; x++)
                    worst = fmax(worst, fabs(v[c][y][x] - plane(c, place(h, y), place(w, x))));
        OK(!rc && worst < 1e-3, "%d x %d pixels: off by %.2g %s", h, w, worst, err.msg); /* values to 1100, as float32 twice: 1.3e-4 */
        sky_sample_free(&s);
    }
}

static void invalid(void)
{
    double v[CHANNELS][CELLS][CELLS];
    sky_sample s;
    make(&s, 1, 8, 8);
    sky_field *f = sky_sample_field(&s, "s1");
    float *p = f->data;
    json_object_set_new(f->meta, "nodata", json_integer(-1));
    p[0] = -1, p[1] = NAN, p[8] = -1; /* three of the four pixels of cell 0,0 */
    p[2] = p[3] = p[10] = p[11] = -1; /* all of cell 0,1 */
    const int rc = cells(v, &s, 0);
    OK(!rc && fabs(v[0][0][0] - plane(0, 1, 1)) < 1e-3 && fabs(v[0][0][1]) < 1e-3 && fabs(v[1][0][1] - plane(1, 0.5, 2.5)) < 1e-3,
       "invalid pixels do not count; a cell of nothing else is 0 (%g %g)", v[0][0][0], v[0][0][1]);
    sky_sample_free(&s);
}

static void ground(void)
{
    double v[CHANNELS][CELLS][CELLS];
    for (int k = 0; k < 4; k++) { /* the same; shifted by less, by more than a pixel; another system */
        sky_sample s;
        make(&s, 1, 8, 8);
        sky_field *f = sky_sample_field(&s, "s1"), *hr = sky_sample_field(&s, "hr");
        const double shift[] = {0, 9, 11, 500};
        int bad = sky_field_set_affine(hr, (double[6]){0.8, 0, 1000, 0, -0.8, 2000}, &err) || json_object_set_new(hr->meta, "crs", json_string("EPSG:32631"));
        bad |= sky_field_set_affine(f, (double[6]){10, 0, 1000 + shift[k], 0, -10, 2000}, &err) || json_object_set_new(f->meta, "crs", json_string(k == 3 ? "EPSG:4326" : "EPSG:32631"));
        const int rc = bad ? -1 : cells(v, &s, 0);
        OK(k == 2 ? rc == SKY_ECORRUPT && strstr(err.msg, "sky-tile --size N --on hr") : rc == 0, "corner %g m off%s: %s", shift[k], k == 3 ? ", in another system" : "", err.msg);
        sky_sample_free(&s);
    }
}

static void channels(void)
{
    const sky_infer in = {.o = {.side = SIDE, .image = "hr"}, .channels = {10, 3}};
    sky_sample s;
    make(&s, 1, 4, 4);
    const sky_infer_task t = {.query = &s, .prompt = &s};
    float *out = NULL;
    int rc = sky_infer_sentinel(&out, &in, 1, &t, &err);
    OK(rc == SKY_ECORRUPT && strstr(err.msg, "takes 3 channels"), "a model of another channel count does not lose the field in silence: %s", err.msg);
    sky_sample_drop(&s, "s1");
    OK(!sky_infer_sentinel(&out, &in, 1, &t, &err) && !out, "without the field it works");
    sky_sample_free(&s);
}

static void dates(void)
{
    static const struct {
        const char *shown, *at[3];
        int first, want;
    } t[] = {
        {NULL, {"2020-01-01", "2020-02-01", "2020-03-01"}, 0, 0},
        {"2020-02-20", {"2020-01-01", "2020-02-01", "2020-03-01"}, 0, 2},
        {"2020-02-20", {"2020-01-01", "2020-02-01", "2020-03-01"}, 1, 0},
        {"2020-02-20", {NULL, "2020-02-01", NULL}, 0, 1},
        {"2020-02-20", {NULL, "2020-02-01", "2020-02-21"}, 1, 1},
        {"2020-03-01T00:00:00Z", {"2021-03-01T00:00:00Z", "2020-02-29T23:59:59Z", "2020-03-01T00:00:02Z"}, 0, 1},
        {"2020-01-02", {"2020-01-03", "2020-01-01", "2019-12-01"}, 0, 1}, /* as near: the earlier one */
        {"not a time", {NULL, "2020-01-01", "2019-12-01"}, 0, 1},
    };
    for (size_t k = 0; k < sizeof t / sizeof *t; k++) {
        double v[CHANNELS][CELLS][CELLS] = {0};
        sky_sample s;
        make(&s, 3, 4, 4);
        json_object_set_new(sky_sample_field(&s, "s1")->meta, "times", json_pack("[s?,s?,s?]", t[k].at[0], t[k].at[1], t[k].at[2]));
        if (t[k].shown)
            json_object_set_new(sky_sample_field(&s, "hr")->meta, "times", json_pack("[s]", t[k].shown));
        const int rc = cells(v, &s, t[k].first);
        OK(!rc && fabs(v[0][0][0] - 100 * t[k].want) < 1e-3, "picture of %s%s: date %d %s", t[k].shown ? t[k].shown : "unknown time", t[k].first ? ", the first wanted" : "", t[k].want, err.msg);
        sky_sample_free(&s);
    }
}

int main(void)
{
    sizes();
    invalid();
    ground();
    dates();
    channels();
    return END();
}
