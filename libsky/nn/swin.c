/* swin.c -- Swin V2 with post-norm blocks, with and without annotation tokens.
 *
 * Maps stay [B,H,W,C] throughout; windows, padding and rolling live inside the attention operation. */
#include "nn/layers.h"
#include "base/mem.h"
#include "tensor/backend.h"

#include <string.h>

/* ------------------------------------------------------------------ window attention */
void sky_nn_window_declare(sky_nn_window *l, const sky_scope *s, int64_t dim, int heads, int win, int shift)
{
    sky_scope w = sky_scope_in(s, "w_msa"), c0 = sky_scope_in(&w, "cpb_mlp.0"), c2 = sky_scope_in(&w, "cpb_mlp.2");
    sky_scope qkv = sky_scope_in(&w, "qkv"), proj = sky_scope_in(&w, "proj");
    sky_declare(&w, &l->logit_scale, SKY_PARAM_VECTOR, "logit_scale", SKY_SHAPE(heads, 1, 1));
    sky_declare(&w, &l->q_bias, SKY_PARAM_VECTOR, "q_bias", SKY_SHAPE(dim));
    sky_declare(&w, &l->v_bias, SKY_PARAM_VECTOR, "v_bias", SKY_SHAPE(dim));
    /* F32 also in BF16 mode: computed once per load, and every logit of every window depends on them. */
    sky_declare(&c0, &l->cpb_w0, SKY_PARAM_EXACT, "weight", SKY_SHAPE(512, 2));
    sky_declare(&c0, &l->cpb_b0, SKY_PARAM_VECTOR, "bias", SKY_SHAPE(512));
    sky_declare(&c2, &l->cpb_w2, SKY_PARAM_EXACT, "weight", SKY_SHAPE(heads, 512));
    sky_declare(&qkv, &l->qkv, SKY_PARAM_MATRIX, "weight", SKY_SHAPE(3 * dim, dim));
    sky_nn_linear_declare(&l->proj, &proj, dim, dim, 1);
    l->heads = heads;
    l->win = win;
    l->shift = shift;
}

sky_tensor sky_nn_window_bias(sky_ctx *c, const sky_nn_window *l)
{
    sky_mark m = sky_mark_get(c);
    sky_tensor t = sky_linear(c, sky_window_coords(c, l->win), l->cpb_w0, l->cpb_b0, SKY_ACT_RELU, sky_none);
    sky_tensor y = sky_window_bias(c, sky_linear(c, t, l->cpb_w2, sky_none, SKY_ACT_NONE, sky_none), l->win);
    sky_keep(c, m, &y, 1);
    return y;
}

/* [q_bias, 0, v_bias]: the projection's bias, and what a padded token's q, k, v are. */
static sky_tensor pad_qkv(sky_ctx *c, const sky_nn_window *l)
{
    int64_t dim = l->q_bias.shape[0];
    sky_mark m = sky_mark_get(c);
    float *zero = sky_calloc((size_t)dim, sizeof *zero);
    if (!zero) {
        sky_ctx_fail(c, SKY_ENOMEM, "out of memory");
        return sky_none;
    }
    sky_tensor part[3] = {l->q_bias, sky_upload(c, SKY_F32, 1, &dim, zero), l->v_bias};
    sky_free(zero);
    sky_tensor y = sky_concat(c, part, 3, 0);
    sky_keep(c, m, &y, 1);
    return y;
}

void sky_nn_window_forget(sky_nn_window *l)
{
    if (l->derived)
        l->be->free(l->dev, l->derived, l->derived_bytes);
    l->derived = NULL;
    l->bias = l->pad_qkv = sky_none;
}

