/* The one-shot preparation against golden numbers (PyTorch/torchvision) and by its rules. */
#include "data/oneshot.h"
#include "base/mem.h"
#include "format/weights.h"
#include "tensor/ops.h"
#include "t.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 512 };

/* ---- golden file ------------------------------------------------------------------------------------------- */

static const void *get(const sky_weights *w, const char *name, sky_dtype t, int64_t elements)
{
    const sky_weight *e = sky_weights_find(w, name);
    int64_t n = e ? 1 : 0;
    for (int i = 0; e && i < e->ndim; i++)
        n *= e->shape[i];
    const void *p = e && e->dtype == t && n == elements ? sky_weights_map(w, e) : NULL;
    OK(p != NULL, "%s is there", name);
    return p;
}

/* every: pixel step; want is planar [3][n][m], got [.,SIDE,3] from row `from`. */
static int planar_diff_i16(const int16_t *got, const int32_t *want, int rows, int cols, int every)
{
    int bad = 0;
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < rows; y++)
            for (int x = 0; x < cols; x++)
                bad += *want++ != got[3 * ((size_t)(y * every) * SIDE + (size_t)(x * every)) + (size_t)c];
    return bad;
}

static double planar_diff_f32(const float *got, const float *want, int rows, int cols, int step_y, int step_x)
{
    double worst = 0;
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < rows; y++)
            for (int x = 0; x < cols; x++) {
                double d = fabs((double)*want++ - got[3 * ((size_t)(y * step_y) * SIDE + (size_t)(x * step_x)) + (size_t)c]);
                worst = d <= worst ? worst : d; /* NaN sticks */
            }
    return worst;
}

static void check_resized(const sky_weights *w, const char *who)
{
    char name[64];
    snprintf(name, sizeof name, "%s.image", who);
    const uint8_t *image = get(w, name, SKY_U8, 256 * 256 * 3);
    snprintf(name, sizeof name, "%s.resized_strided", who);
    const int32_t *strided = get(w, name, SKY_I32, 3 * 64 * 64);
    snprintf(name, sizeof name, "%s.resized_rows", who);
    const int32_t *rows = get(w, name, SKY_I32, 3 * 2 * 512);
    int16_t *out = sky_alloc(SIDE * SIDE * 3 * sizeof *out);
    if (image && strided && rows && out) {
        sky_prep_bicubic_u8(out, SIDE, SIDE, image, 256, 256);
        OK(planar_diff_i16(out, strided, 64, 64, 8) == 0, "%s: integer bicubic, every 8th pixel", who);
        int bad = 0;
        for (int c = 0; c < 3; c++)
            for (int i = 0; i < 2 * SIDE; i++)
                bad += rows[c * 2 * SIDE + i] != out[3 * i + c];
        OK(bad == 0, "%s: integer bicubic, rows 0 and 1", who);
    }
    sky_free(out);
}

/* What the device makes of a canvas: hr normalised, and labels, the query's half 0. */
static int finish_canvas(float *hr, uint8_t *labels, const int16_t *px, const uint8_t *label, const uint8_t slot[256])
{
    sky_ctx c;
    sky_err e;
    static uint8_t both[2 * SIDE * SIDE], table[2][256];
    int rc = sky_ctx_open(&c, "cpu", 1, &e);
    if (rc)
        return 0;
    memcpy(both, label, SIDE * SIDE);
    memcpy(table[0], slot, 256);
    if (!sky_ctx_alloc(&c, 64 << 20, &e)) {
        sky_tensor x = sky_normalise(&c, sky_upload(&c, SKY_I16, 3, (int64_t[]){2 * SIDE, SIDE, 3}, px), 255, sky_norm_rgb[0]);
        sky_tensor y = sky_lookup(&c, sky_upload(&c, SKY_U8, 2, (int64_t[]){2 * SIDE, SIDE}, both), 2, table[0]);
        sky_download(&c, hr, &x);
        sky_download(&c, labels, &y);
        rc = !c.err.code;
    }
    sky_ctx_close(&c);
    return rc;
}

