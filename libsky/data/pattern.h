/* pattern.h -- file names with named tokens: "Images/{id}_{r:d}_{c:d}.jpg".
 *
 * {name} one or more characters other than '/'; {name:d} decimal digits only; {name:a|b} one of the words; * is a token
 * named by its position among the stars ("1", "2", ...). A name may occur once. Earlier tokens take as few characters
 * as they can. A pattern is compared with the end of a path, whole components only: "Images/{id}.jpg" matches
 * "x/y/Images/7.jpg" but not "x/MyImages/7.jpg". */
#ifndef SKY_DATA_PATTERN_H
#define SKY_DATA_PATTERN_H

#include "base/err.h"
#include "base/mem.h"
#include <stddef.h>

#define SKY_PATTERN_TOKENS 16
#define SKY_PATTERN_TEXT 1024 /* longest pattern, and longest end of a path it can match */

typedef struct sky_pattern sky_pattern;
typedef struct {
    const char *p; /* into the path; not terminated */
    size_t n;
} sky_span;

/* where: put in front of messages. */
int sky_pattern_parse(sky_pattern **out, const char *text, const char *where, sky_err *e) SKY_MUST_USE;
void sky_pattern_free(sky_pattern *p); /* NULL allowed */
const char *sky_pattern_text(const sky_pattern *p);
int sky_pattern_tokens(const sky_pattern *p);
const char *sky_pattern_token(const sky_pattern *p, int i);
int sky_pattern_find(const sky_pattern *p, const char *name); /* -1: none */
/* 1 and the tokens' values when the end of path matches, else 0. */
int sky_pattern_match(const sky_pattern *p, const char *path, sky_span values[SKY_PATTERN_TOKENS]);
/* Append template t with its tokens replaced by those of a match of p. 0, or -1 when p lacks a token of t. */
int sky_pattern_expand(const sky_pattern *t, const sky_pattern *p, const sky_span *values, sky_buf *to);

#endif
