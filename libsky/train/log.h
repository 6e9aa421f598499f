/* log.h -- what a run tells: one JSON line per interval in a file that survives being killed, one line for a terminal,
 * and curves drawn from the file.
 *
 * A line of training: {"step","loss":{NAME:...},"lr","norm","samples_per_s","wait","memory","seconds"}: losses and norm are
 * means over the interval, lr the last one, wait the share of time spent waiting for data, memory the program's peak in
 * bytes, seconds since the program began; "unlabelled", only where it is not 0: steps without a labelled pixel. Other lines ({"step","val":{NAME:...}}) are the caller's. Numbers that are not
 * finite are null. */
#ifndef SKY_TRAIN_LOG_H
#define SKY_TRAIN_LOG_H

#include "base/json.h"

enum { SKY_LOG_PARTS = 8 };

typedef struct sky_log sky_log;

/* Append to path. Lines of steps above `step` (a run that went on from there before it was killed) and a half-written
 * last line are dropped first. */
int sky_log_open(sky_log **out, const char *path, uint64_t step, sky_err *e) SKY_MUST_USE;
void sky_log_close(sky_log *l); /* NULL allowed */
/* From now on every line goes to an event file for TensorBoard in directory dir as well (train/log_events.h). */
int sky_log_events(sky_log *l, const char *dir, uint64_t step, sky_err *e) SKY_MUST_USE;
/* One object as one line, in the file when this returns. */
int sky_log_write(sky_log *l, const json_t *line, sky_err *e) SKY_MUST_USE;

typedef struct {
    const char *name[SKY_LOG_PARTS]; /* "total", "rec" ...: the same ones in every step; borrowed until the log is closed */
    double loss[SKY_LOG_PARTS];
    int n;
    double lr, norm;
    uint64_t samples;
    double waited; /* seconds */
    uint64_t unlabelled; /* 1: the step had no labelled pixel */
} sky_log_step;
/* One more step of the interval. */
void sky_log_add(sky_log *l, const sky_log_step *s);
/* Write the interval's line and begin the next one. Nothing is written when no step was added. */
int sky_log_interval(sky_log *l, uint64_t step, sky_err *e) SKY_MUST_USE;
/* The last interval for a terminal: "loss 0.1234 (rec 0.1200, vae 0.0034), lr 2.0e-04, norm 3.21, wait 1%". Borrowed. */
const char *sky_log_text(const sky_log *l);

/* Draw the curves of a log as SVG: gnuplot runs a script written beside the picture (svg with its ending replaced by
 * ".gp", numbers included: it can be changed and run again). 0: drawn; 1: there is nothing to draw yet, or gnuplot is not
 * installed: e->msg says which. */
int sky_log_draw(const char *log, const char *svg, sky_err *e) SKY_MUST_USE;

#endif
