/* Starting values: which parameter gets which, the distributions' moments, and that a value depends on seed and name only. */
#include "nn/init.h"
#include "base/mem.h"
#include "nn/segmentor.h"
#include "nn/skysensepp.h"
#include "t.h"

#include <math.h>
#include <string.h>

static void is(const char *name, int ndim, const int64_t *shape, sky_init_kind kind, double a)
{
    sky_init r = sky_init_rule(SKY_INIT_PUBLISHED, name, ndim, shape);
    OK(r.kind == kind && fabs(r.a - a) <= 1e-15, "%s: %d, %g", name, (int)r.kind, r.a);
}

static void rules(void)
{
    is("backbone_hr.stages.0.blocks.1.attn.w_msa.logit_scale", 3, (int64_t[]){8, 1, 1}, SKY_INIT_VALUE, log(10));
    is("backbone_hr.stages.0.blocks.1.attn.w_msa.q_bias", 1, (int64_t[]){8}, SKY_INIT_VALUE, 0);
    is("backbone_hr.stages.0.blocks.1.attn.w_msa.qkv.weight", 2, (int64_t[]){24, 8}, SKY_INIT_NORMAL, 0.02);
    is("backbone_hr.stages.0.blocks.1.ffn.layers.0.0.bias", 1, (int64_t[]){32}, SKY_INIT_VALUE, 0);
    is("backbone_hr.norm_attn.weight", 1, (int64_t[]){32}, SKY_INIT_VALUE, 1);
    is("backbone_hr.vocabulary_token", 2, (int64_t[]){65, 32}, SKY_INIT_NORMAL, 0.02);
    is("backbone_hr.vocabulary_weight", 2, (int64_t[]){1, 16}, SKY_INIT_VALUE, 0);
    is("backbone_hr.patch_embed.projection.weight", 4, (int64_t[]){32, 3, 4, 4}, SKY_INIT_NORMAL, sqrt(2.0 / 48));
    is("backbone_s2.pos_embed", 3, (int64_t[]){1, 16, 32}, SKY_INIT_NORMAL, 0.02);
    is("backbone_s2.layers.0.ffn.layers.1.bias", 1, (int64_t[]){32}, SKY_INIT_NORMAL, 1e-6);
    is("backbone_s2.layers.0.attn.attn.in_proj_weight", 2, (int64_t[]){72, 24}, SKY_INIT_UNIFORM, 0.25);
    is("backbone_s2.layers.0.ln1.weight", 1, (int64_t[]){24}, SKY_INIT_VALUE, 1);
    is("head_s2.decoder.0.weight", 4, (int64_t[]){64, 24, 1, 1}, SKY_INIT_NORMAL, sqrt(2.0 / 24));
    is("modality_vae.vae_hr.conv1.weight", 4, (int64_t[]){8, 64, 5, 5}, SKY_INIT_NORMAL, sqrt(2.0 / 200));
    is("modality_vae.vae_hr.gamma_2", 4, (int64_t[]){1, 8, 1, 1}, SKY_INIT_VALUE, 0.001);
    is("modality_vae.vae_hr.codebook.weight", 2, (int64_t[]){64, 12}, SKY_INIT_NORMAL, 1);
    is("head_rec_hr.bottleneck.conv.weight", 4, (int64_t[]){16, 96, 3, 3}, SKY_INIT_NORMAL, sqrt(2.0 / 144));
    is("head_rec_hr.bottleneck.bn.running_var", 1, (int64_t[]){16}, SKY_INIT_VALUE, 1);
    is("head_rec_hr.conv_seg.weight", 4, (int64_t[]){17, 16, 1, 1}, SKY_INIT_NORMAL, 0.01);
    is("neck.lateral_convs.0.conv.weight", 4, (int64_t[]){20, 24, 1, 1}, SKY_INIT_UNIFORM, sqrt(6.0 / 44));
    is("decode_head.conv_seg.bias", 1, (int64_t[]){17}, SKY_INIT_VALUE, 0);
}

/* The scheme for narrow models: what it changes, and what not. */
static void matching(void)
{
    static const struct {
        const char *name;
        int ndim;
        int64_t shape[4];
        sky_init_kind kind;
        double a;
    } want[] = {
        {"backbone_hr.stages.0.blocks.0.attn.w_msa.qkv.weight", 2, {24, 16}, SKY_INIT_NORMAL, 0.25},
        {"backbone_hr.vocabulary_token", 2, {9, 16}, SKY_INIT_NORMAL, 0.5},
        {"backbone_hr.stages.0.blocks.0.norm1.weight", 1, {16}, SKY_INIT_VALUE, 0.2},
        {"backbone_hr.stages.3.blocks.0.norm2.weight", 1, {16}, SKY_INIT_VALUE, 0.2},
        {"backbone_hr.stages.1.downsample.norm.weight", 1, {16}, SKY_INIT_VALUE, 1},
        {"backbone_hr.norm1.weight", 1, {16}, SKY_INIT_VALUE, 1},
        {"backbone_hr.attn2.attn.attn.in_proj_weight", 2, {144, 48}, SKY_INIT_EYE, 1},
        {"backbone_hr.attn2.proj_out.weight", 2, {48, 48}, SKY_INIT_EYE, 0.3},
        {"backbone_hr.attn2.proj_in.bias", 1, {48}, SKY_INIT_VALUE, 0},
        {"head_s2.decoder.0.weight", 4, {64, 24, 1, 1}, SKY_INIT_NORMAL, sqrt(2.0 / 24)},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        sky_init r = sky_init_rule(SKY_INIT_MATCHING, want[i].name, want[i].ndim, want[i].shape);
        OK(r.kind == want[i].kind && fabs(r.a - want[i].a) < 1e-15, "matching: %s", want[i].name);
    }
}

