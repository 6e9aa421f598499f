/* run.h -- one training run as its YAML file describes it (sky-run(5)): read, checked, with defaults filled in.
 *
 * The file is read strictly: an unknown key, a wrong type or a number outside its range is an error with its line. What
 * is not given has the default of sky-run(5); in pretraining the rate, decay and clipping come from the model. */
#ifndef SKY_TRAIN_RUN_H
#define SKY_TRAIN_RUN_H

#include "nn/config.h"
#include "train/rules.h"
#include "train/schedule.h"
#include "train/state.h"

typedef enum { SKY_TASK_PRETRAIN, SKY_TASK_SEGMENT } sky_task;
enum { SKY_RUN_LIST = 256, SKY_RUN_BANDS = 64, SKY_RUN_CLASSES = 255, SKY_RUN_LEVELS = 8, SKY_RUN_STAGES = 16 };

typedef struct {
    const char **v; /* NULL-terminated; NULL when not given */
    int n;
} sky_names;
typedef struct {
    double v[SKY_RUN_CLASSES];
    int n;          /* 0: not given */
} sky_reals;

typedef struct {
    char *path, *text;   /* the file and what is in it */
    json_t *json;        /* the same as a tree; strings below point into it */
    void **owned;        /* lists below */
    int nowned;

    int task;            /* sky_task */
    sky_config model;
    const char *out;     /* directory of the run, or NULL */
    int64_t seed;
    int dtype;           /* SKY_F32 or SKY_BF16 */
    int64_t steps, batch, accumulate;
    int recompute;       /* activations are computed again in backward instead of being kept */
    int skip_nonfinite;  /* 0: stop */

    struct { const char *from, *prefix; sky_names bands; int init; /* sky_init_scheme */ } start;
    struct { sky_names train, val; int64_t side, repeat, prefetch; } data;
    struct { sky_reals mean, std; } normalise[3]; /* hr, s2, s1 */
    struct {
        double flip;                 /* of segmentation; in pretraining a half */
        double half_mask, sparse, radiometry; /* of pretraining */
        int any_class;
        int64_t crop, crop_tries; /* of segmentation: side of the crop */
        double class_max;
    } augment;
    struct {
        int name;        /* sky_optimizer */
        double lr, betas[2], eps, momentum, weight_decay, clip, average;
    } optimizer;
    sky_schedule schedule;
    struct { sky_names no_decay, frozen; int no_decay_1d; double layer_decay; } rules;
    struct {
        int swin;        /* backbone: Swin, else ViT */
        const char *field;
        sky_names bands;
        int64_t classes, dates, neck_dim, head_channels, aux_channels;
        sky_reals neck_scales, class_weight;
        int64_t ignored[SKY_RUN_CLASSES]; /* labels that are no class */
        int nignored;
        double aux_weight, dropout, drop_path;
        int patch_bias, sigmoid;
    } segment;
    struct { int64_t every[SKY_RUN_STAGES], from[SKY_RUN_STAGES]; int n, nfrom; } validate;
    struct { int64_t every, keep; } checkpoint;
    struct { int64_t every; int curves, tensorboard; } log;
} sky_run;

int sky_run_load(sky_run *r, const char *path, sky_err *e) SKY_MUST_USE;
/* From memory; `name` is used in messages. */
int sky_run_parse(sky_run *r, const char *text, size_t n, const char *name, sky_err *e) SKY_MUST_USE;
void sky_run_close(sky_run *r); /* zeroed r allowed */

/* One rule per parameter of ps, in its order. */
void sky_run_rules(const sky_run *r, const sky_params *ps, sky_rule *rule);
/* Whether to validate, write a checkpoint, write a line of the log after `step` updates. The last step is always one. */
int sky_run_validates(const sky_run *r, uint64_t step);
int sky_run_checkpoints(const sky_run *r, uint64_t step);
int sky_run_logs(const sky_run *r, uint64_t step);

#endif
