#include "geo/geo_internal.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- starting GDAL ------------------------------------------------------------------------------------------ */

/* GDAL keeps each thread's last message itself; printing is the tool's business. */
static void CPL_STDCALL keep_quiet(CPLErr level, CPLErrorNum n, const char *msg) { (void)level, (void)n, (void)msg; }

static void set_default(const char *key, const char *value)
{
    if (!CPLGetConfigOption(key, NULL))
        CPLSetConfigOption(key, value);
}

static int unsafe; /* the ways to the network could not all be closed: nothing is opened */

static void start(void)
{
    CPLSetErrorHandler(keep_quiet);
    /* A damaged JPEG is a warning and grey pixels by default. */
    set_default("GDAL_ERROR_ON_LIBJPEG_WARNING", "YES");
    /* Side files (.tfw, .aux.xml) are looked for by name, not by listing folders of 100 000 files at every open. */
    set_default("GDAL_DISABLE_READDIR_ON_OPEN", "TRUE");
    set_default("GDAL_PAM_ENABLED", "YES");
    set_default("GDAL_CACHEMAX", "64");
    GDALAllRegister();
    unsafe = sky_geo_offline();
}

void sky_geo_begin(int threads)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)threads;
    pthread_once(&once, start);
}

int sky_geo_ready(const char *name, sky_err *e)
{
    sky_geo_begin(0);
    return unsafe ? sky_fail(e, SKY_ENOMEM, "%s: GDAL cannot be kept off the network", name) : SKY_OK;
}

const char *sky_geo_version(void)
{
    static char text[64];
    snprintf(text, sizeof text, "GDAL %s", GDALVersionInfo("RELEASE_NAME"));
    return text;
}

int sky_geo_fail(sky_err *e, int code, const char *fmt, ...)
{
    char what[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    const char *why = CPLGetLastErrorMsg();
    if (CPLGetLastErrorNo() == CPLE_OutOfMemory)
        code = SKY_ENOMEM;
    return why && *why ? sky_fail(e, code, "%s: %s", what, why) : sky_fail(e, code, "%s", what);
}

int sky_geo_vsimem(char name[64], const void *p, size_t n, sky_err *e)
{
    static _Atomic uint64_t serial;
    snprintf(name, 64, "/vsimem/sky/%llu", (unsigned long long)atomic_fetch_add(&serial, 1));
    /* GDAL does not write through a read-only dataset; the cast only meets its signature. */
    VSILFILE *f = VSIFileFromMemBuffer(name, (GByte *)(uintptr_t)p, n, FALSE);
    if (!f)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    VSIFCloseL(f);
    return SKY_OK;
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

struct sky_geo {
    GDALDatasetH ds;
    sky_geo_info info;
    char *name;
    char vsimem[64]; /* "" when opened by name */
};

static const struct {
    GDALDataType gdal;
    sky_dtype ours;
} types[] = {{GDT_Byte, SKY_U8},   {GDT_UInt16, SKY_U16}, {GDT_Int16, SKY_I16},   {GDT_UInt32, SKY_U32},
             {GDT_Int32, SKY_I32}, {GDT_UInt64, SKY_U64}, {GDT_Int64, SKY_I64},   {GDT_Float32, SKY_F32},
             {GDT_Float64, SKY_F64}};

static GDALDataType gdal_type(sky_dtype t)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].ours == t)
            return types[i].gdal;
    return t == SKY_I8 || t == SKY_BOOL ? GDT_Byte : GDT_Unknown;
}

static int find_dtype(sky_geo *g, sky_err *e)
{
    GDALDataType all = GDALGetRasterDataType(GDALGetRasterBand(g->ds, 1));
    for (int i = 2; i <= g->info.bands; i++)
        all = GDALDataTypeUnion(all, GDALGetRasterDataType(GDALGetRasterBand(g->ds, i)));
    const char *sign = GDALGetMetadataItem(GDALGetRasterBand(g->ds, 1), "PIXELTYPE", "IMAGE_STRUCTURE");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].gdal == all) {
            g->info.dtype = all == GDT_Byte && sign && !strcmp(sign, "SIGNEDBYTE") ? SKY_I8 : types[i].ours;
            return SKY_OK;
        }
    return sky_fail(e, SKY_ECORRUPT, "%s: elements of type %s are not supported", g->name, GDALGetDataTypeName(all));
}

static void set_affine(sky_geo *g, const double t[6])
{
    g->info.has_affine = 1;
    memcpy(g->info.affine, (double[6]){t[1], t[2], t[0], t[4], t[5], t[3]}, 6 * sizeof *t);
}

static void find_affine(sky_geo *g)
{
    double t[6];
    if (GDALGetGeoTransform(g->ds, t) == CE_None)
        set_affine(g, t);
}

