/* Operations on maps, losses and products, on awkward shapes; see ops_case.h. Whole numbers must come out exact. */
#include "ops_case.h"

/* ---- resizing: the definition, one element at a time ------------------------------------------------------------ */

static double cubic(double t)
{
    const double a = -0.75;
    t = fabs(t);
    return t <= 1 ? ((a + 2) * t - (a + 3)) * t * t + 1 : t < 2 ? ((a * t - 5 * a) * t + 8 * a) * t - 4 * a : 0;
}
/* Weight of source i for position src. */
static double weight_of(double src, int64_t i, int64_t n, sky_interp how)
{
    double w = 0;
    int64_t f = (int64_t)floor(src);
    for (int64_t k = f - 1; k <= f + 2; k++) {
        int64_t at = k < 0 ? 0 : k >= n ? n - 1 : k;
        if (at == i)
            w += how == SKY_BICUBIC ? cubic(src - (double)k) : fmax(0, 1 - fabs(src - (double)k));
    }
    return w;
}
static double source(int64_t i, int64_t n, int64_t m, sky_interp how)
{
    if (how == SKY_BILINEAR_CORNERS)
        return m > 1 ? (double)(i * (n - 1)) / (double)(m - 1) : 0;
    double s = ((double)i + 0.5) * (double)n / (double)m - 0.5;
    return how == SKY_BILINEAR && s < 0 ? 0 : s;
}
static void resize_ref(double *ref, const float *x, const int64_t *s, sky_interp how)
{
    int64_t B = s[0], H = s[1], W = s[2], C = s[3], h = s[4], w = s[5];
    for (int64_t i = 0; i < B * h * w * C; i++) {
        int64_t ch = i % C, X = i / C % w, Y = i / C / w % h, b = i / C / w / h;
        double sy = source(Y, H, h, how), sx = source(X, W, w, how);
        ref[i] = 0;
        for (int64_t yy = 0; yy < H; yy++) {
            double wy = weight_of(sy, yy, H, how);
            for (int64_t xx = 0; wy != 0 && xx < W; xx++)
                ref[i] += wy * weight_of(sx, xx, W, how) * (double)x[((b * H + yy) * W + xx) * C + ch];
        }
    }
}
/* B, H, W, C, h, w, interpolation, 1: whole numbers */
static sky_tensor resize(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t n = s[0] * s[1] * s[2] * s[3];
    float *x = s[7] ? whole(n, "x", 1000) : rnd(n, "x", 3, 0);
    if (ref)
        resize_ref(ref, x, s, (sky_interp)s[6]);
    return sky_resize(c, UP(x, s[0], s[1], s[2], s[3]), s[4], s[5], (sky_interp)s[6]);
}
/* B, H, W, C, h, w, values -m..m: few values make many ties */
static sky_tensor resize_argmax(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t C = s[3];
    float *x = whole(s[0] * s[1] * s[2] * C, "x", (int)s[6]);
    sky_tensor in = UP(x, s[0], s[1], s[2], C);
    sky_tensor y = sky_resize_argmax(c, in, s[4], s[5]);
    if (ref && !c->dry) { /* the same map stored: the result must agree in every pixel, ties included */
        int64_t n = s[0] * s[4] * s[5];
        float *full = hold((size_t)(n * C) * 4);
        sky_ctx big;
        sky_err e;
        if (sky_ctx_open(&big, "cpu", 1, &e) || sky_ctx_alloc(&big, (size_t)(n + s[0] * s[1] * s[2]) * (size_t)C * 4 + 4096, &e))
            return sky_none;
        sky_tensor f = sky_resize(&big, sky_upload(&big, SKY_F32, SHAPE(s[0], s[1], s[2], C), x), s[4], s[5], SKY_BILINEAR_CORNERS);
        sky_download(&big, full, &f);
        for (int64_t i = 0; i < n; i++) {
            int64_t best = 0;
            for (int64_t k = 1; k < C; k++)
                best = full[i * C + k] > full[i * C + best] ? k : best;
            ref[i] = (double)best;
        }
        sky_ctx_close(&big);
    }
    return y;
}

