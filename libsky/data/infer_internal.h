/* infer_internal.h -- what the files of one-shot inference share. */
#ifndef SKY_DATA_INFER_INTERNAL_H
#define SKY_DATA_INFER_INTERNAL_H

#include "data/infer.h"

enum { SENTINELS = 2, SENTINEL_SCALE = 32 /* canvas pixels per Sentinel pixel */ };

struct sky_infer {
    sky_pp *m;
    sky_ctx *c;
    sky_infer_opts o;
    int vocab, channels[SENTINELS]; /* of S2, S1 */
    char bands[3][16];   /* the model's hr_bands */
    size_t arena;
    const char *fields[5];
    sky_replay *replay; /* of the model's forward */
    struct sky_infer_runs *runs; /* infer.c */
};

struct sky_infer_pass {
    char *query, *prompt;
    json_t *meta;              /* the query's */
    int cls;                   /* -1: multi-class */
    int values[256], n;        /* classes in play, ascending */
    json_t *classes;           /* table of the prompt's label field, or NULL */
    json_t *crs;               /* of the query's image, or NULL */
    double affine[6];
    int has_affine;
    int16_t *hr;               /* [2*side,side,3], to be normalised */
    uint8_t *label, *mask;     /* class values of the prompt [side,side]; hidden cells [2*side/128,side/128] */
    float *sentinel[SENTINELS]; /* [2*side/32,side/32,channels], NULL: absent */
    /* results */
    sky_err err;               /* why there is none */
    uint8_t *map;              /* [side,side] values (multi) or 0/1 */
    float *prob;               /* [n + 1][side,side]: classes in play, then the strongest other slot; NULL if not wanted */
};

static inline size_t sky_infer_pixels(const sky_infer *in) { return (size_t)in->o.side * (size_t)in->o.side; }

/* One Sentinel field pair onto its canvas, resampled to its cells; *out stays NULL when either is absent. which: 0 S2, 1 S1. */
int sky_infer_sentinel(float **out, const sky_infer *in, int which, const sky_infer_task *t, sky_err *e) SKY_MUST_USE;
/* "classes" of a label field: its own, else the schema's; NULL: none. Borrowed. */
const json_t *sky_infer_table(const sky_field *f, const json_t *schema);
/* As before the first run. */
void sky_infer_pass_reset(const sky_infer *in, sky_infer_pass *p);
/* Slots of run k. */
int sky_infer_slots(uint8_t slot_of[256], const sky_infer *in, const sky_infer_pass *p, int k, sky_err *e) SKY_MUST_USE;
/* Add one run's probabilities of the lower half to p->prob: logits [h,w,vocab+1] of the whole canvas, resized like
 * sky_resize_argmax (bilinear, corners aligned). */
void sky_infer_add_run(const sky_infer *in, sky_infer_pass *p, const float *logits, int h, int w, const uint8_t slot_of[256], float *row);

#endif
