/* Attention operations: tensors to the plain arguments of attention.h and window_attention.h. */
#include "cpu/attention.h"
#include "cpu/device_internal.h"
#include "cpu/window_attention.h"

#include <math.h>

int sky_cpu_attention_op(sky_dev *d, sky_tensor *y, sky_tensor *lse, const sky_tensor *qkv, sky_dtype products, sky_err *e)
{
    const int64_t *s = qkv->shape;
    sky_cpu_attention_shape a = {s[0], s[1], (int)s[3], (int)s[4], products == SKY_BF16};
    size_t n = sky_cpu_attention_scratch(&a, sky_pool_threads(d->pool));
    void *scratch = sky_cpu_scratch(d, n, "attention", e);
    if (n && !scratch)
        return e->code;
    sky_cpu_attention(y->data, lse->data, qkv->data, &a, scratch, d->pool);
    return SKY_OK;
}

int sky_cpu_window_attention_op(sky_dev *d, sky_tensor *y, const sky_tensor *qkv, const sky_tensor *pad_qkv, const sky_tensor *bias, const sky_tensor *logit_scale, int win, int shift, sky_dtype products, sky_err *e)
{
    const int64_t *s = qkv->shape;
    sky_cpu_window_shape a = {s[0], s[1], s[2], (int)s[4], (int)s[5], win, shift, products == SKY_BF16};
    size_t n = sky_cpu_window_scratch(&a, sky_pool_threads(d->pool));
    void *scratch = sky_cpu_scratch(d, n, "window_attention", e);
    if (n && !scratch)
        return e->code;
    sky_cpu_window_attention(y->data, qkv->data, pad_qkv->data, bias->data, logit_scale->data, &a, scratch, d->pool);
    return SKY_OK;
}

/* Entry (query i, key j) is the value of their offset; t holds one row of heads per offset. */
int sky_cpu_window_bias(sky_dev *d, sky_tensor *y, const sky_tensor *t, int win, sky_err *e)
{
    (void)d, (void)e;
    int64_t n = (int64_t)win * win, side = 2 * (int64_t)win - 1, heads = t->shape[1];
    float *out = y->data;
    for (int64_t h = 0; h < heads; h++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                int64_t dy = i / win - j / win + win - 1, dx = i % win - j % win + win - 1;
                double v = (double)f32(t)[(dy * side + dx) * heads + h];
                *out++ = (float)(16 / (1 + exp(-v)));
            }
    return SKY_OK;
}
