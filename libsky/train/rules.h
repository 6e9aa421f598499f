/* rules.h -- by name: how fast a parameter learns, whether it decays, whether it is trained at all. */
#ifndef SKY_TRAIN_RULES_H
#define SKY_TRAIN_RULES_H

#include "nn/config.h"
#include "nn/params.h"

typedef struct {
    double lr_scale; /* of the learning rate */
    double decay;    /* weight decay, absolute; its step is lr * lr_scale * decay */
    int frozen;      /* not trained; lr_scale and decay are 0 */
    int unused;      /* never part of the loss: without a gradient (not: a gradient of zero), so nothing touches it */
} sky_rule;

/* Pretraining (NOTES.md section 9), from layer_decay, weight_decay, frozen_blocks and frozen_fusion_from of the model. */
sky_rule sky_rule_pretrain(const sky_config *c, const char *name);

/* Fine-tuning (NOTES.md sections 10 and 16). */
typedef struct {
    double weight_decay;
    const char *const *no_decay; /* NULL-terminated: a name that contains one of these does not decay; NULL: none */
    int no_decay_1d;             /* neither do parameters of one dimension, nor names ending in ".bias" */
    double layer_decay;          /* 1: none; else the scale is layer_decay^(layers + 1 - id) */
    int layers;                  /* of the backbone. id: 0 tokens, positions and patch embedding of the backbone,
                                  * k + 1 for its layer k, layers + 1 for everything else */
    const char *const *frozen;   /* NULL-terminated prefixes of names that are not trained; NULL: none */
} sky_finetune_rules;
sky_rule sky_rule_finetune(const sky_finetune_rules *r, const char *name, int ndim);

#endif
