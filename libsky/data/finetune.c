/* From samples to what the fine-tuning networks take (finetune.h has the rules). */
#include "data/finetune.h"
#include "base/mem.h"
#include "data/draw.h"
#include "data/oneshot.h"
#include "data/planes.h"

#include <inttypes.h>
#include <string.h>

enum { DRAW_DATES = 16, DRAW_CROP, DRAW_FLIP }; /* streams */
enum { UNKNOWN = 254, DATES = 4096 };

struct sky_finetune {
    const sky_roll *r;
    sky_finetune_opts o;
    const char *image, *fields[3];
    int channels, named;          /* named: bands are looked up by name in every sample */
    int number[SKY_NORMAL_BANDS]; /* which bands, when not */
    sky_normal *normal;           /* in the network's order; its names are the bands to read */
    uint8_t index_of[256];        /* label value -> class index, SKY_IGNORE, UNKNOWN */
    int value[256], classes;
    json_t *table;                /* class table, or NULL */
};

const sky_finetune_opts sky_finetune_default = {.size = 256, .cap = 0.75, .tries = 10, .flip = 0.5};

/* ---- opening ------------------------------------------------------------------------------------------------------ */

static const json_t *meta_of(const sky_finetune *s, const sky_sample *x, const char *field, const char *key)
{
    const sky_field *f = sky_sample_field(x, field);
    const json_t *own = f ? json_object_get(f->meta, key) : NULL;
    return own ? own : json_object_get(json_object_get(json_object_get(sky_roll_schema(s->r, 0), "fields"), field), key);
}

static void reverse(sky_finetune *s)
{
    for (int i = 0, k = s->channels - 1; i < k; i++, k--) {
        sky_normal *n = s->normal;
        const double m = n->mean[i], d = n->std[i];
        const int b = s->number[i];
        n->mean[i] = n->mean[k], n->std[i] = n->std[k], s->number[i] = s->number[k];
        n->mean[k] = m, n->std[k] = d, s->number[k] = b;
        if (n->band) {
            char *name = n->band[i];
            n->band[i] = n->band[k], n->band[k] = name;
        }
    }
}

/* Names of the bands to read: the configuration's, else the field's, else none. */
static int find_bands(sky_finetune *s, const sky_sample *x, sky_err *e)
{
    char *name[SKY_NORMAL_BANDS];
    const sky_field *f = sky_sample_field(x, s->image);
    const json_t *bands = meta_of(s, x, s->image, "bands"), *stat;
    if (!f || f->absent)
        return sky_fail(e, SKY_ECORRUPT, "field '%s' is %s", s->image, f ? "marked absent" : "missing");
    int n = s->o.bands ? s->o.nbands : (int)json_array_size(bands);
    s->named = n > 0;
    if (!n)
        n = sky_field_dim(f, 'c') < 0 ? 1 : (int)sky_field_dim(f, 'c');
    if (n > SKY_NORMAL_BANDS)
        return sky_fail(e, SKY_ELIMIT, "field '%s': %d bands, at most %d", s->image, n, SKY_NORMAL_BANDS);
    for (int i = 0; i < n; i++) {
        s->number[i] = i;
        name[i] = !s->named ? NULL : s->o.bands ? s->o.bands[i] : (char *)(uintptr_t)json_string_value(json_array_get(bands, (size_t)i));
        if (s->named && !name[i])
            return sky_fail(e, SKY_ECORRUPT, "field '%s': 'bands': want names", s->image);
    }
    s->channels = n;
    stat = meta_of(s, x, s->image, "mean") ? f->meta : NULL;
    if (stat && !json_object_get(stat, "mean"))
        stat = json_object_get(json_object_get(sky_roll_schema(s->r, 0), "fields"), s->image);
    int rc = sky_normal_find(&s->normal, s->o.normal, stat, s->image, s->named ? name : NULL, n, e);
    if (!rc && s->normal->n != n)
        rc = sky_fail(e, SKY_ECORRUPT, "normalisation of field '%s': %d means for %d bands", s->image, s->normal->n, n);
    if (!rc && s->named && !s->normal->band) {
        if (!(s->normal->band = sky_calloc((size_t)n, sizeof *s->normal->band)))
            return sky_fail(e, SKY_ENOMEM, "out of memory");
        for (int i = 0; i < n; i++)
            if (!(s->normal->band[i] = sky_strdup(name[i])))
                return sky_fail(e, SKY_ENOMEM, "out of memory");
    }
    if (!rc && s->o.reverse)
        reverse(s);
    return rc;
}

