/* One-shot inference with the tiny model on generated weights: predictions against the same canvas put through the model by
 * hand, in every mix of modalities; batches share nothing; several slots are a mean; errors name what is wrong. */
#include "base/hash.h"
#include "base/mem.h"
#include "data/infer.h"
#include "data/oneshot.h"
#include "data/prompts.h"
#include "t.h"

#include <math.h>
#include <string.h>

enum { SIDE = 128, PX = SIDE * SIDE, CELLS = SIDE / 32 };

typedef struct {
    sky_pp *m;
    sky_ctx c;
    sky_config cfg;
} bed;

static int set_up(bed *t, int threads)
{
    sky_err e = {0};
    *t = (bed){0};
    int ok = sky_config_load(&t->cfg, "tiny", &e) == 0 && sky_pp_open(&t->m, &t->cfg, &e) == 0 && sky_ctx_open(&t->c, "cpu", threads, &e) == 0 &&
             sky_params_seed(sky_pp_params(t->m), "", SKY_F32, 1, &e) == 0;
    if (!ok)
        printf("# %s\n", e.msg);
    return ok;
}

static sky_field *add(sky_sample *s, const char *name, sky_dtype t, const char *dims, int n, const uint64_t *shape)
{
    sky_err e;
    sky_field *f = sky_sample_add(s, name, &e);
    if (!f || sky_field_alloc(f, t, n, shape, 1, &e) || sky_field_set_dims(f, dims, &e))
        return NULL;
    return f;
}

/* hr 100 x 120, label with classes 1, 2, 9 and an ignored 0; s2 with 11 named bands in reverse and an absent first date. */
static void make(sky_sample *s, const char *id, int s2, int s1)
{
    sky_err e;
    const uint64_t h = sky_fnv1a(id), hr[] = {3, 100, 120}, label[] = {100, 120}, d2[] = {2, 11, CELLS, CELLS}, d1[] = {2, CELLS, CELLS};
    sky_sample_init(s);
    if (sky_sample_begin(s, id, &e))
        return;
    json_object_set_new(s->meta, "split", json_string("val"));
    uint8_t *p = add(s, "hr", SKY_U8, "cyx", 3, hr)->data;
    for (uint64_t i = 0; i < 3 * 100 * 120; i++)
        p[i] = (uint8_t)sky_counter_u24(h, i / 7);
    json_object_set_new(sky_sample_field(s, "hr")->meta, "crs", json_string("EPSG:32631"));
    if (sky_field_set_affine(sky_sample_field(s, "hr"), (double[6]){2, 0, 1000, 0, -3, 5000}, &e))
        return;
    sky_field *l = add(s, "label", SKY_U8, "yx", 2, label);
    for (uint64_t i = 0; i < 100 * 120; i++)
        ((uint8_t *)l->data)[i] = (uint8_t[]){0, 1, 2, 9}[(i % 120 / 30 + i / 3000) % 4];
    json_object_set_new(l->meta, "classes", json_pack("[{s:i,s:s},{s:i,s:s,s:[i,i,i]}]", "value", 1, "name", "Water", "value", 9, "name", "Road", "color", 1, 2, 3));
    json_object_set_new(l->meta, "ignore", json_pack("[i]", 0));
    if (s2) {
        sky_field *f = add(s, "s2", SKY_F32, "tcyx", 4, d2);
        for (uint64_t i = 0; i < sky_field_count(f); i++)
            ((float *)f->data)[i] = i == sky_field_count(f) - 1 ? NAN : (float)(sky_counter_u24(h + 1, i) % 4000);
        json_object_set_new(f->meta, "bands", json_pack("[s,s,s,s,s,s,s,s,s,s,s]", "B12", "B11", "B10", "B8A", "B08", "B07", "B06", "B05", "b4", "B03", "B02"));
        json_object_set_new(f->meta, "times", json_pack("[n,s]", "2020-05-01T10:00:00Z"));
    }
    if (s1) {
        sky_field *f = add(s, "s1", SKY_F32, "cyx", 3, d1);
        for (uint64_t i = 0; i < sky_field_count(f); i++)
            ((float *)f->data)[i] = -(float)(sky_counter_u24(h + 2, i) % 30);
    }
}

/* ---- by hand ------------------------------------------------------------------------------------------------------------ */

static void hand_sentinel(float *to, const sky_sample *s, int s1)
{
    static const int at[10] = {10, 9, 8, 7, 6, 5, 4, 3, 1, 0}; /* in make's order of bands; B10 (2) is not the model's */
    const float *x = sky_sample_field(s, s1 ? "s1" : "s2")->data;
    for (int i = 0; i < CELLS * CELLS; i++)
        for (int c = 0; c < (s1 ? 2 : 10); c++) {
            double v = s1 ? x[c * CELLS * CELLS + i] : x[(11 + at[c]) * CELLS * CELLS + i];
            v = isnan(v) ? 0 : v;
            *to++ = (float)(s1 ? (v - sky_norm_s1_mean[c]) / sky_norm_s1_std[c] : (v - sky_norm_s2_mean[c]) / sky_norm_s2_std[c]);
        }
}

