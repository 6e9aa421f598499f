#include "base/mem.h"
#include "cpu/cpuid.h"
#include "cpu/device_internal.h"

#include <string.h>
#include <sys/mman.h>

static const sky_row_kernels *best_kernels(void)
{
#if defined __x86_64__
    if (sky_cpu_level_get() >= SKY_CPU_AVX512)
        return &sky_row_kernels_avx512;
    if (sky_cpu_level_get() >= SKY_CPU_AVX2)
        return &sky_row_kernels_avx2;
#endif
    return &sky_row_kernels_plain;
}

static void cpu_close(sky_dev *d)
{
    if (!d)
        return;
    sky_pool_close(d->pool);
    sky_scratch_free(&d->scratch);
    sky_free(d);
}

static int cpu_open(sky_dev **out, int index, int threads, sky_err *e)
{
    if (index > 0)
        return sky_fail(e, SKY_EUSAGE, "device 'cpu:%d': there is one CPU device, number 0", index);
    sky_dev *d = sky_calloc(1, sizeof *d);
    if (!d)
        return sky_fail(e, SKY_ENOMEM, "device 'cpu': out of memory");
    d->k = best_kernels();
    int rc = sky_pool_open(&d->pool, threads, e);
    if (rc) {
        cpu_close(d);
        return rc;
    }
    *out = d;
    return SKY_OK;
}

/* Not through sky_alloc: pages nobody touches must cost nothing, and large pages save most of the first touch. */
static int cpu_alloc(sky_dev *d, void **p, size_t bytes, sky_err *e)
{
    (void)d;
    void *q = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (q == MAP_FAILED)
        return sky_fail_errno(e, SKY_ENOMEM, "arena of %zu bytes", bytes);
    madvise(q, bytes, MADV_HUGEPAGE); /* a hint; nothing depends on it */
    *p = q;
    return SKY_OK;
}

static void cpu_free(sky_dev *d, void *p, size_t bytes)
{
    (void)d;
    if (p)
        munmap(p, bytes ? bytes : 1);
}

static int cpu_put(sky_dev *d, sky_tensor *y, const void *host, sky_err *e)
{
    (void)d, (void)e;
    memcpy(y->data, host, (size_t)sky_bytes(y));
    return SKY_OK;
}

static int cpu_get(sky_dev *d, void *host, const sky_tensor *x, sky_err *e)
{
    (void)d, (void)e;
    memcpy(host, x->data, (size_t)sky_bytes(x));
    return SKY_OK;
}

/* Down by g bytes: stretches of g bytes do not overlap their destination, so each is copied by all threads. */
static int cpu_move(sky_dev *d, void *dst, const void *src, size_t bytes, sky_err *e)
{
    (void)e;
    size_t gap = (size_t)((const char *)src - (char *)dst);
    if (gap < 1 << 20)
        return memmove(dst, src, bytes), SKY_OK;
    for (size_t at = 0; at < bytes; at += gap) {
        size_t n = bytes - at < gap ? bytes - at : gap;
        sky_cpu_copy(d, (char *)dst + at, 0, (const char *)src + at, 0, (int64_t)n, 1);
    }
    return SKY_OK;
}

void *sky_cpu_scratch(sky_dev *d, size_t n, const char *op, sky_err *e)
{
    void *p = sky_scratch_get(&d->scratch, n);
    if (!p && n)
        sky_fail(e, SKY_ENOMEM, "%s: out of memory for %zu bytes of scratch", op, n);
    return p;
}

/* ---- cutting work ------------------------------------------------------------------------------------------- */

enum { PIECE_BYTES = 256 << 10 };

struct row_cut {
    sky_rows_fn *fn;
    void *arg;
    int64_t rows, each;
};

static void row_piece(void *arg, int64_t i, int thread)
{
    const struct row_cut *c = arg;
    int64_t from = i * c->each, to = from + c->each;
    c->fn(c->arg, from, to < c->rows ? to : c->rows, thread);
}

void sky_cpu_rows(sky_dev *d, int64_t rows, int64_t row_bytes, sky_rows_fn *fn, void *arg)
{
    int64_t each = row_bytes < PIECE_BYTES ? PIECE_BYTES / (row_bytes > 0 ? row_bytes : 1) : 1;
    struct row_cut c = {fn, arg, rows, each};
    sky_pool_for(d->pool, (rows + each - 1) / each, row_piece, &c);
}

struct copy {
    char *dst;
    const char *src;
    const sky_row_kernels *k;
    int far;
    int64_t dpitch, spitch, bytes, part, parts; /* a row is copied in `parts` parts of at most `part` bytes */
};

static void copy_rows(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct copy *c = arg;
    for (int64_t i = from; i < to; i++) {
        int64_t row = i / c->parts, at = i % c->parts * c->part, n = c->bytes - at;
        copy_piece(c->k, c->dst + row * c->dpitch + at, c->src + row * c->spitch + at, n < c->part ? n : c->part, c->far);
    }
    c->k->fence();
}

