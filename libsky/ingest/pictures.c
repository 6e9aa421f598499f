/* PNG through libpng; every other raster, JPEG included, and polygons through the geographic layer. */
#include "ingest/ingest_internal.h"

#include "base/mem.h"
#include "format/png.h"
#include "format/stream.h"

#include <string.h>

static int decode_png(sky_ingest_field *c, sky_png *g)
{
    const sky_png_info *i = sky_png_get(g);
    uint64_t shape[3] = {(uint64_t)i->channels, i->height, i->width};
    int rc = sky_ingest_check_dtype(c, i->dtype);
    if (!rc)
        rc = sky_ingest_check_bands(c, shape[0]);
    if (!rc)
        rc = sky_field_alloc(c->to, i->dtype, 3, shape, 0, c->e);
    if (!rc)
        rc = sky_png_read_planes(g, c->to->data, c->e);
    return rc ? rc : sky_ingest_finish(c, i->channels, i->height, i->width);
}

int sky_ingest_png(sky_ingest_field *c)
{
    sky_bytes b;
    sky_png *g;
    sky_png_mode mode = c->labels && !sky_labels_by_colour(c->labels) ? SKY_PNG_STORED : SKY_PNG_COLOUR;
    if (sky_ingest_by_reference(c, 0))
        return sky_ingest_raster(c);
    int rc = sky_ingest_bytes(c, 0, &b);
    if (rc)
        return rc;
    rc = sky_png_open(&g, b.p, b.n, mode, c->files->source[0].file->path, c->e);
    if (!rc) {
        rc = decode_png(c, g);
        sky_png_close(g);
    }
    sky_bytes_free(&b);
    return rc;
}

static int decode_raster(sky_ingest_field *c, sky_geo *g)
{
    const sky_geo_info *i = sky_geo_get(g);
    uint64_t shape[3] = {(uint64_t)i->bands, (uint64_t)i->height, (uint64_t)i->width};
    int rc = sky_field_alloc(c->to, i->dtype, 3, shape, 0, c->e);
    if (!rc)
        rc = sky_geo_read(g, 0, 0, i->width, i->height, NULL, 0, i->dtype, c->to->data, c->e);
    return rc ? rc : sky_ingest_finish(c, i->bands, shape[1], shape[2]);
}

/* Checks first, so that a wrong file is not decoded. */
static int fill_raster(sky_ingest_field *c, sky_geo *g, const char *uri, int noted)
{
    const sky_geo_info *i = sky_geo_get(g);
    uint64_t nbytes = (uint64_t)i->width * (uint64_t)i->height * (uint64_t)i->bands * sky_dtype_size(i->dtype);
    int refer = sky_ingest_by_reference(c, nbytes);
    int rc = sky_ingest_check_dtype(c, i->dtype);
    if (!rc)
        rc = sky_ingest_check_bands(c, (uint64_t)i->bands);
    if (!rc && !refer && nbytes > sky_limits_default.field_bytes)
        rc = sky_fail(c->e, SKY_ELIMIT, "%s: %llu bytes of pixels, a field holds at most %llu", c->files->source[0].file->path,
                      (unsigned long long)nbytes, (unsigned long long)sky_limits_default.field_bytes);
    if (!rc && refer && i->colours && !c->labels)
        rc = sky_fail(c->e, SKY_ECORRUPT, "%s: a palette picture cannot go by reference", c->files->source[0].file->path);
    if (!rc && !noted)
        rc = sky_ingest_note(c, 0, !refer);
    if (!rc)
        rc = refer ? sky_ingest_refer(c, uri, i) : decode_raster(c, g);
    if (rc)
        return rc;
    const int declared = json_object_get(c->to->meta, "nodata") != NULL;
    /* The descriptor's band names are about this data set; the file's are the driver's guess. */
    rc = sky_geo_describe(g, c->to, c->e);
    /* The file's nodata is a stored value: it says nothing about classes that the descriptor made of them. */
    if (!rc && !declared && c->labels && !sky_labels_identity(c->labels))
        json_object_del(c->to->meta, "nodata");
    return rc;
}

/* Small members of archives are unpacked into memory; a scene inside an archive is read where it is. */
static int by_name(const sky_ingest_field *c)
{
    const sky_entry *f = c->files->source[0].file;
    const char *dot = strrchr(f->path, '.');
    int photo = dot && (!strcmp(dot, ".jpg") || !strcmp(dot, ".jpeg") || !strcmp(dot, ".JPG"));
    return c->g->reference || f->size > c->g->inline_limit || (f->box < 0 && !photo);
}

/* ---- one file per band --------------------------------------------------------------------------------------------------- */

/* The first band settles size and type of all. */
static int first_band(sky_ingest_field *c, const sky_geo_info *i)
{
    uint64_t shape[3] = {(uint64_t)c->files->n, (uint64_t)i->height, (uint64_t)i->width};
    int rc = sky_ingest_check_dtype(c, i->dtype);
    return rc ? rc : sky_field_alloc(c->to, i->dtype, 3, shape, 0, c->e);
}

