/* image.cu -- maps [B,H,W,C]: resizing, its argmax, pooling, and their gradients.
 *
 * Where a row or column of a result comes from (2 or 4 places and weights) is computed once per call in double, as on the
 * CPU. Gradients gather: each source element adds the results that used it, in order, so nothing is added atomically.
 * Bound (computed, not measured): 4 bytes per element of the result plus one read of the source (the taps of neighbours
 * overlap and are found in cache), over memory bandwidth. */
#include "common.cuh"

struct tap {
    int at[4];
    float w[4];
};

static __device__ inline int clamped(int i, int n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }

static __device__ inline tap linear_tap(double src, int n)
{
    int i = clamped(static_cast<int>(floor(src)), n);
    double f = i + 1 < n ? src - i : 0; /* past the last place it is that place alone, exactly */
    return tap{{i, clamped(i + 1, n), 0, 0}, {static_cast<float>(1 - f), static_cast<float>(f), 0, 0}};
}

/* Cubic convolution with A = -0.75. */
static __device__ inline double cubic_near(double t) { return ((-0.75 + 2) * t - (-0.75 + 3)) * t * t + 1; }
static __device__ inline double cubic_far(double t) { return ((t - 5) * t + 8) * t * -0.75 - 4 * -0.75; }
static __device__ inline tap cubic_tap(double src, int n)
{
    int i = static_cast<int>(floor(src));
    double f = src - i;
    return tap{{clamped(i - 1, n), clamped(i, n), clamped(i + 1, n), clamped(i + 2, n)},
               {static_cast<float>(cubic_far(f + 1)), static_cast<float>(cubic_near(f)), static_cast<float>(cubic_near(1 - f)), static_cast<float>(cubic_far(2 - f))}};
}

static __device__ inline tap tap_of(int i, int from, int to, sky_interp how)
{
    double half_pixel = (i + 0.5) * from / to - 0.5;
    if (how == SKY_BICUBIC)
        return cubic_tap(half_pixel, from);
    if (how == SKY_BILINEAR)
        return linear_tap(half_pixel < 0 ? 0 : half_pixel, from);
    return linear_tap(to > 1 ? static_cast<double>(i) * (from - 1) / (to - 1) : 0, from);
}

struct resizing {
    const tap *ty, *tx; /* [h], [w] */
    int H, W, C, h, w, taps;
};

/* extra: bytes wanted behind the taps, at *more. */
static int make_taps(sky_dev *d, resizing *o, const sky_tensor *big, const sky_tensor *x, sky_interp how, size_t extra, void **more, const char *op, sky_err *e)
{
    int H = static_cast<int>(x->shape[1]), W = static_cast<int>(x->shape[2]), h = static_cast<int>(big->shape[1]), w = static_cast<int>(big->shape[2]);
    size_t n = static_cast<size_t>(h + w) * sizeof(tap);
    tap *t = static_cast<tap *>(sky_cuda_scratch(d, n + extra, op, e));
    if (!t)
        return e->code;
    *o = resizing{t, t + h, H, W, static_cast<int>(x->shape[3]), h, w, how == SKY_BICUBIC ? 4 : 2};
    if (more)
        *more = reinterpret_cast<char *>(t) + n;
    return each(d, h + w, op, e, [=] __device__(int64_t i) {
        t[i] = i < h ? tap_of(static_cast<int>(i), H, h, how) : tap_of(static_cast<int>(i - h), W, w, how);
    });
}

template <int V> static int resize_wide(sky_dev *d, float *y, const float *x, const resizing &o, int64_t total, sky_err *e)
{
    return each(d, total / V, "resize", e, [=] __device__(int64_t i) {
        int64_t b = i;
        int c = static_cast<int>(divide(&b, o.C / V));
        const tap &tx = o.tx[divide(&b, o.w)], &ty = o.ty[divide(&b, o.h)]; /* read where they lie: a copy would be local memory */
        floats<V> sum = {};
        for (int p = 0; p < o.taps; p++)
            for (int q = 0; q < o.taps; q++) {
                floats<V> s = load<V>(x, ((b * o.H + ty.at[p]) * o.W + tx.at[q]) * (o.C / V) + c);
                for (int k = 0; k < V; k++)
                    sum.v[k] += ty.w[p] * tx.w[q] * s.v[k];
            }
        store<V>(y, i, sum);
    });
}
static int resize(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_interp how, sky_err *e)
{
    resizing o;
    int rc = make_taps(d, &o, y, x, how, 0, NULL, "resize", e);
    if (rc)
        return rc;
    int wide = o.C % 4 == 0 && reinterpret_cast<uintptr_t>(x->data) % 16 == 0 && reinterpret_cast<uintptr_t>(y->data) % 16 == 0;
    return wide ? resize_wide<4>(d, f32_out(y), f32(x), o, sky_numel(y), e) : resize_wide<1>(d, f32_out(y), f32(x), o, sky_numel(y), e);
}

