#include "base/dtype.h"

#include <math.h>

static const struct {
    const char *name;
    uint8_t size;
} types[SKY_DTYPES] = {
    [SKY_BOOL] = {"BOOL", 1}, [SKY_U8] = {"U8", 1},   [SKY_I8] = {"I8", 1},   [SKY_U16] = {"U16", 2},
    [SKY_I16] = {"I16", 2},   [SKY_U32] = {"U32", 4}, [SKY_I32] = {"I32", 4}, [SKY_U64] = {"U64", 8},
    [SKY_I64] = {"I64", 8},   [SKY_F16] = {"F16", 2}, [SKY_BF16] = {"BF16", 2}, [SKY_F32] = {"F32", 4},
    [SKY_F64] = {"F64", 8},
};

size_t sky_dtype_size(sky_dtype t) { return (unsigned)t < SKY_DTYPES ? types[t].size : 0; }
const char *sky_dtype_name(sky_dtype t) { return (unsigned)t < SKY_DTYPES ? types[t].name : "?"; }

int sky_dtype_parse(const char *name, sky_dtype *t)
{
    for (int i = 0; i < SKY_DTYPES; i++)
        if (!strcmp(types[i].name, name)) {
            *t = (sky_dtype)i;
            return 0;
        }
    return -1;
}

float sky_f16_to_f32(uint16_t h)
{
    int exp = h >> 10 & 31, frac = h & 1023;
    float v = exp == 0    ? ldexpf((float)frac, -24)
              : exp == 31 ? (frac ? NAN : INFINITY)
                          : ldexpf((float)(1024 + frac), exp - 25);
    return h & 0x8000 ? -v : v;
}

uint16_t sky_f32_to_f16(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    u &= 0x7fffffff;
    if (u > 0x7f800000)
        return sign | 0x7e00; /* NaN */
    if (u >= 0x477ff000)
        return sign | 0x7c00; /* rounds past 65504 */
    float a;
    memcpy(&a, &u, 4);
    if (u < 0x38800000) /* below 2^-14: the unit is 2^-24 */
        return sign | (uint16_t)lrintf(a * 16777216.0f);
    uint32_t odd = u >> 13 & 1;
    return sign | (uint16_t)((u + 0xfff + odd - 0x38000000) >> 13);
}

double sky_load_f64(const void *p, sky_dtype t, uint64_t i)
{
    switch (t) {
    case SKY_BOOL: return ((const uint8_t *)p)[i] != 0;
    case SKY_U8: return ((const uint8_t *)p)[i];
    case SKY_I8: return ((const int8_t *)p)[i];
    case SKY_U16: return ((const uint16_t *)p)[i];
    case SKY_I16: return ((const int16_t *)p)[i];
    case SKY_U32: return ((const uint32_t *)p)[i];
    case SKY_I32: return ((const int32_t *)p)[i];
    case SKY_U64: return (double)((const uint64_t *)p)[i];
    case SKY_I64: return (double)((const int64_t *)p)[i];
    case SKY_F16: return sky_f16_to_f32(((const uint16_t *)p)[i]);
    case SKY_BF16: return sky_bf16_to_f32(((const uint16_t *)p)[i]);
    case SKY_F32: return ((const float *)p)[i];
    case SKY_F64: return ((const double *)p)[i];
    default: return NAN;
    }
}

static double to_range(double v, double lo, double hi)
{
    if (isnan(v))
        return 0;
    v = nearbyint(v);
    return v < lo ? lo : v > hi ? hi : v;
}

void sky_store_f64(void *p, sky_dtype t, uint64_t i, double v)
{
    switch (t) {
    case SKY_BOOL: ((uint8_t *)p)[i] = v != 0; break;
    case SKY_U8: ((uint8_t *)p)[i] = (uint8_t)to_range(v, 0, 255); break;
    case SKY_I8: ((int8_t *)p)[i] = (int8_t)to_range(v, -128, 127); break;
    case SKY_U16: ((uint16_t *)p)[i] = (uint16_t)to_range(v, 0, 65535); break;
    case SKY_I16: ((int16_t *)p)[i] = (int16_t)to_range(v, -32768, 32767); break;
    case SKY_U32: ((uint32_t *)p)[i] = (uint32_t)to_range(v, 0, UINT32_MAX); break;
    case SKY_I32: ((int32_t *)p)[i] = (int32_t)to_range(v, INT32_MIN, INT32_MAX); break;
    /* the largest doubles below 2^64 and 2^63 */
    case SKY_U64: ((uint64_t *)p)[i] = (uint64_t)to_range(v, 0, 18446744073709549568.0); break;
    case SKY_I64: ((int64_t *)p)[i] = (int64_t)to_range(v, (double)INT64_MIN, 9223372036854774784.0); break;
    case SKY_F16: ((uint16_t *)p)[i] = sky_f32_to_f16((float)v); break;
    case SKY_BF16: ((uint16_t *)p)[i] = sky_f32_to_bf16((float)v); break;
    case SKY_F32: ((float *)p)[i] = (float)v; break;
    case SKY_F64: ((double *)p)[i] = v; break;
    default: break;
    }
}

void sky_to_f32(float *dst, const void *src, sky_dtype t, uint64_t n)
{
    switch (t) {
    case SKY_U8: for (uint64_t i = 0; i < n; i++) dst[i] = ((const uint8_t *)src)[i]; break;
    case SKY_U16: for (uint64_t i = 0; i < n; i++) dst[i] = ((const uint16_t *)src)[i]; break;
    case SKY_I16: for (uint64_t i = 0; i < n; i++) dst[i] = ((const int16_t *)src)[i]; break;
    case SKY_BF16: for (uint64_t i = 0; i < n; i++) dst[i] = sky_bf16_to_f32(((const uint16_t *)src)[i]); break;
    case SKY_F32: memcpy(dst, src, n * sizeof *dst); break;
    default: for (uint64_t i = 0; i < n; i++) dst[i] = (float)sky_load_f64(src, t, i); break;
    }
}
