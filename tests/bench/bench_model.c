/* Times the pretraining model: CPU and wall seconds, where they go, and what share of the machine's peak that is.
 *
 * usage: bench_model [--size full|mid|tiny] [--dtype f32|bf16] [--modalities all|hr] [--batch B] [--device D] [--repeat R]
 *                    [--weights FILE] [--json]
 * Weights are generated in memory, or taken from FILE. Arithmetic is counted at the backend's table: two operations per
 * multiply-add of linear, convolution and attention, nothing else. The peak is that of the register loops of peak.h,
 * run before and after, by CPU time: on a shared machine compare the share, not the seconds. On a GPU only wall time, the
 * arithmetic and the arena mean anything: calls return before their work is done, and the timed runs replay one of them
 * (tensor/replay.h). */
#include "base/cli.h"
#include "base/mem.h"
#include "nn/seeded.h"
#include "nn/skysensepp.h"
#include "peak.h"
#include "tensor/backend.h"
#include "tensor/replay.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/* ------------------------------------------------------------------ counting at the table */
enum { LINEAR, CONV, ATTENTION, WINDOW, NORM, RESIZE, MOVE, KINDS };
static const char *const kind_names[KINDS] = {"linear", "convolution", "attention", "window attention", "layer norm", "resize, argmax", "unfold, concat, move"};
static struct {
    double cpu, wall, flop;
    int calls;
} spent[KINDS];
static const sky_backend *inner;

static double process_cpu(void) { return bench_clock(CLOCK_PROCESS_CPUTIME_ID); }

#define TIMED(kind, ops, call)                   \
    do {                                         \
        double c0 = process_cpu(), w0 = bench_wall(); \
        int rc_ = inner->call;                   \
        spent[kind].cpu += process_cpu() - c0;   \
        spent[kind].wall += bench_wall() - w0;   \
        spent[kind].flop += (double)(ops);       \
        spent[kind].calls++;                     \
        return rc_;                              \
    } while (0)

static int t_linear(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *b, sky_act act, const sky_tensor *r, sky_err *e)
{
    TIMED(LINEAR, 2.0 * (double)sky_numel(y) * (double)w->shape[1], linear(d, y, x, w, b, act, r, e));
}
static int t_matmul(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *r, sky_err *e)
{
    TIMED(LINEAR, 2.0 * (double)sky_numel(y) * (double)w->shape[0], matmul(d, y, x, w, r, e));
}
static int t_conv(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *scale, const sky_tensor *shift, sky_act act, sky_err *e)
{
    TIMED(CONV, 2.0 * (double)sky_numel(y) * (double)(w->shape[1] * w->shape[2] * w->shape[3]), conv2d(d, y, x, w, scale, shift, act, e));
}
static int t_attention(sky_dev *d, sky_tensor *y, sky_tensor *lse, const sky_tensor *q, sky_dtype p, sky_err *e)
{
    TIMED(ATTENTION, 4.0 * (double)sky_numel(y) * (double)q->shape[1], attention(d, y, lse, q, p, e));
}
static int t_window(sky_dev *d, sky_tensor *y, const sky_tensor *q, const sky_tensor *pad, const sky_tensor *bias, const sky_tensor *s, int win, int shift, sky_dtype p, sky_err *e)
{
    TIMED(WINDOW, 4.0 * (double)sky_numel(y) * win * win, window_attention(d, y, q, pad, bias, s, win, shift, p, e));
}
static int t_norm(sky_dev *d, sky_tensor *y, const sky_tensor *x, const sky_tensor *w, const sky_tensor *b, float eps, const sky_tensor *r, sky_err *e)
{
    TIMED(NORM, 0, layernorm(d, y, x, w, b, eps, r, e));
}
static int t_resize(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_interp how, sky_err *e) { TIMED(RESIZE, 0, resize(d, y, x, how, e)); }
static int t_argmax(sky_dev *d, sky_tensor *y, const sky_tensor *x, sky_err *e) { TIMED(RESIZE, 0, resize_argmax(d, y, x, e)); }
static int t_unfold(sky_dev *d, sky_tensor *y, const sky_tensor *x, int p, sky_err *e) { TIMED(MOVE, 0, unfold(d, y, x, p, e)); }
static int t_concat(sky_dev *d, sky_tensor *y, const sky_tensor *x, int n, int axis, sky_err *e) { TIMED(MOVE, 0, concat(d, y, x, n, axis, e)); }
static int t_move(sky_dev *d, void *dst, const void *src, size_t n, sky_err *e) { TIMED(MOVE, 0, move(d, dst, src, n, e)); }