/* B, H, W, C */
static sky_tensor avg_pool2(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t H = s[1], W = s[2], C = s[3], h = H / 2, w = W / 2;
    float *x = whole(s[0] * H * W * C, "x", 1000);
    for (int64_t i = 0; ref && i < s[0] * h * w * C; i++) {
        const float *p = x + ((i / C / w / h * H + i / C / w % h * 2) * W + i / C % w * 2) * C + i % C;
        ref[i] = 0.25 * ((double)p[0] + (double)p[C] + (double)p[W * C] + (double)p[W * C + C]);
    }
    return sky_avg_pool2(c, UP(x, s[0], H, W, C));
}
/* B, H, W, C, s */
static sky_tensor adaptive(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t H = s[1], W = s[2], C = s[3], n = s[4];
    float *x = rnd(s[0] * H * W * C, "x", 3, 1);
    for (int64_t i = 0; ref && i < s[0] * n * n * C; i++) {
        int64_t ch = i % C, b = i / C / n / n, cy = i / C / n % n, cx = i / C % n, count = 0;
        ref[i] = 0;
        for (int64_t y = 0; y < H; y++) /* pixel y belongs to the cell when the two intervals meet */
            for (int64_t xx = 0; xx < W; xx++)
                if (y * n < (cy + 1) * H && (y + 1) * n > cy * H && xx * n < (cx + 1) * W && (xx + 1) * n > cx * W) {
                    ref[i] += (double)x[((b * H + y) * W + xx) * C + ch];
                    count++;
                }
        ref[i] /= (double)count;
    }
    return sky_adaptive_avg_pool(c, UP(x, s[0], H, W, C), (int)n);
}

/* B, h, w (tokens), C, p, rows of the table, mask cell in tokens (0: no mask) */
static sky_tensor annotation(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t B = s[0], h = s[1], w = s[2], C = s[3], p = s[4], V = s[5], cell = s[6] ? s[6] : 1;
    uint8_t *l = bytes(B * h * p * w * p, "labels", (uint32_t)V), *m = bytes(B * h / cell * w / cell, "mask", 2);
    float *table = rnd(V * C, "table", 1, 0), *wt = rnd(p * p, "weight", 2, 0), *token = rnd(C, "token", 1, 5);
    double sum = 0;
    for (int64_t k = 0; k < p * p; k++)
        sum += exp((double)wt[k]);
    for (int64_t i = 0; ref && i < B * h * w * C; i++) {
        int64_t ch = i % C, x = i / C % w, y = i / C / w % h, b = i / C / w / h;
        ref[i] = 0;
        for (int64_t k = 0; k < p * p; k++)
            ref[i] += exp((double)wt[k]) / sum * (double)table[l[((b * h + y) * p + k / p) * w * p + x * p + k % p] * C + ch];
        if (s[6] && m[(b * (h / cell) + y / cell) * (w / cell) + x / cell])
            ref[i] = (double)token[ch];
    }
    return sky_annotation_tokens(c, sky_upload(c, SKY_U8, SHAPE(B, h * p, w * p), l), UP(table, V, C), UP(wt, 1, p * p),
                                 s[6] ? sky_upload(c, SKY_U8, SHAPE(B, h / cell, w / cell), m) : sky_none, UP(token, 1, 1, C), (int)p);
}

/* win, heads */
static sky_tensor window_bias(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t win = s[1], heads = s[2], n = win * win, side = 2 * win - 1;
    float *t = rnd(side * side * heads, "t", 3, 0);
    for (int64_t i = 0; ref && i < heads * n * n; i++) {
        int64_t q = i / n % n, k = i % n, at = (q / win - k / win + win - 1) * side + q % win - k % win + win - 1;
        ref[i] = 16 / (1 + exp(-(double)t[at * heads + i / n / n]));
    }
    return sky_window_bias(c, UP(t, side * side, heads), (int)win);
}

/* ---- losses ------------------------------------------------------------------------------------------------------ */

