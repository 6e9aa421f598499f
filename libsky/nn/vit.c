/* vit.c -- plain vision transformer: the Sentinel branches (annotation tokens, bicubic positions) and the fine-tuning
 * backbone (class entry in the position table that no token ever gets, bilinear positions). */
#include "nn/layers.h"
#include "base/mem.h"

#include <string.h>

int sky_nn_vit_open(sky_nn_vit *m, const sky_scope *s, const sky_config *cfg, int channels, int annotated, int patch_bias, double drop, double path, sky_err *e)
{
    *m = (sky_nn_vit){.depth = cfg->vit_depth, .nout = cfg->vit_nout, .annotated = annotated, .merge = cfg->vit_merge};
    memcpy(m->out, cfg->vit_out, sizeof m->out);
    for (int i = 0; i < 2; i++)
        m->grid[i] = cfg->vit_img[i] / cfg->vit_patch;
    m->layers = sky_calloc((size_t)m->depth, sizeof *m->layers);
    if (!m->layers)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    int64_t dim = cfg->vit_dim, cells = (int64_t)m->grid[0] * m->grid[1];
    sky_declare(s, &m->cls_token, SKY_PARAM_VECTOR, "cls_token", SKY_SHAPE(1, 1, dim));
    sky_declare(s, &m->pos_embed, SKY_PARAM_VECTOR, "pos_embed", SKY_SHAPE(1, cells + !annotated, dim));
    if (annotated)
        sky_nn_vocab_declare(&m->vocab, s, cfg->vocab, cfg->vit_dim, cfg->vit_patch);
    sky_scope embed = sky_scope_in(s, "patch_embed");
    sky_nn_patch_declare(&m->embed, &embed, channels, cfg->vit_dim, cfg->vit_patch, annotated || patch_bias, 0);
    for (int i = 0; i < m->depth; i++) {
        sky_scope at = sky_scope_in(s, "layers.%d", i);
        sky_nn_encoder_declare(&m->layers[i], &at, dim, cfg->vit_heads, SKY_VIT_EPS, drop, sky_nn_depth_rate(path, i, m->depth));
    }
    m->drop = sky_nn_drop_of(s, "drop_after_pos", drop);
    return 0;
}

void sky_nn_vit_close(sky_nn_vit *m)
{
    sky_free(m->layers);
    m->layers = NULL;
}

/* The position table for h x w tokens, [h*w,D]. Only counts are compared: a 2x8 map takes a 4x4 table as it is. */
static sky_tensor positions(sky_ctx *c, const sky_nn_vit *m, int64_t h, int64_t w)
{
    sky_tensor pos = m->pos_embed;
    int64_t dim = pos.shape[2];
    if (!m->annotated)
        pos = sky_slice(c, pos, 1, 1, pos.shape[1] - 1);
    if (pos.shape[1] != h * w) {
        pos = SKY_RESHAPE(c, pos, 1, m->grid[0], m->grid[1], dim);
        pos = sky_resize(c, pos, h, w, m->annotated ? SKY_BICUBIC : SKY_BILINEAR);
    }
    return SKY_RESHAPE(c, pos, h * w, dim);
}

/* Patches, annotation, positions: [B,h,w,D] */
static sky_tensor tokens(sky_ctx *c, const sky_nn_vit *m, sky_tensor img, const sky_nn_annotation *a)
{
    sky_mark k = sky_mark_get(c);
    sky_tensor x = sky_nn_patch_forward(c, &m->embed, img);
    if (m->annotated)
        x = sky_nn_join_annotation(c, &m->vocab, x, a, m->merge == 0);
    sky_tensor pos = positions(c, m, x.shape[1], x.shape[2]);
    x = sky_reshape(c, sky_add(c, SKY_RESHAPE(c, x, x.shape[0], -1, x.shape[3]), pos), x.ndim, x.shape);
    x = sky_nn_drop_elements(c, &m->drop, x);
    sky_keep(c, k, &x, 1);
    return x;
}

static sky_tensor layer(sky_ctx *c, const sky_nn_vit *m, int i, sky_tensor x)
{
    sky_mark k = sky_mark_get(c);
    sky_tensor y = sky_nn_encoder_forward(c, &m->layers[i], SKY_RESHAPE(c, x, x.shape[0], -1, x.shape[3]));
    y = sky_reshape(c, y, x.ndim, x.shape);
    if (m->annotated && i == m->merge - 1)
        y = sky_halves_mean(c, y);
    sky_keep(c, k, &y, 1);
    return y;
}

void sky_nn_vit_forward(sky_ctx *c, const sky_nn_vit *m, sky_tensor img, const sky_nn_annotation *a, int last_only, sky_tensor *out, const sky_nn_tap *tap, const char *tag)
{
    sky_mark k = sky_mark_get(c);
    sky_tensor t[9]; /* finished maps, then the running one; a map goes on as it is, so it is the running one too */
    int n = 0, held = 0;
    sky_tensor x = tokens(c, m, img, a);
    sky_nn_tap_call(c, tap, x, "%s.joined", tag);
    for (int i = 0; i <= m->out[m->nout - 1]; i++) {
        x = layer(c, m, i, x);
        t[held] = x;
        sky_keep(c, k, t, held + 1);
        x = t[held];
        if (i != m->out[n])
            continue;
        sky_nn_tap_call(c, tap, x, "%s.layer%d", tag, i);
        if (!last_only || n == m->nout - 1)
            held++;
        n++;
    }
    memcpy(out, t, (size_t)held * sizeof *out);
}

/* ------------------------------------------------------------------ up-sampling head */
void sky_nn_uphead_declare(sky_nn_uphead *l, const sky_scope *s, int64_t cin, int64_t cout, int scale)
{
    sky_scope d = sky_scope_in(s, "decoder.0");
    sky_declare(&d, &l->w, SKY_PARAM_MATRIX, "weight", SKY_SHAPE(cout * scale * scale, cin, 1, 1));
    sky_declare(&d, &l->b, SKY_PARAM_VECTOR, "bias", SKY_SHAPE(cout * scale * scale));
    l->scale = scale;
}

sky_tensor sky_nn_uphead_forward(sky_ctx *c, const sky_nn_uphead *l, sky_tensor x)
{
    sky_mark k = sky_mark_get(c);
    sky_tensor y = sky_pixel_shuffle(c, sky_conv2d(c, x, l->w, sky_none, l->b, SKY_ACT_NONE), l->scale);
    sky_keep(c, k, &y, 1);
    return y;
}
