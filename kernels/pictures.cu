/* pictures.cu -- from stored numbers to what networks take: pictures of 16 bits, labels. An element per thread.
 * Bound (computed, not measured): 6 bytes per number of a picture and 2 per label over memory bandwidth; what counts is
 * that half as much, or what is small, comes over the bus. */
#include "common.cuh"

static int normalise(sky_dev *d, sky_tensor *y, const sky_tensor *x, float by, const float *mean_std, sky_err *e)
{
    int64_t n = sky_last(x);
    const float *mean = static_cast<const float *>(sky_cuda_small(d, mean_std, 2 * static_cast<size_t>(n) * sizeof *mean, "normalise", e));
    if (!mean)
        return e->code;
    const float *std = mean + n;
    const int16_t *from = static_cast<const int16_t *>(x->data);
    float *to = f32_out(y);
    return each(d, sky_numel(x), "normalise", e, [=] __device__(int64_t i) {
        int64_t q = i, c = divide(&q, n);
        to[i] = (static_cast<float>(from[i]) / by - mean[c]) / std[c];
    });
}

static int lookup(sky_dev *d, sky_tensor *y, const sky_tensor *x, int64_t groups, const uint8_t *host, sky_err *e)
{
    const uint8_t *table = static_cast<const uint8_t *>(sky_cuda_small(d, host, static_cast<size_t>(groups) * 256, "lookup", e)), *from = static_cast<const uint8_t *>(x->data);
    if (!table)
        return e->code;
    uint8_t *to = static_cast<uint8_t *>(y->data);
    int64_t per = sky_numel(x) / groups;
    return each(d, sky_numel(x), "lookup", e, [=] __device__(int64_t i) { to[i] = table[quotient(i, per) * 256 + from[i]]; });
}

void sky_cuda_fill_pictures(sky_backend *b)
{
    b->normalise = normalise;
    b->lookup = lookup;
}
