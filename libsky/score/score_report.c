#include "score/score_report.h"

#include <math.h>
#include <string.h>

static const char *const problem_names[SKY_SCORE_PROBLEMS] = {"missing", "extra", "duplicate", "misshapen"};

/* ---- table ------------------------------------------------------------------------------------------------------ */

enum { COLUMNS = 6 };

static void cells(sky_buf *b, const double v[COLUMNS])
{
    static const int width[COLUMNS] = {9, 9, 10, 9, 11, 11};
    for (int i = 0; i < COLUMNS; i++)
        if (isnan(v[i]))
            sky_buf_printf(b, " %*s", width[i], "-");
        else
            sky_buf_printf(b, " %*.4f", width[i], v[i]);
    sky_buf_puts(b, "\n");
}

static void table_row(sky_buf *b, const sky_class_score *c)
{
    sky_buf_printf(b, "%5d  %-24.24s %8llu", c->cls->value, c->cls->name, (unsigned long long)c->images);
    cells(b, (double[COLUMNS]){c->m.iou, c->m.dice, c->m.precision, c->m.recall, c->oneshot.iou, c->oneshot.acc});
}

static void mean_row(sky_buf *b, const sky_scores *r)
{
    sky_buf_printf(b, "%5s  %-24s %8s", "", "mean", "");
    cells(b, (double[COLUMNS]){sky_mean_get(&r->iou), sky_mean_get(&r->dice), sky_mean_get(&r->precision), sky_mean_get(&r->recall),
                               sky_mean_get(&r->oneshot_iou), sky_mean_get(&r->oneshot_acc)});
    sky_buf_printf(b, "%5s  %-24s %8s %9d %9d %10d %9d %11d %11d\n", "", "classes in the mean", "", r->iou.n, r->dice.n, r->precision.n, r->recall.n, r->oneshot_iou.n,
                   r->oneshot_acc.n);
}

static void absent_classes(sky_buf *b, const sky_scores *r)
{
    const char *lead = "absent from labels and predictions, in no mean:";
    for (int i = 0; i < r->n; i++)
        if (r->c[i].absent) {
            sky_buf_printf(b, "%s %d", lead, r->c[i].cls->value);
            lead = ",";
        }
    if (*lead == ',')
        sky_buf_puts(b, "\n");
}

static void figure(sky_buf *b, const char *name, double v)
{
    if (isnan(v))
        sky_buf_printf(b, "%s -", name);
    else
        sky_buf_printf(b, "%s %.4f", name, v);
}

static uint64_t all_problems(const sky_scores *r)
{
    uint64_t n = 0;
    for (int i = 0; i < SKY_SCORE_PROBLEMS; i++)
        n += r->problems[i];
    return n;
}

void sky_scores_table(sky_buf *b, const sky_scores *r)
{
    sky_buf_printf(b, "%s protocol, %llu of %llu predictions scored", r->multi ? "multi-class" : "binary", (unsigned long long)r->scored, (unsigned long long)r->wanted);
    if (r->model[0])
        sky_buf_printf(b, ", model %.16s", r->model);
    sky_buf_puts(b, "\nclass                            images       IoU      Dice  precision    recall  1-shot IoU  1-shot acc\n");
    for (int i = 0; i < r->n; i++)
        table_row(b, &r->c[i]);
    mean_row(b, r);
    figure(b, "pixel accuracy", r->accuracy);
    figure(b, "   frequency-weighted IoU", r->weighted_iou);
    sky_buf_puts(b, "\n");
    absent_classes(b, r);
    if (!all_problems(r))
        return;
    sky_buf_puts(b, "NOT COMPLETE:");
    for (int i = 0; i < SKY_SCORE_PROBLEMS; i++)
        sky_buf_printf(b, "%s %llu %s", i ? "," : "", (unsigned long long)r->problems[i], problem_names[i]);
    sky_buf_puts(b, "\n");
}

/* ---- JSON ------------------------------------------------------------------------------------------------------- */

static json_t *real(double v) { return isnan(v) ? json_null() : json_real(v); }

static json_t *count(uint64_t v) { return json_integer((json_int_t)v); }

static json_t *class_json(const sky_class_score *c)
{
    return json_pack("{s:i, s:s, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "value", c->cls->value, "name", c->cls->name, "absent", c->absent,
                     "images", count(c->images), "tp", count(c->counts.tp), "fp", count(c->counts.fp), "fn", count(c->counts.fn), "tn", count(c->counts.tn),
                     "iou", real(c->m.iou), "dice", real(c->m.dice), "precision", real(c->m.precision), "recall", real(c->m.recall),
                     "oneshot_iou", real(c->oneshot.iou), "oneshot_accuracy", real(c->oneshot.acc));
}

static json_t *mean_json(const sky_mean *m) { return json_pack("{s:o, s:i}", "value", real(sky_mean_get(m)), "classes", m->n); }

static json_t *matrix_json(const sky_scores *r)
{
    json_t *values = json_array(), *rows = json_array();
    int bad = 0;
    for (int i = 0; i < r->side && !bad; i++) {
        json_t *row = json_array();
        bad = json_array_append_new(rows, row) || json_array_append_new(values, i < r->side - 1 ? json_integer(r->values[i]) : json_null());
        for (int k = 0; k < r->side && !bad; k++)
            bad = json_array_append_new(row, count(r->matrix[i * r->side + k]));
    }
    json_t *j = json_pack("{s:o, s:o}", "values", values, "rows", rows);
    if (bad)
        json_decref(j);
    return bad ? NULL : j;
}

