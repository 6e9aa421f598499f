/* offline.c -- GDAL without the network and without foreign programs.
 *
 * A downloaded file can name other files: a VRT's sources, a WMS description, a view inside a GeoPackage. None of them may
 * make us call out, so the ways out are closed for the whole program before anything is opened: drivers that speak to
 * servers, GDAL's file systems but the local ones, its HTTP client, PROJ's grid download, and Python inside VRTs. No
 * environment variable opens them again. */
#include "geo/geo_internal.h"

#include <cpl_http.h>
#include <string.h>

/* Vector files that polygons are read from (geo.h); every other driver that reads only vectors goes. */
const char *const sky_geo_vector_drivers[] = {"GeoJSON", "GeoJSONSeq", "GPKG", "ESRI Shapefile", "SQLite", "FlatGeobuf", "KML", "GML", NULL};

/* Raster drivers that open connections, some through libraries of their own (netCDF: DAP; FITS: http, ftp, root). Files of
 * netCDF 4 are HDF5 and are left to that driver. */
static const char *const online[] = {"WMS", "WCS", "WMTS", "PLMOSAIC", "PLSCENES", "EEDAI", "EEDA", "DAAS", "OGCAPI", "STACIT", "STACTA", "NGW", "HTTP",
                                     "PostGISRaster", "GeoRaster", "Rasdaman", "DODS", "RDA", "ECW", "JP2ECW", "JPIPKAK", "TileDB", "netCDF", "FITS"};

static const char *const local_files[] = {"/vsimem/", "/vsizip/", "/vsitar/", "/vsigzip/", "/vsisubfile/", "/vsisparse/"};

static int is_one_of(const char *s, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n && list[i]; i++)
        if (!strcmp(s, list[i]))
            return 1;
    return 0;
}

static int may_stay(GDALDriverH d)
{
    const char *name = GDALGetDriverShortName(d);
    const int raster = GDALGetMetadataItem(d, GDAL_DCAP_RASTER, NULL) != NULL;
    return (raster && !is_one_of(name, online, sizeof online / sizeof *online)) || is_one_of(name, sky_geo_vector_drivers, SIZE_MAX);
}

static void drop_drivers(void)
{
    for (int i = GDALGetDriverCount() - 1; i >= 0; i--) {
        GDALDriverH d = GDALGetDriver(i);
        if (may_stay(d))
            continue;
        GDALDeregisterDriver(d);
        GDALDestroyDriver(d);
    }
}

static int refuse(const char *name)
{
    CPLError(CE_Failure, CPLE_NotSupported, "%s: only local files are opened", name);
    return -1;
}

static void *refuse_open(void *data, const char *name, const char *access)
{
    (void)access;
    char whole[400];
    snprintf(whole, sizeof whole, "%s%s", (const char *)data, name); /* name comes without its prefix */
    refuse(whole);
    return NULL;
}

static int refuse_stat(void *data, const char *name, VSIStatBufL *st, int flags)
{
    (void)data, (void)name, (void)st, (void)flags;
    return -1;
}

/* prefix must live as long as the program. */
static int close_files(const char *prefix)
{
    VSIFilesystemPluginCallbacksStruct *c = VSIAllocFilesystemPluginCallbacksStruct();
    if (!c)
        return -1;
    c->pUserData = (void *)(uintptr_t)prefix;
    c->open = refuse_open;
    c->stat = refuse_stat;
    int rc = VSIInstallPluginHandler(prefix, c);
    VSIFreeFilesystemPluginCallbacksStruct(c);
    return rc;
}

static CPLHTTPResult *refuse_http(const char *url, CSLConstList options, GDALProgressFunc progress, void *progress_arg, CPLHTTPFetchWriteFunc write, void *write_arg, void *data)
{
    (void)options, (void)progress, (void)progress_arg, (void)write, (void)write_arg, (void)data;
    refuse(url);
    return NULL;
}

int sky_geo_offline(void)
{
    int rc = close_files("/vsicurl?");
    char **prefixes = VSIGetFileSystemsPrefixes(); /* kept: the handlers point into it */
    for (char **p = prefixes; p && *p && !rc; p++)
        if (!is_one_of(*p, local_files, sizeof local_files / sizeof *local_files))
            rc = close_files(*p);
    CPLHTTPSetFetchCallback(refuse_http, NULL);
    OSRSetPROJEnableNetwork(FALSE);
    CPLSetConfigOption("GDAL_VRT_ENABLE_PYTHON", "NO");
    CPLSetConfigOption("GML_DOWNLOAD_SCHEMA", "NO");
    drop_drivers();
    return rc;
}
