/* annotation.cu -- annotation tokens: per token the sum over its pixels of softmax(weight)[pixel] * table[label].
 *
 * Gradients are two matrix products: with A[token, label] = sum of the weights of the token's pixels of that label,
 * dtable = A^T dy; with P = dy table^T, the gradient of softmax(weight)[k] is the sum over tokens of P[token, label of k].
 * Bound (computed, not measured): 4 bytes per element of the result (the table stays in L2), over memory bandwidth. */
#include "columns.cuh"

struct tokens {
    const uint8_t *labels, *mask; /* mask may be NULL */
    int64_t h, w, mh, mw, C, V, n; /* map and mask in tokens; n tokens in all */
    int p, pp;
};

static tokens describe(const sky_tensor *labels, const sky_tensor *table, const sky_tensor *mask, int p)
{
    int64_t h = labels->shape[1] / p, w = labels->shape[2] / p;
    return tokens{static_cast<const uint8_t *>(labels->data), static_cast<const uint8_t *>(mask->data), h, w, mask->shape[1], mask->shape[2],
                  table->shape[1], table->shape[0], labels->shape[0] * h * w, p, p * p};
}

/* Label of pixel k of a token; one that the table does not have (reported by the check) reads its last row. */
static __device__ inline int label_of(const tokens &o, int64_t token, int k)
{
    int64_t row = token, x = divide(&row, o.w), width = o.w * o.p;
    int l = o.labels[(row * o.p + k / o.p) * width + x * o.p + k % o.p];
    return l < o.V ? l : static_cast<int>(o.V - 1);
}
static __device__ inline int hidden(const tokens &o, int64_t token)
{
    if (!o.mask)
        return 0;
    int64_t b = token, x = divide(&b, o.w), y = divide(&b, o.h);
    return o.mask[(b * o.mh + y / (o.h / o.mh)) * o.mw + x / (o.w / o.mw)];
}

/* softmax of n numbers, in double, and behind them rounded; one thread, as it is a few hundred numbers at most. */
static size_t softmax_bytes(int n) { return static_cast<size_t>(n) * (sizeof(double) + sizeof(float)); }
static int softmax_of(sky_dev *d, double *w, const float *x, int n, const char *op, sky_err *e)
{
    return each(d, 1, op, e, [=] __device__(int64_t) {
        double top = -INFINITY, sum = 0;
        for (int i = 0; i < n; i++)
            top = fmax(top, static_cast<double>(x[i]));
        for (int i = 0; i < n; i++)
            sum += w[i] = exp(static_cast<double>(x[i]) - top);
        float *rounded = reinterpret_cast<float *>(w + n);
        for (int i = 0; i < n; i++)
            rounded[i] = static_cast<float>(w[i] /= sum);
    });
}

static int check_bytes(sky_dev *d, const sky_tensor *t, int64_t most, const char *what, sky_err *e)
{
    const uint8_t *p = static_cast<const uint8_t *>(t->data);
    sky_cuda_check c = {"annotation_tokens", what, t->shape[2], t->shape[1], 0, most};
    unsigned long long *bad;
    int rc = sky_cuda_checking(d, &c, &bad, e);
    return rc ? rc : each(d, sky_numel(t), "annotation_tokens", e, [=] __device__(int64_t i) {
        if (p[i] > most)
            fails(bad, i, p[i]);
    });
}

/* V channels of a token per thread; w: rounded. */
template <int V> static int sum_tokens(sky_dev *d, float *to, const float *rows, const float *instead, const float *w, const tokens &o, sky_err *e)
{
    return each(d, o.n * o.C / V, "annotation_tokens", e, [=] __device__(int64_t i) {
        int64_t token = i, c = divide(&token, o.C / V), row = token, x = divide(&row, o.w), width = o.w * o.p;
        floats<V> sum = {};
        if (hidden(o, token)) {
            sum = load<V>(instead, c);
        } else {
            const uint8_t *label = o.labels + row * o.p * width + x * o.p;
            for (int k = 0, side = 0; k < o.pp; k++) {
                int64_t l = *label < o.V ? *label : o.V - 1;
                floats<V> v = load<V>(rows + l * o.C, c);
                for (int q = 0; q < V; q++)
                    sum.v[q] += w[k] * v.v[q];
                label++;
                if (++side == o.p)
                    side = 0, label += width - o.p;
            }
        }
        store<V>(to, i, sum);
    });
}

static int annotation_tokens(sky_dev *d, sky_tensor *y, const sky_tensor *labels, const sky_tensor *table, const sky_tensor *weight, const sky_tensor *mask, const sky_tensor *mask_token, int p, sky_err *e)
{
    tokens o = describe(labels, table, mask, p);
    double *w = static_cast<double *>(sky_cuda_scratch(d, softmax_bytes(o.pp), "annotation_tokens", e));
    if (!w)
        return e->code;
    int rc = check_bytes(d, labels, o.V - 1, "label", e);
    if (!rc && mask->data)
        rc = check_bytes(d, mask, 1, "mask", e);
    if (!rc)
        rc = softmax_of(d, w, f32(weight), o.pp, "annotation_tokens", e);
    if (rc)
        return rc;
    const float *rows = f32(table), *instead = f32(mask_token);
    float *to = f32_out(y), *rounded = reinterpret_cast<float *>(w + o.pp);
    uintptr_t places = reinterpret_cast<uintptr_t>(rows) | reinterpret_cast<uintptr_t>(instead) | reinterpret_cast<uintptr_t>(to);
    return o.C % 4 == 0 && places % 16 == 0 ? sum_tokens<4>(d, to, rows, instead, rounded, o, e) : sum_tokens<1>(d, to, rows, instead, rounded, o, e);
}

