/* finetune.c -- the fine-tuning networks, and the Swin backbone without annotation. */
#include "golden.h"

#include <stdio.h>
#include <string.h>

typedef struct {
    sky_seg *m;
    int dates;
    const char *head; /* "out.", "eval.", "eval_after." */
    int batch_stats, losses;
    int64_t samples;
    int train; /* backward too, nothing of the forward pass compared */
} run;

static void on_tap(void *arg, const char *name, const sky_tensor *t)
{
    char full[80];
    snprintf(full, sizeof full, "tap.%s", name);
    g_check(arg, full, t);
}

static void forward(golden *g, void *arg)
{
    const run *r = arg;
    int64_t images = r->samples * (r->dates ? r->dates : 1);
    sky_tensor img = g_map(g, g_find(g, "input.img")), labels = r->losses ? g_bytes_on(g, g_find(g, "input.labels")) : sky_none;
    if (img.data && img.shape[0] > images)
        img = sky_slice(&g->c, img, 0, 0, images);
    sky_seg_opts o = {.batch_stats = r->batch_stats, .tap = r->losses && !r->train ? on_tap : NULL, .tap_arg = g};
    sky_seg_out out;
    char name[64];
    g_grads *grads = r->train ? g_grads_begin(g, 0) : NULL;
    if (grads)
        g_grads_watch_params(g, grads, "grad.", "", sky_seg_params(r->m));
    if (g->err.code || sky_seg_forward(r->m, &g->c, img, labels, &o, &out, &g->err) || grads) {
        if (grads && !g->err.code) {
            sky_tape_backward(&g->c, out.terms, out.nterms);
            g_grads_check(g, grads);
        }
        g_grads_end(g, grads);
        return;
    }
    snprintf(name, sizeof name, "%slogits", r->head);
    g_check(g, name, &out.logits);
    snprintf(name, sizeof name, "%saux_logits", r->head);
    g_check(g, name, &out.aux_logits);
    if (r->losses && !g->c.dry) {
        g_check_scalar(g, "loss.decode", out.loss_decode);
        g_check_scalar(g, "loss.aux_unweighted", out.loss_aux);
        g_check_scalar(g, "loss.total", out.loss_total);
    }
}

static int read_scales(golden *g, double out[8])
{
    const char *text = g_meta(g, "scales");
    json_t *j = NULL;
    if (!text || sky_json_parse(&j, text, strlen(text), "scales", &g->err))
        return sky_fail(&g->err, SKY_ECORRUPT, "metadata 'scales': a list is expected");
    for (int i = 0; i < g->cfg.vit_nout; i++)
        out[i] = json_number_value(json_array_get(j, (size_t)i));
    json_decref(j);
    return g->err.code;
}

static void evaluate(golden *g, const run *from, const char *head)
{
    const sky_weight *t = g_find(g, "%slogits", head);
    if (!t || g->err.code)
        return;
    run r = *from;
    r.head = head;
    r.batch_stats = r.losses = 0;
    r.samples = t->shape[0];
    g_run(g, forward, &r);
}

void golden_finetune(golden *g)
{
    g->tol = g->o->dtype == SKY_F32 ? 1e-4 : 2e-2;
    sky_seg_config s = {.channels = (int)g_meta_int(g, "channels"), .classes = (int)g_meta_int(g, "classes"), .dates = (int)g_meta_int(g, "ts"),
                        .neck_dim = (int)g_meta_int(g, "neck_dim"), .head_channels = (int)g_meta_int(g, "head_channels"),
                        .aux_channels = (int)g_meta_int(g, "aux_channels"), .aux_weight = 0.4, .patch_bias = g_find(g, "backbone.patch_embed.projection.bias") != NULL};
    const sky_weight *labels = g_find(g, "input.labels");
    sky_seg *m = NULL;
    if (!labels)
        sky_fail(&g->err, SKY_ECORRUPT, "input.labels: missing");
    else if (read_scales(g, s.scales) == 0 && sky_seg_open(&m, &g->cfg, &s, &g->err) == 0 && g_load(g, sky_seg_params(m)) == 0) {
        const char *bn = g_meta(g, "bn");
        run r = {.m = m, .dates = s.dates, .head = "out.", .batch_stats = bn && strstr(bn, "batch"), .losses = 1, .samples = labels->shape[0]};
        evaluate(g, &r, "eval.");
        g_run(g, forward, &r);
        const sky_params *ps = sky_seg_params(m);
        for (int i = 0; i < ps->n && !g->err.code; i++)
            if (ps->v[i].kind == SKY_PARAM_STAT) {
                char name[256];
                snprintf(name, sizeof name, "after.%.240s", ps->v[i].name);
                g_check(g, name, ps->v[i].slot);
            }
        evaluate(g, &r, "eval_after.");
        r.train = g_has(g, "grad.");
        if (r.train && !g->err.code)
            g_run(g, forward, &r);
    }
    sky_seg_close(m);
}

/* ------------------------------------------------------------------ Swin without annotation */
typedef struct {
    sky_nn_swin m;
    sky_params ps;
} swin;

static void swin_forward(golden *g, void *arg)
{
    swin *s = arg;
    sky_tensor out[4];
    char name[32];
    sky_nn_swin_forward(&g->c, &s->m, g_map(g, g_find(g, "input.img")), NULL, out, NULL);
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "out.stage%d", i);
        g_check(g, name, &out[i]);
    }
}

/* The gradient of the sum over stages of <out.stageN, input.goutN>. */
static void swin_backward(golden *g, void *arg)
{
    swin *s = arg;
    sky_tensor out[4];
    float *dy[4] = {0};
    sky_tensor img = g_map(g, g_find(g, "input.img"));
    for (int i = 0; i < 4; i++) {
        const sky_weight *t = g_find(g, "input.gout%d", i);
        sky_tensor m = g_map(g, t);
        dy[i] = m.data ? sky_alloc((size_t)sky_bytes(&m)) : NULL;
        if (dy[i])
            sky_download(&g->c, dy[i], &m);
        else
            sky_fail(&g->err, SKY_ECORRUPT, "input.gout%d: missing", i);
    }
    g_grads *grads = g_grads_begin(g, 0);
    if (grads && !g->err.code) {
        g_grads_watch_params(g, grads, "grad.", "", &s->ps);
        sky_nn_swin_forward(&g->c, &s->m, img, NULL, out, NULL);
        sky_tape_backward_from(&g->c, out, (const float *const *)dy, 4);
        g_grads_check(g, grads);
    }
    g_grads_end(g, grads);
    for (int i = 0; i < 4; i++)
        sky_free(dy[i]);
}

void golden_swin(golden *g)
{
    g->tol = g->o->dtype == SKY_F32 ? 1e-4 : 2e-2;
    swin s = {0};
    sky_scope root = sky_scope_root(&s.ps);
    if (sky_nn_swin_open(&s.m, &root, &g->cfg, 0, &g->err) == 0 && g_load(g, &s.ps) == 0) {
        g_run(g, swin_forward, &s);
        if (g_has(g, "grad.") && !g->err.code)
            g_run(g, swin_backward, &s);
    }
    sky_params_close(&s.ps); /* first: it writes to the module's slots */
    sky_nn_swin_close(&s.m);
}
