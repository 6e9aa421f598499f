/* Rasters by window and band, and polygons drawn on a grid, on the scenes of examples/toulouse. */
#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "geo/geo.h"
#include "t.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SCENE "examples/toulouse/QB_1_ortho.tif"

static void facts(void)
{
    sky_err e = {0};
    sky_geo *g = NULL;
    int rc = sky_geo_open(&g, SCENE, &e);
    OK(!rc, "opens %s", e.msg);
    if (rc)
        return;
    const sky_geo_info *i = sky_geo_get(g);
    OK(i->width == 512 && i->height == 512 && i->bands == 4 && i->dtype == SKY_F32, "size, bands, type");
    OK(i->crs && !strcmp(i->crs, "EPSG:32631"), "reference system");
    OK(i->has_affine && fabs(i->affine[0] - 2.55939) < 1e-9 && i->affine[1] == 0 && fabs(i->affine[2] - 370586.26540896) < 1e-6 &&
           i->affine[3] == 0 && fabs(i->affine[4] + 2.76378) < 1e-9 && fabs(i->affine[5] - 4831767.91184025) < 1e-6,
       "affine in our order");
    OK(!i->has_nodata && !i->time, "nothing is said that the file does not say");
    float *all = malloc(4 * 512 * 512 * 4), win[2 * 5 * 3];
    OK(!sky_geo_read(g, 0, 0, 512, 512, NULL, 0, SKY_F32, all, &e) && sky_crc32c(0, all, 4 * 512 * 512 * 4) == 0x43ee3871,
       "pixels are those of the original file");
    int bands[2] = {4, 1}, same = 1;
    OK(!sky_geo_read(g, 509, 100, 3, 5, bands, 2, SKY_F32, win, &e), "window at the right edge");
    for (int b = 0; b < 2; b++)
        for (int y = 0; y < 5; y++)
            for (int x = 0; x < 3; x++)
                same &= win[(b * 5 + y) * 3 + x] == all[((bands[b] - 1) * 512 + 100 + y) * 512 + 509 + x];
    OK(same, "bands in the order asked for");
    uint8_t bytes[6];
    OK(!sky_geo_read(g, 0, 0, 3, 2, bands, 1, SKY_U8, bytes, &e) && bytes[0] == (all[3 * 512 * 512] > 255 ? 255 : (uint8_t)lrintf(all[3 * 512 * 512])),
       "another type saturates");
    OK(sky_geo_read(g, 510, 0, 3, 1, NULL, 0, SKY_F32, win, &e) == SKY_EUSAGE, "window outside: %s", e.msg);
    OK(sky_geo_read(g, 0, 0, 1, 1, (int[]){5}, 1, SKY_F32, win, &e) == SKY_EUSAGE, "band outside: %s", e.msg);
    OK(sky_geo_read(g, 0, 0, 1, 1, NULL, 0, SKY_BF16, win, &e) == SKY_EUSAGE, "type GDAL has not: %s", e.msg);
    sky_geo_close(g);
    free(all);
}

