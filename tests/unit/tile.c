/* Windows, alignment across fields, edges, resizing, and what a tile says about itself. */
#include "data/tile.h"
#include "base/mem.h"
#include "data/part.h"
#include "data/resize.h"
#include "t.h"

#include <math.h>
#include <string.h>

static sky_err err;

static sky_field *add(sky_sample *s, const char *name, sky_dtype t, const char *dims, const uint64_t *shape)
{
    sky_field *f = sky_sample_add(s, name, &err);
    if (!f || sky_field_alloc(f, t, (int)strlen(dims), shape, 1, &err) || sky_field_set_dims(f, dims, &err))
        return NULL;
    return f;
}

static uint32_t noise(uint32_t *state) { return (*state = *state * 1664525u + 1013904223u) >> 8; }

static void scramble(sky_field *f, uint32_t seed)
{
    uint8_t *p = f->data;
    for (uint64_t i = 0; i < f->nbytes; i++)
        p[i] = (uint8_t)noise(&seed);
}

/* ---- one axis ------------------------------------------------------------------------------------------------ */

static void check_axis(void)
{
    static const struct {
        int64_t length, size, stride;
        sky_edge edge;
        int64_t n, last, last_size;
    } t[] = {
        {1024, 512, 512, SKY_EDGE_SHIFT, 2, 512, 512}, {1000, 512, 512, SKY_EDGE_SHIFT, 2, 488, 512}, {1000, 512, 512, SKY_EDGE_KEEP, 2, 512, 488},
        {1000, 512, 512, SKY_EDGE_PAD, 2, 512, 512},   {1000, 512, 512, SKY_EDGE_DROP, 1, 0, 512},    {256, 512, 512, SKY_EDGE_SHIFT, 1, 0, 256},
        {256, 512, 512, SKY_EDGE_KEEP, 1, 0, 256},     {256, 512, 512, SKY_EDGE_PAD, 1, 0, 512},      {256, 512, 512, SKY_EDGE_DROP, 0, 0, 0},
        {10, 4, 2, SKY_EDGE_KEEP, 4, 6, 4},            {11, 4, 2, SKY_EDGE_KEEP, 5, 8, 3},            {11, 4, 2, SKY_EDGE_SHIFT, 5, 7, 4},
        {10, 3, 5, SKY_EDGE_KEEP, 2, 5, 3},            {12, 3, 5, SKY_EDGE_KEEP, 3, 10, 2},           {1, 1, 1, SKY_EDGE_DROP, 1, 0, 1},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        sky_tile_opts o = {.size = t[i].size, .stride = t[i].stride, .edge = t[i].edge};
        sky_axis a = sky_axis_make(t[i].length, &o);
        int64_t start = -1, size = -1;
        if (a.n)
            sky_axis_window(&a, a.n - 1, &start, &size);
        OK(a.n == t[i].n && (!a.n || (start == t[i].last && size == t[i].last_size)), "%d pixels, size %d, stride %d, edge %d: %d windows, last %d+%d",
           (int)t[i].length, (int)t[i].size, (int)t[i].stride, (int)t[i].edge, (int)a.n, (int)start, (int)size);
    }
}

/* Every pixel is covered, by windows that overlap as asked; none leaves the picture unless padded. */
static void check_axis_all(void)
{
    int bad = 0;
    for (int length = 1; length < 40; length++)
        for (int size = 1; size < 20; size++)
            for (int stride = 1; stride <= size; stride++)
                for (int edge = SKY_EDGE_SHIFT; edge <= SKY_EDGE_PAD; edge++) {
                    sky_tile_opts o = {.size = size, .stride = stride, .edge = (sky_edge)edge};
                    sky_axis a = sky_axis_make(length, &o);
                    int64_t to = 0, start, n;
                    for (int64_t i = 0; i < a.n; i++) {
                        sky_axis_window(&a, i, &start, &n);
                        bad += start > to || start < 0 || n < 1 || (edge != SKY_EDGE_PAD && start + n > length) || start >= length;
                        to = start + n;
                    }
                    bad += to < length;
                }
    OK(bad == 0, "windows cover every pixel of every length, size, stride and edge");
}

/* ---- whole samples -------------------------------------------------------------------------------------------- */

