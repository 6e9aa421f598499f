/* Which split an item is in, where the descriptor says so by ids or by a list file of names. */
#include "base/mem.h"
#include "data/plan_internal.h"

#include <string.h>

typedef struct {
    sky_plan *p;
    const sky_dataset_split *split;
    const sky_entry *file;
    sky_pattern *name[2 * 64]; /* the image's file name, with and without its suffix */
    int nnames;
    sky_plan *lost; /* names without a file */
    sky_err *e;
} lister;

static int name_patterns(lister *s)
{
    const sky_dataset_field *f = &s->p->d->field[0];
    for (int k = 0; k < f->npaths; k++) {
        const char *text = sky_pattern_text(f->path[k]), *slash = strrchr(text, '/');
        text = slash ? slash + 1 : text;
        const char *dot = strrchr(text, '.');
        char *bare = dot && dot > text ? sky_strndup(text, (size_t)(dot - text)) : NULL;
        int rc = sky_pattern_parse(&s->name[s->nnames], text, s->p->d->file, s->e);
        s->nnames += !rc;
        if (!rc && bare && !strchr(dot, '}')) {
            rc = sky_pattern_parse(&s->name[s->nnames], bare, s->p->d->file, s->e);
            s->nnames += !rc;
        }
        sky_free(bare);
        if (rc)
            return rc;
    }
    return SKY_OK;
}

static int note_class(sky_plan_item *it, int class, sky_err *e)
{
    if (!it->meta && !(it->meta = json_object()))
        return sky_plan_no_memory(e);
    json_t *a = json_object_get(it->meta, "listed_classes");
    if (!a && (json_object_set_new(it->meta, "listed_classes", json_array()) || !(a = json_object_get(it->meta, "listed_classes"))))
        return sky_plan_no_memory(e);
    size_t i = 0;
    for (; i < json_array_size(a); i++) {
        json_int_t v = json_integer_value(json_array_get(a, i));
        if (v == class)
            return SKY_OK;
        if (v > class)
            break;
    }
    return json_array_insert_new(a, i, json_integer(class)) ? sky_plan_no_memory(e) : SKY_OK;
}

static int lost_name(lister *s, const char *name, size_t line)
{
    sky_plan_item *it = sky_plan_add(s->lost, sky_strdup(name));
    if (!it)
        return sky_plan_no_memory(s->e);
    it->split = s->split->name;
    it->problem = sky_asprintf("%s: line %zu: no image file for '%.200s'", s->file->path, line, name);
    return it->problem ? SKY_OK : sky_plan_no_memory(s->e);
}

static int listed(lister *s, const char *name, int class, size_t line)
{
    sky_span v[SKY_PATTERN_TOKENS];
    sky_plan_item *it = NULL;
    for (int k = 0; !it && k < s->nnames; k++) {
        char *id = NULL;
        if (!sky_pattern_match(s->name[k], name, v))
            continue;
        int bad = sky_plan_expand_id(s->p->d, s->name[k], v, &id);
        if (bad == -2)
            return sky_plan_no_memory(s->e);
        it = bad ? NULL : sky_plan_find(s->p, id);
        sky_free(id);
    }
    if (!it || !it->field[0].n)
        return lost_name(s, name, line);
    it->split = s->split->name;
    return class >= 0 ? note_class(it, class, s->e) : SKY_OK;
}

static int digit(char c) { return c >= '0' && c <= '9'; }
static int letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 128; }

/* "NAME", or "NAME<separators>CC". The separator is not published: whatever is neither letter nor digit counts. */
static int one_line(lister *s, char *text, size_t n, size_t line)
{
    while (n && (unsigned char)text[n - 1] <= ' ')
        n--;
    while (n && (unsigned char)*text <= ' ')
        text++, n--;
    if (!n)
        return SKY_OK;
    int class = -1;
    if (s->split->with_class) {
        size_t cut = n >= 2 ? n - 2 : 0, end = cut;
        while (end && !letter(text[end - 1]) && !digit(text[end - 1]))
            end--;
        if (n < 4 || !digit(text[n - 1]) || !digit(text[n - 2]) || end == cut || !end)
            return sky_fail(s->e, SKY_ECORRUPT, "%s: line %zu: expected an image name, a separator and a two-digit class, found '%.*s'",
                            s->file->path, line, (int)(n < 100 ? n : 100), text);
        class = (text[n - 2] - '0') * 10 + text[n - 1] - '0';
        n = end;
    }
    char *name = sky_strndup(text, n);
    int rc = !name ? sky_plan_no_memory(s->e) : strlen(name) != n ? sky_fail(s->e, SKY_ECORRUPT, "%s: line %zu: zero byte", s->file->path, line)
                                                          : listed(s, name, class, line);
    sky_free(name);
    return rc;
}

