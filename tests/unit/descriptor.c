/* Patterns, class tables, descriptors, and the plan they make of a list of files. */
#include "base/io.h"
#include "base/mem.h"
#include "data/descriptor.h"
#include "data/plan.h"
#include "data/tar.h"
#include "t.h"

#include <stdlib.h>
#include <string.h>

/* ---- patterns -------------------------------------------------------------------------------------------------- */

/* The tokens' values joined by '|', "no" when it does not match, "bad" when the pattern is refused. */
static const char *match(const char *pattern, const char *path)
{
    static char got[256];
    sky_err e = {0};
    sky_pattern *g;
    sky_span v[SKY_PATTERN_TOKENS];
    if (sky_pattern_parse(&g, pattern, "test", &e))
        return "bad";
    strcpy(got, "no");
    if (sky_pattern_match(g, path, v)) {
        size_t n = 0;
        for (int i = 0; i < sky_pattern_tokens(g); i++)
            n += (size_t)snprintf(got + n, sizeof got - n, "%s%.*s", i ? "|" : "", (int)v[i].n, v[i].p);
        got[n] = 0;
    }
    sky_pattern_free(g);
    return got;
}

static void patterns(void)
{
    static const char *const c[][3] = {{"Images/{id}_{r:d}_{c:d}.jpg", "/x/Images/a_0_1.jpg", "a|0|1"},
                                       {"Images/{id}_{r:d}_{c:d}.jpg", "/x/Images/a_b_12_34.jpg", "a_b|12|34"},
                                       {"Images/{id}_{r:d}_{c:d}.jpg", "/x/Images/a_0_x.jpg", "no"},
                                       {"Images/{id}.jpg", "/x/MyImages/a.jpg", "no"},
                                       {"Images/{id}.jpg", "Images/a.jpg", "a"},
                                       {"Images/{id}.jpg", "/x/Images/y/a.jpg", "no"},
                                       {"{id}.tif", "/x/y/a.tif", "a"},
                                       {"{id}.tif", "/x/y/.tif", "no"},
                                       {"{a}_{b}", "x_y_z", "x|y_z"},
                                       {"{split:train|validation}/{id}.t", "/q/validation/7.t", "validation|7"},
                                       {"{split:train|val}/{id}.t", "/q/validation/7.t", "no"},
                                       {"{w:a|ab}{x:b|c}", "abc", "ab|c"},
                                       {"{w:a|ab}{x}", "abc", "a|bc"},
                                       {"*/*.png", "/a/b/c.png", "b|c"},
                                       {"fixed.txt", "/a/fixed.txt", ""},
                                       {"fixed.txt", "/a/prefixed.txt", "no"},
                                       {"{id}_24label.png", "GF2_PMS1__L1A0001064454-MSS1_24label.png", "GF2_PMS1__L1A0001064454-MSS1"},
                                       {"{id}.png", "Amazon_1110.tiff_25.png", "Amazon_1110.tiff_25"},
                                       {"{id", "x", "bad"},
                                       {"{}", "x", "bad"},
                                       {"{a b}", "x", "bad"},
                                       {"{a:}", "x", "bad"},
                                       {"{a}/{a}", "x", "bad"},
                                       {"", "x", "bad"}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++)
        OK(!strcmp(match(c[i][0], c[i][1]), c[i][2]), "'%s' on '%s': %s", c[i][0], c[i][1], match(c[i][0], c[i][1]));
    /* 16 tokens on 500 equal characters would take 10^30 tries without the memory of failures. */
    char many[128] = "", path[512];
    for (int i = 0; i < 16; i++)
        sprintf(many + strlen(many), "{t%d}", i);
    memset(path, 'a', 500);
    strcpy(path + 500, "b");
    strcat(many, "c");
    OK(!strcmp(match(many, path), "no"), "a pattern with many splits ends");
}

/* ---- class tables ------------------------------------------------------------------------------------------------ */

static sky_labels *table(const char *yaml, sky_err *e)
{
    json_t *o = NULL;
    sky_labels *l = NULL;
    *e = (sky_err){0};
    if (sky_yaml_parse(&o, yaml, strlen(yaml), "t", e) || sky_labels_parse(&l, o, "t", e))
        l = NULL;
    json_decref(o);
    return l;
}

