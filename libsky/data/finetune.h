/* finetune.h -- samples of segmentation: a crop with its labels for training, the whole picture for validation.
 *
 * Training: up to `tries` crops are drawn until no class holds `cap` or more of the crop's labelled pixels and there is more
 * than one class; the last one drawn is kept. Flip left to right with probability `flip`. No resizing. A picture smaller
 * than the crop is filled up on the right and below: zeros after normalisation, labels 255. Invalid pixels (NaN, nodata) are 0
 * before normalisation. All decisions are Philox draws of (seed, epoch, position): data/draw.h.
 *
 * Dates, training: `dates` of the valid ones, without replacement if there are enough, else with, in order of time. Validation:
 * number floor(i*valid/dates), i = 0, 1, ... Without `dates`: the first valid one. */
#ifndef SKY_DATA_FINETUNE_H
#define SKY_DATA_FINETUNE_H

#include "data/normal.h"
#include "data/order.h"
#include "data/prefetch.h"

enum { SKY_IGNORE = 255 };

typedef struct {
    uint64_t seed;
    int validation;         /* whole pictures in the order of their numbers, nothing random */
    int size;               /* side of the crop */
    double cap;             /* [0.75] */
    int tries;              /* [10] */
    double flip;            /* [0.5] */
    int balanced;           /* class-balanced draws (sky_order_balanced) instead of every sample once */
    int dates;              /* 0: one picture per sample */
    const char *image;      /* field; NULL: "hr" */
    char *const *bands;     /* names, in the network's order; NULL: all as stored */
    int nbands;
    int reverse;            /* reverse the order of bands after selection */
    const json_t *normal;   /* from the config (data/normal.h), in the order of `bands`; NULL: from the data */
    const int *classes;     /* value of each class index; NULL: the class table without ignored ones */
    int nclasses;           /* of classes; with classes NULL and no class table: the lowest values that are not ignored are so many */
    const int64_t *ignored; /* further labels that are no class, 0..255 */
    int nignored;
} sky_finetune_opts;

extern const sky_finetune_opts sky_finetune_default;

typedef struct {
    float *img;             /* [T,H,W,C] normalised */
    uint8_t *labels;        /* [H,W] class indices, 255: ignored */
    int t, h, w, c;
    uint64_t id;            /* the position */
    uint64_t number;        /* of the sample */
    char *name;
} sky_finetune_item;

typedef struct sky_finetune sky_finetune;
/* r and what o points at are borrowed. The class table, bands and normalisation are settled here, from the first sample. */
int sky_finetune_open(sky_finetune **out, const sky_roll *r, const sky_finetune_opts *o, sky_err *e) SKY_MUST_USE;
void sky_finetune_close(sky_finetune *s); /* NULL allowed */
uint64_t sky_finetune_items(const sky_finetune *s);   /* of an epoch: the samples */
int sky_finetune_channels(const sky_finetune *s);
int sky_finetune_classes(const sky_finetune *s);
const json_t *sky_finetune_class(const sky_finetune *s, int index); /* its entry of the class table, borrowed; NULL: none */
const char *sky_finetune_class_name(const sky_finetune *s, int index); /* borrowed; NULL: unknown */
int sky_finetune_class_value(const sky_finetune *s, int index);
int sky_finetune_make(const sky_finetune *s, uint64_t at, uint64_t attempt, sky_finetune_item **out, sky_err *e) SKY_MUST_USE;
void sky_finetune_free(sky_finetune_item *it); /* NULL allowed */
sky_source sky_finetune_source(sky_finetune *s); /* items: sky_finetune_item */
/* {FIELD: normal} for the checkpoint. NULL: memory. */
json_t *sky_finetune_normals(const sky_finetune *s);

/* n items of one size as one host batch in the layout of sky_seg_forward. */
typedef struct {
    int n, t, h, w, c;
    float *img;             /* [n*t,h,w,c], date index fastest */
    uint8_t *labels;        /* [n,h,w] */
    uint64_t *id;           /* [n] */
    size_t room, label_room, id_room; /* elements allocated */
} sky_seg_host;
/* Zero-initialise b; it grows as needed and is kept for the next batch. SKY_ECORRUPT names an item of another size. */
int sky_seg_host_fill(sky_seg_host *b, sky_finetune_item *const *it, int n, sky_err *e) SKY_MUST_USE;
void sky_seg_host_free(sky_seg_host *b);

#endif