/* The first and last of n results that use source place i. */
struct range {
    int first, last;
};
static __device__ inline range users(const tap *t, int n, int taps, int i)
{
    range r = {n, -1};
    for (int k = 0; k < n; k++)
        for (int p = 0; p < taps; p++)
            if (t[k].at[p] == i) {
                r.first = k < r.first ? k : r.first;
                r.last = k;
            }
    return r;
}
static __device__ inline float weight_of(const tap &t, int taps, int i)
{
    float w = 0;
    for (int p = 0; p < taps; p++)
        w += t.at[p] == i ? t.w[p] : 0.0f;
    return w;
}

static int resize_backward(sky_dev *d, sky_grad *dx, const sky_tensor *dy, sky_interp how, sky_err *e)
{
    resizing o;
    void *more;
    int64_t H = dx->t.shape[1], W = dx->t.shape[2];
    int rc = make_taps(d, &o, dy, &dx->t, how, static_cast<size_t>(H + W) * sizeof(range), &more, "resize_backward", e);
    if (rc)
        return rc;
    range *ry = static_cast<range *>(more), *rx = ry + H;
    rc = each(d, H + W, "resize_backward", e, [=] __device__(int64_t i) {
        ry[i] = i < H ? users(o.ty, o.h, o.taps, static_cast<int>(i)) : users(o.tx, o.w, o.taps, static_cast<int>(i - H));
    });
    if (rc)
        return rc;
    float *to = f32_out(&dx->t);
    const float *g = f32(dy);
    int add = dx->add;
    return each(d, sky_numel(&dx->t), "resize_backward", e, [=] __device__(int64_t i) {
        int64_t b = i, c = divide(&b, o.C);
        int x = static_cast<int>(divide(&b, o.W)), y = static_cast<int>(divide(&b, o.H));
        float sum = 0;
        for (int p = ry[y].first; p <= ry[y].last; p++) {
            float wy = weight_of(o.ty[p], o.taps, y);
            for (int q = rx[x].first; q <= rx[x].last; q++)
                sum += wy * weight_of(o.tx[q], o.taps, x) * g[((b * o.h + p) * o.w + q) * o.C + c];
        }
        give(to + i, sum, add);
    });
}

static int resize_argmax(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e)
{
    resizing o;
    sky_cuda_check check = {"resize_argmax", "", x->shape[2], x->shape[1], x->shape[3], 0};
    unsigned long long *bad;
    const float *from = f32(x);
    int rc = sky_cuda_checking(d, &check, &bad, e);
    if (!rc) /* a class map cannot show a NaN */
        rc = each(d, sky_numel(x), "resize_argmax", e, [=] __device__(int64_t i) {
            if (!(from[i] == from[i]))
                fails(bad, i, 0);
        });
    if (!rc)
        rc = make_taps(d, &o, y, x, SKY_BILINEAR_CORNERS, 0, NULL, "resize_argmax", e);
    if (rc)
        return rc;
    uint8_t *to = static_cast<uint8_t *>(y->data);
    return each(d, sky_numel(y), "resize_argmax", e, [=] __device__(int64_t i) {
        int64_t b = i;
        tap tx = o.tx[divide(&b, o.w)], ty = o.ty[divide(&b, o.h)];
        const float *p = from + (b * o.H + ty.at[0]) * o.W * o.C, *q = from + (b * o.H + ty.at[1]) * o.W * o.C;
        int64_t l = static_cast<int64_t>(tx.at[0]) * o.C, r = static_cast<int64_t>(tx.at[1]) * o.C;
        float w0 = ty.w[0] * tx.w[0], w1 = ty.w[0] * tx.w[1], w2 = ty.w[1] * tx.w[0], w3 = ty.w[1] * tx.w[1], top = 0;
        int best = 0;
        for (int c = 0; c < o.C; c++) {
            float v = __fmul_rn(w0, p[l + c]) + __fmul_rn(w1, p[r + c]) + __fmul_rn(w2, q[l + c]) + __fmul_rn(w3, q[r + c]); /* not fused: ties fall as on the CPU */
            if (c == 0 || v > top) {
                top = v;
                best = c;
            }
        }
        to[i] = static_cast<uint8_t>(best);
    });
}

