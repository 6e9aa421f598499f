/* Annotation tokens: a weighted sum of table rows, one per pixel of a patch. Neighbouring pixels mostly carry the same
 * label, so the weights of equal labels are added first and each distinct row is read once. */
#include "cpu/device_internal.h"

#include <math.h>
#include <string.h>

struct annotation {
    const sky_row_kernels *k;
    float *y;
    const uint8_t *labels, *mask;
    const float *table, *mask_token;
    const double *weight; /* [p*p], sums to 1 */
    int64_t h, w, mh, mw, C; /* in tokens */
    int p;
};

/* Distinct labels of one patch in order of their first pixel, with the sum of their weights. */
static int patch_labels(const struct annotation *o, int64_t row, int64_t j, uint8_t label[256], double weight[256])
{
    int n = 0, p = o->p;
    int16_t slot[256];
    memset(slot, -1, sizeof slot);
    const uint8_t *px = o->labels + (row * p * o->w + j) * p;
    for (int k = 0; k < p * p; k++) {
        uint8_t l = px[k / p * o->w * p + k % p];
        if (slot[l] < 0) {
            slot[l] = (int16_t)n;
            label[n] = l;
            weight[n++] = 0;
        }
        weight[slot[l]] += o->weight[k];
    }
    return n;
}

static int hidden(const struct annotation *o, int64_t row, int64_t j)
{
    if (!o->mask)
        return 0;
    int64_t b = row / o->h, i = row % o->h;
    return o->mask[(b * o->mh + i / (o->h / o->mh)) * o->mw + j / (o->w / o->mw)];
}

static void token(const struct annotation *o, int64_t row, int64_t j)
{
    float *y = o->y + (row * o->w + j) * o->C;
    if (hidden(o, row, j)) {
        memcpy(y, o->mask_token, (size_t)o->C * sizeof *y);
        return;
    }
    uint8_t label[256];
    double weight[256];
    const float *src[256];
    float w[256];
    int n = patch_labels(o, row, j, label, weight);
    for (int i = 0; i < n; i++) {
        src[i] = o->table + label[i] * o->C;
        w[i] = (float)weight[i];
    }
    o->k->mix(y, src, w, n, o->C, 0);
}

static void token_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct annotation *o = arg;
    for (int64_t r = from; r < to; r++)
        for (int64_t j = 0; j < o->w; j++)
            token(o, r, j);
}

/* The first byte above `most`, or SKY_OK. */
static int check_bytes(const sky_tensor *t, int64_t most, const char *what, sky_err *e)
{
    const uint8_t *p = t->data;
    int64_t n = sky_numel(t), W = t->shape[2], H = t->shape[1];
    for (int64_t i = 0; i < n; i++)
        if (p[i] > most)
            return sky_fail(e, SKY_ECORRUPT, "annotation_tokens: %s %d at sample %lld, row %lld, column %lld; expected 0 to %lld", what,
                            p[i], (long long)(i / (H * W)), (long long)(i / W % H), (long long)(i % W), (long long)most);
    return SKY_OK;
}

static void softmax_weights(double *w, const float *x, int n)
{
    double top = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++)
        top = fmax(top, (double)x[i]);
    for (int i = 0; i < n; i++)
        sum += w[i] = exp((double)x[i] - top);
    for (int i = 0; i < n; i++)
        w[i] /= sum;
}

int sky_cpu_annotation_tokens(sky_dev *d, sky_tensor *y, const sky_tensor *labels, const sky_tensor *table, const sky_tensor *weight, const sky_tensor *mask, const sky_tensor *mask_token, int p, sky_err *e)
{
    int rc = check_bytes(labels, table->shape[0] - 1, "label", e);
    if (!rc && mask->data)
        rc = check_bytes(mask, 1, "mask", e);
    if (rc)
        return rc;
    double *w = sky_cpu_scratch(d, (size_t)(p * p) * sizeof *w, "annotation_tokens", e);
    if (!w)
        return e->code;
    softmax_weights(w, weight->data, p * p);
    struct annotation o = {d->k, y->data, labels->data, mask->data, table->data, mask_token->data, w,
                           y->shape[1], y->shape[2], mask->shape[1], mask->shape[2], y->shape[3], p};
    sky_cpu_rows(d, y->shape[0] * o.h, 8 * o.w * o.C, token_rows, &o);
    return SKY_OK;
}
