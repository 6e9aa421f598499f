/* cli.c -- options, help, messages and exit status. Signals and unfinished files: signals.c; progress: progress.c. */
#include "base/cli.h"
#include "base/cli_internal.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

const char *sky_version(void) { return SKY_VERSION; }

/* The common options this tool takes, as a table of the same kind. */
enum { N_COMMON = 8 };
static void common_options(sky_cli *c, sky_opt o[N_COMMON + 1], int64_t *threads)
{
    const struct {
        unsigned takes; /* 0: every tool */
        sky_opt opt;
    } all[N_COMMON] = {
        {SKY_TAKES_THREADS, {"threads", 0, SKY_OPT_I64, threads, "N", "threads [all cores]", 0, 1024}},
        {SKY_TAKES_PROGRESS, {"progress", 0, SKY_OPT_STR, &c->progress, "MODE", "auto, none or json (one line per interval) [auto]", 0, 0}},
        {SKY_TAKES_JSON, {"json", 0, SKY_OPT_FLAG, &c->json, NULL, "print the answer as JSON", 0, 0}},
        {SKY_TAKES_SEED, {"seed", 0, SKY_OPT_I64, &c->seed, "N", "seed of every random choice [0]", 0, 0}},
        {SKY_TAKES_PROVENANCE, {"no-provenance", 0, SKY_OPT_FLAG, &c->no_provenance, NULL, "do not record this run in the output", 0, 0}},
        {0, {"quiet", 'q', SKY_OPT_FLAG, &c->quiet, NULL, "no warnings, no progress", 0, 0}},
        {0, {"verbose", 'v', SKY_OPT_FLAG, &c->verbose, NULL, "say more on standard error", 0, 0}},
        {SKY_TAKES_KEEP_GOING, {"keep-going", 'k', SKY_OPT_FLAG, &c->keep_going, NULL, "skip bad records, name each, end with status 3", 0, 0}},
    };
    int n = 0;
    for (int i = 0; i < N_COMMON; i++)
        if (!all[i].takes || (c->takes & all[i].takes))
            o[n++] = all[i].opt;
    o[n] = (sky_opt){0};
}

static void print_options(const sky_opt *o)
{
    for (; o->name; o++) {
        char left[64];
        int n = snprintf(left, sizeof left, o->letter ? "-%c, " : "    ", o->letter);
        snprintf(left + n, sizeof left - (size_t)n, "--%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        printf("  %-28s %s\n", left, o->help);
    }
}

static void print_help(const sky_cli *c, const sky_opt *common)
{
    printf("%s - %s\n\nusage: %s\n\noptions:\n", c->prog, c->summary, c->usage);
    print_options(c->opts);
    print_options(common);
    printf("  -h, --help                   this text\n      --version                version and what is built in\n");
    if (c->details)
        printf("\n%s\n", c->details);
    printf("\nexit status: 0 done, 2 bad command line, 3 bad input data, 4 I/O, memory or device failed\n");
}

/* "prog: msg" on stderr. */
static void print_line(const char *prog, const char *msg)
{
    char line[1024];
    snprintf(line, sizeof line, "%s: %s", prog, msg);
    for (char *p = line; *p; p++) /* file names are hostile */
        if ((unsigned char)*p < ' ' || *p == 127)
            *p = '?';
    fflush(stdout);
    fprintf(stderr, "%s\n", line);
}

static int mistake(const sky_cli *c, const char *fmt, ...) SKY_PRINTF(2, 3);
static int mistake(const sky_cli *c, const char *fmt, ...)
{
    sky_err e;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e.msg, sizeof e.msg, fmt, ap);
    va_end(ap);
    print_line(c->prog, e.msg);
    fprintf(stderr, "try '%s --help'\n", c->prog);
    return SKY_EXIT_USAGE;
}

static const sky_opt *find_long(const sky_opt *o, const char *name, size_t n)
{
    for (; o->name; o++)
        if (strlen(o->name) == n && !memcmp(o->name, name, n))
            return o;
    return NULL;
}

static const sky_opt *find_short(const sky_opt *o, char letter)
{
    for (; o->name; o++)
        if (o->letter == letter)
            return o;
    return NULL;
}

