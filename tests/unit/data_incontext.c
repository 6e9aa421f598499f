/* The in-context sampler: items are functions of their position alone; labels stay on their pixels; slots, masks, crops, flips
 * and flags follow the rules; windows of larger samples; bad data. */
#include "data/finetune.h"
#include "data/incontext_internal.h"
#include "data/oneshot.h"
#include "make_corpus.h"
#include "t.h"

enum { N = 24, SIDE = 128, PX = 2 * SIDE * SIDE, ITEMS = 6 };

static sky_incontext_opts options(void)
{
    sky_incontext_opts o = sky_incontext_default;
    o.seed = 11, o.side = SIDE, o.repeat = 50;
    return o;
}

static int same_item(const sky_incontext_item *a, const sky_incontext_item *b)
{
    const size_t cells = PX / 1024;
    int same = a->id == b->id && a->cls == b->cls && !memcmp(a->hr, b->hr, PX * 12) && !memcmp(a->s2, b->s2, cells * 40) && !memcmp(a->s1, b->s1, cells * 8) &&
               !memcmp(a->labels, b->labels, PX) && !memcmp(a->anno_mask, b->anno_mask, PX / (128 * 128)) && !memcmp(a->flags, b->flags, 3);
    for (int i = 0; i < SKY_CONTEXT; i++)
        same &= !strcmp(a->name[i], b->name[i]);
    return same;
}

/* Every rank's items against those of one rank and one thread on another layout of shards. */
static void deterministic(void)
{
    int back[N];
    made a, b;
    sky_err e = {0};
    const sky_roll_opts all = {0};
    const sky_incontext_opts o = options();
    sky_incontext *s = NULL, *t = NULL;
    for (int i = 0; i < N; i++)
        back[i] = N - 1 - i;
    int ok = !made_open(&a, NULL, N, 9, 1, &all, NULL, &e) && !made_open(&b, back, N, 17, 1, &all, NULL, &e) && !sky_incontext_open(&s, a.r, &o, &e) && !sky_incontext_open(&t, b.r, &o, &e);
    OK(ok && sky_incontext_items(s) == 150, "open, three pairs of 50 items %s", e.msg);
    for (int ranks = 1; ok && ranks <= 4; ranks *= 2)
        for (int r = 0; r < ranks; r++) {
            sky_prefetch *p = NULL;
            const sky_source src = sky_incontext_source(t);
            const sky_prefetch_opts q = {.threads = ranks == 2 ? 4 : 1, .first = (uint64_t)r, .step = (uint64_t)ranks, .count = (uint64_t)(8 / ranks)};
            void *item;
            ok &= !sky_prefetch_open(&p, &src, &q, &e);
            for (uint64_t at = (uint64_t)r; ok && at < 8; at += (uint64_t)ranks) {
                sky_incontext_item *mine = NULL;
                ok &= sky_prefetch_next(p, &item, &e) == 1 && !sky_incontext_make(s, at, 0, &mine, &e) && same_item(mine, item);
                sky_incontext_free(mine), sky_incontext_free(item);
            }
            sky_prefetch_close(p);
        }
    OK(ok, "the same bytes on 1, 2 and 4 ranks, 1 and 4 threads, two layouts of shards %s", e.msg);
    sky_incontext_close(s), sky_incontext_close(t);
    made_close(&a), made_close(&b);
}

/* Red is 50 * class, and bicubic resizing keeps it within 15 inside a class: labels must agree with the picture's red on all but
 * pixels near an edge between classes. */
