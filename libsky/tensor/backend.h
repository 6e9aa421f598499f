/* backend.h -- the table a backend fills in: memory of its device, and one entry per operation of tensor/ops.h.
 *
 * The front (tensor/ops_*.c) has checked shapes and element types and allocated the result before it calls; an entry
 * fills `y` and nothing else. Entries return 0 or a negative SKY_E... with the message in e, starting with the
 * operation's name. Optional tensors that were left out have data NULL. A NULL entry is not offered: the front fails by
 * name, nothing falls back in silence. Work may still be under way when an entry returns; only `get` waits.
 *
 * Backward entries (called by tensor/back_*.c) take dy, the gradient of the forward result, and give gradients of its
 * inputs through sky_grad: t.data NULL means not wanted; with `add` set t already holds a sum and is added to, else it is
 * written, every element. Gradients are F32 whatever the type of the operand; F64 holds sums that are joined over ranks.
 * Reductions have a fixed order: the same inputs give the same bits, whatever the number of threads. */
#ifndef SKY_TENSOR_BACKEND_H
#define SKY_TENSOR_BACKEND_H

#include "tensor/ops.h"

/* Where a gradient goes. */
typedef struct {
    sky_tensor t;
    int add;
} sky_grad;

/* Cross entropy over pixels. Group of a pixel: 0, or with groups == 2 (the reconstruction loss) 0 for labels > 0 and 1 for
 * label 0. Softmax form: -w[label] * log softmax(x)[label]; sigmoid form: sum over the channels of binary cross entropy
 * against the one-hot label, each channel times w. Pixels labelled `ignore` add 0. */
typedef struct {
    int ignore;          /* label to leave out; -1: none */
    int groups;          /* 1 or 2 */
    int sigmoid;
    const float *weight; /* host, one per channel; NULL: all 1 */
} sky_entropy;

/* Random decisions of sky_drop: word n of sample s is word n % 4 of Philox4x32-10 with key (low, high half of `key`) and
 * counter (n / 4, layer, low half of s, high half of s); kept when it is >= threshold. */
typedef struct {
    uint64_t key;
    uint32_t layer, threshold;
    float scale;            /* of what is kept */
    int64_t per_sample;     /* elements per sample */
    int64_t run, cycle;     /* element i of a sample takes decision (i / run) % cycle */
    const uint64_t *sample; /* host, numel / per_sample of them */
} sky_drops;

/* One step of AdamW (decoupled decay; t counts from 1): g' = g*gscale; w -= lr*decay*w; m = b1*m + (1-b1)*g';
 * v = b2*v + (1-b2)*g'^2; w -= lr * (m/(1-b1^t)) / (sqrt(v/(1-b2^t)) + eps). */
typedef struct {
    double lr, decay, beta1, beta2, eps, gscale;
    uint64_t t;
} sky_adamw;
/* One step of SGD: g' = g*gscale + decay*w; m = momentum*m + g' (first step: m = g'); w -= lr*m. */
typedef struct {
    double lr, decay, momentum, gscale;
    int first;
} sky_sgd;

/* Ranks with a device each that pass memory between them: what one of them makes and all of them are given. */
typedef struct {
    char bytes[128];
} sky_meeting;
typedef struct {
    void *p; /* memory of the device */
    size_t bytes;
} sky_part;

/* A device does several things at the same time, each in the order it was asked for: its work, which is everything unless
 * something else is said; copies from and to the host (`carry`); sums over ranks (`turn_to`). A lane may be told to follow
 * another; marks are for the host to wait for. */
typedef enum { SKY_LANE_WORK, SKY_LANE_IN, SKY_LANE_OUT, SKY_LANE_LINK, SKY_LANES } sky_lane;
enum { SKY_MARKS = 16 };

/* Work that was queued once and can be queued again: the backend's own (tensor/replay.h). */
typedef struct sky_work sky_work;
enum { SKY_WORK_NEW, SKY_WORK_REHEARSED, SKY_WORK_RECORDED };

struct sky_backend {
    const char *name;
    int (*open)(sky_dev **out, int index, int threads, sky_err *e); /* index -1: not given */
    void (*close)(sky_dev *d);                                      /* NULL allowed */

