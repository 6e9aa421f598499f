/* skysensepp.c -- the pretraining / one-shot model: three backbones, completion, fusion, decoder. */
#include "nn/skysensepp.h"
#include "base/mem.h"
#include "nn/layers.h"

#include <string.h>

enum {
    CELL = 32,      /* pixels of HR per pixel of Sentinel */
    MASK_CELL = 128 /* pixels of HR per cell of the annotation mask */
};

struct sky_pp {
    sky_config cfg;
    sky_params params;
    sky_nn_swin hr;
    sky_nn_vit sentinel[2]; /* s2, s1 */
    sky_nn_uphead head[2];
    sky_nn_fusion fusion;
    sky_nn_uper decoder;
    sky_nn_codevae vae[3];
};

/* ------------------------------------------------------------------ parameters */
static int declare(sky_pp *m, sky_err *e)
{
    const sky_config *g = &m->cfg;
    int64_t top = (int64_t)g->swin_dim * 8, d = g->swin_dim;
    sky_scope root = sky_scope_root(&m->params), hr = sky_scope_in(&root, "backbone_hr"), fus = sky_scope_in(&root, "fusion");
    sky_scope dec = sky_scope_in(&root, "head_rec_hr"), vae = sky_scope_in(&root, "modality_vae");
    int rc = sky_nn_swin_open(&m->hr, &hr, g, 1, e);
    for (int i = 0; i < 2 && !rc; i++) {
        sky_scope b = sky_scope_in(&root, "backbone_s%d", 2 - i), h = sky_scope_in(&root, "head_s%d", 2 - i);
        rc = sky_nn_vit_open(&m->sentinel[i], &b, g, i ? g->s1_channels : g->s2_channels, 1, 1, 0, g->vit_drop_path, e);
        sky_nn_uphead_declare(&m->head[i], &h, g->vit_dim, top, g->up_scale);
    }
    if (!rc)
        rc = sky_nn_fusion_open(&m->fusion, &fus, top, g->fus_dim, g->fus_depth, g->fus_heads, g->fus_drop_path, e);
    if (!rc)
        rc = sky_nn_uper_declare(&m->decoder, &dec, (int64_t[]){2 * d, 2 * d, 4 * d, 8 * d, g->fus_dim}, 5, g->uper_channels, g->vocab + 1, g->uper_pools, g->uper_npools, g->uper_dropout, e);
    for (int i = 0; i < 3; i++) {
        sky_scope v = sky_scope_in(&vae, "vae_%s", (const char *const[]){"hr", "s2", "s1"}[i]);
        sky_nn_codevae_declare(&m->vae[i], &v, top, g->vae_conv, g->vae_z, g->vae_codes);
    }
    return !rc && m->params.bad ? sky_fail(e, SKY_ENOMEM, "out of memory") : rc;
}

int sky_pp_open(sky_pp **out, const sky_config *cfg, sky_err *e)
{
    *out = NULL;
    if (cfg->swin_merge_stage < 2)
        return sky_fail(e, SKY_EUSAGE, "swin_merge_stage %d: the decoder needs both halves of stage 0, so at least 2", cfg->swin_merge_stage);
    sky_pp *m = sky_calloc(1, sizeof *m);
    if (!m)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    m->cfg = *cfg;
    int rc = declare(m, e);
    if (rc)
        sky_pp_close(m);
    else
        *out = m;
    return rc;
}

void sky_pp_close(sky_pp *m)
{
    if (!m)
        return;
    sky_params_close(&m->params);
    sky_nn_swin_close(&m->hr);
    for (int i = 0; i < 2; i++)
        sky_nn_vit_close(&m->sentinel[i]);
    sky_nn_fusion_close(&m->fusion);
    sky_free(m);
}

sky_params *sky_pp_params(sky_pp *m)
{
    sky_nn_swin_forget(&m->hr);
    return &m->params;
}

int sky_pp_load(sky_pp *m, sky_ctx *c, sky_weights *w, sky_dtype dtype, int relaxed, void (*warn)(void *arg, const char *line), void *arg, sky_err *e)
{
    sky_params_opts o = {.dtype = dtype, .relaxed = relaxed, .warn = warn, .arg = arg};
    int rc = sky_params_load(sky_pp_params(m), w, &o, e);
    return rc ? rc : sky_params_place(&m->params, c, NULL, e);
}

/* ------------------------------------------------------------------ forward */
typedef struct {
    sky_pp *m;
    sky_ctx *c;
    const sky_pp_batch *b;
    const sky_pp_opts *o;
    sky_nn_tap tap;
    int64_t n, h, w;      /* samples, HR height and width */
    int64_t *row[3];      /* [n] each: row of a sample in feat, or -1 */
    int64_t *index;       /* [n] scratch */
    uint64_t *ids;        /* [n] scratch */
    sky_tensor feat[3];   /* top maps */
    sky_tensor level[4];  /* what the decoder gets of the HR branch */
} pass;

