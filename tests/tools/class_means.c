/* class_means.c -- the baseline of the demo: every pixel is of the class whose mean it is nearest to.
 *
 * usage: class_means --from SAMPLE [--image FIELD] [--label FIELD] SHARD... > PREDICTIONS
 * Means over all bands, in the stored numbers, of the labelled pixels of one sample (values the label's table ignores are
 * left out). Predictions of all other samples, as sky-score reads them. */
#include "base/cli.h"
#include "base/mem.h"
#include "data/corpus.h"
#include "data/oneshot.h"
#include "data/planes.h"

#include <math.h>
#include <string.h>

enum { BANDS = 16 };
typedef struct {
    const char *from, *image, *label;
    double mean[256][BANDS];
    uint64_t n[256];
    int bands;
    json_t *classes;
    int ignored[256];
} tool;

static int picture(sky_planes *p, const sky_sample *s, const char *name, sky_err *e)
{
    const sky_field *f = sky_sample_field(s, name);
    int band[BANDS], h, w;
    if (!f || f->absent)
        return sky_fail(e, SKY_ECORRUPT, "sample '%s': no field '%s'", s->id, name);
    int64_t bands = sky_field_dim(f, 'c');
    int n = bands > 0 && bands <= BANDS ? (int)bands : 1, rc = sky_planes_bands(band, f, NULL, n, e);
    if (!rc)
        rc = sky_planes_size(&h, &w, f, e);
    return rc ? rc : sky_planes_read(p, f, 0, band, n, (sky_rect){0, 0, h, w}, e);
}

static void read_ignored(tool *t, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_int_t v = json_integer_value(json_array_get(list, i));
        if (v >= 0 && v < 256)
            t->ignored[v] = 1;
    }
}

static int learn(tool *t, const sky_sample *s, const json_t *schema, sky_err *e)
{
    sky_planes p = {0};
    uint8_t *label = NULL;
    int h = 0, w = 0;
    const sky_field *f = sky_sample_field(s, t->label);
    const json_t *common = json_object_get(json_object_get(schema, "fields"), t->label);
    int rc = picture(&p, s, t->image, e);
    if (!rc)
        rc = f ? sky_prep_label(&label, &h, &w, f, e) : sky_fail(e, SKY_ECORRUPT, "sample '%s': no field '%s'", s->id, t->label);
    if (!rc && (h != p.h || w != p.w))
        rc = sky_fail(e, SKY_ECORRUPT, "sample '%s': picture and label differ in size", s->id);
    if (!rc) {
        const json_t *own = json_object_get(f->meta, "ignore"), *table = json_object_get(f->meta, "classes");
        read_ignored(t, own ? own : json_object_get(common, "ignore"));
        t->classes = sky_json_copy(table ? table : json_object_get(common, "classes"));
        t->bands = p.c;
        for (int64_t i = 0; i < (int64_t)h * w; i++) {
            t->n[label[i]]++;
            for (int b = 0; b < p.c; b++)
                t->mean[label[i]][b] += (double)p.px[(int64_t)b * h * w + i];
        }
        for (int k = 0; k < 256; k++)
            for (int b = 0; b < p.c; b++)
                t->mean[k][b] /= t->n[k] ? (double)t->n[k] : 1;
    }
    sky_free(p.px);
    sky_free(label);
    return rc;
}

static int nearest(const tool *t, const float *px, int64_t step)
{
    int best = 0;
    double least = INFINITY;
    for (int k = 0; k < 256; k++) {
        double d = 0;
        for (int b = 0; b < t->bands; b++)
            d += ((double)px[b * step] - t->mean[k][b]) * ((double)px[b * step] - t->mean[k][b]);
        if (t->n[k] && !t->ignored[k] && d < least) {
            least = d;
            best = k;
        }
    }
    return best;
}

