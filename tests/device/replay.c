/* Recorded work (tensor/replay.h) against the same work queued piece by piece: the same bits for inputs that the recording
 * has not seen, with everything in it that could go stale: indices and uploads from host memory that is gone, scratch
 * memory, checks of input bytes, memory moved between two replays, another key in between. Under emulation also with
 * the device's work as late as possible, and where no graph can be made. */
#include "device/device_ops.h"
#include "base/hash.h"
#include "tensor/ops.h"
#include "tensor/replay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern unsigned emu_lazy __attribute__((weak)); /* tests/emulate */
extern int emu_refuse_graphs __attribute__((weak));

enum { B = 3, H = 8, W = 12, C = 4, D = 8, CLASSES = 5, LABELS = 6, MAP = B * H / 2 * W / 2 * CLASSES, PX = B * 16 * 24 };

typedef struct {
    sky_ctx c;
    sky_replay *r;
    sky_tensor w, bias, table, weight, conv; /* the model's, on the device */
    const uint8_t *flags;                    /* [B] */
    sky_tensor img, labels;
    int waits;                               /* do what a recording does not allow */
    char warned[600];
    int warnings;
    void (*ok)(int ok, const char *what);
} bed;
typedef struct {
    sky_tensor map, argmax;
} result_of;
typedef struct {
    float map[MAP];
    uint8_t argmax[PX];
} answer;

static void note(void *arg, const char *line)
{
    bed *t = arg;
    t->warnings++;
    snprintf(t->warned, sizeof t->warned, "%s", line);
}

/* Samples with a flag go through everything, the others are rows of a constant; all host arrays die with the call. */
static int work(void *arg, void *out, sky_err *e)
{
    bed *t = arg;
    sky_ctx *c = &t->c;
    sky_mark m = sky_mark_get(c);
    int64_t index[B], pos[B], n = 0, gone[64];
    for (int64_t i = 0; i < B; i++) {
        pos[i] = t->flags[i] ? n : -1;
        if (t->flags[i])
            index[n++] = i;
    }
    sky_tensor x = sky_unfold(c, sky_take(c, t->img, index, (int)n), 2);
    x = sky_linear(c, x, t->w, t->bias, SKY_ACT_GELU, sky_none);
    x = sky_add(c, x, sky_annotation_tokens(c, sky_take(c, t->labels, index, (int)n), t->table, t->weight, sky_none, sky_none, 2));
    sky_keep(c, m, &x, 1);
    int64_t cells = (int64_t)(H / 2) * (W / 2) * D;
    float *row = malloc((size_t)cells * sizeof *row);
    for (int64_t i = 0; row && i < cells; i++)
        row[i] = (float)n + 0.25f * (float)(i % 7);
    sky_tensor constant = sky_upload(c, SKY_F32, 4, (int64_t[]){1, H / 2, W / 2, D}, row);
    memset(row, 0xff, (size_t)cells * sizeof *row);
    free(row);
    x = sky_pick(c, x, constant, pos, B);
    memset(pos, 0x55, sizeof pos), memset(index, 0x55, sizeof index), memset(gone, 0x55, sizeof gone);
    result_of y = {sky_conv2d(c, x, t->conv, sky_none, sky_none, SKY_ACT_RELU), sky_none};
    sky_keep(c, m, &y.map, 1);
    y.argmax = sky_resize_argmax(c, y.map, 16, 24);
    if (t->waits)
        sky_download(c, gone, &(sky_tensor){.data = y.argmax.data, .dtype = SKY_U8, .ndim = 1, .shape = {1}});
    memcpy(out, &y, sizeof y);
    return c->err.code ? sky_fail(e, c->err.code, "%s", c->err.msg) : SKY_OK;
}

static void *seeded(const char *name, int64_t n, float scale)
{
    float *p = malloc((size_t)n * sizeof *p);
    for (int64_t i = 0; p && i < n; i++)
        p[i] = sky_counter_value(sky_fnv1a(name), (uint64_t)i, scale, 0);
    return p;
}

