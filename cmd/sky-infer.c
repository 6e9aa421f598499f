/* sky-infer -- one-shot segmentation: predictions for query samples, each shown one labelled prompt. */
#include "base/cli.h"
#include "base/mem.h"
#include "cpu/cpuid.h"
#include "data/corpus.h"
#include "data/infer.h"
#include "data/normal.h"
#include "data/prompts.h"
#include "data/segment.h"
#include "tensor/backend.h"
#include "train/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    const char *model, *prompts, *config, *device, *dtype, *protocol, *out, *label, *image, *date, *split, *prompt_split;
    sky_strlist prompt_shards;
    int64_t make_prompts, batch, slots, size;
    int probabilities, palette, relaxed;
} options;

typedef struct {
    sky_cli *cli;
    options o;
    sky_prompts *prompts;
    sky_corpus *queries, *shown; /* queries NULL: they come as a stream; shown may be the same as queries */
    sky_reader *stream;
    uint8_t *usable;             /* per line: its ids were found */
    sky_config cfg;
    sky_weights *weights;
    sky_ctx ctx;
    sky_pp *pp;
    char hash[65];
    sky_infer *in;
    sky_writer *w;
    sky_infer_pass **batch[2]; /* in turn */
    int turn, waiting;         /* passes in batch[turn], not begun */
    int begun[2];              /* passes that are under way */
    uint64_t written;
    sky_progress *progress;
} tool;

/* ---- --make-prompts --------------------------------------------------------------------------------------------- */

static int print_prompts(tool *t, const sky_prompts *p, sky_err *e)
{
    sky_buf head = {0};
    sky_buf_printf(&head, "made by sky-infer %s --make-prompts %" PRId64 "%s\nquery\tprompt\tclass", sky_version(), t->o.make_prompts,
                   sky_prompts_multi(p) ? " --protocol multiclass" : "");
    int rc = head.bad ? sky_fail(e, SKY_ENOMEM, "out of memory") : sky_prompts_write(p, t->o.out, head.p, e);
    sky_buf_free(&head);
    return rc;
}

static int fill_catalogue(tool *t, sky_catalogue *c, sky_err *e)
{
    sky_corpus *all = NULL;
    int rc = sky_corpus_open(&all, t->cli->args, t->cli->nargs, e);
    for (int i = 0; !rc && i < sky_corpus_files(all); i++)
        if ((rc = sky_catalogue_add_shard(c, sky_corpus_shard(all, i), e)))
            sky_wrap(e, "%s", t->cli->args[i]);
    sky_corpus_close(all);
    if (!rc && sky_catalogue_unlabelled(c))
        sky_warn(t->cli, "%" PRIu64 " samples have no label field and take no part", sky_catalogue_unlabelled(c));
    return rc;
}

static int make_prompts(tool *t, sky_err *e)
{
    const sky_catalogue_opts co = {.label = t->o.label, .query_split = t->o.split, .prompt_split = t->o.prompt_split};
    const sky_prompts_opts po = {(uint64_t)t->o.make_prompts, t->o.protocol && !strcmp(t->o.protocol, "multiclass"), t->cli};
    sky_catalogue *c = NULL;
    sky_prompts *p = NULL;
    if (!t->cli->nargs)
        return sky_fail(e, SKY_EUSAGE, "--make-prompts: no SHARDS given (try --help)");
    int rc = sky_catalogue_open(&c, &co, e);
    if (!rc)
        rc = fill_catalogue(t, c, e);
    if (!rc)
        rc = sky_prompts_make(&p, c, &po, e);
    if (!rc)
        rc = print_prompts(t, p, e);
    sky_prompts_free(p);
    sky_catalogue_close(c);
    return rc;
}

/* ---- inputs ----------------------------------------------------------------------------------------------------- */

static int from_stdin(const tool *t) { return !t->cli->nargs || (t->cli->nargs == 1 && !strcmp(t->cli->args[0], "-")); }

