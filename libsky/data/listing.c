#include "data/listing.h"
#include "base/map.h"
#include "base/mem.h"
#include "data/tar.h"
#include "format/idset.h"
#include "format/zip.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_DEPTH = 64, MAX_ENTRIES = 20000000 };

/* One archive. A zip handle serves one thread at a time, so idle ones are kept in a small stack. */
typedef struct {
    char *path, *real;
    int zip;
    sky_map map; /* tar */
    sky_zip *idle[64];
    int nidle;
} box;

struct sky_listing {
    sky_entry *entry;
    size_t n, cap;
    box *box;
    int nbox;
    char *unreadable;
    sky_idset *seen; /* folders entered, "device:inode" */
    pthread_mutex_t lock;
};

/* ---- what counts -------------------------------------------------------------------------------------------- */

static int ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n > m && !strcasecmp(s + n - m, suffix);
}

static int junk(const char *name)
{
    return !strncmp(name, "._", 2) || !strcmp(name, ".DS_Store") || !strcmp(name, "__MACOSX") || ends(name, ".aux.xml");
}

static int junk_path(const char *path)
{
    char part[256];
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/");
        if (n < sizeof part) {
            memcpy(part, p, n);
            part[n] = 0;
            if (junk(part))
                return 1;
        }
        p += n + (p[n] == '/');
    }
    return 0;
}

static int climbs_out(const char *path)
{
    if (*path == '/')
        return 1;
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/");
        if (n == 2 && !memcmp(p, "..", 2))
            return 1;
        p += n + (p[n] == '/');
    }
    return 0;
}

static int other_archive(const char *name)
{
    static const char *const kinds[] = {".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".rar", ".7z"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (ends(name, kinds[i]))
            return 1;
    return 0;
}

/* ---- collecting ---------------------------------------------------------------------------------------------- */

static int no_memory(sky_err *e) { return sky_fail(e, SKY_ENOMEM, "listing files: out of memory"); }

/* Takes path and match. */
static int add(sky_listing *l, char *path, char *match, uint64_t size, int box_no, uint64_t where, sky_err *e)
{
    sky_entry *v = path && match && l->n < MAX_ENTRIES ? sky_grow(l->entry, l->n, &l->cap, sizeof *v) : NULL;
    if (!v) {
        sky_free(path);
        sky_free(match);
        return l->n == MAX_ENTRIES ? sky_fail(e, SKY_ELIMIT, "more than %d files", MAX_ENTRIES) : no_memory(e);
    }
    l->entry = v;
    v[l->n++] = (sky_entry){path, match, size, box_no, where};
    return SKY_OK;
}

typedef struct {
    sky_listing *l;
    const char *path, *match; /* of the archive */
    int box;
} member_of;

static int add_member(void *arg, const char *name, uint64_t where, uint64_t size, sky_err *e)
{
    const member_of *m = arg;
    while (!strncmp(name, "./", 2))
        name += 2;
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < ' ')
            return sky_fail(e, SKY_ECORRUPT, "%s: a member's name holds a control character", m->path);
    if (climbs_out(name))
        return sky_fail(e, SKY_ECORRUPT, "%s: member '%.200s' would lie outside the archive's folder", m->path, name);
    if (!*name || junk_path(name) || name[strlen(name) - 1] == '/')
        return SKY_OK;
    return add(m->l, sky_asprintf("%s/%s", m->path, name), sky_asprintf("%s/%s", m->match, name), size, m->box, where, e);
}

static int list_zip(member_of *m, box *b, sky_err *e)
{
    sky_zip *z;
    int rc = sky_zip_open(&z, b->real, e);
    if (rc)
        return rc;
    b->idle[b->nidle++] = z;
    for (int i = 0; !rc && i < sky_zip_count(z); i++)
        rc = add_member(m, sky_zip_at(z, i)->name, (uint64_t)i, sky_zip_at(z, i)->size, e);
    return rc;
}

