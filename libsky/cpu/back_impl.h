/* back_impl.h -- the inner loops of gradients (see row_kernels.h); part of row_kernels_impl.h, which includes it. */

/* Loops over a few rows: their sums stay in registers. */
#define UNROLL _Pragma("GCC unroll 8")

/* y[i] = v, or v added to it, or v past the caches. */
INLINE void put(float *y, vf v, int add)
{
    if (add == SKY_PUT_FAR)
        store_far(y, v);
    else
        store(y, add ? load(y) + v : v);
}
INLINE void put1(float *y, float v, int add) { *y = add == SKY_PUT_ADD ? *y + v : v; }
INLINE void put_part(float *y, vf v, int64_t n, int add) { store_part(y, add == SKY_PUT_ADD ? load_part(y, n, 0) + v : v, n); }
/* As FOR_ROW, with `add`. */
#define FOR_GRAD(VECTOR, SCALAR)                 \
    do {                                         \
        int64_t i = 0;                           \
        for (; i + LANES <= n; i += LANES)       \
            put(y + i, VECTOR, add);             \
        for (; i < n; i++)                       \
            put1(y + i, SCALAR, add);            \
    } while (0)

/* The gradient before an activation whose result was y; a result of 0 counts as negative. */
INLINE vf before(vf dy, vf y, float slope) { return choose(y <= 0.0f, dy * slope, dy); }
INLINE float before1(float dy, float y, float slope) { return y <= 0 ? dy * slope : dy; }

static void batchnorm_sums(double *dz, double *dzx, const float *dy, const float *y, const float *x, const float *mean, float slope, int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        float part[LANES];
        store(part, before(load(dy + i), load(y + i), slope));
        for (int k = 0; k < LANES; k += 8) {
            vd g = wide(part + k);
            sum_to(dz + i + k, g);
            sum_to(dzx + i + k, g * (wide(x + i + k) - wide(mean + i + k)));
        }
    }
    for (; i < n; i++) {
        double g = (double)before1(dy[i], y[i], slope);
        dz[i] += g;
        dzx[i] += g * ((double)x[i] - (double)mean[i]);
    }
}

static void batchnorm_dx(float *y, const float *dy, const float *out, const float *x, const float *mean, const float *scale, const float *m0, const float *m1, float slope, int add, int64_t n)
{
    FOR_GRAD(load(scale + i) * (before(load(dy + i), load(out + i), slope) - load(m0 + i) - (load(x + i) - load(mean + i)) * load(m1 + i)),
             scale[i] * (before1(dy[i], out[i], slope) - m0[i] - (x[i] - mean[i]) * m1[i]));
}

static void softmax_entropy(float *y, float *row, const float *x, int64_t label, float g, int add, int64_t n)
{
    double sum = exp_row(row, x, row_max(x, n), 1, n);
    float s = (float)((double)g / sum);
    row[label] = (float)((double)row[label] - sum); /* p - 1, in double: the digits of a probability near 1 */
    FOR_GRAD(load(row + i) * s, row[i] * s);
}

INLINE vf sigmoid(vf x)
{
    vf e = exp_neg(choose(x < 0.0f, x, -x));
    return choose(x < 0.0f, e, all(1)) / (e + 1.0f);
}

static void sigmoid_entropy(float *y, const float *x, const float *w, int64_t label, float g, int add, int64_t n)
{
    for (int64_t i = 0; i < n; i += LANES) {
        int64_t m = n - i < LANES ? n - i : LANES;
        vf p = sigmoid(m == LANES ? load(x + i) : load_part(x + i, m, 0));
        if (label >= i && label < i + LANES)
            p[label - i] -= 1;
        p *= g;
        if (w)
            p *= m == LANES ? load(w + i) : load_part(w + i, m, 0);
        if (m == LANES)
            put(y + i, p, add);
        else
            put_part(y + i, p, m, add);
    }
}

static void scaled_difference(float *y, const float *a, const float *b, float s, int add, int64_t n)
{
    FOR_GRAD((load(a + i) - load(b + i)) * s, (a[i] - b[i]) * s);
}

/* ---- norms ------------------------------------------------------------------------------------------------------ */

/* Sums of dy*w and of dy*w*xhat over each of R rows; dy*xhat and dy of all of them into dw and db on the way, so that
 * those doubles are read and written once in R rows. R is a constant where this is inlined. */
