/* replay.c -- run a fuzz target over its corpus without any fuzzer, so that make check does.
 *
 * Built once per target as build/tests/fuzz_NAME. Each file of tests/fuzz/corpus/NAME is given as it is, cut short at
 * several places, and with single bytes changed by a fixed rule; a crash or a sanitizer's report fails the test. */
#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "t.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { VARIANTS = 64 };

static void run(const char *data, size_t n)
{
    uint8_t *p = malloc(n ? n : 1); /* exactly n bytes from the system's heap: a read past the end is seen */
    if (!p)
        abort();
    memcpy(p, data, n);
    LLVMFuzzerTestOneInput(p, n);
    free(p);
}

static void run_variants(char *data, size_t n, uint64_t seed)
{
    run(data, n);
    for (int i = 0; i < VARIANTS && n; i++) {
        uint64_t r = sky_mix64(seed, (uint64_t)i);
        size_t at = (size_t)(r >> 20) % n;
        if (i % 4 == 0) {
            run(data, at);
            continue;
        }
        char kept = data[at];
        data[at] = (char)(i % 4 == 1 ? kept ^ 1 << (r & 7) : i % 4 == 2 ? 0xff : (int)(r & 255));
        run(data, n);
        data[at] = kept;
    }
}

int main(int argc, char **argv)
{
    const char *name = strstr(strrchr(argv[0], '/') ? strrchr(argv[0], '/') : argv[0], "fuzz_");
    char dir[512], path[1024];
    snprintf(dir, sizeof dir, argc > 1 ? "%s" : "tests/fuzz/corpus/%s", argc > 1 ? argv[1] : name ? name + 5 : "?");
    DIR *d = opendir(dir);
    int files = 0;
    for (struct dirent *f; d && (f = readdir(d));) {
        char *data;
        size_t n;
        sky_err e;
        if (f->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, f->d_name);
        if (sky_read_file(&data, &n, path, 64 << 20, &e)) {
            printf("# %s\n", e.msg);
            continue;
        }
        run_variants(data, n, sky_fnv1a(f->d_name));
        sky_free(data);
        files++;
    }
    if (d)
        closedir(d);
    run("", 0);
    OK(files > 0, "%s: %d files and %d variants of each", dir, files, VARIANTS);
    return END();
}