/* The canvas of the stripped file (query = prompt; only its upper half is stored), or of the whole one. */
static void check_canvas(const sky_weights *w, int whole)
{
    uint8_t slot[256] = {0}, mask[32];
    slot[1] = 7;
    const uint8_t *pi = get(w, "prompt.image", SKY_U8, 256 * 256 * 3), *pm = get(w, "prompt.mask", SKY_U8, 256 * 256);
    const uint8_t *qi = whole ? get(w, "query.image", SKY_U8, 256 * 256 * 3) : pi;
    const uint8_t *anno = get(w, "out.anno_mask", SKY_U8, 32);
    const float *strided = get(w, "out.hr_img_strided", SKY_F32, whole ? 3 * 128 * 64 : 3 * 64 * 64);
    const float *rows = get(w, "out.hr_img_rows", SKY_F32, (whole ? 4 : 2) * 3 * 512);
    float *hr = sky_alloc(2 * SIDE * SIDE * 3 * sizeof *hr);
    int16_t *px = sky_alloc(2 * SIDE * SIDE * 3 * sizeof *px);
    uint8_t *labels = sky_alloc(2 * SIDE * SIDE), *label = sky_alloc(SIDE * SIDE);
    if (!pi || !pm || !qi || !anno || !strided || !rows || !hr || !px || !labels || !label)
        return;
    memset(labels, 9, 2 * SIDE * SIDE);
    sky_prep_canvas(px, label, mask, SIDE, pi, 256, 256, pm, 256, 256, qi, 256, 256);
    OK(finish_canvas(hr, labels, px, label, slot), "canvas normalised, labels as slots");
    double d = planar_diff_f32(hr, strided, whole ? 128 : 64, 64, 8, 8);
    OK(d <= 1e-6, "canvas, every 8th pixel: worst difference %g", d);
    d = planar_diff_f32(hr + 3 * SIDE * 510, rows, whole ? 4 : 2, SIDE, 1, 1);
    OK(d <= 1e-6, "canvas, rows around the seam: worst difference %g", d);
    OK(memcmp(mask, anno, 32) == 0, "annotation mask");
    int bad = 0;
    for (int i = SIDE * SIDE; i < 2 * SIDE * SIDE; i++)
        bad += labels[i] != 0;
    OK(bad == 0, "the query's half of the labels is 0");
    if (whole) {
        const uint8_t *want = get(w, "out.labels", SKY_U8, 2 * SIDE * SIDE);
        OK(want && !memcmp(labels, want, SIDE * SIDE), "the prompt's half of the labels");
    } else {
        const uint8_t *want = get(w, "out.labels_strided", SKY_U8, 64 * 64);
        bad = 0;
        for (int i = 0; want && i < 64 * 64; i++)
            bad += want[i] != labels[(size_t)(i / 64 * 8) * SIDE + (size_t)(i % 64 * 8)];
        OK(want && bad == 0, "the prompt's half of the labels, every 8th pixel");
    }
    sky_free(hr), sky_free(px), sky_free(labels), sky_free(label);
}

static void check_absent(const sky_weights *w)
{
    const float *s2 = get(w, "out.s2_absent", SKY_F32, 10), *s1 = get(w, "out.s1_absent", SKY_F32, 2);
    double worst = 0;
    for (int i = 0; s2 && s1 && i < 12; i++) {
        double got = i < 10 ? (0 - sky_norm_s2_mean[i]) / sky_norm_s2_std[i] : (0 - sky_norm_s1_mean[i - 10]) / sky_norm_s1_std[i - 10];
        double d = fabs(got - (double)(i < 10 ? s2[i] : s1[i - 10]));
        worst = d <= worst ? worst : d;
    }
    OK(worst <= 1e-6, "planes of absent Sentinel inputs: worst difference %g", worst);
}

static void check_scoring_side(const sky_weights *w)
{
    const uint8_t *big = get(w, "pred.query_512", SKY_U8, 512 * 512), *small = get(w, "pred.query_256", SKY_U8, 256 * 256);
    uint8_t *out = sky_alloc(256 * 256);
    if (big && small && out) {
        sky_prep_nearest_centre(out, 256, 256, big, 512, 512);
        int bad = 0;
        for (int i = 0; i < 256 * 256; i++)
            bad += (out[i] == 255) != small[i];
        OK(bad == 0, "prediction at the label's size");
    }
    sky_free(out);
}

