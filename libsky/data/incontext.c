/* The in-context sampler (incontext.h has the rules). */
#include "base/mem.h"
#include "data/incontext_internal.h"
#include "data/oneshot.h"
#include "data/resize.h"

#include <inttypes.h>
#include <string.h>

const sky_incontext_opts sky_incontext_default = {.side = 512, .vocab = 64, .s2_channels = 10, .s1_channels = 2, .half = 0.3, .repeat = 2000};

/* dynamic-mm: four bands of 16 bits, blue first. flair-mm: colours first of five bands, Sentinel series of a wider area. */
static double dynamic_mean[3] = {1085.2941, 944.2718, 689.2493}, dynamic_std[3] = {1008.4052, 760.9586, 631.4754};
static const sky_normal dynamic = {3, NULL, 1, dynamic_mean, dynamic_std};
const sky_incontext_set sky_incontext_published[2] = {{"dynamic-mm", 1, {2, 1, 0}, &dynamic, 0}, {"flair-mm", 1, {0, 1, 2}, NULL, 40}};

/* ---- opening --------------------------------------------------------------------------------------------------------------- */

/* A copy, so that both kinds are freed alike. */
static int given(sky_normal **out, const sky_normal *n, int channels, const char *field, sky_err *e)
{
    json_t *j = sky_normal_json(n);
    int rc = j ? sky_normal_parse(out, j, field, e) : sky_fail(e, SKY_ENOMEM, "out of memory");
    json_decref(j);
    return rc || n->n == channels ? rc : sky_fail(e, SKY_EUSAGE, "normalisation of field '%s': %d bands, the model takes %d", field, n->n, channels);
}

static int normals(sky_incontext *s, sky_err *e)
{
    int rc = sky_normal_released(&s->hr, "hr", e);
    if (!rc && s->channels[LAYER_S2])
        rc = s->o.s2_normal ? given(&s->s2, s->o.s2_normal, s->channels[LAYER_S2], s->field[LAYER_S2], e) : sky_normal_released(&s->s2, "s2", e);
    if (!rc && s->channels[LAYER_S1])
        rc = s->o.s1_normal ? given(&s->s1, s->o.s1_normal, s->channels[LAYER_S1], s->field[LAYER_S1], e) : sky_normal_released(&s->s1, "s1", e);
    return rc;
}

static int classes_of_datasets(sky_incontext *s, sky_err *e)
{
    const int n = sky_roll_pairs(s->r);
    if (!(s->of_dataset = sky_calloc((size_t)n, sizeof *s->of_dataset)))
        return sky_fail(e, SKY_ENOMEM, "out of memory for %d pairs", n);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < n; k++) {
            const sky_pair *a = sky_roll_pair(s->r, i), *b = sky_roll_pair(s->r, k);
            if (!strcmp(a->dataset, b->dataset))
                s->of_dataset[i][b->cls >> 3] |= (uint8_t)(1 << (b->cls & 7));
        }
    return SKY_OK;
}

static int check(const sky_roll *r, const sky_incontext_opts *o, sky_err *e)
{
    if (o->side < SKY_MASK_CELL || o->side % SKY_MASK_CELL || o->side > 8192)
        return sky_fail(e, SKY_EUSAGE, "canvas of side %d, want a multiple of %d", o->side, SKY_MASK_CELL);
    if (o->vocab < 1 || o->vocab > 255 || !o->repeat)
        return sky_fail(e, SKY_EUSAGE, "%d slots, %" PRIu64 " items per pair; want 1..255 slots and at least one item", o->vocab, o->repeat);
    if ((o->s2_channels && o->s2_channels != 10) || (o->s1_channels && o->s1_channels != 2))
        return sky_fail(e, SKY_EUSAGE, "%d and %d Sentinel channels, want 10 and 2, or 0 for none", o->s2_channels, o->s1_channels);
    return sky_roll_pairs(r) ? SKY_OK : sky_fail(e, SKY_ECORRUPT, "no sample holds a class other than background");
}