static int add_class(sky_finetune *s, json_int_t v, sky_err *e)
{
    if (v < 0 || v > 255 || s->classes >= UNKNOWN)
        return sky_fail(e, SKY_ECORRUPT, "class %" JSON_INTEGER_FORMAT " of field '%s': want at most %d classes with values 0..255", v, sky_roll_label(s->r), UNKNOWN);
    if (s->index_of[v] != UNKNOWN)
        return SKY_OK; /* ignored */
    s->index_of[v] = (uint8_t)s->classes;
    s->value[s->classes++] = (int)v;
    return SKY_OK;
}

static int find_classes(sky_finetune *s, const sky_sample *x, sky_err *e)
{
    const char *label = sky_roll_label(s->r);
    const json_t *table = meta_of(s, x, label, "classes"), *ignore = meta_of(s, x, label, "ignore");
    int rc = SKY_OK;
    memset(s->index_of, UNKNOWN, sizeof s->index_of);
    for (size_t i = 0; i < json_array_size(ignore); i++) {
        const json_int_t v = json_integer_value(json_array_get(ignore, i));
        if (v >= 0 && v <= 255)
            s->index_of[v] = SKY_IGNORE;
    }
    for (int i = 0; i < s->o.nignored; i++)
        s->index_of[(uint8_t)s->o.ignored[i]] = SKY_IGNORE;
    if (table && !(s->table = sky_json_copy(table)))
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    for (int i = 0; !rc && s->o.classes && i < s->o.nclasses; i++)
        rc = add_class(s, s->o.classes[i], e);
    for (size_t i = 0; !rc && !s->o.classes && i < json_array_size(table); i++)
        rc = add_class(s, json_integer_value(json_object_get(json_array_get(table, i), "value")), e);
    for (int v = 0; !rc && !s->o.classes && !json_array_size(table) && v < 256 && s->classes < s->o.nclasses; v++)
        rc = add_class(s, v, e);
    if (!rc && !s->classes)
        rc = sky_fail(e, SKY_ECORRUPT, "field '%s' has no classes: name them in the data set's descriptor, see sky-dataset(5)", label);
    if (s->index_of[255] == UNKNOWN)
        s->index_of[255] = SKY_IGNORE;
    return rc;
}

int sky_finetune_open(sky_finetune **out, const sky_roll *r, const sky_finetune_opts *o, sky_err *e)
{
    if (!sky_roll_label(r))
        return sky_fail(e, SKY_ECORRUPT, "no sample has a label field");
    if (!o->validation && o->size < 1)
        return sky_fail(e, SKY_EUSAGE, "crop of side %d", o->size);
    if (o->dates < 0 || o->dates > DATES)
        return sky_fail(e, SKY_EUSAGE, "%d dates, want 0..%d", o->dates, DATES);
    if (o->balanced && !sky_roll_pairs(r))
        return sky_fail(e, SKY_ECORRUPT, "class-balanced draws: no sample holds a class");
    sky_finetune *s = sky_calloc(1, sizeof *s);
    if (!s)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    s->r = r;
    s->o = *o;
    s->image = o->image ? o->image : "hr";
    s->fields[0] = s->image;
    s->fields[1] = sky_roll_label(r);
    sky_sample x = {0};
    int rc = sky_roll_read(r, 0, s->fields, &x, e);
    if (!rc)
        rc = find_bands(s, &x, e);
    if (!rc)
        rc = find_classes(s, &x, e);
    if (rc && x.id)
        sky_wrap(e, "sample '%s'", x.id);
    sky_sample_free(&x);
    if (rc)
        sky_finetune_close(s);
    else
        *out = s;
    return rc;
}

void sky_finetune_close(sky_finetune *s)
{
    if (!s)
        return;
    sky_normal_free(s->normal);
    json_decref(s->table);
    sky_free(s);
}

uint64_t sky_finetune_items(const sky_finetune *s) { return sky_roll_count(s->r); }
int sky_finetune_channels(const sky_finetune *s) { return s->channels; }
int sky_finetune_classes(const sky_finetune *s) { return s->classes; }
int sky_finetune_class_value(const sky_finetune *s, int index) { return s->value[index]; }

const json_t *sky_finetune_class(const sky_finetune *s, int index)
{
    for (size_t i = 0; i < json_array_size(s->table); i++) {
        const json_t *k = json_array_get(s->table, i);
        if (json_integer_value(json_object_get(k, "value")) == s->value[index])
            return k;
    }
    return NULL;
}

const char *sky_finetune_class_name(const sky_finetune *s, int index)
{
    return json_string_value(json_object_get(sky_finetune_class(s, index), "name"));
}

json_t *sky_finetune_normals(const sky_finetune *s)
{
    json_t *n = sky_normal_json(s->normal), *o = n ? json_pack("{s:o}", s->image, n) : NULL;
    return o;
}