static int by_hand(bed *t, uint8_t *slots, const sky_sample *q, const sky_sample *p, const uint8_t slot_of[256], int s2, int s1)
{
    static float hr[2 * PX * 3], x2[2 * CELLS * CELLS * 10], x1[2 * CELLS * CELLS * 2];
    static int16_t px[2 * PX * 3];
    static uint8_t label[PX], labels[2 * PX], mask[2];
    uint8_t *a = NULL, *b = NULL, *l = NULL, flags[3] = {1, (uint8_t)s2, (uint8_t)s1};
    int h, w, bad = 0;
    sky_err e;
    bad |= sky_prep_rgb(&a, &h, &w, sky_sample_field(q, "hr"), NULL, &e) || sky_prep_rgb(&b, &h, &w, sky_sample_field(p, "hr"), NULL, &e) ||
           sky_prep_label(&l, &h, &w, sky_sample_field(p, "label"), &e);
    if (!bad)
        sky_prep_canvas(px, label, mask, SIDE, b, 100, 120, l, 100, 120, a, 100, 120);
    for (int i = 0; i < 2 * PX * 3; i++)
        hr[i] = ((float)px[i] / 255.0f - sky_norm_rgb[0][i % 3]) / sky_norm_rgb[1][i % 3];
    for (int i = 0; i < PX; i++)
        labels[i] = slot_of[label[i]]; /* the query's half stays 0 */
    if (s2)
        hand_sentinel(x2, p, 0), hand_sentinel(x2 + CELLS * CELLS * 10, q, 0);
    if (s1)
        hand_sentinel(x1, p, 1), hand_sentinel(x1 + CELLS * CELLS * 2, q, 1);
    for (int dry = 1; dry >= 0 && !bad; dry--) {
        if (dry)
            sky_ctx_dry(&t->c);
        else
            bad |= sky_ctx_alloc(&t->c, t->c.peak, &e);
        sky_pp_batch x = {.t2 = 1, .t1 = 1, .flags = flags};
        x.hr = sky_upload(&t->c, SKY_F32, 4, (int64_t[]){1, 2 * SIDE, SIDE, 3}, hr);
        if (s2)
            x.s2 = sky_upload(&t->c, SKY_F32, 4, (int64_t[]){1, 2 * CELLS, CELLS, 10}, x2);
        if (s1)
            x.s1 = sky_upload(&t->c, SKY_F32, 4, (int64_t[]){1, 2 * CELLS, CELLS, 2}, x1);
        x.labels = sky_upload(&t->c, SKY_U8, 3, (int64_t[]){1, 2 * SIDE, SIDE}, labels);
        x.anno_mask = sky_upload(&t->c, SKY_U8, 3, (int64_t[]){1, 2, 1}, mask);
        const sky_pp_opts o = {0};
        sky_pp_out out;
        bad |= sky_pp_forward(t->m, &t->c, &x, &o, &out, &e) != 0;
        if (!bad)
            sky_download(&t->c, slots, &out.argmax);
    }
    sky_free(a), sky_free(b), sky_free(l);
    return !bad;
}

/* ---- through the library --------------------------------------------------------------------------------------------------- */

static sky_infer *opened(bed *t, int batch, int slots, int prob, uint64_t seed)
{
    const sky_infer_opts o = {SIDE, batch, slots, seed, prob, 1, "hr", "label", "hash", 0, NULL, NULL};
    sky_infer *in = NULL;
    sky_err e;
    if (sky_infer_open(&in, t->m, &t->c, &t->cfg, &o, &e))
        printf("# %s\n", e.msg);
    return in;
}

static int answer(sky_sample *out, sky_infer *in, const sky_sample *q, const sky_sample *p, int cls, sky_err *e)
{
    const sky_infer_task task = {q, p, NULL, NULL, cls};
    sky_infer_pass *pass = NULL;
    int rc = sky_infer_prepare(&pass, in, &task, e);
    if (!rc)
        rc = sky_infer_run(in, &pass, 1, e);
    if (!rc)
        rc = sky_infer_answer(out, in, pass, e);
    sky_infer_pass_free(pass);
    return rc;
}