    int own_memory; /* tensors must lie in memory of `alloc`; 0: host memory will do, and is where `alloc` gives it */
    int (*alloc)(sky_dev *d, void **p, size_t bytes, sky_err *e);   /* at least 64-byte aligned, contents undefined */
    void (*free)(sky_dev *d, void *p, size_t bytes);                /* p NULL allowed */
    int (*put)(sky_dev *d, sky_tensor *y, const void *host, sky_err *e);
    int (*get)(sky_dev *d, void *host, const sky_tensor *x, sky_err *e);
    int (*move)(sky_dev *d, void *dst, const void *src, size_t bytes, sky_err *e); /* apart, or dst < src: those may overlap */

    /* ---- copies beside the work (tensor/transit.h); NULL entries where own_memory is 0 */
    int (*host_alloc)(sky_dev *d, void **p, size_t bytes, sky_err *e);              /* host memory that `carry` takes */
    void (*host_free)(sky_dev *d, void *p);                                          /* NULL allowed */
    int (*carry)(sky_dev *d, sky_lane lane, void *dst, const void *src, size_t bytes, sky_err *e); /* IN: from the host, OUT: to it; may be read and written until a mark behind it is reached */
    void (*turn_to)(sky_dev *d, sky_lane lane);                                      /* operations are of this lane from now on: WORK, or LINK, which knows `exchange` and `add_parts` */
    int (*follow)(sky_dev *d, sky_lane lane, sky_lane other, sky_err *e);            /* what is asked of `lane` from now on waits for all asked of `other` until now */
    int (*mark)(sky_dev *d, sky_lane lane, int i, sky_err *e);                       /* mark i: all asked of `lane` until now */
    int (*reach)(sky_dev *d, int i, sky_err *e);                                     /* the host waits for mark i; of WORK: and hears of bad input since the mark before */

    /* ---- recorded work; NULL entries: there is nothing to gain by it. w NULL: nothing yet, SKY_WORK_NEW */
    int (*work_state)(const sky_dev *d, const sky_work *w);        /* NEW also after memory it names was freed */
    int (*work_rehearse)(sky_dev *d, sky_work **w, sky_err *e);    /* until work_end operations run as always; what recording them will need is measured */
    int (*work_record)(sky_dev *d, sky_work *w, sky_err *e);       /* until work_end operations are noted, not run; what would allocate, free or wait fails */
    int (*work_end)(sky_dev *d, sky_work *w, int done, sky_err *e); /* done 0: give up what was begun, NEW again */
    int (*work_replay)(sky_dev *d, const sky_work *w, sky_err *e); /* RECORDED: as if its operations were queued now */
    void (*work_free)(sky_dev *d, sky_work *w);                    /* NULL allowed */

    /* ---- other devices; a NULL entry: there is no way to them */
    int (*meet)(sky_meeting *m, sky_err *e);
    int (*join)(sky_dev *d, const sky_meeting *m, int rank, int ranks, sky_err *e); /* returns when all have; once per device, until close */
    /* give[r] goes to rank r, take[r] comes from it, for all r (the rank itself too), as one step among the device's work.
     * give[r] and r's take are of one size; 0: nothing. What is taken overlaps nothing else. */
    int (*exchange)(sky_dev *d, const sky_part *give, const sky_part *take, sky_err *e);

    int (*linear)(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *b, sky_act act, const sky_tensor *residual, sky_err *e);
    int (*matmul)(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *residual, sky_err *e); /* residual may be y */
    int (*conv2d)(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *scale, const sky_tensor *shift, sky_act act, sky_err *e);
    int (*unfold)(sky_dev *d, sky_tensor *y, const sky_tensor *x, int p, sky_err *e);
    int (*pixel_shuffle)(sky_dev *d, sky_tensor *y, const sky_tensor *x, int r, sky_err *e);

    int (*layernorm)(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *b, float eps, const sky_tensor *residual, sky_err *e);
    int (*batchnorm_fold)(sky_dev *d, sky_tensor *y, const sky_tensor *w, const sky_tensor *b, const sky_tensor *mean, const sky_tensor *var, float eps, sky_err *e);
    int (*l2_normalize)(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e);
    int (*softmax)(sky_dev *d, sky_tensor *y, const sky_tensor *x, float scale, sky_err *e);

