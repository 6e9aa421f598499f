#include "base/io.h"
#include "format/npy.h"
#include "format/png.h"
#include "format/read_internal.h"
#include "format/webdataset.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAME = 4096, MAX_MEMBER_JSON = 16 << 20 };
#define UNNAMED "?" /* until our .json says the id that the name is too long for */

typedef struct {
    char name[MAX_NAME];
    uint64_t size;
    char type;
} member;

struct sky_wds_in {
    sky_in *in;
    member m;      /* the next one, already read, when `have` */
    int have, ended;
    char drop[MAX_NAME]; /* key of the sample that was damaged: its other members are passed over */
    uint64_t ignored;
    char first_ignored[MAX_NAME];
};

int sky_wds_open(sky_wds_in **out, const char *path, sky_err *e)
{
    sky_wds_in *w = sky_calloc(1, sizeof *w);
    if (!w)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", path);
    int rc = sky_in_open(&w->in, path, e);
    if (rc)
        sky_free(w);
    else
        *out = w;
    return rc;
}

void sky_wds_close(sky_wds_in *w)
{
    if (!w)
        return;
    sky_in_close(w->in);
    sky_free(w);
}

uint64_t sky_wds_ignored(const sky_wds_in *w) { return w->ignored; }
const char *sky_wds_first_ignored(const sky_wds_in *w) { return w->first_ignored; }

/* ---- tar --------------------------------------------------------------------------------------------------------- */

/* Octal text, or GNU's big-endian form with the first bit set. */
static int parse_number(const uint8_t *p, int n, uint64_t *v)
{
    *v = 0;
    if (p[0] & 0x80) {
        for (int i = n - 8; i < n; i++)
            *v = *v << 8 | p[i];
        return 0;
    }
    int i = 0;
    while (i < n && p[i] == ' ')
        i++;
    for (; i < n && p[i] && p[i] != ' '; i++) {
        if (p[i] < '0' || p[i] > '7')
            return -1;
        *v = *v << 3 | (uint64_t)(p[i] - '0');
    }
    return 0;
}

static int parse_header(const uint8_t *h, member *m, uint64_t at, sky_err *e)
{
    uint64_t want;
    unsigned sum = 8 * ' ';
    for (int i = 0; i < 512; i++)
        sum += i >= 148 && i < 156 ? 0u : h[i];
    if (parse_number(h + 148, 8, &want) || want != sum || parse_number(h + 124, 12, &m->size) || m->size > INT64_MAX)
        return sky_fail(e, SKY_ECORRUPT, "tar header at byte %" PRIu64 " is damaged: sum %o", at, sum);
    int prefix = !memcmp(h + 257, "ustar", 5) && h[345];
    snprintf(m->name, sizeof m->name, "%.*s%s%.100s", prefix ? 155 : 0, prefix ? (const char *)h + 345 : "", prefix ? "/" : "", (const char *)h);
    m->type = (char)h[156];
    return SKY_OK;
}

/* The lines of a pax header that matter: path and size. */
static int parse_pax(const char *p, size_t n, char *path, uint64_t *size, sky_err *e)
{
    const char *end = p + n;
    while (p < end) {
        char *after;
        unsigned long len = strtoul(p, &after, 10);
        if (after == p || *after != ' ' || len > (size_t)(end - p) || after + 1 >= p + len || p[len - 1] != '\n')
            return sky_fail(e, SKY_ECORRUPT, "tar: pax header is damaged");
        const char *key = after + 1, *eq = memchr(key, '=', (size_t)(p + len - key));
        if (eq && eq - key == 4 && !memcmp(key, "path", 4))
            snprintf(path, MAX_NAME, "%.*s", (int)(p + len - 1 - (eq + 1)), eq + 1);
        if (eq && eq - key == 4 && !memcmp(key, "size", 4))
            *size = strtoull(eq + 1, NULL, 10);
        p += len;
    }
    return SKY_OK;
}

static int skip_padding(sky_wds_in *w, uint64_t n, sky_err *e) { return sky_in_skip(w->in, (512 - n % 512) % 512, "tar padding", e); }