/* 2 x 60 x 52 U16 image, label of the same size, a series at a quarter of the size, a table without y and x. */
static int make_scene(sky_sample *s)
{
    sky_sample_init(s);
    if (sky_sample_begin(s, "scene", &err))
        return -1;
    json_object_set_new(s->meta, "split", json_string("val"));
    sky_field *hr = add(s, "hr", SKY_U16, "cyx", (uint64_t[]){2, 60, 52}), *lab = add(s, "label", SKY_U8, "yx", (uint64_t[]){60, 52});
    sky_field *s2 = add(s, "s2", SKY_F32, "tcyx", (uint64_t[]){3, 2, 15, 13}), *tab = add(s, "bounds", SKY_F64, "n", (uint64_t[]){4}), *s1 = sky_sample_add(s, "s1", &err);
    if (!hr || !lab || !s2 || !tab || !s1)
        return -1;
    s1->absent = 1;
    hr = sky_sample_field(s, "hr"), lab = sky_sample_field(s, "label"), s2 = sky_sample_field(s, "s2"), tab = sky_sample_field(s, "bounds");
    scramble(hr, 1), scramble(s2, 2), scramble(tab, 3);
    for (int i = 0; i < 60 * 52; i++)
        ((uint8_t *)lab->data)[i] = (uint8_t)(i / 52 / 20 + 1);
    json_object_set_new(lab->meta, "role", json_string("label"));
    json_object_set_new(lab->meta, "ignore", json_pack("[i]", 9));
    return sky_field_set_affine(hr, (double[]){2, 0, 1000, 0, -2, 5000}, &err);
}

static uint64_t at(const sky_field *f, const uint64_t *i)
{
    uint64_t n = 0;
    for (int d = 0; d < f->ndim; d++)
        n = n * f->shape[d] + i[d];
    return n;
}

/* Put a tile's pixels where they came from; scale: reference pixels per pixel of this field. */
static void paste(sky_field *whole, const sky_field *part, int64_t y0, int64_t x0)
{
    size_t size = sky_dtype_size(part->dtype);
    int nd = part->ndim;
    uint64_t n = sky_field_count(part);
    for (uint64_t k = 0; k < n; k++) {
        uint64_t i[SKY_MAX_DIMS], r = k;
        for (int d = nd - 1; d >= 0; d--)
            i[d] = r % part->shape[d], r /= part->shape[d];
        i[nd - 2] += (uint64_t)y0, i[nd - 1] += (uint64_t)x0;
        if (i[nd - 2] < whole->shape[nd - 2] && i[nd - 1] < whole->shape[nd - 1])
            memcpy((uint8_t *)whole->data + at(whole, i) * size, (const uint8_t *)part->data + k * size, size);
    }
}

static int rebuilds(const sky_sample *s, const sky_tile_opts *o)
{
    sky_sample back, t;
    sky_sample_init(&back), sky_sample_init(&t);
    sky_tile_plan *p = NULL;
    if (sky_sample_copy(&back, s, &err) || sky_tile_plan_make(&p, s, o, &err))
        return 0;
    for (int i = 0; i < back.nfields - 2; i++)
        memset(back.fields[i].data, 0xEE, back.fields[i].nbytes);
    int ok = 1;
    for (int64_t i = 0; i < sky_tile_count(p) && ok; i++) {
        ok = sky_tile_cut(p, i, NULL, NULL, &t, &err) == 1;
        json_t *w = ok ? json_object_get(t.meta, "window") : NULL;
        int64_t x = json_integer_value(json_array_get(w, 0)), y = json_integer_value(json_array_get(w, 1));
        if (ok) {
            paste(sky_sample_field(&back, "hr"), sky_sample_field(&t, "hr"), y, x);
            paste(sky_sample_field(&back, "label"), sky_sample_field(&t, "label"), y, x);
            paste(sky_sample_field(&back, "s2"), sky_sample_field(&t, "s2"), y / 4, x / 4);
        }
    }
    ok = ok && sky_sample_hash(&back) == sky_sample_hash(s);
    sky_tile_plan_free(p);
    sky_sample_free(&back), sky_sample_free(&t);
    return ok;
}

static void check_rebuild(const sky_sample *s)
{
    static const char *const name[] = {"shift", "keep", "pad"};
    for (int edge = SKY_EDGE_SHIFT; edge <= SKY_EDGE_PAD; edge++)
        for (int size = 4; size <= 64; size += 12)
            for (int stride = size; stride > 0; stride -= 8) {
                sky_tile_opts o = {.size = size, .stride = stride, .edge = (sky_edge)edge};
                OK(rebuilds(s, &o), "size %d, stride %d, %s: the tiles put together are the scene", size, stride, name[edge]);
            }
}

