/* decode.c -- from the compressed frames of one record to a sample; runs on any thread. */
#include "format/read_internal.h"
#include "base/hash.h"

#include <inttypes.h>
#include <string.h>

enum { SMALL = 1 << 16 };

sky_found *sky_found_new(sky_reader *r, int kind)
{
    sky_found *f = sky_calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->kind = kind;
    f->name = sky_reader_input(r);
    f->lim = &r->lim;
    f->codec = r->codec;
    f->check_all = r->check_all;
    f->pile = r->pile;
    f->select = r->select;
    f->weight = sizeof *f;
    return f;
}

static void drop_packed(sky_found *f)
{
    if (f->pile)
        sky_pile_give(f->pile, f->packed, f->npacked);
    else
        sky_free(f->packed);
}

void sky_found_free(sky_found *f)
{
    if (!f)
        return;
    drop_packed(f);
    sky_in_close(f->in);
    sky_sample_free(&f->s);
    sky_free(f);
}

/* Frame k, which lies at byte `at` of the input. From memory the frames come in order. */
static int unpack_frame(sky_found *f, void *dst, int k, uint64_t at, sky_err *e)
{
    const sky_frame *z = &f->lead.frame[k];
    if (f->in)
        return sky_frame_read(f->codec, dst, z, f->in, at, e);
    int rc = sky_frame_unpack(f->codec, dst, z, f->packed + f->used, e);
    f->used += z->csize;
    return rc;
}

static int unpack_line(sky_found *f, uint8_t **line, sky_line *l, sky_err *e)
{
    const sky_frame *z = &f->lead.frame[0];
    if (!(*line = sky_alloc(z->size)))
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    int rc = unpack_frame(f, *line, 0, f->frames_at, e);
    return rc ? rc : sky_line_check(l, (const char *)*line, z->size, e);
}

/* The frames must be those that the line speaks of. */
static int match_frames(const sky_found *f, sky_err *e)
{
    int k = 1;
    if (strcmp(f->s.id, f->lead.id))
        return sky_fail(e, SKY_ECORRUPT, "the lead says '%s', the record '%s'", f->lead.id, f->s.id);
    for (int i = 0; i < f->s.nfields; i++) {
        const sky_field *v = &f->s.fields[i];
        if (!sky_field_inline(v))
            continue;
        if (k >= f->lead.nframes || f->lead.frame[k].size != sky_round64(v->nbytes))
            return sky_fail(e, SKY_ECORRUPT, "field '%s': %" PRIu64 " bytes, but frame %d holds %" PRIu64, v->name, v->nbytes, k,
                            k < f->lead.nframes ? f->lead.frame[k].size : 0);
        k++;
    }
    if (k != f->lead.nframes)
        return sky_fail(e, SKY_ECORRUPT, "%d frames for %d inline fields", f->lead.nframes - 1, k - 1);
    return SKY_OK;
}

int sky_decode_line(sky_found *f, sky_err *e)
{
    uint8_t *line = NULL;
    sky_line l;
    int rc = unpack_line(f, &line, &l, e);
    const char *want = f->kind == 'R' ? "sample" : f->kind == 'E' ? "end" : "schema";
    if (!rc && strcmp(l.kind, want))
        rc = sky_fail(e, SKY_ECORRUPT, "a line of kind '%s' where '%s' was announced", l.kind, want);
    if (!rc && f->kind == 'E')
        rc = sky_end_parse(&f->end, l.body, l.nbody, e);
    if (!rc && f->kind == 'R')
        rc = sky_body_parse(&f->s, f->crc, l.body, l.nbody, f->lim, e);
    if (!rc && f->kind == 'R') {
        f->line_crc = l.crc;
        f->hash = sky_body_hash(l.body, l.nbody);
        rc = match_frames(f, e);
    }
    sky_free(line);
    f->parsed = 1;
    return rc;
}

static int padding_is_zero(const uint8_t *p, uint64_t n, uint64_t padded)
{
    for (; n < padded; n++)
        if (p[n])
            return 0;
    return 1;
}

static int contents_agree(const void *p, uint64_t n, uint32_t want, sky_err *e)
{
    uint32_t got = sky_crc32c(0, p, n);
    return got == want ? SKY_OK : sky_fail(e, SKY_ECORRUPT, "contents: crc32c %08" PRIx32 ", the record says %08" PRIx32, got, want);
}

static int unpack_field(sky_found *f, sky_field *v, int k, uint64_t at, sky_err *e)
{
    const sky_frame *z = &f->lead.frame[k];
    uint8_t *p = f->pile ? sky_pile_take(f->pile, z->size) : sky_alloc(z->size);
    if (!p)
        return sky_fail(e, SKY_ENOMEM, "no memory for %" PRIu64 " bytes", z->size);
    int rc = unpack_frame(f, p, k, at, e);
    if (!rc && !padding_is_zero(p, v->nbytes, z->size))
        rc = sky_fail(e, SKY_ECORRUPT, "padding is not zero");
    if (!rc && f->check_all)
        rc = contents_agree(p, v->nbytes, f->crc[v - f->s.fields], e);
    if (rc)
        sky_free(p);
    else
        v->data = p;
    return rc;
}

/* Small records are read in one piece: three calls to the system cost as much as decompressing 10 kB. */
static int fetch_small(sky_found *f, sky_err *e)
{
    uint64_t n = f->lead.body;
    if (!f->in || f->select || n > SMALL)
        return SKY_OK;
    if (!(f->packed = sky_alloc(n)))
        return sky_fail(e, SKY_ENOMEM, "no memory for %" PRIu64 " bytes", n);
    int rc = sky_in_pread(f->in, f->packed, n, f->frames_at, e);
    sky_in_close(f->in);
    f->in = NULL;
    return rc;
}

static int unpack_fields(sky_found *f, sky_err *e)
{
    uint64_t at = f->frames_at + f->lead.frame[0].csize;
    for (int i = 0, k = 1; i < f->s.nfields; i++) {
        sky_field *v = &f->s.fields[i];
        if (!sky_field_inline(v))
            continue;
        int rc = sky_wanted(f->select, v->name) ? unpack_field(f, v, k, at, e) : SKY_OK;
        if (rc) {
            sky_wrap(e, "field '%s'", v->name);
            return sky_at_byte(e, at);
        }
        at += f->lead.frame[k++].csize;
    }
    return SKY_OK;
}

void sky_decode(void *found)
{
    sky_found *f = found;
    if (f->kind != 'R' && f->kind != 'E')
        return;
    f->rc = f->rc ? f->rc : fetch_small(f, &f->err);
    if (!f->rc && !f->parsed && (f->rc = sky_decode_line(f, &f->err)))
        sky_at_byte(&f->err, f->frames_at);
    if (!f->rc && f->kind == 'R')
        f->rc = unpack_fields(f, &f->err);
    if (f->rc && f->kind == 'R')
        f->rc = sky_wrap(&f->err, "%s: record %" PRIu64 " '%s'", f->name, f->lead.b.number, f->lead.id);
    else if (f->rc)
        f->rc = sky_wrap(&f->err, "%s: end", f->name);
    if (f->s.id)
        f->s.seq = f->lead.b.number;
    drop_packed(f);
    f->packed = NULL;
    sky_in_close(f->in);
    f->in = NULL;
}
