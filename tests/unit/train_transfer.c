/* A pretrained backbone in another network: what is copied, bands by name, the position table on another grid, and one line
 * for everything. */
#include "base/mem.h"
#include "nn/init.h"
#include "nn/segmentor.h"
#include "nn/skysensepp.h"
#include "t.h"
#include "train/transfer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static sky_err e;
static sky_config cfg;
static char path[64];
static sky_pp *source;
static sky_weights *file;

static char notes[1 << 18];
static int lines;
static void on_note(void *arg, const char *line)
{
    (void)arg;
    size_t n = strlen(notes);
    snprintf(notes + n, sizeof notes - n, "%s\n", line);
    lines++;
}

/* The pretraining model as a file; with_class: its S2 position table has one more entry in front. */
static int write_source(int with_class, const char *config)
{
    sky_params *ps = sky_pp_params(source);
    sky_weight *list = sky_calloc((size_t)ps->n, sizeof *list);
    for (int i = 0; i < ps->n; i++) {
        list[i] = (sky_weight){.name = ps->v[i].name, .dtype = SKY_F32, .ndim = ps->v[i].slot->ndim};
        memcpy(list[i].shape, ps->v[i].slot->shape, sizeof ps->v[i].slot->shape);
        list[i].shape[1] += with_class && !strcmp(list[i].name, "backbone_s2.pos_embed");
    }
    sky_weights_out *o = NULL;
    json_t *meta = config ? json_pack("{s:s}", "config", config) : NULL;
    int rc = sky_weights_create(&o, path, list, ps->n, meta, &e);
    float *first = sky_alloc((size_t)cfg.vit_dim * 4);
    for (int i = 0; i < cfg.vit_dim; i++)
        first[i] = 100 + (float)i;
    for (int i = 0; i < ps->n && !rc; i++) {
        if (with_class && !strcmp(list[i].name, "backbone_s2.pos_embed"))
            rc = sky_weights_put(o, first, (uint64_t)cfg.vit_dim * 4, &e);
        if (!rc)
            rc = sky_weights_put(o, ps->v[i].slot->data, (uint64_t)sky_bytes(ps->v[i].slot), &e);
    }
    if (!rc)
        rc = sky_weights_commit(o, &e);
    sky_weights_close(file);
    file = NULL;
    if (!rc)
        rc = sky_weights_open(&file, path, &e);
    json_decref(meta);
    sky_free(first);
    sky_free(list);
    return rc;
}

static const float *from_source(const char *name) { return sky_params_find(sky_pp_params(source), name)->slot->data; }

static const char *const ten[] = {"B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12", NULL}, *const four[] = {"B4", "B3", "NIR", "B2", NULL}, *const two[] = {"VV", "VH", NULL};

static sky_seg *target(const sky_config *c, int channels, int bias)
{
    sky_seg *m = NULL;
    sky_seg_config s = {.channels = channels, .classes = 3, .neck_dim = 16, .head_channels = 16, .aux_channels = 8, .scales = {1, 1, 1, 1}, .patch_bias = bias};
    if (sky_seg_open(&m, c, &s, &e) || sky_params_init(sky_seg_params(m), SKY_INIT_PUBLISHED, 5, 1, &e))
        printf("# %s\n", e.msg);
    return m;
}

static float *slot(sky_seg *m, const char *name) { return sky_params_find(sky_seg_params(m), name)->slot->data; }

static int moved(sky_seg *m, const char *const *from, const char *const *to, const sky_config *c, const char *prefix)
{
    sky_transfer_opts o = {.from = prefix, .to = "backbone.", .source_bands = from, .bands = to, .cfg = c, .note = on_note};
    notes[0] = 0;
    lines = 0;
    e = (sky_err){0};
    return sky_transfer(sky_seg_params(m), file, &o, &e);
}

/* A = -0.75, half-pixel centres, clamped borders: the definition, in double. */
static double cubic(double x)
{
    const double a = -0.75;
    x = fabs(x);
    return x <= 1 ? (a + 2) * x * x * x - (a + 3) * x * x + 1 : x < 2 ? a * x * x * x - 5 * a * x * x + 8 * a * x - 4 * a : 0;
}

