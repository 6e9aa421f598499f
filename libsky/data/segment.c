#include "data/segment.h"
#include "base/mem.h"
#include "data/normal.h"
#include "data/planes.h"
#include "format/palette.h"
#include "nn/segmentor.h"
#include "tensor/ops.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

struct sky_segment {
    sky_ctx *c;
    sky_config cfg;
    sky_seg_config seg;
    sky_seg *m;
    char *field;
    const char *fields[2];
    sky_normal *normal;
    json_t *classes;      /* table; entry i is output i */
    uint8_t value[256];   /* of each output */
    const char *model;
    sky_replay *replay;   /* of the network's forward */
};

/* ------------------------------------------------------------------ what the weights say */
int sky_segment_is(const sky_weights *w)
{
    const char *task = json_string_value(json_object_get(sky_weights_metadata(w), "task"));
    return task && !strcmp(task, "segment");
}

/* A member of the metadata, which is JSON in a string. */
static int member(json_t **out, const sky_weights *w, const char *key, sky_err *e)
{
    const char *text = json_string_value(json_object_get(sky_weights_metadata(w), key));
    if (!text)
        return sky_fail(e, SKY_ECORRUPT, "metadata '%s' is missing", key);
    return sky_json_parse(out, text, strlen(text), key, e);
}

static int read_configs(sky_segment *s, const sky_weights *w, sky_err *e)
{
    json_t *config = NULL, *segment = NULL;
    s->cfg = sky_config_full;
    s->seg = sky_seg_defaults;
    int rc = member(&config, w, "config", e);
    if (!rc)
        rc = sky_config_parse(&s->cfg, config, "metadata 'config'", e);
    if (!rc)
        rc = member(&segment, w, "segment", e);
    if (!rc)
        rc = sky_seg_config_parse(&s->seg, segment, "metadata 'segment'", e);
    json_decref(config);
    json_decref(segment);
    return rc;
}

static int read_input(sky_segment *s, const sky_weights *w, sky_err *e)
{
    const char *field = json_string_value(json_object_get(sky_weights_metadata(w), "field"));
    json_t *all = NULL;
    if (!field)
        return sky_fail(e, SKY_ECORRUPT, "metadata 'field' is missing");
    if (!(s->field = sky_strdup(field)))
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    s->fields[0] = s->field;
    int rc = member(&all, w, "normal", e);
    if (!rc)
        rc = sky_normal_parse(&s->normal, json_object_get(all, field), "metadata 'normal'", e);
    json_decref(all);
    if (!rc && s->normal->n != s->seg.channels)
        rc = sky_fail(e, SKY_ECORRUPT, "metadata 'normal': %d bands for a network of %d channels", s->normal->n, s->seg.channels);
    return rc;
}

static int read_classes(sky_segment *s, const sky_weights *w, sky_err *e)
{
    int rc = member(&s->classes, w, "classes", e);
    size_t n = json_array_size(s->classes);
    if (!rc && n != (size_t)s->seg.classes)
        return sky_fail(e, SKY_ECORRUPT, "metadata 'classes': %zu entries for %d outputs", n, s->seg.classes);
    for (size_t i = 0; i < n && !rc; i++) {
        const json_t *v = json_object_get(json_array_get(s->classes, i), "value");
        json_int_t k = json_integer_value(v);
        if (!json_is_integer(v) || k < -1 || k > 255)
            rc = sky_fail(e, SKY_ECORRUPT, "metadata 'classes': entry %zu: expected a value from 0 to 255, or -1 for an output without a class", i);
        s->value[i] = (uint8_t)(k < 0 ? 255 : k);
    }
    return rc;
}

