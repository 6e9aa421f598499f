/* conv.cu -- convolutions 1x1, 3x3, 5x5, stride 1, NHWC, and their gradients: matrix products over patches laid out in
 * scratch memory, a tile of pixels at a time.
 *
 *   v1 patches of a tile (im2col), cuBLASLt on them   <- linked
 *   (an implicit product with mma.sync was considered: it saves writing the patches, but on Hopper mma.sync reaches some
 *   60 % of the rate that cuBLASLt gets from wgmma. A tile of patches is 64 MiB, the L2 of an H100 50 MB: whether smaller
 *   tiles, read back from L2, gain more than their smaller products lose is to be measured)
 * 1x1 needs no patches. A tile has as many pixels as fill TILE_BYTES, but never so few that the product leaves
 * multiprocessors idle. The weights [N,C,k,k] are brought into the patches' order [k*k,C] once per call.
 * Bound (computed, not measured): 2*B*H*W*N*C*k*k over the cuBLAS rate, plus patches written and read once (2*k*k*C bytes
 * per pixel in BF16, twice that in F32). */
#include "common.cuh"

enum { TILE_BYTES = 64 << 20, TILE_LEAST = 4096 };

struct maps {
    int64_t H, W, C;
    int k;
};

template <class T> static __device__ inline T operand_of(float v);
template <> __device__ inline float operand_of<float>(float v) { return v; }
template <> __device__ inline uint16_t operand_of<uint16_t>(float v) { return static_cast<uint16_t>(bf16_pair(v, 0)); }

/* V operands moved by one instruction. */
template <class T, int V> struct __align__(V * sizeof(T)) pieces {
    T v[V];
};

/* col[pixel - first][tap][c], V channels per thread: finding where they come from costs more than moving them. */
template <class T, int V> static int patches_by(sky_dev *d, T *col, const float *x, const maps &o, int64_t first, int64_t n, const char *op, sky_err *e)
{
    const int L = V < 4 ? V : 4;
    int64_t groups = o.C / V;
    pieces<T, V> *to = reinterpret_cast<pieces<T, V> *>(col);
    return each(d, n * o.k * o.k * groups, op, e, [=] __device__(int64_t i) {
        int64_t p = i, c = divide(&p, groups) * V;
        int t = static_cast<int>(divide(&p, o.k * o.k));
        p += first;
        int64_t px = divide(&p, o.W) + t % o.k - o.k / 2, py = divide(&p, o.H) + t / o.k - o.k / 2;
        pieces<T, V> y = {};
        if (px >= 0 && px < o.W && py >= 0 && py < o.H)
            for (int at = 0; at < V; at += L) {
                floats<L> from = load<L>(x + ((p * o.H + py) * o.W + px) * o.C + c + at, 0);
                for (int k = 0; k < L; k++)
                    y.v[at + k] = operand_of<T>(from.v[k]);
            }
        to[i] = y;
    });
}
template <class T> static int patches(sky_dev *d, T *col, const float *x, const maps &o, int64_t first, int64_t n, const char *op, sky_err *e)
{
    const int V = 16 / sizeof(T);
    int wide = o.C % V == 0 && (reinterpret_cast<uintptr_t>(x) | reinterpret_cast<uintptr_t>(col)) % 16 == 0;
    return wide ? patches_by<T, V>(d, col, x, o, first, n, op, e) : patches_by<T, 1>(d, col, x, o, first, n, op, e);
}

/* y[n][tap][c] = w[n][c][tap]; turned: y[c][tap'][n], the taps in reverse: the kernel of the gradient. */
template <class T> static int weights(sky_dev *d, T *y, const T *w, int64_t N, int64_t C, int k, int turned, const char *op, sky_err *e)
{
    int64_t kk = static_cast<int64_t>(k) * k;
    return each(d, N * C * kk, op, e, [=] __device__(int64_t i) {
        int64_t a = i, in = divide(&a, turned ? N : C), t = divide(&a, kk);
        y[i] = turned ? w[(in * C + a) * kk + kk - 1 - t] : w[(a * C + in) * kk + t];
    });
}

static int64_t tile_pixels(int64_t pixels, int64_t width, int size)
{
    int64_t n = TILE_BYTES / (width * size);
    n = n < static_cast<int64_t>(TILE_LEAST) ? static_cast<int64_t>(TILE_LEAST) : n / 128 * 128;
    return n < pixels ? n : pixels;
}
static size_t aligned(int64_t bytes) { return static_cast<size_t>((bytes + 255) / 256 * 256); }