static int predict(const tool *t, sky_sample *out, const sky_sample *s, sky_err *e)
{
    sky_planes p = {0};
    int rc = picture(&p, s, t->image, e);
    if (!rc && p.c != t->bands)
        rc = sky_fail(e, SKY_ECORRUPT, "sample '%s': %d bands, the means have %d", s->id, p.c, t->bands);
    if (!rc)
        rc = sky_sample_begin(out, s->id, e);
    sky_field *f = rc ? NULL : sky_sample_add(out, "pred", e);
    if (!rc)
        rc = f ? sky_field_alloc(f, SKY_U8, 2, (uint64_t[]){(uint64_t)p.h, (uint64_t)p.w}, 0, e) : e->code;
    if (!rc)
        rc = sky_field_set_dims(f, "yx", e);
    for (int64_t i = 0, n = (int64_t)p.h * p.w; i < n && !rc; i++)
        ((uint8_t *)f->data)[i] = (uint8_t)nearest(t, p.px + i, n);
    if (!rc && (json_object_set_new(out->meta, "model", json_string("class means")) || json_object_set_new(f->meta, "role", json_string("label")) ||
                (t->classes && json_object_set(f->meta, "classes", t->classes))))
        rc = sky_fail(e, SKY_ENOMEM, "out of memory");
    sky_free(p.px);
    return rc;
}

static int learn_from(tool *t, char **paths, int n, sky_err *e)
{
    sky_corpus *all = NULL;
    sky_place at;
    sky_sample s;
    sky_sample_init(&s);
    int rc = sky_corpus_open(&all, paths, n, e);
    if (!rc)
        rc = sky_corpus_find(all, t->from, &at, e);
    if (!rc && at.file < 0)
        rc = sky_fail(e, SKY_EUSAGE, "--from: no sample '%s'", t->from);
    if (!rc)
        rc = sky_corpus_read(all, at, NULL, &s, e);
    if (!rc)
        rc = learn(t, &s, sky_corpus_schema(all, at), e);
    sky_sample_free(&s);
    sky_corpus_close(all);
    return rc;
}

static int predict_all(tool *t, char **paths, int n, sky_err *e)
{
    sky_reader *r = NULL;
    sky_writer *w = NULL;
    sky_sample s, y;
    sky_sample_init(&s), sky_sample_init(&y);
    int rc = sky_reader_open(&r, paths, n, NULL, e);
    json_t *schema = json_pack("{s:{s:{s:s}}}", "fields", "pred", "role", "label");
    if (!rc)
        rc = sky_writer_open(&w, "-", SKY_PLAIN, schema, NULL, e);
    while (!rc && (rc = sky_reader_next(r, &s, e)) == 1) {
        rc = strcmp(s.id, t->from) ? predict(t, &y, &s, e) : SKY_OK;
        if (!rc && strcmp(s.id, t->from))
            rc = sky_writer_put(w, &y, e);
    }
    json_decref(schema);
    sky_sample_free(&s), sky_sample_free(&y);
    sky_reader_close(r);
    if (!rc)
        return sky_writer_close(w, e);
    sky_writer_abort(w);
    return rc;
}

int main(int argc, char **argv)
{
    tool t = {.image = "hr", .label = "label"};
    sky_opt opts[] = {
        {"from", 0, SKY_OPT_STR, &t.from, "SAMPLE", "whose labelled pixels give the means", 0, 0},
        {"image", 0, SKY_OPT_STR, &t.image, "FIELD", "[hr]", 0, 0},
        {"label", 0, SKY_OPT_STR, &t.label, "FIELD", "[label]", 0, 0},
        {0}};
    sky_cli cli = {.prog = "class_means", .summary = "nearest class mean, a baseline", .usage = "class_means --from SAMPLE SHARD...", .opts = opts};
    int status = sky_cli_begin(&cli, argc, argv);
    if (status >= 0)
        return status;
    sky_err e = {0};
    int rc = t.from && cli.nargs ? learn_from(&t, cli.args, cli.nargs, &e) : sky_fail(&e, SKY_EUSAGE, "--from SAMPLE and at least one shard are expected");
    if (!rc)
        rc = predict_all(&t, cli.args, cli.nargs, &e);
    json_decref(t.classes);
    return sky_cli_end(&cli, rc, &e);
}
