/* Running passes through the model: see infer.h. */
#include "base/mem.h"
#include "data/infer_internal.h"
#include "data/oneshot.h"
#include "data/prompts.h"
#include "tensor/ops.h"
#include "tensor/replay.h"

#include <math.h>
#include <string.h>

static size_t flag_bytes(int n) { return (size_t)n * 3 + SENTINELS; }

/* Host-side arrays of a batch. */
typedef struct {
    int n;
    int16_t *hr;
    float *s[SENTINELS];
    uint8_t *labels, *mask;
    uint8_t *flags;             /* [n,3], then which Sentinels are in the batch at all: what the model does depends on these alone */
    uint8_t (*slot_of)[2][256]; /* [n], of the labels of the prompt's and of the query's half, which is hidden: 0 */
} staged;

static void staged_free(staged *b)
{
    sky_free(b->hr), sky_free(b->labels), sky_free(b->mask), sky_free(b->flags), sky_free(b->slot_of);
    for (int i = 0; i < SENTINELS; i++)
        sky_free(b->s[i]);
}

static size_t cells_of(const sky_infer *in) { return (size_t)(2 * in->o.side / SENTINEL_SCALE) * (size_t)(in->o.side / SENTINEL_SCALE); }

/* The model's inputs as tensors on the context's stack; s[i] NULL: that modality is absent from all. */
static sky_pp_batch upload(const sky_infer *in, const staged *b)
{
    const int64_t n = b->n, side = in->o.side;
    sky_ctx *c = in->c;
    sky_pp_batch x = {.t2 = 1, .t1 = 1, .flags = b->flags};
    x.hr = sky_normalise(c, sky_upload(c, SKY_I16, 4, (int64_t[]){n, 2 * side, side, 3}, b->hr), 255, sky_norm_rgb[0]);
    const int64_t h = 2 * side / SENTINEL_SCALE, w = side / SENTINEL_SCALE;
    if (b->s[0])
        x.s2 = sky_upload(c, SKY_F32, 4, (int64_t[]){n, h, w, in->channels[0]}, b->s[0]);
    if (b->s[1])
        x.s1 = sky_upload(c, SKY_F32, 4, (int64_t[]){n, h, w, in->channels[1]}, b->s[1]);
    x.labels = sky_lookup(c, sky_upload(c, SKY_U8, 3, (int64_t[]){n, 2 * side, side}, b->labels), 2 * n, b->slot_of[0][0]);
    x.anno_mask = sky_upload(c, SKY_U8, 3, (int64_t[]){n, 2 * side / 128, side / 128}, b->mask);
    return x;
}

typedef struct {
    const sky_infer *in;
    sky_pp_batch x;
} job;

static int model(void *arg, void *out, sky_err *e)
{
    const job *j = arg;
    const sky_pp_opts o = {0};
    return sky_pp_forward(j->in->m, j->in->c, &j->x, &o, out, e);
}

/* What differs between batches under one key (tensor/replay.h) is uploaded, normalised and looked up before: pictures,
 * labels and their slots, masks. The model itself takes from the host only the flags: they say which branches run, and
 * the indices of samples follow from them. */
static int forward(const sky_infer *in, const staged *b, sky_pp_out *out, sky_err *e)
{
    job j = {in, upload(in, b)};
    if (in->c->err.code) {
        *e = in->c->err;
        return e->code;
    }
    return sky_replay_run(in->replay, b->flags, flag_bytes(b->n), model, &j, out, sizeof *out, e);
}

/* ---- opening: a dry run of a full batch ---------------------------------------------------------------------------- */

static int dry_run(sky_infer *in, sky_err *e)
{
    /* Nothing is read in a dry run but the flags: every modality there, or only HR; whichever wants more counts. */
    staged b = {.n = in->o.batch, .flags = sky_calloc(1, flag_bytes(in->o.batch))};
    int rc = b.flags ? SKY_OK : sky_fail(e, SKY_ENOMEM, "out of memory");
    for (int all = 0; !rc && all < 2; all++) {
        uint8_t something[2][256];
        for (int i = 0; i < in->o.batch * 3; i++)
            b.flags[i] = all || i % 3 == 0;
        b.labels = b.mask = something[0], b.slot_of = &something;
        b.hr = (int16_t *)(void *)something;
        b.s[0] = b.s[1] = all ? (float *)(void *)something : NULL;
        sky_ctx_dry(in->c);
        sky_pp_out out;
        rc = forward(in, &b, &out, e);
        in->arena = in->c->peak > in->arena ? in->c->peak : in->arena;
    }
    sky_free(b.flags);
    return rc ? sky_wrap(e, "canvas of %d x %d pixels", 2 * in->o.side, in->o.side) : sky_ctx_alloc(in->c, in->arena, e);
}

