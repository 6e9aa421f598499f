/* incontext.h -- the pretraining sampler: eight samples that hold a class become one canvas with part of its annotation
 * hidden.
 *
 * Items are (data set, class) pairs (data/order.h). For an item: eight samples; of each a window of side x side around a pixel of the
 * class, a crop of area 0.8..1, a flip; classes that all eight hold get distinct random slots 1..vocab, the rest slot
 * 0; joined two wide and four high; a crop of area 0.3..1 resized to the canvas; half of the cells hidden. Beyond the published
 * sampler, classes that any of the eight holds can get slots, and the shown annotation can be thinned to patches, as prompts drawn by
 * hand are. All decisions are Philox draws of (seed, epoch, position): data/draw.h.
 *
 * A modality counts as present when all eight samples have it (the published code takes the last one's word, and
 * shows the network black pictures as data). Invalid pixels (NaN, nodata) are 0 before resizing and normalisation. */
#ifndef SKY_DATA_INCONTEXT_H
#define SKY_DATA_INCONTEXT_H

#include "data/normal.h"
#include "data/order.h"
#include "data/prefetch.h"

enum { SKY_CONTEXT = 8 }; /* samples of an item */

/* A data set whose pictures are not read by the common rule. */
typedef struct {
    const char *dataset;
    int hr_raw;             /* take hr_band of the stored numbers with `hr` instead of display RGB (dynamic-mm, flair-mm) */
    int hr_band[3];
    const sky_normal *hr;   /* three bands; NULL: as RGB in 0..255 */
    int sentinel_window;    /* > 0: cut this many pixels of the Sentinel fields around the sample's meta "centre": [row, column] and
                               resize them with antialiasing (flair-mm: 40) */
} sky_incontext_set;

/* The exceptions of the published pretraining, by the type its lists give: dynamic-mm, flair-mm. */
extern const sky_incontext_set sky_incontext_published[2];

typedef struct {
    uint64_t seed;
    int side;               /* canvas 2*side x side; a multiple of 128 [512 in the released model] */
    int vocab;              /* slots 1..vocab */
    char hr_bands[3][16];   /* of the model */
    int s2_channels, s1_channels; /* of the model; 0: it has none and the field is not read */
    const char *hr, *s2, *s1; /* fields; NULL: "hr", "s2", "s1" */
    double half;            /* how often the lower half is hidden [0.3] */
    int any_class;          /* slots for classes that any of the eight samples holds, not only for those that all hold */
    double sparse;          /* how often the annotation is thinned: of each class 1..4 discs stay, their radius up to 4..side, drawn per class [0] */
    double radiometry;      /* of every HR picture each band gets a gain in 1 +- this and an offset of +- this * 255 [0] */
    uint64_t repeat;        /* items per pair and epoch [2000] */
    const sky_normal *s2_normal, *s1_normal; /* NULL: the released model's */
    const sky_incontext_set *set; /* exceptions */
    int nsets;
} sky_incontext_opts;

extern const sky_incontext_opts sky_incontext_default; /* seed 0, side 512, vocab 64, 10 and 2 channels */

typedef struct {
    float *hr;              /* [2*side,side,3] normalised; absent: zeros, normalised */
    float *s2, *s1;         /* [2*side/32,side/32,channels]; NULL without channels */
    uint8_t *labels;        /* [2*side,side] slots */
    uint8_t *annotation;    /* what the model is shown of them, the same shape; NULL unless sparse > 0 */
    uint8_t *anno_mask;     /* [2*side/128,side/128], 1: hidden; half of them, rounded down */
    uint8_t flags[3];       /* hr, s2, s1 */
    uint64_t id;            /* the position, which names the item's random decisions in the model too */
    int cls;
    const char *dataset;    /* borrowed from the roll */
    char *name[SKY_CONTEXT];
} sky_incontext_item;

typedef struct sky_incontext sky_incontext;
/* r and what o points at are borrowed. SKY_EUSAGE: sizes that do not fit; SKY_ECORRUPT: no sample holds a class. */
int sky_incontext_open(sky_incontext **out, const sky_roll *r, const sky_incontext_opts *o, sky_err *e) SKY_MUST_USE;
void sky_incontext_close(sky_incontext *s); /* NULL allowed */
uint64_t sky_incontext_items(const sky_incontext *s); /* of an epoch */
/* Any thread. SKY_ECORRUPT names item and sample. */
int sky_incontext_make(const sky_incontext *s, uint64_t at, uint64_t attempt, sky_incontext_item **out, sky_err *e) SKY_MUST_USE;
void sky_incontext_free(sky_incontext_item *it); /* NULL allowed */
sky_source sky_incontext_source(sky_incontext *s); /* items: sky_incontext_item */
/* {"hr":..., "s2":..., "s1":...} for the checkpoint, whatever the fields' names (data/normal.h). NULL: memory. */
json_t *sky_incontext_normals(const sky_incontext *s);

/* n items as one host batch in the layout of sky_pp_batch. */
typedef struct {
    int n, h, w;            /* canvas */
    int s2_channels, s1_channels;
    float *hr, *s2, *s1;    /* [n,h,w,3], [n,h/32,w/32,C]; s2, s1 NULL when no item has the modality */
    uint8_t *labels, *anno_mask, *flags; /* [n,h,w], [n,h/128,w/128], [n,3] */
    uint8_t *annotation;    /* [n,h,w]; NULL: labels */
    uint64_t *id;           /* [n] */
} sky_pp_host;
/* Room for n items of s. */
int sky_pp_host_open(sky_pp_host **out, const sky_incontext *s, int n, sky_err *e) SKY_MUST_USE;
void sky_pp_host_close(sky_pp_host *b);
/* Put n items (<= the n of open) in; they stay the caller's. b->s2, b->s1 are NULL from here to the next fill when absent. */
void sky_pp_host_fill(sky_pp_host *b, sky_incontext_item *const *it, int n);

#endif