static int add_to_list(sky_strlist *l, const char *s)
{
    const char **v = sky_realloc(l->v, (size_t)l->n * sizeof *v, ((size_t)l->n + 1) * sizeof *v);
    if (!v)
        return -1;
    v[l->n++] = s;
    l->v = v;
    return 0;
}

/* Store the value; returns -1, or an exit status after a message. */
static int set_value(sky_cli *c, const sky_opt *o, const char *s)
{
    char *end;
    errno = 0;
    switch (o->kind) {
    case SKY_OPT_FLAG:
        *(int *)o->value = 1;
        return -1;
    case SKY_OPT_STR:
        *(const char **)o->value = s;
        return -1;
    case SKY_OPT_LIST:
        if (add_to_list(o->value, s)) {
            print_line(c->prog, "out of memory");
            return SKY_EXIT_SYSTEM;
        }
        return -1;
    case SKY_OPT_I64: {
        long long v = strtoll(s, &end, 10);
        const int64_t lo = o->min || o->max ? o->min : INT64_MIN, hi = o->min || o->max ? o->max : INT64_MAX;
        if (*end || end == s)
            return mistake(c, "--%s: '%s' is not a whole number", o->name, s);
        if (errno || v < lo || v > hi)
            return mistake(c, "--%s: %s is outside %lld..%lld", o->name, s, (long long)lo, (long long)hi);
        *(int64_t *)o->value = v;
        if (o->value == &c->seed)
            c->seed_given = 1;
        return -1;
    }
    case SKY_OPT_F64: {
        double v = strtod(s, &end);
        if (*end || end == s || errno)
            return mistake(c, "--%s: '%s' is not a number", o->name, s);
        *(double *)o->value = v;
        return -1;
    }
    }
    return -1;
}

static int parse_long(sky_cli *c, const sky_opt *common, int *i)
{
    char *arg = c->argv[*i] + 2, *eq = strchr(arg, '=');
    size_t n = eq ? (size_t)(eq - arg) : strlen(arg);
    const sky_opt *o = find_long(c->opts, arg, n);
    if (!o)
        o = find_long(common, arg, n);
    if (!o)
        return mistake(c, "unknown option '--%.*s'", (int)n, arg);
    if (o->kind == SKY_OPT_FLAG)
        return eq ? mistake(c, "--%s takes no value", o->name) : set_value(c, o, NULL);
    if (eq)
        return set_value(c, o, eq + 1);
    if (*i + 1 >= c->argc)
        return mistake(c, "--%s needs a value (%s)", o->name, o->arg);
    return set_value(c, o, c->argv[++*i]);
}

static int parse_short(sky_cli *c, const sky_opt *common, int *i)
{
    for (char *p = c->argv[*i] + 1; *p; p++) {
        const sky_opt *o = find_short(c->opts, *p);
        if (!o)
            o = find_short(common, *p);
        if (!o)
            return mistake(c, "unknown option '-%c'", *p);
        int rc;
        if (o->kind == SKY_OPT_FLAG) {
            rc = set_value(c, o, NULL);
        } else {
            if (!p[1] && *i + 1 >= c->argc)
                return mistake(c, "-%c needs a value (%s)", *p, o->arg);
            return set_value(c, o, p[1] ? p + 1 : c->argv[++*i]);
        }
        if (rc >= 0)
            return rc;
    }
    return -1;
}

static int help_or_version(sky_cli *c, const sky_opt *common)
{
    for (int i = 1; i < c->argc && strcmp(c->argv[i], "--"); i++) {
        if (!strcmp(c->argv[i], "--help") || !strcmp(c->argv[i], "-h")) {
            print_help(c, common);
            return sky_cli_end(c, 0, NULL);
        }
        if (!strcmp(c->argv[i], "--version")) {
            printf("%s %s\n%s", c->prog, sky_version(), c->extra_version ? c->extra_version : "");
            return sky_cli_end(c, 0, NULL);
        }
    }
    return -1;
}

