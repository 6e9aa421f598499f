/* scoring_internal.h -- shared by scoring.c (counting) and scoring_result.c. */
#ifndef SKY_SCORE_SCORING_INTERNAL_H
#define SKY_SCORE_SCORING_INTERNAL_H

#include "score/scoring.h"

enum { SKY_PROTOCOL_UNKNOWN = -1, SKY_PROTOCOL_BINARY, SKY_PROTOCOL_MULTI };

typedef struct {
    uint64_t truth;
    int cls;  /* SKY_ALL_CLASSES in the multi-class protocol */
    int seen;
} sky_wanted;

struct sky_scoring {
    sky_truth *truth;
    sky_classes *cls;
    const sky_prompts *prompts;
    sky_scoring_opts o;
    int protocol;
    char model[72];      /* of the first prediction that names one */
    sky_wanted *want;    /* sorted by truth, class */
    uint64_t nwant, next_missing, scored;
    size_t cap; /* of want */
    uint64_t problems[SKY_SCORE_PROBLEMS];
    sky_confusion joint; /* multi-class */
    struct {
        sky_counts counts;
        uint64_t images;
    } *of;               /* per class value: binary all of it, multi-class the images */
};

#endif