/* Both, on the stack or from the last time. A dry run always counts the stack's way, so that its peak holds for either. */
static void derive(sky_ctx *c, sky_nn_window *l, sky_tensor *bias, sky_tensor *pad)
{
    if (c->tape) { /* they change with every step and have gradients; what a validation kept is of an earlier one */
        sky_nn_window_forget(l);
        *bias = sky_nn_window_bias(c, l);
        *pad = pad_qkv(c, l);
        return;
    }
    if (l->derived && !c->dry) {
        *bias = l->bias;
        *pad = l->pad_qkv;
        return;
    }
    *bias = sky_nn_window_bias(c, l);
    *pad = pad_qkv(c, l);
    if (c->dry || c->err.code)
        return;
    size_t nb = (size_t)sky_bytes(bias), np = (size_t)sky_bytes(pad);
    void *p;
    if (c->be->alloc(c->dev, &p, nb + np, &c->err))
        return;
    l->derived = p;
    l->derived_bytes = nb + np;
    l->be = c->be;
    l->dev = c->dev;
    if (c->be->move(c->dev, p, bias->data, nb, &c->err) || c->be->move(c->dev, (char *)p + nb, pad->data, np, &c->err)) {
        sky_nn_window_forget(l);
        return;
    }
    l->bias = *bias;
    l->pad_qkv = *pad;
    l->bias.data = p;
    l->pad_qkv.data = (char *)p + nb;
}

sky_tensor sky_nn_window_forward(sky_ctx *c, sky_nn_window *l, sky_tensor x)
{
    sky_mark m = sky_mark_get(c);
    sky_tensor bias, pad;
    derive(c, l, &bias, &pad);
    sky_tensor qkv = sky_linear(c, x, l->qkv, pad, SKY_ACT_NONE, sky_none);
    qkv = SKY_RESHAPE(c, qkv, x.shape[0], x.shape[1], x.shape[2], 3, l->heads, -1);
    sky_tensor a = sky_window_attention(c, qkv, pad, bias, SKY_RESHAPE(c, l->logit_scale, l->heads), l->win, l->shift, l->qkv.dtype);
    sky_keep(c, m, &a, 1);
    sky_tensor y = sky_nn_linear_forward(c, &l->proj, a, SKY_ACT_NONE, sky_none);
    sky_keep(c, m, &y, 1);
    return y;
}

/* ------------------------------------------------------------------ block, merging, global attention */
void sky_nn_swin_block_declare(sky_nn_swin_block *l, const sky_scope *s, int64_t dim, int heads, int win, int shift, int extra, double path)
{
    sky_scope attn = sky_scope_in(s, "attn"), n1 = sky_scope_in(s, "norm1"), n2 = sky_scope_in(s, "norm2");
    sky_scope ffn = sky_scope_in(s, "ffn"), n3 = sky_scope_in(s, "norm3");
    sky_nn_window_declare(&l->attn, &attn, dim, heads, win, shift);
    sky_nn_norm_declare(&l->norm1, &n1, dim, SKY_SWIN_EPS);
    sky_nn_ffn_declare(&l->ffn, &ffn, dim, 0);
    sky_nn_norm_declare(&l->norm2, &n2, dim, SKY_SWIN_EPS);
    if (extra)
        sky_nn_norm_declare(&l->norm3, &n3, dim, SKY_SWIN_EPS);
    l->extra = extra;
    l->path[0] = sky_nn_drop_of(&attn, "drop", path);
    l->path[1] = sky_nn_drop_of(s, "ffn_drop", path);
}

static void block_segment(sky_ctx *c, const void *arg, const sky_tensor *in, sky_tensor *out)
{
    sky_nn_swin_block *l = *(sky_nn_swin_block *const *)arg;
    sky_tensor x = *in;
    sky_mark m = sky_mark_get(c);
    sky_tensor y = sky_nn_drop_rows(c, &l->path[0], sky_nn_window_forward(c, &l->attn, x));
    y = sky_nn_norm_forward(c, &l->norm1, y, x);
    sky_keep(c, m, &y, 1);
    sky_tensor z = sky_nn_drop_rows(c, &l->path[1], sky_nn_ffn_forward(c, &l->ffn, y, sky_none));
    z = sky_nn_norm_forward(c, &l->norm2, z, y);
    if (l->extra) {
        sky_keep(c, m, &z, 1);
        z = sky_nn_norm_forward(c, &l->norm3, z, sky_none);
    }
    sky_keep(c, m, &z, 1);
    *out = z;
}

sky_tensor sky_nn_swin_block_forward(sky_ctx *c, sky_nn_swin_block *l, sky_tensor x)
{
    sky_tensor y = sky_none;
    sky_recompute(c, block_segment, &l, sizeof l, &x, 1, &y, 1);
    return y;
}

