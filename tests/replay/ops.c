/* ops.c -- single operations. OP.in.X are inputs and parameters, OP.out.Y results. What an operation needs beyond its
 * tensors (heads, windows, map sizes) is part of its definition and stands in the tables here. */
#include "golden.h"
#include "tensor/backend.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char op[64]; /* the operation at hand */

static g_grads *grads; /* NULL: forward only */
static struct {
    sky_tensor y;
    float *dy;
} seeds[8]; /* results and their upstream gradients */
static int nseeds;

static const sky_weight *in(golden *g, const char *x) { return g_find(g, "%s.in.%s", op, x); }

/* An input whose gradient the file has. */
static sky_tensor watch(golden *g, const char *x, sky_tensor t, int map)
{
    char name[128];
    snprintf(name, sizeof name, "%s.gin.%s", op, x);
    if (grads && g_find(g, "%s", name))
        g_grads_watch(g, grads, name, &t, map);
    return t;
}

static sky_tensor vec(golden *g, const char *x) { return watch(g, x, g_floats_on(g, in(g, x)), 0); }
static sky_tensor map(golden *g, const char *x) { return watch(g, x, g_map(g, in(g, x)), 1); }
static sky_tensor bytes(golden *g, const char *x) { return g_bytes_on(g, in(g, x)); }

static void seed(golden *g, sky_tensor y, float *dy)
{
    if (!dy || nseeds == (int)(sizeof seeds / sizeof *seeds)) {
        sky_fail(&g->err, SKY_ENOMEM, "out of memory, or too many results");
        sky_free(dy);
        return;
    }
    seeds[nseeds].y = y;
    seeds[nseeds++].dy = dy;
}

static void seed_scalar(golden *g, sky_tensor y, float dy)
{
    float *p = sky_alloc(sizeof *p);
    if (p)
        *p = dy;
    seed(g, y, p);
}

/* The upstream gradient of a result, in the order of t: as it lies, or as a map. */
static float *upstream(golden *g, const char *y, const sky_tensor *t)
{
    const sky_weight *w = g_find(g, "%s.gout.%s", op, y);
    float *v = sky_alloc((size_t)sky_bytes(t));
    sky_mark m = sky_mark_get(&g->c);
    sky_tensor up = w && w->ndim == 4 && t->ndim == 4 ? g_map(g, w) : g_floats_on(g, w);
    if (v && up.data && sky_numel(&up) == sky_numel(t))
        sky_download(&g->c, v, &up);
    else
        sky_fail(&g->err, SKY_ECORRUPT, "%s.gout.%s: missing, or of another size", op, y);
    sky_keep(&g->c, m, NULL, 0);
    return v;
}

static void out(golden *g, const char *y, sky_tensor t)
{
    char name[128];
    snprintf(name, sizeof name, "%s.out.%s", op, y);
    if (!grads)
        g_check(g, name, &t);
    else if (t.data && t.ndim == 0)
        seed_scalar(g, t, 1);
    else if (t.data && g_find(g, "%s.gout.%s", op, y))
        seed(g, t, upstream(g, y, &t));
}

static sky_tensor matrix(golden *g, const char *x)
{
    sky_tensor t = vec(g, x);
    return g->o->dtype == SKY_BF16 ? sky_cast(&g->c, t, SKY_BF16) : t;
}

/* [B,L,C] -> [B,h,w,C] */
static sky_tensor as_map(golden *g, sky_tensor x, int64_t h, int64_t w) { return SKY_RESHAPE(&g->c, x, x.shape[0], h, w, -1); }

/* ------------------------------------------------------------------ plain operations */
static void op_layernorm(golden *g)
{
    float eps = strstr(op, "1e6") ? 1e-6f : 1e-5f;
    out(g, "y", sky_layernorm(&g->c, vec(g, "x"), vec(g, "w"), vec(g, "b"), eps, sky_none));
}
static void op_gelu(golden *g) { out(g, "y", sky_activate(&g->c, vec(g, "x"), SKY_ACT_GELU)); }
static void op_leaky(golden *g) { out(g, "y", sky_activate(&g->c, vec(g, "x"), SKY_ACT_LEAKY)); }
static void op_l2(golden *g) { out(g, "y", sky_l2_normalize(&g->c, vec(g, "q"))); }

