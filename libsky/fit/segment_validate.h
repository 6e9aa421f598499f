/* segment_validate.h -- how well a segmentation network does on whole labelled pictures. */
#ifndef SKY_FIT_SEGMENT_VALIDATE_H
#define SKY_FIT_SEGMENT_VALIDATE_H

#include "data/finetune.h"
#include "fit/tasks.h"
#include "nn/segmentor.h"

typedef struct {
    sky_seg *m;
    sky_finetune *sampler; /* opened for validation */
    int classes;           /* outputs of m, and classes of sampler by the same indices */
    int depth;             /* pictures prepared ahead */
    const sky_fit_place *at;
} sky_validation;

/* Every rank predicts its share of the pictures, each at its own size (c's arena grows to the largest one); the counts of all
 * ranks are joined. *quality: the mean IoU over the classes that occur or are predicted, NaN when no pixel is labelled. *details, the caller's:
 * {"miou", "mf1", "accuracy", "iou": {CLASS: ...}}, null where undefined, such classes left out. */
int sky_seg_validate(const sky_validation *v, sky_ctx *c, sky_comm *k, double *quality, json_t **details, sky_err *e) SKY_MUST_USE;

#endif
