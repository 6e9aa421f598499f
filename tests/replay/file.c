/* file.c -- contents of a golden file, comparison, one line per tensor. */
#include "golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ contents */
const sky_weight *g_find(const golden *g, const char *fmt, ...)
{
    char name[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    return sky_weights_find(g->w, name);
}

int g_starts(const char *s, const char *head) { return !strncmp(s, head, strlen(head)); }

static int64_t count(const sky_weight *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= t->shape[i];
    return n;
}

static void *content(golden *g, const sky_weight *t, sky_dtype as)
{
    if (g->err.code)
        return NULL;
    if (!t) {
        sky_fail(&g->err, SKY_ECORRUPT, "an input or parameter is missing");
        return NULL;
    }
    void *p = sky_calloc((size_t)count(t) + 1, sky_dtype_size(as));
    if (!p)
        sky_fail(&g->err, SKY_ENOMEM, "out of memory");
    else if (sky_weights_read(g->w, t, p, as, &g->err)) {
        sky_free(p);
        p = NULL;
    }
    return p;
}

float *g_floats(golden *g, const sky_weight *t) { return content(g, t, SKY_F32); }
int64_t *g_ints(golden *g, const sky_weight *t) { return content(g, t, SKY_I64); }

uint8_t *g_bytes(golden *g, const sky_weight *t)
{
    int64_t *v = g_ints(g, t);
    uint8_t *p = v ? sky_alloc((size_t)count(t) + 1) : NULL;
    for (int64_t i = 0; p && i < count(t); i++)
        p[i] = (uint8_t)v[i];
    if (v && !p)
        sky_fail(&g->err, SKY_ENOMEM, "out of memory");
    sky_free(v);
    return p;
}

const char *g_meta(const golden *g, const char *key) { return g->meta ? json_string_value(json_object_get(g->meta, key)) : NULL; }

int64_t g_meta_int(golden *g, const char *key)
{
    const char *s = g_meta(g, key);
    char *end = NULL;
    long long v = s ? strtoll(s, &end, 10) : 0;
    if (!s || end == s || *end)
        sky_fail(&g->err, SKY_ECORRUPT, "metadata '%s': a number is expected", key);
    return v;
}

/* ------------------------------------------------------------------ onto the context */
static sky_tensor put(golden *g, sky_dtype type, int ndim, const int64_t *shape, void *host)
{
    sky_tensor t = host ? sky_upload(&g->c, type, ndim, shape, host) : sky_none;
    sky_free(host);
    return t;
}

sky_tensor g_floats_on(golden *g, const sky_weight *t) { return put(g, SKY_F32, t ? t->ndim : 0, t ? t->shape : NULL, g_floats(g, t)); }
sky_tensor g_bytes_on(golden *g, const sky_weight *t) { return put(g, SKY_U8, t ? t->ndim : 0, t ? t->shape : NULL, g_bytes(g, t)); }

sky_tensor g_map(golden *g, const sky_weight *t)
{
    sky_mark m = sky_mark_get(&g->c);
    sky_tensor x = sky_transpose(&g->c, g_floats_on(g, t), (const int[]){0, 2, 3, 1});
    sky_keep(&g->c, m, &x, 1);
    return x;
}

float *g_nchw(const float *x, int64_t b, int64_t h, int64_t w, int64_t c)
{
    float *y = sky_alloc((size_t)(b * h * w * c) * sizeof *y);
    for (int64_t n = 0; y && n < b; n++)
        for (int64_t i = 0; i < h * w; i++)
            for (int64_t k = 0; k < c; k++)
                y[(n * c + k) * h * w + i] = x[(n * h * w + i) * c + k];
    return y;
}

/* ------------------------------------------------------------------ comparison */
void g_mark(golden *g, const char *name)
{
    for (int i = 0; i < sky_weights_count(g->w); i++)
        if (!strcmp(sky_weights_at(g->w, i)->name, name))
            g->seen[i] = 1;
}

void g_line(golden *g, const char *name, int ok, const char *fmt, ...)
{
    g_mark(g, name);
    char text[160];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    *(ok ? &g->ok : &g->bad) += 1;
    if (!ok || !g->o->quiet)
        printf("%-44s %-40s %s\n", name, text, ok ? "ok" : "not ok");
    fflush(stdout);
}

void g_skip(golden *g, const char *name, const char *why)
{
    g_mark(g, name);
    g->skipped++;
    printf("%-44s %-40s skipped\n", name, why);
}

int g_has(const golden *g, const char *part)
{
    for (int i = 0; i < sky_weights_count(g->w); i++)
        if (strstr(sky_weights_at(g->w, i)->name, part))
            return 1;
    return 0;
}

double g_distance(const float *got, const float *want, int64_t n)
{
    double d = 0, r = 0;
    for (int64_t i = 0; i < n; i++) {
        d += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        r += (double)want[i] * want[i];
    }
    return sqrt(d) / (r > 0 ? sqrt(r) : 1);
}

static void verdict(golden *g, const char *name, double d)
{
    g_line(g, name, d <= g->tol, "error %.2e  tolerance %.0e", d, g->tol); /* NaN is not ok */
}

void g_check_floats(golden *g, const char *name, const float *got, int64_t n)
{
    const sky_weight *t = g_find(g, "%s", name);
    if (!t || !got || g->c.dry)
        return;
    if (count(t) != n) {
        g_line(g, name, 0, "expected %lld values, have %lld", (long long)count(t), (long long)n);
        return;
    }
    float *want = g_floats(g, t);
    if (want)
        verdict(g, name, g_distance(got, want, n));
    sky_free(want);
}

void g_check_scalar(golden *g, const char *name, double got)
{
    float v = (float)got;
    g_check_floats(g, name, &v, 1);
}

void g_check_exact(golden *g, const char *name, const int64_t *got, int64_t n)
{
    const sky_weight *t = g_find(g, "%s", name);
    if (!t || g->c.dry)
        return;
    int64_t *want = g_ints(g, t), wrong = 0;
    if (!want)
        return;
    if (count(t) != n)
        wrong = -1;
    for (int64_t i = 0; i < n && wrong >= 0; i++)
        wrong += got[i] != want[i];
    if (wrong < 0)
        g_line(g, name, 0, "expected %lld values, have %lld", (long long)count(t), (long long)n);
    else
        g_line(g, name, wrong == 0, "%lld of %lld differ  tolerance 0", (long long)wrong, (long long)n);
    sky_free(want);
}

/* t is NHWC where the stored tensor is NCHW; sequences and vectors are stored as they are. */
static int matches(const sky_weight *w, const sky_tensor *t, int *nchw)
{
    int64_t n = sky_numel(t);
    *nchw = w->ndim == 4 && t->ndim == 4 && w->shape[0] == t->shape[0] && w->shape[1] == t->shape[3] && w->shape[2] == t->shape[1] && w->shape[3] == t->shape[2];
    if (w->ndim == 4 && t->ndim == 4)
        return *nchw;
    return count(w) == n && (w->ndim == 0 || w->shape[w->ndim - 1] == sky_last(t));
}

void g_check(golden *g, const char *name, const sky_tensor *t)
{
    const sky_weight *w = g_find(g, "%s", name);
    if (!w || g->c.dry || g->c.err.code)
        return;
    int nchw;
    char shape[96];
    if (!t->data || !matches(w, t, &nchw)) {
        g_line(g, name, 0, "result has another shape: %s", sky_shape_str(t, shape));
        return;
    }
    float *got = sky_alloc((size_t)sky_bytes(t)), *turned = NULL;
    if (got) {
        sky_download(&g->c, got, t);
        turned = nchw ? g_nchw(got, t->shape[0], t->shape[1], t->shape[2], t->shape[3]) : got;
    }
    if (turned)
        g_check_floats(g, name, turned, sky_numel(t));
    else
        sky_fail(&g->err, SKY_ENOMEM, "out of memory");
    if (turned != got)
        sky_free(turned);
    sky_free(got);
}

/* A class may differ where both logits are within twice the tolerance of each other. */
static int close_call(const golden *g, const float *l, int mine, int theirs, double rms)
{
    return theirs >= 0 && l && fabs((double)l[mine] - l[theirs]) <= 2 * g->tol * rms;
}

void g_check_argmax(golden *g, const char *name, const sky_tensor *argmax, const sky_tensor *logits, const uint8_t *unsure)
{
    const sky_weight *w = g_find(g, "%s", name);
    if (!w || g->c.dry || g->c.err.code)
        return;
    int64_t n = sky_numel(argmax), c = logits->data ? sky_last(logits) : 0;
    uint8_t *want = g_bytes(g, w), *got = sky_alloc((size_t)n);
    float *l = sky_alloc((size_t)(n * c + 1) * sizeof *l);
    if (want && got && l && count(w) == n) {
        sky_download(&g->c, got, argmax);
        if (c)
            sky_download(&g->c, l, logits);
        double sq = 0;
        for (int64_t i = 0; i < n * c; i++)
            sq += (double)l[i] * l[i];
        double rms = c ? sqrt(sq / (double)(n * c)) : 0;
        int64_t sure = 0, wrong = 0, differ = 0;
        for (int64_t i = 0; i < n; i++) {
            int undecided = unsure && unsure[i];
            sure += !undecided;
            differ += !undecided && got[i] != want[i];
            wrong += !undecided && got[i] != want[i] && !(c && want[i] < c && close_call(g, l + i * c, got[i], want[i], rms));
        }
        double same = 1 - (double)differ / (double)(sure ? sure : 1);
        if (g->o->dtype == SKY_F32)
            g_line(g, name, wrong == 0, "%lld of %lld differ, %lld clearly", (long long)differ, (long long)sure, (long long)wrong);
        else
            g_line(g, name, same >= 0.995, "same class on %.3f %%  wanted 99.5 %%", 100 * same);
    } else {
        g_line(g, name, 0, "another size, or out of memory");
    }
    sky_free(want);
    sky_free(got);
    sky_free(l);
}

/* ------------------------------------------------------------------ parameters */
int g_is_weight(const char *name)
{
    static const char *const other[] = {"input.", "tap.", "out.", "loss.", "grad.", "after.", "eval_after.", "eval.", NULL};
    for (int i = 0; other[i]; i++)
        if (g_starts(name, other[i]))
            return 0;
    return 1;
}

static int ignored(const char *name) { return !g_is_weight(name); }

int g_load(golden *g, sky_params *ps)
{
    sky_params_opts o = {.dtype = g->o->dtype, .ignore = ignored, .threads = g->o->threads};
    int rc = sky_params_load(ps, g->w, &o, &g->err);
    return rc || !g->c.be ? rc : sky_params_place(ps, &g->c, NULL, &g->err); /* a file that is only read has no device */
}

int g_bind(golden *g, sky_params *ps, const char *head, const char *strip)
{
    for (int i = 0; i < ps->n && !g->err.code; i++) {
        sky_param *p = &ps->v[i];
        const char *name = g_starts(p->name, strip) ? p->name + strlen(strip) : p->name;
        const sky_weight *t = g_find(g, "%s%s", head, name);
        sky_dtype type = p->kind == SKY_PARAM_MATRIX ? g->o->dtype : SKY_F32;
        if (!t || count(t) != sky_numel(p->slot))
            return sky_fail(&g->err, SKY_ECORRUPT, "%s%s: missing, or of another size", head, name);
        p->own = content(g, t, type);
        p->slot->data = p->own;
        p->slot->dtype = type;
    }
    return g->err.code ? g->err.code : sky_params_place(ps, &g->c, NULL, &g->err);
}

int g_run(golden *g, void (*fn)(golden *g, void *arg), void *arg)
{
    for (int dry = 1; dry >= 0 && !g->err.code; dry--) {
        if (dry)
            sky_ctx_dry(&g->c);
        else if (sky_ctx_alloc(&g->c, g->c.peak, &g->err))
            break;
        fn(g, arg);
        if (g->c.err.code && !g->err.code)
            g->err = g->c.err;
    }
    return g->err.code;
}