static void references(void)
{
    sky_err e = {0};
    sky_sample s;
    sky_sample_init(&s);
    float a[6], b[6];
    sky_geo *g = NULL;
    sky_field *f = !sky_sample_begin(&s, "x", &e) ? sky_sample_add(&s, "hr", &e) : NULL;
    f->dtype = SKY_F32;
    f->ref = json_pack("{s:s,s:[i,i,i,i],s:[i]}", "uri", SCENE, "window", 100, 200, 50, 40, "bands", 2);
    int rc = sky_geo_open(&g, SCENE, &e);
    OK(!rc && !sky_geo_read(g, 110, 205, 3, 2, (int[]){2}, 1, SKY_F32, a, &e) && !sky_geo_read_ref(f, g, 10, 5, 3, 2, b, &e) &&
           !memcmp(a, b, sizeof a),
       "a field by reference is read in its own grid");
    memset(b, 0, sizeof b);
    OK(!sky_geo_read_ref(f, NULL, 10, 5, 3, 2, b, &e) && !memcmp(a, b, sizeof a), "and opened when needed");
    OK(sky_geo_read_ref(f, g, 48, 0, 3, 1, b, &e) == SKY_EUSAGE, "leaves the field: %s", e.msg);
    json_object_set_new(f->ref, "window", json_pack("[i,i,i,i]", 500, 0, 50, 40));
    OK(sky_geo_read_ref(f, g, 0, 0, 1, 1, b, &e) == SKY_ECORRUPT, "reference leaves the raster: %s", e.msg);
    json_object_set_new(f->ref, "window", json_pack("[i,i,i,s]", 0, 0, 50, "x"));
    OK(sky_geo_read_ref(f, g, 0, 0, 1, 1, b, &e) == SKY_ECORRUPT, "window of words: %s", e.msg);
    OK(!sky_geo_describe(g, f, &e) && !strcmp(json_string_value(json_object_get(f->meta, "crs")), "EPSG:32631") &&
           json_array_size(json_object_get(f->meta, "affine")) == 6 && !json_object_get(f->meta, "times"),
       "what the raster knows goes into meta");
    sky_geo_close(g);
    sky_sample_free(&s);
}

static void damage(void)
{
    sky_err e = {0};
    sky_geo *g = NULL;
    OK(sky_geo_open(&g, "tests/t.h", &e) == SKY_ECORRUPT && strstr(e.msg, "tests/t.h"), "no raster: %s", e.msg);
    OK(sky_geo_open(&g, "/nonexistent.tif", &e) == SKY_EIO, "no file: %s", e.msg);
    char *p;
    size_t n;
    if (sky_read_file(&p, &n, SCENE, 1 << 24, &e))
        return;
    float *px = malloc(4 * 512 * 512 * 4);
    int rc = sky_geo_memory(&g, p, n, "mem.tif", &e);
    OK(!rc && !sky_geo_read(g, 0, 0, 512, 512, NULL, 0, SKY_F32, px, &e) && sky_crc32c(0, px, 4 * 512 * 512 * 4) == 0x43ee3871, "from memory");
    sky_geo_close(g);
    rc = sky_geo_memory(&g, p, n / 2, "cut.tif", &e);
    if (!rc) {
        rc = sky_geo_read(g, 0, 0, 512, 512, NULL, 0, SKY_F32, px, &e);
        sky_geo_close(g);
    }
    OK(rc == SKY_ECORRUPT && strstr(e.msg, "cut.tif: "), "cut in half: %s", e.msg);
    free(px);
    sky_free(p);
}

/* ---- polygons ------------------------------------------------------------------------------------------------ */

static int number(void *arg, const char *s, sky_err *e)
{
    (void)arg;
    if (!strcmp(s, "bad"))
        return sky_fail(e, SKY_ECORRUPT, "'bad' is no class");
    return !strcmp(s, "skip") ? -1 : atoi(s);
}

static const char head[] = "{\"type\":\"FeatureCollection\",\"features\":[";
#define SQUARE(class, x0, y0, x1, y1)                                                                                  \
    "{\"type\":\"Feature\",\"properties\":{\"class\":" class "},\"geometry\":{\"type\":\"Polygon\",\"coordinates\":[[[" x0 "," y0 \
    "],[" x1 "," y0 "],[" x1 "," y1 "],[" x0 "," y1 "],[" x0 "," y0 "]]]}}"

/* A grid of 10 x 10 cells of one degree from 10 E 60 N down to 50 N. */
static int64_t draw(uint16_t px[100], const char *features, const char *crs, sky_err *e)
{
    static const double a[6] = {1, 0, 10, 0, -1, 60};
    char text[4096];
    memset(px, 0, 200);
    int n = snprintf(text, sizeof text, "%s%s]}", head, features);
    return sky_geo_rasterise_memory(px, &(sky_geo_grid){10, 10, a, crs}, text, (size_t)n, "p.geojson", "class", number, NULL, e);
}

