/* One of the eight samples: its fields, and the window around a pixel of the class. */
#include "base/mem.h"
#include "data/incontext_internal.h"
#include "data/oneshot.h"

#include <math.h>
#include <string.h>

static const char *const s2_bands[] = {"B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12"};
static const char *const s1_bands[] = {"VV", "VH"};

void sky_context_part_free(sky_context_part *p)
{
    for (int i = 0; i < LAYERS; i++)
        sky_free(p->layer[i].px);
    sky_free(p->label);
}

const sky_incontext_set *sky_context_set(const sky_incontext *s, const char *dataset)
{
    for (int i = 0; i < s->o.nsets; i++)
        if (!strcmp(s->o.set[i].dataset, dataset))
            return &s->o.set[i];
    return NULL;
}

/* ---- windows ----------------------------------------------------------------------------------------------------------- */

typedef struct {
    int h[LAYERS], w[LAYERS]; /* 0: absent */
    int lh, lw;
    sky_rect layer[LAYERS], label;
} windows;

static int clip(int at, int n, int all) { return at > all - n ? all - n : at < 0 ? 0 : at; }
static int smaller(int a, int b) { return a < b ? a : b; }
static int floor_div(int a, int b) { return a / b - (a % b < 0); }

/* n x n at (y, x), clipped into h x w. */
static sky_rect square(int y, int x, int n, int h, int w)
{
    sky_rect r = {.h = smaller(n, h), .w = smaller(n, w)};
    r.y = clip(y, r.h, h);
    r.x = clip(x, r.w, w);
    return r;
}

/* HR of another size than the canvas part, with a label of the same size. The published sampler's rule: corner i = p - side/2;
 * HR and label start at i - i mod 32 + 16, the Sentinel fields at i div 32. */
static int snap(windows *v, const sky_incontext *s, int py, int px, sky_err *e)
{
    const int side = s->o.side, y = floor_div(py - side / 2, SKY_CELL), x0 = floor_div(px - side / 2, SKY_CELL);
    v->label = v->layer[LAYER_HR] = square(y * SKY_CELL + SKY_CELL / 2, x0 * SKY_CELL + SKY_CELL / 2, side, v->lh, v->lw);
    for (int i = LAYER_S2; i < LAYERS; i++) {
        if (!v->h[i])
            continue;
        if ((int64_t)v->h[i] * SKY_CELL != v->lh || (int64_t)v->w[i] * SKY_CELL != v->lw)
            return sky_fail(e, SKY_ECORRUPT, "field '%s' has %d x %d pixels, want 1/%d of the %d x %d of '%s'", s->field[i], v->w[i], v->h[i], SKY_CELL,
                            v->lw, v->lh, s->field[LAYER_HR]);
        v->layer[i] = square(y, x0, side / SKY_CELL, v->h[i], v->w[i]);
    }
    return SKY_OK;
}

/* Sentinel fields without HR: a window of side/32 pixels around the class, and the label's pixels on the same ground. */
static void sentinel_only(windows *v, const sky_incontext *s, int py, int px)
{
    const int cells = s->o.side / SKY_CELL, ref = v->h[LAYER_S2] ? LAYER_S2 : LAYER_S1, h = v->h[ref], w = v->w[ref];
    const sky_rect r = square((int)((int64_t)py * h / v->lh) - cells / 2, (int)((int64_t)px * w / v->lw) - cells / 2, cells, h, w);
    v->label = sky_rect_scale(r, h, w, v->lh, v->lw);
    for (int i = LAYER_S2; i < LAYERS; i++)
        if (v->h[i])
            v->layer[i] = sky_rect_scale(r, h, w, v->h[i], v->w[i]);
}

