/* sky-ingest -- a download as it comes, into a stream of samples. */
#include "base/cli.h"
#include "base/mem.h"
#include "base/threads.h"
#include "format/stream.h"
#include "geo/geo.h"
#include "ingest/ingest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    const char *dataset, *out, *split, *part, *root, *images, *labels;
    int list, reference;
    int64_t inline_mib;
} options;

typedef struct {
    sky_cli *cli;
    options o;
    sky_dataset *d;
    sky_listing *l;
    sky_plan *plan;
    sky_ingest in;
    sky_writer *w;
    sky_progress *progress;
} tool;

typedef struct {
    const sky_ingest *in;
    const sky_plan_item *item;
    sky_sample s;
    sky_err e;
    int rc;
} job;

static void run(void *p)
{
    job *j = p;
    j->rc = sky_ingest_sample(j->in, j->item, &j->s, &j->e);
}

/* ---- planning ------------------------------------------------------------------------------------------------ */

static int make_plan(tool *t, sky_err *e)
{
    sky_plan_opts o = {.split = t->o.split, .root = t->o.root};
    int rc = sky_part_parse(&o.part, t->o.part, e);
    if (!rc)
        rc = sky_dataset_load(&t->d, t->o.dataset, t->o.images, t->o.labels, e);
    if (!rc)
        rc = sky_listing_open(&t->l, t->cli->args, t->cli->nargs, e);
    if (!rc)
        rc = sky_plan_open(&t->plan, t->d, t->l, &o, e);
    t->in = (sky_ingest){t->d, t->l, t->o.reference, (uint64_t)t->o.inline_mib << 20};
    return rc;
}

/* ---- --list -------------------------------------------------------------------------------------------------- */

static int list_text(const tool *t)
{
    for (size_t i = 0; i < t->plan->n; i++) {
        const sky_plan_item *it = &t->plan->item[i];
        printf("%s\t%s", it->id, it->split ? it->split : "-");
        for (int k = 0; k < t->d->nfields; k++)
            for (int m = 0; m < it->field[k].n; m++)
                printf("\t%s=%s", t->d->field[k].name, it->field[k].source[m].file->path);
        putchar('\n');
    }
    return SKY_OK;
}

static json_t *item_json(const tool *t, const sky_plan_item *it)
{
    json_t *o = json_pack("{s:s, s:s?, s:{}}", "id", it->id, "split", it->split, "files");
    int bad = !o;
    for (int k = 0; !bad && k < t->d->nfields; k++)
        for (int m = 0; !bad && m < it->field[k].n; m++) {
            json_t *files = json_object_get(o, "files"), *a = json_object_get(files, t->d->field[k].name);
            if (!a && !json_object_set_new(files, t->d->field[k].name, json_array()))
                a = json_object_get(files, t->d->field[k].name);
            bad = json_array_append_new(a, json_string(it->field[k].source[m].file->path));
        }
    if (bad)
        json_decref(o);
    return bad ? NULL : o;
}

static int list_json(const tool *t, sky_err *e)
{
    json_t *samples = json_array(), *all = json_pack("{s:i, s:s, s:o}", "version", 1, "dataset", t->d->name, "samples", samples);
    int bad = !all;
    for (size_t i = 0; !bad && i < t->plan->n; i++)
        bad = json_array_append_new(samples, item_json(t, &t->plan->item[i]));
    char *text = bad ? NULL : sky_json_dump(all);
    if (text)
        puts(text);
    sky_free(text);
    json_decref(all);
    return text ? SKY_OK : sky_fail(e, SKY_ENOMEM, "--list --json: out of memory, or a path that is not UTF-8");
}

static int list(tool *t, sky_err *e)
{
    int rc = t->cli->json ? list_json(t, e) : list_text(t);
    for (size_t i = 0; !rc && i < t->plan->n; i++)
        if (t->plan->item[i].problem) {
            sky_fail(e, SKY_ECORRUPT, "%s", t->plan->item[i].problem);
            rc = sky_skip(t->cli, e);
        }
    return rc;
}

/* ---- the stream ---------------------------------------------------------------------------------------------- */

/* What every field has in common, and who made it from what. */
static json_t *make_schema(const tool *t)
{
    char listing[65];
    sky_plan_hash(t->plan, listing);
    json_t *entry = sky_cli_provenance(t->cli);
    json_t *fields = json_object(), *base = json_pack("{s:s, s:o}", "dataset", t->d->name, "fields", fields);
    int bad = !base || (!entry && !t->cli->no_provenance);
    if (entry)
        bad |= json_object_set_new(entry, "sources", json_pack("{s:s, s:s}", "descriptor_sha256", t->d->sha256, "listing_sha256", listing));
    for (int k = 0; !bad && k < t->d->nfields; k++)
        if (t->d->field[k].npaths || t->d->layout == SKY_LAYOUT_LIST)
            bad = json_object_set(fields, t->d->field[k].name, t->d->field[k].meta);
    json_t *schema = bad ? (json_decref(entry), NULL) : sky_schema_extend(base, entry);
    json_decref(base);
    return schema;
}

static int open_output(tool *t, sky_err *e)
{
    json_t *schema = make_schema(t);
    if (!schema)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    int rc = sky_writer_open(&t->w, t->o.out, SKY_PLAIN, schema, NULL, e);
    json_decref(schema);
    return rc;
}

static uint64_t bytes_of(const sky_sample *s)
{
    uint64_t n = 0;
    for (int i = 0; i < s->nfields; i++)
        n += s->fields[i].nbytes;
    return n;
}

