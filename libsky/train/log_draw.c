/* log_draw.c -- curves from a log, drawn by gnuplot. A program that is run, not a library that is linked: training itself
 * needs nothing of it, and the script it leaves can be changed by whoever wants another picture. */
#include "base/io.h"
#include "base/mem.h"
#include "train/log.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { LOG_LIMIT = 1 << 30, CURVES = 24, POINTS = 2000 };

/* What belongs into one diagram. */
enum { LOSS, LR, NORM, VAL, PANELS };
static const char *const title[PANELS] = {"loss", "learning rate", "gradient norm", "validation"};

typedef struct {
    int panel;
    char name[64];
    double *xy; /* pairs */
    size_t n, cap;
    double low, high;
} curve;

typedef struct {
    curve c[CURVES];
    int n;
    int bad; /* memory */
} curves;

static curve *find(curves *s, int panel, const char *name)
{
    for (int i = 0; i < s->n; i++)
        if (s->c[i].panel == panel && !strncmp(s->c[i].name, name, sizeof s->c[i].name - 1))
            return &s->c[i];
    if (s->n == CURVES)
        return NULL;
    curve *c = &s->c[s->n++];
    *c = (curve){.panel = panel, .low = INFINITY, .high = -INFINITY};
    snprintf(c->name, sizeof c->name, "%s", name);
    return c;
}

static void add(curves *s, int panel, const char *name, double x, const json_t *v)
{
    curve *c = json_is_number(v) ? find(s, panel, name) : NULL;
    if (!c)
        return;
    double *xy = sky_grow(c->xy, c->n, &c->cap, 2 * sizeof *xy);
    if (!xy) {
        s->bad = 1;
        return;
    }
    c->xy = xy;
    double y = json_number_value(v);
    c->xy[2 * c->n] = x;
    c->xy[2 * c->n++ + 1] = y;
    c->low = fmin(c->low, y);
    c->high = fmax(c->high, y);
}

static void add_line(curves *s, const char *text, size_t n)
{
    json_t *j, *v;
    const char *key;
    sky_err ignored;
    if (sky_json_parse(&j, text, n, "log", &ignored))
        return;
    const json_t *step = json_object_get(j, "step");
    double x = (double)json_integer_value(step);
    json_object_foreach(json_object_get(j, "loss"), key, v)
        add(s, LOSS, key, x, v);
    json_object_foreach(json_object_get(j, "val"), key, v)
        add(s, VAL, key, x, v);
    add(s, LR, "rate", x, json_object_get(j, "lr"));
    add(s, NORM, "norm", x, json_object_get(j, "norm"));
    json_decref(j);
}

static int read_log(curves *s, const char *path, sky_err *e)
{
    char *text;
    size_t n;
    int rc = sky_read_file(&text, &n, path, LOG_LIMIT, e);
    if (rc)
        return rc;
    for (char *p = text, *end; (end = memchr(p, '\n', n - (size_t)(p - text))); p = end + 1)
        add_line(s, p, (size_t)(end - p));
    sky_free(text);
    return s->bad ? sky_fail(e, SKY_ENOMEM, "%s: out of memory", path) : SKY_OK;
}

/* ---- the script ----------------------------------------------------------------------------------------------------------- */

/* Losses fall over decades: a logarithmic axis once they have fallen by ten. */
static int is_log(const curves *s, int panel)
{
    double low = INFINITY, high = 0;
    for (int i = 0; i < s->n; i++)
        if (s->c[i].panel == panel) {
            low = fmin(low, s->c[i].low);
            high = fmax(high, s->c[i].high);
        }
    return panel != LR && panel != VAL && low > 0 && high > 10 * low;
}

/* A name as text of gnuplot: in single quotes, quotes doubled; enhanced text is off. */
static void put_name(sky_buf *b, const char *name)
{
    sky_buf_puts(b, "'");
    for (; *name; name++)
        sky_buf_printf(b, *name == '\'' ? "''" : (unsigned char)*name < 32 ? "?" : "%c", *name);
    sky_buf_puts(b, "'");
}

static void put_data(sky_buf *b, const curve *c, int i)
{
    size_t each = c->n / POINTS + 1;
    sky_buf_printf(b, "$c%d << EOD\n", i);
    for (size_t k = 0; k < c->n; k++)
        if (k % each == 0 || k + 1 == c->n)
            sky_buf_printf(b, "%.17g %.7g\n", c->xy[2 * k], c->xy[2 * k + 1]);
    sky_buf_puts(b, "EOD\n");
}

static void put_panel(sky_buf *b, const curves *s, int panel)
{
    int first = 1;
    static const char *const key[PANELS] = {"set key outside right top", "unset key", "unset key", "set key outside right top"}; /* not over the curves */
    sky_buf_printf(b, "set title '%s'\n%s\n%s logscale y\nset format y '%s'\n", title[panel], key[panel], is_log(s, panel) ? "set" : "unset", panel == LR ? "%.1e" : "%g");
    for (int i = 0; i < s->n; i++) {
        if (s->c[i].panel != panel)
            continue;
        sky_buf_printf(b, "%s$c%d using 1:2 with %s lw 1.5 title ", first ? "plot " : ", \\\n     ", i, s->c[i].n < 40 ? "linespoints pt 7 ps 0.4" : "lines");
        put_name(b, s->c[i].name);
        first = 0;
    }
    sky_buf_puts(b, "\n");
}