int sky_segment_open(sky_segment **out, const sky_weights *w, sky_ctx *c, sky_dtype dtype, const char *model, void (*warn)(void *arg, const char *line), void *arg, sky_err *e)
{
    sky_segment *s = *out = sky_calloc(1, sizeof *s);
    if (!s)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    s->c = c;
    s->model = model;
    int rc = read_configs(s, w, e);
    if (!rc)
        rc = read_input(s, w, e);
    if (!rc)
        rc = read_classes(s, w, e);
    if (!rc)
        rc = sky_seg_open(&s->m, &s->cfg, &s->seg, e);
    sky_params_opts o = {.dtype = dtype};
    if (!rc)
        rc = sky_params_load(sky_seg_params(s->m), (sky_weights *)(uintptr_t)w, &o, e);
    if (!rc)
        rc = sky_params_place(sky_seg_params(s->m), c, NULL, e);
    if (!rc)
        rc = sky_replay_open(&s->replay, c, warn, arg, e);
    if (rc) {
        sky_segment_close(s);
        *out = NULL;
    }
    return rc;
}

int sky_segment_palette(sky_segment *s, sky_err *e)
{
    return sky_class_table_colour(s->classes) ? sky_fail(e, SKY_ENOMEM, "out of memory") : SKY_OK;
}

void sky_segment_close(sky_segment *s)
{
    if (!s)
        return;
    sky_replay_close(s->replay);
    sky_seg_close(s->m);
    sky_normal_free(s->normal);
    json_decref(s->classes);
    sky_free(s->field);
    sky_free(s);
}

sky_replay_counts sky_segment_replays(const sky_segment *s) { return sky_replay_counted(s->replay); }

const char *const *sky_segment_fields(const sky_segment *s) { return s->fields; }

/* ------------------------------------------------------------------ one picture */
typedef struct {
    float *img;     /* [t,h,w,c] */
    int t, h, w;
} picture;

/* Planes of one date into img, normalised. */
static int put_date(picture *p, int t, const sky_segment *s, const sky_field *f, int date, const int *band, sky_err *e)
{
    sky_planes px = {0};
    const sky_normal *n = s->normal;
    int rc = sky_planes_read(&px, f, date, band, n->n, (sky_rect){0, 0, p->h, p->w}, e);
    float *to = p->img + (int64_t)t * p->h * p->w * n->n;
    for (int64_t i = 0; i < (int64_t)p->h * p->w && !rc; i++)
        for (int k = 0; k < n->n; k++)
            *to++ = (float)(((double)px.px[(int64_t)k * p->h * p->w + i] / n->divide - n->mean[k]) / n->std[k]);
    sky_free(px.px);
    return rc;
}

static int load(picture *p, const sky_segment *s, const sky_field *f, sky_err *e)
{
    enum { DATES = 4096 };
    int band[SKY_NORMAL_BANDS], date[DATES], have = sky_planes_dates(date, DATES, f);
    p->t = s->seg.dates ? s->seg.dates : 1;
    int rc = sky_planes_size(&p->h, &p->w, f, e);
    if (!rc)
        rc = sky_planes_bands(band, f, (const char *const *)s->normal->band, s->normal->n, e);
    const int64_t bands = sky_field_dim(f, 'c') < 0 ? 1 : sky_field_dim(f, 'c');
    if (!rc && !s->normal->band && bands != s->normal->n) /* which of them the network knows is not said */
        rc = sky_fail(e, SKY_ECORRUPT, "%" PRId64 " bands, the network takes %d", bands, s->normal->n);
    if (!rc && have < 1)
        rc = sky_fail(e, SKY_ECORRUPT, "no date is there");
    if (!rc && !(p->img = sky_alloc((size_t)p->t * (size_t)p->h * (size_t)p->w * (size_t)s->normal->n * sizeof *p->img)))
        rc = sky_fail(e, SKY_ENOMEM, "out of memory for a picture of %d x %d pixels", p->h, p->w);
    for (int t = 0; t < p->t && !rc; t++)
        rc = put_date(p, t, s, f, date[(int64_t)t * have / p->t], band, e);
    return rc;
}

/* Logits [h*w, classes] to class values; ties go to the smaller index. A class map cannot show that there is no answer. */
static int decide(uint8_t *out, const float *x, int64_t pixels, const sky_segment *s, sky_err *e)
{
    for (int64_t i = 0; i < pixels; i++, x += s->seg.classes) {
        int best = 0, finite = 1;
        for (int k = 0; k < s->seg.classes; k++) {
            best = x[k] > x[best] ? k : best;
            finite &= isfinite(x[k]) != 0;
        }
        if (!finite)
            return sky_fail(e, SKY_ECORRUPT, "the network's logits are not finite");
        out[i] = s->value[best];
    }
    return SKY_OK;
}

