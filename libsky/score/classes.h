/* classes.h -- which label values are classes, what they are called, and which are ignored. */
#ifndef SKY_SCORE_CLASSES_H
#define SKY_SCORE_CLASSES_H

#include "base/err.h"
#include "base/json.h"
#include <stdint.h>

enum { SKY_CLASS_VALUES = 4096, SKY_LABEL_VALUES = 65536 }; /* classes lie below the first, ignored values below the second */

typedef struct {
    int value;
    char name[64];  /* its number when the table has no name */
    int background; /* called "background", or value 0 where no table names it: never asked for in the binary protocol */
} sky_class;

typedef struct {
    sky_class *list; /* ascending values */
    int n;
    int given;       /* by an option or a class table; 0: whatever values occur */
    uint8_t ignore[SKY_LABEL_VALUES];
} sky_classes;

void sky_classes_init(sky_classes *c);
void sky_classes_free(sky_classes *c);
/* "1,2,5" or "1=water,2=road" */
int sky_classes_parse(sky_classes *c, const char *text, sky_err *e) SKY_MUST_USE;
/* Members classes, ignore and nodata of a label field's meta. Ignored values are no classes. */
int sky_classes_meta(sky_classes *c, const json_t *meta, sky_err *e) SKY_MUST_USE;
int sky_classes_ignore(sky_classes *c, int64_t value, sky_err *e) SKY_MUST_USE;
int sky_classes_copy(sky_classes *to, const sky_classes *from, sky_err *e) SKY_MUST_USE; /* to: initialised, empty */
/* The same values, names and ignored values? If not, SKY_ECORRUPT says what c has that `first` has otherwise. */
int sky_classes_same(const sky_classes *c, const sky_classes *first, sky_err *e) SKY_MUST_USE;
/* Add a class of this value unless it is there or ignored. */
int sky_classes_see(sky_classes *c, int value, sky_err *e) SKY_MUST_USE;
const sky_class *sky_classes_find(const sky_classes *c, int value); /* NULL: none */
int sky_classes_background(const sky_classes *c, int value);

#endif
