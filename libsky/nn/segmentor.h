/* segmentor.h -- the fine-tuning networks: vision transformer or Swin, multi-level neck, UPerHead, auxiliary head; with
 * several dates per sample a fusion transformer reduces them at every location of every level. */
#ifndef SKY_NN_SEGMENTOR_H
#define SKY_NN_SEGMENTOR_H

#include "nn/config.h"
#include "nn/params.h"
#include "tensor/tape.h"

typedef struct sky_seg sky_seg;

typedef struct {
    int swin;              /* 0: vision transformer, levels cfg->vit_out; 1: Swin without annotation, its four stages */
    int channels, classes;
    int dates;             /* 0: a single image per sample, else that many */
    int neck_dim, head_channels;
    int aux_channels;      /* 0: no auxiliary head */
    double scales[8];      /* neck scale per level */
    int patch_bias;        /* the patch projection has a bias (pretrained weights do, the recipes do not; Swin always) */
    /* training */
    double drop, drop_path; /* of the vision transformer; Swin takes cfg->swin_drop_path */
    double head_drop;       /* channels before the classifiers */
    double aux_weight;      /* of the auxiliary loss */
    int sigmoid;            /* form of the cross entropy (tensor/ops.h) */
    const float *class_weight; /* [classes] or NULL; borrowed */
} sky_seg_config;
extern const sky_seg_config sky_seg_defaults; /* one image, widths of the published recipes; channels and classes 0 */
/* Override *s with the members of j: backbone (vit or swin), scales, and the names above but class_weight; unknown keys are
 * errors. Ranges are checked by sky_seg_open. */
int sky_seg_config_parse(sky_seg_config *s, const json_t *j, const char *where, sky_err *e) SKY_MUST_USE;
json_t *sky_seg_config_json(const sky_seg_config *s, int levels); /* NULL: memory */

typedef struct {
    int batch_stats;       /* batch norm with batch statistics, updating the running ones */
    void (*tap)(void *arg, const char *name, const sky_tensor *t);
    void *tap_arg;
} sky_seg_opts;

typedef struct {
    sky_tensor logits, aux_logits; /* F32 [B,h,w,classes], low resolution */
    float loss_decode, loss_aux, loss_total; /* with labels: total = decode + aux_weight * aux */
    sky_term terms[2];     /* of loss_total, for sky_tape_backward: only while a tape records */
    int nterms;
} sky_seg_out;

int sky_seg_open(sky_seg **out, const sky_config *cfg, const sky_seg_config *s, sky_err *e) SKY_MUST_USE;
void sky_seg_close(sky_seg *m); /* NULL allowed */
sky_params *sky_seg_params(sky_seg *m); /* load with sky_params_load; borrowed */
/* img F32 [B*dates,H,W,C], date index fastest; labels U8 [B,H,W] with 255 = ignore, or none. As sky_pp_forward. */
int sky_seg_forward(sky_seg *m, sky_ctx *c, sky_tensor img, sky_tensor labels, const sky_seg_opts *o, sky_seg_out *out, sky_err *e) SKY_MUST_USE;

#endif
