/* The first byte chooses how the rest, a PNG, is decoded. */
#include "base/mem.h"
#include "format/png.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    sky_png *g;
    sky_err e;
    if (!n || sky_png_open(&g, p + 1, n - 1, *p & 1 ? SKY_PNG_COLOUR : SKY_PNG_STORED, "fuzz", &e))
        return 0;
    const sky_png_info *i = sky_png_get(g);
    uint64_t bytes = (uint64_t)i->width * i->height * (uint64_t)i->channels * sky_dtype_size(i->dtype);
    uint8_t *px = bytes <= 1 << 24 ? sky_alloc(bytes) : NULL;
    if (px && !(*p & 2 ? sky_png_read(g, px, &e) : sky_png_read_planes(g, px, &e))) {
        volatile uint8_t last = px[bytes - 1];
        (void)last;
    }
    sky_free(px);
    sky_png_close(g);
    return 0;
}
