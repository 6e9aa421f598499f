#include "format/block_internal.h"
#include "base/hash.h"
#include "base/io.h"

#include <inttypes.h>
#include <string.h>

/* Not ASCII, CR LF, ^Z: transfers that change line ends or cut the eighth bit are seen at once (as in PNG). */
static const uint8_t sync_word[8] = {0x93, 'S', 'K', 'Y', 0x0d, 0x0a, 0x1a, 0xd7};

static uint64_t le(const uint8_t *p, int n)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

int sky_block_is(const uint8_t *p) { return le(p, 4) == SKY_BLOCK_MAGIC && !memcmp(p + 8, sync_word, 8); }

static uint32_t size_limit(uint8_t kind)
{
    if (kind == 'I')
        return SKY_INDEX_MAX;
    return kind == 'S' || kind == 'R' || kind == 'E' ? SKY_LEAD_MAX : kind == 'T' ? SKY_TRAILER_BYTES : SKY_INDEX_MAX;
}

int sky_block_head(sky_block *b, const uint8_t *p, sky_err *e)
{
    if (le(p, 4) != SKY_BLOCK_MAGIC)
        return sky_fail(e, SKY_ECORRUPT, "magic %08" PRIx64 " found, %08x (a sky block) expected", le(p, 4), SKY_BLOCK_MAGIC);
    if (memcmp(p + 8, sync_word, 8))
        return sky_fail(e, SKY_ECORRUPT, "sync word of a block is damaged");
    uint64_t size = le(p + 4, 4) + 8;
    b->kind = p[16];
    b->flags = (uint16_t)le(p + 18, 2);
    b->tag = le(p + 24, 8);
    b->number = le(p + 32, 8);
    if (size < SKY_BLOCK_HEAD || size > size_limit(b->kind))
        return sky_fail(e, SKY_ECORRUPT, "block of kind 0x%02x and %" PRIu64 " bytes (%d to %" PRIu32 " expected)", b->kind, size,
                        SKY_BLOCK_HEAD, size_limit(b->kind));
    b->size = (uint32_t)size;
    return SKY_OK;
}

static uint32_t block_crc(const uint8_t *p, size_t n)
{
    static const uint8_t zero[4];
    return sky_crc32c(sky_crc32c(sky_crc32c(0, p, 20), zero, 4), p + 24, n - 24);
}

int sky_block_check(const sky_block *b, const uint8_t *p, sky_err *e)
{
    uint32_t got = block_crc(p, b->size), want = (uint32_t)le(p + 20, 4);
    if (got != want)
        return sky_fail(e, SKY_ECORRUPT, "block header: crc32c %08" PRIx32 ", want %08" PRIx32, got, want);
    if (p[17] != SKY_FORMAT_VERSION)
        return sky_fail(e, SKY_EVERSION, "block version %d, this program reads %d", p[17], SKY_FORMAT_VERSION);
    if (b->flags & ~SKY_BLOCK_OPTIONAL)
        return sky_fail(e, SKY_EVERSION, "block flags 0x%04x: reserved bits are set", b->flags);
    return SKY_OK;
}

void sky_block_seal(uint8_t *p, const sky_block *b)
{
    sky_put_le(p, SKY_BLOCK_MAGIC, 4);
    sky_put_le(p + 4, b->size - 8, 4);
    memcpy(p + 8, sync_word, 8);
    p[16] = b->kind;
    p[17] = SKY_FORMAT_VERSION;
    sky_put_le(p + 18, b->flags, 2);
    sky_put_le(p + 24, b->tag, 8);
    sky_put_le(p + 32, b->number, 8);
    sky_put_le(p + 20, block_crc(p, b->size), 4);
}

/* ---- leads ---------------------------------------------------------------------------------------------------- */

size_t sky_lead_size(const sky_lead *l) { return SKY_LEAD_HEAD + (size_t)l->nframes * SKY_LEAD_FRAME + strlen(l->id); }

void sky_lead_write(uint8_t *p, sky_lead *l)
{
    l->b.size = (uint32_t)sky_lead_size(l);
    l->body = 0;
    for (int i = 0; i < l->nframes; i++)
        l->body += l->frame[i].csize;
    sky_put_le(p + 40, l->body, 8);
    sky_put_le(p + 48, (uint64_t)l->nframes, 2);
    sky_put_le(p + 50, strlen(l->id), 2);
    sky_put_le(p + 52, 0, 4);
    uint8_t *q = p + SKY_LEAD_HEAD;
    for (int i = 0; i < l->nframes; i++, q += SKY_LEAD_FRAME) {
        sky_put_le(q, l->frame[i].csize, 8);
        sky_put_le(q + 8, l->frame[i].size, 8);
        sky_put_le(q + 16, l->frame[i].crc, 4);
    }
    memcpy(q, l->id, strlen(l->id));
    sky_block_seal(p, &l->b);
}

