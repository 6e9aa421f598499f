/* From a pass that was run to a prediction sample, and the probabilities behind it. */
#include "base/mem.h"
#include "data/infer_internal.h"
#include "format/palette.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- probabilities ------------------------------------------------------------------------------------------------- */

/* One row of the resized logits, [side][c], at position `at` (in source rows) of the canvas. */
static void resized_row(float *row, const float *x, int h, int w, int c, int side, double at)
{
    const int y0 = (int)at < h - 1 ? (int)at : h - 1, y1 = y0 + 1 < h ? y0 + 1 : y0;
    const float fy = (float)(at - y0);
    for (int i = 0; i < side; i++) {
        const double s = side > 1 ? (double)i * (w - 1) / (side - 1) : 0;
        const int x0 = (int)s < w - 1 ? (int)s : w - 1, x1 = x0 + 1 < w ? x0 + 1 : x0;
        const float fx = (float)(s - x0);
        const float *a = x + ((int64_t)y0 * w + x0) * c, *b = x + ((int64_t)y0 * w + x1) * c;
        const float *d = x + ((int64_t)y1 * w + x0) * c, *g = x + ((int64_t)y1 * w + x1) * c;
        for (int k = 0; k < c; k++) {
            const float up = a[k] + fx * (b[k] - a[k]), low = d[k] + fx * (g[k] - d[k]);
            row[(int64_t)i * c + k] = up + fy * (low - up);
        }
    }
}

static void softmax(float *x, int n)
{
    float top = x[0], sum = 0;
    for (int i = 1; i < n; i++)
        top = x[i] > top ? x[i] : top;
    for (int i = 0; i < n; i++)
        sum += x[i] = expf(x[i] - top);
    for (int i = 0; i < n; i++)
        x[i] /= sum;
}

void sky_infer_add_run(const sky_infer *in, sky_infer_pass *p, const float *logits, int h, int w, const uint8_t slot_of[256], float *row)
{
    const int side = in->o.side, c = in->vocab + 1;
    const size_t n = sky_infer_pixels(in);
    const float part = 1.0f / (float)in->o.slots;
    uint8_t in_play[256] = {0};
    for (int k = 0; k < p->n; k++)
        in_play[slot_of[p->values[k]]] = 1;
    for (int y = 0; y < side; y++) {
        resized_row(row, logits, h, w, c, side, (double)(side + y) * (h - 1) / (2 * side - 1));
        for (int x = 0; x < side; x++) {
            float *v = row + (int64_t)x * c, other = 0, *to = p->prob + (size_t)y * (size_t)side + (size_t)x;
            softmax(v, c);
            for (int s = 0; s < c; s++)
                other = !in_play[s] && v[s] > other ? v[s] : other;
            for (int k = 0; k < p->n; k++)
                to[(size_t)k * n] += part * v[slot_of[p->values[k]]];
            to[(size_t)p->n * n] += part * other;
        }
    }
}

/* ---- class tables ---------------------------------------------------------------------------------------------------- */

static const json_t *entry_of(const json_t *table, int value)
{
    for (size_t i = 0; i < json_array_size(table); i++)
        if (json_integer_value(json_object_get(json_array_get(table, i), "value")) == value)
            return json_array_get(table, i);
    return NULL;
}

/* {"value": as, ...} with name and colour of the label's class `value`. */
static int add_class(json_t *to, const sky_infer *in, const json_t *table, int value, int as)
{
    const json_t *known = entry_of(table, value);
    json_t *one = json_pack("{s:i}", "value", as), *name = json_object_get(known, "name"), *colour = json_object_get(known, "color");
    int bad = !one;
    if (name)
        bad |= json_object_set(one, "name", name);
    if (colour)
        bad |= json_object_set(one, "color", colour);
    else if (in->o.palette)
        bad |= json_object_set_new(one, "color", sky_class_colour_json(value));
    return json_array_append_new(to, one) || bad;
}

/* Binary: 1 with the class's name. Multi-class: the label's table, and the classes in play that it lacks. */
static json_t *class_table(const sky_infer *in, const sky_infer_pass *p)
{
    json_t *to = json_array();
    int bad = !to;
    if (p->cls >= 0)
        bad = bad || add_class(to, in, p->classes, p->values[0], 1);
    for (int v = 0; p->cls < 0 && v < 256; v++) {
        int wanted = entry_of(p->classes, v) != NULL;
        for (int k = 0; k < p->n; k++)
            wanted |= p->values[k] == v;
        bad = bad || (wanted && add_class(to, in, p->classes, v, v));
    }
    if (bad) {
        json_decref(to);
        return NULL;
    }
    return to;
}

/* ---- the sample -------------------------------------------------------------------------------------------------------- */

