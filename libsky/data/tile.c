#include "data/tile.h"
#include "base/mem.h"
#include "format/stream.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* From pixels of the reference field to pixels of another: either exactly num/den, when the fields are only known to
 * show the same picture, or scale and shift on the ground. */
typedef struct {
    int ground;
    int64_t num, den;
    double scale, shift;
} mapping;

typedef struct {
    int tiled;  /* 0: goes into every tile as it is */
    int smooth; /* bicubic when resized */
    sky_grid grid;
    mapping y, x;
} field_plan;

struct sky_tile_plan {
    const sky_sample *s;
    sky_tile_opts o;
    const sky_field *ref;
    sky_axis rows, cols;
    int digits;
    field_plan f[];
};

/* ---- the reference field -------------------------------------------------------------------------------------- */

static int find_reference(sky_tile_plan *p, sky_err *e)
{
    const sky_sample *s = p->s;
    int best = -1;
    for (int i = 0; i < s->nfields && !p->o.on; i++) {
        const sky_field *f = &s->fields[i];
        if (!p->f[i].tiled || sky_is_valid_mask(s, f->name))
            continue;
        if (best < 0 || (sky_field_is_label(&s->fields[best]) && !sky_field_is_label(f)))
            best = i;
    }
    for (int i = 0; i < s->nfields && p->o.on; i++)
        if (!strcmp(s->fields[i].name, p->o.on))
            best = i;
    if (best < 0 && p->o.on)
        return sky_fail(e, SKY_ECORRUPT, "no field '%s' to lay the tiles on", p->o.on);
    if (best < 0)
        return sky_fail(e, SKY_ECORRUPT, "no field with dimensions y and x to cut into tiles");
    p->ref = &s->fields[best];
    const field_plan *fp = &p->f[best];
    if (!fp->tiled)
        return sky_fail(e, SKY_ECORRUPT, "field '%s': %s, tiles cannot be laid on it", p->ref->name, p->ref->absent ? "is absent" : "has no dimensions y and x");
    int64_t h = (int64_t)fp->grid.shape[fp->grid.iy], w = (int64_t)fp->grid.shape[fp->grid.ix];
    if (h < 1 || w < 1)
        return sky_fail(e, SKY_ECORRUPT, "field '%s': %" PRId64 " x %" PRId64 " pixels, tiles cannot be laid on it", p->ref->name, w, h);
    p->rows = sky_axis_make(h, &p->o);
    p->cols = sky_axis_make(w, &p->o);
    if (p->cols.n && p->rows.n > INT64_MAX / p->cols.n)
        return sky_fail(e, SKY_ELIMIT, "field '%s': %" PRId64 " x %" PRId64 " tiles", p->ref->name, p->cols.n, p->rows.n);
    char longest[32];
    int n = snprintf(longest, sizeof longest, "%" PRId64, (h > w ? h : w) - 1);
    p->digits = n < 5 ? 5 : n;
    return SKY_OK;
}

/* ---- how the other fields lie on it ------------------------------------------------------------------------- */

/* 1: both fields say where they are; 0: one does not; < 0: in different reference systems. */
static int same_ground(const sky_field *f, const sky_field *ref, double a[6], double r[6], sky_err *e)
{
    if (!sky_field_affine(f, a) || !sky_field_affine(ref, r))
        return 0;
    const char *cf = json_string_value(json_object_get(f->meta, "crs")), *cr = json_string_value(json_object_get(ref->meta, "crs"));
    if (!cf != !cr)
        return 0;
    if (cf && strcmp(cf, cr))
        return sky_fail(e, SKY_ECORRUPT, "field '%s': is in reference system '%.60s', '%s' in '%.60s': warp them to one grid first", f->name, cf, ref->name, cr);
    return 1;
}