INLINE void layernorm_sums(double (*sum)[2], double *dw, double *db, const float *dy, const float *x, const float *w, const row_norm *r, int R, int64_t n)
{
    for (int64_t from = 0; from < n; from += SUM_BLOCK) {
        int64_t to = n - from < SUM_BLOCK ? n : from + SUM_BLOCK, i = from;
        vf s[4] = {{0}}, q[4] = {{0}};
        for (; i + LANES <= to; i += LANES) {
            vf all_h = {0}, all_g = {0};
            UNROLL for (int k = 0; k < R; k++) {
                __builtin_prefetch(x + (k + 4) * n + i, 0, 2); /* the next rows' */
                vf g = load(dy + k * n + i), h = normal(load(x + k * n + i), r[k]), gw = g * load(w + i);
                s[k] += gw;
                q[k] += gw * h;
                all_h += g * h;
                all_g += g;
            }
            if (dw) {
                sum_all_to(dw + i, all_h);
                sum_all_to(db + i, all_g);
            }
        }
        for (int k = 0; k < R; k++) {
            sum[k][0] += total(s[k]);
            sum[k][1] += total(q[k]);
            for (int64_t j = i; j < to; j++) {
                float g = dy[k * n + j], h = normal1(x[k * n + j], r[k]), gw = g * w[j];
                sum[k][0] += (double)gw;
                sum[k][1] += (double)(gw * h);
                if (dw) {
                    dw[j] += (double)(g * h);
                    db[j] += (double)g;
                }
            }
        }
    }
}

static void layernorm_dx(float *y, const float *dy, const float *x, const float *w, row_norm r, const double sum[2], int add, int64_t n)
{
    float m0 = (float)(sum[0] / (double)n), m1 = (float)(sum[1] / (double)n);
    const float *next = dy + 4 * n; /* of the next four rows: brought near while this computes */
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        __builtin_prefetch(next + i, 0, 2);
        put(y + i, r.inv * (load(dy + i) * load(w + i) - m0 - normal(load(x + i), r) * m1), add);
    }
    for (; i < n; i++)
        put1(y + i, r.inv * (dy[i] * w[i] - m0 - normal1(x[i], r) * m1), add);
}

static void layernorm_back(float *y, double *dw, double *db, const float *dy, const float *x, const float *w, float eps, int add, int64_t rows, int64_t n)
{
    for (int64_t at = 0, R; at < rows; at += R, x += R * n, dy += R * n) {
        row_norm r[4];
        double sum[4][2] = {{0}};
        R = rows - at < 4 ? 1 : 4;
        for (int k = 0; k < R; k++)
            r[k] = norm_of(x + k * n, eps, n);
        if (R == 4)
            layernorm_sums(sum, dw, db, dy, x, w, r, 4, n);
        else
            layernorm_sums(sum, dw, db, dy, x, w, r, 1, n);
        for (int k = 0; k < R && y; k++)
            layernorm_dx(y + (at + k) * n, dy + k * n, x + k * n, w, r[k], sum[k], add, n);
    }
}

static double dot(const float *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t from = 0; from < n; from += SUM_BLOCK) {
        int64_t to = n - from < SUM_BLOCK ? n : from + SUM_BLOCK, i = from;
        vf s = {0};
        for (; i + LANES <= to; i += LANES)
            s += load(a + i) * load(b + i);
        sum += total(s);
        for (; i < to; i++)
            sum += (double)(a[i] * b[i]);
    }
    return sum;
}

static void exp_shifted(float *y, const float *x, float scale, float shift, int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store(y + i, exp_neg(load(x + i) * scale - shift));
    if (i < n)
        store_part(y + i, exp_neg(load_part(x + i, n - i, 0) * scale - shift), n - i);
}

static void score_back(float *y, const float *p, const float *dp, float mean, float scale, int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        store(y + i, load(p + i) * (load(dp + i) - mean) * scale);
    for (; i < n; i++)
        y[i] = p[i] * (dp[i] - mean) * scale;
}

static void softmax_back(float *y, const float *dy, const float *p, float scale, int add, int64_t n)
{
    float s = (float)dot(dy, p, n);
    FOR_GRAD(load(p + i) * scale * (load(dy + i) - s), p[i] * scale * (dy[i] - s));
}

