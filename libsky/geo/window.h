/* window.h -- windows of fields by reference, read by several threads from a bounded set of open rasters. */
#ifndef SKY_GEO_WINDOW_H
#define SKY_GEO_WINDOW_H

#include "base/err.h"
#include "format/sample.h"

typedef struct sky_windows sky_windows;
/* At most `handles` rasters stay open (at least as many as there are threads reading); the one unused longest is closed
 * for a new one. */
int sky_windows_open(sky_windows **out, int handles, sky_err *e) SKY_MUST_USE;
void sky_windows_close(sky_windows *w); /* NULL allowed */
/* Window (x, y, w, h), which lies inside field f, of all its bands into dst [other dims..., h, w] packed; f's shape is
 * checked against its reference first. Thread-safe. `windows` is a sky_windows, so that this is a sky_window_fn. */
int sky_windows_read(void *windows, const sky_field *f, int64_t x, int64_t y, int64_t w, int64_t h, void *dst, sky_err *e) SKY_MUST_USE;

#endif
