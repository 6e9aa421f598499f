/* roll.h -- the samples of a corpus that training may draw, numbered, and which of them hold which class.
 *
 * A sample's number is its place in the order of (FNV-1a of its id, then the id itself): it depends on which samples
 * there are, never on how they are spread over shard files, in which order these are given, or in which order records
 * lie in them. Everything here comes from the shards' indexes; no pixel is read. Read-only once open: any thread may
 * ask. Memory: 24 bytes per sample and 4 per (sample, class). */
#ifndef SKY_DATA_ROLL_H
#define SKY_DATA_ROLL_H

#include "data/corpus.h"

typedef struct {
    const char *split;   /* only this split; NULL: all */
    const char *label;   /* label field; NULL: the one there is (two are an error) */
    const int *classes;  /* only samples that hold one of these, and only these make pairs; NULL: any class but background */
    int nclasses;
} sky_roll_opts;

/* The samples of one data set that hold a class, by number, ascending. */
typedef struct {
    const char *dataset; /* the index entry's "type", else the schema's "dataset", else "" */
    int cls;
    const uint32_t *sample;
    uint64_t n;
} sky_pair;

typedef struct sky_roll sky_roll;
/* c is borrowed. SKY_ECORRUPT: no sample is left, the same id twice, a class outside 0..255. */
int sky_roll_open(sky_roll **out, const sky_corpus *c, const sky_roll_opts *o, sky_err *e) SKY_MUST_USE;
void sky_roll_close(sky_roll *r); /* NULL allowed */
uint64_t sky_roll_count(const sky_roll *r);
const char *sky_roll_label(const sky_roll *r); /* the label field; NULL: no sample has one */
/* Sorted by data set, then class; samples without a class are in none. */
int sky_roll_pairs(const sky_roll *r);
const sky_pair *sky_roll_pair(const sky_roll *r, int i);
/* Sample `number` with only these fields (NULL-terminated; NULL: all). Errors name the sample and its file. */
int sky_roll_read(const sky_roll *r, uint64_t number, const char *const *fields, sky_sample *out, sky_err *e) SKY_MUST_USE;
/* Schema of its file, borrowed. */
const json_t *sky_roll_schema(const sky_roll *r, uint64_t number);

#endif