static int list_archive(sky_listing *l, const char *path, const char *match, const char *real, int zip, sky_err *e)
{
    box *more = sky_realloc(l->box, (size_t)l->nbox * sizeof *more, (size_t)(l->nbox + 1) * sizeof *more);
    if (!more)
        return no_memory(e);
    l->box = more;
    box *b = &l->box[l->nbox++];
    *b = (box){.path = sky_strdup(path), .real = sky_strdup(real), .zip = zip};
    char *stem = sky_strndup(match, strlen(match) - 4); /* ".zip", ".tar" */
    member_of m = {l, path, stem, l->nbox - 1};
    int rc = b->path && b->real && stem ? SKY_OK : no_memory(e);
    if (!rc && zip)
        rc = list_zip(&m, b, e);
    else if (!rc && !(rc = sky_map_open(&b->map, real, e)))
        rc = sky_tar_walk(b->map.p, b->map.n, add_member, &m, path, e);
    sky_free(stem);
    return rc;
}

static int list_file(sky_listing *l, const char *path, const char *match, const char *real, uint64_t size, sky_err *e)
{
    if (ends(path, ".zip") || ends(path, ".tar"))
        return list_archive(l, path, match, real, ends(path, ".zip"), e);
    if (other_archive(path) && !l->unreadable && !(l->unreadable = sky_strdup(path)))
        return no_memory(e);
    return add(l, sky_strdup(path), sky_strdup(match), size, -1, 0, e);
}

