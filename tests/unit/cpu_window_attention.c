/* Window attention against a double reference written from the definition (pad, roll, partition, mask), at every
 * instruction level this machine has, on awkward maps;
 * same bits with 1, 2, 3 threads and for a batch slice; nothing written outside; NaN; extreme logits. */
#include "cpu/window_attention.h"
#include "base/hash.h"
#include "base/mem.h"
#include "levels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int64_t b, h, w;
    int heads, d, win, shift;
    float amp, logit;
} shape;

static void fill(float *x, int64_t n, const char *name, float amp)
{
    uint64_t h = sky_fnv1a(name);
    for (int64_t i = 0; i < n; i++)
        x[i] = sky_counter_value(h, (uint64_t)i, amp, 0);
}

static int64_t padded(int64_t n, int win) { return (n + win - 1) / win * win; }

/* Token (y, x) of the padded map: its q, k or v of head h. */
static const float *token(const float *qkv, const float *pad, const shape *s, int64_t b, int64_t y, int64_t x, int part, int h)
{
    const int hd = s->heads * s->d;
    const float *p = y < s->h && x < s->w ? qkv + ((b * s->h + y) * s->w + x) * 3 * hd : pad;
    return p + part * hd + h * s->d;
}

static double dot(const float *a, const float *b, int d)
{
    double t = 0;
    for (int i = 0; i < d; i++)
        t += (double)a[i] * b[i];
    return t;
}

static int region(int64_t i, int64_t n, int win, int shift) { return (i >= n - win) + (i >= n - shift); }

static void reference_row(double *out, const float *qkv, const float *pad, const float *bias, float logit, const shape *s,
                          int64_t b, int64_t y, int64_t x, int h)
{
    const int64_t H = padded(s->h, s->win), W = padded(s->w, s->win);
    const int shift = (s->h < s->w ? s->h : s->w) == s->win ? 0 : s->shift, n = s->win * s->win;
    const int64_t ry = (y - shift + H) % H, rx = (x - shift + W) % W, wy = ry / s->win * s->win, wx = rx / s->win * s->win;
    const float *q = token(qkv, pad, s, b, y, x, 0, h);
    const double gain = exp(fmin(logit, log(100))), qn = fmax(sqrt(dot(q, q, s->d)), 1e-12);
    double p[1024], top = -INFINITY, sum = 0;
    for (int j = 0; j < n; j++) {
        const int64_t ky = wy + j / s->win, kx = wx + j % s->win;
        const float *k = token(qkv, pad, s, b, (ky + shift) % H, (kx + shift) % W, 1, h);
        p[j] = dot(q, k, s->d) / qn / fmax(sqrt(dot(k, k, s->d)), 1e-12) * gain;
        p[j] += bias[(h * n + (ry - wy) * s->win + (rx - wx)) * n + j];
        if (shift && (region(ry, H, s->win, shift) != region(ky, H, s->win, shift) ||
                      region(rx, W, s->win, shift) != region(kx, W, s->win, shift)))
            p[j] -= 100;
        top = p[j] > top ? p[j] : top;
    }
    for (int i = 0; i < s->d; i++)
        out[i] = 0;
    for (int j = 0; j < n; j++) {
        const float *v = token(qkv, pad, s, b, (wy + j / s->win + shift) % H, (wx + j % s->win + shift) % W, 2, h);
        const double e = exp(p[j] - top);
        sum += e;
        for (int i = 0; i < s->d; i++)
            out[i] += e * v[i];
    }
    for (int i = 0; i < s->d; i++)
        out[i] /= sum;
}

static void run(float *out, const float *qkv, const float *pad, const float *bias, const float *scale, const shape *s, int threads, int bf16)
{
    sky_err e = {0};
    sky_pool *pool;
    if (sky_pool_open(&pool, threads, &e))
        abort();
    const sky_cpu_window_shape ws = {s->b, s->h, s->w, s->heads, s->d, s->win, s->shift, bf16};
    void *scratch = sky_alloc(sky_cpu_window_scratch(&ws, threads));
    sky_cpu_window_attention(out, qkv, pad, bias, scale, &ws, scratch, pool);
    sky_free(scratch);
    sky_pool_close(pool);
}

/* Largest error relative to the largest value (a bound on |v|), so that the figure does not depend on cancellation. */
static double error(const float *out, const float *qkv, const float *pad, const float *bias, const float *scale, const shape *s)
{
    double worst = 0, ref[128];
    const int hd = s->heads * s->d;
    for (int64_t t = 0; t < s->b * s->h * s->w; t++)
        for (int h = 0; h < s->heads; h++) {
            reference_row(ref, qkv, pad, bias, scale[h], s, t / (s->h * s->w), t / s->w % s->h, t % s->w, h);
            for (int i = 0; i < s->d; i++) {
                const double diff = fabs(out[t * hd + h * s->d + i] - ref[i]);
                if (!(diff <= worst))
                    worst = diff;
            }
        }
    return worst / s->amp;
}

