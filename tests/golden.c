/* golden.c -- replay files of reference tensors and compare: one line per tensor, exit 1 when any differs.
 *
 * usage: golden [--dtype f32|bf16] [--threads N] [--device D] [--weights FILE] FILE...
 * The layout of the files is described in tests/data/golden/README.md; what a file holds is read from its metadata and
 * names; tests/replay/ holds one part per kind. --weights (or SKY_FULL_WEIGHTS) gives the weights of files that only name their generator; else they are
 * generated in memory. */
#include "replay/golden.h"
#include "base/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void read_config(golden *g)
{
    const char *text = g_meta(g, "config");
    g->cfg = sky_config_full;
    g->prefix = g_meta(g, "prefix") ? g_meta(g, "prefix") : "";
    if (!text || !strcmp(text, "FULL"))
        return;
    json_t *j = NULL;
    if (*text != '{') {
        char name[32];
        snprintf(name, sizeof name, "%.31s", text);
        for (char *p = name; *p; p++)
            *p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
        if (sky_config_load(&g->cfg, name, &g->err))
            return;
    } else if (sky_json_parse(&j, text, strlen(text), "config", &g->err) == 0) {
        int rc = sky_config_parse(&g->cfg, j, "config", &g->err);
        (void)rc; /* in g->err */
    }
    json_decref(j);
}

static void unknown(golden *g) { sky_fail(&g->err, SKY_ECORRUPT, "neither a model, an operations nor a preparation file"); }

static void not_ours(golden *g, const char *why)
{
    printf("skipped: %s\n", why);
    memset(g->seen, 1, (size_t)sky_weights_count(g->w));
    g->skipped += sky_weights_count(g->w);
}

static void dispatch(golden *g)
{
    if (g_meta(g, "lr_factors"))
        golden_optimizer(g);
    else if (g_find(g, "prompt.image"))
        not_ours(g, "input preparation: checked by tests/unit/oneshot");
    else if (g_meta(g, "kind"))
        golden_finetune(g);
    else if (g_find(g, "backbone_hr.patch_embed.projection.weight"))
        golden_pretrain(g);
    else if (g_find(g, "grid.logits_low"))
        golden_full(g);
    else if (g_find(g, "patch_embed.projection.weight") && g_find(g, "out.stage0"))
        golden_swin(g);
    else if (g_has(g, ".out.") && g_has(g, ".in."))
        golden_ops(g);
    else
        unknown(g);
}

/* Every weight of the file in another file too, with the same bits. */
static void same_weights(golden *g)
{
    sky_weights *other = NULL;
    if (sky_weights_open(&other, g->o->same_weights, &g->err))
        return;
    for (int i = 0; i < sky_weights_count(g->w) && !g->err.code; i++) {
        const sky_weight *a = sky_weights_at(g->w, i), *b = sky_weights_find(other, a->name);
        if (!g_is_weight(a->name))
            continue;
        sky_tensor t = {.dtype = SKY_F32, .ndim = a->ndim};
        int same = b && a->ndim == b->ndim && !memcmp(a->shape, b->shape, sizeof a->shape);
        memcpy(t.shape, a->shape, sizeof t.shape);
        size_t n = (size_t)sky_numel(&t) * sizeof(float);
        float *x = g_floats(g, a), *y = sky_alloc(n);
        same = same && x && y && sky_weights_read(other, b, y, SKY_F32, &g->err) == 0 && !memcmp(x, y, n);
        g_line(g, a->name, same, "bits  tolerance 0");
        sky_free(x);
        sky_free(y);
    }
    sky_weights_close(other);
}

/* Results that no part compared; gradients are counted only. */
static void leftovers(golden *g)
{
    static const char *const results[] = {"tap.", "out.", "grad.", "loss.", "eval.", "eval_after.", "after.", "stat.", "sample.", "grid.", "logits.", NULL};
    for (int i = 0; i < sky_weights_count(g->w); i++) {
        const char *name = sky_weights_at(g->w, i)->name;
        for (int k = 0; results[k] && !g->seen[i]; k++)
            if (g_starts(name, results[k]))
                g_line(g, name, 0, "nothing to compare it with");
        if (!g->seen[i] && (strstr(name, ".out.") || strstr(name, ".gin.")))
            g_line(g, name, 0, "nothing to compare it with");
    }
}

static int replay(const char *path, const golden_opts *o, sky_err *e)
{
    golden g = {.path = path, .o = o};
    if (sky_weights_open(&g.w, path, e))
        return e->code;
    printf("== %s\n", path);
    g.meta = sky_weights_metadata(g.w);
    g.seen = sky_calloc((size_t)sky_weights_count(g.w) + 1, 1);
    if (!g.seen)
        sky_fail(&g.err, SKY_ENOMEM, "out of memory");
    else if (sky_ctx_open(&g.c, o->device, o->threads, &g.err) == 0)
        read_config(&g);
    if (!g.err.code && o->same_weights)
        same_weights(&g);
    else if (!g.err.code)
        dispatch(&g);
    if (!g.err.code && !o->same_weights)
        leftovers(&g);
    printf("%s: %d ok, %d not ok, %d skipped\n", path, g.ok, g.bad, g.skipped);
    sky_ctx_close(&g.c);
    sky_weights_close(g.w);
    sky_free(g.seen);
    if (g.err.code) {
        *e = g.err;
        return sky_wrap(e, "%s", path);
    }
    return g.bad ? 1 : 0;
}

int main(int argc, char **argv)
{
    const char *dtype = "f32";
    golden_opts o = {.device = "cpu", .weights = getenv("SKY_FULL_WEIGHTS")};
    sky_opt opts[] = {
        {.name = "dtype", .kind = SKY_OPT_STR, .value = &dtype, .arg = "f32|bf16", .help = "element type of matrix operands [f32]"},
        {.name = "device", .kind = SKY_OPT_STR, .value = &o.device, .arg = "DEVICE", .help = "cpu, cuda, cuda:N, auto [cpu]"},
        {.name = "weights", .letter = 'm', .kind = SKY_OPT_STR, .value = &o.weights, .arg = "FILE", .help = "weights of files that only name their generator [generate]"},
        {.name = "same-weights", .kind = SKY_OPT_STR, .value = &o.same_weights, .arg = "FILE", .help = "only compare the weights of both files, bit for bit"},
        {0}};
    sky_cli cli = {.prog = "golden", .summary = "replay files of reference tensors", .usage = "golden [options] FILE...", .opts = opts, .takes = SKY_TAKES_THREADS};
    int status = sky_cli_begin(&cli, argc, argv);
    if (status >= 0)
        return status;
    sky_err e = {0};
    o.threads = cli.threads;
    o.quiet = cli.quiet;
    o.dtype = !strcmp(dtype, "bf16") ? SKY_BF16 : SKY_F32;
    int rc = 0;
    if (strcmp(dtype, "bf16") && strcmp(dtype, "f32"))
        rc = sky_fail(&e, SKY_EUSAGE, "--dtype: expected f32 or bf16, found '%s'", dtype);
    else if (!cli.nargs)
        rc = sky_fail(&e, SKY_EUSAGE, "no file given");
    for (int i = 0; i < cli.nargs && rc >= 0; i++) {
        int r = replay(cli.args[i], &o, &e);
        rc = r ? r : rc;
    }
    return sky_cli_end(&cli, rc, &e);
}