static int find_crs(sky_geo *g, sky_err *e)
{
    OGRSpatialReferenceH s = GDALGetSpatialRef(g->ds);
    char *text = s ? sky_geo_crs_text(s) : NULL;
    if (!text)
        return SKY_OK;
    g->info.crs = sky_strdup(text);
    CPLFree(text);
    return g->info.crs ? SKY_OK : sky_fail(e, SKY_ENOMEM, "%s: out of memory", g->name);
}

static const char *colour_name(GDALRasterBandH b)
{
    switch (GDALGetRasterColorInterpretation(b)) {
    case GCI_RedBand: return "R";
    case GCI_GreenBand: return "G";
    case GCI_BlueBand: return "B";
    case GCI_AlphaBand: return "A";
    default: return NULL;
    }
}

static int find_names(sky_geo *g, sky_err *e)
{
    g->info.names = sky_calloc((size_t)g->info.bands, sizeof *g->info.names);
    if (!g->info.names)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", g->name);
    for (int i = 0; i < g->info.bands; i++) {
        GDALRasterBandH b = GDALGetRasterBand(g->ds, i + 1);
        const char *name = GDALGetDescription(b);
        if (!name || !*name)
            name = colour_name(b);
        if (name && !(g->info.names[i] = sky_strdup(name)))
            return sky_fail(e, SKY_ENOMEM, "%s: out of memory", g->name);
    }
    return SKY_OK;
}

static void find_colours(sky_geo *g, GDALRasterBandH b)
{
    GDALColorTableH t = GDALGetRasterColorTable(b);
    int n = t ? GDALGetColorEntryCount(t) : 0;
    g->info.colours = n < 256 ? n : 256;
    for (int i = 0; i < g->info.colours; i++) {
        GDALColorEntry c;
        if (GDALGetColorEntryAsRGB(t, i, &c))
            memcpy(g->info.colour[i], (uint8_t[3]){(uint8_t)c.c1, (uint8_t)c.c2, (uint8_t)c.c3}, 3);
    }
}

/* "2020-01-08T04:41:50", a blank for the T, fractions and a zone allowed -> RFC 3339 in UTC; 0 when it is not one. TIFF's
 * own DateTime tag is left alone: it says when the file was written. */
static int to_rfc3339(char out[32], const char *s)
{
    int y, mo, d, h, mi, se, used = 0;
    if (sscanf(s, "%4d-%2d-%2d%*1[ T]%2d:%2d:%2d%n", &y, &mo, &d, &h, &mi, &se, &used) != 6 || !used)
        return 0;
    if (y < 1900 || y > 9999 || mo < 1 || mo > 12 || d < 1 || d > 31 || h < 0 || h > 23 || mi < 0 || mi > 59 || se < 0 || se > 60)
        return 0;
    const char *zone = s + used;
    if (*zone == '.')
        zone += 1 + strspn(zone + 1, "0123456789");
    if (*zone && strcmp(zone, "Z") && strcmp(zone, "+00:00"))
        return 0;
    snprintf(out, 32, "%04d-%02d-%02dT%02d:%02d:%02dZ", y, mo, d, h, mi, se);
    return 1;
}

static int find_time(sky_geo *g, sky_err *e)
{
    static const char *const keys[][2] = {{"ACQUISITIONDATETIME", "IMAGERY"},
                                          {"PRODUCT_START_TIME", NULL},
                                          {"ACQUISITION_START_TIME", NULL},
                                          {"ACQUISITION_TIME", NULL}};
    char text[32];
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *s = GDALGetMetadataItem(g->ds, keys[i][0], keys[i][1]);
        if (!s || !to_rfc3339(text, s))
            continue;
        g->info.time = sky_strdup(text);
        return g->info.time ? SKY_OK : sky_fail(e, SKY_ENOMEM, "%s: out of memory", g->name);
    }
    return SKY_OK;
}

static int learn(sky_geo *g, sky_err *e)
{
    sky_geo_info *i = &g->info;
    i->width = GDALGetRasterXSize(g->ds);
    i->height = GDALGetRasterYSize(g->ds);
    i->bands = GDALGetRasterCount(g->ds);
    i->driver = GDALGetDriverShortName(GDALGetDatasetDriver(g->ds));
    if (i->bands < 1)
        return sky_fail(e, SKY_ECORRUPT, "%s: %s file without a raster band", g->name, i->driver);
    GDALRasterBandH b = GDALGetRasterBand(g->ds, 1);
    i->nodata = GDALGetRasterNoDataValue(b, &i->has_nodata);
    GDALGetBlockSize(b, &i->block_width, &i->block_height);
    find_affine(g);
    find_colours(g, b);
    int rc = find_dtype(g, e);
    if (!rc)
        rc = find_crs(g, e);
    if (!rc)
        rc = find_names(g, e);
    return rc ? rc : find_time(g, e);
}

