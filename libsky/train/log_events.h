/* log_events.h -- lines of the log as event files, which TensorBoard shows. */
#ifndef SKY_TRAIN_LOG_EVENTS_H
#define SKY_TRAIN_LOG_EVENTS_H

#include "base/json.h"
#include "base/mem.h"

typedef struct sky_events sky_events;

/* A new file of this start of the program in directory dir: events.out.tfevents.TIME.STEP, step: the last one done. What
 * earlier files say of later steps does not count for the reader any more. */
int sky_events_open(sky_events **out, const char *dir, uint64_t step, sky_err *e) SKY_MUST_USE;
void sky_events_close(sky_events *w); /* NULL allowed */
/* The numbers of a line {"step", ...} in the file when this returns: "lr", and those of objects as "loss/total". */
int sky_events_add(sky_events *w, const json_t *line, sky_err *e) SKY_MUST_USE;

/* The bytes of it, appended to b; time: seconds since 1970. The head of a file: its version, and at which step it begins. */
void sky_events_head(sky_buf *b, uint64_t step, double time);
void sky_events_line(sky_buf *b, const json_t *line, double time);

#endif