/* f's pixel from ref's pixel: inverse(a) * r. */
static int ground_mapping(field_plan *fp, const sky_field *f, const sky_field *ref, const double a[6], const double r[6], const sky_tile_plan *p, sky_err *e)
{
    double det = a[0] * a[4] - a[1] * a[3], i[4] = {a[4] / det, -a[1] / det, -a[3] / det, a[0] / det};
    double xx = i[0] * r[0] + i[1] * r[3], xy = i[0] * r[1] + i[1] * r[4], yx = i[2] * r[0] + i[3] * r[3], yy = i[2] * r[1] + i[3] * r[4];
    double dx = r[2] - a[2], dy = r[5] - a[5];
    fp->x = (mapping){.ground = 1, .scale = xx, .shift = i[0] * dx + i[1] * dy};
    fp->y = (mapping){.ground = 1, .scale = yy, .shift = i[2] * dx + i[3] * dy};
    double far = (double)(p->rows.length > p->cols.length ? p->rows.length : p->cols.length);
    if (!(fabs(fp->x.shift) < 1e12 && fabs(fp->y.shift) < 1e12 && xx < 1e6 && yy < 1e6))
        return sky_fail(e, SKY_ECORRUPT, "field '%s': its affine cannot be related to that of '%s'", f->name, ref->name);
    if (!(xx > 0 && yy > 0 && fabs(xy) * far < 0.25 && fabs(yx) * far < 0.25))
        return sky_fail(e, SKY_ECORRUPT, "field '%s': is rotated or mirrored against '%s': warp them to one grid first", f->name, ref->name);
    return SKY_OK;
}

static int ratio_axis(mapping *m, char axis, int64_t have, const sky_axis *ref, const sky_field *f, const sky_field *rf, sky_err *e)
{
    if (have < 1 || (have % ref->length && ref->length % have))
        return sky_fail(e, SKY_ECORRUPT, "field '%s': %" PRId64 " pixels along %c are neither a multiple nor a whole part of the %" PRId64 " of '%s', and the two are not both georeferenced",
                        f->name, have, axis, ref->length, rf->name);
    *m = (mapping){.num = have >= ref->length ? have / ref->length : 1, .den = have >= ref->length ? 1 : ref->length / have};
    int uses_size = ref->full || (ref->n && ref->edge == SKY_EDGE_PAD);
    if ((uses_size && ref->size % m->den) || (ref->n > 1 && ref->stride % m->den))
        return sky_fail(e, SKY_ECORRUPT, "field '%s': one of its pixels is %" PRId64 " pixels of '%s' along %c, so size %" PRId64 " and stride %" PRId64 " must be multiples of that",
                        f->name, m->den, rf->name, axis, ref->size, ref->stride);
    return SKY_OK;
}

static int plan_field(sky_tile_plan *p, int i, sky_err *e)
{
    const sky_field *f = &p->s->fields[i];
    field_plan *fp = &p->f[i];
    fp->smooth = !sky_field_is_label(f) && f->dtype != SKY_BOOL && !sky_is_valid_mask(p->s, f->name);
    if (!fp->tiled)
        return SKY_OK;
    if (!f->ref && !f->data && sky_field_count(f))
        return sky_fail(e, SKY_ECORRUPT, "field '%s': its bytes were not read", f->name);
    if (f->ref && !(fp->grid.iy == f->ndim - 2 && fp->grid.ix == f->ndim - 1))
        return sky_fail(e, SKY_ECORRUPT, "field '%s': a field by reference must have y and x as its last dimensions", f->name);
    if (f == p->ref) { /* exact by definition, whatever its affine rounds to */
        fp->x = fp->y = (mapping){.num = 1, .den = 1};
        return SKY_OK;
    }
    double a[6], r[6];
    int ground = same_ground(f, p->ref, a, r, e);
    if (ground < 0)
        return ground;
    if (ground)
        return ground_mapping(fp, f, p->ref, a, r, p, e);
    int rc = ratio_axis(&fp->y, 'y', (int64_t)fp->grid.shape[fp->grid.iy], &p->rows, f, p->ref, e);
    return rc ? rc : ratio_axis(&fp->x, 'x', (int64_t)fp->grid.shape[fp->grid.ix], &p->cols, f, p->ref, e);
}

/* As sky_grid_of. A field by reference may claim any size: sides that no raster has would overflow what follows. */
static int tiled_grid(sky_grid *g, const sky_field *f, sky_err *e)
{
    int rc = sky_grid_of(g, f, e);
    if (rc > 0 && (g->shape[g->iy] > INT32_MAX || g->shape[g->ix] > INT32_MAX))
        return sky_fail(e, SKY_ELIMIT, "field '%s': %" PRIu64 " x %" PRIu64 " pixels, a side has at most %d", f->name, g->shape[g->ix], g->shape[g->iy], INT32_MAX);
    return rc;
}

