/* Samples of segmentation: crops against the picture itself, class cap, flips, dates, bands, label rules, batches, bad data. */
#include "data/finetune.h"
#include "make_corpus.h"
#include "t.h"

enum { N = 16, SIZE = 24, DRAWS = 400 };

static char *const rgb[] = {"R", "G", "B"}, *const gr[] = {"g", "R"};

static json_t *plain(int n)
{
    json_t *m = json_array(), *d = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(m, json_real(0)), json_array_append_new(d, json_real(1));
    return json_pack("{s:o,s:o}", "mean", m, "std", d);
}

static sky_finetune_opts options(json_t *normal)
{
    static const int64_t nothing[] = {0};
    sky_finetune_opts o = sky_finetune_default;
    o.seed = 3, o.size = SIZE, o.normal = normal, o.bands = rgb, o.nbands = 3, o.ignored = nothing, o.nignored = 1;
    return o;
}

/* With mean 0 and std 1 green / 4 is the row and blue / 4 the column of every pixel: does all of the item follow? */
static int follows(const sky_finetune *s, const sky_finetune_item *it, int *flipped)
{
    const float *p = it->img;
    const int i = atoi(it->name + 5);
    *flipped = p[2] > p[5];
    for (int y = 0; y < it->h; y++)
        for (int x = 0; x < it->w; x++, p += 3) {
            const int row = (int)p[1] / 4, col = (int)p[2] / 4, cls = made_class(i, col), index = it->labels[y * it->w + x];
            if (p[0] != 50 * cls || (index == SKY_IGNORE ? cls != 0 : sky_finetune_class_value(s, index) != cls))
                return 0;
            if (row != (int)it->img[1] / 4 + y || col != (int)it->img[2] / 4 + (*flipped ? -x : x))
                return 0;
        }
    return 1;
}

static int most_share(const sky_finetune_item *it, int *classes)
{
    int count[256] = {0}, all = 0, most = 0;
    *classes = 0;
    for (int i = 0; i < it->h * it->w; i++)
        count[it->labels[i]]++;
    for (int i = 0; i < SKY_IGNORE; i++)
        all += count[i], *classes += count[i] > 0, most = count[i] > most ? count[i] : most;
    return all ? 100 * most / all : 100;
}

static void crops(made *m, json_t *normal)
{
    sky_finetune *s = NULL, *t = NULL;
    sky_finetune_opts o = options(normal);
    sky_err e = {0};
    OK(!sky_finetune_open(&s, m->r, &o, &e) && sky_finetune_classes(s) == 4 && sky_finetune_class_value(s, 3) == 4 && !strcmp(sky_finetune_class_name(s, 0), "one"), "open %s", e.msg);
    o.tries = 1;
    OK(!sky_finetune_open(&t, m->r, &o, &e), "without the cap");
    int right = 1, flips = 0, over = 0, over1 = 0, flip, k, seen[N] = {0}, corner = 1000;
    for (uint64_t at = 0; at < DRAWS; at++) {
        sky_finetune_item *a = NULL, *b = NULL;
        if (sky_finetune_make(s, at, 0, &a, &e) || sky_finetune_make(t, at, 0, &b, &e)) {
            right = 0;
            break;
        }
        right &= follows(s, a, &flip) && a->h == SIZE && a->w == SIZE && a->id == at;
        flips += flip;
        over += most_share(a, &k) >= 75 || k < 2;
        over1 += most_share(b, &k) >= 75 || k < 2;
        seen[a->number] += at < N;
        corner = (int)a->img[1] / 4 < corner ? (int)a->img[1] / 4 : corner;
        sky_finetune_free(a), sky_finetune_free(b);
    }
    for (int i = 0; i < N; i++)
        right &= seen[i] == 1;
    OK(right && !corner, "every pixel and label where the crop says, every sample once per epoch %s", e.msg);
    OK(abs(flips - DRAWS / 2) < 5 * 10, "%d of %d flipped (sigma 10)", flips, DRAWS);
    OK(over1 > DRAWS / 5 && over < over1 / 8, "one class fills the crop: %d of %d without the cap, %d with it", over1, DRAWS, over);
    sky_finetune_close(s), sky_finetune_close(t);
}

