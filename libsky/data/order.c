#include "data/order.h"
#include "base/hash.h"
#include "base/permute.h"
#include "data/draw.h"

/* Streams of order's own draws; the samplers' begin at 16. */
enum { DRAW_BALANCED = 1, DRAW_MEMBERS };

sky_cursor sky_cursor_at(uint64_t at, uint64_t items) { return (sky_cursor){at / items, at % items}; }
uint64_t sky_cursor_count(sky_cursor c, uint64_t items) { return c.epoch * items + c.position; }

static uint64_t epoch_key(uint64_t seed, uint64_t epoch) { return sky_mix64(sky_mix64(seed, sky_fnv1a("order")), epoch); }

uint64_t sky_order_sample(uint64_t seed, uint64_t n, sky_cursor c) { return sky_permute(epoch_key(seed, c.epoch), n, c.position); }

uint64_t sky_order_balanced(uint64_t seed, const sky_roll *r, sky_cursor c)
{
    sky_draw d = sky_draw_make(seed, c.epoch, c.position, DRAW_BALANCED);
    const sky_pair *p = sky_roll_pair(r, (int)sky_draw_below(&d, (uint64_t)sky_roll_pairs(r)));
    return p->sample[sky_draw_below(&d, p->n)];
}

int sky_order_pair(uint64_t seed, const sky_roll *r, uint64_t repeat, sky_cursor c)
{
    const uint64_t pairs = (uint64_t)sky_roll_pairs(r);
    return (int)(sky_permute(epoch_key(seed, c.epoch), pairs * repeat, c.position) % pairs);
}

void sky_order_members(uint64_t seed, const sky_pair *p, sky_cursor c, uint64_t attempt, uint64_t *number, int want)
{
    sky_draw d = sky_draw_make(sky_mix64(seed, attempt), c.epoch, c.position, DRAW_MEMBERS);
    const uint64_t key = (uint64_t)sky_draw_word(&d) << 32 | sky_draw_word(&d);
    for (int i = 0; i < want; i++)
        number[i] = p->sample[p->n >= (uint64_t)want ? sky_permute(key, p->n, (uint64_t)i) : sky_draw_below(&d, p->n)];
}