static void op_batchnorm_eval(golden *g)
{
    out(g, "y", sky_batchnorm(&g->c, map(g, "x"), vec(g, "w"), vec(g, "b"), vec(g, "mean"), vec(g, "var"), SKY_BN_EPS, SKY_ACT_NONE));
}

static void op_batchnorm_train(golden *g)
{
    sky_tensor mean = vec(g, "running_mean"), var = vec(g, "running_var");
    out(g, "y", sky_batchnorm_train(&g->c, map(g, "x"), vec(g, "w"), vec(g, "b"), mean, var, SKY_BN_MOMENTUM, SKY_BN_EPS, SKY_ACT_NONE));
    out(g, "running_mean", mean);
    out(g, "running_var", var);
}

/* q, k, v (B,heads,L,d) each; the result likewise. */
static void op_attention(golden *g)
{
    sky_ctx *c = &g->c;
    sky_tensor part[3] = {vec(g, "q"), vec(g, "k"), vec(g, "v")};
    int64_t b = part[0].shape[0], h = part[0].shape[1], l = part[0].shape[2], d = part[0].shape[3];
    for (int i = 0; i < 3; i++)
        part[i] = SKY_RESHAPE(c, sky_transpose(c, part[i], (const int[]){0, 2, 1, 3}), b, l, 1, h, d);
    sky_tensor y = sky_attention(c, sky_concat(c, part, 3, 2), g->o->dtype);
    y = sky_transpose(c, SKY_RESHAPE(c, y, b, l, h, d), (const int[]){0, 2, 1, 3});
    /* stored (B,heads,L,d) is not an image: compare as it lies */
    out(g, "y", SKY_RESHAPE(c, y, b * h, l, d));
}

static void op_conv(golden *g)
{
    int k = atoi(op + 4);
    if (k == 1 || k == 3 || k == 5) {
        sky_tensor w = matrix(g, "w");
        out(g, "y", sky_conv2d(&g->c, map(g, "x"), w, sky_none, vec(g, "b"), SKY_ACT_NONE));
        return;
    }
    sky_tensor w = matrix(g, "w"); /* patches: stride equals size */
    w = SKY_RESHAPE(&g->c, w, w.shape[0], -1);
    out(g, "y", sky_linear(&g->c, sky_unfold(&g->c, map(g, "x"), k), w, vec(g, "b"), SKY_ACT_NONE, sky_none));
}

static void op_shuffle(golden *g) { out(g, "y", sky_pixel_shuffle(&g->c, map(g, "x"), atoi(op + strlen("pixel_shuffle")))); }
static void op_adaptive(golden *g) { out(g, "y", sky_adaptive_avg_pool(&g->c, map(g, "x"), atoi(op + strlen("adaptive_avg_pool")))); }
static void op_pool2(golden *g) { out(g, "y", sky_avg_pool2(&g->c, map(g, "x"))); }

static void op_resize(golden *g)
{
    const sky_weight *y = g_find(g, "%s.out.y", op);
    sky_interp how = g_starts(op, "bicubic") ? SKY_BICUBIC : strstr(op, "_true") ? SKY_BILINEAR_CORNERS : SKY_BILINEAR;
    if (y && y->ndim == 4)
        out(g, "y", sky_resize(&g->c, map(g, "x"), y->shape[2], y->shape[3], how));
}

/* ------------------------------------------------------------------ layers */
typedef struct {
    sky_params ps;
    sky_scope at;
    char head[80];
} layer;

/* Backward from the results of the operation, while its parameters are there. */
static void settle(golden *g)
{
    sky_tensor y[8];
    const float *dy[8];
    for (int i = 0; i < nseeds; i++) {
        y[i] = seeds[i].y;
        dy[i] = seeds[i].dy;
    }
    if (grads && nseeds && !g->err.code) {
        sky_tape_backward_from(&g->c, y, dy, nseeds);
        g_grads_check(g, grads);
    }
    while (nseeds > 0)
        sky_free(seeds[--nseeds].dy);
}

