/* incontext_internal.h -- what the files of the in-context sampler share. */
#ifndef SKY_DATA_INCONTEXT_INTERNAL_H
#define SKY_DATA_INCONTEXT_INTERNAL_H

#include "data/draw.h"
#include "data/incontext.h"
#include "data/planes.h"

enum { SKY_CELL = 32, SKY_MASK_CELL = 128 };      /* canvas pixels per Sentinel pixel, per mask cell */
enum { SKY_COLUMNS = 2, SKY_ROWS = 4 };           /* of the eight samples; the left column is filled first */
enum { LAYER_HR, LAYER_S2, LAYER_S1, LAYERS };
/* Streams of random decisions: of the item, and of its k-th sample from DRAW_SAMPLE on. */
enum { DRAW_SLOTS = 32, DRAW_CANVAS, DRAW_MASK, DRAW_SAMPLE, DRAW_SPARSE = DRAW_SAMPLE + SKY_CONTEXT, DRAW_PATCHES };

struct sky_incontext {
    const sky_roll *r;
    sky_incontext_opts o;
    sky_normal *hr, *s2, *s1;  /* in use */
    const char *field[LAYERS]; /* NULL: the model has none */
    int channels[LAYERS];
    const char *fields[LAYERS + 2]; /* to read, NULL-terminated */
    uint8_t (*of_dataset)[32]; /* per pair: classes of its data set, a bit each */
};

/* One sample after its window, before its crop. A layer that is not there has px NULL. */
typedef struct {
    sky_planes layer[LAYERS];
    uint8_t *label;  /* class values [h,w] */
    int h, w;
    uint8_t seen[32]; /* classes in the whole label, a bit each */
} sky_context_part;

/* Window around a pixel of cls; whole fields where they are no larger than a part of the canvas. */
int sky_context_load(sky_context_part *p, const sky_incontext *s, const sky_pair *pair, const sky_sample *x, sky_draw *d, sky_err *e) SKY_MUST_USE;
void sky_context_part_free(sky_context_part *p);
/* The exception for this data set; NULL: none. */
const sky_incontext_set *sky_context_set(const sky_incontext *s, const char *dataset);

/* incontext_sparse.c: of each slot shown (mask 0) in label [h,w], 1..4 discs of radius 2..R stay, R log-uniform in 4..w; the
 * rest of `to` is 0. From a few dots to nearly everything: dense items teach what the sparse ones then need. */
void sky_incontext_thin(uint8_t *to, const uint8_t *label, const uint8_t *mask, int h, int w, sky_draw *d);

#endif