/* A stack of three: every diagonal element near a, every other near 0; from the middle on as from the start. */
static void eye(void)
{
    enum { D = 16, N = 3 * D * D, FROM = 301 };
    float v[N], part[N];
    sky_init r = {.kind = SKY_INIT_EYE, .a = 0.3, .columns = D};
    double off = 0, sum = 0;
    sky_init_values(v, &r, 7, "attn.in_proj_weight", 0, N);
    sky_init_values(part, &r, 7, "attn.in_proj_weight", FROM, N - FROM);
    for (int i = 0; i < N; i++) {
        double d = v[i] - (i / D % D == i % D ? 0.3 : 0);
        off = fmax(off, fabs(d)), sum += d * d;
    }
    OK(off < 0.1 && fabs(sum / N - 0.0004) < 5 * 0.0004 * sqrt(2.0 / N), "identities with noise of 0.02 (largest %g, variance %g)", off, sum / N);
    OK(!memcmp(v + FROM, part, sizeof *v * (N - FROM)), "a part has the values of the whole");
}

static void moments(sky_init_kind kind)
{
    enum { N = 200000 };
    static float v[N];
    sky_init r = {.kind = kind, .a = 0.5};
    double m[5] = {0}, top = 0;
    sky_init_values(v, &r, 7, "a.weight", 0, N);
    for (int i = 0; i < N; i++) {
        for (int k = 1; k < 5; k++)
            m[k] += pow(v[i], k) / N;
        top = fmax(top, fabs(v[i]));
    }
    double var = kind == SKY_INIT_NORMAL ? 0.25 : 0.25 / 3, fourth = kind == SKY_INIT_NORMAL ? 3 * var * var : 1.8 * var * var;
    /* Five standard errors. */
    OK(fabs(m[1]) <= 5 * sqrt(var / N) && fabs(m[2] - var) <= 5 * var * sqrt(2.0 / N) && fabs(m[3]) <= 5 * sqrt(15.0 / N) * pow(var, 1.5) && fabs(m[4] - fourth) <= 5 * var * var * sqrt(96.0 / N),
       "%s: mean %.1e, variance %.4f, third %.1e, fourth %.4f", kind == SKY_INIT_NORMAL ? "normal" : "uniform", m[1], m[2], m[3], m[4]);
    OK(kind == SKY_INIT_NORMAL ? top > 1.5 && top < 3.4 : top <= 0.5 && top > 0.4999, "largest %.4f", top);
    float again[10], other[10];
    sky_init_values(again, &r, 7, "a.weight", 1021, 10);
    sky_init_values(other, &r, 8, "a.weight", 1021, 10);
    OK(!memcmp(again, v + 1021, sizeof again) && memcmp(again, other, sizeof other), "from the middle the same, another seed another");
    sky_init_values(other, &r, 7, "b.weight", 1021, 10);
    OK(memcmp(again, other, sizeof other), "another name another");
}

static void model(void)
{
    sky_err e = {0};
    sky_config cfg;
    sky_pp *a = NULL, *b = NULL;
    int ok = sky_config_load(&cfg, "tiny", &e) == 0 && sky_pp_open(&a, &cfg, &e) == 0 && sky_pp_open(&b, &cfg, &e) == 0;
    ok = ok && sky_params_init(sky_pp_params(a), SKY_INIT_PUBLISHED, 3, 1, &e) == 0 && sky_params_init(sky_pp_params(b), SKY_INIT_PUBLISHED, 4, 2, &e) == 0 && sky_params_init(sky_pp_params(b), SKY_INIT_PUBLISHED, 3, 3, &e) == 0;
    OK(ok, "a model starts, and starts again: %s", e.msg);
    int same = ok;
    for (int i = 0; ok && i < sky_pp_params(a)->n; i++)
        same &= !memcmp(sky_pp_params(a)->v[i].slot->data, sky_pp_params(b)->v[i].slot->data, (size_t)sky_bytes(sky_pp_params(a)->v[i].slot));
    OK(same, "same bits with 1 and 3 threads");
    sky_pp_close(a);
    sky_pp_close(b);
}

int main(void)
{
    rules();
    matching();
    eye();
    moments(SKY_INIT_NORMAL);
    moments(SKY_INIT_UNIFORM);
    model();
    return END();
}
