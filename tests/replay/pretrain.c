/* pretrain.c -- the pretraining model against tiny files that hold weights, inputs and results. */
#include "golden.h"

#include <stdio.h>
#include <string.h>

typedef struct {
    sky_pp *m;
    const sky_params *ps;
    int64_t samples; /* the first so many */
    int batch_stats;
    const char *head; /* of the results: "out.", "eval.", "eval_after." */
    int taps, encode_absent;
    int train, checkpoints; /* backward too; segments recomputed */
    uint64_t grads[2];      /* their sums without and with checkpoints */
    float *low;       /* logits_low kept for the bit comparison, or NULL */
    int64_t nlow;
} run;

static sky_tensor first(golden *g, sky_tensor x, int64_t n)
{
    return x.data && x.shape[0] > n ? sky_slice(&g->c, x, 0, 0, n) : x;
}

/* (B,C,T,h,w) -> [B*T,h,w,C] */
static sky_tensor dates_map(golden *g, const char *name, int64_t n, int *dates)
{
    const sky_weight *t = g_find(g, "%s", name);
    if (!t || t->ndim != 5) {
        sky_fail(&g->err, SKY_ECORRUPT, "%s: missing, or not of 5 dimensions", name);
        return sky_none;
    }
    *dates = (int)t->shape[2];
    sky_tensor x = sky_transpose(&g->c, first(g, g_floats_on(g, t), n), (const int[]){0, 2, 3, 4, 1});
    return SKY_RESHAPE(&g->c, x, n * t->shape[2], t->shape[3], t->shape[4], t->shape[1]);
}

static void on_tap(void *arg, const char *name, const sky_tensor *t)
{
    char full[80];
    snprintf(full, sizeof full, "tap.%s", name);
    g_check(arg, full, t);
}

static void check_strided(golden *g, const char *name, const sky_tensor *logits)
{
    if (!g_find(g, "%s", name) || g->c.dry || !logits->data)
        return;
    int64_t s = g_meta_int(g, "stride"), n = logits->shape[0], h = logits->shape[1], w = logits->shape[2], c = logits->shape[3];
    if (g->err.code || s < 1)
        return;
    int64_t hs = (h + s - 1) / s, ws = (w + s - 1) / s, at = 0;
    float *all = sky_alloc((size_t)sky_bytes(logits)), *some = sky_alloc((size_t)(n * hs * ws * c) * sizeof *some);
    if (all && some) {
        sky_download(&g->c, all, logits);
        for (int64_t b = 0; b < n; b++)
            for (int64_t k = 0; k < c; k++)
                for (int64_t y = 0; y < h; y += s)
                    for (int64_t x = 0; x < w; x += s)
                        some[at++] = all[((b * h + y) * w + x) * c + k];
        g_check_floats(g, name, some, at);
    }
    sky_free(all);
    sky_free(some);
}

static void check_out(golden *g, const run *r, const sky_pp_out *out)
{
    char name[64];
    snprintf(name, sizeof name, "%slogits_low", r->head);
    g_check(g, name, &out->logits_low);
    snprintf(name, sizeof name, "%slogits_strided", r->head);
    check_strided(g, name, &out->logits);
    snprintf(name, sizeof name, "%slogits", r->head);
    g_check(g, name, &out->logits);
    snprintf(name, sizeof name, "%sargmax", r->head);
    g_check_argmax(g, name, &out->argmax, &out->logits, NULL);
}

static void check_losses(golden *g, const sky_pp_out *out)
{
    g_check_scalar(g, "loss.rec", out->loss_rec);
    g_check_scalar(g, "loss.vae", out->loss_vae);
    g_check_scalar(g, "loss.vae_kl", out->loss_vae_kl);
    g_check_scalar(g, "loss.total", out->loss_total);
}

/* Keep logits_low the first time, compare bits the second time. */
static void same_bits(golden *g, run *r, const sky_tensor *low, const char *what)
{
    if (g->c.dry || g->c.err.code)
        return;
    float *v = sky_alloc((size_t)sky_bytes(low));
    if (!v)
        return;
    sky_download(&g->c, v, low);
    if (!r->low) {
        r->low = v;
        r->nlow = sky_numel(low);
        return;
    }
    int64_t differ = 0, n = sky_numel(low);
    for (int64_t i = 0; i < n; i++)
        differ += memcmp(v + i, r->low + i, sizeof *v) != 0;
    g_line(g, what, n == r->nlow && differ == 0, "%lld of %lld bits patterns differ", (long long)differ, (long long)n);
    sky_free(v);
}

