/* png_internal.h -- what reading (png.c) and writing (png_write.c) give libpng: our heap, and no warnings. */
#ifndef SKY_FORMAT_PNG_INTERNAL_H
#define SKY_FORMAT_PNG_INTERNAL_H

#include "format/png.h"

#include <png.h>

png_voidp sky_png_alloc(png_structp png, png_alloc_size_t n);
void sky_png_release(png_structp png, png_voidp p);
void sky_png_silence(png_structp png, png_const_charp msg); /* a png_error_ptr for warnings */

#endif
