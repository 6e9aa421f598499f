#include "base/map.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int map_fd(sky_map *m, int fd, const char *path, sky_err *e)
{
    struct stat st;
    if (fstat(fd, &st))
        return sky_fail_errno(e, SKY_EIO, "%s", path);
    if (!S_ISREG(st.st_mode))
        return sky_fail(e, SKY_EIO, "%s: not a regular file", path);
    if (st.st_size == 0) {
        sky_map_memory(m, "", 0);
        return SKY_OK;
    }
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return sky_fail_errno(e, errno == ENOMEM ? SKY_ENOMEM : SKY_EIO, "%s: cannot map %lld bytes", path, (long long)st.st_size);
    *m = (sky_map){p, (size_t)st.st_size, 1};
    return SKY_OK;
}

int sky_map_open(sky_map *m, const char *path, sky_err *e)
{
    sky_map_memory(m, "", 0);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return sky_fail_errno(e, SKY_EIO, "%s", path);
    int rc = map_fd(m, fd, path, e);
    close(fd);
    return rc;
}

void sky_map_memory(sky_map *m, const void *p, size_t n) { *m = (sky_map){p, n, 0}; }

void sky_map_close(sky_map *m)
{
    if (m->owned)
        munmap((void *)(uintptr_t)m->p, m->n);
    sky_map_memory(m, "", 0);
}

void sky_map_drop(const sky_map *m, uint64_t offset, uint64_t n)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t from = (offset + page - 1) / page * page, to = (offset + n) / page * page;
    if (m->owned && offset <= m->n && n <= m->n - offset && from < to)
        madvise((void *)(uintptr_t)(m->p + from), to - from, MADV_DONTNEED); /* advice: failure changes nothing */
}