static void check_forward(golden *g, run *r, const sky_pp_out *out)
{
    if (*r->head)
        check_out(g, r, out);
    if (r->taps && !g->c.dry)
        check_losses(g, out);
    if (!*r->head || r->taps)
        same_bits(g, r, &out->logits_low, "absent modalities not encoded: same bits");
}

static void check_grads(golden *g, run *r, const g_grads *grads, const sky_pp_out *out)
{
    sky_tape_backward(&g->c, out->terms, out->nterms);
    if (g->c.dry || g->c.err.code)
        return;
    r->grads[r->checkpoints] = g_grads_sum(g, grads);
    if (!r->checkpoints)
        g_grads_check(g, grads);
    else
        g_line(g, "gradients of recomputed segments: same bits", r->grads[0] == r->grads[1], "sums %016llx and %016llx",
               (unsigned long long)r->grads[0], (unsigned long long)r->grads[1]);
}

static void forward(golden *g, void *arg)
{
    run *r = arg;
    sky_pp_batch b = {0};
    sky_pp_out out;
    uint8_t *flags = g_bytes(g, g_find(g, "input.flags"));
    b.flags = flags;
    b.hr = first(g, g_map(g, g_find(g, "input.hr_img")), r->samples);
    b.s2 = dates_map(g, "input.s2_img", r->samples, &b.t2);
    b.s1 = dates_map(g, "input.s1_img", r->samples, &b.t1);
    b.labels = first(g, g_bytes_on(g, g_find(g, "input.labels")), r->samples);
    b.anno_mask = first(g, g_bytes_on(g, g_find(g, "input.anno_mask")), r->samples);
    sky_pp_opts o = {.encode_absent = r->encode_absent, .batch_stats = r->batch_stats, .want_losses = r->taps || r->train, .want_logits = 1,
                     .tap = r->taps ? on_tap : NULL, .tap_arg = g};
    g_grads *grads = r->train ? g_grads_begin(g, r->checkpoints) : NULL;
    if (grads)
        g_grads_watch_params(g, grads, "grad.", "", r->ps);
    if (!g->err.code && sky_pp_forward(r->m, &g->c, &b, &o, &out, &g->err) == 0) {
        if (grads)
            check_grads(g, r, grads, &out);
        else
            check_forward(g, r, &out);
    }
    g_grads_end(g, grads);
    sky_free(flags);
}

static void check_after(golden *g, const sky_params *ps)
{
    for (int i = 0; i < ps->n; i++)
        if (ps->v[i].kind == SKY_PARAM_STAT) {
            char name[256];
            snprintf(name, sizeof name, "after.%.240s", ps->v[i].name);
            g_check(g, name, ps->v[i].slot);
        }
}

/* Results under `head` with stored statistics, on as many samples as they have. */
static void evaluate(golden *g, sky_pp *m, const char *head)
{
    static const char *const names[] = {"logits_low", "logits_strided", "argmax", "logits", NULL};
    const sky_weight *t = NULL;
    for (int i = 0; names[i] && !t; i++)
        t = g_find(g, "%s%s", head, names[i]);
    if (t && t->ndim) {
        run r = {.m = m, .samples = t->shape[0], .head = head};
        g_run(g, forward, &r);
    }
}

void golden_pretrain(golden *g)
{
    g->tol = g->o->dtype == SKY_F32 ? 1e-4 : 2e-2;
    const char *bn = g_meta(g, "bn");
    int batch_stats = bn && strstr(bn, "batch");
    const sky_weight *img = g_find(g, "input.hr_img");
    sky_pp *m = NULL;
    if (!img || img->ndim != 4)
        sky_fail(&g->err, SKY_ECORRUPT, "input.hr_img: missing, or not of 4 dimensions");
    else if (sky_pp_open(&m, &g->cfg, &g->err) == 0 && g_load(g, sky_pp_params(m)) == 0) {
        evaluate(g, m, "eval.");
        run r = {.m = m, .samples = img->shape[0], .batch_stats = batch_stats, .head = "out.", .taps = 1, .encode_absent = 1};
        g_run(g, forward, &r);
        if (batch_stats && !g->err.code)
            check_after(g, sky_pp_params(m));
        evaluate(g, m, "eval_after.");
        run plain = r;
        plain.head = "";
        plain.taps = plain.encode_absent = 0;
        g_run(g, forward, &plain);
        sky_free(r.low);
        plain.train = g_has(g, "grad.");
        plain.ps = sky_pp_params(m);
        for (; plain.train && plain.checkpoints < 2 && !g->err.code; plain.checkpoints++)
            g_run(g, forward, &plain);
    }
    sky_pp_close(m);
}
