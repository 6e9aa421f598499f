/* tile_scenes -- streams for testing sky-tile.
 *
 *   tile_scenes make N H W             N scenes: hr (U16 3 bands), label, s2 (series at a quarter of the size), a table
 *   tile_scenes ref ID URI H W BANDS   one scene whose only field lies in a raster elsewhere (U8)
 *   tile_scenes tiff FILE H W TY TX    a one-band U8 GeoTIFF of 256 x 256 tiles, all missing (zeros) but tile TY, TX, whose
 *                                      pixel (y, x) is y + 2 x + 1 modulo 256; prints that tile's checksum
 *   tile_scenes ids < STREAM           one line per sample: id, then name:shape of every field
 *   tile_scenes crcs < STREAM          the same with a checksum before every field
 *   tile_scenes rss COMMAND...         run it; its peak memory in KiB as the last line of standard error
 *   tile_scenes sums < STREAM          one line per scene and field: CRC of its pixels; tiles are put together first */
#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "format/stream.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static sky_err e;

static void stop(void)
{
    fprintf(stderr, "tile_scenes: %s\n", e.msg);
    exit(3);
}

static void must(int rc)
{
    if (rc)
        stop();
}

static sky_field *add(sky_sample *s, const char *name, sky_dtype t, const char *dims, const uint64_t *shape, uint32_t seed)
{
    sky_field *f = sky_sample_add(s, name, &e);
    if (!f || sky_field_alloc(f, t, (int)strlen(dims), shape, 1, &e) || sky_field_set_dims(f, dims, &e))
        stop();
    uint8_t *p = f->data;
    for (uint64_t i = 0; i < f->nbytes; i++)
        p[i] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24);
    return f;
}

static sky_writer *open_writer(void)
{
    sky_writer *w;
    json_t *schema = json_pack("{s:s,s:{}}", "dataset", "scenes", "fields");
    must(sky_writer_open(&w, "-", SKY_PLAIN, schema, NULL, &e));
    json_decref(schema);
    return w;
}

static void make(int n, uint64_t h, uint64_t w)
{
    sky_writer *out = open_writer();
    for (int i = 0; i < n; i++) {
        sky_sample s;
        char id[32];
        snprintf(id, sizeof id, "scene%d", i);
        sky_sample_init(&s);
        must(sky_sample_begin(&s, id, &e));
        json_object_set_new(s.meta, "split", json_string("val"));
        json_object_set_new(s.meta, "listed_classes", json_pack("[ii]", 1, 2));
        sky_field *f = add(&s, "hr", SKY_U16, "cyx", (uint64_t[]){3, h, w}, (uint32_t)i);
        must(sky_field_set_affine(f, (double[]){0.5, 0, 600000, 0, -0.5, 5000000}, &e));
        json_object_set_new(f->meta, "crs", json_string("EPSG:32631"));
        f = add(&s, "label", SKY_U8, "yx", (uint64_t[]){h, w}, 0);
        for (uint64_t k = 0; k < h * w; k++) /* class 1 in the left third, 2 in the middle, 0 at the right */
            ((uint8_t *)f->data)[k] = (uint8_t)((3 * (k % w) / w + 1) % 3);
        json_object_set_new(f->meta, "role", json_string("label"));
        add(&s, "s2", SKY_F32, "tcyx", (uint64_t[]){2, 4, h / 4, w / 4}, 7);
        add(&s, "bounds", SKY_F64, "n", (uint64_t[]){4}, 9);
        must(sky_writer_put(out, &s, &e));
    }
    must(sky_writer_close(out, &e));
}

static void by_reference(const char *id, const char *uri, uint64_t h, uint64_t w, int bands)
{
    sky_writer *out = open_writer();
    sky_sample s;
    sky_sample_init(&s);
    must(sky_sample_begin(&s, id, &e));
    sky_field *f = sky_sample_add(&s, "hr", &e);
    if (!f)
        stop();
    f->dtype = SKY_U8;
    f->ndim = 3;
    f->shape[0] = (uint64_t)bands, f->shape[1] = h, f->shape[2] = w;
    json_t *list = json_array();
    for (int i = 1; i <= bands; i++)
        json_array_append_new(list, json_integer(i));
    f->ref = json_pack("{s:s,s:[iiII],s:o}", "uri", uri, "window", 0, 0, (json_int_t)w, (json_int_t)h, "bands", list);
    must(sky_field_set_dims(f, "cyx", &e));
    must(sky_writer_put(out, &s, &e));
    must(sky_writer_close(out, &e));
}

