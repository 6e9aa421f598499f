#include "data/pattern.h"

#include <stdint.h>
#include <string.h>

enum { MAX_PARTS = 2 * SKY_PATTERN_TOKENS + 1 };

typedef enum { LITERAL, ANY, DIGITS, WORDS } kind;

typedef struct {
    kind kind;
    const char *p; /* LITERAL: the text; WORDS: "a|b" */
    size_t n;
    int token;     /* its number, literals: -1 */
} part;

struct sky_pattern {
    char *text;
    part part[MAX_PARTS];
    int nparts, ntokens, slashes;
    char name[SKY_PATTERN_TOKENS][32];
};

static int word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static int add_part(sky_pattern *g, part p, const char *where, sky_err *e)
{
    if (p.kind == LITERAL && !p.n)
        return SKY_OK;
    if (g->nparts == MAX_PARTS)
        return sky_fail(e, SKY_ELIMIT, "%s: pattern '%s' has more than %d tokens", where, g->text, SKY_PATTERN_TOKENS);
    g->part[g->nparts++] = p;
    return SKY_OK;
}

static int add_token(sky_pattern *g, const char *name, size_t n, part p, const char *where, sky_err *e)
{
    if (g->ntokens == SKY_PATTERN_TOKENS)
        return sky_fail(e, SKY_ELIMIT, "%s: pattern '%s' has more than %d tokens", where, g->text, SKY_PATTERN_TOKENS);
    if (n == 0 || n >= sizeof g->name[0])
        return sky_fail(e, SKY_ECORRUPT, "%s: pattern '%s': a token's name has 1 to 31 characters", where, g->text);
    memcpy(g->name[g->ntokens], name, n);
    if (sky_pattern_find(g, g->name[g->ntokens]) >= 0)
        return sky_fail(e, SKY_ECORRUPT, "%s: pattern '%s' has two tokens '%s'", where, g->text, g->name[g->ntokens]);
    p.token = g->ntokens++;
    return add_part(g, p, where, e);
}

/* p stands after '{'; *end gets the place after '}'. */
static int parse_token(sky_pattern *g, const char *p, const char **end, const char *where, sky_err *e)
{
    const char *name = p;
    while (word_char(*p))
        p++;
    size_t n = (size_t)(p - name);
    part t = {.kind = ANY};
    if (*p == ':') {
        t.p = ++p;
        t.n = strcspn(p, "}/{");
        t.kind = t.n == 1 && *p == 'd' ? DIGITS : WORDS;
        p += t.n;
        if (!t.n)
            return sky_fail(e, SKY_ECORRUPT, "%s: pattern '%s': nothing after ':'", where, g->text);
    }
    if (*p != '}')
        return sky_fail(e, SKY_ECORRUPT, "%s: pattern '%s': '{' without a name and '}'", where, g->text);
    *end = p + 1;
    return add_token(g, name, n, t, where, e);
}

static int parse(sky_pattern *g, const char *where, sky_err *e)
{
    const char *p = g->text, *from = p;
    int stars = 0, rc = SKY_OK;
    while (!rc && *p) {
        if (*p != '{' && *p != '*') {
            g->slashes += *p == '/';
            p++;
            continue;
        }
        rc = add_part(g, (part){LITERAL, from, (size_t)(p - from), -1}, where, e);
        if (rc)
            break;
        if (*p == '{') {
            rc = parse_token(g, p + 1, &p, where, e);
        } else {
            char digit[2] = {(char)('1' + stars++ % 9), 0};
            rc = add_token(g, digit, 1, (part){.kind = ANY}, where, e);
            p++;
        }
        from = p;
    }
    return rc ? rc : add_part(g, (part){LITERAL, from, (size_t)(p - from), -1}, where, e);
}

int sky_pattern_parse(sky_pattern **out, const char *text, const char *where, sky_err *e)
{
    if (!*text || strlen(text) > SKY_PATTERN_TEXT)
        return sky_fail(e, SKY_ECORRUPT, "%s: a pattern has 1 to %d characters", where, SKY_PATTERN_TEXT);
    sky_pattern *g = sky_calloc(1, sizeof *g);
    if (!g || !(g->text = sky_strdup(text))) {
        sky_free(g);
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", where);
    }
    int rc = parse(g, where, e);
    if (rc)
        sky_pattern_free(g);
    else
        *out = g;
    return rc;
}

