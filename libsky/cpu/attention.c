/* attention.c -- sequence attention: see attention.h; the arithmetic is in attention_impl.h.
 *
 * Keys and values of some heads are packed into scratch, then tiles of queries run over them, a block of keys that fits
 * the first-level cache at a time. A query vector whose scores are bounded by norms (|q| times the longest key) goes without
 * a running maximum; others look at the first block, and only where that says too little find the exact maximum in a pass of
 * its own over the keys.
 *
 * One core of an AMD EPYC (family 25 model 17, 512-bit instructions in two halves), fraction of the register-resident peak loop
 * of the same run (BF16 236, F32 118 GF/s), 2026-11-23, build/tests/bench_attention:
 *   65536 tokens x 16 wide   BF16 0.84 (3.1 Gscore/s)   F32 0.77 (1.4)
 *    8192 tokens x 32 wide   BF16 0.88                  F32 0.88
 *    2048 tokens x 64 wide   BF16 0.85                  F32 0.89
 * The same with scores too wide for the bound alone (bench data times 4 / 1.5): BF16 0.74, F32 0.72 beside 0.72 and 0.74 in one loaded
 * run; with a pass of its own for the maximum (times 9 / 1.5): 0.48, 0.43.
 * Tried without gain: two query vectors per broadcast, 8 keys at once, broadcasts folded into the product. */
#include "cpu/attention.h"
#include "cpu/attention_kernels.h"

#include <math.h>
#include <string.h>

enum {
    TILE = 8,              /* query vectors that share one pass over the packed keys */
    SEQUENCES = 16,        /* tiny sequences per piece of work */
    PACKED = 8 << 20,      /* bytes of packed keys and values aimed at when several heads are packed at once */
};
/* The largest score of a row lies between that of the first block and the bound by norms. When these are no more than
 * ABOVE + BELOW apart, m = first + BELOW serves as well as the maximum: no term exceeds 2^ABOVE, and the largest is at least
 * 2^-BELOW, far above the 2^-126 that small ones are clamped to. */
#define ABOVE 100.0f
#define BELOW 40.0f
#define LOG2E 1.44269504088896341

typedef struct {
    float *out, *lse; /* lse NULL: not wanted */
    const float *qkv;
    const sky_cpu_attention_shape *s;
    const sky_attn_kernels *a;
    int64_t blocks, tiles;      /* per head */
    int kb, kb_bytes, vb_bytes; /* keys per block; bytes of one block's keys, values */
    int64_t head_bytes;         /* of one packed head: blocks of k and v, then the longest key of each block */
    int64_t group, first;       /* heads packed at once; the first of them (counted over batch and heads) */
    char *packed, *local;
    size_t local_bytes;         /* per thread */
} plan;

static size_t up64(size_t n) { return (n + 63) / 64 * 64; }

static void plan_sizes(plan *w, const sky_cpu_attention_shape *s)
{
    const int most = s->bf16 && w->a->pack == 2 ? 256 : 128;
    const int64_t up = (s->length + w->a->lanes - 1) / w->a->lanes * w->a->lanes;
    w->s = s;
    w->kb = up < most ? (int)up : most;
    w->kb_bytes = (int)(sky_attn_tokens_floats(w->a, s->width) * sizeof(float)) * (w->kb / w->a->lanes);
    w->vb_bytes = (int)(sky_attn_values_floats(w->a, w->kb, s->width) * sizeof(float));
    w->blocks = (s->length + w->kb - 1) / w->kb;
    w->tiles = (s->length + TILE * w->a->lanes - 1) / (TILE * w->a->lanes);
    w->head_bytes = (int64_t)up64((size_t)w->blocks * ((size_t)w->kb_bytes + (size_t)w->vb_bytes + sizeof(float)));
    w->group = PACKED / w->head_bytes < 1 ? 1 : PACKED / w->head_bytes;
    if (w->group > s->batch * s->heads)
        w->group = s->batch * s->heads;
    const size_t tokens = sky_attn_tokens_floats(w->a, s->width), state = sky_attn_state_floats(w->a, s->width);
    const size_t vectors = (size_t)w->kb + (size_t)s->width; /* probabilities, tokens being packed */
    w->local_bytes = up64((TILE * (tokens + state) + vectors * (size_t)w->a->lanes) * sizeof(float));
}

