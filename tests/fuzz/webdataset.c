/* A WebDataset tar, read to its end across damage: each call either gives a sample or an error, and gets further. */
#include "base/mem.h"
#include "format/webdataset.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static int fd = -1;
    static char path[40];
    sky_wds_in *w = NULL;
    sky_sample s = {0};
    sky_err e;
    if (fd < 0 && (fd = memfd_create("fuzz.tar", 0)) < 0)
        return 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (ftruncate(fd, 0) || pwrite(fd, p, n, 0) != (ssize_t)n || sky_wds_open(&w, path, &e))
        return 0;
    size_t calls = 0;
    for (int rc; (rc = sky_wds_next(w, &s, &e)) != 0; calls++)
        if (calls > n / 512 + 1 || (rc > 0 && (!s.id || !*s.id || !s.meta)))
            __builtin_trap();
    sky_sample_free(&s);
    sky_wds_close(w);
    return 0;
}
