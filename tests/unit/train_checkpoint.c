/* Checkpoints: a resumed run goes on with the same bits; what is broken or mixed is refused by name or passed over; the
 * files do not depend on the number of ranks; a writer killed at any moment, or a full disk, costs nothing that was whole. */
#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "nn/skysensepp.h"
#include "t.h"
#include "tensor/backend.h"
#include "train/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static sky_ctx c;
static sky_err e;
static sky_config cfg;
static char dir[64];

/* ---- a model in training ------------------------------------------------------------------------------------------ */

typedef struct {
    sky_pp *model;
    sky_params *ps;
    sky_rule *rule;
    sky_weights *file;
    sky_state s;
} trainer;

static int open_trainer(trainer *t, const char *weights, sky_dtype dtype, sky_optimizer opt, int rank, int ranks)
{
    *t = (trainer){0};
    if (sky_pp_open(&t->model, &cfg, &e))
        return e.code;
    t->ps = sky_pp_params(t->model);
    t->rule = sky_calloc((size_t)t->ps->n, sizeof *t->rule);
    for (int i = 0; i < t->ps->n; i++)
        t->rule[i] = sky_rule_pretrain(&cfg, t->ps->v[i].name);
    int rc = weights ? sky_weights_open(&t->file, weights, &e) : sky_params_seed(t->ps, "", SKY_F32, 1, &e);
    if (!rc && weights)
        rc = sky_pp_load(t->model, &c, t->file, SKY_F32, 0, NULL, NULL, &e);
    sky_state_opts o = {.dtype = dtype, .optimizer = opt, .ema = 1, .rank = rank, .ranks = ranks, .rule = t->rule};
    return rc ? rc : sky_state_open(&t->s, &c, t->ps, &o, &e);
}

static void close_trainer(trainer *t)
{
    sky_state_close(&t->s);
    sky_pp_close(t->model);
    sky_weights_close(t->file);
    sky_free(t->rule);
}

static int train(trainer *t, uint64_t from, uint64_t to)
{
    int rc = 0;
    for (uint64_t k = from; k <= to && !rc; k++) {
        float *g = t->s.grad.data;
        for (int64_t i = 0; i < t->s.size; i++)
            g[i] = sky_counter_value(k, (uint64_t)i, 0.1f, 0);
        sky_update u = {.lr = 1e-3, .norm = 1, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .momentum = 0.9, .average = 0.1, .t = k};
        rc = sky_state_update(&t->s, &u, &e);
    }
    for (int i = 0; i < t->ps->n; i++) /* statistics move too */
        if (t->ps->v[i].kind == SKY_PARAM_STAT)
            ((float *)t->ps->v[i].slot->data)[0] += 0.25f;
    return rc;
}

static int same_state(const trainer *a, const trainer *b)
{
    size_t n = (size_t)sky_bytes(&a->s.m);
    int same = !memcmp(a->s.m.data, b->s.m.data, n) && !memcmp(a->s.average.data, b->s.average.data, n) && (!a->s.v2.data || !memcmp(a->s.v2.data, b->s.v2.data, n));
    for (int i = 0; i < a->s.n; i++) { /* gaps are nobody's */
        sky_tensor x = sky_state_master(&a->s, i), y = sky_state_master(&b->s, i);
        same &= !memcmp(x.data, y.data, (size_t)sky_bytes(&x));
    }
    for (int i = 0; i < a->ps->n; i++)
        same &= a->ps->v[i].slot->dtype == b->ps->v[i].slot->dtype && !memcmp(a->ps->v[i].slot->data, b->ps->v[i].slot->data, (size_t)sky_bytes(a->ps->v[i].slot));
    return same;
}

static char notes[4096];
static void on_note(void *arg, const char *line)
{
    (void)arg;
    size_t n = strlen(notes);
    snprintf(notes + n, sizeof notes - n, "%s\n", line);
}
static sky_checkpoints where(int keep) { return (sky_checkpoints){.dir = dir, .keep = keep, .threads = 1, .note = on_note}; }

static json_t *run_of(uint64_t step) { return json_pack("{s:I, s:s, s:[f]}", "step", (json_int_t)step, "seed", "7", "metric", 0.1); }

static int write_step(trainer *t, uint64_t step, int keep, int best)
{
    sky_checkpoints k = where(keep);
    json_t *run = run_of(step);
    int rc = sky_checkpoint_write(&k, &t->s, step, run, best, &e);
    json_decref(run);
    return rc;
}

