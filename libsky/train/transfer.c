#include "train/transfer.h"
#include "base/mem.h"
#include "tensor/ops.h"

#include <math.h>
#include <string.h>

typedef struct {
    sky_params *ps;
    const sky_weights *w;
    const sky_transfer_opts *o;
    sky_err *e;
    int source_grid[2]; /* from the file's configuration; 0: unknown */
    int taken;
} job;

static void say(const job *j, const char *fmt, ...) SKY_PRINTF(2, 3);
static void say(const job *j, const char *fmt, ...)
{
    char line[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (j->o->note)
        j->o->note(j->o->arg, line);
}

static int64_t count(const sky_weight *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= t->shape[i];
    return n;
}

static int same_shape(const sky_tensor *a, const sky_weight *b) { return a->ndim == b->ndim && !memcmp(a->shape, b->shape, (size_t)a->ndim * sizeof *a->shape); }

static const char *shape_text(char *buf, size_t n, int ndim, const int64_t *shape)
{
    size_t at = (size_t)snprintf(buf, n, "[");
    for (int i = 0; i < ndim && at < n; i++)
        at += (size_t)snprintf(buf + at, n - at, "%s%lld", i ? "," : "", (long long)shape[i]);
    if (at < n)
        snprintf(buf + at, n - at, "]");
    return buf;
}

static int is_floating(sky_dtype t) { return t == SKY_F32 || t == SKY_F16 || t == SKY_BF16 || t == SKY_F64; }

static float *read_floats(const job *j, const sky_weight *t)
{
    float *v = sky_alloc((size_t)count(t) * sizeof *v + 1);
    if (!v)
        sky_fail(j->e, SKY_ENOMEM, "%s: out of memory", t->name);
    else if (sky_weights_read(j->w, t, v, SKY_F32, j->e)) {
        sky_free(v);
        v = NULL;
    }
    return v;
}

static int copy(job *j, const sky_param *p, const sky_weight *t)
{
    int rc = sky_weights_read(j->w, t, p->slot->data, SKY_F32, j->e);
    if (!rc) {
        j->taken++;
        say(j, "%s: from '%s'", p->name, t->name);
    }
    return rc;
}

/* ---- bands ----------------------------------------------------------------------------------------------------------------- */

static int length(const char *const *list)
{
    int n = 0;
    while (list && list[n])
        n++;
    return n;
}

static int position(const char *const *list, const char *name)
{
    for (int i = 0; list[i]; i++)
        if (!strcmp(list[i], name))
            return i;
    return -1;
}

static void add_name(char *list, size_t size, const char *name)
{
    size_t n = strlen(list);
    snprintf(list + n, size - n, "%s%s", n ? "," : "", name);
}

/* Both lists are known and as long as the shapes: [N, C, k, k] and [N, C', k, k]. */
static int map_bands(job *j, const sky_param *p, const sky_weight *t)
{
    const char *const *from = j->o->source_bands, *const *to = j->o->bands;
    int64_t n = p->slot->shape[0], c = p->slot->shape[1], cs = t->shape[1], area = t->shape[2] * t->shape[3];
    float *v = read_floats(j, t), *y = p->slot->data;
    char found[200] = "", random[200] = "";
    if (!v)
        return j->e->code;
    for (int64_t b = 0; b < c; b++) {
        int at = position(from, to[b]);
        add_name(at < 0 ? random : found, sizeof found, to[b]);
        for (int64_t i = 0; i < n && at >= 0; i++)
            memcpy(y + (i * c + b) * area, v + (i * cs + at) * area, (size_t)area * sizeof *y);
    }
    sky_free(v);
    j->taken += *found != 0;
    say(j, "%s: bands %s from '%s'%s%s%s", p->name, *found ? found : "none", t->name, *random ? "; not there, so random: " : "", random,
        *found ? "" : " (are the names spelled alike?)");
    return SKY_OK;
}

static int is_patches(const char *name)
{
    static const char tail[] = "patch_embed.projection.weight";
    size_t n = strlen(name);
    return n >= sizeof tail - 1 && !strcmp(name + n - (sizeof tail - 1), tail);
}

static int patches(job *j, const sky_param *p, const sky_weight *t)
{
    const sky_tensor *s = p->slot;
    char here[80], there[80];
    if (t->ndim != 4 || s->ndim != 4 || t->shape[0] != s->shape[0] || t->shape[2] != s->shape[2] || t->shape[3] != s->shape[3]) {
        say(j, "%s: random: '%s' has another shape, %s instead of %s", p->name, t->name, shape_text(there, sizeof there, t->ndim, t->shape), shape_text(here, sizeof here, s->ndim, s->shape));
        return SKY_OK;
    }
    int known = j->o->source_bands && j->o->bands;
    if (known && (length(j->o->source_bands) != t->shape[1] || length(j->o->bands) != s->shape[1]))
        return sky_fail(j->e, SKY_EUSAGE, "%s: %d names for the %lld bands of '%s', %d for the model's %lld", p->name, length(j->o->source_bands), (long long)t->shape[1], t->name,
                        length(j->o->bands), (long long)s->shape[1]);
    if (known)
        return map_bands(j, p, t);
    if (same_shape(s, t))
        return copy(j, p, t);
    say(j, "%s: random: %lld bands here, %lld in '%s', and nothing says which is which", p->name, (long long)s->shape[1], (long long)t->shape[1], t->name);
    return SKY_OK;
}

/* ---- positions --------------------------------------------------------------------------------------------------------------- */

/* [h, w, dim] -> [h2, w2, dim] */
static int resize(const job *j, const float *x, const int from[2], float *y, const int to[2], int64_t dim)
{
    sky_ctx c;
    int rc = sky_ctx_open(&c, "cpu", 1, j->e);
    if (rc)
        return rc;
    int64_t shape[4] = {1, from[0], from[1], dim};
    rc = sky_ctx_alloc(&c, (size_t)(((int64_t)from[0] * from[1] + (int64_t)to[0] * to[1]) * dim) * sizeof *y + 4096, j->e);
    if (!rc) {
        sky_tensor t = sky_resize(&c, sky_upload(&c, SKY_F32, 4, shape, x), to[0], to[1], SKY_BICUBIC);
        sky_download(&c, y, &t);
        if (c.err.code)
            rc = sky_fail(j->e, c.err.code, "%s", c.err.msg);
    }
    sky_ctx_close(&c);
    return rc;
}

/* The grid of a table of n entries, and whether one entry for a class token is in front of it. */
static int grid_of(const job *j, int64_t n, int grid[2], int *cls)
{
    const int *g = j->source_grid;
    for (*cls = 0; *cls < 2; ++*cls) {
        int64_t rest = n - *cls, side = (int64_t)llround(sqrt((double)rest));
        if (g[0] && (int64_t)g[0] * g[1] == rest)
            return grid[0] = g[0], grid[1] = g[1], 1;
        if (!g[0] && side > 0 && side < 10000 && side * side == rest)
            return grid[0] = grid[1] = (int)side, 1;
    }
    return 0;
}

static int positions(job *j, const sky_param *p, const sky_weight *t)
{
    const sky_tensor *s = p->slot;
    int from[2], to[2] = {j->o->cfg->vit_img[0] / j->o->cfg->vit_patch, j->o->cfg->vit_img[1] / j->o->cfg->vit_patch}, cls, own;
    int64_t dim = sky_last(s), cells = (int64_t)to[0] * to[1];
    own = s->ndim == 3 ? (int)(s->shape[1] - cells) : -1;
    char here[80], there[80];
    if (t->ndim != 3 || t->shape[2] != dim || own < 0 || own > 1 || !grid_of(j, t->shape[1], from, &cls)) {
        say(j, "%s: random: '%s' of shape %s is no table for %s", p->name, t->name, shape_text(there, sizeof there, t->ndim, t->shape), shape_text(here, sizeof here, s->ndim, s->shape));
        return SKY_OK;
    }
    float *v = read_floats(j, t), *y = s->data;
    if (!v)
        return j->e->code;
    int rc = resize(j, v + cls * dim, from, y + own * dim, to, dim);
    if (!rc && cls && own)
        memcpy(y, v, (size_t)dim * sizeof *y);
    sky_free(v);
    j->taken++;
    say(j, "%s: from '%s', grid %dx%d %s %dx%d%s", p->name, t->name, from[0], from[1], from[0] == to[0] && from[1] == to[1] ? "as" : "resized to", to[0], to[1],
        !own ? "" : cls ? ", class entry kept" : ", no class entry in the file");
    return rc;
}

static int is_positions(const char *name)
{
    size_t n = strlen(name);
    return n >= 9 && !strcmp(name + n - 9, "pos_embed");
}

/* ---- all of it ----------------------------------------------------------------------------------------------------------------- */

static int take(job *j, const sky_param *p)
{
    char source[300], here[80], there[80];
    snprintf(source, sizeof source, "%s%s", j->o->from, p->name + strlen(j->o->to));
    const sky_weight *t = sky_weights_find(j->w, source);
    if (!t || !is_floating(t->dtype)) {
        say(j, "%s: random: '%s' is not in the file", p->name, source);
        return SKY_OK;
    }
    if (is_patches(p->name))
        return patches(j, p, t);
    if (is_positions(p->name))
        return positions(j, p, t);
    if (same_shape(p->slot, t))
        return copy(j, p, t);
    say(j, "%s: random: '%s' has another shape, %s instead of %s", p->name, source, shape_text(there, sizeof there, t->ndim, t->shape),
        shape_text(here, sizeof here, p->slot->ndim, p->slot->shape));
    return SKY_OK;
}

/* What the file has and the model does not. */
static void left_out(const job *j)
{
    int others = 0;
    size_t n = strlen(j->o->from);
    for (int i = 0; i < sky_weights_count(j->w); i++) {
        const char *name = sky_weights_at(j->w, i)->name;
        char mine[300];
        snprintf(mine, sizeof mine, "%s%s", j->o->to, strncmp(name, j->o->from, n) ? "" : name + n);
        if (strncmp(name, j->o->from, n))
            others++;
        else if (!sky_params_find(j->ps, mine))
            say(j, "'%s': left out: the model has no '%s'", name, mine);
    }
    if (others)
        say(j, "%d tensors of the file are outside '%s'", others, j->o->from);
}

static void read_grid(job *j)
{
    const json_t *m = sky_weights_metadata(j->w);
    const char *text = m ? json_string_value(json_object_get(m, "config")) : NULL;
    json_t *c = NULL;
    sky_err ignored;
    if (!text || sky_json_parse(&c, text, strlen(text), "config", &ignored))
        return;
    const json_t *img = json_object_get(c, "vit_img"), *patch = json_object_get(c, "vit_patch");
    for (int i = 0; i < 2 && json_is_integer(patch) && json_integer_value(patch) > 0; i++)
        if (json_integer_value(json_array_get(img, (size_t)i)) < 1 << 20)
            j->source_grid[i] = (int)(json_integer_value(json_array_get(img, (size_t)i)) / json_integer_value(patch));
    json_decref(c);
}

int sky_transfer(sky_params *ps, const sky_weights *w, const sky_transfer_opts *o, sky_err *e)
{
    job j = {.ps = ps, .w = w, .o = o, .e = e};
    int rc = SKY_OK;
    read_grid(&j);
    for (int i = 0; i < ps->n && !rc; i++)
        if (!strncmp(ps->v[i].name, o->to, strlen(o->to)))
            rc = take(&j, &ps->v[i]);
    if (rc)
        return rc;
    if (!j.taken)
        return sky_fail(e, SKY_EUSAGE, "nothing of the file could be used: no tensor '%s*' of it fits a '%s*' of the model", o->from, o->to);
    left_out(&j);
    return j.taken;
}
