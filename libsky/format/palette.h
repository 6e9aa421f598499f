/* palette.h -- colours for classes whose table names none: one rule for every tool that draws. */
#ifndef SKY_FORMAT_PALETTE_H
#define SKY_FORMAT_PALETTE_H

#include "base/err.h"
#include "base/json.h"
#include <stdint.h>

/* Well apart for neighbouring values: hue by the golden angle, value 0 red; each channel 60 to 240. */
void sky_class_colour(int value, uint8_t rgb[3]);
json_t *sky_class_colour_json(int value); /* [r,g,b]; NULL: memory */
/* Give every class of a class table without "color" that of its value. -1: memory. */
int sky_class_table_colour(json_t *table) SKY_MUST_USE;

#endif
