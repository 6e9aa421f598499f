#include "base/paths.h"
#include "base/mem.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Folder of the running executable into buf; NULL when it cannot be told. */
static const char *executable_dir(char *buf, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", buf, size - 1);
    if (n <= 0)
        return NULL;
    buf[n] = 0;
    char *slash = strrchr(buf, '/');
    if (!slash)
        return NULL;
    *slash = 0;
    return buf;
}

static int has_suffix(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && !strcmp(s + n - m, suffix);
}

/* ", " and the names there are in the folder of `path`, where there is one. */
static void list_names(sky_buf *b, const char *path, const char *ext)
{
    char *dir = sky_strdup(path);
    struct dirent **f = NULL;
    if (dir)
        *strrchr(dir, '/') = 0;
    int n = dir ? scandir(dir, &f, NULL, alphasort) : 0;
    for (int i = 0; i < n; i++) {
        if (has_suffix(f[i]->d_name, ext))
            sky_buf_printf(b, "%s%.*s", b->n ? ", " : "", (int)(strlen(f[i]->d_name) - strlen(ext)), f[i]->d_name);
        free(f[i]);
    }
    free(f);
    sky_free(dir);
}

static int not_found(char *const *tries, int n, const char *kind, const char *name, const char *ext, sky_err *e)
{
    const char *what = strcmp(kind, "configs") ? "dataset" : "configuration";
    sky_buf names = {0};
    for (int i = 0; i < n; i++)
        if (tries[i])
            list_names(&names, tries[i], ext);
    int rc = names.n && !names.bad
                 ? sky_fail(e, SKY_EUSAGE, "no %s named '%s'; there are: %s", what, name, names.p)
                 : sky_fail(e, SKY_EUSAGE, "no %s named '%s' (looked in $SKY_DATA/%s, share/skysense/%s beside the program's folder, and %s/share/skysense/%s)",
                            what, name, kind, kind, SKY_PREFIX, kind);
    sky_buf_free(&names);
    return rc;
}

int sky_data_file(char **out, const char *kind, const char *name, const char *ext, sky_err *e)
{
    if (strchr(name, '/') || has_suffix(name, ext)) {
        *out = sky_strdup(name);
        return *out ? SKY_OK : sky_fail(e, SKY_ENOMEM, "%s: out of memory", name);
    }
    const char *env = getenv("SKY_DATA");
    char buf[4096];
    const char *exe = executable_dir(buf, sizeof buf);
    char *tries[] = {
        env ? sky_asprintf("%s/%s/%s%s", env, kind, name, ext) : NULL,
        /* the same where the tools are installed and where they are built, in $BUILD/bin and $BUILD/tests */
        exe ? sky_asprintf("%s/../share/skysense/%s/%s%s", exe, kind, name, ext) : NULL,
        sky_asprintf("%s/share/skysense/%s/%s%s", SKY_PREFIX, kind, name, ext),
    };
    enum { N = sizeof tries / sizeof *tries };
    *out = NULL;
    int no_memory = (env && !tries[0]) || (exe && !tries[1]) || !tries[2];
    for (int i = 0; i < N && !*out && !no_memory; i++)
        if (tries[i] && access(tries[i], R_OK) == 0) {
            *out = tries[i];
            tries[i] = NULL;
        }
    int rc = no_memory ? sky_fail(e, SKY_ENOMEM, "%s: out of memory", name)
             : *out    ? SKY_OK
                       : not_found(tries, N, kind, name, ext, e);
    for (int i = 0; i < N; i++)
        sky_free(tries[i]);
    return rc;
}
