/* back_case.h -- what must hold for a gradient on one shape: its values against finite differences, in double, of a plain
 * forward reference; what is there is added to or overwritten, as asked; every element is written, nothing beside it; the
 * same bits when run twice, with three threads, with every instruction set, and when it is the only one wanted. */
#ifndef SKY_TESTS_BACK_CASE_H
#define SKY_TESTS_BACK_CASE_H

#include "base/hash.h"
#include "cpu/device_internal.h"
#include "t.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BACK_INPUTS = 4, BACK_GUARD = 64, BACK_PROBES = 24 };

/* One case at hand. Setup fills it; memory from back_new lives until the case ends. */
typedef struct back_case back_case;
typedef struct {
    const back_case *o;
    const int64_t *s;
    sky_tensor in[BACK_INPUTS]; /* what gradients are wanted of */
    double step[BACK_INPUTS];   /* of the differences; 0: 1e-3 */
    sky_tensor dy;              /* of the result; scalar losses: one number */
    sky_tensor aux[6];          /* labels and the like */
    double value;               /* set by a run: the loss itself, else NaN */
} back;

struct back_case {
    const char *name;
    void (*setup)(back *b);
    double (*loss)(const back *b, double *const *v);             /* sum of dy * result at inputs v */
    int (*run)(back *b, sky_dev *d, sky_grad *g, sky_err *e);    /* gradients of the inputs */
    int64_t s[8];
    double tol; /* of the largest gradient of an input */
    int move;   /* without `add` */
};

static void *held[256];
static int nheld;
static void *back_new(int64_t bytes)
{
    void *p = malloc((size_t)(bytes ? bytes : 1));
    if (!p || nheld == 256)
        exit(1);
    return held[nheld++] = p;
}

#define SHAPE(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__}
static inline sky_tensor back_tensor(sky_dtype t, int ndim, const int64_t *shape)
{
    sky_tensor x = {.dtype = t, .ndim = ndim};
    for (int i = 0; i < ndim; i++)
        x.shape[i] = shape[i];
    x.data = back_new(sky_bytes(&x));
    return x;
}
/* offset + scale * [-1,1) */
static inline sky_tensor back_random(const char *name, float scale, float offset, int ndim, const int64_t *shape)
{
    sky_tensor x = back_tensor(SKY_F32, ndim, shape);
    for (int64_t i = 0; i < sky_numel(&x); i++)
        f32_out(&x)[i] = sky_counter_value(sky_fnv1a(name), (uint64_t)i, scale, offset);
    return x;
}
static inline sky_tensor back_bytes(const char *name, uint32_t below, int ndim, const int64_t *shape)
{
    sky_tensor x = back_tensor(SKY_U8, ndim, shape);
    for (int64_t i = 0; i < sky_numel(&x); i++)
        ((uint8_t *)x.data)[i] = (uint8_t)(sky_counter_u24(sky_fnv1a(name), (uint64_t)i) % below);
    return x;
}

/* ---- running --------------------------------------------------------------------------------------------------- */

static sky_dev *one, *three;

/* Before a run every number is `before` + its place/8; nothing else in a buffer may change. */
static float filling(float before, int64_t i) { return before + (float)(i % 64) / 8; }

/* Gradients of the inputs in `want` (bits), into new buffers in out. 0: all went well. */
static int back_run(back *b, sky_dev *d, unsigned want, int add, float before, float **out)
{
    sky_grad g[BACK_INPUTS];
    sky_err e = {0};
    int bad = 0;
    memset(g, 0, sizeof g);
    for (int k = 0; k < BACK_INPUTS; k++) {
        out[k] = NULL;
        if (!b->in[k].data)
            continue;
        int64_t n = sky_numel(&b->in[k]);
        float *p = back_new((n + 2 * BACK_GUARD) * 4);
        for (int64_t i = 0; i < n + 2 * BACK_GUARD; i++)
            p[i] = filling(before, i);
        g[k].add = add;
        g[k].t = b->in[k];
        g[k].t.dtype = SKY_F32;
        g[k].t.data = want >> k & 1 ? p + BACK_GUARD : NULL;
        out[k] = want >> k & 1 ? p + BACK_GUARD : NULL;
    }
    if (b->o->run(b, d, g, &e))
        return printf("# %s\n", e.msg), 1;
    for (int k = 0; k < BACK_INPUTS; k++)
        for (int64_t i = 0, n = out[k] ? sky_numel(&b->in[k]) : 0; out[k] && i < BACK_GUARD; i++)
            bad |= out[k][i - BACK_GUARD] != filling(before, i) || out[k][n + i] != filling(before, n + BACK_GUARD + i);
    if (bad)
        printf("# written beside a gradient\n");
    return bad;
}

static int same_as(back *b, float **want, sky_dev *d, unsigned which, float before)
{
    float *got[BACK_INPUTS];
    int ok = !back_run(b, d, which, 0, before, got);
    for (int k = 0; ok && k < BACK_INPUTS; k++)
        if (got[k] && memcmp(got[k], want[k], (size_t)sky_numel(&b->in[k]) * 4))
            ok = printf("# other bits for input %d\n", k) < 0;
    return ok;
}