/* Classic TIFF, little-endian: header, the one block with data, offsets and sizes of blocks, directory. */
static void sparse_tiff(const char *path, uint64_t h, uint64_t w, uint64_t ty, uint64_t tx)
{
    enum { SIDE = 256, BLOCK = SIDE * SIDE };
    uint64_t across = (w + SIDE - 1) / SIDE, n = across * ((h + SIDE - 1) / SIDE), tables = 8 + BLOCK, dir = tables + 8 * n;
    const uint32_t entry[][3] = {{256, 4, (uint32_t)w}, {257, 4, (uint32_t)h}, {258, 3, 8}, {259, 3, 1}, {262, 3, 1}, {277, 3, 1},
                                 {322, 3, SIDE}, {323, 3, SIDE}, {324, 4, (uint32_t)tables}, {325, 4, (uint32_t)(tables + 4 * n)}};
    enum { ENTRIES = sizeof entry / sizeof *entry };
    uint64_t size = dir + 2 + 12 * ENTRIES + 4;
    uint8_t *p = sky_calloc(size, 1), *d = p + dir;
    sky_out *o;
    must(p ? SKY_OK : sky_fail(&e, SKY_ENOMEM, "out of memory"));
    memcpy(p, "II*\0", 4);
    sky_put_le(p + 4, dir, 4);
    for (int i = 0; i < BLOCK; i++)
        p[8 + i] = (uint8_t)(i / SIDE + 2 * (i % SIDE) + 1);
    printf("%08x\n", sky_crc32c(0, p + 8, BLOCK));
    sky_put_le(p + tables + 4 * (ty * across + tx), 8, 4);
    sky_put_le(p + tables + 4 * (n + ty * across + tx), BLOCK, 4);
    sky_put_le(d, ENTRIES, 2);
    for (int i = 0; i < ENTRIES; i++) {
        sky_put_le(d + 2 + 12 * i, entry[i][0], 2), sky_put_le(d + 4 + 12 * i, entry[i][1], 2);
        sky_put_le(d + 6 + 12 * i, entry[i][0] == 324 || entry[i][0] == 325 ? n : 1, 4);
        sky_put_le(d + 10 + 12 * i, entry[i][2], 4);
    }
    must(sky_out_open(&o, path, 1, &e));
    must(sky_out_write(o, p, size, &e));
    must(sky_out_commit(o, &e));
    sky_free(p);
}

static void ids(int crc)
{
    sky_reader *in;
    sky_sample s;
    sky_sample_init(&s);
    int rc;
    must(sky_reader_open(&in, NULL, 0, NULL, &e));
    while ((rc = sky_reader_next(in, &s, &e)) > 0) {
        printf("%s", s.id);
        for (int i = 0; i < s.nfields; i++) {
            if (crc)
                printf(" %08x", sky_crc32c(0, s.fields[i].data, s.fields[i].nbytes));
            printf(" %s:", s.fields[i].name);
            for (int d = 0; d < s.fields[i].ndim; d++)
                printf("%s%" PRIu64, d ? "x" : "", s.fields[i].shape[d]);
            json_t *c = json_object_get(s.fields[i].meta, "classes_present");
            for (size_t k = 0; k < json_array_size(c); k++)
                printf("%c%" JSON_INTEGER_FORMAT, k ? ',' : '=', json_integer_value(json_array_get(c, k)));
        }
        printf("\n");
    }
    must(rc);
    sky_reader_close(in);
    sky_sample_free(&s);
}

/* ---- tiles back to scenes: those of one scene come together ------------------------------------------------------ */

static void print_sums(sky_sample *s)
{
    for (int i = 0; i < s->nfields; i++)
        printf("%s %s %08x\n", s->id, s->fields[i].name, sky_crc32c(0, s->fields[i].data, s->fields[i].nbytes));
    sky_sample_free(s);
}

