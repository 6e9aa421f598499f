/* order_sim -- how good the order of training is on N samples (27 million for docs/scaling.md), and what it costs.
 *
 *   order_sim [N]
 *
 * The world: samples lie in the shards in the order in which scenes were cut, RUN neighbours of one scene have one class,
 * classes are unequal (class c of 64 has weight 1/(c+1)), a shard holds 4096 samples. Orders compared over one epoch, in
 * batches of 256:
 *   keyed      sky_order_sample (data/order.h): position -> sample, a pure function
 *   list       a shuffled list of all N numbers (Fisher-Yates, Philox): what "random" means, at 8 bytes a sample
 *   buffer     shards in random order, samples through a shuffle buffer of 10000: one reader of a WebDataset loader
 *   shard      shards in random order, samples shuffled within the shard
 * For each: chi-square of where the samples of windows of 10000 positions lie, in 100 equal bins of the numbers, as mean
 * over windows / 99 (1: random); classes per batch; and the variance of a class's count in a batch over that of a random
 * batch (1: random). Status 1: the keyed order is no permutation, or differs from random by more than 5 standard
 * deviations of these measures. */
#include "base/hash.h"
#include "base/mem.h"
#include "base/philox.h"
#include "data/order.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CLASSES = 64, RUN = 500, SHARD = 4096, BUFFER = 10000, BATCH = 256, WINDOW = 10000, BINS = 100 };

static uint64_t n;
static double share[CLASSES]; /* of the samples: of this world, not of its making */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint64_t random_below(uint64_t m)
{
    static uint64_t at;
    sky_random r = sky_philox(99, (uint32_t)at, (uint32_t)(at >> 32), 0, 0);
    at++;
    return (uint64_t)((unsigned __int128)(r.v[0] | (uint64_t)r.v[1] << 32) * m >> 64);
}

static int class_of(uint64_t i)
{
    static double upto[CLASSES];
    if (upto[CLASSES - 1] == 0) {
        double all = 0;
        for (int c = 0; c < CLASSES; c++)
            upto[c] = all += 1.0 / (c + 1);
        for (int c = 0; c < CLASSES; c++)
            upto[c] /= all;
    }
    const double u = (double)sky_random_unit((uint32_t)(sky_mix64(5, i / RUN) >> 32));
    int c = 0;
    while (c < CLASSES - 1 && u >= upto[c])
        c++;
    return c;
}

static void *get(size_t bytes)
{
    void *p = sky_calloc(bytes, 1);
    if (!p) {
        fprintf(stderr, "order_sim: out of memory\n");
        exit(4);
    }
    return p;
}

static void shuffle(uint32_t *v, uint64_t m)
{
    for (uint64_t i = m; i > 1; i--) {
        const uint64_t j = random_below(i);
        const uint32_t t = v[i - 1];
        v[i - 1] = v[j];
        v[j] = t;
    }
}

/* ---- orders: out[position] = sample ------------------------------------------------------------------------------ */

static void keyed(uint32_t *out)
{
    for (uint64_t i = 0; i < n; i++)
        out[i] = (uint32_t)sky_order_sample(1, n, (sky_cursor){0, i});
}

static void list(uint32_t *out)
{
    for (uint64_t i = 0; i < n; i++)
        out[i] = (uint32_t)i;
    shuffle(out, n);
}

static void by_shards(uint32_t *out, int within)
{
    const uint64_t shards = (n + SHARD - 1) / SHARD;
    uint32_t *order = get(shards * sizeof *order);
    for (uint64_t i = 0; i < shards; i++)
        order[i] = (uint32_t)i;
    shuffle(order, shards);
    uint64_t k = 0;
    for (uint64_t s = 0; s < shards; s++) {
        const uint64_t from = k;
        for (uint64_t i = (uint64_t)order[s] * SHARD; i < ((uint64_t)order[s] + 1) * SHARD && i < n; i++)
            out[k++] = (uint32_t)i;
        if (within)
            shuffle(out + from, k - from);
    }
    sky_free(order);
}

static void shard(uint32_t *out) { by_shards(out, 1); }

/* A full buffer gives a random one of its samples for each that comes in. */
static void buffer(uint32_t *out)
{
    uint32_t *in = get(n * sizeof *in), held[BUFFER];
    by_shards(in, 0);
    uint64_t k = 0, m = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (m < BUFFER) {
            held[m++] = in[i];
            continue;
        }
        const uint64_t j = random_below(BUFFER);
        out[k++] = held[j];
        held[j] = in[i];
    }
    shuffle(held, m);
    memcpy(out + k, held, m * sizeof *held);
    sky_free(in);
}

/* ---- measures ------------------------------------------------------------------------------------------------------ */

