/* segmentor.c -- the fine-tuning networks. */
#include "nn/segmentor.h"
#include "base/mem.h"
#include "nn/layers.h"

#include <string.h>

struct sky_seg {
    sky_config cfg;
    sky_seg_config seg;
    sky_params params;
    sky_nn_vit vit;
    sky_nn_swin swin;
    sky_nn_neck neck;
    sky_nn_fusion fusion; /* with dates */
    sky_nn_uper decoder;
    sky_nn_fcn aux;
    int levels;
};

static int declare_backbone(sky_seg *m, const sky_scope *at, int64_t *widths, sky_err *e)
{
    const sky_seg_config *s = &m->seg;
    for (int i = 0; i < m->levels; i++)
        widths[i] = s->swin ? (int64_t)m->cfg.swin_dim << i : m->cfg.vit_dim;
    if (!s->swin)
        return sky_nn_vit_open(&m->vit, at, &m->cfg, s->channels, 0, s->patch_bias, s->drop, s->drop_path, e);
    m->cfg.hr_channels = s->channels;
    return sky_nn_swin_open(&m->swin, at, &m->cfg, 0, e);
}

static int declare(sky_seg *m, sky_err *e)
{
    const sky_config *g = &m->cfg;
    const sky_seg_config *s = &m->seg;
    sky_scope root = sky_scope_root(&m->params), backbone = sky_scope_in(&root, "backbone"), neck = sky_scope_in(&root, "neck");
    sky_scope dec = sky_scope_in(&root, "decode_head"), aux = sky_scope_in(&root, "auxiliary_head");
    sky_scope fus = sky_scope_in(&neck, "fusion_transformer"), multi = sky_scope_in(&neck, "multilevel_neck");
    int64_t width = s->dates ? g->fus_dim : s->neck_dim, widths[8], cins[8];
    for (int i = 0; i < m->levels; i++)
        cins[i] = width;
    int rc = declare_backbone(m, &backbone, widths, e);
    sky_nn_neck_declare(&m->neck, s->dates ? &multi : &neck, widths, s->neck_dim, s->scales, m->levels);
    if (!rc && s->dates)
        rc = sky_nn_fusion_open(&m->fusion, &fus, s->neck_dim, g->fus_dim, g->fus_depth, g->fus_heads, g->fus_drop_path, e);
    if (!rc)
        rc = sky_nn_uper_declare(&m->decoder, &dec, cins, m->levels, s->head_channels, s->classes, (const int[]){1, 2, 3, 6}, 4, s->head_drop, e);
    if (s->aux_channels)
        sky_nn_fcn_declare(&m->aux, &aux, width, s->aux_channels, s->classes, s->head_drop);
    return !rc && m->params.bad ? sky_fail(e, SKY_ENOMEM, "out of memory") : rc;
}

static int check(const sky_seg_config *s, int levels, sky_err *e)
{
    if (s->channels < 1 || s->channels > 1024 || s->classes < 1 || s->classes > 254 || s->dates < 0 || s->dates > 4096)
        return sky_fail(e, SKY_ELIMIT, "%d channels, %d classes, %d dates: at most 1024, 254 and 4096 are supported", s->channels, s->classes, s->dates);
    const int width[3] = {s->neck_dim, s->head_channels, s->aux_channels};
    for (int i = 0; i < 3; i++)
        if (width[i] < (i < 2) || width[i] > 16384)
            return sky_fail(e, SKY_ELIMIT, "neck and head widths: %d is outside 1..16384", width[i]);
    for (int i = 0; i < levels; i++)
        if (!(s->scales[i] >= 1.0 / 64 && s->scales[i] <= 64))
            return sky_fail(e, SKY_ELIMIT, "neck scale %g is outside 1/64..64", s->scales[i]);
    const double rate[3] = {s->drop, s->drop_path, s->head_drop};
    for (int i = 0; i < 3; i++)
        if (!(rate[i] >= 0 && rate[i] < 1))
            return sky_fail(e, SKY_ELIMIT, "dropout rate %g is outside 0..1", rate[i]);
    return 0;
}

int sky_seg_open(sky_seg **out, const sky_config *cfg, const sky_seg_config *s, sky_err *e)
{
    *out = NULL;
    int levels = s->swin ? 4 : cfg->vit_nout, rc = check(s, levels, e);
    if (rc)
        return rc;
    sky_seg *m = sky_calloc(1, sizeof *m);
    if (!m)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    m->cfg = *cfg;
    m->seg = *s;
    m->levels = levels;
    rc = declare(m, e);
    if (rc)
        sky_seg_close(m);
    else
        *out = m;
    return rc;
}

