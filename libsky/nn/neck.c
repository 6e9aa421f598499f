/* neck.c -- per level: 1x1 convolution, bilinear scaling, 3x3 convolution. No norm, no activation. */
#include "nn/layers.h"

#include <math.h>

void sky_nn_neck_declare(sky_nn_neck *l, const sky_scope *s, const int64_t *cins, int64_t cout, const double *scale, int levels)
{
    *l = (sky_nn_neck){.levels = levels};
    for (int i = 0; i < levels; i++) {
        sky_scope lat = sky_scope_in(s, "lateral_convs.%d.conv", i), conv = sky_scope_in(s, "convs.%d.conv", i);
        sky_nn_conv_declare(l->lateral[i], &lat, cins[i], cout, 1);
        sky_nn_conv_declare(l->conv[i], &conv, cout, cout, 3);
        l->scale[i] = scale[i];
    }
}

/* A factor, not a size: sampling steps by exactly 1/f, so when f does not divide the map evenly the rest at its end is
 * never looked at. */
static sky_tensor scaled(sky_ctx *c, sky_tensor x, double f)
{
    int64_t out[2];
    for (int d = 0; d < 2; d++) {
        out[d] = (int64_t)floor((double)x.shape[1 + d] * f);
        double used = (double)out[d] / f;
        if (out[d] < 1 || used != floor(used)) {
            sky_ctx_fail(c, SKY_EUSAGE, "neck: a map of %lldx%lld cannot be scaled by %g", (long long)x.shape[1], (long long)x.shape[2], f);
            return sky_none;
        }
        if ((int64_t)used < x.shape[1 + d])
            x = sky_slice(c, x, 1 + d, 0, (int64_t)used);
    }
    return sky_resize(c, x, out[0], out[1], SKY_BILINEAR);
}

sky_tensor sky_nn_neck_level(sky_ctx *c, const sky_nn_neck *l, int i, sky_tensor x)
{
    sky_mark m = sky_mark_get(c);
    sky_tensor y = sky_conv2d(c, x, l->lateral[i][0], sky_none, l->lateral[i][1], SKY_ACT_NONE);
    if (l->scale[i] != 1)
        y = scaled(c, y, l->scale[i]);
    y = sky_conv2d(c, y, l->conv[i][0], sky_none, l->conv[i][1], SKY_ACT_NONE);
    sky_keep(c, m, &y, 1);
    return y;
}
