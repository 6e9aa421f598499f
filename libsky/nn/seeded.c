/* seeded.c -- the rules of generated weights. Offsets and scales are those of the reference; order matters. */
#include "nn/seeded.h"
#include "base/hash.h"

#include <math.h>
#include <string.h>

static int ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && !strcmp(s + n - m, tail);
}

static int is_any(const char *s, size_t n, const char *const list[])
{
    for (int i = 0; list[i]; i++)
        if (strlen(list[i]) == n && !memcmp(s, list[i], n))
            return 1;
    return 0;
}

/* The component before the last one. */
static const char *owner_of(const char *name, const char *last, size_t *n)
{
    *n = 0;
    if (last == name)
        return name;
    const char *end = last - 1, *p = end;
    while (p > name && p[-1] != '.')
        p--;
    *n = (size_t)(end - p);
    return p;
}

static float fan_in_scale(int ndim, const int64_t *shape)
{
    double fan_in = 1;
    for (int i = 1; i < ndim; i++)
        fan_in *= (double)shape[i];
    return (float)sqrt(3.0 / fan_in);
}

void sky_seeded_rule(const char *name, int ndim, const int64_t *shape, float *scale, float *offset)
{
    static const char *const tokens[] = {"mask_token", "cls_token", "pos_embed", NULL};
    static const char *const tables[] = {"vocabulary_token", "vocabulary_weight", NULL};
    static const char *const norms[] = {"ln1", "ln2", "bn", NULL};
    const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;
    size_t nlast = strlen(last), nowner;
    const char *owner = owner_of(name, last, &nowner);
    *offset = 0;
    if (!strcmp(last, "running_mean"))
        *scale = 0.1f;
    else if (!strcmp(last, "running_var"))
        *scale = 0.25f, *offset = 1;
    else if (!strcmp(last, "logit_scale"))
        *scale = 0.5f, *offset = 1.5f;
    else if (!strncmp(last, "gamma_", 6))
        *scale = 0.25f, *offset = 0.25f;
    else if (is_any(last, nlast, tokens))
        *scale = 0.5f;
    else if (is_any(last, nlast, tables) || ends_with(name, "codebook.weight"))
        *scale = 1;
    else if (ends_with(last, "bias"))
        *scale = 0.1f;
    else if (!strcmp(last, "weight") && ((nowner >= 4 && !memcmp(owner, "norm", 4)) || is_any(owner, nowner, norms)))
        *scale = 0.1f, *offset = 1;
    else
        *scale = fan_in_scale(ndim, shape);
}

/* FNV-1a of the two parts joined, without joining them. */
static uint64_t hash2(const char *prefix, const char *name)
{
    uint64_t h = sky_fnv1a(prefix);
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    return h;
}

void sky_seeded_values(float *dst, const char *prefix, const char *name, uint64_t from, uint64_t n, float scale, float offset)
{
    uint64_t h = hash2(prefix, name);
    for (uint64_t i = 0; i < n; i++)
        dst[i] = sky_counter_value(h, from + i, scale, offset);
}

uint32_t sky_seeded_u24(const char *prefix, const char *name, uint64_t i) { return sky_counter_u24(hash2(prefix, name), i); }
