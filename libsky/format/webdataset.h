/* webdataset.h -- samples to and from WebDataset tars: members KEY.json and KEY.FIELD.npy, one after another.
 *
 * Written: ustar with pax headers where a name is long. KEY is the id with every byte outside A-Z a-z 0-9 _ - / as %XX
 * (no dots: a WebDataset key ends at the first); the json holds {"id","meta","fields":{...}} and brings back everything,
 * also absent fields and references. BF16 travels as U16 arrays with the type in the json.
 * Read: any tar of .json .npy .png and .cls members. A json not of our form becomes the sample's meta; a png becomes a
 * field (yx or yxc, stored numbers), .cls a whole number in meta.cls; other members are left out and counted. */
#ifndef SKY_FORMAT_WEBDATASET_H
#define SKY_FORMAT_WEBDATASET_H

#include "format/sample.h"

typedef struct sky_wds_out sky_wds_out;
int sky_wds_create(sky_wds_out **out, const char *path, sky_err *e) SKY_MUST_USE;
int sky_wds_put(sky_wds_out *w, const sky_sample *s, sky_err *e) SKY_MUST_USE;
int sky_wds_commit(sky_wds_out *w, sky_err *e) SKY_MUST_USE; /* w is freed either way */
void sky_wds_abort(sky_wds_out *w);

typedef struct sky_wds_in sky_wds_in;
int sky_wds_open(sky_wds_in **in, const char *path, sky_err *e) SKY_MUST_USE; /* "-": standard input; no seek needed */
/* 1, 0 at the end, < 0. After an error, calling again goes on with the next sample; where the tar itself is damaged or cut,
 * that is the end. */
int sky_wds_next(sky_wds_in *in, sky_sample *s, sky_err *e) SKY_MUST_USE;
uint64_t sky_wds_ignored(const sky_wds_in *in);
const char *sky_wds_first_ignored(const sky_wds_in *in);
void sky_wds_close(sky_wds_in *in); /* NULL allowed */

#endif