static void check_one_tile(const sky_sample *s)
{
    sky_tile_opts o = {.size = 32, .stride = 32, .edge = SKY_EDGE_PAD};
    sky_tile_plan *p = NULL;
    sky_sample t;
    sky_sample_init(&t);
    OK(!sky_tile_plan_make(&p, s, &o, &err) && sky_tile_count(p) == 4, "60 x 52 by 32 padded: 4 tiles");
    OK(sky_tile_cut(p, 3, NULL, NULL, &t, &err) == 1 && !strcmp(t.id, "scene_r00032_c00032"), "id %s", t.id);
    const sky_field *hr = sky_sample_field(&t, "hr"), *lab = sky_sample_field(&t, "label"), *s2 = sky_sample_field(&t, "s2");
    double a[6];
    OK(sky_field_affine(hr, a) && a[0] == 2 && a[2] == 1064 && a[4] == -2 && a[5] == 4936, "affine of the tile: corner %g %g", a[2], a[5]);
    OK(hr->shape[1] == 32 && hr->shape[2] == 32 && s2->shape[0] == 3 && s2->shape[2] == 8 && s2->shape[3] == 8, "shapes");
    OK(((const uint16_t *)hr->data)[31] == 0 && ((const uint8_t *)lab->data)[31] == 9 && ((const uint8_t *)lab->data)[32 * 31] == 9, "padding: 0 in images, ignore in labels");
    OK(isnan(((const float *)s2->data)[7]), "padding of float images without nodata: NaN");
    OK(sky_sample_field(&t, "s1")->absent && sky_sample_field(&t, "bounds")->nbytes == 32, "absent and plain fields come along");
    json_t *want = json_pack("{s:s,s:s,s:s,s:[iiii],s:[ii]}", "split", "val", "parent", "scene", "on", "hr", "window", 32, 32, 32, 32, "parent_size", 52, 60);
    OK(json_equal(t.meta, want), "meta of the tile");
    json_decref(want);
    want = json_pack("[ii]", 2, 3);
    OK(json_equal(json_object_get(lab->meta, "classes_present"), want), "classes present, without the ignored one");
    json_decref(want);
    sky_tile_plan_free(p);

    sky_sample again;
    sky_sample_init(&again);
    o = (sky_tile_opts){.size = 16, .stride = 16, .edge = SKY_EDGE_SHIFT};
    OK(!sky_tile_plan_make(&p, &t, &o, &err) && sky_tile_cut(p, 1, NULL, NULL, &again, &err) == 1 && !strcmp(again.id, "scene_r00032_c00032_r00000_c00016"), "a tile of a tile");
    const json_t *up = json_object_get(again.meta, "parent_tile");
    OK(!strcmp(json_string_value(json_object_get(again.meta, "parent")), "scene_r00032_c00032") && !strcmp(json_string_value(json_object_get(up, "parent")), "scene"), "and where both lie");
    sky_tile_plan_free(p);
    sky_sample_free(&t), sky_sample_free(&again);
}

/* ---- alignment -------------------------------------------------------------------------------------------------- */

static void check_refused(sky_sample *s, const sky_tile_opts *o, const char *word, const char *what)
{
    sky_tile_plan *p = NULL;
    int rc = sky_tile_plan_make(&p, s, o, &err);
    OK((rc == SKY_ECORRUPT || rc == SKY_ELIMIT) && strstr(err.msg, word), "%s: %s", what, rc ? err.msg : "accepted");
    if (!rc)
        sky_tile_plan_free(p);
}