typedef struct {
    sky_segment *s;
    const picture *p;
    sky_tensor img;
} job;

static int network(void *arg, void *out, sky_err *e)
{
    const job *j = arg;
    sky_ctx *c = j->s->c;
    sky_seg_opts o = {0};
    sky_seg_out y;
    int rc = sky_seg_forward(j->s->m, c, j->img, sky_none, &o, &y, e);
    if (rc)
        return rc;
    sky_tensor logits = sky_resize(c, y.logits, j->p->h, j->p->w, SKY_BILINEAR);
    memcpy(out, &logits, sizeof logits);
    return c->err.code ? sky_fail(e, c->err.code, "%s", c->err.msg) : SKY_OK;
}

/* The picture is uploaded before: what else the network does depends on its size alone (tensor/replay.h). */
static int forward(sky_segment *s, const picture *p, uint8_t *map, sky_err *e)
{
    sky_ctx *c = s->c;
    const int size[3] = {p->t, p->h, p->w};
    sky_tensor logits;
    job j = {s, p, sky_upload(c, SKY_F32, 4, (int64_t[]){p->t, p->h, p->w, s->seg.channels}, p->img)};
    int rc = sky_replay_run(s->replay, size, sizeof size, network, &j, &logits, sizeof logits, e);
    if (rc || c->dry)
        return rc;
    float *x = sky_alloc((size_t)sky_bytes(&logits));
    if (!x)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    sky_download(c, x, &logits);
    rc = c->err.code ? sky_fail(e, c->err.code, "%s", c->err.msg) : decide(map, x, (int64_t)p->h * p->w, s, e);
    sky_free(x);
    return rc;
}

static int predict(sky_segment *s, const picture *p, uint8_t *map, sky_err *e)
{
    sky_ctx_dry(s->c);
    int rc = forward(s, p, map, e);
    size_t peak = s->c->peak;
    if (!rc)
        rc = sky_ctx_alloc(s->c, peak > s->c->size ? peak : s->c->size, e);
    return rc ? rc : forward(s, p, map, e);
}

/* ------------------------------------------------------------------ the prediction */
static int describe(sky_sample *out, const sky_segment *s, const sky_sample *x, sky_field *f, const sky_field *from, sky_err *e)
{
    json_t *crs = json_object_get(from->meta, "crs");
    double affine[6];
    int bad = json_object_update(out->meta, x->meta) || json_object_set_new(out->meta, "model", json_string(s->model)) ||
              json_object_set_new(f->meta, "role", json_string("label")) ||
              json_object_set(f->meta, "classes", s->classes) || (crs && json_object_set(f->meta, "crs", crs));
    if (bad)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    return sky_field_affine(from, affine) ? sky_field_set_affine(f, affine, e) : SKY_OK;
}

static int answer(sky_sample *out, sky_segment *s, const sky_sample *x, const sky_field *from, picture *p, sky_err *e)
{
    int rc = load(p, s, from, e);
    if (!rc)
        rc = sky_sample_begin(out, x->id, e);
    sky_field *f = rc ? NULL : sky_sample_add(out, "pred", e);
    if (!rc && !f)
        rc = e->code;
    if (!rc)
        rc = sky_field_alloc(f, SKY_U8, 2, (uint64_t[]){(uint64_t)p->h, (uint64_t)p->w}, 0, e);
    if (!rc)
        rc = sky_field_set_dims(f, "yx", e);
    if (!rc)
        rc = predict(s, p, f->data, e);
    return rc ? rc : describe(out, s, x, f, from, e);
}

int sky_segment_answer(sky_sample *out, sky_segment *s, const sky_sample *x, sky_err *e)
{
    const sky_field *from = sky_sample_field(x, s->field);
    picture p = {0};
    int rc = from && !from->absent ? answer(out, s, x, from, &p, e) : sky_fail(e, SKY_ECORRUPT, "it is %s", from ? "marked absent" : "missing");
    sky_free(p.img);
    return rc ? sky_wrap(e, "sample '%s': field '%s'", x->id, s->field) : SKY_OK;
}
