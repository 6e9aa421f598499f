/* checkpoint.c -- finding, checking and reading. */
#include "base/mem.h"
#include "tensor/backend.h"
#include "train/checkpoint_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- names ---------------------------------------------------------------------------------------------------------- */

char *sky_checkpoint_path(const char *dir, uint64_t step, const char *ext) { return sky_asprintf("%s/step-%08llu%s", dir, (unsigned long long)step, ext); }

uint64_t sky_checkpoint_step(const char *name, const char *ext)
{
    char *end;
    if (strncmp(name, "step-", 5) || name[5] < '0' || name[5] > '9')
        return SKY_NO_STEP;
    errno = 0;
    unsigned long long v = strtoull(name + 5, &end, 10);
    return end - (name + 5) < 8 || errno || strcmp(end, ext) ? SKY_NO_STEP : v;
}

static int by_step(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

int sky_checkpoint_list(const char *dir, const char *ext, uint64_t **step, int *n, sky_err *e)
{
    *step = NULL;
    *n = 0;
    DIR *d = opendir(dir);
    if (!d)
        return errno == ENOENT ? SKY_OK : sky_fail_errno(e, SKY_EIO, "%s", dir);
    size_t cap = 0;
    int rc = SKY_OK;
    for (struct dirent *f; !rc && (f = readdir(d));) {
        uint64_t s = sky_checkpoint_step(f->d_name, ext);
        if (s == SKY_NO_STEP)
            continue;
        uint64_t *p = sky_grow(*step, (size_t)*n, &cap, sizeof *p);
        if (!p) {
            rc = sky_fail(e, SKY_ENOMEM, "%s: out of memory", dir);
            break;
        }
        *step = p;
        (*step)[(*n)++] = s;
    }
    closedir(d);
    if (rc) {
        sky_free(*step);
        *step = NULL;
        return rc;
    }
    if (*n)
        qsort(*step, (size_t)*n, sizeof **step, by_step);
    return SKY_OK;
}

void sky_checkpoint_note(const sky_checkpoints *k, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (k->note)
        k->note(k->note_arg, line);
}

/* ---- checking --------------------------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b) { return strcmp(((const sky_state_line *)a)->name, ((const sky_state_line *)b)->name); }

void sky_state_check(sky_state_line *line, int n, const char *run, char out[65])
{
    qsort(line, (size_t)n, sizeof *line, by_name);
    sky_sha256 s;
    sky_sha256_init(&s);
    for (int i = 0; i < n; i++) {
        char crc[16];
        snprintf(crc, sizeof crc, " %08x\n", line[i].crc);
        sky_sha256_add(&s, line[i].name, strlen(line[i].name));
        sky_sha256_add(&s, crc, strlen(crc));
    }
    sky_sha256_add(&s, run, strlen(run));
    sky_sha256_hex(&s, out);
}

static uint64_t bytes_of(const sky_weight *t)
{
    uint64_t n = sky_dtype_size(t->dtype);
    for (int i = 0; i < t->ndim; i++)
        n *= (uint64_t)t->shape[i]; /* inside the file: no overflow */
    return n;
}

/* The bytes of the state are those that were written. */
static int check_state(const sky_checkpoint *c, const char *run, sky_err *e)
{
    int n = sky_weights_count(c->file), lines = 0, rc = SKY_OK;
    sky_state_line *line = sky_calloc((size_t)n + 1, sizeof *line);
    const uint8_t *want = NULL;
    if (!line)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", c->state);
    for (int i = 0; i < n && !rc; i++) {
        const sky_weight *t = sky_weights_at(c->file, i);
        const uint8_t *p = sky_weights_map(c->file, t);
        if (!p)
            rc = sky_fail(e, SKY_ECORRUPT, "%s: '%s' is not stored as this program writes it", c->state, t->name);
        else if (!strcmp(t->name, SKY_STATE_HASH) && bytes_of(t) == 64)
            want = p;
        else
            line[lines++] = (sky_state_line){(char *)t->name, sky_crc32c(0, p, bytes_of(t))};
    }
    char got[65];
    sky_state_check(line, lines, run, got);
    if (!rc && (!want || memcmp(want, got, 64)))
        rc = sky_fail(e, SKY_ECORRUPT, "%s: damaged: its contents are not what its check says", c->state);
    sky_free(line);
    return rc;
}

/* The weights file is there and holds what the state says. */
static int check_weights(const sky_checkpoints *k, const sky_checkpoint *c, const char *path, const char *want, sky_err *e)
{
    sky_weights *w;
    char got[65];
    int rc = sky_weights_open(&w, path, e);
    if (rc)
        return rc;
    rc = sky_weights_hash(w, k->threads, got, e);
    sky_weights_close(w);
    if (!rc && strcmp(got, want))
        rc = sky_fail(e, SKY_ECORRUPT, "%s: not the weights that %s was written with (hash %.12s..., expected %.12s...)", path, c->state, got, want);
    return rc;
}

