/* config.c -- the model's dimensions from YAML or JSON: one table of members, then the rules between them. */
#include "nn/config.h"
#include "base/mem.h"
#include "base/paths.h"

#include <stddef.h>
#include <string.h>

const sky_config sky_config_full = {
    .vocab = 64,
    .hr_channels = 3, .swin_dim = 352, .swin_depths = {2, 2, 18, 2}, .swin_heads = {8, 16, 32, 64},
    .swin_window = 8, .swin_patch = 4, .swin_extra_norm = 6, .swin_merge_stage = 2,
    .attn_dims = {256, 512, 1024}, .attn_heads = 16,
    .s2_channels = 10, .s1_channels = 2, .vit_dim = 1024, .vit_depth = 24, .vit_heads = 16, .vit_img = {16, 16},
    .vit_patch = 4, .vit_out = {5, 11, 17, 23}, .vit_nout = 4, .vit_merge = 4,
    .up_scale = 4,
    .fus_dim = 1024, .fus_depth = 24, .fus_heads = 16,
    .vae_conv = 256, .vae_z = 256, .vae_codes = 8192,
    .uper_channels = 512, .uper_pools = {1, 2, 3, 6}, .uper_npools = 4,
    .swin_drop_path = 0.2, .vit_drop_path = 0.3, .fus_drop_path = 0.3, .uper_dropout = 0.1,
    .lr = 2e-4, .weight_decay = 0.04, .layer_decay = 0.7, .clip_norm = 5.0,
    .frozen_blocks = 12, .frozen_fusion_from = 3,
};

/* n = 0: one number; n > 0: exactly n numbers; n < 0: 1 to -n numbers, their count stored at `count`. The limits keep
 * every product of a few dimensions far inside 64 bits and a hostile file from asking for absurd memory. */
static const struct member {
    const char *key;
    size_t at, count;
    int n, min, max;
} ints[] = {
#define ONE(k, min, max) {#k, offsetof(sky_config, k), 0, 0, min, max}
#define FIX(k, n, min, max) {#k, offsetof(sky_config, k), 0, n, min, max}
#define LIST(k, c, n, min, max) {#k, offsetof(sky_config, k), offsetof(sky_config, c), -(n), min, max}
    ONE(vocab, 1, 254), /* labels are bytes, 255 is "ignore" */
    ONE(hr_channels, 1, 64), ONE(swin_dim, 1, 4096), FIX(swin_depths, 4, 1, 256), FIX(swin_heads, 4, 1, 1024),
    ONE(swin_window, 2, 32), ONE(swin_patch, 1, 32), ONE(swin_extra_norm, 0, 256), ONE(swin_merge_stage, 0, 4),
    FIX(attn_dims, 3, 1, 16384), ONE(attn_heads, 1, 1024),
    ONE(s2_channels, 1, 64), ONE(s1_channels, 1, 64), ONE(vit_dim, 1, 16384), ONE(vit_depth, 1, 256),
    ONE(vit_heads, 1, 1024), FIX(vit_img, 2, 1, 4096), ONE(vit_patch, 1, 32), LIST(vit_out, vit_nout, 8, 0, 255),
    ONE(vit_merge, 0, 256), ONE(up_scale, 1, 32),
    ONE(fus_dim, 1, 16384), ONE(fus_depth, 1, 256), ONE(fus_heads, 1, 1024),
    ONE(vae_conv, 1, 16384), ONE(vae_z, 1, 16384), ONE(vae_codes, 1, 1 << 20),
    ONE(uper_channels, 1, 16384), LIST(uper_pools, uper_npools, 8, 1, 64),
    ONE(frozen_blocks, 0, 1024), ONE(frozen_fusion_from, 0, 1024),
};
static const struct {
    const char *key;
    size_t at;
    double min, max;
} reals[] = {
#define REAL(k, min, max) {#k, offsetof(sky_config, k), min, max}
    REAL(swin_drop_path, 0, 0.999), REAL(vit_drop_path, 0, 0.999), REAL(fus_drop_path, 0, 0.999),
    REAL(uper_dropout, 0, 0.999), REAL(lr, 0, 1e3), REAL(weight_decay, 0, 1e3), REAL(layer_decay, 1e-6, 1),
    REAL(clip_norm, 0, 1e9),
};
#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

