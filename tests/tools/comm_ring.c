/* comm_ring -- the ranks' interface, tried by every rank of a job. Rank 0 prints.
 *
 *   comm_ring check [DEVICE [LOCALS]]        every call against numbers that each rank works out for itself, to the bit;
 *                                            what is memory of a device is DEVICE's [cpu]; LOCALS: as if hosts had
 *                                            that many ranks
 *   comm_ring buckets [DEVICE [LOCALS]]      the same of gradients in buckets alone
 *   comm_ring train STATE STEPS MS [R HOW N] pretend training: STEPS steps of MS milliseconds, each with sums of
 *                                            statistics and of gradients in buckets; the step and a weight are kept in
 *                                            the file STATE and continued from there. USR1 to any rank: all stop after
 *                                            the step at hand, with status 0. In step N rank R ends by HOW:
 *                                            kill, exit, abort (the loss is not finite) or cut (it stops, alive, and
 *                                            answers no more) */
#include "base/hash.h"
#include "base/mem.h"
#include "tensor/backend.h"
#include "train/buckets.h"
#include "train/comm.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static sky_comm *k;
static sky_ctx c;
static sky_err err;
static int bad;

/* Number i of rank r: magnitudes far apart, so that the order of an addition shows in the last bits. */
static double number(int r, int64_t i)
{
    const uint64_t h = sky_mix64((uint64_t)r + 1, (uint64_t)i);
    return ((double)(h >> 11) / 9007199254740992.0 - 0.5) * (h & 1 ? 1e4 : 1e-3);
}

static float sum_f32(int64_t i)
{
    double s = (float)number(0, i);
    for (int r = 1; r < k->ranks; r++)
        s += (float)number(r, i);
    return (float)s;
}

static double sum_f64(int64_t i)
{
    double s = number(0, i);
    for (int r = 1; r < k->ranks; r++)
        s += number(r, i);
    return s;
}

static void must(int rc)
{
    if (rc)
        sky_comm_abort(k, "comm_ring", err.msg, 4);
}

/* Say how many ranks found it so: a sum of its own kind, over the small path that is checked first. */
static void report(int ok, const char *what)
{
    double yes = ok;
    must(sky_comm_sum(k, &yes, 1, SKY_F64, &err));
    bad += yes != k->ranks;
    if (k->rank == 0)
        printf("%s - %s: %g of %d ranks\n", yes == k->ranks ? "ok" : "not ok", what, yes, k->ranks);
}

static void *get(size_t bytes)
{
    void *p = sky_alloc(bytes);
    if (!p)
        sky_comm_abort(k, "comm_ring", "out of memory", 4);
    return p;
}

/* ---- memory of the device: bytes of host memory go there, and come back and are freed */
static void *there(const void *host, int64_t bytes)
{
    sky_tensor t = {NULL, SKY_U8, 1, {bytes}};
    must(c.be->alloc(c.dev, &t.data, (size_t)bytes, &err));
    must(c.be->put(c.dev, &t, host, &err));
    return t.data;
}
static void back(void *host, void *p, int64_t bytes)
{
    sky_tensor t = {p, SKY_U8, 1, {bytes}};
    must(c.be->get(c.dev, host, &t, &err));
    c.be->free(c.dev, p, (size_t)bytes);
}

/* The sum of n numbers of type t, in memory of the host or of the device, is right. */
static int sums(int64_t n, sky_dtype t, int device)
{
    const int64_t bytes = n * (int64_t)sky_dtype_size(t);
    void *p = get((size_t)bytes);
    float *x = p;
    double *y = p;
    for (int64_t i = 0; i < n; i++)
        if (t == SKY_F32)
            x[i] = (float)number(k->rank, i);
        else
            y[i] = number(k->rank, i);
    if (device) {
        sky_tensor at = {there(p, bytes), t, 1, {n}};
        must(sky_comm_sum_tensor(k, &at, &err));
        back(p, at.data, bytes);
    } else {
        must(sky_comm_sum(k, p, n, t, &err));
    }
    int same = 1;
    for (int64_t i = 0; i < n; i++)
        same &= t == SKY_F32 ? x[i] == sum_f32(i) : y[i] == sum_f64(i);
    sky_free(p);
    return same;
}

static void check_sums(int64_t n)
{
    char what[64];
    snprintf(what, sizeof what, "sum of %lld numbers, F32 and F64", (long long)n);
    report(sums(n, SKY_F32, c.be->own_memory) & sums(n, SKY_F64, 1), what);
}

