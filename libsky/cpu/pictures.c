/* From stored numbers to what networks take: pictures of 16 bits, labels. */
#include "cpu/device_internal.h"

struct normalise {
    float *y;
    const int16_t *x;
    const float *mean, *std;
    float divide;
    int64_t C;
};

static void normalise_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct normalise *o = arg;
    for (int64_t i = from * o->C; i < to * o->C; i += o->C)
        for (int64_t c = 0; c < o->C; c++)
            o->y[i + c] = ((float)o->x[i + c] / o->divide - o->mean[c]) / o->std[c];
}

int sky_cpu_normalise(sky_dev *d, sky_tensor *y, const sky_tensor *x, float divide, const float *mean_std, sky_err *e)
{
    (void)e;
    struct normalise o = {y->data, x->data, mean_std, mean_std + sky_last(x), divide, sky_last(x)};
    sky_cpu_rows(d, sky_rows(x), 6 * o.C, normalise_rows, &o);
    return SKY_OK;
}

struct lookup {
    uint8_t *y;
    const uint8_t *x, *table;
    int64_t each; /* of a group */
};

static void lookup_bytes(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct lookup *o = arg;
    for (int64_t i = from; i < to; i++)
        o->y[i] = o->table[i / o->each * 256 + o->x[i]];
}

int sky_cpu_lookup(sky_dev *d, sky_tensor *y, const sky_tensor *x, int64_t groups, const uint8_t *table, sky_err *e)
{
    (void)e;
    struct lookup o = {y->data, x->data, table, sky_numel(x) / groups};
    sky_cpu_rows(d, sky_numel(x), 2, lookup_bytes, &o);
    return SKY_OK;
}