static int read_band(sky_ingest_field *c, int k, sky_geo *g)
{
    const sky_geo_info *i = sky_geo_get(g);
    const sky_field *to = c->to;
    const char *path = c->files->source[k].file->path;
    int rc = k ? SKY_OK : first_band(c, i);
    if (rc)
        return rc;
    if (i->bands != 1)
        return sky_fail(c->e, SKY_ECORRUPT, "%s: %d bands, a file of a stack has one", path, i->bands);
    if (i->dtype != to->dtype || (uint64_t)i->height != to->shape[1] || (uint64_t)i->width != to->shape[2])
        return sky_fail(c->e, SKY_ECORRUPT, "%s: %d x %d pixels of %s, the first band has %llu x %llu of %s", path, i->width, i->height, sky_dtype_name(i->dtype),
                        (unsigned long long)to->shape[2], (unsigned long long)to->shape[1], sky_dtype_name(to->dtype));
    uint64_t plane = to->nbytes / to->shape[0];
    rc = sky_geo_read(g, 0, 0, i->width, i->height, NULL, 0, i->dtype, (uint8_t *)to->data + (uint64_t)k * plane, c->e);
    return rc || k ? rc : sky_geo_describe(g, c->to, c->e);
}

static int one_band(sky_ingest_field *c, int k)
{
    sky_bytes b;
    sky_geo *g = NULL;
    int rc = sky_ingest_bytes(c, k, &b);
    if (rc)
        return rc;
    rc = sky_geo_memory(&g, b.p, b.n, c->files->source[k].file->path, c->e);
    if (!rc)
        rc = read_band(c, k, g);
    sky_geo_close(g);
    sky_bytes_free(&b);
    return rc;
}

/* Always copied: a reference names one file. */
static int stack(sky_ingest_field *c)
{
    int rc = SKY_OK;
    for (int k = 0; k < c->files->n && !rc; k++)
        rc = one_band(c, k);
    return rc ? rc : sky_ingest_finish(c, c->files->n, c->to->shape[1], c->to->shape[2]);
}

int sky_ingest_raster(sky_ingest_field *c)
{
    if (c->f->stack)
        return stack(c);
    const sky_entry *f = c->files->source[0].file;
    int named = by_name(c);
    sky_bytes b = {0};
    sky_geo *g = NULL;
    if (c->files->n != 1)
        return sky_fail(c->e, SKY_ECORRUPT, "%s: a list of dates is read from .npz files only", f->path);
    char *uri = sky_listing_uri(c->g->l, f);
    int rc = uri ? SKY_OK : sky_fail(c->e, SKY_EIO, "%s: cannot be found (any more)", f->path);
    if (!rc && !named)
        rc = sky_ingest_bytes(c, 0, &b);
    if (!rc)
        rc = named ? sky_geo_open(&g, uri, c->e) : sky_geo_memory(&g, b.p, b.n, f->path, c->e);
    if (!rc && !named && f->box < 0)
        sky_geo_world(g, uri);
    if (!rc)
        rc = fill_raster(c, g, uri, !named);
    sky_geo_close(g);
    sky_bytes_free(&b);
    sky_free(uri);
    return rc;
}

/* ---- polygons ---------------------------------------------------------------------------------------------------------- */

static int class_of(void *arg, const char *text, sky_err *e) { return sky_labels_word(((sky_ingest_field *)arg)->labels, text, e); }

static int draw(sky_ingest_field *c, const sky_geo_grid *grid, const sky_bytes *b, uint16_t *to)
{
    uint64_t n = (uint64_t)grid->width * (uint64_t)grid->height;
    for (uint64_t i = 0; c->f->background && i < n; i++)
        to[i] = (uint16_t)c->f->background;
    int64_t burnt = sky_geo_rasterise_memory(to, grid, b->p, b->n, c->files->source[0].file->path, c->f->property, class_of, c, c->e);
    return burnt < 0 ? (int)burnt : SKY_OK;
}

int sky_ingest_polygons(sky_ingest_field *c)
{
    const sky_field *image = sky_sample_field(c->s, c->f->grid ? c->f->grid : "");
    const char *path = c->files->source[0].file->path;
    double affine[6];
    if (!image || image->absent)
        return sky_fail(c->e, SKY_ECORRUPT, "%s: there is no image to draw the polygons on", path);
    sky_geo_grid grid = {(int)sky_field_dim(image, 'x'), (int)sky_field_dim(image, 'y'), sky_field_affine(image, affine) ? affine : NULL,
                         json_string_value(json_object_get(image->meta, "crs"))};
    uint64_t shape[2] = {(uint64_t)grid.height, (uint64_t)grid.width};
    sky_bytes b = {0};
    int rc = sky_field_alloc(c->to, SKY_U16, 2, shape, 1, c->e);
    if (!rc)
        rc = sky_ingest_bytes(c, 0, &b);
    if (!rc)
        rc = draw(c, &grid, &b, c->to->data);
    sky_bytes_free(&b);
    /* The words are classes already: narrow to the table's type. */
    if (!rc && sky_labels_dtype(c->labels, SKY_U16) == SKY_U8) {
        const uint16_t *from = c->to->data;
        uint64_t n = shape[0] * shape[1];
        uint8_t *small = sky_alloc(n);
        if (!small)
            return sky_fail(c->e, SKY_ENOMEM, "out of memory");
        for (uint64_t i = 0; i < n; i++)
            small[i] = (uint8_t)from[i];
        sky_free(c->to->data);
        c->to->data = small;
        c->to->dtype = SKY_U8;
        c->to->nbytes = n;
    }
    if (!rc)
        rc = sky_field_set_dims(c->to, "yx", c->e);
    if (!rc && grid.affine)
        rc = sky_field_set_affine(c->to, affine, c->e);
    if (!rc && grid.crs && json_object_set_new(c->to->meta, "crs", json_string(grid.crs)))
        rc = sky_fail(c->e, SKY_ENOMEM, "out of memory");
    return rc;
}