size_t sky_cpu_attention_scratch(const sky_cpu_attention_shape *s, int threads)
{
    plan w = {.a = sky_attn_kernels_get(s->bf16)};
    if (s->length <= SKY_ATTN_TINY)
        return 0;
    plan_sizes(&w, s);
    return (size_t)(w.group * w.head_bytes) + (size_t)threads * w.local_bytes;
}

/* Pointers to the q (part 0), k or v of n tokens from `at` of head i (counted over batch and heads); NULL beyond. */
static void token_rows(const float **rows, const plan *w, int64_t i, int part, int64_t at, int n, int lanes)
{
    const int64_t hd = (int64_t)w->s->heads * w->s->width, b = i / w->s->heads, h = i % w->s->heads;
    for (int j = 0; j < lanes; j++)
        rows[j] = j < n ? w->qkv + ((b * w->s->length + at + j) * 3 + part) * hd + h * w->s->width : NULL;
}

static float *longest_keys(const plan *w, int64_t i)
{
    char *head = w->packed + (i - w->first) * w->head_bytes;
    return (float *)(head + w->blocks * (w->kb_bytes + w->vb_bytes));
}

/* The larger of two lengths, where not-a-number is largest of all: non-negative floats order like their bits. */
static float longer(float a, float b)
{
    uint32_t x, y;
    memcpy(&x, &a, 4);
    memcpy(&y, &b, 4);
    return (x & 0x7fffffff) > (y & 0x7fffffff) ? a : b;
}

static sky_attn_block block_at(const plan *w, int64_t i, int64_t n)
{
    char *head = w->packed + (i - w->first) * w->head_bytes;
    const int64_t left = w->s->length - n * w->kb;
    return (sky_attn_block){head + n * w->kb_bytes, head + w->blocks * w->kb_bytes + n * w->vb_bytes,
                            (int)(left < w->kb ? left : w->kb), w->kb};
}

static void pack_piece(void *arg, int64_t at, int thread)
{
    const plan *w = arg;
    const int64_t i = w->first + at / w->blocks, n = at % w->blocks;
    const sky_attn_block b = block_at(w, i, n);
    const float *rows[256];
    float norm[SKY_ATTN_LANES], longest = 0, *tmp = (float *)(w->local + (size_t)thread * w->local_bytes);
    for (int g = 0; g < b.keys; g += w->a->lanes) {
        const int left = b.keys - g;
        token_rows(rows, w, i, 1, n * w->kb + g, left, w->a->lanes);
        float *k = (float *)b.k + (size_t)(g / w->a->lanes) * sky_attn_tokens_floats(w->a, w->s->width);
        w->a->pack_tokens(k, norm, tmp, rows, w->s->width, 1.0f, 0);
        for (int j = 0; j < w->a->lanes; j++)
            longest = longer(norm[j], longest);
    }
    token_rows(rows, w, i, 2, n * w->kb, b.keys, b.keys);
    w->a->pack_values((void *)b.v, rows, b.keys, w->kb, w->s->width);
    longest_keys(w, i)[n] = longest;
}

/* top = max(top, scores) over blocks from..to-1 of the head's keys. */
static void find_top(float *top, const plan *w, int64_t i, const float *q, const float *init, int64_t from, int64_t to)
{
    for (int64_t n = from; n < to; n++) {
        const sky_attn_block b = block_at(w, i, n);
        w->a->top(top, q, &b, w->s->width, init, 0);
    }
}

/* The vector scores start from: offset - m. Returns whether the lower clamp is needed. */
static int choose_start(float *init, const plan *w, int64_t i, const float *q, const float *norm, float longest)
{
    const int lanes = w->a->lanes;
    int safe = 1;
    for (int j = 0; j < lanes; j++) {
        safe &= norm[j] * longest <= SKY_ATTN_SAFE;
        init[j] = w->a->offset;
    }
    if (safe)
        return 0;
    float top[SKY_ATTN_LANES] __attribute__((aligned(64)));
    for (int j = 0; j < lanes; j++)
        top[j] = -INFINITY;
    find_top(top, w, i, q, init, 0, 1);
    int near = 1;
    for (int j = 0; j < lanes; j++)
        near &= norm[j] * longest - (top[j] - w->a->offset) <= ABOVE + BELOW;
    if (!near)
        find_top(top, w, i, q, init, 1, w->blocks);
    for (int j = 0; j < lanes; j++)
        init[j] -= top[j] - w->a->offset + (near ? BELOW : 0);
    return 1;
}

