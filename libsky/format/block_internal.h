/* block_internal.h -- the skippable frames of a shard (sky-shard(5), "Blocks"): leads, index, trailer. Not for tools.
 *
 *   0 u32 magic   4 u32 bytes after this   8 sync[8]   16 u8 kind   17 u8 version   18 u16 flags   20 u32 crc32c
 *  24 u64 tag    32 u64 number            40 ...by kind
 * crc32c covers the whole block with its own four bytes taken as zero. */
#ifndef SKY_FORMAT_BLOCK_INTERNAL_H
#define SKY_FORMAT_BLOCK_INTERNAL_H

#include "format/record_internal.h"

#define SKY_BLOCK_MAGIC 0x184D2A53u
#define SKY_ZSTD_MAGIC 0xFD2FB528u
enum {
    SKY_BLOCK_HEAD = 40,
    SKY_LEAD_HEAD = 56,
    SKY_INDEX_HEAD = 56,
    SKY_TRAILER_BYTES = 96,
    SKY_LEAD_FRAME = 20,                                                       /* per frame: u64 csize, u64 size, u32 crc */
    SKY_LEAD_MAX = SKY_LEAD_HEAD + SKY_LEAD_FRAME * (SKY_MAX_FIELDS + 1) + 255, /* largest S, R, E or O block */
    SKY_INDEX_MAX = 64 << 20,                                                  /* largest I block */
};
enum { SKY_BLOCK_OPTIONAL = 1 }; /* flags; the other 15 bits are reserved and must be 0 */
/* kinds: 'S' schema, 'R' sample record, 'E' end, 'I' index, 'T' trailer; a reader skips others marked optional */

typedef struct {
    uint8_t kind;
    uint16_t flags;
    uint32_t size;   /* whole block */
    uint64_t tag;    /* first 8 bytes of the SHA-256 of the schema line: tells shards apart */
    uint64_t number; /* R: record number; E: count; I: first record; T: count */
} sky_block;

typedef struct {
    uint64_t csize, size; /* compressed; content */
    uint32_t crc;         /* CRC32C of the compressed bytes */
} sky_frame;

typedef struct {
    sky_block b;
    uint64_t body; /* sum of csize */
    int nframes;
    sky_frame frame[SKY_MAX_FIELDS + 1];
    char id[256];
} sky_lead;

typedef struct {
    sky_block b;
    uint64_t index_at, index_bytes, shard_bytes, sum, end_at; /* positions from the start of the shard */
} sky_trailer;

/* Is p (>= 16 bytes) the start of one of our blocks? */
int sky_block_is(const uint8_t *p);
/* The common part, from the first SKY_BLOCK_HEAD bytes: magic, sync, size within the kind's limit. Not the checksum. */
int sky_block_head(sky_block *b, const uint8_t *p, sky_err *e) SKY_MUST_USE;
/* The checksum, version and flags of the whole block at p. */
int sky_block_check(const sky_block *b, const uint8_t *p, sky_err *e) SKY_MUST_USE;
void sky_block_seal(uint8_t *p, const sky_block *b); /* write the common part and the checksum; b->size bytes at p */

size_t sky_lead_size(const sky_lead *l);
void sky_lead_write(uint8_t *p, sky_lead *l);
int sky_lead_parse(sky_lead *l, const uint8_t *p, const sky_limits *lim, sky_err *e) SKY_MUST_USE; /* after sky_block_check */
void sky_trailer_write(uint8_t p[SKY_TRAILER_BYTES], sky_trailer *t);
int sky_trailer_parse(sky_trailer *t, const uint8_t *p, sky_err *e) SKY_MUST_USE;

/* ---- zstd, one frame at a time ----------------------------------------------------------------------------- */

/* Decompress one frame of f->csize bytes at p into f->size bytes at dst (checked against the lead before). */
typedef struct sky_codec sky_codec; /* a small set of zstd contexts, taken and given back by threads */
int sky_codec_open(sky_codec **out, int level /* 0: decompression */, sky_err *e) SKY_MUST_USE;
void sky_codec_close(sky_codec *c);
int sky_frame_unpack(sky_codec *c, void *dst, const sky_frame *f, const void *p, sky_err *e) SKY_MUST_USE;
/* The same from byte `at` of seekable input, where the frame was found to fit; any thread. */
int sky_frame_read(sky_codec *c, void *dst, const sky_frame *f, const sky_in *in, uint64_t at, sky_err *e) SKY_MUST_USE;
size_t sky_frame_bound(uint64_t n);
/* Compress n bytes into dst (sky_frame_bound(n) bytes there); fills f. */
int sky_frame_pack(sky_codec *c, sky_frame *f, void *dst, const void *p, uint64_t n, sky_err *e) SKY_MUST_USE;

/* Records in work: twice the threads, and more of them while they are small (see sky_queue_get); never more than fit. */
#define SKY_QUEUE_SLOTS 4096
#define SKY_QUEUE_SMALL ((uint64_t)4 << 20) /* bytes */
static inline int sky_queue_wants_more(int pending, int threads, uint64_t bytes)
{
    return pending < 2 * threads || (bytes < SKY_QUEUE_SMALL && pending < SKY_QUEUE_SLOTS - 1);
}

/* ---- index ------------------------------------------------------------------------------------------------- */

/* The JSON of one index entry. */
int sky_index_entry(sky_buf *out, const sky_sample *s, sky_err *e) SKY_MUST_USE;

typedef struct {
    uint64_t at, bytes;  /* of the record: its lead, from the start of the shard; lead and frames together */
    uint64_t key;        /* FNV-1a of the id */
    uint32_t text, ntext; /* its JSON in `text` */
} sky_index_row;

/* One index block: rows and their texts. */
typedef struct {
    sky_index_row *row;
    uint64_t n, first;
    size_t cap;
    sky_buf text;
} sky_index_part;
void sky_index_part_free(sky_index_part *p);
int sky_index_part_add(sky_index_part *p, uint64_t at, uint64_t bytes, const char *id, const char *text, size_t ntext, sky_err *e) SKY_MUST_USE;
int sky_index_part_full(const sky_index_part *p);
/* The whole block, sky_free it. */
int sky_index_part_pack(const sky_index_part *p, uint64_t tag, uint8_t **block, size_t *n, sky_err *e) SKY_MUST_USE;
int sky_index_part_unpack(sky_index_part *p, const uint8_t *block, const sky_block *b, sky_err *e) SKY_MUST_USE; /* after sky_block_check */

#endif
