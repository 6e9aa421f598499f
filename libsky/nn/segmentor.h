/* segmentor.h -- the fine-tuning networks: vision transformer, multi-level neck, UPerHead, auxiliary head; with several
 * dates per sample a fusion transformer reduces them at every location of every level. */
#ifndef SKY_NN_SEGMENTOR_H
#define SKY_NN_SEGMENTOR_H

#include "nn/config.h"
#include "nn/params.h"
#include "tensor/tensor.h"

typedef struct sky_seg sky_seg;

typedef struct {
    int channels, classes;
    int dates;             /* 0: a single image per sample, else that many */
    int neck_dim, head_channels, aux_channels;
    double scales[8];      /* neck scale per level of cfg->vit_out */
    int patch_bias;        /* the patch projection has a bias (pretrained weights do, the recipes do not) */
} sky_seg_config;

typedef struct {
    int batch_stats;       /* batch norm with batch statistics, updating the running ones */
    void (*tap)(void *arg, const char *name, const sky_tensor *t);
    void *tap_arg;
} sky_seg_opts;

typedef struct {
    sky_tensor logits, aux_logits; /* F32 [B,h,w,classes], low resolution */
    float loss_decode, loss_aux, loss_total; /* with labels: total = decode + 0.4 aux */
} sky_seg_out;

int sky_seg_open(sky_seg **out, const sky_config *cfg, const sky_seg_config *s, sky_err *e) SKY_MUST_USE;
void sky_seg_close(sky_seg *m); /* NULL allowed */
sky_params *sky_seg_params(sky_seg *m); /* load with sky_params_load; borrowed */
/* img F32 [B*dates,H,W,C], date index fastest; labels U8 [B,H,W] with 255 = ignore, or none. As sky_pp_forward. */
int sky_seg_forward(sky_seg *m, sky_ctx *c, sky_tensor img, sky_tensor labels, const sky_seg_opts *o, sky_seg_out *out, sky_err *e) SKY_MUST_USE;

#endif
