/* The catalogue of what samples hold. */
#include "data/labels.h"
#include "data/prompts_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int sky_catalogue_open(sky_catalogue **out, const sky_catalogue_opts *o, sky_err *e)
{
    sky_catalogue *c = sky_calloc(1, sizeof *c);
    if (!c)
        return sky_fail(e, SKY_ENOMEM, "out of memory for a catalogue");
    c->o = *o;
    if (!(c->splits = json_object())) {
        sky_catalogue_close(c);
        return sky_fail(e, SKY_ENOMEM, "out of memory for a catalogue");
    }
    if (o->label)
        snprintf(c->label, sizeof c->label, "%s", o->label);
    for (int i = 0; i < o->nclasses; i++) {
        if (o->classes[i] < 0 || o->classes[i] > 255) {
            sky_catalogue_close(c);
            return sky_fail(e, SKY_EUSAGE, "class %d, want 0..255", o->classes[i]);
        }
        class_set_add(&c->wanted, o->classes[i]);
    }
    *out = c;
    return SKY_OK;
}

void sky_catalogue_close(sky_catalogue *c)
{
    if (!c)
        return;
    for (uint64_t i = 0; i < c->n; i++)
        sky_free(c->v[i].id);
    sky_free(c->v);
    json_decref(c->splits);
    sky_free(c);
}

uint64_t sky_catalogue_unlabelled(const sky_catalogue *c) { return c->unlabelled; }

/* Unless classes are asked for by number: background is no class of the protocol. */
static int is_class(const sky_catalogue *c, const json_t *schema, int v)
{
    if (c->o.nclasses)
        return class_set_has(&c->wanted, v);
    const json_t *field = json_object_get(json_object_get(schema, "fields"), c->label);
    return !sky_class_is_background(json_object_get(field, "classes"), v);
}

static int read_set(const sky_catalogue *c, class_set *s, const json_t *list, const json_t *schema, sky_err *e)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *j = json_array_get(list, i);
        json_int_t v = json_integer_value(j);
        if (!json_is_integer(j) || v < 0 || v > 255)
            return sky_fail(e, SKY_ECORRUPT, "class %" JSON_INTEGER_FORMAT " in field '%s', the one-shot protocol takes 0..255", v, c->label);
        if (is_class(c, schema, (int)v))
            class_set_add(s, (int)v);
    }
    return SKY_OK;
}

static int in_split(const char *want, const char *split) { return !want || (split && !strcmp(want, split)); }

static int append(sky_catalogue *c, const char *id, const class_set *asks, const class_set *offers, sky_err *e)
{
    catalogue_item *v = sky_grow(c->v, c->n, &c->cap, sizeof *v);
    if (v)
        c->v = v;
    char *copy = v ? sky_strdup(id) : NULL;
    if (!copy)
        return sky_fail(e, SKY_ENOMEM, "out of memory for a catalogue");
    c->v[c->n++] = (catalogue_item){copy, *asks, *offers};
    return SKY_OK;
}

int sky_catalogue_add(sky_catalogue *c, const json_t *entry, const json_t *schema, sky_err *e)
{
    const char *id = NULL, *split = json_string_value(json_object_get(entry, "split"));
    int rc = sky_json_str(entry, "id", 1, &id, "index entry", e);
    if (rc)
        return rc;
    if (split && json_object_set_new(c->splits, split, json_true()))
        return sky_fail(e, SKY_ENOMEM, "out of memory for a catalogue");
    int query = in_split(c->o.query_split, split), prompt = in_split(c->o.prompt_split ? c->o.prompt_split : c->o.query_split, split);
    if (!query && !prompt)
        return SKY_OK;
    const json_t *classes = json_object_get(entry, "classes"), *listed = json_object_get(entry, "listed_classes");
    if (!c->o.label && (rc = sky_label_field(c->label, classes, e)))
        return sky_wrap(e, "sample '%s'", id);
    const json_t *present = json_object_get(classes, c->label);
    if (!json_is_array(present)) {
        c->unlabelled++;
        return SKY_OK;
    }
    class_set has = {0}, asks = {0}, none = {0};
    rc = read_set(c, &has, present, schema, e);
    if (!rc && json_is_array(listed))
        rc = read_set(c, &asks, listed, schema, e);
    else
        asks = has;
    if (rc)
        return sky_wrap(e, "sample '%s'", id);
    class_set offers = json_is_array(listed) ? class_set_and(has, &asks) : has;
    return append(c, id, query ? &asks : &none, prompt ? &offers : &none, e);
}

int sky_catalogue_add_shard(sky_catalogue *c, const sky_shard *s, sky_err *e)
{
    for (uint64_t i = 0; i < sky_shard_count(s); i++) {
        const json_t *entry = sky_shard_entry(s, i, e);
        int rc = entry ? sky_catalogue_add(c, entry, sky_shard_schema(s), e) : e->code;
        if (rc)
            return rc;
    }
    return SKY_OK;
}

/* A split that no sample is of is a misspelt one. */
static int check_split(const sky_catalogue *c, const char *option, const char *want, sky_err *e)
{
    if (!want || json_object_get(c->splits, want))
        return SKY_OK;
    sky_buf list = {0};
    const char *name;
    json_t *v;
    json_object_foreach(c->splits, name, v)
        sky_buf_printf(&list, "%s'%s'", list.n ? ", " : "", name);
    int rc = sky_fail(e, SKY_EUSAGE, "%s '%s': no sample is of this split; %s%s", option, want, list.n ? "there are " : "the samples are of none", list.n ? list.p : "");
    sky_buf_free(&list);
    return rc;
}

static int by_id(const void *a, const void *b) { return strcmp(((const catalogue_item *)a)->id, ((const catalogue_item *)b)->id); }

static int sort_by_id(sky_catalogue *c, sky_err *e)
{
    if (c->n)
        qsort(c->v, c->n, sizeof *c->v, by_id);
    for (uint64_t i = 1; i < c->n; i++)
        if (!strcmp(c->v[i].id, c->v[i - 1].id))
            return sky_fail(e, SKY_ECORRUPT, "sample '%s' is there twice", c->v[i].id);
    return SKY_OK;
}

int sky_catalogue_seal(sky_catalogue *c, sky_err *e)
{
    int rc = check_split(c, "--split", c->o.query_split, e);
    if (!rc)
        rc = check_split(c, "--prompt-split", c->o.prompt_split, e);
    return rc ? rc : sort_by_id(c, e);
}
