#include "train/log.h"
#include "base/io.h"
#include "base/mem.h"
#include "train/log_events.h"
#include "train/log_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { LOG_LIMIT = 1 << 30 };

struct sky_log {
    char *path;
    int fd;
    sky_events *events;  /* or NULL */
    double began, since; /* the program's part of the run, the interval */
    sky_log_step sum;    /* of the interval; lr: the last */
    uint64_t steps;
    char text[160];
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- the file --------------------------------------------------------------------------------------------------------- */

static int keeps(const char *line, size_t n, uint64_t step)
{
    json_t *j;
    sky_err ignored;
    if (sky_json_parse(&j, line, n, "log", &ignored))
        return 0;
    const json_t *s = json_object_get(j, "step");
    int keep = !s || (uint64_t)json_integer_value(s) <= step;
    json_decref(j);
    return keep;
}

/* Write the file anew with the lines that stay. */
static int trim(const char *path, uint64_t step, sky_err *e)
{
    char *text;
    size_t n;
    if (access(path, F_OK))
        return SKY_OK;
    int rc = sky_read_file(&text, &n, path, LOG_LIMIT, e);
    if (rc)
        return rc;
    sky_out *o;
    rc = sky_out_open(&o, path, 0, e);
    for (char *p = text, *end; !rc && (end = memchr(p, '\n', n - (size_t)(p - text))); p = end + 1)
        if (keeps(p, (size_t)(end - p), step))
            rc = sky_out_write(o, p, (size_t)(end - p) + 1, e);
    if (!rc)
        rc = sky_out_commit(o, e);
    else
        sky_out_abort(o);
    sky_free(text);
    return rc;
}

int sky_log_open(sky_log **out, const char *path, uint64_t step, sky_err *e)
{
    int rc = trim(path, step, e);
    sky_log *l = rc ? NULL : sky_calloc(1, sizeof *l);
    if (rc)
        return rc;
    if (!l || !(l->path = sky_strdup(path))) {
        sky_free(l);
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", path);
    }
    l->began = l->since = now();
    l->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (l->fd < 0) {
        rc = sky_fail_errno(e, SKY_EIO, "%s", path);
        sky_log_close(l);
        return rc;
    }
    *out = l;
    return SKY_OK;
}

void sky_log_close(sky_log *l)
{
    if (!l)
        return;
    if (l->fd >= 0)
        close(l->fd);
    sky_events_close(l->events);
    sky_free(l->path);
    sky_free(l);
}

int sky_log_events(sky_log *l, const char *dir, uint64_t step, sky_err *e) { return sky_events_open(&l->events, dir, step, e); }

int sky_log_put(int fd, const void *p, size_t n, const char *path, sky_err *e)
{
    for (size_t done = 0; done < n;) {
        ssize_t k = write(fd, (const char *)p + done, n - done);
        if (k >= 0)
            done += (size_t)k;
        else if (errno != EINTR)
            return sky_fail_errno(e, SKY_EIO, "%s: write", path);
    }
    return SKY_OK;
}

int sky_log_write(sky_log *l, const json_t *line, sky_err *e)
{
    char *text = sky_json_dump(line);
    if (!text)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", l->path);
    size_t n = strlen(text);
    text[n++] = '\n'; /* in place of the end: it is not read as a string any more */
    int rc = sky_log_put(l->fd, text, n, l->path, e);
    sky_free(text);
    return rc || !l->events ? rc : sky_events_add(l->events, line, e);
}

/* ---- intervals ---------------------------------------------------------------------------------------------------------- */

void sky_log_add(sky_log *l, const sky_log_step *s)
{
    if (!l->steps)
        l->sum = (sky_log_step){.n = s->n};
    for (int i = 0; i < s->n; i++) {
        l->sum.name[i] = s->name[i];
        l->sum.loss[i] += s->loss[i];
    }
    l->sum.lr = s->lr;
    l->sum.norm += s->norm;
    l->sum.samples += s->samples;
    l->sum.waited += s->waited;
    l->sum.unlabelled += s->unlabelled;
    l->steps++;
}

static json_t *number(double v) { return isfinite(v) ? json_real(v) : json_null(); }

static int64_t peak_memory(void)
{
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) ? 0 : (int64_t)u.ru_maxrss * 1024;
}

static void describe(sky_log *l, double seconds)
{
    const sky_log_step *s = &l->sum;
    double k = (double)l->steps;
    size_t n = (size_t)snprintf(l->text, sizeof l->text, "loss %.4f", s->n ? s->loss[0] / k : 0.0);
    for (int i = 1; i < s->n && n < sizeof l->text; i++)
        n += (size_t)snprintf(l->text + n, sizeof l->text - n, "%s%s %.4f%s", i == 1 ? " (" : ", ", s->name[i], s->loss[i] / k, i + 1 == s->n ? ")" : "");
    if (n < sizeof l->text)
        snprintf(l->text + n, sizeof l->text - n, ", lr %.1e, norm %.3g, wait %.0f%%", s->lr, s->norm / k, seconds > 0 ? 100 * s->waited / seconds : 0);
}

static json_t *line_of(const sky_log *l, uint64_t step, double seconds, double all)
{
    const sky_log_step *s = &l->sum;
    double k = (double)l->steps, per = seconds > 0 ? 1 / seconds : 0;
    json_t *loss = json_object();
    int bad = !loss;
    for (int i = 0; i < s->n && !bad; i++)
        bad = json_object_set_new(loss, s->name[i], number(s->loss[i] / k));
    json_t *j = bad ? NULL : json_pack("{s:I, s:O, s:o, s:o, s:o, s:o, s:I, s:o}", "step", (json_int_t)step, "loss", loss, "lr", number(s->lr), "norm", number(s->norm / k),
                                       "samples_per_s", number((double)s->samples * per), "wait", number(s->waited * per), "memory", (json_int_t)peak_memory(), "seconds", number(all));
    json_decref(loss);
    if (j && s->unlabelled && json_object_set_new(j, "unlabelled", json_integer((json_int_t)s->unlabelled))) {
        json_decref(j);
        j = NULL;
    }
    return j;
}

int sky_log_interval(sky_log *l, uint64_t step, sky_err *e)
{
    if (!l->steps)
        return SKY_OK;
    double t = now();
    json_t *j = line_of(l, step, t - l->since, t - l->began);
    int rc = j ? sky_log_write(l, j, e) : sky_fail(e, SKY_ENOMEM, "%s: out of memory", l->path);
    json_decref(j);
    describe(l, t - l->since);
    l->steps = 0;
    l->since = t;
    return rc;
}

const char *sky_log_text(const sky_log *l) { return l->text; }
