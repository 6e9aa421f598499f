/* pointwise.cu -- element by element.
 *
 *   v1 one thread, four bytes: too few loads under way to fill the memory pipe
 *   v2 four floats per thread and load where sizes allow   <- linked
 * One kernel for all: y (+)= f(a[i], b[i], g[i % n], h[i % n]); what is left out is not read.
 * Bound (computed, not measured): bytes read and written over memory bandwidth; on 3.35 TB/s an addition of 2^28 elements
 * takes at least 0.96 ms. */
#include "common.cuh"

struct operands {
    float *y;
    const float *a, *b, *g, *h; /* all but a may be NULL */
    int64_t n;                  /* length of g and h */
    int add;
};

template <int V, class F> static __global__ void pointwise(operands o, int64_t count, F f)
{
    int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= count)
        return;
    floats<V> a = load<V>(o.a, i), b = {}, g = {}, h = {}, y = {};
    if (o.b)
        b = load<V>(o.b, i);
    if (o.g || o.h) {
        int64_t q = i * V, at = divide(&q, o.n) / V;
        if (o.g)
            g = load<V>(o.g, at);
        if (o.h)
            h = load<V>(o.h, at);
    }
    if (o.add)
        y = load<V>(o.y, i);
    for (int k = 0; k < V; k++)
        y.v[k] += f(a.v[k], b.v[k], g.v[k], h.v[k]);
    store<V>(o.y, i, y);
}

