/* checkpoint_write.c -- writing, and removing what is no longer kept. */
#include "base/cli.h"
#include "base/mem.h"
#include "tensor/backend.h"
#include "train/checkpoint_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 1 << 20 }; /* elements on the host at a time */

typedef struct {
    const sky_checkpoints *k;
    sky_state *s;
    const char *run;     /* text of the run */
    uint64_t best;       /* step of the best so far, or SKY_NO_STEP */
    float *host;         /* PIECE elements; rank 0 */
    sky_weights_out *out; /* NULL: another rank, or after an error */
    sky_err *e;          /* the first error */
    int rc;
} writer;

static void failed(writer *w, int rc)
{
    if (rc && !w->rc)
        w->rc = rc;
    if (w->rc && w->out) {
        sky_weights_abort(w->out);
        w->out = NULL;
    }
}

static int is_first(const writer *w) { return w->s->o.rank == 0; }

/* ---- contents --------------------------------------------------------------------------------------------------- */

/* Bytes of a tensor of the device, or of the host. */
static void put_tensor(writer *w, const sky_tensor *t, int on_host)
{
    int64_t n = sky_numel(t), size = (int64_t)sky_dtype_size(t->dtype);
    for (int64_t at = 0; at < n && w->out; at += PIECE) {
        int64_t m = n - at < PIECE ? n - at : PIECE;
        sky_tensor part = {.data = (char *)t->data + at * size, .dtype = t->dtype, .ndim = 1, .shape = {m}};
        int rc = on_host ? SKY_OK : w->s->c->be->get(w->s->c->dev, w->host, &part, w->e);
        failed(w, rc ? rc : sky_weights_put(w->out, on_host ? part.data : w->host, (uint64_t)(m * size), w->e));
    }
}

static int gather(writer *w, const sky_tensor *part, int64_t a, int64_t b, sky_err *e)
{
    if (w->k->gather)
        return w->k->gather(w->k->arg, w->s, part, a, b, w->host, e);
    sky_tensor t = {.data = (float *)part->data + (a - w->s->from), .dtype = SKY_F32, .ndim = 1, .shape = {b - a}};
    return w->s->c->be->get(w->s->c->dev, w->host, &t, e);
}

/* Parameter i's place in a buffer that is cut over ranks. Every rank goes through all pieces, whatever fails. */
static uint32_t put_gathered(writer *w, const sky_tensor *part, int i)
{
    uint32_t crc = 0;
    int64_t from = w->s->v[i].at, to = from + w->s->v[i].n;
    for (int64_t a = from; a < to; a += PIECE) {
        int64_t b = to - a < PIECE ? to : a + PIECE;
        sky_err other;
        int rc = gather(w, part, a, b, w->rc ? &other : w->e);
        failed(w, rc);
        if (!w->out)
            continue;
        size_t bytes = (size_t)(b - a) * sizeof(float);
        crc = sky_crc32c(crc, w->host, bytes);
        failed(w, sky_weights_put(w->out, w->host, bytes, w->e));
    }
    return crc;
}

/* ---- weights files ------------------------------------------------------------------------------------------------ */

static void describe(sky_weight *d, const char *name, sky_dtype t, const sky_tensor *like)
{
    *d = (sky_weight){.name = name, .dtype = t, .ndim = like->ndim};
    memcpy(d->shape, like->shape, sizeof like->shape);
}

static void create(writer *w, const char *path, const sky_weight *list, int n, const json_t *metadata)
{
    if (is_first(w) && !w->rc)
        failed(w, sky_weights_create(&w->out, path, list, n, metadata, w->e));
}

static void commit(writer *w)
{
    sky_weights_out *o = w->out;
    w->out = NULL;
    if (o)
        failed(w, sky_weights_commit(o, w->e));
}

/* Every parameter; trained ones from `average` or, where that is none, from the masters. */
static void write_weights(writer *w, const char *path, const sky_tensor *average)
{
    const sky_params *ps = w->s->ps;
    sky_weight *list = sky_calloc((size_t)ps->n, sizeof *list);
    if (!list)
        failed(w, sky_fail(w->e, SKY_ENOMEM, "%s: out of memory", path));
    for (int k = 0; list && k < ps->n; k++)
        describe(&list[k], ps->v[k].name, w->s->loaded[k].data ? w->s->loaded[k].dtype : SKY_F32, ps->v[k].slot);
    create(w, path, list, ps->n, w->k->metadata);
    for (int k = 0, i = 0; k < ps->n; k++) {
        int trained = !w->s->loaded[k].data;
        sky_tensor t = trained ? sky_state_master(w->s, i) : w->s->loaded[k];
        if (trained && average->data)
            put_gathered(w, average, i);
        else
            put_tensor(w, &t, !trained && w->s->on_host && w->s->on_host[k]);
        i += trained;
    }
    commit(w);
    sky_free(list);
}