static int open_samples(tool *t, sky_err *e)
{
    int rc = SKY_OK;
    if (from_stdin(t)) {
        if (!t->o.prompt_shards.n)
            return sky_fail(e, SKY_EUSAGE, "queries on standard input cannot prompt each other (a stream has no index): name the prompts' shards with --prompt-shards");
        rc = sky_reader_open(&t->stream, t->cli->args, t->cli->nargs, NULL, e);
        if (rc)
            return rc;
        sky_reader_threads(t->stream, t->cli->threads);
    } else if ((rc = sky_corpus_open(&t->queries, t->cli->args, t->cli->nargs, e))) {
        return rc;
    }
    if (t->o.prompt_shards.n)
        return sky_corpus_open(&t->shown, (char *const *)t->o.prompt_shards.v, t->o.prompt_shards.n, e);
    t->shown = t->queries;
    return SKY_OK;
}

static int in_line(const tool *t, uint64_t i, sky_err *e)
{
    const sky_prompt *p = sky_prompts_at(t->prompts, i);
    return sky_wrap(e, "%s: line %" PRIu64 " (query '%s', prompt '%s')", t->o.prompts, sky_prompts_line(t->prompts, i), p->query, p->prompt);
}

static int find_one(const sky_corpus *c, const char *what, const char *id, sky_err *e)
{
    sky_place at;
    int rc = sky_corpus_find(c, id, &at, e);
    if (!rc && at.file < 0)
        rc = sky_fail(e, SKY_ECORRUPT, "%s '%s' is in none of the %d shards", what, id, sky_corpus_files(c));
    return rc;
}

/* Before gigabytes of weights are read: every id must be there. */
static int check_lines(tool *t, sky_err *e)
{
    const uint64_t n = sky_prompts_count(t->prompts);
    if (!(t->usable = sky_calloc(n, 1)))
        return sky_fail(e, SKY_ENOMEM, "out of memory for %" PRIu64 " lines of prompts", n);
    for (uint64_t i = 0; i < n; i++) {
        const sky_prompt *p = sky_prompts_at(t->prompts, i);
        int rc = t->queries ? find_one(t->queries, "query", p->query, e) : SKY_OK;
        if (!rc)
            rc = find_one(t->shown, "prompt", p->prompt, e);
        t->usable[i] = rc == 0;
        if (rc) {
            in_line(t, i, e);
            if ((rc = sky_skip(t->cli, e)))
                return rc;
        }
    }
    return SKY_OK;
}

static int read_prompts(tool *t, sky_err *e)
{
    if (!strcmp(t->o.prompts, "-") && from_stdin(t))
        return sky_fail(e, SKY_EUSAGE, "--prompts -: standard input is the queries' already");
    int rc = sky_prompts_read(&t->prompts, t->o.prompts, t->cli, e);
    if (rc)
        return rc;
    const char *is = sky_prompts_multi(t->prompts) ? "multiclass" : "binary";
    if (t->o.protocol && strcmp(t->o.protocol, is))
        return sky_fail(e, SKY_EUSAGE, "%s: is of the %s protocol, --protocol says %s", t->o.prompts, is, t->o.protocol);
    return SKY_OK;
}

/* ---- model -------------------------------------------------------------------------------------------------------- */

/* --config, else what the weights' file says of itself, else the released model. */
static int choose_config(tool *t, sky_err *e)
{
    t->cfg = sky_config_full;
    if (t->o.config)
        return sky_config_load(&t->cfg, t->o.config, e);
    const char *text = json_string_value(json_object_get(sky_weights_metadata(t->weights), "config"));
    json_t *j = NULL;
    int rc = text ? sky_json_parse(&j, text, strlen(text), "metadata 'config'", e) : SKY_OK;
    if (!rc && j)
        rc = sky_config_parse(&t->cfg, j, "metadata 'config'", e);
    json_decref(j);
    return rc ? sky_wrap(e, "%s", t->o.model) : SKY_OK;
}

