/* stream.h -- reading and writing samples as a plain stream or as shards (formats/sky-shard.md is the law).
 *
 * Reader: finds out by the first bytes whether an input is a plain stream or a shard (zstd), takes concatenations, and
 * checks everything on the way: checksums, order, END. Memory: one record for a plain stream; for shards the records
 * in work ahead of the caller, at most 256 MiB of them or one. */
#ifndef SKY_FORMAT_STREAM_H
#define SKY_FORMAT_STREAM_H

#include "base/cli.h"
#include "base/io.h"
#include "format/sample.h"

typedef struct {
    uint64_t header_bytes;  /* one JSON line            [16 MiB] */
    uint64_t field_bytes;   /* one field, uncompressed  [16 GiB] */
    uint64_t record_bytes;  /* one record, all fields   [32 GiB] */
} sky_limits;
extern const sky_limits sky_limits_default;

typedef struct sky_reader sky_reader;
/* paths: n files ("-": standard input), read one after another; n = 0: standard input,
 * which must not be a terminal then: somebody forgot the file. */
int sky_reader_open(sky_reader **out, char *const *paths, int n, const sky_limits *lim, sky_err *e) SKY_MUST_USE;
/* As sky_reader_open, for damaged shards: when the first schema is lost too, opening succeeds, the first
 * sky_reader_next reports it, and the schema is the copy kept beside the index, else an empty object. */
int sky_reader_salvage(sky_reader **out, char *const *paths, int n, const sky_limits *lim, sky_err *e) SKY_MUST_USE;
int sky_reader_memory(sky_reader **out, const void *p, size_t n, const sky_limits *lim, sky_err *e) SKY_MUST_USE;
/* Schema of the first input (borrowed, an object). Later inputs' schemas must agree on field definitions
 * (SKY_ECORRUPT names the difference); their provenance chains are merged into this one. */
const json_t *sky_reader_schema(const sky_reader *r);
/* Read only these fields' bytes (names, NULL-terminated; others arrive with data NULL). NULL: all. */
int sky_reader_select(sky_reader *r, const char *const *names, sky_err *e) SKY_MUST_USE;
/* Also compare every field's uncompressed bytes of shards with the checksum in its record (plain streams always do;
 * shards have two checksums on the compressed side already). */
void sky_reader_check_all(sky_reader *r);
uint64_t sky_reader_costs(const sky_reader *r); /* records lost by the last error as far as known; 0: by a damaged index, a missing end ... */
int sky_reader_stuck(const sky_reader *r); /* 1: the last error was final and would only repeat */
void sky_reader_threads(sky_reader *r, int n); /* decompression threads [0: all cores]; before the first next */
/* Next sample into s (what it held is freed). 1: got one; 0: clean end of all inputs (END seen in each); < 0: error.
 * After SKY_ECORRUPT on a shard, calling again resumes at the next intact record (recovery); on a plain stream it
 * cannot and the error repeats. */
int sky_reader_next(sky_reader *r, sky_sample *s, sky_err *e) SKY_MUST_USE;
/* The same for tools: under --keep-going damage is named, counted in c, and costs its record if it is in one (on a plain stream the rest).
 * 1: got one; 0: end, also after damage that was skipped; < 0: the tool stops. */
int sky_reader_intact(sky_reader *r, sky_cli *c, sky_sample *s, sky_err *e) SKY_MUST_USE;
/* Name of the input the last sample came from (borrowed; NULL before the first), for messages: its seq counts there. */
const char *sky_reader_name(const sky_reader *r);
/* Samples read so far, and the order-independent sum of their hashes (sky_sample_hash). */
uint64_t sky_reader_count(const sky_reader *r);
uint64_t sky_reader_sum(const sky_reader *r);
uint64_t sky_reader_bytes(const sky_reader *r); /* consumed from files, for progress */
uint64_t sky_reader_total_bytes(const sky_reader *r); /* 0 when any input is a pipe */
void sky_reader_close(sky_reader *r);

typedef struct sky_writer sky_writer;
typedef enum { SKY_PLAIN, SKY_SHARD } sky_spelling;
typedef struct {
    int level;     /* zstd level 1..19   [3] */
    int threads;   /* compression threads, ordered output   [0: all cores] */
    /* Several shards: path holds one %d or %0Nd, replaced by 0, 1, 2...; a new one starts before a record that would
     * make the file larger than shard_bytes or hold more than shard_count records. Both 0: one file. */
    uint64_t shard_bytes, shard_count;
} sky_writer_opts;
/* o NULL: defaults. path "-": stdout. schema is copied: {"dataset":..., "fields":{NAME:{...common meta...}}, "provenance":[...]}.
 * Tools that emit streams call sky_schema_extend first. */
int sky_writer_open(sky_writer **out, const char *path, sky_spelling sp, const json_t *schema, const sky_writer_opts *o, sky_err *e) SKY_MUST_USE;
/* Takes the content of s (s becomes empty) so that compression can go on behind the caller. Duplicate ids are not
 * checked here. */
int sky_writer_put(sky_writer *w, sky_sample *s, sky_err *e) SKY_MUST_USE;
uint64_t sky_writer_count(const sky_writer *w);
uint64_t sky_writer_bytes(const sky_writer *w); /* written so far (compressed) */
/* END record, index, trailer; fsync and rename for files. w is freed either way. */
int sky_writer_close(sky_writer *w, sky_err *e) SKY_MUST_USE;
void sky_writer_abort(sky_writer *w); /* nothing stays under the final name; NULL allowed */

/* A deep copy of schema (NULL: a new one) with `entry` (stolen; NULL: nothing) appended to "provenance". */
json_t *sky_schema_extend(const json_t *schema, json_t *entry);

/* Random access to one shard file through its index. */
typedef struct sky_shard sky_shard;
int sky_shard_open(sky_shard **out, const char *path, const sky_limits *lim, sky_err *e) SKY_MUST_USE;
const json_t *sky_shard_schema(const sky_shard *s);
uint64_t sky_shard_count(const sky_shard *s);
/* Borrowed index entry i: {"id":..., "classes":{FIELD:[...]}, "absent":[...], "split":..., "listed_classes":[...], ...};
 * valid until close. NULL with e filled: memory, or no such record. */
const json_t *sky_shard_entry(const sky_shard *s, uint64_t i, sky_err *e);
/* The same as a new reference, parsed for the caller and not kept: for going through all of a large shard. Thread-safe. */
json_t *sky_shard_entry_new(const sky_shard *s, uint64_t i, sky_err *e) SKY_MUST_USE;
/* 1 and *i its record number, 0 when there is none, < 0: memory. O(log n). */
int sky_shard_find(const sky_shard *s, const char *id, uint64_t *i, sky_err *e) SKY_MUST_USE;
/* Give back the memory of entries and ids, most of what an open shard holds: from now on only records can be read, entries and
 * find are SKY_EUSAGE. Not while another thread uses s. */
void sky_shard_forget(sky_shard *s);
/* Record i, only the named fields' bytes (NULL: all); thread-safe (pread). */
int sky_shard_read(sky_shard *s, uint64_t i, const char *const *names, sky_sample *out, sky_err *e) SKY_MUST_USE;
void sky_shard_close(sky_shard *s);

#endif
