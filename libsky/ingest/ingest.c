#include "ingest/ingest_internal.h"

#include "base/hash.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { PIECE = 1 << 20 };

static int no_memory(sky_err *e) { return sky_fail(e, SKY_ENOMEM, "out of memory"); }

/* ---- where the bytes came from --------------------------------------------------------------------------------- */

static int note(sky_ingest_field *c, int k, const uint32_t *crc)
{
    const sky_source *f = &c->files->source[k];
    json_t *o = json_pack("{s:s, s:I}", "path", f->tail, "bytes", (json_int_t)f->file->size);
    char hex[9];
    int bad = !o;
    if (o && crc) {
        snprintf(hex, sizeof hex, "%08x", *crc);
        bad = json_object_set_new(o, "crc32c", json_string(hex));
    }
    if (!bad)
        return json_array_append_new(c->source, o) ? no_memory(c->e) : SKY_OK;
    json_decref(o);
    /* jansson also refuses text that is not UTF-8. */
    if (strlen(f->tail) <= 255 && sky_id_check(f->tail, strlen(f->tail), c->e))
        return sky_fail(c->e, SKY_ECORRUPT, "%s: its name is not UTF-8", f->file->path);
    return no_memory(c->e);
}

int sky_ingest_bytes(sky_ingest_field *c, int k, sky_bytes *b)
{
    int rc = sky_listing_read(c->g->l, c->files->source[k].file, (uint64_t)1 << SKY_INGEST_FILE_LIMIT_SHIFT, b, c->e);
    if (rc)
        return rc;
    uint32_t crc = sky_crc32c(0, b->p, b->n);
    rc = note(c, k, &crc);
    if (rc)
        sky_bytes_free(b);
    return rc;
}

static int file_crc(const char *path, uint32_t *crc, sky_err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t *p = fd < 0 ? NULL : sky_alloc(PIECE);
    ssize_t n = 0;
    *crc = 0;
    while (p && ((n = read(fd, p, PIECE)) > 0 || (n < 0 && errno == EINTR)))
        *crc = n > 0 ? sky_crc32c(*crc, p, (size_t)n) : *crc;
    int rc = fd < 0 || n < 0 ? sky_fail_errno(e, SKY_EIO, "%s", path) : p ? SKY_OK : no_memory(e);
    sky_free(p);
    if (fd >= 0)
        close(fd);
    return rc;
}

int sky_ingest_note(sky_ingest_field *c, int k, int checksum)
{
    uint32_t crc = 0;
    int rc = checksum ? file_crc(c->files->source[k].file->path, &crc, c->e) : SKY_OK;
    return rc ? rc : note(c, k, checksum ? &crc : NULL);
}

/* ---- what is decoded must be what the descriptor says ------------------------------------------------------------- */

int sky_ingest_check_dtype(sky_ingest_field *c, sky_dtype t)
{
    if (!c->f->dtypes || c->f->dtypes >> t & 1)
        return SKY_OK;
    return sky_fail(c->e, SKY_ECORRUPT, "%s: elements are %s, which the descriptor does not expect", c->files->source[0].file->path, sky_dtype_name(t));
}

int sky_ingest_check_bands(sky_ingest_field *c, uint64_t bands)
{
    size_t want = json_array_size(c->f->bands);
    if (c->labels || !c->f->bands || want == bands)
        return SKY_OK;
    return sky_fail(c->e, SKY_ECORRUPT, "%s: %llu bands, the descriptor names %zu", c->files->source[0].file->path,
                    (unsigned long long)bands, want);
}

static int check_grid(sky_ingest_field *c, uint64_t h, uint64_t w)
{
    const sky_field *g = c->f->grid ? sky_sample_field(c->s, c->f->grid) : NULL;
    if (!g || g->absent)
        return SKY_OK;
    int64_t gh = sky_field_dim(g, 'y'), gw = sky_field_dim(g, 'x');
    if ((int64_t)h == gh && (int64_t)w == gw)
        return SKY_OK;
    return sky_fail(c->e, SKY_ECORRUPT, "%s: %llux%llu pixels, but field '%s' (%s) has %lldx%lld", c->files->source[0].file->path,
                    (unsigned long long)w, (unsigned long long)h, c->f->grid,
                    c->it->field[sky_dataset_find(c->g->d, c->f->grid) - c->g->d->field].source[0].file->path, (long long)gw, (long long)gh);
}

