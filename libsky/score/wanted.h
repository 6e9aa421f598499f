/* wanted.h -- see wanted.c. */
#ifndef SKY_SCORE_WANTED_H
#define SKY_SCORE_WANTED_H

#include "score/scoring_internal.h"

int sky_wanted_make(sky_scoring *s, sky_err *e) SKY_MUST_USE; /* s->protocol is known */
sky_wanted *sky_wanted_find(sky_scoring *s, uint64_t truth, int cls); /* NULL: not wanted */

#endif
