/* The prompts file, the rule that makes one, and slots. */
#include "data/prompts.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "t.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static sky_err err;

static int read_text(sky_prompts **p, const char *s) { return sky_prompts_memory(p, s, strlen(s), "p.tsv", &err); }

/* ---- the file ------------------------------------------------------------------------------------------------- */

static void check_read(void)
{
    sky_prompts *p = NULL;
    OK(!read_text(&p, "# a comment\nb\ta\t3\n\na\tb c\t3\r\nb\t\xc3\xa9\t0\nb\ta\t255") && sky_prompts_count(p) == 4 && !sky_prompts_multi(p), "comments, empty lines, CRLF, no newline at the end");
    const sky_prompt *v = sky_prompts_at(p, 1);
    OK(!strcmp(v->query, "a") && !strcmp(v->prompt, "b c") && v->cls == 3, "a line's three columns");
    const uint64_t *list;
    OK(sky_prompts_of(p, "b", &list) == 3 && list[0] == 0 && list[1] == 2 && list[2] == 3, "lines of a query in the order of the file");
    OK(sky_prompts_of(p, "aa", &list) == 0 && sky_prompts_of(p, "zz", &list) == 0, "queries without lines");
    sky_prompts_free(p);
    OK(!read_text(&p, "a\tb\t*\nb\ta\t*\n") && sky_prompts_multi(p) && sky_prompts_at(p, 1)->cls == SKY_ALL_CLASSES, "multi-class protocol");
    sky_prompts_free(p);
    sky_prompts_free(NULL);
}

static void check_refused(void)
{
    static const struct {
        const char *text, *word;
    } t[] = {
        {"", "no prompts"}, {"# only words\n\n", "no prompts"}, {"a\tb\t1\na\tb\n", "p.tsv: line 2: 2 columns"}, {"a\n", "1 columns"}, {"a\tb\t1\t\n", "more than 3"},
        {"a\tb\t256\n", "class '256'"}, {"a\tb\t-1\n", "class '-1'"}, {"a\tb\t01\n", "class '01'"}, {"a\tb\t 1\n", "class ' 1'"}, {"a\tb\t\n", "class ''"}, {"a\tb\t99999999999\n", "class"},
        {"a\ta\t1\n", "line 1: 'a' prompts itself"}, {"\tb\t1\n", "query"}, {"a\t\t1\n", "prompt"}, {"a\t\xff\t1\n", "prompt"}, {"a\x01\tb\t1\n", "query"},
        {"a\tb\t1\n#\na\tc\t1\n", "line 3: query 'a' has a prompt for this class already, on line 1"}, {"a\tb\t*\na\tc\t*\n", "already, on line 1"},
        {"a\tb\t1\nb\tc\t*\n", "line 2: one class after"}, {"a\tb\t1\r\r\n", "class"},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        sky_prompts *p = NULL;
        int rc = read_text(&p, t[i].text);
        OK(rc == SKY_ECORRUPT && strstr(err.msg, t[i].word), "%s", rc ? err.msg : "accepted");
        if (!rc)
            sky_prompts_free(p);
    }
    sky_prompts *p = NULL;
    OK(sky_prompts_memory(&p, "a\tb\t1\0\n", 8, "p.tsv", &err) == SKY_ECORRUPT && strstr(err.msg, "NUL"), "%s", err.msg);
    char id[400];
    memset(id, 'x', sizeof id);
    memcpy(id + 300, "\tb\t1\n", 6);
    OK(read_text(&p, id) == SKY_ECORRUPT && strstr(err.msg, "300 bytes"), "%s", err.msg);
    OK(sky_prompts_read(&p, "/nonexistent/p.tsv", NULL, &err) == SKY_EIO, "%s", err.msg);
}

static void check_write(void)
{
    sky_prompts *p = NULL, *q = NULL;
    char path[] = "/tmp/sky-prompts-XXXXXX", *text = NULL;
    int fd = mkstemp(path);
    if (fd >= 0)
        close(fd);
    OK(!read_text(&p, "b\ta\t3\nc\tb\t7\n") && !sky_prompts_write(p, path, "seed 5\nby hand", &err), "written");
    OK(!sky_read_file(&text, NULL, path, 1000, &err) && !strcmp(text, "# seed 5\n# by hand\nb\ta\t3\nc\tb\t7\n"), "its bytes");
    OK(!sky_prompts_read(&q, path, NULL, &err) && sky_prompts_count(q) == 2 && sky_prompts_at(q, 1)->cls == 7, "read back");
    sky_free(text);
    sky_prompts_free(p), sky_prompts_free(q);
    unlink(path);
    OK(!read_text(&p, "a\t#b\t3\n") && !sky_prompts_write(p, path, NULL, &err), "a prompt may begin with #");
    sky_prompts_free(p);
    unlink(path);
}

