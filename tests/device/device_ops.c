/* usage: device_ops [DEVICE [NAME]]: compare the table of DEVICE [cuda] with the CPU's, on all operations or those whose
 * name starts so. Without such a device everything is skipped, with the reason. See device_ops.h. */
#include "device/device_ops.h"
#include "base/hash.h"
#include "t.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

extern int emu_order __attribute__((weak)); /* tests/emulate: there when the kernels are emulated */
extern unsigned emu_lazy __attribute__((weak));

enum { GUARD = 512 };

static void fail(const char *what, const sky_err *e)
{
    printf("Bail out! %s: %s\n", what, e->msg);
    exit(1);
}

static void *room(int64_t n)
{
    void *p = malloc((size_t)n + 1);
    if (!p)
        exit(1);
    return p;
}

/* ---- tensors ------------------------------------------------------------------------------------------------------ */

static sky_tensor raw_bytes(const sky_tensor *t, int64_t n) { return (sky_tensor){.data = t->data, .dtype = SKY_U8, .ndim = 1, .shape = {n}}; }

sky_tensor put(run *r, sky_dtype t, int ndim, const int64_t *shape, const void *host)
{
    sky_tensor y = {.dtype = t, .ndim = ndim};
    for (int i = 0; i < ndim; i++)
        y.shape[i] = shape[i];
    int64_t n = sky_bytes(&y);
    char *all = room(n + GUARD);
    memcpy(all, host, (size_t)n);
    memset(all + n, 0xff, GUARD); /* read by mistake, this is NaN */
    if (r->be->alloc(r->dev, &y.data, (size_t)n + GUARD, &r->e))
        fail("memory", &r->e);
    sky_tensor b = raw_bytes(&y, n + GUARD);
    if (r->be->put(r->dev, &b, all, &r->e))
        fail("put", &r->e);
    free(all);
    return r->t[r->held++] = y;
}

static int64_t count(int ndim, const int64_t *shape)
{
    int64_t n = 1;
    for (int i = 0; i < ndim; i++)
        n *= shape[i];
    return n;
}

typedef float value_fn(uint64_t hash, uint64_t i, float a, float b);
static float random_value(uint64_t h, uint64_t i, float scale, float offset) { return sky_counter_value(h, i, scale, offset); }
static float whole_value(uint64_t h, uint64_t i, float most, float none)
{
    (void)none;
    return (float)((int)(sky_counter_u24(h, i) % (uint32_t)(2 * (int)most + 1)) - (int)most);
}

static sky_tensor made(run *r, sky_dtype t, value_fn *fn, const char *name, float a, float b, int ndim, const int64_t *shape)
{
    int64_t n = count(ndim, shape);
    void *p = room(4 * n);
    uint64_t h = sky_fnv1a(name);
    for (int64_t i = 0; i < n; i++)
        if (t == SKY_BF16)
            ((uint16_t *)p)[i] = sky_f32_to_bf16(fn(h, (uint64_t)i, a, b));
        else
            ((float *)p)[i] = fn(h, (uint64_t)i, a, b);
    sky_tensor y = put(r, t, ndim, shape, p);
    free(p);
    return y;
}

sky_tensor rnd(run *r, const char *name, float scale, float offset, int ndim, const int64_t *shape)
{
    return made(r, SKY_F32, random_value, name, scale, offset, ndim, shape);
}
sky_tensor whole(run *r, const char *name, int most, int ndim, const int64_t *shape)
{
    return made(r, SKY_F32, whole_value, name, (float)most, 0, ndim, shape);
}
sky_tensor rounded(run *r, const char *name, float scale, int ndim, const int64_t *shape)
{
    return made(r, SKY_BF16, scale == (float)(int)scale ? whole_value : random_value, name, scale, 0, ndim, shape);
}
sky_tensor bytes(run *r, const char *name, uint32_t below, int ndim, const int64_t *shape)
{
    int64_t n = count(ndim, shape);
    uint8_t *p = room(n);
    uint64_t h = sky_fnv1a(name);
    for (int64_t i = 0; i < n; i++)
        p[i] = (uint8_t)(sky_counter_u24(h, (uint64_t)i) % below);
    sky_tensor y = put(r, SKY_U8, ndim, shape, p);
    free(p);
    return y;
}

void also(run *r, const sky_tensor *t, double tol)
{
    for (int i = 0; i < r->held; i++)
        if (r->t[i].data == t->data)
            r->out[r->outs] = i;
    r->tol[r->outs++] = tol;
}

sky_tensor result(run *r, sky_dtype t, double tol, int ndim, const int64_t *shape)
{
    int64_t n = count(ndim, shape) * (int64_t)sky_dtype_size(t);
    void *p = room(n);
    memset(p, 0xff, (size_t)n);
    sky_tensor y = put(r, t, ndim, shape, p);
    free(p);
    also(r, &y, tol);
    return y;
}