int sky_infer_open(sky_infer **out, sky_pp *m, sky_ctx *c, const sky_config *cfg, const sky_infer_opts *o, sky_err *e)
{
    if (o->side < 128 || o->side % 128 || o->side > 8192)
        return sky_fail(e, SKY_EUSAGE, "canvas side %d: expected a multiple of 128 up to 8192", o->side);
    if (cfg->hr_channels != 3)
        return sky_fail(e, SKY_ECORRUPT, "the model takes pictures of %d bands (hr_channels), the one-shot protocol has 3", cfg->hr_channels);
    sky_infer *in = sky_calloc(1, sizeof *in);
    if (!in)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    *in = (sky_infer){m, c, *o, cfg->vocab, {cfg->s2_channels, cfg->s1_channels}, 0, {o->image, o->label, "s2", "s1", NULL}, NULL};
    int rc = sky_replay_open(&in->replay, c, o->warn, o->warn_arg, e);
    if (!rc)
        rc = dry_run(in, e);
    if (rc) {
        sky_infer_close(in);
        return rc;
    }
    *out = in;
    return SKY_OK;
}

void sky_infer_close(sky_infer *in)
{
    if (in)
        sky_replay_close(in->replay);
    sky_free(in);
}
size_t sky_infer_arena(const sky_infer *in) { return in->arena; }
sky_replay_counts sky_infer_replays(const sky_infer *in) { return sky_replay_counted(in->replay); }
const char *const *sky_infer_fields(const sky_infer *in) { return in->fields; }

/* ---- running --------------------------------------------------------------------------------------------------------- */

int sky_infer_slots(uint8_t slot_of[256], const sky_infer *in, const sky_infer_pass *p, int k, sky_err *e)
{
    return sky_prompt_slots(slot_of, in->o.seed + (uint64_t)k, p->values, p->n, in->vocab, e);
}

/* Flag bits and images of one Sentinel for the batch; passes without it get zeros that nothing reads. */
static int stage_sentinel(staged *b, const sky_infer *in, sky_infer_pass *const *p, int which)
{
    const size_t n = cells_of(in) * (size_t)in->channels[which];
    int any = 0;
    for (int i = 0; i < b->n; i++) {
        b->flags[3 * i + 1 + which] = p[i]->sentinel[which] != NULL;
        any |= p[i]->sentinel[which] != NULL;
    }
    b->flags[3 * b->n + which] = (uint8_t)any;
    if (!any)
        return 1;
    if (!(b->s[which] = sky_calloc((size_t)b->n * n, sizeof(float))))
        return 0;
    for (int i = 0; i < b->n; i++)
        if (p[i]->sentinel[which])
            memcpy(b->s[which] + (size_t)i * n, p[i]->sentinel[which], n * sizeof(float));
    return 1;
}

static int stage(staged *b, const sky_infer *in, sky_infer_pass *const *p, int n, sky_err *e)
{
    const size_t px = 2 * sky_infer_pixels(in), cells = px / (128 * 128);
    *b = (staged){.n = n, .hr = sky_alloc((size_t)n * px * 3 * sizeof *b->hr), .labels = sky_calloc((size_t)n, px), .slot_of = sky_calloc((size_t)n, sizeof *b->slot_of)};
    b->mask = sky_alloc((size_t)n * cells);
    b->flags = sky_calloc(1, flag_bytes(n));
    if (!b->hr || !b->labels || !b->slot_of || !b->mask || !b->flags || !stage_sentinel(b, in, p, 0) || !stage_sentinel(b, in, p, 1))
        return sky_fail(e, SKY_ENOMEM, "out of memory for a batch of %d", n);
    for (int i = 0; i < n; i++) {
        memcpy(b->hr + (size_t)i * px * 3, p[i]->hr, px * 3 * sizeof *b->hr);
        memcpy(b->labels + (size_t)i * px, p[i]->label, px / 2);
        memcpy(b->mask + (size_t)i * cells, p[i]->mask, cells);
        b->flags[3 * i] = 1;
    }
    return SKY_OK;
}

static int all_finite(const float *x, size_t n)
{
    int ok = 1;
    for (size_t i = 0; i < n; i++)
        ok &= isfinite(x[i]) != 0;
    return ok;
}

/* Slots per pixel of the lower half to class values; slots that stand for no class are background. */
static void take_map(const sky_infer *in, sky_infer_pass *p, const uint8_t *slots, const uint8_t slot_of[256])
{
    const size_t n = sky_infer_pixels(in);
    uint8_t value_of[256] = {0};
    for (int i = 0; i < p->n; i++)
        value_of[slot_of[p->values[i]]] = p->cls < 0 ? (uint8_t)p->values[i] : 1;
    for (size_t i = 0; i < n; i++)
        p->map[i] = value_of[slots[n + i]];
}

