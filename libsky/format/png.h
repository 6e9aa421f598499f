/* png.h -- PNG pictures through libpng: labels keep their stored numbers, photographs become 8- or 16-bit colour.
 *
 * The input is memory (files, zip and tar members are read whole first). Hostile input is safe: the declared size is
 * compared with what the compressed bytes can hold before anything is allocated, ancillary chunks are skipped, every
 * damage is SKY_ECORRUPT. */
#ifndef SKY_FORMAT_PNG_H
#define SKY_FORMAT_PNG_H

#include "base/dtype.h"
#include "base/io.h"

typedef enum {
    SKY_PNG_STORED, /* numbers as stored: a palette index stays an index, 1/2/4 bits are unpacked but not scaled */
    SKY_PNG_COLOUR, /* palette becomes RGB, 1/2/4-bit grey is scaled to 0..255, alpha is dropped */
} sky_png_mode;

typedef struct {
    uint32_t width, height;
    int channels;       /* of the decoded pixels: 1, 2 (grey+alpha), 3, 4 (RGB+alpha) */
    sky_dtype dtype;    /* of the decoded pixels: SKY_U8 or SKY_U16 */
    int stored_bits;    /* per channel in the file: 1 2 4 8 16 */
    int palette_n;      /* entries of the file's palette, 0: none */
    uint8_t palette[256][3];
} sky_png_info;

typedef struct sky_png sky_png;
/* Reads the header. p stays the caller's and must live until close; name is used in messages and copied. */
int sky_png_open(sky_png **out, const void *p, size_t n, sky_png_mode mode, const char *name, sky_err *e) SKY_MUST_USE;
const sky_png_info *sky_png_get(const sky_png *g);
/* Decode once, into dst of height*width*channels elements: interleaved [y,x,c] or planes [c,y,x]. */
int sky_png_read(sky_png *g, void *dst, sky_err *e) SKY_MUST_USE;
int sky_png_read_planes(sky_png *g, void *dst, sky_err *e) SKY_MUST_USE;
void sky_png_close(sky_png *g); /* NULL allowed */

typedef struct {
    uint32_t width, height;
    int channels;            /* 1, 3 or 4 */
    int bits;                /* 8 or 16 (native byte order in memory) */
    const uint8_t (*palette)[3]; /* with channels 1 and bits 8: pixels are indices into it; NULL: grey */
    int palette_n;           /* 1..256; an index at or above it is refused (SKY_EUSAGE) */
    int level;               /* zlib 1..9; 0: 6 */
} sky_png_spec;
/* One whole picture, pixels [y,x,c] with rows of row_bytes. Written to o; the caller commits. */
int sky_png_write(sky_out *o, const sky_png_spec *s, const void *pixels, size_t row_bytes, sky_err *e) SKY_MUST_USE;

#endif
