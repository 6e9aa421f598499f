#include "data/labels.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { RAW = 65536, OFF_ERROR = -1, OFF_NEAREST = -2 };

typedef struct {
    int value, coloured;
    const char *name;
    uint8_t rgb[3];
} entry;

struct sky_labels {
    json_t *classes, *ignore, *map;
    entry *class;
    size_t nclasses;
    int by_colour, table, identity, off, top; /* top: largest result */
    int32_t of[RAW];                          /* stored value -> class, -1: not named */
};

const char *const sky_labels_keys[] = {"classes", "ignore", "map", "values", "off_palette", NULL};

static int parse_colour(entry *c, const json_t *a, const char *where, sky_err *e)
{
    for (size_t i = 0; i < 3; i++) {
        const json_t *v = json_array_get(a, i);
        if (json_array_size(a) != 3 || !json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > 255)
            return sky_fail(e, SKY_ECORRUPT, "%s: 'color' must be three numbers 0..255", where);
        c->rgb[i] = (uint8_t)json_integer_value(v);
    }
    c->coloured = 1;
    return SKY_OK;
}

static int name_value(sky_labels *l, int64_t raw, int class, const char *where, sky_err *e)
{
    if (raw < 0 || raw >= RAW)
        return sky_fail(e, SKY_ECORRUPT, "%s: value %lld is not in 0..65535", where, (long long)raw);
    if (l->of[raw] >= 0)
        return sky_fail(e, SKY_ECORRUPT, "%s: value %lld is named twice", where, (long long)raw);
    l->of[raw] = class;
    if (class > l->top)
        l->top = class;
    return SKY_OK;
}

static int parse_class(sky_labels *l, const json_t *o, const char *where, sky_err *e)
{
    static const char *const keys[] = {"value", "name", "color", NULL};
    entry *c = &l->class[l->nclasses];
    int64_t value = 0;
    const json_t *colour = NULL;
    int rc = json_is_object(o) ? sky_json_only(o, keys, where, e) : sky_fail(e, SKY_ECORRUPT, "%s: a class is {value, name, color}", where);
    if (!rc)
        rc = sky_json_i64(o, "value", 1, 0, RAW - 1, &value, where, e);
    if (!rc)
        rc = sky_json_str(o, "name", 0, &c->name, where, e);
    if (!rc)
        rc = sky_json_array(o, "color", 0, &colour, where, e);
    if (!rc && colour)
        rc = parse_colour(c, colour, where, e);
    for (size_t i = 0; !rc && i < l->nclasses; i++)
        if (l->class[i].value == value)
            rc = sky_fail(e, SKY_ECORRUPT, "%s: two classes have value %lld", where, (long long)value);
    c->value = (int)value;
    l->nclasses++;
    if (value > l->top)
        l->top = (int)value;
    return rc;
}

static int parse_classes(sky_labels *l, const char *where, sky_err *e)
{
    size_t n = json_array_size(l->classes);
    char at[300];
    if (n > RAW)
        return sky_fail(e, SKY_ELIMIT, "%s: more than %d classes", where, RAW);
    l->class = sky_calloc(n + 1, sizeof *l->class);
    if (!l->class)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", where);
    int rc = SKY_OK;
    for (size_t i = 0; !rc && i < n; i++) {
        snprintf(at, sizeof at, "%s: classes[%zu]", where, i);
        rc = parse_class(l, json_array_get(l->classes, i), at, e);
    }
    return rc;
}

/* "7": 7 to 7; "128-255": 128 to 255; 0: a word. An upward range ends at the first value that is refused. */
static int stored_range(const char *key, int64_t *lo, int64_t *hi)
{
    char *end;
    errno = 0;
    *lo = *hi = strtoll(key, &end, 10);
    if (end == key || errno)
        return 0;
    if (*end == '-' && end[1] >= '0' && end[1] <= '9')
        *hi = strtoll(end + 1, &end, 10);
    return !*end && !errno && *hi >= *lo;
}

/* Keys are stored values or ranges of them; words are looked up by sky_labels_word only. */
static int parse_map(sky_labels *l, const char *where, sky_err *e)
{
    const char *key;
    json_t *v;
    int rc = SKY_OK;
    json_object_foreach(l->map, key, v) {
        json_int_t class = json_integer_value(v);
        if (!json_is_integer(v) || class < 0 || class >= RAW)
            return sky_fail(e, SKY_ECORRUPT, "%s: map: '%s' must lead to a class number 0..65535", where, key);
        int64_t lo, hi;
        if (stored_range(key, &lo, &hi))
            for (int64_t raw = lo; !rc && raw <= hi; raw++)
                rc = name_value(l, raw, (int)class, where, e);
        if (class > l->top)
            l->top = (int)class;
        if (rc)
            return rc;
    }
    return SKY_OK;
}