static void check_file(const char *path, int whole)
{
    sky_err e = {0};
    sky_weights *w = NULL;
    if (sky_weights_open(&w, path, &e)) {
        OK(0, "%s: %s", path, e.msg);
        return;
    }
    printf("# %s\n", path);
    check_resized(w, "prompt");
    check_canvas(w, whole);
    check_absent(w);
    if (whole) {
        check_resized(w, "query");
        check_scoring_side(w);
    }
    sky_weights_close(w);
}

static void check_shared(void)
{
    const char *dir = getenv("SKY_SHARED");
    char path[1024];
    snprintf(path, sizeof path, "%s/golden/prep_1shot.safetensors", dir ? dir : "../shared");
    FILE *f = fopen(path, "rb");
    if (!f) {
        SKIP("no golden files here", "the whole preparation, with the query and the scoring side");
        return;
    }
    fclose(f);
    check_file(path, 1);
}

/* ---- by the rules ------------------------------------------------------------------------------------------ */

/* Straight from the definition, all in double: may differ from the float32 result only next to a tie. */
static double cubic(double x)
{
    const double A = -0.75;
    x = fabs(x);
    return x <= 1 ? ((A + 2) * x - (A + 3)) * x * x + 1 : x < 2 ? ((A * x - 5 * A) * x + 8 * A) * x - 4 * A : 0;
}

static double bicubic_at(const uint8_t *s, int h, int w, int H, int W, int y, int x, int c)
{
    double cy = (y + 0.5) * h / H - 0.5, cx = (x + 0.5) * w / W - 0.5, sum = 0;
    for (int j = (int)floor(cy) - 1; j <= (int)floor(cy) + 2; j++)
        for (int i = (int)floor(cx) - 1; i <= (int)floor(cx) + 2; i++) {
            int yy = j < 0 ? 0 : j > h - 1 ? h - 1 : j, xx = i < 0 ? 0 : i > w - 1 ? w - 1 : i;
            sum += s[3 * (yy * w + xx) + c] * cubic(cy - j) * cubic(cx - i);
        }
    return sum;
}

static void check_bicubic_shapes(void)
{
    static const int shape[][4] = {{1, 1, 5, 7}, {1, 9, 4, 3}, {5, 3, 5, 3}, {13, 300, 40, 129}, {7, 2000, 3, 257}, {64, 4, 9, 9}};
    for (size_t k = 0; k < sizeof shape / sizeof *shape; k++) {
        int h = shape[k][0], w = shape[k][1], H = shape[k][2], W = shape[k][3], bad = 0;
        /* A float32 position errs by up to 2 ulp of the largest one; the filtered picture rises by at most 600 per pixel. */
        double tolerance = 600 * 2 * (w > h ? w : h) * 0x1p-24 + 1e-4;
        uint8_t *s = sky_alloc(3 * (size_t)h * (size_t)w);
        int16_t *d = sky_alloc(6 * (size_t)H * (size_t)W + 2);
        uint32_t seed = 12345;
        for (int i = 0; i < 3 * h * w; i++)
            s[i] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24);
        d[3 * H * W] = 0x5a5a;
        sky_prep_bicubic_u8(d, H, W, s, h, w);
        for (int i = 0; i < 3 * H * W; i++) {
            double want = bicubic_at(s, h, w, H, W, i / 3 / W, i / 3 % W, i % 3);
            bad += !(fabs(d[i] - want) <= 0.5 + tolerance);
        }
        OK(bad == 0 && d[3 * H * W] == 0x5a5a, "bicubic %dx%d to %dx%d agrees with the definition", w, h, W, H);
        sky_free(s), sky_free(d);
    }
}

static void check_nearest(void)
{
    const uint8_t s[5] = {10, 11, 12, 13, 14};
    uint8_t d[8];
    sky_prep_nearest(d, 1, 8, s, 1, 5);
    OK(!memcmp(d, (uint8_t[]){10, 10, 11, 11, 12, 13, 13, 14}, 8), "nearest 5 to 8");
    sky_prep_nearest(d, 1, 2, s, 1, 5);
    OK(d[0] == 10 && d[1] == 12, "nearest 5 to 2");
    sky_prep_nearest_centre(d, 1, 2, s, 1, 4);
    OK(d[0] == 11 && d[1] == 13, "nearest, pixel centres, takes pixel 2i+1 of 4 to 2");
    sky_prep_nearest_centre(d, 2, 3, s, 1, 1);
    OK(!memcmp(d, (uint8_t[]){10, 10, 10, 10, 10, 10}, 6), "one pixel to 3x2");
}

