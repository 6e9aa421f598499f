/* seed-weights.c -- write generated weights of the pretraining model as safetensors.
 *
 * usage: seed-weights [--config full|tiny|FILE] [--prefix P] [--dtype f32|bf16] -o OUT.safetensors
 * Values come from the counter generator (nn/seeded.h) and are streamed: memory does not depend on the model. */
#include "base/cli.h"
#include "base/mem.h"
#include "nn/seeded.h"
#include "nn/skysensepp.h"

#include <string.h>

enum { PIECE = 1 << 16 };

static int put_values(sky_weights_out *o, const sky_param *p, const sky_weight *w, const char *prefix, sky_err *e)
{
    static float v[PIECE];
    static uint16_t h[PIECE];
    float scale, offset;
    uint64_t n = (uint64_t)sky_numel(p->slot);
    sky_seeded_rule(p->name, p->slot->ndim, p->slot->shape, &scale, &offset);
    for (uint64_t at = 0; at < n; at += PIECE) {
        uint64_t m = n - at < PIECE ? n - at : PIECE;
        sky_seeded_values(v, prefix, p->name, at, m, scale, offset);
        for (uint64_t i = 0; i < m && w->dtype == SKY_BF16; i++)
            h[i] = sky_f32_to_bf16(v[i]);
        int rc = sky_weights_put(o, w->dtype == SKY_BF16 ? (const void *)h : v, m * sky_dtype_size(w->dtype), e);
        if (rc)
            return rc;
    }
    return 0;
}

/* Only matrices are stored in BF16: vectors are used in F32 anyway and weigh little. */
static sky_weight describe(const sky_param *p, sky_dtype dtype)
{
    sky_weight w = {.name = p->name, .stored = p->name, .dtype = p->kind == SKY_PARAM_MATRIX ? dtype : SKY_F32, .ndim = p->slot->ndim};
    memcpy(w.shape, p->slot->shape, sizeof p->slot->shape);
    return w;
}

static json_t *metadata(const sky_config *cfg, const char *prefix)
{
    json_t *c = sky_config_json(cfg), *o = json_object();
    char *text = c ? sky_json_dump(c) : NULL;
    int bad = !o || !text || json_object_set_new(o, "config", json_string(text)) || json_object_set_new(o, "prefix", json_string(prefix)) ||
              json_object_set_new(o, "generator", json_string("counter"));
    sky_free(text);
    json_decref(c);
    if (bad) {
        json_decref(o);
        return NULL;
    }
    return o;
}

static int write_all(const sky_params *ps, const char *path, const json_t *meta, const char *prefix, sky_dtype dtype, sky_err *e)
{
    sky_weights_out *o = NULL;
    sky_weight *list = sky_calloc((size_t)ps->n, sizeof *list);
    if (!list)
        return sky_fail(e, SKY_ENOMEM, "out of memory");
    for (int i = 0; i < ps->n; i++)
        list[i] = describe(&ps->v[i], dtype);
    int rc = sky_weights_create(&o, path, list, ps->n, meta, e);
    for (int i = 0; i < ps->n && !rc; i++)
        rc = put_values(o, &ps->v[i], &list[i], prefix, e);
    if (!rc)
        rc = sky_weights_commit(o, e);
    else if (o)
        sky_weights_abort(o);
    sky_free(list);
    return rc;
}

int main(int argc, char **argv)
{
    const char *config = "tiny", *path = NULL, *prefix = "", *dtype = "f32";
    sky_opt opts[] = {
        {.name = "config", .kind = SKY_OPT_STR, .value = &config, .arg = "NAME", .help = "full, mid, tiny or a YAML file [tiny]"},
        {.name = "output", .letter = 'o', .kind = SKY_OPT_STR, .value = &path, .arg = "FILE", .help = "safetensors file to write"},
        {.name = "prefix", .kind = SKY_OPT_STR, .value = &prefix, .arg = "TEXT", .help = "of the generator's names [none]"},
        {.name = "dtype", .kind = SKY_OPT_STR, .value = &dtype, .arg = "f32|bf16", .help = "element type of matrices [f32]"},
        {0}};
    sky_cli cli = {.prog = "seed-weights", .summary = "write generated weights of the pretraining model", .usage = "seed-weights [options] -o FILE", .opts = opts};
    int status = sky_cli_begin(&cli, argc, argv);
    if (status >= 0)
        return status;
    sky_err e = {0};
    sky_config cfg;
    sky_pp *m = NULL;
    json_t *meta = NULL;
    int rc = 0;
    if (!path)
        rc = sky_fail(&e, SKY_EUSAGE, "no output file: -o FILE");
    else if (strcmp(dtype, "f32") && strcmp(dtype, "bf16"))
        rc = sky_fail(&e, SKY_EUSAGE, "--dtype: expected f32 or bf16, found '%s'", dtype);
    if (!rc)
        rc = sky_config_load(&cfg, config, &e);
    if (!rc)
        rc = sky_pp_open(&m, &cfg, &e);
    if (!rc && !(meta = metadata(&cfg, prefix)))
        rc = sky_fail(&e, SKY_ENOMEM, "out of memory");
    if (!rc)
        rc = write_all(sky_pp_params(m), path, meta, prefix, !strcmp(dtype, "bf16") ? SKY_BF16 : SKY_F32, &e);
    json_decref(meta);
    sky_pp_close(m);
    return sky_cli_end(&cli, rc, &e);
}
