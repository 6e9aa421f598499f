/* make-vectors -- writes formats/vectors: make-vectors DIR; make-vectors --sparse FILE: a shard beyond 4 GiB. Every file is a function of this program alone; the table
 * expected.tsv says what a reader must make of each. Run again and compare to prove that the format did not move. */
#include "../unit/make_samples.h"
#include "base/io.h"
#include "format/block_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *root;
static FILE *table;

static void die(const char *what, const sky_err *e)
{
    fprintf(stderr, "make-vectors: %s: %s\n", what, e ? e->msg : "");
    exit(4);
}

static void path_of(char out[512], const char *name) { snprintf(out, 512, "%s/%s", root, name); }

typedef struct {
    char *p;
    size_t n;
} bytes;

static bytes load(const char *name)
{
    char path[512];
    bytes b;
    sky_err e;
    path_of(path, name);
    if (sky_read_file(&b.p, &b.n, path, 1 << 24, &e))
        die(name, &e);
    return b;
}

static void save(const char *name, const void *p, size_t n)
{
    char path[512];
    path_of(path, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f))
        die(name, NULL);
}

/* exit status, intact records (what --recover saves; - where a plain stream is refused), words of the message */
static void expect(const char *name, int status, int records, const char *words)
{
    fprintf(table, "%s\t%d\t%d\t%s\n", name, status, records, *words ? words : "-");
}

typedef int maker(sky_sample *s, uint64_t i, sky_err *e);

static int usual(sky_sample *s, uint64_t i, sky_err *e) { return make_sample(s, i, 0, e); }

static int all_types(sky_sample *s, uint64_t i, sky_err *e)
{
    const uint64_t shape[2] = {2, 3 + i};
    if (sky_sample_begin(s, i ? "types/1" : "types/0", e))
        return -1;
    for (int t = 0; t < SKY_DTYPES; t++) {
        sky_field *f = sky_sample_add(s, sky_dtype_name((sky_dtype)t), e);
        if (!f || sky_field_alloc(f, (sky_dtype)t, 2, shape, 1, e))
            return -1;
        for (uint64_t k = 0; k < f->nbytes; k++)
            ((uint8_t *)f->data)[k] = t == SKY_BOOL ? k & 1 : (uint8_t)(k * 7 + (uint64_t)t);
    }
    sky_field *f = sky_sample_add(s, "scalar", e);
    return f ? sky_field_alloc(f, SKY_F64, 0, NULL, 1, e) : -1;
}

static int absent(sky_sample *s, uint64_t i, sky_err *e)
{
    const uint64_t shape[3] = {2, 4, 4}; /* t y x */
    char id[16];
    snprintf(id, sizeof id, "a%d", (int)i);
    if (sky_sample_begin(s, id, e))
        return -1;
    sky_field *f = sky_sample_add(s, "s2", e);
    if (!f)
        return -1;
    f->dtype = SKY_I16;
    if (i % 2) {
        f->absent = 1; /* no such modality */
    } else if (sky_field_alloc(f, SKY_I16, 3, shape, 1, e) || sky_field_set_dims(f, "tyx", e) ||
               json_object_set_new(f->meta, "times", json_pack("[s,n]", "2020-05-01T10:00:00Z")) || /* the second date is absent */
               json_object_set_new(f->meta, "valid", json_string("s2_valid"))) {
        return -1;
    }
    if (i % 2)
        return 0;
    f = sky_sample_add(s, "s2_valid", e); /* invalid pixels */
    return !f || sky_field_alloc(f, SKY_U8, 2, shape + 1, 1, e);
}

static int zeros(sky_sample *s, uint64_t i, sky_err *e)
{
    const uint64_t shape[1] = {1 << 20};
    if (sky_sample_begin(s, i ? "z1" : "z0", e))
        return -1;
    sky_field *f = sky_sample_add(s, "zeros", e);
    return f ? sky_field_alloc(f, SKY_U8, 1, shape, 1, e) : -1;
}