static int describe(const sky_infer *in, const sky_infer_pass *p, sky_sample *s)
{
    uint8_t slot_of[256];
    sky_err ignored;
    json_t *classes = json_array(), *slots = json_array();
    int bad = !classes || !slots || json_object_update(s->meta, p->meta);
    for (int k = 0; !bad && k < p->n; k++)
        bad = json_array_append_new(classes, json_integer(p->values[k]));
    for (int k = 0; !bad && k < in->o.slots; k++) {
        json_t *run = json_array();
        bad = json_array_append_new(slots, run) || sky_infer_slots(slot_of, in, p, k, &ignored);
        for (int i = 0; !bad && i < p->n; i++)
            bad = json_array_append_new(run, json_integer(slot_of[p->values[i]]));
    }
    json_t *own = bad ? NULL : json_pack("{s:s, s:[s], s:s, s:s, s:I}", "query", p->query, "prompts", p->prompt, "model", in->o.model,
                                         "protocol", p->cls < 0 ? "multiclass" : "binary", "seed", (json_int_t)in->o.seed);
    bad = !own || json_object_update(s->meta, own);
    if (!bad && p->cls >= 0)
        bad = json_object_set_new(s->meta, "class", json_integer(p->cls)) ||
              json_object_set(s->meta, "slot", json_array_get(json_array_get(slots, 0), 0));
    else if (!bad)
        bad = json_object_set(s->meta, "classes", classes);
    if (!bad && (p->cls < 0 || in->o.slots > 1)) /* one row per run, in the order of the classes */
        bad = json_object_set(s->meta, "slots", slots);
    json_decref(own), json_decref(classes), json_decref(slots);
    return !bad;
}

static int place(sky_field *f, const sky_infer_pass *p, sky_err *e)
{
    if (p->crs && json_object_set(f->meta, "crs", p->crs))
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    return p->has_affine ? sky_field_set_affine(f, p->affine, e) : SKY_OK;
}

static int add_map(const sky_infer *in, const sky_infer_pass *p, sky_sample *s, sky_err *e)
{
    const uint64_t shape[] = {(uint64_t)in->o.side, (uint64_t)in->o.side};
    sky_field *f = sky_sample_add(s, "pred", e);
    int rc = f ? sky_field_alloc(f, SKY_U8, 2, shape, 0, e) : e->code;
    if (!rc)
        rc = sky_field_set_dims(f, "yx", e);
    if (!rc && (json_object_set_new(f->meta, "role", json_string("label")) || json_object_set_new(f->meta, "classes", class_table(in, p))))
        rc = sky_fail(e, SKY_ENOMEM, "out of memory");
    if (!rc)
        memcpy(f->data, p->map, sky_infer_pixels(in));
    return rc ? rc : place(f, p, e);
}

static int add_prob(const sky_infer *in, const sky_infer_pass *p, sky_sample *s, sky_err *e)
{
    const uint64_t shape[] = {(uint64_t)p->n, (uint64_t)in->o.side, (uint64_t)in->o.side};
    sky_field *f = sky_sample_add(s, "prob", e);
    int rc = f ? sky_field_alloc(f, SKY_F16, 3, shape, 0, e) : e->code;
    if (!rc)
        rc = sky_field_set_dims(f, "cyx", e);
    json_t *bands = json_array();
    for (int k = 0; bands && k < p->n; k++) {
        char name[16];
        snprintf(name, sizeof name, "%d", p->values[k]);
        if (json_array_append_new(bands, json_string(name))) {
            json_decref(bands);
            bands = NULL;
        }
    }
    if (!rc && (json_object_set_new(f->meta, "role", json_string("probability")) || json_object_set(f->meta, "bands", bands)))
        rc = sky_fail(e, SKY_ENOMEM, "out of memory");
    json_decref(bands);
    for (size_t i = 0; !rc && i < (size_t)p->n * sky_infer_pixels(in); i++)
        ((uint16_t *)f->data)[i] = sky_f32_to_f16(p->prob[i]);
    return rc ? rc : place(f, p, e);
}

int sky_infer_answer(sky_sample *out, const sky_infer *in, const sky_infer_pass *p, sky_err *e)
{
    char id[300];
    if (p->err.code) {
        sky_fail(e, p->err.code, "%s", p->err.msg);
        return sky_wrap(e, "query '%s', prompt '%s'", p->query, p->prompt);
    }
    if (p->cls < 0)
        snprintf(id, sizeof id, "%s", p->query);
    else
        snprintf(id, sizeof id, "%s#%d", p->query, p->cls);
    int rc = sky_sample_begin(out, id, e);
    if (!rc && !describe(in, p, out))
        rc = sky_fail(e, SKY_ENOMEM, "out of memory");
    if (!rc)
        rc = add_map(in, p, out, e);
    if (!rc && in->o.probabilities)
        rc = add_prob(in, p, out, e);
    return rc;
}
