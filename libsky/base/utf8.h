/* utf8.h -- text from outside, checked before it goes into JSON or to a terminal. */
#ifndef SKY_BASE_UTF8_H
#define SKY_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Length of the UTF-8 character at p (shortest form, no surrogates) of at most left bytes, 0 when it is none. */
size_t sky_utf8_length(const uint8_t *p, size_t left);
/* As many whole characters of `from` as fit into to[room], for terminals and JSON alike: control characters and bytes that are
 * not UTF-8 become '?'. */
void sky_utf8_clean(char *to, size_t room, const char *from);

#endif
