#include "geo/window.h"
#include "base/mem.h"
#include "geo/geo.h"

#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>

/* uri and g change only while busy is set by the thread that set it; busy and used only under the lock. */
typedef struct {
    char *uri;
    sky_geo *g;
    int busy;
    uint64_t used;
} handle;

struct sky_windows {
    pthread_mutex_t lock;
    uint64_t clock;
    int n;
    handle h[];
};

int sky_windows_open(sky_windows **out, int handles, sky_err *e)
{
    sky_windows *w = sky_calloc(1, sizeof *w + (size_t)handles * sizeof w->h[0]);
    if (!w)
        return sky_fail(e, SKY_ENOMEM, "out of memory for %d open rasters", handles);
    pthread_mutex_init(&w->lock, NULL);
    w->n = handles;
    *out = w;
    return SKY_OK;
}

void sky_windows_close(sky_windows *w)
{
    if (!w)
        return;
    for (int i = 0; i < w->n; i++) {
        sky_geo_close(w->h[i].g);
        sky_free(w->h[i].uri);
    }
    pthread_mutex_destroy(&w->lock);
    sky_free(w);
}

/* An idle handle on uri, else the idle one unused longest; NULL when every one is busy. */
static handle *take(sky_windows *w, const char *uri)
{
    handle *best = NULL;
    pthread_mutex_lock(&w->lock);
    for (handle *h = w->h; h < w->h + w->n; h++) {
        if (h->busy)
            continue;
        if (h->uri && !strcmp(h->uri, uri)) {
            best = h;
            break;
        }
        if (!best || h->used < best->used)
            best = h;
    }
    if (best) {
        best->busy = 1;
        best->used = ++w->clock;
    }
    pthread_mutex_unlock(&w->lock);
    return best;
}

static void give(sky_windows *w, handle *h)
{
    pthread_mutex_lock(&w->lock);
    h->busy = 0;
    pthread_mutex_unlock(&w->lock);
}

static int reopen(handle *h, const char *uri, sky_err *e)
{
    if (h->uri && !strcmp(h->uri, uri))
        return SKY_OK;
    sky_geo_close(h->g);
    sky_free(h->uri);
    h->g = NULL;
    h->uri = sky_strdup(uri);
    int rc = h->uri ? sky_geo_open(&h->g, uri, e) : sky_fail(e, SKY_ENOMEM, "out of memory");
    if (rc) {
        sky_free(h->uri);
        h->uri = NULL;
    }
    return rc;
}

/* dst was sized by the field's shape: what the reference gives must be just that. */
static int check_bands(const sky_field *f, const sky_geo *g, sky_err *e)
{
    const json_t *list = json_object_get(f->ref, "bands");
    uint64_t planes = 1, bands = list ? json_array_size(list) : (uint64_t)sky_geo_get(g)->bands;
    for (int i = 0; i < f->ndim - 2; i++)
        if (!sky_mul_u64(planes, f->shape[i], &planes))
            planes = 0;
    if (planes != bands)
        return sky_fail(e, SKY_ECORRUPT, "its shape has %" PRIu64 " planes, the reference %" PRIu64 " bands", planes, bands);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *b = json_array_get(list, i);
        json_int_t n = json_integer_value(b);
        if (!json_is_integer(b) || n < 1 || n > sky_geo_get(g)->bands)
            return sky_fail(e, SKY_ECORRUPT, "its reference asks for band %" JSON_INTEGER_FORMAT ", the raster has %d", n, sky_geo_get(g)->bands);
    }
    return SKY_OK;
}

int sky_windows_read(void *windows, const sky_field *f, int64_t x, int64_t y, int64_t w, int64_t h, void *dst, sky_err *e)
{
    sky_windows *ws = windows;
    const char *uri = NULL;
    int rc = sky_json_str(f->ref, "uri", 1, &uri, "reference", e);
    if (rc)
        return sky_wrap(e, "field '%s'", f->name);
    if (x > INT_MAX || y > INT_MAX || w > INT_MAX || h > INT_MAX)
        return sky_fail(e, SKY_ELIMIT, "field '%s': window %" PRId64 ",%" PRId64 " of %" PRId64 " x %" PRId64 " is beyond what a raster can have", f->name, x, y, w, h);
    handle *slot = take(ws, uri);
    if (!slot)
        return sky_fail(e, SKY_EIO, "field '%s': all %d rasters are in use", f->name, ws->n);
    rc = reopen(slot, uri, e);
    if (!rc)
        rc = check_bands(f, slot->g, e);
    if (rc)
        sky_wrap(e, "field '%s'", f->name);
    else
        rc = sky_geo_read_ref(f, slot->g, (int)x, (int)y, (int)w, (int)h, dst, e);
    give(ws, slot);
    return rc;
}