static void tile_piece(void *arg, int64_t at, int thread)
{
    const plan *w = arg;
    const int64_t i = w->first + at / w->tiles, hd = (int64_t)w->s->heads * w->s->width;
    const int lanes = w->a->lanes, width = w->s->width;
    const int64_t from = at % w->tiles * TILE * lanes, left = w->s->length - from;
    const int vectors = left < TILE * lanes ? (int)((left + lanes - 1) / lanes) : TILE;
    const size_t tokens = sky_attn_tokens_floats(w->a, width), per_state = sky_attn_state_floats(w->a, width);
    float *q = (float *)(w->local + (size_t)thread * w->local_bytes), *state = q + TILE * tokens;
    float *p = state + TILE * per_state, *tmp = p + (size_t)w->kb * (size_t)lanes;
    float norm[TILE][SKY_ATTN_LANES], init[TILE][SKY_ATTN_LANES] __attribute__((aligned(64))), longest = 0;
    int clamp[TILE];
    const float *rows[SKY_ATTN_LANES];
    for (int64_t n = 0; n < w->blocks; n++)
        longest = longer(longest_keys(w, i)[n], longest);
    for (int t = 0; t < vectors; t++) {
        token_rows(rows, w, i, 0, from + t * lanes, (int)left - t * lanes < lanes ? (int)left - t * lanes : lanes, lanes);
        w->a->pack_tokens(q + (size_t)t * tokens, norm[t], tmp, rows, width, (float)(LOG2E / sqrt(width)), 0);
        clamp[t] = choose_start(init[t], w, i, q + (size_t)t * tokens, norm[t], longest);
    }
    memset(state, 0, (size_t)vectors * per_state * sizeof(float));
    for (int64_t n = 0; n < w->blocks; n++) {
        const sky_attn_block b = block_at(w, i, n);
        for (int t = 0; t < vectors; t++)
            w->a->block(state + (size_t)t * per_state, p, q + (size_t)t * tokens, &b, width, init[t], 0, clamp[t]);
    }
    for (int t = 0; t < vectors; t++) {
        float *to[SKY_ATTN_LANES], *total = state + (size_t)(t + 1) * per_state - lanes;
        for (int j = 0; j < lanes; j++) {
            const int64_t token = i / w->s->heads * w->s->length + from + t * lanes + j;
            to[j] = t * lanes + j < left ? w->out + token * hd + i % w->s->heads * width : NULL;
            if (!isfinite(norm[t][j] * longest)) /* the exponential's bit games have no not-a-number */
                total[j] = NAN;
            if (w->lse && to[j]) /* p = unit * 2^(score - m), m = offset - init */
                w->lse[i * w->s->length + from + t * lanes + j] = (float)((double)(w->a->offset - init[t][j]) / LOG2E + log((double)total[j] / (double)w->a->unit));
        }
        w->a->finish(to, state + (size_t)t * per_state, width);
    }
}

static void tiny_piece(void *arg, int64_t at, int thread)
{
    const plan *w = arg;
    const int64_t n = w->s->length, d = w->s->width, hd = w->s->heads * d;
    const int64_t end = (at + 1) * SEQUENCES < w->s->batch ? (at + 1) * SEQUENCES : w->s->batch;
    (void)thread;
    for (int64_t b = at * SEQUENCES; b < end; b++)
        for (int64_t h = 0; h < w->s->heads; h++)
            w->a->tiny(w->out + b * n * hd + h * d, w->lse ? w->lse + (b * w->s->heads + h) * n : NULL, hd, w->qkv + b * n * 3 * hd + h * d, 3 * hd, hd, (int)n, (int)d);
}

void sky_cpu_attention(float *out, float *lse, const float *qkv, const sky_cpu_attention_shape *s, void *scratch, sky_pool *pool)
{
    plan w = {.out = out, .lse = lse, .qkv = qkv, .a = sky_attn_kernels_get(s->bf16), .packed = scratch};
    w.s = s;
    if (s->length <= SKY_ATTN_TINY) {
        sky_pool_for(pool, (s->batch + SEQUENCES - 1) / SEQUENCES, tiny_piece, &w);
        return;
    }
    plan_sizes(&w, s);
    w.local = w.packed + w.group * w.head_bytes;
    const int64_t all = s->batch * s->heads;
    for (w.first = 0; w.first < all; w.first += w.group) {
        const int64_t n = all - w.first < w.group ? all - w.first : w.group;
        sky_pool_for(pool, n * w.blocks, pack_piece, &w);
        sky_pool_for(pool, n * w.tiles, tile_piece, &w);
    }
}