static int is_permutation(const uint32_t *v)
{
    uint8_t *seen = get(n / 8 + 1);
    int ok = 1;
    for (uint64_t i = 0; i < n && ok; i++) {
        ok = v[i] < n && !(seen[v[i] / 8] >> v[i] % 8 & 1);
        if (ok)
            seen[v[i] / 8] |= (uint8_t)(1 << v[i] % 8);
    }
    sky_free(seen);
    return ok;
}

/* Mean of chi-square / 99 over windows. Of a random order: 1 - WINDOW / N, nearly, with deviation sqrt(2 / 99 / windows). */
static double chi_square(const uint32_t *v, uint64_t *windows)
{
    double sum = 0;
    *windows = n / WINDOW;
    for (uint64_t w = 0; w < *windows; w++) {
        double count[BINS] = {0}, x = 0;
        for (uint64_t i = w * WINDOW; i < (w + 1) * WINDOW; i++)
            count[(uint64_t)v[i] * BINS / n]++;
        for (int b = 0; b < BINS; b++)
            x += (count[b] - WINDOW / BINS) * (count[b] - WINDOW / BINS) / (WINDOW / BINS);
        sum += x / (BINS - 1);
    }
    return sum / (double)*windows;
}

/* Classes per batch; the mean over classes of var(count) / (BATCH p (1 - p)). */
static void classes(const uint32_t *v, double *distinct, double *variance)
{
    const uint64_t batches = n / BATCH;
    double square[CLASSES] = {0};
    *distinct = *variance = 0;
    for (uint64_t b = 0; b < batches; b++) {
        int count[CLASSES] = {0};
        for (uint64_t i = b * BATCH; i < (b + 1) * BATCH; i++)
            count[class_of(v[i])]++;
        for (int c = 0; c < CLASSES; c++) {
            *distinct += (count[c] > 0) / (double)batches;
            square[c] += (count[c] - BATCH * share[c]) * (count[c] - BATCH * share[c]) / (double)batches;
        }
    }
    int there = 0;
    for (int c = 0; c < CLASSES; c++)
        if (share[c] > 0) {
            *variance += square[c] / (BATCH * share[c] * (1 - share[c]));
            there++;
        }
    *variance /= there;
}

/* Correlation of the numbers at positions i and i + 1. */
static double neighbours(const uint32_t *v)
{
    const double mean = (double)(n - 1) / 2;
    double ab = 0, aa = 0;
    for (uint64_t i = 0; i + 1 < n; i++) {
        ab += ((double)v[i] - mean) * ((double)v[i + 1] - mean);
        aa += ((double)v[i] - mean) * ((double)v[i] - mean);
    }
    return ab / aa;
}

int main(int argc, char **argv)
{
    static const struct { const char *name; void (*make)(uint32_t *); } orders[] = {
        {"keyed", keyed}, {"list", list}, {"buffer", buffer}, {"shard", shard}};
    n = argc > 1 ? strtoull(argv[1], NULL, 10) : 27000000;
    if (n < 100 * WINDOW || n > UINT32_MAX) {
        fprintf(stderr, "order_sim: N is %d to %u\n", 100 * WINDOW, UINT32_MAX);
        return 2;
    }
    uint32_t *v = get(n * sizeof *v);
    for (uint64_t i = 0; i < n; i++)
        share[class_of(i)] += 1 / (double)n;
    printf("%llu samples, %llu shards of %d, scenes of %d, batches of %d\n", (unsigned long long)n, (unsigned long long)(n + SHARD - 1) / SHARD, SHARD, RUN, BATCH);
    printf("%-8s %12s %14s %16s %12s %10s\n", "order", "chi2/99", "neighbours", "classes/batch", "variance", "ns/draw");
    int bad = 0;
    for (int o = 0; o < 4; o++) {
        const double begin = seconds();
        orders[o].make(v);
        const double ns = (seconds() - begin) / (double)n * 1e9, near = neighbours(v);
        uint64_t windows;
        double distinct, variance;
        const double chi = chi_square(v, &windows);
        classes(v, &distinct, &variance);
        printf("%-8s %12.4f %14.6f %16.2f %12.4f %10.1f\n", orders[o].name, chi, near, distinct, variance, ns);
        if (o == 0) {
            /* Variance: mean over classes of a relative variance over N / BATCH batches; classes taken as independent. */
            const double batches = (double)(n / BATCH);
            bad = !is_permutation(v) || !(fabs(chi - 1 + (double)WINDOW / (double)n) < 5 * sqrt(2.0 / 99 / (double)windows)) ||
                  !(fabs(near) < 5 / sqrt((double)n)) || !(fabs(variance - 1) < 5 * sqrt(2 / batches));
        }
    }
    sky_free(v);
    printf("%s\n", bad ? "the keyed order is not random" : "the keyed order is a permutation, and random by these measures");
    return bad;
}
