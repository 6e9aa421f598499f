/* rules.c -- pretraining: NOTES.md section 9; fine-tuning: sections 10 and 16. */
#include "train/rules.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What stands after head and a dot in name, or NULL. */
static const char *after(const char *name, const char *head)
{
    size_t n = strlen(head);
    return !strncmp(name, head, n) && name[n] == '.' ? name + n + 1 : NULL;
}

static int has(const char *name, const char *part) { return strstr(name, part) != NULL; }

/* ---- pretraining --------------------------------------------------------------------------------------------- */

typedef struct {
    int depth, id;
    int body; /* a block or layer, or what belongs to one */
} place;

/* 1-based number of a block through all stages; patch merging counts as the last block of its stage. */
static int swin_block(const sky_config *c, const char *rest)
{
    int stage = atoi(rest + 7), id = 0;
    for (int i = 0; i < stage && i < 4; i++)
        id += c->swin_depths[i];
    const char *block = strstr(rest, ".blocks.");
    return id + 1 + (block ? atoi(block + 8) : stage < 4 ? c->swin_depths[stage] - 1 : 0);
}

static place place_of(const sky_config *c, const char *rest, int swin, int depth)
{
    place p = {depth, depth + 1, 0};
    if (after(rest, "patch_embed") || !strcmp(rest, "mask_token") || !strcmp(rest, "pos_embed") || (!swin && !strcmp(rest, "cls_token")))
        p.id = 0;
    else if (swin ? after(rest, "stages") != NULL : after(rest, "layers") != NULL) {
        p.body = 1;
        p.id = swin ? swin_block(c, rest) : atoi(rest + 7) + 1;
    }
    return p;
}

sky_rule sky_rule_pretrain(const sky_config *c, const char *name)
{
    static const char *const backbones[] = {"backbone_hr", "backbone_s2", "backbone_s1", "fusion"};
    int swin_depth = c->swin_depths[0] + c->swin_depths[1] + c->swin_depths[2] + c->swin_depths[3];
    const int depth[] = {swin_depth, c->vit_depth, c->vit_depth, c->fus_depth};
    for (int i = 0; i < 4; i++) {
        const char *rest = after(name, backbones[i]);
        if (!rest)
            continue;
        place p = place_of(c, rest, i == 0, depth[i]);
        int frozen = i == 3 ? c->frozen_fusion_from > 0 && p.body && p.id >= c->frozen_fusion_from
                            : c->frozen_blocks > 0 && (after(rest, "patch_embed") || (p.body && p.id <= c->frozen_blocks));
        if (frozen)
            return (sky_rule){.frozen = 1};
        return (sky_rule){.lr_scale = pow(c->layer_decay, p.depth + 1 - p.id), .decay = has(rest, "norm") || has(rest, "bias") ? 0 : c->weight_decay,
                          .unused = (i == 1 || i == 2) && !strcmp(rest, "cls_token")};
    }
    return (sky_rule){.lr_scale = 1, .decay = has(name, ".bn.") || has(name, "bias") ? 0 : c->weight_decay};
}

/* ---- fine-tuning --------------------------------------------------------------------------------------------- */

static int any_part(const char *name, const char *const *list)
{
    for (; list && *list; list++)
        if (has(name, *list))
            return 1;
    return 0;
}

static int any_head(const char *name, const char *const *list)
{
    for (; list && *list; list++)
        if (!strncmp(name, *list, strlen(*list)))
            return 1;
    return 0;
}

static int layer_id(const char *name, int layers)
{
    const char *rest = after(name, "backbone");
    if (rest && (after(rest, "patch_embed") || !strcmp(rest, "cls_token") || !strcmp(rest, "pos_embed") || !strcmp(rest, "mask_token")))
        return 0;
    return rest && after(rest, "layers") ? atoi(rest + 7) + 1 : layers + 1;
}

sky_rule sky_rule_finetune(const sky_finetune_rules *r, const char *name, int ndim)
{
    if (any_head(name, r->frozen))
        return (sky_rule){.frozen = 1};
    size_t n = strlen(name);
    int flat = r->no_decay_1d && (ndim <= 1 || (n >= 5 && !strcmp(name + n - 5, ".bias")));
    return (sky_rule){.lr_scale = r->layer_decay == 1 ? 1 : pow(r->layer_decay, r->layers + 1 - layer_id(name, r->layers)),
                      .decay = flat || any_part(name, r->no_decay) ? 0 : r->weight_decay};
}
