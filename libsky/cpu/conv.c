#include "cpu/conv.h"
#include "cpu/gemm_job.h"

#include <string.h>

/* Channels per block: sums run over blocks of channels, in a block over taps, in a tap over channels. Part of the
 * order of additions, so it may depend on nothing but the kernel's size. */
enum { BLOCK = 64 };

static const float zeros[BLOCK]; /* the padding */

/* Where the channels c.. of tap (dy, dx) of each output pixel row.. lie. */
static void tap_rows(const sky_conv *cv, const float **src, int64_t row, int rows, int64_t dy, int64_t dx, int64_t c)
{
    int64_t px = row % cv->w, py = row / cv->w % cv->h, img = row / cv->w / cv->h;
    for (int i = 0; i < rows; i++) {
        int64_t y = py + dy, x = px + dx;
        int inside = y >= 0 && y < cv->h && x >= 0 && x < cv->w;
        src[i] = inside ? cv->x + ((img * cv->h + y) * cv->w + x) * cv->c + c : zeros;
        if (++px == cv->w) {
            px = 0;
            if (++py == cv->h)
                py = 0, img++;
        }
    }
}

static int64_t unit_count(const sky_mm *mm, int64_t cn) { return mm->set->pair ? (cn + 1) / 2 : cn; }

static void pack_a(const sky_mm *mm, void *dst, int64_t row, int rows, int64_t k0, int64_t kn)
{
    const sky_conv *cv = mm->arg;
    const float *src[SKY_GEMM_MR];
    uint32_t *d = dst;
    int half = cv->k / 2;
    for (int64_t c = k0; c < k0 + kn; c += BLOCK) {
        int64_t cn = k0 + kn - c < BLOCK ? k0 + kn - c : BLOCK;
        for (int t = 0; t < cv->k * cv->k; t++, d += mm->set->mr * unit_count(mm, cn)) {
            tap_rows(cv, src, row, rows, t / cv->k - half, t % cv->k - half, c);
            mm->set->pack_rows(d, src, rows, cn);
        }
    }
}

/* In memory taps are the fast index of W, in a panel channels are. A few channels at a time go through a buffer: packed
 * as they lie, one element per unit, then rows of the buffer are copied, or joined to pairs, in the panel's order. */
enum { CHANNELS = 16, MOST_TAPS = 25 };

/* Eight at a time, so that the compiler makes vectors of it; nr is a multiple of 8 in every set. */
static void join_pairs(uint32_t *restrict d, const uint32_t *restrict low, const uint32_t *restrict high, int nr)
{
    for (int i = 0; i < nr; i += 8)
        for (int j = i; j < i + 8; j++)
            d[j] = low[j] >> 16 | high[j];
}

static void copy_tap(uint32_t *d, const uint32_t *from, int nr, int taps, int pair, int channels)
{
    static const uint32_t none[SKY_GEMM_NR]; /* the missing half of the last pair */
    for (int c = 0; c < channels; c += pair ? 2 : 1, d += nr) {
        const uint32_t *one = from + c * taps * nr;
        if (!pair)
            memcpy(d, one, (size_t)nr * sizeof *d);
        else
            join_pairs(d, one, c + 1 < channels ? one + taps * nr : none, nr);
    }
}

static void pack_b(const sky_mm *mm, void *dst, int64_t col, int cols, int64_t k0, int64_t kn)
{
    const sky_conv *cv = mm->arg;
    uint32_t rows[CHANNELS * MOST_TAPS * SKY_GEMM_NR] __attribute__((aligned(64)));
    int taps = cv->k * cv->k, nr = mm->set->nr, per = mm->set->pair ? 2 : 1;
    uint32_t *d = dst;
    for (int64_t c = k0; c < k0 + kn; c += BLOCK) {
        int64_t cn = k0 + kn - c < BLOCK ? k0 + kn - c : BLOCK, tap = nr * unit_count(mm, cn);
        for (int64_t i = 0; i < cn; i += CHANNELS) {
            int some = cn - i < CHANNELS ? (int)(cn - i) : CHANNELS;
            int64_t at = (col * cv->c + c + i) * taps;
            mm->set->pack_single(rows, (const char *)cv->wt + at * (cv->w_bf16 ? 2 : 4), cv->c * taps, cols, some * taps);
            for (int t = 0; t < taps; t++)
                copy_tap(d + t * tap + i / per * nr, rows + t * nr, nr, taps, mm->set->pair, some);
        }
        d += taps * tap;
    }
}

static int pointwise(sky_pool *pool, sky_scratch *scratch, const sky_conv *c, sky_err *e)
{
    sky_gemm g = {.a = c->x, .lda = c->c, .m = c->b * c->h * c->w, .k = c->c, .n = c->n, .w = c->wt, .w_bf16 = c->w_bf16, .ldw = c->c,
                  .scale = c->scale, .shift = c->shift, .act = c->act, .residual = c->residual, .ldr = c->n, .y = c->y, .ldy = c->n};
    return sky_cpu_gemm(pool, scratch, &g, e);
}

int sky_cpu_conv(sky_pool *pool, sky_scratch *scratch, const sky_conv *c, sky_err *e)
{
    if (c->k == 1)
        return pointwise(pool, scratch, c, e);
    if (c->k != 3 && c->k != 5)
        return sky_fail(e, SKY_EUSAGE, "convolution: kernel size %d, expected 1, 3 or 5", c->k);
    sky_mm mm = {
        .set = sky_gemm_set_get(c->w_bf16 != 0),
        .m = c->b * c->h * c->w, .n = c->n, .k = c->c, .taps = c->k * c->k, .kblock = BLOCK,
        .pack_a = pack_a, .pack_b = pack_b, .arg = c,
        .out = {.scale = c->scale, .shift = c->shift, .act = c->act, .residual = c->residual, .ldr = c->n, .y = c->y, .ldy = c->n},
    };
    return sky_mm_run(pool, scratch, &mm, e);
}
