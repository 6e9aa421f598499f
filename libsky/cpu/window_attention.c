/* window_attention.c -- see window_attention.h. */
#include "cpu/window_attention.h"

#include <math.h>

typedef struct {
    float *out;
    const float *qkv, *pad, *bias, *logit_scale;
    const sky_cpu_window_shape *s;
    float *scratch;
    int64_t wr, wc; /* windows per map */
    int shift;
} work;

static size_t per_thread(const sky_cpu_window_shape *s)
{
    const size_t n = (size_t)(s->win * s->win);
    return (n * (size_t)(3 * s->width + 4) + 15) / 16 * 16; /* q, k, v, a row of probabilities, band, token number */
}

size_t sky_cpu_window_scratch(const sky_cpu_window_shape *s, int threads)
{
    return (size_t)threads * per_thread(s) * sizeof(float);
}

static void unit(float *x, int d, float scale)
{
    float t = 0;
    for (int c = 0; c < d; c++)
        t += x[c] * x[c];
    t = sqrtf(t);
    for (int c = 0; c < d; c++)
        x[c] = x[c] / (t < 1e-12f ? 1e-12f : t) * scale;
}

static int band(int64_t at, int64_t n, int win, int shift) { return (at >= n - win) + (at >= n - shift); }

static void piece(void *arg, int64_t i, int thread)
{
    const work *w = arg;
    const sky_cpu_window_shape *s = w->s;
    const int h = (int)(i % s->heads), win = s->win, n = win * win, d = s->width, hd = s->heads * d;
    const int64_t at = i / s->heads, b = at / (w->wr * w->wc), wy = at / w->wc % w->wr, wx = at % w->wc;
    float *x = w->scratch + (size_t)thread * per_thread(s), *p = x + 3 * n * d;
    int32_t *region = (int32_t *)(p + n);
    const float gain = expf(fminf(w->logit_scale[h], logf(100.0f)));
    for (int t = 0; t < n; t++) {
        const int64_t ry = wy * win + t / win, rx = wx * win + t % win; /* on the rolled map */
        const int64_t y = (ry + w->shift) % (w->wr * win), c = (rx + w->shift) % (w->wc * win);
        region[t] = w->shift ? band(ry, w->wr * win, win, w->shift) * 3 + band(rx, w->wc * win, win, w->shift) : 0;
        const float *src = y < s->rows && c < s->cols ? w->qkv + ((b * s->rows + y) * s->cols + c) * 3 * hd : w->pad;
        for (int m = 0; m < 3; m++)
            for (int e = 0; e < d; e++)
                x[(m * n + t) * d + e] = src[m * hd + h * d + e];
        unit(x + t * d, d, gain);
        unit(x + (n + t) * d, d, 1);
    }
    for (int q = 0; q < n; q++) {
        const int64_t y = (wy * win + q / win + w->shift) % (w->wr * win), c = (wx * win + q % win + w->shift) % (w->wc * win);
        if (y >= s->rows || c >= s->cols)
            continue;
        float top = -INFINITY, sum = 0;
        for (int k = 0; k < n; k++) {
            float t = 0;
            for (int e = 0; e < d; e++)
                t += x[q * d + e] * x[(n + k) * d + e];
            p[k] = t + w->bias[(h * n + q) * n + k] - (region[q] != region[k] ? 100.0f : 0.0f);
            top = p[k] > top ? p[k] : top;
        }
        for (int k = 0; k < n; k++)
            sum += p[k] = expf(p[k] - top);
        float *out = w->out + ((b * s->rows + y) * s->cols + c) * hd + h * d;
        for (int e = 0; e < d; e++) {
            float t = 0;
            for (int k = 0; k < n; k++)
                t += p[k] * x[(2 * n + k) * d + e];
            out[e] = t / sum;
        }
    }
}

void sky_cpu_window_attention(float *out, const float *qkv, const float *pad_qkv, const float *bias,
                              const float *logit_scale, const sky_cpu_window_shape *s, void *scratch, sky_pool *pool)
{
    const int64_t small = s->rows < s->cols ? s->rows : s->cols;
    work w = {out, qkv, pad_qkv, bias, logit_scale, s, scratch, (s->rows + s->win - 1) / s->win,
              (s->cols + s->win - 1) / s->win, small == s->win ? 0 : s->shift};
    sky_pool_for(pool, s->batch * w.wr * w.wc * s->heads, piece, &w);
}