/* ---- fields ------------------------------------------------------------------------------------------------ */

static sky_field *make_field(sky_sample *s, sky_dtype t, const char *dims, int ndim, const uint64_t *shape)
{
    sky_err e;
    if (sky_sample_begin(s, "a", &e))
        return NULL;
    sky_field *f = sky_sample_add(s, "hr", &e);
    if (!f || sky_field_alloc(f, t, ndim, shape, 1, &e) || sky_field_set_dims(f, dims, &e))
        return NULL;
    return f;
}

static void check_rgb_orders(void)
{
    sky_sample s;
    sky_sample_init(&s);
    sky_err e = {0};
    uint8_t *rgb = NULL;
    int h = 0, w = 0;
    sky_field *f = make_field(&s, SKY_U8, "cyx", 3, (uint64_t[]){3, 2, 2});
    memcpy(f->data, (uint8_t[]){1, 2, 3, 4, 11, 12, 13, 14, 21, 22, 23, 24}, 12);
    OK(!sky_prep_rgb(&rgb, &h, &w, f, NULL, &e) && h == 2 && w == 2 && !memcmp(rgb, (uint8_t[]){1, 11, 21, 2, 12, 22, 3, 13, 23, 4, 14, 24}, 12), "U8 cyx as it is");
    sky_free(rgb);
    f = make_field(&s, SKY_U8, "yxc", 3, (uint64_t[]){1, 2, 3});
    memcpy(f->data, (uint8_t[]){1, 2, 3, 4, 5, 6}, 6);
    OK(!sky_prep_rgb(&rgb, &h, &w, f, NULL, &e) && h == 1 && w == 2 && !memcmp(rgb, (uint8_t[]){1, 2, 3, 4, 5, 6}, 6), "U8 yxc as it is");
    sky_free(rgb);
    f = make_field(&s, SKY_U8, "tcyx", 4, (uint64_t[]){2, 3, 1, 1});
    memcpy(f->data, (uint8_t[]){7, 8, 9, 1, 1, 1}, 6);
    OK(!sky_prep_rgb(&rgb, &h, &w, f, NULL, &e) && !memcmp(rgb, (uint8_t[]){7, 8, 9}, 3), "first date of tcyx");
    sky_free(rgb);
    sky_sample_free(&s);
}

/* A window has the pixels that the whole has there: as they are, by 'display', and by the whole's percentiles. */
static void check_rgb_window(void)
{
    sky_sample s;
    sky_sample_init(&s);
    sky_err e = {0};
    uint8_t *all = NULL, *part = NULL;
    int h, w;
    for (int k = 0; k < 3; k++) {
        sky_field *f = make_field(&s, k ? SKY_U16 : SKY_U8, k == 1 ? "yxc" : "cyx", 3, k == 1 ? (uint64_t[]){9, 7, 3} : (uint64_t[]){3, 9, 7});
        for (int i = 0; i < 189; i++)
            sky_store_f64(f->data, f->dtype, (uint64_t)i, i * 37 % 251);
        if (k == 2)
            json_object_set_new(f->meta, "display", json_pack("[ii]", 20, 200));
        int same = !sky_prep_rgb(&all, &h, &w, f, NULL, &e) && !sky_prep_rgb_window(&part, f, NULL, 2, 3, 5, 4, &e);
        for (int y = 0; same && y < 5; y++)
            same &= !memcmp(part + 12 * y, all + 3 * ((2 + y) * 7 + 3), 12);
        OK(same, "a window of the picture, case %d", k);
        sky_free(all), sky_free(part);
        OK(sky_prep_rgb_window(&part, f, NULL, 5, 3, 5, 4, &e) == SKY_EUSAGE, "one that goes past the end");
    }
    sky_sample_free(&s);
}

