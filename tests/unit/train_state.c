/* The training state over a small model: where parameters live, norms and updates that do not depend on how many ranks
 * share them, working copies in BF16, running averages, what is left alone. */
#include "base/hash.h"
#include "base/mem.h"
#include "nn/skysensepp.h"
#include "t.h"
#include "tensor/backend.h"
#include "train/state.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static sky_ctx c;
static sky_err e;
static sky_config cfg;

typedef struct {
    sky_pp *model;
    sky_params *ps;
    sky_rule *rule;
    sky_state s;
} trainer;

static int open_trainer(trainer *t, sky_dtype dtype, sky_optimizer opt, int ema, int rank, int ranks)
{
    *t = (trainer){0};
    if (sky_pp_open(&t->model, &cfg, &e))
        return e.code;
    t->ps = sky_pp_params(t->model);
    t->rule = sky_calloc((size_t)t->ps->n, sizeof *t->rule);
    for (int i = 0; i < t->ps->n; i++)
        t->rule[i] = sky_rule_pretrain(&cfg, t->ps->v[i].name);
    int rc = sky_params_seed(t->ps, "", SKY_F32, 1, &e);
    sky_state_opts o = {.dtype = dtype, .optimizer = opt, .ema = ema, .rank = rank, .ranks = ranks, .rule = t->rule};
    return rc ? rc : sky_state_open(&t->s, &c, t->ps, &o, &e);
}

static void close_trainer(trainer *t)
{
    sky_state_close(&t->s);
    sky_pp_close(t->model);
    sky_free(t->rule);
}

static void gradients(trainer *t, uint64_t step)
{
    float *g = t->s.grad.data;
    for (int i = 0; i < t->s.n; i++)
        for (int64_t k = 0; k < t->s.v[i].n; k++)
            g[t->s.v[i].at + k] = sky_counter_value(sky_fnv1a(sky_state_name(&t->s, i)) + step, (uint64_t)k, 0.1f, 0);
}

static sky_update update_of(const trainer *t, double norm, uint64_t step)
{
    (void)t;
    return (sky_update){.lr = 1e-3, .norm = norm, .clip = 5, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .momentum = 0.9, .average = 0.1, .t = step};
}

static void places(void)
{
    trainer t, plain = {0};
    OK(open_trainer(&t, SKY_F32, SKY_ADAMW, 0, 0, 1) == 0 && sky_pp_open(&plain.model, &cfg, &e) == 0 && sky_params_seed(sky_pp_params(plain.model), "", SKY_F32, 1, &e) == 0, "opened: %s", e.msg);
    const sky_params *seeded = sky_pp_params(plain.model);
    int where = 1, values = 1, found = 1, aligned = 1, trained = 0, left = 0, unused = 0;
    for (int k = 0, i = 0; k < t.ps->n; k++) {
        const sky_param *p = &t.ps->v[k];
        values &= !memcmp(p->slot->data, seeded->v[k].slot->data, (size_t)sky_bytes(seeded->v[k].slot));
        int in = (float *)p->slot->data >= (float *)t.s.master.data && (float *)p->slot->data < (float *)t.s.master.data + t.s.size;
        int rule = !t.rule[k].frozen && !t.rule[k].unused && p->kind != SKY_PARAM_STAT;
        where &= in == rule;
        unused += t.rule[k].unused;
        left += !in;
        if (!rule)
            continue;
        sky_tensor g = sky_state_grad(&t.s, i), m = sky_state_master(&t.s, i);
        found &= sky_state_find(&t.s, p->slot->data) == i && m.data == p->slot->data && !strcmp(sky_state_name(&t.s, i), p->name) && g.ndim == p->slot->ndim && sky_numel(&g) == sky_numel(p->slot);
        aligned &= t.s.v[i].at % 64 == 0;
        trained++, i++;
    }
    OK(where && values && trained == t.s.n && left > 50, "%d trained parameters live in the masters with their values, %d where they were", trained, left);
    OK(found && aligned && unused == 2, "found by address; aligned; the two class tokens are left alone");
    OK(sky_state_find(&t.s, t.s.grad.data) < 0 && sky_state_find(&t.s, (float *)t.s.master.data + 1) < 0, "other addresses are nobody's");
    uint64_t bytes[5];
    sky_state_opts o = {.dtype = SKY_F32, .optimizer = SKY_ADAMW, .ranks = 1, .rule = t.rule};
    sky_state_bytes(t.ps, &o, bytes);
    OK(bytes[0] == (uint64_t)sky_bytes(&t.s.master) && bytes[2] == 2 * bytes[0] && !bytes[3] && !bytes[4], "memory told beforehand: %llu bytes of masters", (unsigned long long)bytes[0]);
    sky_state_close(&t.s);
    int back = 1;
    for (int k = 0; k < t.ps->n; k++)
        back &= t.rule[k].frozen || t.rule[k].unused || t.ps->v[k].kind == SKY_PARAM_STAT ? !memcmp(t.ps->v[k].slot->data, seeded->v[k].slot->data, (size_t)sky_bytes(seeded->v[k].slot)) : !t.ps->v[k].slot->data;
    OK(back, "closed: what did not train is as it was loaded");
    close_trainer(&t);
    sky_pp_close(plain.model);
}

