#include "data/part.h"
#include "base/hash.h"

#include <ctype.h>
#include <stdlib.h>

static const char *number(const char *s, uint64_t *v)
{
    char *end;
    *v = strtoull(s, &end, 10);
    return isdigit((unsigned char)*s) ? end : NULL;
}

int sky_part_parse(sky_part *p, const char *text, sky_err *e)
{
    *p = (sky_part){0};
    if (!text)
        return SKY_OK;
    const char *s = number(text, &p->i);
    s = s && *s == '/' ? number(s + 1, &p->n) : NULL;
    if (!s || *s || p->i < 1 || p->i > p->n || p->n > 1 << 20)
        return sky_fail(e, SKY_EUSAGE, "--part '%.40s': want I/N with 1 <= I <= N, like 1/4", text);
    return SKY_OK;
}

int sky_part_holds(const sky_part *p, const char *id)
{
    return !p->n || sky_mix64(sky_fnv1a(id), 0) % p->n == p->i - 1;
}
