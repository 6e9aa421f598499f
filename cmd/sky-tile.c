/* sky-tile -- cut the scenes of a stream into tiles that cover the same ground in every field.
 *
 * Tiles are cut by the threads of an ordered queue; this thread reads samples, puts one job per tile and writes what
 * comes back, in order. A sample lives until its last tile was written, so memory is bounded by the queue's depth. */
#include "base/cli.h"
#include "base/mem.h"
#include "base/threads.h"
#include "data/part.h"
#include "data/tile.h"
#include "format/stream.h"
#include "geo/geo.h"
#include "geo/window.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    sky_sample s;
    sky_tile_plan *plan;
    sky_windows *windows;
    int64_t waiting; /* tiles of it in the queue, plus one while it is being cut up */
} scene;

typedef struct {
    scene *from;
    int64_t i;
    sky_sample tile;
    int rc;
    sky_err e;
} job;

typedef struct {
    sky_cli c;
    sky_tile_opts o;
    sky_part part;
    const char *output;
    sky_reader *in;
    sky_writer *out;
    sky_windows *windows;
    sky_queue *queue;
    int depth;
    sky_progress *progress;
    uint64_t scenes, tiles, empty;
} app;

static void scene_done(scene *s)
{
    if (--s->waiting)
        return;
    sky_tile_plan_free(s->plan);
    sky_sample_free(&s->s);
    sky_free(s);
}

static void job_free(job *j)
{
    sky_sample_free(&j->tile);
    scene_done(j->from);
    sky_free(j);
}

static void work(void *arg)
{
    job *j = arg;
    j->rc = sky_tile_cut(j->from->plan, j->i, sky_windows_read, j->from->windows, &j->tile, &j->e);
}

static int name_record(const scene *s, sky_err *e)
{
    return sky_wrap(e, "record %" PRIu64 " '%s'", s->s.seq, s->s.id);
}

static int name_tile(const job *j, sky_err *e)
{
    char id[256];
    if (sky_tile_id(j->from->plan, j->i, id, NULL))
        return name_record(j->from, e);
    sky_wrap(e, "tile '%s'", id);
    return name_record(j->from, e);
}

static int write_one(app *a, sky_err *e)
{
    job *j = sky_queue_get(a->queue);
    int rc = j->rc;
    if (rc < 0) {
        *e = j->e;
        name_tile(j, e);
        rc = sky_skip(&a->c, e);
    } else if (rc) {
        uint64_t before = sky_writer_bytes(a->out);
        rc = sky_writer_put(a->out, &j->tile, e);
        a->tiles++;
        sky_progress_add(a->progress, 1, sky_writer_bytes(a->out) - before);
    } else {
        a->empty++;
    }
    job_free(j);
    return rc;
}

static int cut_scene(app *a, scene *s, sky_err *e)
{
    char id[256];
    int64_t n = sky_tile_count(s->plan);
    for (int64_t i = 0; i < n; i++) {
        int rc = sky_tile_id(s->plan, i, id, e);
        if (rc) {
            name_record(s, e);
            return sky_skip(&a->c, e);
        }
        if (!sky_part_holds(&a->part, id))
            continue;
        if (sky_queue_pending(a->queue) == a->depth && (rc = write_one(a, e)))
            return rc;
        job *j = sky_calloc(1, sizeof *j);
        if (!j)
            return sky_fail(e, SKY_ENOMEM, "out of memory for a tile");
        *j = (job){.from = s, .i = i};
        s->waiting++;
        sky_queue_put(a->queue, j);
    }
    return SKY_OK;
}

static int plan_and_cut(app *a, scene *s, sky_err *e)
{
    a->scenes++;
    if (!sky_tile_plan_make(&s->plan, &s->s, &a->o, e))
        return cut_scene(a, s, e);
    name_record(s, e);
    return sky_skip(&a->c, e);
}

/* 1: go on; 0: end of input; < 0: stop. */
static int next_scene(app *a, sky_err *e)
{
    scene *s = sky_calloc(1, sizeof *s);
    if (!s)
        return sky_fail(e, SKY_ENOMEM, "out of memory for a sample");
    s->waiting = 1;
    s->windows = a->windows;
    const int more = sky_reader_intact(a->in, &a->c, &s->s, e);
    int rc = more > 0 ? plan_and_cut(a, s, e) : more;
    scene_done(s);
    return rc < 0 ? rc : more;
}

static int run(app *a, sky_err *e)
{
    int rc;
    while ((rc = next_scene(a, e)) > 0)
        ;
    while (!rc && sky_queue_pending(a->queue))
        rc = write_one(a, e);
    return rc;
}

/* After an error: jobs still in the queue finish and are thrown away. */
static void drain(app *a)
{
    while (a->queue && sky_queue_pending(a->queue))
        job_free(sky_queue_get(a->queue));
}

