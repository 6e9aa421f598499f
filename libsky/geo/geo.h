/* geo.h -- rasters and polygons through GDAL, which nothing outside libsky/geo includes.
 *
 * A raster is opened by path or by any name GDAL understands (/vsizip/{a.zip}/b.tif, /vsitar/...), and read by window and
 * band into packed arrays of its own element type; only the window and GDAL's block cache (64 MiB) are in memory. What
 * GDAL would print becomes our message. Axis order is always x = easting or longitude, y = northing or latitude. */
#ifndef SKY_GEO_GEO_H
#define SKY_GEO_GEO_H

#include "base/dtype.h"
#include "base/err.h"
#include "base/json.h"
#include "format/sample.h"

/* Once per program before anything else here; cheap afterwards. threads: how many will read at the same time. */
void sky_geo_begin(int threads);
const char *sky_geo_version(void); /* "GDAL 3.6.2" */

typedef struct {
    int width, height, bands;
    sky_dtype dtype;            /* that holds every band: U8 I8 U16 I16 U32 I32 U64 I64 F32 F64 */
    int has_affine;
    double affine[6];           /* x = a*col + b*row + c, y = d*col + e*row + f (pixel corners) */
    char *crs;                  /* "EPSG:n", else WKT2; NULL: none known */
    int has_nodata;
    double nodata;              /* of band 1; may be NaN */
    char **names;               /* per band its description or colour ("R", "G", "B", "A"), NULL where unknown */
    char *time;                 /* RFC 3339 acquisition time, NULL: unknown */
    int colours;                /* entries of band 1's colour table, 0: none */
    uint8_t colour[256][3];
    int block_width, block_height; /* reading whole blocks is quickest */
    const char *driver;         /* "GTiff", "JPEG", ... */
} sky_geo_info;

/* One handle belongs to one thread at a time. */
typedef struct sky_geo sky_geo;
int sky_geo_open(sky_geo **out, const char *uri, sky_err *e) SKY_MUST_USE;
/* The same from bytes the caller keeps alive until close; name is used in messages. */
int sky_geo_memory(sky_geo **out, const void *p, size_t n, const char *name, sky_err *e) SKY_MUST_USE;
/* For a raster that sky_geo_memory opened from the file `path`: where it lies, from the world file (.jgw) beside that. */
void sky_geo_world(sky_geo *g, const char *path);
const sky_geo_info *sky_geo_get(const sky_geo *g);
/* Window (x, y, w, h) of nbands bands (numbers from 1; NULL: all) as t into dst [nbands, h, w], packed. A window that
 * leaves the raster is SKY_EUSAGE. Values outside t saturate. */
int sky_geo_read(sky_geo *g, int x, int y, int w, int h, const int *bands, int nbands, sky_dtype t, void *dst, sky_err *e) SKY_MUST_USE;
void sky_geo_close(sky_geo *g); /* NULL allowed */

/* Put what the raster knows into a field's meta: crs, affine, nodata, bands, times. Keys already there stay. */
int sky_geo_describe(const sky_geo *g, sky_field *f, sky_err *e) SKY_MUST_USE;
/* Window of a field by reference (f->ref), in the field's own pixel grid: all its bands as f->dtype into
 * dst [bands, h, w]. g is opened from f->ref's uri (NULL: opened and closed here). */
int sky_geo_read_ref(const sky_field *f, sky_geo *g, int x, int y, int w, int h, void *dst, sky_err *e) SKY_MUST_USE;

/* Polygons drawn on an image grid. */
typedef struct {
    int width, height;
    const double *affine;       /* 6 numbers as above */
    const char *crs;            /* of the grid: "EPSG:n" or WKT */
} sky_geo_grid;
/* class of a polygon by its property's text ("3", "Water"; numbers as %.17g): >= 0 (at most 65535), -1: leave this
 * polygon out, < -1: an error set in e. */
typedef int (*sky_geo_class_fn)(void *arg, const char *value, sky_err *e);
/* Every layer of a vector file (GeoJSON or anything OGR opens) is transformed to the grid's CRS and burnt in file order
 * (later ones win) into label [height, width]; pixels whose centre is inside. Pixels outside every polygon keep what
 * they hold. Returns the number of polygons burnt, or < 0. */
int64_t sky_geo_rasterise(uint16_t *label, const sky_geo_grid *grid, const char *uri, const char *property,
                          sky_geo_class_fn fn, void *arg, sky_err *e);
/* The same from the bytes of a file. */
int64_t sky_geo_rasterise_memory(uint16_t *label, const sky_geo_grid *grid, const void *p, size_t n, const char *name,
                                 const char *property, sky_geo_class_fn fn, void *arg, sky_err *e);

#endif
