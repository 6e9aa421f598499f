/* Boxes of arrays in any dimension order, and resizing picture by picture. */
#include "base/mem.h"
#include "data/resize.h"
#include "data/tile.h"

#include <limits.h>
#include <string.h>

int sky_grid_of(sky_grid *g, const sky_field *f, sky_err *e)
{
    *g = (sky_grid){.ndim = f->ndim, .iy = -1, .ix = -1, .elem = sky_dtype_size(f->dtype)};
    const char *dims = NULL;
    if (f->absent)
        return 0;
    if (sky_json_str(f->meta, "dims", f->ndim > 0, &dims, "meta", e))
        return sky_wrap(e, "field '%s'", f->name);
    if (!dims)
        return 0;
    if (strlen(dims) != (size_t)f->ndim)
        return sky_fail(e, SKY_ECORRUPT, "field '%s': dims '%s' for %d dimensions", f->name, dims, f->ndim);
    for (int i = 0; i < f->ndim; i++) {
        if (strchr(dims + i + 1, dims[i]))
            return sky_fail(e, SKY_ECORRUPT, "field '%s': dims '%s' name '%c' twice", f->name, dims, dims[i]);
        g->shape[i] = f->shape[i];
        if (dims[i] == 'y')
            g->iy = i;
        if (dims[i] == 'x')
            g->ix = i;
    }
    return g->iy >= 0 && g->ix >= 0;
}

static void copy_dims(uint8_t *d, const uint8_t *s, int dim, const int64_t *dstep, const int64_t *sstep, const int64_t *count, int last)
{
    if (dim == last) {
        memcpy(d, s, (size_t)(count[dim] * dstep[dim]));
        return;
    }
    for (int64_t i = 0; i < count[dim]; i++)
        copy_dims(d + i * dstep[dim], s + i * sstep[dim], dim + 1, dstep, sstep, count, last);
}

static void byte_steps(int64_t step[SKY_MAX_DIMS], const sky_grid *g)
{
    int64_t n = (int64_t)g->elem;
    for (int i = g->ndim - 1; i >= 0; i--) {
        step[i] = n;
        n *= (int64_t)g->shape[i];
    }
}

void sky_box_copy(void *dst, const sky_grid *dg, int64_t dy, int64_t dx, const void *src, const sky_grid *sg, int64_t sy, int64_t sx, int64_t rows, int64_t cols)
{
    int64_t ds[SKY_MAX_DIMS], ss[SKY_MAX_DIMS], count[SKY_MAX_DIMS];
    byte_steps(ds, dg);
    byte_steps(ss, sg);
    for (int i = 0; i < dg->ndim; i++) {
        count[i] = i == dg->iy ? rows : i == dg->ix ? cols : (int64_t)dg->shape[i];
        if (!count[i])
            return;
    }
    uint8_t *d = (uint8_t *)dst + dy * ds[dg->iy] + dx * ds[dg->ix];
    const uint8_t *s = (const uint8_t *)src + sy * ss[sg->iy] + sx * ss[sg->ix];
    /* From the later of y and x on, everything lies together. */
    copy_dims(d, s, 0, ds, ss, count, dg->iy > dg->ix ? dg->iy : dg->ix);
}

void sky_fill(void *dst, sky_dtype t, uint64_t n, double v)
{
    size_t size = sky_dtype_size(t);
    uint8_t one[8], *d = dst;
    sky_store_f64(one, t, 0, v);
    int same = 1;
    for (size_t i = 1; i < size; i++)
        same &= one[i] == one[0];
    if (same)
        memset(dst, one[0], n * size);
    else
        for (uint64_t i = 0; i < n; i++)
            memcpy(d + i * size, one, size);
}

/* ---- resize ------------------------------------------------------------------------------------------------ */

typedef struct {
    const sky_grid *sg, *dg;
    uint8_t *in, *out; /* one picture each, packed */
    sky_dtype type;
    int smooth, has_nodata;
    double nodata;
} resizer;

static void gather(uint8_t *to, const uint8_t *from, const sky_grid *g, const int64_t *step, int back)
{
    int64_t rows = (int64_t)g->shape[g->iy], cols = (int64_t)g->shape[g->ix];
    for (int64_t y = 0; y < rows; y++)
        for (int64_t x = 0; x < cols; x++) {
            int64_t packed = (y * cols + x) * (int64_t)g->elem, spread = y * step[g->iy] + x * step[g->ix];
            memcpy(to + (back ? spread : packed), from + (back ? packed : spread), g->elem);
        }
}

