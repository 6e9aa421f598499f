#include "train/run_keys.h"

#include <math.h>
#include <stddef.h>

#define AT(m) offsetof(sky_run, m)
#define WORD(p, m, ...) {.path = p, .type = SKY_RUN_WORD, .at = AT(m), .words = {__VA_ARGS__}}
#define BOOL(p, m) {.path = p, .type = SKY_RUN_BOOL, .at = AT(m)}
#define STR(p, m) {.path = p, .type = SKY_RUN_STR, .at = AT(m)}
#define NAMES(p, m, most) {.path = p, .type = SKY_RUN_NAMES, .at = AT(m), .n = most}
#define INT(p, m, lo, hi) {.path = p, .type = SKY_RUN_INT, .at = AT(m), .min = lo, .max = hi}
#define REAL(p, m, lo, hi) {.path = p, .type = SKY_RUN_REAL, .at = AT(m), .min = lo, .max = hi}
#define REALS(p, m, most, lo, hi) {.path = p, .type = SKY_RUN_REALS, .at = AT(m), .n = most, .min = lo, .max = hi}
#define PAIR(p, m, lo, hi) {.path = p, .type = SKY_RUN_PAIR, .at = AT(m), .min = lo, .max = hi}
#define INTS(p, m, c, most, lo, hi) {.path = p, .type = SKY_RUN_INTS, .at = AT(m), .count = AT(c), .n = most, .min = lo, .max = hi}

