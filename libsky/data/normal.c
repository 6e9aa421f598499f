#include "data/normal.h"
#include "base/mem.h"
#include "data/oneshot.h"

#include <math.h>
#include <string.h>

void sky_normal_free(sky_normal *n)
{
    if (!n)
        return;
    for (int i = 0; n->band && i < n->n; i++)
        sky_free(n->band[i]);
    sky_free(n->band), sky_free(n->mean), sky_free(n->std);
    sky_free(n);
}

static int make(sky_normal **out, int bands, int named, sky_err *e)
{
    sky_normal *n = sky_calloc(1, sizeof *n);
    if (n) {
        n->n = bands;
        n->divide = 1;
        n->mean = sky_calloc((size_t)bands, sizeof *n->mean);
        n->std = sky_calloc((size_t)bands, sizeof *n->std);
        n->band = named ? sky_calloc((size_t)bands, sizeof *n->band) : NULL;
    }
    if (!n || !n->mean || !n->std || (named && !n->band)) {
        sky_normal_free(n);
        return sky_fail(e, SKY_ENOMEM, "out of memory for %d bands", bands);
    }
    *out = n;
    return SKY_OK;
}

static int numbers(double *v, const json_t *list, const char *key, int n, const char *where, sky_err *e)
{
    for (int i = 0; i < n; i++) {
        const json_t *j = json_array_get(list, (size_t)i);
        v[i] = json_number_value(j);
        if (!json_is_number(j) || !isfinite(v[i]) || (!strcmp(key, "std") && v[i] <= 0))
            return sky_fail(e, SKY_ECORRUPT, "%s: '%s' of band %d: want a%s number", where, key, i + 1, strcmp(key, "std") ? "" : " positive");
    }
    return SKY_OK;
}

static int names(sky_normal *n, const json_t *list, const char *where, sky_err *e)
{
    for (int i = 0; n->band && i < n->n; i++) {
        const char *s = json_string_value(json_array_get(list, (size_t)i));
        if (!s)
            return sky_fail(e, SKY_ECORRUPT, "%s: 'bands': want names", where);
        if (!(n->band[i] = sky_strdup(s)))
            return sky_fail(e, SKY_ENOMEM, "out of memory");
    }
    return SKY_OK;
}

int sky_normal_parse(sky_normal **out, const json_t *j, const char *where, sky_err *e)
{
    static const char *const keys[] = {"bands", "divide", "mean", "std", NULL};
    const json_t *mean = NULL, *std = NULL, *bands = NULL;
    double divide = 1;
    sky_normal *n = NULL;
    if (!json_is_object(j))
        return sky_fail(e, SKY_ECORRUPT, "%s: expected an object with 'mean' and 'std', found %s", where, sky_json_type(j));
    int rc = sky_json_only(j, keys, where, e);
    if (!rc)
        rc = sky_json_array(j, "mean", 1, &mean, where, e);
    if (!rc)
        rc = sky_json_array(j, "std", 1, &std, where, e);
    if (!rc)
        rc = sky_json_array(j, "bands", 0, &bands, where, e);
    if (!rc)
        rc = sky_json_f64(j, "divide", 0, &divide, where, e);
    const size_t count = json_array_size(mean);
    if (!rc && (count < 1 || count > SKY_NORMAL_BANDS || json_array_size(std) != count || (bands && json_array_size(bands) != count)))
        rc = sky_fail(e, SKY_ECORRUPT, "%s: %zu means, %zu stds, %zu bands: want as many of each, 1..%d", where, count, json_array_size(std), json_array_size(bands), SKY_NORMAL_BANDS);
    if (!rc && !(divide > 0))
        rc = sky_fail(e, SKY_ECORRUPT, "%s: 'divide' must be above 0", where);
    if (!rc)
        rc = make(&n, (int)count, bands != NULL, e);
    if (rc)
        return rc;
    n->divide = divide;
    rc = numbers(n->mean, mean, "mean", n->n, where, e);
    if (!rc)
        rc = numbers(n->std, std, "std", n->n, where, e);
    if (!rc)
        rc = names(n, bands, where, e);
    if (rc)
        sky_normal_free(n);
    else
        *out = n;
    return rc;
}