static void close_layer(golden *g, layer *l)
{
    settle(g);
    sky_params_close(&l->ps);
}

static int bind(golden *g, layer *l, const char *strip)
{
    char gin[80];
    snprintf(l->head, sizeof l->head, "%s.in.", op);
    snprintf(gin, sizeof gin, "%s.gin.", op);
    if (g_bind(g, &l->ps, l->head, strip) == 0 && grads)
        g_grads_watch_params(g, grads, gin, strip, &l->ps);
    return g->err.code;
}

static void op_mha(golden *g)
{
    layer l = {0};
    sky_nn_mha m;
    l.at = sky_scope_root(&l.ps);
    sky_nn_mha_declare(&m, &l.at, in(g, "x") ? in(g, "x")->shape[2] : 1, 3, 0);
    sky_tensor x = vec(g, "x");
    if (bind(g, &l, "") == 0)
        out(g, "y", sky_nn_mha_forward(&g->c, &m, x, x));
    close_layer(g, &l);
}

static void op_global(golden *g)
{
    layer l = {0};
    sky_nn_global m;
    const sky_weight *w = in(g, "proj_in.weight");
    l.at = sky_scope_root(&l.ps);
    sky_nn_global_declare(&m, &l.at, w ? w->shape[1] : 1, w ? w->shape[0] : 1, 4);
    sky_tensor x = vec(g, "x");
    if (bind(g, &l, "") == 0) {
        x = as_map(g, x, 1, x.shape[1]);
        out(g, "y", SKY_RESHAPE(&g->c, sky_nn_global_forward(&g->c, &m, x), x.shape[0], x.shape[2], x.shape[3]));
    }
    close_layer(g, &l);
}

static void op_encoder(golden *g)
{
    layer l = {0};
    sky_nn_encoder m;
    l.at = sky_scope_root(&l.ps);
    sky_nn_encoder_declare(&m, &l.at, in(g, "x") ? in(g, "x")->shape[2] : 1, 3, SKY_VIT_EPS, 0, 0);
    sky_tensor x = vec(g, "x");
    if (bind(g, &l, "") == 0)
        out(g, "y", sky_nn_encoder_forward(&g->c, &m, x));
    close_layer(g, &l);
}

static const struct {
    const char *name;
    int64_t h, w;
    int win, shift, block;
} swins[] = {{"swin_shift_pad", 10, 14, 4, 2, 0}, {"swin_noshift_pad", 9, 12, 4, 0, 0}, {"swin_min_equals_window", 4, 12, 4, 2, 0},
             {"swin_block_extra", 20, 16, 8, 4, 1}, {NULL, 0, 0, 0, 0, 0}};

static void op_swin(golden *g)
{
    int i = 0;
    while (swins[i].name && strcmp(swins[i].name, op))
        i++;
    if (!swins[i].name || !in(g, "x"))
        return;
    layer l = {0};
    sky_nn_swin_block m = {0};
    l.at = sky_scope_root(&l.ps);
    const sky_weight *scale = in(g, swins[i].block ? "attn.w_msa.logit_scale" : "w_msa.logit_scale");
    int64_t dim = in(g, "x")->shape[2];
    int heads = scale ? (int)scale->shape[0] : 1;
    if (swins[i].block)
        sky_nn_swin_block_declare(&m, &l.at, dim, heads, swins[i].win, swins[i].shift, in(g, "norm3.weight") != NULL, 0);
    else
        sky_nn_window_declare(&m.attn, &l.at, dim, heads, swins[i].win, swins[i].shift);
    sky_tensor x = vec(g, "x");
    if (bind(g, &l, "") == 0) {
        sky_tensor y = as_map(g, x, swins[i].h, swins[i].w);
        y = swins[i].block ? sky_nn_swin_block_forward(&g->c, &m, y) : sky_nn_window_forward(&g->c, &m.attn, y);
        out(g, "y", sky_reshape(&g->c, y, x.ndim, x.shape));
    }
    sky_nn_window_forget(&m.attn);
    close_layer(g, &l);
}

