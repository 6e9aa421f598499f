/* Parameters: the full model declares exactly the published list; strict loading names what does not fit; generated
 * values are the same bits whichever way they are made. */
#include "base/mem.h"
#include "nn/seeded.h"
#include "nn/skysensepp.h"
#include "t.h"

#include <stdlib.h>
#include <string.h>

static void shape_text(const sky_tensor *t, char *buf, size_t n)
{
    size_t at = 0;
    buf[0] = 0;
    for (int i = 0; i < t->ndim; i++)
        at += (size_t)snprintf(buf + at, n - at, "%s%lld", i ? "x" : "", (long long)t->shape[i]);
}

static void published_list(void)
{
    sky_err e = {0};
    sky_pp *m = NULL;
    int found = 0, listed = 0, bad = 0;
    OK(sky_pp_open(&m, &sky_config_full, &e) == 0, "full model: %s", e.msg);
    const sky_params *ps = sky_pp_params(m);
    FILE *f = fopen("tests/data/params_full.tsv", "r");
    char name[256], type[16], shape[64], mine[64];
    while (f && fscanf(f, "%255s %15s %63s", name, type, shape) == 3) {
        if (strstr(name, ".relative_") || strstr(name, "num_batches_tracked"))
            continue;
        const sky_param *p = sky_params_find(ps, name);
        listed++;
        if (p)
            shape_text(p->slot, mine, sizeof mine);
        if (p && !strcmp(mine, shape))
            found++;
        else if (bad++ < 5)
            printf("# %s %s: %s\n", name, shape, p ? mine : "not declared");
    }
    if (f)
        fclose(f);
    OK(listed == 1508 && found == listed && ps->n == listed, "%d of %d published names with their shapes, %d declared", found, listed, ps->n);
    int64_t values = 0;
    for (int i = 0; i < ps->n; i++)
        values += ps->v[i].kind == SKY_PARAM_STAT ? 0 : sky_numel(ps->v[i].slot);
    OK(values == INT64_C(1809455265), "%lld trainable values", (long long)values);
    sky_pp_close(m);
}

static sky_config tiny(void)
{
    sky_err e = {0};
    sky_config c = sky_config_full;
    if (sky_config_load(&c, "tiny", &e))
        printf("# %s\n", e.msg);
    return c;
}

/* A safetensors file of the seeded parameters, leaving out or reshaping one, or adding one. */
static int write_file(const char *path, const sky_params *ps, const char *leave_out, const char *reshape, const char *add, sky_err *e)
{
    sky_weight *list = sky_calloc((size_t)ps->n + 1, sizeof *list);
    const void **data = sky_calloc((size_t)ps->n + 1, sizeof *data);
    int n = 0;
    static const float one = 1;
    for (int i = 0; i < ps->n; i++) {
        const sky_param *p = &ps->v[i];
        if (leave_out && !strcmp(p->name, leave_out))
            continue;
        data[n] = p->slot->data;
        list[n] = (sky_weight){.name = p->name, .dtype = p->slot->dtype, .ndim = p->slot->ndim};
        memcpy(list[n].shape, p->slot->shape, sizeof p->slot->shape);
        if (reshape && !strcmp(p->name, reshape)) {
            list[n].ndim = 1;
            list[n].shape[0] = sky_numel(p->slot);
        }
        n++;
    }
    if (add) {
        data[n] = &one;
        list[n++] = (sky_weight){.name = add, .dtype = SKY_F32, .ndim = 1, .shape = {1}};
    }
    sky_weights_out *o = NULL;
    int rc = sky_weights_create(&o, path, list, n, NULL, e);
    for (int i = 0; i < n && !rc; i++) {
        uint64_t count = 1;
        for (int d = 0; d < list[i].ndim; d++)
            count *= (uint64_t)list[i].shape[d];
        rc = sky_weights_put(o, data[i], count * sky_dtype_size(list[i].dtype), e);
    }
    if (!rc)
        rc = sky_weights_commit(o, e);
    sky_free(list);
    sky_free(data);
    return rc;
}

static int warned;
static void on_warn(void *arg, const char *line)
{
    (void)arg;
    printf("# %s\n", line);
    warned++;
}

static int load(sky_pp *m, const char *path, sky_dtype dtype, int relaxed, sky_weights **w, sky_err *e)
{
    sky_ctx c;
    *w = NULL;
    warned = 0;
    int rc = sky_ctx_open(&c, "cpu", 1, e);
    if (!rc)
        rc = sky_weights_open(w, path, e);
    if (!rc)
        rc = sky_pp_load(m, &c, *w, dtype, relaxed, on_warn, NULL, e);
    sky_ctx_close(&c);
    return rc;
}

