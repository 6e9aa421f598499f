/* tape.h -- gradients: operations are recorded while a tape is started, and backward walks them in reverse.
 *
 *     sky_tape_watch(t, &param, grad)        once per trainable parameter: its gradient is added to `grad`
 *     sky_tape_start(c, t);                  per step, on an empty stack
 *     ... forward ...                        losses are scalars on the stack
 *     sky_tape_backward(c, terms, n);        d(sum weight_i * term_i) into every watched gradient; the stack is cut back
 *     sky_tape_stop(c);
 *
 * A tensor is known by where its elements lie, so reshaped views share one gradient. Results stay on the context's stack
 * until backward has passed them; gradients of activations live at the arena's other end and go as soon as they were
 * used. A dry context counts both, so the arena of a whole step is known from a dry step. Operations none of whose
 * inputs lead to a watched parameter are not recorded.
 *
 * Checkpointing: sky_recompute runs a segment of the model without recording, keeps its results only, and runs it again
 * when backward reaches it. Random decisions (sky_drop) and results are the same both times. */
#ifndef SKY_TENSOR_TAPE_H
#define SKY_TENSOR_TAPE_H

#include "tensor/tensor.h"

int sky_tape_open(sky_tape **out, sky_err *e) SKY_MUST_USE;
void sky_tape_close(sky_tape *t); /* NULL allowed */
/* grad: F32 with as many elements as param, of the same device, borrowed. */
int sky_tape_watch(sky_tape *t, const sky_tensor *param, sky_tensor grad, sky_err *e) SKY_MUST_USE;
/* Called in backward, with the number of the parameter (in the order of watching), when nothing more will be added to its
 * gradient in this step; every watched parameter is told once per backward. fn NULL: nobody. */
void sky_tape_on_done(sky_tape *t, void (*fn)(void *arg, int param), void *arg);
void sky_tape_checkpoints(sky_tape *t, int on); /* off at first: sky_recompute then just runs its segment */

void sky_tape_start(sky_ctx *c, sky_tape *t);
void sky_tape_stop(sky_ctx *c); /* forget what was recorded */

typedef struct {
    sky_tensor value; /* F32 scalar on the stack; none: left out */
    double weight;
    const char *name;
} sky_term;
void sky_tape_backward(sky_ctx *c, const sky_term *terms, int n);
/* The same from any results: dy[i] (host, F32, numel of y[i]) is the gradient of y[i]. */
void sky_tape_backward_from(sky_ctx *c, const sky_tensor *y, const float *const *dy, int n);

typedef void sky_segment_fn(sky_ctx *c, const void *arg, const sky_tensor *x, sky_tensor *y);
/* y[0..ny) = fn(x[0..nx)). arg is copied (bytes of it); what it points to must not change before backward. Parameters are
 * found by use; every other tensor the segment reads must be in x. At most 8 inputs and 4 results; results are allocated by the segment; y may be x. */
void sky_recompute(sky_ctx *c, sky_segment_fn *fn, const void *arg, size_t bytes, const sky_tensor *x, int nx, sky_tensor *y, int ny);

#endif
