/* Annotation tokens: a weighted sum of table rows, one per pixel of a patch. Neighbouring pixels mostly carry the same
 * label, so the weights of equal labels are added first and each distinct row is read once. */
#include "base/mem.h"
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

/* ---- gradients --------------------------------------------------------------------------------------------------- */

struct annotation_back {
    struct annotation o;
    const float *dy;
    int64_t V;
};

/* One token's share in the sums: rows of the table [V,C], the mask token [C], the weights after their softmax [p*p]. */
static void token_back(const struct annotation_back *v, double *part, int64_t row, int64_t j)
{
    const struct annotation *o = &v->o;
    const float *dy = v->dy + (row * o->w + j) * o->C;
    double *mask_token = part + v->V * o->C, *weights = mask_token + o->C, weight[256], along[256];
    uint8_t label[256];
    int p = o->p;
    if (hidden(o, row, j)) {
        o->k->accumulate(mask_token, dy, NULL, o->C);
        return;
    }
    int n = patch_labels(o, row, j, label, weight);
    for (int i = 0; i < n; i++) {
        o->k->accumulate_scaled(part + label[i] * o->C, dy, weight[i], o->C);
        along[label[i]] = o->k->dot(dy, o->table + label[i] * o->C, o->C);
    }
    const uint8_t *px = o->labels + (row * p * o->w + j) * p;
    for (int k = 0; k < p * p; k++)
        weights[k] += along[px[k / p * o->w * p + k % p]];
}

static void token_sums(void *arg, double *part, int64_t from, int64_t to)
{
    const struct annotation_back *v = arg;
    for (int64_t r = from; r < to; r++)
        for (int64_t j = 0; j < v->o.w; j++)
            token_back(v, part, r, j);
}

/* Through the softmax that made w: y (+)= w*(dw - sum of w*dw). */
static void give_weights(sky_grad *y, const double *w, const double *dw, int n)
{
    double mean = 0;
    float *out = y->t.data;
    for (int i = 0; i < n; i++)
        mean += w[i] * dw[i];
    for (int i = 0; i < n; i++) {
        double v = w[i] * (dw[i] - mean);
        give(out + i, y->add, &v, 1);
    }
}

/* Labels and mask were checked by the forward operation. */
int sky_cpu_annotation_tokens_backward(sky_dev *d, sky_grad *dtable, sky_grad *dweight, sky_grad *dmask_token, const sky_tensor *dy, const sky_tensor *labels, const sky_tensor *table, const sky_tensor *weight, const sky_tensor *mask, int p, sky_err *e)
{
    int64_t C = dy->shape[3], V = table->shape[0];
    double *w = sky_alloc((size_t)(p * p) * sizeof *w);
    if (!w)
        return sky_fail(e, SKY_ENOMEM, "annotation_tokens_backward: out of memory");
    softmax_weights(w, weight->data, p * p);
    struct annotation_back v = {{d->k, NULL, labels->data, mask->data, table->data, NULL, w, dy->shape[1], dy->shape[2],
                                 mask->shape[1], mask->shape[2], C, p}, dy->data, V};
    const double *sum = sky_cpu_row_sums(d, (V + 1) * C + p * p, dy->shape[0] * dy->shape[1], token_sums, &v, "annotation_tokens_backward", e);
    if (sum && dtable->t.data)
        give(dtable->t.data, dtable->add, sum, V * C);
    if (sum && dmask_token->t.data)
        give(dmask_token->t.data, dmask_token->add, sum + V * C, C);
    if (sum && dweight->t.data)
        give_weights(dweight, w, sum + (V + 1) * C, p * p);
    sky_free(w);
    return sum ? SKY_OK : e->code;
}