int sky_incontext_open(sky_incontext **out, const sky_roll *r, const sky_incontext_opts *o, sky_err *e)
{
    int rc = check(r, o, e);
    sky_incontext *s = rc ? NULL : sky_calloc(1, sizeof *s);
    if (rc)
        return rc;
    if (!s)
        return sky_fail(e, SKY_ENOMEM, "out of memory for the sampler");
    s->r = r;
    s->o = *o;
    s->field[LAYER_HR] = o->hr ? o->hr : "hr";
    s->field[LAYER_S2] = !o->s2_channels ? NULL : o->s2 ? o->s2 : "s2";
    s->field[LAYER_S1] = !o->s1_channels ? NULL : o->s1 ? o->s1 : "s1";
    s->channels[LAYER_HR] = 3, s->channels[LAYER_S2] = o->s2_channels, s->channels[LAYER_S1] = o->s1_channels;
    int n = 0;
    for (int i = 0; i < LAYERS; i++)
        if (s->field[i])
            s->fields[n++] = s->field[i];
    s->fields[n] = sky_roll_label(r);
    rc = normals(s, e);
    if (!rc)
        rc = classes_of_datasets(s, e);
    if (rc)
        sky_incontext_close(s);
    else
        *out = s;
    return rc;
}

void sky_incontext_close(sky_incontext *s)
{
    if (!s)
        return;
    sky_normal_free(s->hr), sky_normal_free(s->s2), sky_normal_free(s->s1);
    sky_free(s->of_dataset);
    sky_free(s);
}

uint64_t sky_incontext_items(const sky_incontext *s) { return (uint64_t)sky_roll_pairs(s->r) * s->o.repeat; }

json_t *sky_incontext_normals(const sky_incontext *s)
{
    static const char *const name[LAYERS] = {"hr", "s2", "s1"};
    const sky_normal *n[LAYERS] = {s->hr, s->s2, s->s1};
    json_t *o = json_object();
    for (int i = 0; o && i < LAYERS; i++)
        if (s->field[i] && json_object_set_new(o, name[i], sky_normal_json(n[i]))) {
            json_decref(o);
            return NULL;
        }
    return o;
}

/* ---- the joined picture ---------------------------------------------------------------------------------------------------- */

typedef struct {
    const sky_incontext *s;
    int pair;
    sky_cursor c;
    uint64_t seed;
    sky_incontext_item *it;
    float *joined[LAYERS]; /* planes [c, 4n, 2n], n = side or side/32 */
    uint8_t *label;        /* class values [4*side, 2*side] */
    int sparse;            /* the annotation is thinned */
    uint8_t kept[32];      /* classes in all samples so far, or in any */
} work;

static int part_side(const sky_incontext *s, int layer) { return layer == LAYER_HR ? s->o.side : s->o.side / SKY_CELL; }

static int open_work(work *k, sky_err *e)
{
    const size_t side = (size_t)k->s->o.side;
    int ok = (k->label = sky_alloc(8 * side * side)) != NULL;
    for (int i = 0; i < LAYERS; i++) {
        const size_t n = (size_t)part_side(k->s, i);
        ok &= !k->s->channels[i] || (k->joined[i] = sky_calloc((size_t)k->s->channels[i] * 8 * n * n, sizeof(float)));
    }
    memset(k->kept, k->s->o.any_class ? 0 : 255, sizeof k->kept);
    return ok ? SKY_OK : sky_fail(e, SKY_ENOMEM, "out of memory for a canvas of side %d", k->s->o.side);
}

static void close_work(work *k)
{
    for (int i = 0; i < LAYERS; i++)
        sky_free(k->joined[i]);
    sky_free(k->label);
}

