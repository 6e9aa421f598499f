/* make_corpus.h -- small labelled samples in shard files, for the tests of the data path.
 *
 * Sample i: hr U8 [3,64,64] whose red is 10*class + i, green the row, blue the column; label U8 [64,64] with classes by 16-pixel
 * columns; s2 (i even) U16 [2 dates,10,2,2], s1 (i % 3 == 0) F32 [2,2,2]. Classes 1..4; class 4 is in one sample only. */
#ifndef SKY_TESTS_MAKE_CORPUS_H
#define SKY_TESTS_MAKE_CORPUS_H

#include "base/mem.h"
#include "data/roll.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MADE_SIDE = 64, MADE_PX = MADE_SIDE * MADE_SIDE };

static int made_class(int i, int x) { return x / 16 == 3 && i == 5 ? 4 : (i + x / 16) % 3 == 0 ? 0 : 1 + (i + x / 16) % 3; }

static inline sky_field *made_field(sky_sample *s, const char *name, sky_dtype t, const char *dims, int n, const uint64_t *shape)
{
    sky_err e;
    sky_field *f = sky_sample_add(s, name, &e);
    return f && !sky_field_alloc(f, t, n, shape, 1, &e) && !sky_field_set_dims(f, dims, &e) ? f : NULL;
}

static inline int made_sample(sky_sample *s, int i, int sentinel)
{
    sky_err e;
    char id[32];
    const uint64_t hr[] = {3, MADE_SIDE, MADE_SIDE}, s2[] = {2, 10, 2, 2}, s1[] = {2, 2, 2};
    snprintf(id, sizeof id, "made/%03d", i);
    if (sky_sample_begin(s, id, &e))
        return 0;
    json_object_set_new(s->meta, "split", json_string(i % 8 == 7 ? "val" : "train"));
    if (!made_field(s, "hr", SKY_U8, "cyx", 3, hr) || !made_field(s, "label", SKY_U8, "yx", 2, hr + 1))
        return 0;
    sky_field *f = sky_sample_field(s, "hr"), *l = sky_sample_field(s, "label");
    for (int p = 0; p < MADE_PX; p++) {
        const int c = made_class(i, p % MADE_SIDE);
        ((uint8_t *)l->data)[p] = (uint8_t)c;
        ((uint8_t *)f->data)[p] = (uint8_t)(50 * c);
        ((uint8_t *)f->data)[MADE_PX + p] = (uint8_t)(p / MADE_SIDE * 4);
        ((uint8_t *)f->data)[2 * MADE_PX + p] = (uint8_t)(p % MADE_SIDE * 4);
    }
    json_object_set_new(f->meta, "bands", json_pack("[s,s,s]", "R", "G", "B"));
    json_object_set_new(l->meta, "role", json_string("label"));
    if (sentinel && i % 2 == 0) {
        f = made_field(s, "s2", SKY_U16, "tcyx", 4, s2);
        for (int k = 0; k < 80; k++)
            ((uint16_t *)f->data)[k] = (uint16_t)(1000 + 10 * k + i);
        json_object_set_new(f->meta, "times", json_pack("[n,s]", "2020-01-02T00:00:00Z"));
    }
    if (sentinel && i % 3 == 0) {
        f = made_field(s, "s1", SKY_F32, "cyx", 3, s1);
        for (int k = 0; k < 8; k++)
            ((float *)f->data)[k] = k == 3 ? NAN : (float)-k;
    }
    return 1;
}

/* Samples order[0..n-1], the first `cut` in one file, the rest in another. */
typedef struct {
    char path[2][64];
    char *list[2];
    sky_corpus *c;
    sky_roll *r;
} made;

static inline int made_open(made *m, const int *order, int n, int cut, int sentinel, const sky_roll_opts *o, void (*change)(sky_sample *s, int i), sky_err *e)
{
    static int number;
    int rc = 0, ok = 1;
    *m = (made){0};
    for (int k = 0; k < 2 && !rc; k++) {
        sky_writer *w = NULL;
        json_t *schema = json_pack("{s:s,s:{s:{s:s,s:[{s:i,s:s},{s:i,s:s},{s:i,s:s},{s:i,s:s},{s:i,s:s}]}}}", "dataset", "made", "fields", "label", "role", "label", "classes", "value", 0,
                                   "name", "Background", "value", 1, "name", "one", "value", 2, "name", "two", "value", 3, "name", "three", "value", 4, "name", "four");
        snprintf(m->path[k], sizeof m->path[k], "/tmp/sky-data-%d-%d.sky", (int)getpid(), number++);
        m->list[k] = m->path[k];
        rc = sky_writer_open(&w, m->path[k], SKY_SHARD, schema, NULL, e);
        for (int i = k ? cut : 0; !rc && i < (k ? n : cut); i++) {
            sky_sample s = {0};
            ok &= made_sample(&s, order ? order[i] : i, sentinel);
            if (change)
                change(&s, order ? order[i] : i);
            rc = sky_writer_put(w, &s, e);
        }
        json_decref(schema);
        if (!rc)
            rc = sky_writer_close(w, e);
    }
    if (!rc)
        rc = sky_corpus_open(&m->c, m->list, 2, e);
    if (!rc)
        rc = sky_roll_open(&m->r, m->c, o, e);
    return rc ? rc : ok ? 0 : -1;
}

static inline void made_close(made *m)
{
    sky_roll_close(m->r);
    sky_corpus_close(m->c);
    unlink(m->path[0]), unlink(m->path[1]);
}

#endif