static char *file(uint64_t step, const char *ext)
{
    static char path[4][200];
    static int i;
    snprintf(path[i = (i + 1) % 4], 200, "%s/step-%08llu%s", dir, (unsigned long long)step, ext);
    return path[i];
}

static void empty_dir(void)
{
    DIR *d = opendir(dir);
    for (struct dirent *f; d && (f = readdir(d));) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", dir, f->d_name);
        if (f->d_name[0] != '.')
            unlink(path);
    }
    if (d)
        closedir(d);
    notes[0] = 0;
}

/* ---- resuming ------------------------------------------------------------------------------------------------------- */

static void resume(sky_dtype dtype, sky_optimizer opt)
{
    empty_dir();
    trainer a, b = {0};
    sky_checkpoint ck = {0};
    sky_checkpoints k = where(0);
    json_t *run = run_of(3);
    int ok = open_trainer(&a, NULL, dtype, opt, 0, 1) == 0 && train(&a, 1, 3) == 0 && write_step(&a, 3, 0, 0) == 0 && train(&a, 4, 6) == 0;
    ok = ok && sky_checkpoint_latest(&k, &ck, &e) == 1 && ck.step == 3 && json_equal(ck.run, run);
    ok = ok && open_trainer(&b, ck.weights, dtype, opt, 0, 1) == 0 && sky_checkpoint_restore(&ck, &b.s, &e) == 0 && train(&b, 4, 6) == 0;
    OK(ok && same_state(&a, &b), "%s, %s: stopped and resumed, the same bits%s%s", dtype == SKY_F32 ? "F32" : "BF16", opt == SKY_ADAMW ? "AdamW" : "SGD", ok ? "" : ": ", ok ? "" : e.msg);
    json_decref(run);
    sky_checkpoint_close(&ck);
    close_trainer(&a);
    close_trainer(&b);
}

typedef struct { trainer *t; int n; } team;

static int gather(void *arg, sky_state *s, const sky_tensor *part, int64_t a, int64_t b, float *host, sky_err *err)
{
    (void)err;
    team *m = arg;
    int average = part->data == s->average.data, second = part->data == s->v2.data;
    for (int64_t i = a; i < b; i++)
        for (int r = 0; r < m->n; r++) {
            const sky_state *o = &m->t[r].s;
            const sky_tensor *p = average ? &o->average : second ? &o->v2 : &o->m;
            if (i >= o->from && i < o->to)
                host[i - a] = ((float *)p->data)[i - o->from];
        }
    return 0;
}

static int same_file(const char *x, const char *y)
{
    char *a, *b;
    size_t n, m;
    if (sky_read_file(&a, &n, x, 1 << 28, &e) || sky_read_file(&b, &m, y, 1 << 28, &e))
        return 0;
    int same = n == m && !memcmp(a, b, n);
    sky_free(a);
    sky_free(b);
    return same;
}

static void ranks(void)
{
    empty_dir();
    enum { RANKS = 3 };
    trainer one, t[RANKS];
    int ok = open_trainer(&one, NULL, SKY_F32, SKY_ADAMW, 0, 1) == 0 && train(&one, 1, 2) == 0 && write_step(&one, 10, 0, 0) == 0;
    for (int r = 0; r < RANKS && ok; r++)
        ok = open_trainer(&t[r], NULL, SKY_F32, SKY_ADAMW, r, RANKS) == 0 && train(&t[r], 1, 2) == 0;
    for (int r = 1; r < RANKS && ok; r++)
        memcpy((float *)t[0].s.master.data + t[r].s.from, (float *)t[r].s.master.data + t[r].s.from, (size_t)(t[r].s.to - t[r].s.from) * 4);
    team m = {t, RANKS};
    sky_checkpoints k = where(0);
    k.gather = gather;
    k.arg = &m;
    json_t *run = run_of(10);
    ok = ok && sky_checkpoint_write(&k, &t[0].s, 20, run, 0, &e) == 0;
    OK(ok && same_file(file(10, ".safetensors"), file(20, ".safetensors")) && same_file(file(10, ".ema.safetensors"), file(20, ".ema.safetensors")), "written by three ranks: the same weights");
    sky_checkpoint ck = {0};
    trainer b[RANKS];
    ok = ok && sky_checkpoint_open(&k, file(20, ".state"), &ck, &e) == 0;
    int same = ok;
    for (int r = 0; r < RANKS && ok; r++) {
        ok = open_trainer(&b[r], ck.weights, SKY_F32, SKY_ADAMW, r, RANKS) == 0 && sky_checkpoint_restore(&ck, &b[r].s, &e) == 0;
        size_t from = (size_t)b[r].s.from, n = (size_t)(b[r].s.to - b[r].s.from) * 4;
        same &= !memcmp(b[r].s.m.data, (float *)one.s.m.data + from, n) && !memcmp(b[r].s.v2.data, (float *)one.s.v2.data + from, n);
        close_trainer(&b[r]);
    }
    OK(ok && same, "each rank finds its part of the whole%s%s", ok ? "" : ": ", ok ? "" : e.msg);
    json_decref(run);
    sky_checkpoint_close(&ck);
    close_trainer(&one);
    for (int r = 0; r < RANKS; r++)
        close_trainer(&t[r]);
}

