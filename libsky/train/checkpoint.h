/* checkpoint.h -- a run's weights and state on disk, whole or not at all.
 *
 * DIR/step-NNNNNNNN.safetensors       every parameter under its name: what sky-infer loads
 * DIR/step-NNNNNNNN.ema.safetensors   the same with averaged weights, where the run keeps an average
 * DIR/step-NNNNNNNN.state             a safetensors file: moments ("m.NAME", "v.NAME"), a check of itself ("hash"), and as
 *                                     metadata the run (step, cursor, seed, configuration ... as JSON) and the hashes of
 *                                     the files above
 * DIR/last.safetensors, DIR/best.safetensors   symbolic links
 *
 * Each file is written to a temporary name, synced, renamed, the state last: a step without a state that names the very
 * bytes of its weights does not count. Tensors are stored whole and by name: files do not depend on the number of ranks.
 * A directory belongs to one run: what it left half-written is removed when it writes again. */
#ifndef SKY_TRAIN_CHECKPOINT_H
#define SKY_TRAIN_CHECKPOINT_H

#include "base/json.h"
#include "train/state.h"

/* Bring elements [a, b) of a flat buffer, of which each rank r holds [sky_state_cut(r), sky_state_cut(r+1)) as `part`, to
 * rank 0's host; elsewhere host is NULL. All ranks call it in the same order, also after an error on rank 0. */
typedef int sky_gather_fn(void *arg, sky_state *s, const sky_tensor *part, int64_t a, int64_t b, float *host, sky_err *e);

typedef struct {
    const char *dir;
    int keep;                 /* so many newest ones stay, and the best; 0: all */
    const json_t *metadata;   /* of the weights files: object of strings; may be NULL */
    sky_gather_fn *gather;    /* NULL: one rank */
    void *arg;
    int threads;              /* for hashing; 0: all cores */
    void (*note)(void *arg, const char *line); /* what was passed over or removed, and why; NULL: nothing is said */
    void *note_arg;
} sky_checkpoints;

/* Called by all ranks; rank 0 writes. run: an object, kept as it is. best: this step is the best so far, and stays whatever
 * keep says until another one is. DIR is made when it does not exist (its parent must). On failure the checkpoints
 * from before are as they were; only rank 0 knows of it. */
int sky_checkpoint_write(const sky_checkpoints *k, sky_state *s, uint64_t step, const json_t *run, int best, sky_err *e) SKY_MUST_USE;

typedef struct {
    uint64_t step;
    char *weights, *ema, *state; /* paths; ema NULL: none */
    json_t *run;
    sky_weights *file;           /* the state, open */
} sky_checkpoint;
/* The newest whole one in k->dir; broken or mixed ones before it are passed over with a note. 1: found, 0: none.
 * SKY_ECORRUPT: there are some that were finished, none of them whole. */
int sky_checkpoint_latest(const sky_checkpoints *k, sky_checkpoint *c, sky_err *e) SKY_MUST_USE;
/* The one of this path (weights, state or link): broken or mixed is an error that says what. */
int sky_checkpoint_open(const sky_checkpoints *k, const char *path, sky_checkpoint *c, sky_err *e) SKY_MUST_USE;
void sky_checkpoint_close(sky_checkpoint *c);
/* 1: this file is a run's state, not weights. */
int sky_checkpoint_is_state(const sky_weights *w);
/* Moments and averages (this rank's part) of s. The weights have been loaded from c->weights before s was opened. The
 * parameters that train must be the same. */
int sky_checkpoint_restore(const sky_checkpoint *c, sky_state *s, sky_err *e) SKY_MUST_USE;

#endif