/* ---- element by element, and sums over rows ----------------------------------------------------------------------- */

static void leaky_back(float *y, const float *dy, const float *out, float slope, int add, int64_t n)
{
    FOR_GRAD(before(load(dy + i), load(out + i), slope), before1(dy[i], out[i], slope));
}

/* The derivative of x*(1 - Q(x)) is 1 - (Q(x) - x*density(x)), and that of -x is 1 minus it. */
INLINE vf gelu_slope(vf x)
{
    vf t = magnitude(x);
    tail q = tail_of(t);
    vf v = q.e * (q.ratio - t * 0.398942280f);
    return choose(x > 0.0f, 1.0f - v, v);
}

static void gelu_back(float *y, const float *dy, const float *x, int add, int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        put(y + i, load(dy + i) * gelu_slope(load(x + i)), add);
    if (i < n)
        put_part(y + i, load_part(dy + i, n - i, 0) * gelu_slope(load_part(x + i, n - i, 0)), n - i, add);
}

static void accumulate_product(double *s, const float *a, const float *b, int64_t n)
{
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        sum_to(s + i, wide(a + i) * wide(b + i));
    for (; i < n; i++)
        s[i] += (double)a[i] * (double)b[i];
}

static void accumulate_scaled(double *s, const float *x, double w, int64_t n)
{
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        sum_to(s + i, wide(x + i) * w);
    for (; i < n; i++)
        s[i] += (double)x[i] * w;
}

static void scale_by(float *y, const float *x, const float *g, int add, int64_t n)
{
    FOR_GRAD(load(x + i) * load(g + i), x[i] * g[i]);
}

static void drop(float *y, const float *x, const float *f, int add, int64_t n)
{
    FOR_GRAD(choose(load(f + i) == 0.0f, all(0), load(x + i) * load(f + i)), f[i] == 0 ? 0 : x[i] * f[i]);
}

/* ---- combinations of rows ---------------------------------------------------------------------------------------- */

/* k a constant where this is inlined, so that the sums over sources unroll. */
INLINE void mix_k(float *y, const float *const *src, const float *w, int k, int add, int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vf v = load(src[0] + i) * w[0];
        UNROLL for (int j = 1; j < k; j++)
            v += load(src[j] + i) * w[j];
        put(y + i, v, add);
    }
    for (; i < n; i++) {
        float v = src[0][i] * w[0];
        for (int j = 1; j < k; j++)
            v += src[j][i] * w[j];
        put1(y + i, v, add);
    }
}

static void mix_add(float *y, const float *const *from, const float *weight, int k, int add, int64_t n)
{
    const float *src[8] = {NULL};
    float w[8] = {0};
    for (int j = 0; j < k; j++)
        src[j] = from[j], w[j] = weight[j];
    switch (k) {
    case 1: mix_k(y, src, w, 1, add, n); break;
    case 2: mix_k(y, src, w, 2, add, n); break;
    case 4: mix_k(y, src, w, 4, add, n); break;
    case 8: mix_k(y, src, w, 8, add, n); break;
    default: mix_k(y, src, w, k, add, n);
    }
}

/* Halves of pairs: even and odd places of two vectors. */
INLINE vf even(vf a, vf b) { return SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30); }
INLINE vf odd(vf a, vf b) { return SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31); }

static void deinterleave4(float *const *y, const float *x, int64_t n)
{
    float *a = y[0], *b = y[1], *c = y[2], *d = y[3];
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vf v0 = load(x + 4 * i), v1 = load(x + 4 * i + 16), v2 = load(x + 4 * i + 32), v3 = load(x + 4 * i + 48);
        vf ac0 = even(v0, v1), ac1 = even(v2, v3), bd0 = odd(v0, v1), bd1 = odd(v2, v3);
        store(a + i, even(ac0, ac1));
        store(c + i, odd(ac0, ac1));
        store(b + i, even(bd0, bd1));
        store(d + i, odd(bd0, bd1));
    }
    for (; i < n; i++) {
        a[i] = x[4 * i];
        b[i] = x[4 * i + 1];
        c[i] = x[4 * i + 2];
        d[i] = x[4 * i + 3];
    }
}