static void op_window_bias(golden *g)
{
    layer l = {0};
    sky_nn_window m = {0};
    const sky_weight *q = in(g, "q_bias"), *s = in(g, "logit_scale"), *y = g_find(g, "%s.out.y", op);
    l.at = sky_scope_root(&l.ps);
    sky_nn_window_declare(&m, &l.at, q ? q->shape[0] : 1, s ? (int)s->shape[0] : 1, y ? (int)lround(sqrt((double)y->shape[1])) : 2, 0);
    if (bind(g, &l, "w_msa.") == 0)
        out(g, "y", sky_nn_window_bias(&g->c, &m));
    g_mark(g, "window_bias.gin.x"); /* in the file the bias is multiplied by x = 1: no part of the operation */
    close_layer(g, &l);
}

static void op_merging(golden *g)
{
    layer l = {0};
    sky_nn_merge m;
    l.at = sky_scope_root(&l.ps);
    sky_tensor x = vec(g, "x");
    sky_nn_merge_declare(&m, &l.at, x.data ? x.shape[2] : 1);
    if (bind(g, &l, "") == 0) {
        sky_tensor y = sky_nn_merge_forward(&g->c, &m, as_map(g, x, 5, 7));
        out(g, "y", SKY_RESHAPE(&g->c, y, x.shape[0], -1, sky_last(&y)));
    }
    close_layer(g, &l);
}

static void op_embed(golden *g)
{
    layer l = {0};
    sky_nn_patch m;
    const sky_weight *w = in(g, "projection.weight");
    l.at = sky_scope_root(&l.ps);
    if (!w || w->ndim != 4)
        return;
    sky_nn_patch_declare(&m, &l.at, (int)w->shape[1], (int)w->shape[0], (int)w->shape[2], 1, 1);
    if (bind(g, &l, "") == 0) {
        sky_tensor y = sky_nn_patch_forward(&g->c, &m, map(g, "x"));
        out(g, "y", SKY_RESHAPE(&g->c, y, y.shape[0], -1, sky_last(&y)));
    }
    close_layer(g, &l);
}

/* ------------------------------------------------------------------ annotation */
static sky_nn_vocab vocab(golden *g)
{
    sky_nn_vocab v = {.table = vec(g, "table"), .weight = vec(g, "weight")};
    v.patch = (int)lround(sqrt((double)sky_numel(&v.weight)));
    return v;
}

static void op_tokens(golden *g)
{
    sky_nn_vocab v = vocab(g);
    sky_tensor y = sky_annotation_tokens(&g->c, bytes(g, "labels"), v.table, v.weight, sky_none, sky_none, v.patch);
    out(g, "y", SKY_RESHAPE(&g->c, y, y.shape[0], -1, sky_last(&y)));
}

static void op_join(golden *g)
{
    sky_ctx *c = &g->c;
    sky_nn_vocab v = vocab(g);
    v.mask_token = vec(g, "token");
    sky_nn_annotation a = {bytes(g, "labels"), bytes(g, "mask")};
    sky_tensor y = sky_nn_join_annotation(c, &v, as_map(g, vec(g, "x"), a.mask.shape[1], a.mask.shape[2]), &a, 0);
    sky_tensor joined = SKY_RESHAPE(c, y, y.shape[0], -1, sky_last(&y));
    int64_t n = sky_numel(&y);
    float *sq = sky_calloc((size_t)n, sizeof *sq), *up = grads && sq ? upstream(g, "joined", &joined) : NULL;
    if (!sq)
        return;
    sky_download(c, sq, &y);
    if (grads) { /* there is no operation for squares: their gradient is 2 y * dy, dy half of the mean's for both halves */
        float *half = up ? upstream(g, "halves_mean_of_square", &(sky_tensor){.dtype = SKY_F32, .ndim = 2, .shape = {n / 2, 1}}) : NULL;
        int64_t row = y.shape[2] * y.shape[3], w = row / 2;
        for (int64_t i = 0; half && i < n; i++)
            up[i] += sq[i] * half[i / row * w + i % row % w];
        sky_free(half);
        seed(g, joined, up);
    } else {
        out(g, "joined", joined);
        for (int64_t i = 0; i < n; i++)
            sq[i] *= sq[i];
        sky_tensor z = sky_halves_mean(c, sky_upload(c, SKY_F32, y.ndim, y.shape, sq));
        out(g, "halves_mean_of_square", SKY_RESHAPE(c, z, z.shape[0], -1, sky_last(&z)));
    }
    sky_free(sq);
}

