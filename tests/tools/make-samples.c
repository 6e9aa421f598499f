/* make-samples -- a stream or shard of made-up samples (tests/unit/make_samples.h) for the command-line tests.
 *   make-samples COUNT OUT [plain|shard] [big] [first NUMBER] */
#include "../unit/make_samples.h"
#include "format/stream.h"

#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    sky_err e = {0};
    sky_writer *w;
    sky_sample s = {0};
    uint64_t first = 0;
    int big = 0, sp = SKY_SHARD;
    if (argc < 3)
        return 2;
    for (int i = 3; i < argc; i++)
        if (!strcmp(argv[i], "first") && i + 1 < argc)
            first = strtoull(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "big"))
            big = 1;
        else
            sp = strcmp(argv[i], "plain") ? SKY_SHARD : SKY_PLAIN;
    json_t *schema = json_pack("{s:s,s:{s:{s:s}}}", "dataset", "made", "fields", "label", "role", "label");
    int rc = sky_writer_open(&w, argv[2], sp, schema, NULL, &e);
    json_decref(schema);
    for (uint64_t i = 0; i < strtoull(argv[1], NULL, 10) && !rc; i++)
        if (!(rc = make_sample(&s, first + i, big, &e)))
            rc = sky_writer_put(w, &s, &e);
    if (!rc)
        rc = sky_writer_close(w, &e);
    sky_sample_free(&s);
    if (rc)
        fprintf(stderr, "make-samples: %s\n", e.msg);
    return rc ? 4 : 0;
}