static int parse_ignore(sky_labels *l, const char *where, sky_err *e)
{
    for (size_t i = 0; i < json_array_size(l->ignore); i++) {
        const json_t *v = json_array_get(l->ignore, i);
        json_int_t n = json_integer_value(v);
        if (!json_is_integer(v) || n < 0 || n >= RAW)
            return sky_fail(e, SKY_ECORRUPT, "%s: 'ignore' lists numbers 0..65535", where);
        if (l->table && !l->map && l->of[n] < 0)
            l->of[n] = (int)n;
        if (n > l->top)
            l->top = (int)n;
    }
    return SKY_OK;
}

static int parse_off_palette(sky_labels *l, const json_t *o, const char *where, sky_err *e)
{
    const json_t *v = json_object_get(o, "off_palette");
    const char *s = json_string_value(v);
    l->off = OFF_ERROR;
    if (!v || (s && !strcmp(s, "error")))
        return SKY_OK;
    if (s && !strcmp(s, "nearest"))
        l->off = OFF_NEAREST;
    else if (json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) < RAW)
        l->off = (int)json_integer_value(v);
    else
        return sky_fail(e, SKY_ECORRUPT, "%s: 'off_palette' must be error, nearest or a class number", where);
    if (l->off > l->top)
        l->top = l->off;
    return SKY_OK;
}

static int parse_values_kind(sky_labels *l, const json_t *o, const char *where, sky_err *e)
{
    const char *kind = "index";
    int rc = sky_json_str(o, "values", 0, &kind, where, e);
    if (rc)
        return rc;
    l->by_colour = !strcmp(kind, "color");
    if (!l->by_colour && strcmp(kind, "index"))
        return sky_fail(e, SKY_ECORRUPT, "%s: 'values' must be index or color, not '%s'", where, kind);
    for (size_t i = 0; l->by_colour && i < l->nclasses; i++)
        if (!l->class[i].coloured)
            return sky_fail(e, SKY_ECORRUPT, "%s: values: color needs a color for class %d", where, l->class[i].value);
    if (l->by_colour && !l->nclasses)
        return sky_fail(e, SKY_ECORRUPT, "%s: values: color needs classes", where);
    return SKY_OK;
}

static int fill(sky_labels *l, const json_t *o, const char *where, sky_err *e)
{
    const json_t *classes = NULL, *ignore = NULL, *map = NULL;
    int rc = sky_json_array(o, "classes", 0, &classes, where, e);
    if (!rc)
        rc = sky_json_array(o, "ignore", 0, &ignore, where, e);
    if (!rc)
        rc = sky_json_object(o, "map", 0, &map, where, e);
    l->classes = json_incref((json_t *)(uintptr_t)classes);
    l->ignore = json_incref((json_t *)(uintptr_t)ignore);
    l->map = json_incref((json_t *)(uintptr_t)map);
    l->table = classes || map;
    if (!rc && classes)
        rc = parse_classes(l, where, e);
    for (size_t i = 0; !rc && !map && i < l->nclasses; i++)
        l->of[l->class[i].value] = l->class[i].value;
    if (!rc && map)
        rc = parse_map(l, where, e);
    if (!rc && ignore)
        rc = parse_ignore(l, where, e);
    if (!rc)
        rc = parse_off_palette(l, o, where, e);
    if (!rc)
        rc = parse_values_kind(l, o, where, e);
    l->identity = !l->by_colour;
    for (int i = 0; i < RAW; i++)
        if (l->of[i] >= 0 && l->of[i] != i)
            l->identity = 0;
    return rc;
}

int sky_labels_parse(sky_labels **out, const json_t *o, const char *where, sky_err *e)
{
    sky_labels *l = sky_calloc(1, sizeof *l);
    if (!l)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", where);
    memset(l->of, 0xff, sizeof l->of);
    int rc = fill(l, o, where, e);
    if (rc)
        sky_labels_free(l);
    else
        *out = l;
    return rc;
}

void sky_labels_free(sky_labels *l)
{
    if (!l)
        return;
    json_decref(l->classes);
    json_decref(l->ignore);
    json_decref(l->map);
    sky_free(l->class);
    sky_free(l);
}

int sky_labels_by_colour(const sky_labels *l) { return l->by_colour; }
int sky_labels_identity(const sky_labels *l) { return l->identity; }
const json_t *sky_labels_classes(const sky_labels *l) { return l->classes; }
const json_t *sky_labels_ignore(const sky_labels *l) { return l->ignore; }

sky_dtype sky_labels_dtype(const sky_labels *l, sky_dtype stored)
{
    if (!l->table)
        return stored;
    return l->top > 255 ? SKY_U16 : SKY_U8;
}

/* ---- applying ------------------------------------------------------------------------------------------------ */

static int unknown(uint64_t i, uint64_t width, double v, sky_err *e)
{
    return sky_fail(e, SKY_ECORRUPT, "row %llu column %llu: value %.17g is no class of the data set", (unsigned long long)(i / width),
                    (unsigned long long)(i % width), v);
}

static void store(void *dst, sky_dtype t, uint64_t i, int v)
{
    if (t == SKY_U8)
        ((uint8_t *)dst)[i] = (uint8_t)v;
    else
        ((uint16_t *)dst)[i] = (uint16_t)v;
}