/* ---- an item -------------------------------------------------------------------------------------------------------- */

typedef struct {
    const sky_finetune *s;
    const sky_sample *x;
    sky_cursor c;
    uint64_t seed;
    uint8_t *label; /* class indices of the whole picture */
    int h, w;
} work;

static int load_label(work *k, sky_err *e)
{
    const sky_field *f = sky_sample_field(k->x, k->s->fields[1]), *image = sky_sample_field(k->x, k->s->image);
    int h, w;
    if (!f || !image)
        return sky_fail(e, SKY_ECORRUPT, "field '%s' is missing", f ? k->s->image : k->s->fields[1]);
    int rc = sky_planes_size(&h, &w, image, e);
    if (!rc)
        rc = sky_prep_label(&k->label, &k->h, &k->w, f, e);
    if (rc)
        return rc;
    if (h != k->h || w != k->w)
        return sky_fail(e, SKY_ECORRUPT, "field '%s' has %d x %d pixels, its label '%s' %d x %d", image->name, w, h, f->name, k->w, k->h);
    for (int64_t i = 0; i < (int64_t)h * w; i++) {
        const uint8_t v = k->label[i];
        k->label[i] = k->s->index_of[v];
        if (k->label[i] == UNKNOWN)
            return sky_fail(e, SKY_ECORRUPT, "field '%s': label %d at row %" PRId64 ", column %" PRId64 " is no class", f->name, v, i / w, i % w);
    }
    return SKY_OK;
}

/* No class holds cap or more of the labelled pixels, and there is more than one. */
static int mixed(const work *k, sky_rect at)
{
    int64_t count[256] = {0}, all = 0, most = 0;
    int there = 0;
    for (int y = 0; y < at.h; y++)
        for (int x = 0; x < at.w; x++)
            count[k->label[(int64_t)(at.y + y) * k->w + at.x + x]]++;
    for (int i = 0; i < SKY_IGNORE; i++) {
        all += count[i];
        there += count[i] > 0;
        most = count[i] > most ? count[i] : most;
    }
    return there > 1 && (double)most < k->s->o.cap * (double)all;
}

static sky_rect draw_crop(const work *k)
{
    const int size = k->s->o.size;
    sky_draw d = sky_draw_make(k->seed, k->c.epoch, k->c.position, DRAW_CROP);
    sky_rect at = {0, 0, k->h < size ? k->h : size, k->w < size ? k->w : size};
    int tries = 0;
    do {
        at.y = (int)sky_draw_below(&d, (uint64_t)(k->h - at.h + 1));
        at.x = (int)sky_draw_below(&d, (uint64_t)(k->w - at.w + 1));
    } while (++tries < k->s->o.tries && !mixed(k, at));
    return at;
}

