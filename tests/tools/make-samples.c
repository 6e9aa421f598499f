/* make-samples -- a stream or shard of made-up samples (tests/unit/make_samples.h) for the command-line tests.
 *   make-samples COUNT OUT [plain|shard] [big|pictures] [first NUMBER]
 * pictures: something to train on: hr U8 [3,128,128] and a label of three classes, in blocks. */
#include "../unit/make_samples.h"
#include "format/stream.h"

#include <stdlib.h>
#include <string.h>

static int make_picture(sky_sample *s, uint64_t n, int big, sky_err *e)
{
    enum { SIDE = 128, BLOCK = 16 };
    char id[32];
    (void)big;
    snprintf(id, sizeof id, "picture/%05llu", (unsigned long long)n);
    const uint64_t shape[3] = {3, SIDE, SIDE}, h = sky_fnv1a(id);
    int rc = sky_sample_begin(s, id, e);
    sky_field *hr = rc ? NULL : sky_sample_add(s, "hr", e);
    if (!hr || sky_field_alloc(hr, SKY_U8, 3, shape, 0, e) || sky_field_set_dims(hr, "cyx", e))
        return -1;
    for (int i = 0; i < 3 * SIDE * SIDE; i++) /* a colour of the block's class, and noise */
        ((uint8_t *)hr->data)[i] = (uint8_t)(60 * (sky_mix64(h, (uint64_t)(i % (SIDE * SIDE) / SIDE / BLOCK * SIDE + i % SIDE / BLOCK)) % 3 + 1) + sky_counter_u24(h, (uint64_t)i) % 40);
    sky_field *label = sky_sample_add(s, "label", e);
    if (!label || sky_field_alloc(label, SKY_U8, 2, shape + 1, 0, e) || sky_field_set_dims(label, "yx", e))
        return -1;
    for (int i = 0; i < SIDE * SIDE; i++)
        ((uint8_t *)label->data)[i] = (uint8_t)(sky_mix64(h, (uint64_t)(i / SIDE / BLOCK * SIDE + i % SIDE / BLOCK)) % 3 + 1);
    return json_object_set_new(label->meta, "role", json_string("label")) ||
           json_object_set_new(label->meta, "classes", json_pack("[{s:i,s:s},{s:i,s:s},{s:i,s:s}]", "value", 1, "name", "one", "value", 2, "name", "two", "value", 3, "name", "three"));
}

int main(int argc, char **argv)
{
    sky_err e = {0};
    sky_writer *w;
    sky_sample s = {0};
    uint64_t first = 0;
    int big = 0, sp = SKY_SHARD;
    int (*make)(sky_sample *s, uint64_t n, int big, sky_err *e) = make_sample;
    if (argc < 3)
        return 2;
    for (int i = 3; i < argc; i++)
        if (!strcmp(argv[i], "first") && i + 1 < argc)
            first = strtoull(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "big"))
            big = 1;
        else if (!strcmp(argv[i], "pictures"))
            make = make_picture;
        else
            sp = strcmp(argv[i], "plain") ? SKY_SHARD : SKY_PLAIN;
    json_t *schema = json_pack("{s:s,s:{s:{s:s}}}", "dataset", "made", "fields", "label", "role", "label");
    int rc = sky_writer_open(&w, argv[2], sp, schema, NULL, &e);
    json_decref(schema);
    for (uint64_t i = 0; i < strtoull(argv[1], NULL, 10) && !rc; i++)
        if (!(rc = make(&s, first + i, big, &e)))
            rc = sky_writer_put(w, &s, &e);
    if (!rc)
        rc = sky_writer_close(w, &e);
    sky_sample_free(&s);
    if (rc)
        fprintf(stderr, "make-samples: %s\n", e.msg);
    return rc ? 4 : 0;
}
