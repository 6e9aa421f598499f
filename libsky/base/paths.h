/* paths.h -- where the files that ship with the tools are found. */
#ifndef SKY_BASE_PATHS_H
#define SKY_BASE_PATHS_H

#include "base/err.h"

/* Find the data file `kind`/`name` + ext ("datasets", "flood3i", ".yaml"; "configs", "tiny", ".yaml"). A name with a
 * slash or ending in ext is taken as a path as it is. Otherwise looked for in: $SKY_DATA/kind/, share/skysense/kind/
 * beside the folder of the executable (in the build folder these are links into the source tree), and
 * PREFIX/share/skysense/kind/. *out: sky_free it.
 * Not found: SKY_EUSAGE with the names there are, or the places when there are none. */
int sky_data_file(char **out, const char *kind, const char *name, const char *ext, sky_err *e) SKY_MUST_USE;

#endif
