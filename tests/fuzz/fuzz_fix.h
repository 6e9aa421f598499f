/* fuzz_fix.h -- for the shard and index targets: checksums put right in place, and a walk by index over a memory file. */
#ifndef SKY_TESTS_FUZZ_FIX_H
#define SKY_TESTS_FUZZ_FIX_H

#include "base/hash.h"
#include "base/io.h"
#include "format/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static inline uint8_t *fuzz_copy(const uint8_t *p, size_t n)
{
    uint8_t *q = malloc(n ? n : 1);
    if (!q)
        abort();
    memcpy(q, p, n);
    return q;
}

static inline uint64_t fuzz_le(const uint8_t *p, int n)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

/* The checksums of the frames that the lead at p (room: n bytes after it) speaks of. */
static inline void fuzz_fix_frames(uint8_t *p, uint64_t size, size_t n)
{
    uint64_t at = size, frames = fuzz_le(p + 48, 2);
    for (uint64_t i = 0; i < frames && 56 + 20 * (i + 1) <= size; i++) {
        uint8_t *f = p + 56 + 20 * i;
        uint64_t c = fuzz_le(f, 8);
        if (c > n - at)
            return;
        sky_put_le(f + 16, sky_crc32c(0, p + at, c), 4);
        at += c;
    }
}

static inline void fuzz_fix_blocks(uint8_t *p, size_t n)
{
    static const uint8_t mark[4] = {0x53, 0x2a, 0x4d, 0x18};
    for (size_t i = 0; i + 56 <= n; i++) {
        if (memcmp(p + i, mark, 4))
            continue;
        uint64_t size = fuzz_le(p + i + 4, 4) + 8;
        if (size < 56 || size > n - i)
            continue;
        uint8_t kind = p[i + 16];
        if (kind == 'S' || kind == 'R' || kind == 'E')
            fuzz_fix_frames(p + i, size, n - i);
        memset(p + i + 20, 0, 4);
        sky_put_le(p + i + 20, sky_crc32c(0, p + i, size), 4);
    }
}

static inline void fuzz_by_index(const uint8_t *p, size_t n, const sky_limits *lim)
{
    char path[64];
    sky_shard *h;
    sky_err e;
    sky_sample s = {0};
    uint64_t at;
    int fd = memfd_create("shard", 0);
    if (fd < 0 || write(fd, p, n) != (ssize_t)n)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (!sky_shard_open(&h, path, lim, &e)) {
        for (uint64_t i = 0; i < sky_shard_count(h) && i < 64; i++) {
            const char *id = json_string_value(json_object_get(sky_shard_entry(h, i, NULL), "id"));
            if (id)
                (void)!sky_shard_find(h, id, &at, NULL);
            if (sky_shard_read(h, i, NULL, &s, &e))
                continue;
        }
        sky_shard_close(h);
    }
    sky_sample_free(&s);
    close(fd);
}

#endif