void sky_seg_close(sky_seg *m)
{
    if (!m)
        return;
    sky_params_close(&m->params);
    sky_nn_vit_close(&m->vit);
    sky_nn_swin_close(&m->swin);
    sky_nn_fusion_close(&m->fusion);
    sky_free(m);
}

sky_params *sky_seg_params(sky_seg *m)
{
    sky_nn_swin_forget(&m->swin);
    return &m->params;
}

/* [B*T,h,w,C] -> [B,h,w,D]: the sequence of dates at every location */
static sky_tensor over_dates(sky_ctx *c, const sky_seg *m, sky_tensor x)
{
    int64_t t = m->seg.dates, h = x.shape[1], w = x.shape[2], dim = x.shape[3];
    sky_tensor y = SKY_RESHAPE(c, x, -1, t, h, w, dim);
    y = sky_transpose(c, y, (const int[]){0, 2, 3, 1, 4});
    y = sky_nn_fusion_forward(c, &m->fusion, SKY_RESHAPE(c, y, -1, t, dim));
    return SKY_RESHAPE(c, y, -1, h, w, m->cfg.fus_dim);
}

static sky_tensor level(sky_ctx *c, const sky_seg *m, int i, sky_tensor x)
{
    sky_mark k = sky_mark_get(c);
    sky_tensor y = sky_nn_neck_level(c, &m->neck, i, x);
    if (m->seg.dates)
        y = over_dates(c, m, y);
    sky_keep(c, k, &y, 1);
    return y;
}

/* A term of the loss: kept for backward; its value. */
static float add_term(sky_seg *m, sky_ctx *c, sky_seg_out *out, const char *name, sky_tensor logits, sky_tensor labels, double weight)
{
    float v = 0;
    sky_tensor x = sky_resize(c, logits, labels.shape[1], labels.shape[2], SKY_BILINEAR);
    sky_tensor t = sky_cross_entropy(c, x, labels, 255, m->seg.sigmoid, m->seg.class_weight);
    sky_download(c, &v, &t);
    out->terms[out->nterms++] = (sky_term){t, weight, name};
    out->loss_total += (float)weight * v;
    return v;
}

static void forward(sky_seg *m, sky_ctx *c, sky_tensor img, sky_tensor labels, const sky_seg_opts *o, sky_seg_out *out)
{
    sky_nn_tap tap = {o->tap, o->tap_arg};
    sky_mark k = sky_mark_get(c);
    sky_tensor f[8];
    if (m->seg.swin)
        sky_nn_swin_forward(c, &m->swin, img, NULL, f, NULL);
    else
        sky_nn_vit_forward(c, &m->vit, img, NULL, 0, f, NULL, "");
    for (int i = 0; i < m->levels; i++)
        sky_nn_tap_call(c, &tap, f[i], "backbone%d", i);
    for (int i = 0; i < m->levels; i++) {
        f[i] = level(c, m, i, f[i]);
        sky_nn_tap_call(c, &tap, f[i], "neck%d", i);
    }
    out->logits = sky_nn_uper_forward(c, &m->decoder, f, o->batch_stats, NULL);
    if (m->seg.aux_channels)
        out->aux_logits = sky_nn_fcn_forward(c, &m->aux, f[m->levels - 1], o->batch_stats);
    sky_keep2(c, k, &out->logits, &out->aux_logits);
    if (!labels.data)
        return;
    out->loss_decode = add_term(m, c, out, "decode", out->logits, labels, 1);
    if (out->aux_logits.data)
        out->loss_aux = add_term(m, c, out, "aux", out->aux_logits, labels, m->seg.aux_weight);
}

int sky_seg_forward(sky_seg *m, sky_ctx *c, sky_tensor img, sky_tensor labels, const sky_seg_opts *o, sky_seg_out *out, sky_err *e)
{
    *out = (sky_seg_out){0};
    if (!img.data || img.ndim != 4 || img.shape[3] != m->seg.channels || (m->seg.dates && img.shape[0] % m->seg.dates))
        return sky_fail(e, SKY_EUSAGE, "image: expected F32 [samples%s,height,width,%d]", m->seg.dates ? "*dates" : "", m->seg.channels);
    forward(m, c, img, labels, o, out);
    return c->err.code ? sky_fail(e, c->err.code, "%s", c->err.msg) : 0;
}
