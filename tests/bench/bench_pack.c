/* bench_pack -- packing and sequential reading of shards beside raw zstd on the same bytes, in the same run.
 *
 *   bench_pack [DIR [MEGABYTES [THREADS]]]     DIR: where the shard goes [/tmp]
 *
 * Raw: ZSTD_compress2 / ZSTD_decompressDCtx of the same frames in memory (level 3, checksums on), all threads, contexts
 * reused, decompressing into a ring of RING buffers a thread: a reader that hands records on cannot use one hot buffer.
 * File: the same to and from a file of bare frames, threads, contexts and buffers made from nothing each time, as ours are.
 * Ours: sky_writer into a file, from samples that were made before the clock starts, and sky_reader from that file while
 * the system still has it in memory. Rounds alternate; medians of the paired ratios. Then how much faster THREADS are than
 * one, in wall time, again in turn: raw zstd shows what the machine could give just then. */
#include "base/hash.h"
#include "base/mem.h"
#include "base/threads.h"
#include "format/stream.h"

#include <fcntl.h>
#include <stdatomic.h>
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
    off_t at[2];              /* of its frames in the file of bare frames */
} tile;

/* What one thread of raw zstd needs. */
typedef struct {
    ZSTD_CCtx *c;
    ZSTD_DCtx *d;
    uint8_t *ring[RING], *packed; /* packed: one frame, read from the file */
    unsigned turn;
} kit;

static tile *tiles;
static sky_sample *samples;
static int64_t count;
static kit warm[256];
static int frames;              /* the file of bare frames ... */
static _Atomic off_t frames_end; /* ... and where its next one goes */

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

static void kit_open(kit *k)
{
    k->c = ZSTD_createCCtx();
    k->d = ZSTD_createDCtx();
    ZSTD_CCtx_setParameter(k->c, ZSTD_c_compressionLevel, 3);
    ZSTD_CCtx_setParameter(k->c, ZSTD_c_checksumFlag, 1);
    for (int i = 0; i < RING; i++)
        k->ring[i] = sky_alloc(BANDS * PIXELS);
    k->packed = sky_alloc(ZSTD_compressBound(BANDS * PIXELS));
}

static void kit_close(kit *k)
{
    ZSTD_freeCCtx(k->c);
    ZSTD_freeDCtx(k->d);
    for (int i = 0; i < RING; i++)
        sky_free(k->ring[i]);
    sky_free(k->packed);
}

static void raw_pack(void *arg, int64_t i, int thread)
{
    kit *k = (kit *)arg + thread;
    tile *t = &tiles[i];
    t->n[0] = ZSTD_compress2(k->c, t->packed[0], ZSTD_compressBound(BANDS * PIXELS), t->image, BANDS * PIXELS);
    t->n[1] = ZSTD_compress2(k->c, t->packed[1], ZSTD_compressBound(PIXELS), t->label, PIXELS);
}

static void unpack(kit *k, const tile *t, int f, const uint8_t *packed)
{
    if (ZSTD_decompressDCtx(k->d, k->ring[k->turn++ % RING], BANDS * PIXELS, packed, t->n[f]) != (size_t)(f ? PIXELS : BANDS * PIXELS))
        abort();
}

static void raw_unpack(void *arg, int64_t i, int thread)
{
    for (int f = 0; f < 2; f++)
        unpack((kit *)arg + thread, &tiles[i], f, tiles[i].packed[f]);
}

static void file_pack(void *arg, int64_t i, int thread)
{
    tile *t = &tiles[i];
    raw_pack(arg, i, thread);
    for (int f = 0; f < 2; f++) {
        t->at[f] = atomic_fetch_add(&frames_end, (off_t)t->n[f]);
        if (pwrite(frames, t->packed[f], t->n[f], t->at[f]) != (ssize_t)t->n[f])
            abort();
    }
}