/* ---- the rule -------------------------------------------------------------------------------------------------- */

/* entries: JSON index entries, as one array; order: 0 forwards, 1 backwards. Returns the file made, or NULL with err. */
static char *make(const char *entries, int backwards, const sky_catalogue_opts *co, const sky_prompts_opts *o)
{
    sky_catalogue *c = NULL;
    sky_prompts *p = NULL;
    sky_buf b = {0};
    json_t *list = json_loads(entries, 0, NULL), *schema = json_loads("{\"fields\":{\"label\":{\"classes\":[{\"value\":0,\"name\":\"sea\"},{\"value\":4,\"name\":\"background\"}]}}}", 0, NULL);
    int rc = list && schema ? sky_catalogue_open(&c, co, &err) : sky_fail(&err, SKY_EUSAGE, "test");
    size_t n = json_array_size(list);
    for (size_t i = 0; i < n && !rc; i++)
        rc = sky_catalogue_add(c, json_array_get(list, backwards ? n - 1 - i : i), co->nclasses < 0 ? NULL : schema, &err);
    if (!rc)
        rc = sky_prompts_make(&p, c, o, &err);
    for (uint64_t i = 0; !rc && i < sky_prompts_count(p); i++)
        sky_buf_printf(&b, "%s<%s:%d ", sky_prompts_at(p, i)->query, sky_prompts_at(p, i)->prompt, sky_prompts_at(p, i)->cls);
    json_decref(list), json_decref(schema);
    sky_prompts_free(p);
    sky_catalogue_close(c);
    return rc ? NULL : b.p;
}

static void check_made(const char *entries, const sky_catalogue_opts *co, const sky_prompts_opts *o, const char *want, const char *what)
{
    char *a = make(entries, 0, co, o), *b = make(entries, 1, co, o);
    OK(a && b && !strcmp(a, want) && !strcmp(b, want), "%s: %s", what, a ? a : err.msg);
    sky_free(a), sky_free(b);
}

static const char three[] = "[{\"id\":\"b\",\"classes\":{\"label\":[1,2]}},{\"id\":\"a\",\"classes\":{\"label\":[1]}},{\"id\":\"c\",\"classes\":{\"label\":[2,4]}},{\"id\":\"n\"}]";

