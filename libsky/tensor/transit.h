/* transit.h -- inputs on their way to a device and results on their way back, while it works on what came before.
 *
 * There are SKY_SLOTS of them. The host writes a slot's input and sends it; work is queued that looks at the input and gives
 * the slot its results; the results are fetched, and the host waits for them. Between that wait and its next use nothing
 * of a slot is under way, so its memory can be used again. In a program that fills one slot while it waits for the
 * other, the next input travels and the last results return while the device works. On a backend that computes in host
 * memory a slot's memory is used where it lies, and nothing is copied.
 *
 * Errors of the calls that queue work stick to the context, like those of operations. */
#ifndef SKY_TENSOR_TRANSIT_H
#define SKY_TENSOR_TRANSIT_H

#include "tensor/tensor.h"

enum { SKY_SLOTS = 2 };
typedef struct sky_transit sky_transit;

int sky_transit_open(sky_transit **out, sky_ctx *c, sky_err *e) SKY_MUST_USE; /* one per context, which is borrowed */
void sky_transit_close(sky_transit *t);                                      /* NULL allowed; waits for what is under way */
int sky_transit_useful(const sky_transit *t); /* slots: all, or 1 where a device computes when it is asked to */
/* Host memory of slot s for an input of n bytes, or for results. The slot is not under way. NULL: e says why. */
void *sky_transit_input(sky_transit *t, int s, size_t n, sky_err *e);
const void *sky_transit_output(sky_transit *t, int s, size_t n, sky_err *e);
void sky_transit_send(sky_transit *t, int s);
/* Bytes `at`.. of the input on the device: where they lie, until the results are waited for (in a dry run nowhere), or copied onto the stack. */
sky_tensor sky_transit_look(sky_transit *t, int s, size_t at, sky_dtype type, int ndim, const int64_t *shape);
sky_tensor sky_transit_take(sky_transit *t, int s, size_t at, sky_dtype type, int ndim, const int64_t *shape);
void sky_transit_give(sky_transit *t, int s, size_t at, const sky_tensor *x); /* bytes `at`.. of the results */
void sky_transit_fetch(sky_transit *t, int s);
/* The results are there. SKY_ECORRUPT: the device found bad input on the way to them. Also for a slot that was given up
 * after it was sent: then there are none. */
int sky_transit_wait(sky_transit *t, int s, sky_err *e) SKY_MUST_USE;

#endif
