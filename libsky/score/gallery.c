#include "score/gallery.h"
#include "base/mem.h"
#include "data/oneshot.h"
#include "data/tile.h"
#include "format/palette.h"

#include <stdio.h>
#include <string.h>

/* The first field with rows and columns that is neither a label nor a mask of valid pixels. */
static const sky_field *image_of(const sky_sample *s)
{
    for (int i = 0; i < s->nfields; i++) {
        const sky_field *f = &s->fields[i];
        if (f->data && !sky_field_is_label(f) && !sky_is_valid_mask(s, f->name) && sky_field_dim(f, 'y') > 0 && sky_field_dim(f, 'x') > 0)
            return f;
    }
    return NULL;
}

/* A mask of ones becomes a map of its class. */
static void paint_class(uint8_t *map, int64_t n, const sky_sample *pred)
{
    const json_t *cls = json_object_get(pred->meta, "class");
    if (json_is_integer(cls))
        for (int64_t i = 0; i < n; i++)
            map[i] = map[i] ? (uint8_t)json_integer_value(cls) : 0;
}

static char *caption_of(const sky_sample *pred, const char *query, const sky_classes *cls)
{
    const json_t *value = json_object_get(pred->meta, "class");
    const int v = (int)json_integer_value(value);
    if (!json_is_integer(value))
        return sky_strdup(query);
    const sky_class *k = sky_classes_find(cls, v);
    char number[16]; /* the name of classes without one */
    snprintf(number, sizeof number, "%d", v);
    return k && strcmp(k->name, number) ? sky_asprintf("%s, class %d %s", query, v, k->name) : sky_asprintf("%s, class %d", query, v);
}

static int draw(sky_sheet *s, const char *caption, const sky_field *image, const sky_field *label, const sky_field *map, const sky_sample *pred,
                sky_err *e)
{
    uint8_t *rgb = NULL, *truth = NULL, *seen = NULL, colour[256][3];
    sky_sheet_map a, b, c;
    int rc = sky_prep_rgb(&rgb, &a.h, &a.w, image, NULL, e);
    if (!rc)
        rc = sky_prep_label(&truth, &b.h, &b.w, label, e);
    if (!rc)
        rc = sky_prep_label(&seen, &c.h, &c.w, map, e);
    if (!rc) {
        a.p = rgb, b.p = truth, c.p = seen;
        paint_class(seen, (int64_t)c.h * c.w, pred);
        sky_field_colours(label, colour);
        rc = sky_sheet_add(s, caption, a, b, c, (const uint8_t(*)[3])colour, e);
    }
    sky_free(rgb);
    sky_free(truth);
    sky_free(seen);
    return rc;
}

int sky_gallery_add(sky_sheet *s, sky_truth *t, const sky_classes *cls, const sky_sample *pred, const char *field, const char *label_field,
                    sky_err *e)
{
    const char *named = json_string_value(json_object_get(pred->meta, "query")), *query = named ? named : pred->id;
    int64_t i = sky_truth_find(t, query);
    const sky_field *map = sky_sample_field(pred, field);
    if (i < 0 || !map || !map->data)
        return 0;
    sky_sample q;
    sky_sample_init(&q);
    int rc = sky_truth_sample(t, (uint64_t)i, &q, e);
    const sky_field *image = rc ? NULL : image_of(&q), *label = rc ? NULL : sky_sample_field(&q, label_field);
    if (image && label) {
        char *caption = caption_of(pred, query, cls);
        rc = caption ? draw(s, caption, image, label, map, pred, e) : sky_fail(e, SKY_ENOMEM, "picture: out of memory");
        sky_free(caption);
    }
    sky_sample_free(&q);
    return rc ? rc : image && label ? 1 : 0;
}
