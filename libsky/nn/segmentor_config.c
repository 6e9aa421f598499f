/* segmentor_config.c -- the fine-tuning network's own dimensions from YAML or JSON, and back (metadata of weights). */
#include "nn/segmentor.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

const sky_seg_config sky_seg_defaults = {.neck_dim = 512, .head_channels = 512, .aux_channels = 256, .scales = {1, 1, 1, 1, 1, 1, 1, 1},
                                         .drop = 0.1, .head_drop = 0.1, .aux_weight = 0.4};

enum { INTEGER, BOOLEAN, NUMBER };
static const struct {
    const char *key;
    int kind;
    size_t at;
} members[] = {
#define MEMBER(k, kind) {#k, kind, offsetof(sky_seg_config, k)}
    MEMBER(channels, INTEGER), MEMBER(classes, INTEGER), MEMBER(dates, INTEGER), MEMBER(neck_dim, INTEGER),
    MEMBER(head_channels, INTEGER), MEMBER(aux_channels, INTEGER), MEMBER(patch_bias, BOOLEAN), MEMBER(sigmoid, BOOLEAN),
    MEMBER(drop, NUMBER), MEMBER(drop_path, NUMBER), MEMBER(head_drop, NUMBER), MEMBER(aux_weight, NUMBER),
};
enum { MEMBERS = sizeof members / sizeof *members };

static int read_backbone(sky_seg_config *s, const json_t *v, const char *where, sky_err *e)
{
    const char *t = json_string_value(v);
    if (!t || (strcmp(t, "vit") && strcmp(t, "swin")))
        return sky_fail(e, SKY_ECORRUPT, "%s: 'backbone': expected vit or swin", where);
    s->swin = !strcmp(t, "swin");
    return SKY_OK;
}

static int read_scales(sky_seg_config *s, const json_t *v, const char *where, sky_err *e)
{
    size_t n = json_array_size(v);
    if (n < 1 || n > 8)
        return sky_fail(e, SKY_ECORRUPT, "%s: 'scales': expected a list of 1 to 8 numbers, one per level", where);
    for (size_t i = 0; i < n; i++) {
        if (!json_is_number(json_array_get(v, i)))
            return sky_fail(e, SKY_ECORRUPT, "%s: 'scales': expected numbers", where);
        s->scales[i] = json_number_value(json_array_get(v, i));
    }
    return SKY_OK;
}

static int read_member(sky_seg_config *s, int i, const json_t *v, const char *where, sky_err *e)
{
    char *p = (char *)s + members[i].at;
    switch (members[i].kind) {
    case INTEGER:
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > 65536)
            return sky_fail(e, SKY_ECORRUPT, "%s: '%s': expected an integer from 0 to 65536", where, members[i].key);
        *(int *)(void *)p = (int)json_integer_value(v);
        return SKY_OK;
    case BOOLEAN:
        if (!json_is_boolean(v))
            return sky_fail(e, SKY_ECORRUPT, "%s: '%s': expected true or false", where, members[i].key);
        *(int *)(void *)p = json_is_true(v);
        return SKY_OK;
    default:
        if (!json_is_number(v) || !isfinite(json_number_value(v)))
            return sky_fail(e, SKY_ECORRUPT, "%s: '%s': expected a number", where, members[i].key);
        *(double *)(void *)p = json_number_value(v);
        return SKY_OK;
    }
}

static int read_key(sky_seg_config *s, const char *key, const json_t *v, const char *where, sky_err *e)
{
    if (!strcmp(key, "backbone"))
        return read_backbone(s, v, where, e);
    if (!strcmp(key, "scales"))
        return read_scales(s, v, where, e);
    for (int i = 0; i < MEMBERS; i++)
        if (!strcmp(key, members[i].key))
            return read_member(s, i, v, where, e);
    return sky_fail(e, SKY_ECORRUPT, "%s: unknown key '%s'", where, key);
}

int sky_seg_config_parse(sky_seg_config *s, const json_t *j, const char *where, sky_err *e)
{
    if (!json_is_object(j))
        return sky_fail(e, SKY_ECORRUPT, "%s: expected an object, found %s", where, sky_json_type(j));
    sky_seg_config c = *s;
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)j, key, v)
    {
        int rc = read_key(&c, key, v, where, e);
        if (rc)
            return rc;
    }
    *s = c;
    return SKY_OK;
}

static json_t *value(const sky_seg_config *s, int i)
{
    const char *p = (const char *)s + members[i].at;
    if (members[i].kind == NUMBER)
        return json_real(*(const double *)(const void *)p);
    return members[i].kind == BOOLEAN ? json_boolean(*(const int *)(const void *)p) : json_integer(*(const int *)(const void *)p);
}

json_t *sky_seg_config_json(const sky_seg_config *s, int levels)
{
    json_t *o = json_object(), *scales = json_array();
    int bad = !o || !scales;
    for (int i = 0; !bad && i < levels; i++)
        bad = json_array_append_new(scales, json_real(s->scales[i]));
    bad = bad || json_object_set_new(o, "backbone", json_string(s->swin ? "swin" : "vit"));
    for (int i = 0; !bad && i < MEMBERS; i++)
        bad = json_object_set_new(o, members[i].key, value(s, i));
    if (bad || json_object_set(o, "scales", scales)) {
        json_decref(o);
        o = NULL;
    }
    json_decref(scales);
    return o;
}
