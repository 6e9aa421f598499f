/* ops.h -- the operations' front: shape checks, allocation of the result, one call into the backend's table.
 *
 * Activations are F32 on the CPU (a backend may offer BF16 too). Weights of matrix products and convolutions may be F32
 * or BF16; with BF16 weights both operands are rounded to BF16 (to nearest even) and products are accumulated in F32.
 * Everything else computes in F32. Results never depend on the number of threads, and a row of a result does not depend
 * on how many other rows were computed with it (so a batch gives the same bits as its samples one by one).
 *
 * Shapes: x [.., K] means any leading dimensions, kept in the result. A tensor argument written "or none" may be
 * sky_none. Every function returns a new tensor (or sky_none after an error); inputs are never changed. While a tape
 * records (tensor/tape.h) every function but sky_batchnorm_fold, sky_window_coords and sky_resize_argmax has a gradient. */
#ifndef SKY_TENSOR_OPS_H
#define SKY_TENSOR_OPS_H

#include "tensor/tensor.h"

typedef enum { SKY_ACT_NONE, SKY_ACT_RELU, SKY_ACT_LEAKY /* slope 0.01 */, SKY_ACT_GELU /* exact, erf */ } sky_act;
typedef enum { SKY_BILINEAR /* half-pixel centres */, SKY_BILINEAR_CORNERS /* align_corners */, SKY_BICUBIC /* A=-0.75, half-pixel */ } sky_interp;

/* y = act(x W^T + b) + residual.  x [..,K], w [N,K], b [N] or none, residual [..,N] or none -> [..,N] */
sky_tensor sky_linear(sky_ctx *c, sky_tensor x, sky_tensor w, sky_tensor b, sky_act act, sky_tensor residual);
/* y = x W.  x [..,K], w [K,N] -> [..,N] */
sky_tensor sky_matmul(sky_ctx *c, sky_tensor x, sky_tensor w);
/* y = act(scale * conv(x, w) + shift), stride 1, zero padding k/2.  x [B,H,W,C], w [N,C,k,k] (k = 1, 3, 5), scale [N] or
 * none (1), shift [N] or none (0) -> [B,H,W,N] */
sky_tensor sky_conv2d(sky_ctx *c, sky_tensor x, sky_tensor w, sky_tensor scale, sky_tensor shift, sky_act act);
/* p x p patches as vectors, channel slow: element ch*p*p + dy*p + dx of a patch = x[p*i+dy, p*j+dx, ch]; zero padding at
 * right and bottom.  x [B,H,W,C] -> [B,ceil(H/p),ceil(W/p),C*p*p].  (Order of nn.Unfold and of Conv2d weights; it is also
 * that of the model's patch merging.) */
sky_tensor sky_unfold(sky_ctx *c, sky_tensor x, int p);
/* [B,h,w,C*r*r] -> [B,h*r,w*r,C]: out[y*r+i, x*r+j, ch] = in[y, x, ch*r*r + i*r + j] */
sky_tensor sky_pixel_shuffle(sky_ctx *c, sky_tensor x, int r);

/* y = residual + (x - mean) / sqrt(var + eps) * w + b over the last dimension; two passes.  w, b [C] */
sky_tensor sky_layernorm(sky_ctx *c, sky_tensor x, sky_tensor w, sky_tensor b, float eps, sky_tensor residual);
/* Statistics of this batch over all but the last dimension (biased variance to normalise; running_mean/var, if given,
 * are updated in place with `momentum` and the unbiased variance). y = act((x - mean)/sqrt(var+eps)*w + b).  x [..,C]
 * With c->sync the statistics are those of all ranks together (equal numbers of rows). */
