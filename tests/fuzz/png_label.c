/* The first byte chooses how the rest, a PNG, is decoded. Its bit 2 asks for true chunk checksums, so that changed bytes
 * get past them to the code behind. */
#include "base/mem.h"
#include "format/png.h"

#include <string.h>
#include <zlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void mend(uint8_t *p, size_t n)
{
    for (size_t at = 8; at + 12 <= n;) {
        size_t len = (size_t)p[at] << 24 | (size_t)p[at + 1] << 16 | (size_t)p[at + 2] << 8 | p[at + 3];
        if (len > n - at - 12)
            return;
        uint32_t crc = (uint32_t)crc32(0, p + at + 4, (uInt)len + 4);
        uint8_t *to = p + at + 8 + len;
        for (int i = 0; i < 4; i++)
            to[i] = (uint8_t)(crc >> (24 - 8 * i));
        at += 12 + len;
    }
}

static void decode(uint8_t how, const uint8_t *p, size_t n)
{
    sky_png *g;
    sky_err e;
    if (sky_png_open(&g, p, n, how & 1 ? SKY_PNG_COLOUR : SKY_PNG_STORED, "fuzz", &e))
        return;
    const sky_png_info *i = sky_png_get(g);
    uint64_t bytes = (uint64_t)i->width * i->height * (uint64_t)i->channels * sky_dtype_size(i->dtype);
    uint8_t *px = bytes <= 1 << 24 ? sky_alloc(bytes) : NULL;
    if (px && !(how & 2 ? sky_png_read(g, px, &e) : sky_png_read_planes(g, px, &e))) {
        volatile uint8_t last = px[bytes - 1];
        (void)last;
    }
    sky_free(px);
    sky_png_close(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    uint8_t *copy = n ? sky_alloc(n) : NULL;
    if (!copy)
        return 0;
    memcpy(copy, p + 1, n - 1);
    if (*p & 4)
        mend(copy, n - 1);
    decode(*p, copy, n - 1);
    sky_free(copy);
    return 0;
}
