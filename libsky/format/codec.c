/* codec.c -- zstd, one independent frame at a time. Contexts are costly to make, so threads share a small pile, and with
 * each goes a buffer for compressed bytes: the thread that decompresses a frame reads it itself, into memory that it has
 * just used, so that the bytes are still in its cache for the checksum and for zstd. */
#include "format/block_internal.h"
#include "base/hash.h"

#include <inttypes.h>
#include <pthread.h>
#include <zstd.h>

enum { PILE = 64, KEEP = 16 << 20 /* larger buffers are not kept */ };

typedef struct {
    void *zstd;   /* ZSTD_CCtx or ZSTD_DCtx, as level says; NULL: no memory */
    uint8_t *buf;
    uint64_t cap; /* of buf */
} context;

struct sky_codec {
    pthread_mutex_t lock;
    int level, n;
    context free[PILE];
};

int sky_codec_open(sky_codec **out, int level, sky_err *e)
{
    sky_codec *c = sky_calloc(1, sizeof *c);
    if (!c)
        return sky_fail(e, SKY_ENOMEM, "zstd: out of memory");
    pthread_mutex_init(&c->lock, NULL);
    c->level = level;
    *out = c;
    return SKY_OK;
}

static void context_free(const sky_codec *c, const context *x)
{
    if (c->level)
        ZSTD_freeCCtx(x->zstd);
    else
        ZSTD_freeDCtx(x->zstd);
    sky_free(x->buf);
}

void sky_codec_close(sky_codec *c)
{
    if (!c)
        return;
    for (int i = 0; i < c->n; i++)
        context_free(c, &c->free[i]);
    pthread_mutex_destroy(&c->lock);
    sky_free(c);
}

static void *compressor(int level)
{
    ZSTD_CCtx *x = ZSTD_createCCtx();
    if (x && (ZSTD_isError(ZSTD_CCtx_setParameter(x, ZSTD_c_compressionLevel, level)) ||
              ZSTD_isError(ZSTD_CCtx_setParameter(x, ZSTD_c_checksumFlag, 1)))) {
        ZSTD_freeCCtx(x);
        return NULL;
    }
    return x;
}

static context take(sky_codec *c)
{
    context x = {0};
    pthread_mutex_lock(&c->lock);
    if (c->n)
        x = c->free[--c->n];
    pthread_mutex_unlock(&c->lock);
    if (!x.zstd)
        x.zstd = c->level ? compressor(c->level) : (void *)ZSTD_createDCtx();
    return x;
}

static void give_back(sky_codec *c, context x)
{
    if (x.cap > KEEP) {
        sky_free(x.buf);
        x.buf = NULL;
        x.cap = 0;
    }
    pthread_mutex_lock(&c->lock);
    int kept = x.zstd && c->n < PILE;
    if (kept)
        c->free[c->n++] = x;
    pthread_mutex_unlock(&c->lock);
    if (!kept)
        context_free(c, &x);
}

size_t sky_frame_bound(uint64_t n) { return ZSTD_compressBound(n); }

int sky_frame_pack(sky_codec *c, sky_frame *f, void *dst, const void *p, uint64_t n, sky_err *e)
{
    context x = take(c);
    if (!x.zstd)
        return sky_fail(e, SKY_ENOMEM, "zstd: no memory for a compression context");
    size_t got = ZSTD_compress2(x.zstd, dst, sky_frame_bound(n), p, n);
    give_back(c, x);
    if (ZSTD_isError(got))
        return sky_fail(e, SKY_ENOMEM, "zstd: %s", ZSTD_getErrorName(got));
    *f = (sky_frame){got, n, sky_crc32c(0, dst, got)};
    return SKY_OK;
}

static int unpack(const context *x, void *dst, const sky_frame *f, const void *p, sky_err *e)
{
    uint32_t crc = sky_crc32c(0, p, f->csize);
    if (crc != f->crc)
        return sky_fail(e, SKY_ECORRUPT, "compressed bytes: crc32c %08" PRIx32 ", want %08" PRIx32, crc, f->crc);
    if (ZSTD_getFrameContentSize(p, f->csize) != f->size || ZSTD_findFrameCompressedSize(p, f->csize) != f->csize)
        return sky_fail(e, SKY_ECORRUPT, "not one zstd frame of %" PRIu64 " bytes with its size declared", f->size);
    if (!x->zstd)
        return sky_fail(e, SKY_ENOMEM, "zstd: no memory for a decompression context");
    size_t got = ZSTD_decompressDCtx(x->zstd, dst, f->size, p, f->csize);
    if (ZSTD_isError(got))
        return sky_fail(e, SKY_ECORRUPT, "zstd: %s", ZSTD_getErrorName(got));
    if (got != f->size)
        return sky_fail(e, SKY_ECORRUPT, "zstd: %zu bytes, want %" PRIu64, got, f->size);
    return SKY_OK;
}

int sky_frame_unpack(sky_codec *c, void *dst, const sky_frame *f, const void *p, sky_err *e)
{
    context x = take(c);
    int rc = unpack(&x, dst, f, p, e);
    give_back(c, x);
    return rc;
}

/* Room for n bytes in x->buf; an eighth more, since the next frame is seldom of the same size. */
static int make_room(context *x, uint64_t n, sky_err *e)
{
    if (n <= x->cap)
        return SKY_OK;
    sky_free(x->buf);
    x->cap = n + n / 8;
    if (!(x->buf = sky_alloc(x->cap)))
        x->cap = 0;
    return x->buf ? SKY_OK : sky_fail(e, SKY_ENOMEM, "no memory for %" PRIu64 " compressed bytes", n);
}

int sky_frame_read(sky_codec *c, void *dst, const sky_frame *f, const sky_in *in, uint64_t at, sky_err *e)
{
    context x = take(c);
    int rc = make_room(&x, f->csize, e);
    if (!rc)
        rc = sky_in_pread(in, x.buf, f->csize, at, e);
    if (!rc)
        rc = unpack(&x, dst, f, x.buf, e);
    give_back(c, x);
    return rc;
}