static void check_misfits(sky_sample *s)
{
    sky_tile_opts o = {.size = 30, .stride = 30, .edge = SKY_EDGE_SHIFT};
    check_refused(s, &o, "'s2'", "30 is no multiple of 4");
    o = (sky_tile_opts){.size = 32, .stride = 32, .on = "s9"};
    check_refused(s, &o, "'s9'", "no such reference field");
    o.on = "s1";
    check_refused(s, &o, "absent", "absent reference field");
    o.on = "bounds";
    check_refused(s, &o, "'bounds'", "reference field without y and x");
    sky_sample t;
    sky_sample_init(&t);
    if (sky_sample_begin(&t, "b", &err) || !add(&t, "hr", SKY_U8, "yx", (uint64_t[]){64, 64}) || !add(&t, "label", SKY_U8, "yx", (uint64_t[]){60, 64}))
        return;
    o = (sky_tile_opts){.size = 32, .stride = 32};
    check_refused(&t, &o, "'label': 60 pixels along y", "sizes that do not divide");
    sky_field *a = sky_sample_field(&t, "hr"), *b = sky_sample_field(&t, "label");
    (void)!sky_field_set_affine(a, (double[]){1, 0, 0, 0, -1, 0}, &err), (void)!sky_field_set_affine(b, (double[]){1, 0, 0, 0, -1, 0}, &err);
    json_object_set_new(a->meta, "crs", json_string("EPSG:32631")), json_object_set_new(b->meta, "crs", json_string("EPSG:4326"));
    check_refused(&t, &o, "EPSG:4326", "two reference systems");
    json_object_set_new(b->meta, "crs", json_string("EPSG:32631"));
    (void)!sky_field_set_affine(b, (double[]){0, 1, 0, 1, 0, 0}, &err);
    check_refused(&t, &o, "rotated", "rotated against the reference");
    (void)!sky_field_set_affine(b, (double[]){0, 0, 0, 0, 0, 0}, &err);
    check_refused(&t, &o, "'label'", "an affine that maps nothing");
    json_object_del(b->meta, "affine");
    json_object_set_new(b->meta, "dims", json_string("yy"));
    check_refused(&t, &o, "twice", "a dimension named twice");
    json_object_set_new(b->meta, "dims", json_string("yx"));
    sky_free(b->data);
    b->data = NULL, b->nbytes = 0, b->shape[1] = (uint64_t)1 << 60;
    b->ref = json_pack("{s:s}", "uri", "x.tif");
    o = (sky_tile_opts){.size = 1 << 24, .stride = 1 << 24, .edge = SKY_EDGE_PAD};
    check_refused(&t, &o, "1152921504606846976 x 60 pixels", "a reference that claims 2^60 pixels a side");
    sky_sample_free(&t);
}

/* hr at 0.6 m, s2 at 10 m starting 100 m to the west and ending before hr does. */
static void check_ground(void)
{
    sky_sample s, t;
    sky_sample_init(&s), sky_sample_init(&t);
    if (sky_sample_begin(&s, "g", &err) || !add(&s, "hr", SKY_U8, "yx", (uint64_t[]){1024, 1024}) || !add(&s, "s2", SKY_I16, "cyx", (uint64_t[]){1, 70, 50}))
        return;
    sky_field *hr = sky_sample_field(&s, "hr"), *s2 = sky_sample_field(&s, "s2");
    for (int i = 0; i < 70 * 50; i++)
        ((int16_t *)s2->data)[i] = (int16_t)i;
    json_object_set_new(s2->meta, "nodata", json_integer(-9));
    if (sky_field_set_affine(hr, (double[]){0.6, 0, 500000, 0, -0.6, 4000000}, &err) || sky_field_set_affine(s2, (double[]){10, 0, 499900, 0, -10, 4000000}, &err))
        return;
    sky_tile_opts o = {.size = 256, .stride = 256};
    sky_tile_plan *p = NULL;
    OK(!sky_tile_plan_make(&p, &s, &o, &err) && sky_tile_count(p) == 16, "ground-aligned plan");
    OK(sky_tile_cut(p, 6, NULL, NULL, &t, &err) == 1, "tile at row 256, column 512");
    const sky_field *f = sky_sample_field(&t, "s2");
    double a[6];
    /* x0 = (512*0.6 + 100)/10 = 40.72 -> 41, width 256*0.6/10 = 15.36 -> 15; y0 = 15.36 -> 15: columns 50..55 are outside */
    OK(f->shape[1] == 15 && f->shape[2] == 15 && ((int16_t *)f->data)[0] == 15 * 50 + 41 && ((int16_t *)f->data)[8] == 15 * 50 + 49 && ((int16_t *)f->data)[9] == -9, "the nearest whole pixels, nodata beyond");
    OK(sky_field_affine(f, a) && a[2] == 499900 + 410 && a[5] == 4000000 - 150, "its own corner %g %g", a[2], a[5]);
    sky_tile_plan_free(p);
    if (sky_field_set_affine(s2, (double[]){10, 0, 600000, 0, -10, 4000000}, &err))
        return;
    OK(!sky_tile_plan_make(&p, &s, &o, &err) && sky_tile_cut(p, 6, NULL, NULL, &t, &err) == 1 && sky_sample_field(&t, "s2")->absent, "a field elsewhere is absent from the tile");
    sky_tile_plan_free(p);
    sky_sample_free(&s), sky_sample_free(&t);
}

/* ---- resize ------------------------------------------------------------------------------------------------------ */

