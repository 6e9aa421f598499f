#include "train/schedule.h"

#include <math.h>

double sky_schedule_factor(const sky_schedule *s, uint64_t step)
{
    if (step < s->warmup)
        return s->start + (1 - s->start) * (double)step / (double)s->warmup;
    double left = step < s->total ? (double)(s->total - step) : 0, all = s->total > s->warmup ? (double)(s->total - s->warmup) : 1;
    double r = left / all, f = 1;
    if (s->kind == SKY_LR_POLY)
        f = s->power == 1 ? r : pow(r, s->power);
    else if (s->kind == SKY_LR_COSINE)
        f = 0.5 * (1 - cos(M_PI * r));
    return s->end + (1 - s->end) * f;
}
