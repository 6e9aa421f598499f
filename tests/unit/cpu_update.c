/* The optimizer's entries of the CPU backend: against the reference implementation's stored steps, against plain loops in
 * double, and the same bits with any number of threads and every instruction set, nothing written behind the end. */
#include "base/hash.h"
#include "base/mem.h"
#include "cpu/device_internal.h"
#include "format/weights.h"
#include "t.h"

#include <math.h>
#include <stdlib.h>

enum { GUARD = 64 };
static sky_ctx one, three;
static sky_err err;

static float *noise(int64_t n, const char *name, float scale, float offset)
{
    float *p = sky_alloc((size_t)(n + GUARD) * 4);
    for (int64_t i = 0; i < n + GUARD; i++)
        p[i] = sky_counter_value(sky_fnv1a(name), (uint64_t)i, scale, offset);
    return p;
}
static sky_tensor flat(void *p, sky_dtype t, int64_t n) { return (sky_tensor){.data = p, .dtype = t, .ndim = 1, .shape = {n}}; }

/* ---- stored steps -------------------------------------------------------------------------------------------- */

static sky_weights *file;

static float *stored(const char *name, int64_t *n)
{
    const sky_weight *t = sky_weights_find(file, name);
    *n = 1;
    for (int i = 0; t && i < t->ndim; i++)
        *n *= t->shape[i];
    float *p = sky_alloc((size_t)(*n + GUARD) * 4);
    if (!t || sky_weights_read(file, t, p, SKY_F32, &err))
        printf("Bail out! %s: %s\n", name, err.msg), exit(1);
    return p;
}

static double distance(const float *a, const float *b, int64_t n)
{
    double d = 0, r = 0;
    for (int64_t i = 0; i < n; i++)
        d += ((double)a[i] - b[i]) * ((double)a[i] - b[i]), r += (double)b[i] * b[i];
    return sqrt(d / r);
}

static void near_stored(const char *name, const float *got, double tol)
{
    int64_t n;
    float *want = stored(name, &n);
    double d = distance(got, want, n);
    OK(d <= tol, "%s: relative error %.1e, at most %.0e", name, d, tol);
    sky_free(want);
}

static void stored_adamw(void)
{
    int64_t n, k;
    float *w = stored("adamw.in.w", &n), *lr = stored("adamw.in.lr_per_step", &k), *decay = stored("adamw.in.weight_decay", &k);
    float *m = sky_calloc((size_t)n, 4), *v = sky_calloc((size_t)n, 4);
    sky_tensor tw = flat(w, SKY_F32, n), tm = flat(m, SKY_F32, n), tv = flat(v, SKY_F32, n), none = sky_none;
    for (int i = 0; i < 5; i++) {
        char in[32], out[32];
        snprintf(in, sizeof in, "adamw.in.g%d", i);
        snprintf(out, sizeof out, "adamw.out.w%d", i);
        float *g = stored(in, &n);
        sky_tensor tg = flat(g, SKY_F32, n);
        sky_adamw o = {lr[i], *decay, 0.9, 0.999, 1e-8, 1, (uint64_t)i + 1};
        one.be->adamw(one.dev, &tw, &tg, &tm, &tv, &none, &o, &err);
        near_stored(out, w, 3e-7); /* two float roundings of w per step at most, and six of the much smaller change */
        sky_free(g);
    }
    near_stored("adamw.out.exp_avg", m, 5e-7);
    near_stored("adamw.out.exp_avg_sq", v, 5e-7);
    sky_free(w), sky_free(lr), sky_free(decay), sky_free(m), sky_free(v);
}

static void stored_norm(const char *op)
{
    sky_tensor t[3];
    const sky_tensor *x[3] = {&t[0], &t[1], &t[2]};
    double sums[3];
    char name[64];
    for (int i = 0; i < 3; i++) {
        int64_t n;
        snprintf(name, sizeof name, "%s.in.g%d", op, i);
        float *g = stored(name, &n);
        t[i] = flat(g, SKY_F32, n);
    }
    sky_tensor s = flat(sums, SKY_F64, 3);
    one.be->square_sums(one.dev, &s, x, 3, &err);
    float norm = (float)sqrt(sums[0] + sums[1] + sums[2]);
    snprintf(name, sizeof name, "%s.out.norm", op);
    near_stored(name, &norm, 1e-7);
    for (int i = 0; i < 3; i++)
        sky_free(t[i].data);
}

/* ---- plain loops ----------------------------------------------------------------------------------------------- */

typedef struct { float *w, *g, *m, *v; uint16_t *copy; } arrays;

