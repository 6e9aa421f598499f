#include "make_samples.h"
#include "../t.h"
#include "format/palette.h"
#include "format/record_internal.h"

#include <string.h>

static void names(void)
{
    sky_err e;
    sky_sample s = {0};
    OK(sky_sample_begin(&s, "a/b c", &e) == 0, "an ordinary id");
    OK(sky_sample_begin(&s, "", &e) == SKY_ECORRUPT, "an empty id is refused");
    OK(sky_sample_begin(&s, "a\nb", &e) == SKY_ECORRUPT, "a control character is refused");
    OK(sky_sample_begin(&s, "\xc3\x28", &e) == SKY_ECORRUPT, "broken UTF-8 is refused");
    OK(sky_sample_begin(&s, "\xed\xa0\x80", &e) == SKY_ECORRUPT, "a surrogate is refused");
    OK(sky_sample_begin(&s, "\xf0\x9f\x9b\xb0", &e) == 0, "four bytes of UTF-8 are taken");
    char lng[300];
    memset(lng, 'x', sizeof lng);
    lng[256] = 0;
    OK(sky_sample_begin(&s, lng, &e) == SKY_ECORRUPT, "256 bytes are too many");
    lng[255] = 0;
    OK(sky_sample_begin(&s, lng, &e) == 0, "255 are not");
    OK(!sky_sample_add(&s, "../x", &e) && !sky_sample_add(&s, ".x", &e) && !sky_sample_add(&s, "", &e), "field names cannot be paths");
    OK(sky_sample_add(&s, "x", &e) && !sky_sample_add(&s, "x", &e) && e.code == SKY_ECORRUPT, "a field name twice is refused");
    sky_sample_free(&s);
}

static void fields(void)
{
    sky_err e;
    sky_sample s = {0}, t = {0};
    OK(make_sample(&s, 3, 0, &e) == 0, "a sample");
    sky_field *f = sky_sample_field(&s, "s2");
    double a[6];
    OK(sky_field_dim(f, 'y') == 8 && sky_field_dim(f, 'c') == 3 && sky_field_dim(f, 't') == -1, "dimensions by letter");
    OK(sky_field_affine(f, a) && a[2] == 300000 + 0.1 && a[4] == -10, "affine comes back exactly");
    OK(sky_field_is_label(sky_sample_field(&s, "label")) && !sky_field_is_label(f), "the label is known");
    uint64_t h = sky_sample_hash(&s);
    OK(h && sky_sample_copy(&t, &s, &e) == 0 && sky_sample_hash(&t) == h, "a copy hashes alike");
    ((uint16_t *)sky_sample_field(&t, "s2")->data)[7] ^= 1;
    OK(sky_sample_hash(&t) != h, "one bit of a pixel changes the hash");
    sky_sample_drop(&t, "s2");
    OK(t.nfields == 4 && !sky_sample_field(&t, "s2") && sky_sample_field(&t, "none"), "a field dropped");
    for (int i = 0; i < 252; i++) {
        char name[16];
        snprintf(name, sizeof name, "f%d", i);
        if (!sky_sample_add(&t, name, &e))
            break;
    }
    OK(t.nfields == 256 && !sky_sample_add(&t, "more", &e) && e.code == SKY_ELIMIT, "256 fields and no more");
    const uint64_t huge[2] = {(uint64_t)1 << 40, (uint64_t)1 << 40};
    OK(sky_field_alloc(&t.fields[1], SKY_U8, 2, huge, 0, &e) == SKY_ELIMIT, "an overflowing shape is refused");
    sky_sample_move(&t, &s);
    OK(!s.id && t.nfields == 5 && sky_sample_hash(&t) == h, "moved");
    sky_sample_free(&t);
}

static void lines(void)
{
    sky_err e;
    sky_sample s = {0}, back = {0};
    uint32_t crc[SKY_MAX_FIELDS], got[SKY_MAX_FIELDS];
    sky_buf body = {0}, line = {0}, again = {0};
    sky_line l;
    OK(make_sample(&s, 1, 0, &e) == 0, "a sample");
    sky_field_crcs(&s, crc);
    OK(!sky_body_print(&body, &s, crc, &e) && !sky_line_print(&line, "sample", body.p, body.n, &e), "printed");
    OK(line.n % 64 == 0 && line.p[line.n - 1] == '\n', "a multiple of 64 bytes with a newline");
    OK(!sky_line_check(&l, line.p, line.n, &e) && l.nbody == body.n && !memcmp(l.body, body.p, body.n), "checked and taken apart");
    OK(!sky_body_parse(&back, got, l.body, l.nbody, &sky_limits_default, &e) && !memcmp(crc, got, 5 * sizeof *crc), "parsed");
    for (int i = 0; i < back.nfields; i++)
        if (sky_field_inline(&back.fields[i]))
            back.fields[i].data = sky_sample_field(&s, back.fields[i].name)->data;
    OK(!sky_body_print(&again, &back, got, &e) && again.n == body.n && !memcmp(again.p, body.p, body.n), "printed again: the same bytes");
    for (int i = 0; i < back.nfields; i++)
        back.fields[i].data = NULL;
    int missed = 0;
    for (size_t bit = 0; bit < line.n * 8; bit++) {
        line.p[bit / 8] ^= (char)(1 << bit % 8);
        missed += sky_line_check(&l, line.p, line.n, &e) == 0;
        line.p[bit / 8] ^= (char)(1 << bit % 8);
    }
    OK(missed == 0, "every flipped bit of a line is seen (%d missed)", missed);
    sky_sample_free(&s);
    sky_sample_free(&back);
    sky_buf_free(&body);
    sky_buf_free(&line);
    sky_buf_free(&again);
}

/* Of classes that the table gives none, and of all values but 0 and 255 where there is no table. */
static void colours(void)
{
    static const uint8_t one[3] = {60, 240, 113}, two[3] = {165, 60, 240}; /* hues of 137.5 and 275 degrees */
    uint8_t c[256][3];
    json_t *table = json_pack("[{s:i,s:[i,i,i]},{s:i}]", "value", 1, "color", 9, 8, 7, "value", 2);
    sky_field f = {.meta = json_object()};
    sky_field_colours(&f, c);
    OK(!memcmp(c[1], one, 3) && !memcmp(c[2], two, 3) && c[0][0] == 0 && c[255][2] == 255, "default colours of a field without class table");
    OK(!json_object_set_new(f.meta, "classes", table), "a table");
    sky_field_colours(&f, c);
    OK(c[1][0] == 9 && c[1][1] == 8 && !memcmp(c[2], two, 3) && c[3][1] == 3, "those of the table, default ones for the rest of it, else grey");
    json_decref(f.meta);
}

int main(void)
{
    names();
    fields();
    colours();
    lines();
    return END();
}