static void one(const shape *s, const char *level)
{
    const int hd = s->heads * s->d, n = s->win * s->win;
    const int64_t tokens = s->b * s->h * s->w, no = tokens * hd;
    float *qkv = malloc((size_t)(tokens * 3 * hd) * 4), *pad = malloc((size_t)(3 * hd) * 4), *scale = malloc((size_t)s->heads * 4);
    float *bias = malloc((size_t)(s->heads * n * n) * 4), *out = malloc((size_t)(no + 32) * 4), *two = malloc((size_t)(no + 32) * 4);
    fill(qkv, tokens * 3 * hd, "qkv", s->amp);
    fill(pad, 3 * hd, "pad", s->amp);
    memset(pad + hd, 0, (size_t)hd * 4);
    fill(bias, s->heads * n * n, "bias", 8);
    for (int h = 0; h < s->heads; h++)
        scale[h] = s->logit + 0.1f * (float)h;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        for (int i = 0; i < 32; i++)
            out[i < 16 ? i : no + i] = 12345.0f;
        run(out + 16, qkv, pad, bias, scale, s, 1, bf16);
        const double err = error(out + 16, qkv, pad, bias, scale, s), gain = exp(fmin(s->logit, log(100))), tol = bf16 ? 6e-3 + 8e-4 * gain : 3e-6 + 1e-7 * gain;
        OK(err <= tol, "%s %lldx%lldx%lld heads %d width %d window %d shift %d logit %g %s: error %.2g <= %.2g", level, (long long)s->b,
           (long long)s->h, (long long)s->w, s->heads, s->d, s->win, s->shift, s->logit, bf16 ? "bf16" : "f32", err, tol);
        int guard = 1;
        for (int i = 0; i < 32; i++)
            guard &= out[i < 16 ? i : no + i] == 12345.0f;
        OK(guard, "guard bands");
        for (int threads = 2; threads < 4; threads++) {
            run(two, qkv, pad, bias, scale, s, threads, bf16);
            OK(!memcmp(two, out + 16, (size_t)no * 4), "same bits with %d threads", threads);
        }
        shape last = *s;
        last.b = 1;
        run(two, qkv + (s->b - 1) * s->h * s->w * 3 * hd, pad, bias, scale, &last, 2, bf16);
        OK(!memcmp(two, out + 16 + (s->b - 1) * s->h * s->w * hd, (size_t)(s->h * s->w * hd) * 4), "same bits alone as in a batch");
    }
    free(qkv), free(pad), free(scale), free(bias), free(out), free(two);
}

static void nan_stays(int part)
{
    const shape s = {1, 16, 16, 2, 12, 8, 4, 1, 1};
    static float qkv[256 * 72], pad[72], bias[2 * 64 * 64], scale[2], out[256 * 24];
    fill(qkv, 256 * 72, "qkv", 1);
    qkv[100 * 72 + part * 24 + 3] = NAN;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        run(out, qkv, pad, bias, scale, &s, 2, bf16);
        int bad = 0;
        for (int i = 0; i < 256 * 24; i++)
            bad += isnan(out[i]);
        const int want = part == 0 ? 12 : part == 1 ? 64 * 12 : 64;
        OK(bad == want, "NaN in %c reaches %d of %d values (%s)", "qkv"[part], bad, want, bf16 ? "bf16" : "f32");
    }
}

static void all(const char *level)
{
    static const shape shapes[] = {
        {1, 8, 8, 1, 4, 4, 2, 1, 1},      {2, 9, 13, 3, 6, 4, 2, 1, 1.5f},  {2, 16, 24, 2, 44, 8, 4, 1, 1.2f},
        {1, 17, 8, 2, 12, 8, 4, 1, 1},    {1, 8, 40, 2, 16, 8, 4, 2, 1},    {1, 13, 21, 1, 32, 7, 3, 1, 2},
        {1, 16, 16, 3, 64, 8, 0, 1, 0},   {2, 5, 5, 2, 1, 2, 1, 1, 1},      {1, 16, 20, 2, 44, 8, 4, 3, 4.605f},
        {1, 16, 16, 2, 100, 8, 4, 1, 9},  {1, 6, 7, 2, 3, 3, 1, 1e-3f, 1}, {3, 8, 8, 5, 33, 8, 4, 1, 1},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        one(&shapes[i], level);
    for (int part = 0; part < 3; part++)
        nan_stays(part);
}

int main(void)
{
    at_every_level(all);
    return END();
}