static int ascending(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

static int choose_dates(int *date, const work *k, const sky_field *f, sky_err *e)
{
    int valid[DATES], n = sky_planes_dates(valid, DATES, f);
    const int want = k->s->o.dates ? k->s->o.dates : 1;
    if (!n)
        return sky_fail(e, SKY_ECORRUPT, "field '%s': no time step is there", f->name);
    sky_draw d = sky_draw_make(k->seed, k->c.epoch, k->c.position, DRAW_DATES);
    for (int i = 0; i < want; i++) {
        if (!k->s->o.dates || k->s->o.validation) {
            date[i] = valid[(int64_t)i * n / want];
        } else if (n < want) {
            date[i] = valid[sky_draw_below(&d, (uint64_t)n)];
        } else { /* the first `want` of a shuffle */
            const int j = i + (int)sky_draw_below(&d, (uint64_t)(n - i)), v = valid[j];
            valid[j] = valid[i];
            date[i] = valid[i] = v;
        }
    }
    qsort(date, (size_t)want, sizeof *date, ascending);
    return SKY_OK;
}

/* One date into dst [h,w,c]; what lies beyond the picture stays as it is. */
static int put_date(float *dst, const work *k, const sky_finetune_item *it, const sky_field *f, int date, const int *band, sky_rect at, int flip, sky_err *e)
{
    const sky_normal *n = k->s->normal;
    sky_planes p = {0};
    int rc = sky_planes_read(&p, f, date, band, it->c, at, e);
    for (int c = 0; !rc && c < it->c; c++)
        for (int y = 0; y < at.h; y++)
            for (int x = 0; x < at.w; x++) {
                const int to = flip ? at.w - 1 - x : x;
                const double v = p.px[((size_t)c * (size_t)at.h + (size_t)y) * (size_t)at.w + (size_t)x];
                dst[((size_t)y * (size_t)it->w + (size_t)to) * (size_t)it->c + (size_t)c] = (float)((v / n->divide - n->mean[c]) / n->std[c]);
            }
    sky_free(p.px);
    return rc;
}

static int put_pixels(sky_finetune_item *it, const work *k, sky_rect at, int flip, sky_err *e)
{
    const sky_finetune *s = k->s;
    const sky_field *f = sky_sample_field(k->x, s->image);
    int date[DATES], band[SKY_NORMAL_BANDS];
    it->img = sky_calloc((size_t)it->t * (size_t)it->h * (size_t)it->w * (size_t)it->c, sizeof *it->img);
    it->labels = sky_alloc((size_t)it->h * (size_t)it->w);
    if (!it->img || !it->labels)
        return sky_fail(e, SKY_ENOMEM, "out of memory for %d pictures of %d x %d", it->t, it->w, it->h);
    memcpy(band, s->number, sizeof band);
    int rc = s->named ? sky_planes_bands(band, f, (const char *const *)s->normal->band, it->c, e) : SKY_OK;
    if (!rc && !s->named && (sky_field_dim(f, 'c') < 0 ? 1 : sky_field_dim(f, 'c')) != it->c)
        rc = sky_fail(e, SKY_ECORRUPT, "field '%s': %" PRId64 " bands, %d in the first sample", f->name, sky_field_dim(f, 'c'), it->c);
    if (!rc)
        rc = choose_dates(date, k, f, e);
    for (int t = 0; !rc && t < it->t; t++)
        rc = put_date(it->img + (size_t)t * (size_t)it->h * (size_t)it->w * (size_t)it->c, k, it, f, date[t], band, at, flip, e);
    memset(it->labels, SKY_IGNORE, (size_t)it->h * (size_t)it->w);
    for (int y = 0; !rc && y < at.h; y++)
        for (int x = 0; x < at.w; x++)
            it->labels[(size_t)y * (size_t)it->w + (size_t)(flip ? at.w - 1 - x : x)] = k->label[(int64_t)(at.y + y) * k->w + at.x + x];
    return rc;
}

static int build(sky_finetune_item *it, work *k, sky_err *e)
{
    const sky_finetune_opts *o = &k->s->o;
    int rc = load_label(k, e);
    if (rc)
        return rc;
    sky_draw d = sky_draw_make(k->seed, k->c.epoch, k->c.position, DRAW_FLIP);
    const int flip = !o->validation && sky_draw_range(&d, 0, 1) < o->flip;
    const sky_rect at = o->validation ? (sky_rect){0, 0, k->h, k->w} : draw_crop(k);
    it->t = o->dates ? o->dates : 1;
    it->h = o->validation ? k->h : o->size;
    it->w = o->validation ? k->w : o->size;
    it->c = k->s->channels;
    return put_pixels(it, k, at, flip, e);
}

int sky_finetune_make(const sky_finetune *s, uint64_t at, uint64_t attempt, sky_finetune_item **out, sky_err *e)
{
    const sky_cursor c = sky_cursor_at(at, sky_finetune_items(s));
    const uint64_t seed = attempt ? sky_mix64(s->o.seed, attempt) : s->o.seed;
    sky_finetune_item *it = sky_calloc(1, sizeof *it);
    if (!it)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    sky_sample x = {0};
    work k = {.s = s, .x = &x, .c = c, .seed = seed};
    it->id = at;
    it->number = s->o.validation ? c.position : s->o.balanced ? sky_order_balanced(seed, s->r, c) : sky_order_sample(seed, sky_finetune_items(s), c);
    int rc = sky_roll_read(s->r, it->number, s->fields, &x, e);
    if (!rc && !(it->name = sky_strdup(x.id)))
        rc = sky_fail(e, SKY_ENOMEM, "out of memory");
    if (!rc && (rc = build(it, &k, e)))
        sky_wrap(e, "sample '%s'", x.id);
    sky_free(k.label);
    sky_sample_free(&x);
    if (rc) {
        sky_finetune_free(it);
        return sky_wrap(e, "position %" PRIu64, at);
    }
    *out = it;
    return SKY_OK;
}

void sky_finetune_free(sky_finetune_item *it)
{
    if (!it)
        return;
    sky_free(it->img), sky_free(it->labels), sky_free(it->name);
    sky_free(it);
}

static int source_make(void *arg, uint64_t at, uint64_t attempt, void **item, sky_err *e)
{
    sky_finetune_item *it = NULL;
    const int rc = sky_finetune_make(arg, at, attempt, &it, e);
    *item = it;
    return rc;
}

static void source_free(void *item) { sky_finetune_free(item); }

sky_source sky_finetune_source(sky_finetune *s) { return (sky_source){source_make, source_free, s}; }
