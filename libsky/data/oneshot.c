/* The arithmetic of the one-shot protocol: integer bicubic, nearest, canvas (docs/protocol.md).
 *
 * The bicubic filter works on vertical strips narrow enough that all its scratch is on the stack: along a strip every
 * source row is filtered horizontally once, the last four filtered rows stay in a ring, and each output row is the sum
 * of those four. The horizontal sums are rounded to float32 before the vertical ones, taps in order from the lowest
 * index: the order in which PyTorch adds them. */
#include "data/oneshot.h"
#include "data/resize.h"

#include <math.h>
#include <string.h>

typedef float f4 __attribute__((vector_size(16)));
typedef int16_t s4 __attribute__((vector_size(8)));

enum { STRIP = 128, SPAN = 512 }; /* output columns of a strip at most; source columns it may draw on */

typedef struct {
    f4 px[SPAN + 4];               /* one source row of the strip, borders repeated */
    float row[4][STRIP * 3 + 4];   /* horizontally filtered source rows, row y in slot (y mod 4) */
    int32_t at[STRIP];             /* first tap, as an index into px */
    float w[STRIP][4];
} strip;

static int clampi(int v, int hi) { return v < 0 ? 0 : v > hi ? hi : v; }

static void filter_row(strip *s, float *dst, const uint8_t *src, int w, int first, int span, int n)
{
    for (int i = 0; i < span; i++) {
        const uint8_t *p = src + 3 * (size_t)clampi(first + i, w - 1);
        s->px[i] = (f4){p[0], p[1], p[2], 0};
    }
    for (int x = 0; x < n; x++) {
        const f4 *p = s->px + s->at[x];
        const float *k = s->w[x];
        f4 v = p[0] * k[0];
        v += p[1] * k[1];
        v += p[2] * k[2];
        v += p[3] * k[3];
        memcpy(dst + 3 * x, &v, 16); /* the fourth lane is overwritten by the next pixel, or falls into the padding */
    }
}

/* n values; adding 1.5*2^23 rounds to the nearest integer, ties to even, for anything below 2^22. */
static void sum_rows(int16_t *dst, float *const r[4], const float k[4], int n)
{
    const float magic = 12582912.0f;
    int i = 0;
    for (; i + 4 <= n; i += 4) {
        f4 a, b, c, d;
        memcpy(&a, r[0] + i, 16), memcpy(&b, r[1] + i, 16), memcpy(&c, r[2] + i, 16), memcpy(&d, r[3] + i, 16);
        f4 v = a * k[0];
        v += b * k[1];
        v += c * k[2];
        v += d * k[3];
        s4 o = __builtin_convertvector((v + magic) - magic, s4);
        memcpy(dst + i, &o, 8);
    }
    for (; i < n; i++) {
        float v = r[0][i] * k[0];
        v += r[1][i] * k[1];
        v += r[2][i] * k[2];
        v += r[3][i] * k[3];
        dst[i] = (int16_t)((v + magic) - magic);
    }
}

/* Columns x0 .. x0+n-1 of the output; span source columns from `first` on. */
static void bicubic_strip(strip *s, int16_t *dst, int H, int W, const uint8_t *src, int h, int w, int x0, int n, int first, int span)
{
    int have = INT32_MIN; /* the ring holds rows up to this one */
    for (int y = 0; y < H; y++) {
        float k[4], *r[4];
        int top = sky_cubic_taps(k, y, h, H);
        for (int j = top; j < top + 4; j++) {
            r[j - top] = s->row[j & 3];
            if (j > have)
                filter_row(s, s->row[j & 3], src + 3 * (size_t)w * (size_t)clampi(j, h - 1), w, first, span, n);
        }
        have = top + 3;
        sum_rows(dst + 3 * ((size_t)y * (size_t)W + (size_t)x0), r, k, 3 * n);
    }
}

void sky_prep_bicubic_u8(int16_t *dst, int H, int W, const uint8_t *src, int h, int w)
{
    strip s;
    for (int x0 = 0, n; x0 < W; x0 += n) {
        int first = 0, span = 0;
        for (n = 0; n < STRIP && x0 + n < W; n++) {
            int at = sky_cubic_taps(s.w[n], x0 + n, w, W);
            if (!n)
                first = at;
            if (at + 4 - first > SPAN)
                break;
            s.at[n] = at - first;
            span = at + 4 - first;
        }
        bicubic_strip(&s, dst, H, W, src, h, w, x0, n, first, span);
    }
}

void sky_prep_nearest(uint8_t *dst, int H, int W, const uint8_t *src, int h, int w)
{
    for (int y = 0; y < H; y++) {
        const uint8_t *row = src + (size_t)((int64_t)y * h / H) * (size_t)w;
        for (int x = 0; x < W; x++)
            *dst++ = row[(int64_t)x * w / W];
    }
}

void sky_prep_nearest_centre(uint8_t *dst, int H, int W, const uint8_t *src, int h, int w)
{
    for (int y = 0; y < H; y++) {
        const uint8_t *row = src + (size_t)((2 * (int64_t)y + 1) * h / (2 * (int64_t)H)) * (size_t)w;
        for (int x = 0; x < W; x++)
            *dst++ = row[(2 * (int64_t)x + 1) * w / (2 * (int64_t)W)];
    }
}

void sky_prep_canvas(int16_t *hr, uint8_t *label, uint8_t *anno_mask, int side,
                     const uint8_t *prompt_rgb, int ph, int pw, const uint8_t *prompt_label, int plh, int plw,
                     const uint8_t *query_rgb, int qh, int qw)
{
    size_t half = (size_t)side * (size_t)side, cells = (size_t)(side / 128) * (size_t)(side / 128);
    sky_prep_bicubic_u8(hr, side, side, prompt_rgb, ph, pw);
    sky_prep_bicubic_u8(hr + 3 * half, side, side, query_rgb, qh, qw);
    sky_prep_nearest(label, side, side, prompt_label, plh, plw);
    memset(anno_mask, 0, cells);
    memset(anno_mask + cells, 1, cells);
}

const float sky_norm_rgb[2][3] = {{0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}};
const double sky_norm_s2_mean[10] = {884.29673756, 1144.16202635, 1297.47289228, 1624.90992062, 2194.6423161,
                                     2422.21248945, 2517.76053101, 2581.64687018, 2368.51236873, 1805.06846033};
const double sky_norm_s2_std[10] = {1155.15170768, 1183.6292542, 1368.11351514, 1370.265037, 1355.55390699,
                                    1416.51487101, 1474.78900051, 1439.3086061, 1455.52084939, 1343.48379601};
const double sky_norm_s1_mean[2] = {-12.54847273, -20.19237134}, sky_norm_s1_std[2] = {5.25697717, 5.91150917};
