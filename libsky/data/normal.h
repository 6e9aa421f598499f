/* normal.h -- normalisation of a field: value = (x / divide - mean) / std per band, where the numbers come from, and
 * whether two runs used the same.
 *
 * The checkpoint carries, per field, {"bands": [...], "divide": d, "mean": [...], "std": [...]}; the same members, bands and
 * divide optional, are what a config gives. */
#ifndef SKY_DATA_NORMAL_H
#define SKY_DATA_NORMAL_H

#include "base/err.h"
#include "base/json.h"

#define SKY_NORMAL_BANDS 512

typedef struct {
    int n;               /* bands, in the order the network takes them */
    char **band;         /* their names; NULL: bands are known by number only */
    double divide;       /* 1 unless stated */
    double *mean, *std;
} sky_normal;

/* From a JSON object as above; unknown keys, lengths that differ, a std that is not above 0 are errors. */
int sky_normal_parse(sky_normal **out, const json_t *j, const char *where, sky_err *e) SKY_MUST_USE;
/* For these bands (names; NULL: all, in the field's order) of field `name`: from config (NULL: none), else from the mean and
 * std in `meta` (a field's meta or the schema's entry of it; NULL: none), else SKY_ECORRUPT that says which
 * command computes them. */
int sky_normal_find(sky_normal **out, const json_t *config, const json_t *meta, const char *name, char *const *bands, int nbands, sky_err *e) SKY_MUST_USE;
void sky_normal_free(sky_normal *n); /* NULL allowed */
json_t *sky_normal_json(const sky_normal *n); /* NULL: memory */
/* Both {FIELD: normal}. SKY_OK: the same; SKY_ECORRUPT names the first difference ("field 's2', band B3: mean 1 ... 2"). */
int sky_normal_compare(const json_t *trained, const json_t *now, sky_err *e) SKY_MUST_USE;

/* What the released model takes: modality "hr" (RGB of 0..255), "s2" or "s1". SKY_EUSAGE: another one. */
int sky_normal_released(sky_normal **out, const char *modality, sky_err *e) SKY_MUST_USE;
/* One-shot inference uses those. Was a model trained with them? trained: {"hr":..., ...} as sky_incontext_normals gives it;
 * modalities it does not have are not compared. */
int sky_normal_check_released(const json_t *trained, sky_err *e) SKY_MUST_USE;

#endif
