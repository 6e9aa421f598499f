/* Rules by name and schedules. tests/data/param_rules_tiny.tsv: name, scale, decay, frozen of every parameter of the tiny
 * model, from the reference implementation; param_rules_full.txt: the same of the full model as one letter per parameter
 * in the order of params_full.tsv (statistics and tables left out), after a list of what the letters mean. */
#include "base/mem.h"
#include "nn/skysensepp.h"
#include "t.h"
#include "train/rules.h"
#include "train/schedule.h"

#include <math.h>
#include <string.h>

static int same_rule(const sky_config *c, const char *name, const char *scale, const char *decay, const char *frozen)
{
    sky_rule r = sky_rule_pretrain(c, name);
    char s[32], d[32], f[2] = {(char)('0' + r.frozen), 0};
    snprintf(s, sizeof s, "%.9g", r.lr_scale);
    snprintf(d, sizeof d, "%.9g", r.decay);
    int same = !strcmp(s, scale) && !strcmp(d, decay) && !strcmp(f, frozen);
    if (!same)
        printf("# %s: %s %s %s, expected %s %s %s\n", name, s, d, f, scale, decay, frozen);
    return same;
}

static void tiny(void)
{
    sky_err e = {0};
    sky_config c;
    sky_pp *m = NULL;
    if (sky_config_load(&c, "tiny", &e) || sky_pp_open(&m, &c, &e))
        printf("# %s\n", e.msg);
    FILE *f = fopen("tests/data/param_rules_tiny.tsv", "r");
    char name[256], scale[32], decay[32], frozen[8];
    int n = 0, same = 0, known = 0;
    while (f && fscanf(f, "%255s %31s %31s %7s", name, scale, decay, frozen) == 4) {
        n++;
        same += same_rule(&c, name, scale, decay, frozen);
        known += m && sky_params_find(sky_pp_params(m), name) != NULL;
    }
    OK(n == 466 && same == n && known == n, "tiny model: %d of %d rules to nine digits, %d parameters known", same, n, known);
    if (f)
        fclose(f);
    sky_pp_close(m);
}

static void full(void)
{
    FILE *names = fopen("tests/data/params_full.tsv", "r"), *f = fopen("tests/data/param_rules_full.txt", "r");
    char rule[64][3][32], line[512], name[256], type[16], shape[64], letter[8];
    const char *order = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    int rules = 0, n = 0, same = 0, unused = 0;
    while (f && fgets(line, sizeof line, f) && sscanf(line, "%7s %31s %31s %31s", letter, rule[rules][0], rule[rules][1], rule[rules][2]) == 4)
        rules++;
    while (f && names && fscanf(names, "%255s %15s %63s", name, type, shape) == 3) {
        if (strstr(name, ".relative_") || strstr(name, "num_batches") || strstr(name, "running_"))
            continue;
        int k;
        while ((k = fgetc(f)) == '\n')
            ;
        const char *at = k > 0 ? strchr(order, k) : NULL;
        n++;
        same += at && at - order < rules && same_rule(&sky_config_full, name, rule[at - order][0], rule[at - order][1], rule[at - order][2]);
        unused += sky_rule_pretrain(&sky_config_full, name).unused;
    }
    OK(n == 1480 && same == n, "full model: %d of %d rules to nine digits", same, n);
    OK(unused == 2, "without any gradient: the class tokens of both Sentinel backbones");
    if (f)
        fclose(f);
    if (names)
        fclose(names);
}

static void is(const sky_finetune_rules *r, const char *name, int ndim, double scale, double decay)
{
    sky_rule x = sky_rule_finetune(r, name, ndim);
    OK(fabs(x.lr_scale - scale) <= 1e-15 && x.decay == decay && !x.frozen && !x.unused, "%s: scale %g, decay %g", name, x.lr_scale, x.decay);
}