static int64_t sum(const uint16_t px[100])
{
    int64_t s = 0;
    for (int i = 0; i < 100; i++)
        s += px[i];
    return s;
}

static void polygons(void)
{
    uint16_t px[100];
    sky_err e = {0};
    OK(draw(px, SQUARE("3", "12", "57", "14", "59"), "EPSG:4326", &e) == 1 && px[12] == 3 && px[13] == 3 && px[22] == 3 && px[23] == 3 && sum(px) == 12,
       "longitude is x, latitude is y %s", e.msg);
    OK(draw(px, SQUARE("3", "12", "57", "14", "59") "," SQUARE("\"5\"", "13", "50", "14", "60"), "EPSG:4326", &e) == 2 && px[12] == 3 && px[13] == 5 && px[3] == 5,
       "later polygons win; classes as numbers or words");
    OK(draw(px, SQUARE("3", "12.6", "57", "13.4", "59"), "EPSG:4326", &e) == 1 && sum(px) == 0, "a sliver that holds no pixel centre draws nothing");
    OK(draw(px, SQUARE("\"skip\"", "12", "57", "14", "59"), "EPSG:4326", &e) == 0 && sum(px) == 0, "left out");
    OK(draw(px, SQUARE("\"bad\"", "12", "57", "14", "59"), "EPSG:4326", &e) == SKY_ECORRUPT && strstr(e.msg, "feature 0: 'bad'"), "%s", e.msg);
    OK(draw(px, "{\"type\":\"Feature\",\"properties\":{},\"geometry\":null}", "EPSG:4326", &e) == SKY_ECORRUPT && strstr(e.msg, "no property 'class'"), "%s", e.msg);
    OK(draw(px, "{\"type\":\"Feature\",\"properties\":{\"class\":1},\"geometry\":{\"type\":\"Point\",\"coordinates\":[12,55]}}", "EPSG:4326", &e) == SKY_ECORRUPT,
       "%s", e.msg);
    OK(draw(px, "oops", "EPSG:4326", &e) == SKY_ECORRUPT, "%s", e.msg);
    OK(draw(px, SQUARE("3", "12", "57", "14", "59"), "EPSG:999999", &e) == SKY_ECORRUPT, "%s", e.msg);
    OK(draw(px, SQUARE("3", "12", "57", "14", "59"), NULL, &e) == SKY_ECORRUPT, "%s", e.msg);
    OK(draw(px, SQUARE("3", "100", "57", "114", "59"), "EPSG:4326", &e) == 1 && sum(px) == 0, "outside the image");
}

/* Counts agree with an independent projection (series of Krueger) and even-odd test of pixel centres to one pixel. */
static void scenes(void)
{
    static const int want[3][5] = {{0, 4244, 565, 9558, 92}, {0, 4072, 562, 189, 289}, {0, 2470, 1040, 455, 171}};
    for (int k = 0; k < 3; k++) {
        char image[64], polys[64];
        sky_err e = {0};
        sky_geo *g = NULL;
        int n[5] = {0};
        uint16_t *px = calloc(512 * 512, 2);
        snprintf(image, sizeof image, "examples/toulouse/QB_%d_ortho.tif", k + 1);
        snprintf(polys, sizeof polys, "examples/toulouse/QB_%d_classes.geojson", k + 1);
        int rc = sky_geo_open(&g, image, &e);
        int64_t burnt = rc ? rc : sky_geo_rasterise(px, &(sky_geo_grid){512, 512, sky_geo_get(g)->affine, sky_geo_get(g)->crs}, polys, "class", number, NULL, &e);
        for (int i = 0; i < 512 * 512; i++)
            n[px[i] < 5 ? px[i] : 0]++;
        int ok = burnt == 4;
        for (int c = 1; c < 5; c++)
            ok &= abs(n[c] - want[k][c]) <= 1;
        OK(ok, "QB_%d: %d %d %d %d pixels %s", k + 1, n[1], n[2], n[3], n[4], e.msg);
        sky_geo_close(g);
        free(px);
    }
}

