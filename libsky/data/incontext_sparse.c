/* Prompts as people draw them: of each class a few patches, and nothing said about the rest. */
#include "base/mem.h"
#include "data/incontext_internal.h"

#include <math.h>
#include <string.h>

enum { PATCHES = 4 }; /* of a class, at most */

typedef struct {
    uint8_t *to;
    const uint8_t *label, *mask;
    int h, w;
} thinning;

static int shown(const thinning *t, int y, int x) { return !t->mask[y / SKY_MASK_CELL * (t->w / SKY_MASK_CELL) + x / SKY_MASK_CELL]; }

static void count_shown(int64_t count[256], const thinning *t)
{
    memset(count, 0, 256 * sizeof *count);
    for (int y = 0; y < t->h; y++)
        for (int x = 0; x < t->w; x++)
            count[t->label[(int64_t)y * t->w + x]] += shown(t, y, x);
}

/* The n-th shown pixel of a slot, from 0. */
static int64_t nth_shown(const thinning *t, int slot, int64_t n)
{
    for (int y = 0; y < t->h; y++)
        for (int x = 0; x < t->w; x++)
            if (t->label[(int64_t)y * t->w + x] == slot && shown(t, y, x) && !n--)
                return (int64_t)y * t->w + x;
    return 0;
}

/* The slot's pixels within the radius of a centre stay. */
static void keep_disc(const thinning *t, int slot, int cy, int cx, int radius)
{
    for (int y = cy < radius ? 0 : cy - radius; y < t->h && y <= cy + radius; y++)
        for (int x = cx < radius ? 0 : cx - radius; x < t->w && x <= cx + radius; x++)
            if ((y - cy) * (y - cy) + (x - cx) * (x - cx) <= radius * radius && t->label[(int64_t)y * t->w + x] == slot)
                t->to[(int64_t)y * t->w + x] = (uint8_t)slot;
}

void sky_incontext_thin(uint8_t *to, const uint8_t *label, const uint8_t *mask, int h, int w, sky_draw *d)
{
    const thinning t = {to, label, mask, h, w};
    int64_t count[256];
    memset(to, 0, (size_t)h * (size_t)w);
    count_shown(count, &t);
    for (int slot = 1; slot < 256; slot++) {
        if (!count[slot])
            continue;
        /* Of each class its own: polygons of one class are a hundred times those of another. */
        const int most = (int)(4 * pow(w / 4.0, sky_draw_range(d, 0, 1)));
        for (int n = 1 + (int)sky_draw_below(d, PATCHES); n > 0; n--) {
            const int64_t at = nth_shown(&t, slot, (int64_t)sky_draw_below(d, (uint64_t)count[slot]));
            keep_disc(&t, slot, (int)(at / w), (int)(at % w), 2 + (int)sky_draw_below(d, (uint64_t)most - 1));
        }
    }
}