/* ---- what stays ------------------------------------------------------------------------------------------------------- */

static int there(uint64_t step) { return !access(file(step, ".state"), F_OK) && !access(file(step, ".safetensors"), F_OK) && !access(file(step, ".ema.safetensors"), F_OK); }
static int gone(uint64_t step) { return access(file(step, ".state"), F_OK) && access(file(step, ".safetensors"), F_OK) && access(file(step, ".ema.safetensors"), F_OK); }

static void keeping(void)
{
    empty_dir();
    trainer t;
    char link[200], to[200] = "";
    int ok = open_trainer(&t, NULL, SKY_F32, SKY_SGD, 0, 1) == 0;
    for (uint64_t k = 1; k <= 5 && ok; k++)
        ok = train(&t, k, k) == 0 && write_step(&t, 100 * k, 2, k <= 2) == 0;
    OK(ok && there(500) && there(400) && gone(300) && there(200) && gone(100), "the last two and the best stay%s%s", ok ? "" : ": ", ok ? "" : e.msg);
    snprintf(link, sizeof link, "%s/best.safetensors", dir);
    OK(readlink(link, to, sizeof to - 1) > 0 && !strcmp(to, "step-00000200.safetensors"), "best.safetensors leads to %s", to);
    sky_checkpoint ck;
    sky_checkpoints k = where(2);
    OK(sky_checkpoint_open(&k, link, &ck, &e) == 0 && ck.step == 200, "and can be resumed from");
    sky_checkpoint_close(&ck);
    sky_err f = {0};
    OK(sky_checkpoint_open(&k, dir, &ck, &f) == SKY_EUSAGE, "not a checkpoint: %s", f.msg);
    trainer b;
    ok = open_trainer(&b, file(500, ".safetensors"), SKY_F32, SKY_ADAMW, 0, 1) == 0 && sky_checkpoint_open(&k, file(500, ".safetensors"), &ck, &e) == 0;
    OK(ok && sky_checkpoint_restore(&ck, &b.s, &f) == SKY_EUSAGE, "another optimizer: %s", f.msg);
    sky_checkpoint_close(&ck);
    close_trainer(&b);
    close_trainer(&t);
}

/* ---- what is broken ------------------------------------------------------------------------------------------------------ */

static void flip(const char *path, long at)
{
    FILE *f = fopen(path, "r+b");
    if (!f)
        return;
    fseek(f, at, at < 0 ? SEEK_END : SEEK_SET);
    int ch = fgetc(f);
    fseek(f, -1, SEEK_CUR);
    fputc(ch ^ 1, f);
    fclose(f);
}

static void copy(const char *from, const char *to)
{
    char *p;
    size_t n;
    if (sky_read_file(&p, &n, from, 1 << 28, &e))
        return;
    FILE *f = fopen(to, "wb");
    if (f && fwrite(p, 1, n, f) != n)
        printf("# %s: short\n", to);
    if (f)
        fclose(f);
    sky_free(p);
}

enum { STATE_BIT, RUN_BIT, WEIGHT_BIT, EMA_BIT, WEIGHTS_CUT, STATE_CUT, MIXED, NO_STATE, NO_WEIGHTS, OTHER_STEP, BREAKS };
static const char *const break_name[] = {"a bit of the moments", "a bit of the run's text", "a bit of the weights", "a bit of the averages", "weights cut short", "state cut short",
                                         "weights of another step", "state missing", "weights missing", "state of another step"};