/* 1: first time here. */
static int enter(sky_listing *l, const struct stat *s, sky_err *e)
{
    char key[48];
    uint64_t first;
    snprintf(key, sizeof key, "%llu:%llu", (unsigned long long)s->st_dev, (unsigned long long)s->st_ino);
    int rc = sky_idset_put(l->seen, key, 0, &first, e);
    return rc < 0 ? rc : !rc;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

typedef struct {
    char **name;
    size_t n, cap;
} names;

static void free_names(names *v)
{
    for (size_t i = 0; i < v->n; i++)
        sky_free(v->name[i]);
    sky_free(v->name);
}

static int read_names(names *v, DIR *d, const char *path, sky_err *e)
{
    struct dirent *f;
    while (errno = 0, (f = readdir(d))) {
        if (!strcmp(f->d_name, ".") || !strcmp(f->d_name, "..") || junk(f->d_name))
            continue;
        char **more = sky_grow(v->name, v->n, &v->cap, sizeof *more);
        if (!more)
            return no_memory(e);
        v->name = more;
        if (!(v->name[v->n] = sky_strdup(f->d_name)))
            return no_memory(e);
        v->n++;
    }
    if (errno)
        return sky_fail_errno(e, SKY_EIO, "%s: cannot be listed", path);
    qsort(v->name, v->n, sizeof *v->name, by_name);
    return SKY_OK;
}

static int list_any(sky_listing *l, const char *path, const char *match, int depth, sky_err *e);

static int list_folder(sky_listing *l, const char *path, const char *match, int depth, sky_err *e)
{
    names v = {0};
    DIR *d = opendir(path);
    if (!d)
        return sky_fail_errno(e, SKY_EIO, "%s: cannot be opened", path);
    int rc = depth > MAX_DEPTH ? sky_fail(e, SKY_ELIMIT, "%s: folders nested deeper than %d", path, MAX_DEPTH) : read_names(&v, d, path, e);
    closedir(d);
    for (size_t i = 0; !rc && i < v.n; i++) {
        char *p = sky_asprintf("%s%s%s", path, path[strlen(path) - 1] == '/' ? "" : "/", v.name[i]);
        char *m = sky_asprintf("%s/%s", match, v.name[i]);
        rc = p && m ? list_any(l, p, m, depth + 1, e) : no_memory(e);
        sky_free(p);
        sky_free(m);
    }
    free_names(&v);
    return rc;
}

static int list_any(sky_listing *l, const char *path, const char *match, int depth, sky_err *e)
{
    struct stat s;
    if (stat(path, &s)) {
        if (depth && (errno == ENOENT || errno == ELOOP))
            return SKY_OK; /* a dangling link is no file of the download */
        return sky_fail_errno(e, SKY_EIO, "%s", path);
    }
    if (S_ISDIR(s.st_mode)) {
        int first = enter(l, &s, e);
        return first > 0 ? list_folder(l, path, match, depth, e) : first;
    }
    if (S_ISREG(s.st_mode)) {
        char *real = realpath(path, NULL);
        int rc = real ? list_file(l, path, match, real, (uint64_t)s.st_size, e) : sky_fail_errno(e, SKY_EIO, "%s", path);
        free(real);
        return rc;
    }
    return depth ? SKY_OK : sky_fail(e, SKY_EIO, "%s: neither a file nor a folder", path);
}

static int by_match(const void *a, const void *b)
{
    const sky_entry *x = a, *y = b;
    int c = strcmp(x->match, y->match);
    return c ? c : strcmp(x->path, y->path);
}

/* An operand with its links resolved, but for a file's own name: it says what the file is, and may be a link to one without. */
static char *match_of(const char *path, sky_err *e)
{
    struct stat s;
    const char *slash = strrchr(path, '/');
    if (stat(path, &s)) {
        sky_fail_errno(e, SKY_EIO, "%s", path);
        return NULL;
    }
    char *folder = !S_ISREG(s.st_mode) ? sky_strdup(path) : slash ? sky_strndup(path, (size_t)(slash - path) + 1) : sky_strdup(".");
    char *real = folder ? realpath(folder, NULL) : NULL;
    char *match = real && S_ISREG(s.st_mode) ? sky_asprintf("%s%s%s", real, strcmp(real, "/") ? "/" : "", slash ? slash + 1 : path) : real ? sky_strdup(real) : NULL;
    if (folder && !real)
        sky_fail_errno(e, SKY_EIO, "%s", path);
    else if (!match)
        no_memory(e);
    sky_free(folder);
    free(real);
    return match;
}

int sky_listing_open(sky_listing **out, char *const *paths, int n, sky_err *e)
{
    sky_listing *l = sky_calloc(1, sizeof *l);
    if (!l)
        return no_memory(e);
    pthread_mutex_init(&l->lock, NULL);
    int rc = sky_idset_open(&l->seen, e);
    for (int i = 0; !rc && i < n; i++) {
        char *match = match_of(paths[i], e);
        rc = match ? list_any(l, paths[i], match, 0, e) : e->code;
        sky_free(match);
    }
    if (rc) {
        sky_listing_close(l);
        return rc;
    }
    if (l->n)
        qsort(l->entry, l->n, sizeof *l->entry, by_match);
    *out = l;
    return SKY_OK;
}

void sky_listing_close(sky_listing *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->n; i++) {
        sky_free(l->entry[i].path);
        sky_free(l->entry[i].match);
    }
    for (int i = 0; i < l->nbox; i++) {
        for (int k = 0; k < l->box[i].nidle; k++)
            sky_zip_close(l->box[i].idle[k]);
        if (l->box[i].map.p)
            sky_map_close(&l->box[i].map);
        sky_free(l->box[i].path);
        sky_free(l->box[i].real);
    }
    pthread_mutex_destroy(&l->lock);
    sky_free(l->entry);
    sky_free(l->box);
    sky_idset_close(l->seen);
    sky_free(l->unreadable);
    sky_free(l);
}

size_t sky_listing_count(const sky_listing *l) { return l->n; }
const sky_entry *sky_listing_at(const sky_listing *l, size_t i) { return &l->entry[i]; }
const char *sky_listing_unreadable(const sky_listing *l) { return l->unreadable; }

/* ---- reading ------------------------------------------------------------------------------------------------- */