void sky_pattern_free(sky_pattern *g)
{
    if (g)
        sky_free(g->text);
    sky_free(g);
}

const char *sky_pattern_text(const sky_pattern *g) { return g->text; }
int sky_pattern_tokens(const sky_pattern *g) { return g->ntokens; }
const char *sky_pattern_token(const sky_pattern *g, int i) { return g->name[i]; }

int sky_pattern_find(const sky_pattern *g, const char *name)
{
    for (int i = 0; i < g->ntokens; i++)
        if (!strcmp(g->name[i], name))
            return i;
    return -1;
}

/* Trying every split again and again is exponential, so places that failed are remembered: work is at most
 * parts * length * length. */
typedef struct {
    const sky_pattern *g;
    const char *s;
    size_t n;
    sky_span *values;
    uint8_t failed[MAX_PARTS + 1][SKY_PATTERN_TEXT / 8 + 1];
} state;

static int match_from(state *m, int part_no, size_t at);

static int match_words(state *m, const part *p, int part_no, size_t at)
{
    for (const char *w = p->p; w < p->p + p->n;) {
        const char *bar = memchr(w, '|', (size_t)(p->p + p->n - w));
        size_t n = (size_t)((bar ? bar : p->p + p->n) - w);
        if (n && n <= m->n - at && !memcmp(m->s + at, w, n) && match_from(m, part_no + 1, at + n)) {
            m->values[p->token] = (sky_span){m->s + at, n};
            return 1;
        }
        w += n + 1;
    }
    return 0;
}

static int match_run(state *m, const part *p, int part_no, size_t at)
{
    for (size_t n = 1; n <= m->n - at; n++) {
        char c = m->s[at + n - 1];
        if (c == '/' || (p->kind == DIGITS && (c < '0' || c > '9')))
            return 0;
        if (match_from(m, part_no + 1, at + n)) {
            m->values[p->token] = (sky_span){m->s + at, n};
            return 1;
        }
    }
    return 0;
}

static int match_from(state *m, int part_no, size_t at)
{
    if (part_no == m->g->nparts)
        return at == m->n;
    uint8_t *seen = &m->failed[part_no][at / 8], bit = (uint8_t)(1 << at % 8);
    if (*seen & bit)
        return 0;
    const part *p = &m->g->part[part_no];
    int ok;
    if (p->kind == LITERAL)
        ok = p->n <= m->n - at && !memcmp(m->s + at, p->p, p->n) && match_from(m, part_no + 1, at + p->n);
    else
        ok = p->kind == WORDS ? match_words(m, p, part_no, at) : match_run(m, p, part_no, at);
    if (!ok)
        *seen |= bit;
    return ok;
}

int sky_pattern_match(const sky_pattern *g, const char *path, sky_span values[SKY_PATTERN_TOKENS])
{
    size_t n = strlen(path), from = n;
    for (int slashes = 0; from > 0; from--)
        if (path[from - 1] == '/' && slashes++ == g->slashes)
            break;
    if (n - from > SKY_PATTERN_TEXT)
        return 0;
    /* A literal end (".jpg") settles most names without the table below. */
    const part *last = &g->part[g->nparts - 1];
    if (last->kind == LITERAL && (last->n > n - from || memcmp(path + n - last->n, last->p, last->n)))
        return 0;
    state m = {.g = g, .s = path + from, .n = n - from, .values = values};
    return match_from(&m, 0, 0);
}

int sky_pattern_expand(const sky_pattern *t, const sky_pattern *p, const sky_span *values, sky_buf *to)
{
    for (int i = 0; i < t->nparts; i++) {
        const part *k = &t->part[i];
        if (k->kind == LITERAL) {
            sky_buf_add(to, k->p, k->n);
            continue;
        }
        int at = sky_pattern_find(p, t->name[k->token]);
        if (at < 0)
            return -1;
        sky_buf_add(to, values[at].p, values[at].n);
    }
    return 0;
}