/* y[pixel, out] (+)= patches(x) wt^T, wt [out, k*k*C] */
template <class T> static int convolve(sky_dev *d, float *y, const float *x, const maps &o, int64_t pixels, const T *w, int64_t N, int64_t C, int turned, int add, const char *op, sky_err *e)
{
    int64_t width = o.k * o.k * o.C, out = turned ? C : N, tile = tile_pixels(pixels, width, sizeof(T));
    int plain = o.k == 1 && sizeof(T) == sizeof(float);
    size_t head = aligned(N * C * o.k * o.k * static_cast<int64_t>(sizeof(T)));
    char *scratch = static_cast<char *>(sky_cuda_scratch(d, head + (plain ? 0 : static_cast<size_t>(tile * width) * sizeof(T)), op, e));
    if (!scratch)
        return e->code;
    T *wt = reinterpret_cast<T *>(scratch), *col = reinterpret_cast<T *>(scratch + head);
    int rc = weights(d, wt, w, N, C, o.k, turned, op, e);
    for (int64_t at = 0; at < pixels && !rc; at += tile) {
        int64_t n = pixels - at < tile ? pixels - at : tile;
        if (!plain)
            rc = patches(d, col, x, o, at, n, op, e);
        float *to = y + at * out;
        sky_cuda_gemm g = {plain ? static_cast<const void *>(x + at * o.C) : col, wt, 0, 1, sizeof(T) == 2, n, out, width, width, width, out, to, NULL, add ? to : NULL};
        if (!rc)
            rc = sky_cuda_product(d, &g, op, e);
    }
    return rc;
}

static int conv2d(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *scale, const sky_tensor *shift, sky_act act, sky_err *e)
{
    int64_t pixels = sky_rows(x), N = w->shape[0], C = w->shape[1];
    maps o = {x->shape[1], x->shape[2], C, static_cast<int>(w->shape[2])};
    float *to = f32_out(y);
    int rc = w->dtype == SKY_BF16 ? convolve(d, to, f32(x), o, pixels, static_cast<const uint16_t *>(w->data), N, C, 0, 0, "conv2d", e)
                                  : convolve(d, to, f32(x), o, pixels, f32(w), N, C, 0, 0, "conv2d", e);
    if (rc || (act == SKY_ACT_NONE && !scale->data && !shift->data))
        return rc;
    return sky_cuda_finish(d, to, to, f32(scale), f32(shift), act, NULL, pixels, N, "conv2d", e);
}

/* The convolution of dy with the kernel turned round, inputs and outputs exchanged. */
static int conv2d_dx(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const sky_tensor *w, sky_err *e)
{
    int64_t pixels = sky_rows(dy), N = w->shape[0], C = w->shape[1];
    maps o = {dy->shape[1], dy->shape[2], N, static_cast<int>(w->shape[2])};
    float *to = f32_out(&dx->t);
    return w->dtype == SKY_BF16 ? convolve(d, to, f32(dy), o, pixels, static_cast<const uint16_t *>(w->data), N, C, 1, dx->add, "conv2d_dx", e)
                                : convolve(d, to, f32(dy), o, pixels, f32(w), N, C, 1, dx->add, "conv2d_dx", e);
}

/* dw^T[n, tap, c] = sum over tiles of dy^T patches(x), in order; then back to [n,c,tap]. */
template <class T> static int weight_gradient(sky_dev *d, sky_grad *dw, const sky_tensor *dy, const sky_tensor *x, sky_err *e)
{
    static const char op[] = "conv2d_dw";
    int64_t pixels = sky_rows(x), N = dw->t.shape[0], C = dw->t.shape[1];
    maps o = {x->shape[1], x->shape[2], C, static_cast<int>(dw->t.shape[2])};
    int64_t kk = o.k * o.k, width = kk * C, tile = tile_pixels(pixels, width, sizeof(T));
    int plain = sizeof(T) == sizeof(float); /* dy is its own operand */
    size_t sum_bytes = aligned(N * width * 4), dy_bytes = plain ? 0 : aligned(tile * N * 2);
    char *scratch = static_cast<char *>(sky_cuda_scratch(d, sum_bytes + dy_bytes + static_cast<size_t>(tile * width) * sizeof(T), op, e));
    if (!scratch)
        return e->code;
    float *sum = reinterpret_cast<float *>(scratch);
    uint16_t *rounded = reinterpret_cast<uint16_t *>(scratch + sum_bytes);
    T *col = reinterpret_cast<T *>(scratch + sum_bytes + dy_bytes);
    int rc = SKY_OK;
    for (int64_t at = 0; at < pixels && !rc; at += tile) {
        int64_t n = pixels - at < tile ? pixels - at : tile;
        rc = patches(d, col, f32(x), o, at, n, op, e);
        if (!rc && !plain)
            rc = sky_cuda_to_bf16(d, rounded, f32(dy) + at * N, n * N, op, e);
        sky_cuda_gemm g = {plain ? static_cast<const void *>(f32(dy) + at * N) : rounded, col, 1, 0, sizeof(T) == 2, N, width, n, N, width, width, sum, NULL, at ? sum : NULL};
        if (!rc)
            rc = sky_cuda_product(d, &g, op, e);
    }
    if (rc)
        return rc;
    float *to = f32_out(&dw->t);
    int add = dw->add;
    return each(d, N * width, op, e, [=] __device__(int64_t i) {
        int64_t n = i, t = divide(&n, kk), c = divide(&n, C);
        give(to + i, sum[(n * kk + t) * C + c], add);
    });
}
static int conv2d_dw(sky_dev *d, sky_grad *dw, const sky_tensor *dy, const sky_tensor *x, sky_dtype products, sky_err *e)
{
    return products == SKY_BF16 ? weight_gradient<uint16_t>(d, dw, dy, x, e) : weight_gradient<float>(d, dw, dy, x, e);
}

void sky_cuda_fill_conv(sky_backend *b)
{
    b->conv2d = conv2d;
    b->conv2d_dx = conv2d_dx;
    b->conv2d_dw = conv2d_dw;
}