/* n x n elements of `size` bytes into place `number` of the joined picture, mirrored when flip is set. */
static void paste(void *joined, const void *part, int n, int number, int flip, size_t size)
{
    const size_t row = (size_t)n * SKY_COLUMNS, at = (size_t)(number % SKY_ROWS) * (size_t)n * row + (size_t)(number / SKY_ROWS) * (size_t)n;
    for (size_t y = 0; y < (size_t)n; y++) {
        char *to = (char *)joined + (at + y * row) * size;
        const char *from = (const char *)part + y * (size_t)n * size;
        if (!flip)
            memcpy(to, from, (size_t)n * size);
        for (size_t x = 0; flip && x < (size_t)n; x++)
            memcpy(to + x * size, from + ((size_t)n - 1 - x) * size, size);
    }
}

static void nearest(uint8_t *dst, int H, int W, const uint8_t *src, int stride, sky_rect r)
{
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            *dst++ = src[(int64_t)(r.y + (int64_t)y * r.h / H) * stride + r.x + (int64_t)x * r.w / W];
}

/* Crop, resize and flip one sample, and join it. */
static int join(work *k, const sky_context_part *p, int number, sky_draw *d, sky_err *e)
{
    const sky_incontext *s = k->s;
    const int cells = s->o.side / SKY_CELL;
    const sky_rect crop = sky_crop_area(d, cells, cells, 0.8, 1);
    const int flip = sky_draw_range(d, 0, 1) < 0.5;
    float *part = sky_alloc((size_t)s->o.side * (size_t)s->o.side * sizeof *part);
    int rc = part ? SKY_OK : sky_fail(e, SKY_ENOMEM, "out of memory for a picture of side %d", s->o.side);
    for (int i = 0; i < LAYERS; i++) {
        const sky_planes *q = &p->layer[i];
        const int n = part_side(s, i);
        for (int c = 0; !rc && q->px && c < q->c; c++) {
            rc = sky_plane_resize(part, n, n, q->px + (size_t)c * (size_t)q->h * (size_t)q->w, q->w, sky_rect_scale(crop, cells, cells, q->h, q->w), e);
            if (!rc)
                paste(k->joined[i] + (size_t)c * 8 * (size_t)n * (size_t)n, part, n, number, flip, sizeof *part);
        }
    }
    if (!rc) {
        nearest((uint8_t *)part, s->o.side, s->o.side, p->label, p->w, sky_rect_scale(crop, cells, cells, p->h, p->w));
        paste(k->label, part, s->o.side, number, flip, 1);
    }
    sky_free(part);
    return rc;
}

static int add_sample(work *k, int number, uint64_t sample, sky_err *e)
{
    const sky_incontext *s = k->s;
    sky_draw d = sky_draw_make(k->seed, k->c.epoch, k->c.position, (uint32_t)(DRAW_SAMPLE + number));
    sky_sample x = {0};
    sky_context_part p = {0};
    int rc = sky_roll_read(s->r, sample, s->fields, &x, e);
    if (!rc && !(k->it->name[number] = sky_strdup(x.id)))
        rc = sky_fail(e, SKY_ENOMEM, "out of memory");
    if (!rc)
        rc = sky_context_load(&p, s, sky_roll_pair(s->r, k->pair), &x, &d, e);
    if (!rc)
        rc = join(k, &p, number, &d, e);
    for (int i = 0; i < LAYERS; i++)
        k->it->flags[i] &= p.layer[i].px != NULL;
    for (int i = 0; i < 32; i++)
        k->kept[i] = (uint8_t)(s->o.any_class ? k->kept[i] | p.seen[i] : k->kept[i] & p.seen[i]);
    sky_context_part_free(&p);
    sky_sample_free(&x);
    return rc;
}

/* ---- the canvas -------------------------------------------------------------------------------------------------------------- */

