/* full.c -- the full-size file: no weights inside, statistics and samples of every intermediate instead of the whole. */
#include "golden.h"
#include "nn/seeded.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Intermediates that are token sequences in the reference; all others are NCHW there. */
static int is_tokens(const char *name)
{
    return g_starts(name, "hr.") || ((g_starts(name, "s2.") || g_starts(name, "s1.")) && (strstr(name, ".joined") || strstr(name, ".layer")));
}

static void stats_of(const float *v, int64_t n, float out[4])
{
    double sum = 0, sq = 0;
    float lo = v[0], hi = v[0];
    for (int64_t i = 0; i < n; i++) {
        sum += v[i];
        lo = v[i] < lo ? v[i] : lo;
        hi = v[i] > hi ? v[i] : hi;
    }
    double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        sq += (v[i] - mean) * (v[i] - mean);
    out[0] = (float)mean;
    out[1] = (float)sqrt(sq / (double)n);
    out[2] = lo;
    out[3] = hi;
}

/* Element `flat` of the first sample as the reference lays it out. */
static float reference_at(const float *v, const sky_tensor *t, int tokens, int64_t flat)
{
    if (tokens)
        return v[flat];
    int64_t hw = t->shape[1] * t->shape[2];
    return v[flat % hw * t->shape[3] + flat / hw];
}

/* The 64 values often lie in one channel (the step is a multiple of the width). In BF16 that channel's error is that of
 * sums over all channels, so it is measured against the tensor's own size where the channel is smaller. */
static void check_sample(golden *g, const char *name, const float *got, const float stat[4])
{
    const sky_weight *t = g_find(g, "%s", name);
    float *want = t && t->ndim == 1 && t->shape[0] == 64 ? g_floats(g, t) : NULL;
    if (g->o->dtype == SKY_F32 || !want) {
        g_check_floats(g, name, got, 64);
    } else {
        double norm = 0, typical = 8 * sqrt((double)stat[0] * stat[0] + (double)stat[1] * stat[1]), d = g_distance(got, want, 64);
        for (int i = 0; i < 64; i++)
            norm += (double)want[i] * want[i];
        norm = sqrt(norm);
        d *= norm < typical ? norm / typical : 1;
        g_line(g, name, d <= g->tol, "error %.2e  tolerance %.0e", d, g->tol);
    }
    sky_free(want);
}

static void on_tap(void *arg, const char *name, const sky_tensor *t)
{
    golden *g = arg;
    char full[80];
    float *v = sky_alloc((size_t)sky_bytes(t)), stat[4], sample[64];
    if (!v)
        return;
    sky_download(&g->c, v, t);
    stats_of(v, sky_numel(t), stat);
    snprintf(full, sizeof full, "stat.%s", name);
    g_check_floats(g, full, stat, 4);
    int64_t n = sky_numel(t) / t->shape[0], step = n / 64;
    for (int i = 0; i < 64; i++)
        sample[i] = reference_at(v, t, is_tokens(name), i * step);
    snprintf(full, sizeof full, "sample.%s", name);
    check_sample(g, full, sample, stat);
    sky_free(v);
}

/* Logits [1,H,W,C] at the centres of a rows x columns grid, channel first. */
static void check_grid(golden *g, const char *name, const sky_tensor *t)
{
    const sky_weight *w = g_find(g, "%s", name);
    if (!w || g->c.dry || !t->data)
        return;
    int64_t H = t->shape[1], W = t->shape[2], C = t->shape[3];
    int64_t rows = w->ndim == 3 ? w->shape[1] : 0, cols = w->ndim == 3 ? w->shape[2] : 0;
    if (!rows || !cols || w->shape[0] != C || H % rows || W % cols) {
        g_line(g, name, 0, "another shape");
        return;
    }
    float *v = sky_alloc((size_t)sky_bytes(t)), *out = sky_alloc((size_t)(C * rows * cols) * sizeof *out);
    int64_t at = 0, dy = H / rows, dx = W / cols;
    if (v && out) {
        sky_download(&g->c, v, t);
        for (int64_t k = 0; k < C; k++)
            for (int64_t y = dy / 2; y < H; y += dy)
                for (int64_t x = dx / 2; x < W; x += dx)
                    out[at++] = v[(y * W + x) * C + k];
        g_check_floats(g, name, out, at);
    }
    sky_free(v);
    sky_free(out);
}

