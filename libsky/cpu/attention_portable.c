/* attention_portable.c -- any CPU: 4 lanes, products and sums rounded separately. */
#define LANES 4
#define CHUNK 8
#define KERNELS sky_attn_portable
#define FMA(a, b, c) ((a) * (b) + (c))
#define SET1(x) ((vf){(x), (x), (x), (x)})
#define MAX(a, b) __extension__({ const vf a_ = (a), b_ = (b); const vi m_ = a_ > b_; (vf)((m_ & (vi)a_) | (~m_ & (vi)b_)); })
#define SQRT(x) __extension__({ vf s_ = (x); for (int j_ = 0; j_ < LANES; j_++) s_[j_] = sqrtf(s_[j_]); s_; })
#include "cpu/attention_impl.h"