/* Each class kept, the item's among them, in a slot of its own: the first of a shuffle of 1..vocab. */
static int draw_slots(uint8_t slot_of[256], const work *k, sky_err *e)
{
    uint8_t slot[256];
    int n = 0, vocab = k->s->o.vocab;
    sky_draw d = sky_draw_make(k->seed, k->c.epoch, k->c.position, DRAW_SLOTS);
    for (int i = 0; i < vocab; i++)
        slot[i] = (uint8_t)(i + 1);
    memset(slot_of, 0, 256);
    for (int c = 0; c < 256; c++) {
        if (!(k->kept[c >> 3] & k->s->of_dataset[k->pair][c >> 3] & 1 << (c & 7)))
            continue;
        if (n == vocab)
            return sky_fail(e, SKY_ELIMIT, "more than %d classes in one item, the model has %d slots", n, vocab);
        const int j = n + (int)sky_draw_below(&d, (uint64_t)(vocab - n));
        const uint8_t v = slot[j];
        slot[j] = slot[n];
        slot_of[c] = slot[n++] = v;
    }
    return SKY_OK;
}

/* One layer's crop of the joined picture as the item's pixels, normalised. */
static int canvas_layer(float *dst, const work *k, int layer, const sky_normal *n, sky_rect crop, sky_err *e)
{
    const int side = part_side(k->s, layer), H = 2 * side, W = side, cells = k->s->o.side / SKY_CELL, channels = k->s->channels[layer];
    const size_t px = (size_t)H * (size_t)W;
    const sky_rect r = sky_rect_scale(crop, SKY_ROWS * cells, SKY_COLUMNS * cells, SKY_ROWS * side, SKY_COLUMNS * side);
    float *plane = sky_calloc(px, sizeof *plane);
    int rc = plane ? SKY_OK : sky_fail(e, SKY_ENOMEM, "out of memory for a canvas of side %d", k->s->o.side);
    for (int c = 0; !rc && c < channels; c++) {
        if (k->it->flags[layer])
            rc = sky_plane_resize(plane, H, W, k->joined[layer] + (size_t)c * 8 * (size_t)side * (size_t)side, SKY_COLUMNS * side, r, e);
        for (size_t i = 0; !rc && i < px; i++)
            dst[i * (size_t)channels + (size_t)c] = (float)((plane[i] / n->divide - n->mean[c]) / n->std[c]);
    }
    sky_free(plane);
    return rc;
}

/* What the model sees of the annotation. */
static int show(work *k, sky_err *e)
{
    sky_incontext_item *it = k->it;
    const int side = k->s->o.side;
    const size_t px = 2 * (size_t)side * (size_t)side;
    sky_draw d = sky_draw_make(k->seed, k->c.epoch, k->c.position, DRAW_PATCHES);
    if (!(it->annotation = sky_alloc(px)))
        return sky_fail(e, SKY_ENOMEM, "out of memory for an annotation of side %d", side);
    if (k->sparse)
        sky_incontext_thin(it->annotation, it->labels, it->anno_mask, 2 * side, side, &d);
    else
        memcpy(it->annotation, it->labels, px);
    return SKY_OK;
}

