/* Segmentation by a fine-tuned network: on a device with memory of its own every weight lies there and the answer is that of
 * the CPU; where the network has no finite answer, that is an error, not a map. */
#include "base/mem.h"
#include "data/segment.h"
#include "nn/segmentor.h"
#include "tensor/backend.h"
#include "t.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIDE = 128, PX = SIDE * SIDE };
static sky_err e;

/* ---- a network's file ------------------------------------------------------------------------------------------- */

static int add_json(json_t *to, const char *key, json_t *value)
{
    char *text = sky_json_dump(value);
    int bad = !text || json_object_set_new(to, key, json_string(text));
    sky_free(text);
    json_decref(value);
    return bad;
}

static json_t *metadata(const sky_config *cfg, const sky_seg_config *seg)
{
    json_t *o = json_pack("{s:s, s:s}", "task", "segment", "field", "hr");
    int bad = !o || add_json(o, "config", sky_config_json(cfg)) || add_json(o, "segment", sky_seg_config_json(seg, 4)) ||
              add_json(o, "normal", json_pack("{s:{s:[i,i],s:[f,f]}}", "hr", "mean", 100, 100, "std", 50.0, 50.0)) ||
              add_json(o, "classes", json_pack("[{s:i},{s:i,s:[i,i,i]},{s:i}]", "value", 1, "value", 2, "color", 1, 2, 3, "value", 7));
    return bad ? NULL : o;
}

/* bias: of the first class */
static int write_network(const char *path, float bias)
{
    sky_config cfg;
    sky_seg_config seg = sky_seg_defaults;
    sky_seg *m = NULL;
    sky_weights_out *o = NULL;
    seg.swin = 1, seg.channels = 2, seg.classes = 3, seg.neck_dim = seg.head_channels = 16, seg.aux_channels = 0;
    if (sky_config_load(&cfg, "tiny", &e) || sky_seg_open(&m, &cfg, &seg, &e) || sky_params_seed(sky_seg_params(m), "", SKY_F32, 1, &e))
        return e.code;
    const sky_params *ps = sky_seg_params(m);
    ((float *)sky_params_find(ps, "decode_head.conv_seg.bias")->own)[0] = bias;
    sky_weight *list = sky_calloc((size_t)ps->n, sizeof *list);
    for (int i = 0; i < ps->n; i++) {
        list[i] = (sky_weight){.name = ps->v[i].name, .stored = ps->v[i].name, .dtype = SKY_F32, .ndim = ps->v[i].slot->ndim};
        memcpy(list[i].shape, ps->v[i].slot->shape, sizeof list[i].shape);
    }
    json_t *meta = metadata(&cfg, &seg);
    int rc = sky_weights_create(&o, path, list, ps->n, meta, &e);
    for (int i = 0; i < ps->n && !rc; i++)
        rc = sky_weights_put(o, ps->v[i].slot->data, (uint64_t)sky_bytes(ps->v[i].slot), &e);
    if (!rc)
        rc = sky_weights_commit(o, &e);
    json_decref(meta);
    sky_free(list);
    sky_seg_close(m);
    return rc;
}

/* ---- a device with memory of its own ------------------------------------------------------------------------------ */

static struct {
    char *from;
    size_t bytes;
} block[64];
static int blocks, elsewhere;

static int own_alloc(sky_dev *d, void **p, size_t bytes, sky_err *err)
{
    int rc = sky_backend_cpu.alloc(d, p, bytes, err);
    if (!rc && blocks < 64) {
        block[blocks].from = *p;
        block[blocks++].bytes = bytes;
    }
    return rc;
}

static void look(const sky_tensor *t)
{
    int found = !t->data;
    for (int i = 0; i < blocks; i++)
        found |= (char *)t->data >= block[i].from && (char *)t->data + sky_bytes(t) <= block[i].from + block[i].bytes;
    elsewhere += !found;
}

static int own_linear(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *b, sky_act act, const sky_tensor *residual, sky_err *err)
{
    look(w), look(b);
    return sky_backend_cpu.linear(d, y, x, w, b, act, residual, err);
}

static int own_conv2d(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *scale, const sky_tensor *shift, sky_act act, sky_err *err)
{
    look(w), look(shift);
    return sky_backend_cpu.conv2d(d, y, x, w, scale, shift, act, err);
}

static sky_backend own; /* the CPU's table with these */

/* ---- answers -------------------------------------------------------------------------------------------------------- */

