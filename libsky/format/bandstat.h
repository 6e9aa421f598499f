/* bandstat.h -- mean and standard deviation of every band of an image field over many samples, in double.
 *
 * Per sample and band the sums are exact enough to be taken in two passes (mean, then squares of differences); samples are
 * joined by the formula of Chan, Golub and LeVeque (1979). The result depends on the order of samples in the last digits
 * only, and not on threads. */
#ifndef SKY_FORMAT_BANDSTAT_H
#define SKY_FORMAT_BANDSTAT_H

#include "base/mem.h"
#include "format/sample.h"

typedef struct {
    uint64_t n;      /* valid values: finite and not the field's nodata */
    double mean, m2; /* m2: sum of squared differences from the mean */
} sky_band_stat;

typedef struct {
    json_t *names;   /* "bands" of the first sample that has them; NULL: none */
    sky_band_stat *band;
    int n;           /* bands; -1: they differ in number between samples, and nothing is said */
} sky_band_stats;

/* Labels, absent fields, references and fields without x and y are passed over. */
int sky_band_stats_add(sky_band_stats *s, const sky_field *f, sky_err *e) SKY_MUST_USE;
void sky_band_stats_free(sky_band_stats *s);
/* Of the whole population: sqrt(m2 / n). */
double sky_band_std(const sky_band_stat *b);
/* ,"bands":[...],"mean":[...],"std":[...],"valid":[...] (bands only when named; null without a valid value), or nothing. */
void sky_band_stats_json(sky_buf *b, const sky_band_stats *s);
/* A line per band, or nothing. */
void sky_band_stats_text(sky_buf *b, const sky_band_stats *s, const char *field);

#endif