static int place(windows *v, const sky_incontext *s, const uint8_t *label, int cls, sky_draw *d, sky_err *e)
{
    const int side = s->o.side;
    const int64_t n = (int64_t)v->lh * v->lw;
    int64_t count = 0, i = -1;
    for (int64_t k = 0; k < n; k++)
        count += label[k] == cls;
    if (!count)
        return sky_fail(e, SKY_ECORRUPT, "no pixel of class %d, though the index has it", cls);
    for (int64_t left = (int64_t)sky_draw_below(d, (uint64_t)count) + 1; left; left -= label[i] == cls)
        i++;
    v->label = (sky_rect){0, 0, v->lh, v->lw};
    for (int k = 0; k < LAYERS; k++)
        v->layer[k] = (sky_rect){0, 0, v->h[k], v->w[k]};
    const int py = (int)(i / v->lw), px = (int)(i % v->lw);
    if (v->h[LAYER_HR]) {
        const int as_label = v->h[LAYER_HR] == v->lh && v->w[LAYER_HR] == v->lw;
        return as_label && (v->lh != side || v->lw != side) ? snap(v, s, py, px, e) : SKY_OK;
    }
    if (v->h[LAYER_S2] || v->h[LAYER_S1])
        sentinel_only(v, s, py, px);
    return SKY_OK;
}

/* ---- pixels ------------------------------------------------------------------------------------------------------------- */

static const sky_field *field_of(const sky_incontext *s, const sky_sample *x, int layer)
{
    const sky_field *f = s->field[layer] ? sky_sample_field(x, s->field[layer]) : NULL;
    return f && !f->absent ? f : NULL;
}

/* Display RGB by the rule of inference, so that a model sees the same colours there. */
static int read_rgb(sky_planes *out, const sky_incontext *s, const sky_field *f, sky_rect at, sky_err *e)
{
    uint8_t *rgb = NULL;
    int rc = sky_prep_rgb_window(&rgb, f, s->o.hr_bands, at.y, at.x, at.h, at.w, e);
    const size_t n = (size_t)at.h * (size_t)at.w;
    if (!rc && !(out->px = sky_alloc(3 * n * sizeof *out->px)))
        rc = sky_fail(e, SKY_ENOMEM, "field '%s': out of memory for %d x %d", f->name, at.w, at.h);
    if (!rc) {
        out->c = 3, out->h = at.h, out->w = at.w;
        for (int y = 0; y < at.h; y++)
            for (int x = 0; x < at.w; x++)
                for (int c = 0; c < 3; c++)
                    out->px[(size_t)c * n + (size_t)y * (size_t)at.w + (size_t)x] = rgb[3 * ((size_t)y * (size_t)at.w + (size_t)x) + (size_t)c];
    }
    sky_free(rgb);
    return rc;
}

/* flair-mm: `n` pixels around the sample's "centre", brought to the canvas part's size. */
static int read_around(sky_planes *out, const sky_incontext *s, const sky_sample *x, const sky_field *f, int date, const int *band, int layer, int n, sky_err *e)
{
    const json_t *centre = json_object_get(x->meta, "centre");
    const int cells = s->o.side / SKY_CELL;
    int h, w, rc = sky_planes_size(&h, &w, f, e);
    sky_planes p = {0};
    if (rc)
        return rc;
    if (json_array_size(centre) != 2 || !json_is_number(json_array_get(centre, 0)) || !json_is_number(json_array_get(centre, 1)))
        return sky_fail(e, SKY_ECORRUPT, "no \"centre\": [row, column] in the metadata");
    const int y = (int)json_number_value(json_array_get(centre, 0)), x0 = (int)json_number_value(json_array_get(centre, 1));
    rc = sky_planes_read(&p, f, date, band, s->channels[layer], square(y - n / 2, x0 - n / 2, n, h, w), e);
    if (!rc && !(out->px = sky_alloc((size_t)p.c * (size_t)cells * (size_t)cells * sizeof *out->px)))
        rc = sky_fail(e, SKY_ENOMEM, "out of memory");
    for (int c = 0; !rc && c < p.c; c++)
        rc = sky_plane_shrink(out->px + (size_t)c * (size_t)cells * (size_t)cells, cells, cells, p.px + (size_t)c * (size_t)p.h * (size_t)p.w, p.h, p.w, e);
    out->c = p.c, out->h = out->w = cells;
    sky_free(p.px);
    return rc;
}

static int read_sentinel(sky_planes *out, const sky_incontext *s, const sky_incontext_set *set, const sky_sample *x, int layer, sky_rect at, sky_draw *d, sky_err *e)
{
    enum { DATES = 1024 };
    const sky_field *f = field_of(s, x, layer);
    int date[DATES], band[10], n = sky_planes_dates(date, DATES, f);
    int rc = sky_planes_bands(band, f, layer == LAYER_S2 ? s2_bands : s1_bands, s->channels[layer], e);
    if (!rc && !n)
        rc = sky_fail(e, SKY_ECORRUPT, "field '%s': no time step is there", f->name);
    if (rc)
        return rc;
    const int t = date[sky_draw_below(d, (uint64_t)n)];
    return set && set->sentinel_window ? read_around(out, s, x, f, t, band, layer, set->sentinel_window, e) : sky_planes_read(out, f, t, band, s->channels[layer], at, e);
}

