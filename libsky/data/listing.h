/* listing.h -- the files of a download: folders, zip and tar archives, in one sorted list.
 *
 * An archive counts as a folder named like it without its suffix, so that a name pattern finds the same files before
 * and after unpacking, with or without a wrapping folder inside. Archives are read in place. __MACOSX, ._*, .DS_Store
 * and *.aux.xml are left out. Each folder is entered once, so loops of symbolic links end. */
#ifndef SKY_DATA_LISTING_H
#define SKY_DATA_LISTING_H

#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

typedef struct {
    char *path;     /* for messages: as reached from the operand; archives keep their suffix */
    char *match;    /* for patterns: absolute, links to the operand's folder resolved, archives without suffix */
    uint64_t size;
    int box;        /* the archive it is in; -1: a file of its own */
    uint64_t at;    /* zip: member number; tar: byte offset */
} sky_entry;

typedef struct sky_listing sky_listing;
/* Archives with members that climb out ("../x", "/x") are refused. */
int sky_listing_open(sky_listing **out, char *const *paths, int n, sky_err *e) SKY_MUST_USE;
void sky_listing_close(sky_listing *l); /* NULL allowed */
size_t sky_listing_count(const sky_listing *l);
const sky_entry *sky_listing_at(const sky_listing *l, size_t i); /* sorted by match */
/* An archive of a kind that cannot be read in place (.tar.gz, .rar ...) seen on the way; NULL: none. */
const char *sky_listing_unreadable(const sky_listing *l);

typedef struct {
    const uint8_t *p;
    size_t n;
    void *own; /* NULL: mapped by the listing */
} sky_bytes;
/* The whole file or member; more than limit bytes is SKY_ELIMIT. Thread-safe. Messages start with the path. */
int sky_listing_read(sky_listing *l, const sky_entry *f, uint64_t limit, sky_bytes *b, sky_err *e) SKY_MUST_USE;
void sky_bytes_free(sky_bytes *b); /* also all-zero */
/* A name GDAL can open: an absolute path, or /vsizip/{...}/..., /vsitar/{...}/...; sky_free it. NULL: memory. */
char *sky_listing_uri(const sky_listing *l, const sky_entry *f);

#endif
