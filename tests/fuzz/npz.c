/* npz.c -- any bytes as a .npz: directory, headers, arrays. */
#include "format/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    sky_npz *z;
    sky_npy_head h;
    sky_npy a;
    sky_err e;
    if (sky_npz_memory(&z, p, n, "fuzz", &e))
        return 0;
    for (int i = 0; i < sky_npz_count(z) && i < 100; i++) {
        int head = sky_npz_head(z, i, &h, &e);
        if (sky_npz_read(z, i, 1 << 22, &a, &e) == SKY_OK && head)
            __builtin_trap(); /* what can be read has a header */
        sky_npy_free(&a);
    }
    sky_npz_close(z);
    return 0;
}
