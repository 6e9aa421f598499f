#include "format/write_internal.h"

#include <string.h>

sky_encoded *sky_encoded_new(sky_sample *s, sky_codec *codec, sky_pile *pile)
{
    sky_encoded *r = sky_calloc(1, sizeof *r);
    if (!r)
        return NULL;
    sky_sample_move(&r->s, s);
    r->codec = codec;
    r->pile = pile;
    r->weight = 16384;
    for (int i = 0; i < r->s.nfields; i++)
        r->weight += r->s.fields[i].nbytes;
    return r;
}

void sky_encoded_free(sky_encoded *r)
{
    if (!r)
        return;
    sky_sample_free(&r->s);
    sky_buf_free(&r->line);
    sky_buf_free(&r->entry);
    if (r->packed)
        sky_pile_give(r->pile, r->packed, r->npacked);
    sky_free(r);
}

static int make_line(sky_encoded *r, sky_err *e)
{
    uint32_t crc[SKY_MAX_FIELDS];
    sky_buf body = {0};
    sky_line l;
    sky_field_crcs(&r->s, crc);
    int rc = sky_body_print(&body, &r->s, crc, e);
    if (!rc)
        rc = sky_line_print(&r->line, "sample", body.p, body.n, e);
    if (!rc)
        rc = sky_line_check(&l, r->line.p, r->line.n, e);
    if (!rc) {
        r->line_crc = l.crc;
        r->hash = sky_body_hash(body.p, body.n);
    }
    sky_buf_free(&body);
    return rc;
}

/* A field's frame holds its bytes and the zeros up to the next multiple of 64. */
static int pack_field(sky_encoded *r, sky_frame *f, uint8_t *dst, const sky_field *v, sky_err *e)
{
    uint64_t padded = sky_round64(v->nbytes);
    if (padded == v->nbytes)
        return sky_frame_pack(r->codec, f, dst, v->data, padded, e);
    uint8_t *tmp = sky_alloc(padded);
    if (!tmp)
        return sky_fail(e, SKY_ENOMEM, "field '%s': out of memory", v->name);
    memcpy(tmp, v->data, v->nbytes);
    memset(tmp + v->nbytes, 0, padded - v->nbytes);
    int rc = sky_frame_pack(r->codec, f, dst, tmp, padded, e);
    sky_free(tmp);
    return rc;
}

static int pack_frames(sky_encoded *r, sky_err *e)
{
    uint64_t bound = sky_frame_bound(r->line.n), at;
    for (int i = 0; i < r->s.nfields; i++)
        if (sky_field_inline(&r->s.fields[i]))
            bound += sky_frame_bound(sky_round64(r->s.fields[i].nbytes));
    sky_lead *l = &r->lead;
    l->b.kind = 'R';
    strcpy(l->id, r->s.id); /* its length was checked with the line */
    if (!(r->packed = sky_pile_take(r->pile, bound)))
        return sky_fail(e, SKY_ENOMEM, "no memory for %llu bytes", (unsigned long long)bound);
    r->npacked = bound;
    int rc = sky_frame_pack(r->codec, &l->frame[0], r->packed, r->line.p, r->line.n, e);
    l->nframes = 1;
    at = l->frame[0].csize;
    for (int i = 0; i < r->s.nfields && !rc; i++) {
        if (!sky_field_inline(&r->s.fields[i]))
            continue;
        sky_frame *f = &l->frame[l->nframes];
        rc = pack_field(r, f, r->packed + at, &r->s.fields[i], e);
        if (!rc)
            at += f->csize, l->nframes++;
    }
    l->body = at;
    return rc;
}

void sky_encode(void *encoded)
{
    sky_encoded *r = encoded;
    r->rc = make_line(r, &r->err);
    if (r->rc || !r->codec)
        return;
    r->rc = sky_index_entry(&r->entry, &r->s, &r->err);
    if (!r->rc && (r->rc = pack_frames(r, &r->err)))
        r->rc = sky_wrap(&r->err, "sample '%s'", r->s.id);
    sky_sample_free(&r->s);
}
