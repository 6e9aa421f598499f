/* Core-seconds of sequence and window attention on the model's shapes, and the fraction of a peak loop timed just before. One thread,
 * CPU time, best of n: neighbours on a shared machine do not count.  usage: bench_attention [part of a name] */
#include "peak.h"

#include "base/hash.h"
#include "base/mem.h"
#include "cpu/attention.h"
#include "cpu/window_attention.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float *numbers(int64_t n)
{
    float *x = sky_alloc((size_t)n * 4);
    if (!x)
        exit(4);
    const uint64_t seed = sky_fnv1a("bench");
    for (int64_t i = 0; i < n; i++)
        x[i] = sky_counter_value(seed, (uint64_t)i, 1.5f, 0);
    return x;
}

static double window_time(const sky_cpu_window_shape *s, int repeats)
{
    const int64_t hd = (int64_t)s->heads * s->width, n = s->batch * s->rows * s->cols * hd;
    float *qkv = numbers(3 * n), *pad = numbers(3 * hd), *bias = numbers((int64_t)s->heads * 4096), *scale = numbers(s->heads), *out = numbers(n);
    void *scratch = sky_alloc(sky_cpu_window_scratch(s, 1));
    if (!scratch)
        exit(4);
    double best = 1e30;
    for (int r = 0; r < repeats; r++) {
        const double t = bench_cpu();
        sky_cpu_window_attention(out, qkv, pad, bias, scale, s, scratch, NULL);
        const double took = bench_cpu() - t;
        best = took < best ? took : best;
    }
    sky_free(qkv), sky_free(pad), sky_free(bias), sky_free(scale), sky_free(out), sky_free(scratch);
    return best;
}

static double time_of(const sky_cpu_attention_shape *s, int repeats)
{
    const int64_t hd = (int64_t)s->heads * s->width, n = s->batch * s->length * hd;
    float *qkv = numbers(3 * n), *out = numbers(n);
    void *scratch = sky_alloc(sky_cpu_attention_scratch(s, 1));
    if (!scratch)
        exit(4);
    double best = 1e30;
    for (int r = 0; r < repeats; r++) {
        const double t = bench_cpu();
        sky_cpu_attention(out, NULL, qkv, s, scratch, NULL);
        const double took = bench_cpu() - t;
        best = took < best ? took : best;
    }
    sky_free(qkv), sky_free(out), sky_free(scratch);
    return best;
}

static void report(const char *name, int bf16, double peak, double took, double scores, int width)
{
    printf("%-28s %-4s %9.5f core-s %7.3f Gscore/s %7.1f GF/s, %4.2f of peak %5.1f\n", name, bf16 ? "bf16" : "f32", took,
           scores / took / 1e9, scores * 4 * width / took / 1e9, scores * 4 * width / took / 1e9 / peak, peak);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const struct { const char *name; sky_cpu_attention_shape s; int repeats; } c[] = {
        {"1 head of 65536 x 16", {1, 65536, 1, 16, 0}, 3},        {"16 heads of 8192 x 32", {1, 8192, 16, 32, 0}, 3},
        {"16 heads of 2048 x 64", {1, 2048, 16, 64, 0}, 5},       {"32 sequences, 16 of 64 x 64", {32, 64, 16, 64, 0}, 20},
        {"32 sequences, 16 of 32 x 64", {32, 32, 16, 64, 0}, 20}, {"512 sequences, 16 of 4 x 64", {512, 4, 16, 64, 0}, 20},
    };
    static const struct { const char *name; sky_cpu_window_shape s; int repeats; } win[] = {
        {"windows 256x256, 8 x 44", {1, 256, 256, 8, 44, 8, 4, 0}, 5}, {"windows 128x128, 16 x 44", {1, 128, 128, 16, 44, 8, 4, 0}, 8},
        {"windows 64x32, 32 x 44", {1, 64, 32, 32, 44, 8, 4, 0}, 20},  {"windows 32x16, 64 x 44", {1, 32, 16, 64, 44, 8, 4, 0}, 20},
    };
    printf("%s, one core\n", sky_cpu_level_name(sky_cpu_level_get()));
    for (size_t i = 0; i < sizeof c / sizeof *c; i++)
        for (int bf16 = 1; bf16 >= 0 && (argc < 2 || strstr(c[i].name, argv[1])); bf16--) {
            sky_cpu_attention_shape s = c[i].s;
            s.bf16 = bf16;
            const double peak = peak_one_core(bf16, 20), l = (double)s.length;
            report(c[i].name, bf16, peak, time_of(&s, c[i].repeats), (double)s.batch * s.heads * l * l, s.width);
        }
    for (size_t i = 0; i < sizeof win / sizeof *win; i++)
        for (int bf16 = 1; bf16 >= 0 && (argc < 2 || strstr(win[i].name, argv[1])); bf16--) {
            sky_cpu_window_shape s = win[i].s;
            s.bf16 = bf16;
            const double peak = peak_one_core(bf16, 20);
            report(win[i].name, bf16, peak, window_time(&s, win[i].repeats), (double)(s.rows * s.cols) * s.heads * 64, s.width);
        }
    return 0;
}
