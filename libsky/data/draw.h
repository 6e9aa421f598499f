/* draw.h -- the random decisions of the data path: a row of Philox numbers that belongs to one position of one epoch.
 *
 * Key sky_mix64(sky_mix64(seed, fnv1a("data")), epoch); the position is the sample id of the counter, `stream` its layer
 * (base/philox.h). What is drawn for a position is therefore a pure function of (seed, epoch, position, stream), and a
 * decision added to one stream moves none of another. */
#ifndef SKY_DATA_DRAW_H
#define SKY_DATA_DRAW_H

#include "base/hash.h"
#include "base/philox.h"

typedef struct {
    uint64_t key, id, n; /* n: words taken */
    uint32_t stream;
} sky_draw;

static inline sky_draw sky_draw_make(uint64_t seed, uint64_t epoch, uint64_t position, uint32_t stream)
{
    return (sky_draw){sky_mix64(sky_mix64(seed, sky_fnv1a("data")), epoch), position, 0, stream};
}

static inline uint32_t sky_draw_word(sky_draw *d) { return sky_philox_word(d->key, d->stream, d->id, d->n++); }

/* A number in [lo, hi), 24 bits. */
static inline double sky_draw_range(sky_draw *d, double lo, double hi)
{
    return lo + (hi - lo) * (double)sky_random_unit(sky_draw_word(d));
}

/* One of 0..n-1, n >= 1: floor(n * w / 2^64) of a 64-bit word, so that no number is likelier by more than n / 2^64. */
static inline uint64_t sky_draw_below(sky_draw *d, uint64_t n)
{
    uint64_t w = sky_draw_word(d);
    w |= (uint64_t)sky_draw_word(d) << 32;
    return (uint64_t)((unsigned __int128)w * n >> 64);
}

#endif