int sky_tile_plan_make(sky_tile_plan **out, const sky_sample *s, const sky_tile_opts *o, sky_err *e)
{
    sky_tile_plan *p = sky_calloc(1, sizeof *p + (size_t)s->nfields * sizeof p->f[0]);
    if (!p)
        return sky_fail(e, SKY_ENOMEM, "out of memory for a tile plan");
    p->s = s;
    p->o = *o;
    int rc = SKY_OK;
    for (int i = 0; i < s->nfields && rc >= 0; i++)
        p->f[i].tiled = rc = tiled_grid(&p->f[i].grid, &s->fields[i], e);
    if (rc >= 0)
        rc = find_reference(p, e);
    for (int i = 0; i < s->nfields && !rc; i++)
        rc = plan_field(p, i, e);
    if (rc) {
        sky_free(p);
        return rc;
    }
    *out = p;
    return SKY_OK;
}

void sky_tile_plan_free(sky_tile_plan *p) { sky_free(p); }

int64_t sky_tile_count(const sky_tile_plan *p) { return p->rows.n * p->cols.n; }

/* ---- one tile ------------------------------------------------------------------------------------------------- */

typedef struct {
    int64_t y, x, h, w;
} box;

static box tile_box(const sky_tile_plan *p, int64_t i)
{
    box b;
    sky_axis_window(&p->rows, i / p->cols.n, &b.y, &b.h);
    sky_axis_window(&p->cols, i % p->cols.n, &b.x, &b.w);
    return b;
}

int sky_tile_id(const sky_tile_plan *p, int64_t i, char id[256], sky_err *e)
{
    box b = tile_box(p, i);
    int n = snprintf(id, 256, "%s_r%0*" PRId64 "_c%0*" PRId64, p->s->id, p->digits, b.y, p->digits, b.x);
    return n < 256 ? SKY_OK : sky_fail(e, SKY_ELIMIT, "the ids of its tiles would have %d bytes, the limit is 255", n);
}

static void map_axis(const mapping *m, int64_t start, int64_t size, int64_t *to, int64_t *n)
{
    if (!m->ground) {
        *to = start * m->num / m->den;
        *n = size * m->num / m->den;
        return;
    }
    *to = (int64_t)floor((double)start * m->scale + m->shift + 0.5);
    *n = (int64_t)floor((double)size * m->scale + 0.5);
    if (*n < 1)
        *n = 1;
}

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

/* A label that states no value for "nothing here" gets one when it must be padded: the largest of its type (255 at
 * most), unless that is a class. */
static int choose_ignore(sky_field *f, double *v, sky_err *e)
{
    *v = f->dtype == SKY_BOOL ? 1 : f->dtype == SKY_I8 ? 127 : 255;
    const json_t *classes = json_object_get(f->meta, "classes");
    int taken = f->dtype == SKY_BOOL;
    for (size_t i = 0; i < json_array_size(classes); i++)
        taken |= json_number_value(json_object_get(json_array_get(classes, i), "value")) == *v;
    if (taken)
        return sky_fail(e, SKY_ECORRUPT, "field '%s': names no value to ignore, and %g, which would fill its padding, is a class", f->name, *v);
    json_t *list = json_pack("[I]", (json_int_t)*v);
    if (json_object_set_new(f->meta, "ignore", list))
        return sky_fail(e, SKY_ENOMEM, "field '%s': out of memory", f->name);
    return SKY_OK;
}

static int fill_padding(const sky_sample *s, sky_field *f, sky_err *e)
{
    double v;
    int known = sky_pad_value(f, &v), rc = SKY_OK;
    if (sky_is_valid_mask(s, f->name))
        v = 0;
    else if (sky_field_is_label(f) && !known)
        rc = choose_ignore(f, &v, e);
    if (!rc)
        sky_fill(f->data, f->dtype, sky_field_count(f), v);
    return rc;
}

static int copy_part(sky_field *to, const sky_grid *tg, const sky_field *from, const sky_grid *fg, const box *b, const box *part, sky_window_fn fn, void *arg, sky_err *e)
{
    if (!from->ref) {
        sky_box_copy(to->data, tg, part->y - b->y, part->x - b->x, from->data, fg, part->y, part->x, part->h, part->w);
        return SKY_OK;
    }
    if (part->h == b->h && part->w == b->w)
        return fn(arg, from, part->x, part->y, part->w, part->h, to->data, e);
    sky_grid pg = *tg;
    pg.shape[pg.iy] = (uint64_t)part->h, pg.shape[pg.ix] = (uint64_t)part->w;
    void *buf = sky_alloc(to->nbytes); /* the part is smaller than the tile */
    int rc = buf ? fn(arg, from, part->x, part->y, part->w, part->h, buf, e) : sky_fail(e, SKY_ENOMEM, "field '%s': out of memory for a window", from->name);
    if (!rc)
        sky_box_copy(to->data, tg, part->y - b->y, part->x - b->x, buf, &pg, 0, 0, part->h, part->w);
    sky_free(buf);
    return rc;
}

