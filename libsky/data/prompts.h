/* prompts.h -- which sample prompts which: the prompts file, the rule that makes one, and the slots of classes.
 *
 * The file is UTF-8 text, one line per pass of the model: query id, prompt id, class, separated by tabs; lines that are
 * empty or begin with '#' say nothing. Class is a label value 0..255 (binary protocol: one class per pass) or '*'
 * (multi-class protocol: all classes of the prompt in one pass). A file is of one protocol. docs/protocol.md has the
 * rules; everything here is a pure function of its inputs, whatever the order of shards and the number of threads. */
#ifndef SKY_DATA_PROMPTS_H
#define SKY_DATA_PROMPTS_H

#include "base/cli.h"
#include "base/json.h"
#include "format/stream.h"
#include <stdint.h>

#define SKY_ALL_CLASSES (-1)

typedef struct {
    const char *query, *prompt; /* owned by the list */
    int cls;                    /* 0..255, or SKY_ALL_CLASSES */
} sky_prompt;

typedef struct sky_prompts sky_prompts;

/* "-" is standard input. Errors give file and line. Limits: 2^24 lines, 1 GiB. A query that
 * prompts itself, or one (query, class) on two lines, is an error. No line at all is one, too. cli (NULL: none): its
 * --keep-going names and leaves out lines that are wrong by themselves. */
int sky_prompts_read(sky_prompts **out, const char *path, sky_cli *cli, sky_err *e) SKY_MUST_USE;
int sky_prompts_memory(sky_prompts **out, const void *p, size_t n, const char *name, sky_err *e) SKY_MUST_USE;
void sky_prompts_free(sky_prompts *p); /* NULL allowed */
uint64_t sky_prompts_count(const sky_prompts *p);
const sky_prompt *sky_prompts_at(const sky_prompts *p, uint64_t i); /* in the order of the file */
int sky_prompts_multi(const sky_prompts *p);                        /* 1: multi-class protocol */
uint64_t sky_prompts_line(const sky_prompts *p, uint64_t i);           /* line of the file, from 1; 0: made, not read */
/* Lines of one query: numbers *list[0..n-1] in the order of the file (borrowed). Returns n, 0: the query has none. */
uint64_t sky_prompts_of(const sky_prompts *p, const char *query, const uint64_t **list);
/* head: comment lines without '#', separated by newlines, put first (NULL: none). Atomic; "-" is standard output. */
int sky_prompts_write(const sky_prompts *p, const char *path, const char *head, sky_err *e) SKY_MUST_USE;

/* ---- making one ------------------------------------------------------------------------------------------------- */

/* What is known of the samples without reading pixels: id and classes. */
typedef struct sky_catalogue sky_catalogue;

typedef struct {
    const char *label;         /* label field; NULL: the only one */
    const char *query_split;   /* meta "split" of queries; NULL: any */
    const char *prompt_split;  /* of prompts; NULL: as the queries' */
    const int *classes;        /* only these, 0..255; NULL: all but background and ignored ones (docs/protocol.md) */
    int nclasses;
} sky_catalogue_opts;

int sky_catalogue_open(sky_catalogue **out, const sky_catalogue_opts *o, sky_err *e) SKY_MUST_USE; /* o's strings stay the caller's and must live on */
/* One index entry (format/stream.h); schema may be NULL. A sample without the label field, or of another split, is passed over. */
int sky_catalogue_add(sky_catalogue *c, const json_t *entry, const json_t *schema, sky_err *e) SKY_MUST_USE;
int sky_catalogue_add_shard(sky_catalogue *c, const sky_shard *s, sky_err *e) SKY_MUST_USE;
uint64_t sky_catalogue_unlabelled(const sky_catalogue *c); /* passed over: classes unknown */
void sky_catalogue_close(sky_catalogue *c);

typedef struct {
    uint64_t seed;
    int multi;        /* protocol */
    sky_cli *cli;     /* its --keep-going names and leaves out a query that no other sample can prompt; NULL: an error */
} sky_prompts_opts;
int sky_prompts_make(sky_prompts **out, sky_catalogue *c, const sky_prompts_opts *o, sky_err *e) SKY_MUST_USE;

/* ---- slots ---------------------------------------------------------------------------------------------------------- */

/* Slot of a class in the binary protocol, 1..vocab. */
int sky_prompt_slot(uint64_t seed, int cls, int vocab);
/* Slots of several classes (ascending or not), all different: slot_of[class] in 1..vocab, 0 elsewhere. SKY_ELIMIT when there
 * are more than vocab (<= 255) classes. */
int sky_prompt_slots(uint8_t slot_of[256], uint64_t seed, const int *classes, int n, int vocab, sky_err *e) SKY_MUST_USE;

#endif