static void labels_on_pixels(void)
{
    made m;
    sky_err e = {0};
    const sky_roll_opts all = {0};
    const sky_incontext_opts o = options();
    sky_incontext *s = NULL;
    sky_pp_host *h = NULL;
    sky_incontext_item *it[ITEMS] = {0};
    int ok = !made_open(&m, NULL, N, N, 1, &all, NULL, &e) && !sky_incontext_open(&s, m.r, &o, &e), flags = 0, half = 1, slots = 1, agree = 0, total = 0, seen = 0;
    for (int i = 0; ok && i < ITEMS; i++) {
        int red_of[256] = {0}, hidden = 0;
        ok &= !sky_incontext_make(s, (uint64_t)i, 0, &it[i], &e);
        if (!ok)
            break;
        for (int k = 0; k < PX / (128 * 128); k++)
            hidden += it[i]->anno_mask[k];
        half &= hidden == 1;
        for (int k = 0; k < PX; k++) {
            const int red = (int)lrintf((it[i]->hr[3 * k] * 0.229f + 0.485f) * 255), near = (red + 25) / 50, slot = it[i]->labels[k];
            slots &= slot <= 64;
            if (!slot || abs(red - 50 * near) > 15)
                continue;
            seen |= near == it[i]->cls;
            total++;
            if (!red_of[slot])
                red_of[slot] = near;
            agree += red_of[slot] == near;
        }
        flags |= it[i]->flags[0] << 0 | !it[i]->flags[1] << 1 | !it[i]->flags[2] << 2;
    }
    OK(ok && seen && half && slots, "items with half of the cells hidden and slots 1..64 %s", e.msg);
    OK(total > PX && agree > total - total / 50, "slots follow the picture: %d of %d pixels", agree, total);
    OK(flags == 7 && it[0] && it[0]->s1[0] == (float)((0 - sky_norm_s1_mean[0]) / sky_norm_s1_std[0]), "a modality that one of the eight lacks counts as absent, zeros before normalisation");
    OK(ok && !sky_pp_host_open(&h, s, ITEMS, &e), "a batch");
    if (h) {
        sky_pp_host_fill(h, it, 2);
        OK(h->n == 2 && h->h == 2 * SIDE && !h->s1 && !memcmp(h->hr + 3 * PX, it[1]->hr, 12 * PX) && !memcmp(h->labels + PX, it[1]->labels, PX) && h->id[1] == 1 && h->flags[3] == 1, "two items in it");
    }
    json_t *n = sky_incontext_normals(s);
    OK(json_number_value(json_object_get(json_object_get(n, "hr"), "divide")) == 255 && json_array_size(json_object_get(json_object_get(n, "s2"), "mean")) == 10, "what the checkpoint carries");
    json_decref(n);
    sky_pp_host_close(h);
    for (int i = 0; i < ITEMS; i++)
        sky_incontext_free(it[i]);
    sky_incontext_close(s);
    made_close(&m);
}

/* All samples with both Sentinel fields: pixel values are known, NaN is 0 before normalisation. */
static void with_sentinel(sky_sample *s, int i)
{
    const uint64_t s2[] = {2, 10, 2, 2}, s1[] = {2, 2, 2};
    (void)i;
    sky_field *f = made_field(s, "s2", SKY_U16, "tcyx", 4, s2);
    for (int k = 0; f && k < 80; k++)
        ((uint16_t *)f->data)[k] = (uint16_t)(k < 40 ? 9 : 1000);
    if (f)
        json_object_set_new(f->meta, "times", json_pack("[n,s]", "2020-01-02T00:00:00Z"));
    f = made_field(s, "s1", SKY_F32, "cyx", 3, s1);
    for (int k = 0; f && k < 8; k++)
        ((float *)f->data)[k] = NAN;
}

static void sentinel(void)
{
    made m;
    sky_err e = {0};
    const sky_roll_opts all = {0};
    const sky_incontext_opts o = options();
    sky_incontext *s = NULL;
    sky_incontext_item *it = NULL;
    int ok = !made_open(&m, NULL, N, N, 0, &all, with_sentinel, &e) && !sky_incontext_open(&s, m.r, &o, &e) && !sky_incontext_make(s, 4, 0, &it, &e);
    OK(ok && it->flags[0] && it->flags[1] && it->flags[2], "all modalities %s", e.msg);
    for (int k = 0; ok && k < PX / 1024; k++)
        for (int c = 0; c < 10; c++)
            ok &= fabs(it->s2[10 * k + c] - (1000 - sky_norm_s2_mean[c]) / sky_norm_s2_std[c]) < 1e-5 && (c > 1 || fabs(it->s1[2 * k + c] + sky_norm_s1_mean[c] / sky_norm_s1_std[c]) < 1e-5);
    OK(ok, "the date that is there; NaN is 0 before normalisation");
    sky_incontext_free(it);
    sky_incontext_close(s);
    made_close(&m);
}