/* What gathering will do: every rank's masters from the owner of each part. */
static void gather(trainer *t, int ranks)
{
    for (int to = 0; to < ranks; to++) {
        for (int r = 0; r < ranks; r++) {
            int64_t a = sky_state_cut(&t[to].s, r), b = sky_state_cut(&t[to].s, r + 1);
            memcpy((float *)t[to].s.master.data + a, (float *)t[r].s.master.data + a, (size_t)(b - a) * 4);
        }
        if (sky_state_refresh(&t[to].s, 0, t[to].s.size, &e))
            printf("# %s\n", e.msg);
    }
}

static void ranks(sky_dtype dtype, sky_optimizer opt)
{
    enum { RANKS = 3, STEPS = 3 };
    trainer one, t[RANKS];
    int ok = open_trainer(&one, dtype, opt, 1, 0, 1) == 0, same_norm = 1;
    for (int r = 0; r < RANKS; r++)
        ok = ok && open_trainer(&t[r], dtype, opt, 1, r, RANKS) == 0;
    ok = ok && t[0].s.from == 0 && t[0].s.to == t[1].s.from && t[2].s.to == t[2].s.size && t[1].s.to % 64 == 0;
    for (uint64_t k = 1; k <= STEPS && ok; k++) {
        double norm, other;
        gradients(&one, k);
        ok = sky_state_norm(&one.s, &norm, NULL, &e) == 0;
        sky_update u = update_of(&one, norm, k);
        ok = ok && sky_state_update(&one.s, &u, &e) == 0;
        for (int r = 0; r < RANKS && ok; r++) {
            gradients(&t[r], k);
            ok = sky_state_norm(&t[r].s, &other, NULL, &e) == 0 && sky_state_update(&t[r].s, &u, &e) == 0;
            same_norm &= other == norm;
        }
        gather(t, RANKS);
    }
    int same = ok;
    for (int r = 0; r < RANKS && ok; r++) {
        int64_t from = t[r].s.from, n = t[r].s.to - from;
        same &= !memcmp(one.s.master.data, t[r].s.master.data, (size_t)sky_bytes(&one.s.master));
        same &= !memcmp((float *)one.s.m.data + from, t[r].s.m.data, (size_t)n * 4) && !memcmp((float *)one.s.average.data + from, t[r].s.average.data, (size_t)n * 4);
        for (int i = 0; i < one.ps->n; i++)
            same &= one.ps->v[i].slot->dtype == t[r].ps->v[i].slot->dtype && !memcmp(one.ps->v[i].slot->data, t[r].ps->v[i].slot->data, (size_t)sky_bytes(one.ps->v[i].slot));
    }
    OK(same && same_norm, "%s, %s: three ranks do what one does, bit for bit%s%s", dtype == SKY_F32 ? "F32" : "BF16", opt == SKY_ADAMW ? "AdamW" : "SGD", e.code ? ": " : "", e.msg);
    close_trainer(&one);
    for (int r = 0; r < RANKS; r++)
        close_trainer(&t[r]);
}

