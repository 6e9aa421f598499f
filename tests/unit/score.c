/* score.c -- the counting loops agree with a plain one on awkward maps; the figures with scikit-learn on stored cases
 * (tests/data/make_score.py) and with the golden 1-shot file; undefined figures are undefined. */
#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "format/npy.h"
#include "score/classes.h"
#include "score/classmap.h"
#include "score/confusion.h"
#include "score/metrics.h"
#include "levels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state;
static uint32_t draw(uint32_t n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % n;
}

/* ---- counting --------------------------------------------------------------------------------------------------- */

enum { CONTENTS = 6 };

static void content(int kind, uint8_t *label, uint8_t *pred, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t block = (uint8_t)((i / 37 * 7 + i / 301) % 19);
        switch (kind) {
        case 0: label[i] = (uint8_t)draw(256), pred[i] = (uint8_t)draw(256); break;
        case 1: label[i] = (uint8_t)draw(18), pred[i] = (uint8_t)draw(18); break;
        case 2: label[i] = block, pred[i] = draw(10) ? block : (uint8_t)draw(18); break;
        case 3: label[i] = pred[i] = 0; break;
        case 4: label[i] = 255, pred[i] = i > n / 2 ? 255 : 254; break;
        default: label[i] = (uint8_t)(i / 64 % 3), pred[i] = (uint8_t)((i + 1) / 64 % 3); /* changes at and beside block borders */
        }
    }
}

static int same_counts(const uint8_t *label, const uint8_t *pred, size_t n)
{
    static uint64_t plain[256 * 256];
    sky_confusion c;
    sky_err e = {0};
    memset(plain, 0, sizeof plain);
    sky_confusion_plain(plain, label, pred, n);
    if (sky_confusion_open(&c, &e))
        return 0;
    sky_confusion_u8(&c, label, pred, n / 3); /* in two calls */
    sky_confusion_u8(&c, label + n / 3, pred + n / 3, n - n / 3);
    int same = !memcmp(sky_confusion_counts(&c), plain, sizeof plain);
    same = same && !memcmp(sky_confusion_counts(&c), plain, sizeof plain); /* asking twice */
    sky_confusion_close(&c);
    return same;
}

static void counting(const char *level)
{
    static const size_t lengths[] = {0, 1, 15, 16, 17, 63, 64, 65, 127, 128, 1000, 4096, 100003};
    enum { MOST = 100003 };
    uint8_t *label = malloc(MOST), *pred = malloc(MOST);
    int wrong = 0;
    for (int kind = 0; kind < CONTENTS; kind++)
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            size_t n = lengths[i];
            uint8_t *l = malloc(n + 1), *p = malloc(n + 1); /* exact sizes: a read past the end is seen by sanitizers */
            state = (uint64_t)kind * 100 + i;
            content(kind, label, pred, n);
            memcpy(l, label, n);
            memcpy(p, pred, n);
            wrong += !same_counts(l, p, n);
            free(l);
            free(p);
        }
    OK(wrong == 0, "%s counts as the plain loop does, %d contents, lengths to %d", level, CONTENTS, MOST);
    free(label);
    free(pred);
}

static void counting_u16(void)
{
    static const uint16_t label[] = {0, 1, 255, 256, 4095, 4095}, pred[] = {0, 2, 255, 1, 4095, 0};
    const uint8_t l8[] = {3, 3}, p8[] = {4, 4};
    sky_confusion c;
    sky_err e = {0};
    OK(!sky_confusion_open(&c, &e), "open");
    sky_confusion_u8(&c, l8, p8, 2);
    OK(!sky_confusion_u16(&c, label, pred, 3, &e) && c.side == 256, "small values stay small");
    OK(!sky_confusion_u16(&c, label + 3, pred + 3, 3, &e) && c.side == 4096, "larger ones widen the matrix");
    sky_confusion_u8(&c, l8, p8, 1);
    const uint64_t *n = sky_confusion_counts(&c);
    uint64_t all = 0;
    for (uint32_t i = 0; i < c.side * c.side; i++)
        all += n[i];
    OK(all == 9 && n[3 * 4096 + 4] == 3 && n[0] == 1 && n[4096 + 2] == 1 && n[255 * 4096 + 255] == 1 && n[256 * 4096 + 1] == 1 && n[4095 * 4096 + 4095] == 1 && n[4095 * 4096] == 1,
       "what was counted before is kept");
    const uint16_t far = 4096, zero = 0;
    OK(sky_confusion_u16(&c, &zero, &far, 1, &e) == SKY_ELIMIT && sky_confusion_counts(&c)[0] == 1, "4096: %s", e.msg);
    sky_confusion_close(&c);
}

