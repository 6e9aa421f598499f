/* The content of an index block: any bytes, compressed and sealed properly, in front of a proper trailer. */
#include "fuzz_fix.h"
#include "base/mem.h"
#include "format/block_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static size_t schema_copy(uint8_t *q, uint64_t tag)
{
    sky_buf line = {0};
    sky_err e;
    if (sky_schema_print(&line, NULL, &e))
        abort();
    memcpy(q + SKY_BLOCK_HEAD, line.p, line.n);
    sky_block b = {.kind = 'C', .flags = SKY_BLOCK_OPTIONAL, .size = (uint32_t)(SKY_BLOCK_HEAD + line.n), .tag = tag};
    sky_block_seal(q, &b);
    sky_buf_free(&line);
    return b.size;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const sky_limits small = {1 << 16, 1 << 20, 1 << 21};
    enum { TAG = 7, BODY = 4096 }; /* room for records that are not there */
    sky_codec *c;
    sky_err e;
    sky_frame f;
    if (n < 1 || n > 60000 || sky_codec_open(&c, 1, &e))
        return 0;
    uint64_t count = p[0];
    size_t cap = BODY + 1024 + sky_frame_bound(n) + SKY_TRAILER_BYTES, at = BODY;
    uint8_t *q = calloc(1, cap);
    if (!q)
        abort();
    at += schema_copy(q + at, TAG);
    uint8_t *block = q + at;
    if (sky_frame_pack(c, &f, block + SKY_INDEX_HEAD, p + 1, n - 1, &e))
        abort();
    sky_codec_close(c);
    sky_put_le(block + 40, count, 8);
    sky_put_le(block + 48, n - 1, 8);
    sky_block b = {.kind = 'I', .size = (uint32_t)(SKY_INDEX_HEAD + f.csize), .tag = TAG};
    sky_block_seal(block, &b);
    at += b.size;
    sky_trailer t = {.b = {.tag = TAG, .number = count}, .end_at = BODY - 1, .index_at = BODY, .index_bytes = at - BODY,
                     .shard_bytes = at + SKY_TRAILER_BYTES};
    sky_trailer_write(q + at, &t);
    fuzz_by_index(q, at + SKY_TRAILER_BYTES, &small);
    free(q);
    return 0;
}