/* A picture of 512 with Sentinel fields of 16, cut to parts of 128 and 4: both windows cover the same ground but for the half
 * Sentinel pixel of the rule (16 of 32 canvas pixels); the label of a sample without HR is cut to its Sentinel window. */
static void windows(void)
{
    enum { BIG = 512 };
    sky_incontext s = {.o = options(), .field = {"hr", "s2", NULL}, .channels = {3, 10, 0}};
    sky_pair pair = {.dataset = "x", .cls = 7};
    const uint64_t hr[] = {3, BIG, BIG}, s2[] = {10, 16, 16}, flat[] = {BIG, BIG};
    made m;
    sky_err e = {0};
    const sky_roll_opts all = {.label = "label"};
    OK(!made_open(&m, NULL, N, N, 0, &all, NULL, &e), "open");
    s.r = m.r;
    for (int k = 0; k < 2; k++) { /* with HR, without */
        sky_sample x = {0};
        int ok = !sky_sample_begin(&x, "big", &e) && (k || made_field(&x, "hr", SKY_U8, "cyx", 3, hr)) && made_field(&x, "s2", SKY_U16, "cyx", 3, s2) && made_field(&x, "label", SKY_U8, "yx", 2, flat);
        sky_field *h = sky_sample_field(&x, "hr"), *z = sky_sample_field(&x, "s2"), *l = sky_sample_field(&x, "label");
        for (int i = 0; ok && i < BIG * BIG; i++) {
            ((uint8_t *)l->data)[i] = i / BIG / 32 == 9 && i % BIG / 32 == 11 ? 7 : 3;
            if (h)
                ((uint8_t *)h->data)[i] = (uint8_t)(i / BIG / 2);
        }
        for (int i = 0; ok && i < 256; i++)
            ((uint16_t *)z->data)[i] = (uint16_t)i;
        for (uint64_t at = 0; ok && at < 50; at++) {
            sky_context_part p = {0};
            sky_draw d = sky_draw_make(1, 0, at, DRAW_SAMPLE);
            ok &= !sky_context_load(&p, &s, &pair, &x, &d, &e) && p.h == SIDE && p.w == SIDE && p.layer[LAYER_S2].h == 4;
            int there = 0;
            for (int i = 0; ok && i < SIDE * SIDE; i++)
                there += p.label[i] == 7;
            if (ok && h) {
                const int top = 2 * (int)p.layer[LAYER_HR].px[0], z0 = (int)p.layer[LAYER_S2].px[0] / 16;
                ok &= top == 32 * z0 + 16;
            }
            ok &= there >= (h ? 16 * 16 : 32 * 32);
            sky_context_part_free(&p);
        }
        OK(ok, "windows around the class, %s %s", k ? "Sentinel fields alone" : "snapped to 32", e.msg);
        pair.cls = 9;
        sky_context_part p = {0};
        sky_draw d = sky_draw_make(1, 0, 0, DRAW_SAMPLE);
        OK(sky_context_load(&p, &s, &pair, &x, &d, &e) == SKY_ECORRUPT && strstr(e.msg, "no pixel of class 9"), "%s", e.msg);
        sky_context_part_free(&p);
        pair.cls = 7;
        sky_sample_free(&x);
    }
    made_close(&m);
}