    int (*attention)(sky_dev *d, sky_tensor *y, sky_tensor *lse, const sky_tensor *qkv, sky_dtype products, sky_err *e); /* lse F32[B,heads,L] or none: log of the sum of exp of a row's scores */
    int (*window_attention)(sky_dev *d, sky_tensor *y, const sky_tensor *qkv, const sky_tensor *pad_qkv, const sky_tensor *bias, const sky_tensor *logit_scale, int win, int shift, sky_dtype products, sky_err *e); /* shift 0 where it is ignored */
    int (*window_bias)(sky_dev *d, sky_tensor *y, const sky_tensor *t, int win, sky_err *e);

    int (*annotation_tokens)(sky_dev *d, sky_tensor *y, const sky_tensor *labels, const sky_tensor *table, const sky_tensor *weight, const sky_tensor *mask, const sky_tensor *mask_token, int p, sky_err *e);

    int (*add)(sky_dev *d, sky_tensor *y, const sky_tensor *a, const sky_tensor *b, sky_err *e); /* y may be a */
    int (*add_scaled)(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *g, const sky_tensor *z, sky_err *e);
    int (*activate)(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_act act, sky_err *e);
    int (*cast)(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e);

    int (*normalise)(sky_dev *d, sky_tensor *y, const sky_tensor *x, float divide, const float *mean_std, sky_err *e);
    int (*lookup)(sky_dev *d, sky_tensor *y, const sky_tensor *x, int64_t groups, const uint8_t *table, sky_err *e);

    int (*concat)(sky_dev *d, sky_tensor *y, const sky_tensor *x, int n, int axis, sky_err *e);             /* axis >= 0 */
    int (*slice)(sky_dev *d, sky_tensor *y, const sky_tensor *x, int axis, int64_t from, sky_err *e);       /* axis >= 0 */
    int (*take)(sky_dev *d, sky_tensor *y, const sky_tensor *x, const int64_t *index, sky_err *e);
    int (*pick)(sky_dev *d, sky_tensor *y, const sky_tensor *a, const sky_tensor *b, const int64_t *pos, sky_err *e);
    int (*repeat)(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e);
    int (*transpose)(sky_dev *d, sky_tensor *y, const sky_tensor *x, const int *perm, sky_err *e);
    int (*halves_mean)(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e);
    int (*halves_stack)(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e);

    int (*resize)(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_interp how, sky_err *e);
    int (*avg_pool2)(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e);
    int (*adaptive_avg_pool)(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e);
    int (*resize_argmax)(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e);


    /* ---- batch norm in steps, so that sums can be joined over ranks between them. x [..,C] */
    int (*channel_sums)(sky_dev *d, sky_tensor *s, const sky_tensor *x, const sky_tensor *mean, sky_err *e); /* s F64[C]: sum of x, or with mean F32[C] of (x-mean)^2 */
    int (*channel_mean)(sky_dev *d, sky_tensor *y, const sky_tensor *s, double n, sky_err *e);                /* F32[C] = s/n */
    int (*batchnorm)(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *b, const sky_tensor *mean, const sky_tensor *var, float eps, sky_act act, sky_err *e);
    int (*update_stats)(sky_dev *d, sky_tensor *running_mean, sky_tensor *running_var, const sky_tensor *mean, const sky_tensor *var, float momentum, double n, sky_err *e); /* unbiased: var*n/(n-1) */
    /* dz = dy*act'(y): s F64[2,C] = sum dz, sum dz*xhat, xhat = (x-mean)/sqrt(var+eps) */
    int (*batchnorm_sums)(sky_dev *d, sky_tensor *s, const sky_tensor *dy, const sky_tensor *y, const sky_tensor *x, const sky_tensor *mean, const sky_tensor *var, float eps, sky_act act, sky_err *e);
    /* dx = w/sqrt(var+eps) * (dz - s[0]/n - xhat*s[1]/n); s none: stored statistics, dx = w/sqrt(var+eps) * dz */
    int (*batchnorm_dx)(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *mean, const sky_tensor *var, const sky_tensor *s, double n, float eps, sky_act act, sky_err *e);
    int (*f64_to_grad)(sky_dev *d, sky_grad *y, const sky_tensor *s, int64_t from, sky_err *e); /* F32 y[n] (+)= F64 s[from..from+n) */

