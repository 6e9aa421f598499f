/* tasks.h -- the kinds of runs. */
#ifndef SKY_FIT_TASKS_H
#define SKY_FIT_TASKS_H

#include "fit/task.h"
#include "train/run.h"

/* Where a task runs: its share of the samples and of the machine. Must outlive the task. */
typedef struct {
    int rank, ranks;  /* ranks * accumulate divides the run's batch */
    int threads;      /* for preparing samples; 0: all cores */
    int keep_going;   /* a sample that cannot be used: take another draw and say so, instead of stopping */
    void (*warn)(void *arg, const char *line);
    void *warn_arg;
} sky_fit_place;

/* The network is declared and has no values yet. r is borrowed. */
int sky_fit_pretrain(sky_fit_task **out, const sky_run *r, const sky_fit_place *at, sky_err *e) SKY_MUST_USE;
int sky_fit_segment(sky_fit_task **out, const sky_run *r, const sky_fit_place *at, sky_err *e) SKY_MUST_USE;

#endif
