/* init.c -- the published code's starting values, by name and shape.
 *
 *   running_mean, running_var                       0, 1
 *   norm weights (every other "weight" of one dimension)  1
 *   biases (also q_bias, v_bias, in_proj_bias)      0; of a transformer's ffn: normal, deviation 1e-6
 *   logit_scale                                     ln 10
 *   gamma_1 .. gamma_4 (completion)                 0.001
 *   vocabulary_weight                               0: all pixels of a patch count the same
 *   mask_token, cls_token, pos_embed, vocabulary_token    normal, 0.02
 *   in_proj_weight                                  uniform, sqrt(6 / (rows + columns))   (Xavier)
 *   codebook.weight                                 normal, 1
 *   other matrices                                  normal, 0.02
 *   convolutions: conv_seg (classifiers)            normal, 0.01
 *                 in a neck                         uniform, sqrt(6 / (fan_in + fan_out)) (Xavier)
 *                 completion, and before a batch norm  normal, sqrt(2 / fan_out)          (Kaiming)
 *                 others (patches, head_s2, head_s1)   normal, sqrt(2 / fan_in)
 *
 * SKY_INIT_MATCHING is for narrow models that have to learn everything, one-shot segmentation first of all:
 *
 *   matrices                     normal, 1 / sqrt(inputs) (LeCun et al., Efficient BackProp, 1998); at the published
 *                                widths 0.02 is near that, but of 24 inputs 0.02 leaves next to no signal
 *   vocabulary_token             normal, 0.5
 *   norms of the Swin blocks     0.2, near Swin V2's own 0: what a token shows is not buried under random blocks
 *   attn1, attn2, attn3          every matrix the identity (proj_out: 0.3 of it), plus normal 0.02 (after Trockman and
 *                                Kolter, Mimetic Initialization of Self-Attention Layers, 2023)
 *
 * So each global attention starts as a mean over the tokens that look alike (queries equal keys), and passes on their
 * annotation as the decoder reads it elsewhere (values are the tokens). examples/nano/README.md has what it changes.
 *
 * The original's "truncated normal" is cut at +-2, a hundred deviations: it is the normal distribution. Its Swin backbone
 * is always loaded and names no values of its own; it gets those of the other transformers, as Swin V2 was published. */
#include "nn/init.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/philox.h"
#include "base/threads.h"

#include <math.h>
#include <string.h>

static int has(const char *name, const char *part) { return strstr(name, part) != NULL; }
static sky_init value(double a) { return (sky_init){.kind = SKY_INIT_VALUE, .a = a}; }
static sky_init normal(double a) { return (sky_init){.kind = SKY_INIT_NORMAL, .a = a}; }
static sky_init uniform(double a) { return (sky_init){.kind = SKY_INIT_UNIFORM, .a = a}; }

static sky_init conv_rule(const char *name, const int64_t *shape)
{
    double fan_in = (double)(shape[1] * shape[2] * shape[3]), fan_out = (double)(shape[0] * shape[2] * shape[3]);
    if (has(name, "conv_seg."))
        return normal(0.01);
    if (!strncmp(name, "neck.", 5))
        return uniform(sqrt(6 / (fan_in + fan_out)));
    if (has(name, "modality_vae.") || has(name, ".conv."))
        return normal(sqrt(2 / fan_out));
    return normal(sqrt(2 / fan_in));
}

static sky_init common_rule(sky_init_scheme s, const char *name, int ndim, const int64_t *shape)
{
    const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;
    size_t n = strlen(last);
    if (!strcmp(last, "running_var"))
        return value(1);
    if (!strcmp(last, "logit_scale"))
        return value(M_LN10);
    if (!strncmp(last, "gamma_", 6))
        return value(0.001);
    if (!strcmp(last, "running_mean") || !strcmp(last, "vocabulary_weight"))
        return value(0);
    if (n >= 4 && !strcmp(last + n - 4, "bias"))
        return has(name, ".ffn.") && has(name, "layers.") && !has(name, "stages.") ? normal(1e-6) : value(0);
    if (!strcmp(last, "in_proj_weight"))
        return uniform(sqrt(6 / (double)(shape[0] + shape[1])));
    if (has(name, "codebook.weight"))
        return normal(1);
    if (!strcmp(last, "weight") && ndim == 1)
        return value(1);
    if (ndim == 4)
        return conv_rule(name, shape);
    if (s == SKY_INIT_MATCHING && ndim == 2)
        return normal(!strcmp(last, "vocabulary_token") ? 0.5 : 1 / sqrt((double)shape[1]));
    return normal(0.02);
}

