#include "format/palette.h"

#include <math.h>

void sky_class_colour(int value, uint8_t rgb[3])
{
    const double hue = fmod(value * 137.50776405, 360) / 60;
    for (int i = 0; i < 3; i++) {
        const double d = fabs(fmod(hue + 6 - 2 * i, 6) - 3) - 1; /* 1 at full, 0 at none */
        rgb[i] = (uint8_t)lround(60 + 180 * (d < 0 ? 0 : d > 1 ? 1 : d));
    }
}

json_t *sky_class_colour_json(int value)
{
    uint8_t c[3];
    sky_class_colour(value, c);
    return json_pack("[i,i,i]", c[0], c[1], c[2]);
}

int sky_class_table_colour(json_t *table)
{
    int bad = 0;
    for (size_t i = 0; i < json_array_size(table) && !bad; i++) {
        json_t *one = json_array_get(table, i);
        if (!json_object_get(one, "color"))
            bad = json_object_set_new(one, "color", sky_class_colour_json((int)json_integer_value(json_object_get(one, "value"))));
    }
    return bad ? -1 : 0;
}

void sky_field_colours(const sky_field *f, uint8_t rgb[256][3])
{
    const json_t *table = json_object_get(f->meta, "classes");
    const size_t n = json_array_size(table);
    sky_field_palette(f, rgb);
    for (int v = 1; v < 255 && !n; v++)
        sky_class_colour(v, rgb[v]);
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(table, i), *value = json_object_get(one, "value");
        const json_int_t v = json_integer_value(value);
        if (json_is_integer(value) && v >= 0 && v <= 255 && !json_object_get(one, "color"))
            sky_class_colour((int)v, rgb[v]);
    }
}