static void labels(void)
{
    sky_err e;
    uint8_t px[4] = {0, 3, 255, 3}, out[4];
    sky_labels *l = table("{classes: [{value: 3, name: wet}], ignore: [0, 255]}", &e);
    OK(l && sky_labels_identity(l) && !sky_labels_values(l, out, px, SKY_U8, 4, 2, &e) && !memcmp(out, px, 4), "classes and ignored values pass");
    px[3] = 4;
    OK(l && sky_labels_values(l, out, px, SKY_U8, 4, 2, &e) == SKY_ECORRUPT && !strcmp(e.msg, "row 1 column 1: value 4 is no class of the data set"), "%s", e.msg);
    OK(l && sky_labels_word(l, "wet", &e) == 3 && sky_labels_word(l, "3", &e) == 3 && sky_labels_word(l, "3.0", &e) == 3 && sky_labels_word(l, "dry", &e) == SKY_ECORRUPT,
       "words and numbers");
    sky_labels_free(l);
    l = table("{map: {10: 1, 20: 2, forest: 7}, ignore: [9]}", &e);
    int16_t big[3] = {20, 10, 20};
    OK(l && !sky_labels_identity(l) && sky_labels_dtype(l, SKY_I16) == SKY_U8 && !sky_labels_values(l, out, big, SKY_I16, 3, 3, &e) && out[0] == 2 && out[1] == 1,
       "map from another type");
    OK(l && sky_labels_word(l, "forest", &e) == 7 && sky_labels_word(l, "20", &e) == 2, "map of words");
    big[2] = -1;
    OK(l && sky_labels_values(l, out, big, SKY_I16, 3, 3, &e) == SKY_ECORRUPT, "%s", e.msg);
    float half[1] = {1.5f}, nan[1] = {0};
    nan[0] /= nan[0];
    OK(l && sky_labels_values(l, out, half, SKY_F32, 1, 1, &e) == SKY_ECORRUPT && sky_labels_values(l, out, nan, SKY_F32, 1, 1, &e) == SKY_ECORRUPT, "fractions and NaN are no classes");
    sky_labels_free(l);
    l = table("{map: {0-127: 0, 128-254: 1, 9-2: 4, 255: 255}, ignore: [255]}", &e);
    const uint8_t soft[4] = {127, 128, 254, 255};
    OK(l && !sky_labels_values(l, out, soft, SKY_U8, 4, 4, &e) && out[0] == 0 && out[1] == 1 && out[2] == 1 && out[3] == 255, "map of ranges");
    sky_labels_free(l);
    l = table("{}", &e);
    OK(l && sky_labels_identity(l) && sky_labels_dtype(l, SKY_I32) == SKY_I32, "no table: values pass");
    sky_labels_free(l);
    l = table("{classes: [{value: 300}]}", &e);
    OK(l && sky_labels_dtype(l, SKY_U16) == SKY_U16, "classes above 255 need two bytes");
    sky_labels_free(l);
    l = table("{values: color, classes: [{value: 1, color: [255, 0, 0]}, {value: 2, color: [0, 0, 255]}]}", &e);
    uint8_t rgb[6] = {255, 0, 0, 0, 0, 255};
    OK(l && !sky_labels_colours(l, out, rgb, 3, 2, 2, &e) && out[0] == 1 && out[1] == 2, "colours");
    uint8_t off[9] = {255, 0, 250, 0, 0, 0, 0, 255, 3};
    OK(l && sky_labels_colours(l, out, off, 3, 3, 3, &e) == SKY_ECORRUPT && !strcmp(e.msg, "row 0 column 2: colour (250,0,3) is no class of the data set"), "%s", e.msg);
    sky_labels_free(l);
    l = table("{values: color, off_palette: nearest, classes: [{value: 1, color: [255, 0, 0]}, {value: 2, color: [0, 0, 255]}]}", &e);
    OK(l && !sky_labels_colours(l, out, off, 3, 3, 3, &e) && out[2] == 1, "nearest colour");
    sky_labels_free(l);
    static const char *const bad[] = {"{classes: [{name: x}]}", "{classes: [{value: 1}, {value: 1}]}", "{classes: 1}", "{classes: [{value: 70000}]}",
                                      "{map: {1: x}}", "{map: {-1: 1}}", "{map: {1-9: 1, 9: 2}}", "{map: {1-70000: 1}}", "{values: colour}", "{values: color}", "{values: color, classes: [{value: 1}]}",
                                      "{ignore: [x]}", "{off_palette: far}", "{classes: [{value: 1, color: [1, 2]}]}", "{classes: [{value: 1, colour: [1, 2, 3]}]}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        l = table(bad[i], &e);
        OK(!l && e.code == SKY_ECORRUPT, "%s: %s", bad[i], e.msg);
        sky_labels_free(l);
    }
}

/* ---- descriptors --------------------------------------------------------------------------------------------------- */

static sky_dataset *parse(const char *yaml, sky_err *e)
{
    sky_dataset *d = NULL;
    *e = (sky_err){0};
    return sky_dataset_parse(&d, yaml, strlen(yaml), "d.yaml", NULL, NULL, e) ? NULL : d;
}

static void shipped(void)
{
    static const char *const names[] = {"flood3i", "toulouse", "amazon", "skysensepp-list", "folder"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[64];
        sky_err e = {0};
        sky_dataset *d = NULL;
        snprintf(path, sizeof path, "formats/datasets/%s.yaml", names[i]);
        OK(!sky_dataset_load(&d, path, strcmp(names[i], "folder") ? NULL : "{id}.jpg", NULL, &e) && !strcmp(d->name, names[i]) && d->nfields >= 2, "%s %s", path, e.msg);
        sky_dataset_free(d);
    }
}

