/* prompts_internal.h -- building a list of prompts line by line; shared by the file reader and the rule. */
#ifndef SKY_DATA_PROMPTS_INTERNAL_H
#define SKY_DATA_PROMPTS_INTERNAL_H

#include "base/mem.h"
#include "data/prompts.h"

typedef struct {
    size_t query, prompt; /* offsets into text, NUL-terminated */
    int cls;
    uint64_t line; /* of the file, from 1; 0: made, not read */
} prompt_row;

struct sky_prompts {
    sky_buf text;
    prompt_row *row;
    sky_prompt *v;
    uint64_t n;
    size_t cap;
    uint64_t *order; /* line numbers sorted by query, then by position */
};

enum { PROMPTS_MAX_LOG2 = 24 };

int sky_prompts_add(sky_prompts *p, const char *query, const char *prompt, int cls, uint64_t line, sky_err *e) SKY_MUST_USE;
/* Make v and order; find duplicates and mixed protocols. */
int sky_prompts_seal(sky_prompts *p, sky_err *e) SKY_MUST_USE;

#endif
