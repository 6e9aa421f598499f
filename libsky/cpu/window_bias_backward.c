/* Gradient of the relative position bias: every offset gathers the pairs of tokens that lie so far apart. */
#include "cpu/device_internal.h"

struct bias {
    const sky_grad *dt;
    const float *dy, *y;
    double *sums; /* [threads, side*side] */
    int64_t win, heads;
};

/* y = 16 sigmoid(t), so dt = dy * y * (1 - y/16). Pairs are added in the order of the matrix. */
static void bias_head(void *arg, int64_t h, int thread)
{
    const struct bias *o = arg;
    int64_t win = o->win, n = win * win, side = 2 * win - 1;
    double *sum = o->sums + thread * side * side;
    memset(sum, 0, (size_t)(side * side) * sizeof *sum);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            int64_t dy = i / win - j / win + win - 1, dx = i % win - j % win + win - 1, at = (h * n + i) * n + j;
            double y = (double)o->y[at];
            sum[dy * side + dx] += (double)o->dy[at] * y * (1 - y / 16);
        }
    for (int64_t k = 0; k < side * side; k++)
        give((float *)o->dt->t.data + k * o->heads + h, o->dt->add, sum + k, 1);
}

int sky_cpu_window_bias_backward(sky_dev *d, sky_grad *dt, const sky_tensor *dy, const sky_tensor *y, int win, sky_err *e)
{
    if (!dt->t.data)
        return SKY_OK;
    struct bias o = {dt, dy->data, y->data, NULL, win, y->shape[0]};
    size_t side = 2 * (size_t)win - 1;
    o.sums = sky_cpu_scratch(d, (size_t)sky_pool_threads(d->pool) * side * side * sizeof *o.sums, "window_bias_backward", e);
    if (!o.sums)
        return e->code;
    sky_pool_for(d->pool, o.heads, bias_head, &o);
    return SKY_OK;
}