/* The common case. Which values occur is collected first (a store a pixel), so that checking costs almost nothing and
 * an identity table is a copy. */
static int bytes_to_bytes(const sky_labels *l, uint8_t *dst, const uint8_t *src, uint64_t n, uint64_t width, sky_err *e)
{
    uint8_t seen[256] = {0}, to[256];
    for (uint64_t i = 0; i < n; i++)
        seen[src[i]] = 1;
    for (int v = 0; v < 256; v++) {
        to[v] = (uint8_t)l->of[v];
        if (seen[v] && l->of[v] < 0)
            return unknown((uint64_t)((const uint8_t *)memchr(src, v, n) - src), width, v, e);
    }
    if (!l->identity)
        for (uint64_t i = 0; i < n; i++)
            dst[i] = to[src[i]];
    else if (dst != src)
        memcpy(dst, src, n);
    return SKY_OK;
}

int sky_labels_values(const sky_labels *l, void *dst, const void *src, sky_dtype stored, uint64_t n, uint64_t width, sky_err *e)
{
    sky_dtype t = sky_labels_dtype(l, stored);
    if (!l->table) {
        if (dst != src)
            memcpy(dst, src, n * sky_dtype_size(stored));
        return SKY_OK;
    }
    if (stored == SKY_U8 && t == SKY_U8)
        return bytes_to_bytes(l, dst, src, n, width, e);
    for (uint64_t i = 0; i < n; i++) {
        double v = sky_load_f64(src, stored, i);
        if (!(v >= 0 && v < RAW) || v != (double)(int)v || l->of[(int)v] < 0)
            return unknown(i, width, v, e);
        store(dst, t, i, l->of[(int)v]);
    }
    return SKY_OK;
}

static int nearest(const sky_labels *l, const uint8_t c[3])
{
    int best = 0, least = 1 << 30;
    for (size_t i = 0; i < l->nclasses; i++) {
        int d = 0;
        for (int k = 0; k < 3; k++)
            d += (c[k] - l->class[i].rgb[k]) * (c[k] - l->class[i].rgb[k]);
        if (d < least)
            least = d, best = l->class[i].value;
    }
    return best;
}

static int colour_class(const sky_labels *l, const uint8_t c[3])
{
    for (size_t i = 0; i < l->nclasses; i++)
        if (!memcmp(c, l->class[i].rgb, 3))
            return l->class[i].value;
    return l->off == OFF_NEAREST ? nearest(l, c) : l->off;
}

int sky_labels_colours(const sky_labels *l, void *dst, const uint8_t *src, int channels, uint64_t n, uint64_t width, sky_err *e)
{
    sky_dtype t = sky_labels_dtype(l, SKY_U8);
    uint64_t g = channels >= 3 ? n : 0, b = 2 * g;
    uint8_t last[3] = {0, 0, 0};
    int class = colour_class(l, last);
    for (uint64_t i = 0; i < n; i++) {
        uint8_t c[3] = {src[i], src[i + g], src[i + b]};
        if (memcmp(c, last, 3)) /* labels come in runs */
            class = colour_class(l, memcpy(last, c, 3));
        if (class < 0)
            return sky_fail(e, SKY_ECORRUPT, "row %llu column %llu: colour (%d,%d,%d) is no class of the data set",
                            (unsigned long long)(i / width), (unsigned long long)(i % width), c[0], c[1], c[2]);
        store(dst, t, i, class);
    }
    return SKY_OK;
}

int sky_labels_word(const sky_labels *l, const char *text, sky_err *e)
{
    const json_t *to = json_object_get(l->map, text);
    if (to)
        return (int)json_integer_value(to);
    for (size_t i = 0; !l->map && i < l->nclasses; i++)
        if (l->class[i].name && !strcmp(l->class[i].name, text))
            return l->class[i].value;
    char *end;
    double v = strtod(text, &end);
    int whole = *text && !*end && v >= 0 && v < RAW && v == (double)(int)v;
    if (whole && l->of[(int)v] >= 0)
        return l->of[(int)v];
    if (whole && !l->table)
        return (int)v;
    return sky_fail(e, SKY_ECORRUPT, "'%.60s' is no class of the data set", text);
}

int sky_class_is_background(const json_t *classes, double v)
{
    for (size_t i = 0; i < json_array_size(classes); i++) {
        const json_t *k = json_array_get(classes, i);
        const char *name = json_string_value(json_object_get(k, "name"));
        if (json_number_value(json_object_get(k, "value")) == v && name)
            return !strcasecmp(name, "background");
    }
    return v == 0;
}

int sky_label_field(char name[64], const json_t *classes, sky_err *e)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)classes, key, v) {
        if (!*name)
            snprintf(name, 64, "%s", key);
        if (strcmp(name, key))
            return sky_fail(e, SKY_ECORRUPT, "label fields '%s' and '%s': say which one to use", name, key);
    }
    return SKY_OK;
}
