/* sky-score -- predictions against labels: the 1-shot figures and the confusion-matrix family. */
#include "base/cli.h"
#include "base/io.h"
#include "base/mem.h"
#include "cpu/cpuid.h"
#include "format/stream.h"
#include "score/gallery.h"
#include "score/score_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static sky_strlist labels, ignore;
static const char *field = "pred", *label_field = "label", *class_list, *prompts_file, *confusion;
static const char *picture;
static int csv, same_size;
static int64_t picture_rows = 8, picture_size = 256;

static const sky_opt opts[] = {
    {"labels", 'l', SKY_OPT_LIST, &labels, "SHARD...", "shards with the labels: all arguments up to the next option", 0, 0},
    {"prompts", 'p', SKY_OPT_STR, &prompts_file, "FILE", "which predictions there have to be [every class of every label]", 0, 0},
    {"field", 'f', SKY_OPT_STR, &field, "NAME", "field of the predictions [pred]", 0, 0},
    {"label-field", 0, SKY_OPT_STR, &label_field, "NAME", "field of the labels [label]", 0, 0},
    {"classes", 'c', SKY_OPT_STR, &class_list, "LIST", "1,2 or 1=water,2=road [the labels' class table]", 0, 0},
    {"ignore", 'i', SKY_OPT_LIST, &ignore, "VALUE", "label value that is not scored, also several times [as the labels say]", 0, 0},
    {"same-size", 0, SKY_OPT_FLAG, &same_size, NULL, "a prediction of another size than its label is an error [resize it]", 0, 0},
    {"csv", 0, SKY_OPT_FLAG, &csv, NULL, "the scores as CSV instead of a table", 0, 0},
    {"confusion", 0, SKY_OPT_STR, &confusion, "FILE", "write the confusion matrix as CSV", 0, 0},
    {"picture", 0, SKY_OPT_STR, &picture, "FILE", "write a PNG: input, label and prediction side by side", 0, 0},
    {"picture-rows", 0, SKY_OPT_I64, &picture_rows, "N", "rows of the picture, from the first prediction on [8]", 1, 1000},
    {"picture-size", 0, SKY_OPT_I64, &picture_size, "N", "side of its squares in pixels [256]", 16, 2048},
    {0},
};

/* "--labels a b c --x" becomes "--labels a --labels b --labels c --x", so that a shell pattern can follow. */
static char **spread_labels(int *argc, char **argv)
{
    char **v = sky_calloc(2 * (size_t)*argc + 1, sizeof *v);
    int n = 0, inside = 0;
    for (int i = 0; v && i < *argc; i++) {
        int option = argv[i][0] == '-' && argv[i][1];
        if (!strcmp(argv[i], "--")) { /* what follows is as it is */
            for (; i < *argc; i++)
                v[n++] = argv[i];
            break;
        }
        if (inside && !option) {
            v[n++] = "--labels";
            v[n++] = argv[i];
            continue;
        }
        v[n++] = argv[i];
        inside = !strncmp(argv[i], "--labels=", 9) || (!strncmp(argv[i], "-l", 2) && argv[i][2]);
        if ((!strcmp(argv[i], "--labels") || !strcmp(argv[i], "-l")) && i + 1 < *argc) {
            v[n++] = argv[++i];
            inside = 1;
        }
    }
    *argc = n;
    return v;
}

static int parse_classes(sky_classes *cls, sky_err *e)
{
    int rc = SKY_OK;
    for (int i = 0; !rc && i < ignore.n; i++) {
        char *end;
        long v = strtol(ignore.v[i], &end, 10);
        if (end == ignore.v[i] || *end)
            return sky_fail(e, SKY_EUSAGE, "--ignore: '%s' is not a number", ignore.v[i]);
        rc = sky_classes_ignore(cls, v, e);
    }
    return rc || !class_list ? rc : sky_classes_parse(cls, class_list, e);
}

/* ---- reading the predictions ------------------------------------------------------------------------------------ */

/* Where predictions go: the counts, and the picture while it has room (sheet NULL: none). */
typedef struct {
    sky_scoring *s;
    sky_truth *truth;
    const sky_classes *cls;
    sky_sheet *sheet;
} target;