/* Pictures are normalised as the released model wants it: a model trained otherwise would answer with nonsense. */
static int check_normal(tool *t, sky_err *e)
{
    const char *text = json_string_value(json_object_get(sky_weights_metadata(t->weights), "normal"));
    json_t *j = NULL;
    int rc = text ? sky_json_parse(&j, text, strlen(text), "metadata 'normal'", e) : SKY_OK;
    if (!rc && j)
        rc = sky_normal_check_released(j, e);
    json_decref(j);
    return rc ? sky_wrap(e, "%s", t->o.model) : SKY_OK;
}

static int open_device(tool *t, sky_err *e)
{
    return sky_ctx_open(&t->ctx, t->o.device, t->cli->threads, e) ? sky_wrap(e, "--device") : SKY_OK;
}

static int open_weights(tool *t, sky_err *e)
{
    int rc = sky_weights_open(&t->weights, t->o.model, e);
    if (!rc && sky_checkpoint_is_state(t->weights))
        rc = sky_fail(e, SKY_EUSAGE, "%s: the state of a training run, not weights: those are in the .safetensors files beside it", t->o.model);
    return rc;
}

static void warn_line(void *arg, const char *line) { sky_warn(arg, "%s", line); }

static int open_model(tool *t, sky_err *e)
{
    const sky_dtype dtype = strcmp(t->o.dtype, "bf16") ? SKY_F32 : SKY_BF16;
    int rc = open_weights(t, e);
    if (!rc && sky_segment_is(t->weights))
        rc = sky_fail(e, SKY_EUSAGE, "%s: a network fine-tuned for segmentation takes no prompts", t->o.model);
    if (!rc)
        rc = choose_config(t, e);
    if (!rc)
        rc = check_normal(t, e);
    if (!rc)
        rc = sky_pp_open(&t->pp, &t->cfg, e);
    if (!rc && (rc = sky_pp_load(t->pp, &t->ctx, t->weights, dtype, t->o.relaxed, warn_line, t->cli, e)))
        sky_wrap(e, "%s", t->o.model);
    if (!rc)
        rc = sky_weights_hash(t->weights, t->cli->threads, t->hash, e);
    if (rc)
        return rc;
    const sky_infer_opts o = {(int)t->o.size, (int)t->o.batch, (int)t->o.slots, (uint64_t)t->cli->seed, t->o.probabilities, t->o.palette,
                              t->o.image, t->o.label, t->hash, !strcmp(t->o.date, "first"), warn_line, t->cli};
    rc = sky_infer_open(&t->in, t->pp, &t->ctx, &t->cfg, &o, e);
    if (!rc)
        sky_note(t->cli, "model %.16s, %s on %s, canvas %" PRId64 " x %" PRId64 ", %zu MiB of activations for a batch of %" PRId64, t->hash, t->o.dtype,
                 sky_cpu_level_name(sky_cpu_level_get()), 2 * t->o.size, t->o.size, sky_infer_arena(t->in) >> 20, t->o.batch);
    return rc;
}

static void note_replays(const tool *t, sky_replay_counts n)
{
    if (t->ctx.be->work_record)
        sky_note(t->cli, "%" PRIu64 " forwards queued piece by piece, %" PRIu64 " recorded, %" PRIu64 " replayed", n.called, n.recorded, n.replayed);
}

/* ---- output --------------------------------------------------------------------------------------------------------- */