/* A file that is not there is the system's failure, one that is no raster is bad data. */
static int cannot_open(const char *uri, const char *name, sky_err *e)
{
    if (*uri && strncmp(uri, "/vsi", 4) && !strchr(uri, ':') && access(uri, R_OK))
        return sky_fail_errno(e, SKY_EIO, "%s", name);
    return sky_geo_fail(e, SKY_ECORRUPT, "%s: cannot be opened as a raster", name);
}

static int open_as(sky_geo **out, const char *uri, const char *vsimem, const char *name, sky_err *e)
{
    sky_geo *g = sky_calloc(1, sizeof *g);
    if (!g || !(g->name = sky_strdup(name))) {
        sky_free(g);
        if (*vsimem)
            VSIUnlink(vsimem);
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", name);
    }
    memcpy(g->vsimem, vsimem, strlen(vsimem) + 1);
    int rc = sky_geo_ready(name, e);
    if (!rc) {
        CPLErrorReset();
        g->ds = GDALOpenEx(uri, GDAL_OF_RASTER | GDAL_OF_READONLY | GDAL_OF_VERBOSE_ERROR, NULL, NULL, NULL);
        rc = g->ds ? learn(g, e) : cannot_open(uri, name, e);
    }
    if (rc)
        sky_geo_close(g);
    else
        *out = g;
    return rc;
}

int sky_geo_open(sky_geo **out, const char *uri, sky_err *e) { return open_as(out, uri, "", uri, e); }

int sky_geo_memory(sky_geo **out, const void *p, size_t n, const char *name, sky_err *e)
{
    char vsimem[64];
    int rc = sky_geo_vsimem(vsimem, p, n, e);
    return rc ? sky_wrap(e, "%s", name) : open_as(out, vsimem, vsimem, name, e);
}

void sky_geo_world(sky_geo *g, const char *path)
{
    double t[6];
    if (!g->info.has_affine && GDALReadWorldFile(path, NULL, t))
        set_affine(g, t);
}

const sky_geo_info *sky_geo_get(const sky_geo *g) { return &g->info; }

