/* task.h -- what a run trains: a network with its loss on one side, samples on the other. The loop (fit/fit.h) knows
 * neither; there is one implementation per kind of run. */
#ifndef SKY_FIT_TASK_H
#define SKY_FIT_TASK_H

#include "base/json.h"
#include "nn/params.h"
#include "tensor/tape.h"
#include "train/comm.h"

#define SKY_FIT_TERMS 8
#define SKY_FIT_PARTS 4

/* One forward pass. */
typedef struct {
    sky_term terms[SKY_FIT_TERMS];
    int nterms;
    double loss; /* the weighted sum of the terms */
    int64_t labelled; /* pixels of this rank's samples that have a class */
    struct {
        const char *name;
        double value;
    } parts[SKY_FIT_PARTS]; /* what is logged of it */
    int nparts;
} sky_fit_pass;

typedef struct sky_fit_task sky_fit_task;
typedef struct {
    void (*close)(sky_fit_task *t);
    sky_params *(*params)(sky_fit_task *t); /* declared; borrowed */
    /* What the weights are, for their metadata: {"task", "config", "normal", ...}. The caller's; NULL: memory. */
    json_t *(*description)(const sky_fit_task *t);
    /* The next batch that `take` gives is micro-batch number `batch` of the run, counted from 0 over all steps. */
    int (*seek)(sky_fit_task *t, uint64_t batch, sky_err *e);
    /* Make this rank's share of the next micro-batch the current one; *waited grows by the seconds spent waiting for data. */
    int (*take)(sky_fit_task *t, double *waited, sky_err *e);
    /* The samples of the current micro-batch: identity of each, and their names for messages. */
    const uint64_t *(*ids)(const sky_fit_task *t, int64_t *n);
    const char *(*names)(const sky_fit_task *t);
    /* Upload, forward, losses. With a dry context: a full batch with everything in it that a batch may have. */
    int (*forward)(sky_fit_task *t, sky_ctx *c, sky_fit_pass *out, sky_err *e);
    /* Quality on the validation samples of all ranks, higher is better (NaN: undefined), with what it is made of (an object, the caller's). It
     * may make c's arena larger. NULL: there are none. */
    int (*validate)(sky_fit_task *t, sky_ctx *c, sky_comm *k, double *quality, json_t **details, sky_err *e);
} sky_fit_task_ops;

struct sky_fit_task {
    const sky_fit_task_ops *ops;
};

#endif
