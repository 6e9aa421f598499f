/* Running passes through the model: see infer.h.
 *
 * A run is one forward of a batch: with several slots a batch has several. Up to SKY_SLOTS runs are under way at once on a
 * device that works by itself (tensor/transit.h): the inputs of one travel while the device computes the one before, and
 * the host takes up results and prepares passes meanwhile. */
#include "base/mem.h"
#include "data/infer_internal.h"
#include "data/oneshot.h"
#include "data/prompts.h"
#include "tensor/ops.h"
#include "tensor/replay.h"
#include "tensor/transit.h"

#include <math.h>
#include <string.h>

enum { BATCHES = SKY_SLOTS };

/* Where the parts of a run's input lie in its slot. */
typedef struct {
    size_t hr, labels, mask, s[SENTINELS], all;
} layout;
typedef struct {
    sky_infer_pass **p;
    int n, left;            /* passes; runs under way */
    int rc;                 /* the first error of its runs */
    sky_err err;
    /* The same for all its runs: */
    uint8_t *flags;         /* [n,3], then which Sentinels are in the batch at all: what the model does depends on these alone */
    layout at;
    sky_tensor low, argmax; /* shapes of the results; low lies in front */
} batch;

typedef struct {
    batch *of;
    int k;                      /* which of the slots */
    uint8_t (*slot_of)[2][256]; /* [n], of the labels of the prompt's and of the query's half, which is hidden: 0 */
} flight;

struct sky_infer_runs {
    sky_transit *transit;
    flight f[SKY_SLOTS];
    int oldest, flying;         /* runs f[oldest].. modulo SKY_SLOTS */
    batch b[BATCHES];
    int first, begun;           /* batches b[first].. modulo BATCHES */
};

static size_t flag_bytes(int n) { return (size_t)n * 3 + SENTINELS; }
static size_t cells_of(const sky_infer *in) { return (size_t)(2 * in->o.side / SENTINEL_SCALE) * (size_t)(in->o.side / SENTINEL_SCALE); }
static size_t aligned(size_t n) { return (n + 255) / 256 * 256; }

static layout lay_out(const sky_infer *in, int n, const uint8_t *there)
{
    const size_t px = 2 * sky_infer_pixels(in) * (size_t)n;
    layout l = {.labels = aligned(px * 3 * sizeof(int16_t))};
    l.mask = l.labels + aligned(px);
    l.all = l.mask + aligned(px / (128 * 128));
    for (int i = 0; i < SENTINELS; i++) {
        l.s[i] = l.all;
        l.all += there[i] ? aligned((size_t)n * cells_of(in) * (size_t)in->channels[i] * sizeof(float)) : 0;
    }
    return l;
}

