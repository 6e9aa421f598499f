/* Gradients of sequence attention, streamed: a tile of queries against a block of keys, nothing of size L x L.
 *
 * With p = exp(s*scale - lse), dp = dy v^T and D = dy . y per query:  ds = p*(dp - D)*scale,  dq = ds k,  dk = ds^T q,
 * dv = p^T dy (Dao et al., FlashAttention, NeurIPS 2022, section B.4). A sequence of one block needs no lse: its softmax is
 * computed anew. One piece of work is one head of one sequence, so sums run in one order whatever the threads.
 * Products are F32 also where BF16 was asked for: they are no slower here than rounding the operands would be. */
#include "cpu/attention.h"
#include "cpu/device_internal.h"
#include "cpu/tile_product.h"

#include <math.h>

enum { QUERIES = 64, KEYS = 256, PAD = 16, SEQUENCES = 16 /* short ones per piece */ };

typedef struct {
    sky_dev *d;
    sky_tile_product_fn *product;
    const float *dy, *y, *lse, *qkv;
    float *dqkv;
    int add;
    int64_t batch, length;
    int heads, width, wide; /* wide: width rounded up to whole vectors, as rows of local matrices are */
    int64_t rows;           /* of local matrices: length rounded up */
    char *local;
    size_t local_bytes;
} job;

/* One head's operands, [rows, wide] with zeros behind; kt and vt [wide, rows]. */
typedef struct {
    float *q, *k, *v, *dy, *kt, *vt, *dq, *dk, *dv, *mean;
    float *s, *dp; /* [QUERIES, KEYS] */
} head;

static int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

static size_t carve(head *h, const job *j, float *p)
{
    size_t at = 0, matrix = (size_t)(j->rows * j->wide);
    float **const whole[] = {&h->q, &h->k, &h->v, &h->dy, &h->kt, &h->vt, &h->dq, &h->dk, &h->dv};
    for (unsigned i = 0; i < sizeof whole / sizeof *whole; i++, at += matrix)
        *whole[i] = p + at;
    h->mean = p + at;
    at += (size_t)j->rows;
    h->s = p + at;
    h->dp = h->s + QUERIES * KEYS;
    return (at + 2 * QUERIES * KEYS) * sizeof *p;
}

static const float *token(const job *j, const float *base, int64_t b, int64_t l, int part, int parts, int64_t h)
{
    return base + (((b * j->length + l) * parts + part) * j->heads + h) * j->width;
}

static void gather(float *to, float *turned, const job *j, const float *base, int64_t b, int part, int parts, int64_t h)
{
    memset(to, 0, (size_t)(j->rows * j->wide) * sizeof *to);
    for (int64_t l = 0; l < j->length; l++)
        memcpy(to + l * j->wide, token(j, base, b, l, part, parts, h), (size_t)j->width * sizeof *to);
    for (int c = 0; turned && c < j->wide; c++)
        for (int64_t l = 0; l < j->rows; l++)
            turned[c * j->rows + l] = to[l * j->wide + c];
}

/* ds of rows i.. and keys k.. into s: p first, then its gradient. */
static void scores(const job *j, const head *h, int64_t bh, int64_t i, int ni, int64_t k, int nk)
{
    const sky_row_kernels *r = j->d->k;
    const float scale = (float)(1 / sqrt(j->width));
    int cols = (int)up(nk, PAD), keys = (int)(j->length - k < nk ? j->length - k : nk);
    j->product(&(sky_tile_product){h->q + i * j->wide, j->wide, 1, h->kt + k, j->rows, h->s, KEYS, ni, cols, j->width, 0});
    j->product(&(sky_tile_product){h->dy + i * j->wide, j->wide, 1, h->vt + k, j->rows, h->dp, KEYS, ni, cols, j->width, 0});
    for (int a = 0; a < ni; a++) {
        float *s = h->s + a * KEYS;
        if (j->length <= KEYS)
            r->softmax(s, s, scale, keys);
        else
            r->exp_shifted(s, s, scale, j->lse[bh * j->length + i + a], keys);
        memset(s + keys, 0, (size_t)(cols - keys) * sizeof *s);
    }
}

