/* geo_internal.h -- shared by the files of libsky/geo only. */
#ifndef SKY_GEO_INTERNAL_H
#define SKY_GEO_INTERNAL_H

#include "geo/geo.h"

#include <cpl_conv.h>
#include <cpl_error.h>
#include <cpl_string.h>
#include <cpl_vsi.h>
#include <gdal.h>
#include <ogr_api.h>
#include <ogr_srs_api.h>

/* Once, after the drivers are registered: nothing that is opened can reach the network. -1: memory. */
int sky_geo_offline(void);
/* sky_geo_begin; fails when sky_geo_offline did. */
int sky_geo_ready(const char *name, sky_err *e) SKY_MUST_USE;
extern const char *const sky_geo_vector_drivers[]; /* NULL-terminated */
/* sky_fail with GDAL's last message of this thread appended. */
int sky_geo_fail(sky_err *e, int code, const char *fmt, ...) SKY_PRINTF(3, 4);
/* "EPSG:n" or WKT2 of s; CPLFree it. NULL: neither can be made. */
char *sky_geo_crs_text(OGRSpatialReferenceH s);
/* A new reference of "EPSG:n" or WKT, x first. */
int sky_geo_crs_parse(OGRSpatialReferenceH *out, const char *crs, sky_err *e) SKY_MUST_USE;
/* A name in GDAL's memory file system for the caller's bytes; VSIUnlink it after the last close. */
int sky_geo_vsimem(char name[64], const void *p, size_t n, sky_err *e) SKY_MUST_USE;
/* photo.c: is this a JPEG of three bands, small enough to be held twice? Then all of it into dst, as three planes. */
int sky_geo_is_photo(GDALDatasetH ds);
int sky_geo_read_photo(GDALDatasetH ds, uint8_t *dst, sky_err *e) SKY_MUST_USE;

#endif