static int hash_of(const writer *w, const char *path, char hash[65], sky_err *e)
{
    sky_weights *f;
    int rc = sky_weights_open(&f, path, e);
    if (!rc) {
        rc = sky_weights_hash(f, w->k->threads, hash, e);
        sky_weights_close(f);
    }
    return rc;
}

/* ---- the state ---------------------------------------------------------------------------------------------------- */

static json_t *state_metadata(const writer *w, uint64_t step, const char *weights, const char *ema)
{
    char text[32], best[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)step);
    snprintf(best, sizeof best, "%llu", (unsigned long long)w->best);
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s}", "format", SKY_STATE_FORMAT, "step", text, "optimizer", w->s->o.optimizer == SKY_ADAMW ? "adamw" : "sgd",
                          "weights", weights, "run", w->run);
    if (j && ((*ema && json_object_set_new(j, "ema", json_string(ema))) || (w->best != SKY_NO_STEP && json_object_set_new(j, "best", json_string(best))))) {
        json_decref(j);
        j = NULL;
    }
    return j;
}

static void write_state(writer *w, const char *path, const json_t *metadata)
{
    int both = w->s->o.optimizer == SKY_ADAMW, n = 0, most = (both ? 2 : 1) * w->s->n + 1;
    sky_weight *list = sky_calloc((size_t)most, sizeof *list);
    sky_state_line *line = sky_calloc((size_t)most, sizeof *line);
    int ok = list && line;
    for (int i = 0; ok && i < w->s->n; i++)
        for (int k = 0; k < 1 + both; k++, n++) {
            line[n].name = sky_asprintf("%c.%s", k ? 'v' : 'm', sky_state_name(w->s, i));
            sky_tensor t = sky_state_master(w->s, i);
            describe(&list[n], line[n].name, SKY_F32, &t);
            ok = ok && line[n].name;
        }
    if (ok)
        list[n] = (sky_weight){.name = SKY_STATE_HASH, .dtype = SKY_U8, .ndim = 1, .shape = {64}};
    else
        failed(w, sky_fail(w->e, SKY_ENOMEM, "%s: out of memory", path));
    create(w, path, list, n + 1, metadata);
    for (int i = 0; i < w->s->n; i++) {
        uint32_t m = put_gathered(w, &w->s->m, i), v = both ? put_gathered(w, &w->s->v2, i) : 0;
        if (w->out && both)
            line[2 * i].crc = m, line[2 * i + 1].crc = v;
        else if (w->out)
            line[i].crc = m;
    }
    if (w->out) {
        char check[65];
        sky_state_check(line, n, w->run, check);
        failed(w, sky_weights_put(w->out, check, 64, w->e));
    }
    commit(w);
    for (int i = 0; line && i < n; i++)
        sky_free(line[i].name);
    sky_free(line);
    sky_free(list);
}

/* ---- the directory ------------------------------------------------------------------------------------------------ */

static int sync_dir(const char *dir, sky_err *e)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) ? sky_fail_errno(e, SKY_EIO, "%s: fsync", dir) : SKY_OK;
    if (fd >= 0)
        close(fd);
    return rc;
}

/* "step-00000012.state.4711-0.tmp", "log.jsonl.4711-0.tmp" and the like: what a killed run left. */
static int is_leftover(const char *name)
{
    size_t n = strlen(name);
    if (n < 10 || strcmp(name + n - 4, ".tmp"))
        return 0;
    return !strncmp(name, "log.jsonl.", 10) || !strncmp(name, "curves.", 7) ||
           (!strncmp(name, "step-", 5) && (strstr(name, ".safetensors.") || strstr(name, ".state.")));
}

static void remove_leftovers(const sky_checkpoints *k)
{
    DIR *d = opendir(k->dir);
    for (struct dirent *f; d && (f = readdir(d));) {
        char *path = is_leftover(f->d_name) ? sky_asprintf("%s/%s", k->dir, f->d_name) : NULL;
        if (path && unlink(path) == 0)
            sky_checkpoint_note(k, "%s: half-written by a run that was killed, removed", path);
        sky_free(path);
    }
    if (d)
        closedir(d);
}

static int make_dir(const sky_checkpoints *k, sky_err *e)
{
    if (mkdir(k->dir, 0777) && errno != EEXIST)
        return sky_fail_errno(e, SKY_EIO, "%s", k->dir);
    remove_leftovers(k);
    return SKY_OK;
}

/* A link is a convenience: where the file system has none, nothing is missing. */
static void link_to(const sky_checkpoints *k, const char *name, uint64_t step)
{
    char *path = sky_asprintf("%s/%s.safetensors", k->dir, name), *tmp = sky_asprintf("%s/step-%s.safetensors.link.tmp", k->dir, name), target[64];
    snprintf(target, sizeof target, "step-%08llu.safetensors", (unsigned long long)step);
    if (path && tmp) {
        unlink(tmp);
        if (symlink(target, tmp) || rename(tmp, path))
            sky_checkpoint_note(k, "%s: no symbolic link: %s", path, strerror(errno));
    }
    sky_free(path);
    sky_free(tmp);
}

