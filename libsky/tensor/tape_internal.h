/* tape_internal.h -- how operations record themselves and how their backward halves find gradients (tensor/ only).
 *
 * An operation with a gradient ends with SKY_RECORD(c, y, back_OP, inputs, args): a node is appended when a tape records
 * and an input is tracked. back_OP(c, n) runs once the gradient of n->y is complete; it asks for the gradient of each
 * input with sky_grad_open and fills it through the backend. Memory it takes from the stack is returned behind it. */
#ifndef SKY_TENSOR_TAPE_INTERNAL_H
#define SKY_TENSOR_TAPE_INTERNAL_H

#include "tensor/backend.h"
#include "tensor/tape.h"

typedef struct sky_node sky_node;
typedef void sky_back_fn(sky_ctx *c, const sky_node *n);
struct sky_node {
    sky_back_fn *back;
    sky_tensor y;
    sky_tensor *in;    /* [nin], one block with what follows it */
    int nin;
    const void *args;  /* the operation's own */
    const void *extra; /* and a copy of a host array */
};

/* y, recorded if need be. args and extra are copied. */
sky_tensor sky_record(sky_ctx *c, sky_tensor y, sky_back_fn *back, const sky_tensor *in, int nin, const void *args, size_t nargs, const void *extra, size_t nextra);
#define SKY_INPUTS(...) (sky_tensor[]){__VA_ARGS__}, (int)(sizeof((sky_tensor[]){__VA_ARGS__}) / sizeof(sky_tensor))
#define SKY_RECORD(c, y, back, inputs) sky_record(c, y, back, inputs, NULL, 0, NULL, 0)
#define SKY_RECORD_ARGS(c, y, back, inputs, args) sky_record(c, y, back, inputs, args, sizeof *(args), NULL, 0)

/* Whether a result computed from x now will be recorded. */
int sky_tracked(const sky_ctx *c, const sky_tensor *x);
int sky_recording(const sky_ctx *c);  /* a tape is there and not paused by a checkpoint */
int sky_replaying(const sky_ctx *c);  /* a checkpointed segment runs for the second time */

/* In backward: the gradient of n's result, and where that of an input goes (t none: not wanted). */
sky_tensor sky_grad_of(sky_ctx *c, const sky_tensor *y);
sky_grad sky_grad_open(sky_ctx *c, const sky_tensor *x);
/* The gradient of n's result is also that of x. The last thing n does with it: memory changes hands. */
void sky_grad_pass(sky_ctx *c, const sky_node *n, const sky_tensor *x);

#define SKY_BACK(c, op, ...)                                                                       \
    do {                                                                                           \
        if (!(c)->err.code && !(c)->be->op)                                                        \
            sky_ctx_fail((c), SKY_EDEVICE, #op ": the %s backend does not offer it", (c)->be->name); \
        if (!(c)->err.code && !(c)->dry)                                                           \
            (c)->be->op((c)->dev, __VA_ARGS__, &(c)->err);                                         \
    } while (0)

/* Backward halves, by the file of the operation. */
sky_back_fn sky_back_linear, sky_back_matmul, sky_back_conv2d, sky_back_attention, sky_back_window_attention, sky_back_window_bias;
sky_back_fn sky_back_layernorm, sky_back_batchnorm, sky_back_l2_normalize, sky_back_softmax;
sky_back_fn sky_back_add, sky_back_add_scaled, sky_back_activate, sky_back_cast, sky_back_drop, sky_back_halves_mean;
sky_back_fn sky_back_concat, sky_back_slice, sky_back_take, sky_back_pick, sky_back_repeat, sky_back_transpose, sky_back_halves_stack;
sky_back_fn sky_back_unfold, sky_back_pixel_shuffle, sky_back_resize, sky_back_avg_pool2, sky_back_adaptive_avg_pool, sky_back_annotation_tokens;
sky_back_fn sky_back_entropy, sky_back_kl, sky_back_mse;

/* What they need beyond tensors. */
typedef struct {
    sky_act act;
} sky_back_act;
typedef struct {
    sky_tensor lse;
    sky_dtype products;
} sky_back_attn;
typedef struct {
    int win, shift;
    sky_dtype products;
} sky_back_win;
typedef struct {
    float eps;
} sky_back_eps;
typedef struct {
    sky_tensor mean, var;
    double n; /* values per channel over all ranks; 0: stored statistics */
    float eps;
    sky_act act;
} sky_back_bn;
typedef struct {
    float scale;
} sky_back_scale;
typedef struct {
    int axis;
    int64_t from;
} sky_back_axis;
typedef struct {
    int perm[SKY_TENSOR_DIMS];
} sky_back_perm;
typedef struct {
    int p;
} sky_back_patch;
typedef struct {
    sky_interp how;
} sky_back_interp;
typedef struct {
    sky_tensor labels, mask;
    int p;
} sky_back_tokens;
typedef struct {
    sky_tensor labels, sums;
    sky_entropy form;
    double factor, eps;
} sky_back_loss;

/* The arena's far end: first fit, addresses kept while in use. */
void *sky_heap_get(sky_ctx *c, size_t bytes);
void sky_heap_put(sky_ctx *c, void *p);
/* Context and tape know each other's parts. */
char *sky_arena_end(const sky_ctx *c);
size_t sky_arena_offset(const sky_ctx *c, const void *p);
int sky_arena_peak(sky_ctx *c);                       /* note the height now; 0: the arena is too small */
int sky_tape_holds(const sky_ctx *c, sky_mark m);     /* something recorded lies at or above m */

typedef struct {
    size_t at, n; /* distance of its near edge from the arena's end, and size */
} sky_heap_block;
typedef struct {
    sky_heap_block *v; /* by distance */
    int n;
    size_t cap;
} sky_heap;
sky_heap *sky_tape_heap(sky_ctx *c);

#endif
