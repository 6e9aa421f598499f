/* Plain streams and shards from arbitrary bytes: the reader never gives up before the end of the input. */
#include "base/mem.h"
#include "format/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const sky_limits small = {1 << 16, 1 << 20, 1 << 21};
    static const char *const some[] = {"label", NULL};
    sky_reader *r;
    sky_err e = {0};
    sky_sample s = {0};
    if (sky_reader_memory(&r, p, n, &small, &e))
        return 0;
    sky_reader_threads(r, 1);
    if (n % 2 && sky_reader_select(r, some, &e))
        return 0;
    for (int rc, errors = 0; (rc = sky_reader_next(r, &s, &e)) != 0 && errors < 1000;) {
        errors += rc < 0;
        if (rc < 0 && sky_reader_stuck(r))
            break;
        if (rc > 0 && n % 2 == 0)
            (void)sky_sample_hash(&s);
    }
    sky_sample_free(&s);
    sky_reader_close(r);
    return 0;
}