static int read_hr(sky_planes *out, const sky_incontext *s, const sky_incontext_set *set, const sky_field *f, sky_rect at, sky_err *e)
{
    const int64_t c = sky_field_dim(f, 'c');
    for (int i = 0; set && set->hr_raw && i < 3; i++)
        if (set->hr_band[i] < 0 || set->hr_band[i] >= c)
            return sky_fail(e, SKY_ECORRUPT, "field '%s': band number %d of %d", f->name, set->hr_band[i], (int)c);
    return set && set->hr_raw ? sky_planes_read(out, f, 0, set->hr_band, 3, at, e) : read_rgb(out, s, f, at, e);
}

/* Another light, haze or season: every band of a picture in 0..255 gets a gain and an offset of its own. */
static void shift_radiometry(sky_planes *hr, double most, sky_draw *d)
{
    const size_t n = (size_t)hr->h * (size_t)hr->w;
    for (int c = 0; c < hr->c; c++) {
        const float gain = (float)sky_draw_range(d, 1 - most, 1 + most), offset = (float)(255 * sky_draw_range(d, -most, most));
        for (float *v = hr->px + (size_t)c * n, *end = v + n; v < end; v++)
            *v = fminf(fmaxf(*v * gain + offset, 0), 255);
    }
}

static int read_label(sky_context_part *p, const uint8_t *whole, const windows *v, sky_err *e)
{
    for (int64_t i = 0; i < (int64_t)v->lh * v->lw; i++)
        p->seen[whole[i] >> 3] |= (uint8_t)(1 << (whole[i] & 7));
    p->h = v->label.h, p->w = v->label.w;
    if (!(p->label = sky_alloc((size_t)p->h * (size_t)p->w)))
        return sky_fail(e, SKY_ENOMEM, "out of memory for a label of %d x %d", p->w, p->h);
    for (int y = 0; y < p->h; y++)
        memcpy(p->label + (size_t)y * (size_t)p->w, whole + (int64_t)(v->label.y + y) * v->lw + v->label.x, (size_t)p->w);
    return SKY_OK;
}

int sky_context_load(sky_context_part *p, const sky_incontext *s, const sky_pair *pair, const sky_sample *x, sky_draw *d, sky_err *e)
{
    const sky_incontext_set *set = sky_context_set(s, pair->dataset);
    const sky_field *label = sky_sample_field(x, sky_roll_label(s->r));
    uint8_t *whole = NULL;
    windows v = {0};
    int rc = label ? sky_prep_label(&whole, &v.lh, &v.lw, label, e) : sky_fail(e, SKY_ECORRUPT, "field '%s' is missing", sky_roll_label(s->r));
    for (int i = 0; !rc && i < LAYERS; i++)
        if (field_of(s, x, i) && (i == LAYER_HR || !set || !set->sentinel_window)) /* those have a window of their own */
            rc = sky_planes_size(&v.h[i], &v.w[i], field_of(s, x, i), e);
    if (!rc)
        rc = place(&v, s, whole, pair->cls, d, e);
    if (!rc)
        rc = read_label(p, whole, &v, e);
    if (!rc && v.h[LAYER_HR])
        rc = read_hr(&p->layer[LAYER_HR], s, set, field_of(s, x, LAYER_HR), v.layer[LAYER_HR], e);
    if (!rc && v.h[LAYER_HR] && s->o.radiometry > 0 && !(set && set->hr_raw))
        shift_radiometry(&p->layer[LAYER_HR], s->o.radiometry, d);
    for (int i = LAYER_S2; !rc && i < LAYERS; i++)
        if (field_of(s, x, i))
            rc = read_sentinel(&p->layer[i], s, set, x, i, v.layer[i], d, e);
    sky_free(whole);
    return rc ? sky_wrap(e, "sample '%s'", x->id) : SKY_OK;
}