static json_t *make_schema(const tool *t)
{
    const json_t *from = t->stream ? sky_reader_schema(t->stream) : sky_shard_schema(sky_corpus_shard(t->queries, 0));
    json_t *entry = sky_cli_provenance(t->cli), *base = json_object();
    json_t *chain = json_object_get(from, "provenance"), *dataset = json_object_get(from, "dataset");
    int bad = !base || (!entry && !t->cli->no_provenance);
    if (entry)
        bad |= json_object_set_new(entry, "sources", json_pack("{s:s}", "model", t->hash));
    if (dataset)
        bad |= json_object_set(base, "dataset", dataset);
    bad |= json_object_set_new(base, "fields", json_pack("{s:{s:s}}", "pred", "role", "label"));
    if (chain)
        bad |= json_object_set(base, "provenance", chain);
    json_t *schema = bad ? (json_decref(entry), NULL) : sky_schema_extend(base, entry);
    json_decref(base);
    return schema;
}

static int open_output(tool *t, sky_err *e)
{
    json_t *schema = make_schema(t);
    if (!schema)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    const sky_writer_opts o = {.threads = t->cli->threads};
    int rc = sky_writer_open(&t->w, t->o.out, SKY_PLAIN, schema, &o, e);
    json_decref(schema);
    return rc;
}

static int put_answer(tool *t, const sky_infer_pass *p, sky_err *e)
{
    sky_sample s;
    sky_sample_init(&s);
    int rc = sky_infer_answer(&s, t->in, p, e);
    if (!rc && !(rc = sky_writer_put(t->w, &s, e)))
        t->written++;
    else
        rc = sky_skip(t->cli, e);
    sky_sample_free(&s);
    return rc;
}

/* The batch begun first. */
static int end_batch(tool *t, sky_err *e)
{
    const int which = sky_infer_begun(t->in) == 2 ? t->turn : !t->turn;
    int rc = sky_infer_end(t->in, e);
    for (int i = 0; i < t->begun[which]; i++) {
        if (!rc)
            rc = put_answer(t, t->batch[which][i], e);
        sky_infer_pass_free(t->batch[which][i]);
        sky_progress_add(t->progress, 1, 0);
    }
    t->begun[which] = 0;
    return rc;
}

/* Begin what waits; end the batch before it, where the device works by itself, else this one. */
static int begin_batch(tool *t, sky_err *e)
{
    int rc = sky_infer_begin(t->in, t->batch[t->turn], t->waiting, e);
    if (rc)
        return rc;
    t->begun[t->turn] = t->waiting;
    t->waiting = 0;
    t->turn = !t->turn;
    return sky_infer_begun(t->in) == sky_infer_ahead(t->in) ? end_batch(t, e) : SKY_OK;
}

static int finish(tool *t, sky_err *e)
{
    int rc = t->waiting ? begin_batch(t, e) : SKY_OK;
    while (!rc && sky_infer_begun(t->in))
        rc = end_batch(t, e);
    return rc;
}

static void free_passes(tool *t)
{
    for (int k = 0; k < 2; k++) {
        for (int i = 0; t->batch[k] && i < (k == t->turn && t->waiting ? t->waiting : t->begun[k]); i++)
            sky_infer_pass_free(t->batch[k][i]);
        sky_free(t->batch[k]);
    }
}

/* ---- the loop --------------------------------------------------------------------------------------------------------- */

static int add_pass(tool *t, uint64_t i, const sky_sample *query, const json_t *schema, sky_err *e)
{
    const sky_prompt *line = sky_prompts_at(t->prompts, i);
    sky_place at;
    sky_sample prompt;
    sky_sample_init(&prompt);
    int rc = sky_corpus_find(t->shown, line->prompt, &at, e);
    if (!rc)
        rc = sky_corpus_read(t->shown, at, sky_infer_fields(t->in), &prompt, e);
    if (!rc) {
        const sky_infer_task task = {query, &prompt, schema, sky_corpus_schema(t->shown, at), line->cls};
        rc = sky_infer_prepare(&t->batch[t->turn][t->waiting], t->in, &task, e);
    }
    sky_sample_free(&prompt);
    if (rc) {
        in_line(t, i, e);
        sky_progress_add(t->progress, 1, 0);
        return sky_skip(t->cli, e);
    }
    return ++t->waiting == t->o.batch ? begin_batch(t, e) : SKY_OK;
}

