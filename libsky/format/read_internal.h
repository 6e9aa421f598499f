/* read_internal.h -- the reader's state, shared by stream_read.c (inputs), plain_read.c (records of plain streams),
 * shard_read.c (finding blocks and records) and decode.c (what threads do). Not for tools. */
#ifndef SKY_FORMAT_READ_INTERNAL_H
#define SKY_FORMAT_READ_INTERNAL_H

#include "base/threads.h"
#include "format/block_internal.h"
#include "format/pile.h"

enum sky_read_mode {
    SKY_READ_START,  /* at the start of a stream, or the end of an input */
    SKY_READ_PLAIN,
    SKY_READ_SHARD,
    SKY_READ_RESYNC, /* damage: find the next block, once everything before it was handed out */
    SKY_READ_DONE,
};

/* One thing found in a shard, in order: what it is worth is known after sky_decode. */
typedef struct {
    int kind;            /* 'S' new shard, 'R', 'E', 'T', or '!' damage already described in err */
    const char *name;    /* of the input, for messages */
    const sky_limits *lim;
    sky_codec *codec;
    sky_pile *pile;      /* NULL: plain allocation */
    char *const *select; /* names of the fields wanted; NULL: all */
    uint64_t at;         /* of the lead, in the input */
    uint64_t frames_at;  /* of the first frame */
    sky_lead lead;
    sky_in *in;          /* the frames are still there, a share of the input; or NULL, and they are in ... */
    uint8_t *packed;     /* ... the line's and those of the fields wanted, one after another: npacked bytes, ... */
    uint64_t npacked;
    uint64_t used;       /* ... of which so many were decompressed */
    uint64_t weight;
    int check_all;
    int parsed;          /* the line is done (a selection of fields needs it first) */
    uint32_t crc[SKY_MAX_FIELDS];
    uint32_t line_crc;
    uint64_t hash;
    sky_sample s;
    sky_totals end;      /* E, T */
    uint64_t costs;      /* '!': records that are lost by it, as far as known */
    int rc;
    sky_err err;
} sky_found;

struct sky_reader {
    sky_limits lim;
    char **path;
    int npaths, ipath;
    sky_in *in;             /* path[ipath - 1], or NULL between inputs */
    json_t *schema;
    char **select;          /* NULL-terminated; NULL: all */
    int salvage, started, threads, check_all;
    enum sky_read_mode mode;
    int sticky;
    sky_err sticky_err;
    sky_buf line;
    uint64_t costs;         /* records that the last error cost */
    uint64_t done_bytes, total_bytes, count, sum;
    const char *name;       /* of the input the last sample came from */

    sky_totals seen;        /* of the current stream, as handed out */
    int named;              /* the message about a plain record is complete */
    int fresh;              /* a plain stream has begun, none of its records was read */
    int damaged;            /* something of the current stream was lost: END cannot agree */

    /* shards: the producer's side, ahead of what is handed out */
    sky_found *held;        /* found while opening: the queue starts with the first next, when its threads are known */
    sky_queue *queue;
    sky_codec *codec;
    sky_pile *pile;         /* blocks of samples that the caller gave back, and of packed frames */
    uint64_t inflight;
    uint64_t shard_at;      /* start of the shard in this input */
    uint64_t tag, expect;   /* expect: next record number */
    uint64_t last_at;       /* lead of the last record found ... */
    uint64_t bad_at;        /* ... and of the last one that turned out damaged */
    uint64_t resync_at;
    uint64_t end_at, index_at, indexed;
    sky_shard *index;       /* of input index_of, opened only to name a record whose lead is damaged */
    int index_of;
    int in_shard, have_tag, ended; /* ended: END was seen */
    int lost;               /* damage was reported since the last good block */
    int shard_damaged;      /* damage was reported in this shard */
};

#define SKY_INFLIGHT ((uint64_t)256 << 20)

const char *sky_reader_input(const sky_reader *r); /* name of the input being read, which may be ahead of the caller */
/* Append " (byte N)". Returns the code set. */
int sky_at_byte(sky_err *e, uint64_t at);
int sky_stick(sky_reader *r, int rc, const sky_err *e);
int sky_wanted(char *const *select /* NULL: every field */, const char *field);
/* SKY_ECORRUPT when it is known that fewer than n bytes are left. */
int sky_bytes_left(const sky_in *in, uint64_t n, const char *what, sky_err *e) SKY_MUST_USE;
/* n bytes into memory (padded to 64; a block of the pile, if there is one) that grows as they arrive when the input's size is unknown. */
int sky_read_bytes(sky_in *in, sky_pile *pile /* NULL: none */, uint8_t **p, uint64_t n, const char *what, sky_err *e) SKY_MUST_USE;

/* plain_read.c: the schema at the current position, which starts a stream; then 1 a sample, 0 the stream has ended or an optional
 * record was skipped, or an error, which sticks */
int sky_plain_begin(sky_reader *r, json_t **schema, sky_err *e) SKY_MUST_USE;
int sky_plain_next(sky_reader *r, sky_sample *s, sky_err *e) SKY_MUST_USE;

/* shard_read.c */
int sky_shard_produce(sky_reader *r, sky_err *e) SKY_MUST_USE; /* find one thing and put it on the queue */
int sky_shard_resync(sky_reader *r, sky_err *e) SKY_MUST_USE;
int sky_shard_begin(sky_reader *r, json_t **schema, sky_err *e) SKY_MUST_USE; /* the S block and its line at the current position */
int sky_enqueue(sky_reader *r, sky_found *f, sky_err *e) SKY_MUST_USE; /* takes f */
int sky_report(sky_reader *r, uint64_t resync_at /* UINT64_MAX: go on */, uint64_t costs /* records */, const sky_err *why, sky_err *e) SKY_MUST_USE;
json_t *sky_schema_from_copy(sky_in *in, const sky_limits *lim);  /* NULL: none found */

/* shard_random.c: id of record `number` of the shard at byte `base`; borrowed, NULL when unknown */
const char *sky_shard_id_at(const sky_shard *s, uint64_t base, uint64_t number);

/* decode.c */
sky_found *sky_found_new(sky_reader *r, int kind);
void sky_found_free(sky_found *f);
int sky_decode_line(sky_found *f, sky_err *e) SKY_MUST_USE;
void sky_decode(void *found);

#endif
