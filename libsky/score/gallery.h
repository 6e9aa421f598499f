/* gallery.h -- predictions drawn beside their images and labels. */
#ifndef SKY_SCORE_GALLERY_H
#define SKY_SCORE_GALLERY_H

#include "score/sheet.h"
#include "score/truth.h"

/* Append a row for this prediction: the first image field of its query, the label, the prediction (field `field`) in the
 * colours of the label's class table, and those of format/palette.h where it has none; a binary prediction is painted in the
 * colour of its class. Its caption: the query's id, and the class of a binary prediction with its name in cls. Returns 1 when a
 * row was added, 0 when there is nothing to draw (no label, no image, not a map), or < 0. */
int sky_gallery_add(sky_sheet *s, sky_truth *t, const sky_classes *cls, const sky_sample *pred, const char *field, const char *label_field,
                    sky_err *e) SKY_MUST_USE;

#endif