/* Formats of other sensors, where the shared samples are at hand. */
static void readers(void)
{
    static const struct {
        const char *file;
        int w, h, bands;
        sky_dtype t;
        int nodata;
        const char *crs;
    } f[] = {{"s2a_l2a_t30uxu_20220317T111749.jp2", 512, 512, 3, SKY_U8, 0, "EPSG:32630"},
             {"s1a_33NWB_vv_DES_007_20200108t044150_100x100.tif", 100, 100, 1, SKY_F32, 1, "EPSG:32633"},
             {"WV2_MUL_ROI_1000_100.tif", 100, 100, 8, SKY_F64, 0, NULL},
             {"L5Strip.tif", 150, 700, 7, SKY_I16, 0, NULL},
             {"SP67_FR_subset_1.tif", 251, 304, 4, SKY_U8, 0, "EPSG:2154"}};
    const char *shared = getenv("SKY_SHARED") ? getenv("SKY_SHARED") : "../shared";
    for (size_t k = 0; k < sizeof f / sizeof *f; k++) {
        char path[512];
        sky_err e = {0};
        sky_geo *g = NULL;
        snprintf(path, sizeof path, "%s/samples/readers/%s", shared, f[k].file);
        FILE *there = fopen(path, "r");
        if (!there) {
            SKIP("no shared samples", f[k].file);
            continue;
        }
        fclose(there);
        int rc = sky_geo_open(&g, path, &e);
        const sky_geo_info *i = rc ? NULL : sky_geo_get(g);
        OK(i && i->width == f[k].w && i->height == f[k].h && i->bands == f[k].bands && i->dtype == f[k].t && (!f[k].nodata || i->has_nodata) &&
               (!f[k].crs || (i->crs && !strcmp(i->crs, f[k].crs))),
           "%s %s %s", f[k].file, i && i->crs ? i->crs : "-", e.msg);
        sky_geo_close(g);
    }
}

/* A whole JPEG is read in a way of its own (photo.c); windows and single bands are not. */
static void photos(void)
{
    static const char *const file[] = {"flood3i/Images/a_0_0.jpg", "odd.jpg"}; /* odd: 37 x 23, no multiple of 16 pixels */
    for (int k = 0; k < 2; k++) {
        char path[64];
        sky_err e = {0};
        sky_geo *g = NULL;
        snprintf(path, sizeof path, "tests/data/%s", file[k]);
        int rc = sky_geo_open(&g, path, &e), w = rc ? 0 : sky_geo_get(g)->width, h = rc ? 0 : sky_geo_get(g)->height;
        size_t n = (size_t)w * (size_t)h, differ = 0;
        uint8_t *all = sky_alloc(3 * n), *one = sky_alloc(n);
        rc = rc ? rc : sky_geo_read(g, 0, 0, w, h, NULL, 0, SKY_U8, all, &e);
        for (int b = 1; b <= 3 && !rc; b++) {
            rc = sky_geo_read(g, 0, 0, w, h, &b, 1, SKY_U8, one, &e);
            for (size_t i = 0; i < n; i++)
                differ += one[i] != all[(size_t)(b - 1) * n + i];
        }
        OK(!rc && n && !differ, "%s, %dx%d: whole is as band by band (%zu differ) %s", file[k], w, h, differ, e.msg);
        sky_free(all);
        sky_free(one);
        sky_geo_close(g);
    }
}

int main(void)
{
    facts();
    photos();
    references();
    damage();
    polygons();
    scenes();
    readers();
    return END();
}