static sky_backend counting(const sky_backend *be)
{
    sky_backend t = *be;
    inner = be;
    t.linear = t_linear, t.matmul = t_matmul, t.conv2d = t_conv, t.attention = t_attention, t.window_attention = t_window;
    t.layernorm = t_norm, t.resize = t_resize, t.resize_argmax = t_argmax, t.unfold = t_unfold, t.concat = t_concat, t.move = t_move;
    return t;
}

/* ------------------------------------------------------------------ where the model is */
static struct {
    char name[32];
    double cpu;
} stage[64];
static int stages;

static void on_tap(void *arg, const char *name, const sky_tensor *t)
{
    (void)arg, (void)t;
    if (stages < 64) {
        snprintf(stage[stages].name, sizeof stage->name, "%s", name);
        stage[stages++].cpu = process_cpu();
    }
}

static int64_t batch = 1;

/* Host arrays by name, made once: making them is not what is timed. */
static void *made(const char *name, size_t bytes, int *is_new)
{
    static struct {
        const char *name;
        void *p;
    } all[8];
    int i = 0;
    while (i < 7 && all[i].name && strcmp(all[i].name, name))
        i++;
    *is_new = !all[i].p;
    if (!all[i].p)
        all[i].name = name, all[i].p = sky_calloc(bytes, 1);
    return all[i].p;
}

static sky_tensor image(sky_ctx *c, const char *name, int64_t h, int64_t w, int64_t k)
{
    int is_new;
    float *v = made(name, (size_t)(batch * h * w * k) * sizeof *v, &is_new);
    if (v && is_new)
        sky_seeded_values(v, "", name, 0, (uint64_t)(batch * h * w * k), 1.5f, 0);
    return v ? sky_upload(c, SKY_F32, 4, (int64_t[]){batch, h, w, k}, v) : sky_none;
}

static sky_tensor bytes(sky_ctx *c, const char *name, int64_t h, int64_t w, uint32_t mod)
{
    int is_new;
    uint8_t *v = made(name, (size_t)(batch * h * w), &is_new);
    for (int64_t i = 0; v && is_new && i < batch * h * w; i++)
        v[i] = (uint8_t)(sky_seeded_u24("", name, (uint64_t)i) % mod);
    return v ? sky_upload(c, SKY_U8, 3, (int64_t[]){batch, h, w}, v) : sky_none;
}

static sky_replay *replays; /* NULL: every forward is queued piece by piece */

typedef struct {
    sky_pp *m;
    sky_ctx *c;
    const sky_pp_batch *b;
    sky_pp_opts o;
} job;
static int run(void *arg, void *out, sky_err *e)
{
    const job *j = arg;
    return sky_pp_forward(j->m, j->c, j->b, &j->o, out, e);
}

