/* fit.h -- the training loop: forward, backward, sums over ranks, update, validation, checkpoints, and again.
 *
 * Step s takes micro-batches s*accumulate ... (s+1)*accumulate - 1 of the task. Gradients are those of the mean of their
 * losses; a loss is one over the micro-batches of all ranks together. Every step is a function of the state before it and
 * its number alone, so a run that stops and goes on does what it would have done. */
#ifndef SKY_FIT_FIT_H
#define SKY_FIT_FIT_H

#include "fit/task.h"
#include "train/run.h"
#include "train/state.h"

typedef struct {
    uint64_t step;        /* steps done, this one included */
    const sky_fit_pass *pass; /* means over its micro-batches */
    double lr, norm;
    int64_t samples;      /* of all ranks */
    double seconds, waited;
    const char *bad;      /* left out, and why; else NULL */
    int unlabelled;       /* not one pixel of its samples, of all ranks, has a class: the losses are 0 */
} sky_fit_step;

typedef struct sky_fit sky_fit;

/* What the loop tells and asks. Each returns 0 or an error that ends the run. */
typedef struct {
    void *arg;
    int (*on_step)(void *arg, const sky_fit_step *s, sky_err *e);
    int (*on_quality)(void *arg, uint64_t step, double quality, const json_t *details, int best, sky_err *e);
    int (*on_save)(void *arg, sky_fit *f, uint64_t step, int best, sky_err *e); /* all ranks */
    int (*wants_stop)(void *arg); /* asked between steps: save and return */
} sky_fit_hooks;

/* The task's parameters have their values. Everything is borrowed and must outlive f. Runs dry, allocates the arena. With
 * `dry` that is all: parameters need no values, nothing large gets memory, and only the measures below may be asked for. */
int sky_fit_open(sky_fit **out, sky_fit_task *t, sky_ctx *c, sky_comm *k, const sky_run *r, int dry, sky_err *e) SKY_MUST_USE;
void sky_fit_close(sky_fit *f); /* NULL allowed */
sky_state *sky_fit_state(sky_fit *f);
size_t sky_fit_arena(const sky_fit *f);     /* bytes of activations and their gradients */
/* Resume: so many steps are done, `updates` of them changed the weights; the best quality so far (NAN: none). */
void sky_fit_continue(sky_fit *f, uint64_t step, uint64_t updates, double best);
uint64_t sky_fit_updates(const sky_fit *f);
double sky_fit_best(const sky_fit *f);
/* To the end, or until asked to stop: 1 then, 0 at the end. */
int sky_fit_run(sky_fit *f, const sky_fit_hooks *h, sky_err *e) SKY_MUST_USE;

#endif
