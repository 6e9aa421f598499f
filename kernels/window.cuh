/* window.cuh -- where the tokens of a Swin window lie: roll, partition and padding as arithmetic on addresses. */
#ifndef SKY_KERNELS_WINDOW_CUH
#define SKY_KERNELS_WINDOW_CUH

#include "common.cuh"

struct windows {
    int64_t B, H, W, wr, wc; /* map; windows down and across */
    int heads, D, win, shift, N; /* N = win * win */
};

static inline windows windows_of(const sky_tensor *qkv, int win, int shift)
{
    const int64_t *s = qkv->shape;
    return windows{s[0], s[1], s[2], (s[1] + win - 1) / win, (s[2] + win - 1) / win, static_cast<int>(s[4]), static_cast<int>(s[5]), win, shift, win * win};
}

/* Number of token t of a window in the map [B,H,W], or -1 where the map is padded. region: tokens of different ones are
 * kept apart by the shift mask. */
static __device__ inline int64_t token_of(const windows &o, int64_t window, int t, int *region)
{
    int64_t b = window, x0 = divide(&b, o.wc) * o.win, y0 = divide(&b, o.wr) * o.win;
    int64_t ry = y0 + t / o.win, rx = x0 + t % o.win, Hp = o.wr * o.win, Wp = o.wc * o.win; /* on the rolled, padded map */
    *region = o.shift ? static_cast<int>(((ry >= Hp - o.win) + (ry >= Hp - o.shift)) * 3 + (rx >= Wp - o.win) + (rx >= Wp - o.shift)) : 0;
    int64_t y = ry + o.shift < Hp ? ry + o.shift : ry + o.shift - Hp, x = rx + o.shift < Wp ? rx + o.shift : rx + o.shift - Wp;
    return y < o.H && x < o.W ? (b * o.H + y) * o.W + x : -1;
}

/* Part (0 q, 1 k, 2 v) of head h of a token, or of the padding. */
static __device__ inline const float *part_of(const windows &o, const float *qkv, const float *pad, int64_t token, int part, int h)
{
    return (token < 0 ? pad : qkv + token * 3 * o.heads * o.D) + (part * o.heads + h) * o.D;
}

/* Factor of the cosine. */
static __device__ inline float gain_of(float logit_scale) { return expf(fminf(logit_scale, 4.60517018598809137f /* ln 100 */)); }

#endif