/* Raw numbers of a data set of its own kind, and Sentinel windows around a centre. */
static void exceptions(void)
{
    made m;
    sky_err e = {0};
    const sky_roll_opts all = {0};
    double mean[3] = {10, 20, 30}, std[3] = {1, 2, 4};
    const sky_normal n = {3, NULL, 1, mean, std};
    const sky_incontext_set set = {.dataset = "made", .hr_raw = 1, .hr_band = {2, 1, 0}, .hr = &n, .sentinel_window = 40};
    sky_incontext_opts o = options();
    sky_incontext *s = NULL, *t = NULL;
    sky_incontext_item *a = NULL, *b = NULL;
    int ok = !made_open(&m, NULL, N, N, 0, &all, NULL, &e) && !sky_incontext_open(&s, m.r, &o, &e);
    o.set = &set, o.nsets = 1;
    ok = ok && !sky_incontext_open(&t, m.r, &o, &e) && !sky_incontext_make(s, 3, 0, &a, &e) && !sky_incontext_make(t, 3, 0, &b, &e);
    double worst = 0; /* float32 of 0..255 behind two normalisations, and an overshoot of up to 40: 1e-3 */
    for (int i = 0; ok && i < PX; i++)
        for (int c = 0; c < 3; c++) {
            const double raw = b->hr[3 * i + c] * std[c] + mean[c], rgb = (a->hr[3 * i + 2 - c] * (double[]){0.229, 0.224, 0.225}[2 - c] + (double[]){0.485, 0.456, 0.406}[2 - c]) * 255;
            worst = fmax(worst, fabs(raw - rgb));
        }
    OK(ok && worst < 1e-3, "raw bands reversed, own mean and std: differ by %g %s", worst, e.msg);
    /* A slope stays one away from the borders (the kernel of 20 taps is not exactly linear: 0.05), stripes of one pixel vanish. */
    float src[40 * 40], dst[16 * 16];
    int slope = 1, flat = 1;
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < 1600; i++)
            src[i] = k ? (float)(i % 2) : (float)(i % 40);
        OK(!sky_plane_shrink(dst, 16, 16, src, 40, 40, &e), "shrink");
        for (int i = 0; i < 256; i++) {
            slope &= k || i % 16 < 2 || i % 16 > 13 || fabsf(dst[i] - ((float)(i % 16) + 0.5f) * 2.5f + 0.5f) < 0.05f;
            flat &= !k || i % 16 < 2 || i % 16 > 13 || fabsf(dst[i] - 0.5f) < 0.05f;
        }
    }
    OK(slope && flat, "antialiased shrinking keeps a slope and smooths stripes");
    OK(sky_incontext_published[0].hr->mean[2] == 689.2493 && sky_incontext_published[0].hr_band[0] == 2 && sky_incontext_published[1].sentinel_window == 40, "the published exceptions");
    sky_incontext_free(a), sky_incontext_free(b);
    sky_incontext_close(s), sky_incontext_close(t);
    made_close(&m);
}

/* ---- statistics of the draws -------------------------------------------------------------------------------------------- */

