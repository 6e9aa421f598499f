/* bench_pack -- packing and sequential reading of shards beside raw zstd on the same bytes, in the same run.
 *
 *   bench_pack [DIR [MEGABYTES [THREADS]]]     DIR: where the shard goes [/tmp]
 *
 * Raw: ZSTD_compress2 / ZSTD_decompressDCtx of the same frames in memory (level 3, checksums on), all threads, contexts
 * reused, decompressing into a ring of RING buffers a thread: a reader that hands records on cannot use one hot buffer.
 * Ours: sky_writer into a file, from samples that were made before the clock starts, and sky_reader from that file while
 * the system still has it in memory. Rounds alternate; medians of the paired ratios. Then how much faster THREADS are than
 * one, in wall time, again in turn: raw zstd shows what the machine could give just then. */
#include "base/hash.h"
#include "base/mem.h"
#include "base/threads.h"
#include "format/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

enum { RING = 4, SIDE = 512, BANDS = 3, ROUNDS = 15, PAIRS = 7, PIXELS = SIDE * SIDE };

typedef struct {
    uint8_t *image, *label;   /* BANDS*PIXELS, PIXELS */
    uint8_t *packed[2];
    size_t n[2];
} tile;

static tile *tiles;
static sky_sample *samples;
static int64_t count;
static ZSTD_CCtx *cctx[256];
static ZSTD_DCtx *dctx[256];
static uint8_t *scratch[256][RING];
static unsigned turn[256];

/* Smooth ground with sensor noise of 3 bits: about 2:1 under zstd level 3, like 8-bit aerial pictures. */
static void make_tile(void *arg, int64_t i, int thread)
{
    (void)arg;
    (void)thread;
    tile *t = &tiles[i];
    uint64_t h = sky_mix64(42, (uint64_t)i);
    t->image = sky_alloc(BANDS * PIXELS);
    t->label = sky_alloc(PIXELS);
    for (int k = 0; k < BANDS * PIXELS; k++) {
        int x = k % SIDE, y = k / SIDE % SIDE, c = k / PIXELS;
        t->image[k] = (uint8_t)(60 + 20 * c + (x * (int)(h & 7) + y * (int)(h >> 3 & 7)) / 64 + (int)(sky_counter_u24(h, (uint64_t)k) & 7));
    }
    for (int k = 0; k < PIXELS; k++)
        t->label[k] = (uint8_t)((k % SIDE / 70 + k / SIDE / 90) % 7);
    for (int f = 0; f < 2; f++)
        t->packed[f] = sky_alloc(ZSTD_compressBound(f ? PIXELS : BANDS * PIXELS));
}

static void raw_pack(void *arg, int64_t i, int thread)
{
    (void)arg;
    tile *t = &tiles[i];
    t->n[0] = ZSTD_compress2(cctx[thread], t->packed[0], ZSTD_compressBound(BANDS * PIXELS), t->image, BANDS * PIXELS);
    t->n[1] = ZSTD_compress2(cctx[thread], t->packed[1], ZSTD_compressBound(PIXELS), t->label, PIXELS);
}

static void raw_unpack(void *arg, int64_t i, int thread)
{
    (void)arg;
    tile *t = &tiles[i];
    for (int f = 0; f < 2; f++)
        if (ZSTD_decompressDCtx(dctx[thread], scratch[thread][turn[thread]++ % RING], BANDS * PIXELS, t->packed[f], t->n[f]) != (size_t)(f ? PIXELS : BANDS * PIXELS))
            abort();
}

static void add(sky_sample *s, const char *name, const uint8_t *p, int ndim)
{
    const uint64_t shape[3] = {BANDS, SIDE, SIDE};
    sky_err e;
    sky_field *f = sky_sample_add(s, name, &e);
    if (!f || sky_field_alloc(f, SKY_U8, ndim, shape + 3 - ndim, 0, &e) || sky_field_set_dims(f, ndim == 3 ? "cyx" : "yx", &e))
        abort();
    memcpy(f->data, p, f->nbytes);
    if (ndim == 2)
        json_object_set_new(f->meta, "role", json_string("label"));
}

static void make_samples(sky_sample *s)
{
    for (int64_t i = 0; i < count; i++) {
        char id[32];
        sky_err e;
        snprintf(id, sizeof id, "%lld", (long long)i);
        if (sky_sample_begin(&s[i], id, &e))
            abort();
        add(&s[i], "hr", tiles[i].image, 3);
        add(&s[i], "label", tiles[i].label, 2);
    }
}

static void ours_pack(sky_sample *s, const char *path, int threads)
{
    sky_err e;
    sky_writer *w;
    sky_writer_opts o = {.level = 3, .threads = threads};
    int rc = sky_writer_open(&w, path, SKY_SHARD, NULL, &o, &e);
    for (int64_t i = 0; i < count && !rc; i++)
        rc = sky_writer_put(w, &s[i], &e);
    if (rc || sky_writer_close(w, &e)) {
        fprintf(stderr, "bench_pack: %s\n", e.msg);
        exit(4);
    }
}

static void ours_read(char *path, int threads)
{
    sky_err e;
    sky_reader *r;
    sky_sample s = {0};
    int64_t n = 0;
    int rc = sky_reader_open(&r, &path, 1, NULL, &e);
    if (!rc)
        sky_reader_threads(r, threads);
    while (!rc && (rc = sky_reader_next(r, &s, &e)) > 0)
        rc = 0, n++;
    if (rc || n != count) {
        fprintf(stderr, "bench_pack: %s\n", e.msg);
        exit(4);
    }
    sky_sample_free(&s);
    sky_reader_close(r);
}

typedef struct {
    double wall, cpu;
} lap;