const sky_run_key sky_run_keys[] = {
    WORD("task", task, "pretrain", "segment"),
    STR("out", out),
    INT("seed", seed, 0, 9007199254740991.0),
    WORD("dtype", dtype, "f32", "bf16"),
    INT("steps", steps, 1, 1e9),
    INT("batch", batch, 1, 65536),
    INT("accumulate", accumulate, 1, 65536),
    BOOL("recompute", recompute),
    WORD("nonfinite", skip_nonfinite, "stop", "skip"),

    STR("start.from", start.from),
    WORD("start.init", start.init, "published", "matching"),
    STR("start.prefix", start.prefix),
    NAMES("start.bands", start.bands, SKY_RUN_BANDS),

    NAMES("data.train", data.train, SKY_RUN_LIST),
    NAMES("data.val", data.val, SKY_RUN_LIST),
    INT("data.side", data.side, 128, 8192),
    INT("data.repeat", data.repeat, 1, 1e9),
    INT("data.prefetch", data.prefetch, 1, 1024),

    REALS("normalise.hr.mean", normalise[0].mean, SKY_RUN_BANDS, -1e9, 1e9),
    REALS("normalise.hr.std", normalise[0].std, SKY_RUN_BANDS, 1e-9, 1e9),
    REALS("normalise.s2.mean", normalise[1].mean, SKY_RUN_BANDS, -1e9, 1e9),
    REALS("normalise.s2.std", normalise[1].std, SKY_RUN_BANDS, 1e-9, 1e9),
    REALS("normalise.s1.mean", normalise[2].mean, SKY_RUN_BANDS, -1e9, 1e9),
    REALS("normalise.s1.std", normalise[2].std, SKY_RUN_BANDS, 1e-9, 1e9),

    REAL("augment.flip", augment.flip, 0, 1),
    REAL("augment.half_mask", augment.half_mask, 0, 1),
    BOOL("augment.any_class", augment.any_class),
    REAL("augment.sparse", augment.sparse, 0, 1),
    REAL("augment.radiometry", augment.radiometry, 0, 1),
    INT("augment.crop", augment.crop, 1, 65536),
    INT("augment.crop_tries", augment.crop_tries, 1, 1000),
    REAL("augment.class_max", augment.class_max, 0, 1),

    WORD("optimizer.name", optimizer.name, "adamw", "sgd"),
    REAL("optimizer.lr", optimizer.lr, 0, 1e3),
    PAIR("optimizer.betas", optimizer.betas, 0, 0.999999999),
    REAL("optimizer.eps", optimizer.eps, 0, 1),
    REAL("optimizer.momentum", optimizer.momentum, 0, 0.999999999),
    REAL("optimizer.weight_decay", optimizer.weight_decay, 0, 1e3),
    REAL("optimizer.clip", optimizer.clip, 0, 1e9),
    REAL("optimizer.average", optimizer.average, 0, 1),

    WORD("schedule.name", schedule.kind, "constant", "poly", "cosine"),
    INT("schedule.warmup", schedule.warmup, 0, 1e9),
    INT("schedule.total", schedule.total, 0, 1e9),
    REAL("schedule.start", schedule.start, 0, 1),
    REAL("schedule.end", schedule.end, 0, 1),
    REAL("schedule.power", schedule.power, 0.01, 100),

    NAMES("rules.no_decay", rules.no_decay, SKY_RUN_LIST),
    BOOL("rules.no_decay_1d", rules.no_decay_1d),
    REAL("rules.layer_decay", rules.layer_decay, 1e-6, 1),
    NAMES("rules.frozen", rules.frozen, SKY_RUN_LIST),

    WORD("segment.backbone", segment.swin, "vit", "swin"),
    STR("segment.field", segment.field),
    NAMES("segment.bands", segment.bands, SKY_RUN_BANDS),
    INT("segment.classes", segment.classes, 1, SKY_RUN_CLASSES),
    INT("segment.dates", segment.dates, 0, 1024),
    INT("segment.neck_dim", segment.neck_dim, 1, 16384),
    REALS("segment.neck_scales", segment.neck_scales, SKY_RUN_LEVELS, 0.125, 8),
    INT("segment.head_channels", segment.head_channels, 1, 16384),
    INT("segment.aux_channels", segment.aux_channels, 0, 16384),
    REAL("segment.aux_weight", segment.aux_weight, 0, 100),
    BOOL("segment.patch_bias", segment.patch_bias),
    REAL("segment.dropout", segment.dropout, 0, 0.999),
    REAL("segment.drop_path", segment.drop_path, 0, 0.999),
    WORD("segment.loss", segment.sigmoid, "softmax", "sigmoid"),
    INTS("segment.ignore_labels", segment.ignored, segment.nignored, SKY_RUN_CLASSES, 0, 255),
    REALS("segment.class_weight", segment.class_weight, SKY_RUN_CLASSES, 0, 1e6),

    INTS("validate.every", validate.every, validate.n, SKY_RUN_STAGES, 1, 1e9),
    INTS("validate.from", validate.from, validate.nfrom, SKY_RUN_STAGES, 0, 1e9),
    INT("checkpoint.every", checkpoint.every, 1, 1e9),
    INT("checkpoint.keep", checkpoint.keep, 0, 1e6),
    INT("log.every", log.every, 1, 1e9),
    BOOL("log.curves", log.curves),
    BOOL("log.tensorboard", log.tensorboard),
    {0}};

/* NAN, and a warm-up without end: not given; what they then are is in run.c, fill_in. */
const sky_run sky_run_defaults = {
    .dtype = SKY_F32, .batch = 4, .accumulate = 1, .recompute = 1,
    .data = {.side = 512, .repeat = 2000, .prefetch = 4},
    .augment = {.flip = 0.5, .half_mask = 0.3, .crop_tries = 10, .class_max = 0.75},
    .optimizer = {.name = SKY_ADAMW, .lr = NAN, .betas = {0.9, 0.999}, .eps = 1e-8, .momentum = 0.9, .weight_decay = NAN, .clip = NAN},
    .schedule = {.kind = SKY_LR_POLY, .warmup = UINT64_MAX, .start = 0, .end = 0, .power = 1},
    .rules = {.layer_decay = NAN},
    .segment = {.field = "s2", .neck_dim = 512, .head_channels = 512, .aux_channels = 256, .aux_weight = 0.4, .dropout = 0.1},
    .validate = {.every = {500}, .n = 1},
    .checkpoint = {.every = 1000, .keep = 3},
    .log = {.every = 10, .curves = 1},
};
