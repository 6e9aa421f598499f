/* score_files.c -- label shards and prediction streams for tests/cli/sky-score.t, small enough to score by hand.
 * usage: score_files DIRECTORY
 *
 * Labels 4 x 4, by rows (255 ignored, class 3 in none): a 1 2 0 255 (labels-1), b 1 1 0 0, c 2 2 2 2 (labels-0). */
#include "base/mem.h"
#include "format/stream.h"

#include <stdio.h>
#include <string.h>

static const char *directory;
static sky_err err;

static void must(int rc)
{
    if (rc < 0) {
        fprintf(stderr, "score_files: %s\n", err.msg);
        _Exit(1);
    }
}

static sky_writer *create(const char *name, sky_spelling sp, const char *schema)
{
    char path[500];
    sky_writer *w;
    json_t *j = NULL;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    must(sky_json_parse(&j, schema, strlen(schema), "schema", &err));
    must(sky_writer_open(&w, path, sp, j, NULL, &err));
    json_decref(j);
    return w;
}

static const char *image_dims; /* of a field hr that put adds; NULL: none */
static int with_mask;          /* and before all others a field mask, all valid */

static void add_mask(sky_sample *s)
{
    sky_field *f = sky_sample_add(s, "mask", &err);
    must(f ? 0 : -1);
    must(sky_field_alloc(f, SKY_U8, 2, (const uint64_t[2]){4, 4}, 1, &err));
    must(sky_field_set_dims(f, "yx", &err));
    memset(f->data, 1, f->nbytes);
}

static void add_image(sky_sample *s)
{
    sky_field *f = sky_sample_add(s, "hr", &err);
    must(f ? 0 : -1);
    must(sky_field_alloc(f, SKY_U8, 3, (const uint64_t[3]){3, 4, 4}, 1, &err));
    must(sky_field_set_dims(f, image_dims, &err));
    for (uint64_t i = 0; i < f->nbytes; i++)
        ((uint8_t *)f->data)[i] = (uint8_t)(5 * i);
}

/* rows: four values, each over 4 * scale pixels in scale lines */
static void put(sky_writer *w, const char *id, const char *meta, const char *field, const int rows[4], int scale, const char *field_meta)
{
    sky_sample s;
    uint64_t shape[2] = {4u * (unsigned)scale, 4u * (unsigned)scale};
    sky_sample_init(&s);
    must(sky_sample_begin(&s, id, &err));
    json_decref(s.meta);
    must(sky_json_parse(&s.meta, meta, strlen(meta), "meta", &err));
    if (with_mask)
        add_mask(&s);
    sky_field *f = sky_sample_add(&s, field, &err);
    must(f ? 0 : -1);
    must(sky_field_alloc(f, SKY_U8, 2, shape, 0, &err));
    must(sky_field_set_dims(f, "yx", &err));
    for (uint64_t i = 0; i < f->nbytes; i++)
        ((uint8_t *)f->data)[i] = (uint8_t)rows[i / (shape[1] * (unsigned)scale)];
    if (field_meta) {
        json_t *j = NULL;
        must(sky_json_parse(&j, field_meta, strlen(field_meta), "meta", &err));
        json_object_update(f->meta, j);
        json_decref(j);
    }
    if (image_dims)
        add_image(&s);
    must(sky_writer_put(w, &s, &err));
    sky_sample_free(&s);
}

/* A label of 4 x 4 that says nothing of itself. */
static void put_wide(sky_writer *w, const char *id, const uint16_t rows[4])
{
    sky_sample s;
    sky_sample_init(&s);
    sky_field *f = sky_sample_begin(&s, id, &err) ? NULL : sky_sample_add(&s, "label", &err);
    must(f ? 0 : -1);
    must(sky_field_alloc(f, SKY_U16, 2, (const uint64_t[2]){4, 4}, 0, &err));
    must(sky_field_set_dims(f, "yx", &err));
    for (int i = 0; i < 16; i++)
        ((uint16_t *)f->data)[i] = rows[i / 4];
    must(sky_writer_put(w, &s, &err));
    sky_sample_free(&s);
}