static int *member_at(sky_config *cfg, size_t at) { return (int *)((char *)cfg + at); }

static int read_int(const json_t *v, const struct member *m, int *out, const char *where, sky_err *e)
{
    if (!json_is_integer(v))
        return sky_fail(e, SKY_ECORRUPT, "%s: '%s': expected an integer, found %s", where, m->key, sky_json_type(v));
    json_int_t i = json_integer_value(v);
    if (i < m->min || i > m->max)
        return sky_fail(e, SKY_ELIMIT, "%s: '%s': %lld is outside %d..%d", where, m->key, (long long)i, m->min, m->max);
    *out = (int)i;
    return 0;
}

static int read_member(sky_config *cfg, const struct member *m, const json_t *v, const char *where, sky_err *e)
{
    int *out = member_at(cfg, m->at);
    if (m->n == 0)
        return read_int(v, m, out, where, e);
    int want = m->n < 0 ? -m->n : m->n;
    if (!json_is_array(v))
        return sky_fail(e, SKY_ECORRUPT, "%s: '%s': expected a list, found %s", where, m->key, sky_json_type(v));
    int got = json_array_size(v) > 1000 ? 1000 : (int)json_array_size(v);
    if (m->n > 0 ? got != want : got < 1 || got > want)
        return sky_fail(e, SKY_ECORRUPT, "%s: '%s': expected %s%d numbers, found %d", where, m->key, m->n < 0 ? "1 to " : "", want, got);
    for (int i = 0; i < got; i++) {
        int rc = read_int(json_array_get(v, (size_t)i), m, &out[i], where, e);
        if (rc)
            return rc;
    }
    if (m->n < 0)
        *member_at(cfg, m->count) = got;
    return 0;
}

static int read_real(sky_config *cfg, int k, const json_t *v, const char *where, sky_err *e)
{
    if (!json_is_number(v))
        return sky_fail(e, SKY_ECORRUPT, "%s: '%s': expected a number, found %s", where, reals[k].key, sky_json_type(v));
    double d = json_number_value(v);
    if (!(d >= reals[k].min && d <= reals[k].max))
        return sky_fail(e, SKY_ELIMIT, "%s: '%s': %g is outside %g..%g", where, reals[k].key, d, reals[k].min, reals[k].max);
    memcpy((char *)cfg + reals[k].at, &d, sizeof d);
    return 0;
}

/* Three names of bands, or none. */
static int read_bands(sky_config *cfg, const json_t *v, const char *where, sky_err *e)
{
    const size_t n = json_array_size(v);
    if (!json_is_array(v) || (n && n != 3))
        return sky_fail(e, SKY_ECORRUPT, "%s: 'hr_bands': expected three names of bands, or an empty list", where);
    memset(cfg->hr_bands, 0, sizeof cfg->hr_bands);
    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_array_get(v, i));
        if (!s || !*s || strlen(s) >= sizeof cfg->hr_bands[i])
            return sky_fail(e, SKY_ECORRUPT, "%s: 'hr_bands': expected names of 1 to %zu bytes", where, sizeof cfg->hr_bands[i] - 1);
        memcpy(cfg->hr_bands[i], s, strlen(s));
    }
    return SKY_OK;
}

static int read_key(sky_config *cfg, const char *key, const json_t *v, const char *where, sky_err *e)
{
    if (!strcmp(key, "hr_bands"))
        return read_bands(cfg, v, where, e);
    for (int i = 0; i < COUNT(ints); i++)
        if (!strcmp(key, ints[i].key))
            return read_member(cfg, &ints[i], v, where, e);
    for (int i = 0; i < COUNT(reals); i++)
        if (!strcmp(key, reals[i].key))
            return read_real(cfg, i, v, where, e);
    return sky_fail(e, SKY_ECORRUPT, "%s: unknown key '%s'", where, key);
}

