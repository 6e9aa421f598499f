/* Coordinate reference systems, and polygons drawn on an image grid. */
#include "geo/geo_internal.h"
#include "base/mem.h"

#include <gdal_alg.h>
#include <stdio.h>
#include <string.h>

char *sky_geo_crs_text(OGRSpatialReferenceH s)
{
    const char *name = OSRGetAuthorityName(s, NULL), *code = OSRGetAuthorityCode(s, NULL);
    if (name && code && !strcmp(name, "EPSG"))
        return CPLStrdup(CPLSPrintf("EPSG:%s", code));
    const char *const opts[] = {"FORMAT=WKT2_2019", NULL};
    char *wkt = NULL;
    if (OSRExportToWktEx(s, &wkt, opts) != OGRERR_NONE) {
        CPLFree(wkt);
        return NULL;
    }
    return wkt;
}

int sky_geo_crs_parse(OGRSpatialReferenceH *out, const char *crs, sky_err *e)
{
    CPLErrorReset();
    OGRSpatialReferenceH s = OSRNewSpatialReference(NULL);
    if (!s)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    /* Not OSRSetFromUserInput: that one also opens files and addresses. */
    char *wkt = (char *)(uintptr_t)crs;
    OGRErr bad = !strncmp(crs, "EPSG:", 5) ? OSRImportFromEPSG(s, atoi(crs + 5)) : OSRImportFromWkt(s, &wkt);
    if (bad) {
        OSRDestroySpatialReference(s);
        return sky_geo_fail(e, SKY_ECORRUPT, "coordinate reference system '%.60s' is not understood", crs);
    }
    OSRSetAxisMappingStrategy(s, OAMS_TRADITIONAL_GIS_ORDER);
    *out = s;
    return SKY_OK;
}

typedef struct {
    GDALDatasetH grid; /* one MEM band over the caller's label */
    OGRSpatialReferenceH crs;
    const char *name, *property;
    sky_geo_class_fn fn;
    void *arg;
    int64_t burnt;
} job;

/* A band of GDAL's in-memory driver that is the caller's array. */
static int wrap_grid(job *j, uint16_t *label, const sky_geo_grid *g, sky_err *e)
{
    char pointer[64], at[48];
    j->grid = GDALCreate(GDALGetDriverByName("MEM"), "", g->width, g->height, 0, GDT_UInt16, NULL);
    if (!j->grid)
        return sky_geo_fail(e, SKY_ENOMEM, "label grid of %dx%d pixels", g->width, g->height);
    at[CPLPrintPointer(at, label, sizeof at - 1)] = 0;
    snprintf(pointer, sizeof pointer, "DATAPOINTER=%s", at);
    char *opts[] = {pointer, NULL};
    const double *a = g->affine;
    double t[6] = {a[2], a[0], a[1], a[5], a[3], a[4]};
    if (GDALAddBand(j->grid, GDT_UInt16, opts) != CE_None || GDALSetGeoTransform(j->grid, t) != CE_None)
        return sky_geo_fail(e, SKY_ENOMEM, "label grid of %dx%d pixels", g->width, g->height);
    return SKY_OK;
}

static int burn(job *j, OGRGeometryH shape, int class, sky_err *e)
{
    int band = 1;
    double value = class;
    CPLErrorReset();
    if (GDALRasterizeGeometries(j->grid, 1, &band, 1, &shape, NULL, NULL, &value, NULL, NULL, NULL) != CE_None)
        return sky_geo_fail(e, SKY_ECORRUPT, "drawing failed");
    j->burnt++;
    return SKY_OK;
}

static int one_feature(job *j, OGRFeatureH f, OGRCoordinateTransformationH to_grid, sky_err *e)
{
    int at = OGR_F_GetFieldIndex(f, j->property);
    if (at < 0 || !OGR_F_IsFieldSetAndNotNull(f, at))
        return sky_fail(e, SKY_ECORRUPT, "no property '%s'", j->property);
    int class = j->fn(j->arg, OGR_F_GetFieldAsString(f, at), e);
    if (class < -1)
        return e ? e->code : SKY_ECORRUPT;
    OGRGeometryH shape = OGR_F_GetGeometryRef(f);
    if (class == -1 || !shape || OGR_G_IsEmpty(shape))
        return SKY_OK;
    OGRwkbGeometryType kind = OGR_GT_Flatten(OGR_G_GetGeometryType(shape));
    if (kind != wkbPolygon && kind != wkbMultiPolygon)
        return sky_fail(e, SKY_ECORRUPT, "is a %s, expected a polygon", OGRGeometryTypeToName(kind));
    CPLErrorReset();
    if (OGR_G_Transform(shape, to_grid) != OGRERR_NONE)
        return sky_geo_fail(e, SKY_ECORRUPT, "cannot be brought to the image's coordinate reference system");
    return burn(j, shape, class, e);
}

