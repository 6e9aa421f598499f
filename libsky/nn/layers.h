/* layers.h -- the building blocks of the models (internal to nn/ and its tests).
 *
 * A layer is a struct of parameters with two functions: declare (names and shapes into a scope) and forward (operations
 * on a context's stack; nothing but the result stays there). Maps are [B,h,w,C], token sequences [B,L,C]; where the
 * arrangement does not matter [..,C] is said. Errors stick in the context. */
#ifndef SKY_NN_LAYERS_H
#define SKY_NN_LAYERS_H

#include "nn/config.h"
#include "nn/params.h"
#include "tensor/ops.h"
#include "tensor/tape.h"

#define SKY_SWIN_EPS 1e-5f /* every norm of the Swin branch and of the fusion transformer */
#define SKY_VIT_EPS 1e-6f  /* the Sentinel branches */
#define SKY_BN_EPS 1e-5f
#define SKY_BN_MOMENTUM 0.1f

/* Intermediate results for checking; a NULL tap or fn: none. Not called in a dry run. */
typedef struct {
    void (*fn)(void *arg, const char *name, const sky_tensor *t);
    void *arg;
} sky_nn_tap;
void sky_nn_tap_call(const sky_ctx *c, const sky_nn_tap *tap, sky_tensor t, const char *fmt, ...) SKY_PRINTF(4, 5);

/* ---- random decisions of training: sky_drop with a layer number that follows from the name */
typedef struct {
    float p;
    uint32_t layer;
} sky_nn_drop;
sky_nn_drop sky_nn_drop_of(const sky_scope *s, const char *name, double p);
/* One decision per element of the first dimension: stochastic depth of images or sequences. */
sky_tensor sky_nn_drop_rows(sky_ctx *c, const sky_nn_drop *l, sky_tensor x);
sky_tensor sky_nn_drop_elements(sky_ctx *c, const sky_nn_drop *l, sky_tensor x);
sky_tensor sky_nn_drop_channels(sky_ctx *c, const sky_nn_drop *l, sky_tensor x); /* one per sample and channel */
static inline int sky_nn_drops(const sky_ctx *c, const sky_nn_drop *l) { return c->draws && l->p > 0; }
/* Rate of layer i of n when it grows evenly from 0 to `last`. */
static inline double sky_nn_depth_rate(double last, int i, int n) { return n > 1 ? last * i / (n - 1) : 0; }

/* ---- linear, norm */
typedef struct {
    sky_tensor w, b; /* [N,K]; [N], or sky_none without bias */
} sky_nn_linear;
typedef struct {
    sky_tensor w, b;
    float eps;
} sky_nn_norm;
void sky_nn_linear_declare(sky_nn_linear *l, const sky_scope *s, int64_t n, int64_t k, int bias);
void sky_nn_norm_declare(sky_nn_norm *l, const sky_scope *s, int64_t n, float eps);
sky_tensor sky_nn_linear_forward(sky_ctx *c, const sky_nn_linear *l, sky_tensor x, sky_act act, sky_tensor residual);
sky_tensor sky_nn_norm_forward(sky_ctx *c, const sky_nn_norm *l, sky_tensor x, sky_tensor residual);