static void picture(sky_sample *s, int bands)
{
    const uint64_t shape[3] = {(uint64_t)bands, SIDE, SIDE};
    sky_sample_init(s);
    sky_field *f = sky_sample_begin(s, "a", &e) ? NULL : sky_sample_add(s, "hr", &e);
    if (!f || sky_field_alloc(f, SKY_F32, 3, shape, 0, &e) || sky_field_set_dims(f, "cyx", &e))
        exit(2);
    for (int i = 0; i < bands * PX; i++)
        ((float *)f->data)[i] = (float)(i / 40 % 200);
}

/* 0 and the map, or the error. */
static int answer(uint8_t *map, const char *path, const sky_backend *be, const sky_sample *x)
{
    sky_weights *w = NULL;
    sky_ctx c;
    sky_segment *s = NULL;
    sky_sample y;
    sky_sample_init(&y);
    if (sky_ctx_open(&c, "cpu", 2, &e) || sky_weights_open(&w, path, &e))
        exit(2);
    c.be = be;
    int rc = sky_segment_open(&s, w, &c, SKY_F32, "none", NULL, NULL, &e);
    if (!rc)
        rc = sky_segment_answer(&y, s, x, &e);
    if (!rc)
        memcpy(map, sky_sample_field(&y, "pred")->data, PX);
    sky_sample_free(&y);
    sky_segment_close(s);
    sky_ctx_close(&c);
    sky_weights_close(w);
    return rc;
}

/* The class table of a prediction: without a palette as the weights say, with one a colour for every class, given ones kept. */
static void colours(const char *path, const sky_sample *x)
{
    for (int palette = 0; palette < 2; palette++) {
        sky_weights *w = NULL;
        sky_ctx c;
        sky_segment *s = NULL;
        sky_sample y;
        json_t *want = palette ? json_pack("[{s:i,s:[i,i,i]},{s:i,s:[i,i,i]},{s:i,s:[i,i,i]}]", "value", 1, "color", 60, 240, 113, "value", 2, "color", 1, 2, 3,
                                           "value", 7, "color", 68, 60, 240)
                               : json_pack("[{s:i},{s:i,s:[i,i,i]},{s:i}]", "value", 1, "value", 2, "color", 1, 2, 3, "value", 7);
        sky_sample_init(&y);
        if (sky_ctx_open(&c, "cpu", 2, &e) || sky_weights_open(&w, path, &e))
            exit(2);
        int rc = sky_segment_open(&s, w, &c, SKY_F32, "none", NULL, NULL, &e);
        if (!rc && palette)
            rc = sky_segment_palette(s, &e);
        if (!rc)
            rc = sky_segment_answer(&y, s, x, &e);
        json_t *got = rc ? NULL : json_object_get(sky_sample_field(&y, "pred")->meta, "classes");
        char *text = json_dumps(got, JSON_COMPACT);
        OK(!rc && json_equal(got, want), "%s: %s", palette ? "a colour for every class" : "the weights' class table", rc ? e.msg : text);
        free(text);
        json_decref(want);
        sky_sample_free(&y);
        sky_segment_close(s);
        sky_ctx_close(&c);
        sky_weights_close(w);
    }
}

int main(void)
{
    static uint8_t map[PX], again[PX];
    char path[] = "/tmp/sky-segment-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0 || close(fd) || write_network(path, 0)) {
        printf("Bail out! %s\n", e.msg);
        return 1;
    }
    sky_sample x;
    picture(&x, 2);
    int rc = answer(map, path, &sky_backend_cpu, &x);
    OK(rc == 0, "a map%s%s", rc ? ": " : "", rc ? e.msg : "");
    own = sky_backend_cpu;
    own.own_memory = 1, own.alloc = own_alloc, own.linear = own_linear, own.conv2d = own_conv2d;
    rc = answer(again, path, &own, &x);
    OK(rc == 0 && !memcmp(map, again, PX), "the same on a device with memory of its own");
    colours(path, &x);
    OK(blocks > 0 && elsewhere == 0, "where every weight lies in it: %d do not", elsewhere);
    sky_sample_free(&x);
    picture(&x, 3);
    rc = answer(map, path, &sky_backend_cpu, &x);
    OK(rc == SKY_ECORRUPT && strstr(e.msg, "3 bands, the network takes 2"), "another number of bands without names: %s", rc ? e.msg : "a map");
    sky_sample_free(&x);
    picture(&x, 2);
    rc = write_network(path, NAN) ? 0 : answer(map, path, &sky_backend_cpu, &x);
    OK(rc == SKY_ECORRUPT && strstr(e.msg, "not finite") && strstr(e.msg, "sample 'a'"), "a network that has diverged: %s", rc ? e.msg : "a map");
    sky_sample_free(&x);
    unlink(path);
    return END();
}