static double log_prob(const float *x, int64_t n, int64_t k)
{
    double top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        top = fmax(top, (double)x[i]);
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)x[i] - top);
    return (double)x[k] - top - log(sum);
}
/* B, H, W, C, 0: cross entropy, 1: with ignore 3, 2: rec_loss, 3: rec_loss without label 0 */
static sky_tensor entropy(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t n = s[0] * s[1] * s[2], C = s[3];
    float *x = rnd(n * C, "x", 9, 100);
    uint8_t *l = bytes(n, "labels", (uint32_t)C);
    double sum[2] = {0, 0}, count[2] = {0, 0};
    for (int64_t i = 0; i < n; i++) {
        if (s[4] == 3)
            l[i] = (uint8_t)(1 + l[i] % (C - 1));
        if (ref && !(s[4] == 1 && l[i] == 3))
            sum[l[i] == 0] -= log_prob(x + i * C, C, l[i]);
        count[l[i] == 0]++;
    }
    if (ref)
        *ref = s[4] < 2 ? (sum[0] + sum[1]) / (double)n : 0.5 * (sum[0] / (count[0] + 1e-6) + sum[1] / (count[1] + 1e-6));
    sky_tensor X = UP(x, s[0], s[1], s[2], C), L = sky_upload(c, SKY_U8, SHAPE(s[0], s[1], s[2]), l);
    return s[4] < 2 ? sky_cross_entropy(c, X, L, s[4] ? 3 : -1, 0, NULL) : sky_rec_loss(c, X, L);
}
static const uint8_t flags[4] = {1, 0, 1, 1};
/* B, rows, C */
static sky_tensor sym_kl(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t R = s[1], C = s[2];
    float *a = rnd(s[0] * R * C, "a", 3, 0), *b = rnd(s[0] * R * C, "b", 3, 0);
    if (ref)
        *ref = 0;
    for (int64_t i = 0; ref && i < s[0] * R; i++)
        for (int64_t k = 0; k < C && flags[i / R]; k++) {
            double pa = log_prob(a + i * C, C, k), pb = log_prob(b + i * C, C, k);
            *ref += (exp(pb) - exp(pa)) * (pb - pa) / (double)s[0];
        }
    return sky_sym_kl(c, UP(a, s[0], R, C), UP(b, s[0], R, C), flags);
}
static sky_tensor masked_mse(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t n = s[1] * s[2];
    float *a = rnd(s[0] * n, "a", 3, 0), *b = rnd(s[0] * n, "b", 3, 0);
    double present = 0, sum = 0;
    for (int64_t i = 0; i < s[0]; i++) {
        present += flags[i];
        for (int64_t k = i * n; flags[i] && k < (i + 1) * n; k++)
            sum += ((double)a[k] - (double)b[k]) * ((double)a[k] - (double)b[k]) / (double)n;
    }
    if (ref)
        *ref = sum / (present + 1e-6);
    return sky_masked_mse(c, UP(a, s[0], s[1], s[2]), UP(b, s[0], s[1], s[2]), flags);
}

/* ---- products, through the front ---------------------------------------------------------------------------------- */

