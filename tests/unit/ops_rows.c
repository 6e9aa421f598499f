/* Operations on rows and copies, on awkward shapes; see ops_case.h. Copies and integer arithmetic must be exact. */
#include "ops_case.h"

/* rows, C, mean, residual? */
static sky_tensor layernorm(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t R = s[0], C = s[1];
    float *x = rnd(R * C, "x", 10, (float)s[2]), *w = rnd(C, "w", 1, 1), *b = rnd(C, "b", 1, 0), *r = rnd(R * C, "r", 2, 0);
    for (int64_t i = 0; ref && i < R; i++) {
        double m = 0, v = 0;
        for (int64_t j = 0; j < C; j++)
            m += (double)x[i * C + j] / (double)C;
        for (int64_t j = 0; j < C; j++)
            v += ((double)x[i * C + j] - m) * ((double)x[i * C + j] - m) / (double)C;
        for (int64_t j = 0; j < C; j++)
            ref[i * C + j] = ((double)x[i * C + j] - m) / sqrt(v + 1e-5) * (double)w[j] + (double)b[j] + (s[3] ? (double)r[i * C + j] : 0);
    }
    return sky_layernorm(c, UP(x, R, C), UP(w, C), UP(b, C), 1e-5f, s[3] ? UP(r, R, C) : sky_none);
}

/* rows, C, scale */
static sky_tensor softmax(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t R = s[0], C = s[1];
    float *x = rnd(R * C, "x", 3, 0);
    for (int64_t i = 0; ref && i < R; i++) {
        double top = -INFINITY, sum = 0;
        for (int64_t j = 0; j < C; j++)
            top = fmax(top, (double)x[i * C + j] * (double)s[2]);
        for (int64_t j = 0; j < C; j++)
            sum += ref[i * C + j] = exp((double)x[i * C + j] * (double)s[2] - top);
        for (int64_t j = 0; j < C; j++)
            ref[i * C + j] /= sum;
    }
    return sky_softmax(c, UP(x, R, C), (float)s[2]);
}

static sky_tensor l2_normalize(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t R = s[0], C = s[1];
    float *x = rnd(R * C, "x", 3, 0);
    memset(x, 0, (size_t)C * 4); /* a row without direction */
    for (int64_t i = 0; ref && i < R; i++) {
        double n = 0;
        for (int64_t j = 0; j < C; j++)
            n += (double)x[i * C + j] * (double)x[i * C + j];
        for (int64_t j = 0; j < C; j++)
            ref[i * C + j] = (double)x[i * C + j] / fmax(sqrt(n), 1e-12);
    }
    return sky_l2_normalize(c, UP(x, R, C));
}

static double act_of(double v, sky_act a)
{
    return a == SKY_ACT_RELU ? fmax(v, 0) : a == SKY_ACT_LEAKY ? (v < 0 ? 0.01 * v : v) : a == SKY_ACT_GELU ? 0.5 * v * (1 + erf(v / sqrt(2))) : v;
}

/* rows, C, activation, what: 0 result, 1 running mean, 2 running variance */
static sky_tensor batchnorm(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t R = s[0], C = s[1];
    float *x = rnd(R * C, "x", 2, 30), *w = rnd(C, "w", 1, 1), *b = rnd(C, "b", 1, 0), *rm = rnd(C, "m", 1, 0), *rv = rnd(C, "v", 0.5f, 1);
    for (int64_t j = 0; ref && j < C; j++) {
        double m = 0, v = 0;
        for (int64_t i = 0; i < R; i++)
            m += (double)x[i * C + j] / (double)R;
        for (int64_t i = 0; i < R; i++)
            v += ((double)x[i * C + j] - m) * ((double)x[i * C + j] - m) / (double)R;
        if (s[3])
            ref[j] = s[3] == 1 ? 0.9 * (double)rm[j] + 0.1 * m : 0.9 * (double)rv[j] + 0.1 * v * (double)R / (double)(R - 1);
        for (int64_t i = 0; !s[3] && i < R; i++)
            ref[i * C + j] = act_of(((double)x[i * C + j] - m) / sqrt(v + 1e-5) * (double)w[j] + (double)b[j], (sky_act)s[2]);
    }
    sky_tensor m = UP(rm, C), v = UP(rv, C);
    sky_tensor y = sky_batchnorm_train(c, UP(x, R, C), UP(w, C), UP(b, C), m, v, 0.1f, 1e-5f, (sky_act)s[2]);
    return s[3] == 1 ? m : s[3] == 2 ? v : y;
}

