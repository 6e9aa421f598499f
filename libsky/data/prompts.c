#include "data/prompts.h"
#include "base/io.h"
#include "data/prompts_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const size_t file_limit = (size_t)1 << 30;

/* ---- the list -------------------------------------------------------------------------------------------------- */

void sky_prompts_free(sky_prompts *p)
{
    if (!p)
        return;
    sky_buf_free(&p->text);
    sky_free(p->row);
    sky_free(p->v);
    sky_free(p->order);
    sky_free(p);
}

int sky_prompts_add(sky_prompts *p, const char *query, const char *prompt, int cls, uint64_t line, sky_err *e)
{
    if (p->n >> PROMPTS_MAX_LOG2)
        return sky_fail(e, SKY_ELIMIT, "more than %d prompts", 1 << PROMPTS_MAX_LOG2);
    prompt_row *v = sky_grow(p->row, p->n, &p->cap, sizeof *v);
    if (!v)
        return sky_fail(e, SKY_ENOMEM, "out of memory for prompts");
    p->row = v;
    prompt_row *r = &v[p->n];
    *r = (prompt_row){.cls = cls, .line = line};
    r->query = p->text.n;
    sky_buf_add(&p->text, query, strlen(query) + 1);
    r->prompt = p->text.n;
    sky_buf_add(&p->text, prompt, strlen(prompt) + 1);
    if (p->text.bad)
        return sky_fail(e, SKY_ENOMEM, "out of memory for prompts");
    p->n++;
    return SKY_OK;
}

static int by_query(const void *a, const void *b, void *arg)
{
    const sky_prompts *p = arg;
    uint64_t i = *(const uint64_t *)a, j = *(const uint64_t *)b;
    int d = strcmp(p->v[i].query, p->v[j].query);
    return d ? d : i < j ? -1 : i > j;
}

static int no_duplicates(const sky_prompts *p, sky_err *e)
{
    uint64_t seen[256] = {0}; /* position + 1 of the class in this query's lines */
    for (uint64_t k = 0; k < p->n; k++) {
        uint64_t i = p->order[k];
        if (k && strcmp(p->v[i].query, p->v[p->order[k - 1]].query))
            memset(seen, 0, sizeof seen);
        uint64_t *s = &seen[p->v[i].cls < 0 ? 0 : p->v[i].cls];
        if (*s)
            return sky_fail(e, SKY_ECORRUPT, "line %" PRIu64 ": query '%s' has a prompt for this class already, on line %" PRIu64, p->row[i].line, p->v[i].query, p->row[*s - 1].line);
        *s = i + 1;
    }
    return SKY_OK;
}

int sky_prompts_seal(sky_prompts *p, sky_err *e)
{
    if (!p->n)
        return sky_fail(e, SKY_ECORRUPT, "no prompts in it");
    p->v = sky_alloc(p->n * sizeof *p->v);
    p->order = sky_alloc(p->n * sizeof *p->order);
    if (!p->v || !p->order)
        return sky_fail(e, SKY_ENOMEM, "out of memory for prompts");
    for (uint64_t i = 0; i < p->n; i++) {
        p->v[i] = (sky_prompt){p->text.p + p->row[i].query, p->text.p + p->row[i].prompt, p->row[i].cls};
        p->order[i] = i;
        if ((p->row[i].cls < 0) != (p->row[0].cls < 0))
            return sky_fail(e, SKY_ECORRUPT, "line %" PRIu64 ": one class after '*' or '*' after one class: a file is of one protocol", p->row[i].line);
    }
    qsort_r(p->order, p->n, sizeof *p->order, by_query, p);
    return no_duplicates(p, e);
}

uint64_t sky_prompts_count(const sky_prompts *p) { return p->n; }
const sky_prompt *sky_prompts_at(const sky_prompts *p, uint64_t i) { return &p->v[i]; }
int sky_prompts_multi(const sky_prompts *p) { return p->v[0].cls < 0; }
uint64_t sky_prompts_line(const sky_prompts *p, uint64_t i) { return p->row[i].line; }