void sky_nn_merge_declare(sky_nn_merge *l, const sky_scope *s, int64_t dim)
{
    sky_scope red = sky_scope_in(s, "reduction"), norm = sky_scope_in(s, "norm");
    sky_declare(&red, &l->reduction, SKY_PARAM_MATRIX, "weight", SKY_SHAPE(2 * dim, 4 * dim));
    sky_nn_norm_declare(&l->norm, &norm, 2 * dim, SKY_SWIN_EPS);
}

sky_tensor sky_nn_merge_forward(sky_ctx *c, const sky_nn_merge *l, sky_tensor x)
{
    sky_mark m = sky_mark_get(c);
    sky_tensor y = sky_linear(c, sky_unfold(c, x, 2), l->reduction, sky_none, SKY_ACT_NONE, sky_none);
    y = sky_nn_norm_forward(c, &l->norm, y, sky_none);
    sky_keep(c, m, &y, 1);
    return y;
}

void sky_nn_global_declare(sky_nn_global *l, const sky_scope *s, int64_t dim, int64_t inner, int heads)
{
    sky_scope in = sky_scope_in(s, "proj_in"), attn = sky_scope_in(s, "attn"), out = sky_scope_in(s, "proj_out");
    sky_nn_linear_declare(&l->proj_in, &in, inner, dim, 1);
    sky_nn_mha_declare(&l->attn, &attn, inner, heads, 0);
    sky_nn_linear_declare(&l->proj_out, &out, dim, inner, 1);
}

static void global_segment(sky_ctx *c, const void *arg, const sky_tensor *in, sky_tensor *out)
{
    const sky_nn_global *l = *(const sky_nn_global *const *)arg;
    sky_tensor x = *in;
    sky_mark m = sky_mark_get(c);
    sky_tensor t = SKY_RESHAPE(c, x, x.shape[0], -1, x.shape[3]);
    sky_tensor z = sky_nn_linear_forward(c, &l->proj_in, t, SKY_ACT_NONE, sky_none);
    sky_tensor a = sky_nn_mha_forward(c, &l->attn, z, z); /* the inner skip is real: z + MHA(z) */
    sky_tensor y = sky_nn_linear_forward(c, &l->proj_out, a, SKY_ACT_NONE, t);
    y = sky_reshape(c, y, x.ndim, x.shape);
    sky_keep(c, m, &y, 1);
    *out = y;
}

sky_tensor sky_nn_global_forward(sky_ctx *c, const sky_nn_global *l, sky_tensor x)
{
    sky_tensor y = sky_none;
    sky_recompute(c, global_segment, &l, sizeof l, &x, 1, &y, 1);
    return y;
}

/* ------------------------------------------------------------------ the backbone */
static void declare_stage(sky_nn_swin *m, const sky_scope *s, const sky_config *cfg, int i, sky_nn_swin_block *b)
{
    int64_t dim = (int64_t)cfg->swin_dim << i;
    int first = (int)(b - m->blocks);
    sky_scope st = sky_scope_in(s, "stages.%d", i), down = sky_scope_in(&st, "downsample");
    if (i)
        sky_nn_merge_declare(&m->merge[i], &down, dim / 2);
    for (int j = 0; j < cfg->swin_depths[i]; j++) {
        sky_scope at = sky_scope_in(&st, "blocks.%d", j);
        sky_nn_swin_block_declare(&b[j], &at, dim, cfg->swin_heads[i], cfg->swin_window, j % 2 ? cfg->swin_window / 2 : 0,
                                  cfg->swin_extra_norm && (j + 1) % cfg->swin_extra_norm == 0,
                                  sky_nn_depth_rate(cfg->swin_drop_path, first + j, m->nblocks));
    }
}

static void declare_annotated(sky_nn_swin *m, const sky_scope *s, const sky_config *cfg)
{
    sky_nn_vocab_declare(&m->vocab, s, cfg->vocab, cfg->swin_dim, cfg->swin_patch);
    for (int i = 0; i < 3; i++) {
        sky_scope a = sky_scope_in(s, "attn%d", i + 1);
        sky_nn_global_declare(&m->global[i], &a, (int64_t)cfg->swin_dim << i, cfg->attn_dims[i], cfg->attn_heads);
    }
    sky_scope n = sky_scope_in(s, "norm_attn");
    sky_nn_norm_declare(&m->norm_attn, &n, (int64_t)cfg->swin_dim * 4, SKY_SWIN_EPS);
    m->merge_stage = cfg->swin_merge_stage;
}