static int read_lines(lister *s, char *text, size_t n)
{
    int rc = SKY_OK;
    size_t line = 0;
    if (n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3))
        text += 3, n -= 3;
    for (size_t at = 0; !rc && at < n; line++) {
        char *end = memchr(text + at, '\n', n - at);
        size_t len = end ? (size_t)(end - text) - at : n - at;
        rc = one_line(s, text + at, len, line + 1);
        at += len + 1;
    }
    return rc;
}

static const sky_entry *find_list(const sky_dataset_split *s, const sky_listing *l, sky_err *e, int *rc)
{
    sky_span v[SKY_PATTERN_TOKENS];
    const sky_entry *found = NULL;
    *rc = SKY_OK;
    for (size_t i = 0; i < sky_listing_count(l); i++) {
        const sky_entry *f = sky_listing_at(l, i);
        if (!sky_pattern_match(s->list_path, f->match, v))
            continue;
        if (found)
            *rc = sky_fail(e, SKY_ECORRUPT, "two lists for split '%s': %s and %s", s->name, found->path, f->path);
        found = f;
    }
    return found;
}

static int read_list(sky_plan *p, sky_plan *lost, const sky_dataset_split *split, const sky_entry *f, sky_listing *l, sky_err *e)
{
    lister s = {.p = p, .split = split, .file = f, .lost = lost, .e = e};
    sky_bytes b;
    int rc = sky_listing_read(l, f, SKY_LIST_LIMIT, &b, e);
    if (rc)
        return rc;
    char *text = sky_strndup((const char *)b.p, b.n);
    rc = text ? name_patterns(&s) : sky_plan_no_memory(e);
    if (!rc)
        rc = read_lines(&s, text, b.n);
    for (int k = 0; k < s.nnames; k++)
        sky_pattern_free(s.name[k]);
    sky_free(text);
    sky_bytes_free(&b);
    return rc;
}

static int in_ids(const sky_dataset_split *s, const char *id)
{
    for (size_t i = 0; i < json_array_size(s->ids); i++) {
        const char *v = json_string_value(json_array_get(s->ids, i));
        if (v && !strcmp(v, id))
            return 1;
    }
    return 0;
}

/* Move the items of `from` to the end of p. */
static int append(sky_plan *p, sky_plan *from, sky_err *e)
{
    for (size_t i = 0; i < from->n; i++) {
        sky_plan_item *it = sky_plan_add(p, from->item[i].id);
        from->item[i].id = NULL;
        if (!it)
            return sky_plan_no_memory(e);
        it->split = from->item[i].split;
        it->problem = from->item[i].problem;
        from->item[i].problem = NULL;
    }
    return SKY_OK;
}

int sky_plan_set_splits(sky_plan *p, const sky_listing *l, const char *wanted, sky_err *e)
{
    sky_plan *lost = sky_calloc(1, sizeof *lost);
    int rc = lost ? SKY_OK : sky_plan_no_memory(e);
    if (lost)
        lost->d = p->d;
    for (int i = 0; !rc && i < p->d->nsplits; i++) {
        const sky_dataset_split *s = &p->d->split[i];
        for (size_t k = 0; s->ids && k < p->n; k++)
            if (in_ids(s, p->item[k].id))
                p->item[k].split = s->name;
        if (!s->list || (wanted && strcmp(wanted, s->name)))
            continue;
        const sky_entry *f = find_list(s, l, e, &rc);
        if (!rc && f)
            rc = read_list(p, lost, s, f, (sky_listing *)(uintptr_t)l, e);
        else if (!rc && wanted)
            rc = sky_fail(e, SKY_ECORRUPT, "split '%s': no file named '%s' among the %zu files given", s->name, s->list, sky_listing_count(l));
    }
    if (!rc)
        rc = append(p, lost, e);
    sky_plan_close(lost);
    return rc;
}