/* The field of the scene that tile field f is a piece of: the same, but its y and x in proportion to the scene. */
static sky_field *whole_of(sky_sample *scene, const sky_field *f, uint64_t h, uint64_t w, uint64_t by)
{
    sky_field *g = sky_sample_field(scene, f->name);
    if (g)
        return g;
    uint64_t shape[SKY_MAX_DIMS];
    memcpy(shape, f->shape, sizeof shape);
    if (f->ndim >= 2)
        shape[f->ndim - 2] = h / by, shape[f->ndim - 1] = w / by;
    g = sky_sample_add(scene, f->name, &e);
    if (!g || sky_field_alloc(g, f->dtype, f->ndim, shape, 1, &e))
        stop();
    return g;
}

static void paste(sky_field *to, const sky_field *f, uint64_t y0, uint64_t x0)
{
    size_t size = sky_dtype_size(f->dtype);
    if (f->ndim < 2) {
        memcpy(to->data, f->data, f->nbytes);
        return;
    }
    uint64_t h = f->shape[f->ndim - 2], w = f->shape[f->ndim - 1], H = to->shape[f->ndim - 2], W = to->shape[f->ndim - 1];
    for (uint64_t p = 0; p < sky_field_count(f) / (h * w); p++)
        for (uint64_t y = 0; y < h && y0 + y < H; y++)
            memcpy((uint8_t *)to->data + ((p * H + y0 + y) * W + x0) * size, (uint8_t *)f->data + (p * h + y) * w * size, (x0 + w > W ? W - x0 : w) * size);
}

static void sums(void)
{
    sky_reader *in;
    sky_sample s, scene;
    sky_sample_init(&s), sky_sample_init(&scene);
    int rc;
    must(sky_reader_open(&in, NULL, 0, NULL, &e));
    while ((rc = sky_reader_next(in, &s, &e)) > 0) {
        const char *parent = json_string_value(json_object_get(s.meta, "parent"));
        const json_t *win = json_object_get(s.meta, "window"), *size = json_object_get(s.meta, "parent_size");
        if (!scene.id || !parent || strcmp(scene.id, parent)) {
            if (scene.id)
                print_sums(&scene);
            must(sky_sample_begin(&scene, parent ? parent : s.id, &e));
        }
        uint64_t x = (uint64_t)json_integer_value(json_array_get(win, 0)), y = (uint64_t)json_integer_value(json_array_get(win, 1));
        for (int i = 0; i < s.nfields; i++) {
            const sky_field *f = &s.fields[i];
            uint64_t by = parent && !strcmp(f->name, "s2") ? 4 : 1, h, w;
            h = parent ? (uint64_t)json_integer_value(json_array_get(size, 1)) : f->ndim < 2 ? 0 : f->shape[f->ndim - 2];
            w = parent ? (uint64_t)json_integer_value(json_array_get(size, 0)) : f->ndim < 2 ? 0 : f->shape[f->ndim - 1];
            paste(whole_of(&scene, f, h, w, by), f, y / by, x / by);
        }
    }
    must(rc);
    if (scene.id)
        print_sums(&scene);
    sky_reader_close(in);
    sky_sample_free(&s);
}

static int rss(char **command)
{
    struct rusage use;
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        execvp(command[0], command);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &use) < 0)
        return 4;
    fprintf(stderr, "%ld\n", use.ru_maxrss);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "make") && argc == 5)
        make(atoi(argv[2]), strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
    else if (!strcmp(what, "ref") && argc == 7)
        by_reference(argv[2], argv[3], strtoull(argv[4], NULL, 10), strtoull(argv[5], NULL, 10), atoi(argv[6]));
    else if (!strcmp(what, "tiff") && argc == 7)
        sparse_tiff(argv[2], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10), strtoull(argv[5], NULL, 10), strtoull(argv[6], NULL, 10));
    else if (!strcmp(what, "ids"))
        ids(0);
    else if (!strcmp(what, "crcs"))
        ids(1);
    else if (!strcmp(what, "rss") && argc > 2)
        return rss(argv + 2);
    else if (!strcmp(what, "sums"))
        sums();
    else
        return 2;
    return 0;
}