/* ---- multi-head attention with its skip, feed-forward, pre-norm encoder layer */
typedef struct {
    sky_nn_linear in, out; /* in: rows q, k, v */
    int heads;
    sky_nn_drop drop;
} sky_nn_mha;
typedef struct {
    sky_nn_linear up, down;
    sky_nn_drop drop[2]; /* of the hidden values, of the result */
} sky_nn_ffn;
typedef struct {
    sky_nn_norm ln1, ln2;
    sky_nn_mha attn;
    sky_nn_ffn ffn;
    sky_nn_drop path;
} sky_nn_encoder;
/* drop: rate of element-wise dropout; path: rate of stochastic depth (of the feed-forward branch). Training only. */
void sky_nn_mha_declare(sky_nn_mha *l, const sky_scope *s, int64_t dim, int heads, double drop);
void sky_nn_ffn_declare(sky_nn_ffn *l, const sky_scope *s, int64_t dim, double drop);
void sky_nn_encoder_declare(sky_nn_encoder *l, const sky_scope *s, int64_t dim, int heads, float eps, double drop, double path);
/* skip + MHA(x); x [B,L,C] */
sky_tensor sky_nn_mha_forward(sky_ctx *c, const sky_nn_mha *l, sky_tensor x, sky_tensor skip);
/* residual (or none) + down(gelu(up(x))) */
sky_tensor sky_nn_ffn_forward(sky_ctx *c, const sky_nn_ffn *l, sky_tensor x, sky_tensor residual);
/* x + MHA(ln1 x), and x + ffn(ln2 x); the layer is one after the other. */
sky_tensor sky_nn_encoder_attend(sky_ctx *c, const sky_nn_encoder *l, sky_tensor x);
sky_tensor sky_nn_encoder_feed(sky_ctx *c, const sky_nn_encoder *l, sky_tensor x);
sky_tensor sky_nn_encoder_forward(sky_ctx *c, const sky_nn_encoder *l, sky_tensor x); /* recomputed in backward where the tape says so */

/* ---- patches and annotation */
typedef struct {
    sky_tensor w, b; /* [N,C,p,p]; [N] or none */
    sky_nn_norm norm;
    int patch, normed;
} sky_nn_patch;
void sky_nn_patch_declare(sky_nn_patch *l, const sky_scope *s, int channels, int dim, int patch, int bias, int norm);
/* [B,H,W,C] -> [B,ceil(H/p),ceil(W/p),N] */
sky_tensor sky_nn_patch_forward(sky_ctx *c, const sky_nn_patch *l, sky_tensor x);

typedef struct {
    sky_tensor mask_token, table, weight; /* [1,1,C], [vocab+1,C], [1,p*p] */
    int patch;
} sky_nn_vocab;
typedef struct {
    sky_tensor labels; /* U8 [B,H,W] */
    sky_tensor mask;   /* U8 [B,mh,mw], or none */
} sky_nn_annotation;
void sky_nn_vocab_declare(sky_nn_vocab *l, const sky_scope *s, int vocab, int dim, int patch);
/* Annotation tokens to the right of the image tokens x [B,h,w,C] -> [B,h,2w,C]; merge: the mean of both, [B,h,w,C] */
sky_tensor sky_nn_join_annotation(sky_ctx *c, const sky_nn_vocab *l, sky_tensor x, const sky_nn_annotation *a, int merge);

/* ---- Swin V2 */
typedef struct {
    sky_tensor logit_scale, q_bias, v_bias, cpb_w0, cpb_b0, cpb_w2, qkv;
    sky_nn_linear proj;
    int heads, win, shift;
    sky_tensor bias, pad_qkv; /* derived from the parameters, kept until they change */
    void *derived;            /* memory of `be`, derived_bytes of it */
    size_t derived_bytes;
    const sky_backend *be;
    sky_dev *dev;
} sky_nn_window;
typedef struct {
    sky_nn_window attn;
    sky_nn_norm norm1, norm2, norm3;
    sky_nn_ffn ffn;
    int extra; /* norm3 exists */
    sky_nn_drop path[2]; /* of the attention's result and of the feed-forward's, each before its norm */
} sky_nn_swin_block;
typedef struct {
    sky_tensor reduction; /* [2C,4C] */
    sky_nn_norm norm;
} sky_nn_merge;
typedef struct {
    sky_nn_linear proj_in, proj_out;
    sky_nn_mha attn;
} sky_nn_global;
typedef struct {
    sky_nn_patch embed;
    sky_nn_swin_block *blocks; /* all stages, in order */
    int depths[4], nblocks;
    sky_nn_merge merge[4]; /* merge[i] opens stage i >= 1 */
    sky_nn_norm norm[4];
    /* with annotation only */
    int annotated, merge_stage;
    sky_nn_vocab vocab;
    sky_nn_global global[3];
    sky_nn_norm norm_attn;
} sky_nn_swin;
void sky_nn_window_declare(sky_nn_window *l, const sky_scope *s, int64_t dim, int heads, int win, int shift);
sky_tensor sky_nn_window_forward(sky_ctx *c, sky_nn_window *l, sky_tensor x); /* [B,H,W,C], no residual */
/* The relative bias [heads,win^2,win^2], computed from the parameters. */
sky_tensor sky_nn_window_bias(sky_ctx *c, const sky_nn_window *l);
void sky_nn_window_forget(sky_nn_window *l); /* parameters changed: drop what was derived from them */
void sky_nn_swin_block_declare(sky_nn_swin_block *l, const sky_scope *s, int64_t dim, int heads, int win, int shift, int extra, double path);
sky_tensor sky_nn_swin_block_forward(sky_ctx *c, sky_nn_swin_block *l, sky_tensor x);
void sky_nn_merge_declare(sky_nn_merge *l, const sky_scope *s, int64_t dim);
sky_tensor sky_nn_merge_forward(sky_ctx *c, const sky_nn_merge *l, sky_tensor x);
void sky_nn_global_declare(sky_nn_global *l, const sky_scope *s, int64_t dim, int64_t inner, int heads);
sky_tensor sky_nn_global_forward(sky_ctx *c, const sky_nn_global *l, sky_tensor x); /* x + A(x), [B,h,w,C] */
int sky_nn_swin_open(sky_nn_swin *m, const sky_scope *s, const sky_config *cfg, int annotated, sky_err *e) SKY_MUST_USE;
void sky_nn_swin_forget(sky_nn_swin *m);
void sky_nn_swin_close(sky_nn_swin *m);
/* out[4]: normed stage maps, NHWC; a: annotation, NULL for a network opened without. */
void sky_nn_swin_forward(sky_ctx *c, sky_nn_swin *m, sky_tensor img, const sky_nn_annotation *a, sky_tensor out[4], const sky_nn_tap *tap);