static int read_metadata(sky_checkpoint *c, const char **weights, const char **ema, const char **run, sky_err *e)
{
    const json_t *m = sky_weights_metadata(c->file);
    const char *format = NULL, *step = NULL;
    if (!m)
        return sky_fail(e, SKY_ECORRUPT, "%s: not a state of sky-train", c->state);
    int rc = sky_json_str(m, "format", 1, &format, c->state, e);
    if (!rc && strcmp(format, SKY_STATE_FORMAT))
        rc = sky_fail(e, SKY_EVERSION, "%s: format '%s', expected '%s'", c->state, format, SKY_STATE_FORMAT);
    if (!rc)
        rc = sky_json_str(m, "step", 1, &step, c->state, e);
    if (!rc)
        rc = sky_json_str(m, "weights", 1, weights, c->state, e);
    if (!rc)
        rc = sky_json_str(m, "ema", 0, ema, c->state, e);
    if (!rc)
        rc = sky_json_str(m, "run", 1, run, c->state, e);
    if (rc)
        return rc;
    char *end;
    unsigned long long v = strtoull(step, &end, 10);
    if (*end || end == step || v != c->step)
        return sky_fail(e, SKY_ECORRUPT, "%s: is of step %s", c->state, step);
    return sky_json_parse(&c->run, *run, strlen(*run), c->state, e);
}

static int open_step(const sky_checkpoints *k, const char *dir, uint64_t step, sky_checkpoint *c, sky_err *e)
{
    *c = (sky_checkpoint){.step = step, .weights = sky_checkpoint_path(dir, step, ".safetensors"), .ema = sky_checkpoint_path(dir, step, ".ema.safetensors"),
                          .state = sky_checkpoint_path(dir, step, ".state")};
    const char *weights = NULL, *ema = NULL, *run = NULL;
    int rc = c->weights && c->ema && c->state ? SKY_OK : sky_fail(e, SKY_ENOMEM, "checkpoint: out of memory");
    if (!rc && access(c->state, F_OK) && !access(c->weights, F_OK))
        rc = sky_fail(e, SKY_ECORRUPT, "%s: is missing: this checkpoint was not finished", c->state);
    if (!rc)
        rc = sky_weights_open(&c->file, c->state, e);
    if (!rc)
        rc = read_metadata(c, &weights, &ema, &run, e);
    if (!rc)
        rc = check_state(c, run, e);
    if (!rc)
        rc = check_weights(k, c, c->weights, weights, e);
    if (!rc && ema)
        rc = check_weights(k, c, c->ema, ema, e);
    if (!ema) {
        sky_free(c->ema);
        c->ema = NULL;
    }
    if (rc)
        sky_checkpoint_close(c);
    return rc;
}

int sky_checkpoint_open(const sky_checkpoints *k, const char *path, sky_checkpoint *c, sky_err *e)
{
    static const char *const ext[] = {".state", ".ema.safetensors", ".safetensors"};
    *c = (sky_checkpoint){0};
    char *real = realpath(path, NULL); /* a link names its step by where it leads */
    if (!real)
        return sky_fail_errno(e, SKY_EIO, "%s", path);
    char *slash = strrchr(real, '/'), *dir = sky_strndup(real, slash > real ? (size_t)(slash - real) : 1);
    uint64_t step = SKY_NO_STEP;
    for (int i = 0; i < 3 && step == SKY_NO_STEP; i++)
        step = sky_checkpoint_step(slash + 1, ext[i]);
    int rc = !dir                 ? sky_fail(e, SKY_ENOMEM, "%s: out of memory", path)
             : step == SKY_NO_STEP ? sky_fail(e, SKY_EUSAGE, "%s: expected step-NNNNNNNN.safetensors or .state of a run", path)
                                   : open_step(k, dir, step, c, e);
    sky_free(dir);
    free(real);
    return rc;
}

/* 1: c is the checkpoint; 0: it is broken, which has been noted. */
static int try_step(const sky_checkpoints *k, uint64_t step, sky_checkpoint *c, sky_err *e)
{
    sky_err why;
    int rc = open_step(k, k->dir, step, c, &why);
    if (rc == SKY_ENOMEM)
        return sky_fail(e, rc, "%s", why.msg);
    if (rc)
        sky_checkpoint_note(k, "passed over: %s", why.msg);
    return rc == 0;
}

