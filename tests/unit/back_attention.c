/* Gradients of sequence attention and of convolution against plain double sums, at every instruction level the machine has:
 * awkward lengths, widths and maps, written and added to, nothing outside touched, the same bits with 1, 2 and 3 threads. */
#include "base/hash.h"
#include "cpu/cpuid.h"
#include "cpu/device_internal.h"
#include "t.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const sky_backend *const be = &sky_backend_cpu;
static sky_err err;
enum { EDGE = 16 };
#define OUTSIDE 12345.0f

static float *numbers(int64_t n, const char *name, float amp)
{
    float *p = malloc((size_t)n * sizeof *p);
    for (int64_t i = 0; i < n; i++)
        p[i] = sky_counter_value(sky_fnv1a(name), (uint64_t)i, amp, 0);
    return p;
}

static sky_tensor tensor(float *p, int ndim, const int64_t *s)
{
    sky_tensor t = {.data = p, .dtype = SKY_F32, .ndim = ndim};
    memcpy(t.shape, s, (size_t)ndim * sizeof *s);
    return t;
}
#define T(p, n, ...) tensor(p, n, (int64_t[]){__VA_ARGS__})

/* Runs fn on dw of n numbers with 1, 2, 3 threads, written and added to `old`; compares with ref (norm of the difference over
 * norm) and the runs with each other. */
typedef int run_fn(sky_dev *d, sky_grad *g, void *arg);

static void check(run_fn *fn, void *arg, const sky_tensor *shape, const double *ref, const float *old, double tol, const char *name)
{
    int64_t n = sky_numel(shape);
    float *out[2][3];
    int rc = 0, same = 1, guard = 1;
    double error[2] = {0};
    for (int add = 0; add < 2; add++)
        for (int t = 0; t < 3; t++) {
            sky_dev *d;
            float *p = out[add][t] = malloc((size_t)(n + 2 * EDGE) * sizeof *p);
            for (int64_t i = 0; i < n + 2 * EDGE; i++)
                p[i] = i < EDGE || i >= n + EDGE ? OUTSIDE : add ? old[i - EDGE] : NAN;
            sky_grad g = {*shape, add};
            g.t.data = p + EDGE;
            if (be->open(&d, -1, t + 1, &err))
                exit(1);
            rc |= fn(d, &g, arg);
            be->close(d);
            for (int i = 0; i < EDGE; i++)
                guard &= p[i] == OUTSIDE && p[n + EDGE + i] == OUTSIDE;
            same &= !memcmp(p, out[add][0], (size_t)(n + 2 * EDGE) * sizeof *p);
        }
    for (int add = 0; add < 2; add++) {
        double num = 0, den = 0;
        for (int64_t i = 0; i < n; i++) {
            double want = ref[i] + (add ? old[i] : 0), diff = out[add][0][EDGE + i] - want;
            num += diff * diff;
            den += want * want;
        }
        error[add] = den > 0 ? sqrt(num / den) : sqrt(num);
    }
    OK(!rc && error[0] <= tol && error[1] <= tol, "%s: error %.2g, added %.2g <= %.2g", name, error[0], error[1], tol);
    OK(same && guard, "%s: same bits with 1, 2 and 3 threads, nothing outside", name);
    for (int i = 0; i < 6; i++)
        free(out[i / 3][i % 3]);
}

/* ---- attention */

typedef struct {
    sky_tensor dy, y, lse, qkv;
} attention;

static int attention_fn(sky_dev *d, sky_grad *g, void *arg)
{
    attention *a = arg;
    int rc = be->attention(d, &a->y, &a->lse, &a->qkv, SKY_F32, &err);
    return rc ? rc : be->attention_backward(d, g, &a->dy, &a->y, &a->lse, &a->qkv, SKY_F32, &err);
}

/* One head: rows of q, k, v lie `row` apart, of dy `hd`. */
static void attention_ref(double *g, const float *q, const float *dy, int64_t l, int width, int64_t hd)
{
    int64_t row = 3 * hd;
    double *p = malloc((size_t)l * sizeof *p), *dp = malloc((size_t)l * sizeof *dp), scale = 1 / sqrt(width);
    for (int64_t i = 0; i < l; i++) {
        double top = -INFINITY, sum = 0, mean = 0;
        for (int64_t j = 0; j < l; j++) {
            p[j] = dp[j] = 0;
            for (int c = 0; c < width; c++) {
                p[j] += (double)q[i * row + c] * q[j * row + hd + c] * scale;
                dp[j] += (double)dy[i * hd + c] * q[j * row + 2 * hd + c];
            }
            top = fmax(top, p[j]);
        }
        for (int64_t j = 0; j < l; j++)
            sum += p[j] = exp(p[j] - top);
        for (int64_t j = 0; j < l; j++)
            mean += (p[j] /= sum) * dp[j];
        for (int64_t j = 0; j < l; j++)
            for (int c = 0; c < width; c++) {
                double ds = p[j] * (dp[j] - mean) * scale;
                g[i * row + c] += ds * q[j * row + hd + c];
                g[j * row + hd + c] += ds * q[i * row + c];
                g[j * row + 2 * hd + c] += p[j] * dy[i * hd + c];
            }
    }
    free(p), free(dp);
}