/* ---- where they come from --------------------------------------------------------------------------------------- */

static int index_of(const sky_normal *n, const char *name)
{
    for (int i = 0; n->band && i < n->n; i++)
        if (!strcmp(n->band[i], name))
            return i;
    return -1;
}

/* all, cut down to the wanted bands by name. Takes all. */
static int choose(sky_normal **out, sky_normal *all, const char *name, char *const *bands, int nbands, sky_err *e)
{
    sky_normal *n = NULL;
    int rc = make(&n, nbands, 1, e);
    for (int i = 0; !rc && i < nbands; i++) {
        const int k = index_of(all, bands[i]);
        if (k < 0)
            rc = sky_fail(e, SKY_ECORRUPT, "field '%s': no mean and std for band %s", name, bands[i]);
        else if (!(n->band[i] = sky_strdup(bands[i])))
            rc = sky_fail(e, SKY_ENOMEM, "out of memory");
        else
            n->mean[i] = all->mean[k], n->std[i] = all->std[k];
    }
    if (n)
        n->divide = all->divide;
    sky_normal_free(all);
    if (rc)
        sky_normal_free(n);
    else
        *out = n;
    return rc;
}

/* {mean, std, bands} of a field's meta; 1 when they are there. */
static int from_meta(sky_normal **out, const json_t *meta, const char *where, sky_err *e)
{
    json_t *mean = json_object_get(meta, "mean"), *std = json_object_get(meta, "std"), *bands = json_object_get(meta, "bands");
    if (!mean || !std)
        return 0;
    json_t *j = json_pack("{s:O,s:O,s:O*}", "mean", mean, "std", std, "bands", bands);
    int rc = j ? sky_normal_parse(out, j, where, e) : sky_fail(e, SKY_ENOMEM, "out of memory");
    json_decref(j);
    return rc ? rc : 1;
}

int sky_normal_find(sky_normal **out, const json_t *config, const json_t *meta, const char *name, char *const *bands, int nbands, sky_err *e)
{
    char where[128];
    sky_normal *all = NULL;
    snprintf(where, sizeof where, config ? "normalisation of field '%.64s'" : "field '%.64s'", name);
    int rc = config ? sky_normal_parse(&all, config, where, e) : from_meta(&all, meta, where, e);
    if (rc < 0)
        return rc;
    if (!config && !rc)
        return sky_fail(e, SKY_ECORRUPT, "field '%s': no mean and std, neither in the configuration nor in the data; sky-pack --stat --json prints them, for the configuration", name);
    if (bands && all->band)
        return choose(out, all, name, bands, nbands, e);
    if (bands && all->n != nbands) {
        rc = sky_fail(e, SKY_ECORRUPT, "%s: %d means without band names for %d bands", where, all->n, nbands);
        sky_normal_free(all);
        return rc;
    }
    *out = all;
    return SKY_OK;
}

/* ---- for the checkpoint ------------------------------------------------------------------------------------------ */

json_t *sky_normal_json(const sky_normal *n)
{
    json_t *mean = json_array(), *std = json_array(), *bands = n->band ? json_array() : NULL;
    int bad = !mean || !std || (n->band && !bands);
    for (int i = 0; !bad && i < n->n; i++)
        bad = json_array_append_new(mean, json_real(n->mean[i])) || json_array_append_new(std, json_real(n->std[i])) ||
              (bands && json_array_append_new(bands, json_string(n->band[i])));
    json_t *j = bad ? NULL : json_pack("{s:O*,s:f,s:O,s:O}", "bands", bands, "divide", n->divide, "mean", mean, "std", std);
    json_decref(mean), json_decref(std), json_decref(bands);
    return j;
}

