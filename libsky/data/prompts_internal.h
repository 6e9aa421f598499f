/* prompts_internal.h -- building a list of prompts line by line, for the file reader and the rule; what is known of samples, for
 * the rule. */
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

/* ---- the catalogue -------------------------------------------------------------------------------------------------- */

/* Classes of a sample, bit c of word c/64. */
typedef struct {
    uint64_t w[4];
} class_set;

static inline int class_set_has(const class_set *s, int c) { return s->w[c >> 6] >> (c & 63) & 1; }
static inline void class_set_add(class_set *s, int c) { s->w[c >> 6] |= (uint64_t)1 << (c & 63); }
static inline class_set class_set_and(class_set a, const class_set *b)
{
    for (int i = 0; i < 4; i++)
        a.w[i] &= b->w[i];
    return a;
}
/* Not __builtin_popcountll: that is a call into libgcc where the processor is not known to have an instruction for it. */
static inline int class_set_size(const class_set *s)
{
    uint64_t n = 0;
    for (int i = 0; i < 4; i++) {
        uint64_t x = s->w[i];
        x -= x >> 1 & 0x5555555555555555;
        x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
        n += (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f; /* a byte of the sum has at most 32 */
    }
    n = (n & 0x00ff00ff00ff00ff) + (n >> 8 & 0x00ff00ff00ff00ff);
    return (int)(n * 0x0001000100010001 >> 48);
}

typedef struct {
    char *id;
    class_set asks, offers; /* classes it is a query for; classes it can prompt */
} catalogue_item;

struct sky_catalogue {
    sky_catalogue_opts o;
    char label[64]; /* the field, once known */
    class_set wanted; /* of o.classes */
    catalogue_item *v;
    uint64_t n, unlabelled;
    size_t cap;
    json_t *splits; /* object: the names that samples have */
};

/* Once all samples are there: order them by id; find misspelt splits and ids that are there twice. */
int sky_catalogue_seal(sky_catalogue *c, sky_err *e) SKY_MUST_USE;

#endif
