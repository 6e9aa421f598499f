/* update_impl.h -- the kernels of the optimizer, part of row_kernels_impl.h: one pass over what a step reads and writes.
 * The rest of a row goes through the same vector code on copies, so an element's bits do not depend on its place. */

INLINE vf root_of(vf v)
{
#if defined(__AVX512F__)
    return (vf)_mm512_sqrt_ps((__m512)v);
#elif defined(__AVX__)
    __m256 half[2];
    memcpy(half, &v, sizeof half);
    half[0] = _mm256_sqrt_ps(half[0]);
    half[1] = _mm256_sqrt_ps(half[1]);
    memcpy(&v, half, sizeof half);
    return v;
#else
    for (int i = 0; i < LANES; i++)
        v[i] = sqrtf(v[i]);
    return v;
#endif
}

INLINE vf adamw_at(vf w, vf g, vf *m, vf *v, const sky_adamw_step *o)
{
    g *= o->gscale;
    w -= w * o->decay;
    *m = *m * o->beta1 + g * o->rest1;
    *v = *v * o->beta2 + g * g * o->rest2;
    return w - *m * o->step / (root_of(*v) * o->root + o->eps);
}

INLINE void put_copy(uint16_t *copy, vf w, int64_t n)
{
    vh h = round_bf16(w);
    memcpy(copy, &h, (size_t)n * sizeof *copy);
}

static void adamw(float *w, const float *g, float *m, float *v, uint16_t *copy, const sky_adamw_step *o, int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vf m1 = load(m + i), v1 = load(v + i), w1 = adamw_at(load(w + i), load(g + i), &m1, &v1, o);
        store(w + i, w1);
        store(m + i, m1);
        store(v + i, v1);
        if (copy)
            put_copy(copy + i, w1, LANES);
    }
    if (i < n) {
        vf m1 = load_part(m + i, n - i, 0), v1 = load_part(v + i, n - i, 0);
        vf w1 = adamw_at(load_part(w + i, n - i, 0), load_part(g + i, n - i, 0), &m1, &v1, o);
        store_part(w + i, w1, n - i);
        store_part(m + i, m1, n - i);
        store_part(v + i, v1, n - i);
        if (copy)
            put_copy(copy + i, w1, n - i);
    }
}

INLINE vf sgd_at(vf w, vf g, vf *m, const sky_sgd_step *o)
{
    g = g * o->gscale + w * o->decay;
    *m = o->first ? g : *m * o->momentum + g;
    return w - *m * o->lr;
}

static void sgd(float *w, const float *g, float *m, uint16_t *copy, const sky_sgd_step *o, int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vf m1 = load(m + i), w1 = sgd_at(load(w + i), load(g + i), &m1, o);
        store(w + i, w1);
        store(m + i, m1);
        if (copy)
            put_copy(copy + i, w1, LANES);
    }
    if (i < n) {
        vf m1 = load_part(m + i, n - i, 0), w1 = sgd_at(load_part(w + i, n - i, 0), load_part(g + i, n - i, 0), &m1, o);
        store_part(w + i, w1, n - i);
        store_part(m + i, m1, n - i);
        if (copy)
            put_copy(copy + i, w1, n - i);
    }
}

static void lerp(float *y, const float *x, float t, int64_t n)
{
    FOR_ROW(load(y + i) + (load(x + i) - load(y + i)) * t, y[i] + (x[i] - y[i]) * t);
}

static void fill(float *y, float value, int64_t n) { FOR_ROW(all(value), value); }

/* In double from the start: a gradient that is finite has a finite square. */
static double square_sum(const float *x, int64_t n)
{
    vd s[4] = {{0}};
    int64_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (int k = 0; k < 4; k++) {
            vf8 h;
            memcpy(&h, x + i + 8 * k, sizeof h);
            vd v = __builtin_convertvector(h, vd);
            s[k] += v * v;
        }
    vd t = (s[0] + s[1]) + (s[2] + s[3]);
    double sum = ((t[0] + t[4]) + (t[1] + t[5])) + ((t[2] + t[6]) + (t[3] + t[7]));
    for (; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}