static void strictness(const char *dir)
{
    sky_config cfg = tiny();
    sky_err e = {0};
    sky_pp *from = NULL, *to = NULL;
    sky_weights *w;
    char path[300];
    snprintf(path, sizeof path, "%s/w.safetensors", dir);
    OK(sky_pp_open(&from, &cfg, &e) == 0 && sky_params_seed(sky_pp_params(from), "p.", SKY_F32, 2, &e) == 0 && sky_pp_open(&to, &cfg, &e) == 0, "generated: %s", e.msg);
    const sky_params *a = sky_pp_params(from);
    OK(write_file(path, a, NULL, NULL, NULL, &e) == 0 && load(to, path, SKY_F32, 0, &w, &e) == 0, "a complete file loads: %s", e.msg);
    int same = 1, mapped = 0;
    const sky_params *b = sky_pp_params(to);
    for (int i = 0; i < a->n; i++) {
        same &= !memcmp(a->v[i].slot->data, b->v[i].slot->data, (size_t)sky_bytes(a->v[i].slot));
        mapped += b->v[i].own == NULL;
        same &= b->v[i].kind != SKY_PARAM_STAT || b->v[i].own != NULL;
    }
    OK(same && mapped > a->n / 2, "same bits; %d of %d used where they lie in the file, statistics copied", mapped, a->n);
    sky_weights_close(w);

    const char *gone = "fusion.cls_token", *flat = "backbone_s2.pos_embed";
    OK(write_file(path, a, gone, NULL, NULL, &e) == 0 && load(to, path, SKY_F32, 0, &w, &e) < 0 && strstr(e.msg, gone) && strstr(e.msg, "1 tensor missing"), "missing: %s", e.msg);
    sky_weights_close(w);
    OK(load(to, path, SKY_F32, 1, &w, &e) == 0 && warned == 1, "relaxed: loads with one warning");
    const sky_param *z = sky_params_find(sky_pp_params(to), gone);
    OK(z->slot->data && ((float *)z->slot->data)[0] == 0, "and zeros");
    sky_weights_close(w);
    OK(write_file(path, a, NULL, flat, NULL, &e) == 0 && load(to, path, SKY_F32, 0, &w, &e) < 0 && strstr(e.msg, flat) && strstr(e.msg, "[1,4,24]"), "misshapen: %s", e.msg);
    sky_weights_close(w);
    OK(write_file(path, a, NULL, NULL, "backbone_hr.more", &e) == 0 && load(to, path, SKY_F32, 0, &w, &e) < 0 && strstr(e.msg, "backbone_hr.more"), "extra: %s", e.msg);
    sky_weights_close(w);
    remove(path);
    sky_pp_close(from);
    sky_pp_close(to);
}

static void bf16(const char *dir)
{
    sky_config cfg = tiny();
    sky_err e = {0};
    sky_pp *f = NULL, *h = NULL, *to = NULL;
    sky_weights *w = NULL;
    char path[300];
    snprintf(path, sizeof path, "%s/w.safetensors", dir);
    OK(sky_pp_open(&f, &cfg, &e) == 0 && sky_pp_open(&h, &cfg, &e) == 0 && sky_pp_open(&to, &cfg, &e) == 0 &&
       sky_params_seed(sky_pp_params(f), "", SKY_F32, 1, &e) == 0 && sky_params_seed(sky_pp_params(h), "", SKY_BF16, 2, &e) == 0, "generated twice: %s", e.msg);
    OK(write_file(path, sky_pp_params(f), NULL, NULL, NULL, &e) == 0 && load(to, path, SKY_BF16, 0, &w, &e) == 0, "F32 file into BF16 model: %s", e.msg);
    const sky_params *a = sky_pp_params(h), *b = sky_pp_params(to);
    int same = 1, halves = 0;
    for (int i = 0; i < a->n; i++) {
        same &= a->v[i].slot->dtype == b->v[i].slot->dtype && !memcmp(a->v[i].slot->data, b->v[i].slot->data, (size_t)sky_bytes(a->v[i].slot));
        same &= (a->v[i].slot->dtype == SKY_BF16) == (a->v[i].kind == SKY_PARAM_MATRIX);
        halves += a->v[i].slot->dtype == SKY_BF16;
    }
    OK(same && halves > 90, "converted and generated agree bit for bit; %d matrices in BF16, the rest F32", halves);
    sky_weights_close(w);
    remove(path);
    sky_pp_close(f);
    sky_pp_close(h);
    sky_pp_close(to);
}

static void rules(void)
{
    static const struct { const char *name; int64_t k; float scale, offset; } r[] = {
        {"a.bn.running_mean", 1, 0.1f, 0}, {"a.bn.running_var", 1, 0.25f, 1}, {"a.logit_scale", 1, 0.5f, 1.5f}, {"v.gamma_3", 1, 0.25f, 0.25f},
        {"mask_token", 1, 0.5f, 0}, {"b.vocabulary_weight", 16, 1, 0}, {"v.codebook.weight", 12, 1, 0}, {"a.q_bias", 1, 0.1f, 0},
        {"a.in_proj_bias", 1, 0.1f, 0}, {"s.norm_attn.weight", 1, 0.1f, 1}, {"l.ln2.weight", 1, 0.1f, 1}, {"c.bn.weight", 1, 0.1f, 1},
        {"a.proj.weight", 3, 1, 0}, {"a.in_proj_weight", 12, 0.5f, 0}, {"x.norm2.bias", 1, 0.1f, 0}, {"a.normal.weight", 3, 0.1f, 1}};
    for (size_t i = 0; i < sizeof r / sizeof *r; i++) {
        float s, o;
        sky_seeded_rule(r[i].name, 2, (int64_t[]){5, r[i].k}, &s, &o);
        OK(s == r[i].scale && o == r[i].offset, "rule of %s: %g, %g", r[i].name, s, o);
    }
}

int main(void)
{
    char dir[] = "/tmp/sky-params-XXXXXX";
    if (!mkdtemp(dir))
        return 1;
    published_list();
    rules();
    strictness(dir);
    bf16(dir);
    remove(dir);
    return END();
}
