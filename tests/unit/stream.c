#include "make_samples.h"
#include "../t.h"
#include "base/io.h"
#include "format/stream.h"

#include <string.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static char dir[] = "/tmp/sky-stream-XXXXXX";
static char path[2][128];

static int write_n(const char *to, sky_spelling sp, uint64_t n, int threads, uint64_t *sum)
{
    sky_err e;
    sky_writer *w;
    sky_sample s = {0};
    sky_writer_opts o = {.threads = threads};
    json_t *schema = json_pack("{s:s}", "dataset", "made");
    int rc = sky_writer_open(&w, to, sp, schema, &o, &e);
    json_decref(schema);
    for (uint64_t i = 0; i < n && !rc; i++) {
        rc = make_sample(&s, i, 0, &e);
        if (sum)
            *sum += sky_sample_hash(&s);
        if (!rc)
            rc = sky_writer_put(w, &s, &e);
    }
    if (!rc)
        rc = sky_writer_close(w, &e);
    if (rc)
        printf("# %s\n", e.msg);
    return rc;
}

/* Read everything; returns the count, or the error. */
static int64_t read_n(char *const *paths, int n, uint64_t *sum, sky_err *e)
{
    sky_reader *r;
    sky_sample s = {0};
    int rc = sky_reader_open(&r, paths, n, NULL, e);
    if (rc)
        return rc;
    uint64_t mine = 0;
    while ((rc = sky_reader_next(r, &s, e)) > 0)
        mine += sky_sample_hash(&s);
    int64_t count = (int64_t)sky_reader_count(r);
    *sum = sky_reader_sum(r);
    if (!rc && mine != *sum)
        rc = sky_fail(e, SKY_ECORRUPT, "samples hash to another sum than their lines");
    sky_sample_free(&s);
    sky_reader_close(r);
    return rc ? rc : count;
}

static void round_trip(sky_spelling sp, uint64_t n)
{
    const char *what = sp == SKY_PLAIN ? "plain" : "shard";
    uint64_t in = 0, out = 0;
    sky_err e = {0};
    char *p[1] = {path[0]};
    OK(write_n(path[0], sp, n, 0, &in) == 0, "%s of %d written", what, (int)n);
    int64_t got = read_n(p, 1, &out, &e);
    OK(got == (int64_t)n && in == out, "%s: %d read back, sum in = out (%s)", what, (int)got, e.msg);
}

static int faults(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (int)u.ru_minflt;
}

/* The large blocks of a record that was given back hold the next ones: nothing is touched for the first time once reading
 * runs. The size is no multiple of 64: the block has room for the padding too. */
static void blocks_used_again(sky_spelling sp)
{
    enum { SIDE = 509, RECORDS = 60, PAGES = 3 * SIDE * SIDE / 4096 };
    const uint64_t shape[3] = {3, SIDE, SIDE};
    sky_err e;
    sky_writer *w;
    sky_sample s = {0};
    int rc = sky_writer_open(&w, path[0], sp, NULL, NULL, &e);
    for (int i = 0; i < RECORDS && !rc; i++) {
        char id[16];
        snprintf(id, sizeof id, "%d", i);
        sky_field *f = sky_sample_begin(&s, id, &e) ? NULL : sky_sample_add(&s, "hr", &e);
        rc = !f || sky_field_alloc(f, SKY_U8, 3, shape, 1, &e) || sky_field_set_dims(f, "cyx", &e) || sky_writer_put(w, &s, &e);
        sky_sample_free(&s);
    }
    OK(!rc && sky_writer_close(w, &e) == 0, "%d records of %d pages", RECORDS, PAGES);

    sky_reader *r;
    char *p[1] = {path[0]};
    int before = 0, n = 0;
    rc = sky_reader_open(&r, p, 1, NULL, &e);
    if (!rc)
        sky_reader_threads(r, 2);
    while (!rc && (rc = sky_reader_next(r, &s, &e)) > 0) {
        rc = 0;
        if (++n == RECORDS / 2)
            before = faults();
    }
    int more = faults() - before;
    OK(!rc && n == RECORDS && more < RECORDS / 2 * PAGES / 8, "the last %d of them, %s, touch %d new pages", RECORDS / 2,
       sp == SKY_PLAIN ? "plain" : "shard", more);
    sky_sample_free(&s);
    sky_reader_close(r);
}

static void same_bytes(void)
{
    char *a, *b;
    size_t na, nb;
    sky_err e;
    OK(!write_n(path[0], SKY_SHARD, 60, 1, NULL) && !write_n(path[1], SKY_SHARD, 60, 4, NULL), "shards by 1 and 4 threads");
    OK(!sky_read_file(&a, &na, path[0], 1 << 24, &e) && !sky_read_file(&b, &nb, path[1], 1 << 24, &e), "read");
    OK(na == nb && !memcmp(a, b, na), "the same %zu bytes", na);
    sky_free(a);
    sky_free(b);
}