static void check_class_stats(golden *g, const sky_tensor *t)
{
    if (g->c.dry || !t->data)
        return;
    int64_t n = sky_rows(t), C = sky_last(t);
    float *v = sky_alloc((size_t)sky_bytes(t)), *plane = sky_alloc((size_t)n * sizeof *plane), mean[256], sd[256], s[4];
    if (v && plane && C <= 256) {
        sky_download(&g->c, v, t);
        for (int64_t k = 0; k < C; k++) {
            for (int64_t i = 0; i < n; i++)
                plane[i] = v[i * C + k];
            stats_of(plane, n, s);
            mean[k] = s[0];
            sd[k] = s[1];
        }
        g_check_floats(g, "logits.mean", mean, C);
        g_check_floats(g, "logits.std", sd, C);
    }
    sky_free(v);
    sky_free(plane);
}

/* An image of the generator, NCHW there. */
static sky_tensor image(golden *g, const char *name, int64_t b, int64_t c, int64_t h, int64_t w)
{
    int64_t n = b * c * h * w;
    float *v = sky_alloc((size_t)n * sizeof *v);
    if (!v) {
        sky_fail(&g->err, SKY_ENOMEM, "out of memory");
        return sky_none;
    }
    sky_seeded_values(v, g->prefix, name, 0, (uint64_t)n, 1.5f, 0);
    sky_mark m = sky_mark_get(&g->c);
    sky_tensor x = sky_transpose(&g->c, sky_upload(&g->c, SKY_F32, 4, (int64_t[]){b, c, h, w}, v), (const int[]){0, 2, 3, 1});
    sky_keep(&g->c, m, &x, 1);
    sky_free(v);
    return x;
}

static void forward(golden *g, void *arg)
{
    const sky_weight *l = g_find(g, "input.labels"), *f = g_find(g, "input.flags");
    if (!l || l->ndim != 3 || !f) {
        sky_fail(&g->err, SKY_ECORRUPT, "input.labels or input.flags: missing");
        return;
    }
    int64_t b = l->shape[0], h = l->shape[1], w = l->shape[2];
    uint8_t *flags = g_bytes(g, f), *unsure = g_find(g, "margin_small") ? g_bytes(g, g_find(g, "margin_small")) : NULL;
    sky_pp_batch in = {.t2 = 1, .t1 = 1, .flags = flags};
    in.hr = image(g, "input.hr_img", b, g->cfg.hr_channels, h, w);
    in.s2 = image(g, "input.s2_img", b, g->cfg.s2_channels, h / 32, w / 32);
    in.s1 = image(g, "input.s1_img", b, g->cfg.s1_channels, h / 32, w / 32);
    in.labels = g_bytes_on(g, l);
    in.anno_mask = g_bytes_on(g, g_find(g, "input.anno_mask"));
    sky_pp_opts o = {.encode_absent = 1, .want_losses = 1, .want_logits = 1, .tap = on_tap, .tap_arg = g};
    sky_pp_out out;
    if (!g->err.code && sky_pp_forward(arg, &g->c, &in, &o, &out, &g->err) == 0) {
        check_grid(g, "grid.logits_low", &out.logits_low);
        check_grid(g, "grid.logits", &out.logits);
        check_class_stats(g, &out.logits);
        g_check_argmax(g, "argmax", &out.argmax, &out.logits, unsure);
        g_check_scalar(g, "loss.rec", out.loss_rec);
        g_check_scalar(g, "loss.vae", out.loss_vae);
        g_check_scalar(g, "loss.vae_kl", out.loss_vae_kl);
        g_check_scalar(g, "loss.total", out.loss_total);
    }
    sky_free(flags);
    sky_free(unsure);
}

void golden_full(golden *g)
{
    g->tol = g->o->dtype == SKY_F32 ? 1e-4 : 2e-2;
    sky_pp *m = NULL;
    sky_weights *w = NULL;
    int rc = sky_pp_open(&m, &g->cfg, &g->err);
    if (!rc && g->o->weights) {
        rc = sky_weights_open(&w, g->o->weights, &g->err);
        if (!rc)
            rc = sky_pp_load(m, &g->c, w, g->o->dtype, 0, NULL, NULL, &g->err);
    } else if (!rc) {
        rc = sky_params_seed(sky_pp_params(m), g->prefix, g->o->dtype, g->o->threads, &g->err);
        if (!rc)
            rc = sky_params_place(sky_pp_params(m), &g->c, NULL, &g->err);
    }
    if (!rc)
        g_run(g, forward, m);
    sky_pp_close(m);
    sky_weights_close(w);
}
