#include "make_samples.h"
#include "../t.h"
#include "base/io.h"
#include "format/stream.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[] = "/tmp/sky-shard-XXXXXX";
static char path[128];

enum { N = 5 };
static uint64_t hash[N], starts[N], ends[N + 1]; /* byte where record i's last frame ends; ends[N]: of the shard */

/* Record number of id, or -1. */
static int64_t found_at(const sky_shard *h, const char *id)
{
    sky_err e;
    uint64_t i;
    return sky_shard_find(h, id, &i, &e) == 1 ? (int64_t)i : -1;
}

static void write_shard(const char *to, int n)
{
    sky_err e;
    sky_writer *w;
    sky_sample s = {0};
    json_t *schema = json_pack("{s:s}", "dataset", "made");
    OK(sky_writer_open(&w, to, SKY_SHARD, schema, NULL, &e) == 0, "open");
    json_decref(schema);
    int bad = 0;
    for (int i = 0; i < n; i++) {
        bad |= make_sample(&s, (uint64_t)i, 0, &e);
        if (i < N)
            hash[i] = sky_sample_hash(&s);
        bad |= sky_writer_put(w, &s, &e);
    }
    OK(!bad && sky_writer_close(w, &e) == 0, "a shard of %d", n);
}

/* What a reader that never gives up gets out of n bytes. */
typedef struct {
    int intact, wrong, errors, open_rc;
    sky_err first;
} outcome;

/* by_place: a selection, of every field, which makes the reader leave all frames in the file until they are decompressed;
 * without one, those it has in its buffer are taken from there. */
static outcome salvage(const char *file, int by_place)
{
    static const char *const every[] = {"s2", "label", "s1", "scene", "none", NULL};
    outcome o = {0};
    sky_reader *r;
    sky_sample s = {0};
    sky_err e;
    char *p[1] = {(char *)file};
    o.open_rc = sky_reader_salvage(&r, p, 1, NULL, &e);
    if (o.open_rc) {
        o.first = e;
        return o;
    }
    sky_reader_threads(r, 1);
    if (by_place && sky_reader_select(r, every, &e))
        exit(1);
    for (int rc; (rc = sky_reader_next(r, &s, &e)) != 0;) {
        if (rc < 0) {
            if (!o.errors++)
                o.first = e;
            if (o.errors > 20)
                break;
            continue;
        }
        uint64_t h = sky_sample_hash(&s);
        int known = 0;
        for (int i = 0; i < N; i++)
            known |= h == hash[i];
        o.intact += known;
        o.wrong += !known;
    }
    sky_sample_free(&s);
    sky_reader_close(r);
    return o;
}

static void put(const char *file, const char *p, size_t n)
{
    FILE *f = fopen(file, "wb");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f))
        exit(1);
}

/* A small shard as the walk of its index says it lies. */
static void learn_ends(const char *all, size_t n)
{
    int k = 0;
    for (size_t i = 0; i + 56 < n; i++) {
        const uint8_t *p = (const uint8_t *)all + i;
        if (memcmp(p, "\x53\x2a\x4d\x18", 4) || p[16] != 'R' || k >= N)
            continue;
        uint64_t body = 0, size = (uint64_t)p[4] + 256u * p[5] + 8;
        for (int b = 7; b >= 0; b--)
            body = body << 8 | p[40 + b];
        starts[k] = i;
        ends[k++] = i + size + body;
    }
    ends[N] = n;
    OK(k == N && ends[N - 1] < n, "%d records found in the bytes", k);
}

static void cut_everywhere(const char *all, size_t n, const char *file)
{
    int lost = 0, quiet = 0, wrong = 0;
    for (size_t k = 0; k < n; k++) {
        put(file, all, k);
        outcome o = salvage(file, k % 2);
        int whole = 0;
        while (whole < N && ends[whole] <= k)
            whole++;
        lost += o.intact != whole;
        quiet += o.open_rc == 0 && o.errors == 0;
        wrong += o.wrong;
        if (o.intact != whole)
            printf("# cut at %zu: %d of %d records: %s\n", k, o.intact, whole, o.first.msg);
    }
    OK(lost == 0, "cut at each of %zu bytes: every whole record before the cut", n);
    OK(quiet == 0 && wrong == 0, "and always an error, never a wrong record");
}

/* One bit of every byte; the bit moves with the byte. */
static int names_record(const char *msg, size_t k)
{
    char want[64];
    for (int i = 0; i < N; i++) {
        snprintf(want, sizeof want, "record %d 'tile/%05d", i, i);
        if (k >= starts[i] && k < ends[i])
            return strstr(msg, want) != NULL;
    }
    return 1;
}

