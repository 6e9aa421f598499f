/* vae.c -- modality completion: a soft-codebook auto-encoder per modality; an absent modality's map is decoded from the
 * sum (not the mean) of the codes of the present ones. */
#include "nn/layers.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static const char *const names[3] = {"hr", "s2", "s1"};

/* ------------------------------------------------------------------ one modality */
void sky_nn_codevae_declare(sky_nn_codevae *l, const sky_scope *s, int64_t cin, int64_t conv, int64_t z, int64_t codes)
{
    static const char *const blocks[4] = {"enc_block1", "enc_block2", "dec_block1", "dec_block2"};
    sky_scope book = sky_scope_in(s, "codebook"), c1 = sky_scope_in(s, "conv1"), c2 = sky_scope_in(s, "conv2");
    sky_scope logit = sky_scope_in(s, "logit_conv"), rec = sky_scope_in(s, "rec_conv");
    for (int i = 0; i < 4; i++) {
        char gamma[16];
        snprintf(gamma, sizeof gamma, "gamma_%d", i + 1);
        sky_declare(s, &l->gamma[i], SKY_PARAM_VECTOR, gamma, SKY_SHAPE(1, conv, 1, 1));
        for (int j = 0; j < 2; j++) {
            sky_scope b = sky_scope_in(s, "%s.%d", blocks[i], 2 * j);
            sky_nn_conv_declare(l->block[i][j], &b, conv, conv, 3);
        }
    }
    sky_declare(&book, &l->codebook, SKY_PARAM_MATRIX, "weight", SKY_SHAPE(codes, z));
    sky_nn_conv_declare(l->conv1, &c1, cin, conv, 5);
    sky_nn_conv_declare(l->logit_conv, &logit, conv, codes, 1);
    sky_nn_conv_declare(l->conv2, &c2, z, conv, 3);
    sky_nn_conv_declare(l->rec_conv, &rec, conv, cin, 3);
}

static sky_tensor conv(sky_ctx *c, const sky_tensor wb[2], sky_tensor x, sky_act act) { return sky_conv2d(c, x, wb[0], sky_none, wb[1], act); }

/* x + gamma * block(x); the block is activated after its second convolution too. */
static sky_tensor residual_block(sky_ctx *c, const sky_nn_codevae *l, int i, sky_tensor x)
{
    sky_tensor y = conv(c, l->block[i][1], conv(c, l->block[i][0], x, SKY_ACT_LEAKY), SKY_ACT_LEAKY);
    return sky_add_scaled(c, x, SKY_RESHAPE(c, l->gamma[i], -1), y);
}

sky_tensor sky_nn_codevae_encode(sky_ctx *c, const sky_nn_codevae *l, sky_tensor x)
{
    sky_mark m = sky_mark_get(c);
    x = conv(c, l->conv1, x, SKY_ACT_LEAKY);
    x = sky_avg_pool2(c, residual_block(c, l, 0, x));
    x = sky_avg_pool2(c, residual_block(c, l, 1, x));
    x = conv(c, l->logit_conv, x, SKY_ACT_NONE);
    sky_keep(c, m, &x, 1);
    return x;
}

static sky_tensor up2(sky_ctx *c, sky_tensor x) { return sky_resize(c, x, 2 * x.shape[1], 2 * x.shape[2], SKY_BILINEAR); }

sky_tensor sky_nn_codebook_mix(sky_ctx *c, sky_tensor logits, sky_tensor book)
{
    return sky_matmul(c, sky_softmax(c, logits, 9), book); /* temperature 0.9, times 10 */
}

sky_tensor sky_nn_codevae_decode(sky_ctx *c, const sky_nn_codevae *l, sky_tensor logits)
{
    sky_mark m = sky_mark_get(c);
    sky_tensor x = sky_nn_codebook_mix(c, logits, l->codebook);
    x = up2(c, conv(c, l->conv2, x, SKY_ACT_LEAKY));
    x = up2(c, residual_block(c, l, 2, x));
    x = residual_block(c, l, 3, x);
    x = conv(c, l->rec_conv, x, SKY_ACT_NONE);
    sky_keep(c, m, &x, 1);
    return x;
}

/* ------------------------------------------------------------------ completion of a batch */
typedef struct {
    sky_ctx *c;
    const sky_nn_codevae *vae;
    const sky_nn_maps *in;
    sky_tensor logits[3]; /* rows as feat[m]; none when nobody needs them */
    sky_tensor zero;      /* one all-zero row of logits */
    int64_t *sample, *pos; /* [batch] each, scratch */
} job;

static int present(const job *j, int m, int64_t b) { return j->in->flags[3 * b + m] != 0; }

/* All-zero logits of one sample, [1,h/4,w/4,codes]. */
static sky_tensor zero_row(sky_ctx *c, const sky_nn_codevae *l, const sky_tensor *feat)
{
    int64_t shape[4] = {1, feat->shape[1] / 4, feat->shape[2] / 4, l->codebook.shape[0]};
    float *z = sky_calloc((size_t)(shape[1] * shape[2]), (size_t)shape[3] * sizeof *z);
    if (!z) {
        sky_ctx_fail(c, SKY_ENOMEM, "out of memory");
        return sky_none;
    }
    sky_tensor t = sky_upload(c, SKY_F32, 4, shape, z);
    sky_free(z);
    return t;
}

/* Logits of modality m for `n` samples, zero where take(sample) says no. */
static sky_tensor gather(job *j, int m, int64_t n, int (*take)(const job *, int m, int64_t b, int target), int target)
{
    int any = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t b = j->sample[i];
        int yes = take(j, m, b, target);
        j->pos[i] = yes ? j->in->row[m][b] : -1;
        any |= yes;
    }
    return any ? sky_pick(j->c, j->logits[m], j->zero, j->pos, (int)n) : sky_none;
}