static int by_index(tool *t, sky_err *e)
{
    int rc = SKY_OK;
    for (uint64_t i = 0; !rc && i < sky_prompts_count(t->prompts); i++) {
        sky_sample query;
        sky_place at;
        if (!t->usable[i])
            continue;
        sky_sample_init(&query);
        rc = sky_corpus_find(t->queries, sky_prompts_at(t->prompts, i)->query, &at, e);
        if (!rc)
            rc = sky_corpus_read(t->queries, at, sky_infer_fields(t->in), &query, e);
        if (!rc)
            rc = add_pass(t, i, &query, sky_corpus_schema(t->queries, at), e);
        else if (in_line(t, i, e))
            rc = sky_skip(t->cli, e);
        sky_sample_free(&query);
    }
    return rc;
}

/* Lines whose query the stream did not hold. */
static int unmet(tool *t, const uint8_t *met, sky_err *e)
{
    for (uint64_t i = 0; i < sky_prompts_count(t->prompts); i++)
        if (!met[i] && t->usable[i]) {
            sky_fail(e, SKY_ECORRUPT, "the stream on standard input ended without this query");
            in_line(t, i, e);
            int rc = sky_skip(t->cli, e);
            if (rc)
                return rc;
        }
    return SKY_OK;
}

static int by_stream(tool *t, sky_err *e)
{
    uint8_t *met = sky_calloc(sky_prompts_count(t->prompts), 1);
    sky_sample s;
    sky_sample_init(&s);
    int rc = met ? sky_reader_select(t->stream, sky_infer_fields(t->in), e) : sky_fail(e, SKY_ENOMEM, "out of memory");
    while (!rc && (rc = sky_reader_intact(t->stream, t->cli, &s, e)) == 1) {
        const uint64_t *list, n = sky_prompts_of(t->prompts, s.id, &list);
        rc = SKY_OK;
        for (uint64_t k = 0; !rc && k < n; k++) {
            met[list[k]] = 1;
            if (t->usable[list[k]])
                rc = add_pass(t, list[k], &s, sky_reader_schema(t->stream), e);
        }
    }
    if (!rc)
        rc = finish(t, e);
    if (!rc)
        rc = unmet(t, met, e);
    sky_sample_free(&s);
    sky_free(met);
    return rc;
}

static int infer(tool *t, sky_err *e)
{
    int rc = open_device(t, e);
    if (!rc)
        rc = read_prompts(t, e);
    if (!rc)
        rc = open_samples(t, e);
    if (!rc)
        rc = check_lines(t, e);
    if (!rc)
        rc = open_model(t, e);
    for (int k = 0; !rc && k < 2; k++)
        if (!(t->batch[k] = sky_calloc((size_t)t->o.batch, sizeof *t->batch[k])))
            rc = sky_fail(e, SKY_ENOMEM, "out of memory");
    if (!rc)
        rc = open_output(t, e);
    if (rc)
        return rc;
    t->progress = sky_progress_begin(t->cli, "passes", sky_prompts_count(t->prompts));
    rc = t->stream ? by_stream(t, e) : by_index(t, e);
    if (!rc)
        rc = finish(t, e);
    sky_progress_end(t->progress);
    note_replays(t, sky_infer_replays(t->in));
    if (!rc && !t->written)
        rc = sky_fail(e, SKY_ECORRUPT, "%s: none of %" PRIu64 " lines gave a prediction", t->o.prompts, sky_prompts_count(t->prompts));
    if (rc) {
        sky_writer_abort(t->w);
        return rc;
    }
    return sky_writer_close(t->w, e);
}

/* ---- fine-tuned networks: no prompts ------------------------------------------------------------------------------ */