static int finish_job(tool *t, job *j, sky_err *e)
{
    uint64_t n = bytes_of(&j->s);
    int rc = j->rc;
    if (rc) {
        *e = j->e;
        rc = sky_skip(t->cli, e);
    } else {
        rc = sky_writer_put(t->w, &j->s, e);
    }
    sky_sample_free(&j->s);
    sky_progress_add(t->progress, 1, n);
    return rc;
}

/* Items go in order through the queue's threads and come out in the same order. */
static int pump(tool *t, sky_queue *q, job *ring, size_t depth, sky_err *e)
{
    size_t put = 0, got = 0, n = t->plan->n;
    int rc = SKY_OK;
    while (!rc && got < n) {
        for (; put < n && put - got < depth; put++) {
            ring[put % depth] = (job){.in = &t->in, .item = &t->plan->item[put]};
            sky_queue_put(q, &ring[put % depth]);
        }
        rc = finish_job(t, sky_queue_get(q), e);
        got++;
    }
    sky_queue_end(q);
    while (sky_queue_pending(q))
        sky_sample_free(&((job *)sky_queue_get(q))->s);
    return rc;
}

static int read_all(tool *t, sky_err *e)
{
    int threads = t->cli->threads ? t->cli->threads : sky_cores();
    size_t depth = 2 * (size_t)threads + 2;
    job *ring = sky_calloc(depth, sizeof *ring);
    sky_queue *q = NULL;
    int rc = ring ? sky_queue_open(&q, threads, (int)depth, run, e) : sky_fail(e, SKY_ENOMEM, "out of memory");
    t->progress = sky_progress_begin(t->cli, "samples", t->plan->n);
    if (!rc)
        rc = pump(t, q, ring, depth, e);
    sky_progress_end(t->progress);
    sky_queue_close(q);
    sky_free(ring);
    return rc;
}

static int stream(tool *t, sky_err *e)
{
    sky_geo_begin(t->cli->threads);
    int rc = open_output(t, e);
    if (rc)
        return rc;
    rc = read_all(t, e);
    if (!rc && t->plan->n && !sky_writer_count(t->w))
        rc = sky_fail(e, SKY_ECORRUPT, "none of %zu samples could be read", t->plan->n);
    if (rc) {
        sky_writer_abort(t->w);
        return rc;
    }
    const uint64_t n = sky_writer_count(t->w);
    if (!(rc = sky_writer_close(t->w, e)))
        sky_note(t->cli, "%" PRIu64 " of %zu samples written", n, t->plan->n);
    return rc;
}

int main(int argc, char **argv)
{
    tool t = {.o = {.out = "-", .inline_mib = 256}};
    const sky_opt opts[] = {
        {"dataset", 'd', SKY_OPT_STR, &t.o.dataset, "NAME", "descriptor: a name as in sky-dataset(5), or a .yaml file", 0, 0},
        {"output", 'o', SKY_OPT_STR, &t.o.out, "FILE", "where the stream goes [- : standard output]", 0, 0},
        {"split", 's', SKY_OPT_STR, &t.o.split, "NAME", "only this split [all samples]", 0, 0},
        {"part", 0, SKY_OPT_STR, &t.o.part, "I/N", "only part I of N, by a hash of the sample id [all]", 0, 0},
        {"list", 'l', SKY_OPT_FLAG, &t.o.list, NULL, "print what would be read: id, split, files", 0, 0},
        {"reference", 'r', SKY_OPT_FLAG, &t.o.reference, NULL, "images by reference to the file instead of their pixels", 0, 0},
        {"inline-limit", 0, SKY_OPT_I64, &t.o.inline_mib, "MIB", "larger images go by reference anyway [256]", 1, 16384},
        {"images", 0, SKY_OPT_STR, &t.o.images, "PATTERN", "image files, for --dataset folder: 'images/{id}.jpg'", 0, 0},
        {"labels", 0, SKY_OPT_STR, &t.o.labels, "PATTERN", "label files, for --dataset folder: 'masks/{id}.png' [none]", 0, 0},
        {"root", 0, SKY_OPT_STR, &t.o.root, "DIR", "folder the paths in JSON lists start from [that of each list]", 0, 0},
        {0},
    };
    char versions[160];
    snprintf(versions, sizeof versions, "%s\n", sky_geo_version());
    sky_cli cli = {.prog = "sky-ingest",
                   .summary = "read a data set as downloaded and write it as a stream of samples",
                   .usage = "sky-ingest --dataset NAME [options] PATH...",
                   .details = "PATHs are folders, .zip and .tar archives, files, or JSON lists (skysensepp-list).\n"
                              "Samples come sorted by id, whatever the number of threads.",
                   .opts = opts,
                   .takes = SKY_TAKES_THREADS | SKY_TAKES_PROGRESS | SKY_TAKES_JSON | SKY_TAKES_PROVENANCE | SKY_TAKES_KEEP_GOING,
                   .extra_version = versions};
    t.cli = &cli;
    int status = sky_cli_begin(&cli, argc, argv);
    if (status >= 0)
        return status;
    sky_err e = {0};
    int rc = SKY_OK;
    if (!t.o.dataset)
        rc = sky_fail(&e, SKY_EUSAGE, "--dataset NAME is missing (try --help)");
    else if (!cli.nargs)
        rc = sky_fail(&e, SKY_EUSAGE, "no PATH given (try --help)");
    else if (cli.json && !t.o.list)
        rc = sky_fail(&e, SKY_EUSAGE, "--json goes with --list");
    if (!rc)
        rc = make_plan(&t, &e);
    if (!rc)
        rc = t.o.list ? list(&t, &e) : stream(&t, &e);
    sky_plan_close(t.plan);
    sky_listing_close(t.l);
    sky_dataset_free(t.d);
    return sky_cli_end(&cli, rc, &e);
}
