/* An uncompressed tar: every member lies inside the bytes. */
#include "data/tar.h"

#include <string.h>

typedef struct {
    const uint8_t *p;
    size_t n;
} all;

static int member(void *arg, const char *name, uint64_t offset, uint64_t size, sky_err *e)
{
    const all *a = arg;
    (void)e;
    volatile uint8_t last = 0;
    if (offset > a->n || size > a->n - offset || strlen(name) > 4095)
        __builtin_trap();
    if (size)
        last = a->p[offset + size - 1];
    (void)last;
    return SKY_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    sky_err e;
    all a = {p, n};
    return sky_tar_walk(p, n, member, &a, "fuzz.tar", &e) == 12345;
}