/* ---- from stored label pixels to classes ---------------------------------------------------------------------------- */

/* dst replaces what the field holds. */
static void replace(sky_field *to, void *dst, sky_dtype t, uint64_t h, uint64_t w)
{
    sky_free(to->data);
    to->data = dst;
    to->dtype = t;
    to->ndim = 2;
    to->shape[0] = h;
    to->shape[1] = w;
    to->nbytes = h * w * sky_dtype_size(t);
}

static int to_classes(sky_ingest_field *c, int channels, uint64_t h, uint64_t w)
{
    sky_field *to = c->to;
    sky_dtype t = sky_labels_dtype(c->labels, to->dtype);
    int colour = sky_labels_by_colour(c->labels);
    const char *path = c->files->source[0].file->path;
    if (!colour && channels != 1)
        return sky_fail(c->e, SKY_ECORRUPT, "%s: %d bands, a label of values has one", path, channels);
    if (colour && to->dtype != SKY_U8)
        return sky_fail(c->e, SKY_ECORRUPT, "%s: elements are %s, a label of colours is U8", path, sky_dtype_name(to->dtype));
    void *dst = colour || t != to->dtype ? sky_alloc(h * w * sky_dtype_size(t)) : to->data;
    if (!dst)
        return no_memory(c->e);
    int rc = colour ? sky_labels_colours(c->labels, dst, to->data, channels, h * w, w, c->e)
                    : sky_labels_values(c->labels, dst, to->data, to->dtype, h * w, w, c->e);
    if (dst == to->data)
        to->data = NULL;
    replace(to, dst, t, h, w);
    return rc ? sky_wrap(c->e, "%s", path) : SKY_OK;
}

int sky_ingest_finish(sky_ingest_field *c, int channels, uint64_t h, uint64_t w)
{
    int rc = check_grid(c, h, w);
    if (!rc && c->labels)
        rc = to_classes(c, channels, h, w);
    return rc ? rc : sky_field_set_dims(c->to, c->labels ? "yx" : "cyx", c->e);
}

/* ---- by reference --------------------------------------------------------------------------------------------------- */

int sky_ingest_by_reference(const sky_ingest_field *c, uint64_t nbytes)
{
    int wanted = c->g->reference || nbytes > c->g->inline_limit;
    return wanted && (!c->labels || sky_labels_identity(c->labels));
}

int sky_ingest_refer(sky_ingest_field *c, const char *uri, const sky_geo_info *i)
{
    sky_field *to = c->to;
    int label = c->labels != NULL;
    if (label && i->bands != 1)
        return sky_fail(c->e, SKY_ECORRUPT, "%s: %d bands, a label of values has one", c->files->source[0].file->path, i->bands);
    to->ref = json_pack("{s:s, s:[i,i,i,i]}", "uri", uri, "window", 0, 0, i->width, i->height);
    to->dtype = i->dtype;
    to->ndim = label ? 2 : 3;
    uint64_t shape[3] = {(uint64_t)i->bands, (uint64_t)i->height, (uint64_t)i->width};
    memcpy(to->shape, shape + label, (size_t)to->ndim * sizeof *shape);
    int rc = to->ref ? sky_field_set_dims(to, label ? "yx" : "cyx", c->e) : no_memory(c->e);
    return rc ? rc : check_grid(c, (uint64_t)i->height, (uint64_t)i->width);
}

/* ---- one sample ------------------------------------------------------------------------------------------------------ */

static int ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && !strcasecmp(s + n - m, suffix);
}

