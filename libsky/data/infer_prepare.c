/* From a query and a prompt to what the model takes. */
#include "base/mem.h"
#include "data/infer_internal.h"
#include "data/labels.h"
#include "data/oneshot.h"

#include <string.h>

const json_t *sky_infer_table(const sky_field *f, const json_t *schema)
{
    const json_t *own = json_object_get(f->meta, "classes");
    return own ? own : json_object_get(json_object_get(json_object_get(schema, "fields"), f->name), "classes");
}

static const sky_field *field_of(const sky_sample *s, const char *name, sky_err *e)
{
    const sky_field *f = sky_sample_field(s, name);
    if (!f || f->absent)
        sky_fail(e, SKY_ECORRUPT, "sample '%s': field '%s' is %s", s->id, name, f ? "marked absent" : "missing");
    return f && !f->absent ? f : NULL;
}

/* ---- classes in play ----------------------------------------------------------------------------------------------- */

static int listed(const json_t *list, int v)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_integer_value(json_array_get(list, i)) == v)
            return 1;
    return 0;
}

static int choose_classes(sky_infer_pass *p, const sky_field *label, const sky_infer_task *t, const uint8_t *px, size_t n, sky_err *e)
{
    const json_t *table = sky_infer_table(label, t->prompt_schema), *ignore = json_object_get(label->meta, "ignore");
    if (!ignore)
        ignore = json_object_get(json_object_get(json_object_get(t->prompt_schema, "fields"), label->name), "ignore");
    uint8_t seen[256] = {0};
    for (size_t i = 0; i < n; i++)
        seen[px[i]] = 1;
    for (int v = 0; v < 256; v++)
        if (t->cls >= 0 ? v == t->cls && seen[v] : seen[v] && !listed(ignore, v) && !sky_class_is_background(table, v))
            p->values[p->n++] = v;
    if (!p->n && t->cls >= 0)
        return sky_fail(e, SKY_ECORRUPT, "prompt '%s': no pixel of class %d in field '%s'", t->prompt->id, t->cls, label->name);
    if (!p->n)
        return sky_fail(e, SKY_ECORRUPT, "prompt '%s': no class but background in field '%s'", t->prompt->id, label->name);
    if (table && !(p->classes = sky_json_copy(table)))
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    return SKY_OK;
}

/* ---- pictures -------------------------------------------------------------------------------------------------------- */

typedef struct {
    uint8_t *px;
    int h, w;
} picture;

static int load(picture *to, const sky_infer *in, const sky_sample *s, const char *name, int label, sky_err *e)
{
    const sky_field *f = field_of(s, name, e);
    if (!f)
        return e->code;
    int rc = label ? sky_prep_label(&to->px, &to->h, &to->w, f, e) : sky_prep_rgb(&to->px, &to->h, &to->w, f, in->bands, e);
    return rc ? sky_wrap(e, "sample '%s'", s->id) : SKY_OK;
}

static int draw_canvas(sky_infer_pass *p, const sky_infer *in, const picture pic[3])
{
    const size_t n = sky_infer_pixels(in);
    p->hr = sky_alloc(2 * n * 3 * sizeof *p->hr);
    p->label = sky_alloc(n);
    p->mask = sky_alloc(2 * n / (128 * 128));
    if (!p->hr || !p->label || !p->mask)
        return 0;
    sky_prep_canvas(p->hr, p->label, p->mask, in->o.side, pic[1].px, pic[1].h, pic[1].w, pic[2].px, pic[2].h, pic[2].w, pic[0].px, pic[0].h, pic[0].w);
    return 1;
}

static int pictures(sky_infer_pass *p, const sky_infer *in, const sky_infer_task *t, sky_err *e)
{
    picture pic[3] = {{0}}; /* query, prompt, prompt's label */
    int rc = load(&pic[0], in, t->query, in->o.image, 0, e);
    if (!rc)
        rc = load(&pic[1], in, t->prompt, in->o.image, 0, e);
    if (!rc)
        rc = load(&pic[2], in, t->prompt, in->o.label, 1, e);
    if (!rc)
        rc = choose_classes(p, sky_sample_field(t->prompt, in->o.label), t, pic[2].px, (size_t)pic[2].h * (size_t)pic[2].w, e);
    if (!rc && !draw_canvas(p, in, pic))
        rc = sky_fail(e, SKY_ENOMEM, "out of memory for a canvas of side %d", in->o.side);
    if (!rc) {
        const sky_field *f = sky_sample_field(t->query, in->o.image);
        p->has_affine = sky_field_affine(f, p->affine);
        /* The prediction's pixels are those of the canvas: columns times w/side, rows times h/side. */
        for (int i = 0; i < 2; i++) {
            p->affine[3 * i] *= (double)pic[0].w / in->o.side;
            p->affine[3 * i + 1] *= (double)pic[0].h / in->o.side;
        }
        p->crs = json_incref(json_object_get(f->meta, "crs"));
    }
    for (int i = 0; i < 3; i++)
        sky_free(pic[i].px);
    return rc;
}

/* ---- a pass ------------------------------------------------------------------------------------------------------------- */

static int results(sky_infer_pass *p, const sky_infer *in, sky_err *e)
{
    const size_t n = sky_infer_pixels(in), planes = (size_t)p->n + 1;
    const int prob = in->o.probabilities || in->o.slots > 1;
    p->map = sky_calloc(n, 1);
    p->prob = prob ? sky_calloc(planes * n, sizeof *p->prob) : NULL;
    return p->map && (p->prob || !prob) ? SKY_OK : sky_fail(e, SKY_ENOMEM, "out of memory for a prediction of side %d", in->o.side);
}

int sky_infer_prepare(sky_infer_pass **out, const sky_infer *in, const sky_infer_task *t, sky_err *e)
{
    sky_infer_pass *p = sky_calloc(1, sizeof *p);
    if (!p)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    p->cls = t->cls;
    p->query = sky_strdup(t->query->id);
    p->prompt = sky_strdup(t->prompt->id);
    p->meta = sky_json_copy(t->query->meta);
    int rc = p->query && p->prompt && p->meta ? SKY_OK : sky_fail(e, SKY_ENOMEM, "out of memory");
    if (!rc)
        rc = pictures(p, in, t, e);
    for (int i = 0; !rc && i < SENTINELS; i++)
        rc = sky_infer_sentinel(&p->sentinel[i], in, i, t, e);
    if (!rc)
        rc = results(p, in, e);
    if (rc) {
        sky_infer_pass_free(p);
        return rc;
    }
    *out = p;
    return SKY_OK;
}

void sky_infer_pass_reset(const sky_infer *in, sky_infer_pass *p)
{
    p->err = (sky_err){0};
    if (p->prob)
        memset(p->prob, 0, ((size_t)p->n + 1) * sky_infer_pixels(in) * sizeof *p->prob);
}

void sky_infer_pass_free(sky_infer_pass *p)
{
    if (!p)
        return;
    sky_free(p->query), sky_free(p->prompt);
    json_decref(p->meta), json_decref(p->classes), json_decref(p->crs);
    sky_free(p->hr), sky_free(p->label), sky_free(p->mask), sky_free(p->map), sky_free(p->prob);
    for (int i = 0; i < SENTINELS; i++)
        sky_free(p->sentinel[i]);
    sky_free(p);
}