static void file_unpack(void *arg, int64_t i, int thread)
{
    kit *k = (kit *)arg + thread;
    const tile *t = &tiles[i];
    for (int f = 0; f < 2; f++) {
        if (pread(frames, k->packed, t->n[f], t->at[f]) != (ssize_t)t->n[f])
            abort();
        unpack(k, t, f, k->packed);
    }
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

static void report(const char *what, const char *yardstick, const lap raw[ROUNDS], const lap ours[ROUNDS], double mb)
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
    printf("%-6s %-4s %7.0f MB per CPU second, ours %7.0f; ours/%s: CPU %.3f (%.3f-%.3f), wall %.3f (medians of %d); %.2f cores busy\n", what, yardstick,
           mb / best_raw, mb / best, yardstick, cpu[ROUNDS / 2], cpu[ROUNDS / 4], cpu[ROUNDS - 1 - ROUNDS / 4], wall[ROUNDS / 2], ROUNDS, busy);
}

static lap time_raw(sky_pool *pool, void (*fn)(void *, int64_t, int))
{
    lap t = start();
    sky_pool_for(pool, count, fn, warm);
    return stop(t);
}

static lap time_file(const char *path, int threads, int flags, void (*fn)(void *, int64_t, int))
{
    kit k[256] = {0};
    sky_pool *pool;
    sky_err e;
    lap t = start();
    frames = open(path, flags, 0600);
    frames_end = 0;
    if (frames < 0 || sky_pool_open(&pool, threads, &e))
        exit(4);
    int n = sky_pool_threads(pool);
    for (int i = 0; i < n; i++)
        kit_open(&k[i]);
    sky_pool_for(pool, count, fn, k);
    for (int i = 0; i < n; i++)
        kit_close(&k[i]);
    sky_pool_close(pool);
    close(frames);
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
    lap rp[ROUNDS], fp[ROUNDS], op[ROUNDS], ru[ROUNDS], fu[ROUNDS], ou[ROUNDS];
    char path[512], bare[520];
    count = (int64_t)(mb * 1e6 / ((BANDS + 1) * PIXELS)) + 1;
    mb = (double)count * (BANDS + 1) * PIXELS / 1e6;
    tiles = sky_calloc((size_t)count, sizeof *tiles);
    samples = sky_calloc((size_t)count, sizeof *samples);
    if (!tiles || !samples || sky_pool_open(&pool, threads, &e))
        return 4;
    for (int i = 0; i < sky_pool_threads(pool); i++)
        kit_open(&warm[i]);
    sky_pool_for(pool, count, make_tile, NULL);
    snprintf(path, sizeof path, "%s/bench_pack-%ld.sky", dir, (long)getpid());
    snprintf(bare, sizeof bare, "%s.zst", path);
    for (int i = -1; i < ROUNDS; i++) { /* the first round warms up */
        int k = i < 0 ? 0 : i;
        rp[k] = time_raw(pool, raw_pack);
        fp[k] = time_file(bare, threads, O_WRONLY | O_CREAT | O_TRUNC, file_pack);
        op[k] = time_pack(path, threads);
        ru[k] = time_raw(pool, raw_unpack);
        fu[k] = time_file(bare, threads, O_RDONLY, file_unpack);
        ou[k] = time_read(path, threads);
    }
    size_t packed = 0;
    for (int64_t i = 0; i < count; i++)
        packed += tiles[i].n[0] + tiles[i].n[1];
    printf("%lld tiles of %dx%d, %.0f MB, zstd level 3 ratio %.2f, %d threads\n", (long long)count, SIDE, SIDE, mb, mb * 1e6 / (double)packed, sky_pool_threads(pool));
    report("pack", "raw", rp, op, mb);
    report("pack", "file", fp, op, mb);
    report("read", "raw", ru, ou, mb);
    report("read", "file", fu, ou, mb);
    fflush(stdout);
    if (sky_pool_threads(pool) > 1)
        scaling(pool, path, sky_pool_threads(pool));
    unlink(path);
    unlink(bare);
    return 0;
}