static void one_tile(const job *j, const head *h, int64_t bh, int64_t i, int ni, int64_t k, int nk)
{
    const float scale = (float)(1 / sqrt(j->width));
    int cols = (int)up(nk, PAD);
    scores(j, h, bh, i, ni, k, nk);
    j->product(&(sky_tile_product){h->s, 1, KEYS, h->dy + i * j->wide, j->wide, h->dv + k * j->wide, j->wide, nk, j->wide, ni, 1});
    for (int a = 0; a < ni; a++)
        j->d->k->score_back(h->s + a * KEYS, h->s + a * KEYS, h->dp + a * KEYS, h->mean[i + a], scale, cols);
    j->product(&(sky_tile_product){h->s, 1, KEYS, h->q + i * j->wide, j->wide, h->dk + k * j->wide, j->wide, nk, j->wide, ni, 1});
    j->product(&(sky_tile_product){h->s, KEYS, 1, h->k + k * j->wide, j->wide, h->dq + i * j->wide, j->wide, ni, j->wide, nk, 1});
}

static void scatter(const job *j, const float *from, int64_t b, int part, int64_t h)
{
    for (int64_t l = 0; l < j->length; l++) {
        float *to = (float *)(uintptr_t)token(j, j->dqkv, b, l, part, 3, h);
        if (j->add)
            j->d->k->add(to, to, from + l * j->wide, j->width);
        else
            memcpy(to, from + l * j->wide, (size_t)j->width * sizeof *to);
    }
}

static void one_head(const job *j, const head *h, int64_t bh)
{
    int64_t b = bh / j->heads, n = bh % j->heads;
    gather(h->q, NULL, j, j->qkv, b, 0, 3, n);
    gather(h->k, h->kt, j, j->qkv, b, 1, 3, n);
    gather(h->v, h->vt, j, j->qkv, b, 2, 3, n);
    gather(h->dy, NULL, j, j->dy, b, 0, 1, n);
    for (int64_t l = 0; l < j->length; l++)
        h->mean[l] = (float)j->d->k->dot(h->dy + l * j->wide, token(j, j->y, b, l, 0, 1, n), j->width);
    memset(h->dq, 0, (size_t)(3 * j->rows * j->wide) * sizeof *h->dq);
    for (int64_t i = 0; i < j->length; i += QUERIES)
        for (int64_t k = 0; k < j->length; k += KEYS)
            one_tile(j, h, bh, i, (int)(j->length - i < QUERIES ? j->length - i : QUERIES), k, (int)(j->length - k < KEYS ? j->length - k : KEYS));
    scatter(j, h->dq, b, 0, n);
    scatter(j, h->dk, b, 1, n);
    scatter(j, h->dv, b, 2, n);
}

static int64_t heads_per_piece(const job *j) { return j->length <= QUERIES ? SEQUENCES : 1; }

static void piece(void *arg, int64_t at, int thread)
{
    const job *j = arg;
    head h;
    carve(&h, j, (float *)(void *)(j->local + (size_t)thread * j->local_bytes));
    int64_t end = (at + 1) * heads_per_piece(j), all = j->batch * j->heads;
    for (int64_t i = at * heads_per_piece(j); i < end && i < all; i++)
        one_head(j, &h, i);
}

int sky_cpu_attention_backward(sky_dev *d, sky_grad *dqkv, const sky_tensor *dy, const sky_tensor *y, const sky_tensor *lse, const sky_tensor *qkv, sky_dtype products, sky_err *e)
{
    (void)products;
    const int64_t *s = qkv->shape;
    head h;
    job j = {.d = d, .product = sky_tile_product_get(), .dy = dy->data, .y = y->data, .lse = lse->data, .qkv = qkv->data, .dqkv = dqkv->t.data, .add = dqkv->add,
             .batch = s[0], .length = s[1], .heads = (int)s[3], .width = (int)s[4], .wide = (int)up(s[4], PAD), .rows = up(s[1], PAD)};
    if (!j.dqkv)
        return SKY_OK;
    if (j.length > KEYS && !j.lse)
        return sky_fail(e, SKY_EUSAGE, "attention_backward: sequences above %d need lse", KEYS);
    static float none[1];
    j.local_bytes = (carve(&h, &j, none) + 63) / 64 * 64;
    j.local = sky_cpu_scratch(d, j.local_bytes * (size_t)sky_pool_threads(d->pool), "attention_backward", e);
    if (!j.local)
        return e->code;
    int64_t each = heads_per_piece(&j);
    sky_pool_for(d->pool, (j.batch * j.heads + each - 1) / each, piece, &j);
    return SKY_OK;
}
