#include "fit/inputs.h"
#include "base/mem.h"

#include <glob.h>
#include <string.h>

enum { BAD_ITEM_TRIES = 8 };

static int expand(glob_t *g, const sky_names *patterns, const char *what, sky_err *e)
{
    for (int i = 0; i < patterns->n; i++) {
        int r = glob(patterns->v[i], i ? GLOB_APPEND : 0, NULL, g);
        if (r == GLOB_NOMATCH)
            return sky_fail(e, SKY_ECORRUPT, "%s: no file matches '%s'%s", what, patterns->v[i],
                            patterns->v[i][0] == '/' ? "" : " (relative: from where the program was started)");
        if (r)
            return sky_fail(e, r == GLOB_NOSPACE ? SKY_ENOMEM : SKY_EIO, "%s: cannot list '%s'", what, patterns->v[i]);
    }
    return SKY_OK;
}

int sky_fit_inputs_open(sky_fit_inputs *in, const sky_names *patterns, const char *what, sky_err *e)
{
    glob_t g = {0};
    const sky_roll_opts o = {0};
    int rc = expand(&g, patterns, what, e);
    if (!rc)
        rc = sky_corpus_open(&in->corpus, g.gl_pathv, (int)g.gl_pathc, e);
    if (!rc && (rc = sky_roll_open(&in->roll, in->corpus, &o, e)))
        sky_wrap(e, "%s", what);
    globfree(&g);
    if (!rc)
        sky_corpus_forget(in->corpus); /* the roll knows all that draws need */
    return rc;
}

void sky_fit_inputs_close(sky_fit_inputs *in)
{
    sky_roll_close(in->roll);
    sky_corpus_close(in->corpus);
    *in = (sky_fit_inputs){0};
}

static json_t *numbers(const sky_reals *r)
{
    json_t *a = json_array();
    for (int i = 0; a && i < r->n; i++)
        if (json_array_append_new(a, json_real(r->v[i]))) {
            json_decref(a);
            return NULL;
        }
    return a;
}

int sky_fit_normal_json(json_t **out, const sky_reals *mean, const sky_reals *std, double divide, const char *what, sky_err *e)
{
    *out = NULL;
    if (!mean->n && !std->n)
        return SKY_OK;
    if (mean->n != std->n)
        return sky_fail(e, SKY_EUSAGE, "normalise.%s: %d means and %d standard deviations", what, mean->n, std->n);
    *out = json_pack("{s:f, s:o*, s:o*}", "divide", divide, "mean", numbers(mean), "std", numbers(std));
    if (*out && json_object_get(*out, "mean") && json_object_get(*out, "std"))
        return SKY_OK;
    json_decref(*out);
    *out = NULL;
    return sky_fail(e, SKY_ENOMEM, "out of memory");
}

int sky_fit_prefetch(sky_prefetch **out, sky_source from, const sky_fit_place *at, int depth, uint64_t first, uint64_t count, sky_err *e)
{
    sky_prefetch_opts o = {.threads = at->threads, .depth = depth, .first = first + (uint64_t)at->rank, .step = (uint64_t)at->ranks, .count = count,
                           .tries = at->keep_going ? BAD_ITEM_TRIES : 0, .warn = at->warn, .warn_arg = at->warn_arg};
    return sky_prefetch_open(out, &from, &o, e);
}
