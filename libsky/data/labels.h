/* labels.h -- from the numbers, colours or words a label file stores to class numbers.
 *
 * Keys of a descriptor (sky-dataset(5)): classes, ignore, map, values, off_palette. A rule with classes or map is a
 * complete table: a stored value it does not name is an error that gives the pixel, since a wrong descriptor must not
 * become a wrong label. Without either, values pass as they are. */
#ifndef SKY_DATA_LABELS_H
#define SKY_DATA_LABELS_H

#include "base/dtype.h"
#include "base/err.h"
#include "base/json.h"

typedef struct sky_labels sky_labels;

extern const char *const sky_labels_keys[]; /* the keys it reads, NULL-terminated */
/* From the members of o (an object that may hold other keys). where: put in front of messages. */
int sky_labels_parse(sky_labels **out, const json_t *o, const char *where, sky_err *e) SKY_MUST_USE;
void sky_labels_free(sky_labels *l); /* NULL allowed */
int sky_labels_by_colour(const sky_labels *l); /* stored values are RGB colours */
int sky_labels_identity(const sky_labels *l);  /* by value, and every value stays what it is */
sky_dtype sky_labels_dtype(const sky_labels *l, sky_dtype stored); /* of the result: U8 or U16; stored when no table */
/* Borrowed arrays for a field's meta; NULL: not declared. */
const json_t *sky_labels_classes(const sky_labels *l);
const json_t *sky_labels_ignore(const sky_labels *l);

/* n stored values of any type -> dst of sky_labels_dtype. width makes the row and column of messages. src == dst is
 * allowed when the types are the same. */
int sky_labels_values(const sky_labels *l, void *dst, const void *src, sky_dtype stored, uint64_t n, uint64_t width, sky_err *e) SKY_MUST_USE;
/* Colours: planes src [channels, n], channels 1 (grey) or >= 3 (RGB and more, of which three are used). */
int sky_labels_colours(const sky_labels *l, void *dst, const uint8_t *src, int channels, uint64_t n, uint64_t width, sky_err *e) SKY_MUST_USE;
/* A word or number in a vector file's property: through map, else a class's name, else a class's or ignored value.
 * SKY_ECORRUPT when it is none. */
int sky_labels_word(const sky_labels *l, const char *text, sky_err *e);

/* ---- what samples say of their labels ------------------------------------------------------------------------------- */

/* Is v background by a class table (NULL: none)? "background" by name, and 0 where no table names it. */
int sky_class_is_background(const json_t *classes, double v);
/* The label field of index entries, whose "classes" has one: put into name while it is empty. Two would make the choice depend on
 * chance: SKY_ECORRUPT. */
int sky_label_field(char name[64], const json_t *classes, sky_err *e) SKY_MUST_USE;

#endif
