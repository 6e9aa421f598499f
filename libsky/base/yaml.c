/* yaml.c -- YAML documents read into the JSON tree, event by event. */
#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { YAML_DEPTH = 64, YAML_FILE_LIMIT = 1 << 20 };

typedef struct {
    yaml_parser_t parser;
    const char *where;
    sky_err *e;
    json_t *lines; /* path of every key -> its line, or NULL */
    sky_buf path;  /* of the mapping that is being read, with a dot at the end unless empty */
} yaml_in;

static int fail_at(yaml_in *y, const yaml_mark_t *m, const char *what)
{
    return sky_fail(y->e, SKY_ECORRUPT, "%s: line %zu, column %zu: %s", y->where, m->line + 1, m->column + 1, what);
}

static int next_event(yaml_in *y, yaml_event_t *ev)
{
    if (yaml_parser_parse(&y->parser, ev))
        return SKY_OK;
    if (y->parser.error == YAML_MEMORY_ERROR)
        return sky_fail(y->e, SKY_ENOMEM, "%s: out of memory", y->where);
    yaml_mark_t m = y->parser.problem_mark;
    return fail_at(y, &m, y->parser.problem ? y->parser.problem : "not valid YAML");
}

/* A plain scalar by the YAML 1.2 core schema. */
static json_t *plain_scalar(const char *s)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"}, *const trues[] = {"true", "True", "TRUE"},
                             *const falses[] = {"false", "False", "FALSE"};
    for (int i = 0; i < 5; i++)
        if (!strcmp(s, nulls[i]))
            return json_null();
    for (int i = 0; i < 3; i++) {
        if (!strcmp(s, trues[i]))
            return json_true();
        if (!strcmp(s, falses[i]))
            return json_false();
    }
    size_t n = strlen(s);
    if (n == strspn(s, "+-0123456789")) {
        char *end;
        errno = 0;
        long long v = strtoll(s, &end, 10);
        if (!*end && end != s && !errno)
            return json_integer(v);
    }
    if (n == strspn(s, "+-.0123456789eE") && strpbrk(s, "0123456789")) {
        char *end;
        double v = strtod(s, &end);
        if (!*end && isfinite(v))
            return json_real(v);
    }
    return json_string(s);
}

static int value(yaml_in *y, yaml_event_t *ev, int depth, json_t **out);

static int sequence(yaml_in *y, int depth, json_t *list)
{
    for (;;) {
        yaml_event_t ev;
        json_t *v = NULL;
        int rc = next_event(y, &ev);
        if (rc)
            return rc;
        int end = ev.type == YAML_SEQUENCE_END_EVENT;
        if (!end)
            rc = value(y, &ev, depth, &v);
        yaml_event_delete(&ev);
        if (rc || end)
            return rc;
        if (json_array_append_new(list, v))
            return sky_fail(y->e, SKY_ENOMEM, "%s: out of memory", y->where);
    }
}

/* The line of the key `name` of the mapping being read; the path then is that of its value. */
static int note_line(yaml_in *y, const char *name, size_t line)
{
    if (!y->lines)
        return SKY_OK;
    sky_buf_puts(&y->path, name);
    int bad = y->path.bad || json_object_set_new(y->lines, y->path.p, json_integer((json_int_t)line));
    sky_buf_puts(&y->path, ".");
    return bad || y->path.bad ? sky_fail(y->e, SKY_ENOMEM, "%s: out of memory", y->where) : SKY_OK;
}

static void leave_path(yaml_in *y, size_t n)
{
    y->path.n = n;
    if (y->path.p)
        y->path.p[n] = 0;
}

static int pair(yaml_in *y, const yaml_event_t *key, int depth, json_t *map)
{
    if (key->type != YAML_SCALAR_EVENT)
        return fail_at(y, &key->start_mark, "a key must be a plain or quoted word");
    const char *name = (const char *)key->data.scalar.value;
    if (strlen(name) != key->data.scalar.length)
        return fail_at(y, &key->start_mark, "a key holds a NUL byte");
    if (json_object_get(map, name))
        return fail_at(y, &key->start_mark, "the same key twice");
    yaml_event_t ev;
    json_t *v = NULL;
    size_t outer = y->path.n;
    int rc = note_line(y, name, key->start_mark.line + 1);
    if (!rc)
        rc = next_event(y, &ev);
    if (rc)
        return rc;
    rc = value(y, &ev, depth, &v);
    yaml_event_delete(&ev);
    leave_path(y, outer);
    if (!rc && json_object_set_new(map, name, v)) /* also refuses invalid UTF-8, which libyaml has excluded */
        rc = sky_fail(y->e, SKY_ENOMEM, "%s: out of memory", y->where);
    return rc;
}

