/* Maps to vectors of p x p patches and back: unfolding, which is also the gradient of pixel shuffling, and folding, which
 * is also pixel shuffling. One patch after the other, each with its pixels' vectors interleaved. */
#include "cpu/device_internal.h"

struct patches {
    const sky_row_kernels *k;
    float *map, *vectors; /* [B,H,W,C] and [B,h,w,C*p*p]; one is read, the other written */
    float *outside;       /* C numbers that stand for pixels outside the map */
    int64_t H, W, C, h, w;
    int p;
};

/* The p*p pixels of patch t, counted over the batch. */
static void patch_pixels(const struct patches *o, int64_t t, float **px)
{
    int64_t j = t % o->w, i = t / o->w % o->h, b = t / o->w / o->h;
    for (int k = 0; k < o->p * o->p; k++) {
        int64_t y = i * o->p + k / o->p, x = j * o->p + k % o->p;
        px[k] = y < o->H && x < o->W ? o->map + ((b * o->H + y) * o->W + x) * o->C : o->outside;
    }
}

static void unfold_patches(void *arg, int64_t from, int64_t to, int thread)
{
    (void)thread;
    const struct patches *o = arg;
    int pp = o->p * o->p;
    float *px[64 * 64];
    for (int64_t t = from; t < to; t++) {
        float *v = o->vectors + t * o->C * pp;
        patch_pixels(o, t, px);
        if (o->p == 2)
            o->k->interleave4(v, (const float *[]){px[0], px[1], px[2], px[3]}, o->C);
        else
            for (int64_t c = 0; c < o->C; c++)
                for (int k = 0; k < pp; k++)
                    v[c * pp + k] = px[k][c];
    }
}

static void fold_patches(void *arg, int64_t from, int64_t to, int thread)
{
    const struct patches *o = arg;
    int pp = o->p * o->p;
    float *px[64 * 64], *outside = o->outside + thread * o->C;
    struct patches mine = *o;
    mine.outside = outside;
    for (int64_t t = from; t < to; t++) {
        const float *v = o->vectors + t * o->C * pp;
        patch_pixels(&mine, t, px);
        if (o->p == 2) {
            o->k->deinterleave4(px, v, o->C);
            continue;
        }
        for (int k = 0; k < pp; k++)
            for (int64_t c = 0; c < o->C && px[k] != outside; c++)
                px[k][c] = v[c * pp + k];
    }
}

static int run(sky_dev *d, sky_rows_fn *fn, const sky_tensor *map, const sky_tensor *vectors, int p, const char *op, sky_err *e)
{
    if (p > 64)
        return sky_fail(e, SKY_ELIMIT, "%s: patches of at most 64, got %d", op, p);
    struct patches o = {d->k, map->data, vectors->data, NULL, map->shape[1], map->shape[2], map->shape[3], vectors->shape[1], vectors->shape[2], p};
    size_t n = (size_t)sky_pool_threads(d->pool) * (size_t)o.C * sizeof *o.outside;
    o.outside = sky_cpu_scratch(d, n, op, e);
    if (!o.outside)
        return e->code;
    memset(o.outside, 0, n);
    sky_cpu_rows(d, map->shape[0] * o.h * o.w, 8 * o.C * p * p, fn, &o);
    return SKY_OK;
}

int sky_cpu_unfold(sky_dev *d, sky_tensor *y, const sky_tensor *x, int p, sky_err *e) { return run(d, unfold_patches, x, y, p, "unfold", e); }

int sky_cpu_fold(sky_dev *d, sky_tensor *dx, const sky_tensor *dy, int p, sky_err *e) { return run(d, fold_patches, dx, dy, p, "fold", e); }

int sky_cpu_pixel_shuffle(sky_dev *d, sky_tensor *y, const sky_tensor *x, int r, sky_err *e)
{
    return run(d, fold_patches, y, x, r, "pixel_shuffle", e);
}

int sky_cpu_pixel_unshuffle(sky_dev *d, sky_tensor *dx, const sky_tensor *dy, int r, sky_err *e)
{
    return run(d, unfold_patches, dy, dx, r, "pixel_unshuffle", e);
}