static int shaped(const sky_tensor *t, sky_dtype type, int ndim, const int64_t *shape)
{
    return t->data && t->dtype == type && t->ndim == ndim && !memcmp(t->shape, shape, (size_t)ndim * sizeof *shape);
}
#define SHAPED(t, type, ...) shaped(t, type, SKY_SHAPE(__VA_ARGS__))

static void check_input(pass *p)
{
    const sky_config *g = &p->m->cfg;
    const sky_pp_batch *b = p->b;
    int64_t n = p->n, h = p->h, w = p->w;
    if (!SHAPED(&b->hr, SKY_F32, n, h, w, g->hr_channels) || h != 2 * w || w % MASK_CELL)
        sky_ctx_fail(p->c, SKY_EUSAGE, "hr: expected F32 [batch,2*width,width,%d] with a width that is a multiple of %d", g->hr_channels, MASK_CELL);
    else if (!SHAPED(&b->labels, SKY_U8, n, h, w))
        sky_ctx_fail(p->c, SKY_EUSAGE, "labels: expected U8 of the same height and width as hr");
    else if (b->annotation.data && !SHAPED(&b->annotation, SKY_U8, n, h, w))
        sky_ctx_fail(p->c, SKY_EUSAGE, "annotation: expected U8 of the same height and width as hr");
    else if (!SHAPED(&b->anno_mask, SKY_U8, n, h / MASK_CELL, w / MASK_CELL))
        sky_ctx_fail(p->c, SKY_EUSAGE, "anno_mask: expected U8, one cell per %dx%d pixels of hr", MASK_CELL, MASK_CELL);
    else if ((b->s2.data && b->t2 != 1) || (b->s1.data && b->t1 != 1))
        sky_ctx_fail(p->c, SKY_EUSAGE, "%d and %d Sentinel dates: this model takes one", b->t2, b->t1);
}

/* The slots the annotation tokens are made of. */
static sky_tensor shown(const pass *p) { return p->b->annotation.data ? p->b->annotation : p->b->labels; }

static void encode_hr(pass *p)
{
    sky_mark k = sky_mark_get(p->c);
    sky_nn_annotation a = {shown(p), p->b->anno_mask};
    sky_tensor t[5];
    sky_nn_swin_forward(p->c, &p->m->hr, p->b->hr, &a, t, &p->tap);
    t[4] = t[0];
    if (t[0].shape[1] == t[0].shape[2]) { /* image and annotation halves onto the channels */
        t[4] = sky_halves_stack(p->c, t[0]);
        sky_keep(p->c, k, t + 1, 4);
    }
    p->level[0] = t[4];
    memcpy(p->level + 1, t + 1, 3 * sizeof *t);
    p->feat[0] = t[3];
    for (int64_t i = 0; i < p->n; i++)
        p->row[0][i] = i;
}

/* The label of pixel (15,15) of every 32x32 cell: [B,H/32,W/32] */
static sky_tensor small_labels(pass *p)
{
    sky_tensor x = SKY_RESHAPE(p->c, shown(p), p->n, p->h / CELL, CELL, p->w / CELL, CELL);
    x = sky_slice(p->c, sky_slice(p->c, x, 2, 15, 1), 4, 15, 1);
    return SKY_RESHAPE(p->c, x, p->n, p->h / CELL, p->w / CELL);
}

static sky_tensor rows(pass *p, sky_tensor x, int64_t n) { return n == p->n ? x : sky_take(p->c, x, p->index, (int)n); }

/* The random decisions of the samples p->index names. */
static sky_draws some_draws(pass *p, const sky_draws *all, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        p->ids[i] = all->sample[p->index[i]];
    return (sky_draws){all->seed, all->step, p->ids, n};
}

/* Modality i (1: s2, 2: s1) of the samples that have it. */
static void encode_sentinel(pass *p, int i)
{
    sky_ctx *c = p->c;
    int64_t n = 0;
    for (int64_t b = 0; b < p->n; b++) {
        int wanted = p->b->flags[3 * b + i] || p->o->encode_absent;
        p->row[i][b] = wanted ? n : -1;
        if (wanted)
            p->index[n++] = b;
    }
    p->feat[i] = sky_none;
    if (!n)
        return;
    sky_tensor img = i == 1 ? p->b->s2 : p->b->s1;
    int channels = i == 1 ? p->m->cfg.s2_channels : p->m->cfg.s1_channels;
    if (!SHAPED(&img, SKY_F32, p->n, p->h / CELL, p->w / CELL, channels)) {
        sky_ctx_fail(c, SKY_EUSAGE, "%s: present, so expected F32 [batch,height/%d,width/%d,%d]", i == 1 ? "s2" : "s1", CELL, CELL, channels);
        return;
    }
    sky_mark k = sky_mark_get(c);
    sky_nn_annotation a = {rows(p, small_labels(p), n), rows(p, p->b->anno_mask, n)};
    sky_tensor map[8];
    const sky_draws *all = c->draws;
    sky_draws some;
    if (all) {
        some = some_draws(p, all, n);
        c->draws = &some;
    }
    sky_nn_vit_forward(c, &p->m->sentinel[i - 1], rows(p, img, n), &a, 1, map, &p->tap, i == 1 ? "s2" : "s1");
    c->draws = all;
    p->feat[i] = sky_nn_uphead_forward(c, &p->m->head[i - 1], map[0]);
    sky_keep(c, k, &p->feat[i], 1);
    sky_nn_tap_call(c, &p->tap, p->feat[i], "head_s%d", 3 - i);
}

