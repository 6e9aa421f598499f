/* inputs.h -- the samples a run names: shard patterns to an open corpus with its roll, and items of it prepared ahead. */
#ifndef SKY_FIT_INPUTS_H
#define SKY_FIT_INPUTS_H

#include "data/normal.h"
#include "data/prefetch.h"
#include "data/roll.h"
#include "fit/tasks.h"

typedef struct {
    sky_corpus *corpus;
    sky_roll *roll;
} sky_fit_inputs;

/* patterns as glob(7) reads them, each must match; what: "data.train", for messages. */
int sky_fit_inputs_open(sky_fit_inputs *in, const sky_names *patterns, const char *what, sky_err *e) SKY_MUST_USE;
void sky_fit_inputs_close(sky_fit_inputs *in); /* also all-zero */
/* The run's own numbers as a normalisation; NULL where it gives none. divide: of every value first (255 for HR in 0..255).
 * Owned by the caller: json_decref. */
int sky_fit_normal_json(json_t **out, const sky_reals *mean, const sky_reals *std, double divide, const char *what, sky_err *e) SKY_MUST_USE;

/* This rank's items of a source: numbers first + rank, first + rank + ranks, ..., count of them (0: without end), depth of
 * them ahead. */
int sky_fit_prefetch(sky_prefetch **out, sky_source from, const sky_fit_place *at, int depth, uint64_t first, uint64_t count, sky_err *e) SKY_MUST_USE;

#endif
