#include "data/plan.h"
#include "base/hash.h"
#include "base/mem.h"
#include "data/plan_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- items --------------------------------------------------------------------------------------------------- */

int sky_plan_no_memory(sky_err *e) { return sky_fail(e, SKY_ENOMEM, "planning samples: out of memory"); }

sky_plan_item *sky_plan_add(sky_plan *p, char *id)
{
    sky_plan_item *v = id ? sky_grow(p->item, p->n, &p->cap, sizeof *v) : NULL;
    if (v)
        p->item = v;
    sky_plan_field *f = v ? sky_calloc((size_t)p->d->nfields, sizeof *f) : NULL;
    if (!f) {
        sky_free(id);
        return NULL;
    }
    sky_plan_item *it = &v[p->n++];
    *it = (sky_plan_item){.id = id, .field = f};
    return it;
}

static void free_item(const sky_dataset *d, sky_plan_item *it)
{
    for (int i = 0; i < d->nfields; i++) {
        for (int k = 0; it->field[i].own && k < it->field[i].n; k++) {
            sky_entry *f = (sky_entry *)(uintptr_t)it->field[i].source[k].file;
            sky_free(f->path);
            sky_free(f->match);
            sky_free(f);
        }
        sky_free(it->field[i].source);
    }
    sky_free(it->field);
    sky_free(it->id);
    sky_free(it->problem);
    json_decref(it->meta);
}

void sky_plan_close(sky_plan *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n; i++)
        free_item(p->d, &p->item[i]);
    sky_free(p->item);
    sky_free(p);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const sky_plan_item *)a)->id, ((const sky_plan_item *)b)->id);
}

sky_plan_item *sky_plan_find(const sky_plan *p, const char *id)
{
    sky_plan_item key = {.id = (char *)(uintptr_t)id};
    return p->n ? bsearch(&key, p->item, p->n, sizeof key, by_id) : NULL;
}

/* ---- choosing ------------------------------------------------------------------------------------------------ */

static void keep_wanted(sky_plan *p, const sky_plan_opts *o)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->n; i++) {
        sky_plan_item *it = &p->item[i];
        int in_split = !o->split || (it->split && !strcmp(o->split, it->split));
        int in_part = sky_part_holds(&o->part, it->id);
        p->left_out += in_split && !in_part;
        if (in_split && in_part)
            p->item[kept++] = *it;
        else
            free_item(p->d, it);
    }
    p->n = kept;
}

static int find_missing(sky_plan *p, sky_err *e)
{
    for (size_t i = 0; i < p->n; i++)
        for (int k = 0; k < p->d->nfields; k++) {
            sky_plan_item *it = &p->item[i];
            const sky_dataset_field *f = &p->d->field[k];
            const int have = it->field[k].n;
            if (it->problem || (f->stack ? have == f->npaths : have) || !f->npaths || (!have && sky_dataset_optional(f, it->split)))
                continue;
            const char *other = "nothing";
            for (int m = 0; m < p->d->nfields; m++)
                if (it->field[m].n)
                    other = it->field[m].source[0].file->path;
            it->problem = sky_asprintf("sample '%s': no file for field '%s' (%s), found only %s", it->id, f->name, sky_pattern_text(f->path[f->stack ? have : 0]), other);
            if (!it->problem)
                return sky_plan_no_memory(e);
        }
    return SKY_OK;
}

static int nothing_found(const sky_plan *p, const sky_listing *l, const sky_plan_opts *o, sky_err *e)
{
    sky_buf b = {0};
    for (int i = 0; i < p->d->nfields; i++)
        for (int k = 0; k < p->d->field[i].npaths; k++)
            sky_buf_printf(&b, "%s%s", b.n ? ", " : "", sky_pattern_text(p->d->field[i].path[k]));
    const char *bad = sky_listing_unreadable(l);
    int rc = sky_fail(e, SKY_ECORRUPT, "no sample of data set '%s'%s%s among %zu files; looked for %.200s%s%s%s", p->d->name,
                      o->split ? " in split " : "", o->split ? o->split : "", sky_listing_count(l), b.p ? b.p : "",
                      bad ? "; unpack " : "", bad ? bad : "", bad ? " first" : "");
    sky_buf_free(&b);
    return rc;
}