/* Small whole numbers are exact in BF16, and so are their sums in F32. */
static sky_tensor weight(sky_ctx *c, const float *w, sky_tensor shape_of, int bf16)
{
    sky_tensor t = sky_upload(c, SKY_F32, shape_of.ndim, shape_of.shape, w);
    return bf16 ? sky_cast(c, t, SKY_BF16) : t;
}
/* rows, K, N, 1: BF16 weights, activation, 1: [K,N] weights */
static sky_tensor product(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t R = s[0], K = s[1], N = s[2];
    float *x = whole(R * K, "x", 8), *w = whole(N * K, "w", 8), *b = whole(N, "b", 8), *r = whole(R * N, "r", 8);
    for (int64_t i = 0; ref && i < R * N; i++) {
        ref[i] = 0;
        for (int64_t k = 0; k < K; k++)
            ref[i] += (double)x[i / N * K + k] * (double)(s[5] ? w[k * N + i % N] : w[i % N * K + k]);
        if (!s[5])
            ref[i] = (s[4] == SKY_ACT_RELU ? fmax(ref[i] + (double)b[i % N], 0) : ref[i] + (double)b[i % N]) + (double)r[i];
    }
    sky_tensor W = weight(c, w, s[5] ? (sky_tensor){.ndim = 2, .shape = {K, N}} : (sky_tensor){.ndim = 2, .shape = {N, K}}, (int)s[3]);
    if (s[5])
        return sky_matmul(c, UP(x, R, 1, K), W);
    return sky_linear(c, UP(x, R, 1, K), W, UP(b, N), (sky_act)s[4], UP(r, R, 1, N));
}
/* B, H, W, C, N, k, 1: BF16 weights */
static sky_tensor conv2d(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t H = s[1], W = s[2], C = s[3], N = s[4], k = s[5];
    float *x = whole(s[0] * H * W * C, "x", 8), *w = whole(N * C * k * k, "w", 8), *g = whole(N, "g", 4), *b = whole(N, "b", 8);
    for (int64_t i = 0; ref && i < s[0] * H * W * N; i++) {
        int64_t n = i % N, X = i / N % W, Y = i / N / W % H, B = i / N / W / H;
        double sum = 0;
        for (int64_t t = 0; t < C * k * k; t++) {
            int64_t y = Y + t / k % k - k / 2, xx = X + t % k - k / 2;
            if (y >= 0 && y < H && xx >= 0 && xx < W)
                sum += (double)w[n * C * k * k + t] * (double)x[((B * H + y) * W + xx) * C + t / (k * k)];
        }
        ref[i] = fmax(sum * (double)g[n] + (double)b[n], 0);
    }
    sky_tensor wt = weight(c, w, (sky_tensor){.ndim = 4, .shape = {N, C, k, k}}, (int)s[6]);
    return sky_conv2d(c, UP(x, s[0], H, W, C), wt, UP(g, N), UP(b, N), SKY_ACT_RELU);
}

