/* Gradients of resizing and pooling maps, of annotation tokens and of the window bias; see back_case.h. */
#include "back_case.h"

static const sky_backend *const be = &sky_backend_cpu;

/* ---- maps: B, H, W, C, h, w; interpolation, or 10 + pooling -------------------------------------------------------- */

enum { PAIRS = 10, ADAPTIVE = 11 };

static void map_setup(back *b)
{
    const int64_t *s = b->s;
    b->in[0] = back_random("x", 1, 0, SHAPE(s[0], s[1], s[2], s[3]));
    b->dy = back_random("dy", 1, 0.2f, SHAPE(s[0], s[4], s[5], s[3]));
    b->step[0] = 1; /* linear */
}

static double cubic(double t)
{
    t = fabs(t);
    return t <= 1 ? (1.25 * t - 2.25) * t * t + 1 : t < 2 ? -0.75 * (((t - 5) * t + 8) * t - 4) : 0;
}

/* What result i of n takes from place k of N, by the definition of the operation. */
static double share(int64_t how, int64_t i, int64_t n, int64_t k, int64_t N)
{
    double at = ((double)i + 0.5) * (double)N / (double)n - 0.5, sum = 0;
    if (how == PAIRS)
        return k / 2 == i ? 0.5 : 0;
    if (how == ADAPTIVE) {
        int64_t from = i * N / n, to = ((i + 1) * N + n - 1) / n;
        return k >= from && k < to ? 1.0 / (double)(to - from) : 0;
    }
    if (how == SKY_BILINEAR_CORNERS)
        at = n > 1 ? (double)i * (double)(N - 1) / (double)(n - 1) : 0;
    for (int64_t j = (int64_t)floor(at) - 2; j <= (int64_t)floor(at) + 3; j++) {
        int64_t place = j < 0 ? 0 : j >= N ? N - 1 : j; /* beyond the border its last place counts */
        if (place == k)
            sum += how == SKY_BICUBIC ? cubic(at - (double)j) : fmax(0, 1 - fabs(at - (double)j));
    }
    return sum;
}

/* Linear, so the value at v - x will do: and only what was changed is not 0. */
static double map_loss(const back *b, double *const *v)
{
    const int64_t *s = b->s;
    double L = 0;
    for (int64_t at = 0; at < sky_numel(&b->in[0]); at++) {
        double by = v[0][at] - (double)f32(&b->in[0])[at];
        int64_t c = at % s[3], x = at / s[3] % s[2], y = at / s[3] / s[2] % s[1], m = at / s[3] / s[2] / s[1];
        for (int64_t i = 0; by != 0 && i < s[4]; i++) {
            double wy = share(s[6], i, s[4], y, s[1]);
            for (int64_t j = 0; wy != 0 && j < s[5]; j++)
                L += by * wy * share(s[6], j, s[5], x, s[2]) * (double)f32(&b->dy)[((m * s[4] + i) * s[5] + j) * s[3] + c];
        }
    }
    return L;
}

static int map_run(back *b, sky_dev *d, sky_grad *g, sky_err *e)
{
    if (b->s[6] >= PAIRS)
        return (b->s[6] == PAIRS ? be->avg_pool2_backward : be->adaptive_avg_pool_backward)(d, &g[0], &b->dy, e);
    return be->resize_backward(d, &g[0], &b->dy, (sky_interp)b->s[6], e);
}

/* ---- annotation tokens: B, h, w, C, p, labels, 1: a mask over 2x2 of them -------------------------------------------------- */

static void anno_setup(back *b)
{
    const int64_t *s = b->s;
    b->in[0] = back_random("table", 1, 0, SHAPE(s[5], s[3]));
    b->in[1] = back_random("weight", 1, 0, SHAPE(1, s[4] * s[4]));
    b->in[2] = back_random("token", 1, 0, SHAPE(1, 1, s[3]));
    b->dy = back_random("dy", 1, 0.1f, SHAPE(s[0], s[1], s[2], s[3]));
    b->aux[0] = back_bytes("labels", (uint32_t)s[5], SHAPE(s[0], s[1] * s[4], s[2] * s[4]));
    b->aux[1] = s[6] ? back_bytes("mask", 2, SHAPE(s[0], s[1] / 2, s[2] / 2)) : sky_none;
    if (!s[6])
        b->in[2].data = NULL;
}

