/* infer.h -- one-shot inference: a query and its prompt onto the canvas, through the model, back as a prediction sample.
 *
 * A pass is one answer: binary protocol, one class (0/1 per pixel), or multi-class, all classes of the prompt (their
 * values per pixel). With several slots the model runs that often per answer, the classes in other slots each time, and
 * the probabilities are averaged. docs/protocol.md has the rules. Nothing depends on which passes share a batch. */
#ifndef SKY_DATA_INFER_H
#define SKY_DATA_INFER_H

#include "format/sample.h"
#include "nn/skysensepp.h"
#include "tensor/replay.h"

typedef struct {
    int side;              /* the canvas is 2*side x side pixels, prompt above query; a multiple of 128 */
    int batch;             /* most passes in one forward */
    int slots;             /* runs per answer, >= 1; run k draws its slots from seed + k */
    uint64_t seed;
    int probabilities;     /* also field "prob" F16 [c,y,x]: one plane per class in play */
    int palette;           /* give every class of the prediction's table a colour */
    const char *image, *label; /* field names */
    const char *model;     /* identity of the weights, for the metadata */
    int first_date;        /* Sentinel fields: the first date that is there, not the one nearest to the image's */
    void (*warn)(void *arg, const char *line); /* as in tensor/replay.h; may be NULL */
    void *warn_arg;
} sky_infer_opts;

typedef struct {
    const sky_sample *query, *prompt;
    const json_t *query_schema, *prompt_schema; /* for class tables that all samples share; may be NULL */
    int cls;               /* 0..255, or -1: all classes of the prompt */
} sky_infer_task;

typedef struct sky_infer sky_infer;
typedef struct sky_infer_pass sky_infer_pass;

/* m, c and the strings of o are borrowed. Runs the model dry for a full batch with every modality, so that sizes the model
 * refuses are known now, and allocates that arena. */
int sky_infer_open(sky_infer **out, sky_pp *m, sky_ctx *c, const sky_config *cfg, const sky_infer_opts *o, sky_err *e) SKY_MUST_USE;
void sky_infer_close(sky_infer *in); /* NULL allowed */
size_t sky_infer_arena(const sky_infer *in); /* bytes of activations */
sky_replay_counts sky_infer_replays(const sky_infer *in); /* how its forwards were done */
/* Fields to read of queries and prompts, NULL-terminated: image, label, s2, s1. */
const char *const *sky_infer_fields(const sky_infer *in);

/* Everything the model needs of one task; the samples may go afterwards. SKY_ECORRUPT names field and sample. */
int sky_infer_prepare(sky_infer_pass **out, const sky_infer *in, const sky_infer_task *t, sky_err *e) SKY_MUST_USE;
void sky_infer_pass_free(sky_infer_pass *p);
/* Run 1..batch passes: begin them, and end the batch begun first. Up to sky_infer_ahead batches may be under way, so that the
 * next one is prepared and travels while a device computes. Passes live until their batch has ended. An error here concerns
 * all of them (device, memory); one in a pass's data waits for its answer. */
int sky_infer_begin(sky_infer *in, sky_infer_pass *const *p, int n, sky_err *e) SKY_MUST_USE;
int sky_infer_end(sky_infer *in, sky_err *e) SKY_MUST_USE;
int sky_infer_ahead(const sky_infer *in); /* 1: the device computes when it is asked to, there is nothing to gain */
int sky_infer_begun(const sky_infer *in); /* batches under way */
/* Both, with nothing else under way. */
int sky_infer_run(sky_infer *in, sky_infer_pass *const *p, int n, sky_err *e) SKY_MUST_USE;
/* The prediction of a pass that was run; SKY_ECORRUPT when the model gave none (logits that are not finite). */
int sky_infer_answer(sky_sample *out, const sky_infer *in, const sky_infer_pass *p, sky_err *e) SKY_MUST_USE;

#endif