/* ---- plain vision transformer */
typedef struct {
    sky_nn_patch embed;
    sky_tensor cls_token, pos_embed; /* cls_token takes no part */
    sky_nn_encoder *layers;
    int depth, grid[2], out[8], nout;
    int annotated, merge; /* annotated: Sentinel branch of the pretraining model; else fine-tuning */
    sky_nn_vocab vocab;
    sky_nn_drop drop; /* after the positions */
} sky_nn_vit;
/* drop: rate of element-wise dropout; path: last rate of stochastic depth. */
int sky_nn_vit_open(sky_nn_vit *m, const sky_scope *s, const sky_config *cfg, int channels, int annotated, int patch_bias, double drop, double path, sky_err *e) SKY_MUST_USE;
void sky_nn_vit_close(sky_nn_vit *m);
/* out: cfg.vit_out maps [B,h,w,D]; with last_only, out[0] is the last of them. tag: "s2", "s1" for taps. */
void sky_nn_vit_forward(sky_ctx *c, const sky_nn_vit *m, sky_tensor img, const sky_nn_annotation *a, int last_only, sky_tensor *out, const sky_nn_tap *tap, const char *tag);
/* 1x1 convolution and pixel shuffle */
typedef struct {
    sky_tensor w, b; /* [s*s*N,C,1,1] */
    int scale;
} sky_nn_uphead;
void sky_nn_uphead_declare(sky_nn_uphead *l, const sky_scope *s, int64_t cin, int64_t cout, int scale);
sky_tensor sky_nn_uphead_forward(sky_ctx *c, const sky_nn_uphead *l, sky_tensor x);

/* ---- fusion transformer */
typedef struct {
    sky_nn_linear proj;
    sky_tensor cls_token;
    sky_nn_encoder *layers;
    int depth;
} sky_nn_fusion;
int sky_nn_fusion_open(sky_nn_fusion *m, const sky_scope *s, int64_t cin, int64_t dim, int depth, int heads, double path, sky_err *e) SKY_MUST_USE;
void sky_nn_fusion_close(sky_nn_fusion *m);
sky_tensor sky_nn_fusion_forward(sky_ctx *c, const sky_nn_fusion *m, sky_tensor x); /* [P,N,Cin] -> [P,D] */

