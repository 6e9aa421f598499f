/* tables.c -- integers that must match exactly: the counter generator, and the tables inside window attention, which our
 * operations never show and which are therefore read off their results. */
#include "golden.h"
#include "nn/seeded.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* counter.u24.NAME and counter.u24_from_START.NAME */
static void counters(golden *g)
{
    for (int i = 0; i < sky_weights_count(g->w); i++) {
        const sky_weight *t = sky_weights_at(g->w, i);
        if (!g_starts(t->name, "counter.u24") || t->ndim != 1 || t->shape[0] > 4096)
            continue;
        const char *after = t->name + strlen("counter.u24");
        uint64_t start = g_starts(after, "_from_") ? strtoull(after + strlen("_from_"), NULL, 10) : 0;
        const char *name = strchr(after, '.');
        int64_t got[4096];
        for (int64_t k = 0; name && k < t->shape[0]; k++)
            got[k] = sky_seeded_u24("", name + 1, start + (uint64_t)k);
        if (name)
            g_check_exact(g, t->name, got, t->shape[0]);
    }
    const sky_weight *v = g_find(g, "counter.values.a");
    if (v && v->ndim == 1 && v->shape[0] <= 64) {
        float got[64], *want = g_floats(g, v);
        sky_seeded_values(got, "", "a", 0, (uint64_t)v->shape[0], 0.3f, 1);
        if (want)
            g_line(g, v->name, !memcmp(got, want, (size_t)v->shape[0] * sizeof *got), "bits  tolerance 0");
        sky_free(want);
    }
}

typedef struct {
    int win, shift;
    int64_t h, w;
    const char *name;
} table;

static void coords(golden *g, void *arg)
{
    const table *t = arg;
    sky_tensor x = sky_window_coords(&g->c, t->win);
    g_check(g, t->name, &x);
}

/* Offset k gets the value (k+1)/(K+1) of the sigmoid; 16 times that comes back at every pair with that offset. */
static void index_of(golden *g, void *arg)
{
    const table *t = arg;
    int64_t side = 2 * t->win - 1, k = side * side, n = (int64_t)t->win * t->win * t->win * t->win;
    float *v = sky_calloc((size_t)(k + n), sizeof *v), *y = v + k;
    int64_t *got = sky_calloc((size_t)n, sizeof *got);
    if (v && got) {
        for (int64_t i = 0; i < k; i++) {
            double p = (double)(i + 1) / (double)(k + 1);
            v[i] = (float)log(p / (1 - p));
        }
        sky_tensor b = sky_window_bias(&g->c, sky_upload(&g->c, SKY_F32, 2, (int64_t[]){k, 1}, v), t->win);
        sky_download(&g->c, y, &b);
        for (int64_t i = 0; i < n; i++)
            got[i] = llround(y[i] / 16 * (double)(k + 1)) - 1;
        g_check_exact(g, t->name, got, n);
    }
    sky_free(v);
    sky_free(got);
}

/* Equal queries and keys, no bias, and each token's value the unit vector of its place in its window: the result shows
 * which places a token attends to. */
static void mask_of(golden *g, void *arg)
{
    const table *t = arg;
    int64_t n = (int64_t)t->win * t->win, H = t->h, W = t->w, win = t->win;
    float *qkv = sky_calloc((size_t)(H * W * 3 * n), sizeof *qkv), *zero = sky_calloc((size_t)(n * n + 3 * n + 1), sizeof *zero);
    float *y = sky_calloc((size_t)(H * W * n), sizeof *y), *got = sky_calloc((size_t)(H * W * n), sizeof *got);
    if (qkv && zero && y && got) {
        for (int64_t i = 0; i < H * W; i++) {
            int64_t yr = (i / W - t->shift + H) % H, xr = (i % W - t->shift + W) % W;
            qkv[(i * 3 + 0) * n] = qkv[(i * 3 + 1) * n] = 1;
            qkv[(i * 3 + 2) * n + yr % win * win + xr % win] = 1;
        }
        sky_tensor q = sky_upload(&g->c, SKY_F32, 6, (int64_t[]){1, H, W, 3, 1, n}, qkv), pad = sky_upload(&g->c, SKY_F32, 1, (int64_t[]){3 * n}, zero);
        sky_tensor bias = sky_upload(&g->c, SKY_F32, 3, (int64_t[]){1, n, n}, zero), scale = sky_upload(&g->c, SKY_F32, 1, (int64_t[]){1}, zero);
        sky_tensor r = sky_window_attention(&g->c, q, pad, bias, scale, t->win, t->shift, SKY_F32);
        sky_download(&g->c, y, &r);
        for (int64_t i = 0; i < H * W; i++) {
            int64_t yr = (i / W - t->shift + H) % H, xr = (i % W - t->shift + W) % W;
            int64_t window = yr / win * (W / win) + xr / win, place = yr % win * win + xr % win;
            for (int64_t j = 0; j < n; j++)
                got[(window * n + place) * n + j] = y[i * n + j] > 1e-6f ? 0 : -100;
        }
        g_check_floats(g, t->name, got, H * W * n);
    }
    sky_free(qkv);
    sky_free(zero);
    sky_free(y);
    sky_free(got);
}

void golden_tables(golden *g)
{
    counters(g);
    for (int i = 0; i < sky_weights_count(g->w) && !g->err.code; i++) {
        const char *name = sky_weights_at(g->w, i)->name;
        int h, w;
        table t = {.name = name};
        if (sscanf(name, "window_tables.coords_%d", &t.win) == 1)
            g_run(g, coords, &t);
        else if (sscanf(name, "window_tables.index_%d", &t.win) == 1)
            g_run(g, index_of, &t);
        else if (sscanf(name, "window_tables.mask_%dx%d_w%d_s%d", &h, &w, &t.win, &t.shift) == 4 && t.win > 0 && h % t.win == 0 && w % t.win == 0) {
            t.h = h;
            t.w = w;
            g_run(g, mask_of, &t);
        }
    }
}