static void validation(made *m, json_t *normal)
{
    sky_finetune *s = NULL;
    sky_finetune_item *it[3] = {0};
    sky_seg_host b = {0};
    sky_finetune_opts o = options(normal);
    sky_err e = {0};
    int ok, flip;
    o.validation = 1;
    ok = !sky_finetune_open(&s, m->r, &o, &e);
    for (int i = 0; ok && i < 3; i++)
        ok = !sky_finetune_make(s, (uint64_t)i, 0, &it[i], &e) && it[i]->number == (uint64_t)i && it[i]->h == MADE_SIDE && follows(s, it[i], &flip) && !flip;
    OK(ok, "validation: whole pictures in order %s", e.msg);
    OK(!sky_seg_host_fill(&b, it, 3, &e) && b.n == 3 && b.c == 3 && b.t == 1 && !memcmp(b.img + MADE_PX * 3, it[1]->img, MADE_PX * 12) && !memcmp(b.labels + 2 * MADE_PX, it[2]->labels, MADE_PX), "a batch");
    it[1]->h--;
    OK(sky_seg_host_fill(&b, it, 3, &e) == SKY_ECORRUPT && strstr(e.msg, it[1]->name), "%s", e.msg);
    for (int i = 0; i < 3; i++)
        sky_finetune_free(it[i]);
    sky_seg_host_free(&b);
    sky_finetune_close(s);
}

/* The first pixel's values of an item made with o; 0 on error. */
static int first(const made *m, const sky_finetune_opts *o, float *v, int n, sky_err *e)
{
    sky_finetune *s = NULL;
    sky_finetune_item *it = NULL;
    int ok = !sky_finetune_open(&s, m->r, o, e) && !sky_finetune_make(s, 2, 0, &it, e) && it->c == n;
    if (ok)
        memcpy(v, it->img, (size_t)n * sizeof *v);
    sky_finetune_free(it);
    sky_finetune_close(s);
    return ok;
}

static void bands(made *m, json_t *normal)
{
    float a[3], b[2], c[3];
    json_t *two = json_pack("{s:[f,f],s:[f,f],s:[s,s]}", "mean", 10.0, 20.0, "std", 2.0, 4.0, "bands", "g", "R");
    sky_finetune_opts o = options(normal), r = o, t = options(two);
    sky_err e = {0};
    r.reverse = 1;
    t.bands = gr, t.nbands = 2;
    OK(first(m, &o, a, 3, &e) && first(m, &r, c, 3, &e) && a[0] == c[2] && a[1] == c[1] && a[2] == c[0], "reversed only when asked for %s", e.msg);
    OK(first(m, &t, b, 2, &e) && b[0] == (a[1] - 10) / 2 && b[1] == (a[0] - 20) / 4, "bands by name, normalised %s", e.msg);
    t.normal = NULL;
    OK(!first(m, &t, b, 2, &e) && strstr(e.msg, "--stat"), "no statistics: %s", e.msg);
    o.bands = (char *const[]){"NIR"}, o.nbands = 1;
    json_t *one = plain(1);
    o.normal = one;
    OK(!first(m, &o, b, 1, &e) && strstr(e.msg, "NIR"), "no such band: %s", e.msg);
    json_decref(one), json_decref(two);
}

static void add_times(sky_sample *s, int i)
{
    const uint64_t d[] = {6, 1, 64, 64};
    sky_sample_drop(s, "hr");
    sky_field *f = made_field(s, "s2", SKY_I16, "tcyx", 4, d);
    for (int k = 0; f && k < 6 * MADE_PX; k++)
        ((int16_t *)f->data)[k] = (int16_t)(k % MADE_PX == 5 ? -1 : k / MADE_PX);
    if (f)
        json_object_set_new(f->meta, "times", json_pack("[s,n,s,s,s,s]", "a", "b", "c", "d", "e"));
    if (f)
        json_object_set_new(f->meta, "nodata", json_integer(-1));
    (void)i;
}

