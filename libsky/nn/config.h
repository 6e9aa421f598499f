/* config.h -- the model's dimensions (sky-config(5)); member names are those of the YAML and of released metadata. */
#ifndef SKY_NN_CONFIG_H
#define SKY_NN_CONFIG_H

#include "base/err.h"
#include "base/json.h"

typedef struct {
    int vocab;               /* class slots 1..vocab, slot 0 = ignore / background */
    char hr_bands[3][16];    /* bands of a picture that the model takes for red, green, blue; "": those (docs/protocol.md) */
    int hr_channels, swin_dim, swin_depths[4], swin_heads[4], swin_window, swin_patch, swin_extra_norm, swin_merge_stage;
    int attn_dims[3], attn_heads;
    int s2_channels, s1_channels, vit_dim, vit_depth, vit_heads, vit_img[2], vit_patch, vit_out[8], vit_nout, vit_merge;
    int up_scale;
    int fus_dim, fus_depth, fus_heads;
    int vae_conv, vae_z, vae_codes;
    int uper_channels, uper_pools[8], uper_npools;
    /* stochastic depth, dropout and optimisation (read and kept for training) */
    double swin_drop_path, vit_drop_path, fus_drop_path, uper_dropout;
    double lr, weight_decay, layer_decay, clip_norm;
    int frozen_blocks, frozen_fusion_from;
} sky_config;

extern const sky_config sky_config_full; /* the released model */
/* Start from *cfg as given, override with the members of j (unknown keys are errors), check every dimension. */
int sky_config_parse(sky_config *cfg, const json_t *j, const char *where, sky_err *e) SKY_MUST_USE;
/* A preset name ("full", "tiny", ...) or a YAML file. */
int sky_config_load(sky_config *cfg, const char *name, sky_err *e) SKY_MUST_USE;

/* Every member as a JSON object, as sky_config_parse reads it (metadata of written weights). NULL: memory. */
json_t *sky_config_json(const sky_config *cfg);

#endif