json_t *sky_scores_json(const sky_scores *r)
{
    json_t *classes = json_array(), *problems = json_object();
    int bad = 0;
    for (int i = 0; i < r->n; i++)
        bad |= json_array_append_new(classes, class_json(&r->c[i]));
    for (int i = 0; i < SKY_SCORE_PROBLEMS; i++)
        bad |= json_object_set_new(problems, problem_names[i], count(r->problems[i]));
    json_t *j = json_pack("{s:i, s:s, s:o, s:o, s:o, s:o, s:b, s:o}", "version", 1, "protocol", r->multi ? "multiclass" : "binary", "model",
                          r->model[0] ? json_string(r->model) : json_null(), "wanted", count(r->wanted), "scored", count(r->scored), "pixels", count(r->pixels),
                          "complete", all_problems(r) == 0, "problems", problems);
    json_t *mean = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "iou", mean_json(&r->iou), "dice", mean_json(&r->dice), "precision", mean_json(&r->precision), "recall",
                             mean_json(&r->recall), "oneshot_iou", mean_json(&r->oneshot_iou), "oneshot_accuracy", mean_json(&r->oneshot_acc));
    bad |= json_object_set_new(j, "classes", classes) | json_object_set_new(j, "mean", mean); /* both take what they are given */
    bad = bad || json_object_set_new(j, "pixel_accuracy", real(r->accuracy)) || json_object_set_new(j, "weighted_iou", real(r->weighted_iou)) ||
          (r->multi && json_object_set_new(j, "confusion", matrix_json(r)));
    if (!bad)
        return j;
    json_decref(j);
    return NULL;
}

/* ---- CSV -------------------------------------------------------------------------------------------------------- */

static void quoted(sky_buf *b, const char *s)
{
    if (!strpbrk(s, ",\"\n\r")) {
        sky_buf_puts(b, s);
        return;
    }
    sky_buf_puts(b, "\"");
    for (; *s; s++)
        sky_buf_printf(b, *s == '"' ? "\"\"" : "%c", *s);
    sky_buf_puts(b, "\"");
}

static void numbers(sky_buf *b, const double *v, int n)
{
    for (int i = 0; i < n; i++)
        if (isnan(v[i]))
            sky_buf_puts(b, ",");
        else
            sky_buf_printf(b, ",%.17g", v[i]);
    sky_buf_puts(b, "\n");
}

static void counts_csv(sky_buf *b, const sky_counts *c)
{
    sky_buf_printf(b, ",%llu,%llu,%llu,%llu", (unsigned long long)c->tp, (unsigned long long)c->fp, (unsigned long long)c->fn, (unsigned long long)c->tn);
}

void sky_scores_csv(sky_buf *b, const sky_scores *r)
{
    sky_buf_puts(b, "value,name,images,tp,fp,fn,tn,iou,dice,precision,recall,oneshot_iou,oneshot_accuracy\n");
    for (int i = 0; i < r->n; i++) {
        const sky_class_score *c = &r->c[i];
        sky_buf_printf(b, "%d,", c->cls->value);
        quoted(b, c->cls->name);
        sky_buf_printf(b, ",%llu", (unsigned long long)c->images);
        counts_csv(b, &c->counts);
        numbers(b, (double[]){c->m.iou, c->m.dice, c->m.precision, c->m.recall, c->oneshot.iou, c->oneshot.acc}, 6);
    }
    sky_buf_puts(b, ",mean,,,,,");
    numbers(b, (double[]){sky_mean_get(&r->iou), sky_mean_get(&r->dice), sky_mean_get(&r->precision), sky_mean_get(&r->recall), sky_mean_get(&r->oneshot_iou),
                          sky_mean_get(&r->oneshot_acc)}, 6);
}

static void value_name(sky_buf *b, const sky_scores *r, int i)
{
    if (i == r->side - 1)
        sky_buf_puts(b, "other");
    else
        sky_buf_printf(b, "%d", r->values[i]);
}

void sky_scores_matrix_csv(sky_buf *b, const sky_scores *r)
{
    if (!r->multi) {
        sky_buf_puts(b, "value,tp,fp,fn,tn\n");
        for (int i = 0; i < r->n; i++) {
            sky_buf_printf(b, "%d", r->c[i].cls->value);
            counts_csv(b, &r->c[i].counts);
            sky_buf_puts(b, "\n");
        }
        return;
    }
    sky_buf_puts(b, "label\\predicted");
    for (int i = 0; i < r->side; i++) {
        sky_buf_puts(b, ",");
        value_name(b, r, i);
    }
    sky_buf_puts(b, "\n");
    for (int i = 0; i < r->side; i++) {
        value_name(b, r, i);
        for (int k = 0; k < r->side; k++)
            sky_buf_printf(b, ",%llu", (unsigned long long)r->matrix[i * r->side + k]);
        sky_buf_puts(b, "\n");
    }
}
