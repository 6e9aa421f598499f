/* transfer.h -- weights of one model into another: by name under another prefix, bands of the input by their names, the
 * position table onto another grid. Nothing is done in silence: every tensor on either side gets a line, or is counted in
 * one where it is none of the part's business. */
#ifndef SKY_TRAIN_TRANSFER_H
#define SKY_TRAIN_TRANSFER_H

#include "nn/config.h"
#include "nn/params.h"

typedef struct {
    const char *from, *to;      /* heads of the names in the file and in the model: "backbone_s2.", "backbone."; "": all */
    const char *const *source_bands, *const *bands; /* of the file's and of the model's input, NULL-terminated; NULL: not known */
    const sky_config *cfg;      /* of the model: its position grid */
    void (*note)(void *arg, const char *line);
    void *arg;
} sky_transfer_opts;

/* The parameters of ps under o->to have values already (sky_params_init), which stay where the file has none: in memory of
 * their own, F32. Returns the number of tensors taken, or an error; none at all is SKY_EUSAGE.
 *
 * Same name and shape: copied. patch_embed.projection.weight: per band, by name where both lists are known, else only when
 * the number is the same. pos_embed: entries of the file's grid (its configuration's, else a square; one more entry is the
 * class token's) resized to the model's grid (bicubic, as the model does), the class entry kept. Else: left as it is. */
int sky_transfer(sky_params *ps, const sky_weights *w, const sky_transfer_opts *o, sky_err *e) SKY_MUST_USE;

#endif