void sky_cpu_copy(sky_dev *d, void *dst, int64_t dpitch, const void *src, int64_t spitch, int64_t bytes, int64_t rows)
{
    struct copy c = {dst, src, d->k, is_far(bytes * rows), dpitch, spitch, bytes, bytes < PIECE_BYTES ? bytes : PIECE_BYTES, 1};
    c.parts = (bytes + c.part - 1) / c.part;
    sky_cpu_rows(d, rows * c.parts, 2 * c.part, copy_rows, &c);
}

const sky_backend sky_backend_cpu = {
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .put = cpu_put,
    .get = cpu_get,
    .move = cpu_move,
    .linear = sky_cpu_linear,
    .matmul = sky_cpu_matmul,
    .conv2d = sky_cpu_conv2d,
    .product_grad = sky_cpu_product_grad_op,
    .conv2d_dx = sky_cpu_conv2d_dx,
    .conv2d_dw = sky_cpu_conv2d_dw,
    .attention_backward = sky_cpu_attention_backward,
    .window_attention_backward = sky_cpu_window_attention_backward,
    .unfold = sky_cpu_unfold,
    .pixel_shuffle = sky_cpu_pixel_shuffle,
    .layernorm = sky_cpu_layernorm,
    .batchnorm_fold = sky_cpu_batchnorm_fold,
    .l2_normalize = sky_cpu_l2_normalize,
    .softmax = sky_cpu_softmax,
    .attention = sky_cpu_attention_op,
    .window_attention = sky_cpu_window_attention_op,
    .window_bias = sky_cpu_window_bias,
    .annotation_tokens = sky_cpu_annotation_tokens,
    .add = sky_cpu_add,
    .add_scaled = sky_cpu_add_scaled,
    .activate = sky_cpu_activate,
    .cast = sky_cpu_cast,
    .normalise = sky_cpu_normalise,
    .lookup = sky_cpu_lookup,
    .concat = sky_cpu_concat,
    .slice = sky_cpu_slice,
    .take = sky_cpu_take,
    .pick = sky_cpu_pick,
    .repeat = sky_cpu_repeat,
    .transpose = sky_cpu_transpose,
    .halves_mean = sky_cpu_halves_mean,
    .halves_stack = sky_cpu_halves_stack,
    .resize = sky_cpu_resize,
    .avg_pool2 = sky_cpu_avg_pool2,
    .adaptive_avg_pool = sky_cpu_adaptive_avg_pool,
    .resize_argmax = sky_cpu_resize_argmax,
    .fill = sky_cpu_fill,
    .square_sums = sky_cpu_square_sums,
    .adamw = sky_cpu_adamw,
    .sgd = sky_cpu_sgd,
    .lerp = sky_cpu_lerp,
    .add_parts = sky_cpu_add_parts,
    .channel_sums = sky_cpu_channel_sums,
    .channel_mean = sky_cpu_channel_mean,
    .batchnorm = sky_cpu_batchnorm,
    .update_stats = sky_cpu_update_stats,
    .batchnorm_sums = sky_cpu_batchnorm_sums,
    .batchnorm_dx = sky_cpu_batchnorm_dx,
    .f64_to_grad = sky_cpu_f64_to_grad,
    .entropy_sums = sky_cpu_entropy_sums,
    .kl_sums = sky_cpu_kl_sums,
    .mse_sums = sky_cpu_mse_sums,
    .ratio = sky_cpu_ratio,
    .entropy_backward = sky_cpu_entropy_backward,
    .kl_backward = sky_cpu_kl_backward,
    .mse_backward = sky_cpu_mse_backward,
    .column_sum = sky_cpu_column_sum,
    .column_dot = sky_cpu_column_dot,
    .scale_channels = sky_cpu_scale_channels,
    .activate_backward = sky_cpu_activate_backward,
    .layernorm_backward = sky_cpu_layernorm_backward,
    .l2_normalize_backward = sky_cpu_l2_normalize_backward,
    .softmax_backward = sky_cpu_softmax_backward,
    .halves_mean_backward = sky_cpu_halves_mean_backward,
    .drop = sky_cpu_drop,
    .fold = sky_cpu_fold,
    .pixel_unshuffle = sky_cpu_pixel_unshuffle,
    .halves_unstack = sky_cpu_halves_unstack,
    .unslice = sky_cpu_unslice,
    .untake = sky_cpu_untake,
    .resize_backward = sky_cpu_resize_backward,
    .avg_pool2_backward = sky_cpu_avg_pool2_backward,
    .adaptive_avg_pool_backward = sky_cpu_adaptive_avg_pool_backward,
    .annotation_tokens_backward = sky_cpu_annotation_tokens_backward,
    .window_bias_backward = sky_cpu_window_bias_backward,
};