/* ---- figures ---------------------------------------------------------------------------------------------------- */

static int close_to(double a, const json_t *want)
{
    if (json_is_null(want))
        return isnan(a);
    return fabs(a - json_number_value(want)) <= 1e-12;
}

static void make_maps(const json_t *c, uint8_t *label, uint8_t *pred)
{
    int width = (int)json_integer_value(json_object_get(c, "width")), height = (int)json_integer_value(json_object_get(c, "height"));
    uint32_t classes = (uint32_t)json_integer_value(json_object_get(c, "classes")), predicted = (uint32_t)json_integer_value(json_object_get(c, "predicted"));
    uint32_t noise = (uint32_t)json_integer_value(json_object_get(c, "noise"));
    int ignore = json_integer_value(json_object_get(c, "ignore")) != 0, cell[64][64];
    memset(cell, -1, sizeof cell);
    state = (uint64_t)json_integer_value(json_object_get(c, "seed"));
    for (int y = 0, i = 0; y < height; y++)
        for (int x = 0; x < width; x++, i++) {
            int *k = &cell[y / 8][x / 8];
            if (*k < 0) {
                *k = (int)draw(classes);
                if (ignore && draw(20) == 0)
                    *k = 255;
            }
            label[i] = (uint8_t)*k;
            pred[i] = draw(100) < noise ? (uint8_t)draw(predicted) : *k == 255 ? 0 : (uint8_t)*k;
        }
}

static void compare(const json_t *c, const uint64_t *n, const uint8_t *ignore)
{
    int classes = (int)json_integer_value(json_object_get(c, "table")), wrong = 0;
    uint64_t right = 0, all = 0;
    double weighted = 0;
    sky_mean mean[4] = {{0, 0}};
    for (int v = 0; v < classes; v++) {
        const json_t *row = json_array_get(json_object_get(c, "matrix"), (size_t)v);
        for (int p = 0; p < classes; p++)
            wrong += n[v * 256 + p] != (uint64_t)json_integer_value(json_array_get(row, (size_t)p));
        sky_counts k = sky_counts_of(n, 256, ignore, (uint32_t)v);
        sky_metrics m = sky_metrics_of(&k);
        const double got[] = {m.iou, m.dice, m.precision, m.recall};
        static const char *const names[] = {"iou", "dice", "precision", "recall"};
        for (int i = 0; i < 4; i++) {
            wrong += !close_to(got[i], json_array_get(json_object_get(c, names[i]), (size_t)v));
            sky_mean_add(&mean[i], got[i]);
        }
        right += k.tp;
        all += k.tp + k.fn;
        weighted += k.tp + k.fn ? (double)(k.tp + k.fn) * m.iou : 0;
        wrong += k.tp + k.fp + k.fn + k.tn == 0;
    }
    for (int i = 0; i < 4; i++)
        wrong += !close_to(sky_mean_get(&mean[i]), json_array_get(json_object_get(c, "mean"), (size_t)i));
    wrong += !close_to((double)right / (double)all, json_object_get(c, "accuracy"));
    wrong += !close_to(weighted / (double)all, json_object_get(c, "weighted_iou"));
    OK(wrong == 0, "scikit-learn to 1e-12: %s", json_string_value(json_object_get(c, "name")));
}

static void stored_cases(void)
{
    json_t *cases = NULL;
    sky_err e = {0};
    char *text = NULL;
    size_t n = 0;
    int rc = sky_read_file(&text, &n, "tests/data/score/sklearn.json", 1 << 24, &e);
    if (!rc)
        rc = sky_json_parse(&cases, text, n, "sklearn.json", &e);
    OK(!rc && json_array_size(cases) == 7, "stored cases %s", e.msg);
    sky_free(text);
    static uint8_t label[65536], pred[65536], ignore[256];
    ignore[255] = 1;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        sky_confusion m;
        if (sky_confusion_open(&m, &e))
            break;
        make_maps(c, label, pred);
        sky_confusion_u8(&m, label, pred, (uint64_t)(json_integer_value(json_object_get(c, "width")) * json_integer_value(json_object_get(c, "height"))));
        compare(c, sky_confusion_counts(&m), ignore);
        sky_confusion_close(&m);
    }
    json_decref(cases);
}

static int take(sky_npz *z, const char *name, sky_npy *a)
{
    sky_err e;
    int i = sky_npz_find(z, name);
    return i < 0 || sky_npz_read(z, i, 1 << 20, a, &e);
}