/* Every picture may lack its label, but a pattern that somebody typed and that fits no file at all is a mistake. */
static int check_options(const sky_plan *p, const sky_listing *l, sky_err *e)
{
    for (int k = 0; k < p->d->nfields; k++) {
        const sky_dataset_field *f = &p->d->field[k];
        size_t have = 0;
        for (size_t i = 0; f->option && i < p->n; i++)
            have += p->item[i].field[k].n > 0;
        if (f->option && p->n && !have)
            return sky_fail(e, SKY_ECORRUPT, "%s '%.200s' fits none of the %zu files given", f->option, sky_pattern_text(f->path[0]), sky_listing_count(l));
    }
    return SKY_OK;
}

static int plan_lists(sky_plan *p, const sky_listing *l, const sky_plan_opts *o, sky_err *e)
{
    int rc = SKY_OK;
    for (size_t i = 0; !rc && i < sky_listing_count(l); i++) {
        const sky_entry *f = sky_listing_at(l, i);
        const char *dot = strrchr(f->path, '.'), *slash = strrchr(f->path, '/');
        if (!dot || strcmp(dot, ".json"))
            continue;
        char *root = o->root ? sky_strdup(o->root) : slash ? sky_strndup(f->path, (size_t)(slash - f->path)) : sky_strdup(".");
        sky_bytes b = {0};
        rc = root ? sky_listing_read((sky_listing *)(uintptr_t)l, f, SKY_LIST_LIMIT, &b, e) : sky_plan_no_memory(e);
        if (!rc)
            rc = sky_plan_list(p, (const char *)b.p, b.n, f->path, root, e);
        sky_bytes_free(&b);
        sky_free(root);
    }
    return rc;
}

static int check_unique(const sky_plan *p, sky_err *e)
{
    for (size_t i = 1; i < p->n; i++)
        if (!strcmp(p->item[i - 1].id, p->item[i].id) && !p->item[i - 1].problem && !p->item[i].problem)
            return sky_fail(e, SKY_ECORRUPT, "two samples have the id '%s'", p->item[i].id);
    return SKY_OK;
}

int sky_plan_open(sky_plan **out, const sky_dataset *d, const sky_listing *l, const sky_plan_opts *o, sky_err *e)
{
    if (o->split && d->layout == SKY_LAYOUT_FILES && !sky_dataset_find_split(d, o->split))
        return sky_fail(e, SKY_EUSAGE, "data set '%s' has no split '%s'", d->name, o->split);
    sky_plan *p = sky_calloc(1, sizeof *p);
    if (!p)
        return sky_plan_no_memory(e);
    p->d = d;
    int rc = d->layout == SKY_LAYOUT_LIST ? plan_lists(p, l, o, e) : sky_plan_match(p, l, e);
    if (!rc && d->layout == SKY_LAYOUT_FILES)
        rc = sky_plan_set_splits(p, l, o->split, e);
    if (!rc && p->n)
        qsort(p->item, p->n, sizeof *p->item, by_id);
    if (!rc)
        rc = check_unique(p, e);
    if (!rc)
        rc = check_options(p, l, e);
    if (!rc)
        keep_wanted(p, o);
    if (!rc && !p->n && !p->left_out)
        rc = nothing_found(p, l, o, e);
    if (!rc)
        rc = find_missing(p, e);
    if (rc)
        sky_plan_close(p);
    else
        *out = p;
    return rc;
}

void sky_plan_hash(const sky_plan *p, char out[65])
{
    sky_sha256 s;
    sky_sha256_init(&s);
    for (size_t i = 0; i < p->n; i++)
        for (int k = 0; k < p->d->nfields; k++)
            for (int m = 0; m < p->item[i].field[k].n; m++) {
                const sky_source *f = &p->item[i].field[k].source[m];
                const char *part[] = {p->item[i].id, " ", p->d->field[k].name, " ", f->tail};
                char size[32];
                for (size_t j = 0; j < sizeof part / sizeof *part; j++)
                    sky_sha256_add(&s, part[j], strlen(part[j]));
                snprintf(size, sizeof size, " %" PRIu64 "\n", f->file->size);
                sky_sha256_add(&s, size, strlen(size));
            }
    sky_sha256_hex(&s, out);
}
