/* run_keys.h -- the keys of a run's file: where each goes, its type and its range. */
#ifndef SKY_TRAIN_RUN_KEYS_H
#define SKY_TRAIN_RUN_KEYS_H

#include "train/run.h"

typedef enum {
    SKY_RUN_STR, SKY_RUN_NAMES, /* text, list of texts (one text is a list of one) */
    SKY_RUN_BOOL, SKY_RUN_WORD, /* int; WORD: position in the list of words */
    SKY_RUN_INT, SKY_RUN_INTS,  /* int64_t; INTS: up to n of them, their count at `count` */
    SKY_RUN_REAL, SKY_RUN_REALS, SKY_RUN_PAIR /* double; sky_reals, up to n; two, ascending */
} sky_run_type;

typedef struct {
    const char *path;
    sky_run_type type;
    size_t at, count;
    double min, max;
    int n;
    const char *words[4];
} sky_run_key;

extern const sky_run_key sky_run_keys[]; /* ends with path NULL */
extern const sky_run sky_run_defaults;

#endif