static int read_small(sky_wds_in *w, uint64_t n, char **p, const char *what, sky_err *e)
{
    uint8_t *q;
    if (n > MAX_MEMBER_JSON)
        return sky_fail(e, SKY_ELIMIT, "tar: %s of %" PRIu64 " bytes", what, n);
    if (!(q = sky_alloc(n + 1)))
        return sky_fail(e, SKY_ENOMEM, "tar: out of memory");
    int rc = sky_in_exact(w->in, q, n, what, e);
    if (!rc)
        rc = skip_padding(w, n, e);
    q[n] = 0;
    if (rc)
        sky_free(q);
    else
        *p = (char *)q;
    return rc;
}

/* The next regular file into w->m. 1, 0 at the end. */
static int next_member(sky_wds_in *w, sky_err *e)
{
    char path[MAX_NAME] = "";
    uint64_t size = UINT64_MAX;
    for (;;) {
        uint8_t h[512];
        uint64_t at = sky_in_offset(w->in);
        int64_t got = sky_in_read(w->in, h, sizeof h, e);
        if (got < 0)
            return (int)got;
        if (got < 512)
            return sky_fail(e, SKY_ECORRUPT, "%s: tar ends at byte %" PRIu64 " without its end mark", sky_in_name(w->in), at + (uint64_t)got);
        int zero = 1;
        for (int i = 0; i < 512 && zero; i++)
            zero = !h[i];
        if (zero)
            return 0;
        int rc = parse_header(h, &w->m, at, e);
        char *text = NULL;
        if (!rc && (w->m.type == 'x' || w->m.type == 'L') && !(rc = read_small(w, w->m.size, &text, "long name", e))) {
            if (w->m.type == 'x')
                rc = parse_pax(text, w->m.size, path, &size, e);
            else
                snprintf(path, sizeof path, "%s", text);
            sky_free(text);
            if (!rc)
                continue;
        }
        if (rc)
            return sky_wrap(e, "%s", sky_in_name(w->in));
        if (path[0])
            memcpy(w->m.name, path, sizeof path);
        if (size != UINT64_MAX)
            w->m.size = size;
        if (w->m.type == '0' || w->m.type == 0 || w->m.type == '7')
            return 1;
        if ((rc = sky_in_skip(w->in, w->m.size, "tar member", e)) || (rc = skip_padding(w, w->m.size, e)))
            return rc;
        path[0] = 0;
        size = UINT64_MAX;
    }
}

/* ---- members to a sample ----------------------------------------------------------------------------------------- */

/* The key is everything up to the first dot of the last path component; the rest is the extension. */
static char *split_name(char *name)
{
    char *base = strrchr(name, '/'), *dot = strchr(base ? base + 1 : name, '.');
    return dot ? dot : name + strlen(name);
}

typedef struct {
    sky_sample s;
} building;

static sky_field *field_for(building *b, const char *name, sky_err *e)
{
    sky_field *f = sky_sample_field(&b->s, name);
    return f && !f->data && !f->absent && !f->ref ? f : sky_sample_add(&b->s, name, e);
}

static int our_field(building *b, const char *name, const json_t *d, sky_err *e)
{
    const char *type;
    const json_t *meta = NULL, *ref = NULL, *shape = NULL;
    int absent = 0, rc;
    sky_field *f = sky_sample_add(&b->s, name, e);
    if (!f)
        return e->code;
    if ((rc = sky_json_str(d, "dtype", 1, &type, name, e)) || (rc = sky_json_object(d, "meta", 1, &meta, name, e)) ||
        (rc = sky_json_bool(d, "absent", 0, &absent, name, e)) || (rc = sky_json_object(d, "ref", 0, &ref, name, e)) ||
        (rc = sky_json_array(d, "shape", 0, &shape, name, e)))
        return rc;
    if (sky_dtype_parse(type, &f->dtype))
        return sky_fail(e, SKY_EVERSION, "%s: unknown element type '%.20s'", name, type);
    json_decref(f->meta);
    f->meta = json_incref((json_t *)meta);
    f->absent = absent;
    f->ref = json_incref((json_t *)ref);
    for (size_t i = 0; ref && i < json_array_size(shape) && i < SKY_MAX_DIMS; i++)
        f->shape[f->ndim++] = (uint64_t)json_integer_value(json_array_get(shape, i));
    return SKY_OK;
}

