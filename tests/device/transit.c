/* Inputs and results in flight (tensor/transit.h): every pass gets the results of its own input, whichever of the device's
 * three lanes is late. Under emulation each of them in turn: a wait that is missing shows as numbers of another pass, or
 * none. Bad input is reported by the pass it belongs to. */
#include "device/device_ops.h"
#include "tensor/ops.h"
#include "tensor/transit.h"

#include <stdio.h>
#include <string.h>

extern unsigned emu_lazy __attribute__((weak)); /* tests/emulate: bit 0 the work, 1 copies in, 2 copies out */

enum { N = 6000, TOKENS = 4, PASSES = 6, BAD = 3, LABEL_AT = (N * 4 + 255) / 256 * 256, MORE_AT = LABEL_AT };

typedef struct {
    sky_ctx c;
    sky_transit *t;
    sky_tensor table, weight;
} bed;

static float value(int pass, int i) { return (float)(pass * 1000 + i % 977); }

/* y = 4x and one token per 2x2 labels. */
static void queue(bed *b, int s)
{
    sky_ctx *c = &b->c;
    sky_ctx_reset(c);
    sky_tensor x = sky_transit_take(b->t, s, 0, SKY_F32, S(N)), labels = sky_transit_look(b->t, s, LABEL_AT, SKY_U8, S(1, 2, 2 * TOKENS));
    sky_tensor y = sky_add(c, x, x);
    y = sky_add(c, y, y);
    sky_tensor token = sky_annotation_tokens(c, labels, b->table, b->weight, sky_none, sky_none, 2);
    sky_transit_give(b->t, s, 0, &y);
    sky_transit_give(b->t, s, MORE_AT, &token);
}

static int begin(bed *b, int s, int pass, int bad, sky_err *e)
{
    char *in = sky_transit_input(b->t, s, LABEL_AT + 4 * TOKENS, e);
    if (!in || !sky_transit_output(b->t, s, MORE_AT + 4 * TOKENS, e))
        return e->code;
    for (int i = 0; i < N; i++)
        ((float *)(void *)in)[i] = value(pass, i);
    memset(in + LABEL_AT, pass % 2, 4 * TOKENS);
    if (bad)
        in[LABEL_AT + 5] = 77;
    sky_ctx_reset(&b->c);
    sky_transit_send(b->t, s);
    queue(b, s);
    sky_transit_fetch(b->t, s);
    return b->c.err.code ? (*e = b->c.err).code : SKY_OK;
}

/* 1: as it must be. */
static int end(bed *b, int s, int pass, int bad)
{
    sky_err e = {0};
    int rc = sky_transit_wait(b->t, s, &e), wrong = 0;
    const char *out = sky_transit_output(b->t, s, MORE_AT + 4 * TOKENS, &e);
    if (bad)
        return rc == SKY_ECORRUPT && strstr(e.msg, "label 77 at sample 0, row 0, column 5") != NULL;
    for (int i = 0; i < N && !rc; i++)
        wrong += ((const float *)(const void *)out)[i] != 4 * value(pass, i);
    for (int i = 0; i < TOKENS && !rc; i++) /* weights that are all equal: the table's row */
        wrong += ((const float *)(const void *)(out + MORE_AT))[i] != (float)(pass % 2 ? 7 : 5);
    if (rc || wrong)
        printf("# pass %d: %s, %d numbers wrong\n", pass, rc ? e.msg : "done", wrong);
    return !rc && !wrong;
}

static int passes(bed *b, int bad, sky_err *e)
{
    int ok = 1, depth = sky_transit_useful(b->t), rc = 0;
    for (int i = 0; i < PASSES + depth - 1 && !rc; i++) {
        if (i < PASSES)
            rc = begin(b, i % depth, i, bad && i == BAD, e);
        int old = i - depth + 1;
        if (old >= 0 && !rc)
            ok &= end(b, old % depth, old, bad && old == BAD);
    }
    return ok && !rc;
}

/* A slot sent and then given up can be used again. */
static int given_up(bed *b, sky_err *e)
{
    sky_err none;
    int rc = begin(b, 0, 9, 0, e);
    if (!rc && sky_transit_input(b->t, 1 % sky_transit_useful(b->t), LABEL_AT + 4 * TOKENS, e) && sky_transit_useful(b->t) > 1)
        sky_transit_send(b->t, 1);
    rc = rc || !end(b, 0, 9, 0) || sky_transit_wait(b->t, 1, &none);
    return !rc && !begin(b, 0, 2, 0, e) && end(b, 0, 2, 0);
}

static int set_up(bed *b, const char *device, sky_err *e)
{
    static const float rows[2] = {5, 7}, same[4] = {1, 1, 1, 1};
    int rc = sky_ctx_open(&b->c, device, 0, e);
    if (rc)
        return rc;
    sky_ctx *c = &b->c;
    b->table = (sky_tensor){NULL, SKY_F32, 2, {2, 1}}, b->weight = (sky_tensor){NULL, SKY_F32, 2, {1, 4}};
    rc = c->be->alloc(c->dev, &b->table.data, 8, e) || c->be->alloc(c->dev, &b->weight.data, 16, e) ||
         c->be->put(c->dev, &b->table, rows, e) || c->be->put(c->dev, &b->weight, same, e) || sky_transit_open(&b->t, c, e);
    queue(b, 0); /* dry */
    return rc ? e->code : sky_ctx_alloc(c, c->peak, e);
}

static void one(const char *device, unsigned late, void (*ok)(int ok, const char *what))
{
    bed b = {0};
    sky_err e = {0};
    char name[600];
    if (&emu_lazy)
        emu_lazy = late;
    int rc = set_up(&b, device, &e);
    snprintf(name, sizeof name, "passes in flight%s%s%s%s get their own results%s%s", late ? ", late:" : "", late & 1 ? " work" : "", late & 2 ? " in" : "",
             late & 4 ? " out" : "", rc ? ": " : "", rc ? e.msg : "");
    ok(!rc && passes(&b, 0, &e), name);
    ok(!rc && (sky_transit_useful(b.t) == 1 || passes(&b, 1, &e)), "and bad input is reported by its own pass");
    ok(!rc && given_up(&b, &e), "a slot that was given up is used again");
    sky_transit_close(b.t);
    if (b.c.be) {
        b.c.be->free(b.c.dev, b.table.data, 8);
        b.c.be->free(b.c.dev, b.weight.data, 16);
    }
    sky_ctx_close(&b.c);
}

void transit_tests(const char *device, void (*ok)(int ok, const char *what))
{
    for (unsigned late = 0; late < (&emu_lazy ? 8u : 1u); late++)
        one(device, late, ok);
    if (&emu_lazy)
        emu_lazy = 0;
}
