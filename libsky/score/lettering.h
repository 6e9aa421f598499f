/* lettering.h -- words on a picture: fixed-width letters, drawn here so that a PNG needs no font. */
#ifndef SKY_SCORE_LETTERING_H
#define SKY_SCORE_LETTERING_H

#include <stddef.h>
#include <stdint.h>

enum { SKY_LETTER_WIDE = 6, SKY_LETTER_HIGH = 8 }; /* pixels of one letter and the space after and below it */

/* UTF-8 text to letters, in place: one byte per character. ASCII has letters; any other character becomes a box. */
void sky_letters(char *text);
/* At most `most` (4 or more) of them: what is longer loses its middle to "..". */
void sky_letters_cut(char *letters, size_t most);
/* In black, each pixel of a letter scale x scale pixels; rgb is the upper left corner. What is no letter stays as it was. */
void sky_letters_draw(uint8_t *rgb, size_t row_bytes, const char *letters, int scale);

#endif
