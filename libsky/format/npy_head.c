/* npy_head.c -- the header of a .npy: a Python dictionary literal with exactly the keys descr, fortran_order, shape. */
#include "format/npy.h"
#include "base/io.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { HEAD_LIMIT = 1 << 20, TEXT_LIMIT = 1 << 20 };

typedef struct {
    const char *p, *end, *start;
    const char *where;
    sky_err *e;
} lit;

static void space(lit *l)
{
    while (l->p < l->end && isspace((unsigned char)*l->p))
        l->p++;
}

static int bad(lit *l, const char *want)
{
    char found[24] = "the end";
    if (l->p < l->end)
        snprintf(found, sizeof found, isprint((unsigned char)*l->p) ? "'%c'" : "byte 0x%02x", (unsigned char)*l->p);
    return sky_fail(l->e, SKY_ECORRUPT, "%s: npy header: character %td: expected %s, found %s", l->where, l->p - l->start, want, found);
}

static int take(lit *l, char c)
{
    space(l);
    if (l->p == l->end || *l->p != c)
        return 0;
    l->p++;
    return 1;
}

static int take_word(lit *l, const char *w)
{
    space(l);
    size_t n = strlen(w);
    if ((size_t)(l->end - l->p) < n || memcmp(l->p, w, n))
        return 0;
    l->p += n;
    return 1;
}

/* 'text' or "text" without escapes into s (cap bytes). */
static int string(lit *l, char *s, size_t cap, const char *want)
{
    space(l);
    if (l->p == l->end || (*l->p != '\'' && *l->p != '"'))
        return bad(l, want);
    char quote = *l->p++;
    size_t n = 0;
    for (; l->p < l->end && *l->p != quote; l->p++) {
        if (n + 1 >= cap || *l->p == '\\' || !*l->p)
            return bad(l, want);
        s[n++] = *l->p;
    }
    if (l->p == l->end)
        return bad(l, "a closing quote");
    l->p++;
    s[n] = 0;
    return SKY_OK;
}

static int number(lit *l, uint64_t *v)
{
    space(l);
    if (l->p == l->end || !isdigit((unsigned char)*l->p))
        return bad(l, "a number");
    *v = 0;
    for (; l->p < l->end && isdigit((unsigned char)*l->p); l->p++)
        if (!sky_mul_u64(*v, 10, v) || !sky_add_u64(*v, (uint64_t)(*l->p - '0'), v))
            return bad(l, "a number below 2^64");
    if (l->p < l->end && *l->p == 'L') /* Python 2 wrote 10L */
        l->p++;
    return SKY_OK;
}

static int shape(lit *l, sky_npy_head *h)
{
    if (!take(l, '('))
        return bad(l, "'('");
    while (!take(l, ')')) {
        if (h->ndim == SKY_NPY_DIMS)
            return sky_fail(l->e, SKY_ELIMIT, "%s: npy header: more than %d dimensions", l->where, SKY_NPY_DIMS);
        int rc = number(l, &h->shape[h->ndim++]);
        if (rc)
            return rc;
        if (!take(l, ',') && (l->p == l->end || *l->p != ')'))
            return bad(l, "',' or ')'");
    }
    return SKY_OK;
}

static const struct {
    char kind;
    uint32_t size;
    sky_dtype dtype;
} numbers[] = {{'b', 1, SKY_BOOL}, {'u', 1, SKY_U8}, {'i', 1, SKY_I8}, {'u', 2, SKY_U16}, {'i', 2, SKY_I16}, {'u', 4, SKY_U32}, {'i', 4, SKY_I32},
               {'u', 8, SKY_U64}, {'i', 8, SKY_I64}, {'f', 2, SKY_F16}, {'f', 4, SKY_F32}, {'f', 8, SKY_F64}};

static int refuse_type(const char *d, const char *where, sky_err *e)
{
    const char *what = strchr(d, 'O') ? "Python objects (a pickle), which are never read" : strchr(d, 'c') ? "complex numbers" : "a type that is not read";
    return sky_fail(e, SKY_ECORRUPT, "%s: npy header: descr '%s' is %s; expected bool, integers, float16/32/64, S, U or M8", where, d, what);
}

/* "[D]" or "[10m]" after M8. */
static int time_unit(sky_npy_head *h, const char *s, const char *d, const char *where, sky_err *e)
{
    size_t n = strlen(s);
    if (n < 3 || n - 2 >= sizeof h->unit || s[0] != '[' || s[n - 1] != ']')
        return refuse_type(d, where, e);
    memcpy(h->unit, s + 1, n - 2);
    h->unit[n - 2] = 0;
    h->kind = SKY_NPY_TIME;
    h->dtype = SKY_I64;
    h->itemsize = 8;
    return SKY_OK;
}

static int type_of(sky_npy_head *h, const char *d, const char *where, sky_err *e)
{
    if (!d[0] || !strchr("<>|", d[0]) || !d[1])
        return refuse_type(d, where, e);
    h->big_endian = d[0] == '>';
    if (d[1] == 'M' && d[2] == '8')
        return time_unit(h, d + 3, d, where, e);
    uint64_t size = 0;
    const char *s = d + 2;
    while (isdigit((unsigned char)*s) && size < TEXT_LIMIT)
        size = size * 10 + (uint64_t)(*s++ - '0');
    if (*s || s == d + 2 || size == 0 || size >= TEXT_LIMIT)
        return refuse_type(d, where, e);
    h->itemsize = (uint32_t)size;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].kind == d[1] && numbers[i].size == size) {
            h->dtype = numbers[i].dtype;
            return SKY_OK;
        }
    if (d[1] != 'S' && d[1] != 'U')
        return refuse_type(d, where, e);
    h->kind = d[1] == 'S' ? SKY_NPY_BYTES : SKY_NPY_TEXT;
    h->dtype = d[1] == 'S' ? SKY_U8 : SKY_U32;
    h->itemsize *= d[1] == 'S' ? 1 : 4;
    return SKY_OK;
}

