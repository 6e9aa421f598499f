/* Configurations: the presets, overriding, and what is refused. */
#include "nn/config.h"
#include "base/json.h"
#include "t.h"

#include <string.h>

static int parse(sky_config *c, const char *text, sky_err *e)
{
    json_t *j = NULL;
    *c = sky_config_full;
    int rc = sky_json_parse(&j, text, strlen(text), "test", e);
    if (!rc)
        rc = sky_config_parse(c, j, "test", e);
    json_decref(j);
    return rc;
}

static void presets(void)
{
    sky_err e = {0};
    sky_config c;
    OK(sky_config_load(&c, "full", &e) == 0, "full.yaml loads: %s", e.msg);
    json_t *a = sky_config_json(&c), *b = sky_config_json(&sky_config_full);
    OK(a && b && json_equal(a, b), "and is the built-in constant");
    json_decref(a);
    json_decref(b);
    OK(sky_config_load(&c, "tiny", &e) == 0 && c.swin_dim == 8 && c.vit_nout == 4 && c.vit_out[0] == 0 && c.up_scale == 4, "tiny.yaml: own values and those of full: %s", e.msg);
    OK(sky_config_load(&c, "mid", &e) == 0 && c.swin_dim == 64 && c.frozen_blocks == 0 && c.vocab == 64, "mid.yaml: %s", e.msg);
    OK(sky_config_load(&c, "nosuch", &e) < 0, "unknown preset: %s", e.msg);
}

static void round_trip(void)
{
    sky_err e = {0};
    sky_config c, d = sky_config_full;
    OK(parse(&c, "{\"vit_out\": [0, 7], \"uper_pools\": [1, 4], \"lr\": 1e-3, \"vit_img\": [24, 32], \"hr_bands\": [\"NIR\", \"R\", \"G\"]}", &e) == 0 && c.vit_nout == 2 && c.vit_out[1] == 7 && c.uper_npools == 2 && c.lr == 1e-3, "lists of other lengths: %s", e.msg);
    json_t *j = sky_config_json(&c);
    OK(j && sky_config_parse(&d, j, "again", &e) == 0 && !memcmp(c.vit_out, d.vit_out, 2 * sizeof(int)) && d.vit_nout == 2 && d.vit_img[1] == 32 && d.lr == c.lr && !strcmp(d.hr_bands[0], "NIR") && !strcmp(d.hr_bands[2], "G"), "written and read again: %s", e.msg);
    json_decref(j);
}

static void refused(void)
{
    static const char *const bad[][2] = {
        {"{\"hr_bands\": [\"R\", \"G\"]}", "three names"}, {"{\"hr_bands\": \"R\"}", "three names"}, {"{\"hr_bands\": [\"R\", \"G\", 3]}", "names of 1 to 15"},
        {"{\"hr_bands\": [\"R\", \"G\", \"sixteen bytes ..\"]}", "names of 1 to 15"},
        {"{\"swin_dims\": 8}", "swin_dims"}, {"{\"swin_dim\": \"8\"}", "swin_dim"}, {"{\"swin_dim\": 0}", "swin_dim"},
        {"{\"swin_dim\": 99999999}", "swin_dim"}, {"{\"swin_depths\": [2, 2, 2]}", "swin_depths"}, {"{\"swin_depths\": 2}", "swin_depths"},
        {"{\"swin_dim\": 350}", "swin_heads"}, {"{\"vit_heads\": 7}", "vit_heads"}, {"{\"vit_out\": [5, 5]}", "vit_out"},
        {"{\"vit_out\": [24]}", "vit_out"}, {"{\"vit_out\": []}", "vit_out"}, {"{\"vit_img\": [16, 18]}", "vit_img"},
        {"{\"vit_merge\": 25}", "vit_merge"}, {"{\"swin_window\": 1}", "swin_window"}, {"{\"vocab\": 255}", "vocab"},
        {"{\"lr\": -1}", "lr"}, {"{\"lr\": true}", "lr"}, {"[1]", "object"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sky_err e = {0};
        sky_config c;
        int rc = parse(&c, bad[i][0], &e);
        OK(rc < 0 && strstr(e.msg, bad[i][1]) && c.swin_dim == 352, "refused, nothing changed: %s: %s", bad[i][0], e.msg);
    }
}

int main(void)
{
    presets();
    round_trip();
    refused();
    return END();
}
