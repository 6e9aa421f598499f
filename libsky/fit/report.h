/* report.h -- what a run will train and need, in words: sky-train --dry-run. */
#ifndef SKY_FIT_REPORT_H
#define SKY_FIT_REPORT_H

#include "base/mem.h"
#include "fit/fit.h"

/* Parameters, steps and memory by kind, appended to out. f may have been opened dry. */
int sky_fit_report(sky_buf *out, sky_fit *f, const sky_run *r, int ranks, sky_err *e) SKY_MUST_USE;

#endif
