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
