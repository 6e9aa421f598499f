/* sky-train -- pretraining and fine-tuning: a run as its file says, from data to checkpoints. */
#include "base/cli.h"
#include "base/mem.h"
#include "cpu/cpuid.h"
#include "data/normal.h"
#include "fit/fit.h"
#include "fit/report.h"
#include "fit/tasks.h"
#include "nn/init.h"
#include "train/checkpoint.h"
#include "train/log.h"
#include "train/transfer.h"
#include "tensor/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <time.h>

typedef struct {
    sky_cli *cli;
    const char *out, *resume, *device;
    int dry_run;
    int64_t io_only;
    sky_run run;
    sky_comm *comm;
    sky_ctx ctx;
    sky_fit_place place;
    sky_fit_task *task;
    sky_weights *weights; /* mapped as long as parameters may lie in it */
    sky_fit *fit;
    sky_checkpoints dir;
    sky_checkpoint from;  /* what is resumed; weights NULL: nothing */
    json_t *description, *metadata, *provenance;
    sky_log *log;         /* rank 0 only, as is progress */
    sky_progress *progress;
    char *log_path, *curves;
    int lock; /* the run's directory, from claim() on; the process's end closes it */
    uint64_t done, unlabelled; /* steps, and those without a labelled pixel */
} tool;

static int first(const tool *t) { return t->comm->rank == 0; }

static void warn_line(void *arg, const char *line) { sky_warn(arg, "%s", line); }
static void note_line(void *arg, const char *line)
{
    const tool *t = arg;
    if (first(t))
        sky_note(t->cli, "%s", line);
}

/* What happened to a tensor is said without being asked for: silence here has cost others their results. */
static void say_line(void *arg, const char *line)
{
    const tool *t = arg;
    if (first(t))
        sky_warn(t->cli, "%s", line);
}

/* ---- being asked to stop: the step is finished, a checkpoint written, and the program ends --------------------------- */

static volatile sig_atomic_t asked;
static void ask(int sig) { asked = sig; }