sky_tensor sky_batchnorm_train(sky_ctx *c, sky_tensor x, sky_tensor w, sky_tensor b, sky_tensor running_mean, sky_tensor running_var, float momentum, float eps, sky_act act);
/* The same with stored statistics, F32 [C]. */
sky_tensor sky_batchnorm(sky_ctx *c, sky_tensor x, sky_tensor w, sky_tensor b, sky_tensor mean, sky_tensor var, float eps, sky_act act);
/* Stored statistics folded, for inference: scale = w/sqrt(var+eps), shift = b - mean*scale + bias*scale; for sky_conv2d.  out [2,C] */
sky_tensor sky_batchnorm_fold(sky_ctx *c, sky_tensor w, sky_tensor b, sky_tensor mean, sky_tensor var, float eps);

/* softmax(q k^T / sqrt(d)) v over full sequences, streamed (no L x L matrix).  qkv [B,L,3,heads,d] -> [B,L,heads*d].
 * products: SKY_F32, or SKY_BF16: q, k, v and the probabilities are rounded to BF16, sums stay in F32. */
sky_tensor sky_attention(sky_ctx *c, sky_tensor qkv, sky_dtype products);
/* Swin V2 window attention: cosine similarity * exp(min(logit_scale, ln 100)) + bias, shift mask -100. Padding to whole
 * windows, roll, partition and their inverses are part of it; padded tokens take part as keys with q, k, v = pad_qkv.
 * shift is ignored when min(H,W) == win; min(H,W) < win is an error. products as above.
 * qkv [B,H,W,3,heads,d], pad_qkv [3*heads*d], bias [heads,win*win,win*win], logit_scale [heads] -> [B,H,W,heads*d] */
sky_tensor sky_window_attention(sky_ctx *c, sky_tensor qkv, sky_tensor pad_qkv, sky_tensor bias, sky_tensor logit_scale, int win, int shift, sky_dtype products);
/* Relative position bias matrix from the values per offset: out[h,i,j] = 16*sigmoid(t[(yi-yj+win-1)*(2win-1)+xi-xj+win-1, h]).
 * t [(2win-1)^2, heads] -> [heads, win^2, win^2] */
sky_tensor sky_window_bias(sky_ctx *c, sky_tensor t, int win);
/* The coordinates those values are computed from: [(2win-1)^2, 2], (dy,dx) -> sign*log2(1+|8*d/(win-1)|)/3 */
sky_tensor sky_window_coords(sky_ctx *c, int win);
/* y / max(|y|, 1e-12) over the last dimension */
sky_tensor sky_l2_normalize(sky_ctx *c, sky_tensor x);

/* Annotation tokens: sum over the p*p pixels of softmax(weight)[pixel] * table[label]; where mask is 1: mask_token.
 * labels U8 [B,H,W] (values < rows of table, checked), table [V,C], weight [1,p*p], mask U8 [B,mh,mw] or none (each cell
 * covers H/p/mh x W/p/mw tokens), mask_token [1,1,C] -> [B,H/p,W/p,C] */
sky_tensor sky_annotation_tokens(sky_ctx *c, sky_tensor labels, sky_tensor table, sky_tensor weight, sky_tensor mask, sky_tensor mask_token, int p);

sky_tensor sky_add(sky_ctx *c, sky_tensor a, sky_tensor b);              /* b: a's shape, or a's trailing dimensions (repeated) */
sky_tensor sky_add_scaled(sky_ctx *c, sky_tensor x, sky_tensor g, sky_tensor z); /* x + g*z, g [C] per channel */
sky_tensor sky_activate(sky_ctx *c, sky_tensor x, sky_act act);
sky_tensor sky_softmax(sky_ctx *c, sky_tensor x, float scale);          /* softmax(scale*x) over the last dimension */
sky_tensor sky_cast(sky_ctx *c, sky_tensor x, sky_dtype t);             /* F32 <-> BF16 */
/* What pictures and labels are made of, on the device: F32 (x/divide - mean[c])/std[c], each step rounded, of x I16 [..,C]
 * (mean_std: host [2,C]); and table[g][x] of x U8, g: which of `groups` equal parts of x (host [groups,256]). */