static double anno_loss(const back *b, double *const *v)
{
    const int64_t *s = b->s, p = s[4], C = s[3];
    const uint8_t *labels = b->aux[0].data, *mask = b->aux[1].data;
    double L = 0, sum = 0;
    for (int64_t k = 0; k < p * p; k++)
        sum += exp(v[1][k]);
    for (int64_t t = 0; t < s[0] * s[1] * s[2]; t++) {
        int64_t j = t % s[2], i = t / s[2] % s[1], m = t / s[2] / s[1];
        int hidden = mask && mask[(m * (s[1] / 2) + i / 2) * (s[2] / 2) + j / 2];
        for (int64_t k = 0; !hidden && k < p * p; k++) {
            int l = labels[((m * s[1] + i) * p + k / p) * s[2] * p + j * p + k % p];
            for (int64_t c = 0; c < C; c++)
                L += exp(v[1][k]) / sum * v[0][l * C + c] * (double)f32(&b->dy)[t * C + c];
        }
        for (int64_t c = 0; hidden && c < C; c++)
            L += v[2][c] * (double)f32(&b->dy)[t * C + c];
    }
    return L;
}

static int anno_run(back *b, sky_dev *d, sky_grad *g, sky_err *e)
{
    return be->annotation_tokens_backward(d, &g[0], &g[1], &g[2], &b->dy, &b->aux[0], &b->in[0], &b->in[1], &b->aux[1], (int)b->s[4], e);
}

/* ---- window bias: win, heads ------------------------------------------------------------------------------------------ */

static void bias_setup(back *b)
{
    int64_t win = b->s[0], side = 2 * win - 1;
    b->in[0] = back_random("t", 3, 0, SHAPE(side * side, b->s[1]));
    b->dy = back_random("dy", 1, 0.2f, SHAPE(b->s[1], win * win, win * win));
}

static double bias_loss(const back *b, double *const *v)
{
    int64_t win = b->s[0], n = win * win, heads = b->s[1];
    double L = 0;
    for (int64_t k = 0; k < heads * n * n; k++) {
        int64_t h = k / n / n, i = k / n % n, j = k % n;
        int64_t at = (i / win - j / win + win - 1) * (2 * win - 1) + i % win - j % win + win - 1;
        L += (double)f32(&b->dy)[k] * 16 / (1 + exp(-v[0][at * heads + h]));
    }
    return L;
}

static int bias_run(back *b, sky_dev *d, sky_grad *g, sky_err *e)
{
    int64_t n = b->s[0] * b->s[0];
    sky_tensor y = back_tensor(SKY_F32, SHAPE(b->s[1], n, n));
    int rc = be->window_bias(d, &y, &b->in[0], (int)b->s[0], e);
    return rc ? rc : be->window_bias_backward(d, &g[0], &b->dy, &y, (int)b->s[0], e);
}