static void draws(void)
{
    enum { K = 4000 };
    int inside = 1, exact = 1, lower = 0, corner[2] = {0}, cells[32] = {0};
    double area = 0;
    for (uint64_t at = 0; at < K; at++) {
        uint8_t mask[32];
        sky_draw d = sky_draw_make(5, 0, at, 40), m = sky_draw_make(5, 0, at, 41);
        const sky_rect r = sky_crop_area(&d, 16, 16, 0.8, 1);
        const double share = r.h * r.w / 256.0, aspect = (double)r.w / r.h;
        inside &= r.y >= 0 && r.x >= 0 && r.y + r.h <= 16 && r.x + r.w <= 16 && share > 0.72 && aspect > 0.68 && aspect < 1.47; /* half a cell of rounding each way */
        area += share / K;
        corner[0] += r.y == 0, corner[1] += r.y + r.h == 16;
        sky_mask_half(mask, 8, 4, &m, 0.3);
        int n = 0, low = 0;
        for (int i = 0; i < 32; i++)
            n += mask[i], cells[i] += mask[i], low += i >= 16 && mask[i];
        exact &= n == 16;
        lower += low == 16;
    }
    OK(inside && area > 0.86 && area < 0.92, "crops of area 0.8..1, mean %.3f", area);
    OK(abs(corner[0] - corner[1]) < 5 * (int)sqrt(2.0 * K), "as often at the top (%d) as at the bottom (%d)", corner[0], corner[1]);
    OK(exact, "exactly 16 of 32 cells hidden");
    OK(abs(lower - 3 * K / 10) < 5 * (int)sqrt(0.21 * K) + K / 200, "the lower half in %d of %d", lower, K);
    /* Blocks lie inside the grid, so the middle is hidden more often than the corners: 0.8 to 0.2 here. Mirrored cells are
     * alike: two shares of about 2800 draws differ by less than five sigma, 0.067. */
    int even = 1;
    for (int i = 0; i < 32; i++) {
        const int k = 4 * (i / 4) + 3 - i % 4, v = 31 - k;
        const double p = cells[i] - (i >= 16 ? lower : 0), q = cells[k] - (k >= 16 ? lower : 0), r = cells[v] - (v >= 16 ? lower : 0);
        even &= p > 0.15 * (K - lower) && p < 0.85 * (K - lower) && fabs(p - q) < 0.067 * (K - lower) && fabs(p - r) < 0.067 * (K - lower);
    }
    OK(even, "blocks reach every cell, mirrored ones alike");
    sky_draw d = sky_draw_make(5, 0, 0, 42);
    const sky_rect r = sky_crop_area(&d, 64, 16, 0.9, 1);
    OK(r.x == 0 && r.w == 16 && r.h == 21 && r.y == 21, "too long: the largest centred crop");
}

static void bad(void)
{
    made m;
    sky_err e = {0};
    const sky_roll_opts all = {0}, zero = {.classes = (const int[]){0}, .nclasses = 1};
    sky_incontext *s = NULL;
    sky_roll *r = NULL;
    sky_incontext_opts o = options();
    OK(!made_open(&m, NULL, 4, 2, 0, &all, NULL, &e) && !sky_incontext_open(&s, m.r, &o, &e), "four samples");
    sky_incontext_item *it = NULL;
    OK(!sky_incontext_make(s, 0, 0, &it, &e) && it->name[7], "fewer than eight are drawn with replacement %s", e.msg);
    sky_incontext_free(it);
    sky_incontext_close(s);
    o.side = 100;
    OK(sky_incontext_open(&s, m.r, &o, &e) == SKY_EUSAGE && strstr(e.msg, "128"), "%s", e.msg);
    o = options();
    o.hr = "nothing", o.vocab = 3;
    it = NULL;
    OK(!sky_incontext_open(&s, m.r, &o, &e) && !sky_incontext_make(s, 0, 0, &it, &e) && !it->flags[0] && !it->flags[1], "no modality at all: flags say so, and the class has the only slot");
    sky_incontext_free(it);
    sky_incontext_close(s);
    OK(!sky_roll_open(&r, m.c, &zero, &e) && sky_roll_pairs(r) == 1, "background only when asked for by number");
    sky_roll_close(r);
    made_close(&m);
}