static int segment_one(tool *t, sky_segment *s, const sky_sample *x, sky_err *e)
{
    sky_sample y;
    sky_sample_init(&y);
    int rc = sky_segment_answer(&y, s, x, e);
    if (!rc && !(rc = sky_writer_put(t->w, &y, e)))
        t->written++;
    else
        rc = sky_skip(t->cli, e);
    sky_sample_free(&y);
    sky_progress_add(t->progress, 1, 0);
    return rc;
}

static int segment_all(tool *t, sky_segment *s, sky_err *e)
{
    sky_sample x;
    sky_sample_init(&x);
    int rc = sky_reader_select(t->stream, sky_segment_fields(s), e);
    t->progress = sky_progress_begin(t->cli, "samples", 0);
    while (!rc && (rc = sky_reader_intact(t->stream, t->cli, &x, e)) == 1)
        rc = segment_one(t, s, &x, e);
    sky_progress_end(t->progress);
    sky_sample_free(&x);
    if (!rc && !t->written)
        rc = sky_fail(e, SKY_ECORRUPT, "no sample gave a prediction");
    if (rc) {
        sky_writer_abort(t->w);
        return rc;
    }
    return sky_writer_close(t->w, e);
}

static int open_segment(tool *t, sky_segment **s, sky_err *e)
{
    int rc = open_weights(t, e);
    if (!rc && !sky_segment_is(t->weights))
        rc = sky_fail(e, SKY_EUSAGE, "--prompts FILE is missing; --make-prompts makes one (try --help). Only networks fine-tuned by sky-train go without");
    if (!rc)
        rc = open_device(t, e);
    if (!rc)
        rc = sky_weights_hash(t->weights, t->cli->threads, t->hash, e);
    if (!rc && (rc = sky_segment_open(s, t->weights, &t->ctx, strcmp(t->o.dtype, "bf16") ? SKY_F32 : SKY_BF16, t->hash, warn_line, t->cli, e)))
        sky_wrap(e, "%s", t->o.model);
    if (!rc)
        sky_note(t->cli, "model %.16s, %s on %s, fine-tuned for field '%s'", t->hash, t->o.dtype, sky_cpu_level_name(sky_cpu_level_get()), sky_segment_fields(*s)[0]);
    return rc || !t->o.palette ? rc : sky_segment_palette(*s, e);
}

static int segment(tool *t, sky_err *e)
{
    sky_segment *s = NULL;
    int rc = open_segment(t, &s, e);
    if (!rc)
        rc = sky_reader_open(&t->stream, t->cli->args, t->cli->nargs, NULL, e);
    if (!rc) {
        sky_reader_threads(t->stream, t->cli->threads);
        rc = open_output(t, e);
    }
    if (!rc)
        rc = segment_all(t, s, e);
    if (!rc)
        sky_note(t->cli, "%.1f MiB of activations for the largest picture", (double)t->ctx.size / (1 << 20));
    if (!rc)
        note_replays(t, sky_segment_replays(s));
    sky_segment_close(s);
    return rc;
}

static void close_all(tool *t)
{
    sky_free(t->usable);
    sky_infer_close(t->in); /* waits for what is under way */
    free_passes(t);
    sky_pp_close(t->pp);
    if (t->ctx.be)
        sky_ctx_close(&t->ctx);
    sky_weights_close(t->weights);
    if (t->shown != t->queries)
        sky_corpus_close(t->shown);
    sky_corpus_close(t->queries);
    sky_reader_close(t->stream);
    sky_prompts_free(t->prompts);
    sky_free(t->o.prompt_shards.v);
}

