/* segment.h -- segmentation by a fine-tuned network: a picture of any size in, the map of its classes out.
 *
 * What the network is and how its input is prepared stands in the metadata of its weights, as sky-train writes them: task,
 * config, segment, field, normal, classes. */
#ifndef SKY_DATA_SEGMENT_H
#define SKY_DATA_SEGMENT_H

#include "format/sample.h"
#include "format/weights.h"
#include "tensor/replay.h"

typedef struct sky_segment sky_segment;

/* 1: these weights say that they are such a network. */
int sky_segment_is(const sky_weights *w);
/* w and c are borrowed; model: identity of the weights, for the metadata of predictions, borrowed; warn as in
 * tensor/replay.h, may be NULL. */
int sky_segment_open(sky_segment **out, const sky_weights *w, sky_ctx *c, sky_dtype dtype, const char *model, void (*warn)(void *arg, const char *line), void *arg, sky_err *e) SKY_MUST_USE;
sky_replay_counts sky_segment_replays(const sky_segment *s); /* how its forwards were done */
/* Give every class of the network's table without a colour one (format/palette.h). */
int sky_segment_palette(sky_segment *s, sky_err *e) SKY_MUST_USE;
void sky_segment_close(sky_segment *s); /* NULL allowed */
const char *const *sky_segment_fields(const sky_segment *s); /* to read of a sample, NULL-terminated */
/* Prediction of x: field "pred", U8 [y,x] of class values at the picture's own size, with its CRS and affine. Dates as in
 * validation (data/finetune.h). The arena grows to the largest picture. SKY_ECORRUPT names field and sample, also where the
 * network has no finite answer. */
int sky_segment_answer(sky_sample *out, sky_segment *s, const sky_sample *x, sky_err *e) SKY_MUST_USE;

#endif