    /* ---- losses in steps: sums of this rank, joined over ranks, then a ratio. G groups: s F64[2*G] = sums, then counts */
    int (*entropy_sums)(sky_dev *d, sky_tensor *s, const sky_tensor *x, const sky_tensor *labels, const sky_entropy *o, sky_err *e); /* counts: pixels of the group, ignored ones too (sigmoid: times channels). Labels are checked */
    int (*kl_sums)(sky_dev *d, sky_tensor *s, const sky_tensor *a, const sky_tensor *b, const uint8_t *flag, sky_err *e);           /* G 1: sum over flagged samples of sum (pb-pa)(log pb-log pa); samples */
    int (*mse_sums)(sky_dev *d, sky_tensor *s, const sky_tensor *a, const sky_tensor *b, const uint8_t *flag, sky_err *e);          /* G 1: sum over flagged samples of mean (a-b)^2; flagged samples */
    int (*ratio)(sky_dev *d, sky_tensor *y, const sky_tensor *s, double factor, double eps, sky_err *e);                            /* F32 scalar = factor * sum_g s[g]/(s[G+g]+eps) */
    /* dy: F32 scalar, gradient of the ratio; s, factor, eps: as given to it */
    int (*entropy_backward)(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const sky_tensor *x, const sky_tensor *labels, const sky_entropy *o, const sky_tensor *s, double factor, double eps, sky_err *e);
    int (*kl_backward)(sky_dev *d, sky_grad *da, sky_grad *db, const sky_tensor *dy, const sky_tensor *a, const sky_tensor *b, const uint8_t *flag, const sky_tensor *s, double factor, double eps, sky_err *e);
    int (*mse_backward)(sky_dev *d, sky_grad *da, sky_grad *db, const sky_tensor *dy, const sky_tensor *a, const sky_tensor *b, const uint8_t *flag, const sky_tensor *s, double factor, double eps, sky_err *e);

