/* Items side by side, in the layout the networks take. */
#include "base/mem.h"
#include "data/finetune.h"
#include "data/incontext_internal.h"

#include <string.h>

/* ---- in-context ------------------------------------------------------------------------------------------------------ */

struct owned { /* what sky_pp_host hides: s2 and s1 keep their memory while no item has them */
    sky_pp_host b;
    float *s2, *s1;
};

int sky_pp_host_open(sky_pp_host **out, const sky_incontext *s, int n, sky_err *e)
{
    const int side = s->o.side, s2_channels = s->o.s2_channels, s1_channels = s->o.s1_channels;
    struct owned *o = sky_calloc(1, sizeof *o);
    if (!o)
        return sky_fail(e, SKY_ENOMEM, "out of memory for a batch");
    sky_pp_host *b = &o->b;
    const size_t px = 2 * (size_t)side * (size_t)side * (size_t)n, cells = px / (32 * 32);
    b->h = 2 * side, b->w = side, b->s2_channels = s2_channels, b->s1_channels = s1_channels;
    b->hr = sky_alloc(px * 3 * sizeof *b->hr);
    o->s2 = sky_alloc(cells * (size_t)s2_channels * sizeof *o->s2);
    o->s1 = sky_alloc(cells * (size_t)s1_channels * sizeof *o->s1);
    b->labels = sky_alloc(px);
    b->annotation = s->o.sparse > 0 ? sky_alloc(px) : NULL;
    b->anno_mask = sky_alloc(px / (128 * 128));
    b->flags = sky_alloc(3 * (size_t)n);
    b->id = sky_alloc((size_t)n * sizeof *b->id);
    if (!b->hr || !o->s2 || !o->s1 || !b->labels || (s->o.sparse > 0 && !b->annotation) || !b->anno_mask || !b->flags || !b->id) {
        sky_pp_host_close(b);
        return sky_fail(e, SKY_ENOMEM, "out of memory for a batch of %d canvases of side %d", n, side);
    }
    *out = b;
    return SKY_OK;
}

void sky_pp_host_close(sky_pp_host *b)
{
    struct owned *o = (struct owned *)b;
    if (!b)
        return;
    sky_free(b->hr), sky_free(o->s2), sky_free(o->s1), sky_free(b->labels), sky_free(b->annotation), sky_free(b->anno_mask), sky_free(b->flags), sky_free(b->id);
    sky_free(o);
}

void sky_pp_host_fill(sky_pp_host *b, sky_incontext_item *const *it, int n)
{
    struct owned *o = (struct owned *)b;
    const size_t px = (size_t)b->h * (size_t)b->w, cells = px / (32 * 32), n2 = cells * (size_t)b->s2_channels, n1 = cells * (size_t)b->s1_channels;
    int has2 = 0, has1 = 0;
    b->n = n;
    for (size_t i = 0; i < (size_t)n; i++) {
        memcpy(b->hr + i * px * 3, it[i]->hr, px * 3 * sizeof *b->hr);
        memcpy(b->labels + i * px, it[i]->labels, px);
        if (b->annotation)
            memcpy(b->annotation + i * px, it[i]->annotation, px);
        memcpy(b->anno_mask + i * (px / (128 * 128)), it[i]->anno_mask, px / (128 * 128));
        memcpy(b->flags + 3 * i, it[i]->flags, 3);
        b->id[i] = it[i]->id;
        if (n2)
            memcpy(o->s2 + i * n2, it[i]->s2, n2 * sizeof *o->s2);
        if (n1)
            memcpy(o->s1 + i * n1, it[i]->s1, n1 * sizeof *o->s1);
        has2 |= it[i]->flags[1];
        has1 |= it[i]->flags[2];
    }
    b->s2 = has2 ? o->s2 : NULL;
    b->s1 = has1 ? o->s1 : NULL;
}

/* ---- segmentation ----------------------------------------------------------------------------------------------------- */

static int grow(sky_seg_host *b, size_t values, size_t pixels, size_t n, sky_err *e)
{
    if (values > b->room || pixels > b->label_room || n > b->id_room) {
        sky_seg_host_free(b);
        b->img = sky_alloc(values * sizeof *b->img);
        b->labels = sky_alloc(pixels);
        b->id = sky_alloc(n * sizeof *b->id);
        if (!b->img || !b->labels || !b->id) {
            sky_seg_host_free(b);
            return sky_fail(e, SKY_ENOMEM, "out of memory for a batch of %zu samples", n);
        }
        b->room = values, b->label_room = pixels, b->id_room = n;
    }
    return SKY_OK;
}

int sky_seg_host_fill(sky_seg_host *b, sky_finetune_item *const *it, int n, sky_err *e)
{
    const sky_finetune_item *f = it[0];
    const size_t px = (size_t)f->h * (size_t)f->w, values = px * (size_t)f->t * (size_t)f->c;
    for (int i = 1; i < n; i++)
        if (it[i]->t != f->t || it[i]->h != f->h || it[i]->w != f->w || it[i]->c != f->c)
            return sky_fail(e, SKY_ECORRUPT, "sample '%s' is %d x %d, '%s' of the same batch %d x %d", it[i]->name, it[i]->w, it[i]->h, f->name, f->w, f->h);
    int rc = grow(b, values * (size_t)n, px * (size_t)n, (size_t)n, e);
    if (rc)
        return rc;
    b->n = n, b->t = f->t, b->h = f->h, b->w = f->w, b->c = f->c;
    for (size_t i = 0; i < (size_t)n; i++) {
        memcpy(b->img + i * values, it[i]->img, values * sizeof *b->img);
        memcpy(b->labels + i * px, it[i]->labels, px);
        b->id[i] = it[i]->id;
    }
    return SKY_OK;
}

void sky_seg_host_free(sky_seg_host *b)
{
    sky_free(b->img), sky_free(b->labels), sky_free(b->id);
    *b = (sky_seg_host){0};
}