/* The model's inputs as tensors, from slot `which`. */
static sky_pp_batch upload(const sky_infer *in, const flight *f, int which)
{
    const batch *b = f->of;
    const int64_t n = b->n, side = in->o.side, h = 2 * side / SENTINEL_SCALE, w = side / SENTINEL_SCALE;
    sky_ctx *c = in->c;
    sky_transit *t = in->runs->transit;
    const uint8_t *there = b->flags + 3 * n;
    sky_pp_batch x = {.t2 = 1, .t1 = 1, .flags = b->flags};
    x.hr = sky_normalise(c, sky_transit_look(t, which, b->at.hr, SKY_I16, 4, (int64_t[]){n, 2 * side, side, 3}), 255, sky_norm_rgb[0]);
    if (there[0])
        x.s2 = sky_transit_take(t, which, b->at.s[0], SKY_F32, 4, (int64_t[]){n, h, w, in->channels[0]});
    if (there[1])
        x.s1 = sky_transit_take(t, which, b->at.s[1], SKY_F32, 4, (int64_t[]){n, h, w, in->channels[1]});
    x.labels = sky_lookup(c, sky_transit_look(t, which, b->at.labels, SKY_U8, 3, (int64_t[]){n, 2 * side, side}), 2 * n, f->slot_of[0][0]);
    x.anno_mask = sky_transit_take(t, which, b->at.mask, SKY_U8, 3, (int64_t[]){n, 2 * side / 128, side / 128});
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
static int forward(const sky_infer *in, const flight *f, int which, sky_pp_out *out, sky_err *e)
{
    job j = {in, upload(in, f, which)};
    if (in->c->err.code) {
        *e = in->c->err;
        return e->code;
    }
    return sky_replay_run(in->replay, f->of->flags, flag_bytes(f->of->n), model, &j, out, sizeof *out, e);
}

/* ---- what batches need ---------------------------------------------------------------------------------------------- */

static int flag(batch *b, sky_err *e)
{
    if (!(b->flags = sky_calloc(1, flag_bytes(b->n))))
        return sky_fail(e, SKY_ENOMEM, "out of memory for a batch of %d", b->n);
    for (int i = 0; i < b->n; i++) {
        b->flags[3 * i] = 1;
        for (int m = 0; m < SENTINELS; m++)
            b->flags[3 * b->n + m] |= b->flags[3 * i + 1 + m] = b->p[i]->sentinel[m] != NULL;
    }
    return SKY_OK;
}

/* What this very batch needs, by a dry run: which modalities which pass has changes what is alive at once. */
static int fit(sky_infer *in, batch *b, sky_err *e)
{
    uint8_t nothing[1][2][256] = {0}; /* no table is looked into */
    flight f = {.of = b, .slot_of = nothing};
    sky_pp_out out = {0};
    b->at = lay_out(in, b->n, b->flags + 3 * b->n);
    sky_ctx_dry(in->c);
    int rc = forward(in, &f, 0, &out, e);
    in->arena = !rc && in->c->peak > in->arena ? in->c->peak : in->arena;
    b->low = out.logits_low;
    b->argmax = out.argmax;
    return rc;
}

/* A full batch, every modality there, or only HR; whichever wants more counts. */
static int dry_run(sky_infer *in, sky_err *e)
{
    batch b = {.n = in->o.batch, .flags = sky_calloc(1, flag_bytes(in->o.batch))};
    int rc = b.flags ? SKY_OK : sky_fail(e, SKY_ENOMEM, "out of memory");
    for (int all = 0; !rc && all < 2; all++) {
        for (int i = 0; i < in->o.batch * 3; i++)
            b.flags[i] = all || i % 3 == 0;
        b.flags[3 * b.n] = b.flags[3 * b.n + 1] = (uint8_t)all;
        rc = fit(in, &b, e);
    }
    sky_free(b.flags);
    return rc ? sky_wrap(e, "canvas of %d x %d pixels", 2 * in->o.side, in->o.side) : sky_ctx_alloc(in->c, in->arena, e);
}

/* ---- opening -------------------------------------------------------------------------------------------------------- */

int sky_infer_open(sky_infer **out, sky_pp *m, sky_ctx *c, const sky_config *cfg, const sky_infer_opts *o, sky_err *e)
{
    if (o->side < 128 || o->side % 128 || o->side > 8192)
        return sky_fail(e, SKY_EUSAGE, "canvas side %d: expected a multiple of 128 up to 8192", o->side);
    if (cfg->hr_channels != 3)
        return sky_fail(e, SKY_ECORRUPT, "the model takes pictures of %d bands (hr_channels), the one-shot protocol has 3", cfg->hr_channels);
    sky_infer *in = sky_calloc(1, sizeof *in);
    if (!in)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    *in = (sky_infer){.m = m, .c = c, .o = *o, .vocab = cfg->vocab, .channels = {cfg->s2_channels, cfg->s1_channels},
                      .fields = {o->image, o->label, "s2", "s1", NULL}, .runs = sky_calloc(1, sizeof *in->runs)};
    memcpy(in->bands, cfg->hr_bands, sizeof in->bands);
    int rc = in->runs ? SKY_OK : sky_fail(e, SKY_ENOMEM, "out of memory");
    if (!rc)
        rc = sky_replay_open(&in->replay, c, o->warn, o->warn_arg, e);
    if (!rc)
        rc = sky_transit_open(&in->runs->transit, c, e);
    if (!rc)
        rc = dry_run(in, e);
    if (rc) {
        sky_infer_close(in);
        return rc;
    }
    *out = in;
    return SKY_OK;
}

static void forget(flight *f)
{
    sky_free(f->slot_of);
    *f = (flight){0};
}

static void forget_batch(batch *b)
{
    sky_free(b->p), sky_free(b->flags);
    *b = (batch){0};
}

void sky_infer_close(sky_infer *in)
{
    if (in && in->runs) {
        sky_transit_close(in->runs->transit);
        for (int i = 0; i < SKY_SLOTS; i++)
            forget(&in->runs->f[i]);
        for (int i = 0; i < BATCHES; i++)
            forget_batch(&in->runs->b[i]);
        sky_free(in->runs);
    }
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

/* Passes without this Sentinel get zeros that nothing reads. */
static void stage_sentinel(float *to, const sky_infer *in, const batch *b, int which)
{
    const size_t n = cells_of(in) * (size_t)in->channels[which];
    for (int i = 0; i < b->n; i++, to += n)
        if (b->p[i]->sentinel[which])
            memcpy(to, b->p[i]->sentinel[which], n * sizeof *to);
        else
            memset(to, 0, n * sizeof *to);
}

/* The input of a run into its slot. */
static void stage(char *to, const sky_infer *in, const batch *b)
{
    const size_t px = 2 * sky_infer_pixels(in), cells = px / (128 * 128);
    for (int i = 0; i < b->n; i++) {
        char *labels = to + b->at.labels + (size_t)i * px;
        memcpy(to + b->at.hr + (size_t)i * px * 3 * sizeof(int16_t), b->p[i]->hr, px * 3 * sizeof(int16_t));
        memcpy(labels, b->p[i]->label, px / 2);
        memset(labels + px / 2, 0, px / 2);
        memcpy(to + b->at.mask + (size_t)i * cells, b->p[i]->mask, cells);
    }
    for (int i = 0; i < SENTINELS; i++)
        if (b->flags[3 * b->n + i])
            stage_sentinel((float *)(void *)(to + b->at.s[i]), in, b, i);
}

static int describe(flight *f, const sky_infer *in, batch *b, int k, sky_err *e)
{
    *f = (flight){.of = b, .k = k, .slot_of = sky_calloc((size_t)b->n, sizeof *f->slot_of)};
    if (!f->slot_of)
        return sky_fail(e, SKY_ENOMEM, "out of memory for a batch of %d", b->n);
    for (int i = 0; i < b->n; i++) {
        int rc = sky_infer_slots(f->slot_of[i][0], in, b->p[i], k, e);
        if (rc)
            return sky_wrap(e, "prompt '%s'", b->p[i]->prompt);
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

static int take_results(const sky_infer *in, const flight *f, const char *results, sky_err *e)
{
    const batch *b = f->of;
    const size_t px = 2 * sky_infer_pixels(in), per = (size_t)(sky_numel(&b->low) / b->n);
    const float *logits = (const float *)(const void *)results;
    const uint8_t *slots = (const uint8_t *)results + aligned((size_t)sky_bytes(&b->low));
    float *row = sky_alloc((size_t)in->o.side * (size_t)(in->vocab + 1) * sizeof *row);
    int rc = row ? SKY_OK : sky_fail(e, SKY_ENOMEM, "out of memory for the results of a batch of %d", b->n);
    for (int i = 0; !rc && i < b->n; i++, logits += per, slots += px) {
        sky_infer_pass *p = b->p[i];
        if (!all_finite(logits, per))
            rc = sky_fail(e, SKY_ECORRUPT, "the model's logits are not finite");
        else if (p->prob)
            sky_infer_add_run(in, p, logits, (int)b->low.shape[1], (int)b->low.shape[2], f->slot_of[i][0], row);
        if (!rc && in->o.slots == 1)
            take_map(in, p, slots, f->slot_of[i][0]);
        else if (!rc && f->k + 1 == in->o.slots)
            take_mean(in, p);
    }
    sky_free(row);
    return rc;
}

/* ---- runs under way ------------------------------------------------------------------------------------------------ */

static size_t result_bytes(const batch *b) { return aligned((size_t)sky_bytes(&b->low)) + (size_t)sky_bytes(&b->argmax); }

static int send_off(sky_infer *in, flight *f, int which, sky_err *e)
{
    sky_ctx *c = in->c;
    sky_transit *t = in->runs->transit;
    sky_pp_out out;
    char *to = sky_transit_input(t, which, f->of->at.all, e);
    if (!to || !sky_transit_output(t, which, result_bytes(f->of), e) || sky_ctx_alloc(c, in->arena, e))
        return e->code;
    stage(to, in, f->of);
    sky_transit_send(t, which);
    int rc = forward(in, f, which, &out, e);
    if (rc)
        return rc;
    sky_transit_give(t, which, 0, &out.logits_low);
    sky_transit_give(t, which, aligned((size_t)sky_bytes(&out.logits_low)), &out.argmax);
    sky_transit_fetch(t, which);
    if (c->err.code)
        *e = c->err;
    return c->err.code;
}

/* The oldest run: its results into its passes. */
static void land(sky_infer *in)
{
    struct sky_infer_runs *r = in->runs;
    const int which = r->oldest;
    flight *f = &r->f[which];
    batch *b = f->of;
    sky_err e;
    int rc = sky_transit_wait(r->transit, which, &e);
    if (!rc && !b->rc)
        rc = take_results(in, f, sky_transit_output(r->transit, which, result_bytes(b), &e), &e);
    if (rc && !b->rc)
        b->rc = rc, b->err = e;
    b->left--;
    forget(f);
    r->oldest = (r->oldest + 1) % SKY_SLOTS;
    r->flying--;
}

/* Run k of a batch on its way; the batch knows of an error. */
static void start(sky_infer *in, batch *b, int k)
{
    struct sky_infer_runs *r = in->runs;
    if (r->flying == sky_infer_ahead(in))
        land(in);
    if (b->rc)
        return;
    const int which = (r->oldest + r->flying) % SKY_SLOTS;
    b->rc = describe(&r->f[which], in, b, k, &b->err);
    if (!b->rc)
        b->rc = send_off(in, &r->f[which], which, &b->err);
    if (b->rc) {
        sky_err ignored;
        if (sky_transit_wait(r->transit, which, &ignored) == SKY_EDEVICE)
            b->rc = SKY_EDEVICE;
        forget(&r->f[which]);
        return;
    }
    b->left++;
    r->flying++;
}

/* All runs of a batch whose passes are known. */
static void start_all(sky_infer *in, batch *b)
{
    b->rc = flag(b, &b->err);
    if (!b->rc)
        b->rc = fit(in, b, &b->err);
    for (int k = 0; !b->rc && k < in->o.slots; k++)
        start(in, b, k);
}

int sky_infer_ahead(const sky_infer *in) { return sky_transit_useful(in->runs->transit); }
int sky_infer_begun(const sky_infer *in) { return in->runs->begun; }

int sky_infer_begin(sky_infer *in, sky_infer_pass *const *p, int n, sky_err *e)
{
    struct sky_infer_runs *r = in->runs;
    batch *b = &r->b[(r->first + r->begun) % BATCHES];
    if (r->begun == BATCHES)
        return sky_fail(e, SKY_EUSAGE, "%d batches are under way", BATCHES);
    forget_batch(b);
    *b = (batch){.p = sky_alloc((size_t)n * sizeof *b->p), .n = n};
    if (!b->p)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    memcpy(b->p, p, (size_t)n * sizeof *b->p);
    r->begun++;
    start_all(in, b);
    return SKY_OK;
}

static int is_of_data(int rc) { return rc == SKY_ECORRUPT || rc == SKY_ELIMIT; }

static int alone(sky_infer *in, sky_infer_pass *p, sky_err *e)
{
    batch b = {.p = &p, .n = 1};
    sky_infer_pass_reset(in, p);
    start_all(in, &b);
    while (in->runs->flying)
        land(in);
    sky_free(b.flags);
    if (b.rc)
        p->err = b.err;
    if (b.rc && !is_of_data(b.rc))
        *e = b.err;
    return is_of_data(b.rc) ? SKY_OK : b.rc;
}

/* The model refuses a batch for data (not-a-number) as a whole: find out whose by running its passes alone. */
int sky_infer_end(sky_infer *in, sky_err *e)
{
    struct sky_infer_runs *r = in->runs;
    batch *b = &r->b[r->first];
    while (b->left)
        land(in);
    int rc = b->rc;
    if (is_of_data(rc)) {
        while (r->flying) /* of the next batch */
            land(in);
        rc = SKY_OK;
        for (int i = 0; i < b->n && !rc; i++)
            rc = alone(in, b->p[i], e);
    } else if (rc) {
        *e = b->err;
    }
    r->first = (r->first + 1) % BATCHES;
    r->begun--;
    return rc;
}

int sky_infer_run(sky_infer *in, sky_infer_pass *const *p, int n, sky_err *e)
{
    int rc = sky_infer_begin(in, p, n, e);
    return rc ? rc : sky_infer_end(in, e);
}
