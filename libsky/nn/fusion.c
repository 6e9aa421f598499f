/* fusion.c -- one short sequence per location: [class token, sources] -> transformer -> class token. */
#include "nn/layers.h"
#include "base/mem.h"

int sky_nn_fusion_open(sky_nn_fusion *m, const sky_scope *parent, int64_t cin, int64_t dim, int depth, int heads, double path, sky_err *e)
{
    *m = (sky_nn_fusion){.depth = depth};
    /* A tenth of the model's arithmetic, a quarter of the BF16 error of its logits: 24 layers on top of all others, and the
     * result goes into every pixel through the pyramid. */
    sky_scope exact = sky_scope_exact(parent), *s = &exact;
    m->layers = sky_calloc((size_t)depth, sizeof *m->layers);
    if (!m->layers)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    sky_scope proj = sky_scope_in(s, "porj_linear"); /* spelled so in every checkpoint */
    sky_nn_linear_declare(&m->proj, &proj, dim, cin, 1);
    sky_declare(s, &m->cls_token, SKY_PARAM_VECTOR, "cls_token", SKY_SHAPE(1, 1, dim));
    for (int i = 0; i < depth; i++) {
        sky_scope at = sky_scope_in(s, "layers.%d", i);
        sky_nn_encoder_declare(&m->layers[i], &at, dim, heads, SKY_SWIN_EPS, 0, sky_nn_depth_rate(path, i, depth));
    }
    return 0;
}

void sky_nn_fusion_close(sky_nn_fusion *m)
{
    sky_free(m->layers);
    m->layers = NULL;
}

sky_tensor sky_nn_fusion_forward(sky_ctx *c, const sky_nn_fusion *m, sky_tensor x)
{
    sky_mark k = sky_mark_get(c);
    int64_t dim = m->cls_token.shape[2], n = x.shape[0];
    sky_tensor cls = sky_repeat(c, SKY_RESHAPE(c, m->cls_token, 1, dim), n);
    sky_tensor part[2] = {cls, sky_nn_linear_forward(c, &m->proj, x, SKY_ACT_NONE, sky_none)};
    sky_tensor y = sky_concat(c, part, 2, 1);
    sky_keep(c, k, &y, 1);
    for (int i = 0; i < m->depth - 1; i++) {
        y = sky_nn_encoder_forward(c, &m->layers[i], y);
        sky_keep(c, k, &y, 1);
    }
    if (m->depth) { /* only the class token is used after the last attention */
        y = sky_slice(c, sky_nn_encoder_attend(c, &m->layers[m->depth - 1], y), 1, 0, 1);
        y = sky_nn_encoder_feed(c, &m->layers[m->depth - 1], y);
        sky_keep(c, k, &y, 1);
    }
    return SKY_RESHAPE(c, y, n, dim);
}