static void against_hand(bed *t)
{
    for (int mix = 0; mix < 4; mix++) {
        static uint8_t slots[2 * PX];
        sky_sample q, p, out;
        sky_err e = {0};
        make(&q, "q", mix & 1, mix & 2);
        make(&p, "p", mix & 1, 1); /* a modality of the prompt alone is absent from the pass */
        uint8_t slot_of[256] = {0};
        slot_of[9] = (uint8_t)sky_prompt_slot(11, 9, t->cfg.vocab);
        const int ok = by_hand(t, slots, &q, &p, slot_of, mix & 1, (mix & 2) != 0);
        sky_infer *in = opened(t, 1, 1, 0, 11);
        sky_sample_init(&out);
        const int rc = in ? answer(&out, in, &q, &p, 9, &e) : -1;
        const sky_field *f = rc ? NULL : sky_sample_field(&out, "pred");
        int same = 0, ones = 0;
        for (int i = 0; f && i < PX; i++) {
            same += ((const uint8_t *)f->data)[i] == (slots[PX + i] == slot_of[9]);
            ones += ((const uint8_t *)f->data)[i];
        }
        OK(ok && same == PX, "binary, %s%s: as by hand (%d of %d pixels are the class)%s%s", mix & 1 ? "S2 " : "", mix & 2 ? "S1" : "", ones, PX, rc ? ": " : "", rc ? e.msg : "");
        if (f && !mix) {
            double a[6];
            OK(!strcmp(out.id, "q#9") && json_integer_value(json_object_get(out.meta, "slot")) == slot_of[9] && json_object_get(out.meta, "split"), "id, slot, the query's metadata");
            OK(sky_field_affine(f, a) && a[0] == 2 * 120.0 / SIDE && a[4] == -3 * 100.0 / SIDE && a[2] == 1000 && a[5] == 5000, "affine scaled to the canvas");
            OK(json_integer_value(json_object_get(json_array_get(json_object_get(f->meta, "classes"), 0), "value")) == 1 &&
                   !strcmp(json_string_value(json_object_get(json_array_get(json_object_get(f->meta, "classes"), 0), "name")), "Road"), "value 1 has the class's name");
        }
        sky_infer_close(in);
        sky_sample_free(&q), sky_sample_free(&p), sky_sample_free(&out);
    }
}

static void multiclass(bed *t)
{
    static uint8_t slots[2 * PX];
    sky_sample q, p, out;
    sky_err e;
    make(&q, "q", 0, 0), make(&p, "p", 0, 0), sky_sample_init(&out);
    uint8_t slot_of[256], value_of[256] = {0};
    int bad = sky_prompt_slots(slot_of, 5, (int[]){1, 2, 9}, 3, t->cfg.vocab, &e);
    for (int v = 1; v < 10; v++)
        if (slot_of[v])
            value_of[slot_of[v]] = (uint8_t)v;
    bad |= !by_hand(t, slots, &q, &p, slot_of, 0, 0);
    sky_infer *in = opened(t, 1, 1, 1, 5);
    bad |= !in || answer(&out, in, &q, &p, -1, &e);
    const uint8_t *f = bad ? NULL : sky_sample_field(&out, "pred")->data;
    const uint16_t *prob = bad ? NULL : sky_sample_field(&out, "prob")->data;
    int same = 0, agree = 0, above = 0;
    for (int i = 0; f && i < PX; i++) {
        same += f[i] == value_of[slots[PX + i]];
        float best = 0;
        int at = 0;
        for (int k = 0; k < 3; k++)
            if (sky_f16_to_f32(prob[k * PX + i]) > best)
                best = sky_f16_to_f32(prob[k * PX + i]), at = (int[]){1, 2, 9}[k];
        agree += f[i] == 0 || f[i] == at;
        above += f[i] != 0;
    }
    OK(f && same == PX, "multi-class: as by hand (%d pixels of a class)", above);
    OK(f && agree >= PX - 8 && above > 100, "the class is the most probable one (%d of %d pixels)", agree, PX);
    sky_infer_close(in);
    sky_sample_free(&q), sky_sample_free(&p), sky_sample_free(&out);
}

static void batches(bed *t)
{
    sky_sample s[4], out[5], one;
    sky_infer_pass *pass[5] = {0};
    sky_err e;
    sky_infer *in = opened(t, 5, 1, 1, 7);
    int bad = !in;
    for (int i = 0; i < 4; i++)
        make(&s[i], (const char *[]){"a", "b", "c", "d"}[i], i & 1, i & 2);
    for (int i = 0; i < 5 && !bad; i++) {
        const sky_infer_task task = {&s[i % 4], &s[3 - i / 4], NULL, NULL, (int[]){1, 2, 9, 1, -1}[i]};
        bad |= sky_infer_prepare(&pass[i], in, &task, &e) != 0;
        sky_sample_init(&out[i]);
    }
    bad |= bad || sky_infer_run(in, pass, 5, &e);
    for (int i = 0; i < 5 && !bad; i++) {
        bad |= sky_infer_answer(&out[i], in, pass[i], &e);
        sky_sample_init(&one);
        bad |= answer(&one, in, &s[i % 4], &s[3 - i / 4], (int[]){1, 2, 9, 1, -1}[i], &e);
        OK(!bad && sky_sample_hash(&one) == sky_sample_hash(&out[i]), "pass %d of a mixed batch of 5: as alone", i);
        sky_sample_free(&one);
    }
    OK(!bad, "batch ran%s%s", bad ? ": " : "", bad ? e.msg : "");
    for (int i = 0; i < 5; i++)
        sky_infer_pass_free(pass[i]), sky_sample_free(&out[i]);
    for (int i = 0; i < 4; i++)
        sky_sample_free(&s[i]);
    sky_infer_close(in);
}