static int flag(lit *l, int *v)
{
    if (take_word(l, "True"))
        return *v = 1, SKY_OK;
    if (take_word(l, "False"))
        return *v = 0, SKY_OK;
    return bad(l, "True or False");
}

static int descr(lit *l, sky_npy_head *h)
{
    char d[32];
    space(l);
    if (l->p < l->end && *l->p == '[')
        return sky_fail(l->e, SKY_ECORRUPT, "%s: npy header: a structured type, which is not read", l->where);
    int rc = string(l, d, sizeof d, "a type such as '<f4'");
    return rc ? rc : type_of(h, d, l->where, l->e);
}

static int entry(lit *l, sky_npy_head *h, int seen[3])
{
    static const char *const keys[] = {"descr", "fortran_order", "shape"};
    char key[32];
    int rc = string(l, key, sizeof key, "a key"), k = 0;
    if (rc)
        return rc;
    while (k < 3 && strcmp(key, keys[k]))
        k++;
    if (k == 3 || seen[k]++)
        return sky_fail(l->e, SKY_ECORRUPT, "%s: npy header: key '%s' is %s", l->where, key, k == 3 ? "unknown" : "there twice");
    if (!take(l, ':'))
        return bad(l, "':'");
    return k == 0 ? descr(l, h) : k == 1 ? flag(l, &h->fortran) : shape(l, h);
}

static int dictionary(lit *l, sky_npy_head *h)
{
    int seen[3] = {0};
    if (!take(l, '{'))
        return bad(l, "'{'");
    while (!take(l, '}')) {
        int rc = entry(l, h, seen);
        if (rc)
            return rc;
        if (!take(l, ',') && (l->p == l->end || *l->p != '}'))
            return bad(l, "',' or '}'");
    }
    space(l);
    if (l->p != l->end)
        return bad(l, "spaces up to the end of the header");
    if (!seen[0] || !seen[1] || !seen[2])
        return sky_fail(l->e, SKY_ECORRUPT, "%s: npy header: one of descr, fortran_order, shape is missing", l->where);
    return SKY_OK;
}

static int total(sky_npy_head *h, const char *where, sky_err *e)
{
    uint64_t n = h->itemsize, zero = 0;
    for (int i = 0; i < h->ndim; i++) {
        zero |= h->shape[i] == 0;
        if (!sky_mul_u64(n, h->shape[i] ? h->shape[i] : 1, &n) || n > INT64_MAX)
            return sky_fail(e, SKY_ELIMIT, "%s: npy header: the shape declares more than 2^63 bytes", where);
    }
    h->nbytes = zero ? 0 : n;
    return SKY_OK;
}

int sky_npy_parse(sky_npy_head *h, const void *p, size_t n, const char *where, sky_err *e)
{
    *h = (sky_npy_head){0};
    sky_rd r = {p, (const uint8_t *)p + n, 0};
    const uint8_t *magic = sky_rd_take(&r, 8);
    if (!magic || memcmp(magic, "\x93NUMPY", 6))
        return sky_fail(e, SKY_ECORRUPT, "%s: not a .npy array: it does not begin with 93 'NUMPY'", where);
    if (magic[6] < 1 || magic[6] > 3 || magic[7] != 0)
        return sky_fail(e, SKY_EVERSION, "%s: npy version %d.%d; 1.0 to 3.0 are read", where, magic[6], magic[7]);
    uint64_t size = sky_rd_le(&r, magic[6] == 1 ? 2 : 4);
    if (size > HEAD_LIMIT)
        return sky_fail(e, SKY_ELIMIT, "%s: npy header of %llu bytes; at most %d are read", where, (unsigned long long)size, HEAD_LIMIT);
    const uint8_t *text = sky_rd_take(&r, size);
    if (!text)
        return sky_fail(e, SKY_ECORRUPT, "%s: npy header of %llu bytes does not fit into %zu", where, (unsigned long long)size, n);
    h->offset = (uint64_t)(r.p - (const uint8_t *)p);
    lit l = {(const char *)text, (const char *)text + size, (const char *)text, where, e};
    int rc = dictionary(&l, h);
    return rc ? rc : total(h, where, e);
}

int sky_npy_header(sky_buf *to, sky_dtype t, int ndim, const uint64_t *shape_, sky_err *e)
{
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (numbers[i].dtype != t)
            continue;
        char head[512];
        int n = snprintf(head, sizeof head, "{'descr': '%c%c%u', 'fortran_order': False, 'shape': (", numbers[i].size == 1 ? '|' : '<', numbers[i].kind,
                         (unsigned)numbers[i].size);
        for (int d = 0; d < ndim; d++)
            n += snprintf(head + n, sizeof head - (size_t)n, d ? ", %llu" : "%llu", (unsigned long long)shape_[d]);
        n += snprintf(head + n, sizeof head - (size_t)n, ndim == 1 ? ",), }" : "), }");
        int size = (10 + n + 1 + 63) / 64 * 64 - 10;
        uint8_t start[10] = "\x93NUMPY\1";
        sky_put_le(start + 8, (uint64_t)size, 2);
        sky_buf_add(to, start, sizeof start);
        sky_buf_printf(to, "%s%*s\n", head, size - n - 1, "");
        return to->bad ? sky_fail(e, SKY_ENOMEM, "npy header: out of memory") : SKY_OK;
    }
    return sky_fail(e, SKY_EUSAGE, "npy: %s has no NumPy type", sky_dtype_name(t));
}
