/* params.h -- named parameters: modules declare them (name, shape, kind), loading gives them values.
 *
 * A module owns one sky_tensor per parameter and hands its address to sky_declare; until loading, that tensor has a
 * shape and no data. Loading is strict: what is declared must be in the file with the same shape, and nothing else. */
#ifndef SKY_NN_PARAMS_H
#define SKY_NN_PARAMS_H

#include "format/weights.h"
#include "tensor/tensor.h"

typedef enum {
    SKY_PARAM_MATRIX, /* operand of a matrix product or convolution: F32, or BF16 when loaded so */
    SKY_PARAM_EXACT,  /* such an operand where BF16 would cost more in the result than it saves: always F32 */
    SKY_PARAM_VECTOR, /* norms, biases, tokens, tables: always F32 */
    SKY_PARAM_STAT,   /* F32, updated in place by batch statistics: always a private copy */
} sky_param_kind;

typedef struct {
    char *name;
    sky_param_kind kind;
    sky_tensor *slot; /* in the module; slot->data NULL until loaded */
    void *own;        /* its memory when not used where it lies in a mapped file */
} sky_param;

typedef struct {
    sky_param *v;
    int n;
    size_t cap;
    int bad;      /* an allocation failed while declaring */
    void *placed; /* memory of `be` that holds all of them, or NULL */
    size_t placed_bytes;
    const sky_backend *be;
    sky_dev *dev;
} sky_params;

/* Where in the tree of modules a declaration stands: "backbone_hr.stages.0.blocks.1" */
typedef struct {
    sky_params *ps;
    int exact; /* matrices declared here and below are SKY_PARAM_EXACT */
    char at[128];
} sky_scope;

sky_scope sky_scope_root(sky_params *ps);
sky_scope sky_scope_exact(const sky_scope *s);
sky_scope sky_scope_in(const sky_scope *s, const char *fmt, ...) SKY_PRINTF(2, 3);
void sky_declare(const sky_scope *s, sky_tensor *slot, sky_param_kind kind, const char *name, int ndim, const int64_t *shape);
#define SKY_SHAPE(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__}

typedef struct {
    sky_dtype dtype;                 /* of matrices: SKY_F32 or SKY_BF16 */
    int relaxed;                     /* missing or misshapen ones become zeros, extra ones are left out; all reported to warn */
    int (*ignore)(const char *name); /* true: this tensor of the file is not ours, and no error; may be NULL */
    void (*warn)(void *arg, const char *line);
    void *arg;
    int threads;                     /* for conversions; 0: all cores */
} sky_params_opts;

/* w must outlive the parameters. Values loaded before are dropped first. */
int sky_params_load(sky_params *ps, sky_weights *w, const sky_params_opts *o, sky_err *e) SKY_MUST_USE;
/* Values of the counter generator (nn/seeded.h) under prefix + name. */
int sky_params_seed(sky_params *ps, const char *prefix, sky_dtype dtype, int threads, sky_err *e) SKY_MUST_USE;
/* After loading: bring all values into memory of c's device, where that is not the host's; private host copies are freed.
 * stays: a flag per parameter, those with one are left on the host; NULL: none. c may be closed before the parameters are. */
int sky_params_place(sky_params *ps, sky_ctx *c, const uint8_t *stays, sky_err *e) SKY_MUST_USE;
const sky_param *sky_params_find(const sky_params *ps, const char *name); /* NULL: none */
void sky_params_close(sky_params *ps); /* frees names and private values; slots keep their shapes. Before the modules that hold the slots are closed. */

#endif
