/* schedule.h -- the learning rate as a pure function of the step. */
#ifndef SKY_TRAIN_SCHEDULE_H
#define SKY_TRAIN_SCHEDULE_H

#include <stdint.h>

typedef enum { SKY_LR_CONSTANT, SKY_LR_POLY, SKY_LR_COSINE } sky_lr_kind;

/* Factor of the base rate at step s = 0, 1, ...: for s < warmup, start + (1 - start) * s / warmup; then, with
 * r = (total - s) / (total - warmup), not below 0, and f the form's value:  end + (1 - end) * f,
 * f = 1 (constant), r^power (poly; power 1 is the linear decay of pretraining), (1 - cos(pi r)) / 2 (cosine). */
typedef struct {
    sky_lr_kind kind;
    uint64_t warmup, total;
    double start, end; /* factors at step 0 and at step total */
    double power;
} sky_schedule;

double sky_schedule_factor(const sky_schedule *s, uint64_t step);

#endif