static void write_file(const char *name, sky_spelling sp, int n, maker *make)
{
    char path[512];
    sky_err e = {0};
    sky_writer *w;
    sky_sample s = {0};
    path_of(path, name);
    json_t *schema = json_pack("{s:s,s:[{s:s,s:s,s:[s]}]}", "dataset", "vectors", "provenance", "program", "make-vectors", "version", "1", "arguments", "DIR");
    if (sky_writer_open(&w, path, sp, schema, NULL, &e))
        die(name, &e);
    json_decref(schema);
    for (int i = 0; i < n; i++)
        if (make(&s, (uint64_t)i, &e) || sky_writer_put(w, &s, &e))
            die(name, &e);
    if (sky_writer_close(w, &e))
        die(name, &e);
}

/* ---- edits -------------------------------------------------------------------------------------------------------- */

static uint64_t get(const char *p, int n)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++)
        v |= (uint64_t)(uint8_t)p[i] << (8 * i);
    return v;
}

/* Position of the k-th block of a kind. */
static size_t find(bytes b, char kind, int k)
{
    for (size_t i = 0; i + SKY_BLOCK_HEAD <= b.n; i++)
        if (sky_block_is((const uint8_t *)b.p + i) && b.p[i + 16] == kind && k-- == 0)
            return i;
    die("block not found", NULL);
    return 0;
}

static size_t record_size(bytes b, size_t at) { return get(b.p + at + 4, 4) + 8 + get(b.p + at + 40, 8); }

static void flipped(const char *name, bytes b, size_t at, int records, const char *words)
{
    b.p[at] ^= 0x10;
    save(name, b.p, b.n);
    b.p[at] ^= 0x10;
    expect(name, 3, records, words);
}

/* Put the checksum of a block right after an edit. */
static void reseal(uint8_t *p)
{
    sky_block b;
    sky_err e;
    if (sky_block_head(&b, p, &e))
        die("reseal", &e);
    sky_block_seal(p, &b);
}

static void with_block(const char *name, bytes b, uint16_t flags, int status, int records, const char *words)
{
    size_t at = find(b, 'R', 1);
    char *p = malloc(b.n + 64);
    sky_block x = {.kind = 'x', .flags = flags, .size = 64, .tag = get(b.p + at + 24, 8)};
    memcpy(p, b.p, at);
    memset(p + at, 0, 64);
    sky_block_seal((uint8_t *)p + at, &x);
    memcpy(p + at + 64, b.p + at, b.n - at);
    if (!words) { /* the trailer's positions move with it */
        bytes n = {p, b.n + 64};
        uint8_t *t = (uint8_t *)p + find(n, 'T', 0);
        for (int k = 40; k <= 72; k += 16)
            sky_put_le(t + k, get((char *)t + k, 8) + 64, 8); /* index, shard, end: 40, 56, 72 */
        reseal(t);
    }
    save(name, p, b.n + 64);
    expect(name, status, records, words ? words : "");
    free(p);
}

static void line_file(const char *name, const char *kind, const char *body, int status, const char *words)
{
    sky_buf b = {0};
    sky_err e;
    sky_totals t = {0};
    if (sky_line_print(&b, kind, body, strlen(body), &e))
        die(name, &e);
    size_t n = b.n;
    if (sky_end_print(&b, &t, &e))
        die(name, &e);
    (void)n;
    save(name, b.p, b.n);
    expect(name, status, 0, words);
    sky_buf_free(&b);
}

/* A plain stream of one record with this body and these zero bytes after it. */
static void record_file(const char *name, const char *body, size_t payload, int status, const char *words)
{
    static const char schema[] = "{\"version\":1}", zero[4096];
    sky_buf b = {0};
    sky_err e;
    sky_line l;
    sky_totals t = {0};
    if (sky_line_print(&b, "schema", schema, sizeof schema - 1, &e))
        die(name, &e);
    size_t at = b.n;
    if (sky_line_print(&b, "sample", body, strlen(body), &e) || sky_line_check(&l, b.p + at, b.n - at, &e))
        die(name, &e);
    sky_totals_add(&t, l.crc, sky_body_hash(body, strlen(body)));
    sky_buf_add(&b, zero, payload);
    if (sky_end_print(&b, &t, &e))
        die(name, &e);
    save(name, b.p, b.n);
    expect(name, status, status ? 0 : 1, words);
    sky_buf_free(&b);
}

/* ---- the set ------------------------------------------------------------------------------------------------------- */

