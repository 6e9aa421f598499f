/* Order, numbering and prefetch: independent of shards, ranks and threads; every sample once; draws uniform; cursors. */
#include "data/normal.h"
#include "data/order.h"
#include "data/prefetch.h"
#include "make_corpus.h"
#include "t.h"

#include <time.h>

enum { N = 24 };

static int same_numbers(const made *a, const made *b)
{
    int same = sky_roll_count(a->r) == sky_roll_count(b->r) && sky_roll_pairs(a->r) == sky_roll_pairs(b->r);
    for (uint64_t i = 0; same && i < sky_roll_count(a->r); i++) {
        sky_sample x = {0}, y = {0};
        sky_err e;
        same &= !sky_roll_read(a->r, i, NULL, &x, &e) && !sky_roll_read(b->r, i, NULL, &y, &e) && !strcmp(x.id, y.id);
        sky_sample_free(&x), sky_sample_free(&y);
    }
    for (int i = 0; same && i < sky_roll_pairs(a->r); i++) {
        const sky_pair *p = sky_roll_pair(a->r, i), *q = sky_roll_pair(b->r, i);
        same &= p->cls == q->cls && !strcmp(p->dataset, q->dataset) && p->n == q->n && !memcmp(p->sample, q->sample, p->n * sizeof *p->sample);
    }
    return same;
}

static void roll(void)
{
    int back[N];
    made a, b, c;
    sky_err e = {0};
    for (int i = 0; i < N; i++)
        back[i] = N - 1 - (i * 7) % N;
    const int classes[] = {4};
    const sky_roll_opts all = {0}, val = {.split = "val"}, four = {.classes = classes, .nclasses = 1}, none = {.split = "test"};
    OK(!made_open(&a, NULL, N, 10, 0, &all, NULL, &e) && !made_open(&b, back, N, 3, 0, &all, NULL, &e), "open %s", e.msg);
    OK(same_numbers(&a, &b), "numbers and pairs do not depend on the layout of shards");
    OK(sky_roll_count(a.r) == N && sky_roll_pairs(a.r) == 3, "%d samples, classes 2, 3 and 4", N);
    const sky_pair *p = sky_roll_pair(a.r, 2);
    OK(p->cls == 4 && p->n == 1 && !strcmp(p->dataset, "made"), "class 4 in one sample");
    sky_roll *r = NULL;
    OK(!sky_roll_open(&r, a.c, &val, &e) && sky_roll_count(r) == 3, "split val: 3");
    sky_roll_close(r), r = NULL;
    OK(!sky_roll_open(&r, a.c, &four, &e) && sky_roll_count(r) == 1 && sky_roll_pairs(r) == 1, "by class");
    sky_roll_close(r), r = NULL;
    OK(sky_roll_open(&r, a.c, &none, &e) == SKY_ECORRUPT && strstr(e.msg, "'test'"), "no sample: %s", e.msg);
    back[1] = back[0];
    OK(made_open(&c, back, N, 3, 0, &all, NULL, &e) == SKY_ECORRUPT && strstr(e.msg, "twice"), "the same id twice: %s", e.msg);
    made_close(&a), made_close(&b), made_close(&c);
}

