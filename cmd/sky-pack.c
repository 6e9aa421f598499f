/* sky-pack -- shards from streams and back: pack, shuffle, list, cat, info, stat, verify, recover, extract, tar. */
#include "base/cli.h"
#include "base/mem.h"
#include "format/extract.h"
#include "format/idset.h"
#include "format/report.h"
#include "format/shuffle.h"
#include "format/stream.h"
#include "format/webdataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

static int list, cat, info, stat_, verify, recover, to_tar, from_tar, plain, shuffle;
static const char *out, *extract, *into = ".", *shard_size, *fields;
static int64_t shard_count, level = 3;

static const sky_opt opts[] = {
    {"output", 'o', SKY_OPT_STR, &out, "PATTERN", "write shards: a file, a pattern with %05d, or - (plain, to a pipe)", 0, 0},
    {"shard-size", 0, SKY_OPT_STR, &shard_size, "BYTES", "start a new shard before this size, K M G allowed [one shard]", 0, 0},
    {"shard-count", 0, SKY_OPT_I64, &shard_count, "N", "records per shard [no limit]", 1, INT64_MAX},
    {"level", 0, SKY_OPT_I64, &level, "N", "zstd level 1..19 [3]", 1, 19},
    {"plain", 0, SKY_OPT_FLAG, &plain, NULL, "write the plain spelling into a file too", 0, 0},
    {"shuffle", 0, SKY_OPT_FLAG, &shuffle, NULL, "random order, the same for the same --seed and inputs", 0, 0},
    {"list", 0, SKY_OPT_FLAG, &list, NULL, "one line per record: id, bytes, fields", 0, 0},
    {"cat", 0, SKY_OPT_FLAG, &cat, NULL, "the records as one plain stream on standard output", 0, 0},
    {"info", 0, SKY_OPT_FLAG, &info, NULL, "schema and provenance", 0, 0},
    {"stat", 0, SKY_OPT_FLAG, &stat_, NULL, "counts, bytes per field, checksum, mean and std per band", 0, 0},
    {"verify", 0, SKY_OPT_FLAG, &verify, NULL, "read and check everything, name every damage", 0, 0},
    {"recover", 0, SKY_OPT_FLAG, &recover, NULL, "write the intact records to -o, name what is lost", 0, 0},
    {"extract", 0, SKY_OPT_STR, &extract, "FORMAT", "files from records: png, npz or tif, into -C", 0, 0},
    {"directory", 'C', SKY_OPT_STR, &into, "DIR", "where --extract writes; made if it is missing [.]", 0, 0},
    {"fields", 0, SKY_OPT_STR, &fields, "A,B", "only these fields, for --extract [all that fit]", 0, 0},
    {"to-tar", 0, SKY_OPT_FLAG, &to_tar, NULL, "write a WebDataset tar to -o [standard output]", 0, 0},
    {"from-tar", 0, SKY_OPT_FLAG, &from_tar, NULL, "inputs are WebDataset tars", 0, 0},
    {0},
};

/* ---- reading, the same for every mode --------------------------------------------------------------------------- */

typedef int each_fn(void *arg, sky_sample *s, sky_err *e);

/* fn for every sample of r. Damage ends it, or costs its record under --keep-going. r is closed. */
static int for_each(sky_cli *c, sky_reader *r, each_fn *fn, void *arg, sky_err *e)
{
    sky_sample s = {0};
    sky_progress *p = sky_progress_begin(c, "records", 0);
    sky_progress_expect(p, sky_reader_total_bytes(r));
    int rc;
    uint64_t before = 0;
    while ((rc = sky_reader_intact(r, c, &s, e)) > 0 && !(rc = fn(arg, &s, e))) {
        sky_progress_add(p, 1, sky_reader_bytes(r) - before);
        before = sky_reader_bytes(r);
    }
    sky_progress_end(p);
    sky_sample_free(&s);
    sky_reader_close(r);
    return rc;
}

static int open_reader(sky_cli *c, sky_reader **r, sky_err *e)
{
    int rc = recover || verify ? sky_reader_salvage(r, c->args, c->nargs, NULL, e) : sky_reader_open(r, c->args, c->nargs, NULL, e);
    if (!rc)
        sky_reader_threads(*r, c->threads);
    return rc;
}