/* What cannot be drawn costs its row of the picture only: it is scored all the same. */
static int draw(sky_cli *c, target *t, const char *file, const sky_sample *pred, sky_err *e)
{
    if (!t->sheet || sky_sheet_rows(t->sheet) >= picture_rows || sky_gallery_add(t->sheet, t->truth, t->cls, pred, field, label_field, e) >= 0)
        return SKY_OK;
    sky_wrap(e, "%s: prediction %llu '%s': picture", file, (unsigned long long)pred->seq, pred->id);
    return sky_skip(c, e);
}

static int add(sky_cli *c, target *t, const char *file, sky_sample *pred, sky_err *e)
{
    int problem, rc = draw(c, t, file, pred, e); /* first: scoring takes the data */
    if (rc || !(rc = sky_scoring_add(t->s, pred, &problem, e)))
        return rc;
    sky_wrap(e, "%s", file);
    return problem >= 0 ? sky_skip(c, e) : rc;
}

static int read_all(sky_cli *c, target *t, sky_reader *r, sky_err *e)
{
    sky_sample pred;
    sky_sample_init(&pred);
    sky_progress *p = sky_progress_begin(c, "predictions", sky_scoring_wanted(t->s));
    uint64_t bytes = 0;
    int rc;
    while ((rc = sky_reader_intact(r, c, &pred, e)) > 0 && !(rc = add(c, t, sky_reader_name(r), &pred, e))) {
        sky_progress_add(p, 1, sky_reader_bytes(r) - bytes);
        bytes = sky_reader_bytes(r);
    }
    sky_progress_end(p);
    sky_sample_free(&pred);
    return rc;
}

/* Without --keep-going the first one missing is an error; the message says how many more. */
static int missing(sky_cli *c, sky_scoring *s, sky_err *e)
{
    uint64_t more = 0;
    sky_err first = {0}, next;
    int rc;
    while ((rc = sky_scoring_missing(s, c->keep_going || !first.code ? &first : &next)) != 0) {
        if (c->keep_going && (rc = sky_skip(c, &first)))
            break;
        more++;
    }
    if (rc || !first.code)
        return rc;
    return more > 1 ? sky_fail(e, first.code, "%.400s (and %llu more)", first.msg, (unsigned long long)more - 1) : sky_fail(e, first.code, "%s", first.msg);
}

static int predictions(sky_cli *c, target *t, sky_err *e)
{
    sky_reader *r;
    const char *names[] = {field, NULL};
    int rc = sky_reader_open(&r, c->args, c->nargs, NULL, e);
    if (rc) /* "--labels l.sky p.sky" looks right and is not */
        return c->nargs || labels.n < 2 ? rc : sky_wrap(e, "no predictions (the %d names after --labels are all labels; -- ends them)", labels.n);
    sky_reader_threads(r, c->threads);
    rc = sky_reader_select(r, names, e);
    if (!rc)
        rc = read_all(c, t, r, e);
    sky_reader_close(r);
    return rc ? rc : missing(c, t->s, e);
}

/* ---- writing the scores ----------------------------------------------------------------------------------------- */

static int write_matrix(const sky_scores *r, sky_err *e)
{
    sky_buf b = {0};
    sky_out *o;
    sky_scores_matrix_csv(&b, r);
    int rc = b.bad ? sky_fail(e, SKY_ENOMEM, "out of memory") : sky_out_open(&o, confusion, 0, e);
    if (!rc) {
        rc = sky_out_write(o, b.p, b.n, e);
        if (rc)
            sky_out_abort(o);
        else
            rc = sky_out_commit(o, e);
    }
    sky_buf_free(&b);
    return rc;
}

static void put_json(sky_buf *b, const sky_scores *r)
{
    json_t *j = sky_scores_json(r);
    char *text = j ? sky_json_dump(j) : NULL;
    if (text)
        sky_buf_printf(b, "%s\n", text);
    else
        b->bad = 1;
    sky_free(text);
    json_decref(j);
}

static int report(sky_cli *c, sky_scoring *s, sky_err *e)
{
    sky_scores r;
    sky_buf b = {0};
    int rc = sky_scoring_result(s, &r, e);
    if (rc)
        return rc;
    if (confusion)
        rc = write_matrix(&r, e);
    if (c->json)
        put_json(&b, &r);
    else if (csv)
        sky_scores_csv(&b, &r);
    else
        sky_scores_table(&b, &r);
    if (!rc && b.bad)
        rc = sky_fail(e, SKY_ENOMEM, "out of memory");
    if (!rc && fwrite(b.p, 1, b.n, stdout) != b.n)
        rc = sky_fail_errno(e, SKY_EIO, "standard output");
    sky_buf_free(&b);
    sky_scores_free(&r);
    return rc;
}