static int one_layer(job *j, OGRLayerH layer, sky_err *e)
{
    /* The layer's own reference carries the axis order its coordinates are in. */
    OGRSpatialReferenceH from = OGR_L_GetSpatialRef(layer);
    if (!from)
        return sky_fail(e, SKY_ECORRUPT, "%s: layer '%s' names no coordinate reference system", j->name, OGR_L_GetName(layer));
    CPLErrorReset();
    OGRCoordinateTransformationH t = OCTNewCoordinateTransformation(from, j->crs);
    if (!t)
        return sky_geo_fail(e, SKY_ECORRUPT, "%s: no way from its coordinate reference system to the image's", j->name);
    int rc = SKY_OK;
    int64_t n = 0;
    OGR_L_ResetReading(layer);
    for (OGRFeatureH f; !rc && (f = OGR_L_GetNextFeature(layer)); n++) {
        rc = one_feature(j, f, t, e);
        if (rc)
            sky_wrap(e, "%s: feature %lld", j->name, (long long)n);
        OGR_F_Destroy(f);
    }
    OCTDestroyCoordinateTransformation(t);
    return rc;
}

static int64_t rasterise(uint16_t *label, const sky_geo_grid *grid, const char *uri, job *j, sky_err *e)
{
    CPLErrorReset();
    GDALDatasetH ds = GDALOpenEx(uri, GDAL_OF_VECTOR | GDAL_OF_READONLY | GDAL_OF_VERBOSE_ERROR, sky_geo_vector_drivers, NULL, NULL);
    if (!ds)
        return sky_geo_fail(e, SKY_ECORRUPT, "%s: cannot be opened as polygons", j->name);
    int rc = sky_geo_crs_parse(&j->crs, grid->crs, e);
    if (rc)
        sky_wrap(e, "%s", j->name);
    else
        rc = wrap_grid(j, label, grid, e);
    for (int i = 0; !rc && i < GDALDatasetGetLayerCount(ds); i++)
        rc = one_layer(j, GDALDatasetGetLayer(ds, i), e);
    if (j->grid)
        GDALClose(j->grid);
    if (j->crs)
        OSRDestroySpatialReference(j->crs);
    GDALClose(ds);
    return rc ? rc : j->burnt;
}

static int check_grid(const sky_geo_grid *g, const char *name, sky_err *e)
{
    if (!g->affine || !g->crs)
        return sky_fail(e, SKY_ECORRUPT, "%s: the image it belongs to has no %s", name, g->crs ? "affine" : "coordinate reference system");
    return SKY_OK;
}

int64_t sky_geo_rasterise(uint16_t *label, const sky_geo_grid *grid, const char *uri, const char *property,
                          sky_geo_class_fn fn, void *arg, sky_err *e)
{
    int rc = sky_geo_ready(uri, e);
    if (!rc)
        rc = check_grid(grid, uri, e);
    job j = {.name = uri, .property = property, .fn = fn, .arg = arg};
    return rc ? rc : rasterise(label, grid, uri, &j, e);
}

int64_t sky_geo_rasterise_memory(uint16_t *label, const sky_geo_grid *grid, const void *p, size_t n, const char *name,
                                 const char *property, sky_geo_class_fn fn, void *arg, sky_err *e)
{
    char vsimem[64];
    int rc = sky_geo_ready(name, e);
    if (!rc)
        rc = check_grid(grid, name, e);
    if (!rc && (rc = sky_geo_vsimem(vsimem, p, n, e)))
        sky_wrap(e, "%s", name);
    if (rc)
        return rc;
    job j = {.name = name, .property = property, .fn = fn, .arg = arg};
    int64_t burnt = rasterise(label, grid, vsimem, &j, e);
    VSIUnlink(vsimem);
    return burnt;
}