static int take_json(building *b, json_t *j, sky_err *e)
{
    const json_t *meta = json_object_get(j, "meta"), *fields = json_object_get(j, "fields");
    const char *id = json_string_value(json_object_get(j, "id")), *name;
    json_t *d;
    if (!id || !json_is_object(meta) || !json_is_object(fields)) { /* someone else's: it is the meta */
        if (json_is_object(j) ? json_object_update(b->s.meta, j) : json_object_set(b->s.meta, "json", j))
            return sky_fail(e, SKY_ENOMEM, "tar: out of memory");
        return SKY_OK;
    }
    if (b->s.nfields)
        return sky_fail(e, SKY_ECORRUPT, "the .json must come before the arrays of its sample");
    int rc = sky_sample_begin(&b->s, id, e);
    if (rc)
        return rc;
    json_decref(b->s.meta);
    b->s.meta = json_incref((json_t *)meta);
    json_object_foreach((json_t *)fields, name, d)
        if ((rc = our_field(b, name, d, e)))
            return rc;
    return SKY_OK;
}

static int take_npy(building *b, const char *name, const uint8_t *p, size_t n, sky_err *e)
{
    sky_npy a;
    int rc = sky_npy_memory(&a, p, n, sky_limits_default.field_bytes, name, e);
    if (rc)
        return rc;
    sky_field *f = a.head.kind == SKY_NPY_NUMBER ? field_for(b, name, e) : NULL;
    if (!f) {
        rc = a.head.kind == SKY_NPY_NUMBER ? e->code : sky_fail(e, SKY_ECORRUPT, "%s: an array of text or dates is not a field", name);
    } else {
        if (!(f->dtype == SKY_BF16 && a.head.dtype == SKY_U16))
            f->dtype = a.head.dtype;
        f->ndim = a.head.ndim;
        memcpy(f->shape, a.head.shape, sizeof f->shape);
        f->nbytes = a.head.nbytes;
        f->data = a.data;
        a.data = NULL;
    }
    sky_npy_free(&a);
    return rc;
}

static int take_png(building *b, const char *name, const uint8_t *p, size_t n, sky_err *e)
{
    sky_png *g;
    int rc = sky_png_open(&g, p, n, SKY_PNG_STORED, name, e);
    if (rc)
        return rc;
    const sky_png_info *i = sky_png_get(g);
    const uint64_t shape[3] = {i->height, i->width, (uint64_t)i->channels};
    int ndim = i->channels > 1 ? 3 : 2;
    sky_field *f = field_for(b, name, e);
    rc = f ? sky_field_alloc(f, i->dtype, ndim, shape, 0, e) : e->code;
    if (!rc)
        rc = sky_field_set_dims(f, ndim == 3 ? "yxc" : "yx", e);
    if (!rc)
        rc = sky_png_read(g, f->data, e);
    sky_png_close(g);
    return rc;
}

static int take_cls(building *b, const char *text, sky_err *e)
{
    char *end;
    long long v = strtoll(text, &end, 10);
    if (end == text || end[strspn(end, " \r\n")])
        return sky_fail(e, SKY_ECORRUPT, ".cls: '%.40s' is not a whole number", text);
    return json_object_set_new(b->s.meta, "cls", json_integer(v)) ? sky_fail(e, SKY_ENOMEM, "tar: out of memory") : SKY_OK;
}

static int pass_over(sky_wds_in *w, sky_err *e)
{
    int rc = sky_in_skip(w->in, w->m.size, "tar member", e);
    if (!rc)
        rc = skip_padding(w, w->m.size, e);
    if (rc)
        w->ended = 1;
    return rc;
}

static int ignore(sky_wds_in *w, sky_err *e)
{
    if (!w->ignored++)
        snprintf(w->first_ignored, sizeof w->first_ignored, "%s", w->m.name);
    return pass_over(w, e);
}

/* Of the extension ".json", ".s2.npy", ".png" ...; 0: not one that is read. */
static int kind_of(const char *ext)
{
    const char *last = strrchr(ext, '.');
    return !last ? 0 : !strcmp(last, ".json") ? 'j' : !strcmp(last, ".npy") ? 'n' : !strcmp(last, ".png") ? 'p' : !strcmp(last, ".cls") ? 'c' : 0;
}