/* ------------------------------------------------------------------ losses, codebook */
static void op_rec(golden *g) { out(g, "y", sky_rec_loss(&g->c, map(g, "logits"), bytes(g, "labels"))); }
static void op_ce(golden *g) { out(g, "y", sky_cross_entropy(&g->c, map(g, "logits"), bytes(g, "labels"), 255, 0, NULL)); }
static void op_codebook(golden *g) { out(g, "y", sky_nn_codebook_mix(&g->c, map(g, "logits"), matrix(g, "book"))); }

/* A term of a loss: its value, and its share of the gradient. */
static float term(golden *g, sky_tensor t, float weight)
{
    float v = 0;
    if (grads)
        seed_scalar(g, t, weight);
    sky_download(&g->c, &v, &t);
    return v * weight;
}

static void op_kl(golden *g)
{
    static const int pair[3][2] = {{0, 1}, {0, 2}, {1, 2}};
    sky_tensor x[3] = {map(g, "a"), map(g, "b"), map(g, "c")};
    uint8_t *flags = g_bytes(g, in(g, "flags")), both[256];
    double sum = 0;
    for (int p = 0; flags && p < 3; p++) {
        for (int64_t b = 0; b < x[0].shape[0] && b < 256; b++)
            both[b] = flags[3 * b + pair[p][0]] && flags[3 * b + pair[p][1]];
        sum += term(g, sky_sym_kl(&g->c, x[pair[p][0]], x[pair[p][1]], both), 1.0f / 6);
    }
    if (flags && !grads)
        g_check_scalar(g, "vae_kl.out.total", sum);
    sky_free(flags);
}

static void op_mse(golden *g)
{
    uint8_t *flags = g_bytes(g, in(g, "flags")), mine[256];
    double sum = 0;
    for (int m = 0; flags && m < 3; m++) {
        sky_tensor r = map(g, (const char *const[]){"r0", "r1", "r2"}[m]), f = map(g, (const char *const[]){"f0", "f1", "f2"}[m]);
        for (int64_t b = 0; b < r.shape[0] && b < 256; b++)
            mine[b] = flags[3 * b + m];
        sum += term(g, sky_masked_mse(&g->c, r, f, mine), 1.0f / 3);
    }
    if (flags && !grads)
        g_check_scalar(g, "vae_mse.out.y", sum);
    sky_free(flags);
}

/* ------------------------------------------------------------------ steps of the optimizer, clipping */
static sky_tensor zeros_like(golden *g, const sky_tensor *t)
{
    sky_tensor z = sky_new(&g->c, SKY_F32, t->ndim, t->shape);
    if (!g->c.dry && z.data)
        g->c.be->fill(g->c.dev, &z, 0, &g->err);
    return z;
}

static void op_adamw(golden *g)
{
    char name[16];
    const sky_weight *lrs = in(g, "lr_per_step"), *decay = in(g, "weight_decay");
    float *lr = lrs ? g_floats(g, lrs) : NULL, *wd = decay ? g_floats(g, decay) : NULL;
    sky_tensor w = vec(g, "w"), m = zeros_like(g, &w), v = zeros_like(g, &w);
    for (int i = 0; lr && wd && i < lrs->shape[0] && !g->err.code; i++) {
        snprintf(name, sizeof name, "g%d", i);
        sky_tensor d = vec(g, name);
        sky_adamw o = {.lr = lr[i], .decay = *wd, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .gscale = 1, .t = (uint64_t)i + 1};
        if (!g->c.dry && g->c.be->adamw(g->c.dev, &w, &d, &m, &v, &(sky_tensor){0}, &o, &g->err))
            break;
        snprintf(name, sizeof name, "w%d", i);
        out(g, name, w);
    }
    out(g, "exp_avg", m);
    out(g, "exp_avg_sq", v);
    sky_free(lr);
    sky_free(wd);
}