static int differ(const sky_normal *a, const sky_normal *b, const char *field, sky_err *e)
{
    if (a->n != b->n)
        return sky_fail(e, SKY_ECORRUPT, "normalisation of field '%s': %d bands when trained, %d now", field, a->n, b->n);
    if (a->divide != b->divide)
        return sky_fail(e, SKY_ECORRUPT, "normalisation of field '%s': divided by %g when trained, by %g now", field, a->divide, b->divide);
    for (int i = 0; i < a->n; i++) {
        const char *x = a->band ? a->band[i] : NULL, *y = b->band ? b->band[i] : NULL;
        if (x && y && strcmp(x, y))
            return sky_fail(e, SKY_ECORRUPT, "normalisation of field '%s': band %d was %s when trained, is %s now", field, i + 1, x, y);
        if (a->mean[i] != b->mean[i] || a->std[i] != b->std[i])
            return sky_fail(e, SKY_ECORRUPT, "normalisation of field '%s', band %d%s%s: mean %.9g, std %.9g when trained, %.9g, %.9g now", field, i + 1,
                            x ? " " : "", x ? x : "", a->mean[i], a->std[i], b->mean[i], b->std[i]);
    }
    return SKY_OK;
}

int sky_normal_compare(const json_t *trained, const json_t *now, sky_err *e)
{
    const char *field;
    json_t *j;
    json_object_foreach((json_t *)now, field, j) {
        if (!json_object_get(trained, field))
            return sky_fail(e, SKY_ECORRUPT, "normalisation of field '%s': the model was trained without it", field);
    }
    json_object_foreach((json_t *)trained, field, j) {
        sky_normal *a = NULL, *b = NULL;
        const json_t *other = json_object_get(now, field);
        if (!other)
            return sky_fail(e, SKY_ECORRUPT, "normalisation of field '%s': the model was trained with it, now there is none", field);
        int rc = sky_normal_parse(&a, j, field, e);
        if (!rc)
            rc = sky_normal_parse(&b, other, field, e);
        if (!rc)
            rc = differ(a, b, field, e);
        sky_normal_free(a), sky_normal_free(b);
        if (rc)
            return rc;
    }
    return SKY_OK;
}

/* ---- the released model ------------------------------------------------------------------------------------------- */

static const double rgb_mean[3] = {0.485, 0.456, 0.406}, rgb_std[3] = {0.229, 0.224, 0.225};
static const char *const rgb_bands[] = {"R", "G", "B"}, *const s2_bands[] = {"B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12"}, *const s1_bands[] = {"VV", "VH"};
static const struct {
    const char *name;
    int n;
    double divide;
    const double *mean, *std;
    const char *const *band;
} released[] = {{"hr", 3, 255, rgb_mean, rgb_std, rgb_bands},
                {"s2", 10, 1, sky_norm_s2_mean, sky_norm_s2_std, s2_bands},
                {"s1", 2, 1, sky_norm_s1_mean, sky_norm_s1_std, s1_bands}};

int sky_normal_released(sky_normal **out, const char *modality, sky_err *e)
{
    size_t k = 0;
    while (k < 3 && strcmp(released[k].name, modality))
        k++;
    if (k == 3)
        return sky_fail(e, SKY_EUSAGE, "'%s' is no modality of the released model", modality);
    sky_normal *n = NULL;
    int rc = make(&n, released[k].n, 1, e);
    if (rc)
        return rc;
    n->divide = released[k].divide;
    for (int i = 0; i < n->n; i++) {
        n->mean[i] = released[k].mean[i];
        n->std[i] = released[k].std[i];
        if (!(n->band[i] = sky_strdup(released[k].band[i]))) {
            sky_normal_free(n);
            return sky_fail(e, SKY_ENOMEM, "out of memory");
        }
    }
    *out = n;
    return SKY_OK;
}

int sky_normal_check_released(const json_t *trained, sky_err *e)
{
    json_t *now = json_object();
    int rc = now ? SKY_OK : sky_fail(e, SKY_ENOMEM, "out of memory");
    for (size_t k = 0; !rc && k < 3; k++) {
        sky_normal *n = NULL;
        if (!json_object_get(trained, released[k].name))
            continue;
        rc = sky_normal_released(&n, released[k].name, e);
        if (!rc && json_object_set_new(now, released[k].name, sky_normal_json(n)))
            rc = sky_fail(e, SKY_ENOMEM, "out of memory");
        sky_normal_free(n);
    }
    if (!rc)
        rc = sky_normal_compare(trained, now, e);
    json_decref(now);
    return rc;
}
