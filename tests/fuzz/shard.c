/* Shards whose checksums are put right after mutation, so that what lies behind them is reached: leads, sizes, numbers,
 * zstd frames, record lines. Read in order and by index. */
#include "fuzz_fix.h"
#include "base/io.h"
#include "format/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void in_order(const uint8_t *p, size_t n, const sky_limits *lim)
{
    sky_reader *r;
    sky_err e = {0};
    sky_sample s = {0};
    if (sky_reader_memory(&r, p, n, lim, &e))
        return;
    sky_reader_threads(r, 1);
    for (int rc, errors = 0; (rc = sky_reader_next(r, &s, &e)) != 0 && errors < 1000;) {
        errors += rc < 0;
        if (rc < 0 && sky_reader_stuck(r))
            break;
    }
    sky_sample_free(&s);
    sky_reader_close(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const sky_limits small = {1 << 16, 1 << 20, 1 << 21};
    uint8_t *q = fuzz_copy(p, n);
    fuzz_fix_blocks(q, n);
    in_order(q, n, &small);
    fuzz_by_index(q, n, &small);
    free(q);
    return 0;
}