static void slots_mean(bed *t)
{
    sky_sample q, p, out[3];
    sky_err e;
    int bad = 0;
    make(&q, "q", 0, 1), make(&p, "p", 0, 1);
    for (int i = 0; i < 3; i++) {
        sky_infer *in = opened(t, 1, i ? 1 : 2, 1, i == 2 ? 12 : 11);
        sky_sample_init(&out[i]);
        bad |= !in || answer(&out[i], in, &q, &p, 2, &e);
        sky_infer_close(in);
    }
    double worst = bad;
    for (int i = 0; i < PX && !bad; i++) {
        float v[3];
        for (int k = 0; k < 3; k++)
            v[k] = sky_f16_to_f32(((const uint16_t *)sky_sample_field(&out[k], "prob")->data)[i]);
        const double diff = fabs(v[0] - 0.5 * (v[1] + v[2]));
        worst = diff > worst ? diff : worst;
    }
    OK(worst < 1e-3, "two slots: the mean of two runs (%.2g)", worst); /* half precision */
    for (int i = 0; i < 3; i++)
        sky_sample_free(&out[i]);
    sky_sample_free(&q), sky_sample_free(&p);
}

static void refused(bed *t, const char *what, const char *word, sky_sample *q, sky_sample *p, int cls)
{
    sky_sample out;
    sky_err e = {0};
    sky_infer *in = opened(t, 1, 1, 0, 1);
    sky_sample_init(&out);
    const int rc = in ? answer(&out, in, q, p, cls, &e) : 0;
    OK(rc == SKY_ECORRUPT && strstr(e.msg, word), "%s: %s", what, e.msg);
    sky_infer_close(in);
    sky_sample_free(&out), sky_sample_free(q), sky_sample_free(p);
}

static void errors(bed *t)
{
    sky_sample q, p;
    sky_err e;
    make(&q, "q", 0, 0), make(&p, "p", 0, 0);
    refused(t, "class not in the prompt", "no pixel of class 7", &q, &p, 7);
    make(&q, "q", 0, 0), make(&p, "p", 0, 0), sky_sample_drop(&q, "hr");
    refused(t, "no picture", "'q': field 'hr' is missing", &q, &p, 1);
    make(&q, "q", 0, 0), make(&p, "p", 0, 0), sky_sample_drop(&p, "label");
    refused(t, "no label", "'p': field 'label' is missing", &q, &p, 1);
    make(&q, "q", 1, 0), make(&p, "p", 1, 0);
    json_array_set_new(json_object_get(sky_sample_field(&q, "s2")->meta, "bands"), 3, json_string("X"));
    refused(t, "band missing", "band B8A not found", &q, &p, 1);
    const sky_infer_opts o = {192, 1, 1, 1, 0, 0, "hr", "label", "", 0, NULL, NULL};
    sky_infer *in = NULL;
    OK(sky_infer_open(&in, t->m, &t->c, &t->cfg, &o, &e) == SKY_EUSAGE && !in, "side 192: %s", e.msg);
    const sky_infer_opts right = {SIDE, 1, 1, 1, 0, 0, "hr", "label", "", 0, NULL, NULL};
    sky_config four = t->cfg;
    four.hr_channels = 4;
    OK(sky_infer_open(&in, t->m, &t->c, &four, &right, &e) == SKY_ECORRUPT && !in, "four bands: %s", e.msg);
    /* last: the weights are spoilt */
    sky_params *ps = sky_pp_params(t->m);
    for (int i = 0; i < ps->n; i++)
        if (ps->v[i].slot->dtype == SKY_F32 && !strcmp(ps->v[i].name, "backbone_hr.patch_embed.projection.bias"))
            *(float *)ps->v[i].slot->data = NAN;
    make(&q, "q", 0, 0), make(&p, "p", 0, 0);
    refused(t, "not-a-number in the weights", "query 'q', prompt 'p'", &q, &p, 1);
}

int main(void)
{
    bed t;
    if (!set_up(&t, 2)) {
        OK(0, "model opened");
        return END();
    }
    against_hand(&t);
    multiclass(&t);
    batches(&t);
    slots_mean(&t);
    errors(&t);
    sky_ctx_close(&t.c);
    sky_pp_close(t.m);
    return END();
}
