/* The optimizer's pass over memory, in GB/s of bytes that must move, beside a triad a = b + s*c of the same run:
 *   bench_update [ELEMENTS]    default 32 million per buffer, one thread, CPU time, best of alternating runs */
#include "base/mem.h"
#include "cpu/device_internal.h"
#include "peak.h"

#include <stdio.h>
#include <stdlib.h>

static sky_ctx c;
static sky_tensor w, g, m, v, copy, sums;
static sky_err err;

static void triad(void) { c.be->add(c.dev, &w, &g, &m, &err); }
static void adamw(void)
{
    const sky_adamw o = {1e-4, 0.04, 0.9, 0.999, 1e-8, 0.5, 10};
    sky_tensor none = sky_none;
    c.be->adamw(c.dev, &w, &g, &m, &v, &none, &o, &err);
}
static void adamw_copy(void)
{
    const sky_adamw o = {1e-4, 0.04, 0.9, 0.999, 1e-8, 0.5, 10};
    c.be->adamw(c.dev, &w, &g, &m, &v, &copy, &o, &err);
}
static void sgd(void)
{
    const sky_sgd o = {1e-3, 5e-4, 0.9, 0.5, 0};
    sky_tensor none = sky_none;
    c.be->sgd(c.dev, &w, &g, &m, &none, &o, &err);
}
static void squares(void)
{
    const sky_tensor *x = &g;
    c.be->square_sums(c.dev, &sums, &x, 1, &err);
}
static void average(void) { c.be->lerp(c.dev, &v, &w, 1e-3f, &err); }

int main(int argc, char **argv)
{
    static const struct { const char *name; void (*run)(void); int bytes; } line[] = {
        {"triad", triad, 12}, {"adamw", adamw, 28}, {"adamw, bf16 copy", adamw_copy, 30}, {"sgd", sgd, 20}, {"square_sums", squares, 4}, {"lerp", average, 12}};
    enum { LINES = sizeof line / sizeof *line };
    int64_t n = argc > 1 ? atoll(argv[1]) : 32 << 20;
    if (n < 1 || sky_ctx_open(&c, "cpu", 1, &err) || sky_ctx_alloc(&c, (size_t)n * 18 + (1 << 16), &err))
        return fprintf(stderr, "bench_update: %s\n", err.msg), 4;
    sky_tensor *t[] = {&w, &g, &m, &v};
    for (int i = 0; i < 4; i++) {
        *t[i] = sky_new(&c, SKY_F32, 1, &n);
        c.be->fill(c.dev, t[i], 0.1f * (float)(i + 1), &err);
    }
    copy = sky_new(&c, SKY_BF16, 1, &n);
    sums = sky_new(&c, SKY_F64, 1, (int64_t[]){1});
    double best[LINES];
    for (int r = 0; r < 6; r++)
        for (int i = 0; i < LINES; i++) {
            double from = bench_cpu();
            line[i].run();
            double s = bench_cpu() - from;
            best[i] = r == 0 || s < best[i] ? s : best[i];
        }
    for (int i = 0; i < LINES; i++)
        printf("%-18s %6.1f GB/s  %5.2f of the triad\n", line[i].name, (double)n * line[i].bytes / best[i] * 1e-9, (double)line[i].bytes / best[i] / (12 / best[0]));
    sky_ctx_close(&c);
    return 0;
}