static void check_rule(void)
{
    sky_catalogue_opts co = {0};
    sky_prompts_opts o = {.seed = 1};
    check_made(three, &co, &o, "a<b:1 b<a:1 b<c:2 c<b:2 ", "one candidate each: no choice; background 4 is no class");
    co = (sky_catalogue_opts){.classes = (int[]){2}, .nclasses = 1};
    check_made(three, &co, &o, "b<c:2 c<b:2 ", "only class 2");
    co = (sky_catalogue_opts){.classes = (int[]){4}, .nclasses = 1};
    OK(!make(three, 0, &co, &o) && strstr(err.msg, "'c'") && strstr(err.msg, "class 4"), "a class with one image: %s", err.msg);
    sky_cli cli = {.prog = "# prompts", .keep_going = 1};
    o.cli = &cli;
    co = (sky_catalogue_opts){.classes = (int[]){2, 4}, .nclasses = 2};
    char *s = make(three, 0, &co, &o);
    OK(s && !strcmp(s, "b<c:2 c<b:2 ") && cli.skipped == 1, "left out when asked to, and counted");
    sky_free(s);
    co = (sky_catalogue_opts){.classes = (int[]){9}, .nclasses = 1};
    OK(!make(three, 0, &co, &o) && strstr(err.msg, "no queries"), "no query at all: %s", err.msg);

    const char split[] = "[{\"id\":\"a\",\"classes\":{\"label\":[1]},\"split\":\"val\"},{\"id\":\"b\",\"classes\":{\"label\":[1]},\"split\":\"train\"},{\"id\":\"c\",\"classes\":{\"label\":[1]},\"split\":\"val\"}]";
    o = (sky_prompts_opts){.seed = 1};
    co = (sky_catalogue_opts){.query_split = "val"};
    check_made(split, &co, &o, "a<c:1 c<a:1 ", "queries and prompts of one split");
    co.prompt_split = "train";
    check_made(split, &co, &o, "a<b:1 c<b:1 ", "prompts of another");

    const char listed[] = "[{\"id\":\"a\",\"classes\":{\"label\":[1,2]},\"listed_classes\":[2]},{\"id\":\"b\",\"classes\":{\"label\":[1,2]}},{\"id\":\"c\",\"classes\":{\"label\":[3]},\"listed_classes\":[2,3]},{\"id\":\"d\",\"classes\":{\"label\":[3]}}]";
    co = (sky_catalogue_opts){.classes = (int[]){3}, .nclasses = 1};
    check_made(listed, &co, &o, "c<d:3 d<c:3 ", "listed and present");
    co.classes = (int[]){2};
    s = make(listed, 0, &co, &o);
    OK(s && strstr(s, "c<") && !strstr(s, "<c:2") && strstr(s, "a<b:2") && strstr(s, "b<a:2"), "a listed class is asked for, but only a present one is offered: %s", s ? s : err.msg);
    sky_free(s);
    co.classes = (int[]){1};
    OK(!make(listed, 0, &co, &o) && strstr(err.msg, "'b'"), "a class that is present but not listed is not offered: %s", err.msg);

    const char two[] = "[{\"id\":\"a\",\"classes\":{\"label\":[1],\"parts\":[1]}},{\"id\":\"b\",\"classes\":{\"label\":[1],\"parts\":[1]}}]";
    co = (sky_catalogue_opts){0};
    OK(!make(two, 0, &co, &o) && strstr(err.msg, "parts"), "two label fields: %s", err.msg);
    co.label = "parts";
    check_made(two, &co, &o, "a<b:1 b<a:1 ", "one of them chosen");
    OK(!make("[{\"id\":\"a\",\"classes\":{\"l\":[1]}},{\"id\":\"a\",\"classes\":{\"l\":[1]}}]", 0, &(sky_catalogue_opts){0}, &o) && strstr(err.msg, "twice"), "an id twice: %s", err.msg);
    OK(!make("[{\"id\":\"a\",\"classes\":{\"l\":[300]}}]", 0, &(sky_catalogue_opts){0}, &o) && strstr(err.msg, "300"), "class 300: %s", err.msg);
    OK(!make("[]", 0, &(sky_catalogue_opts){0}, &o) && strstr(err.msg, "0 samples"), "nothing at all: %s", err.msg);
}

/* 200 samples of one class: prompts spread over all, differ with the seed, never the query itself. */
static void check_draws(void)
{
    sky_buf b = {0};
    sky_buf_puts(&b, "[");
    for (int i = 0; i < 200; i++)
        sky_buf_printf(&b, "%s{\"id\":\"s%03d\",\"classes\":{\"label\":[1,2]}}", i ? "," : "", i);
    sky_buf_puts(&b, "]");
    sky_catalogue_opts co = {0};
    char *first = NULL;
    int self = 0, same = 0, used[200] = {0}, distinct = 0, lines = 0, both = 0, before = -1;
    for (uint64_t seed = 1; seed <= 2; seed++) {
        sky_prompts_opts o = {.seed = seed};
        char *s = make(b.p, 0, &co, &o);
        if (!s)
            continue;
        if (!first) {
            first = s;
            int q, p, c, n;
            for (const char *at = s; sscanf(at, "s%d<s%d:%d %n", &q, &p, &c, &n) == 3; at += n, lines++) {
                self += q == p;
                distinct += !used[p]++;
                both += c == 2 && p == before;
                before = p;
            }
        } else {
            same = !strcmp(first, s);
            sky_free(s);
        }
    }
    OK(lines == 400 && self == 0 && !same, "400 lines, no query prompts itself, seeds differ");
    OK(distinct > 150 && distinct < 190, "%d of 200 samples were drawn (173 expected)", distinct);
    OK(both < 10, "the two classes of a query draw apart (%d equal)", both);
    OK(first && !strncmp(first, "s000<s023:1 s000<s044:2 s001<s118:1 ", 36), "the rule's own numbers: %.36s", first ? first : "");
    sky_free(first);
    sky_buf_free(&b);
}

