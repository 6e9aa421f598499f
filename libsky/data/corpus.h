/* corpus.h -- samples by id, out of several shard files. */
#ifndef SKY_DATA_CORPUS_H
#define SKY_DATA_CORPUS_H

#include "format/stream.h"

typedef struct sky_corpus sky_corpus;

typedef struct {
    int file;         /* which of the paths; -1: not found */
    uint64_t record;
} sky_place;

/* Shard files only: a plain stream has no index (the message says what to do). */
int sky_corpus_open(sky_corpus **out, char *const *paths, int n, sky_err *e) SKY_MUST_USE;
void sky_corpus_close(sky_corpus *c); /* NULL allowed */
int sky_corpus_files(const sky_corpus *c);
sky_shard *sky_corpus_shard(const sky_corpus *c, int i); /* borrowed */
/* 0 and the place, file -1 when no file has the id; SKY_ECORRUPT when two have it. */
int sky_corpus_find(const sky_corpus *c, const char *id, sky_place *at, sky_err *e) SKY_MUST_USE;
int sky_corpus_read(const sky_corpus *c, sky_place at, const char *const *fields, sky_sample *out, sky_err *e) SKY_MUST_USE;
/* Give back the memory of the shards' indexes (format/stream.h, sky_shard_forget): from now on samples are only read. */
void sky_corpus_forget(sky_corpus *c);
/* Schema of the file a place is in, borrowed. */
const json_t *sky_corpus_schema(const sky_corpus *c, sky_place at);

#endif