int sky_nn_swin_open(sky_nn_swin *m, const sky_scope *s, const sky_config *cfg, int annotated, sky_err *e)
{
    *m = (sky_nn_swin){.annotated = annotated};
    for (int i = 0; i < 4; i++)
        m->nblocks += m->depths[i] = cfg->swin_depths[i];
    m->blocks = sky_calloc((size_t)m->nblocks, sizeof *m->blocks);
    if (!m->blocks)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    sky_scope embed = sky_scope_in(s, "patch_embed");
    sky_nn_patch_declare(&m->embed, &embed, cfg->hr_channels, cfg->swin_dim, cfg->swin_patch, 1, 1);
    sky_nn_swin_block *b = m->blocks;
    for (int i = 0; i < 4; b += m->depths[i++]) {
        sky_scope n = sky_scope_in(s, "norm%d", i);
        declare_stage(m, s, cfg, i, b);
        sky_nn_norm_declare(&m->norm[i], &n, (int64_t)cfg->swin_dim << i, SKY_SWIN_EPS);
    }
    if (annotated)
        declare_annotated(m, s, cfg);
    return 0;
}

void sky_nn_swin_forget(sky_nn_swin *m)
{
    for (int i = 0; m->blocks && i < m->nblocks; i++)
        sky_nn_window_forget(&m->blocks[i].attn);
}

void sky_nn_swin_close(sky_nn_swin *m)
{
    sky_nn_swin_forget(m);
    sky_free(m->blocks);
    m->blocks = NULL;
}

/* After the blocks of stage i: halves to one, global attention over all tokens, one more norm after stage 2. */
static sky_tensor finish_stage(sky_ctx *c, const sky_nn_swin *m, int i, sky_tensor x)
{
    sky_mark k = sky_mark_get(c);
    if (i == m->merge_stage - 1)
        x = sky_halves_mean(c, x);
    if (i < 3)
        x = sky_nn_global_forward(c, &m->global[i], x);
    if (i == 2)
        x = sky_nn_norm_forward(c, &m->norm_attn, x, sky_none);
    if (i < 3 || i == m->merge_stage - 1)
        sky_keep(c, k, &x, 1);
    return x;
}

/* t[0..i-1] are finished maps, t[i] the running one: drop everything else above k. */
static void keep_all(sky_ctx *c, sky_mark k, sky_tensor *t, int i, sky_tensor x)
{
    t[i] = x;
    sky_keep(c, k, t, i + 1);
}

void sky_nn_swin_forward(sky_ctx *c, sky_nn_swin *m, sky_tensor img, const sky_nn_annotation *a, sky_tensor out[4], const sky_nn_tap *tap)
{
    sky_mark k = sky_mark_get(c);
    sky_tensor t[5]; /* stage maps and the running tensor, in the order of the stack */
    sky_tensor x = sky_nn_patch_forward(c, &m->embed, img);
    if (m->annotated)
        x = sky_nn_join_annotation(c, &m->vocab, x, a, m->merge_stage == 0);
    sky_keep(c, k, &x, 1);
    sky_nn_tap_call(c, tap, x, "hr.joined");
    sky_nn_swin_block *b = m->blocks;
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < m->depths[i]; j++, b++) {
            keep_all(c, k, t, i, sky_nn_swin_block_forward(c, b, x));
            x = t[i];
        }
        sky_nn_tap_call(c, tap, x, "hr.stage%d.blocks", i);
        if (m->annotated) {
            keep_all(c, k, t, i, finish_stage(c, m, i, x));
            x = t[i];
            sky_nn_tap_call(c, tap, x, "hr.stage%d.out", i);
        }
        t[i] = sky_nn_norm_forward(c, &m->norm[i], x, sky_none);
        if (i < 3) { /* the next stage goes on un-normed */
            keep_all(c, k, t, i + 1, sky_nn_merge_forward(c, &m->merge[i + 1], x));
            x = t[i + 1];
        }
    }
    sky_keep(c, k, t, 4);
    memcpy(out, t, 4 * sizeof *out);
}