static void check_multi(void)
{
    const char text[] = "[{\"id\":\"a\",\"classes\":{\"label\":[1,2,3]}},{\"id\":\"b\",\"classes\":{\"label\":[1,2]}},{\"id\":\"c\",\"classes\":{\"label\":[3,5]}},{\"id\":\"d\",\"classes\":{\"label\":[5]}},{\"id\":\"e\",\"classes\":{\"label\":[]}}]";
    sky_catalogue_opts co = {0};
    sky_prompts_opts o = {.seed = 3, .multi = 1};
    /* a: b covers 2 of 3; b: a covers 2; c: a and d cover 1 each; d: c */
    char *s = make(text, 0, &co, &o);
    OK(s && strstr(s, "a<b:-1 b<a:-1 ") && (strstr(s, "c<a:-1") || strstr(s, "c<d:-1")) && strstr(s, "d<c:-1") && !strstr(s, "e<"), "covers most classes: %s", s ? s : err.msg);
    sky_free(s);
    const char lone[] = "[{\"id\":\"a\",\"classes\":{\"label\":[1]}},{\"id\":\"b\",\"classes\":{\"label\":[2]}}]";
    OK(!make(lone, 0, &co, &o) && strstr(err.msg, "'a'"), "nothing in common: %s", err.msg);
}

/* The multi-class rule of docs/protocol.md word for word, sample against sample. */
enum { CROWD = 24 };
typedef struct {
    char id[8];
    int asks[256], offers[256];
} member;

static int covers(const member *asking, const member *offering)
{
    int n = 0;
    for (int c = 0; c < 256; c++)
        n += asking->asks[c] && offering->offers[c];
    return n;
}

static void prompt_one(sky_buf *b, const member v[CROWD], const member *q, uint64_t seed)
{
    const member *list[CROWD];
    int most = 1, n = 0;
    for (int i = 0; i < CROWD; i++)
        if (&v[i] != q && covers(q, &v[i]) > most)
            most = covers(q, &v[i]);
    for (int i = 0; i < CROWD; i++)
        if (&v[i] != q && covers(q, &v[i]) == most)
            list[n++] = &v[i];
    if (n)
        sky_buf_printf(b, "%s<%s:-1 ", q->id, list[sky_mix64(sky_mix64(sky_fnv1a(q->id), seed), 0) % (uint64_t)n]->id);
}

/* Some of so many classes, which lie in all four words of a set; every third sample has a list of classes. */
static json_t *make_member(member *m, uint64_t h, int classes)
{
    json_t *has = json_array(), *listed = json_array();
    const int by_list = h % 3 == 0;
    for (int k = 0; k < classes; k++) {
        const uint64_t bits = sky_mix64(h, (uint64_t)k);
        const int c = 5 + k * 250 / classes, in = !k || bits & 1, named = (bits & 2) != 0;
        if (in)
            json_array_append_new(has, json_integer(c));
        if (named)
            json_array_append_new(listed, json_integer(c));
        m->asks[c] = by_list ? named : in;
        m->offers[c] = in && (!by_list || named);
    }
    json_t *entry = json_pack("{s:s, s:{s:o}, s:o}", "id", m->id, "classes", "label", has, "listed_classes", listed);
    if (!by_list)
        json_object_del(entry, "listed_classes");
    return entry;
}

static void check_multi_rule(void)
{
    static member v[CROWD];
    const sky_catalogue_opts co = {0};
    int lines = 0, wrong = 0;
    for (uint64_t round = 0; round < 100; round++) {
        const sky_prompts_opts o = {.seed = round, .multi = 1};
        json_t *all = json_array();
        sky_buf want = {0};
        memset(v, 0, sizeof v);
        for (int i = 0; i < CROWD; i++) {
            snprintf(v[i].id, sizeof v[i].id, "s%02d", i);
            json_array_append_new(all, make_member(&v[i], sky_mix64(round, (uint64_t)i), (int[]){3, 6, 12, 40}[round % 4]));
        }
        for (int i = 0; i < CROWD; i++)
            prompt_one(&want, v, &v[i], o.seed);
        char *text = sky_json_dump(all), *got = text ? make(text, round & 1, &co, &o) : NULL;
        wrong += !got || strcmp(got, want.p);
        for (const char *at = want.p; (at = strchr(at, '<')); at++)
            lines++;
        json_decref(all);
        sky_free(text);
        sky_free(got);
        sky_buf_free(&want);
    }
    OK(wrong == 0 && lines > 2200, "%d multi-class prompts as the rule says, word for word (%d of 100 files differ)", lines, wrong);
}