static void check_rgb_scaled(void)
{
    sky_sample s;
    sky_sample_init(&s);
    sky_err e = {0};
    uint8_t *rgb = NULL;
    int h, w;
    sky_field *f = make_field(&s, SKY_F32, "cyx", 3, (uint64_t[]){4, 1, 2});
    const float v[8] = {100, 200, 300, 700, 400, 50, 900, NAN};
    memcpy(f->data, v, sizeof v);
    json_object_set_new(f->meta, "bands", json_pack("[ssss]", "B2", "B3", "B4", "B8"));
    json_object_set_new(f->meta, "display", json_pack("[ii]", 100, 700));
    OK(!sky_prep_rgb(&rgb, &h, &w, f, NULL, &e) && !memcmp(rgb, (uint8_t[]){128, 85, 0, 0, 255, 42}, 6), "bands by name, 'display' range, clipped, ties to even");
    sky_free(rgb);
    json_object_set_new(f->meta, "display", json_pack("[ii]", 7, 7));
    OK(sky_prep_rgb(&rgb, &h, &w, f, NULL, &e) == SKY_ECORRUPT && strstr(e.msg, "display"), "empty display range: %s", e.msg);
    json_object_set_new(f->meta, "display", json_pack("[[ii][ii][ii][ii]]", 100, 200, 200, 800, 300, 900, 0, 1));
    OK(!sky_prep_rgb(&rgb, &h, &w, f, NULL, &e) && !memcmp(rgb, (uint8_t[]){42, 42, 0, 0, 212, 255}, 6), "'display' has a range for each band");
    sky_free(rgb);
    json_object_set_new(f->meta, "display", json_pack("[[ii][ii][ii]]", 100, 200, 200, 800, 300, 900));
    OK(sky_prep_rgb(&rgb, &h, &w, f, NULL, &e) == SKY_ECORRUPT && strstr(e.msg, "3 ranges for 4 bands"), "a range too few: %s", e.msg);
    json_object_set_new(f->meta, "display", json_pack("[[ii][ii][ii]i]", 100, 200, 200, 800, 300, 900, 5));
    OK(!sky_prep_rgb(&rgb, &h, &w, f, NULL, &e), "the range of a band that is not shown is not looked at");
    sky_free(rgb);
    json_object_set_new(f->meta, "display", json_pack("[ii]", 100, 700));
    OK(!sky_prep_rgb(&rgb, &h, &w, f, (const char[3][16]){"b8", "B4", "B3"}, &e) && !memcmp(rgb, (uint8_t[]){255, 128, 85, 0, 0, 255}, 6), "the bands a model asks for, NaN black");
    sky_free(rgb);
    OK(!sky_prep_rgb(&rgb, &h, &w, f, (const char[3][16]){""}, &e) && !memcmp(rgb, (uint8_t[]){128, 85, 0, 0, 255, 42}, 6), "one that asks for none");
    sky_free(rgb);
    OK(sky_prep_rgb(&rgb, &h, &w, f, (const char[3][16]){"NIR", "B4", "B3"}, &e) == SKY_ECORRUPT && strstr(e.msg, "no band 'NIR'"), "one that is not there: %s", e.msg);
    json_object_set_new(f->meta, "display", json_pack("[[ii]i[ii][ii]]", 100, 200, 5, 300, 900, 0, 1));
    OK(sky_prep_rgb(&rgb, &h, &w, f, NULL, &e) == SKY_ECORRUPT && strstr(e.msg, "display"), "a range that is a number: %s", e.msg);

    f = make_field(&s, SKY_U16, "yx", 2, (uint64_t[]){1, 102});
    for (int i = 0; i < 102; i++)
        ((uint16_t *)f->data)[i] = (uint16_t)(1000 + 10 * (101 - i));
    ((uint16_t *)f->data)[50] = 0;
    json_object_set_new(f->meta, "nodata", json_integer(0));
    /* 101 valid values 1000..2010 without 1510: rank 2 is 1020, rank 98 is 1990 */
    OK(!sky_prep_rgb(&rgb, &h, &w, f, NULL, &e) && rgb[0] == 255 && rgb[3 * 101] == 0 && rgb[3 * 50] == 0 &&
           rgb[3 * 49] == (int)nearbyint((1520 - 1020) * 255.0 / 970) && rgb[3 * 49 + 2] == rgb[3 * 49], "grey by percentiles of valid pixels, nodata black");
    sky_free(rgb);
    f = make_field(&s, SKY_I16, "cyx", 3, (uint64_t[]){2, 3, 3});
    OK(!sky_prep_rgb(&rgb, &h, &w, f, NULL, &e) && rgb[0] == 0 && rgb[26] == 0, "a constant picture is black");
    sky_free(rgb);
    sky_sample_free(&s);
}

