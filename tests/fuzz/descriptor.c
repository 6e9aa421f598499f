/* A descriptor, and what follows from it: its patterns against paths, its class tables against values and colours. */
#include "data/descriptor.h"

#include <string.h>

static void patterns(const sky_dataset *d)
{
    static const char *const paths[] = {"/x/Images/a_0_1.jpg", "/x/Semantic_mask/a_lab_0_1.png", "a", "/",
                                        "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"};
    sky_span v[SKY_PATTERN_TOKENS];
    for (int i = 0; i < d->nfields; i++)
        for (int k = 0; k < d->field[i].npaths; k++)
            for (size_t j = 0; j < sizeof paths / sizeof *paths; j++) {
                sky_buf b = {0};
                const sky_pattern *g = d->field[i].path[k];
                if (sky_pattern_match(g, paths[j], v)) {
                    /* What matched, put back into the pattern, is the end of the path again. */
                    if (sky_pattern_expand(g, g, v, &b) || b.n > strlen(paths[j]) || memcmp(b.p, paths[j] + strlen(paths[j]) - b.n, b.n))
                        __builtin_trap();
                }
                sky_buf_free(&b);
            }
}

static void labels(const sky_labels *l)
{
    static const uint8_t px[24] = {0, 1, 2, 3, 255, 0, 0, 0, 9, 9, 9, 9, 255, 254, 7, 1};
    uint16_t dst[8];
    sky_err e;
    if (sky_labels_by_colour(l)) {
        if (!sky_labels_colours(l, dst, px, 3, 8, 4, &e))
            return;
    } else if (sky_labels_values(l, dst, px, SKY_U8, 8, 4, &e) == SKY_OK) {
        return;
    }
    (void)sky_labels_word(l, "7", &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    sky_dataset *d;
    sky_err e;
    if (sky_dataset_parse(&d, (const char *)p, n, "fuzz.yaml", memmem(p, n, "$images", 7) ? "i/{id}.jpg" : NULL, NULL, &e))
        return 0;
    patterns(d);
    for (int i = 0; i < d->nfields; i++)
        if (d->field[i].labels)
            labels(d->field[i].labels);
    sky_dataset_free(d);
    return 0;
}
