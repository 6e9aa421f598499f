#include "data/tar.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 512, NAME = 4096 };

/* Octal digits, or GNU's base 256 when the top bit is set. */
static int number(const uint8_t *p, size_t n, uint64_t *v)
{
    *v = 0;
    if (*p & 0x80) {
        for (size_t i = n - 8; i < n; i++)
            *v = *v << 8 | p[i];
        return 1;
    }
    size_t i = 0;
    while (i < n && p[i] == ' ')
        i++;
    for (; i < n && p[i] >= '0' && p[i] <= '7'; i++)
        *v = *v << 3 | (uint64_t)(p[i] - '0');
    return i == n || p[i] == ' ' || p[i] == 0;
}

static int checksum_ok(const uint8_t *h)
{
    uint64_t want;
    uint32_t sum = 0;
    for (int i = 0; i < BLOCK; i++)
        sum += i >= 148 && i < 156 ? ' ' : h[i];
    return number(h + 148, 8, &want) && want == sum;
}

static int all_zero(const uint8_t *h)
{
    for (int i = 0; i < BLOCK; i++)
        if (h[i])
            return 0;
    return 1;
}

static void header_name(const uint8_t *h, char *name)
{
    size_t n = 0;
    if (!memcmp(h + 257, "ustar\0", 6) && h[345]) {
        n = strnlen((const char *)h + 345, 155);
        memcpy(name, h + 345, n);
        name[n++] = '/';
    }
    size_t m = strnlen((const char *)h, 100);
    memcpy(name + n, h, m);
    name[n + m] = 0;
}

/* Records "LENGTH KEY=VALUE\n". */
static int pax(const uint8_t *p, size_t n, char *name, uint64_t *size, int *sized)
{
    for (size_t at = 0; at < n;) {
        size_t len = 0, i = at;
        for (; i < n && p[i] >= '0' && p[i] <= '9' && len < n; i++)
            len = len * 10 + (size_t)(p[i] - '0');
        if (i == n || p[i] != ' ' || len < i + 3 - at || len > n - at || p[at + len - 1] != '\n')
            return 0;
        const char *key = (const char *)p + i + 1, *end = (const char *)p + at + len - 1;
        size_t room = (size_t)(end - key);
        if (room > 5 && !memcmp(key, "path=", 5) && room - 5 < NAME) {
            memcpy(name, key + 5, room - 5);
            name[room - 5] = 0;
        } else if (room > 5 && room < 26 && !memcmp(key, "size=", 5)) {
            char digits[24] = "";
            memcpy(digits, key + 5, room - 5);
            *size = strtoull(digits, NULL, 10);
            *sized = 1;
        }
        at += len;
    }
    return 1;
}

int sky_tar_walk(const uint8_t *p, size_t n, sky_tar_fn fn, void *arg, const char *where, sky_err *e)
{
    char next[NAME] = "", name[NAME]; /* next: set by a long-name record for the member after it */
    uint64_t given = 0;
    int sized = 0;
    for (size_t at = 0; n - at >= BLOCK;) {
        const uint8_t *h = p + at;
        uint64_t size;
        if (all_zero(h))
            return SKY_OK;
        if (!checksum_ok(h) || !number(h + 124, 12, &size))
            return sky_fail(e, SKY_ECORRUPT, "%s: tar header at byte %zu is damaged", where, at);
        char type = (char)h[156];
        if (sized && type != 'x' && type != 'L')
            size = given;
        at += BLOCK;
        if (size > n - at)
            return sky_fail(e, SKY_ECORRUPT, "%s: member at byte %zu has %llu bytes, the archive ends after %zu", where,
                            at, (unsigned long long)size, n - at);
        int rc = SKY_OK;
        if (type == 'L') {
            size_t m = size < NAME ? (size_t)size : NAME - 1;
            memcpy(next, p + at, m);
            next[m] = 0;
        } else if (type == 'x') {
            if (!pax(p + at, (size_t)size, next, &given, &sized))
                return sky_fail(e, SKY_ECORRUPT, "%s: extended header at byte %zu is damaged", where, at);
        } else if (type == '0' || type == 0 || type == '7') {
            header_name(h, name);
            rc = fn(arg, *next ? next : name, at, size, e);
        }
        if (type != 'L' && type != 'x')
            *next = 0, sized = 0;
        if (rc < 0)
            return rc;
        uint64_t step = (size + BLOCK - 1) / BLOCK * BLOCK;
        at = step > n - at ? n : at + (size_t)step;
    }
    return sky_fail(e, SKY_ECORRUPT, "%s: the archive ends after %zu bytes without its end mark: cut short?", where, n);
}