sky_grad grad(run *r, int add, double tol, int ndim, const int64_t *shape)
{
    if (!add)
        return (sky_grad){result(r, SKY_F32, tol, ndim, shape), 0};
    sky_tensor t = whole(r, "what was there", 9, ndim, shape);
    also(r, &t, tol);
    return (sky_grad){t, 1};
}

/* ---- running and comparing ---------------------------------------------------------------------------------------- */

static char *host_copy(run *r, int i, int64_t extra)
{
    int64_t n = sky_bytes(&r->t[i]) + extra;
    sky_tensor b = raw_bytes(&r->t[i], n);
    char *p = room(n);
    if (r->be->get(r->dev, p, &b, &r->e))
        fail("get", &r->e);
    return p;
}

static int guards(run *r)
{
    int bad = 0;
    for (int i = 0; i < r->held && !bad; i++) {
        char *p = host_copy(r, i, GUARD);
        for (int k = 0; k < GUARD; k++)
            bad += p[sky_bytes(&r->t[i]) + k] != (char)0xff;
        if (bad)
            printf("# written behind tensor %d of the case\n", i);
        free(p);
    }
    return !bad;
}

static int agree(const sky_tensor *t, const void *got, const void *want, double tol)
{
    double top = 0;
    int64_t n = sky_numel(t);
    for (int64_t i = 0; i < n; i++) {
        double v = fabs(sky_load_f64(want, t->dtype, (uint64_t)i));
        top = v > top && isfinite(v) ? v : top;
    }
    for (int64_t i = 0; i < n; i++) {
        double a = sky_load_f64(got, t->dtype, (uint64_t)i), b = sky_load_f64(want, t->dtype, (uint64_t)i);
        if (a != b && !(fabs(a - b) <= tol * (fabs(b) + top))) {
            printf("# element %lld: %.9g, expected %.9g (largest %.3g, off by %.1e)\n", (long long)i, a, b, top, fabs(a - b) / (fabs(b) + top));
            return 0;
        }
    }
    return 1;
}

static void release(run *r)
{
    while (r->held) {
        sky_tensor *t = &r->t[--r->held];
        r->be->free(r->dev, t->data, (size_t)sky_bytes(t) + GUARD);
    }
    *r = (run){.be = r->be, .dev = r->dev};
}

static void run_case(run *r, const op_case *c)
{
    c->fn(r, c->s);
    if (!r->rc && !r->absent && r->held) { /* work may still be under way, and so may its error */
        sky_tensor b = raw_bytes(&r->t[0], 1);
        char one;
        r->rc = r->be->get(r->dev, &one, &b, &r->e);
    }
}

static void compare(run *cpu, run *dev, const op_case *c, const char *name)
{
    char *first[8];
    int64_t size[8];
    int ok = 1, same = 1, n = dev->outs;
    for (int i = 0; i < n; i++) {
        const sky_tensor *t = &dev->t[dev->out[i]];
        char *want = host_copy(cpu, cpu->out[i], 0);
        first[i] = host_copy(dev, dev->out[i], 0);
        size[i] = sky_bytes(t);
        if (!agree(t, first[i], want, dev->tol[i]))
            ok = printf("# in result %d\n", i) < 0;
        free(want);
    }
    OK(ok, "%s: values", name);
    OK(guards(dev), "%s: nothing written behind a tensor", name);
    release(dev);
    if (&emu_order)
        emu_order = 1;
    run_case(dev, c);
    if (&emu_order)
        emu_order = 0;
    for (int i = 0; i < n; i++) {
        char *again = host_copy(dev, dev->out[i], 0);
        same = same && !dev->rc && !memcmp(again, first[i], (size_t)size[i]);
        free(again);
        free(first[i]);
    }
    OK(same, "%s: the same bits again", name);
}

static void test_case(run *cpu, run *dev, const op_case *c)
{
    char name[160], text[96] = "";
    run_case(cpu, c);
    run_case(dev, c);
    snprintf(name, sizeof name, "%s %s", c->name, dev->outs ? sky_shape_str(&dev->t[dev->out[0]], text) : "");
    cpu->absent |= cpu->rc == SKY_EDEVICE; /* offered, but not for these arguments */
    if (dev->absent || cpu->absent)
        SKIP(dev->absent ? "the device does not offer it" : "the CPU does not offer it, so there is nothing to compare with", name);
    else if (dev->rc || cpu->rc)
        OK(0, "%s: %s%s", name, dev->rc ? dev->e.msg : "", cpu->rc ? cpu->e.msg : "");
    else
        compare(cpu, dev, c, name);
    release(cpu);
    release(dev);
}