static void order(void)
{
    enum { ITEMS = 60, REPEAT = 20, DRAWS = 6000 };
    made m;
    sky_err e = {0};
    const sky_roll_opts all = {0};
    OK(!made_open(&m, NULL, N, N, 0, &all, NULL, &e), "open");
    int seen[N] = {0}, moved = 0, once = 1, pair[3] = {0}, member = 1, distinct = 1, single = 1;
    for (uint64_t at = 0; at < 2 * N; at++) {
        const sky_cursor c = sky_cursor_at(at, N);
        seen[sky_order_sample(7, N, c)]++;
        moved += c.epoch && sky_order_sample(7, N, c) != sky_order_sample(7, N, (sky_cursor){0, c.position});
        once &= sky_cursor_count(c, N) == at;
    }
    for (int i = 0; i < N; i++)
        once &= seen[i] == 2;
    OK(once && moved > N / 2, "every sample once per epoch, epochs differ, cursors come back");
    for (uint64_t at = 0; at < ITEMS; at++) {
        const sky_cursor c = sky_cursor_at(at, ITEMS);
        const int k = sky_order_pair(7, m.r, REPEAT, c);
        const sky_pair *p = sky_roll_pair(m.r, k);
        uint64_t x[8], y[8];
        sky_order_members(7, p, c, 0, x, 8);
        sky_order_members(7, p, c, 1, y, 8);
        distinct &= p->n < 8 || memcmp(x, y, sizeof x);
        pair[k]++;
        for (int i = 0; i < 8; i++) {
            int holds = 0;
            for (uint64_t q = 0; q < p->n; q++)
                holds |= p->sample[q] == x[i];
            member &= holds;
            for (int j = 0; j < i && p->n >= 8; j++)
                distinct &= x[i] != x[j];
            single &= p->n >= 8 || x[i] == p->sample[0];
        }
    }
    OK(pair[0] == REPEAT && pair[1] == REPEAT && pair[2] == REPEAT, "each pair %d times per epoch", REPEAT);
    OK(member && distinct && single, "members hold the class, are distinct when there are eight, repeat when there are not");
    for (uint64_t at = 0; at < DRAWS; at++)
        seen[sky_order_balanced(7, m.r, sky_cursor_at(at, DRAWS))]++;
    /* class 4's only sample: a third of the draws, and its share as holder of class 2 or 3; binomial, five sigma */
    uint64_t only = sky_roll_pair(m.r, 2)->sample[0];
    double expect = 0;
    for (int k = 0; k < 3; k++)
        for (uint64_t q = 0; q < sky_roll_pair(m.r, k)->n; q++)
            expect += sky_roll_pair(m.r, k)->sample[q] == only ? 1.0 / 3 / (double)sky_roll_pair(m.r, k)->n : 0;
    OK(fabs((seen[only] - 2) - expect * DRAWS) < 5 * sqrt(DRAWS * expect * (1 - expect)), "class-balanced: %d of %d draws, expected %.0f", seen[only] - 2, DRAWS, expect * DRAWS);
    made_close(&m);
}

/* ---- prefetch -------------------------------------------------------------------------------------------------------------- */

static int slow_make(void *arg, uint64_t at, uint64_t attempt, void **item, sky_err *e)
{
    const int bad = *(int *)arg;
    if ((int)at == bad && attempt < 2)
        return sky_fail(e, SKY_ECORRUPT, "position %d: sample 'x' is bad", (int)at);
    nanosleep(&(struct timespec){0, (long)(at * 7919 % 5) * 100000}, NULL);
    uint64_t *v = sky_alloc(sizeof *v);
    *v = at * 10 + attempt;
    *item = v;
    return 0;
}

static int warned;
static void warn(void *arg, const char *line) { (void)arg, warned += strstr(line, "'x' is bad") != NULL; }

/* What rank r of n gets from position 3 on; the last value, 0 when out of order. */
static int in_order(int threads, int r, int n, int bad, int tries, sky_err *e)
{
    const sky_source s = {slow_make, sky_free, &bad};
    const sky_prefetch_opts o = {.threads = threads, .first = 3 + (uint64_t)r, .step = (uint64_t)n, .count = 20, .tries = tries, .warn = warn};
    sky_prefetch *p = NULL;
    void *item;
    int rc = sky_prefetch_open(&p, &s, &o, e), ok = 1;
    for (uint64_t i = 0; !rc && i < 20; i++) {
        if ((rc = sky_prefetch_next(p, &item, e)) < 0)
            break;
        const uint64_t at = 3 + (uint64_t)r + i * (uint64_t)n;
        ok &= rc == 1 && *(uint64_t *)item == at * 10 + ((int)at == bad ? 2 : 0);
        sky_free(item);
        rc = 0;
    }
    if (!rc)
        ok &= sky_prefetch_next(p, &item, e) == 0 && sky_prefetch_waited(p) > 0;
    sky_prefetch_close(p);
    return rc ? rc : ok;
}

static void prefetch(void)
{
    sky_err e = {0};
    int ok = 1;
    for (int threads = 1; threads <= 4; threads += 3)
        for (int n = 1; n <= 4; n *= 2)
            for (int r = 0; r < n; r++)
                ok &= in_order(threads, r, n, -1, 0, &e) == 1;
    OK(ok, "1 and 4 threads, 1, 2 and 4 ranks: positions in order, the union of ranks is one order");
    OK(in_order(4, 0, 1, 9, 0, &e) == SKY_ECORRUPT && strstr(e.msg, "'x'"), "bad data stop it: %s", e.msg);
    OK(in_order(4, 0, 1, 9, 1, &e) == SKY_ECORRUPT, "or when the replacement is bad too");
    warned = 0;
    OK(in_order(4, 0, 1, 9, 3, &e) == 1 && warned == 1, "or are replaced and named");
    int none = -1;
    const sky_source s = {slow_make, sky_free, &none};
    const sky_prefetch_opts o = {.threads = 2, .step = 1};
    sky_prefetch *p = NULL;
    sky_io_report r;
    OK(!sky_prefetch_open(&p, &s, &o, &e) && !sky_prefetch_run(p, 30, &r, &e) && r.items == 30 && r.seconds > 0 && r.waited <= r.seconds, "io only: %d items", (int)r.items);
    sky_prefetch_close(p);
}