/* The strongest mean probability; ties go to the background, then to the smaller class, as the model's own choice does
 * when slots are in order. */
static void take_mean(const sky_infer *in, sky_infer_pass *p)
{
    const size_t n = sky_infer_pixels(in);
    for (size_t i = 0; i < n; i++) {
        float best = p->prob[(size_t)p->n * n + i];
        p->map[i] = 0;
        for (int k = 0; k < p->n; k++)
            if (p->prob[(size_t)k * n + i] > best) {
                best = p->prob[(size_t)k * n + i];
                p->map[i] = p->cls < 0 ? (uint8_t)p->values[k] : 1;
            }
    }
}

static int take_results(const sky_infer *in, const sky_pp_out *out, sky_infer_pass *const *p, int n, uint8_t (*slot_of)[2][256], int last, sky_err *e)
{
    const sky_tensor *low = &out->logits_low;
    const size_t px = 2 * sky_infer_pixels(in), per = (size_t)(sky_numel(low) / n);
    float *logits = sky_alloc((size_t)sky_numel(low) * sizeof *logits), *row = sky_alloc((size_t)in->o.side * (size_t)(in->vocab + 1) * sizeof *row);
    uint8_t *slots = sky_alloc((size_t)n * px);
    int rc = logits && row && slots ? SKY_OK : sky_fail(e, SKY_ENOMEM, "out of memory for the results of a batch of %d", n);
    if (!rc) {
        sky_download(in->c, logits, low);
        sky_download(in->c, slots, &out->argmax);
        if (in->c->err.code) {
            *e = in->c->err;
            rc = e->code;
        }
    }
    for (int i = 0; !rc && i < n; i++) {
        if (!all_finite(logits + (size_t)i * per, per))
            rc = sky_fail(e, SKY_ECORRUPT, "the model's logits are not finite");
        else if (p[i]->prob)
            sky_infer_add_run(in, p[i], logits + (size_t)i * per, (int)low->shape[1], (int)low->shape[2], slot_of[i][0], row);
        if (!rc && in->o.slots == 1)
            take_map(in, p[i], slots + (size_t)i * px, slot_of[i][0]);
        else if (!rc && last)
            take_mean(in, p[i]);
    }
    sky_free(logits), sky_free(row), sky_free(slots);
    return rc;
}

static int one_run(sky_infer *in, staged *b, sky_infer_pass *const *p, int k, sky_err *e)
{
    sky_pp_out out;
    for (int i = 0; i < b->n; i++) {
        int rc = sky_infer_slots(b->slot_of[i][0], in, p[i], k, e);
        if (rc)
            return sky_wrap(e, "prompt '%s'", p[i]->prompt);
    }
    sky_ctx_reset(in->c);
    int rc = forward(in, b, &out, e);
    return rc ? rc : take_results(in, &out, p, b->n, b->slot_of, k + 1 == in->o.slots, e);
}

/* Size the arena for exactly this batch: which modalities which pass has changes what is alive at once. */
static int fit_arena(sky_infer *in, const staged *b, sky_err *e)
{
    sky_pp_out out;
    sky_ctx_dry(in->c);
    int rc = forward(in, b, &out, e);
    if (!rc && in->c->peak > in->arena)
        in->arena = in->c->peak;
    return rc ? rc : sky_ctx_alloc(in->c, in->arena, e);
}

static int run_batch(sky_infer *in, sky_infer_pass *const *p, int n, sky_err *e)
{
    staged b;
    int rc = stage(&b, in, p, n, e);
    if (!rc)
        rc = fit_arena(in, &b, e);
    for (int k = 0; !rc && k < in->o.slots; k++)
        rc = one_run(in, &b, p, k, e);
    staged_free(&b);
    return rc;
}

/* The model refuses a batch for data (not-a-number) as a whole: find out whose by running its passes alone. */
int sky_infer_run(sky_infer *in, sky_infer_pass *const *p, int n, sky_err *e)
{
    int rc = run_batch(in, p, n, e);
    if (rc != SKY_ECORRUPT && rc != SKY_ELIMIT)
        return rc;
    for (int i = 0; i < n; i++) {
        sky_infer_pass_reset(in, p[i]);
        rc = run_batch(in, p + i, 1, &p[i]->err);
        if (rc && rc != SKY_ECORRUPT && rc != SKY_ELIMIT) {
            *e = p[i]->err;
            return rc;
        }
    }
    return SKY_OK;
}
