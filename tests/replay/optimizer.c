/* optimizer.c -- two stored steps of clipping and AdamW, from the weights and gradients of another file beside this one. */
#include "golden.h"
#include "tensor/backend.h"
#include "train/state.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    golden from; /* the file with weights and gradients */
    sky_pp *model;
    sky_params *ps;
    sky_state s;
    sky_rule *rule;
} replay;

static int open_source(golden *g, replay *r)
{
    char path[1024];
    const char *slash = strrchr(g->path, '/');
    snprintf(path, sizeof path, "%.*s%s", slash ? (int)(slash - g->path + 1) : 0, g->path, g_meta(g, "source") ? g_meta(g, "source") : "?");
    if (sky_weights_open(&r->from.w, path, &g->err) || sky_pp_open(&r->model, &g->cfg, &g->err))
        return g->err.code;
    r->from.o = g->o;
    r->from.c = g->c; /* the device that the weights go to */
    r->ps = sky_pp_params(r->model);
    if (g_load(&r->from, r->ps))
        g->err = r->from.err;
    return g->err.code;
}

static int open_state(golden *g, replay *r)
{
    r->rule = sky_calloc((size_t)r->ps->n, sizeof *r->rule);
    if (!r->rule)
        return sky_fail(&g->err, SKY_ENOMEM, "out of memory");
    for (int i = 0; i < r->ps->n; i++)
        r->rule[i] = sky_rule_pretrain(&g->cfg, r->ps->v[i].name);
    sky_state_opts o = {.dtype = SKY_F32, .optimizer = SKY_ADAMW, .ranks = 1, .rule = r->rule};
    return sky_state_open(&r->s, &g->c, r->ps, &o, &g->err);
}

static void put_gradients(golden *g, replay *r, float factor)
{
    for (int i = 0; i < r->s.n && !g->err.code; i++) {
        sky_tensor t = sky_state_grad(&r->s, i);
        float *v = g_floats(&r->from, g_find(&r->from, "grad.%s", sky_state_name(&r->s, i)));
        for (int64_t k = 0; v && k < sky_numel(&t); k++)
            v[k] *= factor;
        if (!v)
            g->err = r->from.err;
        else
            g->c.be->put(g->c.dev, &t, v, &g->err);
        sky_free(v);
    }
}

static void compare_weights(golden *g, replay *r, int step)
{
    for (int i = 0; i < r->s.n && !g->err.code; i++) {
        char name[300];
        snprintf(name, sizeof name, "step%d.%s", step, sky_state_name(&r->s, i));
        sky_tensor t = sky_state_master(&r->s, i);
        float *v = sky_alloc((size_t)sky_bytes(&t));
        if (!v || !g_find(g, "%s", name))
            sky_fail(&g->err, SKY_ECORRUPT, "%s: missing, or out of memory", name);
        else if (g->c.be->get(g->c.dev, v, &t, &g->err) == 0)
            g_check_floats(g, name, v, sky_numel(&t));
        sky_free(v);
    }
}

void golden_optimizer(golden *g)
{
    replay r = {0};
    float *norms = g_floats(g, g_find(g, "norms")), seen[2];
    double factor[2], lr[2];
    const char *grads = g_meta(g, "grad_factors"), *lrs = g_meta(g, "lr_factors");
    if (!grads || !lrs || sscanf(grads, "[%lf,%lf]", &factor[0], &factor[1]) != 2 || sscanf(lrs, "[%lf,%lf]", &lr[0], &lr[1]) != 2)
        sky_fail(&g->err, SKY_ECORRUPT, "metadata: two factors each are expected");
    if (!g->err.code && sky_ctx_alloc(&g->c, 1, &g->err) == 0) /* no longer dry; the stack is not used */
        g->tol = 3e-7; /* a step changes weights by 1e-4 of their size, rounded twice to float */
    if (!g->err.code && open_source(g, &r) == 0 && open_state(g, &r) == 0)
        for (int k = 0; k < 2 && !g->err.code; k++) {
            put_gradients(g, &r, (float)factor[k]);
            double norm = 0;
            if (g->err.code || sky_state_norm(&r.s, &norm, NULL, &g->err))
                break;
            seen[k] = (float)norm;
            sky_update u = {.lr = g->cfg.lr * lr[k], .norm = norm, .clip = g->cfg.clip_norm, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .t = (uint64_t)k + 1};
            if (sky_state_update(&r.s, &u, &g->err) == 0)
                compare_weights(g, &r, k + 1);
        }
    if (!g->err.code)
        g_check_floats(g, "norms", seen, 2);
    sky_free(norms);
    sky_state_close(&r.s);
    sky_pp_close(r.model);
    sky_weights_close(r.from.w);
    sky_free(r.rule);
}