/* Every entry that the CPU has must be there; the list is the table itself, seen as pointers. */
static void complete(const sky_backend *be)
{
    const size_t from = offsetof(sky_backend, linear), n = (sizeof *be - from) / sizeof(void *);
    void *a[256], *b[256];
    int lacking = 0;
    memcpy(a, (const char *)be + from, n * sizeof *a);
    memcpy(b, (const char *)&sky_backend_cpu + from, n * sizeof *b);
    for (size_t i = 0; i < n; i++) {
        lacking += b[i] && !a[i];
        if (b[i] && !a[i])
            printf("# entry %zu from linear on is missing\n", i);
    }
    OK(!lacking, "the %s backend offers every operation of the CPU backend", be->name);
}

/* What ranks pass to each other, with one rank: it is its own peer. Several: tests/tools/comm_ring.c. */
static void exchange(run *r)
{
    static const char *const what = "exchange: a single rank gives itself what it gave";
    sky_meeting m = {0};
    if (!r->be->join || r->be->meet(&m, &r->e)) {
        SKIP(r->be->join ? r->e.msg : "NCCL is not built in", what);
        return;
    }
    sky_tensor x = bytes(r, "x", 256, S(70001)), y = result(r, SKY_U8, 0, S(70001));
    const sky_part give = {x.data, (size_t)sky_bytes(&x)}, take = {y.data, (size_t)sky_bytes(&y)};
    char *a = host_copy(r, 0, 0), *b = NULL;
    if (r->be->join(r->dev, &m, 0, 1, &r->e) || r->be->exchange(r->dev, &give, &take, &r->e))
        OK(0, "%s: %s", what, r->e.msg);
    else
        OK(!memcmp(a, b = host_copy(r, 1, 0), (size_t)sky_bytes(&x)) && guards(r), "%s", what);
    free(a);
    free(b);
    release(r);
}

/* What there is no memory for is said of what wanted it, not of the next operation too. */
static void no_memory(run *r)
{
    const size_t much = (size_t)1 << 50;
    void *p;
    sky_tensor y = result(r, SKY_F32, 0, S(5));
    int device = r->be->alloc(r->dev, &p, much, &r->e), host = r->be->host_alloc ? r->be->host_alloc(r->dev, &p, much, &r->e) : SKY_ENOMEM;
    OK(device == SKY_ENOMEM && host && !r->be->fill(r->dev, &y, 1, &r->e), "memory: more than there is, and on");
    release(r);
}

/* A large array of the host may change as soon as it was put, too. */
static void large_put(run *r)
{
    sky_tensor y = {.dtype = SKY_U8, .ndim = 1, .shape = {(9 << 20) + 3}};
    const int64_t n = sky_bytes(&y);
    uint8_t *p = room(n), *q = room(n);
    int same = !r->be->alloc(r->dev, &y.data, (size_t)n, &r->e);
    for (int64_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 7 + i / 256);
    if (&emu_lazy)
        emu_lazy = ~0u;
    same = same && !r->be->put(r->dev, &y, p, &r->e);
    memset(p, 0, (size_t)n);
    same = same && !r->be->get(r->dev, q, &y, &r->e);
    if (&emu_lazy)
        emu_lazy = 0;
    for (int64_t i = 0; i < n && same; i++)
        same = q[i] == (uint8_t)(i * 7 + i / 256);
    OK(same, "put: %lld bytes, which change when the call is over", (long long)n);
    r->be->free(r->dev, y.data, (size_t)n);
    free(p);
    free(q);
}

static void checked(int ok, const char *what) { OK(ok, "%s", what); }

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "cuda", *only = argc > 2 ? argv[2] : "";
    const op_case *const lists[] = {row_cases, map_cases, loss_cases, product_cases, attention_cases, update_cases};
    sky_ctx cpu, dev;
    sky_err e = {0};
    if (sky_ctx_open(&cpu, "cpu", 0, &e))
        fail("cpu", &e);
    if (sky_ctx_open(&dev, device, 0, &e)) {
        printf("1..0 # SKIP %s\n", e.msg);
        sky_ctx_close(&cpu);
        return 0;
    }
    run a = {.be = cpu.be, .dev = cpu.dev}, b = {.be = dev.be, .dev = dev.dev};
    complete(dev.be);
    for (size_t k = 0; k < sizeof lists / sizeof lists[0]; k++)
        for (const op_case *c = lists[k]; c->name; c++)
            if (!strncmp(c->name, only, strlen(only)))
                test_case(&a, &b, c);
    if (!strncmp("memory", only, strlen(only)))
        no_memory(&b);
    if (!strncmp("put", only, strlen(only)))
        large_put(&b);
    if (!strncmp("exchange", only, strlen(only)))
        exchange(&b);
    if (!strncmp("replay", only, strlen(only)))
        replay_tests(device, checked);
    if (!strncmp("transit", only, strlen(only)))
        transit_tests(device, checked);
    sky_ctx_close(&dev);
    sky_ctx_close(&cpu);
    return END();
}
