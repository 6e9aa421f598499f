/* truth.h -- the labels: shard files looked up by sample id through their index. Memory: the index, and one sample. */
#ifndef SKY_SCORE_TRUTH_H
#define SKY_SCORE_TRUTH_H

#include "format/sample.h"
#include "score/classes.h"
#include "score/classmap.h"

typedef struct sky_truth sky_truth;

/* paths: shard files (streams have no index). field: the label field's name. Samples without it are not counted; an id in
 * two records is an error. The class table and ignored values of the first label (where it has none, of its shard's schema)
 * go into cls; another label with other ones is SKY_ECORRUPT naming both and the difference: for the first label of each
 * shard here, else when it is read. A class that the index names and cls does not is an error naming the sample. */
int sky_truth_open(sky_truth **out, char *const *paths, int n, const char *field, sky_classes *cls, sky_err *e) SKY_MUST_USE;
void sky_truth_close(sky_truth *t); /* NULL allowed */
uint64_t sky_truth_count(const sky_truth *t);
const char *sky_truth_id(const sky_truth *t, uint64_t i); /* in the order of ids */
int64_t sky_truth_find(const sky_truth *t, const char *id); /* -1: none */
/* Class values in sample i (ignored ones are not among them). Borrowed until close. */
int sky_truth_present(sky_truth *t, uint64_t i, const uint16_t **values, int *n, sky_err *e) SKY_MUST_USE;
/* The label map of sample i, and one byte per pixel where it may be scored (*valid NULL: everywhere). Borrowed until the
 * next read: consecutive reads of one sample cost nothing. */
int sky_truth_read(sky_truth *t, uint64_t i, const sky_classmap **m, const uint8_t **valid, sky_err *e) SKY_MUST_USE;

/* Sample i with every field, for pictures; the label's meta have what only the shard's schema says of its classes. */
int sky_truth_sample(sky_truth *t, uint64_t i, sky_sample *out, sky_err *e) SKY_MUST_USE;

#endif