static void valid(void)
{
    write_file("valid/empty.sky", SKY_SHARD, 0, usual);
    expect("valid/empty.sky", 0, 0, "");
    write_file("valid/empty-plain.sky", SKY_PLAIN, 0, usual);
    expect("valid/empty-plain.sky", 0, 0, "");
    write_file("valid/three.sky", SKY_SHARD, 3, usual);
    expect("valid/three.sky", 0, 3, "");
    write_file("valid/three-plain.sky", SKY_PLAIN, 3, usual);
    expect("valid/three-plain.sky", 0, 3, "");
    write_file("valid/types.sky", SKY_SHARD, 2, all_types);
    expect("valid/types.sky", 0, 2, "");
    write_file("valid/absent.sky", SKY_SHARD, 4, absent);
    expect("valid/absent.sky", 0, 4, "");
    write_file("valid/zeros.sky", SKY_SHARD, 2, zeros);
    expect("valid/zeros.sky", 0, 2, "");
    bytes a = load("valid/three.sky"), b = load("valid/absent.sky"), p = load("valid/three-plain.sky");
    sky_buf all = {0};
    sky_buf_add(&all, a.p, a.n);
    sky_buf_add(&all, b.p, b.n);
    save("valid/concatenated.sky", all.p, all.n);
    expect("valid/concatenated.sky", 0, 7, "");
    sky_buf_reset(&all);
    sky_buf_add(&all, b.p, b.n); /* a and p hold the same ids, which --verify refuses */
    sky_buf_add(&all, p.p, p.n);
    save("valid/concatenated-mixed.sky", all.p, all.n);
    expect("valid/concatenated-mixed.sky", 0, 7, "");
    sky_buf_reset(&all);
    static const uint8_t foreign[12] = {0x5a, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 'a', 'b', 'c', 'd'};
    sky_buf_add(&all, foreign, sizeof foreign); /* another program's skippable frame may come first */
    sky_buf_add(&all, a.p, a.n);
    save("valid/foreign-frame.sky", all.p, all.n);
    expect("valid/foreign-frame.sky", 0, 3, "");
    with_block("valid/optional-block.sky", a, SKY_BLOCK_OPTIONAL, 0, 3, NULL);
    sky_buf_free(&all);
    record_file("valid/foreign-json.sky", "{ \"fields\" : [ {\"meta\":{}, \"shape\":[ 3 ], \"bytes\":3,\"dtype\":\"U8\",\"crc32c\":\"6064a37a\",\"name\":\"x\"} ],\t\"meta\":{\"k\":1e2},\"id\":\"\\u00e9\" }", 64, 0, "");
    sky_free(a.p);
    sky_free(b.p);
    sky_free(p.p);
}

