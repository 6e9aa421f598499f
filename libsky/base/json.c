#include "base/json.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

enum { JSON_DEPTH = 64 };

/* jansson allocates through the same door as everything else, so that the failing-allocation tests reach it. */
/* When memory fails, jansson 2.14's scanner drops characters (and then aborts over an escape cut in half) or calls it a
 * syntax error. So a failure is remembered, the scanner gets its few bytes if the system has any left, and what was
 * parsed is thrown away afterwards; if there are none, the parser is left where it stands, and what it had built is lost. */
static _Thread_local int heap_failed, scanning;
static _Thread_local jmp_buf no_bytes_left;
static void *json_alloc(size_t n)
{
    void *p = sky_alloc_node(n);
    if (p)
        return p;
    heap_failed = 1;
    if (!scanning)
        return NULL; /* elsewhere jansson passes a failure on */
    if (!(p = malloc(n)))
        longjmp(no_bytes_left, 1);
    return p;
}
static void use_our_heap(void) __attribute__((constructor));
static void use_our_heap(void) { json_set_alloc_funcs(json_alloc, sky_free); }

/* jansson's own limit is 2048 levels; ours is lower so that recursive users of the tree stay shallow. */
static int too_deep(const char *p, size_t n)
{
    int depth = 0, in_string = 0;
    for (size_t i = 0; i < n; i++) {
        if (in_string) {
            if (p[i] == '\\')
                i++;
            else if (p[i] == '"')
                in_string = 0;
        } else if (p[i] == '"') {
            in_string = 1;
        } else if (p[i] == '{' || p[i] == '[') {
            if (++depth > JSON_DEPTH)
                return 1;
        } else if (p[i] == '}' || p[i] == ']') {
            depth--;
        }
    }
    return 0;
}

int sky_json_parse(json_t **out, const char *p, size_t n, const char *where, sky_err *e)
{
    json_error_t je;
    if (too_deep(p, n))
        return sky_fail(e, SKY_ELIMIT, "%s: JSON nested deeper than %d levels", where, JSON_DEPTH);
    heap_failed = 0;
    *out = NULL;
    scanning = 1;
    if (!setjmp(no_bytes_left))
        *out = json_loadb(p, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
    scanning = 0;
    if (*out && !heap_failed)
        return SKY_OK;
    json_decref(*out);
    *out = NULL;
    if (heap_failed || json_error_code(&je) == json_error_out_of_memory)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", where);
    return sky_fail(e, SKY_ECORRUPT, "%s: not valid JSON: %s (line %d, byte %d)", where, je.text, je.line, je.position);
}

json_t *sky_json_copy(const json_t *j)
{
    heap_failed = 0;
    json_t *copy = json_deep_copy(j);
    if (copy && heap_failed) {
        json_decref(copy);
        copy = NULL;
    }
    return copy;
}

char *sky_json_dump(const json_t *j)
{
    /* 17 significant digits bring every double back; shorter ones are printed as short as they are */
    heap_failed = 0;
    char *text = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    if (text && heap_failed) { /* jansson leaves out what it had no memory for */
        sky_free(text);
        text = NULL;
    }
    return text;
}

void sky_json_put(sky_buf *to, const json_t *j)
{
    char *t = sky_json_dump(j);
    if (t)
        sky_buf_puts(to, t);
    else
        to->bad = 1;
    sky_free(t);
}

const char *sky_json_type(const json_t *j)
{
    if (!j)
        return "nothing";
    switch (json_typeof(j)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a number with a fraction";
    case JSON_TRUE:
    case JSON_FALSE: return "true or false";
    default: return "null";
    }
}

/* The member, or NULL with *rc set: 0 when it is optional and absent. */
static json_t *member(const json_t *o, const char *key, int required, const char *want, const char *where, int *rc, sky_err *e)
{
    json_t *v = json_is_object(o) ? json_object_get(o, key) : NULL;
    *rc = SKY_OK;
    if (!json_is_object(o))
        *rc = sky_fail(e, SKY_ECORRUPT, "%s: expected an object, found %s", where, sky_json_type(o));
    else if (!v && required)
        *rc = sky_fail(e, SKY_ECORRUPT, "%s: '%s' is missing (expected %s)", where, key, want);
    return v;
}

static int wrong_type(const json_t *v, const char *key, const char *want, const char *where, sky_err *e)
{
    return sky_fail(e, SKY_ECORRUPT, "%s: '%s': expected %s, found %s", where, key, want, sky_json_type(v));
}

int sky_json_str(const json_t *o, const char *key, int required, const char **v, const char *where, sky_err *e)
{
    int rc;
    const json_t *j = member(o, key, required, "a string", where, &rc, e);
    if (!j)
        return rc;
    if (!json_is_string(j) || strlen(json_string_value(j)) != json_string_length(j))
        return wrong_type(j, key, "a string", where, e);
    *v = json_string_value(j);
    return SKY_OK;
}

int sky_json_i64(const json_t *o, const char *key, int required, int64_t min, int64_t max, int64_t *v, const char *where, sky_err *e)
{
    int rc;
    const json_t *j = member(o, key, required, "an integer", where, &rc, e);
    if (!j)
        return rc;
    if (!json_is_integer(j))
        return wrong_type(j, key, "an integer", where, e);
    int64_t n = json_integer_value(j);
    if (n < min || n > max)
        return sky_fail(e, SKY_ECORRUPT, "%s: '%s': %lld is outside %lld..%lld", where, key, (long long)n, (long long)min, (long long)max);
    *v = n;
    return SKY_OK;
}

int sky_json_f64(const json_t *o, const char *key, int required, double *v, const char *where, sky_err *e)
{
    int rc;
    const json_t *j = member(o, key, required, "a number", where, &rc, e);
    if (!j)
        return rc;
    if (!json_is_number(j))
        return wrong_type(j, key, "a number", where, e);
    *v = json_number_value(j);
    return SKY_OK;
}

int sky_json_bool(const json_t *o, const char *key, int required, int *v, const char *where, sky_err *e)
{
    int rc;
    const json_t *j = member(o, key, required, "true or false", where, &rc, e);
    if (!j)
        return rc;
    if (!json_is_boolean(j))
        return wrong_type(j, key, "true or false", where, e);
    *v = json_is_true(j);
    return SKY_OK;
}

int sky_json_array(const json_t *o, const char *key, int required, const json_t **v, const char *where, sky_err *e)
{
    int rc;
    const json_t *j = member(o, key, required, "an array", where, &rc, e);
    if (!j)
        return rc;
    if (!json_is_array(j))
        return wrong_type(j, key, "an array", where, e);
    *v = j;
    return SKY_OK;
}

int sky_json_object(const json_t *o, const char *key, int required, const json_t **v, const char *where, sky_err *e)
{
    int rc;
    const json_t *j = member(o, key, required, "an object", where, &rc, e);
    if (!j)
        return rc;
    if (!json_is_object(j))
        return wrong_type(j, key, "an object", where, e);
    *v = j;
    return SKY_OK;
}

int sky_json_only(const json_t *o, const char *const keys[], const char *where, sky_err *e)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)o, key, v)
    {
        int known = 0;
        for (int i = 0; keys[i] && !known; i++)
            known = !strcmp(keys[i], key);
        if (!known)
            return sky_fail(e, SKY_ECORRUPT, "%s: unknown key '%s'", where, key);
    }
    return SKY_OK;
}
