/* bench_comm -- sums over ranks: how fast, and how much of them hides behind backward. Run it under mpirun.
 *
 *   bench_comm [MIB [MS [sleep]]]   MIB of gradients [64], in parameters of 1 MiB; MS of work per parameter [4], done by
 *                                   the core, or slept through: by a device, as far as the core can tell
 *
 * First our sum beside MPI_Allreduce and MPI_Iallreduce, in turn. Then a pretended backward, in turn:
 *   work     the work alone
 *   after    the work, then all sums
 *   begun    each bucket's sum is begun when it is full, as train/buckets.c does
 * Medians of rank 0: wall time, which means something where every rank has a core of its own or sleeps, and CPU time,
 * which includes waiting, for MPI waits by asking. */
#include "base/mem.h"
#include "train/buckets.h"

#ifdef SKY_MPI
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TURNS = 7, PARAM = 1 << 18, BUCKET = 4 }; /* elements of a parameter; parameters of a bucket */

static sky_comm *k;
static sky_err err;
static float *g, *h;
static int params;
static double ms;

static double clock_ms(clockid_t which)
{
    struct timespec t;
    clock_gettime(which, &t);
    return (double)t.tv_sec * 1e3 + 1e-6 * (double)t.tv_nsec;
}

static void must(int rc)
{
    if (rc)
        sky_comm_abort(k, "bench_comm", err.msg, 4);
}

/* MS of the core's time, as products would take it: not shortened by what else happens. */
static long loops = 1000000;
static volatile double sink;
static int sleeps;
static void work(long n)
{
    if (sleeps) {
        nanosleep(&(struct timespec){0, (long)(ms * 1e6)}, NULL);
        return;
    }
    double x = 1;
    for (long i = 0; i < n; i++)
        x = x * 1.0000001 + 1e-9;
    sink = x;
}

static void calibrate(void)
{
    double best = 1e9;
    for (int i = 0; i < 20; i++) {
        const double t = clock_ms(CLOCK_MONOTONIC);
        work(loops);
        if (clock_ms(CLOCK_MONOTONIC) - t < best)
            best = clock_ms(CLOCK_MONOTONIC) - t;
    }
    loops = (long)((double)loops * ms / best);
    must(sky_comm_broadcast(k, &loops, sizeof loops, 0, &err));
}

static void ours(void) { must(sky_comm_sum(k, g, (int64_t)params * PARAM, SKY_F32, &err)); }
static void all(void) { MPI_Allreduce(MPI_IN_PLACE, g, params * PARAM, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD); }
static void iall(void)
{
    MPI_Request q;
    MPI_Iallreduce(MPI_IN_PLACE, g, params * PARAM, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD, &q);
    MPI_Wait(&q, MPI_STATUS_IGNORE);
}

static void backward(int sums)
{
    for (int i = params - 1; i >= 0; i--) {
        work(loops);
        if (sums && i % BUCKET == 0)
            must(sky_comm_sum_start(k, g + (int64_t)i * PARAM, (int64_t)BUCKET * PARAM, SKY_F32, &err));
    }
    must(sky_comm_wait(k, &err));
}

static void work_alone(void) { backward(0); }
static void after(void)
{
    backward(0);
    ours();
}
static void begun(void) { backward(1); }

static int ascending(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

typedef struct {
    const char *name;
    void (*run)(void);
    double t[TURNS], cpu[TURNS];
} way;

static void compare(way *w, int n)
{
    for (int turn = -1; turn < TURNS; turn++) /* the first is not counted */
        for (int i = 0; i < n; i++) {
            memcpy(g, h, (size_t)params * PARAM * sizeof *g);
            must(sky_comm_barrier(k, &err));
            const double t = clock_ms(CLOCK_MONOTONIC), cpu = clock_ms(CLOCK_PROCESS_CPUTIME_ID);
            w[i].run();
            if (turn >= 0) {
                w[i].cpu[turn] = clock_ms(CLOCK_PROCESS_CPUTIME_ID) - cpu;
                w[i].t[turn] = clock_ms(CLOCK_MONOTONIC) - t;
            }
        }
    for (int i = 0; i < n; i++) {
        qsort(w[i].t, TURNS, sizeof *w[i].t, ascending);
        qsort(w[i].cpu, TURNS, sizeof *w[i].cpu, ascending);
        if (k->rank == 0)
            printf("  %-16s %8.1f ms wall (%.1f to %.1f) %8.1f ms CPU\n", w[i].name, w[i].t[TURNS / 2], w[i].t[0], w[i].t[TURNS - 1], w[i].cpu[TURNS / 2]);
    }
}

int main(int argc, char **argv)
{
    if (sky_comm_open(&k, &err) || !k->ops) {
        fprintf(stderr, "bench_comm: %s\n", err.code ? err.msg : "start it with mpirun");
        return 2;
    }
    params = argc > 1 ? atoi(argv[1]) / BUCKET * BUCKET : 64;
    ms = argc > 2 ? atof(argv[2]) : 4;
    sleeps = argc > 3;
    g = sky_calloc((size_t)params * PARAM, sizeof *g);
    h = sky_calloc((size_t)params * PARAM, sizeof *h);
    if (params < BUCKET || !g || !h)
        sky_comm_abort(k, "bench_comm", "MIB of 4 or more, and memory for it", 2);
    for (int64_t i = 0; i < (int64_t)params * PARAM; i++)
        h[i] = (float)(i % 1000 + k->rank);
    calibrate();
    if (k->rank == 0)
        printf("%d ranks, %d on this host: %d MiB\n", k->ranks, k->locals, params);
    compare((way[]){{.name = "ours", .run = ours}, {.name = "MPI_Allreduce", .run = all}, {.name = "MPI_Iallreduce", .run = iall}}, 3);
    if (k->rank == 0)
        printf("backward of %d parameters, %.1f ms each, %s\n", params, ms, sleeps ? "slept" : "of the core");
    compare((way[]){{.name = "work", .run = work_alone}, {.name = "after", .run = after}, {.name = "begun", .run = begun}}, 3);
    sky_free(g);
    sky_free(h);
    sky_comm_close(k);
    return 0;
}
#else
#include <stdio.h>
int main(void)
{
    fprintf(stderr, "bench_comm: MPI is not built in\n");
    return 2;
}
#endif