static void golden(void)
{
    sky_npz *z = NULL;
    sky_npy label, p512, p256, conf, iou, acc;
    sky_err e = {0};
    if (sky_npz_open(&z, "tests/data/score/prep_1shot.npz", &e) || take(z, "label", &label) || take(z, "pred_512", &p512) || take(z, "pred_256", &p256) ||
        take(z, "confusion", &conf) || take(z, "iou", &iou) || take(z, "acc", &acc)) {
        OK(0, "golden file %s", e.msg);
        return;
    }
    sky_classmap m = {512, 512, SKY_U8, sky_alloc(512 * 512)}, wide = {512, 512, SKY_U8, sky_alloc(512 * 512)};
    memcpy(m.v, p512.data, 512 * 512);
    memcpy(wide.v, p512.data, 512 * 512);
    OK(!sky_classmap_resize(&m, 256, 256, &e), "resize %s", e.msg);
    int wrong = 0;
    for (int i = 0; i < 65536; i++) /* the file has 255 and 0 before, 1 and 0 after */
        wrong += (((uint8_t *)m.v)[i] != 0) != ((uint8_t *)p256.data)[i];
    OK(wrong == 0, "to the label's size: pixel 2i+1");
    OK(!sky_classmap_u16(&wide, &e) && !sky_classmap_resize(&wide, 256, 256, &e) && !sky_classmap_u16(&m, &e) && !memcmp(wide.v, m.v, 131072), "the same in 16 bits");
    sky_classmap l = {256, 256, SKY_U8, label.data};
    label.data = NULL;
    sky_counts k = {0};
    OK(!sky_classmap_u16(&l, &e), "label %s", e.msg);
    sky_counts_add_mask(&k, l.v, m.v, 65536, NULL, 1);
    const int64_t *c = conf.data;
    OK((int64_t)k.tn == c[0] && (int64_t)k.fp == c[1] && (int64_t)k.fn == c[2] && (int64_t)k.tp == c[3], "2 x 2 confusion");
    sky_oneshot_metrics s = sky_oneshot_of(&k);
    OK(fabs(s.iou - *(double *)iou.data) <= 1e-12 && fabs(s.acc - *(double *)acc.data) <= 1e-12, "IoU %.9f, accuracy %.9f", s.iou, s.acc);
    sky_classmap_free(&m);
    sky_classmap_free(&wide);
    sky_classmap_free(&l);
    sky_npy_free(&label), sky_npy_free(&p512), sky_npy_free(&p256), sky_npy_free(&conf), sky_npy_free(&iou), sky_npy_free(&acc);
    sky_npz_close(z);
}

static void odd_resizes(void)
{
    static const int sizes[][4] = {{5, 7, 3, 4}, {3, 4, 5, 7}, {1, 1, 4, 4}, {9, 9, 1, 1}, {640, 3, 7, 500}};
    int wrong = 0;
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        uint64_t h = (uint64_t)sizes[k][0], w = (uint64_t)sizes[k][1], H = (uint64_t)sizes[k][2], W = (uint64_t)sizes[k][3];
        sky_err e;
        sky_classmap m = {h, w, SKY_U8, sky_alloc(h * w)};
        for (uint64_t i = 0; i < h * w; i++)
            ((uint8_t *)m.v)[i] = (uint8_t)(i * 7);
        wrong += sky_classmap_resize(&m, H, W, &e) != 0;
        for (uint64_t y = 0; y < H; y++)
            for (uint64_t x = 0; x < W; x++) {
                uint64_t from = (uint64_t)floor(((double)y + 0.5) * (double)h / (double)H) * w + (uint64_t)floor(((double)x + 0.5) * (double)w / (double)W);
                wrong += ((uint8_t *)m.v)[y * W + x] != (uint8_t)(from * 7);
            }
        sky_classmap_free(&m);
    }
    OK(wrong == 0, "resizes by odd ratios");
}

static void orders(void)
{
    sky_sample s;
    sky_classmap m;
    sky_err e = {0};
    sky_sample_init(&s);
    sky_field *f = sky_sample_begin(&s, "a", &e) ? NULL : sky_sample_add(&s, "label", &e);
    if (!f || sky_field_alloc(f, SKY_U8, 2, (const uint64_t[2]){3, 2}, 1, &e) || sky_field_set_dims(f, "xy", &e)) {
        OK(0, "%s", e.msg);
        return;
    }
    OK(sky_classmap_take(&m, f, &e) == SKY_ECORRUPT && f->data, "columns before rows: %s", e.msg);
    OK(!sky_field_set_dims(f, "yx", &e) && !sky_classmap_take(&m, f, &e) && m.h == 3 && m.w == 2, "rows before columns");
    sky_classmap_free(&m);
    sky_sample_free(&s);
}

