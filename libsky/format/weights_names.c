/* weights_names.c -- the names released checkpoints use, turned into ours. */
#include "base/mem.h"
#include "format/weights_internal.h"

#include <stdlib.h>
#include <string.h>

static int ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

/* Tables the model computes itself, and a counter only training with momentum NULL would use. */
static int is_left_out(const char *s) { return ends_with(s, "relative_coords_table") || ends_with(s, "relative_position_index") || ends_with(s, "num_batches_tracked"); }

static void leave_out(sky_weights *w)
{
    int kept = 0;
    for (int i = 0; i < w->n; i++) {
        if (is_left_out(w->t[i].stored))
            sky_free(w->t[i].stored);
        else
            w->t[kept++] = w->t[i];
    }
    w->n = kept;
}

/* DistributedDataParallel puts "module." in front of every name. */
static size_t common_prefix(const sky_weights *w)
{
    for (int i = 0; i < w->n; i++)
        if (strncmp(w->t[i].stored, "module.", 7) || !w->t[i].stored[7])
            return 0;
    return w->n ? 7 : 0;
}

/* The fused attention module of the published training calls its projections .Wqkv. */
static char *our_name(const char *stored)
{
    static const char *const fused[][2] = {{".Wqkv.weight", ".in_proj_weight"}, {".Wqkv.bias", ".in_proj_bias"}};
    for (int i = 0; i < 2; i++)
        if (ends_with(stored, fused[i][0]))
            return sky_asprintf("%.*s%s", (int)(strlen(stored) - strlen(fused[i][0])), stored, fused[i][1]);
    return sky_strdup(stored);
}

static int by_name(const void *a, const void *b) { return strcmp(((const sky_entry *)a)->name, ((const sky_entry *)b)->name); }

int sky_weights_rename(sky_weights *w, sky_err *e)
{
    leave_out(w);
    size_t skip = common_prefix(w);
    for (int i = 0; i < w->n; i++) {
        w->t[i].name = our_name(w->t[i].stored + skip);
        if (!w->t[i].name)
            return sky_fail(e, SKY_ENOMEM, "%s: out of memory", w->path);
        w->t[i].pub.name = w->t[i].name;
        w->t[i].pub.stored = w->t[i].stored;
    }
    if (w->n)
        qsort(w->t, (size_t)w->n, sizeof *w->t, by_name);
    for (int i = 1; i < w->n; i++)
        if (!strcmp(w->t[i - 1].name, w->t[i].name))
            return sky_fail(e, SKY_ECORRUPT, "%s: tensors '%s' and '%s' are both called '%s'", w->path, w->t[i - 1].stored, w->t[i].stored, w->t[i].name);
    return SKY_OK;
}
