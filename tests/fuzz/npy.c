/* npy.c -- any bytes as a .npy, and the text of its elements. */
#include "format/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    sky_npy a;
    sky_err e;
    if (sky_npy_memory(&a, p, n, 1 << 24, "fuzz", &e) == SKY_OK && a.head.kind != SKY_NPY_NUMBER)
        for (uint64_t i = 0; i < a.head.nbytes / a.head.itemsize && i < 1000; i++) {
            char *s = NULL;
            if (sky_npy_text(&s, &a, i, &e) == SKY_OK)
                sky_free(s);
        }
    sky_npy_free(&a);
    return 0;
}