/* The factor min(1, 5 / (norm + 1e-6)) belongs to the update; here it is applied by an operation that scales. */
static void op_clip(golden *g)
{
    enum { N = 3 };
    static const char *const names[N] = {"g0", "g1", "g2"};
    sky_tensor t[N], s = sky_new(&g->c, SKY_F64, 1, (int64_t[]){N});
    const sky_tensor *list[N];
    double sums[N] = {0}, norm = 0;
    for (int i = 0; i < N; i++) {
        t[i] = vec(g, names[i]);
        list[i] = &t[i];
    }
    if (!g->c.dry && g->c.be->square_sums(g->c.dev, &s, list, N, &g->err))
        return;
    sky_download(&g->c, sums, &s);
    for (int i = 0; i < N; i++)
        norm += sums[i];
    char name[96];
    snprintf(name, sizeof name, "%s.out.norm", op);
    g_check_scalar(g, name, sqrt(norm));
    float factor = (float)fmin(1, 5 / (sqrt(norm) + 1e-6));
    sky_tensor by = sky_upload(&g->c, SKY_F32, 1, (int64_t[]){1}, &factor);
    for (int i = 0; i < N; i++) {
        sky_tensor x = SKY_RESHAPE(&g->c, t[i], -1, 1);
        out(g, names[i], SKY_RESHAPE(&g->c, sky_add_scaled(&g->c, zeros_like(g, &x), by, x), -1));
    }
}

/* ------------------------------------------------------------------ one after the other */
static const struct {
    const char *head;
    void (*fn)(golden *g);
} table[] = {
    {"layernorm_", op_layernorm}, {"gelu", op_gelu}, {"leaky_relu", op_leaky}, {"batchnorm_eval", op_batchnorm_eval},
    {"batchnorm_train", op_batchnorm_train}, {"attention", op_attention}, {"l2_normalize", op_l2}, {"mha_residual", op_mha},
    {"global_attention", op_global}, {"encoder_layer", op_encoder}, {"swin_", op_swin}, {"window_bias", op_window_bias},
    {"patch_merging", op_merging}, {"patch_embed", op_embed}, {"conv", op_conv}, {"pixel_shuffle", op_shuffle},
    {"adaptive_avg_pool", op_adaptive}, {"avg_pool2", op_pool2}, {"bilinear_", op_resize}, {"bicubic_", op_resize},
    {"annotation_tokens", op_tokens}, {"annotation_join", op_join}, {"rec_loss", op_rec}, {"ce_ignore255", op_ce},
    {"vae_kl", op_kl}, {"vae_mse", op_mse}, {"soft_codebook", op_codebook}, {"adamw", op_adamw}, {"clip_", op_clip}, {NULL, NULL}};

static void run_op(golden *g, void *arg)
{
    int i = *(int *)arg;
    table[i].fn(g);
}

static void run_back(golden *g, void *arg)
{
    int i = *(int *)arg;
    grads = g_grads_begin(g, 0);
    if (grads)
        table[i].fn(g);
    settle(g);
    g_grads_end(g, grads);
    grads = NULL;
}

void golden_ops(golden *g)
{
    g->tol = g->o->dtype == SKY_F32 ? 1e-5 : 2e-2;
    for (int i = 0; i < sky_weights_count(g->w) && !g->err.code; i++) {
        const char *name = sky_weights_at(g->w, i)->name, *dot = strchr(name, '.');
        if (!dot || !strstr(dot, ".out.") || g->seen[i] || (size_t)(dot - name) >= sizeof op)
            continue;
        snprintf(op, sizeof op, "%.*s", (int)(dot - name), name);
        for (int k = 0; table[k].head; k++)
            if (g_starts(op, table[k].head)) {
                g_run(g, run_op, &k);
                if (!g->err.code && g_has(g, ".gin.") && table[k].fn != op_adamw && table[k].fn != op_clip)
                    g_run(g, run_back, &k);
                break;
            }
    }
    if (!g->err.code)
        golden_tables(g);
}
