/* write_internal.h -- one record encoded (any thread), one file written (in order). Not for tools. */
#ifndef SKY_FORMAT_WRITE_INTERNAL_H
#define SKY_FORMAT_WRITE_INTERNAL_H

#include "base/threads.h"
#include "format/block_internal.h"
#include "format/pile.h"

typedef struct {
    sky_sample s;       /* plain: kept until written; shard: freed once compressed */
    sky_codec *codec;   /* NULL: plain */
    sky_pile *pile;     /* packed comes from here and goes back; NULL: plain */
    uint64_t weight;    /* bytes it holds in memory, about */
    sky_buf line, entry;
    uint32_t line_crc;
    uint64_t hash;
    sky_lead lead;      /* frames filled; number and tag are given when it is written */
    uint8_t *packed;    /* the frames, one after another: lead.body bytes, room for npacked */
    uint64_t npacked;
    int rc;
    sky_err err;
} sky_encoded;

sky_encoded *sky_encoded_new(sky_sample *s, sky_codec *codec, sky_pile *pile); /* takes s; NULL: memory, s untouched */
void sky_encoded_free(sky_encoded *r);
void sky_encode(void *encoded); /* fills the rest; sets rc and err */

typedef struct sky_file sky_file;
int sky_file_open(sky_file **out, const char *path, sky_spelling sp, const sky_buf *schema, sky_codec *codec, sky_err *e) SKY_MUST_USE;
int sky_file_put(sky_file *f, sky_encoded *r, sky_err *e) SKY_MUST_USE;
uint64_t sky_file_count(const sky_file *f);
uint64_t sky_file_size(const sky_file *f);
uint64_t sky_file_size_with(const sky_file *f, const sky_encoded *r); /* if r were put and the file closed, about */
int sky_file_close(sky_file *f, sky_codec *codec, uint64_t *bytes /* += */, sky_err *e) SKY_MUST_USE; /* f is freed either way */
void sky_file_abort(sky_file *f);

#endif