static void check_resize(const sky_sample *s)
{
    sky_tile_opts o = {.size = 32, .stride = 32, .resize = 16, .edge = SKY_EDGE_KEEP};
    sky_tile_plan *p = NULL;
    sky_sample t;
    sky_sample_init(&t);
    OK(!sky_tile_plan_make(&p, s, &o, &err) && sky_tile_cut(p, 3, NULL, NULL, &t, &err) == 1, "resized tile");
    const sky_field *hr = sky_sample_field(&t, "hr"), *s2 = sky_sample_field(&t, "s2"), *lab = sky_sample_field(&t, "label");
    OK(hr->dtype == SKY_U16 && hr->shape[1] == 14 && hr->shape[2] == 10 && s2->shape[2] == 4 && s2->shape[3] == 3 && lab->shape[0] == 14, "sizes shrink in proportion");
    double a[6];
    OK(sky_field_affine(hr, a) && a[0] == 4 && a[4] == -4 && a[2] == 1064, "pixel size grows");
    sky_tile_plan_free(p);
    sky_sample_free(&t);
}

static void check_bicubic(void)
{
    uint8_t in[16], out[64];
    for (int i = 0; i < 16; i++)
        in[i] = i % 4 < 2 ? 0 : 255;
    OK(!sky_resize_bicubic(out, 8, 8, in, 4, 4, SKY_U8, 0, 0, &err) && out[0] == 0 && out[7] == 255 && out[2] == 0 && out[5] == 255, "overshoot saturates to the type");
    float f[4] = {1, 2, 3, 4}, g[16];
    OK(!sky_resize_bicubic(g, 4, 4, f, 2, 2, SKY_F32, 0, 0, &err) && g[0] < 1 && g[15] > 4, "floats keep it");
    float h[4] = {1, -1, 1, 1};
    int rc = sky_resize_bicubic(g, 4, 4, h, 2, 2, SKY_F32, 1, -1, &err), holes = 0, ones = 0;
    for (int i = 0; i < 16; i++)
        holes += g[i] == -1, ones += g[i] == 1;
    OK(!rc && holes == 4 && ones == 12, "nodata stays where its pixel is and leaks nowhere");
    uint16_t w[4] = {7, 8, 9, 10}, big[6];
    sky_resize_nearest(big, 3, 2, w, 2, 2, 2);
    OK(!memcmp(big, (uint16_t[]){7, 8, 7, 8, 9, 10}, 12), "nearest, floor(i * n_in / n_out)");
    double d[3] = {1e300, 1e300, 1e300}, e6[6];
    OK(!sky_resize_bicubic(e6, 1, 6, d, 1, 3, SKY_F64, 0, 0, &err) && fabs(e6[3] / 1e300 - 1) < 1e-12, "large doubles");
}

static void check_interleaved(void)
{
    sky_sample s;
    sky_sample_init(&s);
    if (sky_sample_begin(&s, "i", &err) || !add(&s, "rgb", SKY_U8, "yxc", (uint64_t[]){4, 6, 3}))
        return;
    sky_field *f = &s.fields[0];
    for (int i = 0; i < 72; i++)
        ((uint8_t *)f->data)[i] = (uint8_t)(40 * (i % 3) + 5);
    OK(!sky_field_resize(f, 2, 3, 1, &err) && f->shape[0] == 2 && f->shape[1] == 3 && f->nbytes == 18, "yxc resized");
    int bad = 0;
    for (int i = 0; i < 18; i++)
        bad += ((uint8_t *)f->data)[i] != 40 * (i % 3) + 5;
    OK(bad == 0, "channels stay apart");
    sky_sample_free(&s);
}

/* ---- what it holds -------------------------------------------------------------------------------------------------- */

static int empty_with(sky_dtype t, double image, double label, const char *meta)
{
    sky_sample s;
    sky_sample_init(&s);
    if (sky_sample_begin(&s, "e", &err) || !add(&s, "hr", t, "yx", (uint64_t[]){2, 2}) || !add(&s, "label", SKY_U8, "yx", (uint64_t[]){2, 2}))
        return -1;
    sky_field *hr = sky_sample_field(&s, "hr"), *lab = sky_sample_field(&s, "label");
    sky_fill(hr->data, t, 4, image), sky_fill(lab->data, SKY_U8, 4, label);
    json_object_set_new(hr->meta, "nodata", json_integer(7));
    json_t *extra = json_loads(meta, 0, NULL);
    json_object_update(lab->meta, extra);
    json_decref(extra);
    int r = sky_tile_is_empty(&s);
    sky_sample_free(&s);
    return r;
}

