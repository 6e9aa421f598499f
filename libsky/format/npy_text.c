/* npy_text.c -- elements of string and date arrays as UTF-8. */
#include "base/utf8.h"
#include "format/npy.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static int no_memory(sky_err *e) { return sky_fail(e, SKY_ENOMEM, "npy: out of memory"); }

static void put_utf8(sky_buf *b, uint32_t c)
{
    uint8_t u[4];
    int n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (int i = n - 1; i > 0; i--, c >>= 6)
        u[i] = (uint8_t)(0x80 | (c & 0x3f));
    u[0] = (uint8_t)(lead[n] | c);
    sky_buf_add(b, u, (size_t)n);
}

static int text(char **out, const uint32_t *c, size_t n, uint64_t i, sky_err *e)
{
    sky_buf b = {0};
    while (n && !c[n - 1])
        n--;
    for (size_t k = 0; k < n; k++) {
        if (!c[k] || c[k] > 0x10ffff || (c[k] >= 0xd800 && c[k] < 0xe000)) {
            sky_buf_free(&b);
            return sky_fail(e, SKY_ECORRUPT, "npy: element %llu: 0x%x is not a character", (unsigned long long)i, c[k]);
        }
        put_utf8(&b, c[k]);
    }
    sky_buf_puts(&b, "");
    if (b.bad) {
        sky_buf_free(&b);
        return no_memory(e);
    }
    *out = b.p;
    return SKY_OK;
}

static int bytes(char **out, const uint8_t *p, size_t n, uint64_t i, sky_err *e)
{
    while (n && !p[n - 1])
        n--;
    for (size_t k = 0, len; k < n; k += len)
        if (!(len = sky_utf8_length(p + k, n - k)) || !p[k])
            return sky_fail(e, SKY_ECORRUPT, "npy: element %llu: byte %zu is not UTF-8", (unsigned long long)i, k);
    *out = sky_strndup((const char *)p, n);
    return *out ? SKY_OK : no_memory(e);
}

/* ---- dates ---------------------------------------------------------------------------------------------------- */

typedef struct {
    int64_t year;
    int month, day;
} civil;

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

/* Days from 1970-01-01 to the Gregorian calendar, by eras of 400 years (146097 days) that begin in March. */
static civil from_days(int64_t days)
{
    int64_t z = days + 719468, era = floor_div(z, 146097), doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    int month = (int)(mp < 10 ? mp + 3 : mp - 9);
    return (civil){yoe + era * 400 + (month <= 2), month, (int)(doy - (153 * mp + 2) / 5 + 1)};
}

static const struct {
    const char *name;
    int64_t seconds, parts; /* one unit = seconds / parts s */
} units[] = {{"W", 604800, 1}, {"D", 86400, 1}, {"h", 3600, 1}, {"m", 60, 1}, {"s", 1, 1}, {"ms", 1, 1000}, {"us", 1, 1000000}, {"ns", 1, 1000000000}};

static int bad_time(uint64_t i, const char *unit, sky_err *e)
{
    return sky_fail(e, SKY_ECORRUPT, "npy: element %llu: a date in units of '%s' outside the years 0 to 9999 or in a unit that is not read", (unsigned long long)i, unit);
}

/* Years and months have no fixed length in seconds. */
static char *by_calendar(int64_t v, int months_per_unit)
{
    int64_t m;
    if (__builtin_mul_overflow(v, months_per_unit, &m) || __builtin_add_overflow(m, 1970 * 12, &m) || m < 0 || m >= 120000)
        return NULL;
    return sky_asprintf("%04d-%02d-01", (int)(m / 12), (int)(m % 12) + 1);
}

static char *by_seconds(int64_t v, int64_t seconds, int64_t parts)
{
    int64_t s = floor_div(v, parts), frac = v - s * parts;
    if (__builtin_mul_overflow(s, seconds, &s) || s < -62167219200 || s > 253402300799) /* years 0 .. 9999 */
        return NULL;
    int64_t days = floor_div(s, 86400), t = s - days * 86400;
    civil c = from_days(days);
    if (seconds >= 86400)
        return sky_asprintf("%04d-%02d-%02d", (int)c.year, c.month, c.day);
    if (!frac)
        return sky_asprintf("%04d-%02d-%02dT%02d:%02d:%02dZ", (int)c.year, c.month, c.day, (int)(t / 3600), (int)(t / 60 % 60), (int)(t % 60));
    return sky_asprintf("%04d-%02d-%02dT%02d:%02d:%02d.%09dZ", (int)c.year, c.month, c.day, (int)(t / 3600), (int)(t / 60 % 60), (int)(t % 60),
                        (int)(frac * (1000000000 / parts)));
}

static char *date(int64_t v, const char *unit)
{
    char *name;
    long many = isdigit((unsigned char)*unit) ? strtol(unit, &name, 10) : (name = (char *)(uintptr_t)unit, 1);
    if (many < 1 || many > 1000000000 || __builtin_mul_overflow(v, many, &v))
        return NULL;
    if (!strcmp(name, "Y") || !strcmp(name, "M"))
        return by_calendar(v, *name == 'Y' ? 12 : 1);
    for (size_t k = 0; k < sizeof units / sizeof *units; k++)
        if (!strcmp(name, units[k].name))
            return by_seconds(v, units[k].seconds, units[k].parts);
    return NULL;
}

int sky_npy_text(char **out, const sky_npy *a, uint64_t i, sky_err *e)
{
    const uint8_t *p = (const uint8_t *)a->data + i * a->head.itemsize;
    if (a->head.kind == SKY_NPY_BYTES)
        return bytes(out, p, a->head.itemsize, i, e);
    if (a->head.kind == SKY_NPY_TEXT)
        return text(out, (const uint32_t *)(const void *)p, a->head.itemsize / 4, i, e);
    if (a->head.kind != SKY_NPY_TIME)
        return sky_fail(e, SKY_EUSAGE, "npy: an array of numbers has no text");
    int64_t v;
    memcpy(&v, p, 8);
    *out = v == INT64_MIN ? sky_strdup("") : date(v, a->head.unit);
    return *out ? SKY_OK : bad_time(i, a->head.unit, e);
}