static void damaged(void)
{
    bytes a = load("valid/three.sky"), p = load("valid/three-plain.sky");
    size_t r1 = find(a, 'R', 1), r2 = find(a, 'R', 2), end = find(a, 'E', 0);
    save("invalid/nothing.sky", "", 0);
    expect("invalid/nothing.sky", 3, 0, "empty input");
    save("invalid/text.sky", "hello, world\n", 13);
    expect("invalid/text.sky", 3, 0, "neither a sky stream nor a shard");
    save("invalid/cut-in-record-1.sky", a.p, r2 - 30);
    expect("invalid/cut-in-record-1.sky", 3, 1, "record 1 'tile/00001");
    save("invalid/cut-before-end.sky", a.p, end);
    expect("invalid/cut-before-end.sky", 3, 3, "without an END record");
    save("invalid/cut-in-trailer.sky", a.p, a.n - 5);
    expect("invalid/cut-in-trailer.sky", 3, 3, "ends within a block");
    save("invalid/cut-plain.sky", p.p, p.n - 128);
    expect("invalid/cut-plain.sky", 3, -1, "END");
    flipped("invalid/flip-magic.sky", a, r1 + 1, 2, "record 1 'tile/00001");
    flipped("invalid/flip-sync.sky", a, r1 + 10, 2, "record 1 'tile/00001");
    flipped("invalid/flip-lead.sky", a, r1 + 60, 2, "record 1 'tile/00001");
    flipped("invalid/flip-line.sky", a, r1 + get(a.p + r1 + 4, 4) + 8 + 30, 2, "record 1 'tile/00001");
    flipped("invalid/flip-field.sky", a, r2 - 40, 2, "record 1 'tile/00001 \xc3\xa9': field");
    flipped("invalid/flip-schema.sky", a, find(a, 'S', 0) + 90, 3, "schema");
    flipped("invalid/flip-end.sky", a, end + 90, 3, "end");
    flipped("invalid/flip-index.sky", a, find(a, 'I', 0) + 70, 3, "index");
    flipped("invalid/flip-trailer.sky", a, a.n - 50, 3, "index");
    flipped("invalid/flip-plain-line.sky", p, 100, -1, "crc32c");
    flipped("invalid/flip-plain-field.sky", p, p.n - 158, -1, "record 2 'tile/00002 \xc3\xa9': field 'label': crc32c");
    size_t s1 = record_size(a, r1), s2 = record_size(a, r2);
    char *q = malloc(a.n);
    memcpy(q, a.p, a.n);
    memcpy(q + r1, a.p + r2, s2);
    memcpy(q + r1 + s2, a.p + r1, s1);
    save("invalid/reordered.sky", q, a.n);
    expect("invalid/reordered.sky", 3, 3, "missing before record 2");
    memcpy(q + r1, a.p + r2, a.n - r2);
    save("invalid/record-missing.sky", q, a.n - s1);
    expect("invalid/record-missing.sky", 3, 2, "missing before record 2");
    memcpy(q, a.p, a.n);
    sky_put_le((uint8_t *)q + r1 + 56 + 8, (uint64_t)1 << 50, 8); /* a line of 1 PiB */
    reseal((uint8_t *)q + r1);
    save("invalid/huge-frame.sky", q, a.n);
    expect("invalid/huge-frame.sky", 3, 2, "above the limit");
    memcpy(q, a.p, a.n);
    sky_put_le((uint8_t *)q + r1 + 18, 0x8000, 2);
    reseal((uint8_t *)q + r1);
    save("invalid/reserved-flag.sky", q, a.n);
    expect("invalid/reserved-flag.sky", 3, 2, "reserved bits");
    free(q);
    with_block("invalid/required-block.sky", a, 0, 3, 3, "does not know");
    sky_free(a.p);
    sky_free(p.p);
}

static void refused(void)
{
    line_file("invalid/version-2.sky", "schema", "{\"version\":2}", 3, "version 2");
    line_file("invalid/requires.sky", "schema", "{\"version\":1,\"requires\":[\"fancy\"]}", 3, "requires 'fancy'");
    line_file("invalid/no-schema.sky", "sample", "{\"id\":\"x\",\"meta\":{},\"fields\":[]}", 3, "starts with a schema");
    record_file("invalid/no-id.sky", "{\"meta\":{},\"fields\":[]}", 0, 3, "'id'");
    record_file("invalid/bad-type.sky", "{\"id\":\"x\",\"meta\":{},\"fields\":[{\"name\":\"x\",\"dtype\":\"C64\",\"shape\":[1],\"bytes\":8,\"crc32c\":\"00000000\",\"meta\":{}}]}", 64, 3, "C64");
    record_file("invalid/bad-bytes.sky", "{\"id\":\"x\",\"meta\":{},\"fields\":[{\"name\":\"x\",\"dtype\":\"U8\",\"shape\":[4],\"bytes\":5,\"crc32c\":\"00000000\",\"meta\":{}}]}", 64, 3, "5 bytes declared");
    record_file("invalid/bad-name.sky", "{\"id\":\"x\",\"meta\":{},\"fields\":[{\"name\":\"../x\",\"dtype\":\"U8\",\"shape\":[0],\"bytes\":0,\"crc32c\":\"00000000\",\"meta\":{}}]}", 0, 3, "field name");
    record_file("invalid/overflow.sky", "{\"id\":\"x\",\"meta\":{},\"fields\":[{\"name\":\"x\",\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"bytes\":0,\"crc32c\":\"00000000\",\"meta\":{}}]}", 0, 3, "shape");
    record_file("invalid/twice.sky", "{\"id\":\"x\",\"meta\":{},\"fields\":[{\"name\":\"x\",\"dtype\":\"U8\",\"absent\":true,\"meta\":{}},{\"name\":\"x\",\"dtype\":\"U8\",\"absent\":true,\"meta\":{}}]}", 0, 3, "twice");
    record_file("invalid/absent-with-shape.sky", "{\"id\":\"x\",\"meta\":{},\"fields\":[{\"name\":\"x\",\"dtype\":\"U8\",\"absent\":true,\"shape\":[1],\"meta\":{}}]}", 0, 3, "absent");
    record_file("invalid/unknown-key.sky", "{\"id\":\"x\",\"meta\":{},\"fields\":[],\"codec\":\"x\"}", 0, 3, "codec");
    record_file("invalid/id-control.sky", "{\"id\":\"a\\nb\",\"meta\":{},\"fields\":[]}", 0, 3, "sample id");
}

