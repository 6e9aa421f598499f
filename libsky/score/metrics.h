/* metrics.h -- scores from counts. A ratio whose denominator is 0 is undefined: NaN, left out of means. */
#ifndef SKY_SCORE_METRICS_H
#define SKY_SCORE_METRICS_H

#include <stdint.h>

/* Pixels of one class against the rest. */
typedef struct {
    uint64_t tp, fp, fn, tn;
} sky_counts;

typedef struct {
    double iou;       /* tp / (tp + fp + fn) */
    double dice;      /* 2 tp / (2 tp + fp + fn), also called F1 */
    double precision; /* tp / (tp + fp) */
    double recall;    /* tp / (tp + fn), also called accuracy of the class */
} sky_metrics;
sky_metrics sky_metrics_of(const sky_counts *c);

/* The published 1-shot figures: tp / (tp + fp + fn + 1e-6) and tp / (tp + fn + 1e-6). */
typedef struct {
    double iou, acc;
} sky_oneshot_metrics;
sky_oneshot_metrics sky_oneshot_of(const sky_counts *c);

/* Mean of the values that are not NaN, and how many there are (NaN when none). */
typedef struct {
    double sum;
    int n;
} sky_mean;
void sky_mean_add(sky_mean *m, double v);
double sky_mean_get(const sky_mean *m);

/* Class `value` in a matrix of counts n[label * side + predicted], rows of ignored label values left out (ignore: one byte
 * per value below side; NULL: none). */
sky_counts sky_counts_of(const uint64_t *n, uint32_t side, const uint8_t *ignore, uint32_t value);
/* 2 x 2 counts of a class's mask: pred 1 where the class is seen, else 0; pixels whose label has ignore set (one byte per
 * value that occurs) left out. */
void sky_counts_add_mask(sky_counts *c, const uint16_t *label, const uint16_t *pred, uint64_t n, const uint8_t *ignore, uint32_t value);

#endif