static sky_read_how how(const sky_dataset_field *f, const char *path)
{
    static const char *const vectors[] = {".geojson", ".json", ".gpkg", ".shp", ".fgb"};
    if (f->stack)
        return SKY_READ_RASTER;
    if (f->how != SKY_READ_BY_SUFFIX)
        return f->how;
    if (ends(path, ".png"))
        return SKY_READ_PNG;
    if (ends(path, ".npz") || ends(path, ".npy"))
        return SKY_READ_ARRAY;
    for (size_t i = 0; f->label && i < sizeof vectors / sizeof *vectors; i++)
        if (ends(path, vectors[i]))
            return SKY_READ_POLYGONS;
    return SKY_READ_RASTER;
}

static int decode(sky_ingest_field *c)
{
    switch (how(c->f, c->files->source[0].file->path)) {
    case SKY_READ_PNG: return sky_ingest_png(c);
    case SKY_READ_ARRAY: return sky_ingest_array(c);
    case SKY_READ_POLYGONS: return sky_ingest_polygons(c);
    default: return sky_ingest_raster(c);
    }
}

/* The class table of a list's type takes the place of the field's. */
static int type_meta(sky_ingest_field *c)
{
    if (!c->f->label || !c->it->labels)
        return SKY_OK;
    const json_t *classes = sky_labels_classes(c->it->labels), *ignore = sky_labels_ignore(c->it->labels);
    int bad = classes && json_object_set(c->to->meta, "classes", (json_t *)(uintptr_t)classes);
    bad |= ignore && json_object_set(c->to->meta, "ignore", (json_t *)(uintptr_t)ignore);
    return bad ? no_memory(c->e) : SKY_OK;
}

/* One array of notes per field. A null behind a set call that failed must not leave c->source dangling. */
static int open_notes(sky_ingest_field *c, json_t *all)
{
    c->source = json_array();
    if (!c->source || json_object_set_new(all, c->f->name, c->source))
        return no_memory(c->e);
    return SKY_OK;
}

static int one_field(sky_ingest_field *c, json_t *notes)
{
    c->to = sky_sample_add(c->s, c->f->name, c->e);
    if (!c->to)
        return c->e->code;
    if (json_object_update(c->to->meta, c->f->meta))
        return no_memory(c->e);
    int rc = type_meta(c);
    if (!c->files->n) {
        c->to->absent = 1;
        return rc;
    }
    if (!rc)
        rc = open_notes(c, notes);
    if (!rc)
        rc = decode(c);
    if (!rc && c->f->crs && !json_object_get(c->to->meta, "crs") && json_object_set_new(c->to->meta, "crs", json_string(c->f->crs)))
        rc = no_memory(c->e);
    return rc;
}

static int sample_meta(const sky_ingest *g, const sky_plan_item *it, sky_sample *s, json_t **notes, sky_err *e)
{
    int bad = json_object_set_new(s->meta, "dataset", json_string(g->d->name));
    if (it->split)
        bad |= json_object_set_new(s->meta, "split", json_string(it->split));
    if (it->meta)
        bad |= json_object_update(s->meta, it->meta);
    *notes = json_object();
    bad |= json_object_set_new(s->meta, "source", *notes);
    return bad ? no_memory(e) : SKY_OK;
}

int sky_ingest_sample(const sky_ingest *g, const sky_plan_item *it, sky_sample *out, sky_err *e)
{
    if (it->problem)
        return sky_fail(e, SKY_ECORRUPT, "%s", it->problem);
    json_t *notes = NULL;
    int rc = sky_sample_begin(out, it->id, e);
    if (!rc)
        rc = sample_meta(g, it, out, &notes, e);
    for (int i = 0; !rc && i < g->d->nfields; i++) {
        const sky_dataset_field *f = &g->d->field[i];
        if (!f->npaths && g->d->layout == SKY_LAYOUT_FILES)
            continue;
        const sky_labels *labels = !f->label ? NULL : it->labels ? it->labels : f->labels;
        sky_ingest_field c = {g, it, f, &it->field[i], labels, out, NULL, NULL, e};
        rc = one_field(&c, notes);
        if (rc)
            sky_wrap(e, "sample '%s': field '%s'", it->id, f->name);
    }
    if (rc)
        sky_sample_free(out);
    return rc;
}
