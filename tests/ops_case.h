/* ops_case.h -- what must hold for an operation on one shape, for the tests that list operations and shapes: values
 * against a double reference; the dry run tells shape and memory; nothing is written behind the result; the same bits
 * when run twice, with three threads, with every instruction set, and for the first sample alone. */
#ifndef SKY_TESTS_OPS_CASE_H
#define SKY_TESTS_OPS_CASE_H

#include "base/hash.h"
#include "cpu/device_internal.h"
#include "t.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- inputs --------------------------------------------------------------------------------------------------- */

static void *held[64];
static int nheld;

static void *hold(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    if (!p)
        exit(1);
    return held[nheld++] = p;
}
static void drop_all(void)
{
    while (nheld)
        free(held[--nheld]);
}

/* offset + scale * [-1,1); the same name gives the same values whatever n is. */
static inline float *rnd(int64_t n, const char *name, float scale, float offset)
{
    float *p = hold((size_t)n * 4);
    uint64_t h = sky_fnv1a(name);
    for (int64_t i = 0; i < n; i++)
        p[i] = sky_counter_value(h, (uint64_t)i, scale, offset);
    return p;
}
/* Whole numbers -m..m. */
static inline float *whole(int64_t n, const char *name, int m)
{
    float *p = hold((size_t)n * 4);
    uint64_t h = sky_fnv1a(name);
    for (int64_t i = 0; i < n; i++)
        p[i] = (float)((int)(sky_counter_u24(h, (uint64_t)i) % (uint32_t)(2 * m + 1)) - m);
    return p;
}
static inline uint8_t *bytes(int64_t n, const char *name, uint32_t below)
{
    uint8_t *p = hold((size_t)n);
    uint64_t h = sky_fnv1a(name);
    for (int64_t i = 0; i < n; i++)
        p[i] = (uint8_t)(sky_counter_u24(h, (uint64_t)i) % below);
    return p;
}
#define SHAPE(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__}
#define UP(p, ...) sky_upload(c, SKY_F32, SHAPE(__VA_ARGS__), p)

/* ---- cases ----------------------------------------------------------------------------------------------------- */

/* Build inputs and run. s: sizes. ref, unless NULL, gets the expected values. */
typedef sky_tensor case_fn(sky_ctx *c, const int64_t *s, double *ref);

typedef struct {
    const char *name;
    case_fn *fn;
    int64_t s[8];
    double rtol, atol;
    char kind; /* b: the first size counts samples that do not see each other; B: that, and its bits depend on the level */
} op_case;

/* ---- what must hold for each ------------------------------------------------------------------------------------ */

enum { GUARD = 1 << 16 };
static sky_ctx one, three;

/* Run on c; the result's bytes in *out (malloc). Returns the result, or sky_none. */
static sky_tensor run(sky_ctx *c, const op_case *o, const int64_t *s, double *ref, char **out, size_t peak)
{
    sky_err e = {0};
    *out = NULL;
    if (sky_ctx_alloc(c, peak + GUARD, &e))
        return sky_none;
    memset(c->base, 0xa5, peak + GUARD);
    sky_tensor y = o->fn(c, s, ref);
    drop_all();
    for (size_t k = c->used; k < peak + GUARD; k++)
        if (c->base[k] != (char)0xa5)
            return printf("# byte %zu behind the result was written\n", k - c->used), sky_none;
    if (c->err.code)
        return printf("# %s\n", c->err.msg), sky_none;
    *out = malloc((size_t)sky_bytes(&y));
    sky_download(c, *out, &y);
    return y;
}

static int near(const sky_tensor *y, const char *got, const double *ref, double rtol, double atol)
{
    for (int64_t i = 0; i < sky_numel(y); i++) {
        double v = sky_load_f64(got, y->dtype, (uint64_t)i);
        if (v == ref[i]) /* infinities too */
            continue;
        if (!(fabs(v - ref[i]) <= atol + rtol * fabs(ref[i]))) {
            printf("# element %lld: %.9g, expected %.9g\n", (long long)i, v, ref[i]);
            return 0;
        }
    }
    return 1;
}

static int same_bits(sky_ctx *c, const op_case *o, const int64_t *s, const char *want, size_t n, size_t peak)
{
    char *got;
    sky_tensor y = run(c, o, s, NULL, &got, peak);
    int ok = y.data && (size_t)sky_bytes(&y) >= n && !memcmp(got, want, n);
    free(got);
    return ok;
}

static int all_levels(const op_case *o, const char *want, size_t n, size_t peak)
{
    int ok = 1;
#if defined __x86_64__
    const sky_row_kernels *best = one.dev->k, *sets[] = {&sky_row_kernels_plain, &sky_row_kernels_avx2};
    for (int k = 0; k < 2 && o->kind != 'B'; k++) {
        if (k && best == sets[0])
            break;
        one.dev->k = sets[k];
        if (!same_bits(&one, o, o->s, want, n, peak))
            ok = printf("# other bits with %s\n", sets[k]->name) < 0;
    }
    one.dev->k = best;
#endif
    return ok;
}

static void test_case(const op_case *o)
{
    sky_ctx_dry(&one);
    sky_tensor d = o->fn(&one, o->s, NULL);
    drop_all();
    size_t peak = one.peak;
    double *ref = calloc((size_t)sky_numel(&d) + 1, sizeof *ref);
    char *got = NULL, name[96], buf[96];
    sky_tensor y = run(&one, o, o->s, ref, &got, peak);
    snprintf(name, sizeof name, "%s %s", o->name, sky_shape_str(&d, buf));
    int dry = y.data && d.ndim == y.ndim && d.dtype == y.dtype && !memcmp(d.shape, y.shape, (size_t)y.ndim * 8) && one.peak == peak;
    OK(dry, "%s: dry run", name);
    if (dry) {
        size_t n = (size_t)sky_bytes(&y);
        int64_t first[8];
        memcpy(first, o->s, sizeof first);
        first[0] = 1;
        OK(near(&y, got, ref, o->rtol, o->atol), "%s: values", name);
        OK(same_bits(&one, o, o->s, got, n, peak) && same_bits(&three, o, o->s, got, n, peak) && all_levels(o, got, n, peak),
           "%s: same bits again, with 3 threads, at every level", name);
        if ((o->kind == 'b' || o->kind == 'B') && o->s[0] > 1)
            OK(same_bits(&one, o, first, got, n / (size_t)o->s[0] / 4 * 4, peak), "%s: first sample alone", name);
    }
    free(got);
    free(ref);
}

static int test_cases(const op_case *o, int n)
{
    sky_err e = {0};
    if (sky_ctx_open(&one, "cpu", 1, &e) || sky_ctx_open(&three, "cpu", 3, &e)) {
        printf("Bail out! %s\n", e.msg);
        return 1;
    }
    for (int i = 0; i < n; i++)
        test_case(&o[i]);
    sky_ctx_close(&one);
    sky_ctx_close(&three);
    return END();
}

#endif