static sky_tensor fold(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t C = s[1];
    float *w = rnd(C, "w", 1, 1), *b = rnd(C, "b", 1, 0), *m = rnd(C, "m", 3, 0), *v = rnd(C, "v", 0.5f, 1);
    for (int64_t j = 0; ref && j < C; j++) {
        ref[j] = (double)w[j] / sqrt((double)v[j] + 1e-5);
        ref[C + j] = (double)b[j] - (double)m[j] * ref[j];
    }
    return sky_batchnorm_fold(c, UP(w, C), UP(b, C), UP(m, C), UP(v, C), 1e-5f);
}

/* rows, C, 1: b per channel */
static sky_tensor add(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t R = s[0], C = s[1], n = s[2] ? C : R * C;
    float *a = whole(R * C, "a", 1000), *b = whole(n, "b", 1000);
    for (int64_t i = 0; ref && i < R * C; i++)
        ref[i] = (double)a[i] + (double)b[i % n];
    return sky_add(c, UP(a, R, C), s[2] ? UP(b, C) : UP(b, R, C));
}
static sky_tensor add_scaled(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t R = s[0], C = s[1];
    float *x = whole(R * C, "x", 1000), *z = whole(R * C, "z", 1000), *g = whole(C, "g", 1000);
    for (int64_t i = 0; ref && i < R * C; i++)
        ref[i] = (double)x[i] + (double)g[i % C] * (double)z[i];
    return sky_add_scaled(c, UP(x, R, C), UP(g, C), UP(z, R, C));
}
static sky_tensor activate(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t n = s[0] * s[1];
    float *x = rnd(n, "x", 7, 0);
    for (int64_t i = 0; ref && i < n; i++)
        ref[i] = act_of((double)x[i], (sky_act)s[2]);
    return sky_activate(c, UP(x, s[0], s[1]), (sky_act)s[2]);
}
static sky_tensor cast(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t n = s[0] * s[1];
    float *x = rnd(n, "x", 7, 0);
    static const float special[] = {0.0f, -0.0f, INFINITY, -INFINITY, 1.00390625f, 1.01171875f, 3.4e38f, 1e-40f};
    for (int64_t i = 0; i < 8 && s[1] > 64; i++)
        x[i * 7] = special[i];
    for (int64_t i = 0; ref && i < n; i++)
        ref[i] = (double)sky_bf16_to_f32(sky_f32_to_bf16(x[i]));
    return sky_cast(c, sky_cast(c, UP(x, s[0], s[1]), SKY_BF16), SKY_F32);
}

/* rows, C: a division and two steps, each rounded as it is here */
static sky_tensor normalise(sky_ctx *c, const int64_t *s, double *ref)
{
    const int64_t n = s[0] * s[1];
    float *x = whole(n, "x", 32767), *mean_std = rnd(2 * s[1], "mean", 0.4f, 0.5f);
    int16_t *v = hold((size_t)n * sizeof *v);
    for (int64_t i = 0; i < n; i++) {
        v[i] = (int16_t)x[i];
        if (ref)
            ref[i] = (double)((x[i] / 255.0f - mean_std[i % s[1]]) / mean_std[s[1] + i % s[1]]);
    }
    return sky_normalise(c, sky_upload(c, SKY_I16, SHAPE(s[0], s[1]), v), 255, mean_std);
}
/* groups, bytes of each */
static sky_tensor lookup(sky_ctx *c, const int64_t *s, double *ref)
{
    const int64_t n = s[0] * s[1];
    uint8_t *x = bytes(n, "x", 256), *table = bytes(s[0] * 256, "table", 256);
    for (int64_t i = 0; ref && i < n; i++)
        ref[i] = table[i / s[1] * 256 + x[i]];
    return sky_lookup(c, sky_upload(c, SKY_U8, SHAPE(s[0], s[1]), x), s[0], table);
}