sky_tensor sky_normalise(sky_ctx *c, sky_tensor x, float divide, const float *mean_std);
sky_tensor sky_lookup(sky_ctx *c, sky_tensor x, int64_t groups, const uint8_t *table);
sky_tensor sky_concat(sky_ctx *c, const sky_tensor *x, int n, int axis); /* axis may be negative */
sky_tensor sky_slice(sky_ctx *c, sky_tensor x, int axis, int64_t from, int64_t n);
/* Rows `index` (host array of n numbers) of the first dimension. */
sky_tensor sky_take(sky_ctx *c, sky_tensor x, const int64_t *index, int n);
/* out[i] = a[pos[i]] when pos[i] >= 0 else b[-1 - pos[i]]: assemble a batch from two (host array of n). */
sky_tensor sky_pick(sky_ctx *c, sky_tensor a, sky_tensor b, const int64_t *pos, int n);
sky_tensor sky_repeat(sky_ctx *c, sky_tensor x, int64_t n);             /* [..] -> [n,..] */
sky_tensor sky_transpose(sky_ctx *c, sky_tensor x, const int *perm);    /* general permutation, for image layouts and dates */
sky_tensor sky_halves_mean(sky_ctx *c, sky_tensor x);                   /* [B,h,2w,C] -> [B,h,w,C] */
sky_tensor sky_halves_stack(sky_ctx *c, sky_tensor x);                  /* [B,h,2w,C] -> [B,h,w,2C] */

sky_tensor sky_resize(sky_ctx *c, sky_tensor x, int64_t h, int64_t w, sky_interp how);  /* [B,H,W,C] -> [B,h,w,C] */
sky_tensor sky_avg_pool2(sky_ctx *c, sky_tensor x);                     /* [B,H,W,C] -> [B,H/2,W/2,C] (odd rest dropped) */
sky_tensor sky_adaptive_avg_pool(sky_ctx *c, sky_tensor x, int s);      /* [B,H,W,C] -> [B,s,s,C] */
/* argmax over channels of the map resized by SKY_BILINEAR_CORNERS, without storing it.  [B,h,w,C] -> U8 [B,H,W];
 * ties go to the smaller index. */
sky_tensor sky_resize_argmax(sky_ctx *c, sky_tensor x, int64_t H, int64_t W);

/* Training: with probability p a decision is 0 and its elements become 0, else they are divided by 1 - p. Element i of a
 * sample takes decision (i / run) % cycle of that sample (cycle 0: no wrap): run = elements per image drops whole images
 * or dates, run = elements per sequence sequences, run = 1 elements, run = 1 with cycle = C channels. Decisions are those
 * of (c->draws, layer); without c->draws, or with p = 0, the result is x itself. */
sky_tensor sky_drop(sky_ctx *c, sky_tensor x, float p, uint32_t layer, int64_t run, int64_t cycle);

/* Losses, scalars F32[] accumulated in double; with c->sync over the batches of all ranks together.
 * ce: mean over all pixels of -log softmax(x)[label], or with sigmoid the mean over pixels and channels of the binary cross
 * entropy against the one-hot label; label == ignore adds 0 but counts; weight: host array of C factors, by label (sigmoid:
 * by channel), kept until backward, or NULL.  x [B,H,W,C], labels U8 [B,H,W] */
sky_tensor sky_cross_entropy(sky_ctx *c, sky_tensor x, sky_tensor labels, int ignore /* -1: none */, int sigmoid, const float *weight);
/* 0.5*(mean over label>0 + mean over label==0), each divided by (count + 1e-6) */
sky_tensor sky_rec_loss(sky_ctx *c, sky_tensor x, sky_tensor labels);
/* Symmetric KL between softmax(a) and softmax(b), rows weighted: sum_b flag[b] * sum((pb-pa)*(log pb - log pa)) / B.
 * a, b [B,..,C]; flag: host array of B */
sky_tensor sky_sym_kl(sky_ctx *c, sky_tensor a, sky_tensor b, const uint8_t *flag);
/* sum_b flag[b]*mean((a-b)^2) / (sum_b flag[b] + 1e-6) */
sky_tensor sky_masked_mse(sky_ctx *c, sky_tensor a, sky_tensor b, const uint8_t *flag);

#endif