static sky_tensor zero_rows(job *j, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        j->pos[i] = 0;
    return sky_take(j->c, j->zero, j->pos, (int)n);
}

/* The code of `target` is its own when present, else the sum of the present others. */
static int in_code(const job *j, int m, int64_t b, int target)
{
    return present(j, m, b) && (m == target || !present(j, target, b));
}
static int if_present(const job *j, int m, int64_t b, int target) { return (void)target, present(j, m, b); }

static sky_tensor code_of(job *j, int target, int64_t n)
{
    sky_tensor sum = sky_none;
    for (int m = 0; m < 3; m++) {
        sky_tensor part = gather(j, m, n, in_code, target);
        if (part.data)
            sum = sum.data ? sky_add(j->c, sum, part) : part;
    }
    return sum.data ? sum : zero_rows(j, n); /* nothing to decode from: a uniform mix of codes */
}

/* Samples whose map of m has to be decoded: the absent ones, or all. */
static int64_t samples_to_decode(job *j, int m, int all)
{
    int64_t n = 0;
    for (int64_t b = 0; b < j->in->batch; b++)
        if (all || !present(j, m, b))
            j->sample[n++] = b;
    return n;
}

static int logits_wanted(const job *j, int m)
{
    for (int64_t b = 0; b < j->in->batch; b++)
        for (int t = 0; t < 3; t++)
            if (present(j, m, b) && !present(j, t, b))
                return 1;
    return 0;
}

static void add_term(sky_nn_completed *out, const char *name, sky_tensor value, double weight)
{
    out->terms[out->nterms++] = (sky_term){value, weight, name};
}

static sky_tensor mse_term(job *j, int m, sky_tensor rec, sky_tensor done)
{
    uint8_t *flag = (uint8_t *)j->pos; /* large enough: batch bytes */
    for (int64_t b = 0; b < j->in->batch; b++)
        flag[b] = (uint8_t)present(j, m, b);
    return sky_masked_mse(j->c, rec, done, flag); /* `done` is the feature wherever the flag is set */
}

static sky_tensor complete_one(job *j, int m, int all, sky_nn_completed *out, const sky_nn_tap *tap)
{
    sky_ctx *c = j->c;
    sky_mark k = sky_mark_get(c);
    int64_t n = samples_to_decode(j, m, all), row = 0;
    sky_tensor rec = n ? sky_nn_codevae_decode(c, &j->vae[m], code_of(j, m, n)) : sky_none;
    for (int64_t b = 0; b < j->in->batch; b++) {
        int64_t decoded = all || !present(j, m, b) ? row++ : 0;
        j->pos[b] = present(j, m, b) ? j->in->row[m][b] : -1 - decoded;
    }
    sky_tensor done = sky_pick(c, j->in->feat[m], rec, j->pos, (int)j->in->batch);
    if (all) {
        add_term(out, "vae_mse", mse_term(j, m, rec, done), 1.0 / 3);
        sky_nn_tap_call(c, tap, j->logits[m], "vae.logits_%s", names[m]);
        sky_nn_tap_call(c, tap, rec, "vae.rec_%s", names[m]);
        sky_nn_tap_call(c, tap, done, "vae.out_%s", names[m]);
    }
    if (!all)
        sky_keep(c, k, &done, 1);
    return done;
}

/* Also where no sample here has both: the sums are joined over ranks, and every rank takes part. */
static sky_tensor kl_term(job *j, int a, int b)
{
    int64_t n = samples_to_decode(j, 0, 1);
    sky_tensor la = gather(j, a, n, if_present, a), lb = gather(j, b, n, if_present, b);
    if (!la.data || !lb.data)
        la = lb = zero_rows(j, n);
    uint8_t *flag = (uint8_t *)j->pos;
    for (int64_t i = 0; i < n; i++)
        flag[i] = present(j, a, i) && present(j, b, i);
    return sky_sym_kl(j->c, la, lb, flag);
}

static void run(job *j, int all, sky_nn_completed *out, const sky_nn_tap *tap)
{
    sky_ctx *c = j->c;
    j->zero = zero_row(c, &j->vae[0], &j->in->feat[0]);
    for (int m = 0; m < 3; m++)
        if (j->in->feat[m].data && (all || logits_wanted(j, m)))
            j->logits[m] = sky_nn_codevae_encode(c, &j->vae[m], j->in->feat[m]);
    for (int m = 0; m < 3; m++)
        out->out[m] = complete_one(j, m, all, out, tap);
    for (int a = 0; all && a < 2; a++)
        for (int b = a + 1; b < 3; b++)
            add_term(out, "vae_kl", kl_term(j, a, b), 1.0 / 6);
}

void sky_nn_complete(sky_ctx *c, const sky_nn_codevae vae[3], const sky_nn_maps *in, int losses, sky_nn_completed *out, const sky_nn_tap *tap)
{
    *out = (sky_nn_completed){0};
    job j = {.c = c, .vae = vae, .in = in};
    int all = losses || (tap && tap->fn), complete = 1;
    for (int64_t i = 0; i < 3 * in->batch; i++)
        complete &= in->flags[i] != 0;
    if (complete && !all) {
        memcpy(out->out, in->feat, sizeof out->out);
        return;
    }
    sky_mark k = sky_mark_get(c);
    j.sample = sky_calloc((size_t)in->batch, 2 * sizeof *j.sample);
    if (!j.sample) {
        sky_ctx_fail(c, SKY_ENOMEM, "out of memory");
        return;
    }
    j.pos = j.sample + in->batch;
    run(&j, all, out, tap);
    sky_free(j.sample);
    if (!all)
        sky_keep(c, k, out->out, 3);
}
