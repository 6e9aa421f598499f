#include "data/tile.h"

sky_axis sky_axis_make(int64_t length, const sky_tile_opts *o)
{
    sky_axis a = {length, o->size, o->stride, o->edge, 0, 0};
    a.full = length >= a.size ? (length - a.size) / a.stride + 1 : 0;
    int64_t covered = a.full ? (a.full - 1) * a.stride + a.size : 0, next = a.full * a.stride;
    /* With gaps between windows the next one may start beyond the end: then nothing remains. */
    int remains = covered < length && next < length;
    a.n = a.full + (remains && o->edge != SKY_EDGE_DROP);
    return a;
}

void sky_axis_window(const sky_axis *a, int64_t i, int64_t *start, int64_t *size)
{
    *start = i * a->stride;
    *size = a->size;
    if (i < a->full || a->edge == SKY_EDGE_PAD)
        return;
    if (a->edge == SKY_EDGE_SHIFT && a->length >= a->size)
        *start = a->length - a->size;
    else
        *size = a->length - *start;
}
