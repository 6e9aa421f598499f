/* dtype.h -- element types: safetensors names, sizes, and conversions between the floating ones.
 *
 * The enum's numbers are ours and never stored; files carry names. */
#ifndef SKY_BASE_DTYPE_H
#define SKY_BASE_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum { SKY_BOOL, SKY_U8, SKY_I8, SKY_U16, SKY_I16, SKY_U32, SKY_I32, SKY_U64, SKY_I64, SKY_F16, SKY_BF16, SKY_F32, SKY_F64, SKY_DTYPES } sky_dtype;

size_t sky_dtype_size(sky_dtype t);                  /* bytes per element; 0 for an invalid value */
const char *sky_dtype_name(sky_dtype t);             /* "U8" ... */
int sky_dtype_parse(const char *name, sky_dtype *t); /* 0, or -1 when unknown */

static inline float sky_bf16_to_f32(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}
/* Round to nearest even; NaN stays NaN. */
static inline uint16_t sky_f32_to_bf16(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
float sky_f16_to_f32(uint16_t h);
uint16_t sky_f32_to_f16(float f); /* round to nearest even */
/* n elements of any numeric type to double / from double with saturation and rounding to nearest even for integers.
 * NaN becomes 0 in integers. */
double sky_load_f64(const void *p, sky_dtype t, uint64_t i);
void sky_store_f64(void *p, sky_dtype t, uint64_t i, double v);
/* n elements to float32 (fast paths; exact for every type up to 24 bits). */
void sky_to_f32(float *dst, const void *src, sky_dtype t, uint64_t n);

#endif