static int mapping(yaml_in *y, int depth, json_t *map)
{
    for (;;) {
        yaml_event_t ev;
        int rc = next_event(y, &ev);
        if (rc)
            return rc;
        int end = ev.type == YAML_MAPPING_END_EVENT;
        if (!end)
            rc = pair(y, &ev, depth, map);
        yaml_event_delete(&ev);
        if (rc || end)
            return rc;
    }
}

static int value(yaml_in *y, yaml_event_t *ev, int depth, json_t **out)
{
    int rc = SKY_OK;
    if (depth > YAML_DEPTH)
        return fail_at(y, &ev->start_mark, "nested deeper than 64 levels");
    *out = NULL;
    switch (ev->type) {
    case YAML_SCALAR_EVENT:
        if (ev->data.scalar.anchor || ev->data.scalar.tag)
            return fail_at(y, &ev->start_mark, "anchors and tags are not used here");
        if (strlen((char *)ev->data.scalar.value) != ev->data.scalar.length)
            return fail_at(y, &ev->start_mark, "a value holds a NUL byte");
        *out = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE ? plain_scalar((char *)ev->data.scalar.value)
                                                                : json_string((char *)ev->data.scalar.value);
        break;
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT: {
        int seq = ev->type == YAML_SEQUENCE_START_EVENT;
        if (seq ? ev->data.sequence_start.anchor || ev->data.sequence_start.tag
                : ev->data.mapping_start.anchor || ev->data.mapping_start.tag)
            return fail_at(y, &ev->start_mark, "anchors and tags are not used here");
        *out = seq ? json_array() : json_object();
        if (*out)
            rc = seq ? sequence(y, depth + 1, *out) : mapping(y, depth + 1, *out);
        break;
    }
    case YAML_ALIAS_EVENT:
        return fail_at(y, &ev->start_mark, "aliases are not used here");
    default:
        return fail_at(y, &ev->start_mark, "a value expected");
    }
    if (!*out)
        return sky_fail(y->e, SKY_ENOMEM, "%s: out of memory", y->where);
    if (rc) {
        json_decref(*out);
        *out = NULL;
    }
    return rc;
}

static int document(yaml_in *y, json_t **out)
{
    int seen = 0;
    for (;;) {
        yaml_event_t ev;
        int rc = next_event(y, &ev);
        if (rc)
            return rc;
        yaml_event_type_t t = ev.type;
        if (t == YAML_DOCUMENT_START_EVENT && seen++)
            rc = fail_at(y, &ev.start_mark, "only one document expected");
        else if (t != YAML_STREAM_START_EVENT && t != YAML_DOCUMENT_START_EVENT && t != YAML_DOCUMENT_END_EVENT &&
                 t != YAML_STREAM_END_EVENT)
            rc = value(y, &ev, 0, out);
        yaml_event_delete(&ev);
        if (rc || t == YAML_STREAM_END_EVENT)
            return rc ? rc : *out ? SKY_OK : sky_fail(y->e, SKY_ECORRUPT, "%s: empty document", y->where);
    }
}

int sky_yaml_parse(json_t **out, const char *p, size_t n, const char *where, sky_err *e)
{
    return sky_yaml_parse_lines(out, NULL, p, n, where, e);
}

int sky_yaml_parse_lines(json_t **out, json_t *lines, const char *p, size_t n, const char *where, sky_err *e)
{
    yaml_in y = {.where = where, .e = e, .lines = lines};
    *out = NULL;
    if (!yaml_parser_initialize(&y.parser))
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", where);
    yaml_parser_set_input_string(&y.parser, (const unsigned char *)p, n);
    int rc = document(&y, out);
    yaml_parser_delete(&y.parser);
    sky_buf_free(&y.path);
    if (rc) {
        json_decref(*out);
        *out = NULL;
    }
    return rc;
}

int sky_yaml_load(json_t **out, const char *path, sky_err *e)
{
    char *p;
    size_t n;
    int rc = sky_read_file(&p, &n, path, YAML_FILE_LIMIT, e);
    if (rc)
        return rc;
    rc = sky_yaml_parse(out, p, n, path, e);
    sky_free(p);
    return rc;
}