/* ---- modality completion */
typedef struct {
    sky_tensor gamma[4], conv1[2], conv2[2], logit_conv[2], rec_conv[2], codebook; /* convolutions: weight, bias */
    sky_tensor block[4][2][2]; /* enc 1, enc 2, dec 1, dec 2; first and second convolution */
} sky_nn_codevae;
void sky_nn_codevae_declare(sky_nn_codevae *l, const sky_scope *s, int64_t cin, int64_t conv, int64_t z, int64_t codes);
sky_tensor sky_nn_codevae_encode(sky_ctx *c, const sky_nn_codevae *l, sky_tensor x);      /* [B,h,w,Cin] -> [B,h/4,w/4,codes] */
sky_tensor sky_nn_codevae_decode(sky_ctx *c, const sky_nn_codevae *l, sky_tensor logits); /* and back */
sky_tensor sky_nn_codebook_mix(sky_ctx *c, sky_tensor logits, sky_tensor book);           /* softmax(9 logits) book */

/* Maps of the three modalities. feat[m] holds rows for some samples of the batch: row[m][b] is the row of sample b, or -1
 * when b has none; `present` flags say which of them count. */
typedef struct {
    sky_tensor feat[3];
    const int64_t *row[3];
    const uint8_t *flags; /* [B*3] */
    int64_t batch;
} sky_nn_maps;
#define SKY_NN_VAE_TERMS 6
typedef struct {
    sky_tensor out[3];   /* [B,h,w,C] completed maps */
    sky_term terms[SKY_NN_VAE_TERMS]; /* with losses: "vae_mse" of each modality, "vae_kl" of each pair; some may be none */
    int nterms;
} sky_nn_completed;
/* Only what is needed is computed: nothing when all are present and neither losses nor taps are wanted. With losses every
 * result stays on the stack. */
void sky_nn_complete(sky_ctx *c, const sky_nn_codevae vae[3], const sky_nn_maps *in, int losses, sky_nn_completed *out, const sky_nn_tap *tap);

/* ---- convolutional heads */
typedef struct {
    sky_tensor w, gamma, beta, mean, var; /* batch norm; w [N,C,k,k] */
} sky_nn_convbn;
void sky_nn_convbn_declare(sky_nn_convbn *l, const sky_scope *s, int64_t cin, int64_t cout, int k);
sky_tensor sky_nn_convbn_forward(sky_ctx *c, const sky_nn_convbn *l, sky_tensor x, int batch_stats); /* conv, norm, ReLU */
typedef struct {
    sky_tensor seg[2]; /* classifier: weight, bias */
    sky_nn_convbn psp[8], bottleneck, lateral[7], fpn[7], fpn_bottleneck;
    int pools[8], npools, levels;
    sky_nn_drop drop; /* of channels, before the classifier */
} sky_nn_uper;
int sky_nn_uper_declare(sky_nn_uper *l, const sky_scope *s, const int64_t *cins, int levels, int64_t ch, int classes, const int *pools, int npools, double drop, sky_err *e) SKY_MUST_USE;
/* feats fine -> coarse, [B,h,w,C]; logits at the size of feats[0] */
sky_tensor sky_nn_uper_forward(sky_ctx *c, const sky_nn_uper *l, const sky_tensor *feats, int batch_stats, const sky_nn_tap *tap);
typedef struct {
    sky_tensor seg[2];
    sky_nn_convbn conv;
    sky_nn_drop drop;
} sky_nn_fcn;
void sky_nn_fcn_declare(sky_nn_fcn *l, const sky_scope *s, int64_t cin, int64_t ch, int classes, double drop);
sky_tensor sky_nn_fcn_forward(sky_ctx *c, const sky_nn_fcn *l, sky_tensor x, int batch_stats);

/* ---- multi-level neck */
typedef struct {
    sky_tensor lateral[8][2], conv[8][2]; /* weight, bias */
    double scale[8];
    int levels;
} sky_nn_neck;
void sky_nn_neck_declare(sky_nn_neck *l, const sky_scope *s, const int64_t *cins, int64_t cout, const double *scale, int levels);
sky_tensor sky_nn_neck_level(sky_ctx *c, const sky_nn_neck *l, int level, sky_tensor x);

/* A convolution with bias and without norm: weight and bias under NAME.weight and NAME.bias. */
void sky_nn_conv_declare(sky_tensor wb[2], const sky_scope *s, int64_t cin, int64_t cout, int k);

#endif