/* From a shard on disk: classes present and listed, through its index alone. */
static int write_shard(const char *path)
{
    sky_writer *w = NULL;
    json_t *schema = json_pack("{s:{s:{s:[{s:i,s:s}]}}}", "fields", "label", "classes", "value", 0, "name", "sea");
    int rc = sky_writer_open(&w, path, SKY_SHARD, schema, NULL, &err);
    json_decref(schema);
    for (int i = 0; i < 3 && !rc; i++) {
        sky_sample s;
        sky_sample_init(&s);
        rc = sky_sample_begin(&s, i == 0 ? "a" : i == 1 ? "b" : "c", &err);
        sky_field *f = rc ? NULL : sky_sample_add(&s, "label", &err);
        if (!f || sky_field_alloc(f, SKY_U8, 2, (uint64_t[]){2, 2}, 1, &err) || sky_field_set_dims(f, "yx", &err))
            return -1;
        json_object_set_new(f->meta, "role", json_string("label"));
        ((uint8_t *)f->data)[3] = 3; /* classes 0 and 3 */
        if (i == 2)
            json_object_set_new(s.meta, "listed_classes", json_pack("[i]", 3));
        rc = sky_writer_put(w, &s, &err);
    }
    return rc ? rc : sky_writer_close(w, &err);
}

static void check_shard(void)
{
    char path[] = "/tmp/sky-prompts-XXXXXX";
    int fd = mkstemp(path);
    if (fd >= 0)
        close(fd);
    sky_shard *s = NULL;
    sky_catalogue *c = NULL;
    sky_prompts *p = NULL;
    const sky_catalogue_opts co = {0};
    const sky_prompts_opts o = {.seed = 5};
    OK(!write_shard(path) && !sky_shard_open(&s, path, NULL, &err) && !sky_catalogue_open(&c, &co, &err) && !sky_catalogue_add_shard(c, s, &err) &&
           !sky_prompts_make(&p, c, &o, &err), "from a shard (%s)", err.msg);
    /* c is asked for class 3 only, and offers nothing else: a and b prompt each other for class 0, which a table names */
    OK(p && sky_prompts_count(p) == 5 && !strcmp(sky_prompts_at(p, 0)->prompt, "b") && sky_prompts_at(p, 0)->cls == 0 && !strcmp(sky_prompts_at(p, 4)->query, "c") && sky_prompts_at(p, 4)->cls == 3,
       "its index carries classes, listed classes and the schema's names");
    sky_prompts_free(p);
    sky_catalogue_close(c);
    sky_shard_close(s);
    unlink(path);
}

/* ---- slots -------------------------------------------------------------------------------------------------------- */

static void check_slots(void)
{
    int out = 0, differ = 0;
    for (int c = 0; c < 256; c++)
        for (uint64_t seed = 0; seed < 8; seed++) {
            int s = sky_prompt_slot(seed, c, 64);
            out += s < 1 || s > 64;
            differ += s != sky_prompt_slot(seed + 1, c, 64);
        }
    OK(out == 0 && differ > 1900, "slots in 1..64, %d of 2048 change with the seed", differ);
    OK(sky_prompt_slot(0, 1, 64) == 61 && sky_prompt_slot(7, 5, 64) == 32, "the rule's own numbers: %d, %d", sky_prompt_slot(0, 1, 64), sky_prompt_slot(7, 5, 64));
    uint8_t a[256], b[256], used[256] = {0};
    int up[64], down[64], bad = 0;
    for (int i = 0; i < 64; i++)
        up[i] = 3 * i, down[63 - i] = 3 * i;
    OK(!sky_prompt_slots(a, 9, up, 64, 64, &err) && !sky_prompt_slots(b, 9, down, 64, 64, &err) && !memcmp(a, b, 256), "64 classes in any order");
    for (int c = 0; c < 256; c++) {
        bad += c % 3 == 0 && c < 192 ? a[c] < 1 || a[c] > 64 || used[a[c]]++ : a[c] != 0;
    }
    OK(bad == 0, "all slots different, other classes none");
    OK(!sky_prompt_slots(a, 9, (int[]){5}, 1, 64, &err) && a[5] == sky_prompt_slot(9, 5, 64), "one class has the slot of the binary protocol");
    int many[65];
    for (int i = 0; i < 65; i++)
        many[i] = i;
    OK(sky_prompt_slots(a, 9, many, 65, 64, &err) == SKY_ELIMIT, "%s", err.msg);
    OK(sky_prompt_slots(a, 9, (int[]){256}, 1, 64, &err) == SKY_EUSAGE, "%s", err.msg);
}

int main(void)
{
    check_read();
    check_refused();
    check_write();
    check_rule();
    check_draws();
    check_multi();
    check_multi_rule();
    check_shard();
    check_slots();
    return END();
}