static void copies(void)
{
    trainer t;
    int ok = open_trainer(&t, SKY_BF16, SKY_ADAMW, 1, 0, 1) == 0, round = 1, halves = 0, exact = 0;
    gradients(&t, 1);
    sky_update u = update_of(&t, 1, 1);
    float *before = sky_alloc((size_t)sky_bytes(&t.s.master));
    memcpy(before, t.s.master.data, (size_t)sky_bytes(&t.s.master));
    ok = ok && sky_state_update(&t.s, &u, &e) == 0;
    for (int i = 0; i < t.s.n && ok; i++) {
        const sky_param *p = &t.ps->v[t.s.v[i].param];
        sky_tensor m = sky_state_master(&t.s, i);
        if (p->kind != SKY_PARAM_MATRIX) {
            round &= p->slot->data == m.data;
            exact++;
            continue;
        }
        halves++;
        round &= p->slot->dtype == SKY_BF16 && sky_state_find(&t.s, p->slot->data) == i;
        for (int64_t k = 0; k < sky_numel(&m); k++)
            round &= ((uint16_t *)p->slot->data)[k] == sky_f32_to_bf16(((float *)m.data)[k]);
    }
    OK(ok && round && halves > 30 && exact > 100, "BF16: %d matrices have copies that follow their masters, %d others do not", halves, exact);
    int fixed = 0;
    for (int k = 0; k < t.ps->n; k++)
        fixed += t.rule[k].frozen && t.ps->v[k].kind == SKY_PARAM_MATRIX && t.ps->v[k].slot->dtype == SKY_BF16 && t.s.loaded[k].dtype == SKY_F32;
    OK(fixed > 10, "%d frozen matrices are BF16 too, and kept as loaded", fixed);
    int average = 1;
    const float *w = t.s.master.data, *a = t.s.average.data;
    for (int64_t k = 0; k < t.s.size; k++)
        average &= a[k] == before[k] + (w[k] - before[k]) * 0.1f;
    OK(average, "the running average moved a tenth of the way");
    sky_free(before);
    close_trainer(&t);
}

static void not_finite(void)
{
    trainer t;
    open_trainer(&t, SKY_F32, SKY_ADAMW, 0, 0, 1);
    double norm = 0, *each = sky_calloc((size_t)t.s.n, sizeof *each), sum = 0;
    gradients(&t, 1);
    OK(sky_state_norm(&t.s, &norm, each, &e) == 0 && isfinite(norm), "norm %g", norm);
    for (int i = 0; i < t.s.n; i++)
        sum += each[i] * each[i];
    OK(fabs(sqrt(sum) - norm) <= 1e-12 * norm, "the parameters' norms give the whole");
    ((float *)sky_state_grad(&t.s, 17).data)[0] = NAN;
    int bad = 0, which = -1;
    OK(sky_state_norm(&t.s, &norm, each, &e) == 0 && !isfinite(norm), "a NaN makes it not finite");
    for (int i = 0; i < t.s.n; i++)
        if (!isfinite(each[i]))
            bad++, which = i;
    OK(bad == 1 && which == 17, "and is found in %s", sky_state_name(&t.s, which < 0 ? 0 : which));
    OK(sky_state_zero_grad(&t.s, &e) == 0 && sky_state_norm(&t.s, &norm, NULL, &e) == 0 && norm == 0, "zeroed");
    sky_free(each);
    close_trainer(&t);
    sky_rule *none = sky_calloc(2000, sizeof *none);
    for (int i = 0; i < 2000; i++)
        none[i].frozen = 1;
    sky_state_opts o = {.ranks = 1, .dtype = SKY_F32, .rule = none};
    sky_err f = {0};
    OK(sky_pp_open(&t.model, &cfg, &f) == 0 && sky_state_open(&t.s, &c, sky_pp_params(t.model), &o, &f) == SKY_EUSAGE && strstr(f.msg, "no value"), "without values: %s", f.msg);
    OK(sky_params_seed(sky_pp_params(t.model), "", SKY_F32, 1, &f) == 0 && sky_state_open(&t.s, &c, sky_pp_params(t.model), &o, &f) == SKY_EUSAGE, "all frozen: %s", f.msg);
    sky_pp_close(t.model);
    sky_free(none);
}

int main(void)
{
    if (sky_config_load(&cfg, "tiny", &e) || sky_ctx_open(&c, "cpu", 2, &e)) {
        printf("Bail out! %s\n", e.msg);
        return 1;
    }
    places();
    ranks(SKY_F32, SKY_ADAMW);
    ranks(SKY_BF16, SKY_ADAMW);
    ranks(SKY_F32, SKY_SGD);
    copies();
    not_finite();
    sky_ctx_close(&c);
    return END();
}