/* ---- pooling -------------------------------------------------------------------------------------------------------- */

static int avg_pool2(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e)
{
    int64_t H = x->shape[1], W = x->shape[2], C = x->shape[3], h = y->shape[1], w = y->shape[2];
    float *to = f32_out(y);
    const float *from = f32(x);
    return each(d, sky_numel(y), "avg_pool2", e, [=] __device__(int64_t i) {
        int64_t b = i, c = divide(&b, C), px = divide(&b, w), py = divide(&b, h);
        const float *p = from + ((b * H + 2 * py) * W + 2 * px) * C + c;
        to[i] = 0.25f * p[0] + 0.25f * p[C] + 0.25f * p[W * C] + 0.25f * p[(W + 1) * C];
    });
}
static int avg_pool2_backward(sky_dev *d, sky_grad *dx, const sky_tensor *dy, sky_err *e)
{
    int64_t H = dx->t.shape[1], W = dx->t.shape[2], C = dx->t.shape[3], h = dy->shape[1], w = dy->shape[2];
    float *to = f32_out(&dx->t);
    const float *g = f32(dy);
    int add = dx->add;
    return each(d, sky_numel(&dx->t), "avg_pool2_backward", e, [=] __device__(int64_t i) {
        int64_t b = i, c = divide(&b, C), x = divide(&b, W) / 2, y = divide(&b, H) / 2;
        give(to + i, x < w && y < h ? 0.25f * g[((b * h + y) * w + x) * C + c] : 0.0f, add);
    });
}

/* Cell i of s covers floor(i*n/s) .. ceil((i+1)*n/s)-1. */
static __device__ inline int64_t cell_from(int64_t i, int64_t n, int64_t s) { return i * n / s; }
static __device__ inline int64_t cell_to(int64_t i, int64_t n, int64_t s) { return ((i + 1) * n + s - 1) / s; }

static int adaptive_avg_pool(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e)
{
    int64_t H = x->shape[1], W = x->shape[2], C = x->shape[3], h = y->shape[1], w = y->shape[2];
    float *to = f32_out(y);
    const float *from = f32(x);
    return each(d, sky_numel(y), "adaptive_avg_pool", e, [=] __device__(int64_t i) {
        int64_t b = i, c = divide(&b, C), px = divide(&b, w), py = divide(&b, h);
        int64_t y0 = cell_from(py, H, h), y1 = cell_to(py, H, h), x0 = cell_from(px, W, w), x1 = cell_to(px, W, w);
        double sum = 0;
        for (int64_t yy = y0; yy < y1; yy++)
            for (int64_t xx = x0; xx < x1; xx++)
                sum += static_cast<double>(from[((b * H + yy) * W + xx) * C + c]);
        to[i] = static_cast<float>(sum / static_cast<double>((y1 - y0) * (x1 - x0)));
    });
}
static int adaptive_avg_pool_backward(sky_dev *d, sky_grad *dx, const sky_tensor *dy, sky_err *e)
{
    int64_t H = dx->t.shape[1], W = dx->t.shape[2], C = dx->t.shape[3], h = dy->shape[1], w = dy->shape[2];
    float *to = f32_out(&dx->t);
    const float *g = f32(dy);
    int add = dx->add;
    return each(d, sky_numel(&dx->t), "adaptive_avg_pool_backward", e, [=] __device__(int64_t i) {
        int64_t b = i, c = divide(&b, C), x = divide(&b, W), y = divide(&b, H);
        float sum = 0;
        for (int64_t p = 0; p < h; p++) {
            int64_t y0 = cell_from(p, H, h), y1 = cell_to(p, H, h);
            if (y < y0 || y >= y1)
                continue;
            for (int64_t q = 0; q < w; q++) {
                int64_t x0 = cell_from(q, W, w), x1 = cell_to(q, W, w);
                if (x >= x0 && x < x1)
                    sum += g[((b * h + p) * w + q) * C + c] / static_cast<float>((y1 - y0) * (x1 - x0));
            }
        }
        give(to + i, sum, add);
    });
}

void sky_cuda_fill_image(sky_backend *b)
{
    b->resize = resize;
    b->resize_backward = resize_backward;
    b->resize_argmax = resize_argmax;
    b->avg_pool2 = avg_pool2;
    b->avg_pool2_backward = avg_pool2_backward;
    b->adaptive_avg_pool = adaptive_avg_pool;
    b->adaptive_avg_pool_backward = adaptive_avg_pool_backward;
}
