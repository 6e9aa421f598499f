/* The pretraining model as a whole, on generated weights: what must not change the result, bit for bit. Agreement with
 * the reference is tests/golden. */
#include "base/mem.h"
#include "nn/seeded.h"
#include "nn/skysensepp.h"
#include "t.h"

#include <string.h>

enum { B = 4, H = 256, W = 128, C = 17 };
static const uint8_t mixed[B * 3] = {1, 0, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0}, all_on[B * 3] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

typedef struct {
    sky_pp *m;
    sky_ctx c;
    sky_config cfg;
    sky_dtype dtype;
    const char *labels, *annotation; /* names of the generated slots; annotation NULL: none given */
} bed;

static int set_up(bed *t, sky_dtype dtype, int threads)
{
    sky_err e = {0};
    *t = (bed){.dtype = dtype, .labels = "labels"};
    int ok = sky_config_load(&t->cfg, "tiny", &e) == 0 && sky_pp_open(&t->m, &t->cfg, &e) == 0 && sky_ctx_open(&t->c, "cpu", threads, &e) == 0 &&
             sky_params_seed(sky_pp_params(t->m), "", dtype, 1, &e) == 0;
    if (!ok)
        printf("# %s\n", e.msg);
    return ok;
}

static void tear_down(bed *t)
{
    sky_ctx_close(&t->c);
    sky_pp_close(t->m);
}

static sky_tensor image(sky_ctx *c, const char *name, int64_t n, int64_t h, int64_t w, int64_t k, int64_t from)
{
    int64_t per = h * w * k;
    float *v = sky_calloc((size_t)(n * per), sizeof *v);
    sky_seeded_values(v, "", name, (uint64_t)(from * per), (uint64_t)(n * per), 1.5f, 0);
    sky_tensor t = sky_upload(c, SKY_F32, 4, (int64_t[]){n, h, w, k}, v);
    sky_free(v);
    return t;
}

static sky_tensor bytes(sky_ctx *c, const char *name, int64_t n, int64_t h, int64_t w, int mod, int64_t from)
{
    uint8_t *v = sky_calloc((size_t)(n * h * w), 1);
    for (int64_t i = 0; i < n * h * w; i++)
        v[i] = (uint8_t)(sky_seeded_u24("", name, (uint64_t)(from * h * w + i)) % (uint32_t)mod);
    sky_tensor t = sky_upload(c, SKY_U8, 3, (int64_t[]){n, h, w}, v);
    sky_free(v);
    return t;
}

/* Samples from..from+n-1; returns logits_low (to sky_free) or NULL. */
static float *forward(bed *t, const uint8_t *flags, int64_t from, int64_t n, const sky_pp_opts *o, uint8_t *argmax, sky_err *e)
{
    float *out = sky_calloc((size_t)(n * (H / 4) * (W / 4) * C), sizeof *out);
    for (int dry = 1; dry >= 0; dry--) {
        if (dry)
            sky_ctx_dry(&t->c);
        else if (sky_ctx_alloc(&t->c, t->c.peak, e))
            break;
        int has2 = 0, has1 = 0;
        for (int64_t i = 0; i < n; i++)
            has2 |= flags[3 * (from + i) + 1], has1 |= flags[3 * (from + i) + 2];
        sky_pp_batch b = {.t2 = 1, .t1 = 1, .flags = flags + 3 * from};
        b.hr = image(&t->c, "hr", n, H, W, 3, from);
        if (has2 || o->encode_absent)
            b.s2 = image(&t->c, "s2", n, H / 32, W / 32, 10, from);
        if (has1 || o->encode_absent)
            b.s1 = image(&t->c, "s1", n, H / 32, W / 32, 2, from);
        b.labels = bytes(&t->c, t->labels, n, H, W, C, from);
        if (t->annotation)
            b.annotation = bytes(&t->c, t->annotation, n, H, W, C, from);
        b.anno_mask = bytes(&t->c, "mask", n, H / 128, W / 128, 2, from);
        sky_pp_out r;
        if (sky_pp_forward(t->m, &t->c, &b, o, &r, e)) {
            sky_free(out);
            return NULL;
        }
        sky_download(&t->c, out, &r.logits_low);
        if (argmax)
            sky_download(&t->c, argmax, &r.argmax);
    }
    return out;
}

static int same(const float *a, const float *b, int64_t n) { return a && b && !memcmp(a, b, (size_t)n * sizeof *a); }

static void absent_is_not_encoded(sky_dtype dtype, const uint8_t *flags, const char *what)
{
    bed t;
    sky_err e = {0};
    OK(set_up(&t, dtype, 2), "set up");
    float *a = forward(&t, flags, 0, B, &(sky_pp_opts){0}, NULL, &e);
    float *b = forward(&t, flags, 0, B, &(sky_pp_opts){.encode_absent = 1}, NULL, &e);
    float *c = forward(&t, flags, 0, B, &(sky_pp_opts){.want_losses = 1, .want_logits = 1}, NULL, &e);
    int64_t n = B * (H / 4) * (W / 4) * C, per = n / B;
    OK(same(a, b, n), "%s: encoding absent modalities changes no bit %s", what, e.msg);
    OK(same(a, c, n), "%s: nor does asking for losses", what);
    int alone = 1;
    for (int64_t i = 0; i < B; i++) {
        float *one = forward(&t, flags, i, 1, &(sky_pp_opts){0}, NULL, &e);
        alone &= same(one, a + i * per, per);
        sky_free(one);
    }
    OK(alone, "%s: each sample alone gives the bits it has in the batch %s", what, e.msg);
    tear_down(&t);
    bed u;
    OK(set_up(&u, dtype, 1), "set up with one thread");
    float *d = forward(&u, flags, 0, B, &(sky_pp_opts){0}, NULL, &e);
    OK(same(a, d, n), "%s: one thread or two, same bits", what);
    tear_down(&u);
    sky_free(a);
    sky_free(b);
    sky_free(c);
    sky_free(d);
}