static int resize_pictures(resizer *r, int dim, const uint8_t *s, uint8_t *d, const int64_t *ss, const int64_t *ds, sky_err *e)
{
    const sky_grid *sg = r->sg, *dg = r->dg;
    while (dim < sg->ndim && (dim == sg->iy || dim == sg->ix))
        dim++;
    if (dim < sg->ndim) {
        int rc = SKY_OK;
        for (uint64_t i = 0; !rc && i < sg->shape[dim]; i++)
            rc = resize_pictures(r, dim + 1, s + (int64_t)i * ss[dim], d + (int64_t)i * ds[dim], ss, ds, e);
        return rc;
    }
    int h = (int)sg->shape[sg->iy], w = (int)sg->shape[sg->ix], H = (int)dg->shape[dg->iy], W = (int)dg->shape[dg->ix], rc = SKY_OK;
    gather(r->in, s, sg, ss, 0);
    if (r->smooth)
        rc = sky_resize_bicubic(r->out, H, W, r->in, h, w, r->type, r->has_nodata, r->nodata, e);
    else
        sky_resize_nearest(r->out, H, W, r->in, h, w, (int)sg->elem);
    gather(d, r->out, dg, ds, 1);
    return rc;
}

static int scale_affine(sky_field *f, double sx, double sy, sky_err *e)
{
    double a[6];
    if (!sky_field_affine(f, a))
        return SKY_OK;
    a[0] *= sx, a[3] *= sx, a[1] *= sy, a[4] *= sy;
    return sky_field_set_affine(f, a, e);
}

int sky_field_resize(sky_field *f, int64_t rows, int64_t cols, int smooth, sky_err *e)
{
    sky_grid sg, dg;
    int rc = sky_grid_of(&sg, f, e);
    if (rc <= 0)
        return rc;
    int64_t h = (int64_t)sg.shape[sg.iy], w = (int64_t)sg.shape[sg.ix];
    if ((h == rows && w == cols) || !sky_field_count(f))
        return SKY_OK;
    if (h > INT_MAX || w > INT_MAX || rows > INT_MAX || cols > INT_MAX)
        return sky_fail(e, SKY_ELIMIT, "field '%s': cannot resize %lld x %lld to %lld x %lld", f->name, (long long)w, (long long)h, (long long)cols, (long long)rows);
    dg = sg;
    dg.shape[dg.iy] = (uint64_t)rows, dg.shape[dg.ix] = (uint64_t)cols;
    const json_t *nodata = json_object_get(f->meta, "nodata");
    resizer r = {.sg = &sg, .dg = &dg, .type = f->dtype, .smooth = smooth, .has_nodata = json_is_number(nodata), .nodata = json_number_value(nodata)};
    sky_field to = {.name = f->name, .meta = f->meta};
    rc = sky_field_alloc(&to, f->dtype, dg.ndim, dg.shape, 0, e);
    if (rc)
        return rc;
    r.in = sky_alloc((size_t)(h * w) * sg.elem), r.out = sky_alloc((size_t)(rows * cols) * sg.elem);
    if (!r.in || !r.out)
        rc = sky_fail(e, SKY_ENOMEM, "field '%s': out of memory to resize %lld x %lld to %lld x %lld", f->name, (long long)w, (long long)h, (long long)cols, (long long)rows);
    int64_t ss[SKY_MAX_DIMS], ds[SKY_MAX_DIMS];
    byte_steps(ss, &sg);
    byte_steps(ds, &dg);
    if (!rc)
        rc = resize_pictures(&r, 0, f->data, to.data, ss, ds, e);
    sky_free(r.in), sky_free(r.out);
    if (!rc)
        rc = scale_affine(f, (double)w / (double)cols, (double)h / (double)rows, e);
    if (rc) {
        sky_free(to.data);
        return rc;
    }
    sky_free(f->data);
    f->data = to.data, f->nbytes = to.nbytes;
    memcpy(f->shape, dg.shape, sizeof f->shape);
    return SKY_OK;
}
