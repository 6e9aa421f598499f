/* safetensors.c -- any bytes as a safetensors file: what opens is read, mapped and hashed. */
#include "base/mem.h"
#include "weights_use.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    sky_weights *w;
    sky_err e;
    if (n > 8 && p[8] == '{' && sky_weights_memory(&w, p, n, "fuzz", &e) == SKY_OK)
        use_weights(w);
    return 0;
}
