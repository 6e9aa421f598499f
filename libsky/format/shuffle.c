#include "format/shuffle.h"
#include "base/mem.h"
#include "base/permute.h"
#include "base/threads.h"
#include "format/record_internal.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    sky_shard *from;
    uint64_t i;
    sky_sample s;
    int rc;
    sky_err err;
} job;

struct sky_shuffle {
    sky_shard **shard;
    uint64_t *first; /* of each shard, and the count at the end */
    int n;
    json_t *schema;
    uint64_t seed, at, count;
    sky_queue *queue;
};

static void run(void *p)
{
    job *j = p;
    j->rc = sky_shard_read(j->from, j->i, NULL, &j->s, &j->err);
}

static void job_free(job *j)
{
    if (j)
        sky_sample_free(&j->s);
    sky_free(j);
}

void sky_shuffle_close(sky_shuffle *s)
{
    if (!s)
        return;
    if (s->queue) {
        sky_queue_end(s->queue);
        for (job *j; (j = sky_queue_get(s->queue));)
            job_free(j);
        sky_queue_close(s->queue);
    }
    for (int i = 0; i < s->n; i++)
        sky_shard_close(s->shard[i]);
    sky_free(s->shard);
    sky_free(s->first);
    json_decref(s->schema);
    sky_free(s);
}

/* A shard file: regular, and not the plain spelling. Damage is found when it is opened. */
static int is_shard_file(const char *path)
{
    struct stat st;
    sky_in *in;
    const void *p;
    if (!strcmp(path, "-") || stat(path, &st) || !S_ISREG(st.st_mode) || sky_in_open(&in, path, NULL))
        return 0;
    int yes = sky_in_peek(in, &p, 1, NULL) == 1 && *(const char *)p != '{';
    sky_in_close(in);
    return yes;
}

static int spill(sky_cli *c, const char *tmp, sky_err *e)
{
    sky_reader *r;
    sky_writer *w;
    sky_sample s = {0};
    sky_writer_opts o = {.level = 1, .threads = c->threads};
    int rc = sky_reader_open(&r, c->args, c->nargs, NULL, e);
    if (rc)
        return rc;
    sky_reader_threads(r, c->threads);
    if ((rc = sky_writer_open(&w, tmp, SKY_SHARD, sky_reader_schema(r), &o, e))) {
        sky_reader_close(r);
        return rc;
    }
    while ((rc = sky_reader_intact(r, c, &s, e)) > 0 && !(rc = sky_writer_put(w, &s, e)))
        ;
    sky_sample_free(&s);
    sky_reader_close(r);
    if (!rc)
        return sky_writer_close(w, e);
    sky_writer_abort(w);
    return rc;
}

static int add_shard(sky_shuffle *s, const char *path, sky_err *e)
{
    int rc = sky_shard_open(&s->shard[s->n], path, NULL, e);
    if (rc)
        return rc;
    sky_shard *h = s->shard[s->n++];
    s->first[s->n] = s->count += sky_shard_count(h);
    if (s->schema && (rc = sky_schema_merge(s->schema, sky_shard_schema(h), e)))
        return sky_wrap(e, "%s", path);
    if (!s->schema && !(s->schema = sky_json_copy(sky_shard_schema(h))))
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", path);
    return SKY_OK;
}

static int open_spilled(sky_shuffle *s, sky_cli *c, const char *tmp, sky_err *e)
{
    int rc = spill(c, tmp, e);
    if (rc)
        return rc;
    sky_tmp_register(tmp);
    rc = add_shard(s, tmp, e);
    unlink(tmp);
    sky_tmp_forget(tmp);
    return rc;
}

int sky_shuffle_open(sky_shuffle **out, sky_cli *c, uint64_t seed, const char *tmp, sky_err *e)
{
    const int n = c->nargs;
    int rc = SKY_OK, direct = n > 0;
    size_t room = (size_t)(n > 0 ? n : 1);
    sky_shuffle *s = sky_calloc(1, sizeof *s);
    if (s) {
        s->shard = sky_calloc(room, sizeof(sky_shard *));
        s->first = sky_calloc(room + 1, sizeof *s->first);
        s->seed = seed;
    }
    if (!s || !s->shard || !s->first) {
        sky_shuffle_close(s);
        return sky_fail(e, SKY_ENOMEM, "shuffle: out of memory");
    }
    for (int i = 0; i < n; i++)
        direct = direct && is_shard_file(c->args[i]);
    for (int i = 0; direct && i < n && !rc; i++)
        rc = add_shard(s, c->args[i], e);
    if (!direct)
        rc = open_spilled(s, c, tmp, e);
    if (!rc)
        rc = sky_queue_open(&s->queue, c->threads, 4096, run, e);
    if (rc)
        sky_shuffle_close(s);
    else
        *out = s;
    return rc;
}

const json_t *sky_shuffle_schema(const sky_shuffle *s) { return s->schema; }
uint64_t sky_shuffle_count(const sky_shuffle *s) { return s->count; }

static int put_next(sky_shuffle *s, sky_err *e)
{
    uint64_t i = sky_permute(s->seed, s->count, s->at);
    int k = 0;
    while (s->first[k + 1] <= i)
        k++;
    job *j = sky_calloc(1, sizeof *j);
    if (!j)
        return sky_fail(e, SKY_ENOMEM, "shuffle: out of memory");
    j->from = s->shard[k];
    j->i = i - s->first[k];
    s->at++;
    sky_queue_put(s->queue, j);
    return SKY_OK;
}

int sky_shuffle_next(sky_shuffle *s, sky_sample *out, sky_err *e)
{
    sky_sample_free(out);
    while (s->at < s->count && sky_queue_pending(s->queue) < 2 * sky_queue_threads(s->queue)) {
        int rc = put_next(s, e);
        if (rc)
            return rc;
    }
    if (!sky_queue_pending(s->queue))
        return 0;
    job *j = sky_queue_get(s->queue);
    int rc = j->rc;
    if (rc && e)
        *e = j->err;
    else if (!rc)
        sky_sample_move(out, &j->s);
    job_free(j);
    return rc ? rc : 1;
}