static void put_script(sky_buf *b, const curves *s)
{
    int used[PANELS] = {0}, n = 0;
    for (int i = 0; i < s->n; i++)
        used[s->c[i].panel] = 1;
    for (int p = 0; p < PANELS; p++)
        n += used[p];
    sky_buf_puts(b, "# gnuplot: prints an SVG\n");
    double last = 1;
    for (int i = 0; i < s->n; i++) {
        put_data(b, &s->c[i], i);
        last = fmax(last, s->c[i].xy[2 * s->c[i].n - 2]);
    }
    sky_buf_printf(b, "set xrange [0:%.17g]\n", last);
    sky_buf_printf(b, "set terminal svg noenhanced size %d,%d font 'sans,12' background 'white'\nset multiplot layout %d,%d\nset grid\nset xlabel 'step'\nset format x '%%.0f'\nset xtics autofreq\nset lmargin 11\n",
                   n > 1 ? 1000 : 520, n > 2 ? 720 : 370, n > 2 ? 2 : 1, n > 1 ? 2 : 1);
    for (int p = 0; p < PANELS; p++)
        if (used[p])
            put_panel(b, s, p);
    sky_buf_puts(b, "unset multiplot\n");
}

static int write_text(const char *path, const char *text, size_t n, sky_err *e)
{
    sky_out *o;
    int rc = sky_out_open(&o, path, 0, e);
    if (rc)
        return rc;
    rc = sky_out_write(o, text, n, e);
    if (!rc)
        return sky_out_commit(o, e);
    sky_out_abort(o);
    return rc;
}

/* ---- running it -------------------------------------------------------------------------------------------------------------- */

static int read_all(int fd, sky_buf *b)
{
    char piece[1 << 16];
    for (;;) {
        ssize_t k = read(fd, piece, sizeof piece);
        if (k > 0)
            sky_buf_add(b, piece, (size_t)k);
        else if (k == 0 || errno != EINTR)
            return k == 0 && !b->bad ? 0 : -1;
    }
}

/* What gnuplot prints. 1: it is not installed. */
static int run(const char *script, sky_buf *out, sky_err *e)
{
    int fd[2], status = 0;
    if (pipe2(fd, O_CLOEXEC))
        return sky_fail_errno(e, SKY_EIO, "gnuplot: pipe");
    posix_spawn_file_actions_t a;
    posix_spawn_file_actions_init(&a);
    posix_spawn_file_actions_adddup2(&a, fd[1], 1);
    posix_spawn_file_actions_addopen(&a, 2, "/dev/null", O_WRONLY, 0); /* warnings about short curves */
    char *argv[] = {"gnuplot", (char *)script, NULL};
    pid_t pid;
    int err = posix_spawnp(&pid, "gnuplot", &a, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&a);
    close(fd[1]);
    int broken = err ? 0 : read_all(fd[0], out);
    close(fd[0]);
    if (err == ENOENT)
        return sky_fail(e, SKY_EIO, "gnuplot is not installed (%s can be run where it is)", script), 1;
    if (err) {
        errno = err;
        return sky_fail_errno(e, SKY_EIO, "gnuplot");
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (broken || !WIFEXITED(status) || WEXITSTATUS(status) || !out->n)
        return sky_fail(e, SKY_EIO, "gnuplot failed on %s", script);
    return SKY_OK;
}

/* svg with its ending replaced; never a name that gnuplot takes for an option. */
static char *script_path(const char *svg)
{
    const char *slash = strrchr(svg, '/'), *dot = strrchr(svg, '.');
    size_t n = dot && dot > (slash ? slash : svg) ? (size_t)(dot - svg) : strlen(svg);
    return sky_asprintf("%s%.*s.gp", *svg == '-' ? "./" : "", (int)n, svg);
}

int sky_log_draw(const char *log, const char *svg, sky_err *e)
{
    curves *s = sky_calloc(1, sizeof *s);
    char *script = script_path(svg);
    sky_buf text = {0}, picture = {0};
    int rc = s && script ? read_log(s, log, e) : sky_fail(e, SKY_ENOMEM, "%s: out of memory", svg);
    if (!rc && !s->n) {
        sky_fail(e, SKY_EUSAGE, "%s has no steps yet", log);
        rc = 1;
    }
    if (!rc) {
        put_script(&text, s);
        rc = text.bad ? sky_fail(e, SKY_ENOMEM, "%s: out of memory", svg) : write_text(script, text.p, text.n, e);
    }
    if (!rc)
        rc = run(script, &picture, e);
    if (!rc)
        rc = write_text(svg, picture.p, picture.n, e);
    for (int i = 0; s && i < s->n; i++)
        sky_free(s->c[i].xy);
    sky_free(s);
    sky_free(script);
    sky_buf_free(&text);
    sky_buf_free(&picture);
    return rc;
}
