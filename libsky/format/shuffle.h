/* shuffle.h -- the records of shards in a seeded random order, out of core.
 *
 * Position i of n gets record sky_permute(seed, n, i): no list is kept, and the order depends on seed and inputs alone.
 * Random access needs shard files; other inputs are first copied into a temporary shard (level 1), which is unlinked as
 * soon as it is open. */
#ifndef SKY_FORMAT_SHUFFLE_H
#define SKY_FORMAT_SHUFFLE_H

#include "format/stream.h"

typedef struct sky_shuffle sky_shuffle;
/* Inputs, threads and --keep-going are c's. tmp: a path for the temporary shard, used if it is needed. */
int sky_shuffle_open(sky_shuffle **out, sky_cli *c, uint64_t seed, const char *tmp, sky_err *e) SKY_MUST_USE;
const json_t *sky_shuffle_schema(const sky_shuffle *s);
uint64_t sky_shuffle_count(const sky_shuffle *s);
int sky_shuffle_next(sky_shuffle *s, sky_sample *out, sky_err *e) SKY_MUST_USE; /* 1, 0 at the end, < 0 */
void sky_shuffle_close(sky_shuffle *s); /* NULL allowed */

#endif