static int divides(int width, int heads, const char *what, const char *where, sky_err *e)
{
    if (width % heads)
        return sky_fail(e, SKY_ECORRUPT, "%s: %s: width %d is not a multiple of %d heads", where, what, width, heads);
    return 0;
}

static int check_vit_out(const sky_config *c, const char *where, sky_err *e)
{
    for (int i = 0; i < c->vit_nout; i++)
        if (c->vit_out[i] >= c->vit_depth || (i && c->vit_out[i] <= c->vit_out[i - 1]))
            return sky_fail(e, SKY_ECORRUPT, "%s: 'vit_out': layer %d: wanted increasing numbers below vit_depth %d", where, c->vit_out[i], c->vit_depth);
    if (c->vit_merge > c->vit_depth)
        return sky_fail(e, SKY_ECORRUPT, "%s: 'vit_merge': %d is above vit_depth %d", where, c->vit_merge, c->vit_depth);
    for (int i = 0; i < 2; i++)
        if (c->vit_img[i] % c->vit_patch)
            return sky_fail(e, SKY_ECORRUPT, "%s: 'vit_img': %d is not a multiple of vit_patch %d", where, c->vit_img[i], c->vit_patch);
    return 0;
}

static int check(const sky_config *c, const char *where, sky_err *e)
{
    int rc = 0;
    for (int i = 0; i < 4 && !rc; i++)
        rc = divides(c->swin_dim << i, c->swin_heads[i], "swin_heads", where, e);
    for (int i = 0; i < 3 && !rc; i++)
        rc = divides(c->attn_dims[i], c->attn_heads, "attn_heads", where, e);
    if (!rc)
        rc = divides(c->vit_dim, c->vit_heads, "vit_heads", where, e);
    if (!rc)
        rc = divides(c->fus_dim, c->fus_heads, "fus_heads", where, e);
    return rc ? rc : check_vit_out(c, where, e);
}

int sky_config_parse(sky_config *cfg, const json_t *j, const char *where, sky_err *e)
{
    if (!json_is_object(j))
        return sky_fail(e, SKY_ECORRUPT, "%s: expected an object, found %s", where, sky_json_type(j));
    sky_config c = *cfg;
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)j, key, v)
    {
        int rc = read_key(&c, key, v, where, e);
        if (rc)
            return rc;
    }
    int rc = check(&c, where, e);
    if (!rc)
        *cfg = c;
    return rc;
}

int sky_config_load(sky_config *cfg, const char *name, sky_err *e)
{
    char *path = NULL;
    json_t *j = NULL;
    int rc = sky_data_file(&path, "configs", name, ".yaml", e);
    if (!rc)
        rc = sky_yaml_load(&j, path, e);
    if (!rc) {
        *cfg = sky_config_full;
        rc = sky_config_parse(cfg, j, path, e);
    }
    json_decref(j);
    sky_free(path);
    return rc;
}

static json_t *int_value(const sky_config *cfg, const struct member *m)
{
    const int *v = member_at((sky_config *)cfg, m->at);
    if (m->n == 0)
        return json_integer(*v);
    int n = m->n > 0 ? m->n : *member_at((sky_config *)cfg, m->count);
    json_t *a = json_array();
    for (int i = 0; a && i < n; i++)
        if (json_array_append_new(a, json_integer(v[i]))) {
            json_decref(a);
            a = NULL;
        }
    return a;
}

json_t *sky_config_json(const sky_config *cfg)
{
    json_t *o = json_object();
    int bad = !o;
    for (int i = 0; !bad && i < COUNT(ints); i++)
        bad = json_object_set_new(o, ints[i].key, int_value(cfg, &ints[i]));
    for (int i = 0; !bad && i < COUNT(reals); i++) {
        double d;
        memcpy(&d, (const char *)cfg + reals[i].at, sizeof d);
        bad = json_object_set_new(o, reals[i].key, json_real(d));
    }
    if (!bad && cfg->hr_bands[0][0])
        bad = json_object_set_new(o, "hr_bands", json_pack("[sss]", cfg->hr_bands[0], cfg->hr_bands[1], cfg->hr_bands[2]));
    if (bad) {
        json_decref(o);
        o = NULL;
    }
    return o;
}
