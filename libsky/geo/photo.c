/* photo.c -- whole JPEG pictures.
 *
 * GDAL's JPEG driver has rows of interleaved pixels from libjpeg. Asked for planes, it walks through each row once per
 * band, a byte at a time: 77 us for 256 x 256 pixels, where decoding takes 300. Asked for the pixels as they are it copies
 * rows; splitting those costs 10. */
#include "geo/geo_internal.h"
#include "base/mem.h"
#include "base/planes.h"

#include <string.h>

enum { BANDS = 3, LARGEST = 64 << 20 /* bytes of pixels: the interleaved copy is in memory too */ };

int sky_geo_is_photo(GDALDatasetH ds)
{
    return GDALGetRasterCount(ds) == BANDS && !strcmp(GDALGetDriverShortName(GDALGetDatasetDriver(ds)), "JPEG") &&
           (int64_t)GDALGetRasterXSize(ds) * GDALGetRasterYSize(ds) <= LARGEST / BANDS;
}

int sky_geo_read_photo(GDALDatasetH ds, uint8_t *dst, sky_err *e)
{
    int w = GDALGetRasterXSize(ds), h = GDALGetRasterYSize(ds);
    size_t n = (size_t)w * (size_t)h;
    uint8_t *pixels = sky_alloc(BANDS * n);
    if (!pixels)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    int rc = SKY_OK;
    if (GDALDatasetRasterIO(ds, GF_Read, 0, 0, w, h, pixels, w, h, GDT_Byte, BANDS, NULL, BANDS, BANDS * w, 1) != CE_None)
        rc = sky_geo_fail(e, SKY_ECORRUPT, "window 0,0 of %dx%d pixels", w, h);
    else
        sky_split3(dst, n, pixels, n);
    sky_free(pixels);
    return rc;
}