static void check_empty(void)
{
    OK(empty_with(SKY_U16, 1, 1, "{\"role\":\"label\"}") == 0, "class 1: not empty");
    OK(empty_with(SKY_U16, 1, 0, "{\"role\":\"label\"}") == 1, "label 0 without a class table: empty");
    OK(empty_with(SKY_U16, 1, 0, "{\"role\":\"label\",\"classes\":[{\"value\":0,\"name\":\"road\"}]}") == 0, "label 0 is a class of the table: not empty");
    OK(empty_with(SKY_U16, 1, 0, "{\"role\":\"label\",\"classes\":[{\"value\":0},{\"value\":1}]}") == 1, "label 0 is there but has no name: empty, as for the tools after this one");
    OK(empty_with(SKY_U16, 1, 3, "{\"role\":\"label\",\"classes\":[{\"value\":3,\"name\":\"Background\"}]}") == 1, "a class named background: empty");
    OK(empty_with(SKY_U16, 1, 3, "{\"role\":\"label\",\"ignore\":[3]}") == 1, "ignored: empty");
    OK(empty_with(SKY_U16, 7, 1, "{\"role\":\"label\"}") == 1, "image all nodata: empty");
    OK(empty_with(SKY_F32, NAN, 1, "{\"role\":\"label\"}") == 1, "image all NaN: empty");
    OK(empty_with(SKY_U16, 7, 1, "{}") == 0, "two images, one with a pixel: not empty");
}

static void check_presence(void)
{
    sky_sample s;
    sky_sample_init(&s);
    if (sky_sample_begin(&s, "p", &err) || !add(&s, "label", SKY_I32, "yx", (uint64_t[]){100, 100}))
        return;
    sky_field *f = &s.fields[0];
    for (int i = 0; i < 10000; i++)
        ((int32_t *)f->data)[i] = i % 3 == 0 ? 70000 : i % 3 == 1 ? -5 : 12;
    json_t *got = NULL, *want = json_pack("[iii]", -5, 12, 70000);
    OK(!sky_classes_present(&got, f, &err) && json_equal(got, want), "wide and negative classes, ascending");
    json_decref(got), json_decref(want);
    for (int i = 0; i < 10000; i++)
        ((int32_t *)f->data)[i] = i;
    OK(!sky_classes_present(&got, f, &err) && !got, "10000 classes: nothing is said");
    static const float far[] = {INFINITY, -1e30f, 0.5f, NAN};
    for (int i = 0; i < 4; i++) {
        f->dtype = SKY_F32; /* of the same size */
        for (int k = 0; k < 10000; k++)
            ((float *)f->data)[k] = k % 2 ? far[i] : 1;
        OK(!sky_classes_present(&got, f, &err) && !got, "a label of %g: nothing is said", (double)far[i]);
        json_decref(got);
    }
    sky_sample_free(&s);
}

static void check_parts(void)
{
    sky_part p;
    int bad = 0, in_first = 0;
    for (int i = 0; i < 1000; i++) {
        char id[32];
        int in = 0;
        snprintf(id, sizeof id, "scene_r%05d_c00000", i);
        for (int k = 1; k <= 4; k++) {
            char text[8];
            snprintf(text, sizeof text, "%d/4", k);
            bad += sky_part_parse(&p, text, &err) != 0;
            int h = sky_part_holds(&p, id);
            in += h;
            in_first += h && k == 1;
        }
        bad += in != 1;
    }
    OK(bad == 0 && in_first > 200 && in_first < 300, "each of 1000 ids in one of 4 parts, %d in the first", in_first);
    static const char *const wrong[] = {"0/4", "5/4", "1", "1/", "/4", "-1/4", "1/4x", "1/0", "1/9999999", ""};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        OK(sky_part_parse(&p, wrong[i], &err) == SKY_EUSAGE, "part '%s': %s", wrong[i], err.msg);
    OK(!sky_part_parse(&p, NULL, &err) && sky_part_holds(&p, "x"), "no part: everything");
}

int main(void)
{
    sky_sample s;
    check_axis();
    check_axis_all();
    if (make_scene(&s)) {
        OK(0, "test scene: %s", err.msg);
        return END();
    }
    check_rebuild(&s);
    check_one_tile(&s);
    check_misfits(&s);
    check_ground();
    check_resize(&s);
    check_bicubic();
    check_interleaved();
    check_empty();
    check_presence();
    check_parts();
    sky_sample_free(&s);
    return END();
}
