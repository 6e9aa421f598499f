/* score_report.h -- scores as a table, JSON, CSV. Undefined figures are "-", null and empty. */
#ifndef SKY_SCORE_SCORE_REPORT_H
#define SKY_SCORE_SCORE_REPORT_H

#include "base/mem.h"
#include "score/scoring.h"

void sky_scores_table(sky_buf *to, const sky_scores *r);
json_t *sky_scores_json(const sky_scores *r); /* {"version":1, ...} as sky-score(1) has it; NULL: memory */
void sky_scores_csv(sky_buf *to, const sky_scores *r);
/* Multi-class: one row per label value, one column per predicted value. Binary: tp, fp, fn, tn per class. */
void sky_scores_matrix_csv(sky_buf *to, const sky_scores *r);

#endif
