/* cli.h -- what all six tools share at the command line: options, messages, progress, exit status.
 *
 * Common options, handled here: -h/--help, --version, -q/--quiet, -v/--verbose for every tool; --threads N, --progress
 * MODE (auto|none|json), --json, --seed N, --no-provenance and --keep-going for the tools that declare a use for them, and
 * unknown to the others. A tool lists its own options in a table; both long ("--size N", "--size=N") and short ("-m FILE", "-mFILE") spellings work and "--" ends options. */
#ifndef SKY_BASE_CLI_H
#define SKY_BASE_CLI_H

#include "base/err.h"
#include "base/json.h"
#include <stdint.h>

enum { SKY_EXIT_OK = 0, SKY_EXIT_USAGE = 2, SKY_EXIT_DATA = 3, SKY_EXIT_SYSTEM = 4 };

typedef enum {
    SKY_OPT_FLAG,  /* value: int *, set to 1 */
    SKY_OPT_STR,   /* value: const char ** (points into argv) */
    SKY_OPT_I64,   /* value: int64_t *, checked against min..max */
    SKY_OPT_F64,   /* value: double * */
    SKY_OPT_LIST,  /* value: sky_strlist *, may be given several times */
} sky_opt_kind;

typedef struct {
    const char **v; /* points into argv; sky_free(v) */
    int n;
} sky_strlist;

typedef struct {
    const char *name;  /* without dashes: "size" */
    char letter;       /* 0: none */
    sky_opt_kind kind;
    void *value;
    const char *arg;   /* shown in help: "N"; NULL for flags */
    const char *help;  /* one line, default in brackets */
    int64_t min, max;  /* SKY_OPT_I64 only; both 0: any */
} sky_opt;

enum { /* common options that not every tool has a use for */
    SKY_TAKES_THREADS = 1,
    SKY_TAKES_PROGRESS = 2,
    SKY_TAKES_JSON = 4,
    SKY_TAKES_SEED = 8,
    SKY_TAKES_PROVENANCE = 16,
    SKY_TAKES_KEEP_GOING = 32,
};

typedef struct {
    const char *prog;     /* "sky-tile" */
    const char *summary;  /* one line */
    const char *usage;    /* the lines after "usage: " */
    const char *details;  /* printed after the options; NULL: nothing */
    const sky_opt *opts;  /* ends with name NULL */
    unsigned takes;       /* SKY_TAKES_... */
    const char *extra_version; /* further lines for --version (backends, library versions); NULL: nothing */
    /* results */
    int quiet, verbose, json, threads /* 0: all cores */, keep_going, no_provenance;
    const char *progress; /* "auto", "none" or "json" */
    int64_t seed; int seed_given;
    char **args; int nargs; /* operands, in order */
    int argc; char **argv;  /* as given, for provenance */
    uint64_t skipped, damages; /* under --keep-going: records skipped, damages that cost none; sky_cli_end turns 0 into exit 3 */
} sky_cli;

/* Parse. Returns -1 to go on, else an exit status (help and version print to stdout and return 0; a mistake prints one
 * line and "try --help" to stderr and returns 2). Also: SIGPIPE quiet, SIGINT/SIGTERM remove temporary files and
 * re-raise, stdout checked at the end. */
int sky_cli_begin(sky_cli *c, int argc, char **argv);
/* Print e's message if rc < 0, close stdout and check it, return the exit status. rc: 0 or SKY_E... */
int sky_cli_end(sky_cli *c, int rc, sky_err *e);
int sky_cli_status(int rc); /* of an error code: 2, 3 or 4 */

/* One line on stderr, control characters cleaned, "prog: " in front. note only with --verbose; warn unless --quiet. */
void sky_warn(const sky_cli *c, const char *fmt, ...) SKY_PRINTF(2, 3);
void sky_note(const sky_cli *c, const char *fmt, ...) SKY_PRINTF(2, 3);
/* A record that could not be used. Without --keep-going: returns e->code (caller stops). With it: prints the line, counts
 * it in c->skipped and returns 0 (caller goes on). */
int sky_skip(sky_cli *c, sky_err *e) SKY_MUST_USE;
/* The same for damage that cost so many records; none: counted in c->damages. */
int sky_skip_damage(sky_cli *c, uint64_t records, sky_err *e) SKY_MUST_USE;

/* Progress on stderr: a line redrawn when stderr is a terminal, one JSON object per interval with --progress json,
 * nothing else. total 0: unknown. Thread-safe; cheap to call often. */
typedef struct sky_progress sky_progress;
sky_progress *sky_progress_begin(const sky_cli *c, const char *what /* "samples" */, uint64_t total);
void sky_progress_expect(sky_progress *p, uint64_t bytes); /* so many in all; the time left follows from them when total is 0 */
void sky_progress_add(sky_progress *p, uint64_t items, uint64_t bytes);
void sky_progress_text(sky_progress *p, const char *text); /* shown in the line instead of the bytes per second */
void sky_progress_end(sky_progress *p); /* NULL allowed */

/* {"program","version","arguments":[...]} for the provenance chain; NULL when --no-provenance or memory. */
json_t *sky_cli_provenance(const sky_cli *c);
const char *sky_version(void);
/* For base/io: names of unfinished files, removed when a signal ends the program. */
void sky_tmp_register(const char *path);
void sky_tmp_forget(const char *path);

#endif
