/* json.h -- jansson set up for this project, strict reading with good messages, and YAML read into the same tree.
 *
 * Every configuration, descriptor and record header is a json_t, whatever its spelling on disk. Getters below fail
 * with "WHERE: 'key': expected TYPE, found X"; `where` is the caller's words for the place. */
#ifndef SKY_BASE_JSON_H
#define SKY_BASE_JSON_H

#include "base/err.h"
#include "base/mem.h"
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* One JSON value of n bytes; duplicate keys, trailing bytes and more than 64 levels are errors. Caller json_decref. */
int sky_json_parse(json_t **out, const char *p, size_t n, const char *where, sky_err *e) SKY_MUST_USE;
/* Compact, keys in insertion order, doubles with 17 digits; sky_free it. NULL: memory. */
char *sky_json_dump(const json_t *j);
void sky_json_put(sky_buf *to, const json_t *j); /* the same, appended; j NULL: a failure like any */

/* json_deep_copy that gives NULL when memory fails; jansson's gives a copy with members missing. */
json_t *sky_json_copy(const json_t *j);

/* A YAML document (libyaml) into JSON: scalars by the YAML 1.2 core schema (plain null/true/false/int/float; quoted is
 * always a string). Anchors, aliases, tags and several documents are refused by name and line. */
int sky_yaml_parse(json_t **out, const char *p, size_t n, const char *where, sky_err *e) SKY_MUST_USE;
int sky_yaml_load(json_t **out, const char *path, sky_err *e) SKY_MUST_USE; /* 1 MiB limit */
/* Also the line of every key of a mapping, as a member of the object `lines` under the key's path ("data.train"), for
 * messages about what was read; NULL: not wanted. */
int sky_yaml_parse_lines(json_t **out, json_t *lines, const char *p, size_t n, const char *where, sky_err *e) SKY_MUST_USE;

/* Typed members of object o. `required` 0: *v is left as it is when the key is absent. */
int sky_json_str(const json_t *o, const char *key, int required, const char **v, const char *where, sky_err *e) SKY_MUST_USE;
int sky_json_i64(const json_t *o, const char *key, int required, int64_t min, int64_t max, int64_t *v, const char *where, sky_err *e) SKY_MUST_USE;
int sky_json_f64(const json_t *o, const char *key, int required, double *v, const char *where, sky_err *e) SKY_MUST_USE;
int sky_json_bool(const json_t *o, const char *key, int required, int *v, const char *where, sky_err *e) SKY_MUST_USE;
/* An array or object member; *v is borrowed. */
int sky_json_array(const json_t *o, const char *key, int required, const json_t **v, const char *where, sky_err *e) SKY_MUST_USE;
int sky_json_object(const json_t *o, const char *key, int required, const json_t **v, const char *where, sky_err *e) SKY_MUST_USE;
/* Error naming the first key of o that is not in the NULL-terminated list. */
int sky_json_only(const json_t *o, const char *const keys[], const char *where, sky_err *e) SKY_MUST_USE;
const char *sky_json_type(const json_t *j); /* "an object", "a string", ... */

#endif