/* Inputs number `which` onto the stack; label 200 is not one. */
static void inputs(bed *t, int which, int bad)
{
    char name[16];
    snprintf(name, sizeof name, "img %d", which);
    float *img = seeded(name, B * H * W * C, 2);
    uint8_t labels[B * H * W];
    for (int i = 0; i < B * H * W; i++)
        labels[i] = (uint8_t)(sky_counter_u24(sky_fnv1a(name) + 1, (uint64_t)i) % LABELS);
    if (bad)
        labels[2 * W + 3] = 200;
    sky_ctx_reset(&t->c);
    t->img = sky_upload(&t->c, SKY_F32, 4, (int64_t[]){B, H, W, C}, img);
    t->labels = sky_upload(&t->c, SKY_U8, 3, (int64_t[]){B, H, W}, labels);
    free(img);
}

/* by: NULL, queued piece by piece. */
static int run_one(bed *t, answer *a, sky_replay *by, const uint8_t *flags, int which, int bad, sky_err *e)
{
    result_of y;
    t->flags = flags;
    inputs(t, which, bad);
    int rc = by ? sky_replay_run(by, flags, B, work, t, &y, sizeof y, e) : work(t, &y, e);
    if (rc || t->c.dry)
        return rc;
    memset(a, 0, sizeof *a);
    sky_download(&t->c, a->map, &y.map);
    sky_download(&t->c, a->argmax, &y.argmax);
    return t->c.err.code ? sky_fail(e, t->c.err.code, "%s", t->c.err.msg) : SKY_OK;
}

static int same_as_piecewise(bed *t, const uint8_t *flags, int which)
{
    answer want, got;
    sky_err e = {0};
    int rc = run_one(t, &want, NULL, flags, which, 0, &e) || run_one(t, &got, t->r, flags, which, 0, &e);
    if (rc)
        printf("# %s\n", e.msg);
    return !rc && !memcmp(&want, &got, sizeof want);
}

static int counts_are(const bed *t, uint64_t called, uint64_t recorded, uint64_t replayed)
{
    sky_replay_counts n = sky_replay_counted(t->r);
    if (n.called != called || n.recorded != recorded || n.replayed != replayed)
        printf("# called %llu, recorded %llu, replayed %llu\n", (unsigned long long)n.called, (unsigned long long)n.recorded, (unsigned long long)n.replayed);
    return n.called == called && n.recorded == recorded && n.replayed == replayed;
}

static int fresh(bed *t)
{
    sky_err e = {0};
    sky_replay_close(t->r);
    t->warnings = 0;
    return sky_replay_open(&t->r, &t->c, note, t, &e) == SKY_OK;
}

static const uint8_t first[B] = {1, 0, 1}, second[B] = {1, 1, 0};

static void new_inputs(bed *t)
{
    int same = fresh(t);
    for (int i = 0; i < 4; i++)
        same &= same_as_piecewise(t, first, i % 3);
    t->ok(same, "recorded work gives the bits of the same work queued piece by piece");
    t->ok(counts_are(t, 1, 1, 3), "the first time of a key is queued, the second recorded, all later ones replayed");
    for (int i = 0; i < 6; i++)
        same &= same_as_piecewise(t, i % 2 ? first : second, i);
    t->ok(same && counts_are(t, 2, 2, 8), "keys in turn do not disturb each other");
}

static void moved_memory(bed *t)
{
    sky_err e = {0};
    int same = fresh(t);
    for (int i = 0; i < 3; i++)
        same &= same_as_piecewise(t, first, i);
    /* A larger arena: the old one is given back. */
    same &= sky_ctx_alloc(&t->c, 2 * t->c.size, &e) == SKY_OK;
    for (int i = 0; i < 3; i++)
        same &= same_as_piecewise(t, first, i);
    t->ok(same && counts_are(t, 2, 2, 4), "after memory was given back work is recorded anew");
    /* Scratch memory grows: a convolution much larger than those of the work. */
    sky_ctx_reset(&t->c);
    float *much = seeded("much", 64 * 64 * D, 1);
    sky_conv2d(&t->c, sky_upload(&t->c, SKY_F32, 4, (int64_t[]){1, 64, 64, D}, much), t->conv, sky_none, sky_none, SKY_ACT_NONE);
    free(much);
    same &= !t->c.err.code;
    for (int i = 0; i < 3; i++)
        same &= same_as_piecewise(t, first, i);
    t->ok(same && counts_are(t, 3, 3, 6), "after scratch memory grew too");
}