static const char table[] = "{\"role\":\"label\",\"classes\":[{\"value\":1,\"name\":\"water\"},{\"value\":2,\"name\":\"road, paved\"},{\"value\":3,\"name\":\"tree\"}],\"ignore\":[255]}";
static const char schema[] = "{\"dataset\":\"test\",\"fields\":{\"label\":{\"role\":\"label\",\"classes\":[{\"value\":1,\"name\":\"water\"},{\"value\":2,\"name\":\"road, paved\"},{\"value\":3,\"name\":\"tree\"}],\"ignore\":[255]}}}";
static const int a[4] = {1, 2, 0, 255}, b[4] = {1, 1, 0, 0}, c[4] = {2, 2, 2, 2};

/* Label d in a shard whose own table and schema say something else than those of the others. */
static void other_table(const char *name, const char *meta, int with_a)
{
    char head[600];
    snprintf(head, sizeof head, "{\"dataset\":\"test\",\"fields\":{\"label\":%s}}", meta);
    sky_writer *w = create(name, SKY_SHARD, head);
    if (with_a)
        put(w, "a", "{}", "label", a, 1, table);
    put(w, "d", "{}", "label", b, 1, meta);
    must(sky_writer_close(w, &err));
}

static void labels(void)
{
    other_table("renamed.sky", "{\"role\":\"label\",\"classes\":[{\"value\":1,\"name\":\"water\"},{\"value\":2,\"name\":\"tree\"},{\"value\":3,\"name\":\"road, paved\"}],\"ignore\":[255]}", 0);
    other_table("fewer.sky", "{\"role\":\"label\",\"classes\":[{\"value\":1,\"name\":\"water\"},{\"value\":2,\"name\":\"road, paved\"}],\"ignore\":[255]}", 1);
    other_table("ignores.sky", "{\"role\":\"label\",\"classes\":[{\"value\":1,\"name\":\"water\"},{\"value\":2,\"name\":\"road, paved\"},{\"value\":3,\"name\":\"tree\"}],\"ignore\":[255],\"nodata\":0.0}", 0);
    sky_writer *w = create("labels-0.sky", SKY_SHARD, schema);
    put(w, "b", "{}", "label", b, 1, table);
    put(w, "c", "{}", "label", c, 1, table);
    must(sky_writer_close(w, &err));
    w = create("labels-1.sky", SKY_SHARD, schema);
    put(w, "a", "{}", "label", a, 1, table);
    must(sky_writer_close(w, &err));
    w = create("images.sky", SKY_SHARD, schema); /* the image of b is none */
    image_dims = "cyx";
    put(w, "a", "{}", "label", a, 1, table);
    put(w, "c", "{}", "label", c, 1, table);
    image_dims = "zyx";
    put(w, "b", "{}", "label", b, 1, table);
    must(sky_writer_close(w, &err));
    image_dims = "cyx";
    for (with_mask = 0; with_mask < 2; with_mask++) {
        w = create(with_mask ? "masked.sky" : "unmasked.sky", SKY_SHARD, schema);
        put(w, "c", "{}", "label", c, 1, with_mask ? "{\"role\":\"label\",\"ignore\":[255],\"valid\":\"mask\"}" : table);
        must(sky_writer_close(w, &err));
    }
    with_mask = 0;
    w = create("painted.sky", SKY_SHARD, "{\"dataset\":\"test\",\"fields\":{\"label\":{\"classes\":[{\"value\":1,\"name\":\"water\"},{\"value\":2,\"name\":\"road\",\"color\":[10,20,30]}]}}}");
    put(w, "c", "{}", "label", c, 1, "{\"role\":\"label\",\"ignore\":[255]}"); /* only the schema says what the classes are */
    must(sky_writer_close(w, &err));
    image_dims = NULL;
    w = create("unlisted.sky", SKY_SHARD, schema);
    put(w, "a", "{}", "label", (const int[4]){1, 2, 9, 255}, 1, table);
    must(sky_writer_close(w, &err));
    w = create("plainlabels.sky", SKY_SHARD, "{\"dataset\":\"test\"}"); /* no class table, no role */
    put(w, "a", "{}", "label", a, 1, NULL);
    must(sky_writer_close(w, &err));
    w = create("wide.sky", SKY_SHARD, "{\"dataset\":\"test\"}"); /* U16, a value no table reaches */
    put_wide(w, "a", (const uint16_t[4]){1, 2, 0, 65535});
    must(sky_writer_close(w, &err));
    w = create("stream.sky", SKY_PLAIN, schema);
    put(w, "a", "{}", "label", a, 1, table);
    must(sky_writer_close(w, &err));
}

