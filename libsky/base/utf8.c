#include "base/utf8.h"

#include <string.h>

size_t sky_utf8_length(const uint8_t *p, size_t left)
{
    size_t n = *p < 0x80 ? 1 : *p >= 0xc2 && *p < 0xe0 ? 2 : *p >= 0xe0 && *p < 0xf0 ? 3 : *p >= 0xf0 && *p < 0xf5 ? 4 : 0;
    if (!n || n > left)
        return 0;
    for (size_t k = 1; k < n; k++)
        if ((p[k] & 0xc0) != 0x80)
            return 0;
    if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] >= 0xa0) || (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] >= 0x90))
        return 0;
    return n;
}

void sky_utf8_clean(char *to, size_t room, const char *from)
{
    size_t n = 0, left = strlen(from);
    while (left) {
        size_t len = sky_utf8_length((const uint8_t *)from, left), bad = !len || (len == 1 && ((unsigned char)*from < ' ' || *from == 127));
        len = len ? len : 1;
        if (n + len >= room)
            break;
        if (bad)
            to[n] = '?';
        else
            memcpy(to + n, from, len);
        n += len, from += len, left -= len;
    }
    to[n] = 0;
}