static int print_buf(sky_buf *b, sky_err *e)
{
    int rc = SKY_OK;
    if (b->bad)
        rc = sky_fail(e, SKY_ENOMEM, "out of memory");
    else if (b->n && fwrite(b->p, 1, b->n, stdout) != b->n)
        rc = sky_fail_errno(e, SKY_EIO, "standard output");
    sky_buf_reset(b);
    return rc;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static int parse_size(const char *s, uint64_t *v, sky_err *e)
{
    char *end;
    unsigned long long n = s[0] >= '0' && s[0] <= '9' ? strtoull(s, &end, 10) : 0;
    int shift = !n ? -1 : !*end ? 0 : end[1] ? -1 : *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : -1;
    if (shift < 0 || n > UINT64_MAX >> shift)
        return sky_fail(e, SKY_EUSAGE, "--shard-size: '%s' is not a size (1000, 64M, 1G)", s);
    *v = (uint64_t)n << shift;
    return SKY_OK;
}

static int open_writer(sky_cli *c, sky_writer **w, const json_t *schema, int keep_chain, sky_err *e)
{
    sky_writer_opts o = {.level = (int)level, .threads = c->threads, .shard_count = (uint64_t)shard_count};
    int rc = shard_size ? parse_size(shard_size, &o.shard_bytes, e) : SKY_OK;
    if (rc)
        return rc;
    json_t *entry = keep_chain ? NULL : sky_cli_provenance(c);
    json_t *own = entry || keep_chain || c->no_provenance ? sky_schema_extend(schema, entry) : NULL;
    if (!own)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    rc = sky_writer_open(w, out, plain || !strcmp(out, "-") ? SKY_PLAIN : SKY_SHARD, own, &o, e);
    json_decref(own);
    return rc;
}

static int put(void *arg, sky_sample *s, sky_err *e) { return sky_writer_put(arg, s, e); }

static int finish(sky_cli *c, sky_writer *w, int rc, sky_err *e)
{
    if (rc) {
        sky_writer_abort(w);
        return rc;
    }
    uint64_t n = sky_writer_count(w);
    rc = sky_writer_close(w, e);
    if (!rc)
        sky_note(c, "%llu records written", (unsigned long long)n);
    return rc;
}

static int do_pack(sky_cli *c, sky_err *e)
{
    sky_reader *r;
    sky_writer *w;
    int rc = open_reader(c, &r, e);
    if (rc)
        return rc;
    if ((rc = open_writer(c, &w, sky_reader_schema(r), cat, e))) {
        sky_reader_close(r);
        return rc;
    }
    rc = for_each(c, r, put, w, e);
    if (!rc && recover && !sky_writer_count(w) && (c->skipped || c->damages))
        rc = sky_fail(e, SKY_ECORRUPT, "no intact record was found: nothing is written");
    return finish(c, w, rc, e);
}

/* Every loss is named as it is met; what could be read is written all the same, if that is any record. */
static int do_recover(sky_cli *c, sky_err *e)
{
    c->keep_going = 1;
    return do_pack(c, e);
}

static int do_shuffle(sky_cli *c, sky_err *e)
{
    const char *dir = getenv("TMPDIR");
    char *tmp = sky_asprintf("%s/sky-pack-%ld.spill", dir && *dir ? dir : "/tmp", (long)getpid());
    sky_shuffle *s;
    sky_writer *w;
    sky_sample one = {0};
    int rc = tmp ? sky_shuffle_open(&s, c, (uint64_t)c->seed, tmp, e) : sky_fail(e, SKY_ENOMEM, "out of memory");
    sky_free(tmp);
    if (rc)
        return rc;
    if ((rc = open_writer(c, &w, sky_shuffle_schema(s), 0, e))) {
        sky_shuffle_close(s);
        return rc;
    }
    sky_progress *p = sky_progress_begin(c, "records", sky_shuffle_count(s));
    while ((rc = sky_shuffle_next(s, &one, e)) != 0) {
        rc = rc > 0 ? sky_writer_put(w, &one, e) : sky_skip(c, e);
        if (rc)
            break;
        sky_progress_add(p, 1, 0);
    }
    sky_progress_end(p);
    sky_sample_free(&one);
    sky_shuffle_close(s);
    return finish(c, w, rc, e);
}

/* ---- reports ----------------------------------------------------------------------------------------------------- */

typedef struct {
    sky_cli *c;
    sky_buf b;
    sky_stat *t;
    sky_idset *ids; /* --verify; else NULL */
    uint64_t records;
} report;

static int list_one(void *arg, sky_sample *s, sky_err *e)
{
    report *p = arg;
    int rc = sky_list_line(&p->b, s, p->c->json, e);
    return rc ? rc : print_buf(&p->b, e);
}

static int do_list(sky_cli *c, sky_err *e)
{
    static const char *const none[] = {NULL};
    report p = {.c = c};
    sky_reader *r;
    int rc = open_reader(c, &r, e);
    if (rc)
        return rc;
    if (!(rc = sky_reader_select(r, none, e)))
        rc = for_each(c, r, list_one, &p, e);
    sky_buf_free(&p.b);
    return rc;
}

/* Ids are unique in a data set, so also over all files named; each damaged or repeated record is told, and costs itself. */
static int stat_one(report *p, const sky_reader *r, const sky_sample *s, sky_err *e)
{
    uint64_t first = 0;
    int rc = p->ids ? sky_idset_put(p->ids, s->id, sky_reader_count(r) - 1, &first, e) : 0;
    if (rc > 0) {
        sky_fail(e, SKY_ECORRUPT, "%s: record %llu '%s': the id was there before, in record %llu of all read", sky_reader_name(r),
                 (unsigned long long)s->seq, s->id, (unsigned long long)first);
        return sky_skip(p->c, e);
    }
    return rc ? rc : sky_stat_add(p->t, s, e);
}

/* Damage is told as it is met; the numbers are of what could be read. */
static int read_stat(sky_cli *c, report *p, uint64_t *sum, sky_err *e)
{
    sky_reader *r;
    sky_sample s = {0};
    int rc = open_reader(c, &r, e);
    if (rc)
        return rc;
    if (p->ids)
        sky_reader_check_all(r);
    while ((rc = sky_reader_intact(r, c, &s, e)) > 0 && !(rc = stat_one(p, r, &s, e)))
        ;
    *sum = sky_reader_sum(r);
    sky_sample_free(&s);
    sky_reader_close(r);
    return rc;
}

static int do_stat(sky_cli *c, sky_err *e)
{
    report p = {.c = c};
    uint64_t sum = 0;
    int rc = sky_stat_new(&p.t, e);
    if (!rc)
        rc = read_stat(c, &p, &sum, e);
    if (!rc)
        rc = sky_stat_print(&p.b, p.t, sum, c->json, e);
    if (!rc)
        rc = print_buf(&p.b, e);
    sky_buf_free(&p.b);
    sky_stat_free(p.t);
    return rc;
}

static int do_verify(sky_cli *c, sky_err *e)
{
    report p = {.c = c};
    uint64_t sum = 0;
    c->keep_going = 1;
    int rc = sky_stat_new(&p.t, e);
    if (!rc)
        rc = sky_idset_open(&p.ids, e);
    if (!rc)
        rc = read_stat(c, &p, &sum, e);
    if (!rc && !c->skipped && !c->damages && !c->json)
        sky_buf_puts(&p.b, "intact\n");
    if (!rc)
        rc = sky_stat_print(&p.b, p.t, sum, c->json, e);
    if (!rc)
        rc = print_buf(&p.b, e);
    sky_buf_free(&p.b);
    sky_idset_close(p.ids);
    sky_stat_free(p.t);
    return rc;
}

static int count_one(void *arg, sky_sample *s, sky_err *e)
{
    (void)s;
    (void)e;
    ((report *)arg)->records++;
    return SKY_OK;
}

/* {"name","spelling","records","bytes"} of one regular file. */
static int file_info(sky_cli *c, json_t *files, char *path, sky_err *e)
{
    static const char *const none[] = {NULL};
    report p = {.c = c};
    struct stat st;
    sky_reader *r;
    FILE *f = fopen(path, "rb");
    int first = f ? fgetc(f) : EOF;
    if (f)
        fclose(f);
    int rc = sky_reader_open(&r, &path, 1, NULL, e);
    if (rc)
        return rc;
    if (!(rc = sky_reader_select(r, none, e)))
        rc = for_each(c, r, count_one, &p, e);
    if (rc || stat(path, &st) || !S_ISREG(st.st_mode))
        return rc;
    json_t *o = json_pack("{s:s,s:s,s:I,s:I}", "name", path, "spelling", first == '{' ? "plain" : "shard", "records", (json_int_t)p.records, "bytes",
                          (json_int_t)st.st_size);
    return o && !json_array_append_new(files, o) ? SKY_OK : sky_fail(e, SKY_ENOMEM, "%s: out of memory, or a name that is not UTF-8", path);
}

static int do_info(sky_cli *c, sky_err *e)
{
    sky_reader *r = NULL;
    sky_buf b = {0};
    json_t *files = json_array();
    int rc = files ? open_reader(c, &r, e) : sky_fail(e, SKY_ENOMEM, "out of memory");
    struct stat st;
    for (int i = 0; !rc && i < c->nargs; i++)
        if (strcmp(c->args[i], "-") && !stat(c->args[i], &st) && S_ISREG(st.st_mode))
            rc = file_info(c, files, c->args[i], e);
    if (!rc)
        rc = sky_info_print(&b, sky_reader_schema(r), files, c->json, e);
    if (!rc)
        rc = print_buf(&b, e);
    sky_reader_close(r);
    json_decref(files);
    sky_buf_free(&b);
    return rc;
}

/* ---- files and tars ------------------------------------------------------------------------------------------------ */

static int extract_one(void *arg, sky_sample *s, sky_err *e) { return sky_extract_sample(arg, s, e); }

static int do_extract(sky_cli *c, sky_err *e)
{
    sky_extract *x;
    sky_reader *r;
    int rc = sky_extract_open(&x, extract, into, fields, e);
    if (rc)
        return rc;
    if (!(rc = open_reader(c, &r, e)))
        rc = for_each(c, r, extract_one, x, e);
    for (int i = 0; i < sky_extract_skipped(x); i++)
        sky_warn(c, "%s", sky_extract_skip_message(x, i));
    const char *name;
    int n = sky_extract_missing(x, &name);
    if (!rc && n)
        rc = sky_fail(e, SKY_ECORRUPT, "--fields: no record has a field '%.*s'", n, name);
    else if (!rc && !sky_extract_files(x) && sky_extract_skipped(x))
        rc = sky_fail(e, SKY_ECORRUPT, "no field could be written as %s", extract);
    sky_extract_close(x);
    return rc;
}

static int tar_one(void *arg, sky_sample *s, sky_err *e) { return sky_wds_put(arg, s, e); }

static int do_to_tar(sky_cli *c, sky_err *e)
{
    sky_wds_out *w;
    sky_reader *r;
    int rc = open_reader(c, &r, e);
    if (rc)
        return rc;
    if ((rc = sky_wds_create(&w, out ? out : "-", e))) {
        sky_reader_close(r);
        return rc;
    }
    if ((rc = for_each(c, r, tar_one, w, e))) {
        sky_wds_abort(w);
        return rc;
    }
    return sky_wds_commit(w, e);
}

/* Under --keep-going damage costs its sample, or, in tar's own structure, the rest of the file. */
static int one_tar(sky_cli *c, sky_writer *w, const char *path, sky_err *e)
{
    sky_wds_in *in;
    sky_sample s = {0};
    int rc = sky_wds_open(&in, path, e);
    if (rc)
        return rc;
    while ((rc = sky_wds_next(in, &s, e)) != 0) {
        rc = rc > 0 ? sky_writer_put(w, &s, e) : rc;
        if (rc && (rc = sky_skip(c, e)))
            break;
    }
    if (sky_wds_ignored(in))
        sky_warn(c, "%llu of its members are not .json .npy .png or .cls and were left out, the first: %s",
                 (unsigned long long)sky_wds_ignored(in), sky_wds_first_ignored(in));
    sky_sample_free(&s);
    sky_wds_close(in);
    return rc;
}

static int do_from_tar(sky_cli *c, sky_err *e)
{
    static char dash[] = "-";
    sky_writer *w;
    json_t *schema = json_pack("{s:s}", "source", "WebDataset tar");
    int rc = schema ? open_writer(c, &w, schema, 0, e) : sky_fail(e, SKY_ENOMEM, "out of memory");
    json_decref(schema);
    if (rc)
        return rc;
    for (int i = 0; i < (c->nargs ? c->nargs : 1) && !rc; i++)
        rc = one_tar(c, w, c->nargs ? c->args[i] : dash, e);
    return finish(c, w, rc, e);
}

/* ---- which of these ------------------------------------------------------------------------------------------------ */

static int check_usage(const sky_cli *c, sky_err *e)
{
    int modes = list + cat + info + stat_ + verify + (extract != NULL) + to_tar;
    if (modes + recover + from_tar + shuffle > 1)
        return sky_fail(e, SKY_EUSAGE, "one of --list --cat --info --stat --verify --recover --extract --to-tar --from-tar --shuffle at a time");
    if (!modes && !out)
        return sky_fail(e, SKY_EUSAGE, "nothing to do: -o PATTERN writes shards, --list --cat --info --stat --verify --extract read them");
    if (out && modes && !to_tar)
        return sky_fail(e, SKY_EUSAGE, "-o does not go with this");
    if (c->json && !list && !info && !stat_ && !verify)
        return sky_fail(e, SKY_EUSAGE, "--json goes with --list, --info, --stat and --verify");
    if (c->seed_given && !shuffle)
        return sky_fail(e, SKY_EUSAGE, "--seed goes with --shuffle");
    if (fields && !extract)
        return sky_fail(e, SKY_EUSAGE, "--fields goes with --extract");
    if ((shard_size || shard_count || plain) && (modes || !out))
        return sky_fail(e, SKY_EUSAGE, "--shard-size, --shard-count and --plain are about the shards that -o writes");
    if (!c->nargs && isatty(0))
        return sky_fail(e, SKY_EUSAGE, "no input: name files, or - for standard input");
    return SKY_OK;
}

static int run(sky_cli *c, sky_err *e)
{
    int rc = check_usage(c, e);
    if (rc)
        return rc;
    if (cat)
        out = "-";
    if (list)
        return do_list(c, e);
    if (info)
        return do_info(c, e);
    if (stat_)
        return do_stat(c, e);
    if (verify)
        return do_verify(c, e);
    if (extract)
        return do_extract(c, e);
    if (to_tar)
        return do_to_tar(c, e);
    if (from_tar)
        return do_from_tar(c, e);
    if (recover)
        return do_recover(c, e);
    return shuffle ? do_shuffle(c, e) : do_pack(c, e);
}

int main(int argc, char **argv)
{
    char libs[80];
    snprintf(libs, sizeof libs, "zstd %s\n", ZSTD_versionString());
    sky_err e = {0};
    sky_cli c = {
        .prog = "sky-pack",
        .summary = "shards from streams and back",
        .usage = "sky-pack -o PATTERN [options] [FILE...]\n       sky-pack --list|--cat|--info|--stat|--verify [FILE...]\n"
                 "       sky-pack --recover -o PATTERN FILE...\n       sky-pack --extract png|npz|tif [-C DIR] [FILE...]",
        .details = "FILE: a shard or a plain stream, several in one file or argument list are read one after another; - or none: standard input.",
        .opts = opts,
        .takes = SKY_TAKES_THREADS | SKY_TAKES_PROGRESS | SKY_TAKES_JSON | SKY_TAKES_SEED | SKY_TAKES_PROVENANCE | SKY_TAKES_KEEP_GOING,
        .extra_version = libs,
    };
    int status = sky_cli_begin(&c, argc, argv);
    if (status >= 0)
        return status;
    return sky_cli_end(&c, run(&c, &e), &e);
}