enum { A1 = 1, A2 = 2, B1 = 4, C2 = 8, ALL = 15, TWICE = 16, UNKNOWN = 32, UNASKED = 64, SHAPE = 128, VALUE = 256, MODEL = 512, ID = 1024, MULTI = 2048 };

static void masks(const char *name, int which)
{
    static const char m[] = "{\"query\":\"%s\",\"class\":%d,\"prompts\":[\"x\"],\"model\":\"%s\",\"protocol\":\"%s\"}";
    static const struct {
        int bit;
        const char *id, *query;
        int cls, rows[4], scale;
        const char *model, *protocol;
    } p[] = {
        {C2, "c#2", "c", 2, {1, 1, 1, 1}, 2, "aa11", "binary"},    {A1, "a#1", "a", 1, {1, 0, 1, 1}, 1, "aa11", "binary"},
        {A2, "a#2", "a", 2, {0, 0, 0, 0}, 3, "aa11", "binary"},    {B1, "b#1", "b", 1, {1, 0, 0, 0}, 1, "aa11", "binary"},
        {TWICE, "a#1", "a", 1, {1, 0, 1, 1}, 1, "aa11", "binary"}, {UNKNOWN, "z#1", "z", 1, {1, 0, 1, 1}, 1, "aa11", "binary"},
        {UNASKED, "c#1", "c", 1, {0, 0, 0, 0}, 1, "aa11", "binary"}, {VALUE, "a#1", "a", 1, {1, 2, 1, 1}, 1, "aa11", "binary"},
        {MODEL, "a#2", "a", 2, {0, 0, 0, 0}, 1, "bb22", "binary"}, {ID, "a-2", "a", 2, {0, 0, 0, 0}, 1, "aa11", "binary"},
        {MULTI, "a", "a", 2, {0, 0, 0, 0}, 1, "aa11", "multiclass"},
    };
    sky_writer *w = create(name, SKY_PLAIN, "{\"dataset\":\"test\"}");
    for (size_t i = 0; i < sizeof p / sizeof *p; i++)
        if (which & p[i].bit) {
            char meta[200];
            snprintf(meta, sizeof meta, m, p[i].query, p[i].cls, p[i].model, p[i].protocol);
            put(w, p[i].id, meta, which & SHAPE && p[i].bit == A2 ? "other" : "pred", p[i].rows, p[i].scale, NULL);
        }
    must(sky_writer_close(w, &err));
}

static void maps(const char *name, int third, int value)
{
    sky_writer *w = create(name, SKY_PLAIN, "{\"dataset\":\"test\"}");
    put(w, "a", "{\"protocol\":\"multiclass\"}", "pred", (const int[4]){1, 0, 2, value}, 1, NULL);
    put(w, "b", "{}", "pred", (const int[4]){1, 2, 0, 0}, 2, NULL);
    if (third)
        put(w, "c", "{}", "pred", (const int[4]){2, 2, 2, 1}, 1, NULL);
    if (third == 2)
        put(w, "d", "{}", "pred", (const int[4]){1, 1, 0, 0}, 1, NULL);
    must(sky_writer_close(w, &err));
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    directory = argv[1];
    labels();
    masks("good.sky", ALL);
    masks("none.sky", 0);
    masks("missing.sky", ALL & ~(B1 | C2));
    masks("extra.sky", ALL | UNKNOWN);
    masks("unasked.sky", ALL | UNASKED);
    masks("duplicate.sky", ALL | TWICE);
    masks("misshapen.sky", ALL | SHAPE);
    masks("one.sky", A1);
    masks("value.sky", (ALL & ~A1) | VALUE);
    masks("model.sky", (ALL & ~A2) | MODEL);
    masks("badid.sky", (ALL & ~A2) | ID);
    masks("mixed.sky", ALL | MULTI);
    maps("maps.sky", 1, 1);
    maps("maps-d.sky", 2, 1);
    maps("maps-missing.sky", 0, 1);
    maps("maps-ignored.sky", 1, 9); /* 9 stands where the label is ignored: not counted */
    sky_writer *w = create("maps-9.sky", SKY_PLAIN, "{\"dataset\":\"test\"}");
    put(w, "a", "{}", "pred", (const int[4]){9, 9, 9, 9}, 1, NULL);
    must(sky_writer_close(w, &err));
    return 0;
}