static void dates(json_t *normal)
{
    made m;
    sky_err e = {0};
    const sky_roll_opts all = {0};
    int ok = !made_open(&m, NULL, N, N, 0, &all, add_times, &e), sorted = 1, repeats = 0, absent = 0, used[6] = {0};
    sky_finetune_opts o = options(normal);
    o.image = "s2", o.bands = NULL, o.nbands = 0, o.size = 70;
    for (int want = 3; want <= 8 && ok; want += 5) {
        sky_finetune *s = NULL;
        o.dates = want;
        ok &= !sky_finetune_open(&s, m.r, &o, &e);
        for (uint64_t at = 0; ok && at < 40; at++) {
            sky_finetune_item *it = NULL;
            ok &= !sky_finetune_make(s, at, 0, &it, &e) && it->t == want && it->h == 70;
            for (int t = 0; ok && t < want; t++) {
                const int v = (int)it->img[t * 70 * 70 + 70];
                sorted &= !t || v >= (int)it->img[(t - 1) * 70 * 70 + 70];
                repeats += want == 3 && t && v == (int)it->img[(t - 1) * 70 * 70 + 70];
                absent += v == 1;
                used[v]++;
            }
            ok = ok && it->labels[69] == SKY_IGNORE && it->img[69] == 0 && it->labels[69 * 70] == SKY_IGNORE;
            sky_finetune_free(it);
        }
        sky_finetune_close(s);
    }
    OK(ok, "3 and 8 dates out of 5; a picture smaller than the crop is filled up %s", e.msg);
    OK(sorted && !repeats && !absent, "dates in order, without repetition when there are enough, never an absent one");
    OK(used[0] && used[2] && used[3] && used[4] && used[5], "every date is drawn");
    float v[1];
    json_t *two = plain(2);
    o.dates = 0, o.bands = (char *const[]){"a", "b"}, o.nbands = 1;
    OK(first(&m, &o, v, 1, &e), "a band that the data do not name has the name it is given %s", e.msg);
    o.normal = two, o.nbands = 2;
    OK(!first(&m, &o, v, 1, &e) && strstr(e.msg, "1 bands that the data do not name, and 2 names"), "one name for each: %s", e.msg);
    json_decref(two);
    made_close(&m);
}

static void bad_label(sky_sample *s, int i)
{
    if (i == 6)
        ((uint8_t *)sky_sample_field(s, "label")->data)[64 * 3 + 7] = 200;
}

static void bad_data(json_t *normal)
{
    made m;
    sky_err e = {0};
    const sky_roll_opts all = {.classes = (const int[]){1, 2, 3, 4}, .nclasses = 4};
    sky_finetune *s = NULL;
    sky_finetune_opts o = options(normal);
    int bad = 0, other = 0;
    OK(!made_open(&m, NULL, N, N, 0, &all, bad_label, &e) && !sky_finetune_open(&s, m.r, &o, &e), "open %s", e.msg);
    for (uint64_t at = 0; s && at < N; at++) {
        sky_finetune_item *it = NULL;
        if (sky_finetune_make(s, at, 0, &it, &e) == SKY_ECORRUPT) {
            bad++;
            other += !sky_finetune_make(s, at, 1, &it, NULL) || !sky_finetune_make(s, at, 2, &it, NULL);
        }
        sky_finetune_free(it);
    }
    OK(bad == 1 && strstr(e.msg, "made/006") && strstr(e.msg, "label 200 at row 3, column 7"), "%s", e.msg);
    OK(other == 1, "another item takes its place");
    sky_finetune_close(s);
    made_close(&m);
}

static void no_table(sky_sample *s, int i)
{
    (void)i;
    json_object_set_new(sky_sample_field(s, "label")->meta, "classes", json_array());
}

/* The number of classes then says which they are. */
static void counted(json_t *normal)
{
    made m;
    sky_err e = {0};
    const sky_roll_opts all = {0};
    sky_finetune *s = NULL, *t = NULL;
    sky_finetune_opts o = options(normal);
    OK(!made_open(&m, NULL, N, N, 0, &all, no_table, &e), "open %s", e.msg);
    OK(sky_finetune_open(&s, m.r, &o, &e) == SKY_ECORRUPT && strstr(e.msg, "field 'label' has no classes: name them in the data set's descriptor"), "%s", e.msg);
    o.nclasses = 4;
    OK(!sky_finetune_open(&s, m.r, &o, &e) && sky_finetune_classes(s) == 4 && sky_finetune_class_value(s, 0) == 1 && sky_finetune_class_value(s, 3) == 4 &&
           !sky_finetune_class_name(s, 0), "four classes and 0 ignored: 1 to 4");
    o.nclasses = 5, o.nignored = 0;
    OK(!sky_finetune_open(&t, m.r, &o, &e) && sky_finetune_classes(t) == 5 && sky_finetune_class_value(t, 0) == 0 && sky_finetune_class_value(t, 4) == 4, "five: 0 to 4");
    sky_finetune_close(s), sky_finetune_close(t);
    made_close(&m);
}

int main(void)
{
    made m;
    sky_err e = {0};
    const sky_roll_opts all = {0};
    json_t *three = plain(3), *one = plain(1);
    OK(!made_open(&m, NULL, N, 5, 0, &all, NULL, &e), "open %s", e.msg);
    crops(&m, three);
    validation(&m, three);
    bands(&m, three);
    made_close(&m);
    dates(one);
    bad_data(three);
    counted(three);
    json_decref(three), json_decref(one);
    return END();
}
