#include "score/classes.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void sky_classes_init(sky_classes *c) { memset(c, 0, sizeof *c); }

void sky_classes_free(sky_classes *c)
{
    sky_free(c->list);
    sky_classes_init(c);
}

static int check_value(int64_t v, int values, const char *what, sky_err *e)
{
    if (v >= 0 && v < values)
        return SKY_OK;
    return sky_fail(e, SKY_EUSAGE, "%s %lld; expected 0 to %d", what, (long long)v, values - 1);
}

const sky_class *sky_classes_find(const sky_classes *c, int value)
{
    for (int i = 0; i < c->n; i++)
        if (c->list[i].value == value)
            return &c->list[i];
    return NULL;
}

/* name NULL: unnamed */
static int insert(sky_classes *c, int value, const char *name, sky_err *e)
{
    sky_class *list = sky_realloc(c->list, (size_t)c->n * sizeof *list, ((size_t)c->n + 1) * sizeof *list);
    if (!list)
        return sky_fail(e, SKY_ENOMEM, "classes: out of memory");
    int at = c->n++;
    for (; at && list[at - 1].value > value; at--)
        list[at] = list[at - 1];
    list[at] = (sky_class){.value = value, .background = name ? !strcasecmp(name, "background") : value == 0};
    if (name)
        sky_utf8_clean(list[at].name, sizeof list[at].name, name);
    else
        snprintf(list[at].name, sizeof list[at].name, "%d", value);
    c->list = list;
    return SKY_OK;
}

int sky_classes_see(sky_classes *c, int value, sky_err *e)
{
    int rc = check_value(value, SKY_CLASS_VALUES, "class", e);
    return rc || c->ignore[value] || sky_classes_find(c, value) ? rc : insert(c, value, NULL, e);
}

int sky_classes_background(const sky_classes *c, int value)
{
    const sky_class *k = sky_classes_find(c, value);
    return k ? k->background : value == 0;
}

static void drop(sky_classes *c, int value)
{
    int kept = 0;
    for (int i = 0; i < c->n; i++)
        if (c->list[i].value != value)
            c->list[kept++] = c->list[i];
    c->n = kept;
}

int sky_classes_ignore(sky_classes *c, int64_t value, sky_err *e)
{
    int rc = check_value(value, SKY_LABEL_VALUES, "ignored value", e);
    if (rc)
        return rc;
    c->ignore[value] = 1;
    drop(c, (int)value);
    return SKY_OK;
}

/* One "value" or "value=name" of the list. */
static int parse_one(sky_classes *c, const char *text, size_t n, sky_err *e)
{
    char word[80], *end;
    snprintf(word, sizeof word, "%.*s", (int)(n < 79 ? n : 79), text);
    long v = strtol(word, &end, 10);
    if (end == word || n > 79 || (*end && *end != '=') || (*end == '=' && !end[1]))
        return sky_fail(e, SKY_EUSAGE, "--classes: '%s': expected NUMBER or NUMBER=NAME", word);
    int rc = check_value(v, SKY_CLASS_VALUES, "--classes:", e);
    if (rc)
        return rc;
    if (sky_classes_find(c, (int)v))
        return sky_fail(e, SKY_EUSAGE, "--classes: %ld is there twice", v);
    return insert(c, (int)v, *end ? end + 1 : NULL, e);
}

int sky_classes_parse(sky_classes *c, const char *text, sky_err *e)
{
    int rc = SKY_OK;
    c->given = 1;
    while (!rc) {
        size_t n = strcspn(text, ",");
        rc = parse_one(c, text, n, e);
        if (!text[n])
            break;
        text += n + 1;
    }
    return rc;
}

static int meta_class(sky_classes *c, const json_t *j, sky_err *e)
{
    int64_t v;
    const char *name = NULL;
    int rc = sky_json_i64(j, "value", 1, 0, SKY_CLASS_VALUES - 1, &v, "classes", e);
    if (!rc)
        rc = sky_json_str(j, "name", 0, &name, "classes", e);
    if (rc || c->ignore[v])
        return rc;
    return sky_classes_find(c, (int)v) ? sky_fail(e, SKY_ECORRUPT, "classes: value %lld is there twice", (long long)v) : insert(c, (int)v, name, e);
}

int sky_classes_meta(sky_classes *c, const json_t *meta, sky_err *e)
{
    const json_t *table = json_object_get(meta, "classes"), *ignore = json_object_get(meta, "ignore"), *nodata = json_object_get(meta, "nodata");
    int rc = SKY_OK;
    for (size_t i = 0; !rc && i < json_array_size(ignore); i++) {
        const json_int_t v = json_integer_value(json_array_get(ignore, i));
        if (v < 0 || v >= SKY_LABEL_VALUES)
            rc = sky_fail(e, SKY_ELIMIT, "ignored value %lld; expected 0 to %d", (long long)v, SKY_LABEL_VALUES - 1);
        else if (json_is_integer(json_array_get(ignore, i)))
            rc = sky_classes_ignore(c, v, e);
    }
    const double none = json_is_number(nodata) ? json_number_value(nodata) : -1; /* rasters say 255.0 */
    if (!rc && none >= 0 && none < SKY_LABEL_VALUES && none == (int)none)
        rc = sky_classes_ignore(c, (int)none, e);
    if (c->given || !json_array_size(table)) /* the option goes before the table */
        return rc;
    for (size_t i = 0; !rc && i < json_array_size(table); i++)
        rc = meta_class(c, json_array_get(table, i), e);
    c->given = 1;
    return rc;
}

int sky_classes_copy(sky_classes *to, const sky_classes *from, sky_err *e)
{
    sky_class *list = sky_calloc((size_t)from->n + 1, sizeof *list);
    if (!list)
        return sky_fail(e, SKY_ENOMEM, "classes: out of memory");
    if (from->n)
        memcpy(list, from->list, (size_t)from->n * sizeof *list);
    *to = *from;
    to->list = list;
    return SKY_OK;
}

int sky_classes_same(const sky_classes *c, const sky_classes *first, sky_err *e)
{
    for (int v = 0; v < SKY_LABEL_VALUES; v++)
        if (c->ignore[v] != first->ignore[v])
            return sky_fail(e, SKY_ECORRUPT, "value %d is %s here, %s there (--ignore %d ignores it in both)", v, c->ignore[v] ? "ignored" : "not ignored",
                            first->ignore[v] ? "ignored" : "not", v);
    for (int v = 0; v < SKY_CLASS_VALUES; v++) {
        const sky_class *a = sky_classes_find(c, v), *b = sky_classes_find(first, v);
        if (!a != !b || (a && strcmp(a->name, b->name)))
            return sky_fail(e, SKY_ECORRUPT, "class %d is %s%s%s here, %s%s%s there (--classes gives one table for all)", v, a ? "'" : "", a ? a->name : "none", a ? "'" : "",
                            b ? "'" : "", b ? b->name : "none", b ? "'" : "");
    }
    return SKY_OK;
}