static void catch_signals(void)
{
    struct sigaction a = {.sa_handler = ask, .sa_flags = (int)SA_RESETHAND}; /* a second one ends it at once */
    sigemptyset(&a.sa_mask);
    const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
    for (unsigned i = 0; i < sizeof ending / sizeof *ending; i++) {
        struct sigaction old; /* what the parent ignores (nohup) stays ignored */
        if (sigaction(ending[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(ending[i], &a, NULL);
    }
}

static int wants_stop(void *arg) { return (void)arg, asked != 0; }

/* ---- weights to begin with ------------------------------------------------------------------------------------------ */

static int load_all(tool *t, const char *path, sky_err *e)
{
    sky_params_opts o = {.dtype = SKY_F32, .threads = t->cli->threads};
    int rc = sky_weights_open(&t->weights, path, e);
    if (!rc && (rc = sky_params_load(t->task->ops->params(t->task), t->weights, &o, e)))
        sky_wrap(e, "%s", path);
    return rc;
}

static int holds(const sky_weights *w, const char *head)
{
    int i = 0, n = sky_weights_count(w);
    while (i < n && strncmp(sky_weights_at(w, i)->name, head, strlen(head)))
        i++;
    return i < n;
}

/* With dates the one-shot model's fusion transformer goes along, as far as its tensors fit. */
static int transfer(tool *t, sky_params *ps, sky_err *e)
{
    const char *prefix = t->run.start.prefix;
    sky_transfer_opts o = {.from = prefix ? prefix : "", .to = prefix ? "backbone." : "", .source_bands = t->run.start.bands.v,
                           .bands = t->run.segment.bands.v, .cfg = &t->run.model, .note = say_line, .arg = t};
    int rc = sky_params_init(ps, t->run.start.init, (uint64_t)t->run.seed, t->cli->threads, e);
    if (!rc)
        rc = sky_weights_open(&t->weights, t->run.start.from, e);
    if (!rc && (rc = sky_transfer(ps, t->weights, &o, e)) < 0)
        return sky_wrap(e, "%s", t->run.start.from);
    if (rc < 0 || !prefix || !t->run.segment.dates || !holds(t->weights, "fusion."))
        return rc < 0 ? rc : SKY_OK;
    o.from = "fusion.";
    o.to = "neck.fusion_transformer.";
    rc = sky_transfer(ps, t->weights, &o, e);
    if (rc == SKY_EUSAGE)
        say_line(t, e->msg); /* none fits: it starts at random, as the lines above say */
    return rc < 0 && rc != SKY_EUSAGE ? sky_wrap(e, "%s", t->run.start.from) : SKY_OK;
}

static int start_weights(tool *t, sky_err *e)
{
    if (t->from.weights)
        return load_all(t, t->from.weights, e);
    sky_params *ps = t->task->ops->params(t->task);
    if (!t->run.start.from)
        return sky_params_init(ps, t->run.start.init, (uint64_t)t->run.seed, t->cli->threads, e);
    return t->run.task == SKY_TASK_SEGMENT ? transfer(t, ps, e) : load_all(t, t->run.start.from, e);
}

/* ---- resuming ---------------------------------------------------------------------------------------------------------- */

static int find_checkpoint(tool *t, sky_err *e)
{
    sky_checkpoints dir = t->dir;
    dir.note = say_line; /* checkpoints that are passed over */
    if (!t->resume) {
        sky_checkpoint there = {0};
        int rc = sky_checkpoint_latest(&dir, &there, e);
        if (rc == 1)
            rc = sky_fail(e, SKY_EUSAGE, "%s: holds a run already (step %" PRIu64 "); --resume latest goes on with it, --out names another place", t->dir.dir, there.step);
        sky_checkpoint_close(&there);
        return rc;
    }
    if (strcmp(t->resume, "latest"))
        return sky_checkpoint_open(&dir, t->resume, &t->from, e);
    int rc = sky_checkpoint_latest(&dir, &t->from, e);
    if (!rc && first(t))
        sky_warn(t->cli, "%s: no checkpoint yet, the run begins", t->dir.dir);
    return rc < 0 ? rc : SKY_OK;
}

/* What must not change between the two parts of one run. */
static int same_run(const tool *t, sky_err *e)
{
    static const char *const must[] = {"task", "seed", "batch", "config", NULL};
    json_t *now = json_pack("{s:s, s:I, s:I, s:O*}", "task", t->run.task ? "segment" : "pretrain", "seed", (json_int_t)t->run.seed,
                            "batch", (json_int_t)t->run.batch, "config", json_object_get(t->description, "config"));
    int rc = now ? SKY_OK : sky_fail(e, SKY_ENOMEM, "out of memory");
    for (int i = 0; must[i] && !rc; i++)
        if (!json_equal(json_object_get(now, must[i]), json_object_get(t->from.run, must[i])))
            rc = sky_fail(e, SKY_EUSAGE, "'%s' is not what it was when the checkpoint was written", must[i]);
    json_decref(now);
    if (!rc)
        rc = sky_normal_compare(json_object_get(t->from.run, "normal"), json_object_get(t->description, "normal"), e);
    return rc ? sky_wrap(e, "%s", t->from.state) : SKY_OK;
}

/* Nothing is left to do: no log and no event file is begun. */
static int complete(const tool *t)
{
    if (!t->from.weights || t->from.step < (uint64_t)t->run.steps)
        return 0;
    if (first(t))
        sky_warn(t->cli, "%s: complete at step %" PRIu64, t->dir.dir, t->from.step);
    return 1;
}

static int restore(tool *t, sky_err *e)
{
    if (!t->from.weights)
        return SKY_OK;
    int rc = sky_checkpoint_restore(&t->from, sky_fit_state(t->fit), e);
    json_t *best = json_object_get(t->from.run, "best");
    sky_fit_continue(t->fit, t->from.step, (uint64_t)json_integer_value(json_object_get(t->from.run, "updates")), json_is_number(best) ? json_number_value(best) : NAN);
    return rc;
}

/* ---- checkpoints ------------------------------------------------------------------------------------------------------- */

static int64_t clamp(int64_t x, int64_t a, int64_t b) { return x < a ? a : x > b ? b : x; }

/* This rank's share of [a, b) comes from the device first. */
static int gather(void *arg, sky_state *s, const sky_tensor *part, int64_t a, int64_t b, float *host, sky_err *e)
{
    tool *t = arg;
    int n = t->comm->ranks, me = t->comm->rank;
    int64_t *cut = sky_alloc((size_t)(n + 1) * sizeof *cut);
    for (int r = 0; cut && r <= n; r++)
        cut[r] = clamp(sky_state_cut(s, r), a, b) - a;
    int64_t mine = cut ? cut[me + 1] - cut[me] : 0;
    float *share = cut ? sky_alloc((size_t)mine * sizeof *share + 1) : NULL;
    int rc = share ? SKY_OK : sky_fail(e, SKY_ENOMEM, "out of memory");
    if (!rc && mine) {
        sky_tensor from = {.data = (float *)part->data + (cut[me] + a - s->from), .dtype = SKY_F32, .ndim = 1, .shape = {mine}};
        rc = t->ctx.be->get(t->ctx.dev, share, &from, e);
    }
    if (!rc)
        rc = sky_comm_collect(t->comm, share, host, cut, e);
    sky_free(share);
    sky_free(cut);
    return rc;
}

static json_t *run_state(const tool *t, sky_fit *f)
{
    double best = sky_fit_best(f);
    return json_pack("{s:s, s:I, s:I, s:I, s:o, s:O*, s:O*, s:s, s:O*}", "task", t->run.task ? "segment" : "pretrain", "seed", (json_int_t)t->run.seed,
                     "batch", (json_int_t)t->run.batch, "updates", (json_int_t)sky_fit_updates(f), "best", isfinite(best) ? json_real(best) : json_null(),
                     "config", json_object_get(t->description, "config"), "normal", json_object_get(t->description, "normal"), "run", t->run.text,
                     "provenance", t->provenance);
}

static int draw(tool *t, sky_err *e)
{
    if (!t->run.log.curves)
        return SKY_OK;
    int rc = sky_log_draw(t->log_path, t->curves, e);
    if (rc == 1)
        sky_note(t->cli, "no curves: %s", e->msg);
    return rc < 0 ? rc : SKY_OK;
}

static int on_save(void *arg, sky_fit *f, uint64_t step, int best, sky_err *e)
{
    tool *t = arg;
    json_t *run = run_state(t, f);
    if (!run)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    int rc = sky_checkpoint_write(&t->dir, sky_fit_state(f), step, run, best, e);
    json_decref(run);
    if (!rc && first(t)) {
        sky_note(t->cli, "step %" PRIu64 ": checkpoint written%s", step, best ? ", the best so far" : "");
        rc = draw(t, e);
    }
    return rc;
}

/* ---- log --------------------------------------------------------------------------------------------------------------- */

/* Said once, and how many there were at the end: labels are sparse in some data sets, and missing in others by mistake. */
static void count_unlabelled(tool *t, const sky_fit_step *s)
{
    if (s->unlabelled && !t->unlabelled++ && first(t))
        sky_warn(t->cli, "step %" PRIu64 ": not one pixel of its samples has a class, its loss is 0 (samples of rank 0: %.300s); the log counts such steps",
                 s->step, t->task->ops->names(t->task));
}

static void say_unlabelled(const tool *t)
{
    if (t->unlabelled && first(t))
        sky_warn(t->cli, "%" PRIu64 " of %" PRIu64 " steps had not one pixel with a class", t->unlabelled, t->done);
}

static int on_step(void *arg, const sky_fit_step *s, sky_err *e)
{
    tool *t = arg;
    if (s->bad)
        sky_warn(t->cli, "%s; left out", s->bad);
    t->done++;
    count_unlabelled(t, s);
    if (!t->log)
        return SKY_OK;
    sky_log_step l = {.name = {"total"}, .loss = {s->pass->loss}, .n = 1, .lr = s->lr, .norm = s->norm, .samples = (uint64_t)s->samples, .waited = s->waited,
                      .unlabelled = (uint64_t)s->unlabelled};
    for (int i = 0; i < s->pass->nparts; i++, l.n++) {
        l.name[l.n] = s->pass->parts[i].name;
        l.loss[l.n] = s->pass->parts[i].value;
    }
    sky_log_add(t->log, &l);
    int rc = SKY_OK;
    if (sky_run_logs(&t->run, s->step) && !(rc = sky_log_interval(t->log, s->step, e))) {
        sky_progress_text(t->progress, sky_log_text(t->log));
        sky_note(t->cli, "step %" PRIu64 " of %" PRId64 ": %s", s->step, t->run.steps, sky_log_text(t->log));
    }
    sky_progress_add(t->progress, 1, 0);
    return rc;
}

static int on_quality(void *arg, uint64_t step, double quality, const json_t *details, int best, sky_err *e)
{
    tool *t = arg;
    if (!isfinite(quality) && first(t))
        sky_warn(t->cli, "step %" PRIu64 ": the validation has no result: not one pixel of data.val has a class, or numbers are not finite", step);
    if (!t->log)
        return SKY_OK;
    json_t *line = json_pack("{s:I, s:O, s:b}", "step", (json_int_t)step, "val", details, "best", best);
    int rc = line ? sky_log_write(t->log, line, e) : sky_fail(e, SKY_ENOMEM, "out of memory");
    json_decref(line);
    sky_buf text = {0};
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)details, key, v)
        if (json_is_number(v))
            sky_buf_printf(&text, "%s%s %.4f", text.n ? ", " : "", key, json_number_value(v));
    sky_note(t->cli, "step %" PRIu64 ": validation: %s%s", step, text.p ? text.p : "", best ? "; the best so far" : "");
    sky_buf_free(&text);
    return rc;
}

/* One run at a time writes to a directory. The lock ends with the process; file systems that have none go without. */
static int claim(tool *t, sky_err *e)
{
    if (mkdir(t->dir.dir, 0777) && errno != EEXIST)
        return sky_fail_errno(e, SKY_EIO, "%s", t->dir.dir);
    t->lock = open(t->dir.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (t->lock < 0)
        return sky_fail_errno(e, SKY_EIO, "%s", t->dir.dir);
    if (flock(t->lock, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
        return sky_fail(e, SKY_EIO, "%s: another run is at work there", t->dir.dir);
    return SKY_OK;
}

static int open_log(tool *t, sky_err *e)
{
    if (!first(t))
        return SKY_OK;
    int rc = sky_log_open(&t->log, t->log_path, t->from.step, e);
    return rc || !t->run.log.tensorboard ? rc : sky_log_events(t->log, t->dir.dir, t->from.step, e);
}

/* ---- --dry-run, --io-only ------------------------------------------------------------------------------------------ */

static int report(tool *t, sky_err *e)
{
    sky_buf text = {0};
    int rc = sky_fit_report(&text, t->fit, &t->run, t->comm->ranks, e);
    if (!rc && (fputs(text.p, stdout) < 0 || fflush(stdout)))
        rc = sky_fail_errno(e, SKY_EIO, "standard output");
    sky_buf_free(&text);
    return rc;
}

static int io_only(tool *t, sky_err *e)
{
    double waited = 0;
    int64_t n = 0;
    struct timespec a, b;
    int rc = t->task->ops->seek(t->task, 0, e);
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int64_t i = 0; i < t->io_only && !rc; i++)
        rc = t->task->ops->take(t->task, &waited, e);
    clock_gettime(CLOCK_MONOTONIC, &b);
    t->task->ops->ids(t->task, &n);
    double seconds = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
    if (!rc)
        printf("%" PRId64 " samples in %.2f s: %.1f per second on this rank\n", t->io_only * n, seconds, (double)(t->io_only * n) / seconds);
    return rc;
}

/* ---- the run --------------------------------------------------------------------------------------------------------- */

static int open_run(tool *t, sky_err *e)
{
    int rc = sky_run_load(&t->run, t->cli->args[0], e);
    if (rc)
        return rc;
    int64_t share = t->run.accumulate * t->comm->ranks;
    if (t->run.batch % share)
        return sky_fail(e, SKY_EUSAGE, "%s: a 'batch' of %" PRId64 " samples is no multiple of %" PRId64 ": %d rank%s with 'accumulate' %" PRId64, t->cli->args[0], t->run.batch, share,
                        t->comm->ranks, t->comm->ranks > 1 ? "s" : "", t->run.accumulate);
    const char *out = t->out ? t->out : t->run.out;
    if (!out && (t->dry_run || t->io_only))
        return SKY_OK;
    if (!out)
        return sky_fail(e, SKY_EUSAGE, "no directory for the run: --out DIR, or 'out' in %s", t->cli->args[0]);
    t->dir = (sky_checkpoints){.dir = out, .keep = (int)t->run.checkpoint.keep, .gather = t->comm->ranks > 1 ? gather : NULL, .arg = t,
                               .threads = t->cli->threads, .note = note_line, .note_arg = t};
    t->log_path = sky_asprintf("%s/log.jsonl", out);
    t->curves = sky_asprintf("%s/curves.svg", out);
    return t->log_path && t->curves ? SKY_OK : sky_fail(e, SKY_ENOMEM, "out of memory");
}

/* Of the weights: every member of the description as text, as safetensors wants it. */
static int make_metadata(tool *t, sky_err *e)
{
    const char *key;
    json_t *v;
    t->description = t->task->ops->description(t->task);
    t->metadata = json_object();
    t->provenance = sky_cli_provenance(t->cli);
    int bad = !t->description || !t->metadata;
    json_object_foreach(t->description, key, v)
    {
        char *text = json_is_string(v) ? sky_strdup(json_string_value(v)) : sky_json_dump(v);
        bad = bad || !text || json_object_set_new(t->metadata, key, json_string(text));
        sky_free(text);
    }
    t->dir.metadata = t->metadata;
    return bad ? sky_fail(e, SKY_ENOMEM, "out of memory") : SKY_OK;
}

static int open_all(tool *t, sky_err *e)
{
    int rc = open_run(t, e);
    if (!rc)
        rc = sky_comm_ctx_open(t->comm, &t->ctx, t->device, t->cli->threads, e);
    t->place = (sky_fit_place){.rank = t->comm->rank, .ranks = t->comm->ranks, .threads = t->cli->threads, .keep_going = t->cli->keep_going,
                               .warn = warn_line, .warn_arg = t->cli};
    if (!rc)
        rc = (t->run.task == SKY_TASK_SEGMENT ? sky_fit_segment : sky_fit_pretrain)(&t->task, &t->run, &t->place, e);
    if (!rc)
        rc = make_metadata(t, e);
    return rc;
}

static int train(tool *t, sky_err *e)
{
    int rc = open_all(t, e);
    if (!rc && t->io_only)
        return io_only(t, e);
    if (!rc && !t->dry_run)
        rc = find_checkpoint(t, e);
    if (!rc && t->from.weights)
        rc = same_run(t, e);
    if (!rc && !t->dry_run)
        rc = start_weights(t, e);
    if (!rc)
        rc = sky_fit_open(&t->fit, t->task, &t->ctx, t->comm, &t->run, t->dry_run, e);
    if (!rc && t->dry_run)
        return first(t) ? report(t, e) : SKY_OK;
    if (!rc)
        rc = restore(t, e);
    if (!rc && first(t))
        rc = claim(t, e);
    if (!rc && complete(t))
        return SKY_OK;
    if (!rc)
        rc = open_log(t, e);
    if (rc)
        return rc;
    catch_signals();
    if (first(t))
        t->progress = sky_progress_begin(t->cli, "steps", (uint64_t)t->run.steps - t->from.step);
    rc = sky_fit_run(t->fit, &(sky_fit_hooks){t, on_step, on_quality, on_save, wants_stop}, e);
    sky_progress_end(t->progress);
    say_unlabelled(t);
    if (rc == 1) {
        if (first(t))
            sky_warn(t->cli, "stopped as asked; --resume latest goes on");
        rc = SKY_OK;
    }
    return rc;
}

static void close_all(tool *t)
{
    sky_log_close(t->log);
    sky_fit_close(t->fit);
    if (t->task)
        t->task->ops->close(t->task);
    sky_weights_close(t->weights);
    sky_checkpoint_close(&t->from);
    sky_comm_close(t->comm);
    if (t->ctx.be)
        sky_ctx_close(&t->ctx);
    json_decref(t->description);
    json_decref(t->metadata);
    json_decref(t->provenance);
    sky_free(t->log_path);
    sky_free(t->curves);
    sky_run_close(&t->run);
}

int main(int argc, char **argv)
{
    tool t = {.device = "auto"};
    const sky_opt opts[] = {
        {"out", 'o', SKY_OPT_STR, &t.out, "DIR", "where checkpoints, log and curves go [what the run says]", 0, 0},
        {"resume", 'r', SKY_OPT_STR, &t.resume, "latest|FILE", "go on from a checkpoint", 0, 0},
        {"device", 'd', SKY_OPT_STR, &t.device, "NAME", "cpu, cuda, cuda:N or auto [auto]", 0, 0},
        {"dry-run", 'n', SKY_OPT_FLAG, &t.dry_run, NULL, "print parameters, memory and steps, and stop", 0, 0},
        {"io-only", 0, SKY_OPT_I64, &t.io_only, "N", "only prepare N micro-batches and print the rate", 1, INT64_MAX},
        {0},
    };
    char cuda[600], versions[900];
    sky_cuda_version(cuda, sizeof cuda);
    snprintf(versions, sizeof versions, "cpu: %s (up to %s here)\n%s" SKY_MPI_TEXT "\n",
             sky_cpu_level_name(sky_cpu_level_get()), sky_cpu_level_name(sky_cpu_detect()), cuda);
    sky_cli cli = {.prog = "sky-train",
                   .summary = "train the one-shot model, or fine-tune a backbone for segmentation",
                   .usage = "sky-train [options] RUN.yaml\n       mpirun -n N sky-train [options] RUN.yaml",
                   .details = "RUN.yaml is described in sky-run(5). On SIGINT, SIGTERM, SIGHUP and SIGUSR1 the step at hand is finished, a\n"
                              "checkpoint is written, and the program ends; a second signal ends it at once.",
                   .opts = opts,
                   .takes = SKY_TAKES_THREADS | SKY_TAKES_PROGRESS | SKY_TAKES_PROVENANCE | SKY_TAKES_KEEP_GOING,
                   .extra_version = versions};
    t.cli = &cli;
    int status = sky_cli_begin(&cli, argc, argv);
    if (status >= 0)
        return status;
    sky_err e = {0};
    if (cli.nargs != 1)
        return sky_cli_end(&cli, sky_fail(&e, SKY_EUSAGE, "one RUN.yaml is expected (try --help)"), &e);
    int rc = sky_cpu_level_check(&e);
    if (!rc)
        rc = sky_comm_open(&t.comm, &e);
    if (rc)
        return sky_cli_end(&cli, rc, &e);
    rc = train(&t, &e);
    if (rc && t.comm->ranks > 1)
        sky_comm_abort(t.comm, cli.prog, e.msg, sky_cli_status(rc));
    close_all(&t);
    return sky_cli_end(&cli, rc, &e);
}