uint64_t sky_prompts_of(const sky_prompts *p, const char *query, const uint64_t **list)
{
    uint64_t lo = 0, hi = p->n, n = 0;
    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (strcmp(p->v[p->order[mid]].query, query) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    while (lo + n < p->n && !strcmp(p->v[p->order[lo + n]].query, query))
        n++;
    *list = p->order + lo;
    return n;
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

static int parse_class(const char *s, int *cls)
{
    if (!strcmp(s, "*")) {
        *cls = SKY_ALL_CLASSES;
        return 0;
    }
    size_t n = strlen(s);
    if (n < 1 || n > 3 || strspn(s, "0123456789") != n || (n > 1 && *s == '0'))
        return -1;
    *cls = atoi(s);
    return *cls > 255 ? -1 : 0;
}

/* One line, NUL-terminated and without NUL inside; written to. */
static int parse_line(sky_prompts *p, char *s, uint64_t line, sky_err *e)
{
    char *column[4];
    int n = 0, cls;
    if (!*s || *s == '#')
        return SKY_OK;
    for (char *at = s; at && n < 4; n++) {
        column[n] = at;
        if ((at = strchr(at, '\t')))
            *at++ = 0;
    }
    if (n != 3)
        return sky_fail(e, SKY_ECORRUPT, "%s columns, want 3 between tabs: query id, prompt id, class", n < 3 ? n == 1 ? "1" : "2" : "more than 3");
    for (int i = 0; i < 2; i++)
        if (sky_id_check(column[i], strlen(column[i]), e))
            return sky_wrap(e, i ? "prompt" : "query");
    if (parse_class(column[2], &cls))
        return sky_fail(e, SKY_ECORRUPT, "class '%.20s', want 0..255 or *", column[2]);
    if (!strcmp(column[0], column[1]))
        return sky_fail(e, SKY_ECORRUPT, "'%s' prompts itself", column[0]);
    return sky_prompts_add(p, column[0], column[1], cls, line, e);
}

static int parse_text(sky_prompts *p, char *s, size_t n, const char *name, sky_cli *cli, sky_err *e)
{
    uint64_t line = 1;
    char *end = s + n;
    if (n >= 3 && !memcmp(s, "\xef\xbb\xbf", 3)) /* a UTF-8 byte-order mark is no part of the first id */
        s += 3;
    for (; s < end; line++) {
        char *stop = memchr(s, '\n', (size_t)(end - s));
        char *next = stop ? stop + 1 : end; /* the byte at end is a NUL of ours */
        char *last = stop ? stop : end;
        if (last > s && last[-1] == '\r')
            last--;
        *last = 0;
        int rc = memchr(s, 0, (size_t)(last - s)) ? sky_fail(e, SKY_ECORRUPT, "a NUL byte: this is not a text file") : parse_line(p, s, line, e);
        if (rc) {
            sky_wrap(e, "%s: line %" PRIu64, name, line);
            rc = cli && rc == SKY_ECORRUPT ? sky_skip(cli, e) : rc;
        }
        if (rc)
            return rc;
        s = next;
    }
    int rc = sky_prompts_seal(p, e);
    return rc ? sky_wrap(e, "%s", name) : SKY_OK;
}

static int parse_named(sky_prompts **out, char *s, size_t n, const char *name, sky_cli *cli, sky_err *e)
{
    sky_prompts *p = sky_calloc(1, sizeof *p);
    int rc = p ? parse_text(p, s, n, name, cli, e) : sky_fail(e, SKY_ENOMEM, "%s: out of memory for prompts", name);
    if (rc) {
        sky_prompts_free(p);
        return rc;
    }
    *out = p;
    return SKY_OK;
}

int sky_prompts_memory(sky_prompts **out, const void *p, size_t n, const char *name, sky_err *e)
{
    char *s = sky_strndup(p, n);
    int rc = s ? parse_named(out, s, n, name, NULL, e) : sky_fail(e, SKY_ENOMEM, "%s: out of memory", name);
    sky_free(s);
    return rc;
}

int sky_prompts_read(sky_prompts **out, const char *path, sky_cli *cli, sky_err *e)
{
    char *s = NULL;
    size_t n = 0;
    int rc = sky_read_file(&s, &n, path, file_limit, e);
    if (!rc)
        rc = parse_named(out, s, n, strcmp(path, "-") ? path : "standard input", cli, e);
    sky_free(s);
    return rc;
}

/* ---- writing ------------------------------------------------------------------------------------------------------ */

static int write_head(sky_out *o, const char *head, sky_err *e)
{
    int rc = SKY_OK;
    while (head && *head && !rc) {
        size_t n = strcspn(head, "\n");
        rc = sky_out_printf(o, e, "# %.*s\n", (int)n, head);
        head += n + (head[n] == '\n');
    }
    return rc;
}

static int write_lines(const sky_prompts *p, sky_out *o, sky_err *e)
{
    int rc = SKY_OK;
    for (uint64_t i = 0; i < p->n && !rc; i++) {
        const sky_prompt *v = &p->v[i];
        if (*v->query == '#')
            return sky_fail(e, SKY_ECORRUPT, "query id '%s' begins with '#', which marks comments in a prompts file", v->query);
        rc = v->cls < 0 ? sky_out_printf(o, e, "%s\t%s\t*\n", v->query, v->prompt) : sky_out_printf(o, e, "%s\t%s\t%d\n", v->query, v->prompt, v->cls);
    }
    return rc;
}

int sky_prompts_write(const sky_prompts *p, const char *path, const char *head, sky_err *e)
{
    sky_out *o = NULL;
    int rc = sky_out_open(&o, path, 0, e);
    if (rc)
        return rc;
    rc = write_head(o, head, e);
    if (!rc)
        rc = write_lines(p, o, e);
    if (!rc)
        return sky_out_commit(o, e);
    sky_out_abort(o);
    return rc;
}
