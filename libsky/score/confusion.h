/* confusion.h -- how often each pair (label value, predicted value) occurs, exactly.
 *
 * All values are counted, also those to be ignored later: which ones matter is for metrics.h to say. */
#ifndef SKY_SCORE_CONFUSION_H
#define SKY_SCORE_CONFUSION_H

#include "base/err.h"
#include <stdint.h>

enum { SKY_CONFUSION_MOST = 4096 }; /* values 0..4095 */

typedef struct {
    uint32_t side;     /* values 0..side-1: 256, or 4096 once a larger value came */
    uint64_t *n;       /* side * side, without what is still in the tables: ask sky_confusion_counts */
    uint32_t *tables;  /* of the fast 8-bit counting */
    uint64_t pending;  /* pixels in the tables */
} sky_confusion;

int sky_confusion_open(sky_confusion *c, sky_err *e) SKY_MUST_USE;
void sky_confusion_close(sky_confusion *c); /* also all-zero */
/* Count n pixels. Fast on any content, faster where label and prediction stay the same along a row. */
void sky_confusion_u8(sky_confusion *c, const uint8_t *label, const uint8_t *pred, uint64_t n);
/* Plain loop; a value of 4096 or more is SKY_ELIMIT and nothing of the call is counted. */
int sky_confusion_u16(sky_confusion *c, const uint16_t *label, const uint16_t *pred, uint64_t n, sky_err *e) SKY_MUST_USE;
/* All counts so far: n[label * c->side + predicted]; valid until the next call on c. */
const uint64_t *sky_confusion_counts(sky_confusion *c);

/* One loop, one table: what the fast ones are checked against.  joint: 256 x 256 */
void sky_confusion_plain(uint64_t *joint, const uint8_t *label, const uint8_t *pred, uint64_t n);

#endif