/* Slots for every class, and thinned annotation: the same pictures; some of each slot that is shown stays where it was, nothing else. */
static void sparse(void)
{
    made m;
    sky_err e = {0};
    const sky_roll_opts all = {0};
    sky_incontext_opts o = options();
    sky_incontext *s[3] = {0}; /* never, always, half of the time */
    sky_incontext_item *it[3] = {0};
    sky_pp_host *h = NULL;
    int ok = !made_open(&m, NULL, N, N, 1, &all, NULL, &e), same = 1, inside = 1, every = 1, fewer = 0, whole = 0, without = 0, with = 0;
    for (int i = 0; i < 3; i++) {
        o.any_class = i > 0;
        o.sparse = i == 1 ? 1 : i == 2 ? 0.5 : 0;
        ok = ok && !sky_incontext_open(&s[i], m.r, &o, &e);
    }
    for (int i = 0; ok && i < 2 * ITEMS; i++) {
        int kept[256] = {0}, shown[256] = {0}, all_kept = 0, all_shown = 0;
        for (int k = 0; k < 3; k++)
            ok = ok && !sky_incontext_make(s[k], (uint64_t)i, 0, &it[k], &e);
        for (int k = 0; ok && k < PX; k++) {
            const int label = it[1]->labels[k], left = it[1]->annotation[k];
            inside &= !left || left == label;
            kept[left]++;
            shown[label] += !it[1]->anno_mask[k / SIDE / 128];
            without += !it[0]->labels[k], with += !label;
        }
        for (int k = 1; ok && k < 256; k++) {
            every &= !shown[k] || kept[k] > 0;
            all_kept += kept[k], all_shown += shown[k];
        }
        fewer += !all_shown || all_kept < all_shown;
        whole += ok && !memcmp(it[2]->annotation, it[2]->labels, PX);
        same = same && ok && !memcmp(it[0]->hr, it[1]->hr, 12 * PX) && !it[0]->annotation && same_item(it[1], it[2]);
        for (int k = 0; k < 3 && i + 1 < 2 * ITEMS; k++)
            sky_incontext_free(it[k]);
    }
    OK(ok && same, "neither changes the pictures, and thinning not the labels %s", e.msg);
    OK(with < without, "classes that not all eight hold have slots: %d pixels without one, %d before", with, without);
    OK(ok && inside && every && fewer >= ITEMS, "of every slot shown some pixels stay, where they were, and mostly not all (%d of %d)", fewer, 2 * ITEMS);
    OK(whole > 0 && whole < 2 * ITEMS, "half of the time: %d of %d items whole", whole, 2 * ITEMS);
    ok = ok && !sky_pp_host_open(&h, s[1], 1, &e);
    if (ok)
        sky_pp_host_fill(h, &it[1], 1);
    OK(ok && h->annotation && !memcmp(h->annotation, it[1]->annotation, PX) && !memcmp(h->labels, it[1]->labels, PX), "a batch has both %s", e.msg);
    sky_pp_host_close(h);
    for (int i = 0; i < 3; i++)
        sky_incontext_free(it[i]), sky_incontext_close(s[i]);
    made_close(&m);
}

/* Red is 50 * class as it is; with a gain and an offset it is elsewhere, and inside 0..255 but for what bicubic resizing overshoots. */
static void radiometry(void)
{
    made m;
    sky_err e = {0};
    const sky_roll_opts all = {0};
    sky_incontext_opts o = options();
    sky_incontext *s[2] = {0};
    int on[2] = {0}, total[2] = {0}, lo = 255, hi = 0;
    int ok = !made_open(&m, NULL, N, N, 1, &all, NULL, &e);
    for (int k = 0; ok && k < 2; k++) {
        o.radiometry = k ? 0.2 : 0;
        ok = !sky_incontext_open(&s[k], m.r, &o, &e);
        for (int i = 0; ok && i < ITEMS; i++) {
            sky_incontext_item *it = NULL;
            ok = !sky_incontext_make(s[k], (uint64_t)i, 0, &it, &e);
            for (int j = 0; ok && j < PX; j++) {
                const int red = (int)lrintf((it->hr[3 * j] * 0.229f + 0.485f) * 255);
                on[k] += abs(red - 50 * ((red + 25) / 50)) <= 5, total[k]++;
                lo = red < lo ? red : lo, hi = red > hi ? red : hi;
            }
            sky_incontext_free(it);
        }
    }
    OK(ok && on[0] > 0.8 * total[0] && on[1] < 0.5 * total[1], "radiometry: %d %% of red where it was made without, %d %% with %s", 100 * on[0] / (total[0] + 1), 100 * on[1] / (total[1] + 1), e.msg);
    OK(lo >= -64 && hi <= 255 + 64, "red within %d..%d", lo, hi);
    sky_incontext_close(s[0]), sky_incontext_close(s[1]);
    made_close(&m);
}

int main(void)
{
    deterministic();
    sparse();
    radiometry();
    labels_on_pixels();
    sentinel();
    windows();
    exceptions();
    draws();
    bad();
    return END();
}
