/* pickle.c -- any bytes as a checkpoint: alone (legacy form), and as data.pkl of a zip with three storages, where half of all
 * inputs begin, so that the machine is reached without a fuzzer inventing zip directories. */
#include "base/mem.h"
#include "format/zip.h"
#include "weights_use.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void open_and_use(const void *p, size_t n)
{
    sky_weights *w;
    sky_err e;
    if (sky_weights_memory(&w, p, n, "fuzz", &e) == SKY_OK)
        use_weights(w);
}

static void as_member(const uint8_t *p, size_t n)
{
    static const char zeros[96];
    sky_zip_out *z;
    sky_buf b = {0};
    sky_err e;
    if (sky_zip_create(&z, &e))
        return;
    int rc = sky_zip_add(z, "x/data.pkl", p, n, 0, &e) || sky_zip_add(z, "x/data/0", zeros, 96, 0, &e) || sky_zip_add(z, "x/data/1", zeros, 24, 0, &e) ||
             sky_zip_add(z, "x/data/2", zeros, 5, 0, &e);
    rc = sky_zip_finish(z, &b, &e) || rc;
    if (!rc)
        open_and_use(b.p, b.n);
    sky_buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const char magic[] = "\x80\2\x8a\nl\xfc\x9c""F\xf9 j\xa8P\x19.";
    if (n > 8 && p[8] == '{')
        return 0; /* safetensors has a target of its own */
    if ((n >= sizeof magic - 1 && !memcmp(p, magic, sizeof magic - 1)) || (n > 4 && !memcmp(p, "PK\3\4", 4)))
        open_and_use(p, n);
    else
        as_member(p, n);
    return 0;
}