    /* ---- gradients of the operations above */
    /* dw[N,K] (+)= a^T b over all rows.  a [..,N], b [..,K]; products F32, or BF16: both rounded, sums F32 */
    int (*product_grad)(sky_dev *d, sky_grad *dw, const sky_tensor *a, const sky_tensor *b, sky_dtype products, sky_err *e);
    int (*conv2d_dx)(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const sky_tensor *w, sky_err *e);
    int (*conv2d_dw)(sky_dev *d, sky_grad *dw, const sky_tensor *dy, const sky_tensor *x, sky_dtype products, sky_err *e); /* dw F32[N,C,k,k] */
    int (*column_sum)(sky_dev *d, sky_grad *y, const sky_tensor *x, sky_err *e);                      /* y[n] (+)= sum over rows of x seen as [numel/n, n] */
    int (*column_dot)(sky_dev *d, sky_grad *y, const sky_tensor *a, const sky_tensor *b, sky_err *e); /* the same of a*b; y [C], a, b [..,C] */
    int (*scale_channels)(sky_dev *d, sky_grad *y, const sky_tensor *x, const sky_tensor *g, sky_err *e); /* y (+)= x*g, x [..,C], g [C] */
    int (*activate_backward)(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const sky_tensor *ref, sky_act act, sky_err *e); /* ref: the result for RELU and LEAKY, the input for GELU; dx may be dy */
    int (*layernorm_backward)(sky_dev *d, sky_grad *dx, sky_grad *dw, sky_grad *db, const sky_tensor *dy, const sky_tensor *x, const sky_tensor *w, float eps, sky_err *e);
    int (*l2_normalize_backward)(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const sky_tensor *x, sky_err *e);
    int (*softmax_backward)(sky_dev *d, sky_grad *dx, const sky_tensor *dy, const sky_tensor *y, float scale, sky_err *e);
    int (*attention_backward)(sky_dev *d, sky_grad *dqkv, const sky_tensor *dy, const sky_tensor *y, const sky_tensor *lse, const sky_tensor *qkv, sky_dtype products, sky_err *e);
    int (*window_attention_backward)(sky_dev *d, sky_grad *dqkv, sky_grad *dpad_qkv, sky_grad *dbias, sky_grad *dlogit_scale, const sky_tensor *dy, const sky_tensor *qkv, const sky_tensor *pad_qkv, const sky_tensor *bias, const sky_tensor *logit_scale, int win, int shift, sky_dtype products, sky_err *e); /* the clamp passes gradient at or below its limit */
    int (*window_bias_backward)(sky_dev *d, sky_grad *dt, const sky_tensor *dy, const sky_tensor *y, int win, sky_err *e);
    int (*annotation_tokens_backward)(sky_dev *d, sky_grad *dtable, sky_grad *dweight, sky_grad *dmask_token, const sky_tensor *dy, const sky_tensor *labels, const sky_tensor *table, const sky_tensor *weight, const sky_tensor *mask, int p, sky_err *e);
    int (*resize_backward)(sky_dev *d, sky_grad *dx, const sky_tensor *dy, sky_interp how, sky_err *e);
    int (*avg_pool2_backward)(sky_dev *d, sky_grad *dx, const sky_tensor *dy, sky_err *e);
    int (*adaptive_avg_pool_backward)(sky_dev *d, sky_grad *dx, const sky_tensor *dy, sky_err *e);
    int (*halves_mean_backward)(sky_dev *d, sky_grad *dx, const sky_tensor *dy, sky_err *e);
    int (*drop)(sky_dev *d, sky_grad *y, const sky_tensor *x, const sky_drops *o, sky_err *e); /* y (+)= x*scale or 0; its own gradient */
    /* Moves: dx is written, every element. */
    int (*fold)(sky_dev *d, sky_tensor *dx, const sky_tensor *dy, int p, sky_err *e);                      /* of unfold */
    int (*pixel_unshuffle)(sky_dev *d, sky_tensor *dx, const sky_tensor *dy, int r, sky_err *e);
    int (*halves_unstack)(sky_dev *d, sky_tensor *dx, const sky_tensor *dy, sky_err *e);
    int (*unslice)(sky_dev *d, sky_tensor *dx, const sky_tensor *dy, int axis, int64_t from, sky_err *e); /* zero elsewhere */
    int (*untake)(sky_dev *d, sky_tensor *dx, const sky_tensor *dy, const int64_t *index, sky_err *e);    /* rows of dy added to row index[i], in order of i; index[i] < 0: left out */

    /* ---- parameters */
    int (*fill)(sky_dev *d, sky_tensor *y, float value, sky_err *e);                                        /* F32 */
    int (*square_sums)(sky_dev *d, sky_tensor *s, const sky_tensor *const *x, int n, sky_err *e);          /* F64 s[n]: sum of squares of each F32 tensor */
    /* w, g, m, v F32 of one shape; copy: BF16 of it, rounded from the new w, or none */
    int (*adamw)(sky_dev *d, sky_tensor *w, const sky_tensor *g, sky_tensor *m, sky_tensor *v, sky_tensor *copy, const sky_adamw *o, sky_err *e);
    int (*sgd)(sky_dev *d, sky_tensor *w, const sky_tensor *g, sky_tensor *m, sky_tensor *copy, const sky_sgd *o, sky_err *e);
    int (*lerp)(sky_dev *d, sky_tensor *y, const sky_tensor *x, float t, sky_err *e);                      /* y += t*(x-y), for running averages of weights */
    /* y[n] = carry[n] + parts[0] + parts[1] + ... in that order, in double, rounded once; parts [ranks,n]; F32 or F64; carry F64 or none */
    int (*add_parts)(sky_dev *d, sky_tensor *y, const sky_tensor *carry, const sky_tensor *parts, sky_err *e);
};

extern const sky_backend sky_backend_cpu;     /* cpu/backend.c */
const sky_backend *sky_backend_cuda(void);    /* kernels/; NULL: not in this build */
void sky_cuda_version(char *buf, size_t n);   /* lines for --version, each ended */

#endif