/* dtable (+)= A^T dy */
static int table_gradient(sky_dev *d, const tokens &o, float *a, const double *w, sky_grad *dtable, const float *dy, sky_err *e)
{
    int rc = each(d, o.n * o.V, "annotation_tokens_backward", e, [=] __device__(int64_t i) {
        int64_t token = i, v = divide(&token, o.V);
        double sum = 0;
        if (!hidden(o, token))
            for (int k = 0; k < o.pp; k++)
                sum += label_of(o, token, k) == v ? w[k] : 0.0;
        a[i] = static_cast<float>(sum);
    });
    float *to = f32_out(&dtable->t);
    sky_cuda_gemm g = {a, dy, 1, 0, 0, o.V, o.C, o.n, o.V, o.C, o.C, to, NULL, dtable->add ? to : NULL};
    return rc ? rc : sky_cuda_product(d, &g, "annotation_tokens_backward", e);
}

/* dweight (+)= w * (g - sum w g), g[k] = sum over tokens of (dy table^T)[token, label of k] */
static int weight_gradient(sky_dev *d, const tokens &o, float *p, const double *w, double *gw, double *part, sky_grad *dweight, const float *dy, const float *table, sky_err *e)
{
    sky_cuda_gemm g = {dy, table, 0, 1, 0, o.n, o.V, o.C, o.C, o.C, o.V, p, NULL, NULL};
    int rc = sky_cuda_product(d, &g, "annotation_tokens_backward", e);
    if (!rc)
        rc = columns<1>(d, part, o.n, o.pp, "annotation_tokens_backward", e,
            [=] __device__(int64_t token, int64_t k, double *v) {
                v[0] = hidden(o, token) ? 0.0 : static_cast<double>(p[token * o.V + label_of(o, token, static_cast<int>(k))]);
            },
            [=] __device__(int64_t k, const double *v) { gw[k] = v[0]; });
    float *to = f32_out(&dweight->t);
    int add = dweight->add;
    return rc ? rc : each(d, o.pp, "annotation_tokens_backward", e, [=] __device__(int64_t k) {
        double mean = 0;
        for (int j = 0; j < o.pp; j++)
            mean += w[j] * gw[j];
        give(to + k, static_cast<float>(w[k] * (gw[k] - mean)), add);
    });
}

static int annotation_tokens_backward(sky_dev *d, sky_grad *dtable, sky_grad *dweight, sky_grad *dmask_token, const sky_tensor *dy, const sky_tensor *labels, const sky_tensor *table, const sky_tensor *weight, const sky_tensor *mask, int p, sky_err *e)
{
    static const char op[] = "annotation_tokens_backward";
    tokens o = describe(labels, table, mask, p);
    size_t wide = static_cast<size_t>(o.C > o.pp ? o.C : o.pp), part_bytes = column_bytes(o.n, static_cast<int64_t>(wide), 1);
    char *scratch = static_cast<char *>(sky_cuda_scratch(d, part_bytes + static_cast<size_t>(o.pp) * sizeof(double) + softmax_bytes(o.pp) + static_cast<size_t>(o.n * o.V) * sizeof(float), op, e));
    if (!scratch)
        return e->code;
    double *part = reinterpret_cast<double *>(scratch), *gw = reinterpret_cast<double *>(scratch + part_bytes), *w = gw + o.pp;
    float *each_label = reinterpret_cast<float *>(w + o.pp) + o.pp;
    const float *g = f32(dy);
    int rc = softmax_of(d, w, f32(weight), o.pp, op, e);
    if (!rc && dtable->t.data)
        rc = table_gradient(d, o, each_label, w, dtable, g, e);
    if (!rc && dweight->t.data)
        rc = weight_gradient(d, o, each_label, w, gw, part, dweight, g, f32(table), e);
    if (rc || !dmask_token->t.data)
        return rc;
    float *to = f32_out(&dmask_token->t);
    int add = dmask_token->add;
    return columns<1>(d, part, o.n, o.C, op, e,
        [=] __device__(int64_t token, int64_t c, double *v) { v[0] = hidden(o, token) ? static_cast<double>(g[token * o.C + c]) : 0.0; },
        [=] __device__(int64_t c, const double *v) { give(to + c, static_cast<float>(v[0]), add); });
}

void sky_cuda_fill_annotation(sky_backend *b)
{
    b->annotation_tokens = annotation_tokens;
    b->annotation_tokens_backward = annotation_tokens_backward;
}