static void flip_everywhere(char *all, size_t n, const char *file, int shift)
{
    int unseen = 0, costly = 0, wrong = 0, unnamed = 0;
    for (size_t k = (size_t)shift; k < n; k += (size_t)shift + 1) {
        all[k] ^= (char)(1 << (k + (size_t)shift) % 8);
        put(file, all, n);
        all[k] ^= (char)(1 << (k + (size_t)shift) % 8);
        outcome o = salvage(file, shift == 3);
        unseen += o.open_rc == 0 && o.errors == 0;
        costly += o.intact < N - 1;
        wrong += o.wrong;
        int named = (strstr(o.first.msg, "(byte ") || strstr(o.first.msg, " byte ")) && names_record(o.first.msg, k);
        unnamed += !named;
        if (o.intact < N - 1 || (o.open_rc == 0 && o.errors == 0) || !named)
            printf("# flip at %zu: %d records, %d errors: %s\n", k, o.intact, o.errors, o.first.msg);
    }
    OK(unseen == 0, "a bit flipped in bytes of %zu (from %d): always an error (%d unseen)", n, shift, unseen);
    OK(costly == 0 && wrong == 0, "costs at most one record, never gives a wrong one (%d did)", costly + wrong);
    OK(unnamed == 0, "the message names record, id and byte (%d do not)", unnamed);
}

static void holes(const char *all, size_t n, const char *file)
{
    int bad = 0;
    for (int i = 0; i + 1 < N; i++) { /* 40 bytes taken out of the middle of record i */
        size_t at = (size_t)(ends[i] - 60);
        char *p = sky_alloc(n);
        memcpy(p, all, at);
        memcpy(p + at, all + at + 40, n - at - 40);
        put(file, p, n - 40);
        sky_free(p);
        outcome o = salvage(file, i % 2);
        bad += o.intact != N - 1 || o.wrong || !o.errors;
        if (o.intact != N - 1)
            printf("# hole in record %d: %d intact: %s\n", i, o.intact, o.first.msg);
    }
    OK(bad == 0, "bytes missing within a record cost that record");
}

static void random_access(void)
{
    sky_err e = {0};
    sky_shard *h;
    sky_sample s = {0};
    uint64_t at;
    const char *const label[] = {"label", NULL};
    OK(sky_shard_open(&h, path, NULL, &e) == 0 && sky_shard_count(h) == N, "opened by its index (%s)", e.msg);
    int good = 0;
    for (int i = N - 1; i >= 0; i--)
        good += !sky_shard_read(h, (uint64_t)i, NULL, &s, &e) && sky_sample_hash(&s) == hash[i] && s.seq == (uint64_t)i;
    OK(good == N, "every record, backwards (%s)", e.msg);
    OK(sky_shard_find(h, "tile/00003 \xc3\xa9", &at, &e) == 1 && at == 3 && sky_shard_find(h, "tile/9", &at, &e) == 0, "found by id");
    OK(!sky_shard_read(h, 2, label, &s, &e) && sky_sample_field(&s, "label")->data && !sky_sample_field(&s, "s2")->data, "one field");
    const json_t *v = sky_shard_entry(h, 1, &e);
    char *text = sky_json_dump(v);
    OK(text && !strcmp(text, "{\"id\":\"tile/00001 \xc3\xa9\",\"classes\":{\"label\":[1,2,3]},\"absent\":[\"s1\"],\"by_reference\":[\"scene\"],\"split\":\"train\"}"), "index entry: %s", text);
    sky_free(text);
    OK(!sky_shard_entry(h, N, &e) && sky_shard_read(h, N, NULL, &s, &e) == SKY_EUSAGE, "no record beyond the last");
    OK(!strcmp(json_string_value(json_object_get(sky_shard_schema(h), "dataset")), "made"), "the schema");
    sky_shard_forget(h);
    OK(!sky_shard_read(h, 2, NULL, &s, &e) && sky_sample_hash(&s) == hash[2], "records without the index's text (%s)", e.msg);
    OK(!sky_shard_entry(h, 1, &e) && !sky_shard_entry_new(h, 1, &e) && sky_shard_find(h, "tile/9", &at, &e) == SKY_EUSAGE, "but no entries: %s", e.msg);
    sky_shard_close(h);
    sky_sample_free(&s);
}

static void concatenated_access(void)
{
    char cmd[1024], both[160];
    sky_err e = {0};
    sky_shard *h;
    sky_sample s = {0};
    snprintf(both, sizeof both, "%s/both.sky", dir);
    snprintf(cmd, sizeof cmd, "cat %s %s %s > %s", path, path, path, both);
    OK(!system(cmd) && !sky_shard_open(&h, both, NULL, &e) && sky_shard_count(h) == 3 * N, "three shards in a file (%s)", e.msg);
    int good = 0;
    for (int i = 0; i < 3 * N; i++)
        good += !sky_shard_read(h, (uint64_t)i, NULL, &s, &e) && sky_sample_hash(&s) == hash[i % N];
    OK(good == 3 * N, "read by number across them");
    sky_shard_close(h);
    sky_sample_free(&s);
}