static const op_case cases[] = {
    {"resize same", resize, {2, 5, 7, 33, 5, 7, SKY_BILINEAR, 1}, 0, 0, 'b'},
    {"resize x2", resize, {2, 9, 11, 65, 18, 22, SKY_BILINEAR, 1}, 0, 0, 'b'},
    {"resize half", resize, {1, 8, 6, 3, 4, 3, SKY_BILINEAR, 1}, 0, 0, 'b'},
    {"resize large", resize, {2, 19, 17, 128, 160, 131, SKY_BILINEAR}, 1e-6, 1e-6, 'b'},
    {"resize odd", resize, {2, 5, 7, 17, 13, 10, SKY_BILINEAR}, 1e-6, 1e-6, 'b'},
    {"resize down", resize, {2, 31, 29, 16, 7, 5, SKY_BILINEAR}, 1e-6, 1e-6, 'b'},
    {"resize from 1", resize, {2, 1, 1, 5, 6, 5, SKY_BILINEAR, 1}, 0, 0, 'b'},
    {"resize to 1", resize, {1, 6, 5, 5, 1, 1, SKY_BILINEAR}, 1e-6, 1e-6, 'b'},
    {"resize corners", resize, {2, 5, 7, 65, 20, 28, SKY_BILINEAR_CORNERS}, 1e-6, 1e-6, 'b'},
    {"resize corners", resize, {1, 13, 10, 1, 5, 7, SKY_BILINEAR_CORNERS}, 1e-6, 1e-6, 'b'},
    {"resize corners to 1", resize, {1, 13, 10, 2, 1, 1, SKY_BILINEAR_CORNERS, 1}, 0, 0, 'b'},
    {"resize corners wide", resize, {1, 20, 17, 65, 90, 77, SKY_BILINEAR_CORNERS}, 1e-6, 1e-6, 'b'},
    {"resize bicubic", resize, {1, 4, 4, 100, 8, 8, SKY_BICUBIC}, 2e-6, 2e-6, 'b'},
    {"resize bicubic", resize, {2, 6, 5, 3, 4, 13, SKY_BICUBIC}, 2e-6, 2e-6, 'b'},
    {"resize bicubic from 1", resize, {1, 1, 2, 3, 4, 5, SKY_BICUBIC}, 2e-6, 2e-6, 'b'},
    {"resize_argmax", resize_argmax, {2, 20, 17, 65, 90, 77, 1000}, 0, 0, 'b'},
    {"resize_argmax ties", resize_argmax, {2, 20, 17, 65, 40, 33, 1}, 0, 0, 'b'},
    {"resize_argmax ties", resize_argmax, {1, 9, 8, 35, 33, 29, 1}, 0, 0, 'b'},
    {"resize_argmax few", resize_argmax, {2, 9, 8, 7, 33, 29, 3}, 0, 0, 'b'},
    {"resize_argmax 256", resize_argmax, {1, 9, 8, 256, 33, 29, 9}, 0, 0, 'b'},
    {"avg_pool2", avg_pool2, {2, 35, 31, 65}, 0, 0, 'b'}, {"avg_pool2", avg_pool2, {1, 2, 3, 1}, 0, 0, 'b'},
    {"adaptive 1", adaptive, {2, 32, 16, 70, 1}, 1e-6, 1e-7, 'b'}, {"adaptive 6", adaptive, {2, 10, 7, 9, 6}, 1e-6, 1e-7, 'b'},
    {"adaptive 3", adaptive, {1, 2, 8, 3, 3}, 1e-6, 1e-7, 'b'},
    {"annotation", annotation, {2, 40, 36, 35, 4, 65, 4}, 0, 1e-6, 'b'}, {"annotation", annotation, {2, 3, 5, 100, 4, 2, 0}, 0, 1e-6, 'b'},
    {"annotation", annotation, {1, 4, 4, 3, 1, 256, 1}, 0, 0, 'b'}, {"annotation 17x17", annotation, {1, 3, 2, 7, 17, 256, 0}, 0, 2e-6, 'b'},
    {"window_bias", window_bias, {1, 8, 3}, 1e-7, 0, 0}, {"window_bias", window_bias, {1, 1, 1}, 1e-7, 0, 0}, {"window_bias", window_bias, {1, 3, 5}, 1e-7, 0, 0},
    {"cross_entropy", entropy, {3, 40, 33, 65, 0}, 1e-6, 0, 0}, {"cross_entropy ignore", entropy, {1, 40, 33, 9, 1}, 1e-6, 0, 0},
    {"rec_loss", entropy, {3, 40, 33, 65, 2}, 1e-6, 0, 0}, {"rec_loss without 0", entropy, {1, 3, 3, 9, 3}, 1e-6, 0, 0},
    {"sym_kl", sym_kl, {4, 5, 8192}, 1e-6, 0, 0}, {"sym_kl", sym_kl, {1, 1, 3}, 1e-6, 0, 0},
    {"masked_mse", masked_mse, {4, 100, 353}, 1e-6, 0, 0}, {"masked_mse", masked_mse, {1, 1, 1}, 1e-6, 0, 0},
    {"linear", product, {37, 65, 33, 0, SKY_ACT_RELU}, 0, 0, 'B'}, {"linear BF16", product, {37, 65, 33, 1, SKY_ACT_NONE}, 0, 0, 'B'},
    {"matmul", product, {5, 130, 70, 0, 0, 1}, 0, 0, 'B'}, {"matmul BF16", product, {5, 130, 70, 1, 0, 1}, 0, 0, 'B'},
    {"conv2d 1", conv2d, {2, 5, 7, 33, 9, 1, 0}, 0, 0, 'B'}, {"conv2d 3", conv2d, {2, 5, 7, 33, 9, 3, 0}, 0, 0, 'B'},
    {"conv2d 5 BF16", conv2d, {2, 5, 7, 33, 35, 5, 1}, 0, 0, 'B'},
};

int main(void) { return test_cases(cases, sizeof cases / sizeof cases[0]); }