static int shift_affine(sky_field *f, int64_t col, int64_t row, sky_err *e)
{
    double a[6];
    if (!sky_field_affine(f, a))
        return SKY_OK;
    a[2] += a[0] * (double)col + a[1] * (double)row;
    a[5] += a[3] * (double)col + a[4] * (double)row;
    return sky_field_set_affine(f, a, e);
}

static int cut_tiled(const sky_tile_plan *p, int i, const box *tile, sky_window_fn fn, void *arg, sky_field *to, sky_err *e)
{
    const sky_field *from = &p->s->fields[i];
    const field_plan *fp = &p->f[i];
    sky_grid tg = fp->grid;
    int64_t rows = (int64_t)tg.shape[tg.iy], cols = (int64_t)tg.shape[tg.ix];
    box b, part;
    map_axis(&fp->y, tile->y, tile->h, &b.y, &b.h);
    map_axis(&fp->x, tile->x, tile->w, &b.x, &b.w);
    part.y = max64(b.y, 0), part.h = min64(b.y + b.h, rows) - part.y;
    part.x = max64(b.x, 0), part.w = min64(b.x + b.w, cols) - part.x;
    if (part.h <= 0 || part.w <= 0) { /* the field does not reach this ground */
        to->absent = 1;
        return SKY_OK;
    }
    tg.shape[tg.iy] = (uint64_t)b.h, tg.shape[tg.ix] = (uint64_t)b.w;
    uint64_t bytes = tg.elem;
    for (int d = 0; d < tg.ndim; d++)
        if (!sky_mul_u64(bytes, tg.shape[d], &bytes) || bytes > sky_limits_default.field_bytes)
            return sky_fail(e, SKY_ELIMIT, "field '%s': a tile of %" PRId64 " x %" PRId64 " pixels is larger than %" PRIu64 " bytes", from->name, b.w, b.h, sky_limits_default.field_bytes);
    int rc = sky_field_alloc(to, from->dtype, tg.ndim, tg.shape, 0, e);
    if (!rc && (part.h < b.h || part.w < b.w))
        rc = fill_padding(p->s, to, e);
    if (!rc)
        rc = copy_part(to, &tg, from, &fp->grid, &b, &part, fn, arg, e);
    return rc ? rc : shift_affine(to, b.x, b.y, e);
}

static int copy_whole(const sky_field *from, sky_field *to, sky_err *e)
{
    to->absent = from->absent;
    to->dtype = from->dtype;
    if (from->absent)
        return SKY_OK;
    if (from->ref) {
        to->ndim = from->ndim;
        memcpy(to->shape, from->shape, sizeof to->shape);
        to->ref = sky_json_copy(from->ref);
        return to->ref ? SKY_OK : sky_fail(e, SKY_ENOMEM, "field '%s': out of memory", from->name);
    }
    int rc = sky_field_alloc(to, from->dtype, from->ndim, from->shape, 0, e);
    if (!rc && from->nbytes)
        memcpy(to->data, from->data, from->nbytes);
    return rc;
}

static int cut_field(const sky_tile_plan *p, int i, const box *b, sky_window_fn fn, void *arg, sky_sample *out, sky_err *e)
{
    const sky_field *from = &p->s->fields[i];
    sky_field *to = sky_sample_add(out, from->name, e);
    if (!to)
        return e ? e->code : SKY_ENOMEM;
    json_t *meta = sky_json_copy(from->meta);
    if (!meta)
        return sky_fail(e, SKY_ENOMEM, "field '%s': out of memory", from->name);
    json_decref(to->meta);
    to->meta = meta;
    return p->f[i].tiled ? cut_tiled(p, i, b, fn, arg, to, e) : copy_whole(from, to, e);
}

/* Meta of the parent, then where this tile lies in it. A parent that is a tile itself keeps its own place in
 * "parent_tile". */