/* ---- corners ---------------------------------------------------------------------------------------------------- */

static void undefined(void)
{
    sky_counts none = {0, 0, 0, 10}, missed = {0, 0, 5, 5}, wrong = {0, 5, 0, 5};
    sky_metrics a = sky_metrics_of(&none), b = sky_metrics_of(&missed), c = sky_metrics_of(&wrong);
    OK(isnan(a.iou) && isnan(a.dice) && isnan(a.precision) && isnan(a.recall), "absent: all undefined");
    OK(b.iou == 0 && b.dice == 0 && isnan(b.precision) && b.recall == 0, "never predicted: precision undefined, IoU 0");
    OK(c.iou == 0 && c.dice == 0 && c.precision == 0 && isnan(c.recall), "in no label: recall undefined, IoU 0");
    OK(sky_oneshot_of(&none).iou == 0, "1-shot figures have 1e-6 below the line");
    sky_mean m = {0};
    OK(isnan(sky_mean_get(&m)), "mean of nothing");
    sky_mean_add(&m, NAN), sky_mean_add(&m, 1), sky_mean_add(&m, 2);
    OK(sky_mean_get(&m) == 1.5 && m.n == 2, "mean leaves undefined out");
    static const uint16_t label[] = {1, 1, 2, 2, 255, 0}, pred[] = {1, 0, 1, 0, 1, 1};
    uint8_t ignore[256] = {0};
    ignore[255] = 1;
    sky_counts k = {0};
    sky_counts_add_mask(&k, label, pred, 6, ignore, 1);
    OK(k.tp == 1 && k.fn == 1 && k.fp == 2 && k.tn == 1, "mask counts leave ignored pixels out");
}

static void class_lists(void)
{
    sky_classes c;
    sky_err e = {0};
    sky_classes_init(&c);
    OK(!sky_classes_parse(&c, "7,1=water,3=a=b", &e) && c.n == 3 && c.list[0].value == 1 && !strcmp(c.list[0].name, "water") && !strcmp(c.list[1].name, "a=b") && c.list[2].value == 7,
       "list in ascending order");
    sky_classes_free(&c);
    OK(!sky_classes_parse(&c, "1=a\033[2Jb\177", &e) && !strcmp(c.list[0].name, "a?[2Jb?"), "control characters of a name do not reach the terminal");
    sky_classes_free(&c);
    OK(!sky_classes_parse(&c, "1=aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgg\xc3\xa9h,2=a\xff\xc3", &e) && strlen(c.list[0].name) == 62 && !strcmp(c.list[1].name, "a??"),
       "a name is cut between characters and is UTF-8");
    sky_classes_free(&c);
    json_t *far = json_pack("{s:[i],s:i}", "ignore", 65535, "nodata", 5000);
    OK(!sky_classes_meta(&c, far, &e) && c.ignore[65535] && c.ignore[5000], "a label may ignore any 16-bit value");
    json_decref(far);
    sky_classes_free(&c);
    far = json_pack("{s:[i]}", "ignore", 65536);
    OK(sky_classes_meta(&c, far, &e) == SKY_ELIMIT, "and no other: %s", e.msg);
    json_decref(far);
    sky_classes_free(&c);
    static const char *const bad[] = {"", "x", "1,", "1,,2", "1,1", "-1", "4096", "1=", "1 2", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        OK(sky_classes_parse(&c, bad[i], &e) == SKY_EUSAGE, "'%s': %s", bad[i], e.msg);
        sky_classes_free(&c);
    }
    json_t *meta = json_pack("{s:[{s:i,s:s},{s:i,s:s}],s:[i],s:i}", "classes", "value", 0, "name", "Background", "value", 4, "name", "lake", "ignore", 255, "nodata", 9);
    OK(!sky_classes_meta(&c, meta, &e) && c.n == 2 && c.given && c.ignore[255] && c.ignore[9] && c.list[0].background && !c.list[1].background, "table of a label field %s", e.msg);
    OK(!sky_classes_ignore(&c, 4, &e) && c.n == 1, "an ignored value is no class");
    OK(sky_classes_background(&c, 0) && !sky_classes_background(&c, 5), "background");
    sky_classes_free(&c);
    OK(!sky_classes_parse(&c, "0=bare soil,5", &e) && !sky_classes_background(&c, 0) && !sky_classes_meta(&c, meta, &e) && c.n == 2, "the option goes before the table; a named 0 is no background");
    sky_classes_free(&c);
    json_decref(meta);
}

int main(void)
{
    at_every_level(counting);
    counting_u16();
    stored_cases();
    golden();
    odd_resizes();
    orders();
    undefined();
    class_lists();
    return END();
}
