/* bench_score.c -- counting of 4000 x 4000 maps with 18 classes, one thread, CPU time, best of several.
 *
 * usage: bench_score [DIRECTORY]. With a directory also writes the maps there, as raw bytes NAME.label and NAME.pred, for
 * tests/bench/bench_score.py, which times numpy on the same maps in the same run. One line per content: name, MPix/s. */
#include "base/mem.h"
#include "score/confusion.h"

#include <stdio.h>
#include <time.h>

enum { SIDE = 4000, PIXELS = SIDE * SIDE, ROUNDS = 9 };

static uint64_t state = 1;
static uint32_t draw(uint32_t n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % n;
}

static uint8_t blob(int x, int y) { return (uint8_t)((x / 173 * 7 + y / 131 * 5 + (x + y) / 311) % 18); }

static double cpu(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static const char *const names[] = {"random", "blobs-10%-wrong", "blobs-shifted"};

static void fill(int kind, uint8_t *label, uint8_t *pred)
{
    for (int y = 0, i = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++, i++) {
            label[i] = kind ? blob(x, y) : (uint8_t)draw(18);
            pred[i] = kind == 2 ? blob(x + 9, y + 5) : kind == 1 && draw(10) ? label[i] : (uint8_t)draw(18);
        }
}

static double best_rate(const uint8_t *label, const uint8_t *pred)
{
    double best = 1e9;
    for (int r = 0; r < ROUNDS; r++) {
        sky_confusion c;
        sky_err e;
        if (sky_confusion_open(&c, &e))
            return 0;
        double t = cpu();
        sky_confusion_u8(&c, label, pred, PIXELS);
        sky_confusion_counts(&c);
        t = cpu() - t;
        best = t < best ? t : best;
        sky_confusion_close(&c);
    }
    return PIXELS / best / 1e6;
}

static int save(const char *dir, const char *name, const char *what, const uint8_t *p)
{
    char path[500];
    snprintf(path, sizeof path, "%s/%s.%s", dir, name, what);
    FILE *f = fopen(path, "wb");
    int bad = !f || fwrite(p, 1, PIXELS, f) != PIXELS;
    if (f)
        bad |= fclose(f) != 0;
    return bad;
}

int main(int argc, char **argv)
{
    uint8_t *label = sky_alloc(PIXELS), *pred = sky_alloc(PIXELS);
    if (!label || !pred)
        return 1;
    for (int k = 0; k < 3; k++) {
        fill(k, label, pred);
        if (argc > 1 && (save(argv[1], names[k], "label", label) || save(argv[1], names[k], "pred", pred))) {
            fprintf(stderr, "bench_score: cannot write to %s\n", argv[1]);
            return 1;
        }
        printf("%s %.0f\n", names[k], best_rate(label, pred));
        fflush(stdout);
    }
    sky_free(label);
    sky_free(pred);
    return 0;
}
