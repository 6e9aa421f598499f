/* A run's file: the ones that ship load, every key that is read is documented and the other way round, defaults, and what
 * is refused with its line. */
#include "base/io.h"
#include "base/mem.h"
#include "t.h"
#include "train/run_keys.h"

#include <math.h>
#include <string.h>

static sky_err e;

static int parse(sky_run *r, const char *text)
{
    e = (sky_err){0};
    return sky_run_parse(r, text, strlen(text), "t.yaml", &e);
}

static void shipped(void)
{
    sky_run r;
    OK(sky_run_load(&r, "pipelines/pretrain.yaml", &e) == 0, "pretrain.yaml: %s", e.msg);
    OK(r.task == SKY_TASK_PRETRAIN && r.steps == 30000 && r.optimizer.lr == 2e-4 && r.optimizer.clip == 5 && r.schedule.warmup == 1000 && r.schedule.total == 30000 && r.dtype == SKY_BF16 && r.model.swin_dim == 352, "is the published recipe");
    OK(sky_schedule_factor(&r.schedule, 500) == 0.5 && fabs(sky_schedule_factor(&r.schedule, 15500) - 0.5) < 1e-15, "with its schedule");
    sky_run_close(&r);
    OK(sky_run_load(&r, "pipelines/pretrain-small.yaml", &e) == 0, "pretrain-small.yaml: %s", e.msg);
    sky_run_close(&r);
    static const char *const recipe[] = {"atlantic", "c2smsfloods", "cabuar", "sos", "germany"};
    for (int i = 0; i < 5; i++) {
        char path[64];
        snprintf(path, sizeof path, "pipelines/%s.yaml", recipe[i]);
        OK(sky_run_load(&r, path, &e) == 0 && r.task == SKY_TASK_SEGMENT && sky_schedule_factor(&r.schedule, 0) == 1e-6 && sky_schedule_factor(&r.schedule, (uint64_t)r.steps) == 0, "%s: %s", path, e.msg);
        sky_run_close(&r);
    }
}

static void documented(void)
{
    char *page;
    size_t n;
    int missing = 0, keys = 0;
    if (sky_read_file(&page, &n, "man/sky-run.5", 1 << 20, &e)) {
        OK(0, "%s", e.msg);
        return;
    }
    for (const sky_run_key *k = sky_run_keys; k->path; k++, keys++) {
        char line[120];
        snprintf(line, sizeof line, ".It Cm %s", k->path);
        const char *at = strstr(page, line);
        while (at && at[strlen(line)] != '\n' && at[strlen(line)] != ' ')
            at = strstr(at + 1, line);
        if (!at && missing++ < 5)
            printf("# %s\n", k->path);
    }
    OK(missing == 0, "%d keys, %d without a place in sky-run(5)", keys, missing);
    sky_free(page);
}

static const char minimal[] = "model: tiny\nsteps: 10\ndata:\n  train: a.sky\n";
static const char segment[] = "task: segment\nmodel: {base: tiny, vit_img: [16, 16]}\nsteps: 10000\nbatch: 8\naccumulate: 2\ndata: {train: [a.sky, 'b-*.sky'], val: v.sky}\n"
                              "optimizer: {name: sgd, lr: 0.01, weight_decay: 5e-4}\nschedule: {warmup: 1000, start: 1e-6}\nrules: {layer_decay: 0.84, no_decay: [pos_embed, cls_token], no_decay_1d: true}\n"
                              "segment: {classes: 4, bands: [B2, B3, B4], loss: sigmoid, class_weight: [1, 2, 0.5, 4]}\naugment: {crop: 64}\nvalidate: {every: [100, 4000], from: [0, 1000]}\n";

static void defaults(void)
{
    sky_run r;
    OK(parse(&r, minimal) == 0, "the least that is needed: %s", e.msg);
    OK(r.batch == 4 && r.data.side == 512 && r.optimizer.lr == r.model.lr && r.optimizer.weight_decay == r.model.weight_decay && r.rules.layer_decay == 0.7 && r.schedule.total == 10 && !r.skip_nonfinite && r.recompute, "defaults, and the model's own");
    OK(r.schedule.warmup == 1 && r.log.curves && !r.start.from && r.data.train.n == 1 && !strcmp(r.data.train.v[0], "a.sky") && !r.data.train.v[1], "warm-up within the steps; one text is a list of one");
    OK(!sky_run_validates(&r, 10) && sky_run_checkpoints(&r, 10) && !sky_run_checkpoints(&r, 9) && sky_run_logs(&r, 10) && !sky_run_logs(&r, 0), "the last step is written; nothing to validate with");
    sky_run_close(&r);
}