static void check_labels(void)
{
    sky_sample s;
    sky_sample_init(&s);
    sky_err e = {0};
    uint8_t *lab = NULL;
    int h, w, good = 0;
    for (sky_dtype t = SKY_BOOL; t < SKY_DTYPES; t++) {
        sky_field *f = make_field(&s, t, "yx", 2, (uint64_t[]){2, 3});
        for (uint64_t i = 0; i < 6; i++)
            sky_store_f64(f->data, t, i, t == SKY_BOOL ? (double)(i & 1) : (double)(i * 20));
        if (sky_prep_label(&lab, &h, &w, f, &e) || h != 2 || w != 3)
            continue;
        int same = 1;
        for (int i = 0; i < 6; i++)
            same &= lab[i] == (t == SKY_BOOL ? i & 1 : i * 20);
        good += same;
        sky_free(lab);
    }
    OK(good == SKY_DTYPES, "labels of every type (%d of %d)", good, SKY_DTYPES);
    for (int wide = 0; wide < 2; wide++) {
        sky_field *f = make_field(&s, wide ? SKY_U16 : SKY_U8, "xy", 2, (uint64_t[]){3, 2});
        for (uint64_t i = 0; i < 6; i++)
            sky_store_f64(f->data, f->dtype, i, (double)i);
        OK(!sky_prep_label(&lab, &h, &w, f, &e) && h == 2 && w == 3 && !memcmp(lab, (uint8_t[]){0, 2, 4, 1, 3, 5}, 6), "columns before rows, %s", wide ? "U16" : "U8");
        sky_free(lab);
    }
    sky_field *f = make_field(&s, SKY_I16, "cyx", 3, (uint64_t[]){1, 2, 2});
    ((int16_t *)f->data)[3] = 256;
    OK(sky_prep_label(&lab, &h, &w, f, &e) == SKY_ECORRUPT && strstr(e.msg, "256") && strstr(e.msg, "row 1, column 1"), "value 256: %s", e.msg);
    ((int16_t *)f->data)[3] = -1;
    OK(sky_prep_label(&lab, &h, &w, f, &e) == SKY_ECORRUPT, "value -1: %s", e.msg);
    ((int16_t *)f->data)[3] = 255;
    OK(!sky_prep_label(&lab, &h, &w, f, &e) && lab[3] == 255, "dims with one plane");
    sky_free(lab);
    f = make_field(&s, SKY_F32, "yx", 2, (uint64_t[]){1, 1});
    *(float *)f->data = 1.5f;
    OK(sky_prep_label(&lab, &h, &w, f, &e) == SKY_ECORRUPT, "value 1.5: %s", e.msg);
    f = make_field(&s, SKY_U8, "cyx", 3, (uint64_t[]){3, 2, 2});
    OK(sky_prep_label(&lab, &h, &w, f, &e) == SKY_ECORRUPT, "three planes: %s", e.msg);
    f = make_field(&s, SKY_U8, "n", 1, (uint64_t[]){3});
    OK(sky_prep_label(&lab, &h, &w, f, &e) == SKY_ECORRUPT, "not a picture: %s", e.msg);
    f->absent = 1;
    OK(sky_prep_rgb(&lab, &h, &w, f, NULL, &e) == SKY_ECORRUPT && strstr(e.msg, "absent"), "absent: %s", e.msg);
    sky_sample_free(&s);
}

int main(void)
{
    check_file("tests/data/prep_1shot_prompt.safetensors", 0);
    check_shared();
    check_bicubic_shapes();
    check_nearest();
    check_rgb_orders();
    check_rgb_window();
    check_rgb_scaled();
    check_labels();
    return END();
}