static void break_it(int how)
{
    struct stat st;
    char *run = NULL;
    size_t n;
    switch (how) {
    case STATE_BIT: flip(file(2, ".state"), -5000); break;
    case RUN_BIT:
        if (sky_read_file(&run, &n, file(2, ".state"), 1 << 28, &e) == 0)
            for (size_t i = 0; i + 8 < n; i++)
                if (!memcmp(run + i, "metric", 6)) {
                    flip(file(2, ".state"), (long)i);
                    break;
                }
        sky_free(run);
        break;
    case WEIGHT_BIT: flip(file(2, ".safetensors"), -5000); break;
    case EMA_BIT: flip(file(2, ".ema.safetensors"), -5000); break;
    case WEIGHTS_CUT:
    case STATE_CUT: {
        char *p = file(2, how == STATE_CUT ? ".state" : ".safetensors");
        if (stat(p, &st) || truncate(p, st.st_size / 2))
            printf("# %s\n", p);
        break;
    }
    case MIXED: copy(file(1, ".safetensors"), file(2, ".safetensors")); break;
    case NO_STATE: unlink(file(2, ".state")); break;
    case NO_WEIGHTS: unlink(file(2, ".safetensors")); break;
    case OTHER_STEP: copy(file(1, ".state"), file(2, ".state")); break;
    }
}

static void broken(void)
{
    trainer t;
    int ok = open_trainer(&t, NULL, SKY_F32, SKY_ADAMW, 0, 1) == 0;
    for (int how = 0; how < BREAKS && ok; how++) {
        empty_dir();
        ok = train(&t, 1, 1) == 0 && write_step(&t, 1, 0, 0) == 0 && train(&t, 2, 2) == 0 && write_step(&t, 2, 0, 0) == 0;
        sky_checkpoints k = where(0);
        sky_checkpoint ck;
        ok = ok && sky_checkpoint_latest(&k, &ck, &e) == 1 && ck.step == 2;
        sky_checkpoint_close(&ck);
        break_it(how);
        sky_err f = {0};
        int refused = sky_checkpoint_open(&k, how == NO_STATE ? file(2, ".safetensors") : how == NO_WEIGHTS ? file(2, ".state") : file(2, how % 2 ? ".state" : ".safetensors"), &ck, &f);
        OK(refused < 0 && strstr(f.msg, "step-00000002"), "%s: %s", break_name[how], f.msg);
        notes[0] = 0;
        OK(sky_checkpoint_latest(&k, &ck, &e) == 1 && ck.step == 1 && strstr(notes, "step-00000002"), "passed over: %.*s", (int)strcspn(notes, "\n"), notes);
        sky_checkpoint_close(&ck);
    }
    empty_dir();
    sky_checkpoints k = where(0);
    sky_checkpoint ck;
    OK(ok && sky_checkpoint_latest(&k, &ck, &e) == 0, "an empty directory has none");
    k.dir = "/nonexistent/run";
    OK(sky_checkpoint_latest(&k, &ck, &e) == 0, "a missing one neither");
    close_trainer(&t);
}

/* ---- killed ---------------------------------------------------------------------------------------------------------------- */

static int leftovers(void)
{
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *f; d && (f = readdir(d));)
        n += strstr(f->d_name, ".tmp") != NULL;
    if (d)
        closedir(d);
    return n;
}

/* Writes step after step and tells each when it is done. */
static void writing_child(int fd, uint64_t step)
{
    trainer t;
    if (open_trainer(&t, NULL, SKY_F32, SKY_ADAMW, 0, 1))
        _exit(1);
    for (;; step++)
        if (train(&t, step, step) || write_step(&t, step, 2, 0) || write(fd, &step, sizeof step) != sizeof step)
            _exit(1);
}

/* As a run leaves it that was killed while it wrote its log or curves. */
static void leave(const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    if (f)
        fclose(f);
}

