/* checkpoint_internal.h -- what writing and reading of checkpoints share: names and the check of a state file. */
#ifndef SKY_TRAIN_CHECKPOINT_INTERNAL_H
#define SKY_TRAIN_CHECKPOINT_INTERNAL_H

#include "base/hash.h"
#include "train/checkpoint.h"

#define SKY_STATE_FORMAT "sky-train state 1"
#define SKY_STATE_HASH "hash" /* U8 [64]: the check, in hexadecimal */

#define SKY_NO_STEP UINT64_MAX

/* DIR/step-NNNNNNNN + ext; sky_free it. NULL: memory. */
char *sky_checkpoint_path(const char *dir, uint64_t step, const char *ext);
/* The step of a file name "step-NNNNNNNN" + ext, or SKY_NO_STEP. */
uint64_t sky_checkpoint_step(const char *name, const char *ext);

/* The steps in dir that have a file with this extension, ascending; sky_free(*step). No directory: none. */
int sky_checkpoint_list(const char *dir, const char *ext, uint64_t **step, int *n, sky_err *e) SKY_MUST_USE;

/* SHA-256 over one line "name crc32c\n" per tensor but the check itself, by name, and then the text of the run. */
typedef struct {
    char *name; /* borrowed */
    uint32_t crc;
} sky_state_line;
void sky_state_check(sky_state_line *line, int n, const char *run, char out[65]); /* sorts the lines */

void sky_checkpoint_note(const sky_checkpoints *k, const char *fmt, ...) SKY_PRINTF(2, 3);

#endif