static void finetune(void)
{
    static const char *const plain_list[] = {"cls_token", "pos_embed", "norm", NULL}, *const layer_list[] = {"pos_embed", "cls_token", NULL}, *const frozen[] = {"backbone.patch_embed.", "backbone.layers.0.", NULL};
    sky_finetune_rules plain = {.weight_decay = 0.01, .no_decay = plain_list, .layer_decay = 1};
    is(&plain, "backbone.cls_token", 3, 1, 0);
    is(&plain, "backbone.pos_embed", 3, 1, 0);
    is(&plain, "backbone.layers.3.ln1.weight", 1, 1, 0.01); /* its name has no "norm" */
    is(&plain, "decode_head.bottleneck.bn.weight", 1, 1, 0.01);
    is(&plain, "backbone.layers.3.ffn.layers.1.bias", 1, 1, 0.01);
    is(&plain, "backbone.stages.1.blocks.0.norm1.weight", 1, 1, 0);
    sky_finetune_rules by_layer = {.weight_decay = 0.015, .no_decay = layer_list, .no_decay_1d = 1, .layer_decay = 0.84, .layers = 24};
    is(&by_layer, "backbone.patch_embed.projection.weight", 4, pow(0.84, 25), 0.015);
    is(&by_layer, "backbone.pos_embed", 3, pow(0.84, 25), 0);
    is(&by_layer, "backbone.layers.0.attn.attn.in_proj_weight", 2, pow(0.84, 24), 0.015);
    is(&by_layer, "backbone.layers.23.ffn.layers.1.weight", 2, 0.84, 0.015);
    is(&by_layer, "backbone.layers.23.ffn.layers.1.bias", 1, 0.84, 0);
    is(&by_layer, "backbone.layers.23.ln2.weight", 1, 0.84, 0);
    is(&by_layer, "neck.lateral_convs.0.conv.weight", 4, 1, 0.015);
    is(&by_layer, "decode_head.conv_seg.bias", 1, 1, 0);
    plain.frozen = frozen;
    OK(sky_rule_finetune(&plain, "backbone.layers.0.ln1.bias", 1).frozen && !sky_rule_finetune(&plain, "backbone.layers.01.x", 1).frozen, "frozen by the head of the name");
}

static void at(const sky_schedule *s, uint64_t step, double want, const char *what)
{
    double f = sky_schedule_factor(s, step);
    OK(fabs(f - want) <= 1e-15, "%s: step %llu: %.9g", what, (unsigned long long)step, f);
}

static void schedules(void)
{
    const sky_schedule pre = {SKY_LR_POLY, 1000, 30000, 0, 0, 1}, fine = {SKY_LR_POLY, 1000, 10000, 1e-6, 0, 1}, poly = {SKY_LR_POLY, 0, 10, 0, 0.1, 2},
                       cosine = {SKY_LR_COSINE, 10, 110, 0, 0.01, 1}, flat = {SKY_LR_CONSTANT, 4, 0, 0, 1, 1};
    at(&pre, 0, 0, "pretraining");
    at(&pre, 1, 0.001, "pretraining");
    at(&pre, 999, 0.999, "pretraining");
    at(&pre, 1000, 1, "pretraining");
    at(&pre, 15500, 0.5, "pretraining");
    at(&pre, 30000, 0, "pretraining");
    at(&pre, 30001, 0, "pretraining");
    at(&fine, 0, 1e-6, "fine-tuning");
    at(&fine, 500, 1e-6 + (1 - 1e-6) / 2, "fine-tuning");
    at(&fine, 5500, 0.5, "fine-tuning");
    at(&fine, 10000, 0, "fine-tuning");
    at(&poly, 5, 0.1 + 0.9 * 0.25, "polynomial");
    at(&cosine, 10, 1, "cosine");
    at(&cosine, 60, 0.01 + 0.99 * 0.5, "cosine");
    at(&cosine, 110, 0.01, "cosine");
    at(&flat, 2, 0.5, "constant");
    at(&flat, 1000000, 1, "constant");
}

int main(void)
{
    tiny();
    full();
    finetune();
    schedules();
    return END();
}