static int forward(sky_pp *m, sky_ctx *c, const sky_config *cfg, int64_t w, int all, int tapped, sky_err *e)
{
    uint8_t flags[3 * 64], last;
    for (int i = 0; i < 3 * batch; i++)
        flags[i] = i % 3 == 0 || all;
    sky_ctx_reset(c);
    sky_pp_batch b = {.t2 = 1, .t1 = 1, .flags = flags, .hr = image(c, "hr", 2 * w, w, cfg->hr_channels)};
    if (all) {
        b.s2 = image(c, "s2", w / 16, w / 32, cfg->s2_channels);
        b.s1 = image(c, "s1", w / 16, w / 32, cfg->s1_channels);
    }
    b.labels = bytes(c, "labels", 2 * w, w, (uint32_t)cfg->vocab + 1);
    b.anno_mask = bytes(c, "mask", w / 64, w / 128, 2);
    sky_pp_out out;
    job j = {m, c, &b, {.tap = tapped ? on_tap : NULL}};
    int rc = replays ? sky_replay_run(replays, b.flags, (size_t)batch * 3, run, &j, &out, sizeof out, e) : run(&j, &out, e);
    sky_tensor one = {.data = out.argmax.data, .dtype = SKY_U8, .ndim = 1, .shape = {1}};
    if (!rc)
        sky_download(c, &last, &one); /* waits for the device */
    return rc ? rc : c->err.code ? sky_fail(e, c->err.code, "%s", c->err.msg) : 0;
}

/* ------------------------------------------------------------------ report */
static void show_kinds(double cpu)
{
    double rest = cpu;
    printf("%-22s %8s %8s %9s %9s\n", "operation", "calls", "cpu s", "GFLOP", "GF/s core");
    for (int k = 0; k < KINDS; k++) {
        printf("%-22s %8d %8.3f %9.1f %9.1f\n", kind_names[k], spent[k].calls, spent[k].cpu, spent[k].flop * 1e-9, spent[k].flop * 1e-9 / (spent[k].cpu + 1e-12));
        rest -= spent[k].cpu;
    }
    printf("%-22s %8s %8.3f\n", "everything else", "", rest);
}

static void show_stages(double start)
{
    printf("up to (completion of all modalities included)  cpu s\n");
    for (int i = 0; i < stages; i++)
        printf("  %-30s %8.3f\n", stage[i].name, stage[i].cpu - (i ? stage[i - 1].cpu : start));
}

static long peak_rss_mb(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss / 1024;
}

typedef struct {
    const char *size, *dtype, *modalities, *weights, *device;
    int64_t repeat;
} options;

static int measure(const options *o, sky_cli *cli, sky_pp *m, sky_ctx *c, const sky_config *cfg, sky_err *e)
{
    int all = !strcmp(o->modalities, "all"), bf16 = !strcmp(o->dtype, "bf16");
    int64_t w = !strcmp(o->size, "full") ? 512 : !strcmp(o->size, "mid") ? 256 : 128;
    sky_backend table = counting(c->be);
    c->be = &table;
    sky_ctx_dry(c);
    int rc = forward(m, c, cfg, w, all, 0, e);
    size_t arena = c->peak;
    double cpu = 1e30, wall = 1e30, flop = 0;
    if (!rc)
        rc = sky_ctx_alloc(c, arena + (64 << 20), e);
    if (!rc)
        rc = sky_replay_open(&replays, c, NULL, NULL, e);
    for (int i = 0; i < 2 && !rc; i++) { /* first touch of memory and weights; a recording, where the device makes one */
        rc = forward(m, c, cfg, w, all, 0, e);
        for (int k = 0; !i && k < KINDS; k++)
            flop += spent[k].flop;
    }
    double peak = peak_one_core(bf16, 40);
    for (int64_t i = 0; i < o->repeat && !rc; i++) {
        memset(spent, 0, sizeof spent);
        double c0 = process_cpu(), w0 = bench_wall();
        rc = forward(m, c, cfg, w, all, 0, e);
        double dc = process_cpu() - c0, dw = bench_wall() - w0;
        cpu = dc < cpu ? dc : cpu;
        wall = dw < wall ? dw : wall;
    }
    double after = peak_one_core(bf16, 40);
    peak = after > peak ? after : peak;
    if (!rc)
        printf("{\"size\":\"%s\",\"dtype\":\"%s\",\"modalities\":\"%s\",\"device\":\"%s\",\"batch\":%d,\"threads\":%d,\"repeat\":%d,\"wall_min_s\":%.4f,\"cpu_min_s\":%.4f,"
               "\"tflop\":%.4f,\"peak_gflops_core\":%.1f,\"share_of_peak\":%.3f,\"arena_mb\":%zu,\"peak_rss_mb\":%ld}\n",
               o->size, o->dtype, o->modalities, inner->name, (int)batch, cli->threads, (int)o->repeat, wall, cpu, flop * 1e-12, peak, flop * 1e-9 / cpu / peak, arena >> 20, peak_rss_mb());
    if (!rc && sky_replay_counted(replays).replayed)
        fprintf(stderr, "timed runs are replays of a recording\n");
    if (!rc && !cli->json && !inner->own_memory) {
        show_kinds(cpu);
        sky_ctx_dry(c);
        rc = forward(m, c, cfg, w, all, 1, e);
        if (!rc)
            rc = sky_ctx_alloc(c, c->peak, e);
        double start = process_cpu();
        if (!rc)
            rc = forward(m, c, cfg, w, all, 1, e);
        show_stages(start);
    }
    sky_replay_close(replays);
    c->be = inner;
    return rc;
}

