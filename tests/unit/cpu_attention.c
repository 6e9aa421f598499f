/* Sequence attention against a double reference at every instruction level this machine has: awkward lengths, widths,
 * heads and batches; the same bits with 1, 2, 3 threads and for a slice of the batch; nothing written outside; extreme
 * logits; not-a-number; and rows of a 65 536-token sequence. */
#include "cpu/attention.h"
#include "base/hash.h"
#include "base/mem.h"
#include "levels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int64_t b, l;
    int h, d;
    float amp; /* of q and k; values lie in [-1, 1) */
} shape;

static float *make(const shape *s)
{
    const int64_t n = s->b * s->l, hd = (int64_t)s->h * s->d;
    float *x = malloc((size_t)(n * 3 * hd) * sizeof *x);
    const uint64_t seed = sky_fnv1a("attention");
    for (int64_t i = 0; i < n * 3 * hd; i++)
        x[i] = sky_counter_value(seed, (uint64_t)i, i / hd % 3 == 2 ? 1 : s->amp, 0);
    return x;
}

static void reference_row(double *out, const float *qkv, const shape *s, int64_t b, int64_t i, int h, double *p)
{
    const int64_t hd = (int64_t)s->h * s->d, stride = 3 * hd;
    const float *base = qkv + b * s->l * stride + (int64_t)h * s->d, *q = base + i * stride;
    double top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < s->l; j++) {
        p[j] = 0;
        for (int c = 0; c < s->d; c++)
            p[j] += (double)q[c] * base[j * stride + hd + c];
        p[j] /= sqrt(s->d);
        top = p[j] > top ? p[j] : top;
    }
    for (int c = 0; c < s->d; c++)
        out[c] = 0;
    for (int64_t j = 0; j < s->l; j++) {
        const double e = exp(p[j] - top);
        sum += e;
        for (int c = 0; c < s->d; c++)
            out[c] += e * base[j * stride + 2 * hd + c];
    }
    for (int c = 0; c < s->d; c++)
        out[c] /= sum;
}

static void run(float *out, const float *qkv, const shape *s, int threads, int bf16)
{
    sky_err e = {0};
    sky_pool *pool;
    if (sky_pool_open(&pool, threads, &e))
        abort();
    const sky_cpu_attention_shape as = {s->b, s->l, s->h, s->d, bf16};
    char *scratch = sky_alloc(sky_cpu_attention_scratch(&as, threads) + 64);
    memset(scratch + sky_cpu_attention_scratch(&as, threads), 77, 64);
    sky_cpu_attention(out, NULL, qkv, &as, scratch, pool);
    for (int i = 0; i < 64; i++)
        if (scratch[sky_cpu_attention_scratch(&as, threads) + (size_t)i] != 77)
            abort(); /* wrote behind its scratch */
    sky_free(scratch);
    sky_pool_close(pool);
}

/* Norm of the difference over norm, on every `step`-th row. */
static double error(const float *out, const float *qkv, const shape *s, int64_t step)
{
    double num = 0, den = 0, ref[256], *p = malloc((size_t)s->l * sizeof *p);
    for (int64_t t = 0; t < s->b * s->l; t += step)
        for (int h = 0; h < s->h; h++) {
            reference_row(ref, qkv, s, t / s->l, t % s->l, h, p);
            for (int c = 0; c < s->d; c++) {
                const double diff = out[(t * s->h + h) * s->d + c] - ref[c];
                num += diff * diff;
                den += ref[c] * ref[c];
            }
        }
    free(p);
    return sqrt(num / den);
}

/* A logit of size x rounded costs about x * 2^-24 (F32) or, q and k rounded, x * 2^-9 (BF16) of a probability, averaged over keys. */
static double tolerance(const shape *s, int bf16)
{
    const double logit = (double)s->amp * s->amp * sqrt(s->d);
    return bf16 ? 5e-3 + 5e-4 * logit : 4e-7 + 4e-8 * logit;
}

