/* state.h -- what training changes: master weights, gradients, moments, running averages.
 *
 * Each is one flat F32 buffer of the device, in which every trained parameter has its place: 64-element aligned, in the
 * order of declaration, gaps zero. Ranks share the work by cutting the buffer, not the list of parameters: a rank owns
 * elements [from, to), holds moments and averages for these only, updates these, and the masters are then gathered.
 * All other parameters (frozen, unused, statistics) keep the values that were loaded.
 *
 * In F32 a parameter's slot points to its master. In BF16 the slots of SKY_PARAM_MATRIX point to a copy in BF16 that the
 * update refreshes (of frozen ones to one made once); everything else is as in F32. */
#ifndef SKY_TRAIN_STATE_H
#define SKY_TRAIN_STATE_H

#include "nn/params.h"
#include "tensor/tensor.h"
#include "train/rules.h"

typedef enum { SKY_ADAMW, SKY_SGD } sky_optimizer;

typedef struct {
    sky_dtype dtype;      /* SKY_F32 or SKY_BF16: of matrix operands */
    sky_optimizer optimizer;
    int ema;              /* keep a running average of the weights */
    int rank, ranks;
    int dry;              /* only where everything would be, at addresses that are never followed: no memory, no values */
    const sky_rule *rule; /* one per parameter of ps, in its order; not kept */
} sky_state_opts;

typedef struct {
    int param;      /* index in ps->v */
    int64_t at, n;  /* place in the flat buffers, elements */
    sky_rule rule;
} sky_trained;

typedef struct {
    sky_ctx *c;
    sky_params *ps;
    sky_state_opts o;
    sky_trained *v;      /* the n trained parameters */
    int n;
    int64_t size;        /* of a flat buffer, elements: a multiple of 64 */
    int64_t from, to;    /* this rank's part: multiples of 64 */
    sky_tensor master, grad;    /* F32 [size] */
    sky_tensor m, v2, average;  /* F32 [to - from] or none: moments (SGD: m only), running average of the weights */
    sky_tensor copy;            /* BF16 [size] or none */
    sky_tensor fixed;           /* BF16 copies of frozen matrices, or none */
    sky_tensor sums;            /* F64 [n], for norms; their operands and their copy on the host */
    sky_tensor *grads;
    const sky_tensor **grad_list;
    double *host_sums;
    size_t imagined;            /* dry: bytes of addresses given away */
    sky_tensor *loaded;         /* per parameter of ps: its slot as it was; data NULL: trained */
    uint8_t *on_host;           /* per parameter: its loaded values are the host's, not the device's; NULL: they are one */
} sky_state;

/* ps has values (none in a dry run); those that the device reads as they are are brought to it. Masters are copies of them
 * (what ps held of its own for them is freed), moments are zero, averages are the weights. The slots of ps point into s until it is closed; then trained ones have no values. */
int sky_state_open(sky_state *s, sky_ctx *c, sky_params *ps, const sky_state_opts *o, sky_err *e) SKY_MUST_USE;
void sky_state_close(sky_state *s); /* before ps and c are; zeroed s allowed */
/* Bytes that sky_state_open will allocate, by kind: masters, gradients, moments, averages, copies. Needs no device. */
void sky_state_bytes(const sky_params *ps, const sky_state_opts *o, uint64_t bytes[5]);

const char *sky_state_name(const sky_state *s, int i);
sky_tensor sky_state_grad(const sky_state *s, int i);   /* F32, the parameter's shape */
sky_tensor sky_state_master(const sky_state *s, int i); /* the same */
int sky_state_find(const sky_state *s, const void *data); /* the trained parameter whose slot has this address; -1: none */
/* First element of rank r's part (r = ranks: the end). */
int64_t sky_state_cut(const sky_state *s, int r);

int sky_state_zero_grad(sky_state *s, sky_err *e) SKY_MUST_USE;
/* The norm of all gradients, and of each parameter's (each: n of them, or NULL), in double: squares are summed per
 * parameter and these sums added in order, so that the number of ranks and threads does not matter. Not finite exactly
 * when some gradient is not. Waits for the device. */
int sky_state_norm(sky_state *s, double *norm, double *each, sky_err *e) SKY_MUST_USE;

typedef struct {
    double lr;                 /* base rate times the schedule's factor */
    double norm, clip;         /* gradients are scaled by min(1, clip / (norm + 1e-6)); clip 0: they are not */
    double beta1, beta2, eps;  /* AdamW */
    double momentum;           /* SGD */
    double average;            /* weight of the new values in the running average */
    uint64_t t;                /* updates so far, this one included: from 1 */
} sky_update;
/* One step of the optimizer on this rank's part. The masters of other parts are as before: gather them, then refresh. */
int sky_state_update(sky_state *s, const sky_update *u, sky_err *e) SKY_MUST_USE;
/* Working copies of masters [from, to), which have come from other ranks or a file. */
int sky_state_refresh(sky_state *s, int64_t from, int64_t to, sky_err *e) SKY_MUST_USE;

#endif