sky_init sky_init_rule(sky_init_scheme s, const char *name, int ndim, const int64_t *shape)
{
    if (s == SKY_INIT_MATCHING && ndim == 2 && has(name, "backbone_hr.attn"))
        return (sky_init){SKY_INIT_EYE, has(name, ".proj_out.") ? 0.3 : 1, shape[1]};
    if (s == SKY_INIT_MATCHING && (has(name, ".norm1.weight") || has(name, ".norm2.weight")) && has(name, ".blocks."))
        return value(0.2);
    return common_rule(s, name, ndim, shape);
}

/* Four numbers per block: two pairs by Box and Muller. */
static void normals(float out[4], const sky_random *r, double a)
{
    for (int k = 0; k < 4; k += 2) {
        double radius = a * sqrt(-2 * log(((double)r->v[k] + 1) * 0x1p-32)), angle = 2 * M_PI * 0x1p-32 * (double)r->v[k + 1];
        out[k] = (float)(radius * cos(angle));
        out[k + 1] = (float)(radius * sin(angle));
    }
}

void sky_init_values(float *dst, const sky_init *r, uint64_t seed, const char *name, uint64_t from, uint64_t n)
{
    enum { STREAM = 0x696e6974 }; /* apart from every other use of a key */
    uint64_t key = sky_mix64(seed, sky_fnv1a(name));
    float four[4];
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = from + i;
        if (r->kind != SKY_INIT_VALUE && (i == 0 || at % 4 == 0)) {
            sky_random w = sky_philox(key, (uint32_t)(at / 4), (uint32_t)(at / 4 >> 32), STREAM, 0);
            if (r->kind == SKY_INIT_UNIFORM)
                for (int k = 0; k < 4; k++)
                    four[k] = (float)(r->a * (2 * ((double)w.v[k] + 0.5) * 0x1p-32 - 1));
            else
                normals(four, &w, r->kind == SKY_INIT_EYE ? 0.02 : r->a);
        }
        dst[i] = r->kind == SKY_INIT_VALUE ? (float)r->a : four[at % 4];
        if (r->kind == SKY_INIT_EYE && at / (uint64_t)r->columns % (uint64_t)r->columns == at % (uint64_t)r->columns)
            dst[i] += (float)r->a;
    }
}

typedef struct {
    sky_params *ps;
    uint64_t seed;
    sky_init_scheme scheme;
} job;

static void init_one(void *arg, int64_t i, int thread)
{
    (void)thread;
    job *j = arg;
    sky_param *p = &j->ps->v[i];
    sky_init r = sky_init_rule(j->scheme, p->name, p->slot->ndim, p->slot->shape);
    sky_init_values(p->own, &r, j->seed, p->name, 0, (uint64_t)sky_numel(p->slot));
}

int sky_params_init(sky_params *ps, sky_init_scheme s, uint64_t seed, int threads, sky_err *e)
{
    sky_pool *pool = NULL;
    int rc = ps->placed ? sky_fail(e, SKY_EUSAGE, "starting values: the parameters are on a device already") : sky_pool_open(&pool, threads, e);
    for (int i = 0; i < ps->n && !rc; i++) {
        sky_param *p = &ps->v[i];
        sky_free(p->own);
        p->own = sky_alloc((size_t)sky_numel(p->slot) * sizeof(float));
        p->slot->data = p->own;
        p->slot->dtype = SKY_F32;
        if (!p->own)
            rc = sky_fail(e, SKY_ENOMEM, "%s: out of memory", p->name);
    }
    job j = {.ps = ps, .scheme = s, .seed = seed};
    if (!rc)
        sky_pool_for(pool, ps->n, init_one, &j);
    sky_pool_close(pool);
    return rc;
}
