/* map.h -- a file as read-only memory.
 *
 * For formats with offsets (weights, zip archives): nothing is read until it is touched, and the system may drop pages
 * again. A file that another program cuts short while it is mapped ends this one with SIGBUS; inputs are taken to be at
 * rest. */
#ifndef SKY_BASE_MAP_H
#define SKY_BASE_MAP_H

#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *p; /* page-aligned; not NULL, also for an empty file */
    size_t n;
    int owned;        /* ours to unmap; 0: the caller's memory */
} sky_map;

/* Regular files only (SKY_EIO names the reason otherwise). */
int sky_map_open(sky_map *m, const char *path, sky_err *e) SKY_MUST_USE;
void sky_map_memory(sky_map *m, const void *p, size_t n); /* memory the caller keeps alive */
void sky_map_close(sky_map *m);
/* The bytes [offset, offset + n) are not needed soon: whole pages inside are given back. */
void sky_map_drop(const sky_map *m, uint64_t offset, uint64_t n);

#endif
