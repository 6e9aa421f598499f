#include "cpu/parts.h"
#include "cpu/device_internal.h"

enum { RUN = 256 };

/* s (+)= m numbers of x from i on; `first`: they are the first, so that -0 stays what it is. */
static void take_part(double *s, int first, const void *x, sky_dtype t, int64_t i, int m)
{
    const double *d = (const double *)x + i;
    const float *f = (const float *)x + i;
    if (t == SKY_F64)
        for (int j = 0; j < m; j++)
            s[j] = first ? d[j] : s[j] + d[j];
    else
        for (int j = 0; j < m; j++)
            s[j] = first ? (double)f[j] : s[j] + (double)f[j];
}

void sky_add_parts(void *y, sky_dtype ty, const double *carry, const void *x, sky_dtype tx, int64_t n, int parts)
{
    double s[RUN];
    for (int64_t i = 0; i < n; i += RUN) {
        const int m = n - i < RUN ? (int)(n - i) : RUN;
        if (carry)
            memcpy(s, carry + i, (size_t)m * sizeof *s);
        for (int r = 0; r < parts; r++)
            take_part(s, !carry && !r, x, tx, r * n + i, m);
        if (ty == SKY_F64)
            memcpy((double *)y + i, s, (size_t)m * sizeof *s);
        else
            for (int j = 0; j < m; j++)
                ((float *)y)[i + j] = (float)s[j];
    }
}

int sky_cpu_add_parts(sky_dev *d, sky_tensor *y, const sky_tensor *carry, const sky_tensor *parts, sky_err *e)
{
    (void)d, (void)e;
    sky_add_parts(y->data, y->dtype, carry->data, parts->data, parts->dtype, sky_numel(y), (int)parts->shape[0]);
    return SKY_OK;
}