static int score(sky_cli *c, sky_truth *truth, sky_classes *cls, sky_err *e)
{
    sky_prompts *prompts = NULL;
    sky_scoring *s = NULL;
    sky_scoring_opts o = {field, same_size};
    int rc = prompts_file ? sky_prompts_read(&prompts, prompts_file, c, e) : SKY_OK;
    if (!rc)
        rc = sky_scoring_open(&s, truth, cls, prompts, &o, e);
    target t = {s, truth, cls, NULL};
    if (!rc && picture)
        rc = sky_sheet_open(&t.sheet, (int)picture_size, e);
    if (!rc)
        rc = predictions(c, &t, e);
    if (!rc && t.sheet) {
        rc = sky_sheet_write(t.sheet, picture, e);
        t.sheet = NULL;
        if (rc) /* with --keep-going a picture without a row costs no score */
            rc = sky_skip(c, e);
    }
    if (!rc)
        rc = report(c, s, e);
    sky_sheet_close(t.sheet);
    sky_scoring_close(s);
    sky_prompts_free(prompts);
    return rc;
}

static int run(sky_cli *c, sky_err *e)
{
    sky_classes cls;
    sky_truth *truth = NULL;
    int rc = sky_cpu_level_check(e);
    if (rc)
        return rc;
    if (!labels.n)
        return sky_fail(e, SKY_EUSAGE, "which labels? --labels SHARD...");
    for (int i = 0; i < labels.n; i++)
        if (!strcmp(labels.v[i], "-"))
            return sky_fail(e, SKY_EUSAGE, "--labels -: labels are looked up by id, which a stream cannot do; write a shard first (sky-pack -o labels.sky)");
    if (!c->nargs && isatty(STDIN_FILENO))
        return sky_fail(e, SKY_EUSAGE, "no predictions: all names after --labels are labels, -- ends them; or give predictions on standard input");
    if (picture && !strcmp(picture, "-"))
        return sky_fail(e, SKY_EUSAGE, "--picture -: standard output carries the scores; name a file");
    if (confusion && !strcmp(confusion, "-"))
        return sky_fail(e, SKY_EUSAGE, "--confusion -: standard output carries the scores; name a file");
    if (csv && c->json)
        return sky_fail(e, SKY_EUSAGE, "--csv and --json: one of them");
    sky_classes_init(&cls);
    rc = parse_classes(&cls, e);
    if (!rc)
        rc = sky_truth_open(&truth, (char *const *)(uintptr_t)labels.v, labels.n, label_field, &cls, e);
    if (!rc) {
        sky_note(c, "%llu labels in %d shards, %d classes", (unsigned long long)sky_truth_count(truth), labels.n, cls.n);
        rc = score(c, truth, &cls, e);
    }
    sky_truth_close(truth);
    sky_classes_free(&cls);
    return rc;
}

int main(int argc, char **argv)
{
    sky_cli c = {
        .prog = "sky-score",
        .summary = "score predictions against labels",
        .usage = "sky-score [options] --labels SHARD... [-- PREDICTIONS...]\n       sky-score [options] PREDICTIONS... --labels SHARD...",
        .details = "Predictions are streams or shards; none or -: standard input. A missing, extra, duplicate or\nmisshapen prediction is an error (exit 3).",
        .opts = opts,
        .takes = SKY_TAKES_THREADS | SKY_TAKES_PROGRESS | SKY_TAKES_JSON | SKY_TAKES_KEEP_GOING,
    };
    sky_err e = {0};
    char **args = spread_labels(&argc, argv);
    if (!args) {
        fputs("sky-score: out of memory\n", stderr);
        return SKY_EXIT_SYSTEM;
    }
    int rc = sky_cli_begin(&c, argc, args);
    if (rc < 0)
        rc = sky_cli_end(&c, run(&c, &e), &e);
    sky_free(labels.v);
    sky_free(ignore.v);
    sky_free(args);
    return rc;
}
