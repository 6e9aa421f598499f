/* back_impl.h -- the inner loops of gradients (see row_kernels.h); part of row_kernels_impl.h, which includes it. */

/* y[i] = v, or v added to it. */
INLINE void put(float *y, vf v, int add) { store(y, add ? load(y) + v : v); }
INLINE void put1(float *y, float v, int add) { *y = add ? *y + v : v; }
INLINE void put_part(float *y, vf v, int64_t n, int add) { store_part(y, add ? load_part(y, n, 0) + v : v, n); }
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
        vf v = before(load(dy + i), load(y + i), slope);
        float part[LANES];
        store(part, v);
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
