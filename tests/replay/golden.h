/* golden.h -- replaying files of reference tensors: what the parts of tests/golden.c share.
 *
 * Every tensor of a file whose name says it is a result must be compared once; what no part claims is a failure. */
#ifndef SKY_TESTS_GOLDEN_H
#define SKY_TESTS_GOLDEN_H

#include "base/mem.h"
#include "format/weights.h"
#include "nn/layers.h"
#include "nn/segmentor.h"
#include "nn/skysensepp.h"

typedef struct {
    sky_dtype dtype;
    int threads, quiet;
    const char *device, *weights; /* weights: of full_seeded, NULL: generated in memory */
    const char *same_weights;      /* a file to compare weights with, instead of a replay */
} golden_opts;

typedef struct {
    const char *path;
    const golden_opts *o;
    sky_weights *w;
    const json_t *meta;   /* NULL: none */
    sky_config cfg;       /* from the metadata */
    const char *prefix;   /* of the counter generator */
    sky_ctx c;
    uint8_t *seen;        /* per tensor of w */
    int ok, bad, skipped;
    double tol;           /* relative, for values */
    sky_err err;          /* the file cannot be used: exit 3 */
} golden;

/* Contents. All return memory to sky_free, or NULL with g->err set (also when the name is absent). */
const sky_weight *g_find(const golden *g, const char *fmt, ...) SKY_PRINTF(2, 3);
float *g_floats(golden *g, const sky_weight *t);
int64_t *g_ints(golden *g, const sky_weight *t);
uint8_t *g_bytes(golden *g, const sky_weight *t);
const char *g_meta(const golden *g, const char *key); /* NULL: absent */
int64_t g_meta_int(golden *g, const char *key);       /* error when absent or no number */
int g_starts(const char *s, const char *head);
int g_has(const golden *g, const char *part); /* some tensor has it in its name */

/* Tensors onto the context's stack. Images and maps in files are NCHW; g_map brings them as NHWC. */
sky_tensor g_map(golden *g, const sky_weight *t);
sky_tensor g_floats_on(golden *g, const sky_weight *t); /* as stored */
sky_tensor g_bytes_on(golden *g, const sky_weight *t);

/* Compare a result with the tensor `name`. t: on the context; when the stored one has 4 dimensions NCHW, t is NHWC. */
void g_check(golden *g, const char *name, const sky_tensor *t);
void g_check_floats(golden *g, const char *name, const float *got, int64_t n); /* in the stored order */
void g_check_scalar(golden *g, const char *name, double got);
void g_check_exact(golden *g, const char *name, const int64_t *got, int64_t n);
void g_line(golden *g, const char *name, int ok, const char *fmt, ...) SKY_PRINTF(4, 5); /* any other comparison */
void g_mark(golden *g, const char *name);                                             /* claimed */
void g_skip(golden *g, const char *name, const char *why);
double g_distance(const float *got, const float *want, int64_t n); /* |got - want| / |want| */
float *g_nchw(const float *nhwc, int64_t b, int64_t h, int64_t w, int64_t c);

/* Parameters from tensors named head + parameter name (the parameter's own head `strip` dropped). */
int g_bind(golden *g, sky_params *ps, const char *head, const char *strip);
/* Weights of a model file: everything that is not an input or a result. */
int g_load(golden *g, sky_params *ps);
int g_is_weight(const char *name);
/* Dry run, arena, then the run: fn is called twice; what it uploads and compares does nothing the first time. */
int g_run(golden *g, void (*fn)(golden *g, void *arg), void *arg);

/* Gradients of one pass: begin (a tape records), watch, forward, sky_tape_backward, check, end. */
typedef struct g_grads g_grads;
g_grads *g_grads_begin(golden *g, int checkpoints);
void g_grads_watch(golden *g, g_grads *s, const char *name, const sky_tensor *t, int map); /* name of the stored gradient; map: NCHW there */
void g_grads_watch_params(golden *g, g_grads *s, const char *head, const char *strip, const sky_params *ps); /* names as g_bind makes them */
void g_grads_check(golden *g, const g_grads *s); /* a line per stored gradient; one that is not stored must be exactly zero */
uint64_t g_grads_sum(golden *g, const g_grads *s);
void g_grads_end(golden *g, g_grads *s); /* NULL allowed */

/* The kinds of files */
void golden_pretrain(golden *g);
void golden_full(golden *g);
void golden_finetune(golden *g);
void golden_swin(golden *g);
void golden_ops(golden *g);
void golden_optimizer(golden *g); /* steps of the optimizer; the file named in its metadata lies beside it */
void golden_tables(golden *g); /* window tables and counters of an operations file */
/* Class map against the reference's; logits at full size [B,H,W,C] say how close a decision was. unsure: pixels the
 * reference marks as undecided, or NULL. */
void g_check_argmax(golden *g, const char *name, const sky_tensor *argmax, const sky_tensor *logits, const uint8_t *unsure);

#endif
