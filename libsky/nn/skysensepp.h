/* skysensepp.h -- the SkySense++ pretraining / one-shot model, and how its parameters get their values.
 *
 * Usage: config -> sky_pp_open (declares every parameter) -> sky_pp_load (weights, strict) -> per batch sky_pp_forward.
 * The forward pass is written once against tensor/ops.h; shapes and names follow the executable specification. */
#ifndef SKY_NN_SKYSENSEPP_H
#define SKY_NN_SKYSENSEPP_H

#include "format/weights.h"
#include "nn/config.h"
#include "nn/params.h"
#include "tensor/tape.h"

typedef struct sky_pp sky_pp;

typedef struct {
    sky_tensor hr;        /* F32 [B,H,W,3], H = 2W, multiples of 128, normalised; prompt above query */
    sky_tensor s2, s1;    /* F32 [B*T,H/32,W/32,C], date index fastest; sky_none when absent from the whole batch */
    int t2, t1;           /* dates (1 in the released setup) */
    sky_tensor labels;    /* U8 [B,H,W] vocabulary slots 0..vocab */
    sky_tensor annotation; /* U8 [B,H,W] what is shown of them; sky_none: all */
    sky_tensor anno_mask; /* U8 [B,H/128,W/128], 1 = hidden */
    const uint8_t *flags; /* host [B*3]: hr, s2, s1 present */
} sky_pp_batch;

typedef struct {
    int encode_absent;    /* also encode modalities whose flag is 0 (same result, for checking); their images are needed */
    int batch_stats;      /* batch norm with batch statistics (updates running ones); default: stored statistics */
    int want_losses, want_logits; /* losses / full-size logits (else only class maps) */
    int no_argmax;        /* leave out the class map */
    void (*tap)(void *arg, const char *name, const sky_tensor *t); /* NULL, or called with every intermediate (NHWC) */
    void *tap_arg;
} sky_pp_opts;

#define SKY_PP_TERMS 7
typedef struct {
    sky_tensor logits_low; /* F32 [B,H/4... see config,vocab+1] before the x4 upsampling */
    sky_tensor logits;     /* F32 [B,H,W,vocab+1]; only with want_logits */
    sky_tensor argmax;     /* U8 [B,H,W] slot per pixel at full size (sky_resize_argmax) */
    float loss_rec, loss_vae, loss_vae_kl, loss_total;
    sky_term terms[SKY_PP_TERMS]; /* what loss_total is the weighted sum of, for sky_tape_backward: only while a tape records */
    int nterms;
} sky_pp_out;

/* The parameters exist but have no values. cfg is copied. */
int sky_pp_open(sky_pp **out, const sky_config *cfg, sky_err *e) SKY_MUST_USE;
void sky_pp_close(sky_pp *m);
/* Bind or convert weights. dtype: SKY_F32, or SKY_BF16 for the operands of matrix products and convolutions (vectors,
 * norms, tokens stay F32, and so do the matrices of SKY_PARAM_EXACT). Weights that can be used where they lie in a mapped file are; nothing is held twice. w must
 * outlive m. Strict: missing, extra or misshapen tensors are an error naming the first and counting the rest; with
 * relaxed set, missing ones keep zeros and every one is reported through warn. */
int sky_pp_load(sky_pp *m, sky_ctx *c, sky_weights *w, sky_dtype dtype, int relaxed, void (*warn)(void *arg, const char *line), void *arg, sky_err *e) SKY_MUST_USE;
/* The declared parameters, for tools that list, generate or inspect them. Whoever changes values asks anew each time:
 * what was derived from the old ones is forgotten here. Borrowed. */
sky_params *sky_pp_params(sky_pp *m);
/* One forward pass on c's stack (dry: counts memory). Results stay on the stack above what was there. */
int sky_pp_forward(sky_pp *m, sky_ctx *c, const sky_pp_batch *b, const sky_pp_opts *o, sky_pp_out *out, sky_err *e) SKY_MUST_USE;

#endif