static int read_plain(const sky_entry *f, sky_bytes *b, uint8_t *to, sky_err *e)
{
    int fd = open(f->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return sky_fail_errno(e, SKY_EIO, "%s", f->path);
    size_t got = 0;
    ssize_t n = 0;
    while (got < f->size && (n = read(fd, to + got, f->size - got)) != 0) {
        if (n < 0 && errno != EINTR)
            break;
        got += n > 0 ? (size_t)n : 0;
    }
    int rc = SKY_OK;
    if (n < 0)
        rc = sky_fail_errno(e, SKY_EIO, "%s", f->path);
    else if (got < f->size)
        rc = sky_fail(e, SKY_EIO, "%s: became shorter while it was read", f->path);
    close(fd);
    b->n = got;
    return rc;
}

static sky_zip *borrow(sky_listing *l, box *b, sky_err *e)
{
    sky_zip *z = NULL;
    pthread_mutex_lock(&l->lock);
    if (b->nidle)
        z = b->idle[--b->nidle];
    pthread_mutex_unlock(&l->lock);
    return z || !sky_zip_open(&z, b->real, e) ? z : NULL;
}

static void give_back(sky_listing *l, box *b, sky_zip *z)
{
    pthread_mutex_lock(&l->lock);
    if (b->nidle < (int)(sizeof b->idle / sizeof *b->idle))
        b->idle[b->nidle++] = z, z = NULL;
    pthread_mutex_unlock(&l->lock);
    sky_zip_close(z);
}

static int read_zipped(sky_listing *l, const sky_entry *f, sky_bytes *b, uint8_t *to, sky_err *e)
{
    box *from = &l->box[f->box];
    sky_zip *z = borrow(l, from, e);
    if (!z)
        return e->code;
    int rc = sky_zip_read(z, (int)f->at, to, e);
    give_back(l, from, z);
    b->n = f->size;
    return rc;
}

/* Deflate's limit, as for PNG: what cannot be in the archive is not allocated. */
static int zip_bomb(sky_listing *l, const sky_entry *f, sky_err *e)
{
    sky_zip *z = borrow(l, &l->box[f->box], e);
    if (!z)
        return e->code;
    uint64_t packed = sky_zip_at(z, (int)f->at)->packed;
    give_back(l, &l->box[f->box], z);
    if (f->size / 1032 > packed + 64)
        return sky_fail(e, SKY_ECORRUPT, "%s: %llu packed bytes cannot hold the %llu that are declared", f->path,
                        (unsigned long long)packed, (unsigned long long)f->size);
    return SKY_OK;
}

int sky_listing_read(sky_listing *l, const sky_entry *f, uint64_t limit, sky_bytes *b, sky_err *e)
{
    *b = (sky_bytes){0};
    if (f->size > limit)
        return sky_fail(e, SKY_ELIMIT, "%s: %llu bytes, the limit is %llu", f->path, (unsigned long long)f->size, (unsigned long long)limit);
    if (f->box >= 0 && !l->box[f->box].zip) {
        b->p = l->box[f->box].map.p + f->at;
        b->n = f->size;
        return SKY_OK;
    }
    int rc = f->box >= 0 ? zip_bomb(l, f, e) : SKY_OK;
    if (rc)
        return rc;
    uint8_t *to = sky_alloc(f->size);
    if (!to)
        return sky_fail(e, SKY_ENOMEM, "%s: out of memory", f->path);
    b->p = b->own = to;
    rc = f->box < 0 ? read_plain(f, b, to, e) : read_zipped(l, f, b, to, e);
    if (rc)
        sky_bytes_free(b);
    return rc;
}

void sky_bytes_free(sky_bytes *b)
{
    sky_free(b->own);
    *b = (sky_bytes){0};
}

char *sky_listing_uri(const sky_listing *l, const sky_entry *f)
{
    if (f->box >= 0) {
        const box *b = &l->box[f->box];
        return sky_asprintf("/%s/{%s}%s", b->zip ? "vsizip" : "vsitar", b->real, f->path + strlen(b->path));
    }
    char *real = realpath(f->path, NULL), *copy = real ? sky_strdup(real) : NULL;
    free(real);
    return copy;
}
