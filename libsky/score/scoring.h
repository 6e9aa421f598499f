/* scoring.h -- predictions against labels: which were wanted, which came, and their counts.
 *
 * A prediction is a sample with a map of class numbers. Binary protocol: id "QUERY#CLASS", meta "protocol" "binary",
 * "query", "class"; the map is 1 where the class is seen, else 0. Multi-class protocol (also when meta says nothing): id
 * QUERY; the map holds class values, 0 where none. One run, one protocol, one model. */
#ifndef SKY_SCORE_SCORING_H
#define SKY_SCORE_SCORING_H

#include "data/prompts.h"
#include "score/confusion.h"
#include "score/metrics.h"
#include "score/truth.h"

typedef enum { SKY_SCORE_MISSING, SKY_SCORE_EXTRA, SKY_SCORE_DUPLICATE, SKY_SCORE_MISSHAPEN, SKY_SCORE_PROBLEMS } sky_score_problem;

typedef struct {
    const char *field;  /* of the predictions */
    int same_size;      /* a prediction of another size than its label is misshapen instead of resized */
} sky_scoring_opts;

typedef struct sky_scoring sky_scoring;
/* truth, cls and prompts (NULL: what is wanted follows from the labels) stay the caller's and must live on. Wanted without
 * prompts: binary, each class of each label but background; multi-class, each label. */
int sky_scoring_open(sky_scoring **out, sky_truth *truth, sky_classes *cls, const sky_prompts *prompts, const sky_scoring_opts *o, sky_err *e) SKY_MUST_USE;
void sky_scoring_close(sky_scoring *s); /* NULL allowed */
/* Count one prediction (its data are taken). A prediction that cannot be scored is an error of its own and leaves the
 * counts as they were: the caller may go on. *problem says of which sort (-1: not the prediction's fault). */
int sky_scoring_add(sky_scoring *s, sky_sample *pred, int *problem, sky_err *e) SKY_MUST_USE;
/* After the last: the wanted predictions that did not come, one per call (SKY_ECORRUPT with its name), then 0. */
int sky_scoring_missing(sky_scoring *s, sky_err *e) SKY_MUST_USE;
uint64_t sky_scoring_wanted(const sky_scoring *s); /* predictions wanted; 0 before the first without prompts */

/* ---- results ---------------------------------------------------------------------------------------------------- */

typedef struct {
    const sky_class *cls;
    uint64_t images;   /* binary: predictions scored for it; multi-class: labels holding it */
    sky_counts counts;
    int absent;        /* in no label and no prediction: undefined, left out of means */
    sky_metrics m;     /* NaN where undefined */
    sky_oneshot_metrics oneshot;
} sky_class_score;

typedef struct {
    int multi;
    const char *model;          /* "" when the predictions do not say */
    uint64_t wanted, scored, problems[SKY_SCORE_PROBLEMS];
    uint64_t pixels;            /* counted, without ignored ones (binary: summed over classes) */
    sky_class_score *c;         /* one per class, ascending values; binary: without background */
    int n;
    sky_mean iou, dice, precision, recall, oneshot_iou, oneshot_acc; /* over the classes where defined */
    double accuracy;            /* pixels counted right / all (aAcc) */
    double weighted_iou;        /* IoU weighted by the class's share of label pixels */
    /* multi-class: matrix[label * side + predicted] over values[]; the last value -1 stands for values in no class */
    int *values;
    uint64_t *matrix;
    int side;
} sky_scores;
/* Fails when a predicted value is in no class (SKY_ECORRUPT naming it). Free with sky_scores_free. */
int sky_scoring_result(sky_scoring *s, sky_scores *out, sky_err *e) SKY_MUST_USE;
void sky_scores_free(sky_scores *r);

#endif