static double seconds(clockid_t c)
{
    struct timespec t;
    clock_gettime(c, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static lap start(void) { return (lap){seconds(CLOCK_MONOTONIC), seconds(CLOCK_PROCESS_CPUTIME_ID)}; }
static lap stop(lap t) { return (lap){seconds(CLOCK_MONOTONIC) - t.wall, seconds(CLOCK_PROCESS_CPUTIME_ID) - t.cpu}; }

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void report(const char *what, const lap raw[ROUNDS], const lap ours[ROUNDS], double mb)
{
    double wall[ROUNDS], cpu[ROUNDS], best_raw = 1e9, best = 1e9, busy = 0;
    for (int i = 0; i < ROUNDS; i++) {
        wall[i] = raw[i].wall / ours[i].wall;
        cpu[i] = raw[i].cpu / ours[i].cpu;
        best_raw = raw[i].cpu < best_raw ? raw[i].cpu : best_raw;
        best = ours[i].cpu < best ? ours[i].cpu : best;
        busy += ours[i].cpu / ours[i].wall / ROUNDS;
    }
    qsort(wall, ROUNDS, sizeof *wall, ascending);
    qsort(cpu, ROUNDS, sizeof *cpu, ascending);
    printf("%-6s raw %7.0f MB per CPU second, ours %7.0f; ours/raw: CPU %.3f, wall %.3f (medians of %d); %.2f cores busy\n", what, mb / best_raw,
           mb / best, cpu[ROUNDS / 2], wall[ROUNDS / 2], ROUNDS, busy);
}

static lap time_raw(sky_pool *pool, void (*fn)(void *, int64_t, int))
{
    lap t = start();
    sky_pool_for(pool, count, fn, NULL);
    return stop(t);
}

static lap time_pack(const char *path, int threads)
{
    make_samples(samples);
    lap t = start();
    ours_pack(samples, path, threads);
    return stop(t);
}

static lap time_read(char *path, int threads)
{
    lap t = start();
    ours_read(path, threads);
    return stop(t);
}

/* Pairs of runs with one thread and with all: the median of the ratios of their wall times, and the ratio of the shortest. */
static void scaling(sky_pool *pool, char *path, int threads)
{
    static const char *const what[] = {"raw pack", "pack", "raw read", "read"};
    double ratio[PAIRS], least[2];
    printf("%d threads against 1, wall time, median of %d pairs (shortest against shortest):", threads, PAIRS);
    for (int k = 0; k < 4; k++) {
        for (int i = 0; i < PAIRS; i++) {
            double t[2];
            for (int j = 0; j < 2; j++) {
                int n = j ? threads : 1;
                lap l = k == 0   ? time_raw(j ? pool : NULL, raw_pack)
                        : k == 1 ? time_pack(path, n)
                        : k == 2 ? time_raw(j ? pool : NULL, raw_unpack)
                                 : time_read(path, n);
                t[j] = l.wall;
                least[j] = i && least[j] < t[j] ? least[j] : t[j];
            }
            ratio[i] = t[0] / t[1];
        }
        qsort(ratio, PAIRS, sizeof *ratio, ascending);
        printf(" %s %.2f (%.2f)%s", what[k], ratio[PAIRS / 2], least[0] / least[1], k < 3 ? "," : "\n");
    }
}

int main(int argc, char **argv)
{
    const char *dir = argc > 1 ? argv[1] : "/tmp";
    double mb = argc > 2 ? atof(argv[2]) : 100;
    int threads = argc > 3 ? atoi(argv[3]) : 0;
    sky_pool *pool;
    sky_err e;
    lap rp[ROUNDS], op[ROUNDS], ru[ROUNDS], ou[ROUNDS];
    char path[512];
    count = (int64_t)(mb * 1e6 / ((BANDS + 1) * PIXELS)) + 1;
    mb = (double)count * (BANDS + 1) * PIXELS / 1e6;
    tiles = sky_calloc((size_t)count, sizeof *tiles);
    samples = sky_calloc((size_t)count, sizeof *samples);
    if (!tiles || !samples || sky_pool_open(&pool, threads, &e))
        return 4;
    for (int i = 0; i < sky_pool_threads(pool); i++) {
        cctx[i] = ZSTD_createCCtx();
        ZSTD_CCtx_setParameter(cctx[i], ZSTD_c_compressionLevel, 3);
        ZSTD_CCtx_setParameter(cctx[i], ZSTD_c_checksumFlag, 1);
        dctx[i] = ZSTD_createDCtx();
        for (int k = 0; k < RING; k++)
            scratch[i][k] = sky_alloc(BANDS * PIXELS);
    }
    sky_pool_for(pool, count, make_tile, NULL);
    snprintf(path, sizeof path, "%s/bench_pack-%ld.sky", dir, (long)getpid());
    for (int i = -1; i < ROUNDS; i++) { /* the first round warms up */
        int k = i < 0 ? 0 : i;
        rp[k] = time_raw(pool, raw_pack);
        op[k] = time_pack(path, threads);
        ru[k] = time_raw(pool, raw_unpack);
        ou[k] = time_read(path, threads);
    }
    size_t packed = 0;
    for (int64_t i = 0; i < count; i++)
        packed += tiles[i].n[0] + tiles[i].n[1];
    printf("%lld tiles of %dx%d, %.0f MB, zstd level 3 ratio %.2f, %d threads\n", (long long)count, SIDE, SIDE, mb, mb * 1e6 / (double)packed, sky_pool_threads(pool));
    report("pack", rp, op, mb);
    report("read", ru, ou, mb);
    if (sky_pool_threads(pool) > 1)
        scaling(pool, path, sky_pool_threads(pool));
    unlink(path);
    return 0;
}