/* No zstd block of 4 bytes can yield more than 128 KiB: a lead that claims more is refused before memory is taken. */
static int frame_sane(const sky_frame *f, int i, const sky_limits *lim, sky_err *e)
{
    uint64_t most = i ? sky_round64(lim->field_bytes) : sky_round64(lim->header_bytes);
    if (f->size > most)
        return sky_fail(e, SKY_ELIMIT, "frame %d: %" PRIu64 " bytes, above the limit of %" PRIu64, i, f->size, most);
    if (f->size % SKY_ALIGN || f->csize < 9 || f->csize > f->size + f->size / 8 + 4096 || f->size / 131072 > f->csize / 4)
        return sky_fail(e, SKY_ECORRUPT, "frame %d: %" PRIu64 " compressed bytes for %" PRIu64 " are impossible", i, f->csize, f->size);
    return SKY_OK;
}

int sky_lead_parse(sky_lead *l, const uint8_t *p, const sky_limits *lim, sky_err *e)
{
    sky_rd r = {p + SKY_BLOCK_HEAD, p + l->b.size, 0};
    l->body = sky_rd_le(&r, 8);
    l->nframes = (int)sky_rd_le(&r, 2);
    uint64_t nid = sky_rd_le(&r, 2), zero = sky_rd_le(&r, 4), sum = 0, content = 0;
    if (r.bad || zero || nid > 255 || l->nframes < 1 || l->nframes > SKY_MAX_FIELDS + 1)
        return sky_fail(e, SKY_ECORRUPT, "lead: %d frames, id of %" PRIu64 " bytes, reserved %" PRIx64, l->nframes, nid, zero);
    for (int i = 0; i < l->nframes; i++) {
        sky_frame *f = &l->frame[i];
        f->csize = sky_rd_le(&r, 8);
        f->size = sky_rd_le(&r, 8);
        f->crc = (uint32_t)sky_rd_le(&r, 4);
        int rc = r.bad ? SKY_OK : frame_sane(f, i, lim, e);
        if (rc)
            return rc;
        sum += f->csize; /* cannot overflow: every term is within frame_sane's limits */
        content += f->size;
    }
    const uint8_t *id = sky_rd_take(&r, nid);
    if (r.bad || r.p != r.end || sum != l->body)
        return sky_fail(e, SKY_ECORRUPT, "lead: sizes do not add up");
    if (content > lim->record_bytes + lim->header_bytes)
        return sky_fail(e, SKY_ELIMIT, "record of %" PRIu64 " bytes, above the limit of %" PRIu64, content, lim->record_bytes);
    memcpy(l->id, id, nid);
    l->id[nid] = 0;
    return l->b.kind == 'R' ? sky_id_check(l->id, nid, e) : SKY_OK;
}

/* ---- trailer -------------------------------------------------------------------------------------------------- */

void sky_trailer_write(uint8_t p[SKY_TRAILER_BYTES], sky_trailer *t)
{
    memset(p, 0, SKY_TRAILER_BYTES);
    t->b.kind = 'T';
    t->b.flags = 0;
    t->b.size = SKY_TRAILER_BYTES;
    sky_put_le(p + 40, t->index_at, 8);
    sky_put_le(p + 48, t->index_bytes, 8);
    sky_put_le(p + 56, t->shard_bytes, 8);
    sky_put_le(p + 64, t->sum, 8);
    sky_put_le(p + 72, t->end_at, 8);
    sky_block_seal(p, &t->b);
}

int sky_trailer_parse(sky_trailer *t, const uint8_t *p, sky_err *e)
{
    if (t->b.size != SKY_TRAILER_BYTES || le(p + 80, 8) || le(p + 88, 8))
        return sky_fail(e, SKY_ECORRUPT, "trailer: %" PRIu32 " bytes, or reserved bytes are not 0", t->b.size);
    t->index_at = le(p + 40, 8);
    t->index_bytes = le(p + 48, 8);
    t->shard_bytes = le(p + 56, 8);
    t->sum = le(p + 64, 8);
    t->end_at = le(p + 72, 8);
    uint64_t end;
    if (!sky_add_u64(t->index_at, t->index_bytes, &end) || !sky_add_u64(end, SKY_TRAILER_BYTES, &end) || end != t->shard_bytes ||
        t->end_at >= t->index_at)
        return sky_fail(e, SKY_ECORRUPT, "trailer: positions do not add up");
    return SKY_OK;
}