static double resized(const float *x, int n, int m, int dim, int i, int j, int k)
{
    double y = (i + 0.5) * n / m - 0.5, z = (j + 0.5) * n / m - 0.5, sum = 0;
    for (int a = (int)floor(y) - 1; a <= (int)floor(y) + 2; a++)
        for (int b = (int)floor(z) - 1; b <= (int)floor(z) + 2; b++) {
            int p = a < 0 ? 0 : a >= n ? n - 1 : a, q = b < 0 ? 0 : b >= n ? n - 1 : b;
            sum += cubic(y - a) * cubic(z - b) * x[(p * n + q) * dim + k];
        }
    return sum;
}

static int is_resized(const float *got, const float *x, int n, int m, int dim)
{
    double worst = 0;
    for (int i = 0; i < m; i++)
        for (int j = 0; j < m; j++)
            for (int k = 0; k < dim; k++)
                worst = fmax(worst, fabs(got[(i * m + j) * dim + k] - resized(x, n, m, dim, i, j, k)));
    return worst <= 2e-6; /* entries below 1, eight products with weights up to 1.2 */
}

static void bands(void)
{
    sky_config c = cfg;
    c.vit_img[0] = c.vit_img[1] = 32; /* 8x8 positions instead of 2x2 */
    sky_seg *m = target(&c, 4, 0), *fresh = target(&c, 4, 0);
    int n = moved(m, ten, four, &c, "backbone_s2.");
    OK(n > 20, "four of ten bands: %d tensors taken: %s", n, e.msg);
    const float *w = slot(m, "backbone.patch_embed.projection.weight"), *r = slot(fresh, "backbone.patch_embed.projection.weight"), *x = from_source("backbone_s2.patch_embed.projection.weight");
    const int where[] = {2, 1, -1, 0};
    int right = 1;
    for (int i = 0; i < c.vit_dim; i++)
        for (int b = 0; b < 4; b++)
            right &= !memcmp(w + (i * 4 + b) * 16, where[b] < 0 ? r + (i * 4 + b) * 16 : x + (i * 10 + where[b]) * 16, 64);
    OK(right && strstr(notes, "bands B4,B3,B2 from 'backbone_s2.patch_embed.projection.weight'; not there, so random: NIR"), "each band's weights by its name, the unknown one as it was");
    OK(!memcmp(slot(m, "backbone.layers.3.ffn.layers.1.weight"), from_source("backbone_s2.layers.3.ffn.layers.1.weight"), (size_t)c.vit_dim * c.vit_dim * 16), "layers are copied");
    OK(!memcmp(slot(m, "neck.lateral_convs.0.conv.weight"), slot(fresh, "neck.lateral_convs.0.conv.weight"), 64), "the rest of the network is as it was");
    OK(is_resized(slot(m, "backbone.pos_embed") + c.vit_dim, from_source("backbone_s2.pos_embed"), 2, 8, c.vit_dim) && !memcmp(slot(m, "backbone.pos_embed"), slot(fresh, "backbone.pos_embed"), (size_t)c.vit_dim * 4) &&
           strstr(notes, "grid 2x2 resized to 8x8, no class entry in the file"), "positions: 2x2 to 8x8, bicubic");
    int declared = 0, mine = 0, others = 0;
    for (int i = 0; i < sky_seg_params(m)->n; i++)
        declared += !strncmp(sky_seg_params(m)->v[i].name, "backbone.", 9);
    for (int i = 0; i < sky_weights_count(file); i++) {
        const char *name = sky_weights_at(file, i)->name;
        if (strncmp(name, "backbone_s2.", 12))
            others++;
        else {
            char mapped[200];
            snprintf(mapped, sizeof mapped, "backbone.%s", name + 12);
            mine += !sky_params_find(sky_seg_params(m), mapped);
        }
    }
    char tail[100];
    snprintf(tail, sizeof tail, "%d tensors of the file are outside 'backbone_s2.'", others);
    OK(lines == declared + mine + 1 && strstr(notes, tail), "a line for each: %d of the model, %d more of the file, one for %d others", declared, mine, others);
    OK(strstr(notes, "'backbone_s2.patch_embed.projection.bias': left out") && strstr(notes, "'backbone_s2.mask_token': left out"), "what the network does not have is said");
    sky_seg_close(m);
    sky_seg_close(fresh);
}