/* At every location one sequence of the three maps: [B,h,w,fus_dim] */
static sky_tensor fuse(pass *p, const sky_tensor map[3])
{
    sky_ctx *c = p->c;
    sky_mark k = sky_mark_get(c);
    sky_tensor part[3];
    int64_t h = map[0].shape[1], w = map[0].shape[2];
    for (int i = 0; i < 3; i++)
        part[i] = SKY_RESHAPE(c, map[i], p->n * h * w, 1, -1);
    sky_tensor y = sky_nn_fusion_forward(c, &p->m->fusion, sky_concat(c, part, 3, 1));
    y = SKY_RESHAPE(c, y, p->n, h, w, -1);
    sky_keep(c, k, &y, 1);
    sky_nn_tap_call(c, &p->tap, y, "fusion.cls");
    return y;
}

static sky_tensor decode(pass *p, sky_tensor cls)
{
    sky_tensor in[5];
    for (int i = 0; i < 4; i++) {
        in[i] = p->level[i];
        sky_nn_tap_call(p->c, &p->tap, in[i], "decoder_in%d", i);
    }
    in[4] = cls;
    sky_tensor low = sky_nn_uper_forward(p->c, &p->m->decoder, in, p->o->batch_stats, &p->tap);
    sky_nn_tap_call(p->c, &p->tap, low, "logits_low");
    return low;
}

/* A term of the loss: kept for backward, and its value added to the sums. */
static void add_term(pass *p, sky_pp_out *out, const sky_term *t)
{
    float v = 0;
    if (!t->value.data)
        return;
    sky_download(p->c, &v, &t->value);
    v *= (float)t->weight;
    out->terms[out->nterms++] = *t;
    out->loss_total += v;
    if (!strcmp(t->name, "rec")) {
        out->loss_rec += v;
        return;
    }
    out->loss_vae += v;
    if (!strcmp(t->name, "vae_kl"))
        out->loss_vae_kl += v;
}

/* From the decoder's logits: full-size ones, class map, losses. */
static void finish(pass *p, sky_pp_out *out)
{
    sky_ctx *c = p->c;
    if (!p->o->no_argmax)
        out->argmax = sky_resize_argmax(c, out->logits_low, p->h, p->w);
    if (!p->o->want_logits && !p->o->want_losses)
        return;
    sky_mark k = sky_mark_get(c);
    sky_tensor logits = sky_resize(c, out->logits_low, p->h, p->w, SKY_BILINEAR_CORNERS);
    if (p->o->want_losses)
        add_term(p, out, &(sky_term){sky_rec_loss(c, logits, p->b->labels), 1, "rec"});
    if (p->o->want_logits)
        out->logits = logits;
    sky_keep(c, k, &logits, p->o->want_logits);
}

static void forward(pass *p, sky_pp_out *out)
{
    sky_ctx *c = p->c;
    sky_mark k = sky_mark_get(c);
    check_input(p);
    if (c->err.code)
        return;
    encode_hr(p);
    encode_sentinel(p, 1);
    encode_sentinel(p, 2);
    if (c->err.code)
        return;
    sky_nn_maps maps = {{p->feat[0], p->feat[1], p->feat[2]}, {p->row[0], p->row[1], p->row[2]}, p->b->flags, p->n};
    sky_nn_completed vae;
    sky_nn_complete(c, p->m->vae, &maps, p->o->want_losses, &vae, &p->tap);
    for (int i = 0; i < vae.nterms; i++)
        add_term(p, out, &vae.terms[i]);
    out->logits_low = decode(p, fuse(p, vae.out));
    sky_keep(c, k, &out->logits_low, 1);
    finish(p, out);
}

int sky_pp_forward(sky_pp *m, sky_ctx *c, const sky_pp_batch *b, const sky_pp_opts *o, sky_pp_out *out, sky_err *e)
{
    *out = (sky_pp_out){0};
    pass p = {.m = m, .c = c, .b = b, .o = o, .tap = {o->tap, o->tap_arg}};
    p.n = b->hr.shape[0], p.h = b->hr.shape[1], p.w = b->hr.shape[2];
    if (!b->hr.data || b->hr.ndim != 4)
        return sky_fail(e, SKY_EUSAGE, "hr: expected F32 [batch,height,width,channels]");
    p.index = sky_calloc((size_t)p.n, 4 * sizeof *p.index + sizeof *p.ids);
    if (!p.index)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    for (int i = 0; i < 3; i++)
        p.row[i] = p.index + (i + 1) * p.n;
    p.ids = (uint64_t *)(p.index + 4 * p.n);
    forward(&p, out);
    sky_free(p.index);
    if (c->err.code)
        return sky_fail(e, c->err.code, "%s", c->err.msg);
    return 0;
}