static void class_map(void)
{
    bed t;
    sky_err e = {0};
    static uint8_t map[B * H * W];
    int seen[C] = {0}, kinds = 0;
    OK(set_up(&t, SKY_F32, 2), "set up");
    sky_free(forward(&t, all_on, 0, B, &(sky_pp_opts){0}, map, &e));
    for (int i = 0; i < B * H * W; i++)
        kinds += map[i] < C && !seen[map[i]]++;
    OK(kinds > 4, "the class map has %d classes", kinds);
    tear_down(&t);
}

/* What is shown makes the logits, not what the loss compares with. */
static void annotation(void)
{
    bed t;
    sky_err e = {0};
    const int64_t n = B * (H / 4) * (W / 4) * C;
    OK(set_up(&t, SKY_F32, 2), "set up");
    float *plain = forward(&t, all_on, 0, B, &(sky_pp_opts){0}, NULL, &e);
    t.labels = "others", t.annotation = "labels";
    float *shown = forward(&t, all_on, 0, B, &(sky_pp_opts){0}, NULL, &e);
    t.labels = "labels", t.annotation = "others";
    float *others = forward(&t, all_on, 0, B, &(sky_pp_opts){0}, NULL, &e);
    OK(same(plain, shown, n) && others && !same(plain, others, n), "the annotation is what is shown, labels only where there is none %s", e.msg);
    sky_free(plain), sky_free(shown), sky_free(others);
    tear_down(&t);
}

static void new_values_count(void)
{
    bed t;
    sky_err e = {0};
    OK(set_up(&t, SKY_F32, 2), "set up");
    int64_t n = (H / 4) * (W / 4) * C;
    float *a = forward(&t, all_on, 0, 1, &(sky_pp_opts){0}, NULL, &e);
    OK(sky_params_seed(sky_pp_params(t.m), "other.", SKY_F32, 1, &e) == 0, "other values");
    float *b = forward(&t, all_on, 0, 1, &(sky_pp_opts){0}, NULL, &e);
    OK(sky_params_seed(sky_pp_params(t.m), "", SKY_F32, 1, &e) == 0, "the first ones again");
    float *c = forward(&t, all_on, 0, 1, &(sky_pp_opts){0}, NULL, &e);
    OK(a && b && !same(a, b, n) && same(a, c, n), "nothing derived from old parameters survives");
    sky_free(a);
    sky_free(b);
    sky_free(c);
    tear_down(&t);
}

/* As training does: a validation, an optimizer that changes the values where they lie, a step on the tape, a validation. */
static void steps_count(void)
{
    bed t;
    sky_err e = {0};
    sky_tape *tape = NULL;
    const int64_t n = (H / 4) * (W / 4) * C;
    const sky_pp_opts plain = {0};
    OK(set_up(&t, SKY_F32, 2) && !sky_tape_open(&tape, &e), "set up");
    sky_params *ps = sky_pp_params(t.m);
    float *before = forward(&t, all_on, 0, 1, &plain, NULL, &e);
    for (int i = 0; i < ps->n; i++)
        if (strstr(ps->v[i].name, "cpb_mlp.2.weight") || strstr(ps->v[i].name, "v_bias"))
            for (int64_t k = 0; k < sky_numel(ps->v[i].slot); k++)
                ((float *)ps->v[i].slot->data)[k] += (float)(k % 3) - 1;
    sky_tape_start(&t.c, tape);
    float *step = forward(&t, all_on, 0, 1, &plain, NULL, &e);
    sky_tape_stop(&t.c);
    float *after = forward(&t, all_on, 0, 1, &plain, NULL, &e);
    sky_pp_params(t.m); /* forgets all that was derived */
    float *fresh = forward(&t, all_on, 0, 1, &plain, NULL, &e);
    OK(before && fresh && !same(before, fresh, n) && step && same(after, fresh, n), "nor does what a step on the tape has outdated %s", e.msg);
    sky_free(before), sky_free(step), sky_free(after), sky_free(fresh);
    sky_tape_close(tape);
    tear_down(&t);
}

static void refused(void)
{
    bed t;
    sky_err e = {0};
    OK(set_up(&t, SKY_F32, 1), "set up");
    sky_ctx_dry(&t.c);
    sky_pp_out r;
    sky_pp_batch b = {.t2 = 1, .t1 = 1, .flags = all_on, .hr = image(&t.c, "hr", 1, 256, 256, 3, 0)};
    OK(sky_pp_forward(t.m, &t.c, &b, &(sky_pp_opts){0}, &r, &e) < 0 && strstr(e.msg, "hr"), "square picture: %s", e.msg);
    sky_ctx_dry(&t.c);
    b.hr = image(&t.c, "hr", 1, H, W, 3, 0);
    b.labels = bytes(&t.c, "labels", 1, H, W, C, 0);
    b.anno_mask = bytes(&t.c, "mask", 1, H / 128, W / 128, 2, 0);
    OK(sky_pp_forward(t.m, &t.c, &b, &(sky_pp_opts){0}, &r, &e) < 0 && strstr(e.msg, "s2"), "flag set but no picture: %s", e.msg);
    tear_down(&t);
}

int main(void)
{
    absent_is_not_encoded(SKY_F32, mixed, "f32, mixed flags");
    absent_is_not_encoded(SKY_BF16, mixed, "bf16, mixed flags");
    absent_is_not_encoded(SKY_F32, all_on, "f32, all present");
    class_map();
    annotation();
    new_values_count();
    steps_count();
    refused();
    return END();
}
