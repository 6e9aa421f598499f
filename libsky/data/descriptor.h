/* descriptor.h -- what a data set looks like on disk: formats/datasets/NAME.yaml, described in sky-dataset(5).
 *
 * Strings and JSON below are borrowed from the descriptor and live as long as it does. */
#ifndef SKY_DATA_DESCRIPTOR_H
#define SKY_DATA_DESCRIPTOR_H

#include "base/dtype.h"
#include "base/json.h"
#include "data/labels.h"
#include "data/pattern.h"

#define SKY_DATASET_FIELDS 32

typedef enum { SKY_LAYOUT_FILES, SKY_LAYOUT_LIST } sky_layout;
typedef enum { SKY_READ_BY_SUFFIX, SKY_READ_PNG, SKY_READ_RASTER, SKY_READ_ARRAY, SKY_READ_POLYGONS } sky_read_how;

typedef struct {
    const char *name;
    int label;                  /* role: 0 image, 1 label */
    sky_pattern **path;         /* alternatives; npaths 0: an option that was not given */
    int npaths;
    const char *option;         /* "--images" or "--labels" where that gave the path */
    int stack;                  /* no alternatives: one file per band, in their order */
    sky_read_how how;
    uint32_t dtypes;            /* accepted types, bit 1 << sky_dtype; 0: any */
    const json_t *optional;     /* true: may be missing; an array: in these splits; NULL: never */
    const char *grid;           /* label: the image field whose pixel grid it must have; NULL: its own */
    const char *property;       /* polygons: the property that holds the class ["class"] */
    int64_t background;         /* polygons: class outside all of them [0] */
    const char *crs;            /* of files that name none; NULL: stays unknown */
    const char *member;         /* npz: name of the array ["image"] */
    const json_t *bands;        /* names; their number is checked; NULL: not declared */
    sky_labels *labels;         /* label: the class table, never NULL */
    json_t *meta;               /* what every sample's field meta starts from */
} sky_dataset_field;

typedef struct {
    const char *name;
    const char *list;           /* file name (pattern's text) of a list, or NULL */
    sky_pattern *list_path;
    int with_class;             /* list lines end in a separator and a two-digit class */
    const json_t *where;        /* {token: value or [values]}, or NULL */
    const json_t *ids;          /* array, or NULL */
} sky_dataset_split;

typedef struct {
    const char *name;           /* the value of a record's "type" */
    sky_labels *labels;
} sky_dataset_type;

typedef struct {
    char *file;                 /* for messages */
    char sha256[65];            /* of the descriptor's bytes */
    json_t *tree;
    const char *name, *title;
    sky_layout layout;
    sky_pattern *id;            /* template; NULL: tokens of the first field joined by '_' */
    sky_dataset_field field[SKY_DATASET_FIELDS];
    int nfields;
    sky_dataset_split *split;
    int nsplits;
    sky_dataset_type *type;     /* list layout: class tables by type */
    int ntypes;
} sky_dataset;

/* images, labels: what the paths "$images" and "$labels" stand for; NULL: not given. */
int sky_dataset_parse(sky_dataset **out, const char *text, size_t n, const char *file, const char *images, const char *labels, sky_err *e) SKY_MUST_USE;
/* name: "flood3i", or a path (base/paths.h). */
int sky_dataset_load(sky_dataset **out, const char *name, const char *images, const char *labels, sky_err *e) SKY_MUST_USE;
void sky_dataset_free(sky_dataset *d); /* NULL allowed */
const sky_dataset_field *sky_dataset_find(const sky_dataset *d, const char *field); /* NULL: none */
const sky_dataset_split *sky_dataset_find_split(const sky_dataset *d, const char *name);
/* May the field be missing in a sample of this split (NULL: none known)? */
int sky_dataset_optional(const sky_dataset_field *f, const char *split);

#endif
