/* palette.h -- colours for classes whose table names none: one rule for every tool that draws. */
#ifndef SKY_FORMAT_PALETTE_H
#define SKY_FORMAT_PALETTE_H

#include "format/sample.h"

/* Well apart for neighbouring values: hue by the golden angle, value 0 red; each channel 60 to 240. */
void sky_class_colour(int value, uint8_t rgb[3]);
json_t *sky_class_colour_json(int value); /* [r,g,b]; NULL: memory */
/* sky_field_palette, with sky_class_colour for classes of the field's table that have none; without a table for every value but
 * 0 and 255, which mostly mean that there is no class. */
void sky_field_colours(const sky_field *f, uint8_t rgb[256][3]);
/* Give every class of a class table without "color" that of its value. -1: memory. */
int sky_class_table_colour(json_t *table) SKY_MUST_USE;

#endif
