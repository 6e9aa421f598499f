/* backend.h -- the table a backend fills in: memory of its device, and one entry per operation of tensor/ops.h.
 *
 * The front (tensor/ops_*.c) has checked shapes and element types and allocated the result before it calls; an entry
 * fills `y` and nothing else (batchnorm_train also updates the running statistics). Entries return 0 or a negative
 * SKY_E... with the message in e, starting with the operation's name. Optional tensors that were left out have data
 * NULL. A NULL entry is not offered: the front fails by name, nothing falls back in silence.
 * Work may still be under way when an entry returns; only `get` waits. */
#ifndef SKY_TENSOR_BACKEND_H
#define SKY_TENSOR_BACKEND_H

#include "tensor/ops.h"

struct sky_backend {
    const char *name;
    int (*open)(sky_dev **out, int index, int threads, sky_err *e); /* index -1: not given */
    void (*close)(sky_dev *d);                                      /* NULL allowed */

    int (*alloc)(sky_dev *d, void **p, size_t bytes, sky_err *e);   /* at least 64-byte aligned, contents undefined */
    void (*free)(sky_dev *d, void *p, size_t bytes);                /* p NULL allowed */
    int (*put)(sky_dev *d, sky_tensor *y, const void *host, sky_err *e);
    int (*get)(sky_dev *d, void *host, const sky_tensor *x, sky_err *e);
    int (*move)(sky_dev *d, void *dst, const void *src, size_t bytes, sky_err *e); /* dst < src, may overlap */

    int (*linear)(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *b, sky_act act, const sky_tensor *residual, sky_err *e);
    int (*matmul)(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, sky_err *e);
    int (*conv2d)(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *scale, const sky_tensor *shift, sky_act act, sky_err *e);
    int (*unfold)(sky_dev *d, sky_tensor *y, const sky_tensor *x, int p, sky_err *e);
    int (*pixel_shuffle)(sky_dev *d, sky_tensor *y, const sky_tensor *x, int r, sky_err *e);

    int (*layernorm)(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *b, float eps, const sky_tensor *residual, sky_err *e);
    int (*batchnorm_train)(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *b, sky_tensor *running_mean, sky_tensor *running_var, float momentum, float eps, sky_act act, sky_err *e);
    int (*batchnorm_fold)(sky_dev *d, sky_tensor *y, const sky_tensor *w, const sky_tensor *b, const sky_tensor *mean, const sky_tensor *var, float eps, sky_err *e);
    int (*l2_normalize)(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e);
    int (*softmax)(sky_dev *d, sky_tensor *y, const sky_tensor *x, float scale, sky_err *e);

    int (*attention)(sky_dev *d, sky_tensor *y, const sky_tensor *qkv, sky_dtype products, sky_err *e);
    int (*window_attention)(sky_dev *d, sky_tensor *y, const sky_tensor *qkv, const sky_tensor *pad_qkv, const sky_tensor *bias, const sky_tensor *logit_scale, int win, int shift, sky_dtype products, sky_err *e); /* shift 0 where it is ignored */
    int (*window_bias)(sky_dev *d, sky_tensor *y, const sky_tensor *t, int win, sky_err *e);

    int (*annotation_tokens)(sky_dev *d, sky_tensor *y, const sky_tensor *labels, const sky_tensor *table, const sky_tensor *weight, const sky_tensor *mask, const sky_tensor *mask_token, int p, sky_err *e);

    int (*add)(sky_dev *d, sky_tensor *y, const sky_tensor *a, const sky_tensor *b, sky_err *e);
    int (*add_scaled)(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *g, const sky_tensor *z, sky_err *e);
    int (*activate)(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_act act, sky_err *e);
    int (*cast)(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e);

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

    int (*cross_entropy)(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *labels, int ignore, sky_err *e);
    int (*rec_loss)(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *labels, sky_err *e);
    int (*sym_kl)(sky_dev *d, sky_tensor *y, const sky_tensor *a, const sky_tensor *b, const uint8_t *flag, sky_err *e);
    int (*masked_mse)(sky_dev *d, sky_tensor *y, const sky_tensor *a, const sky_tensor *b, const uint8_t *flag, sky_err *e);
};

extern const sky_backend sky_backend_cpu; /* cpu/backend.c */

#endif