/* B, h, w, C */
static sky_tensor halves_mean(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t half = s[2] * s[3];
    float *x = whole(s[0] * s[1] * 2 * half, "x", 1000);
    for (int64_t i = 0; ref && i < s[0] * s[1] * half; i++)
        ref[i] = 0.5 * ((double)x[i / half * 2 * half + i % half] + (double)x[i / half * 2 * half + half + i % half]);
    return sky_halves_mean(c, UP(x, s[0], s[1], 2 * s[2], s[3]));
}
static sky_tensor halves_stack(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t w = s[2], C = s[3];
    float *x = whole(s[0] * s[1] * 2 * w * C, "x", 1 << 20);
    for (int64_t i = 0; ref && i < s[0] * s[1] * w * 2 * C; i++) {
        int64_t ch = i % (2 * C), j = i / (2 * C) % w, row = i / (2 * C) / w;
        ref[i] = (double)x[(row * 2 * w + (ch < C ? j : w + j)) * C + ch % C];
    }
    return sky_halves_stack(c, UP(x, s[0], s[1], 2 * w, C));
}
/* B, h, C1, C2, axis */
static sky_tensor concat(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t na = s[2], nb = s[3], B = s[0], h = s[1];
    int last = s[4] == 2;
    float *a = whole(B * h * na * (last ? 1 : 5), "a", 1 << 20), *b = whole(B * h * nb * (last ? 1 : 5), "b", 1 << 20);
    int64_t inner = last ? 1 : 5, outer = last ? B * h : B;
    int64_t ra = last ? na : h * na, rb = last ? nb : h * nb; /* first: [B, h*n, 5] along dimension 1 */
    for (int64_t i = 0; ref && i < outer; i++) {
        for (int64_t k = 0; k < ra * inner; k++)
            *ref++ = (double)a[i * ra * inner + k];
        for (int64_t k = 0; k < rb * inner; k++)
            *ref++ = (double)b[i * rb * inner + k];
    }
    if (last)
        return sky_concat(c, (sky_tensor[]){UP(a, B, h, na), UP(b, B, h, nb)}, 2, -1);
    return sky_concat(c, (sky_tensor[]){UP(a, B, ra, 5), UP(b, B, rb, 5)}, 2, 1);
}
/* B, n, C, from, count: along dimension 1 */
static sky_tensor slice(sky_ctx *c, const int64_t *s, double *ref)
{
    float *x = whole(s[0] * s[1] * s[2], "x", 1 << 20);
    for (int64_t i = 0; ref && i < s[0] * s[4] * s[2]; i++) {
        int64_t inner = s[4] * s[2];
        ref[i] = (double)x[i / inner * s[1] * s[2] + s[3] * s[2] + i % inner];
    }
    return sky_slice(c, UP(x, s[0], s[1], s[2]), 1, s[3], s[4]);
}
static sky_tensor take(sky_ctx *c, const int64_t *s, double *ref)
{
    static const int64_t index[5] = {2, 0, 2, 1, 2};
    float *x = whole(3 * s[1], "x", 1 << 20);
    for (int64_t i = 0; ref && i < 5 * s[1]; i++)
        ref[i] = (double)x[index[i / s[1]] * s[1] + i % s[1]];
    return sky_take(c, UP(x, 3, s[1]), index, 5);
}
static sky_tensor pick(sky_ctx *c, const int64_t *s, double *ref)
{
    static const int64_t pos[4] = {1, -1, 0, -3};
    float *a = whole(2 * s[1], "a", 1 << 20), *b = whole(3 * s[1], "b", 1 << 20);
    for (int64_t i = 0; ref && i < 4 * s[1]; i++) {
        int64_t p = pos[i / s[1]];
        ref[i] = (double)(p >= 0 ? a[p * s[1] + i % s[1]] : b[(-1 - p) * s[1] + i % s[1]]);
    }
    return sky_pick(c, UP(a, 2, s[1]), UP(b, 3, s[1]), pos, 4);
}
static sky_tensor repeat(sky_ctx *c, const int64_t *s, double *ref)
{
    float *x = whole(s[1], "x", 1 << 20);
    for (int64_t i = 0; ref && i < s[0] * s[1]; i++)
        ref[i] = (double)x[i % s[1]];
    return sky_repeat(c, UP(x, s[1]), s[0]);
}
/* sizes of [a,b,c,d] -> [a,c,d,b] (0) or [d,b,a,c] (1) or [b,a,c,d] (2) */
static sky_tensor transpose(sky_ctx *c, const int64_t *s, double *ref)
{
    static const int perms[3][4] = {{0, 2, 3, 1}, {3, 1, 0, 2}, {1, 0, 2, 3}};
    const int *p = perms[s[4]];
    int64_t n = s[0] * s[1] * s[2] * s[3], step[4] = {s[1] * s[2] * s[3], s[2] * s[3], s[3], 1};
    float *x = whole(n, "x", 1 << 20);
    for (int64_t i = 0; ref && i < n; i++) {
        int64_t rest = i, at = 0;
        for (int k = 3; k >= 0; k--) {
            at += rest % s[p[k]] * step[p[k]];
            rest /= s[p[k]];
        }
        ref[i] = (double)x[at];
    }
    return sky_transpose(c, UP(x, s[0], s[1], s[2], s[3]), p);
}
/* B, H, W, C, p */
static sky_tensor unfold(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t H = s[1], W = s[2], C = s[3], p = s[4], h = (H + p - 1) / p, w = (W + p - 1) / p;
    float *x = whole(s[0] * H * W * C, "x", 1 << 20);
    for (int64_t i = 0; ref && i < s[0] * h * w * C * p * p; i++) {
        int64_t dx = i % p, dy = i / p % p, ch = i / (p * p) % C, t = i / (p * p) / C;
        int64_t px = t % w * p + dx, py = t / w % h * p + dy, b = t / w / h;
        ref[i] = px < W && py < H ? (double)x[((b * H + py) * W + px) * C + ch] : 0;
    }
    return sky_unfold(c, UP(x, s[0], H, W, C), (int)p);
}
static sky_tensor pixel_shuffle(sky_ctx *c, const int64_t *s, double *ref)
{
    int64_t h = s[1], w = s[2], C = s[3], r = s[4];
    float *x = whole(s[0] * h * w * C * r * r, "x", 1 << 20);
    for (int64_t i = 0; ref && i < s[0] * h * w * C * r * r; i++) {
        int64_t ch = i % C, X = i / C % (w * r), Y = i / C / (w * r) % (h * r), b = i / C / (w * r) / (h * r);
        ref[i] = (double)x[(((b * h + Y / r) * w + X / r) * C + ch) * r * r + Y % r * r + X % r];
    }
    return sky_pixel_shuffle(c, UP(x, s[0], h, w, C * r * r), (int)r);
}