/* Tolerances: a few roundings of 6e-8, of weights and of sums over up to 50 results. */
#define MAP(name, how, tol, ...) {name, map_setup, map_loss, map_run, {__VA_ARGS__, how}, tol, 0}
static const back_case cases[] = {
    MAP("bilinear up", SKY_BILINEAR, 1e-6, 2, 5, 7, 33, 20, 28), MAP("bilinear up 3.3", SKY_BILINEAR, 1e-6, 1, 3, 4, 3, 10, 13),
    MAP("bilinear down", SKY_BILINEAR, 1e-6, 1, 13, 17, 16, 4, 5), MAP("bilinear of one", SKY_BILINEAR, 1e-6, 2, 1, 1, 131, 19, 50),
    MAP("bilinear same", SKY_BILINEAR, 1e-6, 1, 3, 2, 5, 3, 2), MAP("bilinear tall", SKY_BILINEAR, 1e-6, 1, 70, 3, 33, 140, 6),
    MAP("corners up", SKY_BILINEAR_CORNERS, 1e-6, 2, 5, 7, 33, 17, 25), MAP("corners to one", SKY_BILINEAR_CORNERS, 1e-6, 1, 5, 7, 3, 1, 1),
    MAP("corners down", SKY_BILINEAR_CORNERS, 1e-6, 1, 9, 11, 65, 4, 3), MAP("bicubic up", SKY_BICUBIC, 2e-6, 1, 4, 5, 33, 9, 14),
    MAP("bicubic down", SKY_BICUBIC, 2e-6, 2, 9, 7, 3, 4, 5), MAP("bicubic of one", SKY_BICUBIC, 2e-6, 1, 1, 2, 1, 5, 3),
    MAP("avg_pool2", PAIRS, 1e-6, 2, 4, 6, 33, 2, 3), MAP("avg_pool2 odd", PAIRS, 1e-6, 1, 5, 7, 3, 2, 3),
    MAP("adaptive 1", ADAPTIVE, 1e-6, 2, 9, 7, 33, 1, 1), MAP("adaptive 3", ADAPTIVE, 1e-6, 1, 8, 7, 352, 3, 3),
    MAP("adaptive 6", ADAPTIVE, 1e-6, 1, 10, 8, 5, 6, 6), MAP("adaptive 6 of 4", ADAPTIVE, 1e-6, 1, 4, 3, 16, 6, 6),
    {"annotation_tokens", anno_setup, anno_loss, anno_run, {2, 6, 4, 33, 4, 9, 1}, 2e-6, 0},
    {"annotation_tokens, no mask", anno_setup, anno_loss, anno_run, {1, 20, 3, 16, 2, 65, 0}, 2e-6, 0},
    {"annotation_tokens", anno_setup, anno_loss, anno_run, {1, 2, 2, 3, 1, 2, 1}, 2e-6, 0},
    {"window_bias", bias_setup, bias_loss, bias_run, {4, 3}, 2e-6, 0}, {"window_bias", bias_setup, bias_loss, bias_run, {8, 2}, 2e-6, 0},
    {"window_bias", bias_setup, bias_loss, bias_run, {1, 1}, 2e-6, 0},
};

/* A batch of 16 MiB is written past the caches: the same bits as its samples one by one, which are not. */
static void far(void)
{
    enum { H = 50, W = 40, C = 1056, h = 25, w = 80 };
    sky_err e = {0};
    sky_dev *d;
    if (be->open(&d, -1, 2, &e))
        exit(1);
    float *y = aligned_alloc(64, 2 * H * W * C * 4), *z = aligned_alloc(64, 2 * H * W * C * 4);
    sky_tensor dy = back_random("dy", 1, 0, SHAPE(2, h, w, C));
    sky_grad all = {{y, SKY_F32, 4, {2, H, W, C}}, 0};
    int ok = y && z && !be->resize_backward(d, &all, &dy, SKY_BILINEAR, &e);
    for (int i = 0; ok && i < 2; i++) {
        sky_grad one_of = {{z + i * H * W * C, SKY_F32, 4, {1, H, W, C}}, 0};
        sky_tensor part = {f32_out(&dy) + i * h * w * C, SKY_F32, 4, {1, h, w, C}};
        ok &= !be->resize_backward(d, &one_of, &part, SKY_BILINEAR, &e);
    }
    OK(ok && !memcmp(y, z, 2 * H * W * C * 4), "resize past the caches");
    free(y);
    free(z);
    be->close(d);
}

int main(void)
{
    far();
    return back_tests(cases, sizeof cases / sizeof cases[0]);
}