static int check_words(const sky_cli *cli, const options *o, sky_err *e)
{
    if (strcmp(o->dtype, "f32") && strcmp(o->dtype, "bf16"))
        return sky_fail(e, SKY_EUSAGE, "--dtype '%s': expected f32 or bf16", o->dtype);
    if (strcmp(o->date, "nearest") && strcmp(o->date, "first"))
        return sky_fail(e, SKY_EUSAGE, "--date '%s': expected nearest or first", o->date);
    if (o->protocol && strcmp(o->protocol, "binary") && strcmp(o->protocol, "multiclass"))
        return sky_fail(e, SKY_EUSAGE, "--protocol '%s': expected binary or multiclass", o->protocol);
    if (o->make_prompts >= 0 && cli->seed_given)
        return sky_fail(e, SKY_EUSAGE, "--seed chooses class slots; --make-prompts SEED has its own");
    if (o->make_prompts >= 0 && (o->model || o->prompts))
        return sky_fail(e, SKY_EUSAGE, "--make-prompts writes a prompts file; --model and --prompts do not go with it");
    if (o->make_prompts < 0 && !o->model)
        return sky_fail(e, SKY_EUSAGE, "-m WEIGHTS is missing (try --help)");
    if (o->size % 128)
        return sky_fail(e, SKY_EUSAGE, "--size %" PRId64 ": expected a multiple of 128", o->size);
    return SKY_OK;
}

/* An option that has no say in what is asked for is refused: who gives --probabilities waits for them. */
static int check_place(const sky_cli *cli, const options *o, sky_err *e)
{
    const int made = o->make_prompts >= 0, passes = !made && o->prompts;
    const struct {
        const char *name;
        int given, here;
        const char *with;
    } of[] = {
        {"split", o->split != NULL, made, "--make-prompts"},
        {"prompt-split", o->prompt_split != NULL, made, "--make-prompts"},
        {"protocol", o->protocol != NULL, made || passes, "--prompts or --make-prompts"},
        {"label", o->label != NULL, made || passes, "--prompts or --make-prompts"},
        {"prompt-shards", o->prompt_shards.n > 0, passes, "--prompts"},
        {"config", o->config != NULL, passes, "--prompts"},
        {"size", o->size != 512, passes, "--prompts"},
        {"batch", o->batch != 1, passes, "--prompts"},
        {"slots", o->slots != 1, passes, "--prompts"},
        {"seed", cli->seed_given, passes, "--prompts"},
        {"probabilities", o->probabilities, passes, "--prompts"},
        {"image", strcmp(o->image, "hr") != 0, passes, "--prompts"},
        {"date", strcmp(o->date, "nearest") != 0, passes, "--prompts"},
        {"relaxed", o->relaxed, passes, "--prompts"},
        {"palette", o->palette, !made, "--model"},
    };
    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        if (of[i].given && !of[i].here)
            return sky_fail(e, SKY_EUSAGE, "--%s goes with %s (try --help)", of[i].name, of[i].with);
    return SKY_OK;
}