static arrays make(int64_t n)
{
    arrays a = {noise(n, "w", 1, 0), noise(n, "g", 3, 0), noise(n, "m", 0.1f, 0), noise(n, "v", 0.01f, 0.011f), sky_alloc((size_t)(n + GUARD) * 2)};
    memset(a.copy, 0xa5, (size_t)(n + GUARD) * 2);
    return a;
}
static void drop(arrays *a) { sky_free(a->w), sky_free(a->g), sky_free(a->m), sky_free(a->v), sky_free(a->copy); }

enum { ADAMW, SGD_FIRST, SGD, LERP, FILL, KINDS };
static const char *const kind_name[] = {"adamw", "sgd, first step", "sgd", "lerp", "fill"};
static const sky_adamw adamw_o = {3e-3, 0.04, 0.9, 0.999, 1e-8, 0.37, 7};
static const sky_sgd sgd_o = {0.02, 5e-4, 0.9, 0.37, 0};

static void step(sky_ctx *c, int kind, arrays *a, int64_t n, int copied)
{
    sky_tensor w = flat(a->w, SKY_F32, n), g = flat(a->g, SKY_F32, n), m = flat(a->m, SKY_F32, n), v = flat(a->v, SKY_F32, n), copy = flat(copied ? a->copy : NULL, SKY_BF16, n);
    sky_sgd s = sgd_o;
    s.first = kind == SGD_FIRST;
    if (kind == ADAMW)
        c->be->adamw(c->dev, &w, &g, &m, &v, &copy, &adamw_o, &err);
    else if (kind == SGD || kind == SGD_FIRST)
        c->be->sgd(c->dev, &w, &g, &m, &copy, &s, &err);
    else if (kind == LERP)
        c->be->lerp(c->dev, &w, &g, 0.01f, &err);
    else
        c->be->fill(c->dev, &w, 0.25f, &err);
}

/* Element i in double; the change of w in *change, whose rounding is relative to itself. */
static void expect(int kind, const arrays *a, int64_t i, double *w, double *m, double *v, double *change)
{
    double x = a->w[i], g = a->g[i];
    *m = a->m[i], *v = a->v[i], *change = 0;
    if (kind == ADAMW) {
        const sky_adamw *o = &adamw_o;
        g *= o->gscale;
        *m = o->beta1 * *m + (1 - o->beta1) * g;
        *v = o->beta2 * *v + (1 - o->beta2) * g * g;
        *change = o->lr * (*m / (1 - pow(o->beta1, 7))) / (sqrt(*v / (1 - pow(o->beta2, 7))) + o->eps);
        *w = x - o->lr * o->decay * x - *change;
    } else if (kind == SGD || kind == SGD_FIRST) {
        g = g * sgd_o.gscale + sgd_o.decay * x;
        *m = kind == SGD ? sgd_o.momentum * *m + g : g;
        *change = sgd_o.lr * *m;
        *w = x - *change;
    } else {
        *w = kind == LERP ? x + 0.01 * (g - x) : 0.25;
        *change = *w - x;
    }
}

static int within(double got, double want, double tol) { return fabs(got - want) <= tol; }

static void values(int kind, int64_t n)
{
    arrays a = make(n), b = make(n);
    step(&one, kind, &a, n, 1);
    int ok = 1, copied = kind <= SGD;
    const double u = 0x1p-24; /* one rounding to float */
    for (int64_t i = 0; i < n && ok; i++) {
        double w, m, v, change;
        expect(kind, &b, i, &w, &m, &v, &change);
        double part = fabs(b.m[i]) + fabs(b.g[i]); /* what is added in m, before it cancels */
        ok = within(a.w[i], w, 3 * u * (fabs(w) + fabs(b.w[i])) + 12 * u * fabs(change) + (kind == ADAMW ? 3e-2 : 2e-2) * 4 * u * part) &&
             within(a.m[i], m, 4 * u * (part + fabs(b.w[i]))) && within(a.v[i], v, 6 * u * fabs(v));
        ok = ok && (!copied || a.copy[i] == sky_f32_to_bf16(a.w[i]));
        if (!ok)
            printf("# element %lld: w %.9g, expected %.9g; m %.9g, %.9g; v %.9g, %.9g\n", (long long)i, a.w[i], w, a.m[i], m, a.v[i], v);
    }
    for (int64_t i = n; i < n + GUARD && ok; i++)
        ok = a.w[i] == b.w[i] && a.m[i] == b.m[i] && a.v[i] == b.v[i] && a.copy[i] == 0xa5a5;
    OK(ok, "%s, %lld elements: values, and nothing behind them", kind_name[kind], (long long)n);
    drop(&a), drop(&b);
}