int main(int argc, char **argv)
{
    options o = {.size = "full", .dtype = "bf16", .modalities = "all", .device = "cpu", .repeat = 3};
    sky_opt opts[] = {
        {.name = "size", .kind = SKY_OPT_STR, .value = &o.size, .arg = "NAME", .help = "full, mid or tiny [full]"},
        {.name = "dtype", .kind = SKY_OPT_STR, .value = &o.dtype, .arg = "TYPE", .help = "f32 or bf16 [bf16]"},
        {.name = "modalities", .kind = SKY_OPT_STR, .value = &o.modalities, .arg = "WHICH", .help = "all or hr [all]"},
        {.name = "batch", .kind = SKY_OPT_I64, .value = &batch, .arg = "N", .help = "samples at once [1]", .min = 1, .max = 64},
        {.name = "device", .kind = SKY_OPT_STR, .value = &o.device, .arg = "NAME", .help = "cpu, cuda, cuda:N or auto [cpu]"},
        {.name = "repeat", .kind = SKY_OPT_I64, .value = &o.repeat, .arg = "N", .help = "timed runs, the best counts [3]", .min = 1, .max = 1000},
        {.name = "weights", .letter = 'm', .kind = SKY_OPT_STR, .value = &o.weights, .arg = "FILE", .help = "weights [generated]"},
        {0}};
    sky_cli cli = {.prog = "bench_model", .summary = "time the pretraining model", .usage = "bench_model [options]", .opts = opts, .takes = SKY_TAKES_THREADS};
    int status = sky_cli_begin(&cli, argc, argv);
    if (status >= 0)
        return status;
    sky_err e = {0};
    sky_config cfg;
    sky_pp *m = NULL;
    sky_ctx c = {0};
    sky_weights *w = NULL;
    sky_dtype dtype = !strcmp(o.dtype, "bf16") ? SKY_BF16 : SKY_F32;
    int rc = sky_config_load(&cfg, o.size, &e);
    if (!rc)
        rc = sky_ctx_open(&c, o.device, cli.threads, &e);
    if (!rc)
        rc = sky_pp_open(&m, &cfg, &e);
    if (!rc && o.weights) {
        rc = sky_weights_open(&w, o.weights, &e);
        if (!rc)
            rc = sky_pp_load(m, &c, w, dtype, 0, NULL, NULL, &e);
    } else if (!rc) {
        rc = sky_params_seed(sky_pp_params(m), "", dtype, cli.threads, &e);
        if (!rc)
            rc = sky_params_place(sky_pp_params(m), &c, NULL, &e);
    }
    if (!rc)
        rc = measure(&o, &cli, m, &c, &cfg, &e);
    sky_ctx_close(&c);
    sky_pp_close(m);
    sky_weights_close(w);
    return sky_cli_end(&cli, rc, &e);
}
