/* report.h -- what sky-pack says about records: one line of a list, statistics, and the summary of a schema. Text is
 * appended to a buffer; nothing is printed here. */
#ifndef SKY_FORMAT_REPORT_H
#define SKY_FORMAT_REPORT_H

#include "base/mem.h"
#include "format/sample.h"

/* "ID <tab> BYTES <tab> name dtype[shape], ..." or one JSON object; a newline at the end. */
int sky_list_line(sky_buf *b, const sky_sample *s, int json, sky_err *e) SKY_MUST_USE;

typedef struct sky_stat sky_stat;
int sky_stat_new(sky_stat **out, sky_err *e) SKY_MUST_USE;
int sky_stat_add(sky_stat *t, const sky_sample *s, sky_err *e) SKY_MUST_USE;
int sky_stat_print(sky_buf *b, const sky_stat *t, uint64_t sum, int json, sky_err *e) SKY_MUST_USE;
void sky_stat_free(sky_stat *t); /* NULL allowed */

/* Dataset, fields, provenance chain. `files`: an array of {"name","spelling","records","bytes"} or NULL. */
int sky_info_print(sky_buf *b, const json_t *schema, const json_t *files, int json, sky_err *e) SKY_MUST_USE;

#endif