static int open_all(app *a, sky_err *e)
{
    int threads = a->c.threads ? a->c.threads : sky_cores();
    a->depth = 4 * threads;
    sky_geo_begin(threads);
    int rc = sky_reader_open(&a->in, a->c.args, a->c.nargs, NULL, e);
    if (rc)
        return rc;
    sky_reader_threads(a->in, threads);
    rc = sky_windows_open(&a->windows, threads + 16, e);
    if (!rc)
        rc = sky_queue_open(&a->queue, threads, a->depth, work, e);
    if (rc)
        return rc;
    json_t *me = sky_cli_provenance(&a->c);
    json_t *schema = me || a->c.no_provenance ? sky_schema_extend(sky_reader_schema(a->in), me) : NULL;
    if (!schema)
        return sky_fail(e, SKY_ENOMEM, "out of memory for the schema");
    rc = sky_writer_open(&a->out, a->output, SKY_PLAIN, schema, NULL, e);
    json_decref(schema);
    a->progress = sky_progress_begin(&a->c, "tiles", 0);
    return rc;
}

static void close_all(app *a)
{
    drain(a);
    sky_progress_end(a->progress);
    sky_queue_close(a->queue);
    sky_windows_close(a->windows);
    sky_reader_close(a->in);
    sky_writer_abort(a->out);
}

static int check_options(app *a, const char *edge, int64_t overlap, const char *part, sky_err *e)
{
    static const char *const names[] = {"shift", "keep", "pad", "drop"};
    int found = -1;
    for (int i = 0; i < 4; i++)
        if (!strcmp(edge, names[i]))
            found = i;
    if (found < 0)
        return sky_fail(e, SKY_EUSAGE, "--edge '%s': want shift, keep, pad or drop", edge);
    a->o.edge = (sky_edge)found;
    if (!a->o.size)
        return sky_fail(e, SKY_EUSAGE, "--size N is needed");
    if (overlap >= 0 && a->o.stride)
        return sky_fail(e, SKY_EUSAGE, "--stride and --overlap say the same thing: give one");
    if (overlap >= a->o.size)
        return sky_fail(e, SKY_EUSAGE, "--overlap %" PRId64 ": must be smaller than --size %" PRId64, overlap, a->o.size);
    if (!a->o.stride)
        a->o.stride = overlap >= 0 ? a->o.size - overlap : a->o.size;
    return sky_part_parse(&a->part, part, e);
}

int main(int argc, char **argv)
{
    const int64_t most = 1 << 24;
    app a = {.output = "-"};
    char version[64];
    snprintf(version, sizeof version, "%s\n", sky_geo_version());
    int64_t overlap = -1;
    const char *edge = "shift", *part = NULL;
    const sky_opt opts[] = {
        {"size", 's', SKY_OPT_I64, &a.o.size, "N", "tile of N x N pixels of the reference field", 1, most},
        {"stride", 0, SKY_OPT_I64, &a.o.stride, "N", "pixels from one tile to the next [the size]", 1, most},
        {"overlap", 0, SKY_OPT_I64, &overlap, "N", "pixels two neighbours share; same as stride = size - N [0]", 0, most},
        {"edge", 0, SKY_OPT_STR, &edge, "HOW", "at the right and lower edge: shift, keep, pad or drop [shift]", 0, 0},
        {"on", 0, SKY_OPT_STR, (void *)&a.o.on, "FIELD", "reference field [the first image]", 0, 0},
        {"resize", 0, SKY_OPT_I64, &a.o.resize, "N", "resize full tiles to N x N, others in proportion [as cut]", 1, most},
        {"drop-empty", 0, SKY_OPT_FLAG, &a.o.drop_empty, NULL, "leave out tiles without classes or without valid pixels", 0, 0},
        {"part", 0, SKY_OPT_STR, &part, "I/N", "only the I-th of N parts of the tiles, by their ids", 0, 0},
        {"output", 'o', SKY_OPT_STR, &a.output, "FILE", "write here [standard output]", 0, 0},
        {0},
    };
    a.c = (sky_cli){
        .prog = "sky-tile",
        .summary = "cut scenes into tiles that cover the same ground in every field",
        .usage = "sky-tile --size N [OPTION]... [FILE]...",
        .details = "Reads streams or shards (none or -: standard input), writes a stream. See sky-tile(1).",
        .opts = opts,
        .takes = SKY_TAKES_THREADS | SKY_TAKES_PROGRESS | SKY_TAKES_PROVENANCE | SKY_TAKES_KEEP_GOING,
        .extra_version = version,
    };
    int status = sky_cli_begin(&a.c, argc, argv);
    if (status >= 0)
        return status;
    sky_err e = {0};
    int rc = check_options(&a, edge, overlap, part, &e);
    if (!rc)
        rc = open_all(&a, &e);
    if (!rc)
        rc = run(&a, &e);
    if (!rc) {
        sky_writer *w = a.out;
        a.out = NULL;
        rc = sky_writer_close(w, &e);
    }
    close_all(&a);
    if (!rc)
        sky_note(&a.c, "%" PRIu64 " samples, %" PRIu64 " tiles, %" PRIu64 " empty ones left out", a.scenes, a.tiles, a.empty);
    return sky_cli_end(&a.c, rc, &e);
}