static const op_case cases[] = {
    {"layernorm", layernorm, {1, 1}, 0, 1e-6, 'b'}, {"layernorm", layernorm, {3, 33, 0, 1}, 1e-6, 1e-6, 'b'},
    {"layernorm", layernorm, {1031, 353, 1, 1}, 1e-6, 2e-6, 'b'}, {"layernorm", layernorm, {7, 352}, 1e-6, 1e-6, 'b'},
    {"layernorm, mean 3000", layernorm, {5, 2048, 3000}, 2e-6, 2e-6, 'b'}, {"layernorm", layernorm, {3, 2817, -7}, 1e-6, 1e-6, 'b'},
    {"softmax", softmax, {5, 8192, 9}, 4e-6, 1e-12, 'b'}, {"softmax", softmax, {7, 1, 1}, 0, 0, 'b'},
    {"softmax", softmax, {3, 17, -2}, 2e-6, 1e-12, 'b'}, {"softmax, far apart", softmax, {300, 259, 100}, 2e-5, 1e-12, 'b'},
    {"l2_normalize", l2_normalize, {5, 100}, 2e-7, 0, 'b'}, {"l2_normalize", l2_normalize, {3, 7}, 2e-7, 0, 'b'},
    {"batchnorm_train", batchnorm, {1063, 33, SKY_ACT_RELU}, 1e-6, 4e-6, 0}, {"batchnorm_train", batchnorm, {2, 5, SKY_ACT_LEAKY}, 1e-6, 1e-4, 0},
    {"batchnorm_train", batchnorm, {600, 65, SKY_ACT_NONE}, 1e-6, 4e-6, 0}, {"batchnorm_train mean", batchnorm, {1063, 33, 0, 1}, 1e-7, 0, 0},
    {"batchnorm_train var", batchnorm, {1063, 33, 0, 2}, 1e-7, 0, 0}, {"batchnorm_fold", fold, {1, 77}, 2e-7, 1e-7, 0},
    {"add", add, {1, 1}, 0, 0, 'b'}, {"add", add, {700, 353}, 0, 0, 'b'}, {"add per channel", add, {700, 353, 1}, 0, 0, 'b'},
    {"add_scaled", add_scaled, {700, 353}, 0, 0, 'b'}, {"add_scaled", add_scaled, {3, 5}, 0, 0, 'b'},
    {"activate none", activate, {7, 33, SKY_ACT_NONE}, 0, 0, 'b'}, {"activate relu", activate, {700, 133, SKY_ACT_RELU}, 0, 0, 'b'},
    {"activate leaky", activate, {700, 133, SKY_ACT_LEAKY}, 1e-7, 0, 'b'}, {"activate gelu", activate, {700, 133, SKY_ACT_GELU}, 1e-7, 8.5e-8 /* 5e-7 of |x| Q(|x|) <= 0.17 */, 'b'},
    {"cast", cast, {701, 133}, 0, 0, 'b'}, {"cast", cast, {1, 3}, 0, 0, 'b'},
    {"normalise", normalise, {70001, 3}, 0, 0, 'b'}, {"normalise", normalise, {1, 1}, 0, 0, 'b'}, {"lookup", lookup, {3, 100003}, 0, 0, 'b'}, {"lookup", lookup, {1, 1}, 0, 0, 'b'},
    {"halves_mean", halves_mean, {2, 37, 5, 33}, 0, 0, 'b'}, {"halves_stack", halves_stack, {2, 37, 50, 35}, 0, 0, 'b'},
    {"concat last", concat, {2, 700, 33, 65, 2}, 0, 0, 'b'}, {"concat middle", concat, {3, 1, 9, 40000, 1}, 0, 0, 'b'}, {"concat large", concat, {3, 9000, 150, 131, 2}, 0, 0, 'b'},
    {"slice", slice, {3, 700, 65, 13, 501}, 0, 0, 'b'}, {"slice", slice, {1, 3, 1, 2, 1}, 0, 0, 'b'},
    {"take", take, {1, 100003}, 0, 0, 0}, {"pick", pick, {1, 70001}, 0, 0, 0}, {"repeat", repeat, {3, 70001}, 0, 0, 0},
    {"transpose", transpose, {2, 35, 30, 77, 0}, 0, 0, 'b'}, {"transpose", transpose, {3, 5, 7, 200, 1}, 0, 0, 0}, {"transpose", transpose, {3, 5, 7, 200, 2}, 0, 0, 0},
    {"unfold 1", unfold, {2, 3, 5, 33, 1}, 0, 0, 'b'}, {"unfold 2", unfold, {2, 35, 37, 99, 2}, 0, 0, 'b'},
    {"unfold 3", unfold, {1, 5, 4, 7, 3}, 0, 0, 'b'}, {"unfold 4", unfold, {2, 10, 13, 3, 4}, 0, 0, 'b'},
    {"pixel_shuffle 4", pixel_shuffle, {2, 9, 4, 33, 4}, 0, 0, 'b'}, {"pixel_shuffle 1", pixel_shuffle, {1, 3, 2, 5, 1}, 0, 0, 'b'},
};

/* Every small size at every alignment, nothing written beside it. */
static void copy_far(void)
{
    static char x[512], y[512];
    int bad = 0;
    sky_err e;
    sky_ctx c;
    if (sky_ctx_open(&c, "cpu", 1, &e))
        return;
    for (int i = 0; i < 512; i++)
        x[i] = (char)(i * 7 + i / 256);
    for (int64_t n = 0; n <= 300; n++)
        for (int at = 0; at < 64; at++) {
            memset(y, 0x55, sizeof y);
            c.dev->k->copy_far(y + 64 + at, x + n % 61, n);
            c.dev->k->fence();
            for (int i = 0; i < 512; i++)
                bad += y[i] != (i >= 64 + at && i < 64 + at + n ? x[n % 61 + i - 64 - at] : 0x55);
        }
    OK(bad == 0, "copy past the caches: sizes 0 to 300 at every alignment (%s)", c.dev->k->name);
    sky_ctx_close(&c);
}

int main(void)
{
    copy_far();
    return test_cases(cases, sizeof cases / sizeof cases[0]);
}