static int draw_canvas(work *k, sky_err *e)
{
    const sky_incontext *s = k->s;
    sky_incontext_item *it = k->it;
    const size_t side = (size_t)s->o.side, cells = side / SKY_CELL, px = 2 * side * side;
    const sky_incontext_set *set = sky_context_set(s, it->dataset);
    uint8_t slot_of[256];
    it->hr = sky_alloc(3 * px * sizeof *it->hr);
    it->s2 = s->field[LAYER_S2] ? sky_alloc(2 * cells * cells * (size_t)s->channels[LAYER_S2] * sizeof *it->s2) : NULL;
    it->s1 = s->field[LAYER_S1] ? sky_alloc(2 * cells * cells * (size_t)s->channels[LAYER_S1] * sizeof *it->s1) : NULL;
    it->labels = sky_alloc(px);
    it->anno_mask = sky_alloc(px / (SKY_MASK_CELL * SKY_MASK_CELL));
    if (!it->hr || !it->labels || !it->anno_mask || (s->field[LAYER_S2] && !it->s2) || (s->field[LAYER_S1] && !it->s1))
        return sky_fail(e, SKY_ENOMEM, "out of memory for a canvas of side %d", s->o.side);
    sky_draw d = sky_draw_make(k->seed, k->c.epoch, k->c.position, DRAW_CANVAS);
    const sky_rect crop = sky_crop_area(&d, SKY_ROWS * (int)cells, SKY_COLUMNS * (int)cells, 0.3, 1);
    int rc = draw_slots(slot_of, k, e);
    if (!rc)
        rc = canvas_layer(it->hr, k, LAYER_HR, set && set->hr ? set->hr : s->hr, crop, e);
    if (!rc && it->s2)
        rc = canvas_layer(it->s2, k, LAYER_S2, s->s2, crop, e);
    if (!rc && it->s1)
        rc = canvas_layer(it->s1, k, LAYER_S1, s->s1, crop, e);
    nearest(it->labels, 2 * (int)side, (int)side, k->label, SKY_COLUMNS * (int)side, sky_rect_scale(crop, SKY_ROWS * (int)cells, SKY_COLUMNS * (int)cells, SKY_ROWS * (int)side, SKY_COLUMNS * (int)side));
    for (size_t i = 0; i < px; i++)
        it->labels[i] = slot_of[it->labels[i]];
    d = sky_draw_make(k->seed, k->c.epoch, k->c.position, DRAW_MASK);
    sky_mask_half(it->anno_mask, 2 * s->o.side / SKY_MASK_CELL, s->o.side / SKY_MASK_CELL, &d, s->o.half);
    return rc || s->o.sparse <= 0 ? rc : show(k, e);
}

int sky_incontext_make(const sky_incontext *s, uint64_t at, uint64_t attempt, sky_incontext_item **out, sky_err *e)
{
    uint64_t number[SKY_CONTEXT];
    const sky_cursor c = sky_cursor_at(at, sky_incontext_items(s));
    work k = {.s = s, .c = c, .seed = attempt ? sky_mix64(s->o.seed, attempt) : s->o.seed, .it = sky_calloc(1, sizeof *k.it)};
    if (!k.it)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    k.pair = sky_order_pair(s->o.seed, s->r, s->o.repeat, c);
    const sky_pair *pair = sky_roll_pair(s->r, k.pair);
    k.it->id = at;
    k.it->cls = pair->cls;
    k.it->dataset = pair->dataset;
    memset(k.it->flags, 1, sizeof k.it->flags);
    sky_draw d = sky_draw_make(k.seed, c.epoch, c.position, DRAW_SPARSE);
    k.sparse = sky_draw_range(&d, 0, 1) < s->o.sparse;
    sky_order_members(s->o.seed, pair, c, attempt, number, SKY_CONTEXT);
    int rc = open_work(&k, e);
    for (int i = 0; !rc && i < SKY_CONTEXT; i++)
        rc = add_sample(&k, i, number[i], e);
    if (!rc)
        rc = draw_canvas(&k, e);
    close_work(&k);
    if (rc) {
        sky_incontext_free(k.it);
        return sky_wrap(e, "item %" PRIu64 " (%s, class %d)", at, pair->dataset, pair->cls);
    }
    *out = k.it;
    return SKY_OK;
}

void sky_incontext_free(sky_incontext_item *it)
{
    if (!it)
        return;
    sky_free(it->hr), sky_free(it->s2), sky_free(it->s1), sky_free(it->labels), sky_free(it->annotation), sky_free(it->anno_mask);
    for (int i = 0; i < SKY_CONTEXT; i++)
        sky_free(it->name[i]);
    sky_free(it);
}

static int source_make(void *arg, uint64_t at, uint64_t attempt, void **item, sky_err *e)
{
    sky_incontext_item *it = NULL;
    const int rc = sky_incontext_make(arg, at, attempt, &it, e);
    *item = it;
    return rc;
}

static void source_free(void *item) { sky_incontext_free(item); }

sky_source sky_incontext_source(sky_incontext *s) { return (sky_source){source_make, source_free, s}; }