/* valid/three.sky with 5 GiB of another program's skippable frames, all holes, before its last record. */
static void sparse(const char *path)
{
    char dir[] = "/tmp/make-vectors-XXXXXX", name[64];
    if (!mkdtemp(dir))
        die(dir, NULL);
    root = dir;
    snprintf(name, sizeof name, "%s/valid", dir);
    mkdir(name, 0777);
    write_file("valid/three.sky", SKY_SHARD, 3, usual);
    bytes a = load("valid/three.sky");
    const uint64_t hole = (uint64_t)5 << 29, more = 2 * hole; /* each below the 4 GiB of a frame */
    size_t at = find(a, 'R', 2), index = find(a, 'I', 0);
    uint8_t *block = (uint8_t *)a.p + index, *t = (uint8_t *)a.p + find(a, 'T', 0);
    sky_index_part part = {0}, moved = {0};
    sky_block b;
    sky_err e;
    if (sky_block_head(&b, block, &e) || sky_index_part_unpack(&part, block, &b, &e))
        die("index", &e);
    for (uint64_t i = 0; i < part.n; i++) {
        char id[64];
        snprintf(id, sizeof id, "tile/%05d \xc3\xa9", (int)i);
        if (sky_index_part_add(&moved, part.row[i].at + (i == 2 ? more : 0), part.row[i].bytes, id, part.text.p + part.row[i].text, part.row[i].ntext, &e))
            die("index", &e);
    }
    uint8_t *packed;
    size_t npacked;
    if (sky_index_part_pack(&moved, b.tag, &packed, &npacked, &e))
        die("index", &e);
    uint64_t longer = npacked - b.size;
    sky_put_le(t + 40, get((char *)t + 40, 8) + more, 8);
    sky_put_le(t + 48, get((char *)t + 48, 8) + longer, 8);
    sky_put_le(t + 56, get((char *)t + 56, 8) + more + longer, 8);
    sky_put_le(t + 72, get((char *)t + 72, 8) + more, 8);
    reseal(t);
    FILE *f = fopen(path, "wb");
    int bad = !f || fwrite(a.p, 1, at, f) != at;
    for (int i = 0; i < 2 && !bad; i++) {
        uint8_t head[8];
        sky_put_le(head, 0x184D2A5A, 4);
        sky_put_le(head + 4, hole - 8, 4);
        bad = fwrite(head, 1, 8, f) != 8 || fseeko(f, (off_t)(hole - 8), SEEK_CUR);
    }
    bad = bad || fwrite(a.p + at, 1, index - at, f) != index - at || fwrite(packed, 1, npacked, f) != npacked ||
          fwrite(t, 1, SKY_TRAILER_BYTES, f) != SKY_TRAILER_BYTES || fclose(f);
    if (bad)
        die(path, NULL);
    sky_index_part_free(&part);
    sky_index_part_free(&moved);
    sky_free(packed);
    sky_free(a.p);
    snprintf(name, sizeof name, "rm -r %s", dir);
    if (system(name))
        die(dir, NULL);
}

int main(int argc, char **argv)
{
    char path[512];
    if (argc == 3 && !strcmp(argv[1], "--sparse")) {
        sparse(argv[2]);
        return 0;
    }
    if (argc != 2)
        return 2;
    root = argv[1];
    path_of(path, "valid");
    mkdir(path, 0777);
    path_of(path, "invalid");
    mkdir(path, 0777);
    path_of(path, "expected.tsv");
    table = fopen(path, "w");
    if (!table)
        die(path, NULL);
    fprintf(table, "# file\texit status\tintact records (-1: a plain stream, nothing is promised after the damage)\twords of the message\n");
    valid();
    damaged();
    refused();
    return fclose(table) ? 4 : 0;
}