static int describe(const sky_tile_plan *p, const box *b, sky_sample *out, sky_err *e)
{
    static const char *const keys[] = {"parent", "window", "parent_size", "on", "parent_tile"};
    json_t *meta = sky_json_copy(p->s->meta), *old = NULL;
    int bad = !meta;
    if (meta && json_object_get(meta, "parent")) {
        bad |= !(old = json_object());
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            json_t *v = json_object_get(meta, keys[k]);
            bad |= v && json_object_set(old, keys[k], v);
            json_object_del(meta, keys[k]);
        }
    }
    bad |= json_object_set_new(meta, "parent", json_string(p->s->id));
    bad |= json_object_set_new(meta, "on", json_string(p->ref->name));
    bad |= json_object_set_new(meta, "window", json_pack("[IIII]", (json_int_t)b->x, (json_int_t)b->y, (json_int_t)b->w, (json_int_t)b->h));
    bad |= json_object_set_new(meta, "parent_size", json_pack("[II]", (json_int_t)p->cols.length, (json_int_t)p->rows.length));
    bad |= old && json_object_set(meta, "parent_tile", old);
    json_decref(old);
    if (bad) {
        json_decref(meta);
        return sky_fail(e, SKY_ENOMEM, "out of memory for a tile's metadata");
    }
    json_decref(out->meta);
    out->meta = meta;
    return SKY_OK;
}

static int finish_field(const sky_tile_plan *p, int i, sky_field *f, sky_err *e)
{
    const field_plan *fp = &p->f[i];
    int rc = SKY_OK;
    if (!fp->tiled || f->absent)
        return SKY_OK;
    if (p->o.resize) {
        double k = (double)p->o.resize / (double)p->o.size;
        int64_t rows = (int64_t)floor((double)f->shape[fp->grid.iy] * k + 0.5), cols = (int64_t)floor((double)f->shape[fp->grid.ix] * k + 0.5);
        rc = sky_field_resize(f, max64(rows, 1), max64(cols, 1), fp->smooth, e);
    }
    if (rc || !sky_field_is_label(f))
        return rc;
    json_t *present = NULL;
    rc = sky_classes_present(&present, f, e);
    if (present)
        rc = json_object_set_new(f->meta, "classes_present", present) ? sky_fail(e, SKY_ENOMEM, "field '%s': out of memory", f->name) : SKY_OK;
    else if (!rc)
        json_object_del(f->meta, "classes_present");
    return rc;
}

static int in_array(const json_t *list, const json_t *v)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_equal(json_array_get(list, i), v))
            return 1;
    return 0;
}

/* A list of classes was made for the whole picture: a piece of it keeps those it shows. */
static int narrow_listed(const sky_tile_plan *p, const box *b, sky_sample *out, sky_err *e)
{
    json_t *listed = json_object_get(out->meta, "listed_classes"), *kept;
    int labels = 0;
    if (!json_is_array(listed) || (b->h >= p->rows.length && b->w >= p->cols.length))
        return SKY_OK;
    if (!(kept = json_array()))
        return sky_fail(e, SKY_ENOMEM, "out of memory for a tile's metadata");
    for (int i = 0; i < out->nfields; i++)
        labels += sky_field_is_label(&out->fields[i]) && json_object_get(out->fields[i].meta, "classes_present") != NULL;
    for (size_t k = 0; k < json_array_size(listed); k++) {
        json_t *v = json_array_get(listed, k);
        int shown = 0;
        for (int i = 0; i < out->nfields; i++)
            shown |= in_array(json_object_get(out->fields[i].meta, "classes_present"), v);
        if (shown && json_array_append(kept, v)) {
            json_decref(kept);
            return sky_fail(e, SKY_ENOMEM, "out of memory for a tile's metadata");
        }
    }
    if (!labels) {
        json_decref(kept);
        return SKY_OK;
    }
    return json_object_set_new(out->meta, "listed_classes", kept) ? sky_fail(e, SKY_ENOMEM, "out of memory for a tile's metadata") : SKY_OK;
}

int sky_tile_cut(const sky_tile_plan *p, int64_t i, sky_window_fn fn, void *arg, sky_sample *out, sky_err *e)
{
    box b = tile_box(p, i);
    char id[256];
    int rc = sky_tile_id(p, i, id, e), empty = 0;
    if (!rc)
        rc = sky_sample_begin(out, id, e);
    if (!rc)
        rc = describe(p, &b, out, e);
    for (int k = 0; k < p->s->nfields && !rc; k++)
        rc = cut_field(p, k, &b, fn, arg, out, e);
    if (!rc && p->o.drop_empty)
        empty = sky_tile_is_empty(out);
    for (int k = 0; k < p->s->nfields && !rc && !empty; k++)
        rc = finish_field(p, k, &out->fields[k], e);
    if (!rc && !empty)
        rc = narrow_listed(p, &b, out, e);
    if (rc || empty)
        sky_sample_free(out);
    return rc ? rc : !empty;
}