int main(int argc, char **argv)
{
    tool t = {.o = {.device = "auto", .dtype = "f32", .out = "-", .image = "hr", .date = "nearest", .make_prompts = -1, .batch = 1, .slots = 1, .size = 512}};
    const sky_opt opts[] = {
        {"model", 'm', SKY_OPT_STR, &t.o.model, "WEIGHTS", "safetensors, .pth or .ckpt file", 0, 0},
        {"prompts", 'p', SKY_OPT_STR, &t.o.prompts, "FILE", "lines of query id, prompt id, class; - : standard input", 0, 0},
        {"prompt-shards", 0, SKY_OPT_LIST, &t.o.prompt_shards, "FILE", "shard that holds prompts; may be repeated [the SHARDS]", 0, 0},
        {"make-prompts", 0, SKY_OPT_I64, &t.o.make_prompts, "SEED", "write a prompts file for the SHARDS and stop", 0, INT64_MAX},
        {"protocol", 0, SKY_OPT_STR, &t.o.protocol, "NAME", "binary or multiclass [as the prompts file; made: binary]", 0, 0},
        {"config", 'c', SKY_OPT_STR, &t.o.config, "NAME", "preset or YAML file [what the weights say, else full]", 0, 0},
        {"device", 'd', SKY_OPT_STR, &t.o.device, "NAME", "cpu, cuda, cuda:N or auto [auto]", 0, 0},
        {"dtype", 0, SKY_OPT_STR, &t.o.dtype, "TYPE", "of matrix products: f32 or bf16 [f32]", 0, 0},
        {"size", 0, SKY_OPT_I64, &t.o.size, "N", "side of each picture on the canvas, a multiple of 128 [512]", 128, 8192},
        {"batch", 'b', SKY_OPT_I64, &t.o.batch, "N", "passes through the model at once [1]", 1, 1024},
        {"slots", 0, SKY_OPT_I64, &t.o.slots, "N", "average over N runs with other class slots [1]", 1, 64},
        {"probabilities", 0, SKY_OPT_FLAG, &t.o.probabilities, NULL, "also write field prob, F16 [class,y,x]", 0, 0},
        {"palette", 0, SKY_OPT_FLAG, &t.o.palette, NULL, "give classes without a colour one", 0, 0},
        {"image", 0, SKY_OPT_STR, &t.o.image, "FIELD", "picture field [hr]", 0, 0},
        {"date", 0, SKY_OPT_STR, &t.o.date, "WHICH", "of Sentinel fields: nearest to the picture's, or first [nearest]", 0, 0},
        {"label", 0, SKY_OPT_STR, &t.o.label, "FIELD", "label field of prompts [label; made: the only one]", 0, 0},
        {"split", 0, SKY_OPT_STR, &t.o.split, "NAME", "--make-prompts: queries of this split only [all]", 0, 0},
        {"prompt-split", 0, SKY_OPT_STR, &t.o.prompt_split, "NAME", "--make-prompts: prompts of this split [the queries']", 0, 0},
        {"relaxed", 0, SKY_OPT_FLAG, &t.o.relaxed, NULL, "accept weights that lack tensors (each is named)", 0, 0},
        {"output", 'o', SKY_OPT_STR, &t.o.out, "FILE", "[- : standard output]", 0, 0},
        {0},
    };
    char cuda[600], versions[700];
    sky_cuda_version(cuda, sizeof cuda);
    snprintf(versions, sizeof versions, "cpu: %s (up to %s here)\n%s" SKY_MPI_TEXT "\n",
             sky_cpu_level_name(sky_cpu_level_get()), sky_cpu_level_name(sky_cpu_detect()), cuda);
    sky_cli cli = {.prog = "sky-infer",
                   .summary = "segment query samples from one labelled prompt each",
                   .usage = "sky-infer -m WEIGHTS --prompts FILE [options] SHARDS...\n"
                            "       sky-infer -m WEIGHTS --prompts FILE --prompt-shards FILE [options] < STREAM\n"
                            "       sky-infer -m FINE-TUNED [options] [SHARDS...]\n"
                            "       sky-infer --make-prompts SEED [--protocol NAME] SHARDS... > FILE",
                   .details = "Predictions come in the order of the prompts file (of the stream, when queries are read from one).\n"
                              "--seed chooses the class slots.",
                   .opts = opts,
                   .takes = SKY_TAKES_THREADS | SKY_TAKES_PROGRESS | SKY_TAKES_SEED | SKY_TAKES_PROVENANCE | SKY_TAKES_KEEP_GOING,
                   .extra_version = versions};
    t.cli = &cli;
    int status = sky_cli_begin(&cli, argc, argv);
    if (status >= 0)
        return status;
    sky_err e = {0};
    int rc = sky_cpu_level_check(&e);
    if (!rc)
        rc = check_words(&cli, &t.o, &e);
    if (!rc)
        rc = check_place(&cli, &t.o, &e);
    if (!rc && t.o.make_prompts >= 0) {
        rc = make_prompts(&t, &e);
    } else if (!rc && !t.o.prompts) {
        rc = segment(&t, &e);
    } else if (!rc) {
        t.o.label = t.o.label ? t.o.label : "label";
        rc = infer(&t, &e);
    }
    close_all(&t);
    return sky_cli_end(&cli, rc, &e);
}