static void segmentation(void)
{
    sky_run r;
    OK(parse(&r, segment) == 0, "segmentation: %s", e.msg);
    OK(r.model.vit_img[0] == 16 && r.model.vit_dim == 24 && r.augment.crop == 64 && r.segment.neck_scales.n == 4 && r.segment.neck_scales.v[3] == 1 && r.segment.sigmoid && r.optimizer.name == SKY_SGD, "keys of every kind");
    OK(r.segment.bands.n == 3 && !strcmp(r.segment.bands.v[2], "B4") && r.data.train.n == 2 && r.segment.class_weight.v[3] == 4, "lists");
    static const uint64_t yes[] = {100, 1000, 5000, 9000, 10000}, no[] = {0, 50, 1100, 4000, 5100};
    int good = 1;
    for (int i = 0; i < 5; i++)
        good &= sky_run_validates(&r, yes[i]) && !sky_run_validates(&r, no[i]);
    OK(good, "validation every 100, after step 1000 every 4000, and at the end");
    sky_tensor a = {.ndim = 3}, b = {.ndim = 2};
    sky_param p[] = {{.name = "backbone.pos_embed", .slot = &a}, {.name = "backbone.layers.3.ffn.layers.1.weight", .slot = &b}};
    sky_params ps = {.v = p, .n = 2};
    sky_rule rule[2];
    sky_run_rules(&r, &ps, rule);
    OK(rule[0].decay == 0 && fabs(rule[0].lr_scale - pow(0.84, 5)) < 1e-15 && rule[1].decay == 5e-4 && fabs(rule[1].lr_scale - 0.84) < 1e-15, "rules of the file");
    sky_run_close(&r);
    OK(parse(&r, minimal) == 0, "pretraining once more");
    p[0].name = "backbone_s2.pos_embed";
    p[1].name = "backbone_s2.layers.3.ffn.layers.1.weight";
    sky_run_rules(&r, &ps, rule);
    OK(rule[1].decay == 0.04 && fabs(rule[1].lr_scale - 0.7) < 1e-15 && fabs(rule[0].lr_scale - pow(0.7, 5)) < 1e-15, "and its rules");
    sky_run_close(&r);
}

static void refused(void)
{
    static const char *const bad[][3] = {
        {"model: tiny\nsteps: 10\nstepz: 3\n", "line 3", "stepz"},
        {"model: tiny\noptimizer:\n  lr: 1\n  momentun: 0.9\n", "line 4", "optimizer.momentun"},
        {"model: tiny\nsteps: ten\n", "line 2", "integer"},
        {"model: tiny\nsteps: 0\n", "line 2", "outside"},
        {"model: tiny\n\n\noptimizer: 3\n", "line 4", "mapping"},
        {"model: tiny\noptimizer: {name: adam}\n", "line 2", "adamw, sgd"},
        {"model: {base: tiny, vit_dimm: 3}\n", "line 1", "vit_dimm"},
        {"model: {vit_dim: 3}\n", "line 1", "base"},
        {"model: nosuch\n", "model", "nosuch"},
        {"model: tiny\noptimizer: {betas: [0.9, 2]}\n", "line 2", "betas"},
        {"model: tiny\noptimizer: {betas: 0.9}\n", "line 2", "two numbers"},
        {"model: tiny\ndata: {train: []}\n", "line 2", "1 to 256"},
        {"model: tiny\ndata: {train: [a, 3]}\n", "line 2", "texts"},
        {"steps: 4\ndata: {train: a}\n", "model", "missing"},
        {"model: tiny\nsteps: 4\n", "data.train", "missing"},
        {"model: tiny\ndata: {train: a}\n", "steps", "missing"},
        {"model: tiny\nsteps: 4\ndata: {train: a}\nbatch: 4\naccumulate: 3\n", "line 5", "divide"},
        {"model: tiny\nsteps: 4\ndata: {train: a}\nschedule: {warmup: 5}\n", "line 4", "more than"},
        {"model: tiny\nsteps: 4\ndata: {train: a}\nvalidate: {every: [1, 2]}\n", "validate.from", "as many"},
        {"model: tiny\nsteps: 4\ndata: {train: a}\nnormalise: {s2: {mean: [1, 2]}}\n", "line 4", "deviations"},
        {"task: segment\nmodel: tiny\nsteps: 4\ndata: {train: a}\n", "optimizer.lr", "missing"},
        {"task: segment\nmodel: tiny\nsteps: 4\ndata: {train: a}\noptimizer: {lr: 1}\nsegment: {classes: 2, bands: [a], neck_scales: [1, 2]}\naugment: {crop: 8}\n", "line 6", "per level"},
        {"task: segment\nmodel: tiny\nsteps: 4\ndata: {train: a}\noptimizer: {lr: 1}\nsegment: {classes: 2, bands: [a]}\n", "augment.crop", "missing"},
        {"task: segment\nmodel: tiny\nsteps: 4\ndata: {train: a}\noptimizer: {lr: 1}\nsegment: {field: hr, classes: 2}\n", "segment.bands", "is missing: the names of the bands of field 'hr'"},
        {"task: segment\nmodel: tiny\nsegment: {ignore_labels: [0, 3.5]}\n", "line 3", "integer"},
        {"recompute: 1\n", "line 1", "true or false"},
        {"- a\n", "t.yaml", "mapping"},
        {"steps: 3\nsteps: 4\n", "line 2", "twice"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sky_run r;
        int rc = parse(&r, bad[i][0]);
        OK(rc < 0 && strstr(e.msg, bad[i][1]) && strstr(e.msg, bad[i][2]) && !r.json, "refused: %s", e.msg);
    }
}

int main(void)
{
    shipped();
    documented();
    defaults();
    segmentation();
    refused();
    return END();
}