/* A corpus keeps all its shards open, and a soft limit of 1024 is for programs that call select(). */
static void raise_open_files(void)
{
    struct rlimit files;
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

int sky_cli_begin(sky_cli *c, int argc, char **argv)
{
    sky_opt common[N_COMMON + 1];
    int64_t threads = 0;
    c->argc = argc;
    c->argv = argv;
    c->progress = "auto";
    sky_signals_begin();
    raise_open_files();
    common_options(c, common, &threads);
    int rc = help_or_version(c, common);
    if (rc >= 0)
        return rc;
    if (!(c->args = sky_calloc((size_t)argc + 1, sizeof *c->args))) {
        print_line(c->prog, "out of memory");
        return SKY_EXIT_SYSTEM;
    }
    int only_operands = 0;
    for (int i = 1; i < argc && rc < 0; i++) {
        if (only_operands || argv[i][0] != '-' || !argv[i][1])
            c->args[c->nargs++] = argv[i];
        else if (!strcmp(argv[i], "--"))
            only_operands = 1;
        else
            rc = argv[i][1] == '-' ? parse_long(c, common, &i) : parse_short(c, common, &i);
    }
    c->threads = (int)threads;
    if (rc < 0 && strcmp(c->progress, "auto") && strcmp(c->progress, "none") && strcmp(c->progress, "json"))
        rc = mistake(c, "--progress: '%s' is not auto, none or json", c->progress);
    if (rc >= 0) { /* the program ends here: sky_cli_end is not called */
        sky_free(c->args);
        c->args = NULL;
    }
    return rc;
}

int sky_cli_status(int code)
{
    switch (code) {
    case SKY_EUSAGE: return SKY_EXIT_USAGE;
    case SKY_ECORRUPT:
    case SKY_EVERSION:
    case SKY_ELIMIT: return SKY_EXIT_DATA;
    default: return code < 0 ? SKY_EXIT_SYSTEM : code;
    }
}

static void print_count(const sky_cli *c, uint64_t n, const char *what, const char *tail)
{
    if (n && !c->quiet)
        fprintf(stderr, "%s: %llu %s%s%s\n", c->prog, (unsigned long long)n, what, n == 1 ? "" : "s", tail);
}

int sky_cli_end(sky_cli *c, int rc, sky_err *e)
{
    /* A full disk often shows only here. EBADF: standard output was closed from the start, and nothing was printed. */
    int lost = fflush(stdout) != 0 || ferror(stdout);
    int err = errno;
    if (fclose(stdout) && !lost && errno != EBADF) {
        lost = 1;
        err = errno;
    }
    if (rc < 0)
        print_line(c->prog, e && e->msg[0] ? e->msg : "failed");
    else if (lost)
        fprintf(stderr, "%s: standard output: %s\n", c->prog, strerror(err));
    print_count(c, c->skipped, "record", " skipped");
    print_count(c, c->damages, "damage", " outside records");
    sky_free(c->args);
    c->args = NULL;
    if (rc < 0)
        return sky_cli_status(rc);
    return lost ? SKY_EXIT_SYSTEM : rc == 0 && (c->skipped || c->damages) ? SKY_EXIT_DATA : rc;
}

static void vline(const sky_cli *c, const char *fmt, va_list ap)
{
    char msg[900];
    vsnprintf(msg, sizeof msg, fmt, ap);
    print_line(c->prog, msg);
}

void sky_warn(const sky_cli *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (!c->quiet)
        vline(c, fmt, ap);
    va_end(ap);
}

void sky_note(const sky_cli *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (c->verbose)
        vline(c, fmt, ap);
    va_end(ap);
}

int sky_skip(sky_cli *c, sky_err *e) { return sky_skip_damage(c, 1, e); }

int sky_skip_damage(sky_cli *c, uint64_t records, sky_err *e)
{
    if (!c->keep_going || (e->code != SKY_ECORRUPT && e->code != SKY_ELIMIT && e->code != SKY_EVERSION))
        return e->code;
    c->skipped += records;
    c->damages += !records;
    print_line(c->prog, e->msg); /* each one is named, also under --quiet */
    *e = (sky_err){0};
    return SKY_OK;
}

json_t *sky_cli_provenance(const sky_cli *c)
{
    if (c->no_provenance)
        return NULL;
    json_t *args = json_array(), *o = json_object();
    for (int i = 1; i < c->argc; i++) /* bytes that are not UTF-8 cannot stand in JSON */
        if (json_array_append_new(args, json_string(c->argv[i])))
            json_array_append_new(args, json_string("?"));
    if (!args || !o || json_object_set_new(o, "program", json_string(c->prog)) ||
        json_object_set_new(o, "version", json_string(sky_version())) || json_object_set(o, "arguments", args)) {
        json_decref(o);
        o = NULL;
    }
    json_decref(args);
    return o;
}