int sky_checkpoint_latest(const sky_checkpoints *k, sky_checkpoint *c, sky_err *e)
{
    *c = (sky_checkpoint){0};
    uint64_t *weights = NULL, *state = NULL;
    int n = 0, m = 0, rc = sky_checkpoint_list(k->dir, ".safetensors", &weights, &n, e);
    if (!rc)
        rc = sky_checkpoint_list(k->dir, ".state", &state, &m, e);
    const int written = m; /* a state comes last: without one, the first checkpoint was not finished */
    while (!rc && (n || m)) { /* the newest step that either list has */
        uint64_t step = n && (!m || weights[n - 1] > state[m - 1]) ? weights[n - 1] : state[m - 1];
        n -= n && weights[n - 1] == step;
        m -= m && state[m - 1] == step;
        rc = try_step(k, step, c, e);
    }
    if (!rc && written) /* to begin again would write over what may still be of use */
        rc = sky_fail(e, SKY_ECORRUPT, "%s: has checkpoints (states: %d), but not one is whole; another directory begins again", k->dir, written);
    sky_free(weights);
    sky_free(state);
    return rc;
}

void sky_checkpoint_close(sky_checkpoint *c)
{
    sky_weights_close(c->file);
    json_decref(c->run);
    sky_free(c->weights);
    sky_free(c->ema);
    sky_free(c->state);
    *c = (sky_checkpoint){0};
}

/* ---- restoring ---------------------------------------------------------------------------------------------------------- */

/* This rank's elements of the tensor `name` of w, which is of parameter i, into a buffer that is cut over ranks. */
static int restore_part(const sky_weights *w, const char *name, const char *path, sky_state *s, int i, const sky_tensor *part, sky_err *e)
{
    const sky_weight *t = sky_weights_find(w, name);
    const float *p = t && t->dtype == SKY_F32 ? sky_weights_map(w, t) : NULL;
    if (!p || bytes_of(t) != (uint64_t)s->v[i].n * sizeof *p)
        return sky_fail(e, SKY_ECORRUPT, "%s: '%s' is missing or of another size: that run trained other parameters", path, name);
    int64_t a = s->v[i].at, b = a + s->v[i].n;
    a = a > s->from ? a : s->from;
    b = b < s->to ? b : s->to;
    if (a >= b)
        return SKY_OK;
    sky_tensor y = {.data = (float *)part->data + (a - s->from), .dtype = SKY_F32, .ndim = 1, .shape = {b - a}};
    return s->c->be->put(s->c->dev, &y, p + (a - s->v[i].at), e);
}

static int restore_moments(const sky_checkpoint *c, sky_state *s, sky_err *e)
{
    int both = s->o.optimizer == SKY_ADAMW, rc = SKY_OK;
    const char *kind = json_string_value(json_object_get(sky_weights_metadata(c->file), "optimizer"));
    if (!kind || strcmp(kind, both ? "adamw" : "sgd"))
        return sky_fail(e, SKY_EUSAGE, "%s: is of optimizer '%s', this run's is '%s'", c->state, kind ? kind : "?", both ? "adamw" : "sgd");
    if (sky_weights_count(c->file) != (1 + both) * s->n + 1)
        return sky_fail(e, SKY_EUSAGE, "%s: has moments of %d parameters, this run trains %d", c->state, (sky_weights_count(c->file) - 1) / (1 + both), s->n);
    for (int i = 0; i < s->n && !rc; i++)
        for (int k = 0; k < 1 + both && !rc; k++) {
            char name[300];
            snprintf(name, sizeof name, "%c.%s", k ? 'v' : 'm', sky_state_name(s, i));
            rc = restore_part(c->file, name, c->state, s, i, k ? &s->v2 : &s->m, e);
        }
    return rc;
}

static int restore_average(const sky_checkpoint *c, sky_state *s, sky_err *e)
{
    if (!c->ema)
        return sky_fail(e, SKY_EUSAGE, "%s: that run kept no average of the weights, this one does", c->state);
    sky_weights *w;
    int rc = sky_weights_open(&w, c->ema, e);
    if (rc)
        return rc;
    for (int i = 0; i < s->n && !rc; i++)
        rc = restore_part(w, sky_state_name(s, i), c->ema, s, i, &s->average, e);
    sky_weights_close(w);
    return rc;
}

int sky_checkpoint_is_state(const sky_weights *w)
{
    const char *format = json_string_value(json_object_get(sky_weights_metadata(w), "format"));
    return format && !strcmp(format, SKY_STATE_FORMAT);
}

int sky_checkpoint_restore(const sky_checkpoint *c, sky_state *s, sky_err *e)
{
    int rc = restore_moments(c, s, e);
    return rc || !s->o.ema ? rc : restore_average(c, s, e);
}
