#include "score/metrics.h"

#include <math.h>
#include <stddef.h>

static double ratio(double a, double b) { return b > 0 ? a / b : NAN; }

sky_metrics sky_metrics_of(const sky_counts *c)
{
    double tp = (double)c->tp, fp = (double)c->fp, fn = (double)c->fn;
    return (sky_metrics){ratio(tp, tp + fp + fn), ratio(2 * tp, 2 * tp + fp + fn), ratio(tp, tp + fp), ratio(tp, tp + fn)};
}

sky_oneshot_metrics sky_oneshot_of(const sky_counts *c)
{
    double tp = (double)c->tp, fp = (double)c->fp, fn = (double)c->fn;
    return (sky_oneshot_metrics){tp / (tp + fp + fn + 1e-6), tp / (tp + fn + 1e-6)};
}

void sky_mean_add(sky_mean *m, double v)
{
    if (isnan(v))
        return;
    m->sum += v;
    m->n++;
}

double sky_mean_get(const sky_mean *m) { return m->n ? m->sum / m->n : NAN; }

sky_counts sky_counts_of(const uint64_t *n, uint32_t side, const uint8_t *ignore, uint32_t value)
{
    sky_counts c = {0};
    for (uint32_t l = 0; l < side; l++) {
        if (ignore && ignore[l])
            continue;
        const uint64_t *row = n + (uint64_t)l * side;
        uint64_t all = 0;
        for (uint32_t p = 0; p < side; p++)
            all += row[p];
        if (l == value) {
            c.tp += row[value];
            c.fn += all - row[value];
        } else {
            c.fp += row[value];
            c.tn += all - row[value];
        }
    }
    return c;
}

void sky_counts_add_mask(sky_counts *c, const uint16_t *label, const uint16_t *pred, uint64_t n, const uint8_t *ignore, uint32_t value)
{
    uint64_t k[2][2][2] = {{{0}}}; /* [ignored][is class][predicted] */
    for (uint64_t i = 0; i < n; i++)
        k[ignore && ignore[label[i]]][label[i] == value][pred[i] != 0]++;
    c->tp += k[0][1][1];
    c->fp += k[0][0][1];
    c->fn += k[0][1][0];
    c->tn += k[0][0][0];
}