static void one_attention(const char *level, int64_t b, int64_t l, int heads, int width, float amp)
{
    int64_t hd = (int64_t)heads * width, n = b * l * hd;
    float *qkv = numbers(3 * n, "qkv", amp), *dy = numbers(n, "dy", 1), *old = numbers(3 * n, "old", 1), *y = numbers(n, "y", 1), *lse = numbers(b * l * heads, "y", 1);
    double *ref = calloc((size_t)(3 * n), sizeof *ref);
    for (int64_t i = 0; i < b * heads; i++) {
        int64_t at = i / heads * l * hd, h = i % heads * width;
        attention_ref(ref + 3 * at + h, qkv + 3 * at + h, dy + at + h, l, width, hd);
    }
    attention a = {T(dy, 3, b, l, hd), T(y, 3, b, l, hd), T(lse, 3, b, heads, l), T(qkv, 5, b, l, 3, heads, width)};
    char name[128];
    snprintf(name, sizeof name, "%s: attention %dx%d, %d heads of %d, amplitude %g", level, (int)b, (int)l, heads, width, (double)amp);
    /* Rounding of a logit of size x is x * 2^-24 of a probability; dp - D cancels some of it. */
    check(attention_fn, &a, &a.qkv, ref, old, 4e-6 + 4e-7 * (double)(amp * amp) * sqrt(width), name);
    free(qkv), free(dy), free(old), free(y), free(lse), free(ref);
}

/* ---- convolution */

typedef struct {
    sky_tensor dy, x, w;
} conv;

static int dx_fn(sky_dev *d, sky_grad *g, void *arg) { return be->conv2d_dx(d, g, &((conv *)arg)->dy, &((conv *)arg)->w, &err); }
static int dw_fn(sky_dev *d, sky_grad *g, void *arg) { return be->conv2d_dw(d, g, &((conv *)arg)->dy, &((conv *)arg)->x, SKY_F32, &err); }

static void one_conv(const char *level, int b, int h, int w, int c, int n, int k)
{
    int64_t nx = (int64_t)b * h * w * c, ny = (int64_t)b * h * w * n, nw = (int64_t)n * c * k * k;
    float *x = numbers(nx, "x", 1), *dy = numbers(ny, "dy", 1), *wt = numbers(nw, "w", 1), *old = numbers(nx + nw, "old", 1);
    double *dx = calloc((size_t)nx, sizeof *dx), *dw = calloc((size_t)nw, sizeof *dw);
    for (int64_t p = 0; p < (int64_t)b * h * w * k * k; p++) { /* pixel and tap */
        int t = (int)(p % (k * k)), px = (int)(p / (k * k) % w), py = (int)(p / (k * k) / w % h), img = (int)(p / (k * k) / w / h);
        int sy = py + t / k - k / 2, sx = px + t % k - k / 2;
        for (int i = 0; i < n && sy >= 0 && sy < h && sx >= 0 && sx < w; i++)
            for (int j = 0; j < c; j++) {
                double g = dy[((img * h + py) * w + px) * n + i];
                int64_t at = ((int64_t)(img * h + sy) * w + sx) * c + j, wat = ((int64_t)i * c + j) * k * k + t;
                dx[at] += g * wt[wat];
                dw[wat] += g * x[at];
            }
    }
    conv v = {T(dy, 4, b, h, w, n), T(x, 4, b, h, w, c), T(wt, 4, n, c, k, k)};
    char name[128];
    snprintf(name, sizeof name, "%s: conv %dx%d of %dx%dx%dx%d -> %d, dx", level, k, k, b, h, w, c, n);
    check(dx_fn, &v, &v.x, dx, old, 2e-6, name);
    name[strlen(name) - 1] = 'w';
    check(dw_fn, &v, &v.w, dw, old, 2e-6, name);
    free(x), free(dy), free(wt), free(old), free(dx), free(dw);
}

int main(void)
{
    static const struct { int64_t b, l; int h, d; float amp; } at[] = {
        {1, 1, 1, 1, 1},  {3, 2, 2, 3, 1},   {2, 4, 16, 64, 1}, {19, 5, 3, 6, 1}, {2, 8, 2, 44, 1},  {2, 9, 2, 2, 1},
        {2, 64, 2, 16, 1}, {1, 100, 3, 32, 1}, {1, 257, 2, 17, 1}, {1, 300, 1, 80, 1}, {2, 600, 1, 16, 4}, {1, 513, 2, 33, 1},
    };
    static const int cv[][6] = {{1, 1, 1, 1, 1, 3}, {1, 1, 1, 3, 2, 5}, {2, 3, 5, 7, 9, 3}, {1, 13, 33, 5, 7, 1}, {1, 7, 5, 65, 32, 3}, {1, 6, 9, 17, 40, 5}, {2, 9, 1, 29, 2, 3}};
    for (int l = SKY_CPU_PORTABLE; l < SKY_CPU_LEVELS; l++) {
        const char *level = sky_cpu_level_name((sky_cpu_level)l);
        if (l > (int)sky_cpu_detect()) {
            SKIP("this processor does not have it", level);
            continue;
        }
        sky_cpu_level_set((sky_cpu_level)l);
        for (size_t i = 0; i < sizeof at / sizeof *at; i++)
            one_attention(level, at[i].b, at[i].l, at[i].h, at[i].d, at[i].amp);
        for (size_t i = 0; i < sizeof cv / sizeof *cv; i++)
            one_conv(level, cv[i][0], cv[i][1], cv[i][2], cv[i][3], cv[i][4], cv[i][5]);
    }
    return END();
}