static void killed(int times)
{
    empty_dir();
    leave("log.jsonl.4711-0.tmp");
    leave("curves.svg.4711-0.tmp");
    uint64_t told = 0, seed = (uint64_t)time(NULL);
    int whole = 1, saw = 0, most = 0;
    printf("# seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < times && whole; i++) {
        int fd[2];
        if (pipe(fd))
            break;
        pid_t child = fork();
        if (child == 0) {
            close(fd[0]);
            writing_child(fd[1], told + 1);
        }
        close(fd[1]);
        uint64_t step, first = told;
        while (told == first && read(fd[0], &step, sizeof step) == (ssize_t)sizeof step) /* one is whole, then any moment */
            told = step;
        struct timespec wait = {0, (long)(sky_mix64(seed, (uint64_t)i) % 60000000)};
        nanosleep(&wait, NULL);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        while (read(fd[0], &step, sizeof step) == (ssize_t)sizeof step)
            told = step;
        close(fd[0]);
        int left = leftovers();
        saw += left > 0;
        most = left > most ? left : most;
        sky_checkpoint ck;
        sky_checkpoints k = where(2);
        trainer t = {0};
        int found = sky_checkpoint_latest(&k, &ck, &e);
        whole = found == 1 && ck.step >= told && ck.step <= told + 1 && (uint64_t)json_integer_value(json_object_get(ck.run, "step")) == ck.step;
        whole = whole && open_trainer(&t, ck.weights, SKY_F32, SKY_ADAMW, 0, 1) == 0 && sky_checkpoint_restore(&ck, &t.s, &e) == 0;
        if (!whole)
            printf("# told %llu, found %llu: %s\n", (unsigned long long)told, (unsigned long long)ck.step, e.msg);
        told = whole ? ck.step : told;
        close_trainer(&t);
        sky_checkpoint_close(&ck);
    }
    OK(whole, "killed %d times while writing (%d times inside a file): the newest whole one is always there", times, saw);
    OK(most <= 1, "what a killed writer leaves is removed by the next: never more than %d", most);
}

/* ---- a full disk ------------------------------------------------------------------------------------------------------------ */

static void limited_child(void)
{
    trainer t;
    struct rlimit l = {1 << 20, 1 << 20};
    signal(SIGXFSZ, SIG_IGN);
    int rc = open_trainer(&t, NULL, SKY_F32, SKY_ADAMW, 0, 1);
    setrlimit(RLIMIT_FSIZE, &l);
    rc = rc ? rc : train(&t, 1, 2) ? 1 : write_step(&t, 8, 1, 0);
    _exit(rc == SKY_EIO && strstr(e.msg, "step-00000008") ? 0 : 1);
}

static void full_disk(void)
{
    empty_dir();
    trainer t;
    int ok = open_trainer(&t, NULL, SKY_F32, SKY_ADAMW, 0, 1) == 0 && write_step(&t, 7, 1, 0) == 0, status = 1;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        limited_child();
    waitpid(child, &status, 0);
    sky_checkpoint ck;
    sky_checkpoints k = where(1);
    OK(ok && status == 0 && sky_checkpoint_latest(&k, &ck, &e) == 1 && ck.step == 7 && !leftovers(), "a write that fails half way names its file and leaves the old one and nothing else");
    sky_checkpoint_close(&ck);
    empty_dir();
    if (mount("tmpfs", dir, "tmpfs", 0, "size=9m")) {
        SKIP("mounting is not allowed here", "a full file system");
    } else {
        int first = write_step(&t, 1, 2, 0), second = write_step(&t, 2, 2, 0);
        OK(first == 0 && second == SKY_EIO && sky_checkpoint_latest(&k, &ck, &e) == 1 && ck.step == 1 && !leftovers(), "a full file system: %s", e.msg);
        sky_checkpoint_close(&ck);
        umount2(dir, MNT_DETACH);
    }
    close_trainer(&t);
}

int main(int argc, char **argv)
{
    snprintf(dir, sizeof dir, "/tmp/sky-checkpoint-XXXXXX");
    if (!mkdtemp(dir) || sky_config_load(&cfg, "tiny", &e) || sky_ctx_open(&c, "cpu", 1, &e)) {
        printf("Bail out! %s\n", e.msg);
        return 1;
    }
    resume(SKY_F32, SKY_ADAMW);
    resume(SKY_BF16, SKY_ADAMW);
    resume(SKY_F32, SKY_SGD);
    ranks();
    keeping();
    broken();
    killed(argc > 1 ? atoi(argv[1]) : 20);
    full_disk();
    empty_dir();
    rmdir(dir);
    sky_ctx_close(&c);
    return END();
}
