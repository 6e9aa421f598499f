/* ingest.h -- one planned sample (data/plan.h) read and decoded. Part of the geographic library. */
#ifndef SKY_INGEST_INGEST_H
#define SKY_INGEST_INGEST_H

#include "data/plan.h"
#include "format/sample.h"

typedef struct {
    const sky_dataset *d;
    sky_listing *l;
    int reference;         /* image fields by reference, and label fields that need no conversion */
    uint64_t inline_limit; /* an image larger than this goes by reference anyway; bytes of its decoded pixels */
} sky_ingest;

/* Thread-safe: many items at a time. Images come out as [c, y, x] ("cyx"; arrays with dates "tcyx"), labels as [y, x]. */
int sky_ingest_sample(const sky_ingest *g, const sky_plan_item *it, sky_sample *out, sky_err *e) SKY_MUST_USE;

#endif