/* The state goes first: a step without it does not count any more. */
static void remove_step(const sky_checkpoints *k, uint64_t step)
{
    static const char *const ext[] = {".state", ".ema.safetensors", ".safetensors"};
    for (int i = 0; i < 3; i++) {
        char *path = sky_checkpoint_path(k->dir, step, ext[i]);
        if (path && unlink(path) && errno != ENOENT)
            sky_checkpoint_note(k, "%s: cannot be removed: %s", path, strerror(errno));
        sky_free(path);
    }
}

/* The best so far as the newest state before this step has it. */
static uint64_t last_best(const sky_checkpoints *k, uint64_t step)
{
    uint64_t *have, best = SKY_NO_STEP;
    int n;
    sky_err ignored;
    if (sky_checkpoint_list(k->dir, ".state", &have, &n, &ignored))
        return best;
    while (n && have[n - 1] >= step)
        n--;
    sky_weights *w = NULL;
    char *path = n ? sky_checkpoint_path(k->dir, have[n - 1], ".state") : NULL;
    if (path && sky_weights_open(&w, path, &ignored) == 0) {
        const char *text = json_string_value(json_object_get(sky_weights_metadata(w), "best"));
        best = text ? strtoull(text, NULL, 10) : SKY_NO_STEP;
    }
    sky_weights_close(w);
    sky_free(path);
    sky_free(have);
    return best;
}

static int rotate(const sky_checkpoints *k, uint64_t step, uint64_t best, sky_err *e)
{
    uint64_t *have;
    int n, rc = k->keep > 0 ? sky_checkpoint_list(k->dir, ".state", &have, &n, e) : 1;
    if (rc)
        return rc > 0 ? SKY_OK : rc;
    int kept = 0;
    for (int i = n - 1; i >= 0; i--)
        if (have[i] <= step && kept++ >= k->keep && have[i] != best)
            remove_step(k, have[i]);
    sky_free(have);
    return SKY_OK;
}

/* ---- all of it ------------------------------------------------------------------------------------------------------ */

static void write_files(writer *w, uint64_t step, const char *weights, const char *ema, const char *state)
{
    char hash[65] = "", ema_hash[65] = "";
    write_weights(w, weights, &sky_none);
    if (w->s->o.ema)
        write_weights(w, ema, &w->s->average);
    json_t *metadata = NULL;
    if (is_first(w) && !w->rc) {
        failed(w, hash_of(w, weights, hash, w->e));
        if (w->s->o.ema && !w->rc)
            failed(w, hash_of(w, ema, ema_hash, w->e));
        if (!w->rc)
            failed(w, sync_dir(w->k->dir, w->e));
        metadata = state_metadata(w, step, hash, ema_hash);
        if (!metadata && !w->rc)
            failed(w, sky_fail(w->e, SKY_ENOMEM, "%s: out of memory", state));
    }
    write_state(w, state, metadata);
    json_decref(metadata);
    if (is_first(w) && !w->rc)
        failed(w, sync_dir(w->k->dir, w->e));
}

int sky_checkpoint_write(const sky_checkpoints *k, sky_state *s, uint64_t step, const json_t *run, int best, sky_err *e)
{
    writer w = {.k = k, .s = s, .e = e, .best = step};
    char *text = sky_json_dump(run), *weights = sky_checkpoint_path(k->dir, step, ".safetensors"), *ema = sky_checkpoint_path(k->dir, step, ".ema.safetensors"),
         *state = sky_checkpoint_path(k->dir, step, ".state");
    w.run = text;
    if (is_first(&w)) {
        w.host = sky_alloc(PIECE * sizeof *w.host * 2); /* twice: elements of up to eight bytes */
        failed(&w, text && weights && ema && state && w.host ? make_dir(k, e) : sky_fail(e, SKY_ENOMEM, "checkpoint: out of memory"));
        if (!w.rc && unlink(state) && errno != ENOENT) /* the same step once more: from here on it does not count */
            failed(&w, sky_fail_errno(e, SKY_EIO, "%s", state));
        if (!best)
            w.best = last_best(k, step);
    }
    write_files(&w, step, weights, ema, state);
    if (is_first(&w) && !w.rc) {
        link_to(k, "last", step);
        if (best)
            link_to(k, "best", step);
        failed(&w, rotate(k, step, w.best, e));
    }
    sky_free(w.host);
    sky_free(text);
    sky_free(weights);
    sky_free(ema);
    sky_free(state);
    return w.rc;
}