/* The example of sky-dataset(5), cut out of the page. */
static void example(void)
{
    char *page, *from, *to;
    size_t n;
    sky_err e = {0};
    sky_dataset *d = NULL;
    if (sky_read_file(&page, &n, "man/sky-dataset.5", 1 << 20, &e))
        return;
    from = strstr(page, "dataset: mine");
    to = from ? strstr(from, ".Ed") : NULL;
    OK(to && !sky_dataset_parse(&d, from, (size_t)(to - from), "man", NULL, NULL, &e) && d->nsplits == 2 && !strcmp(sky_pattern_text(d->id), "{site}_{n}"), "the manual's example %s", e.msg);
    sky_dataset_free(d);
    sky_free(page);
}

static void refused(void)
{
    static const char *const c[][2] = {
        {"[1]", "expected a mapping"},
        {"{fields: {}}", "'dataset'"},
        {"{dataset: x, fields: {}}", "'fields' is empty"},
        {"{dataset: x, colour: 1, fields: {h: {role: image, path: '{i}'}}}", "d.yaml: unknown key 'colour'"},
        {"{dataset: x, fields: {h: {role: image, path: '{i}', classes: []}}}", "fields.h: unknown key 'classes'"},
        {"{dataset: x, fields: {h: {role: photo, path: '{i}'}}}", "'role' must be"},
        {"{dataset: x, fields: {h: {role: image}}}", "'path'"},
        {"{dataset: x, fields: {h: {role: image, path: 'a.jpg'}}}", "no token"},
        {"{dataset: x, fields: {h: {role: image, path: '{i}', dtype: U7}}}", "'dtype'"},
        {"{dataset: x, fields: {h: {role: image, path: '{i}', bands: [a, b], mean: [1]}}}", "'mean' must list 2 numbers"},
        {"{dataset: x, fields: {h: {role: image, path: '{i}', bands: [a, b], display: [1]}}}", "'display' must list 2 numbers"},
        {"{dataset: x, fields: {h: {role: image, path: '{i}', bands: [a, b], display: [[1, 2]]}}}", "'display' must be [lo, hi] or one such pair for each of the 'bands'"},
        {"{dataset: x, fields: {h: {role: image, path: '{i}', bands: [a, b], display: [[1, 2], [3, x]]}}}", "'display' must be"},
        {"{dataset: x, fields: {h: {role: image, path: '{i}', reader: jpg}}}", "'reader'"},
        {"{dataset: x, fields: {h: {role: image, path: '{i}'}, l: {role: label, path: '{j}'}}}", "lacks the token 'i'"},
        {"{dataset: x, fields: {h: {role: image, path: '{i}'}, l: {role: label, path: '{i}', grid: q}}}", "'grid' must name"},
        {"{dataset: x, fields: {h: {role: image, path: '{i}'}, l: {role: label, path: '{i}', reader: polygons}}}", "polygons need"},
        {"{dataset: x, fields: {l: {role: label, path: '{i}'}}}", "the first field must be an image"},
        {"{dataset: x, fields: {h: {role: image, path: $images}}}", "needs --images"},
        {"{dataset: x, fields: {h: {role: image, path: $pictures}}}", "only $images"},
        {"{dataset: x, fields: {h: {role: image, path: '{i}'}}, splits: {v: {list: a, ids: [b]}}}", "exactly one|one of list"},
        {"{dataset: x, fields: {h: {role: image, path: '{i}'}}, splits: {v: {list: a, format: csv}}}", "'format'"},
        {"{dataset: x, layout: heap, fields: {h: {role: image}}}", "'layout'"},
        {"{dataset: x, layout: skysensepp-list, fields: {hr: {role: image, path: '{i}'}}}", "no place"},
    };
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        sky_err e;
        sky_dataset *d = parse(c[i][0], &e);
        const char *bar = strchr(c[i][1], '|'), *want = bar ? bar + 1 : c[i][1];
        OK(!d && (e.code == SKY_ECORRUPT || e.code == SKY_EUSAGE) && strstr(e.msg, want), "%s", e.msg);
        sky_dataset_free(d);
    }
}

/* ---- parts ---------------------------------------------------------------------------------------------------------- */

static int part_of(const char *id, uint64_t n)
{
    int found = 0, times = 0;
    for (uint64_t i = 1; i <= n; i++)
        if (sky_part_holds(&(sky_part){i, n}, id))
            found = (int)i, times++;
    return times == 1 ? found : -1;
}

static void parts(void)
{
    int n[7] = {0}, ok = 1;
    char id[32];
    for (int i = 0; i < 7000; i++) {
        snprintf(id, sizeof id, "a_%d_%d", i / 70, i % 70);
        int p = part_of(id, 7);
        ok &= p >= 1;
        n[ok ? p - 1 : 0]++;
    }
    for (int i = 0; i < 7; i++)
        ok &= n[i] > 850 && n[i] < 1150; /* 1000 +- 5 standard deviations of 29 */
    OK(ok, "each id is in one part, and parts are even: %d %d %d %d %d %d %d", n[0], n[1], n[2], n[3], n[4], n[5], n[6]);
    OK(part_of("a_0_1", 1) == 1 && part_of("a_0_1", 1000) == 306, "and fixed for good: %d", part_of("a_0_1", 1000));
}

int main(void)
{
    patterns();
    labels();
    shipped();
    example();
    refused();
    parts();
    return END();
}
