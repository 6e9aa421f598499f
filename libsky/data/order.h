/* order.h -- which sample is drawn when: pure functions of (seed, epoch, position), so that order needs no list, no state
 * but two integers, and is the same on any number of ranks and threads.
 *
 * The positions of a run are 0, 1, 2, ...; `items` of them make an epoch. A global batch of B takes the next B positions, and
 * rank r of n takes r, r+n, r+2n, ... of them: with B a multiple of n, rank r's k-th item since position p is
 * p + r + k*n, whatever B is. */
#ifndef SKY_DATA_ORDER_H
#define SKY_DATA_ORDER_H

#include "data/roll.h"

/* The resume cursor: the next position of the global order. Written to checkpoints as two integers; ranks are no part. */
typedef struct {
    uint64_t epoch, position; /* position < items of an epoch */
} sky_cursor;

/* `at` positions from the start of the run, and back. */
sky_cursor sky_cursor_at(uint64_t at, uint64_t items);
uint64_t sky_cursor_count(sky_cursor c, uint64_t items);

/* Each of the n samples once per epoch, by a keyed permutation (base/permute.h) whose key is of (seed, epoch). */
uint64_t sky_order_sample(uint64_t seed, uint64_t n, sky_cursor c);
/* Class-balanced: a pair uniformly, then one of its samples uniformly, with replacement. */
uint64_t sky_order_balanced(uint64_t seed, const sky_roll *r, sky_cursor c);
/* In-context: the pair of an item. Each pair comes `repeat` times per epoch of sky_roll_pairs * repeat items, in the order
 * of a keyed permutation. */
int sky_order_pair(uint64_t seed, const sky_roll *r, uint64_t repeat, sky_cursor c);
/* `want` samples of a pair: without replacement if it has that many (a keyed permutation's first ones), else with. attempt: 0;
 * another number gives another draw for an item whose data were bad. */
void sky_order_members(uint64_t seed, const sky_pair *p, sky_cursor c, uint64_t attempt, uint64_t *number, int want);

#endif