static void many(void)
{
    char file[160], *p[1] = {file};
    sky_err e = {0};
    sky_writer *w;
    sky_reader *r;
    sky_shard *h;
    sky_sample s = {0};
    snprintf(file, sizeof file, "%s/many-%%02d.sky", dir);
    sky_writer_opts o = {.shard_count = 70000, .level = 1};
    int bad = sky_writer_open(&w, file, SKY_SHARD, NULL, &o, &e);
    for (int i = 0; i < 140000 && !bad; i++) {
        char id[32];
        snprintf(id, sizeof id, "%d", i);
        bad = sky_sample_begin(&s, id, &e) || sky_writer_put(w, &s, &e);
    }
    OK(!bad && !sky_writer_close(w, &e), "two shards of 70000 (%s)", e.msg);
    snprintf(file, sizeof file, "%s/many-01.sky", dir);
    OK(!sky_shard_open(&h, file, NULL, &e) && sky_shard_count(h) == 70000, "index of two blocks (%s)", e.msg);
    OK(found_at(h, "139999") == 69999 && found_at(h, "135537") == 65537 && found_at(h, "1") == -1, "found across blocks");
    OK(!sky_shard_read(h, 65536, NULL, &s, &e) && !strcmp(s.id, "135536"), "the first of the second block (%s)", e.msg);
    sky_shard_close(h);
    int rc = sky_reader_open(&r, p, 1, NULL, &e);
    while (!rc && sky_reader_next(r, &s, &e) > 0)
        continue;
    OK(!rc && sky_reader_count(r) == 70000, "read in order (%s)", e.msg);
    sky_reader_close(r);
    sky_sample_free(&s);
}

/* The threads read what was there when the reader looked; a file made shorter since is an error like any other. */
static void cut_behind_the_reader(void)
{
    char file[160], *p[1] = {file};
    const char *const label[] = {"s2", NULL};
    sky_err e = {0};
    sky_writer *w;
    sky_reader *r;
    sky_sample s = {0};
    snprintf(file, sizeof file, "%s/shrinks.sky", dir);
    int bad = sky_writer_open(&w, file, SKY_SHARD, NULL, NULL, &e), rc = 1;
    for (uint64_t i = 0; i < 200 && !bad; i++)
        bad = make_sample(&s, i, 1, &e) || sky_writer_put(w, &s, &e);
    OK(!bad && !sky_writer_close(w, &e) && !sky_reader_open(&r, p, 1, NULL, &e) && !sky_reader_select(r, label, &e), "200 larger records (%s)", e.msg);
    sky_reader_threads(r, 1);
    OK(sky_reader_next(r, &s, &e) == 1 && !truncate(file, 2000000), "cut after the first was read (%s)", e.msg);
    int n = 1;
    while ((rc = sky_reader_next(r, &s, &e)) > 0)
        n++;
    OK(rc == SKY_ECORRUPT && n > 1 && n < 200 && strstr(e.msg, "shrinks.sky: ") && strstr(e.msg, "ends at byte 2000000"), "%d records, then: %s", n, e.msg);
    sky_sample_free(&s);
    sky_reader_close(r);
}

static int threads_of_this_process(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *t; d && (t = readdir(d));)
        n += t->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

/* The pool is not made before its size is known; and a sample's file is told although reading is ahead. */
static void threads_and_names(void)
{
    char b[160], *p[2] = {path, b};
    sky_err e = {0};
    sky_reader *r;
    sky_sample s = {0};
    snprintf(b, sizeof b, "%s/both.sky", dir); /* three times as many, from concatenated_access */
    int rc = sky_reader_open(&r, p, 2, NULL, &e), names = 0, n = 0;
    OK(!rc && !sky_reader_name(r), "opened two files; no sample, no name yet (%s)", e.msg);
    sky_reader_threads(r, 5);
    for (; !rc && sky_reader_next(r, &s, &e) > 0; n++) {
        if (!n)
            OK(threads_of_this_process() == 1 + 5, "5 threads asked for, %d are there", threads_of_this_process() - 1);
        names += !strcmp(sky_reader_name(r), n < N ? path : b);
    }
    OK(n == 4 * N && names == n, "%d of %d samples know their file", names, n);
    sky_sample_free(&s);
    sky_reader_close(r);
}

int main(void)
{
    if (!mkdtemp(dir))
        return 1;
    snprintf(path, sizeof path, "%s/a.sky", dir);
    write_shard(path, N);
    random_access();
    concatenated_access();
    threads_and_names();
    cut_behind_the_reader();
    char *all, file[160];
    size_t n;
    sky_err e;
    snprintf(file, sizeof file, "%s/damaged.sky", dir);
    OK(!sky_read_file(&all, &n, path, 1 << 24, &e), "%zu bytes", n);
    learn_ends(all, n);
    cut_everywhere(all, n, file);
    flip_everywhere(all, n, file, 0);
    flip_everywhere(all, n, file, 3);
    flip_everywhere(all, n, file, 5);
    holes(all, n, file);
    sky_free(all);
    many();
    char cmd[64];
    snprintf(cmd, sizeof cmd, "rm -r %s", dir);
    OK(system(cmd) == 0, "cleaned up");
    return END();
}