static int aligned16(const void *p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

template <class F> static int run(sky_dev *d, const operands &o, int64_t total, const char *op, sky_err *e, F f)
{
    int wide = total % 4 == 0 && (!(o.g || o.h) || o.n % 4 == 0) && aligned16(o.y) && aligned16(o.a) && aligned16(o.b) && aligned16(o.g) && aligned16(o.h);
    if (wide) {
        auto k = pointwise<4, F>;
        SKY_LAUNCH(k, dim3(sky_blocks(total / 4, 256)), dim3(256), 0, d->stream, o, total / 4, f);
    } else {
        auto k = pointwise<1, F>;
        SKY_LAUNCH(k, dim3(sky_blocks(total, 256)), dim3(256), 0, d->stream, o, total, f);
    }
    return sky_cuda_launched(op, e);
}

static int add(sky_dev *d, sky_tensor *y, const sky_tensor *a, const sky_tensor *b, sky_err *e)
{
    int64_t total = sky_numel(a), n = sky_numel(b);
    if (n == total)
        return run(d, {f32_out(y), f32(a), f32(b), NULL, NULL, 1, 0}, total, "add", e, [] __device__(float p, float q, float, float) { return p + q; });
    return run(d, {f32_out(y), f32(a), NULL, f32(b), NULL, n, 0}, total, "add", e, [] __device__(float p, float, float q, float) { return p + q; });
}

static int add_scaled(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *g, const sky_tensor *z, sky_err *e)
{
    return run(d, {f32_out(y), f32(x), f32(z), f32(g), NULL, sky_last(x), 0}, sky_numel(x), "add_scaled", e,
               [] __device__(float a, float b, float s, float) { return a + s * b; });
}

static int scale_channels(sky_dev *d, sky_grad *y, const sky_tensor *x, const sky_tensor *g, sky_err *e)
{
    return run(d, {f32_out(&y->t), f32(x), NULL, f32(g), NULL, sky_last(x), y->add}, sky_numel(x), "scale_channels", e,
               [] __device__(float a, float, float s, float) { return a * s; });
}

static int activate(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_act act, sky_err *e)
{
    return run(d, {f32_out(y), f32(x), NULL, NULL, NULL, 1, 0}, sky_numel(x), "activate", e,
               [=] __device__(float a, float, float, float) { return activated(a, act); });
}

static int activate_backward(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const sky_tensor *ref, sky_act act, sky_err *e)
{
    return run(d, {f32_out(&dx->t), f32(dy), f32(ref), NULL, NULL, 1, dx->add}, sky_numel(dy), "activate_backward", e,
               [=] __device__(float a, float r, float, float) { return a * slope(r, act); });
}

static int lerp(sky_dev *d, sky_tensor *y, const sky_tensor *x, float t, sky_err *e)
{
    return run(d, {f32_out(y), f32(y), f32(x), NULL, NULL, 1, 0}, sky_numel(y), "lerp", e,
               [=] __device__(float a, float b, float, float) { return a + t * (b - a); });
}

static int fill(sky_dev *d, sky_tensor *y, float value, sky_err *e)
{
    float *p = f32_out(y);
    return each(d, sky_numel(y), "fill", e, [=] __device__(int64_t i) { p[i] = value; });
}

int sky_cuda_finish(sky_dev *d, float *y, const float *x, const float *scale, const float *shift, sky_act act, const float *residual, int64_t rows, int64_t n, const char *op, sky_err *e)
{
    int scaled = scale != NULL;
    return run(d, {y, x, residual, scale, shift, n, 0}, rows * n, op, e,
               [=] __device__(float a, float r, float s, float t) { return activated((scaled ? a * s : a) + t, act) + r; });
}

/* ---- BF16 --------------------------------------------------------------------------------------------------------- */

int sky_cuda_to_bf16(sky_dev *d, uint16_t *y, const float *x, int64_t n, const char *op, sky_err *e)
{
    if (n % 4 || !aligned16(x) || !aligned16(y))
        return each(d, n, op, e, [=] __device__(int64_t i) { y[i] = static_cast<uint16_t>(bf16_pair(x[i], 0)); });
    uint2 *to = reinterpret_cast<uint2 *>(y);
    return each(d, n / 4, op, e, [=] __device__(int64_t i) {
        floats<4> v = load<4>(x, i);
        to[i] = make_uint2(bf16_pair(v.v[0], v.v[1]), bf16_pair(v.v[2], v.v[3]));
    });
}

int sky_cuda_to_f32(sky_dev *d, float *y, const uint16_t *x, int64_t n, const char *op, sky_err *e)
{
    return each(d, n, op, e, [=] __device__(int64_t i) { y[i] = __uint_as_float(static_cast<uint32_t>(x[i]) << 16); });
}

static int cast(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e)
{
    int64_t n = sky_numel(x);
    if (x->dtype == y->dtype)
        return sky_cuda_ok(cudaMemcpyAsync(y->data, x->data, static_cast<size_t>(sky_bytes(x)), cudaMemcpyDeviceToDevice, d->stream), "cast", e);
    return y->dtype == SKY_BF16 ? sky_cuda_to_bf16(d, static_cast<uint16_t *>(y->data), f32(x), n, "cast", e)
                                : sky_cuda_to_f32(d, f32_out(y), static_cast<const uint16_t *>(x->data), n, "cast", e);
}

/* ---- halves, drop ------------------------------------------------------------------------------------------------- */

static int halves_mean(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e)
{
    int64_t half = y->shape[2] * y->shape[3];
    const float *from = f32(x);
    float *to = f32_out(y);
    return each(d, sky_numel(y), "halves_mean", e, [=] __device__(int64_t i) {
        int64_t row = i, j = divide(&row, half);
        const float *p = from + 2 * row * half + j;
        to[i] = 0.5f * p[0] + 0.5f * p[half];
    });
}

static int halves_mean_backward(sky_dev *d, sky_grad *dx, const sky_tensor *dy, sky_err *e)
{
    int64_t half = dy->shape[2] * dy->shape[3];
    const float *from = f32(dy);
    float *to = f32_out(&dx->t);
    int add = dx->add;
    return each(d, sky_numel(&dx->t), "halves_mean_backward", e, [=] __device__(int64_t i) {
        int64_t row = i, j = divide(&row, 2 * half);
        give(to + i, 0.5f * from[row * half + (j < half ? j : j - half)], add);
    });
}

/* Word n of Philox4x32-10 (Salmon et al. 2011): see sky_drops in tensor/backend.h. */
static __device__ inline uint32_t philox(uint64_t key, uint64_t n, uint32_t layer, uint64_t sample)
{
    uint32_t c[4] = {static_cast<uint32_t>(n / 4), layer, static_cast<uint32_t>(sample), static_cast<uint32_t>(sample >> 32)};
    uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint32_t h0 = __umulhi(0xD2511F53u, c[0]), l0 = 0xD2511F53u * c[0], h1 = __umulhi(0xCD9E8D57u, c[2]), l1 = 0xCD9E8D57u * c[2];
        c[0] = h1 ^ c[1] ^ k0;
        c[1] = l1;
        c[2] = h0 ^ c[3] ^ k1;
        c[3] = l0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return n % 4 == 0 ? c[0] : n % 4 == 1 ? c[1] : n % 4 == 2 ? c[2] : c[3];
}

static int drop(sky_dev *d, sky_grad *y, const sky_tensor *x, const sky_drops *o, sky_err *e)
{
    int64_t total = sky_numel(x), per = o->per_sample, run_length = o->run, cycle = o->cycle;
    const uint64_t *sample = static_cast<const uint64_t *>(sky_cuda_small(d, o->sample, static_cast<size_t>(total / per) * sizeof *sample, "drop", e));
    if (!sample)
        return e->code;
    const float *from = f32(x);
    float *to = f32_out(&y->t), scale = o->scale;
    int add = y->add;
    uint64_t key = o->key;
    uint32_t layer = o->layer, threshold = o->threshold;
    return each(d, total, "drop", e, [=] __device__(int64_t i) {
        int64_t s = i, n = divide(&s, per);
        n = quotient(n, run_length);
        n -= quotient(n, cycle) * cycle;
        int kept = philox(key, static_cast<uint64_t>(n), layer, sample[s]) >= threshold;
        give(to + i, kept ? from[i] * scale : 0.0f, add);
    });
}

void sky_cuda_fill_pointwise(sky_backend *b)
{
    b->add = add;
    b->add_scaled = add_scaled;
    b->scale_channels = scale_channels;
    b->activate = activate;
    b->activate_backward = activate_backward;
    b->lerp = lerp;
    b->fill = fill;
    b->cast = cast;
    b->halves_mean = halves_mean;
    b->halves_mean_backward = halves_mean_backward;
    b->drop = drop;
}
