#include "format/record_internal.h"

#include <string.h>

/* Features this reader knows; a schema that requires others is refused ("requires": [...]). None so far. */

json_t *sky_schema_extend(const json_t *schema, json_t *entry)
{
    json_t *s = schema ? sky_json_copy(schema) : json_object();
    json_t *chain = s ? json_object_get(s, "provenance") : NULL;
    if (s && entry && !json_is_array(chain)) {
        chain = json_array();
        if (json_object_set_new(s, "provenance", chain))
            chain = NULL;
    }
    if (s && entry && (!chain || json_array_append(chain, entry))) {
        json_decref(s);
        s = NULL;
    }
    json_decref(entry);
    return s;
}

int sky_schema_print(sky_buf *line, const json_t *schema, sky_err *e)
{
    json_t *s = json_pack("{s:i}", "version", SKY_FORMAT_VERSION);
    json_t *copy = schema ? sky_json_copy(schema) : json_object();
    int bad = !s || !copy || json_object_del(copy, "version") > 0 || json_object_update(s, copy);
    char *text = bad ? NULL : sky_json_dump(s);
    json_decref(copy);
    json_decref(s);
    if (!text)
        return sky_fail(e, SKY_ENOMEM, "schema: out of memory");
    int rc = sky_line_print(line, "schema", text, strlen(text), e);
    sky_free(text);
    return rc;
}

static int schema_check(const json_t *s, sky_err *e)
{
    int64_t version;
    const json_t *v = NULL;
    int rc = sky_json_i64(s, "version", 1, 1, INT64_MAX, &version, "schema", e);
    if (!rc && version != SKY_FORMAT_VERSION)
        rc = sky_fail(e, SKY_EVERSION, "schema: format version %lld, this program reads %d", (long long)version, SKY_FORMAT_VERSION);
    if (!rc)
        rc = sky_json_array(s, "requires", 0, &v, "schema", e);
    if (!rc && json_array_size(v)) {
        const char *what = json_string_value(json_array_get(v, 0));
        rc = sky_fail(e, SKY_EVERSION, "schema: requires '%.60s', which this program does not know", what ? what : "?");
    }
    if (!rc)
        rc = sky_json_object(s, "fields", 0, &v, "schema", e);
    if (!rc)
        rc = sky_json_array(s, "provenance", 0, &v, "schema", e);
    return rc;
}

int sky_schema_parse(json_t **schema, const char *body, size_t n, sky_err *e)
{
    json_t *s;
    int rc = sky_json_parse(&s, body, n, "schema", e);
    if (rc)
        return rc;
    if ((rc = schema_check(s, e))) {
        json_decref(s);
        return rc;
    }
    *schema = s;
    return SKY_OK;
}

static int in_array(const json_t *a, const json_t *v)
{
    for (size_t i = 0; i < json_array_size(a); i++)
        if (json_equal(json_array_get(a, i), v))
            return 1;
    return 0;
}

static int merge_chain(json_t *a, const json_t *from)
{
    json_t *chain = json_object_get(a, "provenance");
    if (json_array_size(from) && !chain) {
        chain = json_array();
        if (json_object_set_new(a, "provenance", chain))
            return -1;
    }
    for (size_t i = 0; i < json_array_size(from); i++) {
        json_t *v = json_array_get(from, i);
        if (!in_array(chain, v) && json_array_append(chain, v))
            return -1;
    }
    return 0;
}

/* Two definitions of one field agree when every key that both give has the same value. */
static int same_definition(const char *field, const json_t *a, const json_t *b, sky_err *e)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)b, key, v) {
        const json_t *have = json_object_get(a, key);
        if (!have || json_equal(have, v))
            continue;
        char *x = sky_json_dump(have), *y = sky_json_dump(v);
        sky_fail(e, SKY_ECORRUPT, "schema: field '%.63s': '%.40s' is %.100s, but %.100s in an earlier input", field, key, y ? y : "?", x ? x : "?");
        sky_free(x);
        sky_free(y);
        return SKY_ECORRUPT;
    }
    return SKY_OK;
}

int sky_schema_merge(json_t *a, const json_t *b, sky_err *e)
{
    json_t *mine = json_object_get(a, "fields"), *theirs = json_object_get(b, "fields"), *v;
    const char *name;
    json_object_foreach(theirs, name, v) {
        const json_t *have = json_object_get(mine, name);
        int rc = have ? same_definition(name, have, v, e) : SKY_OK;
        if (rc)
            return rc;
    }
    int bad = 0;
    if (theirs && !mine)
        bad = json_object_set_new(a, "fields", sky_json_copy(theirs));
    else if (theirs)
        bad = json_object_update_missing(mine, theirs);
    if (bad || merge_chain(a, json_object_get(b, "provenance")))
        return sky_fail(e, SKY_ENOMEM, "schema: out of memory");
    return SKY_OK;
}