static int all_levels(back *b, float **want, unsigned which)
{
    int ok = 1;
#if defined __x86_64__
    const sky_row_kernels *best = one->k, *sets[] = {&sky_row_kernels_plain, &sky_row_kernels_avx2};
    for (int i = 0; i < 2; i++) {
        if (i && best == sets[0])
            break;
        one->k = sets[i];
        ok &= same_as(b, want, one, which, 3e30f) || printf("# with %s\n", sets[i]->name) < 0;
    }
    one->k = best;
#endif
    return ok;
}

/* before + gradient; what gathers in groups rounds once for each. */
static int added(back *b, float **want, unsigned which)
{
    float *got[BACK_INPUTS];
    int ok = !back_run(b, one, which, 1, 5, got);
    for (int k = 0; ok && k < BACK_INPUTS; k++)
        for (int64_t i = 0; got[k] && ok && i < sky_numel(&b->in[k]); i++) {
            double before = (double)filling(5, i + BACK_GUARD), w = (double)want[k][i];
            if (!(fabs((double)got[k][i] - (before + w)) <= 1e-6 * (before + fabs(w))) && !(isnan(w) && isnan(got[k][i])))
                ok = printf("# input %d, element %lld: %.9g, expected %.9g + %.9g\n", k, (long long)i, (double)got[k][i], before, w) < 0;
        }
    return ok;
}

/* ---- finite differences ----------------------------------------------------------------------------------------- */

static double difference(const back *b, double *const *v, int k, int64_t i, double h)
{
    double x = v[k][i], up, down;
    v[k][i] = x + h;
    up = b->o->loss(b, v);
    v[k][i] = x - h;
    down = b->o->loss(b, v);
    v[k][i] = x;
    return (up - down) / (2 * h);
}

/* Up to BACK_PROBES elements, the first and the last among them; two steps extrapolated to none. */
static int differences_agree(back *b, float **got)
{
    double *v[BACK_INPUTS] = {0}, num[BACK_PROBES];
    int ok = 1;
    for (int k = 0; k < BACK_INPUTS; k++)
        if (b->in[k].data) {
            v[k] = back_new(sky_numel(&b->in[k]) * 8);
            for (int64_t i = 0; i < sky_numel(&b->in[k]); i++)
                v[k][i] = (double)f32(&b->in[k])[i];
        }
    for (int k = 0; k < BACK_INPUTS; k++) {
        int64_t n = b->in[k].data ? sky_numel(&b->in[k]) : 0, probes = n < BACK_PROBES ? n : BACK_PROBES;
        double h = b->step[k] > 0 ? b->step[k] : 1e-3, top = 0;
        for (int64_t p = 0; p < probes; p++) {
            int64_t i = p == 0 ? 0 : p == probes - 1 ? n - 1 : n <= BACK_PROBES ? p : (int64_t)(sky_counter_u24(99, (uint64_t)p)) % n;
            num[p] = (4 * difference(b, v, k, i, h) - difference(b, v, k, i, 2 * h)) / 3;
            top = fmax(top, fabs(num[p]));
        }
        for (int64_t p = 0; p < probes; p++) {
            int64_t i = p == 0 ? 0 : p == probes - 1 ? n - 1 : n <= BACK_PROBES ? p : (int64_t)(sky_counter_u24(99, (uint64_t)p)) % n;
            if (!(fabs((double)got[k][i] - num[p]) <= b->o->tol * top))
                ok = printf("# input %d, element %lld: %.9g, differences give %.9g; off by %.2g of the largest\n", k, (long long)i,
                            (double)got[k][i], num[p], fabs((double)got[k][i] - num[p]) / top) < 0;
        }
    }
    double loss = isnan(b->value) ? 0 : b->o->loss(b, v);
    if (!isnan(b->value) && !(fabs(b->value - loss) <= 1e-6 * fabs(loss)))
        ok = printf("# loss %.9g, expected %.9g\n", b->value, loss) < 0;
    return ok;
}

static void back_test(const back_case *o)
{
    back b = {.o = o, .s = o->s, .value = NAN};
    o->setup(&b);
    unsigned all = 0;
    char name[160], shape[96];
    for (int k = 0; k < BACK_INPUTS; k++)
        all |= b.in[k].data ? 1u << k : 0;
    snprintf(name, sizeof name, "%s %s", o->name, sky_shape_str(&b.in[0], shape));
    float *got[BACK_INPUTS];
    int ran = !back_run(&b, one, all, 0, 7e30f, got);
    OK(ran && differences_agree(&b, got), "%s: as finite differences say", name);
    if (ran) {
        int ok = same_as(&b, got, one, all, -2) && same_as(&b, got, three, all, 1) && all_levels(&b, got, all);
        for (int k = 0; k < BACK_INPUTS && all != 1; k++)
            ok &= !(all >> k & 1) || same_as(&b, got, one, 1u << k, -1);
        OK(ok, "%s: every element written, same bits again, with 3 threads, at every level, each alone", name);
        if (!o->move)
            OK(added(&b, got, all), "%s: added to what is there", name);
    }
    while (nheld)
        free(held[--nheld]);
}

static int back_tests(const back_case *o, int n)
{
    sky_err e = {0};
    const sky_backend *be = &sky_backend_cpu;
    if (be->open(&one, -1, 1, &e) || be->open(&three, -1, 3, &e)) {
        printf("Bail out! %s\n", e.msg);
        return 1;
    }
    for (int i = 0; i < n; i++)
        back_test(&o[i]);
    be->close(one);
    be->close(three);
    return END();
}

#endif