static int same(const arrays *a, const arrays *b, int64_t n)
{
    size_t k = (size_t)n;
    return !memcmp(a->w, b->w, 4 * k) && !memcmp(a->m, b->m, 4 * k) && !memcmp(a->v, b->v, 4 * k);
}

static void bits(int kind, int64_t n)
{
    arrays a = make(n), b = make(n), c = make(n);
    step(&one, kind, &a, n, 1);
    step(&three, kind, &b, n, 0);
    int ok = same(&a, &b, n);
    /* In two halves: as two ranks do it. */
    int64_t half = n / 2;
    arrays rest = {c.w + half, c.g + half, c.m + half, c.v + half, c.copy + half};
    step(&one, kind, &c, half, 1);
    step(&one, kind, &rest, n - half, 1);
    ok = ok && same(&a, &c, n);
#if defined __x86_64__
    const sky_row_kernels *best = one.dev->k, *sets[] = {&sky_row_kernels_plain, &sky_row_kernels_avx2};
    for (int i = 0; i < 2 && best != &sky_row_kernels_plain; i++) {
        arrays d = make(n);
        one.dev->k = sets[i];
        step(&one, kind, &d, n, 1);
        ok = ok && same(&a, &d, n) && (kind > SGD || !memcmp(a.copy, d.copy, (size_t)n * 2));
        drop(&d);
    }
    one.dev->k = best;
#endif
    OK(ok, "%s, %lld elements: same bits with 3 threads, in parts, at every level, with and without a copy", kind_name[kind], (long long)n);
    drop(&a), drop(&b), drop(&c);
}

static void squares(void)
{
    static const int64_t n[] = {1, 7, 33, 65536, 65537, 300001};
    enum { N = 6 };
    sky_tensor t[N];
    const sky_tensor *x[N];
    double got[N], again[N], worst = 0;
    sky_tensor s = flat(got, SKY_F64, N), s3 = flat(again, SKY_F64, N);
    for (int i = 0; i < N; i++) {
        t[i] = flat(noise(n[i], "x", 3, 0), SKY_F32, n[i]);
        x[i] = &t[i];
    }
    one.be->square_sums(one.dev, &s, x, N, &err);
    three.be->square_sums(three.dev, &s3, x, N, &err);
    int same_bits = !memcmp(got, again, sizeof got);
#if defined __x86_64__
    const sky_row_kernels *best = one.dev->k;
    one.dev->k = &sky_row_kernels_plain;
    one.be->square_sums(one.dev, &s3, x, N, &err);
    one.dev->k = best;
    same_bits = same_bits && !memcmp(got, again, sizeof got);
#endif
    for (int i = 0; i < N; i++) {
        double sum = 0;
        for (int64_t k = 0; k < n[i]; k++)
            sum += (double)((float *)t[i].data)[k] * (double)((float *)t[i].data)[k];
        worst = fmax(worst, fabs(got[i] - sum) / sum);
    }
    OK(worst <= 1e-12, "sums of squares in double: relative error %.1e", worst);
    OK(same_bits, "same bits with 3 threads and portable code");
    ((float *)t[4].data)[65536] = 3e38f;
    one.be->square_sums(one.dev, &s, x, N, &err);
    OK(isfinite(got[4]) && got[4] > 8e76, "the largest numbers have a finite square: %g", got[4]);
    ((float *)t[4].data)[65536] = INFINITY;
    ((float *)t[5].data)[3] = NAN;
    one.be->square_sums(one.dev, &s, x, N, &err);
    OK(isinf(got[4]) && isnan(got[5]) && isfinite(got[3]), "infinity and NaN are seen where they are");
    for (int i = 0; i < N; i++)
        sky_free(t[i].data);
}

int main(void)
{
    if (sky_ctx_open(&one, "cpu", 1, &err) || sky_ctx_open(&three, "cpu", 3, &err) || sky_weights_open(&file, "tests/data/optimizer_ops.safetensors", &err)) {
        printf("Bail out! %s\n", err.msg);
        return 1;
    }
    stored_adamw();
    stored_norm("clip_active");
    stored_norm("clip_inactive");
    for (int k = 0; k < KINDS; k++) {
        values(k, 1);
        values(k, 33);
        values(k, 100003);
        bits(k, 31);
        bits(k, 100003);
    }
    squares();
    sky_weights_close(file);
    sky_ctx_close(&one);
    sky_ctx_close(&three);
    return END();
}