static void others(void)
{
    sky_seg *m = target(&cfg, 10, 1), *fresh = target(&cfg, 4, 0);
    OK(moved(m, NULL, NULL, &cfg, "backbone_s2.") > 20 && !memcmp(slot(m, "backbone.patch_embed.projection.weight"), from_source("backbone_s2.patch_embed.projection.weight"), (size_t)cfg.vit_dim * 10 * 16 * 4) &&
           !memcmp(slot(m, "backbone.patch_embed.projection.bias"), from_source("backbone_s2.patch_embed.projection.bias"), (size_t)cfg.vit_dim * 4), "same bands, nothing known of them: copied, with the bias");
    OK(!memcmp(slot(m, "backbone.pos_embed") + cfg.vit_dim, from_source("backbone_s2.pos_embed"), (size_t)cfg.vit_dim * 16) && strstr(notes, "grid 2x2 as 2x2"), "same grid: the same positions");
    sky_seg_close(m);
    m = target(&cfg, 4, 0);
    OK(moved(m, NULL, NULL, &cfg, "backbone_s2.") > 20 && strstr(notes, "random: 4 bands here, 10 in") && !memcmp(slot(m, "backbone.patch_embed.projection.weight"), slot(fresh, "backbone.patch_embed.projection.weight"), (size_t)cfg.vit_dim * 256),
       "other bands, nothing known of them: random, and said");
    OK(moved(m, two, four, &cfg, "backbone_s2.") == SKY_EUSAGE, "a list that does not fit: %s", e.msg);
    OK(moved(m, ten, four, &cfg, "backbone_s3.") == SKY_EUSAGE, "a wrong prefix: %s", e.msg);
    OK(moved(m, two, four, &cfg, "backbone_s1.") > 20 && strstr(notes, "bands none from") && strstr(notes, "spelled alike"), "no band in common is said");
    sky_config wide = cfg;
    wide.vit_dim = 48;
    sky_seg *w = target(&wide, 4, 0);
    OK(moved(w, ten, four, &wide, "backbone_s2.") == SKY_EUSAGE && strstr(notes, "has another shape, [24] instead of [48]"), "another width: %s", e.msg);
    sky_seg_close(w);
    sky_seg_close(m);
    sky_seg_close(fresh);
}

static void class_entry(void)
{
    sky_config c = cfg;
    c.vit_img[0] = c.vit_img[1] = 32;
    OK(write_source(1, NULL) == 0, "a table with a class entry: %s", e.msg);
    sky_seg *m = target(&c, 4, 0);
    OK(moved(m, ten, four, &c, "backbone_s2.") > 20 && strstr(notes, "class entry kept") && slot(m, "backbone.pos_embed")[5] == 105 &&
           is_resized(slot(m, "backbone.pos_embed") + c.vit_dim, from_source("backbone_s2.pos_embed"), 2, 8, c.vit_dim), "is taken apart and kept");
    sky_seg_close(m);
    OK(write_source(0, "{\"vit_img\": [4, 16], \"vit_patch\": 4}") == 0, "a file that tells its grid");
    m = target(&c, 4, 0);
    OK(moved(m, ten, four, &c, "backbone_s2.") > 20 && strstr(notes, "grid 1x4 resized to 8x8"), "is believed");
    sky_seg_close(m);
    OK(write_source(0, "{\"vit_img\": [40, 40], \"vit_patch\": 4}") == 0, "one whose grid is not its table's");
    m = target(&c, 4, 0);
    OK(moved(m, ten, four, &c, "backbone_s2.") > 20 && strstr(notes, "is no table for"), "is not");
    sky_seg_close(m);
}

int main(void)
{
    char dir[] = "/tmp/sky-transfer-XXXXXX";
    if (!mkdtemp(dir) || sky_config_load(&cfg, "tiny", &e) || sky_pp_open(&source, &cfg, &e) || sky_params_seed(sky_pp_params(source), "", SKY_F32, 1, &e)) {
        printf("Bail out! %s\n", e.msg);
        return 1;
    }
    snprintf(path, sizeof path, "%s/w.safetensors", dir);
    OK(write_source(0, NULL) == 0, "a pretrained model: %s", e.msg);
    bands();
    others();
    class_entry();
    sky_weights_close(file);
    sky_pp_close(source);
    unlink(path);
    rmdir(dir);
    return END();
}