static void concatenation(void)
{
    uint64_t a = 0, b = 0, out = 0;
    sky_err e = {0};
    char cmd[1024], both[160], *p[2] = {path[0], path[1]}, *q[1] = {both};
    snprintf(both, sizeof both, "%s/both", dir);
    OK(!write_n(path[0], SKY_SHARD, 7, 2, &a) && !write_n(path[1], SKY_PLAIN, 5, 2, &b), "a shard and a stream");
    OK(read_n(p, 2, &out, &e) == 12 && out == a + b, "two inputs read as one (%s)", e.msg);
    snprintf(cmd, sizeof cmd, "cat %s %s %s %s > %s", path[0], path[0], path[1], path[0], both);
    OK(system(cmd) == 0 && read_n(q, 1, &out, &e) == 26 && out == 3 * a + b, "four concatenated, both spellings mixed (%s)", e.msg);
    snprintf(cmd, sizeof cmd, "zstd -qt %s && zstd -qdc %s > %s", path[0], path[0], both);
    OK(system(cmd) == 0 && read_n(q, 1, &out, &e) == 7 && out == a, "zstd -t passes and zstd -dc is the stream (%s)", e.msg);
}

static void selection(sky_spelling sp)
{
    const char *const names[] = {"label", NULL};
    sky_reader *r;
    sky_err e = {0};
    sky_sample s = {0};
    char *p[1] = {path[0]};
    int n = 0, good = 0, rc = 0;
    OK(write_n(path[0], sp, 9, 2, NULL) == 0 && !sky_reader_open(&r, p, 1, NULL, &e) && !sky_reader_select(r, names, &e), "a selection of fields");
    while ((rc = sky_reader_next(r, &s, &e)) > 0) {
        sky_field *l = sky_sample_field(&s, "label"), *f = sky_sample_field(&s, "s2");
        good += l && l->data && f && !f->data && f->nbytes > 0;
        n++;
    }
    OK(rc == 0 && n == 9 && good == 9, "only the label's bytes are read, END agrees (%s)", e.msg);
    OK(sky_reader_select(r, NULL, &e) == SKY_EUSAGE, "too late to select");
    sky_sample_free(&s);
    sky_reader_close(r);
}

static void cut_plain(void)
{
    char *all;
    size_t n;
    sky_err e;
    int wrong = 0, cut = 0;
    OK(!write_n(path[0], SKY_PLAIN, 3, 1, NULL) && !sky_read_file(&all, &n, path[0], 1 << 24, &e), "a plain stream of %zu bytes", n);
    for (size_t k = 0; k < n; k += 13, cut++) {
        sky_reader *r;
        sky_sample s = {0};
        int rc = sky_reader_memory(&r, all, k, NULL, &e);
        if (!rc) {
            while ((rc = sky_reader_next(r, &s, &e)) > 0)
                continue;
            sky_sample_free(&s);
            sky_reader_close(r);
        }
        wrong += rc != SKY_ECORRUPT;
    }
    OK(wrong == 0, "cut at %d places: always an error", cut);
    int missed = 0;
    for (size_t k = 0; k < n; k++) {
        sky_reader *r;
        sky_sample s = {0};
        all[k] ^= (char)(1 << k % 8);
        int rc = sky_reader_memory(&r, all, n, NULL, &e);
        if (!rc) {
            while ((rc = sky_reader_next(r, &s, &e)) > 0)
                continue;
            sky_sample_free(&s);
            sky_reader_close(r);
        }
        missed += rc == 0;
        all[k] ^= (char)(1 << k % 8);
    }
    OK(missed == 0, "a bit flipped in every byte: always an error (%d missed)", missed);
    sky_free(all);
}

int main(void)
{
    if (!mkdtemp(dir))
        return 1;
    snprintf(path[0], sizeof path[0], "%s/a.sky", dir);
    snprintf(path[1], sizeof path[1], "%s/b.sky", dir);
    for (int sp = SKY_PLAIN; sp <= SKY_SHARD; sp++) {
        round_trip(sp, 0);
        round_trip(sp, 1);
        round_trip(sp, 100);
        selection(sp);
        blocks_used_again(sp);
    }
    same_bytes();
    concatenation();
    cut_plain();
    char cmd[64];
    snprintf(cmd, sizeof cmd, "rm -r %s", dir);
    OK(system(cmd) == 0, "cleaned up");
    return END();
}