/* Sums of awkward sizes under way together, a blocking one among them. */
static void check_started(void)
{
    const int64_t longer[] = {1, 3000000, 7, 1048576, 1048577, 500000, 2, 2500000, 12, 4096, 4097};
    enum { LONGER = sizeof longer / sizeof *longer, N = LONGER + 70 };
    float *x[N], *at[N];
    int64_t n[N];
    for (int j = 0; j < N; j++) {
        n[j] = j >= LONGER ? j : c.be->own_memory ? (longer[j] + 9) / 10 : longer[j]; /* emulated devices are slow */
        x[j] = get((size_t)n[j] * sizeof(float));
        for (int64_t i = 0; i < n[j]; i++)
            x[j][i] = (float)number(k->rank, i + j);
        at[j] = there(x[j], n[j] * 4);
    }
    int same = 1;
    for (int j = 0; j < N; j++) {
        must(sky_comm_sum_start(k, at[j], n[j], SKY_F32, &err));
        if (j % 3 == 0) {
            double s = number(k->rank, j);
            must(sky_comm_sum(k, &s, 1, SKY_F64, &err));
            same &= s == sum_f64(j);
        }
    }
    must(sky_comm_wait(k, &err));
    for (int j = 0; j < N; j++) {
        back(x[j], at[j], n[j] * 4);
        for (int64_t i = 0; i < n[j]; i++)
            same &= x[j][i] == sum_f32(i + j);
        sky_free(x[j]);
    }
    report(same, "sums that were begun together");
}

/* Parts of unequal size, some empty, of multiples of `unit`. */
static void check_gather(int64_t unit)
{
    int64_t *cut = get(((size_t)k->ranks + 1) * sizeof *cut);
    cut[0] = 3 * unit;
    for (int r = 0; r < k->ranks; r++)
        cut[r + 1] = cut[r] + (r == 1 ? 0 : (1000 + 77 * r) * unit);
    const int64_t n = cut[k->ranks] + 5;
    float *x = get((size_t)n * sizeof *x), *all = get((size_t)n * sizeof *all);
    for (int64_t i = 0; i < n; i++)
        x[i] = all[i] = -1;
    for (int64_t i = cut[k->rank]; i < cut[k->rank + 1]; i++)
        x[i] = (float)number(0, i);
    must(sky_comm_collect(k, x + cut[k->rank], k->rank ? NULL : all, cut, &err));
    float *at = there(x, n * 4);
    must(sky_comm_gather(k, at, cut, SKY_F32, &err));
    back(x, at, n * 4);
    int same = 1;
    for (int64_t i = 0; i < n; i++) {
        const float want = i < cut[0] || i >= cut[k->ranks] ? -1 : (float)number(0, i);
        same &= x[i] == want && (k->rank || all[i] == want);
    }
    report(same, unit == 64 ? "parts gathered, multiples of 64" : "parts gathered, any size");
    sky_free(cut);
    sky_free(x);
    sky_free(all);
}

static void check_broadcast(void)
{
    char text[32] = "";
    const int root = k->ranks - 1;
    if (k->rank == root)
        strcpy(text, "from the last rank");
    must(sky_comm_broadcast(k, text, sizeof text, root, &err));
    must(sky_comm_barrier(k, &err));
    report(!strcmp(text, "from the last rank"), "broadcast");
}

/* A sum of statistics, as batch norm makes them in backward; t: F64[3]. */
static int statistics(sky_tensor *t, int which)
{
    double s[3];
    for (int i = 0; i < 3; i++)
        s[i] = number(k->rank, 100 * which + i);
    must(c.be->put(c.dev, t, s, &err));
    must(sky_comm_sum_tensor(k, t, &err));
    must(c.be->get(c.dev, s, t, &err));
    return s[0] == sum_f64(100 * which) && s[1] == sum_f64(100 * which + 1) && s[2] == sum_f64(100 * which + 2);
}

/* Buckets in four backwards: parameters finish in an order that differs between ranks, some are never reported, and so does
 * where between them the three sums of statistics are. */
static void check_buckets(void)
{
    enum { N = 40 };
    int64_t at[N], size = 0;
    for (int i = 0; i < N; i++) {
        at[i] = size;
        size += 64 * (1 + (int64_t)(sky_mix64(7, (uint64_t)i) % 3000));
    }
    float *g = get((size_t)size * sizeof *g), *dev = there(g, size * 4);
    double room[3] = {0};
    sky_tensor all = {dev, SKY_F32, 1, {size}}, sums_of = {there(room, sizeof room), SKY_F64, 1, {3}};
    sky_buckets *b;
    must(sky_buckets_open(&b, k, dev, size, at, N, 1 << 20, &err));
    int same = sky_buckets_count(b) > 3;
    for (int step = 0; step < 4; step++) {
        for (int64_t i = 0; i < size; i++)
            g[i] = (float)number(k->rank, i + step);
        sky_buckets_begin(b);
        for (int j = 0, n = 0; j < N; j++) {
            if (j == k->rank % 5 || j == 6 + k->rank % 4 || j == 12 + 2 * k->rank % 20)
                same &= statistics(&sums_of, n++);
            const int i = step == 1 ? (j * 7 + k->rank) % N : N - 1 - j;
            sky_tensor part = {dev + at[i], SKY_F32, 1, {(i + 1 < N ? at[i + 1] : size) - at[i]}};
            must(c.be->put(c.dev, &part, g + at[i], &err)); /* as the last operation of backward for it */
            if ((j + k->rank) % 11)
                must(sky_buckets_done(b, i, &err));
        }
        must(sky_buckets_finish(b, &err));
        must(c.be->get(c.dev, g, &all, &err));
        for (int64_t i = 0; i < size; i++)
            same &= g[i] == sum_f32(i + step);
    }
    sky_buckets_close(b);
    c.be->free(c.dev, dev, (size_t)size * 4);
    c.be->free(c.dev, sums_of.data, sizeof room);
    sky_free(g);
    report(same, "gradients in buckets");
}

