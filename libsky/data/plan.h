/* plan.h -- which files make which sample: a data set's descriptor laid over a listing, before any pixel is read.
 *
 * Items are sorted by id, so the order depends on names only. An item whose files are incomplete stays in the plan with
 * its problem in words: the caller stops there or skips it. */
#ifndef SKY_DATA_PLAN_H
#define SKY_DATA_PLAN_H

#include "data/descriptor.h"
#include "data/listing.h"
#include "data/part.h"

typedef struct {
    const sky_entry *file;
    const char *tail; /* the part of the path the pattern matched: the same wherever the download lies */
} sky_source;

typedef struct {
    sky_source *source; /* more than one: one file per time step, or per band of a stack */
    int n;              /* 0: the modality is absent */
    int own;            /* the files are the plan's (list layout), not a listing's */
} sky_plan_field;

typedef struct {
    char *id;
    const char *split;  /* NULL: in none, or not known */
    const sky_labels *labels; /* list layout: the class table of its type; NULL: the field's */
    json_t *meta;       /* further members for the sample's meta; NULL: none */
    char *problem;      /* why it cannot be read; NULL: nothing known */
    sky_plan_field *field; /* one per field of the descriptor */
} sky_plan_item;

typedef struct {
    const char *split;  /* only this one; NULL: all */
    const char *root;   /* list layout: what its paths are relative to; NULL: the folder of each list */
    sky_part part;
} sky_plan_opts;

typedef struct {
    const sky_dataset *d;
    sky_plan_item *item;
    size_t n, cap;
    size_t left_out;    /* items of other parts */
} sky_plan;

/* d, l must outlive the plan. No item at all is SKY_ECORRUPT and says what was looked for. */
int sky_plan_open(sky_plan **out, const sky_dataset *d, const sky_listing *l, const sky_plan_opts *o, sky_err *e) SKY_MUST_USE;
void sky_plan_close(sky_plan *p); /* NULL allowed */
/* SHA-256 over one line "id field path size" per source in plan order. */
void sky_plan_hash(const sky_plan *p, char out[65]);

/* skylist.c: add the records of one of the original's JSON lists, n bytes of text; files are looked for below root. */
int sky_plan_list(sky_plan *p, const char *text, size_t n, const char *name, const char *root, sky_err *e) SKY_MUST_USE;
/* Append an item with n empty fields; takes id. NULL: memory (id is freed). */
sky_plan_item *sky_plan_add(sky_plan *p, char *id);

#endif