/* The field of a bare ".npy" or ".png" is called after its extension. */
static int take(building *b, sky_wds_in *w, const char *ext, sky_err *e)
{
    const char *last = strrchr(ext, '.');
    const int kind = kind_of(ext);
    char name[64];
    snprintf(name, sizeof name, "%.*s", last != ext ? (int)(last - ext - 1) : 63, ext + 1);
    uint8_t *p = NULL;
    uint64_t n = w->m.size;
    const uint64_t most = kind == 'j' || kind == 'c' ? MAX_MEMBER_JSON : sky_limits_default.field_bytes;
    if (n > most) {
        int rc = pass_over(w, e);
        return rc ? rc : sky_fail(e, SKY_ELIMIT, "%s: %s: %" PRIu64 " bytes, above the limit of %" PRIu64, sky_in_name(w->in), w->m.name, n, most);
    }
    int rc = sky_read_bytes(w->in, NULL, &p, n + (512 - n % 512) % 512, "a tar member", e);
    if (rc) { /* the file itself: what follows cannot be found */
        w->ended = 1;
        return sky_wrap(e, "%s: %s", sky_in_name(w->in), w->m.name);
    }
    if (kind == 'j') {
        json_t *j;
        if (!(rc = sky_json_parse(&j, (char *)p, n, "json", e))) {
            rc = take_json(b, j, e);
            json_decref(j);
        }
    } else if (kind == 'c') {
        char text[64];
        snprintf(text, sizeof text, "%.*s", (int)(n < 63 ? n : 63), (char *)p);
        rc = take_cls(b, text, e);
    } else {
        rc = kind == 'n' ? take_npy(b, name, p, n, e) : take_png(b, name, p, n, e);
    }
    sky_free(p);
    return rc ? sky_wrap(e, "%s: %s", sky_in_name(w->in), w->m.name) : SKY_OK;
}

/* Fields of our json whose array never came. */
static int complete(const sky_sample *s, const char *key, sky_err *e)
{
    if (!strcmp(s->id, UNNAMED) && strcmp(key, UNNAMED))
        return sky_fail(e, SKY_ECORRUPT, "tar: '%.80s...': the name of a sample has 1 to 255 bytes", key);
    for (int i = 0; i < s->nfields; i++)
        if (!s->fields[i].data && !s->fields[i].absent && !s->fields[i].ref)
            return sky_fail(e, SKY_ECORRUPT, "'%s': field '%s' has no .npy", s->id, s->fields[i].name);
    return SKY_OK;
}

static int has_key(const member *m, const char *key)
{
    size_t n = strlen(key);
    return !strncmp(m->name, key, n) && (size_t)(split_name((char *)(uintptr_t)m->name) - m->name) == n;
}

/* Members of one sample into b, whose key is left in key. 1: a sample; 0: the end; < 0. */
static int collect(sky_wds_in *w, building *b, char key[MAX_NAME], sky_err *e)
{
    int begun = 0, rc = 0;
    while (!w->ended) {
        if (!w->have && (rc = next_member(w, e)) <= 0) {
            w->ended = 1;
            break;
        }
        w->have = 0;
        if (!begun && *w->drop && has_key(&w->m, w->drop)) {
            if ((rc = pass_over(w, e)))
                return rc;
            continue;
        }
        *w->drop = 0;
        if (begun && !has_key(&w->m, key)) {
            w->have = 1;
            break;
        }
        const char *ext = split_name(w->m.name);
        if (!kind_of(ext)) { /* alone it makes no sample */
            if ((rc = ignore(w, e)))
                return rc;
            continue;
        }
        if (!begun) {
            begun = 1;
            snprintf(key, MAX_NAME, "%.*s", (int)(ext - w->m.name), w->m.name);
            if ((rc = sky_sample_begin(&b->s, *key && strlen(key) <= 255 ? key : UNNAMED, e)))
                return rc;
        }
        if ((rc = take(b, w, ext, e)))
            return rc;
    }
    return rc < 0 ? rc : begun;
}

int sky_wds_next(sky_wds_in *w, sky_sample *s, sky_err *e)
{
    building b = {.s = {0}};
    char key[MAX_NAME] = "";
    sky_sample_free(s);
    int rc = collect(w, &b, key, e);
    if (rc == 1 && complete(&b.s, key, e))
        rc = sky_wrap(e, "%s", sky_in_name(w->in));
    if (rc == 1)
        sky_sample_move(s, &b.s);
    else
        memcpy(w->drop, key, sizeof key);
    sky_sample_free(&b.s);
    return rc;
}
