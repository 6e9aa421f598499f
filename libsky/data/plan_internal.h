/* plan_internal.h -- what the files of the plan share. */
#ifndef SKY_DATA_PLAN_INTERNAL_H
#define SKY_DATA_PLAN_INTERNAL_H

#include "data/plan.h"

enum { SKY_LIST_LIMIT = 64 << 20 }; /* bytes of a list file */

int sky_plan_no_memory(sky_err *e);
sky_plan_item *sky_plan_find(const sky_plan *p, const char *id); /* NULL: none; items are in order of ids */

/* plan_match.c: files to items, in order of ids. */
int sky_plan_match(sky_plan *p, const sky_listing *l, sky_err *e) SKY_MUST_USE;
/* The id that the tokens v of pattern g make. -1: g lacks a token of it; -2: memory. */
int sky_plan_expand_id(const sky_dataset *d, const sky_pattern *g, const sky_span *v, char **out);

/* plan_splits.c: the splits that are given by ids and by lists; names in a list that no item has become items with a problem. With
 * a wanted split (NULL: all) only its list is read. */
int sky_plan_set_splits(sky_plan *p, const sky_listing *l, const char *wanted, sky_err *e) SKY_MUST_USE;

#endif
