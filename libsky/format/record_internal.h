/* record_internal.h -- the line of JSON that every record starts with (sky-shard(5), "Records"). Shared by the plain
 * and the shard spelling; not for tools.
 *
 * A line is  {"sky":"XXXXXXXX","KIND":{...}} spaces \n , a multiple of 64 bytes long. XXXXXXXX is the CRC32C of every
 * byte after it, from the closing quote to the newline. */
#ifndef SKY_FORMAT_RECORD_INTERNAL_H
#define SKY_FORMAT_RECORD_INTERNAL_H

#include "base/mem.h"
#include "format/sample.h"
#include "format/stream.h"

#define SKY_ALIGN 64
#define SKY_LINE_HEAD 16 /* {"sky":"XXXXXXXX */
#define SKY_FORMAT_VERSION 1

static inline uint64_t sky_round64(uint64_t n) { return (n + (SKY_ALIGN - 1)) & ~(uint64_t)(SKY_ALIGN - 1); }

int sky_name_check(const char *name, sky_err *e);          /* field names: [A-Za-z0-9_][A-Za-z0-9_.-]{0,62} */
int sky_shape_bytes(sky_dtype t, int ndim, const uint64_t *shape, uint64_t *bytes, sky_err *e);

/* The value of "sample": id, meta and field descriptions, one CRC32C per inline field (in field order) in crc. */
int sky_body_print(sky_buf *b, const sky_sample *s, const uint32_t *crc, sky_err *e) SKY_MUST_USE;
void sky_field_crcs(const sky_sample *s, uint32_t *crc); /* 0 for fields without bytes */
uint64_t sky_body_hash(const char *body, size_t n);      /* first 8 bytes of its SHA-256, little-endian */
/* Put prefix, checksum and padding around a body. */
int sky_line_print(sky_buf *b, const char *kind, const char *body, size_t n, sky_err *e) SKY_MUST_USE;

typedef struct {
    char kind[32];
    const char *body; /* inside the line given */
    size_t nbody;
    uint32_t crc;     /* of the line: what END's "order" chains */
} sky_line;
/* Check a whole line (length, padding, checksum) and find its parts. Does not parse the body. */
int sky_line_check(sky_line *l, const char *p, size_t n, sky_err *e) SKY_MUST_USE;

/* A sample body into s: fields with nbytes, ref or absent set, no data. crc (SKY_MAX_FIELDS entries): as stored. */
int sky_body_parse(sky_sample *s, uint32_t *crc, const char *body, size_t n, const sky_limits *lim, sky_err *e) SKY_MUST_USE;
static inline int sky_field_inline(const sky_field *f) { return !f->absent && !f->ref; }

typedef struct {
    uint64_t count, sum;
    uint32_t order; /* CRC32C over the little-endian line checksums of all samples, in order */
} sky_totals;
void sky_totals_add(sky_totals *t, uint32_t line_crc, uint64_t hash);
int sky_end_print(sky_buf *line, const sky_totals *t, sky_err *e) SKY_MUST_USE;
int sky_end_parse(sky_totals *t, const char *body, size_t n, sky_err *e) SKY_MUST_USE;
/* Compare END with what was read. */
int sky_end_compare(const sky_totals *end, const sky_totals *seen, sky_err *e) SKY_MUST_USE;

int sky_schema_print(sky_buf *line, const json_t *schema, sky_err *e) SKY_MUST_USE;
int sky_schema_parse(json_t **schema, const char *body, size_t n, sky_err *e) SKY_MUST_USE;
/* Field definitions of b must not contradict those of a; provenance entries of b that a lacks are appended to a. */
int sky_schema_merge(json_t *a, const json_t *b, sky_err *e) SKY_MUST_USE;

#endif