static int check(void)
{
    const int64_t n[] = {1, 2, 3, 1000, 4096, 4097, 1048576, 3145741};
    const size_t sizes = sizeof n / sizeof *n - (c.be->own_memory ? 2 : 0); /* there a long one follows */
    for (size_t i = 0; i < sizes; i++)
        check_sums(n[i]);
    check_started();
    check_gather(64);
    check_gather(1);
    check_broadcast();
    check_buckets();
    if (c.be->own_memory)
        report(sums(9437223, SKY_F64, 1), "sum of more than a piece");
    sky_tensor t = {&bad, SKY_I32, 1, {1}};
    report(sky_comm_sum_tensor(k, &t, &err) == SKY_EUSAGE, "integers are refused");
    return bad != 0;
}

static void end_by(const char *how)
{
    if (!strcmp(how, "kill"))
        raise(SIGKILL);
    if (!strcmp(how, "exit"))
        exit(3);
    if (!strcmp(how, "abort"))
        sky_comm_abort(k, "comm_ring", "the loss is not finite", 4);
    for (;;)
        pause();
}

typedef struct {
    int step;
    double weight;
} state;

static volatile sig_atomic_t asked;
static void ask(int sig) { asked = sig; }

static void keep(const char *path, const state *s)
{
    char tmp[4096];
    snprintf(tmp, sizeof tmp, "%s.tmp", path);
    FILE *f = fopen(tmp, "w");
    if (!f || fprintf(f, "%d %.17g\n", s->step, s->weight) < 0 || fclose(f) || rename(tmp, path))
        sky_comm_abort(k, "comm_ring", path, 4);
}

static int train(int argc, char **argv)
{
    enum { N = 16, SIZE = 1 << 16 };
    state s = {0};
    FILE *f = k->rank ? NULL : fopen(argv[2], "r");
    if (f) {
        if (fscanf(f, "%d %lf", &s.step, &s.weight) != 2)
            sky_comm_abort(k, "comm_ring", "the state cannot be read", 3);
        fclose(f);
        printf("continued from step %d\n", s.step);
    }
    must(sky_comm_broadcast(k, &s, sizeof s, 0, &err));
    int64_t at[N];
    for (int i = 0; i < N; i++)
        at[i] = (int64_t)i * SIZE;
    float *g = get((size_t)N * SIZE * sizeof *g);
    sky_buckets *b;
    must(sky_buckets_open(&b, k, g, (int64_t)N * SIZE, at, N, 1 << 20, &err));
    double stop = 0;
    signal(SIGUSR1, ask);
    for (const int last = atoi(argv[3]); s.step < last && !stop; s.step++) {
        if (argc == 8 && k->rank == atoi(argv[5]) && s.step == atoi(argv[7]))
            end_by(argv[6]);
        double loss = number(k->rank, s.step);
        must(sky_comm_sum(k, &loss, 1, SKY_F64, &err));
        for (int64_t i = 0; i < N * SIZE; i++)
            g[i] = (float)loss + (float)k->rank;
        sky_buckets_begin(b);
        for (int i = N - 1; i >= 0; i--) {
            const long ns = atol(argv[4]) * (1000000 / N);
            nanosleep(&(struct timespec){ns / 1000000000, ns % 1000000000}, NULL);
            must(sky_buckets_done(b, i, &err));
        }
        must(sky_buckets_finish(b, &err));
        s.weight -= 0.1 * g[0] / k->ranks;
        if (k->rank == 0) {
            printf("step %d loss %.17g weight %.17g\n", s.step, loss, s.weight);
            fflush(stdout);
            keep(argv[2], &(state){s.step + 1, s.weight});
        }
        stop = asked != 0;
        must(sky_comm_sum(k, &stop, 1, SKY_F64, &err));
    }
    sky_buckets_close(b);
    sky_free(g);
    return 0;
}

int main(int argc, char **argv)
{
    if (sky_comm_open(&k, &err)) {
        fprintf(stderr, "comm_ring: %s\n", err.msg);
        return 2;
    }
    const int trains = argc >= 5 && !strcmp(argv[1], "train"), buckets = argc > 1 && !strcmp(argv[1], "buckets");
    if (argc > 3 && !trains) {
        k->locals = atoi(argv[3]);
        k->local = k->rank % k->locals;
    }
    if (sky_comm_ctx_open(k, &c, argc > 2 && !trains ? argv[2] : "cpu", 1, &err))
        sky_comm_abort(k, "comm_ring", err.msg, 2);
    if (k->rank == 0)
        printf("%d ranks, %d on this host, %s\n", k->ranks, k->locals, k->ops ? k->device->name : "alone");
    if (buckets)
        check_buckets();
    const int status = trains ? train(argc, argv) : buckets ? bad != 0 : check();
    sky_comm_close(k);
    sky_ctx_close(&c);
    return status;
}