static void one(const shape *s, const char *level)
{
    const int64_t no = s->b * s->l * s->h * s->d;
    float *qkv = make(s), *out = malloc((size_t)(no + 32) * 4), *two = malloc((size_t)(no + 32) * 4);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        for (int i = 0; i < 32; i++)
            out[i < 16 ? i : no + i] = 12345.0f;
        run(out + 16, qkv, s, 1, bf16);
        const double err = error(out + 16, qkv, s, s->b * s->l > 300 ? s->b * s->l / 100 : 1), tol = tolerance(s, bf16);
        OK(err <= tol, "%s %lldx%lld heads %d width %d amplitude %g %s: error %.2g <= %.2g", level, (long long)s->b,
           (long long)s->l, s->h, s->d, (double)s->amp, bf16 ? "bf16" : "f32", err, tol);
        int same = 1;
        for (int i = 0; i < 32; i++)
            same &= out[i < 16 ? i : no + i] == 12345.0f;
        OK(same, "nothing written outside");
        for (int threads = 2; threads < 4; threads++) {
            run(two, qkv, s, threads, bf16);
            OK(!memcmp(two, out + 16, (size_t)no * 4), "same bits with %d threads", threads);
        }
        shape last = *s;
        last.b = 1;
        const int64_t skip = (s->b - 1) * s->l * s->h * s->d;
        run(two, qkv + 3 * skip, &last, 2, bf16);
        OK(!memcmp(two, out + 16 + skip, (size_t)(no - skip) * 4), "same bits alone as in a batch");
    }
    free(qkv), free(out), free(two);
}

/* One not-a-number in q, k or v of token 40, head 1, component 3. */
static void nan_stays(int part, int64_t length)
{
    const shape s = {2, length, 3, 12, 1};
    const int64_t no = s.b * s.l * s.h * s.d, at = length < 40 ? 2 : 40;
    float *qkv = make(&s), *out = malloc((size_t)no * 4);
    qkv[at * 108 + part * 36 + 12 + 3] = NAN;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        run(out, qkv, &s, 2, bf16);
        int64_t bad = 0, right = 0;
        for (int64_t i = 0; i < no; i++) {
            const int64_t token = i / 36, head = i / 12 % 3, c = i % 12;
            const int want = token < length && head == 1 && (part == 0 ? token == at : part == 1 ? 1 : c == 3);
            bad += isnan(out[i]) != 0;
            right += (isnan(out[i]) != 0) == want;
        }
        OK(right == no && bad, "a NaN in %c reaches exactly what it must (length %lld, %s)", "qkv"[part], (long long)length, bf16 ? "bf16" : "f32");
    }
    free(qkv), free(out);
}

static void long_sequence(void)
{
    const shape s = {1, 65536, 1, 16, 1.5f};
    float *qkv = make(&s), *out = malloc((size_t)(s.l * s.d) * 4);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        run(out, qkv, &s, 2, bf16);
        const double err = error(out, qkv, &s, 4111), tol = bf16 ? 1.5e-2 : 2e-6;
        OK(err <= tol, "65536 tokens %s: error of 16 rows %.2g <= %.2g", bf16 ? "bf16" : "f32", err, tol);
    }
    free(qkv), free(out);
}

static void all(const char *level)
{
    static const shape shapes[] = {
        {1, 1, 1, 1, 1},    {3, 2, 2, 3, 1},    {2, 4, 16, 64, 1},  {19, 4, 3, 6, 1},   {2, 8, 2, 44, 1},  {2, 9, 2, 2, 1},
        {3, 37, 3, 6, 1},   {2, 97, 2, 16, 1},  {1, 129, 4, 12, 1}, {2, 64, 4, 64, 1},  {1, 32, 5, 64, 1}, {1, 257, 2, 32, 1},
        {1, 4097, 1, 16, 1}, {1, 300, 2, 17, 1}, {2, 130, 1, 33, 1}, {1, 1000, 2, 8, 3}, {1, 131, 2, 80, 1}, {1, 200, 2, 16, 4.5f},
        {1, 700, 1, 64, 3.2f}, {1, 5, 2, 16, 4.5f}, {2, 31, 3, 1, 9},   {1, 700, 2, 16, 6}, {1, 600, 1, 32, 5}, {1, 400, 1, 16, 12},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        one(&shapes[i], level);
    for (int part = 0; part < 3; part++) {
        nan_stays(part, 100);
        nan_stays(part, 6);
    }
}

int main(void)
{
    at_every_level(all);
    if (sky_cpu_detect() >= SKY_CPU_AVX512)
        long_sequence();
    else
        SKIP("too slow below AVX-512", "65536 tokens");
    return END();
}