void sky_geo_close(sky_geo *g)
{
    if (!g)
        return;
    if (g->ds)
        GDALClose(g->ds);
    if (*g->vsimem)
        VSIUnlink(g->vsimem);
    for (int i = 0; g->info.names && i < g->info.bands; i++)
        sky_free(g->info.names[i]);
    sky_free(g->info.names);
    sky_free(g->info.crs);
    sky_free(g->info.time);
    sky_free(g->name);
    sky_free(g);
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

/* x, y, w, h inside width x height? */
static int inside(int x, int y, int w, int h, int width, int height)
{
    return x >= 0 && y >= 0 && w > 0 && h > 0 && x <= width - w && y <= height - h;
}

int sky_geo_read(sky_geo *g, int x, int y, int w, int h, const int *bands, int nbands, sky_dtype t, void *dst, sky_err *e)
{
    const sky_geo_info *i = &g->info;
    GDALDataType as = gdal_type(t);
    if (!bands)
        nbands = i->bands;
    if (as == GDT_Unknown || ((t == SKY_I8 || i->dtype == SKY_I8) && t != i->dtype))
        return sky_fail(e, SKY_EUSAGE, "%s: cannot be read as %s (it is %s)", g->name, sky_dtype_name(t), sky_dtype_name(i->dtype));
    if (!inside(x, y, w, h, i->width, i->height))
        return sky_fail(e, SKY_EUSAGE, "%s: window %d,%d of %dx%d pixels leaves the raster of %dx%d", g->name, x, y, w, h,
                        i->width, i->height);
    for (int k = 0; bands && k < nbands; k++)
        if (bands[k] < 1 || bands[k] > i->bands)
            return sky_fail(e, SKY_EUSAGE, "%s: band %d asked for, it has 1..%d", g->name, bands[k], i->bands);
    CPLErrorReset();
    if (w == i->width && h == i->height && !bands && t == SKY_U8 && sky_geo_is_photo(g->ds)) {
        int rc = sky_geo_read_photo(g->ds, dst, e);
        return rc ? sky_wrap(e, "%s", g->name) : SKY_OK;
    }
    GSpacing size = (GSpacing)sky_dtype_size(t);
    if (GDALDatasetRasterIOEx(g->ds, GF_Read, x, y, w, h, dst, w, h, as, nbands, (int *)(uintptr_t)bands, size, size * w,
                              size * w * h, NULL) != CE_None)
        return sky_geo_fail(e, SKY_ECORRUPT, "%s: window %d,%d of %dx%d pixels", g->name, x, y, w, h);
    return SKY_OK;
}

/* ---- fields -------------------------------------------------------------------------------------------------- */

static int put(sky_field *f, const char *key, json_t *value, sky_err *e)
{
    if (!value)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    if (json_object_get(f->meta, key)) {
        json_decref(value);
        return SKY_OK;
    }
    return json_object_set_new(f->meta, key, value) ? sky_fail(e, SKY_ENOMEM, "out of memory") : SKY_OK;
}

static json_t *names_json(const sky_geo_info *i)
{
    json_t *a = json_array();
    for (int k = 0; a && k < i->bands; k++)
        if (json_array_append_new(a, json_string(i->names[k]))) {
            json_decref(a);
            return NULL;
        }
    return a;
}

static int all_named(const sky_geo_info *i)
{
    for (int k = 0; k < i->bands; k++)
        if (!i->names[k])
            return 0;
    return 1;
}

int sky_geo_describe(const sky_geo *g, sky_field *f, sky_err *e)
{
    const sky_geo_info *i = &g->info;
    int rc = SKY_OK;
    if (i->crs)
        rc = put(f, "crs", json_string(i->crs), e);
    if (!rc && i->has_affine && !json_object_get(f->meta, "affine"))
        rc = sky_field_set_affine(f, i->affine, e);
    if (!rc && i->has_nodata)
        rc = put(f, "nodata", i->nodata != i->nodata ? json_string("nan") : json_real(i->nodata), e);
    if (!rc && all_named(i))
        rc = put(f, "bands", names_json(i), e);
    if (!rc && i->time && sky_field_dim(f, 't') == 1)
        rc = put(f, "times", json_pack("[s]", i->time), e);
    return rc ? sky_wrap(e, "%s", g->name) : SKY_OK;
}

/* The reference's window and bands; absent ones are the whole raster. */
static int parse_ref(const sky_field *f, int win[4], int bands[SKY_MAX_FIELDS], int *n, sky_err *e)
{
    const json_t *w = json_object_get(f->ref, "window"), *b = json_object_get(f->ref, "bands");
    if (w && json_array_size(w) != 4)
        return sky_fail(e, SKY_ECORRUPT, "field '%s': reference: 'window' must be [col,row,width,height]", f->name);
    for (size_t i = 0; w && i < 4; i++) {
        json_int_t v = json_integer_value(json_array_get(w, i));
        if (!json_is_integer(json_array_get(w, i)) || v < 0 || v > INT32_MAX)
            return sky_fail(e, SKY_ECORRUPT, "field '%s': reference: 'window' holds what is not a pixel number", f->name);
        win[i] = (int)v;
    }
    *n = b ? (int)json_array_size(b) : 0;
    if (b && (!json_is_array(b) || *n < 1 || *n > SKY_MAX_FIELDS))
        return sky_fail(e, SKY_ECORRUPT, "field '%s': reference: 'bands' must list 1 to %d bands", f->name, SKY_MAX_FIELDS);
    for (int i = 0; i < *n; i++)
        bands[i] = (int)json_integer_value(json_array_get(b, (size_t)i));
    return SKY_OK;
}

int sky_geo_read_ref(const sky_field *f, sky_geo *g, int x, int y, int w, int h, void *dst, sky_err *e)
{
    const char *uri = json_string_value(json_object_get(f->ref, "uri"));
    if (!uri)
        return sky_fail(e, SKY_ECORRUPT, "field '%s': reference without 'uri'", f->name);
    sky_geo *own = NULL;
    int rc = g ? SKY_OK : sky_geo_open(&own, uri, e);
    if (rc)
        return sky_wrap(e, "field '%s'", f->name);
    if (own)
        g = own;
    int win[4] = {0, 0, g->info.width, g->info.height}, bands[SKY_MAX_FIELDS], n = 0;
    rc = parse_ref(f, win, bands, &n, e);
    if (!rc && !inside(win[0], win[1], win[2], win[3], g->info.width, g->info.height))
        rc = sky_fail(e, SKY_ECORRUPT, "field '%s': reference window %d,%d of %dx%d leaves %s (%dx%d)", f->name, win[0],
                      win[1], win[2], win[3], uri, g->info.width, g->info.height);
    if (!rc && !inside(x, y, w, h, win[2], win[3]))
        rc = sky_fail(e, SKY_EUSAGE, "field '%s': window %d,%d of %dx%d leaves the field (%dx%d)", f->name, x, y, w, h, win[2], win[3]);
    if (!rc)
        rc = sky_geo_read(g, win[0] + x, win[1] + y, w, h, n ? bands : NULL, n, f->dtype, dst, e);
    sky_geo_close(own);
    return rc;
}