static void bad_bytes(bed *t)
{
    answer a;
    sky_err e = {0};
    int same = fresh(t);
    for (int i = 0; i < 2; i++)
        same &= same_as_piecewise(t, second, i);
    int rc = run_one(t, &a, t->r, second, 2, 1, &e);
    t->ok(same && rc == SKY_ECORRUPT && strstr(e.msg, "label 200 at sample 0, row 2, column 3"), "a replay says which input byte is wrong");
    t->ok(same_as_piecewise(t, second, 2) && counts_are(t, 1, 1, 3), "and the next one goes on");
}

static void failures(bed *t)
{
    int same = fresh(t);
    t->waits = 1;
    for (int i = 0; i < 3; i++)
        same &= same_as_piecewise(t, first, i);
    t->waits = 0;
    t->ok(same && t->warnings == 1 && counts_are(t, 3, 0, 0) && strstr(t->warned, "while a recording is made"), "what cannot be recorded is queued piece by piece, and said once");
    if (!&emu_refuse_graphs)
        return;
    same = fresh(t);
    emu_refuse_graphs = 1;
    for (int i = 0; i < 3; i++)
        same &= same_as_piecewise(t, first, i);
    emu_refuse_graphs = 0;
    t->ok(same && t->warnings == 1 && counts_are(t, 3, 0, 0), "where no graph can be made too");
}

static sky_tensor model_tensor(bed *t, const char *name, float scale, int bf16, int ndim, const int64_t *shape)
{
    sky_tensor y = {.dtype = bf16 ? SKY_BF16 : SKY_F32, .ndim = ndim};
    for (int i = 0; i < ndim; i++)
        y.shape[i] = shape[i];
    float *p = seeded(name, sky_numel(&y), scale);
    for (int64_t i = 0; bf16 && i < sky_numel(&y); i++)
        ((uint16_t *)p)[i] = sky_f32_to_bf16(p[i]);
    if (t->c.be->alloc(t->c.dev, &y.data, (size_t)sky_bytes(&y), &t->c.err) == SKY_OK)
        t->c.be->put(t->c.dev, &y, p, &t->c.err);
    free(p);
    return y;
}

static int set_up(bed *t, sky_err *e)
{
    answer a;
    t->w = model_tensor(t, "w", 0.5f, 1, S(D, 4 * C)), t->bias = model_tensor(t, "bias", 0.5f, 0, S(D));
    t->table = model_tensor(t, "table", 1, 0, S(LABELS, D)), t->weight = model_tensor(t, "weight", 1, 0, S(1, 4));
    t->conv = model_tensor(t, "conv", 0.3f, 0, S(CLASSES, D, 3, 3));
    int rc = t->c.err.code ? (*e = t->c.err).code : run_one(t, &a, NULL, t->flags, 0, 0, e);
    return rc ? rc : sky_ctx_alloc(&t->c, t->c.peak + (256 << 10), e);
}

static void round_of_tests(bed *t)
{
    sky_err e = {0};
    int rc = set_up(t, &e);
    t->ok(!rc, rc ? e.msg : "recorded work: memory");
    if (!rc) {
        new_inputs(t);
        moved_memory(t);
        bad_bytes(t);
        failures(t);
    }
    sky_replay_close(t->r);
    sky_tensor *held[] = {&t->w, &t->bias, &t->table, &t->weight, &t->conv};
    for (int i = 0; i < 5; i++)
        t->c.be->free(t->c.dev, held[i]->data, (size_t)sky_bytes(held[i]));
}

void replay_tests(const char *device, void (*ok)(int ok, const char *what))
{
    for (int late = 0; late < (&emu_lazy ? 2 : 1); late++) {
        bed t = {.ok = ok, .flags = (const uint8_t[B]){1, 1, 1}};
        sky_err e = {0};
        if (&emu_lazy)
            emu_lazy = late ? ~0u : 0;
        if (sky_ctx_open(&t.c, device, 0, &e) || !t.c.be->work_record)
            ok(!e.code, "recorded work: not on this device");
        else
            round_of_tests(&t);
        sky_ctx_close(&t.c);
    }
    if (&emu_lazy)
        emu_lazy = 0;
}
