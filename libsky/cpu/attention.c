/* attention.c -- see attention.h. */
#include "cpu/attention.h"

#include <math.h>

typedef struct {
    float *out;
    const float *qkv;
    const sky_cpu_attention_shape *s;
    float *scratch;
} work;

size_t sky_cpu_attention_scratch(const sky_cpu_attention_shape *s, int threads)
{
    return (size_t)threads * (size_t)(s->length + 16) * sizeof(float);
}

static void row(float *out, const float *q, const float *k, const float *v, int64_t n, int64_t stride, int d, float *p)
{
    float top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < n; j++) {
        float t = 0;
        for (int c = 0; c < d; c++)
            t += q[c] * k[j * stride + c];
        p[j] = t / sqrtf((float)d);
        top = p[j] > top ? p[j] : top;
    }
    for (int64_t j = 0; j < n; j++)
        sum += p[j] = expf(p[j] - top);
    for (int c = 0; c < d; c++) {
        float t = 0;
        for (int64_t j = 0; j < n; j++)
            t += p[j] * v[j * stride + c];
        out[c] = t / sum;
    }
}

static void piece(void *arg, int64_t i, int thread)
{
    const work *w = arg;
    const int64_t n = w->s->length, h = i % w->s->heads, t = i / w->s->heads, d = w->s->width, hd = w->s->heads * d;
    const float *q = w->qkv + t * 3 * hd + h * d, *k = w->qkv + t / n * n * 3 * hd + hd + h * d;
    row(w->out + t * hd + h * d, q, k, k + hd, n, 3 * hd, (int)d, w->scratch + thread * (n + 16));
}

void sky_cpu_attention(float *out, const float *qkv, const sky_cpu_attention_shape *s, void *scratch, sky_pool *pool)
{
    work w = {out, qkv, s, scratch};
    sky_pool_for(pool, s->batch * s->length * s->heads, piece, &w);
}