/* ---- normalisation --------------------------------------------------------------------------------------------------------- */

static json_t *parse(const char *text)
{
    json_t *j = NULL;
    sky_err e;
    return sky_json_parse(&j, text, strlen(text), "test", &e) ? NULL : j;
}

static int compare(const char *a, const char *b, sky_err *e)
{
    json_t *x = parse(a), *y = parse(b);
    int rc = sky_normal_compare(x, y, e);
    json_decref(x), json_decref(y);
    return rc;
}

static void normal(void)
{
    char *want[] = {"b", "a"};
    json_t *config = parse("{\"mean\":[1,2],\"std\":[3,4]}"), *meta = parse("{\"bands\":[\"a\",\"b\",\"c\"],\"mean\":[1,2,3],\"std\":[4,5,6]}"), *empty = json_object();
    sky_normal *n = NULL;
    sky_err e = {0};
    OK(!sky_normal_find(&n, config, meta, "s2", want, 2, &e) && n->mean[0] == 1 && n->std[1] == 4 && n->divide == 1, "the configuration rules");
    sky_normal_free(n), n = NULL;
    OK(!sky_normal_find(&n, NULL, meta, "s2", want, 2, &e) && n->mean[0] == 2 && n->std[1] == 4 && !strcmp(n->band[0], "b"), "else the data, by name");
    json_t *kept = sky_normal_json(n);
    sky_normal *again = NULL;
    OK(!sky_normal_parse(&again, kept, "kept", &e) && again->mean[0] == 2 && !strcmp(again->band[1], "a"), "through the checkpoint");
    json_decref(kept), sky_normal_free(again);
    sky_normal_free(n), n = NULL;
    OK(sky_normal_find(&n, NULL, empty, "s2", want, 2, &e) == SKY_ECORRUPT && strstr(e.msg, "sky-pack --stat"), "neither: %s", e.msg);
    OK(!compare("{\"s2\":{\"mean\":[1],\"std\":[2]}}", "{\"s2\":{\"mean\":[1.0],\"std\":[2]}}", &e), "the same");
    OK(compare("{\"s2\":{\"mean\":[1,2],\"std\":[2,2],\"bands\":[\"a\",\"b\"]}}", "{\"s2\":{\"mean\":[1,3],\"std\":[2,2],\"bands\":[\"a\",\"b\"]}}", &e) == SKY_ECORRUPT && strstr(e.msg, "band 2 b"), "%s", e.msg);
    OK(compare("{\"s2\":{\"mean\":[1],\"std\":[2]}}", "{}", &e) == SKY_ECORRUPT && compare("{}", "{\"s2\":{\"mean\":[1],\"std\":[2]}}", &e) == SKY_ECORRUPT, "%s", e.msg);
    OK(compare("{\"s2\":{\"mean\":[1],\"std\":[0]}}", "{\"s2\":{\"mean\":[1],\"std\":[0]}}", &e) == SKY_ECORRUPT && strstr(e.msg, "positive"), "%s", e.msg);
    OK(!sky_normal_released(&n, "hr", &e) && n->divide == 255 && n->mean[0] == 0.485 && sky_normal_released(&again, "x", &e) == SKY_EUSAGE, "of the released model");
    json_t *trained = json_pack("{s:o}", "hr", sky_normal_json(n));
    OK(!sky_normal_check_released(trained, &e), "inference takes a model trained so");
    json_object_set_new(json_object_get(trained, "hr"), "divide", json_real(1));
    OK(sky_normal_check_released(trained, &e) == SKY_ECORRUPT && strstr(e.msg, "divided by 1 when trained"), "and no other: %s", e.msg);
    sky_normal_free(n);
    json_decref(trained);
    json_decref(config), json_decref(meta), json_decref(empty);
}

int main(void)
{
    roll();
    order();
    prefetch();
    normal();
    return END();
}
